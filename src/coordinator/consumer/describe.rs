//! What is shown of a group of the consumer protocol.

use super::ConsumerGroup;
use super::member::{Member, told};
use crate::coordinator::command::TopicPartitions;
use crate::coordinator::options::Options;
use crate::coordinator::reply::{DescribedConsumer, DescribedConsumerGroup, ListedGroup};
use crate::coordinator::subscription::CONSUMER;
use crate::coordinator::topics::Topics;
use crate::protocol::Str;

impl ConsumerGroup {
    /// The whole group.
    pub fn describe(&self, options: &Options, topics: &dyn Topics) -> DescribedConsumerGroup {
        DescribedConsumerGroup {
            group: self.id.clone(),
            error: None,
            state: self.state().name(),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor: Str::from(self.assignor(options).name()),
            members: self.members.iter().map(|(id, member)| described(id, member, topics)).collect(),
        }
    }

    /// One line of a list.
    pub fn listed(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: CONSUMER.into(),
            state: self.state().name(),
            group_type: CONSUMER_TYPE,
        }
    }
}

fn described(id: &Str, member: &Member, topics: &dyn Topics) -> DescribedConsumer {
    let Member { said, current, target } = member;
    let target = target.iter().flatten();
    let target = target.map(|(id, partitions)| TopicPartitions { topic_id: *id, partitions: partitions.clone() });
    // A topic that is gone has no name.
    let named = |partitions: TopicPartitions| topics.name(partitions.topic_id).map(|name| (partitions, name));
    DescribedConsumer {
        member_id: id.clone(),
        group_instance_id: said.instance_id.clone(),
        rack_id: said.rack_id.clone(),
        member_epoch: current.epoch,
        client_id: said.client_id.clone(),
        client_host: said.client_host.clone(),
        subscribed_topics: said.topics.clone(),
        subscribed_regex: Some(said.regex.clone()),
        assignment: told(&current.all()).into_iter().filter_map(named).collect(),
        target: target.filter_map(named).collect::<Vec<(TopicPartitions, Str)>>(),
    }
}

/// The type of these groups, as KIP-848 names it.
pub const CONSUMER_TYPE: &str = "consumer";
