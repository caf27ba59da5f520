//! Owner, mode, attributes and times of what was made.

use std::{
    ffi::OsStr,
    fs, io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
};

use cap_std::fs::{Dir, File};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, RawMode, Timespec, Timestamps, Uid},
    io::Errno,
};

use super::{Options, Owner, SpecialBits, Xattrs};
use crate::{EntryPath, Metadata};

/// The rules, and what the process takes from each mode.
pub(super) struct Rules<'a> {
    options: &'a Options,
    /// Bits that something new does not get; none where it may get more than asked for.
    umask: Option<Mode>,
}

impl<'a> Rules<'a> {
    /// Finds out by a file what the umask, or a default ACL of the directory, takes away.
    pub(super) fn new(options: &'a Options, root: &Dir) -> io::Result<Self> {
        const PROBE: &str = ".umask";
        let probe = create(root, OsStr::new(PROBE), 0o777)?;
        let got = Mode::from_raw_mode(rustix::fs::fstat(&probe)?.st_mode);
        rustix::fs::unlinkat(root, PROBE, AtFlags::empty())?;
        // Directories in a directory with setgid get it, too.
        let there = Mode::from_raw_mode(rustix::fs::fstat(root)?.st_mode);
        let umask = (!there.contains(Mode::SGID)).then_some(raw(0o777) - got);
        Ok(Self { options, umask })
    }

    /// The mode that an entry gets.
    pub(super) fn mode(&self, of: &Metadata) -> u32 {
        match self.options.special_bits {
            SpecialBits::Cleared => of.mode & 0o777,
            SpecialBits::Kept => of.mode & 0o7777,
        }
    }

    /// Of a file or directory that was made with the mode `made`. Owner first, since changing it
    /// clears setuid and capabilities; then mode and attributes; the time last.
    pub(super) fn finish(
        &self,
        path: &EntryPath,
        file: impl AsFd,
        made: u32,
        of: &Metadata,
    ) -> io::Result<()> {
        let file = file.as_fd();
        if self.options.owner == Owner::Kept {
            let (uid, gid) = owner(of)?;
            rustix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        let mode = self.mode(of);
        let is_right = |umask| raw(mode) == raw(made) - umask;
        if !self.umask.is_some_and(is_right) {
            rustix::fs::fchmod(file, raw(mode))?;
        }
        self.attributes(path, of, |name, value| {
            #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
            return rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty());
            #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
            {
                let _ = (name, value);
                Err(Errno::NOTSUP)
            }
        })?;
        Ok(rustix::fs::futimens(file, &times(of))?)
    }

    /// Of what cannot be opened: links, devices and pipes.
    pub(super) fn finish_at(
        &self,
        path: &EntryPath,
        directory: &File,
        name: &OsStr,
        of: &Metadata,
        is_link: bool,
    ) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if self.options.owner == Owner::Kept {
            let (uid, gid) = owner(of)?;
            rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?;
        }
        if !is_link {
            // It is new and in a directory of ours, so that it is no link.
            rustix::fs::chmodat(directory, name, raw(self.mode(of)), AtFlags::empty())?;
        }
        self.attributes(path, of, |attribute, value| {
            // No call takes a directory and a name.
            #[cfg(target_os = "linux")]
            {
                use std::{os::fd::AsRawFd as _, path::Path};
                let there = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
                let there = Path::new(&there).join(name);
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::lsetxattr(&there, attribute, value, flags)
            }
            #[cfg(not(target_os = "linux"))]
            {
                let _ = (attribute, value);
                Err(Errno::NOTSUP)
            }
        })?;
        Ok(rustix::fs::utimensat(directory, name, &times(of), flags)?)
    }

    fn attributes(
        &self,
        path: &EntryPath,
        of: &Metadata,
        set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        if self.options.xattrs == Xattrs::Dropped {
            return Ok(());
        }
        for (name, value) in &of.xattrs {
            let Err(error) = set(OsStr::from_bytes(name), value) else {
                continue;
            };
            let refused = [Errno::NOTSUP, Errno::PERM, Errno::ACCESS, Errno::INVAL];
            if self.options.xattrs == Xattrs::Kept || !refused.contains(&error) {
                let text = format!("attribute `{}`", crate::error::printable(name));
                return Err(io::Error::new(
                    io::Error::from(error).kind(),
                    Attribute(text, error),
                ));
            }
            let name = crate::error::printable(name);
            tracing::debug!(%path, name, %error, "an extended attribute is not written");
        }
        Ok(())
    }
}

/// Which attribute failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Attribute(String, #[source] Errno);

/// Makes a file to be written; never opens one that is there, nor follows a link.
pub(super) fn create(directory: impl AsFd, name: &OsStr, mode: u32) -> io::Result<fs::File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, raw(mode))?.into())
}

/// Twelve bits at most.
pub(super) fn raw(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o7777) as RawMode)
}

fn owner(of: &Metadata) -> io::Result<(Uid, Gid)> {
    let id = |what: &str, id: u64| {
        // The highest one means that it stays as it is.
        let fits = u32::try_from(id).ok().filter(|&id| id != u32::MAX);
        let text = || format!("no file can have the {what} {id}");
        fits.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, text()))
    };
    let (uid, gid) = (id("owner", of.uid)?, id("group", of.gid)?);
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn times(of: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: of.mtime.seconds,
        tv_nsec: of.mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
