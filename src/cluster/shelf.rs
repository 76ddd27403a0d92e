//! A map whose copies share what did not change: the keys are spread over buckets, and a write copies one bucket.
//!
//! Creating a thousand topics in a row makes a thousand images. With one flat map each would copy all topics.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::base::{Map, map::Seeded};

/// A map that is cheap to clone and to change a little.
#[derive(Clone, Debug)]
pub(super) struct Shelf<K, V> {
    buckets: Arc<Vec<Arc<Map<K, V>>>>,
    len: usize,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        let empty = Arc::new(Map::default());
        Self { buckets: Arc::new(vec![empty; BUCKETS]), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shelf<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        let bucket = bucket_of(&key);
        if Arc::make_mut(&mut Arc::make_mut(&mut self.buckets)[bucket]).insert(key, value).is_none() {
            self.len += 1;
        }
    }

    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        let bucket = bucket_of(key);
        if self.buckets[bucket].contains_key(key) {
            Arc::make_mut(&mut Arc::make_mut(&mut self.buckets)[bucket]).remove(key);
            self.len -= 1;
        }
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.buckets[bucket_of(key)].get(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.buckets.iter().flat_map(|bucket| bucket.values())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// The middle bits of the hash: the map inside the bucket uses the lowest and the highest.
fn bucket_of<Q: Hash + ?Sized>(key: &Q) -> usize {
    (Seeded.hash_one(key) >> 24) as usize % BUCKETS
}

const BUCKETS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut shelf = Shelf::<u32, u32>::default();
        (0..1000).for_each(|key| shelf.insert(key, key));
        let before = shelf.clone();
        shelf.insert(7, 70);
        shelf.remove(&8);
        shelf.remove(&5000);
        assert_eq!((before.len(), shelf.len()), (1000, 999));
        assert_eq!((before.get(&7), before.get(&8)), (Some(&7), Some(&8)));
        assert_eq!((shelf.get(&7), shelf.get(&8)), (Some(&70), None));
        assert_eq!(shelf.values().count(), 999);
    }

    /// Cloning a full map for each change cost as much as all topics; now all but one bucket stay the same memory.
    #[test]
    fn a_change_copies_one_bucket() {
        let mut shelf = Shelf::<u32, u32>::default();
        (0..1000).for_each(|key| shelf.insert(key, key));
        let before = shelf.clone();
        shelf.insert(1001, 1);
        let shared = before.buckets.iter().zip(shelf.buckets.iter()).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
        assert_eq!(shared, BUCKETS - 1);
    }
}
