//! What `buildset-registry` does: a registry for the images of a buildset, and its cleaning.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ocicore::{Class, Cx};
use registryd::{
    Access, Auth, Grant, Pattern, Secret, Server, Sparse, Tls, User, gc,
    storage::{Durability, FsStorage, MemoryStorage, Storage},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::config::Config;
use crate::{Common, Failure, Result, print, registry};

mod config;

/// Where zuul-registry looks for its settings.
const SETTINGS: &str = "/conf/registry.yaml";
/// How long requests in progress may take when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// Where the settings come from, for all commands.
#[derive(clap::Args, Debug)]
pub struct Source {
    /// Settings in the YAML of zuul-registry; options go before them [default:
    /// /conf/registry.yaml, if it is there and no `--storage` is given]
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where images are kept
    #[arg(long, global = true, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Say what `prune` would remove, and remove nothing
    #[arg(long, global = true)]
    dry_run: bool,
}

/// Options of `serve`.
#[derive(clap::Args, Debug, Default)]
pub struct Serve {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// URL by which clients reach this server, if it is not the one that they name
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Let everybody push and delete
    #[arg(long)]
    anonymous_write: bool,
    /// Let only users pull
    #[arg(long, conflicts_with = "anonymous_write")]
    no_anonymous_read: bool,
    /// Users that may push and delete, as `htpasswd -B` writes them
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Users that may only pull
    #[arg(long, value_name = "FILE")]
    htpasswd_read: Option<PathBuf>,
    /// What signs tokens, for several servers on one storage [default: a random secret]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Certificate chain in PEM; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Make a certificate for this name or address; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert")]
    self_signed: Vec<String>,
    /// Write that certificate here, for clients
    #[arg(long, value_name = "FILE", requires = "self_signed")]
    certificate_out: Option<PathBuf>,
    /// Registry to ask for what is not here, for example `docker.io`, or `localhost:5001`, whose
    /// images have names that begin with `localhost_5001`; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    upstream: Vec<String>,
    /// Refuse images some of whose layers are missing
    #[arg(long)]
    complete: bool,
    /// Prune that often while serving, with the settings of `prune` [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    prune_every: Option<u64>,
    #[command(flatten)]
    retention: Retention,
    /// Do not wait for the disk: what was pushed survives the end of the server, but no power loss
    #[arg(long)]
    ephemeral: bool,
    /// Check the settings, and do not serve
    #[arg(long)]
    check: bool,
}

/// Options of `prune`.
#[derive(clap::Args, Debug)]
pub struct Prune {
    #[command(flatten)]
    retention: Retention,
}

/// Which tags are kept.
#[derive(clap::Args, Debug)]
struct Retention {
    /// Remove tags that were pushed longer ago [default: the `expiration` of the settings]
    #[arg(long, value_name = "SECONDS")]
    expiration: Option<u64>,
    /// Of the tags that fit this only, for example `change_*`
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    tags: String,
    /// Keep that many of the last pushed in each repository in any case
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    keep: usize,
}

impl Source {
    /// The file of the settings, if there is one.
    fn settings<'a>(&'a self, usual: &'a Path) -> Option<&'a Path> {
        let usual = (self.storage.is_none() && usual.exists()).then_some(usual);
        self.config.as_deref().or(usual)
    }

    fn read(&self) -> Result<Config> {
        let mut config = match self.settings(Path::new(SETTINGS)) {
            None => Config::default(),
            Some(path) => {
                let text = read(path)?;
                let name = path.display().to_string();
                Config::parse(&name, &text, |name| std::env::var(name).ok())?
            }
        };
        if let Some(root) = &self.storage {
            config.root = Some(root.clone());
        }
        Ok(config)
    }
}

impl Config {
    fn root(&self) -> Result<&Path> {
        self.root.as_deref().ok_or_else(|| {
            let failure = Failure::new(Class::Invalid, "it is not known where images are kept");
            failure.with_hint("give `--storage DIR` or `--config FILE`")
        })
    }

    /// The directory, which is there; it is not for reading to make one.
    fn existing_root(&self) -> Result<&Path> {
        let root = self.root()?;
        match root.is_dir() {
            true => Ok(root),
            false => Err(Failure::new(
                Class::NotFound,
                format!("there is no directory `{}`", root.display()),
            )),
        }
    }
}

impl Serve {
    /// Serves until SIGTERM or Ctrl-C, and lets requests in progress end.
    ///
    /// # Errors
    /// If a setting is not good, or it cannot listen.
    pub async fn run(self, cx: &Cx, common: Common, source: Source) -> Result<()> {
        if source.dry_run && self.prune_every.is_some() {
            let failure = "`--dry-run` and `--prune-every` contradict each other";
            return Err(Failure::new(Class::Invalid, failure));
        }
        let config = source.read()?;
        let mut builder = Server::builder(self.storage(&config)?).auth(self.auth(&config)?);
        if let Some(tls) = self.tls(&config)? {
            builder = builder.tls(tls);
        }
        if self.complete {
            builder = builder.sparse(Sparse::Refuse);
        }
        if let Some(every) = self.prune_every {
            let options = self.retention.options(&config);
            builder = builder.collect(Duration::from_secs(every), options);
        }
        if !self.upstream.is_empty() {
            let client = Arc::new(registry()?);
            for host in &self.upstream {
                builder = builder.upstream(host, client.clone())?;
            }
        }
        let listen = self.listen.or(config.listen);
        let listen = listen.as_deref().unwrap_or("127.0.0.1:5000");
        if self.check {
            let found = tokio::net::lookup_host(listen).await.map(drop);
            found.map_err(|error| {
                let failure = Failure::new(Class::Invalid, error);
                failure.context(format!("cannot listen on `{listen}`"))
            })?;
            return print(common, &json!({ "listen": listen }), |_| {
                format!("the settings are good; would listen on {listen}")
            });
        }
        let has_writers = self.htpasswd.is_some() || config.writers_are_named;
        if !self.anonymous_write && !has_writers {
            tracing::warn!("nobody may push: give `--htpasswd FILE` or `--anonymous-write`");
        }
        allow_open_files();
        let mut terminate = signal(SignalKind::terminate())?;
        let server = builder.bind(listen).await?;
        print(common, &json!({ "listen": server.addr() }), |_| {
            format!("listening on {}", server.addr())
        })?;
        tokio::select! {
            _ = terminate.recv() => {}
            () = cx.cancelled() => {}
        }
        // Who still sends after this time is cut off.
        let _ = tokio::time::timeout(DRAIN, server.shutdown()).await;
        Ok(())
    }

    fn storage(&self, config: &Config) -> Result<Arc<dyn Storage>> {
        let root = config.root()?;
        if self.check && !root.exists() {
            // It is made by who serves, not by who asks.
            return Ok(Arc::new(MemoryStorage::new()));
        }
        if root.join("_local").is_dir() {
            let root = root.display();
            tracing::warn!(
                "`{root}` holds images of zuul-registry, which are not served from there"
            );
        }
        let durability = match self.ephemeral {
            true => Durability::ProcessCrash,
            false => Durability::PowerLoss,
        };
        Ok(Arc::new(FsStorage::with_durability(root, durability)?))
    }

    fn auth(&self, config: &Config) -> Result<Auth> {
        let secret = match (&self.secret_file, &config.secret) {
            (Some(path), _) => Secret::new(read(path)?.trim())?,
            (None, Some(secret)) => secret.clone(),
            (None, None) => Secret::random()?,
        };
        let mut auth = Auth::bearer(secret);
        if let Some(url) = self.public_url.as_ref().or(config.public_url.as_ref()) {
            if !url.starts_with("https://") && !url.starts_with("http://") {
                let fault = format!("public URL is `{url}`: expected `https://` or `http://`");
                return Err(Failure::new(Class::Invalid, fault));
            }
            auth = auth.realm(format!("{}/auth/token", url.trim_end_matches('/')));
        }
        let mut users = config.users.clone();
        for (path, access) in [
            (&self.htpasswd, Access::Write),
            (&self.htpasswd_read, Access::Read),
        ] {
            if let Some(path) = path {
                users.extend(User::from_htpasswd(&read(path)?, access)?);
            }
        }
        for user in users {
            auth = auth.user(user);
        }
        let private = self.no_anonymous_read || config.readers_are_named;
        if self.anonymous_write {
            auth = auth.anonymous(Grant::everything(Access::Write));
        } else if !private && self.htpasswd_read.is_none() {
            auth = auth.anonymous(Grant::everything(Access::Read));
        }
        Ok(auth)
    }

    fn tls(&self, config: &Config) -> Result<Option<Tls>> {
        if !self.self_signed.is_empty() {
            let tls = Tls::self_signed(self.self_signed.iter().cloned())?;
            if let Some(path) = &self.certificate_out
                && !self.check
            {
                std::fs::write(path, tls.certificate())
                    .map_err(|error| Failure::from(error).context(path.display().to_string()))?;
            }
            return Ok(Some(tls));
        }
        let files = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => config
                .tls
                .as_ref()
                .map(|(certificate, key)| (certificate, key)),
        };
        Ok(files
            .map(|(certificate, key)| Tls::from_files(certificate, key))
            .transpose()?)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            expiration: None,
            tags: "*".to_owned(),
            keep: 0,
        }
    }
}

impl Retention {
    fn options(&self, config: &Config) -> gc::Options {
        let options = gc::Options::default();
        let age = self
            .expiration
            .map(Duration::from_secs)
            .or(config.expiration);
        let Some(age) = age else { return options };
        let rule = gc::Rule::new(Pattern::everything(), &self.tags);
        let rule = rule.keep_younger(age).keep_newest(self.keep);
        options.rule(rule).untagged(age)
    }
}

impl Prune {
    /// Removes what nobody keeps, also while a server serves the same directory.
    ///
    /// # Errors
    /// If a setting is not good, the storage fails, or another prune is running.
    pub async fn run(self, cx: &Cx, common: Common, source: Source) -> Result<()> {
        let config = source.read()?;
        let storage: Arc<dyn Storage> = Arc::new(FsStorage::open(config.existing_root()?)?);
        let options = self.retention.options(&config);
        let plan = gc::plan(cx, &storage, &options).await?;
        if source.dry_run {
            return print(common, &plan, |plan| {
                let tags = plan.tags.iter();
                let tags: String = tags
                    .map(|removal| format!("  {}:{}\n", removal.repository, removal.tag))
                    .collect();
                format!(
                    "would remove {} tags, {} manifests, {} blobs, {} uploads, {} bytes\n{tags}",
                    plan.tags.len(),
                    plan.manifests.len(),
                    plan.blobs.len(),
                    plan.uploads.len(),
                    plan.bytes(),
                )
            });
        }
        let report = gc::run(cx, &storage, &plan).await?;
        print(common, &report, |report| {
            format!(
                "removed {} tags, {} manifests, {} blobs, {} uploads, {} bytes",
                report.tags, report.manifests, report.blobs, report.uploads, report.bytes
            )
        })
    }
}

impl From<registryd::Error> for Failure {
    fn from(error: registryd::Error) -> Self {
        match error {
            registryd::Error::Storage(error) => error.into(),
            error => Self::new(error.class(), error),
        }
    }
}

/// Each connection is an open file, of which most systems allow 1,024 unless asked for more.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot allow more open files");
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::from(error).context(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_lie_where_zuul_registry_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let usual = directory.path().join("registry.yaml");
        let source = |config: Option<&str>, storage: Option<&str>| Source {
            config: config.map(PathBuf::from),
            storage: storage.map(PathBuf::from),
            dry_run: false,
        };
        assert_eq!(source(None, None).settings(&usual), None);
        std::fs::write(&usual, "").unwrap();
        for (config, storage, expected) in [
            (None, None, Some(usual.as_path())),
            (None, Some("dir"), None),
            (Some("a"), None, Some(Path::new("a"))),
            (Some("a"), Some("dir"), Some(Path::new("a"))),
        ] {
            let source = source(config, storage);
            assert_eq!(source.settings(&usual), expected, "{source:?}");
        }
    }
}
