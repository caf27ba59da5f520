//! Headers of tar: ustar (POSIX.1-1988), with a PAX header (POSIX.1-2001) only for what does not
//! fit.

use tar::{EntryType, Header};

use crate::{Device, EntryPath, Fault, Metadata};

/// Largest values of ustar's octal fields of 7 and 11 digits.
const MOST_ID: u64 = 0o7_777_777;
const MOST_SIZE: u64 = 0o77_777_777_777;
const BLOCK: usize = 512;

/// What an entry is in a tar.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type<'a> {
    File(u64),
    Dir,
    Symlink(&'a [u8]),
    Hardlink(&'a EntryPath),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

/// Zeros after content of `size` bytes, up to a whole block.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK - over }
}

/// Appends the headers of an entry.
pub(crate) fn append(
    out: &mut Vec<u8>,
    path: &EntryPath,
    kind: Type<'_>,
    metadata: &Metadata,
) -> Result<(), Fault> {
    let mut pax = Pax::default();
    let mut header = Header::new_ustar();
    let mut name = path.as_bytes().to_vec();
    if matches!(kind, Type::Dir) {
        name.push(b'/');
    }
    let ustar = header.as_ustar_mut().ok_or(Fault::Field("header"))?;
    match split(&name) {
        Some((prefix, name)) => {
            ustar.prefix[..prefix.len()].copy_from_slice(prefix);
            ustar.name[..name.len()].copy_from_slice(name);
        }
        None => {
            pax.add(b"path", &name);
            copy_cut(&mut ustar.name, &name);
        }
    }
    let link: &[u8] = match kind {
        Type::Symlink(target) => target,
        Type::Hardlink(target) => target.as_bytes(),
        _ => b"",
    };
    if matches!(kind, Type::Symlink(_)) && (link.is_empty() || link.contains(&0)) {
        return Err(Fault::LinkTarget);
    }
    if link.len() > ustar.linkname.len() {
        pax.add(b"linkpath", link);
    }
    copy_cut(&mut ustar.linkname, link);
    header.set_entry_type(match kind {
        Type::File(_) => EntryType::Regular,
        Type::Dir => EntryType::Directory,
        Type::Symlink(_) => EntryType::Symlink,
        Type::Hardlink(_) => EntryType::Link,
        Type::CharDevice(_) => EntryType::Char,
        Type::BlockDevice(_) => EntryType::Block,
        Type::Fifo => EntryType::Fifo,
    });
    header.set_mode(metadata.mode & 0o7777);
    header.set_uid(pax.number(b"uid", metadata.uid, MOST_ID));
    header.set_gid(pax.number(b"gid", metadata.gid, MOST_ID));
    let size = match kind {
        Type::File(size) => size,
        _ => 0,
    };
    header.set_size(pax.number(b"size", size, MOST_SIZE));
    header.set_mtime(pax.mtime(metadata));
    if let Type::CharDevice(device) | Type::BlockDevice(device) = kind {
        if u64::from(device.major.max(device.minor)) > MOST_ID {
            return Err(Fault::Field("device number"));
        }
        // Both are there in ustar.
        let _ = header.set_device_major(device.major);
        let _ = header.set_device_minor(device.minor);
    }
    for (name, value) in &metadata.xattrs {
        // A record ends its key with the first of the one, and other readers refuse the other.
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Err(Fault::Field("name of an attribute"));
        }
        pax.add(&[b"SCHILY.xattr.", &**name].concat(), value);
    }
    header.set_cksum();
    pax.append(out, path, &header);
    out.extend_from_slice(header.as_bytes());
    Ok(())
}

/// Two blocks of zeros end the archive.
pub(crate) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

/// Records of a PAX header, in the order in which they were added.
#[derive(Default)]
struct Pax(Vec<u8>);

impl Pax {
    /// `LENGTH KEY=VALUE\n`, where the length counts itself.
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        self.0.extend_from_slice(format!("{len} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// The value for the ustar field: 0 if it only fits here.
    fn number(&mut self, key: &[u8], value: u64, most: u64) -> u64 {
        if value <= most {
            return value;
        }
        self.add(key, value.to_string().as_bytes());
        0
    }

    fn mtime(&mut self, metadata: &Metadata) -> u64 {
        let mtime = metadata.mtime;
        let whole = u64::try_from(mtime.seconds)
            .ok()
            .filter(|&s| s <= MOST_SIZE);
        if let (Some(seconds), 0) = (whole, mtime.nanoseconds) {
            return seconds;
        }
        // Nanoseconds count upwards also before the epoch, and decimals away from zero.
        let nanos = i128::from(mtime.seconds) * 1_000_000_000 + i128::from(mtime.nanoseconds);
        let sign = if nanos < 0 { "-" } else { "" };
        let (seconds, nanos) = (
            nanos.unsigned_abs() / 1_000_000_000,
            nanos.unsigned_abs() % 1_000_000_000,
        );
        let text = format!("{sign}{seconds}.{nanos:09}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        self.add(b"mtime", text.as_bytes());
        whole.unwrap_or(0)
    }

    fn append(self, out: &mut Vec<u8>, path: &EntryPath, of: &Header) {
        let Self(records) = self;
        if records.is_empty() {
            return;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        let name = [b"PaxHeaders/", path.file_name()].concat();
        copy_cut(&mut header.as_old_mut().name, &name);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(of.mtime().unwrap_or(0));
        header.set_size(records.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        let padding = padding(records.len() as u64);
        out.extend(records);
        out.resize(out.len() + padding, 0);
    }
}

/// Into prefix and name of ustar, if there is a slash at the right place.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    const NAME: usize = 100;
    const PREFIX: usize = 155;
    if path.len() <= NAME {
        return Some((b"", path));
    }
    // The name may be neither empty nor too long, so that the slash is in this range.
    let first = path.len().checked_sub(NAME + 1)?;
    let last = (path.len() - 2).min(PREFIX);
    (first..=last)
        .find(|&at| path[at] == b'/' && at > 0)
        .map(|at| (&path[..at], &path[at + 1..]))
}

fn copy_cut(field: &mut [u8], value: &[u8]) {
    let len = field.len().min(value.len());
    field[..len].copy_from_slice(&value[..len]);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::Mtime;

    fn headers(path: &str, kind: Type<'_>, metadata: &Metadata) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, &path.parse().unwrap(), kind, metadata).unwrap();
        out
    }

    #[test]
    fn pax_only_when_needed() {
        let plain = Metadata::default();
        let with = |change: &dyn Fn(&mut Metadata)| {
            let mut metadata = plain.clone();
            change(&mut metadata);
            metadata
        };
        let long = "d/".repeat(40) + &"n".repeat(60);
        let longer = "d".repeat(101);
        for (path, kind, metadata, pax) in [
            ("a", Type::File(5), &plain, false),
            (&*long, Type::Dir, &plain, false),
            (&*longer, Type::File(0), &plain, true),
            ("a", Type::Symlink(&[b'x'; 100]), &plain, false),
            ("a", Type::Symlink(&[b'x'; 101]), &plain, true),
            ("a", Type::File(MOST_SIZE), &plain, false),
            ("a", Type::File(MOST_SIZE + 1), &plain, true),
            ("a", Type::Fifo, &with(&|m| m.uid = MOST_ID), false),
            ("a", Type::Fifo, &with(&|m| m.gid = MOST_ID + 1), true),
            ("a", Type::Fifo, &with(&|m| m.mtime.seconds = -1), true),
            ("a", Type::Fifo, &with(&|m| m.mtime.nanoseconds = 1), true),
        ] {
            let out = headers(path, kind, metadata);
            assert_eq!(out.len() > BLOCK, pax, "{path} {kind:?}");
            assert_eq!(out.len() % BLOCK, 0);
        }
    }

    #[test]
    fn times_before_the_epoch_and_between_seconds() {
        for (seconds, nanoseconds, expected) in [
            (1, 500_000_000, "18 mtime=1.5\n"),
            (-1, 0, ""),
            (-2, 750_000_000, "mtime=-1.25\n"),
            (i64::MIN, 0, "mtime=-9223372036854775808\n"),
        ] {
            let metadata = Metadata {
                mtime: Mtime {
                    seconds,
                    nanoseconds,
                },
                ..Metadata::default()
            };
            let out = headers("a", Type::Dir, &metadata);
            let text = String::from_utf8_lossy(&out).into_owned();
            assert!(text.contains(expected.trim_start_matches("18 ")), "{text}");
        }
    }

    #[test]
    fn lengths_of_records_count_themselves() {
        for len in [
            0, 1, 2, 85, 86, 87, 88, 89, 90, 91, 92, 983, 984, 985, 986, 987, 988,
        ] {
            let mut pax = Pax::default();
            pax.add(b"path", &vec![b'x'; len]);
            let text = String::from_utf8(pax.0).unwrap();
            let (declared, _) = text.split_once(' ').unwrap();
            assert_eq!(declared.parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn the_tar_crate_reads_it_back() {
        let path = "long/".repeat(30) + &"n".repeat(120);
        let mut metadata = Metadata::default();
        (metadata.mode, metadata.uid, metadata.gid) = (0o4755, 1 << 40, 7);
        metadata.mtime.seconds = 1_700_000_000;
        let mut out = headers(&path, Type::File(3), &metadata);
        out.extend(b"abc");
        out.resize(out.len() + padding(3), 0);
        out.extend(end());
        let mut archive = tar::Archive::new(&*out);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path_bytes(), path.as_bytes());
        assert_eq!(entry.header().mode().unwrap(), 0o4755);
        assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        assert_eq!(content, "abc");
    }
}
