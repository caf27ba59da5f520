use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use engine::spec::ImageName;
use ocicore::{
    Class, Cx, Image, ImageSource, Layout, Name, Platform, Repositories, SizeLimits, Tag, archive,
    copy,
};
use ociregistry::{AuthFiles, Hosts, Registry};

use crate::{Failure, Place, Result, connect};

/// A client as this machine is configured: the logins of `docker login` and `podman login`, the
/// environment's proxies, mirrors and insecure hosts of registries.conf (that which
/// `CONTAINERS_REGISTRIES_CONF` names, else the user's, else the system's), and the certificates of
/// Podman's and Docker's certs.d.
///
/// # Errors
/// If one of these files cannot be read or understood.
pub fn registry() -> Result<Registry> {
    let mut hosts = Hosts::default();
    for directory in ["/etc/docker/certs.d", "/etc/containers/certs.d"] {
        if Path::new(directory).is_dir() {
            hosts = hosts.and(Hosts::from_certs_d(directory)?);
        }
    }
    let named = env::var_os("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from);
    let home = env::var_os("HOME").map(PathBuf::from);
    let users = home.map(|home| home.join(".config/containers/registries.conf"));
    let usual = [
        users,
        Some(PathBuf::from("/etc/containers/registries.conf")),
    ];
    let found = usual.into_iter().flatten().find(|path| path.is_file());
    if let Some(path) = named.or(found) {
        hosts = hosts.and(Hosts::from_registries_conf(path)?);
    }
    let builder = Registry::builder()
        .keychain(AuthFiles::from_env())
        .hosts(hosts);
    Ok(builder.proxies_from_env().build())
}

/// The time that `SOURCE_DATE_EPOCH` says, in seconds after the epoch; else one second after it.
///
/// # Errors
/// If it is no number.
pub fn source_date_epoch() -> Result<SystemTime> {
    let seconds = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().map_err(|_| {
            let error = format!("SOURCE_DATE_EPOCH is `{text}`: expected seconds after the epoch");
            Failure::new(Class::Invalid, error)
        })?,
        Err(_) => 1,
    };
    Ok(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

impl Place {
    /// Opens the image for a platform that is here.
    ///
    /// # Errors
    /// Those of the place; class `NotFound` if there is no such image.
    pub async fn open(
        &self,
        cx: &Cx,
        registry: &dyn Repositories,
        platform: &Platform,
    ) -> Result<Opened> {
        let limits = SizeLimits::default();
        let mut folder = None;
        let (source, name): (Arc<dyn ImageSource>, Name) = match self {
            Self::Registry(reference) => (
                registry.repository(reference.repository())?,
                reference.name(),
            ),
            Self::Layout(path, name) => {
                let layout = Layout::open(path)?;
                let root = match name {
                    Some(name) => layout.root(name)?,
                    None => only(self, layout.roots()?.into_iter().map(|(_, root)| root))?,
                };
                (Arc::new(layout), (*root.digest()).into())
            }
            Self::OciArchive(path, name) => {
                let archive = archive::open(cx, path, &limits).await?;
                let root = self.root(&archive, name.as_deref())?;
                (Arc::new(archive), root)
            }
            Self::DockerArchive(path, name) => {
                let archive = archive::open(cx, path, &limits).await?;
                let name = name.as_ref().map(ToString::to_string);
                let root = self.root(&archive, name.as_deref())?;
                (Arc::new(archive), root)
            }
            Self::Daemon(reference) => {
                let engine = connect(cx, OWNER).await?;
                let temporary = tempfile::tempdir()?;
                let path = temporary.path().join("image.tar");
                let names = [ImageName::from(reference.clone())];
                let archive = engine::save(cx, &*engine, &names, &path, &limits).await?;
                let root = self.root(&archive, None)?;
                folder = Some(temporary);
                (Arc::new(archive), root)
            }
        };
        let image = Image::open(cx, &*source, &name, platform).await?;
        Ok(Opened {
            image,
            _folder: folder,
        })
    }

    fn root(&self, archive: &archive::Archive, name: Option<&str>) -> Result<Name> {
        let root = match name {
            Some(name) => archive.root(name)?.clone(),
            None => only(self, archive.roots().iter().map(|(_, root)| root.clone()))?,
        };
        Ok((*root.digest()).into())
    }

    /// Writes an image here, and returns what was moved. `name` is what an archive without a name
    /// of its own calls it.
    ///
    /// # Errors
    /// Those of the place. What is there stays if it fails.
    pub async fn write(
        &self,
        cx: &Cx,
        registry: &dyn Repositories,
        image: &Image,
        name: &str,
    ) -> Result<copy::Done> {
        let (source, digest) = (Arc::new(image.clone()), *image.digest());
        match self {
            Self::Registry(reference) => {
                let sink = registry.repository(reference.repository())?;
                let root = copy::Root::tagged(digest, reference.tag().cloned());
                let plan =
                    copy::plan(cx, image, &*sink, &[root], &copy::Options::default()).await?;
                Ok(copy::run(cx, plan, source, sink).await?)
            }
            Self::Layout(path, own) => {
                let sink = Arc::new(Layout::open_or_create(path)?);
                let tag: Tag = own.as_deref().unwrap_or("latest").parse()?;
                let root = copy::Root::tagged(digest, [tag]);
                let plan =
                    copy::plan(cx, image, &*sink, &[root], &copy::Options::default()).await?;
                Ok(copy::run(cx, plan, source, sink).await?)
            }
            Self::OciArchive(path, own) => {
                let root = archive::Root::new(digest, [own.as_deref().unwrap_or("latest")]);
                let file = archive::AtomicFile::create(path)?;
                archive::write_oci(cx, source, &[root], file)
                    .await?
                    .commit()?;
                Ok(copy::Done::default())
            }
            Self::DockerArchive(path, own) => {
                let own = own
                    .as_ref()
                    .map_or_else(|| name.to_owned(), ToString::to_string);
                let root = archive::Root::new(digest, [own]);
                let file = archive::AtomicFile::create(path)?;
                let platform = image.config().platform();
                archive::write_docker(cx, source, &[root], &platform, file)
                    .await?
                    .commit()?;
                Ok(copy::Done::default())
            }
            Self::Daemon(reference) => {
                let engine = connect(cx, OWNER).await?;
                let (names, platform) = ([reference.clone()], image.config().platform());
                let image = Name::Digest(digest);
                engine::load_for(cx, &*engine, source, &image, &names, &platform).await?;
                Ok(copy::Done::default())
            }
        }
    }
}

/// An image that was opened, with what it is read from.
#[derive(Debug)]
pub struct Opened {
    /// The image.
    pub image: Image,
    /// Where an engine saved it.
    _folder: Option<tempfile::TempDir>,
}

#[cfg(test)]
impl Opened {
    pub(crate) fn of(image: Image) -> Self {
        Self {
            image,
            _folder: None,
        }
    }
}

/// Whose the things are that are made at an engine.
const OWNER: &str = "job2docker";

/// The one root of a place that was named without one.
fn only<T: PartialEq>(place: &Place, roots: impl Iterator<Item = T>) -> Result<T> {
    let mut roots = roots.collect::<Vec<_>>();
    roots.dedup();
    let count = roots.len();
    match roots.pop() {
        Some(root) if count == 1 => Ok(root),
        _ => {
            let error = format!("{place} holds {count} images");
            Err(Failure::new(Class::NotFound, error).with_hint("name one, as in `oci:DIR:NAME`"))
        }
    }
}
