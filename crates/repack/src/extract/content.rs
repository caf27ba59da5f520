//! The content of one regular file, checked and written.

use std::{
    fs::File,
    io::{self, Seek, Write},
};

use ocicore::Task;

use crate::{
    Content, EntryPath, Error, Result,
    content::Repr,
    write::splice::{self, Verifier},
};

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;
/// So many zeros in a row are left out, as a hole: a file that is mostly zeros, as sparse files are
/// when archived, takes no room.
const HOLE: usize = 64 << 10;

/// What is worth keeping from file to file, one for each thread.
pub(super) struct Tools {
    buffer: Vec<u8>,
    member: Vec<u8>,
    verifier: Verifier,
}

impl Tools {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; CHUNK],
            member: Vec::new(),
            verifier: Verifier::new(),
        }
    }

    /// Writes a content to a file that is empty.
    pub(super) fn write(
        &mut self,
        path: &EntryPath,
        content: &Content,
        file: &mut File,
        task: &Task,
    ) -> Result<()> {
        let failed = |source| Error::Extract {
            path: path.clone(),
            source,
        };
        if let Some(len) = self.inflated(path, content)? {
            write_sparse(file, &self.buffer[..len]).map_err(failed)?;
            task.add(len as u64)?;
            return Ok(());
        }
        let mut reader = content.open();
        let mut hole = false;
        loop {
            let n = reader
                .fill(&mut self.buffer)
                .map_err(|error| content.named(path.as_bytes(), error))?;
            if n > 0 {
                hole = write_sparse(file, &self.buffer[..n]).map_err(failed)?;
                task.add(n as u64)?;
            }
            if n < self.buffer.len() {
                break;
            }
        }
        if hole {
            file.set_len(content.size()).map_err(failed)?;
        }
        if content.size() == 0 {
            task.add(0)?;
        }
        Ok(())
    }

    /// Inflates what is small at once, which is faster; none if it is not small, or not sound: then
    /// the reader says why.
    fn inflated(&mut self, path: &EntryPath, content: &Content) -> Result<Option<usize>> {
        let Repr::Deflated {
            compressed,
            size,
            crc,
            ..
        } = content.0
        else {
            return Ok(None);
        };
        // A whole chunk that is a hole would need the size to be set.
        let small = |size: u64| usize::try_from(size).ok().filter(|size| *size < HOLE);
        let (Some(len), Some(raw)) = (small(compressed), small(size)) else {
            return Ok(None);
        };
        let (start, end) = (splice::START.len(), splice::START.len() + len);
        self.member.clear();
        self.member.extend(splice::START);
        self.member.resize(end, 0);
        content
            .read_stored(&mut self.member[start..end], 0)
            .map_err(|error| content.named(path.as_bytes(), error))?;
        self.member.extend(splice::trailer(crc, size));
        let sound = self.verifier.inflate(&self.member, &mut self.buffer[..raw]);
        Ok(sound.then_some(raw))
    }
}

/// Writes and skips; whether it ends with a hole.
fn write_sparse(file: &mut File, bytes: &[u8]) -> io::Result<bool> {
    // Most files are smaller, and written at once.
    let mut from = 0;
    let mut at = 0;
    let mut hole = false;
    for piece in bytes.chunks(HOLE) {
        hole = piece.len() == HOLE && piece.iter().all(|&byte| byte == 0);
        if hole {
            file.write_all(&bytes[from..at])?;
            file.seek_relative(HOLE as i64)?;
            from = at + HOLE;
        }
        at += piece.len();
    }
    if from < at {
        file.write_all(&bytes[from..at])?;
    }
    Ok(hole)
}
