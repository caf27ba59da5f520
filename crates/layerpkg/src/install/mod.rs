//! Packages from a store of images into a prefix.

mod fetch;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    sync::Arc,
};

use ocicore::{Cx, Descriptor, Digest, Image, Name, Platform, Reference, Repositories};
use repack::extract::{self, Symlinks};
use serde::Serialize;

use crate::{
    Error, PackageName, Prefix, Result, Version,
    activate::link,
    commit::{create_directory, rename, replace_file, replace_link},
    confine,
    prefix::Origin,
    shims::{self, Taken},
    staging::{self, Staging},
    tools,
};

/// The label by which an image tells its version (image-spec annotations.md).
pub(crate) const VERSION_LABEL: &str = "org.opencontainers.image.version";

/// What is to be installed.
#[derive(Clone, Debug)]
pub struct InstallSpec {
    reference: Reference,
    name: Option<PackageName>,
    platform: Platform,
    activation: Activation,
}

/// When an installed version becomes the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// If its package has no active version.
    #[default]
    First,
    /// In any case.
    Always,
}

impl InstallSpec {
    /// An image, for this machine, as the package that its reference names.
    pub fn new(reference: Reference) -> Self {
        Self {
            reference,
            name: None,
            platform: Platform::host(),
            activation: Activation::default(),
        }
    }

    /// With another name than [`PackageName::of`] the reference.
    pub fn with_name(mut self, name: PackageName) -> Self {
        self.name = Some(name);
        self
    }

    /// With another platform.
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// With another rule of activation.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }
}

/// What an installation will do.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Where it comes from.
    pub origin: Origin,
    /// What will be fetched; nothing if the content is there.
    pub layers: Vec<Descriptor>,
    #[serde(skip)]
    image: Option<Image>,
    #[serde(skip)]
    activation: Activation,
}

/// What an installation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// What changed.
    pub change: Change,
    /// The name under which other content stays that had this version; see [`Change::Replaced`].
    pub kept: Option<Version>,
    /// The active version of the package.
    pub active: Option<Version>,
    /// Names of the package's tools.
    pub tools: Vec<String>,
    /// Tools without a shim, since the name is taken.
    pub taken: Vec<Taken>,
}

/// What an installation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Nothing: this version was there, with this content.
    Present,
    /// The version is new.
    Installed,
    /// The version was there with other content, as of a tag that moved.
    Replaced,
}

/// Finds out what is to be done, and changes nothing. Of what is there from the same reference, at
/// the same digest, only the digest is asked for; nothing at all if the reference has one.
///
/// # Errors
/// [`Error::Store`] if there is no such image, or none for the platform; [`Error::MediaType`] if
/// it has layers that cannot be unpacked.
pub async fn plan(
    cx: &Cx,
    prefix: &Prefix,
    repositories: &dyn Repositories,
    spec: &InstallSpec,
) -> Result<Plan> {
    let reference = &spec.reference;
    let name = match &spec.name {
        Some(name) => name.clone(),
        None => PackageName::of(reference)?,
    };
    let store = repositories.repository(reference.repository())?;
    let root = match reference.name() {
        Name::Digest(digest) => digest,
        tag => *store.resolve(cx, &tag).await?.digest(),
    };
    let origin = Origin {
        reference: reference.clone(),
        root,
        platform: spec.platform.clone(),
    };
    if let Some((version, digest)) = present(prefix, &name, &origin)? {
        return Ok(Plan {
            name,
            version,
            digest,
            origin,
            layers: Vec::new(),
            image: None,
            activation: spec.activation,
        });
    }
    // By digest from here on: a tag may move meanwhile.
    let image = Image::open(cx, &*store, &Name::Digest(root), &spec.platform).await?;
    let mut layers = Vec::new();
    for layer in image.layers()? {
        let descriptor = layer.blob().descriptor();
        fetch::packing(descriptor)?;
        layers.push(descriptor.clone());
    }
    let labels = image.config().labels();
    let annotations = image.manifest().links()?.annotations;
    let label = labels
        .get(VERSION_LABEL)
        .or_else(|| annotations.get(VERSION_LABEL));
    let digest = *image.digest();
    if prefix.entry(&digest).exists() {
        layers.clear();
    }
    Ok(Plan {
        version: Version::of(label.map(String::as_str), reference.tag(), &digest),
        name,
        digest,
        origin,
        layers,
        image: Some(image),
        activation: spec.activation,
    })
}

/// Installs. Nothing is visible before all of it is verified, unpacked and on disk; then one
/// rename makes it so. A version that had other content keeps that under another name.
///
/// Several processes may install into one prefix at once. One that is killed leaves the old state
/// or the new one; the next one removes what it left behind.
///
/// # Errors
/// [`Error::Store`] with [`ocicore::Error::Digest`] if the store gives other content than the
/// image names; [`Error::Layer`], [`Error::DiffId`], [`Error::Escape`], [`Error::Special`] and
/// [`Error::Unpack`] if an image is damaged or hostile; [`Error::File`].
pub async fn run(cx: &Cx, prefix: &Prefix, plan: Plan) -> Result<Outcome> {
    staging::sweep(prefix)?;
    if let Some(image) = &plan.image {
        store(cx, prefix, image).await?;
    }
    let _lock = prefix.lock(cx).await?;
    let Plan {
        name,
        version,
        digest,
        origin,
        ..
    } = plan;
    let tools = prefix.tools(&digest)?;
    let before = prefix.digest(&name, &version)?;
    let active = prefix.active_version(&name)?;
    let taken = shims::add(prefix, &name, &tools)?;
    create_directory(&prefix.package(&name))?;

    let file = prefix.origin_file(&digest, &name, &version);
    if before != Some(digest) || !file.exists() {
        let json = serde_json::to_vec_pretty(&origin).map_err(std::io::Error::from);
        replace_file(&json.map_err(Error::file("write", &file))?, &file)?;
    }
    // A first version becomes active by its link, which leads nowhere until it is there itself.
    let activate = plan.activation == Activation::Always || active.is_none();
    if activate && before.is_none() && active.is_none() {
        link(prefix, &name, &version)?;
    }
    let (change, kept) = match before {
        Some(before) if before == digest => (Change::Present, None),
        Some(before) => {
            let kept = version.kept(&before);
            link_version(prefix, &name, &kept, &before)?;
            (Change::Replaced, Some(kept))
        }
        None => (Change::Installed, None),
    };
    if change != Change::Present {
        link_version(prefix, &name, &version, &digest)?;
    }
    let active = match active {
        Some(active) if !activate || active == version => Some(active),
        _ => {
            if prefix.active_version(&name)?.as_ref() != Some(&version) {
                link(prefix, &name, &version)?;
            }
            Some(version.clone())
        }
    };
    Ok(Outcome {
        name,
        version,
        digest,
        change,
        kept,
        active,
        tools,
        taken,
    })
}

/// The version that was installed from there: by the same tag, or by any if none was asked for.
fn present(
    prefix: &Prefix,
    name: &PackageName,
    origin: &Origin,
) -> Result<Option<(Version, Digest)>> {
    let package = match prefix.find(name) {
        Ok(package) => package,
        Err(Error::NoPackage { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut versions = package.versions.into_iter();
    let same = versions.find(|one| {
        one.origin.as_ref().is_some_and(|there| {
            let (ours, theirs) = (&origin.reference, &there.reference);
            there.root == origin.root
                && there.platform == origin.platform
                && theirs.repository() == ours.repository()
                && (ours.tag().is_none() || ours.tag() == theirs.tag())
        })
    });
    Ok(same
        .map(|one| (one.version, one.digest))
        .filter(|(_, digest)| prefix.entry(digest).exists()))
}

fn link_version(
    prefix: &Prefix,
    name: &PackageName,
    version: &Version,
    digest: &Digest,
) -> Result<()> {
    let algorithm = digest.algorithm().as_str();
    let target = Path::new("../../store").join(algorithm).join(digest.hex());
    replace_link(&target.join("files"), &prefix.files(name, version))
}

/// Makes the content of an image be in the store.
async fn store(cx: &Cx, prefix: &Prefix, image: &Image) -> Result<()> {
    let entry = prefix.entry(image.digest());
    if entry.exists() {
        return Ok(());
    }
    let staging = Staging::acquire(cx, prefix, image.digest()).await?;
    // Another process may have done it meanwhile, or have been killed when it had.
    if entry.exists() {
        return Ok(());
    }
    build(cx, image, &staging, &entry).await
}

async fn build(cx: &Cx, image: &Image, staging: &Arc<Staging>, entry: &Path) -> Result<()> {
    let tree = fetch::tree(cx, image, staging).await?;
    confine::check(&tree)?;
    let (image, staging, entry) = (image.clone(), Arc::clone(staging), entry.to_owned());
    cx.blocking(move |cx| {
        let new = staging.path().join("entry");
        let links = new.join("tools");
        create_directory(&links)?;
        create_directory(&new.join("origins"))?;
        for (tool, path) in tools::find(&tree, image.config()) {
            let target = Path::new("../files").join(OsStr::from_bytes(path.as_bytes()));
            symlink(target, links.join(&tool)).map_err(Error::file("create", &links))?;
        }
        for (name, bytes) in [
            ("manifest.json", image.manifest().bytes()),
            ("config.json", image.config().bytes()),
        ] {
            fs::write(new.join(name), bytes).map_err(Error::file("write", new.join(name)))?;
        }
        // Last, for it makes all of the file system durable. Links were checked, by where they
        // lead and not only by their texts.
        let options = extract::Options::default().with_symlinks(Symlinks::Any);
        extract::extract(&cx, &tree, &options, new.join("files")).map_err(
            |source| match source {
                repack::Error::Cancelled => Error::Store(ocicore::Error::Cancelled),
                source => Error::Unpack {
                    image: (*image.digest()).into(),
                    source,
                },
            },
        )?;
        if let Some(parent) = entry.parent() {
            create_directory(parent)?;
        }
        rename(&new, &entry)
    })
    .await
}
