//! Maps whose order does not depend on chance: the hasher's seed is fixed, so that a simulated run repeats exactly.
//!
//! Keys that a client chooses go through the same hasher; what a client can put into any one map is bounded by `limits`.

use std::hash::BuildHasher;

/// The hasher of [`Map`] and [`Set`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Seeded;

impl BuildHasher for Seeded {
    type Hasher = foldhash::quality::FoldHasher<'static>;
    fn build_hasher(&self) -> Self::Hasher {
        foldhash::quality::FixedState::with_seed(0x636f_7265_7469_6465).build_hasher()
    }
}

/// A hash map with a repeatable order.
pub type Map<K, V> = hashbrown::HashMap<K, V, Seeded>;
/// A hash set with a repeatable order.
pub type Set<K> = hashbrown::HashSet<K, Seeded>;
