//! Trees as image layers (image-spec layer.md).

use std::{collections::BTreeMap, io::Write, num::NonZero, thread};

use ocicore::{Cx, Descriptor, Digest, MediaType};

use crate::{
    Error, Result, Tree,
    write::{
        codec::Codec,
        estargz,
        pipeline::{self, Settings},
        plan::Mode,
    },
};

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
