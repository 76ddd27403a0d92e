//! Maps whose order does not depend on chance within a process, and whose hashes nobody outside can foretell.
//!
//! Many keys are chosen by clients, and whoever knows the seeds can make any number of keys with one hash. So a broker draws its seeds at start, once,
//! before it makes a map ([`seed`]). Where nobody draws, as in the simulation, they are fixed and a run repeats exactly.

use std::hash::BuildHasher;
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// The hasher of [`Map`] and [`Set`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Seeded;

impl BuildHasher for Seeded {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        SEEDS.get_or_init(|| Seeds::new(FIXED)).hasher()
    }
}

/// A hash map with a repeatable order.
pub type Map<K, V> = hashbrown::HashMap<K, V, Seeded>;
/// A hash set with a repeatable order.
pub type Set<K> = hashbrown::HashSet<K, Seeded>;

/// Seeds all maps of this process from `random`. What counts is the first call.
///
/// # Panics
/// If a map was used before the first call: the seeds in use could then be known to a client.
pub fn seed(random: [u64; 2]) {
    let seeds = SEEDS.get_or_init(|| Seeds::new(random));
    assert!(seeds.from != FIXED, "a map was used before the seeds were drawn");
}

/// Both halves are secret: a key can be chosen so that the seed of the hasher does not matter if the other one is known.
#[derive(Debug)]
struct Seeds {
    from: [u64; 2],
    shared: SharedSeed,
}

impl Seeds {
    fn new(from: [u64; 2]) -> Self {
        Self { from, shared: SharedSeed::from_u64(from[1]) }
    }

    fn hasher(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.from[0], &self.shared)
    }
}

static SEEDS: OnceLock<Seeds> = OnceLock::new();

/// What maps are seeded from where nobody draws.
const FIXED: [u64; 2] = [0x636f_7265_7469_6465, 0x7468_6520_7365_6564];

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// With a public half, every key that ends in it had the same hash, whatever the other half was.
    #[test]
    fn keys_that_collide_under_known_seeds_do_not_under_others() {
        let hashes = |hasher: &dyn Fn() -> FoldHasher<'static>| {
            let hash = |number: u64| {
                let mut hasher = hasher();
                hasher.write(&[number.to_ne_bytes(), 0x3f84_d5b5_b547_0917_u64.to_ne_bytes()].concat());
                hasher.finish()
            };
            (0..1000).map(hash).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(hashes(&|| FoldHasher::with_seed(7, SharedSeed::global_fixed())), 1);
        assert_eq!(hashes(&|| Seeded.build_hasher()), 1000);
        let drawn: &'static Seeds = Box::leak(Box::new(Seeds::new([7, 8])));
        assert_eq!(hashes(&|| drawn.hasher()), 1000);
    }
}
