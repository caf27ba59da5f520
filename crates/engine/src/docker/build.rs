use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{Full, StreamBody};
use hyper::{Request, body::Frame, header::CONTENT_TYPE};
use ocicore::{BoxStream, Cx};

use super::{
    Docker, cancellable,
    dockerfile::syntax_error,
    fault::{Deed, Refusal, registry},
    image::{auth_config, auth_host},
    leftover::Leftover,
    narration::Narration,
    stream::{Items, Stop, json_map, query},
};
use crate::{
    EngineKind, Error, Result,
    log::Log,
    spec::{BuildSpec, Builder, Cache, ImageId, Pull},
};

const CONFIG: &str = "X-Registry-Config";

impl Docker {
    pub(super) async fn build_it(&self, cx: &Cx, spec: &BuildSpec, log: &Log) -> Result<ImageId> {
        let size = spec.context.descriptor().size();
        if size > spec.context_limit {
            return Err(Error::ContextTooLarge {
                size,
                limit: spec.context_limit,
            });
        }
        let deed = Deed::new("build", "image", subject(spec));
        let builder = self.builder(spec)?;
        // Removes what a build that is dropped had made so far.
        let mut leftover = Leftover::new(self, cx.now());
        let built = cancellable(cx, self.build_by(builder, &deed, spec, log, &mut leftover)).await;
        match built {
            Err(Error::Cancelled) => {
                leftover.remove().await;
                Err(Error::Cancelled)
            }
            // What failed stays as cache, as the engines have it.
            built => {
                leftover.keep();
                built
            }
        }
    }

    fn builder(&self, spec: &BuildSpec) -> Result<Builder> {
        let needs_session = !spec.secrets.is_empty() || !spec.ssh.is_empty();
        if self.is_podman() {
            if !spec.ssh.is_empty() {
                return Err(self.unsupported(
                    "forward an SSH agent over its socket; clone before the build, or use Docker",
                ));
            }
            return Ok(Builder::Classic);
        }
        if spec.pull == Pull::Never {
            return Err(self.unsupported(
                "build without pulling what is missing; only Podman can, or pull beforehand",
            ));
        }
        match spec.builder {
            Builder::Auto if needs_session => Ok(Builder::BuildKit),
            Builder::Auto | Builder::Classic if needs_session => Err(self.unsupported(
                "give secrets or SSH agents to a build by its classic builder, only by BuildKit",
            )),
            Builder::Auto => Ok(Builder::Classic),
            builder => Ok(builder),
        }
    }

    async fn build_by(
        &self,
        builder: Builder,
        deed: &Deed,
        spec: &BuildSpec,
        log: &Log,
        leftover: &mut Leftover,
    ) -> Result<ImageId> {
        let mut pairs = self.pairs(spec);
        let context = spec.context.open(0..spec.context.descriptor().size());
        // Lives as long as the build.
        let _session;
        let context = if builder == Builder::BuildKit {
            let session = self.session(spec).await?;
            pairs.push(("version", "2".to_owned()));
            pairs.push(("session", session.id().to_owned()));
            _session = session;
            context
        } else if self.is_podman() && !spec.secrets.is_empty() {
            let (context, list) = super::podman_secrets::add(&spec.secrets, context).await?;
            pairs.push(("secrets", list));
            context
        } else {
            context
        };
        let (body, failed) = body(context);
        // Podman's own API knows when to pull, Docker's does not.
        let path = if spec.pull == Pull::Never {
            "/libpod/build"
        } else {
            "/build"
        };
        let request = Request::post(format!("{path}?{}", query(pairs)))
            .header(CONTENT_TYPE, "application/x-tar")
            .header(CONFIG, registry_config(spec))
            .body(body)
            .map_err(|error| deed.garbled(error))?;
        let answer = self.http().ask(request).await;
        failed.check()?;
        let mut narration = Narration::new();
        let answer = match answer {
            Ok(answer) => answer,
            Err(super::http::Failure::Refused(refusal)) => {
                return Err(self.explain(deed, spec, refusal, None, &narration).await);
            }
            Err(failure) => return Err(deed.failed(failure)),
        };
        let mut items = Items::new(answer);
        loop {
            match items.next().await {
                Ok(Some(item)) => {
                    for event in narration.hear(&item) {
                        log.send(event).await;
                    }
                    leftover.note(&mut narration);
                }
                Ok(None) => break,
                Err(stop) => {
                    failed.check()?;
                    for event in narration.finish() {
                        log.send(event).await;
                    }
                    return Err(match stop {
                        Stop::Failed(refusal, code) => {
                            self.explain(deed, spec, refusal, code, &narration).await
                        }
                        stop => stop.into_error(deed, narration.tail()),
                    });
                }
            }
        }
        for event in narration.finish() {
            log.send(event).await;
        }
        // An answer that does not name the image was cut off, however regularly it ended.
        match narration.image() {
            Some(id) => Ok(id),
            None => Err(deed.vanished(narration.tail().clone(), None)),
        }
    }

    fn pairs(&self, spec: &BuildSpec) -> Vec<(&'static str, String)> {
        let yes = || "1".to_owned();
        let list =
            |texts: Vec<String>| serde_json::to_string(&texts).expect("a list of texts is JSON");
        let mut labels = self.inner.owner.labels();
        labels.extend(spec.labels.clone());
        let mut pairs = vec![
            ("dockerfile", spec.dockerfile.clone()),
            ("rm", yes()),
            ("forcerm", yes()),
            ("buildargs", json_map(&spec.args)),
            ("labels", json_map(&labels)),
        ];
        pairs.extend(spec.tags.iter().map(|tag| ("t", tag.to_string())));
        let texts = [
            ("target", spec.target.clone()),
            ("platform", spec.platform.as_ref().map(ToString::to_string)),
            ("memory", spec.memory.map(|bytes| bytes.to_string())),
            ("shmsize", spec.shm_size.map(|bytes| bytes.to_string())),
            ("nocache", (spec.cache == Cache::Ignore).then(yes)),
            ("squash", spec.squash.then(yes)),
        ];
        let given = texts.into_iter();
        pairs.extend(given.filter_map(|(name, value)| Some((name, value?))));
        match spec.pull {
            Pull::Missing => {}
            Pull::Always => pairs.push(("pull", yes())),
            Pull::Never => pairs.push(("pullpolicy", "never".to_owned())),
        }
        if !spec.cache_from.is_empty() {
            let images = spec.cache_from.iter().map(ToString::to_string);
            pairs.push(("cachefrom", list(images.collect())));
        }
        let hosts = spec.extra_hosts.iter();
        let hosts: Vec<String> = hosts.map(|(name, ip)| format!("{name}:{ip}")).collect();
        if let Some(network) = &spec.network {
            pairs.extend(match self.inner.version.kind {
                EngineKind::Podman => podman_network(network),
                EngineKind::Docker => vec![("networkmode", network.clone())],
            });
        }
        match self.inner.version.kind {
            EngineKind::Podman if !hosts.is_empty() => pairs.push(("extrahosts", list(hosts))),
            EngineKind::Podman => {}
            EngineKind::Docker => pairs.extend(hosts.into_iter().map(|host| ("extrahosts", host))),
        }
        pairs
    }

    /// What a build's complaint means.
    async fn explain(
        &self,
        deed: &Deed,
        spec: &BuildSpec,
        refusal: Refusal,
        code: Option<i64>,
        narration: &Narration,
    ) -> Error {
        let message = &refusal.message;
        if let Some(error) = syntax_error(spec, message).await {
            return error;
        }
        let code = code.or_else(|| exit_code_in(message));
        // A command that failed may have said anything.
        if code.is_none() {
            if super::fault::says(
                message,
                &[
                    "cannot locate specified dockerfile",
                    "failed to read dockerfile",
                    "containerfile",
                ],
            ) || (message.contains(&spec.dockerfile) && message.contains("no such file"))
            {
                return Error::NotFound {
                    kind: "file",
                    name: spec.dockerfile.clone(),
                };
            }
            if let Some(error) = registry("build", deed.subject(), message) {
                return error;
            }
            if super::fault::says(message, &["squash is only supported with experimental"]) {
                return self.unsupported("squash layers, for its experimental features are off");
            }
            if refusal.status.is_some() || super::fault::says(message, &["no space left"]) {
                return deed.refused(refusal);
            }
        }
        Error::Build {
            step: narration.step().map(str::to_owned),
            code,
            message: first_line(message),
            tail: narration.tail().clone(),
        }
    }
}

/// Podman has other parameters for it, buildah's.
fn podman_network(network: &str) -> Vec<(&'static str, String)> {
    let namespace = |host: bool, path: &str| {
        let option = serde_json::json!([{ "Name": "network", "Host": host, "Path": path }]);
        ("nsoptions", option.to_string())
    };
    match network {
        "default" | "bridge" => Vec::new(),
        "none" => vec![("networkmode", "NetworkDisabled".to_owned())],
        "host" => vec![namespace(true, "")],
        name => vec![namespace(false, name)],
    }
}

fn subject(spec: &BuildSpec) -> String {
    match spec.tags.first() {
        Some(tag) => tag.to_string(),
        None => spec.dockerfile.clone(),
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

/// `returned a non-zero code: 3`, `exit status 3`, `exit code: 3`.
fn exit_code_in(message: &str) -> Option<i64> {
    ["non-zero code: ", "exit status ", "exit code: "]
        .iter()
        .find_map(|before| {
            let (_, rest) = message.rsplit_once(before)?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        })
}

fn registry_config(spec: &BuildSpec) -> String {
    let hosts: serde_json::Map<String, serde_json::Value> = spec
        .keychain
        .iter()
        .map(|(host, found)| (auth_host(host).to_owned(), auth_config(host, Some(found))))
        .collect();
    URL_SAFE.encode(serde_json::Value::from(hosts).to_string())
}

/// The content of a request, as bollard has it.
pub(super) type RequestBody =
    http_body_util::Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = Piece> + Send>>>>;
type Piece = Result<Frame<Bytes>, io::Error>;

/// The request's content, and the error of its source, which HTTP would make a broken connection of.
pub(super) fn body(content: BoxStream<Bytes>) -> (RequestBody, Failed) {
    let failed = Failed::default();
    let slot = failed.clone();
    let content = content.map_err(move |error| {
        let text = error.to_string();
        *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other(text)
    });
    (bollard::body_try_stream(content.boxed()), failed)
}

/// Where a failed source leaves its error.
#[derive(Clone, Debug, Default)]
pub(super) struct Failed(Arc<Mutex<Option<ocicore::Error>>>);

impl Failed {
    pub(super) fn check(&self) -> Result<()> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(Error::Content(error)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_found_in_texts() {
        let check = |text: &str, code| assert_eq!(exit_code_in(text), code, "{text}");
        check(
            "The command '/bin/sh -c x' returned a non-zero code: 3",
            Some(3),
        );
        check(
            "building at STEP \"RUN x\": while running runtime: exit status 127",
            Some(127),
        );
        check(
            "executor failed running [/bin/sh -c x]: exit code: 1",
            Some(1),
        );
        check("exit code: none", None);
        check("something else", None);
    }
}
