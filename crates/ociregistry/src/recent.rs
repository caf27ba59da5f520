use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// Most entries of one map.
const MOST: usize = 512;

/// A map that stays small whatever registries and programs ask for: the entry that was not used
/// for longest makes room for a new one.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    /// With the number of their last use.
    entries: HashMap<K, (u64, V)>,
    uses: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            uses: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value.clone())
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= MOST && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.entries.remove(&oldest);
            }
        }
        self.uses += 1;
        self.entries.insert(key, (self.uses, value));
    }

    /// What is there, or a new one.
    pub(crate) fn get_or_new<Q: Eq + Hash + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> V
    where
        K: Borrow<Q>,
        V: Default,
    {
        self.get(key).unwrap_or_else(|| {
            let value = V::default();
            self.insert(key.to_owned(), value.clone());
            value
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let mut map = Recent::default();
        for n in 0..MOST {
            map.insert(n, n);
        }
        assert_eq!(map.get(&0), Some(0));
        map.insert(2, 7);
        map.insert(MOST, MOST);
        assert_eq!(map.entries.len(), MOST);
        assert_eq!(
            (map.get(&0), map.get(&1), map.get(&2)),
            (Some(0), None, Some(7))
        );
        assert_eq!(map.get_or_new(&1), 0);
        assert_eq!((map.get(&1), map.get(&3)), (Some(0), None));
    }
}
