use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use ocicore::Digest;

/// Bytes of all of it together.
const TOTAL: usize = 4 << 20;
/// Larger content is not kept.
const LARGEST: usize = 512 << 10;

/// Manifests and small blobs by digest, the last ones read. Since a digest names its bytes, this is
/// right however many servers write to the storage; whether a repository has one of them is never
/// asked here.
#[derive(Debug, Default)]
pub(super) struct ContentCache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    content: HashMap<Digest, Entry>,
    /// In the order of arrival; one that was used since gets a second turn.
    order: VecDeque<Digest>,
    total: usize,
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    used: bool,
}

impl ContentCache {
    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = state.content.get_mut(digest)?;
        entry.used = true;
        Some(entry.bytes.clone())
    }

    pub(super) fn insert(&self, digest: Digest, bytes: Bytes) {
        if bytes.len() > LARGEST {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if state.content.contains_key(&digest) {
            return;
        }
        state.total += bytes.len();
        state.order.push_back(digest);
        state.content.insert(digest, Entry { bytes, used: false });
        while state.total > TOTAL
            && let Some(oldest) = state.order.pop_front()
        {
            match state.content.get_mut(&oldest) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    state.order.push_back(oldest);
                }
                _ => {
                    if let Some(entry) = state.content.remove(&oldest) {
                        state.total -= entry.bytes.len();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_total_is_bounded() {
        let cache = ContentCache::default();
        let kept = Digest::of(b"kept");
        cache.insert(kept, Bytes::from_static(b"kept"));
        for n in 0..100_u32 {
            assert_eq!(cache.get(&kept).unwrap(), "kept");
            cache.insert(Digest::of(&n.to_le_bytes()), vec![0; 200 << 10].into());
            assert!(cache.state.lock().unwrap().total <= TOTAL);
        }
        assert!(cache.get(&Digest::of(&0_u32.to_le_bytes())).is_none());
        assert!(cache.get(&Digest::of(&99_u32.to_le_bytes())).is_some());
        cache.insert(Digest::of(b"large"), vec![0; LARGEST + 1].into());
        assert!(cache.get(&Digest::of(b"large")).is_none());
    }
}
