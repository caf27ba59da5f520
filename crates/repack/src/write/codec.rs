//! Compression of one piece at a time. Both gzip and Zstandard allow pieces to be put together:
//! members (RFC 1952 §2.2) and frames (RFC 8878 §3.1).

use std::io;

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
    pub(crate) fn store(&mut self, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        match &mut self.store {
            Some(store) => store.encode(raw, out),
            None => self.encode(raw, out),
        }
    }

    /// The most that so many bytes can become.
    pub(crate) fn bound(&mut self, len: usize) -> usize {
        match &mut self.state {
            State::Plain => 0,
            State::Gzip(compressor) => splice::FRAMING + compressor.deflate_compress_bound(len),
            #[cfg(feature = "zstd")]
            State::Zstd(_) => zstd::zstd_safe::compress_bound(len),
        }
    }

    /// One member or frame of `raw`, to the start of `out`, which has room for the
    /// [bound](Encoder::bound); how many bytes it is, which are none if it is not compressed at all.
    pub(crate) fn encode(&mut self, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        match &mut self.state {
            State::Plain => Ok(0),
            #[cfg(feature = "zstd")]
            State::Zstd(compressor) => {
                let packed = compressor.compress_to_buffer(raw, out);
                packed.map_err(|error| Error::io("compress", error))
            }
            State::Gzip(compressor) => {
                let failed = |error| Error::io("compress", error);
                let start = splice::START.len();
                let Some((head, body)) = out.split_at_mut_checked(start) else {
                    return Err(failed(io::ErrorKind::WriteZero.into()));
                };
                head.copy_from_slice(&splice::START);
                let len = compressor
                    .deflate_compress(raw, body)
                    .map_err(|error| failed(io::Error::other(error)))?;
                let trailer = splice::trailer(libdeflater::crc32(raw), raw.len() as u64);
                match body.get_mut(len..len + trailer.len()) {
                    Some(end) => end.copy_from_slice(&trailer),
                    None => return Err(failed(io::ErrorKind::WriteZero.into())),
                }
                Ok(len + splice::FRAMING)
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
