use std::{error::Error as StdError, fmt::Write as _, io, path::PathBuf};

use ocicore::{Cancelled, Class, Digest};

use crate::{Collision, EntryPath, PathFault};

/// What can go wrong with archives, trees and layers.
///
/// Names of entries are escaped, see [`EntryPath`]'s `Display`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name cannot be the path of an entry.
    #[error("entry name `{path}` is refused")]
    Path {
        /// The name.
        path: String,
        /// The reason.
        #[source]
        fault: PathFault,
    },
    /// The content or the header of an entry is not what its archive says.
    #[error("entry `{path}` at byte {offset} of the archive is refused")]
    Entry {
        /// Its name.
        path: String,
        /// Where its header or its content lies, see [`Error::offset`].
        offset: u64,
        /// The reason.
        #[source]
        fault: Fault,
    },
    /// No archive of the format that is written can hold an entry.
    #[error("entry `{path}`{} cannot be written", place(*offset))]
    Write {
        /// The entry.
        path: EntryPath,
        /// Where it lies in the archive that it is from, see [`Error::offset`].
        offset: Option<u64>,
        /// The reason.
        #[source]
        fault: Fault,
    },
    /// The archive as a whole is not what its format says.
    #[error("cannot read the {format} archive")]
    Archive {
        /// `zip`, `tar`, `gzip` or `zstd`.
        format: &'static str,
        /// What is wrong; [`Error::offset`] says where.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// More than a limit of [`SizeLimits`](ocicore::SizeLimits) allows.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// The thing, and how large it is.
        what: String,
        /// The limit, in the unit of the thing.
        limit: u64,
    },
    /// There is no such entry in the tree.
    #[error("there is no entry `{path}`")]
    NotFound {
        /// What was asked for.
        path: EntryPath,
    },
    /// The entry is something else than a regular file.
    #[error("entry `{path}` is not a regular file")]
    NotFile {
        /// What was to be read or edited.
        path: EntryPath,
    },
    /// An entry would lie under another that is not a directory.
    #[error("entry `{path}` cannot lie under `{ancestor}`, which is not a directory")]
    NotDirectory {
        /// The entry.
        path: EntryPath,
        /// What is in its way.
        ancestor: EntryPath,
    },
    /// Something that is not a directory would replace one that has entries.
    #[error("entry `{path}` cannot replace a directory that is not empty")]
    DirectoryInTheWay {
        /// The entry.
        path: EntryPath,
    },
    /// A rename, strip or merge would put two entries at one path.
    #[error("there is an entry `{path}` already")]
    Exists {
        /// The path.
        path: EntryPath,
    },
    /// Sources of a merge have different things at the same paths, and nothing decides.
    #[error("{}", collision_list(collisions))]
    Collisions {
        /// All of them.
        collisions: Vec<Collision>,
    },
    /// A hard link names an entry that is not a regular file of the tree.
    #[error("hard link `{path}` points to `{target}`, which is not a regular file of the tree")]
    LinkTarget {
        /// The link.
        path: EntryPath,
        /// What it names.
        target: EntryPath,
        /// Where the link lies in its archive, see [`Error::offset`].
        offset: Option<u64>,
    },
    /// A glob pattern cannot be parsed.
    #[error("`{pattern}` is not a glob pattern")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// An edit of the caller failed.
    #[error("failed to edit `{path}`")]
    Edit {
        /// The file.
        path: EntryPath,
        /// The editor's own error.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A symbolic link would lead out of the directory that is extracted to.
    #[error("symbolic link `{path}`{} to `{target}` leads out of the directory", place(*offset))]
    Escape {
        /// The link.
        path: EntryPath,
        /// Where it points.
        target: String,
        /// Where the link lies in its archive, see [`Error::offset`].
        offset: Option<u64>,
    },
    /// Devices are made only when that is asked for.
    #[error("entry `{path}`{} is a device, which is not extracted", place(*offset))]
    Device {
        /// The device.
        path: EntryPath,
        /// Where it lies in its archive, see [`Error::offset`].
        offset: Option<u64>,
    },
    /// Two entries are one where cases are not told apart, and that was asked for.
    #[error("entry `{path}`{} differs from `{other}` in the case of letters only", place(*offset))]
    Case {
        /// The later one.
        path: EntryPath,
        /// The one before it.
        other: EntryPath,
        /// Where the later one lies in its archive, see [`Error::offset`].
        offset: Option<u64>,
    },
    /// A layer is not the one that was declared.
    #[error("{what} of the layer is `{actual}`, declared is `{expected}`")]
    Digest {
        /// `digest` or `diff_id`.
        what: &'static str,
        /// What was declared.
        expected: Box<Digest>,
        /// What it is.
        actual: Box<Digest>,
    },
    /// A layer has another size than was declared.
    #[error("size of the layer is {actual} bytes, declared is {expected}")]
    Size {
        /// What was declared, in bytes.
        expected: u64,
        /// What it is, in bytes.
        actual: u64,
    },
    /// An entry cannot be made on disk.
    #[error("failed to extract `{path}`")]
    Extract {
        /// The entry.
        path: EntryPath,
        /// The cause.
        source: io::Error,
    },
    /// There is no such compression level.
    #[error("there is no compression level {level}, only 1 to {most}")]
    Level {
        /// What was asked for.
        level: u8,
        /// The highest.
        most: u8,
    },
    /// Reading or writing a file failed.
    #[error("failed to {action} `{}`", path.display())]
    File {
        /// A verb: `open`, `read`, `create`, `write`, `rename`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Reading the archive or writing the output failed.
    #[error("failed to {action}")]
    Io {
        /// What was being done, for example `write the layer`.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with one entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The archive ends before the entry does.
    #[error("it lies beyond the end of the archive")]
    Truncated,
    /// The compressed bytes are not a deflate stream (RFC 1951).
    #[error("its deflate stream is damaged")]
    Deflate,
    /// The deflate stream ends early: a gzip member of it would have junk in it.
    #[error("its deflate stream ends after {used} of {compressed} bytes")]
    TrailingBytes {
        /// Bytes that the stream really has.
        used: u64,
        /// Bytes that the archive declares.
        compressed: u64,
    },
    /// The content has another length than declared.
    #[error("its content has {actual} bytes, the archive says {expected}")]
    Size {
        /// Bytes that the archive declares.
        expected: u64,
        /// Bytes that came; at least this many when there are too many.
        actual: u64,
    },
    /// The content has another CRC-32 than declared.
    #[error("its content has the CRC-32 {actual:08x}, the archive says {expected:08x}")]
    Checksum {
        /// What the archive declares.
        expected: u32,
        /// What came.
        actual: u32,
    },
    /// Encrypted entries cannot be read.
    #[error("it is encrypted")]
    Encrypted,
    /// Only stored and deflated entries can be read.
    #[error("its compression method {0} is neither stored nor deflate")]
    Method(u16),
    /// There are two entries of this name.
    #[error("it is there twice")]
    Duplicate,
    /// The local header of a zip says something else than the central directory.
    #[error("its local header and the central directory differ in {0}")]
    LocalHeader(&'static str),
    /// The data descriptor of a zip says something else than the central directory.
    #[error("its data descriptor differs from the central directory")]
    Descriptor,
    /// No local header where the central directory says.
    #[error("there is no local header")]
    NoLocalHeader,
    /// Its bytes belong to another entry, too, or to the central directory.
    #[error("it overlaps with what follows it")]
    Overlap,
    /// A directory that has content.
    #[error("it is a directory with content")]
    DirectoryContent,
    /// A kind of file that no layer can hold, for example a socket.
    #[error("it is of a kind that cannot be archived")]
    Kind,
    /// The target of a link is empty, too long or has a NUL.
    #[error("its link target is refused")]
    LinkTarget,
    /// Two headers describe it, and not alike.
    #[error("its {0} is there twice, and not alike")]
    Twice(&'static str),
    /// The map of data and holes of a sparse file cannot be read, or is not that of its data.
    #[error("its map of data and holes is not valid")]
    Sparse,
    /// A field of its header cannot be read.
    #[error("its header has no valid {0}")]
    Field(&'static str),
    /// Its name cannot be a path.
    #[error(transparent)]
    Name(#[from] PathFault),
    /// Its name, its target or the name of an attribute is not UTF-8, which the index of eStargz is.
    #[error("its {0} is not UTF-8, as the index of eStargz must be")]
    NotText(&'static str),
    /// It lies under another entry that is not a directory.
    #[error("it lies under `{0}`, which is not a directory")]
    NotDirectory(EntryPath),
    /// With it the archive is over a limit of [`SizeLimits`](ocicore::SizeLimits).
    #[error("{what} would be {actual}, over the limit of {limit}")]
    Limit {
        /// The thing.
        what: &'static str,
        /// How large it would be at least, in the unit of the thing.
        actual: u64,
        /// The limit, in the unit of the thing.
        limit: u64,
    },
    /// It is no directory, and has the name of one that is not empty.
    #[error("its name is that of a directory that is not empty")]
    Directory,
}

impl Error {
    /// What kind of failure it is; drives exit codes. Nothing here is worth a retry.
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } => Class::NotFound,
            Self::Exists { .. } | Self::Collisions { .. } | Self::Case { .. } => Class::Conflict,
            Self::Limit { .. }
            | Self::Entry {
                fault: Fault::Limit { .. },
                ..
            } => Class::Exhausted,
            Self::Entry {
                fault: Fault::Encrypted | Fault::Method(_),
                ..
            } => Class::Unsupported,
            Self::File { source, .. } | Self::Io { source, .. } | Self::Extract { source, .. } => {
                match source.kind() {
                    io::ErrorKind::NotFound => Class::NotFound,
                    io::ErrorKind::PermissionDenied => Class::Denied,
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Class::Exhausted,
                    _ => Class::Other,
                }
            }
            Self::Cancelled => Class::Cancelled,
            _ => Class::Invalid,
        }
    }

    /// Where in its archive the cause lies, in bytes from the start: the header or the content of an entry, or
    /// what is wrong with the archive as a whole. Entries of a compressed tar are counted in what it
    /// unpacks to. None if the cause is no archive's, 0 for content of a directory or of memory.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use repack::{Cx, SizeLimits, tar};
    ///
    /// let cut = Arc::new(bytes::Bytes::from(vec![b'x'; 100]));
    /// let error = tar::index(&Cx::default(), cut, &SizeLimits::default()).unwrap_err();
    /// assert_eq!(error.offset(), Some(0), "where a header should be");
    /// ```
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Entry { offset, .. } => Some(*offset),
            Self::LinkTarget { offset, .. }
            | Self::Write { offset, .. }
            | Self::Escape { offset, .. }
            | Self::Device { offset, .. }
            | Self::Case { offset, .. } => *offset,
            Self::Archive { source, .. } => {
                source.downcast_ref::<Broken>().map(|broken| broken.offset)
            }
            _ => None,
        }
    }

    /// `what` is wrong with the archive at `offset`.
    pub(crate) fn archive(format: &'static str, offset: u64, what: impl Into<String>) -> Self {
        Self::Archive {
            format,
            source: Box::new(Broken {
                what: what.into(),
                offset,
                source: None,
            }),
        }
    }

    /// An error of the archive as a whole, as the cause of `what` is wrong at `offset`.
    pub(crate) fn within(self, offset: u64, what: impl Into<String>) -> Self {
        match self {
            Self::Archive { format, source } => Self::Archive {
                format,
                source: Box::new(Broken {
                    what: what.into(),
                    offset,
                    source: Some(source),
                }),
            },
            other => other,
        }
    }

    /// An error of a path or of a tree becomes that of the entry at `offset` of an archive.
    pub(crate) fn at(self, name: &[u8], offset: u64) -> Self {
        let fault = match self {
            Self::Path { fault, .. } => Fault::Name(fault),
            Self::NotDirectory { ancestor, .. } => Fault::NotDirectory(ancestor),
            Self::DirectoryInTheWay { .. } => Fault::Directory,
            other => return other,
        };
        Self::Entry {
            path: printable(name),
            offset,
            fault,
        }
    }

    /// An I/O error, or the error of this crate that travelled inside it.
    pub(crate) fn io(action: &'static str, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(source) => Self::Io { action, source },
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(source) => Self::File {
                action,
                path,
                source,
            },
        }
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// Into [`io::Read`] and back without loss.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.class() {
            Class::NotFound => io::ErrorKind::NotFound,
            Class::Invalid => io::ErrorKind::InvalidData,
            Class::Unsupported => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// What is wrong with an archive as a whole, and where.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Broken {
    what: String,
    offset: u64,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// For messages, behind the name of an entry.
fn place(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| {
        format!(" at byte {offset} of its archive")
    })
}

fn collision_list(collisions: &[Collision]) -> String {
    let lines: Vec<_> = collisions.iter().map(Collision::to_string).collect();
    format!("sources collide: {}", lines.join("; "))
}

/// As text for messages, whatever the bytes are: not printable is escaped, too long is cut.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const LONGEST: usize = 512;
    let mut text = String::new();
    for chunk in bytes[..bytes.len().min(LONGEST)].utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control()
                || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if bytes.len() > LONGEST {
        text.push('…');
    }
    text
}
