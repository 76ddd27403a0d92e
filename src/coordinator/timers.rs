//! What a coordinator is waiting for, by the clock that never jumps.

use std::collections::BTreeSet;

use crate::base::{Map, Mono};
use crate::protocol::Str;

/// Something that happens when time has passed. Each stands at most once among [`Timers`], so their number is bounded by that of members and groups.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Timer {
    /// A member was silent for too long, or did not come back with the id that it was given.
    Session { group: Str, member: Str },
    /// A member of the consumer protocol had the time to give partitions up.
    Revocation { group: Str, member: Str },
    /// Members had the time to join.
    Join { group: Str },
    /// Members had the time to ask for their assignment.
    Sync { group: Str },
    /// Expired offsets are looked for.
    Expiry,
    /// Offsets of deleted topics are looked for.
    DeletedTopics,
}

/// Timers in the order of their deadlines; those with the same deadline in the order in which they were set.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    deadlines: Map<Timer, (Mono, u64)>,
    order: BTreeSet<(Mono, u64, Timer)>,
    set: u64,
}

impl Timers {
    /// Sets a timer, in place of the one there was.
    pub(super) fn set(&mut self, timer: Timer, at: Mono) {
        self.cancel(&timer);
        self.set += 1;
        self.deadlines.insert(timer.clone(), (at, self.set));
        self.order.insert((at, self.set, timer));
    }

    /// Forgets a timer, if there is one.
    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, (at, set))) = self.deadlines.remove_entry(timer) {
            self.order.remove(&(at, set, timer));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Mono> {
        self.order.first().map(|(at, _, _)| *at)
    }

    /// Takes the next one that is due.
    pub(super) fn due(&mut self, now: Mono) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, _, timer) = self.order.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }

    /// When a timer is due.
    #[cfg(test)]
    pub(super) fn deadline(&self, timer: &Timer) -> Option<Mono> {
        self.deadlines.get(timer).map(|(at, _)| *at)
    }

    /// All of them.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Timer> {
        self.deadlines.keys()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.deadlines.len(), self.order.len());
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(group: &str) -> Timer {
        Timer::Join { group: group.into() }
    }

    #[test]
    fn timers_fall_due_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(join("late"), Mono(30));
        timers.set(join("b"), Mono(20));
        timers.set(join("a"), Mono(20));
        assert_eq!((timers.next(), timers.due(Mono(19))), (Some(Mono(20)), None));
        assert_eq!(timers.due(Mono(20)), Some(join("b")));
        assert_eq!(timers.due(Mono(99)), Some(join("a")));
        assert_eq!(timers.due(Mono(99)), Some(join("late")));
        assert_eq!((timers.due(Mono(99)), timers.next()), (None, None));
    }

    #[test]
    fn a_timer_stands_once() {
        let mut timers = Timers::default();
        timers.set(join("a"), Mono(10));
        timers.set(join("a"), Mono(20));
        assert_eq!((timers.len(), timers.deadline(&join("a"))), (1, Some(Mono(20))));
        timers.cancel(&join("a"));
        timers.cancel(&join("a"));
        assert_eq!((timers.len(), timers.due(Mono(99))), (0, None));
    }
}
