//! Does the jobs of a plan on several threads and writes their results in order.
//!
//! Workers take jobs in order, so that the first one that is not written yet is always being
//! worked on: waiting for room in memory cannot block for ever. One more thread hashes what is not compressed,
//! the caller's thread hashes and writes what is.

mod work;

use std::{
    io::{Read, Write},
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use flate2::Crc;
use ocicore::{Algorithm, Cx, Digest, Hasher};

use crate::{
    EntryPath, Error, Result, Tree,
    write::{
        arena::{Arena, Buffer},
        codec::{Codec, Encoder},
        estargz::{self, Index},
        plan::{File, GROUP, Job, Mode, Plan},
        splice::Verifier,
    },
};

/// Bytes of results and of jobs in work, all threads together, and of the tree.
const MEMORY: usize = 72 << 20;
/// What is in flight may always be this much, however large the tree is.
const IN_FLIGHT: usize = 20 << 20;
/// About what an entry takes in a tree that is packed.
const ENTRY: usize = 52;
/// Jobs that may wait to be written, for each thread: enough small ones to do while a large one is worked on, which
/// all come after it.
const AHEAD: usize = 64;
/// Chunks that wait to be hashed.
const UNHASHED: usize = 4;

/// All that determines the bytes, and how many threads make them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) codec: Codec,
    pub(crate) mode: Mode,
    pub(crate) threads: NonZero<usize>,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
    pub(crate) unpacked: u64,
    /// Digest of the index, if there is one.
    pub(crate) toc: Option<Digest>,
}

/// A piece of the stream: as tar, and compressed if it is.
struct Chunk {
    raw: Buffer,
    packed: Buffer,
    /// CRC-32 of ranges of files that are stored in their archive, in order, where they are not whole.
    sums: Vec<Sum>,
    /// The file whose content it is, if it is nothing else.
    of: Option<EntryPath>,
}

struct Sum {
    file: File,
    crc: Crc,
    /// Whether the file ends here.
    last: bool,
}

/// What a job sends.
enum Sent {
    Chunk(Chunk),
    /// All was sent; without it, the worker has died.
    End,
    Failed(Error),
}

/// Writes the tree to `to`, in order.
pub(crate) fn run(cx: &Cx, tree: &Tree, settings: Settings, to: &mut dyn Write) -> Result<Totals> {
    let entries = tree.len().saturating_mul(ENTRY);
    let in_flight = MEMORY.saturating_sub(entries).max(IN_FLIGHT);
    run_within(in_flight, cx, tree, settings, to)
}

/// As [`run`], with so much in flight, on which no byte depends.
fn run_within(
    in_flight: usize,
    cx: &Cx,
    tree: &Tree,
    settings: Settings,
    to: &mut dyn Write,
) -> Result<Totals> {
    let plan = Plan::new(tree, settings.mode, in_flight)?;
    let index = match settings.mode.indexed {
        true => Some(Index::new(tree, plan.moved().clone())?),
        false => None,
    };
    let plan = Mutex::new(Source {
        plan,
        stopped: false,
    });
    let memory = Arena::new(in_flight);
    // Fails early, on this thread, if the level is wrong.
    Encoder::new(settings.codec)?;
    thread::scope(|scope| {
        let (order, jobs) = sync_channel(AHEAD * settings.threads.get());
        for _ in 0..settings.threads.get() {
            let (order, memory, plan) = (order.clone(), Arc::clone(&memory), &plan);
            scope.spawn(move || work(plan, settings.codec, &memory, &order));
        }
        drop(order);
        let mut writing = Writing {
            to,
            task: cx.task("write", Some(tree.content_size())),
            blob: Algorithm::Sha256.hasher(),
            running: Crc::new(),
            size: 0,
            unpacked: 0,
            index,
        };
        let mut toc = None;
        let result = if settings.codec == Codec::Plain {
            writing.all(&jobs, None).map(|()| None)
        } else {
            // Chunks of one job and of the next may wait here, all of which have their memory.
            let (raw, received) = sync_channel(UNHASHED);
            let hashing = scope.spawn(move || hash(&received));
            let result = writing.all(&jobs, Some(&raw)).and_then(|()| {
                toc = writing.end(settings.codec, &raw)?;
                Ok(())
            });
            drop(raw);
            match (result, hashing.join()) {
                (Ok(()), Ok(diff_id)) => Ok(Some(diff_id)),
                (Err(error), _) => Err(error),
                (_, Err(panic)) => std::panic::resume_unwind(panic),
            }
        };
        // Ends the workers, should there be any left.
        memory.close();
        let diff_id = result?;
        if !plan.lock().is_ok_and(|source| source.plan.is_done()) {
            return Err(died());
        }
        let digest = writing.blob.finish();
        Ok(Totals {
            digest,
            diff_id: diff_id.unwrap_or(digest),
            size: writing.size,
            unpacked: writing.unpacked,
            toc,
        })
    })
}

struct Source<'t> {
    plan: Plan<'t>,
    /// After an error nobody takes a job any more.
    stopped: bool,
}

fn hash(received: &Receiver<Buffer>) -> Digest {
    let mut hasher = Algorithm::Sha256.hasher();
    for raw in received {
        hasher.update(&raw);
    }
    hasher.finish()
}

fn work(
    source: &Mutex<Source<'_>>,
    codec: Codec,
    memory: &Arc<Arena>,
    order: &SyncSender<Receiver<Sent>>,
) {
    let mut tools = match Encoder::new(codec) {
        Ok(encoder) => work::Tools::new(encoder, Verifier::new()),
        Err(_) => return,
    };
    loop {
        let (job, memory, sender): (Job, Arc<Arena>, SyncSender<Sent>) = {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            if source.stopped {
                return;
            }
            let next = source.plan.next();
            // Waits with the lock held, so that memory is given in the order of the jobs.
            match next {
                Ok(Some(job)) => {
                    let need = work::need(&job, memory.total());
                    // All of its results, and the end, may wait.
                    let (sender, receiver) = sync_channel(need / work::PIECE + 2);
                    match memory.part(need) {
                        Some(part) if order.send(receiver).is_ok() => (job, part, sender),
                        _ => return,
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    source.stopped = true;
                    let (sender, receiver) = sync_channel(1);
                    // Whoever is gone has an error already.
                    let _ = order.send(receiver);
                    let _ = sender.send(Sent::Failed(error));
                    return;
                }
            }
        };
        let out = work::Out {
            sender: &sender,
            memory,
            of: job.content_of(),
        };
        let last = match tools.run(&job, &out) {
            Ok(()) => Sent::End,
            Err(error) => Sent::Failed(error),
        };
        if sender.send(last).is_err() {
            return;
        }
    }
}

struct Writing<'a> {
    to: &'a mut dyn Write,
    task: ocicore::Task,
    blob: Hasher,
    /// CRC-32 of the stored file that is being written.
    running: Crc,
    size: u64,
    unpacked: u64,
    index: Option<Index<'a>>,
}

impl Writing<'_> {
    /// Writes the index and the footer, if there is one; returns its digest.
    fn end(&mut self, codec: Codec, raw: &SyncSender<Buffer>) -> Result<Option<Digest>> {
        let Some(index) = self.index.take() else {
            return Ok(None);
        };
        let mut toc = index.finish()?;
        let (start, mut left) = (self.size, toc.size);
        let mut encoder = Encoder::new(codec)?;
        while left > 0 {
            let mut content = Vec::new();
            let read = toc.tar.by_ref().take(GROUP).read_to_end(&mut content);
            read.map_err(|error| Error::io("read the index", error))?;
            left = left.saturating_sub(GROUP);
            let mut packed = vec![0; encoder.bound(content.len())];
            let len = encoder.encode(&content, &mut packed)?;
            packed.truncate(len);
            if left == 0 {
                packed.extend(estargz::footer(start));
            }
            self.chunk(
                Chunk {
                    raw: content.into(),
                    packed: packed.into(),
                    sums: Vec::new(),
                    of: None,
                },
                Some(raw),
            )?;
        }
        Ok(Some(toc.digest))
    }

    fn all(
        &mut self,
        jobs: &Receiver<Receiver<Sent>>,
        raw: Option<&SyncSender<Buffer>>,
    ) -> Result<()> {
        for job in jobs {
            loop {
                match job.recv() {
                    Ok(Sent::Chunk(chunk)) => self.chunk(chunk, raw)?,
                    Ok(Sent::End) => break,
                    Ok(Sent::Failed(error)) => return Err(error),
                    Err(_) => return Err(died()),
                }
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: Chunk, raw: Option<&SyncSender<Buffer>>) -> Result<()> {
        let Chunk {
            raw: content,
            packed,
            sums,
            of,
        } = chunk;
        if let (Some(index), Some(path)) = (&mut self.index, of) {
            index.add(&path, self.size, &content)?;
        }
        for sum in sums {
            self.running.combine(&sum.crc);
            if sum.last {
                sum.file.check(&std::mem::take(&mut self.running))?;
            }
        }
        self.task.add(content.len() as u64)?;
        self.unpacked += content.len() as u64;
        let written = if let Some(raw) = raw {
            if !content.is_empty() {
                raw.send(content).map_err(|_| died())?;
            }
            packed
        } else {
            content
        };
        self.blob.update(&written);
        self.size += written.len() as u64;
        self.to
            .write_all(&written)
            .map_err(|error| Error::io("write the layer", error))
    }
}

/// A thread is gone without a word: it has panicked, and the scope passes that on.
fn died() -> Error {
    Error::Io {
        action: "write the layer",
        source: std::io::Error::other("a thread has died"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{Content, Entry};

    #[test]
    fn the_bytes_do_not_depend_on_memory_and_threads() {
        let text: Vec<u8> = (0_u32..1 << 20).flat_map(u32::to_le_bytes).collect();
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest());
        let mut stream = vec![0; compressor.deflate_compress_bound(text.len())];
        let len = compressor.deflate_compress(&text, &mut stream).unwrap();
        stream.truncate(len);
        let (size, crc) = (text.len() as u64, libdeflater::crc32(&text));
        let large = Content::deflated(Arc::new(Bytes::from(stream)), 0, len as u64, size, crc);
        let mut tree = Tree::new();
        for (path, content) in [
            ("a", Content::from("small")),
            ("b", large.clone()),
            ("c", Content::from(text)),
            ("d", large),
        ] {
            let path = path.parse().unwrap();
            tree.insert(path, Entry::file(content)).unwrap();
        }
        for indexed in [false, true] {
            let mode = Mode {
                splice: true,
                indexed,
            };
            let digests = [(1 << 20, 1), (1 << 20, 3), (12 << 20, 2), (72 << 20, 4)].map(
                |(in_flight, threads)| {
                    let settings = Settings {
                        codec: Codec::Gzip(3),
                        mode,
                        threads: NonZero::new(threads).unwrap(),
                    };
                    let cx = Cx::default();
                    let run = run_within(in_flight, &cx, &tree, settings, &mut std::io::sink());
                    run.unwrap().digest
                },
            );
            assert_eq!(digests, [digests[0]; 4], "indexed: {indexed}");
        }
    }
}
