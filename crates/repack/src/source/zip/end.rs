//! The end of a zip archive, which says where the central directory is (APPNOTE.TXT §4.3.14 to
//! §4.3.16).

use super::bytes::{IN_ZIP64, u16_at, u32_at, u64_at};
use crate::{Error, ReadAt, Result};

const END: usize = 22;
const LOCATOR: usize = 20;
const ZIP64_END: usize = 56;
/// Says in a field of 16 bits that the value is in the zip64 record.
const COUNT_IN_ZIP64: u16 = u16::MAX;

const ELSEWHERE: &str = "its zip64 end record is not where the locator says";

/// Where the central directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// How many entries it has.
    pub(super) count: u64,
    /// Where it begins and ends.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Bytes before the archive, a program that unpacks it for example; all of its offsets count
    /// from there.
    pub(super) before: u64,
}

/// What one of the two records says.
struct Record {
    disks: [u32; 2],
    counts: [u64; 2],
    size: u64,
    offset: u64,
}

/// Finds the directory. The comment of the archive must end where the file ends.
pub(super) fn find(source: &dyn ReadAt, size: u64) -> Result<Directory> {
    let failed = |error| Error::io("read the archive", error);
    let longest = END as u64 + u64::from(u16::MAX);
    let tail_start = size.saturating_sub(longest);
    // No more than 64 KiB.
    let mut tail = vec![0; usize::try_from(size - tail_start).unwrap_or(0)];
    source
        .read_exact_at(&mut tail, tail_start)
        .map_err(failed)?;
    let is_end = |&at: &usize| {
        tail[at..].starts_with(b"PK\x05\x06")
            && at + END + usize::from(u16_at(&tail, at + 20)) == tail.len()
    };
    let mut ends = (0..(tail.len() + 1).saturating_sub(END)).filter(is_end);
    let Some(at) = ends.next() else {
        return Err(refused(size, "it has no end record"));
    };
    if ends.next().is_some() {
        // Readers disagree about which one counts.
        return Err(refused(tail_start + at as u64, "it has two end records"));
    }
    let end = &tail[at..];
    let mut end_at = tail_start + at as u64;
    let mut record = Record {
        disks: [4, 6].map(|field| u16_at(end, field).into()),
        counts: [8, 10].map(|field| u16_at(end, field).into()),
        size: u32_at(end, 12).into(),
        offset: u32_at(end, 16).into(),
    };
    let mut declared = None;
    if let Some(zip64) = zip64(source, end_at)? {
        if !agrees(&record, &zip64.record) {
            return Err(refused(end_at, "its two end records differ"));
        }
        (record, end_at) = (zip64.record, zip64.at);
        declared = Some(zip64.declared);
    }
    if record.disks != [0; 2] || record.counts[0] != record.counts[1] {
        return Err(refused(end_at, "it is one of several parts"));
    }
    let start = end_at
        .checked_sub(record.size)
        .ok_or_else(|| refused(end_at, "its central directory is larger than the file"))?;
    let before = start.checked_sub(record.offset).ok_or_else(|| {
        refused(
            end_at,
            "its central directory is not where the end record says",
        )
    })?;
    if declared.is_some_and(|declared| declared.checked_add(before) != Some(end_at)) {
        return Err(refused(end_at, ELSEWHERE));
    }
    Ok(Directory {
        count: record.counts[0],
        start,
        end: end_at,
        before,
    })
}

/// The zip64 record, where it is, and where its locator says.
struct Zip64 {
    record: Record,
    at: u64,
    declared: u64,
}

/// The zip64 record, if there is a locator before the end record.
fn zip64(source: &dyn ReadAt, end: u64) -> Result<Option<Zip64>> {
    let failed = |error| Error::io("read the archive", error);
    let Some(locator_at) = end.checked_sub(LOCATOR as u64) else {
        return Ok(None);
    };
    let mut locator = [0; LOCATOR];
    source
        .read_exact_at(&mut locator, locator_at)
        .map_err(failed)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    // It lies where the locator says, or farther behind if something is before the archive; then
    // it has no more than its fixed part.
    let declared = u64_at(&locator, 8);
    for at in [Some(declared), locator_at.checked_sub(ZIP64_END as u64)] {
        let Some(at) = at.filter(|at| {
            at.checked_add(ZIP64_END as u64)
                .is_some_and(|end| end <= locator_at)
        }) else {
            continue;
        };
        let mut record = [0; ZIP64_END];
        source.read_exact_at(&mut record, at).map_err(failed)?;
        // Its own size does not count its first twelve bytes.
        let ends_there = u64_at(&record, 4).checked_add(12) == Some(locator_at - at);
        if record.starts_with(b"PK\x06\x06") && ends_there {
            let record = Record {
                disks: [16, 20].map(|field| u32_at(&record, field)),
                counts: [24, 32].map(|field| u64_at(&record, field)),
                size: u64_at(&record, 40),
                offset: u64_at(&record, 48),
            };
            return Ok(Some(Zip64 {
                record,
                at,
                declared,
            }));
        }
    }
    Err(refused(locator_at, ELSEWHERE))
}

/// What the old record can say must be the same.
fn agrees(old: &Record, zip64: &Record) -> bool {
    let says = |old: u64, masked: u64, new: u64| old == masked || old == new;
    says(old.counts[0], COUNT_IN_ZIP64.into(), zip64.counts[0])
        && says(old.counts[1], COUNT_IN_ZIP64.into(), zip64.counts[1])
        && says(old.size, IN_ZIP64.into(), zip64.size)
        && says(old.offset, IN_ZIP64.into(), zip64.offset)
}

/// Refuses the whole archive, for what is at `offset`.
pub(super) fn refused(offset: u64, why: &'static str) -> Error {
    Error::archive("zip", offset, why)
}
