//! How many uploads one client may have at the same time.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Error, Result};

/// Uploads in progress, by client.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    client: IpAddr,
}

impl Slots {
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr, limit: usize) -> Result<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_default();
        if *count >= limit {
            return Err(Error::TooManyUploads { limit });
        }
        *count += 1;
        Ok(Slot {
            slots: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self
            .slots
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_by_client() {
        let slots = Arc::new(Slots::default());
        let (one, other): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let held = slots.take(one, 1).unwrap();
        assert!(slots.take(one, 1).is_err());
        assert!(slots.take(other, 1).is_ok());
        drop(held);
        assert!(slots.take(one, 1).is_ok());
        assert!(slots.taken.lock().unwrap().is_empty());
    }
}
