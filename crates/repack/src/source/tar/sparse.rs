//! Sparse files: only what is not a hole is in the archive, with a map of where it belongs
//! (GNU tar manual, Storing Sparse Files).

use std::{io, sync::Arc};

use tar::Header;

use super::{BLOCK, LARGEST_EXTENSION, header::octal, pax::Records, spool::Unpacked};
use crate::{Content, Fault, ReadAt};

/// Numbers in a GNU header, and where they begin.
const OLD_MAP: usize = 386;
const OLD_COUNT: usize = 4;
const OLD_EXTENDED: usize = 482;
const OLD_SIZE: usize = 483;
const FIELD: usize = 12;
/// Pairs in a block that follows a GNU header.
const MORE_COUNT: usize = 21;

/// How a sparse file is described.
pub(super) enum Described {
    /// By the header of its own type, with its first numbers.
    Old {
        numbers: Vec<u64>,
        size: u64,
        is_extended: bool,
    },
    /// By PAX records, all of it (versions 0.0 and 0.1).
    Records { numbers: Vec<u64>, size: u64 },
    /// By PAX records, with the map before the data (version 1.0).
    InData { size: u64 },
}

impl Described {
    /// By the header of the type `S`.
    pub(super) fn by_header(header: &Header) -> Result<Self, Fault> {
        // Others have the rest of the name where the numbers are.
        if header.as_gnu().is_none() {
            return Err(Fault::Sparse);
        }
        let block = header.as_bytes();
        let number = |at: usize| octal(&block[at..at + FIELD]).ok_or(Fault::Sparse);
        let mut numbers = Vec::new();
        for pair in 0..OLD_COUNT {
            push_pair(&mut numbers, &block[OLD_MAP + pair * 2 * FIELD..])?;
        }
        Ok(Self::Old {
            numbers,
            size: number(OLD_SIZE)?,
            is_extended: block[OLD_EXTENDED] != 0,
        })
    }

    /// By the records of a PAX header; none if these tell of no sparse file.
    pub(super) fn by_records(records: &Records) -> Result<Option<Self>, Fault> {
        if !records.is_sparse() {
            return Ok(None);
        }
        let number = |key: &[u8]| records.get(key).map(decimal).transpose();
        let version = (
            number(b"GNU.sparse.major")?.unwrap_or(0),
            number(b"GNU.sparse.minor")?.unwrap_or(0),
        );
        if version == (1, 0) {
            let size = number(b"GNU.sparse.realsize")?.ok_or(Fault::Sparse)?;
            return Ok(Some(Self::InData { size }));
        }
        if version.0 != 0 {
            return Err(Fault::Sparse);
        }
        let size = number(b"GNU.sparse.size")?.ok_or(Fault::Sparse)?;
        let numbers: Vec<u64> = match records.get(b"GNU.sparse.map") {
            Some(map) => map
                .split(|&byte| byte == b',')
                .map(decimal)
                .collect::<Result<_, _>>()?,
            None => records.sparse_numbers().ok_or(Fault::Sparse)?,
        };
        let count = number(b"GNU.sparse.numblocks")?;
        if !numbers.len().is_multiple_of(2) || count.is_some_and(|n| n != numbers.len() as u64 / 2)
        {
            return Err(Fault::Sparse);
        }
        Ok(Some(Self::Records { numbers, size }))
    }
}

/// A file with holes as if it had none.
#[derive(Debug)]
struct Sparse {
    source: Arc<dyn ReadAt>,
    size: u64,
    parts: Vec<Part>,
}

/// What is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// Where it belongs, and where it ends.
    start: u64,
    end: u64,
    /// Where it lies in the archive.
    at: u64,
}

/// Reads what of the map is not in headers, and returns the content, where the data ends, and how many bytes of
/// memory the map takes. So many bytes are `stored` from `at` on; more headers of the old form lie before
/// them.
pub(super) fn content(
    described: Described,
    archive: &mut Unpacked,
    at: u64,
    stored: u64,
) -> io::Result<Result<(Content, u64, usize), Fault>> {
    let (size, numbers, data, stored) = match described {
        Described::Records { numbers, size } => (size, numbers, at, stored),
        Described::Old {
            mut numbers,
            size,
            mut is_extended,
        } => {
            let mut data = at;
            while is_extended {
                let mut more = [0; 512];
                archive.read_exact_at(&mut more, data)?;
                data += BLOCK;
                if data - at > LARGEST_EXTENSION {
                    return Ok(Err(Fault::Sparse));
                }
                for pair in 0..MORE_COUNT {
                    if let Err(fault) = push_pair(&mut numbers, &more[pair * 2 * FIELD..]) {
                        return Ok(Err(fault));
                    }
                }
                is_extended = more[MORE_COUNT * 2 * FIELD] != 0;
            }
            (size, numbers, data, stored)
        }
        Described::InData { size } => {
            let longest = stored.min(LARGEST_EXTENSION);
            // No more than the limit.
            let mut map = vec![0; usize::try_from(longest).unwrap_or(0)];
            archive.read_exact_at(&mut map, at)?;
            let Some((numbers, len)) = map_in_data(&map) else {
                return Ok(Err(Fault::Sparse));
            };
            if len > stored {
                return Ok(Err(Fault::Sparse));
            }
            (size, numbers, at + len, stored - len)
        }
    };
    Ok(parts(&numbers, size, data, stored).map(|parts| {
        let kept = size_of_val(&*parts);
        let sparse = Sparse {
            source: Arc::clone(archive.source()),
            size,
            parts,
        };
        let content = Content::stored(Arc::new(sparse), 0, size, None);
        (content, data + stored, kept)
    }))
}

/// Places and lengths in pairs, ascending, within the file, and of all data that is there.
fn parts(numbers: &[u64], size: u64, mut at: u64, stored: u64) -> Result<Vec<Part>, Fault> {
    let data_end = at.checked_add(stored).ok_or(Fault::Sparse)?;
    let mut parts = Vec::new();
    let mut before = 0;
    for pair in numbers.chunks_exact(2) {
        let (start, len) = (pair[0], pair[1]);
        let end = start.checked_add(len).ok_or(Fault::Sparse)?;
        if start < before || end > size {
            return Err(Fault::Sparse);
        }
        before = end;
        // The last one often is empty, to tell the size.
        if len > 0 {
            parts.push(Part { start, end, at });
            at = at.checked_add(len).ok_or(Fault::Sparse)?;
        }
    }
    if at == data_end {
        Ok(parts)
    } else {
        Err(Fault::Sparse)
    }
}

/// A count and so many pairs, a number in each line, up to a whole block; and how long it is.
fn map_in_data(map: &[u8]) -> Option<(Vec<u64>, u64)> {
    let mut at = 0;
    let mut next = || {
        let rest = map.get(at..)?;
        let end = rest.iter().take(21).position(|&byte| byte == b'\n')?;
        at += end + 1;
        Some((decimal(&rest[..end]).ok()?, at))
    };
    let (count, mut end) = next()?;
    let mut numbers = Vec::new();
    for _ in 0..count.checked_mul(2)? {
        let (number, at) = next()?;
        numbers.push(number);
        end = at;
    }
    Some((numbers, (end as u64).next_multiple_of(BLOCK)))
}

/// A place and a length of the old form; both are empty behind the last one.
fn push_pair(numbers: &mut Vec<u64>, fields: &[u8]) -> Result<(), Fault> {
    let (place, len) = (&fields[..FIELD], &fields[FIELD..2 * FIELD]);
    if place[0] != 0 || len[0] != 0 {
        numbers.push(octal(place).ok_or(Fault::Sparse)?);
        numbers.push(octal(len).ok_or(Fault::Sparse)?);
    }
    Ok(())
}

fn decimal(text: &[u8]) -> Result<u64, Fault> {
    super::header::number(text).ok_or(Fault::Sparse)
}

impl ReadAt for Sparse {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset
            .checked_add(buffer.len() as u64)
            .filter(|&end| end <= self.size)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.fill(0);
        let first = self.parts.partition_point(|part| part.end <= offset);
        for part in self.parts[first..]
            .iter()
            .take_while(|part| part.start < end)
        {
            let (from, to) = (part.start.max(offset), part.end.min(end));
            // Both lie in the buffer.
            let range = [from, to].map(|at| usize::try_from(at - offset).unwrap_or(0));
            self.source.read_exact_at(
                &mut buffer[range[0]..range[1]],
                part.at + (from - part.start),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn holes_are_zeros() {
        let source: Arc<dyn ReadAt> = Arc::new(Bytes::from("..abcde"));
        let sparse = Sparse {
            source,
            size: 10,
            parts: parts(&[1, 2, 5, 3, 10, 0], 10, 2, 5).unwrap(),
        };
        let whole = b"\0ab\0\0cde\0\0";
        for start in 0..whole.len() {
            for end in start..=whole.len() {
                let mut buffer = vec![b'x'; end - start];
                sparse.read_exact_at(&mut buffer, start as u64).unwrap();
                assert_eq!(buffer, whole[start..end], "{start}..{end}");
            }
        }
        assert!(sparse.read_exact_at(&mut [0; 2], 9).is_err());
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for (numbers, size, stored) in [
            (&[5, 2, 1, 2][..], 10, 4),
            (&[0, 4, 3, 2], 10, 6),
            (&[8, 4], 10, 4),
            (&[0, 4], 10, 5),
            (&[0, 4], 10, 3),
            (&[u64::MAX, 2], 10, 2),
            (&[0, u64::MAX], u64::MAX, 2),
        ] {
            let result = parts(numbers, size, 0, stored);
            assert!(matches!(result, Err(Fault::Sparse)), "{numbers:?}");
        }
        for map in [
            &b""[..],
            b"1",
            b"1\n0\n",
            b"x\n",
            b"18446744073709551615\n1\n",
            b"-1\n",
        ] {
            assert!(map_in_data(map).is_none(), "{}", map.escape_ascii());
        }
        assert_eq!(map_in_data(b"1\n0\n7\n"), Some((vec![0, 7], BLOCK)));
    }
}
