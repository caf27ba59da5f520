//! Layers, fetched and verified, and the tree that they make.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
    sync::Arc,
};

use flate2::bufread::MultiGzDecoder;
use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{
    Cx, Descriptor, Digest, Hasher, Image, Layer, MediaType, Reader, SizeLimits, Task,
    verified_blob,
};
use repack::{Tree, tar};

use crate::{Error, Result, staging::Staging};

/// Layers that are fetched at once, as many as Docker does.
const AT_ONCE: usize = 3;
const PIECE: usize = 256 << 10;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Packing {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "tar",
            Self::Gzip => "gzip",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
        }
    }
}

/// How a layer is to be unpacked, known before a byte of it is fetched.
pub(super) fn packing(layer: &Descriptor) -> Result<Packing> {
    match layer.media_type() {
        t if *t == MediaType::OCI_LAYER || *t == MediaType::DOCKER_LAYER => Ok(Packing::Plain),
        t if *t == MediaType::OCI_LAYER_GZIP || *t == MediaType::DOCKER_LAYER_GZIP => {
            Ok(Packing::Gzip)
        }
        #[cfg(feature = "zstd")]
        t if *t == MediaType::OCI_LAYER_ZSTD => Ok(Packing::Zstd),
        other => Err(Error::MediaType {
            layer: (*layer.digest()).into(),
            media_type: other.clone(),
        }),
    }
}

/// The files of an image. Their content is in temporary files in `staging`, which have no names
/// and are gone with the tree; digests of layers are verified.
pub(super) async fn tree(cx: &Cx, image: &Image, staging: &Arc<Staging>) -> Result<Tree> {
    let layers = image.layers()?;
    let sizes = layers.iter().map(|layer| layer.blob().descriptor().size());
    let task = cx.task("fetch", Some(sizes.fold(0, u64::saturating_add)));
    let fetches = layers.iter().map(|layer| {
        let (layer, task, staging) = (layer.clone(), task.clone(), Arc::clone(staging));
        cx.blocking(move |cx| fetch(&cx, &layer, staging.path(), &task))
    });
    let fetches: Vec<_> = fetches.collect();
    let trees: Vec<Tree> = stream::iter(fetches)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut stacked = Tree::new();
    for (layer, tree) in layers.iter().zip(trees) {
        let digest = layer.blob().descriptor().digest();
        stacked.apply_layer(tree).map_err(refuse(digest))?;
    }
    Ok(stacked)
}

/// Fetches, verifies, unpacks and indexes one layer, in one pass.
fn fetch(cx: &Cx, layer: &Layer, directory: &Path, task: &Task) -> Result<Tree> {
    let descriptor = layer.blob().descriptor();
    let (digest, limits) = (*descriptor.digest(), SizeLimits::default());
    let _span = tracing::debug_span!("fetch_layer", %digest).entered();
    let packing = packing(descriptor)?;
    let content = verified_blob(&**layer.blob());
    let mut packed = Counted {
        from: Reader::new(cx, content),
        task: task.clone(),
    };
    let file = tempfile::tempfile_in(directory).map_err(Error::file("write in", directory))?;
    let hasher = layer.diff_id().algorithm().hasher();
    let mut to = Unpacked {
        to: BufWriter::with_capacity(PIECE, file),
        hasher,
        size: 0,
        // Three headers for an entry at most, as most archives have it.
        limit: limits
            .unpacked()
            .saturating_add(limits.entries().saturating_mul(3 * 512)),
    };
    let copied = match packing {
        Packing::Plain => copy(&mut packed, &mut to),
        Packing::Gzip => {
            let mut unpacking =
                MultiGzDecoder::new(BufReader::with_capacity(PIECE, packed.by_ref()));
            copy(&mut unpacking, &mut to)
        }
        #[cfg(feature = "zstd")]
        Packing::Zstd => unzstd(packed.by_ref()).and_then(|mut from| copy(&mut from, &mut to)),
    };
    // Whatever the content is: if it is not the right one, that is what is wrong with it.
    let verified = io::copy(&mut packed, &mut io::sink());
    for result in [verified.map(drop), copied] {
        result.map_err(|error| match error.raw_os_error() {
            // Of the temporary file; what is fetched has errors of its own.
            Some(_) => Error::file("write in", directory)(error),
            None => failed(error, &digest, packing.name()),
        })?;
    }
    let actual = to.hasher.finish();
    if actual != *layer.diff_id() {
        return Err(Error::DiffId {
            layer: digest.into(),
            expected: (*layer.diff_id()).into(),
            actual: actual.into(),
        });
    }
    let file = to.to.into_inner().map_err(io::IntoInnerError::into_error);
    let file = file.map_err(Error::file("write in", directory))?;
    tar::index(cx, Arc::new(file), &limits).map_err(refuse(&digest))
}

/// Frames that want more than 128 MiB of memory are refused, as by `zstd` itself.
#[cfg(feature = "zstd")]
fn unzstd<R: Read>(packed: R) -> io::Result<zstd::Decoder<'static, BufReader<R>>> {
    let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(PIECE, packed))?;
    decoder.window_log_max(27)?;
    Ok(decoder)
}

/// As [`io::copy`], in large pieces.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

fn failed(error: io::Error, layer: &Digest, format: &'static str) -> Error {
    match error.downcast::<ocicore::Error>() {
        Ok(error) => Error::Store(error),
        Err(error) => match error.downcast::<repack::Error>() {
            Ok(error) => refuse(layer)(error),
            Err(error) => refuse(layer)(repack::Error::Archive {
                format,
                source: error.into(),
            }),
        },
    }
}

fn refuse(layer: &Digest) -> impl FnOnce(repack::Error) -> Error + use<> {
    let layer = Box::new(*layer);
    |source| match source {
        repack::Error::Cancelled => Error::Store(ocicore::Error::Cancelled),
        source => Error::Layer { layer, source },
    }
}

/// Reports what is read as progress.
struct Counted {
    from: Reader,
    task: Task,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.task
            .add(n as u64)
            .map_err(|cancelled| io::Error::from(ocicore::Error::from(cancelled)))?;
        Ok(n)
    }
}

/// Hashes what is written, and stops at a limit.
struct Unpacked {
    to: BufWriter<File>,
    hasher: Hasher,
    size: u64,
    limit: u64,
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        if self.size > self.limit {
            return Err(io::Error::from(repack::Error::Limit {
                what: "the unpacked layer".to_owned(),
                limit: self.limit,
            }));
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
