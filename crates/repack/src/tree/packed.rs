//! Entries that nobody works on: names share what they have in common, numbers take as many bytes as
//! they need.

use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
    sync::Arc,
};

use super::{Item, block::Block, block::Items};
use crate::EntryPath;

/// So many entries are one block. More would make it slower to find one, fewer would share less.
const BLOCK: usize = 48;

/// Blocks by the path of their first entry. They do not overlap, and copies of a tree share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    blocks: BTreeMap<EntryPath, Arc<Block>>,
    len: usize,
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, path: &EntryPath) -> bool {
        let block = self.block(path);
        block.is_some_and(|(_, block)| block.position(path).is_some())
    }

    pub(super) fn get(&self, path: &EntryPath) -> Option<Item> {
        let (_, block) = self.block(path)?;
        block.item(block.position(path)?)
    }

    /// Takes out an entry, with those that are in one block with it.
    pub(super) fn take(&mut self, path: &EntryPath) -> Vec<(EntryPath, Item)> {
        let Some((first, block)) = self.block(path) else {
            return Vec::new();
        };
        if block.position(path).is_none() {
            return Vec::new();
        }
        let first = first.clone();
        self.take_block(&first)
    }

    /// Puts in entries, none of which is there.
    pub(super) fn add(&mut self, items: BTreeMap<EntryPath, Item>) {
        let mut items = items.into_iter().peekable();
        while let Some((path, _)) = items.peek() {
            let (block, end) = (self.block(path), (Bound::Excluded(path), Bound::Unbounded));
            let end = self.blocks.range::<EntryPath, _>(end).next();
            let (block, end) = (
                block.map(|(first, _)| first.clone()),
                end.map(|(first, _)| first.clone()),
            );
            let mut together = block.map_or_else(Vec::new, |first| self.take_block(&first));
            while let Some(item) =
                items.next_if(|(path, _)| end.as_ref().is_none_or(|end| path < end))
            {
                together.push(item);
            }
            // Two sorted runs, which it notices.
            together.sort_by(|(one, _), (other, _)| one.cmp(other));
            // All of about the same size, so that none of them is full at once.
            let size = together.len().div_ceil(together.len().div_ceil(BLOCK));
            for block in together.chunks(size) {
                if let Some((first, _)) = block.first() {
                    self.len += block.len();
                    let block = Arc::new(Block::of(block));
                    self.blocks.insert(first.clone(), block);
                }
            }
        }
    }

    /// Goes over all entries, which `change` may change and tells so.
    pub(super) fn change(&mut self, mut change: impl FnMut(&EntryPath, &mut Item) -> bool) {
        for block in self.blocks.values_mut() {
            let mut items: Vec<_> = block.items().collect();
            let mut changed = false;
            for (path, item) in &mut items {
                changed |= change(path, item);
            }
            if changed {
                *block = Arc::new(Block::of(&items));
            }
        }
    }

    /// All entries from here on.
    pub(super) fn from(&self, start: Bound<&EntryPath>) -> Range<'_> {
        let (Bound::Included(path) | Bound::Excluded(path)) = start else {
            return Range {
                blocks: self.blocks.range::<EntryPath, _>(..),
                current: None,
            };
        };
        let first = self.block(path).map_or(path, |(first, _)| first);
        let mut range = Range {
            blocks: self.blocks.range(first..),
            current: None,
        };
        if let Some((_, block)) = range.blocks.clone().next()
            && first <= path
        {
            range.blocks.next();
            range.current = Some(block.items_from(start));
        }
        range
    }

    /// The block that has this path, if it is there.
    fn block(&self, path: &EntryPath) -> Option<(&EntryPath, &Arc<Block>)> {
        self.blocks.range::<EntryPath, _>(..=path).next_back()
    }

    fn take_block(&mut self, first: &EntryPath) -> Vec<(EntryPath, Item)> {
        let block = self.blocks.remove(first);
        let items: Vec<_> = block.iter().flat_map(|block| block.items()).collect();
        self.len -= items.len();
        items
    }
}

/// Entries in order.
#[derive(Clone, Debug)]
pub(super) struct Range<'t> {
    blocks: btree_map::Range<'t, EntryPath, Arc<Block>>,
    current: Option<Items<'t>>,
}

impl Iterator for Range<'_> {
    type Item = (EntryPath, Item);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.current.as_mut().and_then(Iterator::next) {
                return Some(item);
            }
            let (_, block) = self.blocks.next()?;
            self.current = Some(block.items());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{Content, Device, Entry, Kind, Metadata, Mtime, ReadAt};

    fn path() -> impl Strategy<Value = EntryPath> {
        proptest::collection::vec("[a-c.-]{1,3}", 1..4).prop_filter_map("a path", |parts| {
            EntryPath::parse(parts.join("/").as_bytes()).ok()
        })
    }

    fn content() -> impl Strategy<Value = Content> {
        let memory: Arc<dyn ReadAt> = Arc::new(Bytes::from("memory"));
        let root: Arc<Path> = Path::new("/root").into();
        let (deflated, both) = (Arc::clone(&memory), Arc::clone(&memory));
        prop_oneof![
            "[a-z]{0,9}".prop_map(Content::from),
            any::<(u64, u64, Option<u32>)>().prop_map(move |(offset, size, crc)| {
                Content::stored(Arc::clone(&memory), offset, size, crc)
            }),
            any::<(u64, u64, u64, u32)>().prop_map(move |(offset, compressed, size, crc)| {
                Content::deflated(Arc::clone(&deflated), offset, compressed, size, crc)
            }),
            any::<(u64, u64, u64)>().prop_map(move |(offset, size, there)| {
                let of = || Arc::clone(&both);
                let packed = Content::deflated(of(), there, 7, size, 9);
                Content::stored(of(), offset, size, None).with_packed(packed)
            }),
            (path(), any::<u64>()).prop_map(move |(path, size)| Content::on_disk(
                Arc::clone(&root),
                path,
                size
            )),
        ]
    }

    fn item() -> impl Strategy<Value = Item> {
        let device = || any::<(u32, u32)>().prop_map(|(major, minor)| Device { major, minor });
        let kind = prop_oneof![
            Just(Kind::Dir),
            Just(Kind::Fifo),
            content().prop_map(Kind::File),
            any::<Vec<u8>>().prop_map(|target| Kind::Symlink(target.into())),
            path().prop_map(Kind::Hardlink),
            device().prop_map(Kind::CharDevice),
            device().prop_map(Kind::BlockDevice),
        ];
        let owner = prop_oneof![Just((0, 0)), any::<(u64, u64)>()];
        let mtime = prop_oneof![Just((1, 0)), any::<(i64, u32)>()];
        let xattrs = proptest::collection::btree_map(any::<Box<[u8]>>(), "[a-z]{0,3}", 0..2);
        let metadata = (0..0o10000_u32, owner, mtime, xattrs).prop_map(
            |(mode, (uid, gid), (seconds, nanoseconds), xattrs)| Metadata {
                mode,
                uid,
                gid,
                mtime: Mtime {
                    seconds,
                    nanoseconds,
                },
                xattrs: xattrs.into_iter().map(|(k, v)| (k, v.into())).collect(),
            },
        );
        (kind, metadata, any::<(bool, u32, Option<u64>)>()).prop_map(
            |(kind, metadata, (implied, origin, at))| Item {
                entry: Entry { kind, metadata },
                implied,
                origin,
                at,
            },
        )
    }

    fn shown<'a>(items: impl Iterator<Item = (&'a EntryPath, &'a Item)>) -> Vec<String> {
        items.map(|item| format!("{item:?}")).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            batches in proptest::collection::vec(
                proptest::collection::btree_map(path(), item(), 0..90),
                1..5,
            ),
            asked in proptest::collection::vec(path(), 1..20),
        ) {
            let (mut packed, mut plain) = (Packed::default(), BTreeMap::new());
            for mut batch in batches {
                batch.retain(|path, _| !plain.contains_key(path));
                plain.extend(batch.clone());
                packed.add(batch);
                prop_assert_eq!(packed.len(), plain.len());
            }
            let all: Vec<_> = packed.from(Bound::Unbounded).collect();
            prop_assert_eq!(shown(all.iter().map(|(k, v)| (k, v))), shown(plain.iter()));
            for path in asked.iter().chain(plain.keys()) {
                prop_assert_eq!(packed.contains(path), plain.contains_key(path));
                let got = packed.get(path);
                prop_assert_eq!(format!("{got:?}"), format!("{:?}", plain.get(path).cloned()));
                for start in [Bound::Included(path), Bound::Excluded(path)] {
                    let next = packed.from(start).next().map(|(path, _)| path);
                    let expected = plain.range::<EntryPath, _>((start, Bound::Unbounded)).next();
                    prop_assert_eq!(next.as_ref(), expected.map(|(path, _)| path));
                }
            }
            for path in &asked {
                let taken = packed.take(path);
                prop_assert_eq!(taken.is_empty(), !plain.contains_key(path));
                for (path, _) in taken {
                    prop_assert!(plain.remove(&path).is_some());
                }
                prop_assert_eq!(packed.len(), plain.len());
            }
        }
    }

    #[test]
    fn an_entry_takes_few_bytes() {
        let source: Arc<dyn ReadAt> = Arc::new(Bytes::new());
        let items = (0..10_000_u32).map(|n| {
            let path = format!("usr/share/data/{:03}/entry-{n:07}.txt", n % 97);
            let size = u64::from(n % 5000);
            let place = u64::from(n) * 4321;
            let content = Content::deflated(Arc::clone(&source), place, size, 2 * size, !n);
            (path.parse().unwrap(), Entry::file(content).into())
        });
        let mut packed = Packed::default();
        packed.add(items.collect());
        let bytes: usize = packed.blocks.values().map(|block| block.bytes()).sum();
        assert!(bytes < 40 * packed.len(), "{} each", bytes / packed.len());
    }
}
