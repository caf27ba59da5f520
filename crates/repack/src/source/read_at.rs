use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// Bytes that several threads read at any place: a file, or memory.
///
/// There is no mapping of files into memory: a file that is cut meanwhile is an error, and no
/// signal.
pub trait ReadAt: fmt::Debug + Send + Sync + 'static {
    /// How many bytes there are.
    ///
    /// # Errors
    /// If the file cannot tell.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with what lies at `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer bytes.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(self, buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buffer = &mut buffer[n..];
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Writes all of it to where it belongs; several threads may.
#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Writes all of it to where it belongs; several threads may.
#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl ReadAt for Bytes {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}

/// Whatever can be read and sought, to be read at any place: an archive within another file, or one that is
/// decrypted on the way. Threads wait for one another; of files and memory they read at the same time, so
/// that these are better given as they are.
///
/// ```
/// use std::{io::Cursor, sync::Arc};
/// use repack::{Cx, Seekable, SizeLimits, zip};
///
/// # let archive = ::zip::ZipWriter::new(Cursor::new(Vec::new())).finish()?.into_inner();
/// let source = Arc::new(Seekable::new(Cursor::new(archive)));
/// let tree = zip::index(&Cx::default(), source, &SizeLimits::default())?;
/// assert!(tree.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Seekable<R>(Mutex<R>);

impl<R: Read + Seek> Seekable<R> {
    /// Its place is no longer the caller's.
    pub fn new(reader: R) -> Self {
        Self(Mutex::new(reader))
    }

    /// Each use begins by seeking, so that it does not matter where a panic has left it.
    fn lock(&self) -> MutexGuard<'_, R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Read + Seek + Send + 'static> ReadAt for Seekable<R> {
    fn size(&self) -> io::Result<u64> {
        self.lock().seek(SeekFrom::End(0))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut reader = self.lock();
        reader.seek(SeekFrom::Start(offset))?;
        reader.read_exact(buffer)
    }
}

impl<R> fmt::Debug for Seekable<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seekable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    #[test]
    fn all_sources_are_read_alike() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        let memory = Bytes::from("hello");
        let seekable = Seekable::new(Cursor::new("hello"));
        for source in [&file as &dyn ReadAt, &memory, &seekable] {
            assert_eq!(source.size().unwrap(), 5);
            let mut buffer = [0; 3];
            source.read_exact_at(&mut buffer, 2).unwrap();
            assert_eq!(&buffer, b"llo");
            for offset in [3, 5, 6, 1 << 40] {
                let error = source.read_exact_at(&mut buffer, offset).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset}");
            }
        }
    }
}
