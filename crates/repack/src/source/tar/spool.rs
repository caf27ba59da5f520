//! Compressed archives are unpacked into a temporary file once, so that their entries can be read
//! at any place.

use std::{
    io::{self, BufReader, BufWriter, Read, Write},
    sync::Arc,
};

use flate2::bufread::MultiGzDecoder;
use ocicore::{Cx, SizeLimits};

use crate::{Error, ReadAt, Result};

const PIECE: usize = 256 << 10;

/// The archive itself, or what it unpacks to.
pub(super) fn unpacked(
    cx: &Cx,
    source: Arc<dyn ReadAt>,
    limits: &SizeLimits,
) -> Result<Arc<dyn ReadAt>> {
    let size = source.size().map_err(failed)?;
    let mut magic = [0; 4];
    if size < 4 {
        return Ok(source);
    }
    source.read_exact_at(&mut magic, 0).map_err(failed)?;
    let compressed = BufReader::with_capacity(
        PIECE,
        Sequential {
            source: &*source,
            at: 0,
            size,
        },
    );
    let spooled = match magic {
        [0x1f, 0x8b, ..] => {
            let mut decoder = MultiGzDecoder::new(compressed);
            spool(cx, &mut decoder, "gzip", limits)?
        }
        #[cfg(feature = "zstd")]
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let decoder = zstd::Decoder::with_buffer(compressed);
            let mut decoder = decoder.map_err(|error| Error::io("decompress", error))?;
            // Frames that want more than 128 MiB of memory are refused.
            decoder
                .window_log_max(27)
                .map_err(|error| Error::io("decompress", error))?;
            spool(cx, &mut decoder, "zstd", limits)?
        }
        _ => return Ok(source),
    };
    Ok(Arc::new(spooled))
}

fn spool(
    cx: &Cx,
    from: &mut dyn Read,
    format: &'static str,
    limits: &SizeLimits,
) -> Result<std::fs::File> {
    let write = |error| Error::io("write a temporary file", error);
    let mut to = BufWriter::with_capacity(PIECE, tempfile::tempfile().map_err(write)?);
    // Headers come on top of the content, three blocks for an entry at most in most archives.
    let limit = limits
        .unpacked()
        .saturating_add(limits.entries().saturating_mul(3 * 512));
    let task = cx.task("unpack", None);
    let mut buffer = vec![0; PIECE];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(match error.downcast::<Error>() {
                    Ok(ours) => ours,
                    Err(error) => Error::Archive {
                        format,
                        source: error.into(),
                    },
                });
            }
        };
        if task.add(n as u64)? > limit {
            return Err(Error::Limit {
                what: "the unpacked archive".to_owned(),
                limit,
            });
        }
        to.write_all(&buffer[..n]).map_err(write)?;
    }
    to.into_inner().map_err(|error| write(error.into_error()))
}

/// A [`ReadAt`] from its start to its end.
struct Sequential<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    size: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.size - self.at;
        let n = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        self.source
            .read_exact_at(&mut buffer[..n], self.at)
            .map_err(|error| io::Error::from(failed(error)))?;
        self.at += n as u64;
        Ok(n)
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("read the archive", error)
}
