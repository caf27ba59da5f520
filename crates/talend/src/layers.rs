//! Jobs as several layers, so that a change of a job moves only what changed.
//!
//! Libraries go to `/talend/jars/<digest>/<name>.jar`, where they are the same for all jobs and
//! versions, and so are their layers; `lib/<name>.jar` of a job is a symbolic link there. The job
//! itself, with its routines, is a small layer of its own, the last one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use bytes::Bytes;
use ocicore::{Algorithm, Cx, Hasher};
use repack::{Content, Entry, EntryPath, Kind, Mtime, Tree};

use crate::{
    Error, Result,
    job::Job,
    options::{ConvertOptions, SignedFiles},
    signed::META_INF,
};

/// The directory of libraries, in a built job.
pub(crate) const LIB: &str = "lib";
/// Largest library that is read at once: 8 MiB.
const WHOLE: u64 = 8 << 20;
/// Bytes that are hashed at once of a larger one.
const CHUNK: usize = 64 << 10;
/// Fewer layers than this cannot keep apart what changes and what does not.
const FEWEST_LAYERS: usize = 4;

/// How an image is split into layers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerOptions {
    /// Most layers; 100, which leaves room for those of the base: engines stop at 127.
    pub max_layers: usize,
    /// Libraries of at least so many bytes get a layer of their own; 512 KiB.
    pub large: u64,
    /// What becomes of sources and other residue of the build.
    pub residue: Residue,
}

/// What becomes of files that only the build needed. Closed: they are there or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residue {
    /// They are left out, and listed.
    #[default]
    Drop,
    /// They stay.
    Keep,
}

/// An image's layers, the lowest first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Layers {
    /// The layers; paths are those in the image.
    pub layers: Vec<ImageLayer>,
    /// What was left out, as paths in the image; directories stand for all that was in them.
    pub dropped: Vec<EntryPath>,
}

/// One layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageLayer {
    /// What is in it, for the image's history.
    pub name: String,
    /// Its content.
    pub tree: Tree,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self {
            max_layers: 100,
            large: 512 << 10,
            residue: Residue::Drop,
        }
    }
}

impl LayerOptions {
    /// With another number of layers, at least 4.
    pub fn with_max_layers(mut self, max_layers: usize) -> Self {
        self.max_layers = max_layers;
        self
    }

    /// With another size in bytes from which on a library has a layer of its own.
    pub fn with_large(mut self, large: u64) -> Self {
        self.large = large;
        self
    }

    /// With another answer to residue of the build.
    pub fn with_residue(mut self, residue: Residue) -> Self {
        self.residue = residue;
        self
    }
}

/// Where a job lies in an image, and what of it is residue.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) name: String,
    /// Directory with `lib` and the job: `talend/<Job>_<version>`.
    pub(crate) root: EntryPath,
    /// Paths in the image.
    pub(crate) residue: Vec<EntryPath>,
}

/// What only the build needed, as paths in the built job; directories stand for all that is in
/// them. The signature of a build does not outlive the edits.
pub(crate) fn residue(tree: &Tree, job: &Job, options: &ConvertOptions) -> Result<Vec<EntryPath>> {
    const AT_ROOT: [&str; 7] = [
        "code",
        "items",
        "jobs",
        "pom.xml",
        "src",
        "sunfire-reports",
        "surefire-reports",
    ];
    const IN_JOB: [&str; 5] = ["code", "items", "jobs", "pom.xml", "src"];
    let mut found = Vec::new();
    for name in AT_ROOT {
        found.push(name.parse()?);
    }
    if options.signed_files == SignedFiles::Namespace {
        found.push(META_INF.parse()?);
    }
    for name in IN_JOB {
        found.push(job.directory.join(&name.parse()?)?);
    }
    // A project may be called `src`: its contexts are needed.
    let project = job.project().map(str::to_ascii_lowercase);
    found.retain(|path: &EntryPath| {
        let is_project =
            path.to_str().and_then(|path| path.rsplit('/').next()) == project.as_deref();
        let has_contexts = job
            .contexts
            .iter()
            .any(|file| file.path.strip_prefix(path).is_some());
        tree.contains(path) && !is_project && !has_contexts
    });
    Ok(found)
}

/// Digests of libraries by their paths.
pub(crate) type Digests = BTreeMap<EntryPath, String>;

/// Splits an image tree with jobs in it; digests that are `known` are not computed again.
pub(crate) fn split(
    cx: &Cx,
    mut tree: Tree,
    parent: &EntryPath,
    jobs: &[Placement],
    known: &Digests,
    mtime: Mtime,
    options: &LayerOptions,
) -> Result<Layers> {
    let mut dropped = Vec::new();
    if options.residue == Residue::Drop {
        for path in jobs.iter().flat_map(|job| &job.residue) {
            if tree.remove(path) > 0 {
                dropped.push(path.clone());
            }
        }
        dropped.sort();
    }
    let store: EntryPath = parent.join(&"jars".parse()?)?;
    let roots: BTreeSet<&EntryPath> = jobs.iter().map(|job| &job.root).collect();
    for root in roots {
        move_to_store(cx, &mut tree, root, &store, known)?;
    }
    crate::convert::set_owner(&mut tree, mtime);

    // Two for small libraries and for what jobs share; jobs come before large libraries.
    let available = options.max_layers.max(FEWEST_LAYERS) - 2;
    let job_layers = jobs.len().min(available * 2 / 3);
    let plan = LibraryLayers::plan(&tree, &store, options.large, available - job_layers);
    let shared = plan.large + 1;
    let directories = job_directories(jobs, job_layers)?;
    let mut names: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let trees = tree.split(|path, _| {
        let job = directories
            .iter()
            .find(|(directory, _)| path == *directory || path.strip_prefix(directory).is_some());
        let (layer, name) = match (path.strip_prefix(&store), job, jobs) {
            (Some(library), _, _) => {
                let name = String::from_utf8_lossy(library.file_name()).into_owned();
                (plan.layer(&library), name)
            }
            (None, Some((_, (layer, name))), _) => (shared + 1 + layer, name.clone()),
            (None, None, [only]) => (shared + 1, only.name.clone()),
            (None, None, _) => (shared, "shared files".to_owned()),
        };
        names.entry(layer).or_default().insert(name);
        layer
    })?;
    let layers = trees
        .into_iter()
        .enumerate()
        .filter(|(_, tree)| !tree.is_empty())
        .map(|(layer, tree)| ImageLayer {
            name: layer_name(names.get(&layer)),
            tree,
        })
        .collect();
    Ok(Layers { layers, dropped })
}

/// Which layer each library goes to.
#[derive(Debug)]
struct LibraryLayers {
    /// Directory in the store to layer.
    own: BTreeMap<Vec<u8>, usize>,
    /// Number of layers of large libraries.
    large: usize,
}

impl LibraryLayers {
    /// Large libraries have a layer each if there are enough; else their digests tell, so that a
    /// library always shares its layer with the same ones. Small ones have one together.
    fn plan(tree: &Tree, store: &EntryPath, large: u64, available: usize) -> Self {
        let directories: BTreeSet<Vec<u8>> = tree
            .under(store)
            .filter(|(_, entry)| {
                let size = entry.content().map(Content::size);
                size.is_some_and(|size| size >= large)
            })
            .filter_map(|(path, _)| {
                let library = path.strip_prefix(store)?;
                Some(library.components().next()?.to_vec())
            })
            .collect();
        let enough = directories.len() <= available;
        let own = directories.iter().enumerate().map(|(at, directory)| {
            let layer = if enough {
                at
            } else {
                bucket(directory, available)
            };
            (directory.clone(), layer)
        });
        Self {
            own: own.collect(),
            large: directories.len().min(available),
        }
    }

    fn layer(&self, library: &EntryPath) -> usize {
        let directory = library.components().next().unwrap_or_default();
        self.own.get(directory).copied().unwrap_or(self.large)
    }
}

/// One of `count` by the first digits of a digest.
fn bucket(digest: &[u8], count: usize) -> usize {
    let digits = digest.iter().take(8);
    digits.fold(0, |sum, digit| (sum * 16 + usize::from(*digit)) % count)
}

/// Directory of each job to its layer, counted from 0, and its name. A job in a root of its own
/// takes all of it.
fn job_directories(
    jobs: &[Placement],
    layers: usize,
) -> Result<BTreeMap<EntryPath, (usize, String)>> {
    let mut directories = BTreeMap::new();
    for (at, job) in jobs.iter().enumerate() {
        let layer = if jobs.len() <= layers {
            at
        } else {
            // By name, so that one more job does not move the others.
            let hash = Algorithm::Sha256.digest(job.name.as_bytes());
            usize::from(hash.as_bytes()[0]) % layers
        };
        let alone = jobs.iter().filter(|other| other.root == job.root).count() == 1;
        let directory = if alone {
            job.root.clone()
        } else {
            job.root.join(&job.name.parse()?)?
        };
        directories.insert(directory, (layer, job.name.clone()));
    }
    Ok(directories)
}

/// Moves the libraries of `root` to the store and leaves symbolic links.
fn move_to_store(
    cx: &Cx,
    tree: &mut Tree,
    root: &EntryPath,
    store: &EntryPath,
    known: &Digests,
) -> Result<()> {
    let lib = root.join(&LIB.parse()?)?;
    let (found, new): (Vec<_>, Vec<_>) = libraries(tree, &lib)
        .into_iter()
        .partition(|(path, _)| known.contains_key(path));
    let digests = digests(cx, &new)?;
    let found = found.into_iter().filter_map(|(path, content)| {
        let digest = known.get(&path)?.clone();
        Some(((path, content), digest))
    });
    let libraries: Vec<_> = found.chain(new.into_iter().zip(digests)).collect();
    let up = "../".repeat(lib.components().count() - store.components().count() + 1);
    for ((path, content), digest) in libraries {
        let name = EntryPath::parse(path.file_name())?;
        let inner = EntryPath::parse(digest.as_bytes())?.join(&name)?;
        let target = format!("{up}jars/{digest}/").into_bytes();
        let target = [target.as_slice(), path.file_name()].concat();
        tree.remove(&path);
        tree.insert(store.join(&inner)?, Entry::file(content))?;
        tree.insert(path, Entry::new(Kind::Symlink(Bytes::from(target))))?;
    }
    Ok(())
}

/// The libraries in a directory: all jars but those of the project itself, whose routines change
/// with each build.
pub(crate) fn libraries(tree: &Tree, lib: &EntryPath) -> Vec<(EntryPath, Content)> {
    tree.under(lib)
        .filter(|(path, _)| path.parent().as_ref() == Some(lib) && is_library(path))
        .filter_map(|(path, entry)| Some((path.clone(), entry.content()?.clone())))
        .collect()
}

fn is_library(path: &EntryPath) -> bool {
    let name = path.file_name();
    let routines = [b"routines".as_slice(), b"systemRoutines", b"userRoutines"];
    name.ends_with(b".jar") && !routines.iter().any(|prefix| name.starts_with(prefix))
}

/// The first half of the SHA-256 of each library, in hexadecimal, by as many threads as the machine
/// runs at once. Of libraries that are the same in several archives, one is hashed.
pub(crate) fn digests(cx: &Cx, libraries: &[(EntryPath, Content)]) -> Result<Vec<String>> {
    let bytes = libraries.iter().map(|(_, content)| content.size()).sum();
    let task = cx.task("hash libraries", Some(bytes));
    // The first with that size and checksum.
    let mut firsts = BTreeMap::new();
    let firsts: Vec<usize> = (0..libraries.len())
        .map(|at| {
            let content = &libraries[at].1;
            match content.declared_crc32() {
                Some(crc) => *firsts.entry((content.size(), crc)).or_insert(at),
                None => at,
            }
        })
        .collect();
    let same = in_parallel(libraries.len(), |at| {
        let (path, content) = &libraries[at];
        let first = firsts[at];
        let failed = |source| Error::Read {
            path: path.to_string(),
            source,
        };
        let same = first != at && content.is_stored_as(&libraries[first].1).map_err(failed)?;
        if same {
            task.add(content.size())?;
        }
        Ok(same)
    })?;
    let hashed = in_parallel(libraries.len(), |at| {
        if same[at] {
            return Ok(String::new());
        }
        let (path, content) = &libraries[at];
        let digest = digest(cx, path, content)?;
        task.add(content.size())?;
        Ok(digest)
    })?;
    let digests = (0..libraries.len()).map(|at| {
        let from = if same[at] { firsts[at] } else { at };
        hashed[from].clone()
    });
    Ok(digests.collect())
}

/// Does `work` for 0 to `count`, by as many threads as the machine runs at once.
fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let some = || -> Result<Vec<(usize, T)>> {
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && at < count
        {
            done.push((at, work(at)?));
        }
        Ok(done)
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let results: Vec<_> = thread::scope(|scope| {
        let spawned: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(some)).collect();
        let own = some();
        let others = spawned.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        [own].into_iter().chain(others).collect()
    });
    let mut all: Vec<(usize, T)> = Vec::with_capacity(count);
    for result in results {
        all.extend(result?);
    }
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, done)| done).collect())
}

fn digest(cx: &Cx, path: &EntryPath, content: &Content) -> Result<String> {
    let failed = |source| Error::Read {
        path: path.to_string(),
        source,
    };
    let mut hasher = Hasher::new(Algorithm::Sha256);
    // Inflated at once, it is inflated faster; what is wrong with it, the reader says better.
    if content.size() <= WHOLE
        && let Ok(bytes) = content.read(WHOLE)
    {
        hasher.update(&bytes);
        return Ok(hasher.finish().hex()[..32].to_owned());
    }
    let mut reader = content.open();
    let mut buffer = vec![0; CHUNK];
    loop {
        cx.check()?;
        match reader.read(&mut buffer).map_err(failed)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finish().hex()[..32].to_owned())
}

/// For the image's history: a few names stand for all.
fn layer_name(names: Option<&BTreeSet<String>>) -> String {
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    match names.split_at_checked(3) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more", first.join(", "), rest.len())
        }
        _ => names.join(", "),
    }
}
