//! What differs between two trees, and what is in one: as data and as text.

use std::{cmp::Ordering, fmt};

use ocicore::Cx;
use serde::{Serialize, Serializer};

use crate::{Entry, EntryPath, Kind, Result, Tree, merge::same_content};

/// What differs between two trees, in the order of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diff {
    /// The entries that differ.
    pub changes: Vec<Change>,
}

/// One entry that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The entry.
    pub path: EntryPath,
    /// In what it differs; never empty.
    pub differences: Vec<Difference>,
}

/// In what an entry differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// Only the second tree has it.
    Added,
    /// Only the first tree has it.
    Removed,
    /// It is of another kind, for example a directory instead of a file.
    Kind,
    /// The content or the target of a link is another.
    Content,
    /// The mode, before and after.
    Mode(u32, u32),
    /// User and group, before and after.
    Owner((u64, u64), (u64, u64)),
    /// The time of modification.
    Mtime,
    /// The extended attributes.
    Xattrs,
}

/// Compares two trees; contents are read only if size and declared CRC-32 are the same.
///
/// ```
/// use repack::{Cx, Entry, Tree, diff};
///
/// let mut before = Tree::new();
/// before.insert("run.sh".parse()?, Entry::file("java Job"))?;
/// let mut after = before.clone();
/// after.set_mode(&"*.sh".parse()?, 0o755);
/// after.insert("new".parse()?, Entry::file(""))?;
/// let diff = diff::diff(&Cx::default(), &before, &after)?;
/// assert_eq!(diff.to_string(), "added new\nmode 0644 -> 0755 run.sh\n");
/// # Ok::<(), repack::Error>(())
/// ```
///
/// # Errors
/// [`Error::Entry`](crate::Error::Entry) if an archive lies about a content that was compared.
pub fn diff(cx: &Cx, before: &Tree, after: &Tree) -> Result<Diff> {
    let task = cx.task("compare", Some(before.content_size()));
    let mut changes = Vec::new();
    let mut change = |path: EntryPath, differences: Vec<Difference>| {
        if !differences.is_empty() {
            changes.push(Change { path, differences });
        }
    };
    let (mut left, mut right) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((here, _)), Some((there, _))) => here.cmp(there),
        };
        let here = (order.is_le()).then(|| left.next()).flatten();
        let there = (order.is_ge()).then(|| right.next()).flatten();
        match (here, there) {
            (Some((path, a)), Some((_, b))) => {
                task.add(a.content().map_or(0, crate::Content::size))?;
                let differences = differences(&path, (before, a), (after, b))?;
                change(path, differences);
            }
            (Some((path, _)), None) => change(path, vec![Difference::Removed]),
            (None, Some((path, _))) => change(path, vec![Difference::Added]),
            (None, None) => break,
        }
    }
    Ok(Diff { changes })
}

fn differences(
    path: &EntryPath,
    (before, a): (&Tree, Entry),
    (after, b): (&Tree, Entry),
) -> Result<Vec<Difference>> {
    let mut all = Vec::new();
    // A hard link is its file.
    let (x, y) = (file_of(before, a), file_of(after, b));
    let same = match (&x.kind, &y.kind) {
        (Kind::File(a), Kind::File(b)) => Some(same_content(path, a, b)?),
        (Kind::Symlink(a), Kind::Symlink(b)) => Some(a == b),
        (Kind::Hardlink(a), Kind::Hardlink(b)) => Some(a == b),
        (Kind::Dir, Kind::Dir) | (Kind::Fifo, Kind::Fifo) => Some(true),
        (Kind::CharDevice(a), Kind::CharDevice(b))
        | (Kind::BlockDevice(a), Kind::BlockDevice(b)) => Some(a == b),
        _ => None,
    };
    match same {
        None => all.push(Difference::Kind),
        Some(false) => all.push(Difference::Content),
        Some(true) => {}
    }
    let (a, b) = (&x.metadata, &y.metadata);
    if a.mode != b.mode {
        all.push(Difference::Mode(a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        all.push(Difference::Owner((a.uid, a.gid), (b.uid, b.gid)));
    }
    if a.mtime != b.mtime {
        all.push(Difference::Mtime);
    }
    if a.xattrs != b.xattrs {
        all.push(Difference::Xattrs);
    }
    Ok(all)
}

fn file_of(tree: &Tree, entry: Entry) -> Entry {
    match &entry.kind {
        Kind::Hardlink(target) => tree.get(target).unwrap_or(entry),
        _ => entry,
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { path, differences } in &self.changes {
            let texts: Vec<_> = differences.iter().map(Difference::to_string).collect();
            writeln!(f, "{} {path}", texts.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
            Self::Kind => f.write_str("kind"),
            Self::Content => f.write_str("content"),
            Self::Mode(a, b) => write!(f, "mode {a:04o} -> {b:04o}"),
            Self::Owner((u, g), (v, h)) => write!(f, "owner {u}:{g} -> {v}:{h}"),
            Self::Mtime => f.write_str("mtime"),
            Self::Xattrs => f.write_str("xattrs"),
        }
    }
}

impl Tree {
    /// All entries as text, as `tar -tv` has them: kind and mode, owner, size, name, target. Serialized, a list
    /// with one object for each.
    pub fn listing(&self) -> Listing<'_> {
        Listing(self)
    }
}

/// A tree as text; see [`Tree::listing`].
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a>(&'a Tree);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, entry) in self.0 {
            let printable = crate::error::printable;
            let (letter, size, target) = match &entry.kind {
                Kind::File(content) => ('-', content.size(), String::new()),
                Kind::Dir => ('d', 0, String::new()),
                Kind::Symlink(target) => ('l', 0, format!(" -> {}", printable(target))),
                Kind::Hardlink(target) => ('h', 0, format!(" link to {target}")),
                Kind::CharDevice(_) => ('c', 0, String::new()),
                Kind::BlockDevice(_) => ('b', 0, String::new()),
                Kind::Fifo => ('p', 0, String::new()),
            };
            let of = &entry.metadata;
            writeln!(
                f,
                "{letter}{:04o} {}:{} {size:>10} {path}{target}",
                of.mode, of.uid, of.gid
            )?;
        }
        Ok(())
    }
}

/// One entry as data.
#[derive(Serialize)]
struct Line {
    path: EntryPath,
    kind: &'static str,
    mode: u32,
    uid: u64,
    gid: u64,
    /// Seconds since 1970 and nanoseconds.
    mtime: (i64, u32),
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Of a link; what is not text is escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Major and minor number.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
}

impl Line {
    fn of((path, entry): (EntryPath, Entry)) -> Self {
        let (mut size, mut target, mut device) = (None, None, None);
        let kind = match &entry.kind {
            Kind::File(content) => {
                size = Some(content.size());
                "file"
            }
            Kind::Dir => "dir",
            Kind::Symlink(to) => {
                target = Some(crate::error::printable(to));
                "symlink"
            }
            Kind::Hardlink(to) => {
                target = Some(to.to_string());
                "hardlink"
            }
            Kind::CharDevice(numbers) => {
                device = Some((numbers.major, numbers.minor));
                "char"
            }
            Kind::BlockDevice(numbers) => {
                device = Some((numbers.major, numbers.minor));
                "block"
            }
            Kind::Fifo => "fifo",
        };
        let of = &entry.metadata;
        Self {
            path,
            kind,
            mode: of.mode,
            uid: of.uid,
            gid: of.gid,
            mtime: (of.mtime.seconds, of.mtime.nanoseconds),
            size,
            target,
            device,
        }
    }
}

impl Serialize for Listing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Line::of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

    #[test]
    fn a_listing_is_data_too() {
        let mut tree = Tree::new();
        let device = Kind::CharDevice(crate::Device { major: 1, minor: 3 });
        for (name, entry) in [
            ("d/f", Entry::file("x")),
            ("l", Entry::symlink(&b"\xff"[..])),
            ("null", Entry::new(device)),
        ] {
            tree.insert(name.parse().unwrap(), entry).unwrap();
        }
        let listing = serde_json::to_value(tree.listing()).unwrap();
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(
            listing,
            json(
                r#"[
                {"path":"d","kind":"dir","mode":493,"uid":0,"gid":0,"mtime":[1,0]},
                {"path":"d/f","kind":"file","mode":420,"uid":0,"gid":0,"mtime":[1,0],"size":1},
                {"path":"l","kind":"symlink","mode":511,"uid":0,"gid":0,"mtime":[1,0],"target":"\\xff"},
                {"path":"null","kind":"char","mode":420,"uid":0,"gid":0,"mtime":[1,0],"device":[1,3]}
                ]"#
            )
        );
    }

    #[test]
    fn every_difference_is_found() {
        let path = |path: &str| path.parse::<EntryPath>().unwrap();
        let mut before = Tree::new();
        for name in ["dir/same", "dir/text", "gone", "kind", "link"] {
            before.insert(path(name), Entry::file("x")).unwrap();
        }
        let mut after = before.clone();
        after.remove(&path("gone"));
        after.replace(&path("dir/text"), "y".into()).unwrap();
        after
            .insert(path("kind"), Entry::symlink("z").with_mode(0o644))
            .unwrap();
        after
            .insert(path("link"), Entry::hardlink(path("dir/same")))
            .unwrap();
        after.insert(path("new/file"), Entry::file("")).unwrap();
        after.set_owner(&"dir".parse().unwrap(), 1, 2);
        after.set_mtime(&"dir/same".parse().unwrap(), crate::Mtime::from_seconds(5));
        let diff = diff(&Cx::default(), &before, &after).unwrap();
        insta::assert_snapshot!(diff, @r"
        owner 0:0 -> 1:2 dir
        mtime dir/same
        content dir/text
        removed gone
        kind kind
        mtime link
        added new
        added new/file
        ");
        after.set_mode(&Pattern::all(), 0o600);
        insta::assert_snapshot!(after.listing(), @r"
        d0755 1:2          0 dir
        -0600 0:0          1 dir/same
        -0600 0:0          1 dir/text
        l0644 0:0          0 kind -> z
        h0600 0:0          0 link link to dir/same
        d0755 0:0          0 new
        -0600 0:0          0 new/file
        ");
    }
}
