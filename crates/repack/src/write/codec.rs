//! Compression of one piece at a time. Both gzip and Zstandard allow pieces to be put together:
//! members (RFC 1952 §2.2) and frames (RFC 8878 §3.1).

use libdeflater::{CompressionLvl, Compressor};

use crate::{Error, Result, write::splice};

/// How the stream is compressed, with everything that determines the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Plain,
    /// Level 1 to 12 of libdeflate.
    Gzip(u8),
    /// Level 1 to 22.
    #[cfg(feature = "zstd")]
    Zstd(u8),
}

/// Compresses pieces one after the other; the state is worth keeping, for it is large.
pub(crate) struct Encoder {
    state: State,
    /// Level 0, for what is compressed already.
    store: Option<Box<Encoder>>,
}

enum State {
    Plain,
    Gzip(Box<Compressor>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    pub(crate) fn new(codec: Codec) -> Result<Self> {
        if let Codec::Gzip(level @ 0) = codec {
            return Err(Error::Level { level, most: 12 });
        }
        Ok(match codec {
            Codec::Plain => Self {
                state: State::Plain,
                store: None,
            },
            #[cfg(feature = "zstd")]
            Codec::Zstd(level) => Self {
                state: zstd(level)?,
                store: Some(Box::new(Self {
                    state: zstd(1)?,
                    store: None,
                })),
            },
            Codec::Gzip(level) => Self {
                state: gzip(level)?,
                store: Some(Box::new(Self {
                    state: gzip(0)?,
                    store: None,
                })),
            },
        })
    }

    /// As [`Encoder::encode`], without trying to make it smaller.
    pub(crate) fn store(&mut self, raw: &[u8]) -> Result<Vec<u8>> {
        match &mut self.store {
            Some(store) => store.encode(raw),
            None => self.encode(raw),
        }
    }

    /// One member or frame of `raw`; nothing if it is not compressed at all.
    pub(crate) fn encode(&mut self, raw: &[u8]) -> Result<Vec<u8>> {
        match &mut self.state {
            State::Plain => Ok(Vec::new()),
            #[cfg(feature = "zstd")]
            State::Zstd(compressor) => {
                let packed = compressor.compress(raw);
                packed.map_err(|error| Error::io("compress", error))
            }
            State::Gzip(compressor) => {
                let bound = compressor.deflate_compress_bound(raw.len());
                let start = splice::START.len();
                let mut out = vec![0; start + bound];
                out[..start].copy_from_slice(&splice::START);
                let len = compressor
                    .deflate_compress(raw, &mut out[start..])
                    .map_err(|error| Error::Io {
                        action: "compress",
                        source: std::io::Error::other(error),
                    })?;
                out.truncate(start + len);
                out.extend(splice::trailer(libdeflater::crc32(raw), raw.len() as u64));
                Ok(out)
            }
        }
    }
}

fn gzip(level: u8) -> Result<State> {
    let too_high = |_| Error::Level { level, most: 12 };
    let level = CompressionLvl::new(level.into()).map_err(too_high)?;
    Ok(State::Gzip(Box::new(Compressor::new(level))))
}

/// Each frame has its checksum (RFC 8878 §3.1.1), since nothing else checks it before the digest.
#[cfg(feature = "zstd")]
fn zstd(level: u8) -> Result<State> {
    use zstd::{bulk::Compressor, zstd_safe::CParameter};

    let most = 22;
    if !(1..=most).contains(&level) {
        return Err(Error::Level { level, most });
    }
    let failed = |error| Error::io("compress", error);
    let mut compressor = Compressor::new(level.into()).map_err(failed)?;
    compressor
        .set_parameter(CParameter::ChecksumFlag(true))
        .map_err(failed)?;
    Ok(State::Zstd(compressor))
}
