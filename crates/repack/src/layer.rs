//! Trees as image layers (image-spec layer.md).

use std::{
    collections::BTreeMap, fs::File, io::Write, num::NonZero, panic, path::Path, sync::Arc, thread,
};

use ocicore::{Cx, Descriptor, Digest, MediaType, SizeLimits};

use crate::{
    Error, ReadAt, Result, Tree, tar,
    write::{
        codec::Codec,
        estargz,
        pipeline::{self, Settings},
        plan::Mode,
    },
};

/// Bytes that are verified at once.
const PIECE: usize = 256 << 10;

/// How a layer is written.
///
/// ```
/// use repack::layer::{Compression, Options};
///
/// let options = Options::default().with_compression(Compression::None);
/// assert_eq!(options.media_type().as_str(), "application/vnd.oci.image.layer.v1.tar");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    compression: Compression,
    level: Option<u8>,
    deflated: Deflated,
    threads: Option<NonZero<usize>>,
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: a tar.
    None,
    /// By gzip, with several members.
    #[default]
    Gzip,
    /// By gzip, with an index that tells where each file begins, so that it can be pulled lazily: eStargz (version 1).
    Estargz,
    /// By Zstandard, with several frames.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// What becomes of content that is a deflate stream in its archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deflated {
    /// It is verified and copied, but for small files, which are compressed anew in groups.
    #[default]
    Splice,
    /// It is compressed anew, so that the layer does not depend on who made the archive.
    Recompress,
}

/// A layer that was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Written {
    /// Digest of the bytes that were written.
    pub digest: Digest,
    /// Digest of the uncompressed tar, as image configs list it.
    pub diff_id: Digest,
    /// Bytes that were written.
    pub size: u64,
    /// Bytes of the uncompressed tar.
    pub unpacked_size: u64,
    /// What was written.
    pub media_type: MediaType,
    /// What its descriptor must say besides: the digest of the index of an eStargz.
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest says of a layer, and the config of its image.
///
/// ```
/// use std::sync::Arc;
/// use repack::{Cx, Entry, SizeLimits, Tree, layer};
///
/// let (cx, limits) = (Cx::default(), SizeLimits::default());
/// let mut tree = Tree::new();
/// tree.insert("hello".parse()?, Entry::file("world"))?;
/// let mut blob = Vec::new();
/// let written = layer::write(&cx, &tree, &layer::Options::default(), &mut blob)?;
///
/// let declared = layer::Declared::by(&written.descriptor()).with_diff_id(written.diff_id);
/// let blob = Arc::new(bytes::Bytes::from(blob));
/// let verified = layer::index(&cx, blob, &declared, &limits)?;
/// assert_eq!(verified.read(&"hello".parse()?, 10)?, "world");
/// # Ok::<(), repack::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    digest: Digest,
    size: u64,
    diff_id: Option<Digest>,
}

impl Declared {
    /// What its descriptor says: digest and size.
    pub fn by(descriptor: &Descriptor) -> Self {
        Self {
            digest: *descriptor.digest(),
            size: descriptor.size(),
            diff_id: None,
        }
    }

    /// With the digest of the uncompressed tar, which the image's config lists.
    pub fn with_diff_id(mut self, diff_id: Digest) -> Self {
        self.diff_id = Some(diff_id);
        self
    }
}

/// Indexes the file of a layer that must be the declared one: its digest, its size and, if it is declared, its
/// `diff_id` are verified before there is a tree, and so before anything is extracted.
///
/// What is extracted is what was verified if nobody writes to the file meanwhile; of a compressed layer, which is unpacked
/// into a temporary file first, in any case if its `diff_id` is declared.
///
/// # Errors
/// [`Error::Digest`], [`Error::Size`]; those of [`tar::open`].
pub fn open(
    cx: &Cx,
    path: impl AsRef<Path>,
    declared: &Declared,
    limits: &SizeLimits,
) -> Result<Tree> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::file("open", path))?;
    index(cx, Arc::new(file), declared, limits)
}

/// As [`open`], of a layer from anywhere.
///
/// # Errors
/// [`Error::Digest`], [`Error::Size`]; those of [`tar::index`].
pub fn index(
    cx: &Cx,
    source: Arc<dyn ReadAt>,
    declared: &Declared,
    limits: &SizeLimits,
) -> Result<Tree> {
    let actual = source
        .size()
        .map_err(|error| Error::io("read the layer", error))?;
    let expected = declared.size;
    if actual != expected {
        return Err(Error::Size { expected, actual });
    }
    thread::scope(|scope| {
        let verifying = scope.spawn(|| verify(cx, "digest", &*source, &declared.digest));
        let tree = tar::index_if(
            cx,
            Arc::clone(&source),
            limits,
            |unpacked| match &declared.diff_id {
                Some(diff_id) => verify(cx, "diff_id", unpacked, diff_id),
                None => Ok(()),
            },
        );
        // That it is another layer says more than what is wrong in it.
        verifying
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        tree
    })
}

fn verify(cx: &Cx, what: &'static str, source: &dyn ReadAt, expected: &Digest) -> Result<()> {
    let failed = |error| Error::io("read the layer", error);
    let mut left = source.size().map_err(failed)?;
    let task = cx.task("verify", Some(left));
    let mut hasher = expected.algorithm().hasher();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while left > 0 {
        let n = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        source.read_exact_at(&mut piece[..n], at).map_err(failed)?;
        hasher.update(&piece[..n]);
        at += n as u64;
        left -= n as u64;
        task.add(n as u64)?;
    }
    let actual = hasher.finish();
    if actual == *expected {
        return Ok(());
    }
    Err(Error::Digest {
        what,
        expected: Box::new(*expected),
        actual: Box::new(actual),
    })
}

impl Options {
    /// With another compression than gzip.
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// With another level for what is compressed anew: 1 to 12 for gzip, by default 3; 1 to 22 for
    /// Zstandard, by default 3.
    pub fn with_level(mut self, level: u8) -> Self {
        self.level = Some(level);
        self
    }

    /// With another way for deflated content than splicing it.
    pub fn with_deflated(mut self, deflated: Deflated) -> Self {
        self.deflated = deflated;
        self
    }

    /// With so many threads that inflate and compress, by default as many as the machine runs at
    /// once. The bytes do not depend on it.
    pub fn with_threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Media type of what is written.
    pub fn media_type(&self) -> MediaType {
        match self.compression {
            Compression::None => MediaType::OCI_LAYER,
            Compression::Gzip | Compression::Estargz => MediaType::OCI_LAYER_GZIP,
            #[cfg(feature = "zstd")]
            Compression::Zstd => MediaType::OCI_LAYER_ZSTD,
        }
    }

    fn settings(&self) -> Settings {
        let codec = match self.compression {
            Compression::None => Codec::Plain,
            Compression::Gzip | Compression::Estargz => Codec::Gzip(self.level.unwrap_or(3)),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Codec::Zstd(self.level.unwrap_or(3)),
        };
        let threads = self
            .threads
            .or_else(|| thread::available_parallelism().ok());
        Settings {
            codec,
            mode: Mode {
                splice: matches!(codec, Codec::Gzip(_)) && self.deflated == Deflated::Splice,
                indexed: self.compression == Compression::Estargz,
            },
            threads: threads.unwrap_or(NonZero::<usize>::MIN),
        }
    }
}

impl Written {
    /// Describes it for a manifest.
    pub fn descriptor(&self) -> Descriptor {
        let descriptor = Descriptor::new(self.media_type.clone(), self.digest, self.size);
        let annotations = self.annotations.iter();
        annotations.fold(descriptor, |descriptor, (key, value)| {
            descriptor.with_annotation(key, value)
        })
    }
}

/// Writes a tree as a layer to `to`, and hashes it on the way. All content is verified, but `to`
/// has got most of it when a fault is found: [`into_layer`](crate::into_layer) leaves no such file.
///
/// # Errors
/// [`Error::Entry`] if an archive lies about a content, [`Error::LinkTarget`], [`Error::Level`], [`Error::Io`] if `to` fails, [`Error::Cancelled`].
pub fn write(cx: &Cx, tree: &Tree, options: &Options, to: &mut dyn Write) -> Result<Written> {
    let _span = tracing::debug_span!("write_layer", entries = tree.len()).entered();
    let settings = options.settings();
    let marked;
    let tree = if settings.mode.indexed {
        marked = estargz::marked(tree)?;
        &marked
    } else {
        tree
    };
    let totals = pipeline::run(cx, tree, settings, to)?;
    to.flush()
        .map_err(|error| Error::io("write the layer", error))?;
    Ok(Written {
        digest: totals.digest,
        diff_id: totals.diff_id,
        size: totals.size,
        unpacked_size: totals.unpacked,
        media_type: options.media_type(),
        annotations: totals
            .toc
            .map(|toc| estargz::annotations(&toc, totals.unpacked))
            .unwrap_or_default(),
    })
}
