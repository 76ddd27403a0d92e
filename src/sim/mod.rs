//! The whole broker in a simulated world: what happens to it, and what must hold whatever happens.
//!
//! One seed is one story: producers and a reader at work, power cuts and kills in between (also inside recovery), restarts with other
//! numbers of cores and other settings, and at the end a reading of everything. The same seed tells the same story again. Knows the
//! broker only as its clients do, by its protocol.

mod client; // a client, written against the simulated network
mod full; // a story of a full disk
mod groups; // a story of groups
mod ledger; // what was sent, acknowledged and seen; what must hold
mod scenario; // the story

pub use full::{FullStory, tell_of_a_full_disk, tell_of_a_journal_that_grows_later};
pub use groups::{GroupStory, tell_of_groups};
pub use scenario::{Story, tell};
