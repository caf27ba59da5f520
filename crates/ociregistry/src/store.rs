use std::{fmt, sync::Arc};

use async_trait::async_trait;
use ocicore::{
    Blob, BoxStream, Cx, Descriptor, Digest, ImageSink, ImageSource, MediaType, Name, Place,
    RawManifest, Repository, RepositoryPath, Stored, Tag, in_one_line, sniff_media_type,
};
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use tracing::Instrument;
use url::Url;

use crate::{
    Error, Registry, Result, Retry,
    auth::Scopes,
    call::Call,
    download::RemoteBlob,
    endpoint,
    hosts::{Site, is_silent},
    list, referrers,
    wire::{Incoming, Payload},
};

/// All manifests and indexes that this workspace can read.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// One repository of a registry.
#[derive(Clone)]
pub(crate) struct RegistryStore {
    pub(crate) registry: Registry,
    pub(crate) name: Repository,
    /// Where it is; all writing goes there.
    pub(crate) home: Site,
    /// Where manifests and blobs are asked for first.
    pub(crate) mirrors: Vec<Site>,
}

impl RegistryStore {
    pub(crate) fn call<'a>(
        &'a self,
        site: &'a Site,
        method: Method,
        url: Url,
        scopes: Scopes,
        expected: &'a [u16],
    ) -> Call<'a> {
        Call {
            method,
            url,
            endpoint: &site.endpoint,
            host: &site.host,
            path: Some(&site.path),
            scopes,
            headers: HeaderMap::new(),
            payload: Payload::None,
            retry: self.retry_at(site),
            expected,
        }
    }

    /// How often to ask there.
    pub(crate) fn retry_at(&self, site: &Site) -> &Retry {
        let inner = &self.registry.0;
        if self.mirrors.contains(site) {
            &inner.once
        } else {
            &inner.retry
        }
    }

    pub(crate) async fn send(&self, cx: &Cx, call: &Call<'_>) -> Result<Incoming> {
        self.registry.0.call(cx, call).await
    }

    pub(crate) fn fault(&self, fault: impl Into<String>) -> Error {
        Error::protocol(&self.name, fault)
    }

    /// Runs the work of a port's method: it ends when cancelled, and its error says what failed.
    async fn run<T>(
        &self,
        cx: &Cx,
        action: &'static str,
        subject: impl fmt::Display,
        work: impl Future<Output = Result<T>>,
    ) -> ocicore::Result<T> {
        let span = tracing::debug_span!("registry", action, %subject, repository = %self.name);
        let work = async {
            work.await
                .map_err(|error| error.into_port(action, subject, &self.name))
        };
        cx.or_cancelled(work.instrument(span)).await
    }

    /// The repository of an origin from which a blob can be mounted here, else this one: it may
    /// be there already.
    pub(crate) fn mount_source<'a>(&'a self, origin: Option<&'a Repository>) -> &'a RepositoryPath {
        match origin {
            // What is elsewhere than its name says has another path there.
            Some(origin)
                if origin.host() == self.name.host() && self.home.path == *self.name.path() =>
            {
                origin.path()
            }
            _ => &self.home.path,
        }
    }

    /// The mirrors of which none failed to answer a moment ago.
    fn live_mirrors(&self) -> impl Iterator<Item = &Site> {
        let rest = &self.registry.0.rest;
        self.mirrors.iter().filter(|mirror| !rest.has(mirror))
    }

    /// What a tag names now, and what there is to be written over, is for the registry itself to
    /// say; mirrors are asked if it gives no answer, or gave none a moment ago.
    async fn resolve_anywhere(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        let rest = &self.registry.0.rest;
        let has_mirror = self.live_mirrors().any(|mirror| mirror.serves(name));
        let mut silence = None;
        if !has_mirror || !rest.has(&self.home) {
            let found = self.head(cx, &self.home, name).await;
            if has_mirror {
                rest.note(&self.home, &found);
            }
            match found {
                Err(error) if is_silent(&error) => silence = Some(error),
                answered => return answered,
            }
        }
        let mut faults = Vec::new();
        for mirror in self.live_mirrors().filter(|mirror| mirror.serves(name)) {
            let found = self.head(cx, mirror, name).await;
            rest.note(mirror, &found);
            match found {
                Ok(found) => return Ok(found),
                Err(error) => faults.push(in_one_line(&error)),
            }
        }
        let last = match silence {
            Some(error) => Err(error),
            None => self.head(cx, &self.home, name).await,
        };
        last.map_err(|error| error.with_mirrors(faults))
    }

    /// A manifest as the registry itself has it.
    pub(crate) async fn manifest_at_home(
        &self,
        cx: &Cx,
        name: &Name,
    ) -> ocicore::Result<RawManifest> {
        let get = Box::pin(self.get(cx, &self.home, name));
        self.run(cx, "read", name, get).await
    }

    async fn get_anywhere(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        let mut faults = Vec::new();
        for mirror in self.live_mirrors().filter(|mirror| mirror.serves(name)) {
            let found = self.get(cx, mirror, name).await;
            self.registry.0.rest.note(mirror, &found);
            match found {
                Ok(manifest) => return Ok(manifest),
                Err(error) => faults.push(in_one_line(&error)),
            }
        }
        let found = self.get(cx, &self.home, name).await;
        found.map_err(|error| error.with_mirrors(faults))
    }

    async fn head(&self, cx: &Cx, site: &Site, name: &Name) -> Result<Descriptor> {
        let url = site.endpoint.manifest(&site.path, name);
        let scopes = Scopes::pull(&site.path);
        let mut call = self.call(site, Method::HEAD, url, scopes, &[200, 405]);
        call.headers
            .insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let incoming = self.send(cx, &call).await?;
        // The size of what is encoded on the way is another one.
        let known = (incoming.status() == 200 && incoming.refuse_encoding().is_ok())
            .then(|| {
                let media_type = media_type(&incoming)?;
                let digest = self.told_digest(&incoming, name).transpose()?;
                Some((media_type, digest, incoming.announced()?))
            })
            .flatten();
        match known {
            Some((media_type, digest, size)) => Ok(Descriptor::new(media_type, digest?, size)),
            // Not every registry says all of it; the manifest itself does.
            None => Ok(self.get(cx, site, name).await?.descriptor().clone()),
        }
    }

    pub(crate) async fn get(&self, cx: &Cx, site: &Site, name: &Name) -> Result<RawManifest> {
        let url = site.endpoint.manifest(&site.path, name);
        let scopes = Scopes::pull(&site.path);
        let mut call = self.call(site, Method::GET, url, scopes, &[200]);
        call.headers
            .insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let inner = &self.registry.0;
        let what = format!("manifest `{name}`");
        let limit = inner.limits.manifest();
        let head = |incoming: &Incoming| {
            let told = self.told_digest(incoming, name)?;
            Ok((media_type(incoming), told))
        };
        let read = inner.document(cx, &call, (&what, limit), head);
        let ((media_type, told), bytes) = read.await?;
        let content = |error| Error::content(&self.name, error);
        let media_type = match media_type {
            Some(media_type) => media_type,
            None => sniff_media_type(&bytes).map_err(content)?,
        };
        match told {
            Some(digest) => RawManifest::verified(media_type, bytes, &digest).map_err(content),
            None => whole(RawManifest::new(media_type, bytes)).map_err(content),
        }
    }

    /// The digest by which a manifest is to be checked: the one that was asked for, else the one
    /// that the registry tells.
    fn told_digest(&self, incoming: &Incoming, name: &Name) -> Result<Option<Digest>> {
        let told = match incoming.header("docker-content-digest") {
            Some(text) => Some(text.parse::<Digest>().map_err(|_| {
                let fault = "its `Docker-Content-Digest` is no digest";
                Error::protocol(&incoming.place, fault)
            })?),
            None => None,
        };
        match (name, told) {
            // A registry may know the same content by another algorithm.
            (Name::Digest(asked), Some(told))
                if told != *asked && told.algorithm() == asked.algorithm() =>
            {
                let (expected, actual) = ((*asked).into(), told.into());
                let error = ocicore::Error::Digest { expected, actual };
                Err(Error::content(&incoming.place, error))
            }
            (Name::Digest(asked), _) => Ok(Some(*asked)),
            (Name::Tag(_), told) => Ok(told),
        }
    }

    pub(crate) async fn put(
        &self,
        cx: &Cx,
        manifest: &RawManifest,
        name: &Name,
    ) -> Result<Incoming> {
        let url = self.home.endpoint.manifest(&self.home.path, name);
        let scopes = Scopes::push(&self.home.path);
        let mut call = self.call(&self.home, Method::PUT, url, scopes, &[201, 200, 202]);
        let media_type = HeaderValue::try_from(manifest.media_type().as_str())
            .map_err(|_| self.fault("a media type that no header may hold"))?;
        call.headers.insert(CONTENT_TYPE, media_type);
        call.payload = Payload::Bytes(manifest.bytes().clone());
        let incoming = self.send(cx, &call).await?;
        if let Some(Ok(stored)) = incoming
            .header("docker-content-digest")
            .map(str::parse::<Digest>)
        {
            let expected = manifest.digest();
            if stored.algorithm() == expected.algorithm() && stored != *expected {
                let (expected, actual) = ((*expected).into(), stored.into());
                let error = ocicore::Error::Digest { expected, actual };
                return Err(Error::content(&incoming.place, error));
            }
        }
        Ok(incoming)
    }

    async fn put_all(&self, cx: &Cx, manifest: &RawManifest, place: Place<'_>) -> Result<()> {
        let tags = match place {
            Place::Child => &[],
            Place::Root(tags) => tags,
        };
        let by_digest = [Name::Digest(*manifest.digest())];
        let by_tag: Vec<Name> = tags.iter().cloned().map(Name::Tag).collect();
        let names = if by_tag.is_empty() {
            &by_digest[..]
        } else {
            &by_tag
        };
        let mut is_noted = false;
        for name in names {
            let incoming = self.put(cx, manifest, name).await?;
            // A list of referrers names no tags.
            if !std::mem::replace(&mut is_noted, true) {
                referrers::note(self, cx, manifest, &incoming).await?;
            }
        }
        Ok(())
    }

    /// Gives tags to a manifest that is here. Whoever pushed it has put it on the list of what it
    /// refers to (distribution-spec §Pushing Manifests with Subject), so that this stays as it is.
    pub(crate) async fn tag(
        &self,
        cx: &Cx,
        manifest: &RawManifest,
        tags: &[Tag],
    ) -> ocicore::Result<()> {
        for tag in tags {
            let name = Name::Tag(tag.clone());
            let put = Box::pin(self.put(cx, manifest, &name));
            self.run(cx, "write", tag, put).await?;
        }
        Ok(())
    }

    async fn delete_at(&self, cx: &Cx, url: Url) -> Result<()> {
        let scopes = Scopes::delete(&self.home.path);
        let call = self.call(&self.home, Method::DELETE, url, scopes, &[200, 202, 204]);
        self.send(cx, &call).await?;
        Ok(())
    }

    pub(crate) async fn delete_blob(&self, cx: &Cx, digest: &Digest) -> ocicore::Result<()> {
        let url = self.home.endpoint.blob(&self.home.path, digest);
        self.run(cx, "delete", digest, self.delete_at(cx, url))
            .await
    }

    pub(crate) async fn referrers_of_type(
        &self,
        cx: &Cx,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> ocicore::Result<Vec<Descriptor>> {
        let list = self.list_referrers(cx, subject, artifact_type);
        self.run(cx, "list", subject, list).await
    }

    /// Nothing proves a list, as a digest does content: mirrors are asked only while the registry
    /// does not answer, if they may be asked for tags, and believed only if they keep lists.
    async fn list_referrers(
        &self,
        cx: &Cx,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>> {
        let rest = &self.registry.0.rest;
        let tag = Name::Tag(referrers::tag_of(subject)?);
        let at = |site| referrers::list(self, cx, site, subject, artifact_type);
        let has_mirror = self.live_mirrors().any(|mirror| mirror.serves(&tag));
        let mut silence = None;
        if !has_mirror || !rest.has(&self.home) {
            let found = at(&self.home).await;
            // Another answer may be about referrers alone.
            if has_mirror && matches!(found, Err(Error::Transport { .. })) {
                rest.note(&self.home, &found);
            }
            match found {
                Err(error) if is_silent(&error) => silence = Some(error),
                answered => return Ok(answered?.unwrap_or_default()),
            }
        }
        let mut faults = Vec::new();
        for mirror in self.live_mirrors().filter(|mirror| mirror.serves(&tag)) {
            match at(mirror).await {
                Ok(Some(list)) => return Ok(list),
                Ok(None) => {
                    let host = endpoint::authority(mirror.endpoint.base());
                    faults.push(format!("`{host}` keeps no list"));
                }
                Err(error) => faults.push(in_one_line(&error)),
            }
        }
        let last = match silence {
            Some(error) => Err(error),
            None => at(&self.home).await.map(Option::unwrap_or_default),
        };
        last.map_err(|error| error.with_mirrors(faults))
    }

    /// A manifest that refers to another one leaves the list that clients keep of these, too. It
    /// leaves that first: if this ends in its middle, the manifest still says what it refers to,
    /// so that all can be done again.
    async fn delete_manifest(&self, cx: &Cx, name: &Name) -> Result<()> {
        let referrer = match name {
            Name::Digest(_) => referrers::entry_of(self, cx, name).await?,
            // Removing a tag removes no manifest.
            Name::Tag(_) => None,
        };
        let Some((subject, entry)) = referrer else {
            return self.delete_name(cx, name).await;
        };
        referrers::forget(self, cx, &subject, &entry).await?;
        let deleted = self.delete_name(cx, name).await;
        // What is said of it, if there is an answer, need not be so.
        if deleted.is_err()
            && self.get(cx, &self.home, name).await.is_ok()
            && let Err(error) = referrers::restore(self, cx, &subject, entry).await
        {
            tracing::warn!(%error, "a manifest that was not deleted is off the list of referrers");
        }
        deleted
    }

    async fn delete_name(&self, cx: &Cx, name: &Name) -> Result<()> {
        let url = self.home.endpoint.manifest(&self.home.path, name);
        match self.delete_at(cx, url).await {
            // docker-registry finds a tag no digest, and says so with 400.
            Err(Error::Answer(answer))
                if name.tag().is_some()
                    && answer.status() == 400
                    && answer.has_code("DIGEST_INVALID") =>
            {
                Err(Error::Answer(Box::new(crate::Answer {
                    status: 405,
                    ..*answer
                })))
            }
            result => result,
        }
    }

    pub(crate) async fn head_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool> {
        let url = self
            .home
            .endpoint
            .blob(&self.home.path, descriptor.digest());
        let scopes = Scopes::pull(&self.home.path);
        let call = self.call(&self.home, Method::HEAD, url, scopes, &[200, 404]);
        let incoming = self.send(cx, &call).await?;
        // Some say 0, for their answer has no body.
        let told = incoming
            .announced()
            .filter(|told| *told > 0 && incoming.refuse_encoding().is_ok());
        match (incoming.status(), told) {
            (200, Some(actual)) if actual != descriptor.size() => {
                let (digest, expected) = ((*descriptor.digest()).into(), descriptor.size());
                let error = ocicore::Error::Size {
                    digest,
                    expected,
                    actual,
                };
                Err(Error::content(&incoming.place, error))
            }
            (status, _) => Ok(status == 200),
        }
    }
}

impl fmt::Debug for RegistryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegistryStore").field(&self.name).finish()
    }
}

#[async_trait]
impl ImageSource for RegistryStore {
    async fn resolve(&self, cx: &Cx, name: &Name) -> ocicore::Result<Descriptor> {
        self.run(cx, "resolve", name, self.resolve_anywhere(cx, name))
            .await
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> ocicore::Result<RawManifest> {
        self.run(cx, "read", name, self.get_anywhere(cx, name))
            .await
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        Arc::new(RemoteBlob::new(self.clone(), descriptor.clone()))
    }

    async fn referrers(&self, cx: &Cx, subject: &Digest) -> ocicore::Result<Vec<Descriptor>> {
        self.referrers_of_type(cx, subject, None).await
    }

    fn tags(&self, cx: &Cx) -> BoxStream<Tag> {
        list::tags(self.clone(), cx.clone())
    }
}

#[async_trait]
impl ImageSink for RegistryStore {
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> ocicore::Result<bool> {
        let work = self.head_blob(cx, descriptor);
        self.run(cx, "find", descriptor.digest(), work).await
    }

    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> ocicore::Result<Stored> {
        let digest = blob.descriptor().digest();
        self.run(cx, "write", digest, self.push(cx, blob)).await
    }

    async fn put_manifest(
        &self,
        cx: &Cx,
        manifest: &RawManifest,
        place: Place<'_>,
    ) -> ocicore::Result<()> {
        let subject = match place {
            Place::Root([tag, ..]) => tag.to_string(),
            _ => manifest.digest().to_string(),
        };
        let put = Box::pin(self.put_all(cx, manifest, place));
        self.run(cx, "write", subject, put).await
    }

    async fn delete(&self, cx: &Cx, name: &Name) -> ocicore::Result<()> {
        let deletion = Box::pin(self.delete_manifest(cx, name));
        self.run(cx, "delete", name, deletion).await
    }
}

/// Without a digest to be checked by, a manifest that was cut on its way shows only by its JSON.
fn whole(manifest: RawManifest) -> ocicore::Result<RawManifest> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(manifest.bytes()) {
        Ok(_) => Ok(manifest),
        Err(error) => Err(ocicore::Error::Document {
            what: "manifest",
            digest: (*manifest.digest()).into(),
            source: error.into(),
        }),
    }
}

/// The media type of a manifest, unless the registry names one that says nothing.
fn media_type(incoming: &Incoming) -> Option<MediaType> {
    let field = incoming.header("content-type")?;
    let text = field.split(';').next().unwrap_or_default().trim();
    match text {
        "application/json" | "text/plain" | "application/octet-stream" => None,
        text => text.parse().ok(),
    }
}
