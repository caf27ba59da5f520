//! Directories as packages in a store of images.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use ocicore::{
    Cx, Digest, FileBlob, Image, ImageBuilder, Layer, Platform, Reference, Repositories,
    SizeLimits, Tag, copy,
};
use repack::{
    Ignore, Mtime, Pattern, Tree,
    dir::{self, Attributes},
    layer,
};
use serde::Serialize;

use crate::{Error, PackageName, Result, Version, confine, install::VERSION_LABEL, tools};

const TITLE_LABEL: &str = "org.opencontainers.image.title";

/// What is to be published.
#[derive(Clone, Debug)]
pub struct PublishSpec {
    directory: PathBuf,
    reference: Reference,
    version: Option<Version>,
    platform: Platform,
    labels: BTreeMap<String, String>,
    created: SystemTime,
}

impl PublishSpec {
    /// A directory as the package that `reference` names, for this machine. The tag is its
    /// version, but for `latest`, which is none.
    pub fn new(directory: impl Into<PathBuf>, reference: Reference) -> Self {
        Self {
            directory: directory.into(),
            reference,
            version: None,
            platform: Platform::host(),
            labels: BTreeMap::new(),
            created: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1),
        }
    }

    /// With a version that is not the tag.
    pub fn with_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// For another platform.
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// With one more label, which is also an annotation.
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// With another time for the image and all of its files than one second after the epoch.
    pub fn with_created(mut self, created: SystemTime) -> Self {
        self.created = created;
        self
    }
}

/// What will be published.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Where it goes.
    pub reference: Reference,
    /// How the package is called there.
    pub name: PackageName,
    /// For which platform it is.
    pub platform: Platform,
    /// Labels and annotations.
    pub labels: BTreeMap<String, String>,
    /// Names of its tools.
    pub tools: Vec<String>,
    /// Entries, directories included.
    pub entries: usize,
    /// Bytes of all files.
    pub bytes: u64,
    #[serde(skip)]
    tag: Tag,
    #[serde(skip)]
    directory: PathBuf,
    #[serde(skip)]
    tree: Tree,
    #[serde(skip)]
    created: SystemTime,
}

/// What was published.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// What it is.
    #[serde(flatten)]
    pub plan: Plan,
    /// Digest of the image's manifest, by which it can be installed.
    pub digest: Digest,
    /// Its layer.
    pub layer: layer::Written,
    /// What was moved.
    pub copied: copy::Done,
}

/// Reads the names and modes in a directory, not the content. What its `.dockerignore` says is
/// left out; modes stay.
///
/// # Errors
/// [`Error::Package`] if it cannot be read, [`Error::Empty`], [`Error::Escape`] and
/// [`Error::Special`] for what no install would take; [`Error::Parse`] if the reference has no
/// tag.
pub async fn plan(cx: &Cx, spec: &PublishSpec) -> Result<Plan> {
    let spec = spec.clone();
    cx.blocking(move |cx| {
        let tag = spec.reference.tag().cloned().ok_or_else(|| Error::Parse {
            noun: "place to publish to",
            input: spec.reference.to_string(),
            expected: "expected a tag",
        })?;
        let name = PackageName::of(&spec.reference)?;
        let tree = read(&cx, &spec.directory, spec.created)?;
        confine::check(&tree)?;
        let version = match spec.version {
            Some(version) => Some(version),
            None => (tag != Tag::latest()).then(|| tag.clone().into()),
        };
        let mut labels = BTreeMap::from([(TITLE_LABEL.to_owned(), name.to_string())]);
        labels.extend(version.map(|version| (VERSION_LABEL.to_owned(), version.to_string())));
        labels.extend(spec.labels);
        let plan = Plan {
            reference: spec.reference,
            name,
            platform: spec.platform,
            labels,
            tools: Vec::new(),
            entries: tree.len(),
            bytes: tree.content_size(),
            tag,
            directory: spec.directory,
            tree,
            created: spec.created,
        };
        let tools = tools::find(&plan.tree, plan.image().build()?.config());
        Ok(Plan {
            tools: tools.into_keys().collect(),
            ..plan
        })
    })
    .await
}

/// Writes the layer and the image. The same directory gives the same digest, at any time and on
/// any machine.
///
/// # Errors
/// [`Error::Package`] if a file cannot be read, [`Error::Store`].
pub async fn run(cx: &Cx, repositories: &dyn Repositories, plan: Plan) -> Result<Outcome> {
    let folder = tempfile::tempdir().map_err(Error::file("create", std::env::temp_dir()))?;
    let path = folder.path().join("layer.tar.gz");
    let (tree, directory, file) = (plan.tree.clone(), plan.directory.clone(), path.clone());
    let layer = cx
        .blocking(move |cx| {
            repack::into_layer(&cx, &tree, &layer::Options::default(), &file)
                .map_err(failed(&directory))
        })
        .await?;
    let blob = FileBlob::described(layer.descriptor(), path);
    let content = Layer::new(Arc::new(blob), layer.diff_id).with_created_by("layerpkg publish");
    let image: Image = plan.image().append(content).build()?;
    let digest = *image.digest();
    let sink = repositories.repository(plan.reference.repository())?;
    let root = copy::Root::tagged(digest, [plan.tag.clone()]);
    let steps = copy::plan(cx, &image, &*sink, &[root], &copy::Options::default()).await?;
    let copied = copy::run(cx, steps, Arc::new(image), sink).await?;
    Ok(Outcome {
        plan,
        digest,
        layer,
        copied,
    })
}

impl Plan {
    fn image(&self) -> ImageBuilder {
        let mut image = ImageBuilder::scratch(&self.platform).created(self.created);
        for (key, value) in &self.labels {
            image = image.label(key, value).annotation(key, value);
        }
        image
    }
}

/// What is left out, as by `docker build`.
const IGNORE_FILE: &str = ".dockerignore";

/// The directory with nothing in it that depends on the machine.
fn read(cx: &Cx, path: &Path, created: SystemTime) -> Result<Tree> {
    let file = path.join(IGNORE_FILE);
    let ignore = match fs::read_to_string(&file) {
        Ok(text) => Ignore::parse(&text).map_err(failed(path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
        Err(error) => return Err(Error::file("read", file)(error)),
    };
    let options = dir::Options::default()
        .with_ignore(ignore)
        .with_attributes(Attributes::OfDisk);
    let tree = dir::open(cx, path, &options, &SizeLimits::default());
    let mut tree = tree.map_err(failed(path))?;
    if tree.is_empty() {
        return Err(Error::Empty {
            path: path.to_owned(),
        });
    }
    let since = created.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    tree.set_mtime(
        &Pattern::all(),
        Mtime::from_seconds(i64::try_from(seconds).unwrap_or(0)),
    );
    tree.set_owner(&Pattern::all(), 0, 0);
    Ok(tree)
}

fn failed(path: &Path) -> impl FnOnce(repack::Error) -> Error + use<> {
    let path = path.to_owned();
    |source| match source {
        repack::Error::Cancelled => Error::Store(ocicore::Error::Cancelled),
        source => Error::Package { path, source },
    }
}
