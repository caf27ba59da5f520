//! The members of a gzip stream (RFC 1952), several at once where that can be.
//!
//! Where a member ends is known only when it is inflated. But members of ours, and of some others, begin with the same
//! ten bytes, and what lies between two of these is most likely one: it is inflated as such by the fast way, several at
//! once, which also tells whether it is just that. Wherever it is not, one member is unpacked piece by piece.

use std::{
    mem,
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use flate2::bufread::GzDecoder;
use memchr::memmem;

use super::{Counted, Member, SizeLimits, Spool, failed, written};
use crate::{
    ReadAt, Result,
    source::read_at::write_all_at,
    write::splice::{FRAMING, START, Verifier},
};

/// CRC-32 and size at the end of a member.
const TRAILER: u64 = 8;
/// Compressed bytes that are looked at together.
const BLOCK: u64 = 8 << 20;
/// Largest member that is inflated at once.
const WHOLE: usize = 8 << 20;
/// About so many bytes of members are written at once: only one thread can write to a file at a time.
const RUN: u64 = 1 << 20;
/// What the members of a block may inflate to, all together.
const BATCH: u64 = 64 << 20;

/// Unpacks all of `source`, which is so large.
pub(super) fn unpack(
    source: &dyn ReadAt,
    size: u64,
    spool: &mut Spool,
    limits: &SizeLimits,
) -> Result<()> {
    let mut unpacking = Unpacking {
        source,
        size,
        at: 0,
        slow: 0,
        block: Vec::new(),
        spool,
        most: limits.entries(),
    };
    let mut reader = Counted::new(source, 0, size);
    while unpacking.at < size {
        if unpacking.at >= unpacking.slow && unpacking.several()? > 0 {
            continue;
        }
        if reader.count != unpacking.at {
            reader = Counted::new(source, unpacking.at, size);
        }
        unpacking.one(&mut reader)?;
    }
    Ok(())
}

struct Unpacking<'a> {
    source: &'a dyn ReadAt,
    size: u64,
    /// Where the next member begins.
    at: u64,
    /// Up to here it goes one by one, so that nothing is looked at more than twice.
    slow: u64,
    /// Compressed bytes.
    block: Vec<u8>,
    spool: &'a mut Spool,
    /// So many more members are remembered.
    most: u64,
}

/// What may be a member.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    /// Where it lies in the block.
    from: usize,
    to: usize,
    /// Bytes before it that the others of the block inflate to, and its own.
    start: u64,
    len: usize,
}

impl Unpacking<'_> {
    /// Any member, piece by piece.
    fn one(&mut self, reader: &mut Counted<'_>) -> Result<()> {
        let start = self.spool.size;
        // It reads its header at once.
        let mut decoder = GzDecoder::new(&mut *reader);
        let offset = decoder.get_ref().count;
        let at = self.at;
        let what = || format!("its member at byte {at} is damaged");
        let unpacked = self.spool.all(&mut decoder);
        unpacked.map_err(|error| error.within(at, what()))?;
        let compressed = (reader.count - offset).saturating_sub(TRAILER);
        self.at = reader.count;
        self.found(start, offset, compressed);
        // Of nothing there is nothing to tell.
        if self.spool.size > start {
            self.spool.tell();
        }
        Ok(())
    }

    /// Those that begin in one block, as far as they are what they seem to be; how many that were.
    fn several(&mut self) -> Result<usize> {
        let len = BLOCK.min(self.size - self.at);
        if len < FRAMING as u64 {
            return Ok(0);
        }
        let mut start = START;
        self.source
            .read_exact_at(&mut start, self.at)
            .map_err(failed)?;
        if start != START {
            return Ok(0);
        }
        let mut block = mem::take(&mut self.block);
        // No more than the constant.
        block.resize(usize::try_from(len).unwrap_or(0), 0);
        self.source
            .read_exact_at(&mut block, self.at)
            .map_err(failed)?;
        let is_end = self.at + len == self.size;
        let room = BATCH.min(self.spool.limit.saturating_sub(self.spool.size));
        let candidates = candidates(&block, is_end, room);
        let sound = inflate(&block, &candidates, self.spool)?;
        let (at, base) = (self.at, self.spool.size);
        for candidate in &candidates[..sound] {
            let offset = at + (candidate.from + START.len()) as u64;
            self.spool.size += candidate.len as u64;
            self.at = at + candidate.to as u64;
            let compressed = candidate.to - candidate.from - FRAMING;
            self.found(base + candidate.start, offset, compressed as u64);
        }
        self.spool.task.add(self.spool.size - base)?;
        self.spool.tell();
        if sound < candidates.len() || sound == 0 {
            self.slow = at + len;
        }
        self.block = block;
        Ok(sound)
    }

    /// A member, which began so in the unpacked archive and ends where this ends now.
    fn found(&mut self, start: u64, offset: u64, compressed: u64) {
        let size = self.spool.size - start;
        self.spool.begun = self.spool.size;
        // Tiny members may be more than anybody has memory for, and are worth nothing.
        if size > 0 && self.most > 0 {
            self.most -= 1;
            self.spool.members.push(Member {
                start,
                size,
                offset,
                compressed,
            });
        }
    }
}

/// What lies from one beginning to the next in a block that begins with one. The last one has no
/// end, unless it is the end of all.
fn candidates(block: &[u8], is_end: bool, room: u64) -> Vec<Candidate> {
    let mut starts: Vec<usize> = memmem::find_iter(block, &START).collect();
    if is_end {
        starts.push(block.len());
    }
    let mut start = 0;
    let mut list = Vec::new();
    for (&from, &to) in starts.iter().zip(starts.iter().skip(1)) {
        // Its size modulo 2^32 is at its end.
        let Some(size) = block[from..to].last_chunk() else {
            break;
        };
        let size = u32::from_le_bytes(*size);
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        if to - from < FRAMING || len > WHOLE || start + u64::from(size) > room {
            break;
        }
        list.push(Candidate {
            from,
            to,
            start,
            len,
        });
        start += u64::from(size);
    }
    list
}

/// Inflates them to where they belong in the spool; how many of them are sound, up to the first
/// that is not.
fn inflate(block: &[u8], candidates: &[Candidate], spool: &Spool) -> Result<usize> {
    let mut runs = Vec::new();
    let mut first = 0;
    for run in candidates.chunk_by(|one, next| one.start / RUN == next.start / RUN) {
        runs.push((first, run));
        first += run.len();
    }
    let next = AtomicUsize::new(0);
    let sound = AtomicUsize::new(candidates.len());
    let work = || -> std::io::Result<()> {
        let mut verifier = Verifier::new();
        let mut raw = Vec::new();
        while let Some(&(first, run)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if first > sound.load(Ordering::Relaxed) {
                break;
            }
            let mut len = 0;
            for (at, candidate) in (first..).zip(run) {
                let end = len + candidate.len;
                if raw.len() < end {
                    raw.resize(end, 0);
                }
                let member = &block[candidate.from..candidate.to];
                if !verifier.inflate(member, &mut raw[len..end]) {
                    sound.fetch_min(at, Ordering::Relaxed);
                    break;
                }
                len = end;
            }
            write_all_at(&spool.to, &raw[..len], spool.size + run[0].start)?;
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let others = threads.min(runs.len()).saturating_sub(1);
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for other in others {
            let other = other.join();
            result = result.and(other.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        result
    })
    .map_err(written)?;
    Ok(sound.into_inner())
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use bytes::Bytes;
    use flate2::{
        Compression, GzBuilder,
        write::{DeflateEncoder, GzEncoder},
    };
    use ocicore::Cx;

    use super::*;
    use crate::{source::tar::spool::unpacked, write::splice::trailer};

    /// As we write them, at a level.
    fn ours(text: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(START.to_vec(), Compression::new(level));
        encoder.write_all(text).unwrap();
        let mut member = encoder.finish().unwrap();
        member.extend(trailer(libdeflater::crc32(text), text.len() as u64));
        member
    }

    fn named(text: &[u8]) -> Vec<u8> {
        let builder = GzBuilder::new().filename("name").mtime(7);
        let mut encoder: GzEncoder<Vec<u8>> = builder.write(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * at / 7).to_le_bytes()[0]).collect()
    }

    /// Contents with their members, of all kinds.
    fn members() -> Vec<(Vec<u8>, Vec<u8>)> {
        // Stored, so that there seems to be another member in it, and one more behind it.
        let trap = [&text(300)[..], &ours(b"trap", 6), &START, &text(40)].concat();
        let large = text(WHOLE + 1);
        [text(1000), trap, text(70_000), Vec::new(), large, text(5)]
            .into_iter()
            .flat_map(|text| [(ours(&text, 0), text.clone()), (ours(&text, 6), text)])
            .chain([(named(b"named"), b"named".to_vec())])
            .map(|(member, text)| (text, member))
            .collect()
    }

    fn all_of(archive: &[u8]) -> Result<(Vec<u8>, Vec<Member>)> {
        let source: Arc<dyn ReadAt> = Arc::new(Bytes::copy_from_slice(archive));
        let (cx, limits) = (Cx::default(), SizeLimits::default());
        unpacked(
            &cx,
            source,
            &limits,
            |_| Ok(()),
            |mut unpacked| {
                while unpacked.waited() {}
                let mut raw = vec![0; usize::try_from(unpacked.size()).unwrap()];
                unpacked.read_exact_at(&mut raw, 0).unwrap();
                Ok((raw, unpacked.members.list))
            },
        )
    }

    #[test]
    fn members_of_all_kinds_in_any_order_are_unpacked_and_found() {
        let kinds = members();
        for first in (0..kinds.len()).step_by(3) {
            let order = kinds.iter().cycle().skip(first).take(kinds.len());
            let (texts, archive): (Vec<_>, Vec<_>) = order.cloned().unzip();
            let (raw, list) = all_of(&archive.concat()).unwrap();
            assert!(raw == texts.concat(), "{first}");
            let mut expected = Vec::new();
            let (mut start, mut at) = (0, 0);
            for (text, member) in texts.iter().zip(&archive) {
                let header = if member.starts_with(&START) { 10 } else { 15 };
                let compressed = member.len() - header - 8;
                if !text.is_empty() {
                    expected.push((start, text.len(), at + header, compressed));
                }
                (start, at) = (start + text.len(), at + member.len());
            }
            let list = list.iter().map(|member| {
                let Member {
                    start,
                    size,
                    offset,
                    compressed,
                } = member;
                [start, size, offset, compressed].map(|&n| usize::try_from(n).unwrap())
            });
            let list: Vec<_> = list.map(|[a, b, c, d]| (a, b, c, d)).collect();
            assert_eq!(list, expected, "{first}");
        }
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let parts = [ours(&text(900), 6), ours(&text(900), 0), ours(b"end", 6)];
        let archive = parts.concat();
        let ends = [parts[0].len(), parts[0].len() + parts[1].len()];
        let whole = all_of(&archive).unwrap().0;
        // With less than its first four bytes it is no gzip.
        for at in 4..archive.len() {
            let mut damaged = archive.clone();
            damaged[at] ^= 0x10;
            let cut = all_of(&archive[..at]);
            assert_eq!(cut.is_ok(), ends.contains(&at), "{at}");
            // Times in headers and the last bits of a stream's last byte mean nothing.
            let unnoticed = all_of(&damaged).is_ok_and(|(raw, _)| raw != whole);
            assert!(!unnoticed, "{at}");
        }
        assert!(all_of(&[&archive[..], b"more"].concat()).is_err());
    }
}
