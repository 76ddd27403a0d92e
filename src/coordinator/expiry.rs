//! What time and deleted topics do to offsets. A group keeps its offsets while it has members, and for the retention after it lost the last one (KIP-211).

use super::command::Now;
use super::group::{Group, State};
use super::handle::Coordinator;
use super::line::{Effects, Outbox};
use super::offsets::{CommittedOffset, View};
use super::records::CoordinatorRecord;
use super::timers::Timer;
use crate::base::limits::EXPIRY_LOOKS_PER_STEP;
use crate::base::{PartitionIndex, Timestamp, TopicId};
use crate::protocol::Str;

impl Coordinator {
    /// One step of the search for expired offsets. A step is short; the next one follows at once until all groups were looked at.
    pub(super) fn expire(&mut self, now: Now, outbox: &mut Outbox) {
        if self.to_expire.is_empty() {
            self.to_expire.extend(self.groups.keys().cloned());
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
        let Some(group) = self.groups.get(id) else { return };
        let mut expired = Vec::new();
        let mut all = true;
        if let Some(offsets) = self.offsets.group(id) {
            let retention_ms = i64::try_from(self.options.offsets_retention.as_millis()).unwrap_or(i64::MAX);
            for topic in offsets.topics(View::Latest) {
                for (partition, offset) in offsets.topic(View::Latest, topic) {
                    if group.has_expired(topic, offset, now.wall, retention_ms) {
                        expired.push((topic.clone(), partition));
                    } else {
                        all = false;
                    }
                }
            }
        }
        let gone = all && group.state == State::Empty;
        for (topic, partition) in expired {
            self.delete_offset(id, &topic, partition, outbox);
        }
        if gone {
            outbox.record(CoordinatorRecord::group_tombstone(id));
            self.remove(id);
        }
    }

    /// Topics are gone: nobody's place in them counts any more. An offset whose topic id is another one belongs to a new topic of the same name.
    pub fn topics_deleted(&mut self, topics: &[(Str, TopicId)], now: Now) -> Effects {
        let mut outbox = Outbox::default();
        let mut gone: Vec<(Str, Str, PartitionIndex)> = Vec::new();
        for (group, offsets) in self.offsets.groups() {
            for (name, id) in topics {
                for (partition, offset) in offsets.topic(View::Latest, name) {
                    if offset.topic_id.is_zero() || offset.topic_id == *id {
                        gone.push((group.clone(), name.clone(), partition));
                    }
                }
            }
        }
        for (group, topic, partition) in gone {
            self.delete_offset(&group, &topic, partition, &mut outbox);
        }
        self.line.push(outbox, self.options.batch_bytes_max, now.wall)
    }
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
        if self.is_subscribed_to(topic) {
            return false;
        }
        match offset.expire_timestamp {
            Some(at) => now >= at,
            None => now.0.saturating_sub(since.0) >= retention_ms,
        }
    }
}
