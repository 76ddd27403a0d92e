//! From what a member has to what it is to have, step by step: first it gives up what it is not to have, then it gets what is free.
//!
//! ```text
//!   Stable -----------> Unrevoked ------------> Unreleased ------------> Stable
//!          has too much           gave it up               others gave up
//!                                 and waits for others     what it waits for
//! ```
//!
//! While it has to give something up a member stays in its epoch; with the first partition that it gets it is in the one that is aimed at.

use super::member::{Current, Held, MemberState, Partitions, epoch_of};
use crate::base::{PartitionIndex, Set, TopicId};
use crate::coordinator::command::TopicPartitions;

/// Where a member is to go, and what is known of it.
pub struct Aim<'a> {
    /// The epoch of the assignment that is aimed at.
    pub epoch: i32,
    /// What the member is to have.
    pub target: &'a Partitions,
    /// The topics that it subscribes to, those that there are. Others are not for it, whatever the target says.
    pub subscribed: &'a Set<TopicId>,
    /// It just subscribed to others than before.
    pub subscription_changed: bool,
    /// What it says that it has, if it says so.
    pub owned: Option<&'a [TopicPartitions]>,
}

/// What the member has next; `None` if nothing changes. `taken` tells whether any member has a partition.
pub fn reconcile(current: &Current, aim: &Aim<'_>, taken: impl Fn(TopicId, PartitionIndex) -> bool) -> Option<Current> {
    let next = match current.state {
        MemberState::Stable if current.epoch != aim.epoch => next(current, aim, taken),
        MemberState::Unrevoked if !aim.still_has(&current.pending) => next(current, aim, taken),
        MemberState::Unreleased => next(current, aim, taken),
        MemberState::Stable | MemberState::Unrevoked => without_unsubscribed(current, aim)?,
    };
    (next != *current).then_some(next)
}

impl Aim<'_> {
    /// The member has some of these partitions, or does not say that it has none.
    fn still_has(&self, partitions: &Held) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|topic| {
            let held = partitions.get(&topic.topic_id);
            held.is_some_and(|held| topic.partitions.iter().any(|owned| epoch_of(held, *owned).is_some()))
        })
    }
}

/// Takes away what the member does not subscribe to any more, before anything is dealt anew.
fn without_unsubscribed(current: &Current, aim: &Aim<'_>) -> Option<Current> {
    let gone = |topic: &TopicId| !aim.subscribed.contains(topic);
    if !aim.subscription_changed || !current.assigned.keys().any(gone) {
        return None;
    }
    let mut next = Current { previous_epoch: current.epoch, ..current.clone() };
    let mut pending = current.pending.clone();
    for (topic, held) in current.assigned.iter().filter(|(topic, _)| gone(topic)) {
        next.assigned.remove(topic);
        let all = pending.entry(*topic).or_default();
        all.extend(held);
        all.sort_unstable();
    }
    if aim.still_has(&pending) {
        next.state = MemberState::Unrevoked;
        next.pending = pending;
    }
    Some(next)
}

fn next(current: &Current, aim: &Aim<'_>, taken: impl Fn(TopicId, PartitionIndex) -> bool) -> Current {
    let wanted = |topic: &TopicId| -> &[PartitionIndex] {
        let target = aim.target.get(topic).filter(|_| aim.subscribed.contains(topic));
        target.map_or(&[], |target| target)
    };
    let (mut kept, mut given_up) = (Held::new(), Held::new());
    for (topic, held) in &current.assigned {
        let wanted = wanted(topic);
        let (keep, give_up): (Vec<_>, Vec<_>) =
            held.iter().copied().partition(|(partition, _)| wanted.binary_search(partition).is_ok());
        insert(&mut kept, *topic, keep);
        insert(&mut given_up, *topic, give_up);
    }
    if !given_up.is_empty() && aim.still_has(&given_up) {
        return Current {
            epoch: current.epoch,
            previous_epoch: current.epoch,
            state: MemberState::Unrevoked,
            assigned: kept,
            pending: given_up,
        };
    }
    let mut waits = false;
    for topic in aim.target.keys() {
        let held: &[_] = current.assigned.get(topic).map_or(&[], |held| held);
        let own: &[_] = current.pending.get(topic).map_or(&[], |held| held);
        let mut free = Vec::new();
        for partition in wanted(topic).iter().filter(|partition| epoch_of(held, **partition).is_none()) {
            // What the member itself was to give up is free for it.
            if taken(*topic, *partition) && epoch_of(own, *partition).is_none() {
                waits = true;
            } else {
                free.push((*partition, aim.epoch));
            }
        }
        if !free.is_empty() {
            let all = kept.entry(*topic).or_default();
            all.extend(free);
            all.sort_unstable();
        }
    }
    Current {
        epoch: aim.epoch,
        previous_epoch: current.epoch,
        state: if waits { MemberState::Unreleased } else { MemberState::Stable },
        assigned: kept,
        pending: Held::new(),
    }
}

fn insert(all: &mut Held, topic: TopicId, held: Vec<(PartitionIndex, i32)>) {
    if !held.is_empty() {
        all.insert(topic, held);
    }
}
