//! What time and deleted topics do to offsets. A group keeps its offsets while it has members, and for the retention after it lost the last one (KIP-211).

use std::collections::VecDeque;

use super::command::Now;
use super::consumer::ConsumerGroup;
use super::group::{Group, State};
use super::handle::Coordinator;
use super::line::Outbox;
use super::offsets::{CommittedOffset, View};
use super::timers::Timer;
use crate::base::limits::EXPIRY_LOOKS_PER_STEP;
use crate::base::{Map, PartitionIndex, Timestamp, TopicId};
use crate::protocol::Str;

impl Coordinator {
    /// One step of the search for expired offsets. A step is short; the next one follows at once until all groups were looked at.
    pub(super) fn expire(&mut self, now: Now, outbox: &mut Outbox) {
        if self.to_expire.is_empty() {
            self.to_expire.extend(self.groups.keys().chain(self.consumers.keys()).cloned());
        }
        let mut looks = 0;
        while looks < EXPIRY_LOOKS_PER_STEP
            && let Some(id) = self.to_expire.pop_front()
        {
            looks += 1 + self.offsets.group(&id).map_or(0, |offsets| offsets.slots());
            self.expire_group(&id, now, outbox);
        }
        let wait =
            if self.to_expire.is_empty() { self.options.offsets_retention_check_interval } else { Default::default() };
        self.timers.set(Timer::Expiry, now.mono + wait);
    }

    /// Expires the offsets of a group. A group that has neither members nor offsets is gone, too.
    fn expire_group(&mut self, id: &Str, now: Now, outbox: &mut Outbox) {
        if !self.has_group(id) {
            return;
        }
        let (classic, consumers) = (self.groups.get(id), self.consumers.get(id));
        let mut expired = Vec::new();
        let mut all = true;
        if let Some(offsets) = self.offsets.group(id) {
            let retention_ms = i64::try_from(self.options.offsets_retention.as_millis()).unwrap_or(i64::MAX);
            for topic in offsets.topics(View::Latest) {
                for (partition, offset) in offsets.topic(View::Latest, topic) {
                    let over = classic.is_some_and(|group| group.has_expired(topic, offset, now.wall, retention_ms))
                        || consumers.is_some_and(|group| group.has_expired(topic, offset, now.wall, retention_ms));
                    if over {
                        expired.push((topic.clone(), partition));
                    } else {
                        all = false;
                    }
                }
            }
        }
        let empty =
            classic.is_none_or(|group| group.state == State::Empty) && consumers.is_none_or(|group| group.is_empty());
        for (topic, partition) in expired {
            self.delete_offset(id, &topic, partition, outbox);
        }
        if all && empty {
            self.bury(id, outbox);
        }
    }

    /// Topics are gone: nobody's place in them counts any more. Their offsets are looked for in steps, as [`Coordinator::tick`] is called.
    ///
    /// An offset that is committed after this call, or whose topic id is another one, belongs to a new topic of the same name.
    pub fn topics_deleted(&mut self, topics: &[(Str, TopicId)], now: Now) {
        for (name, id) in topics {
            self.deleted.next.entry(name.clone()).or_default().push((*id, self.offsets.changes()));
            self.timers.set(Timer::DeletedTopics, now.mono);
        }
    }

    /// One step of the search for offsets of deleted topics. Topics that are deleted meanwhile are for the next search.
    pub(super) fn forget_deleted(&mut self, now: Now, outbox: &mut Outbox) {
        if self.deleted.groups.is_empty() {
            self.deleted.topics = std::mem::take(&mut self.deleted.next);
            self.deleted.groups.extend(self.offsets.groups().map(|(id, _)| id.clone()));
        }
        let mut looks = 0;
        while looks < EXPIRY_LOOKS_PER_STEP
            && let Some(id) = self.deleted.groups.pop_front()
        {
            looks += 1 + self.offsets.group(&id).map_or(0, |offsets| offsets.slots());
            self.forget_deleted_of(&id, outbox);
        }
        if !(self.deleted.groups.is_empty() && self.deleted.next.is_empty()) {
            self.timers.set(Timer::DeletedTopics, now.mono);
        }
    }

    fn forget_deleted_of(&mut self, id: &Str, outbox: &mut Outbox) {
        let Some(offsets) = self.offsets.group(id) else { return };
        let mut gone: Vec<(Str, PartitionIndex)> = Vec::new();
        for name in offsets.topics(View::Latest) {
            for (topic_id, change) in self.deleted.topics.get(name).into_iter().flatten() {
                for (partition, offset) in offsets.until(name, *change) {
                    if offset.topic_id.is_zero() || offset.topic_id == *topic_id {
                        gone.push((name.clone(), partition));
                    }
                }
            }
        }
        for (topic, partition) in gone {
            self.delete_offset(id, &topic, partition, outbox);
        }
    }
}

/// Topics that are gone, and whose offsets are still looked for.
#[derive(Debug, Default)]
pub(super) struct DeletedTopics {
    /// Those that this search is about. Under each name the ids, and how many changes there were when the topic went.
    topics: Map<Str, Vec<(TopicId, u64)>>,
    /// Groups that are still to be looked at in it.
    groups: VecDeque<Str>,
    /// What the next search is about.
    next: Map<Str, Vec<(TopicId, u64)>>,
}

impl Group {
    /// The offset's time is over.
    fn has_expired(&self, topic: &str, offset: &CommittedOffset, now: Timestamp, retention_ms: i64) -> bool {
        let since = match (&self.protocol_type, self.state) {
            // Clients that manage their partitions themselves.
            (None, _) => offset.commit_timestamp,
            (Some(_), State::Empty) if self.state_timestamp == Timestamp::NONE => offset.commit_timestamp,
            (Some(_), State::Empty) => self.state_timestamp,
            // Consumers at work keep what they subscribe to. What they do not is over by and by.
            (Some(_), State::Stable) if self.is_consumer() && self.knows_subscriptions() => offset.commit_timestamp,
            (Some(_), _) => return false,
        };
        !self.is_subscribed_to(topic) && is_over(offset, since, now, retention_ms)
    }
}

impl ConsumerGroup {
    /// The offset's time is over. It begins with the commit, also in a group without members, as in Kafka.
    fn has_expired(&self, topic: &str, offset: &CommittedOffset, now: Timestamp, retention_ms: i64) -> bool {
        !self.is_subscribed_to(topic) && is_over(offset, offset.commit_timestamp, now, retention_ms)
    }
}

fn is_over(offset: &CommittedOffset, since: Timestamp, now: Timestamp, retention_ms: i64) -> bool {
    match offset.expire_timestamp {
        Some(at) => now >= at,
        None => now.0.saturating_sub(since.0) >= retention_ms,
    }
}
