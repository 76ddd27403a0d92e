//! Topics: listed, made, described, changed, deleted.

use super::{Client, ClientError, Result, check};
use crate::base::Map;
use crate::protocol::messages::create_partitions::CreatePartitionsTopic;
use crate::protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use crate::protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::metadata::MetadataResponseTopic;
use crate::protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, ListOffsetsRequest,
};

/// A topic that is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Partitions; -1 for the broker's default.
    pub partitions: i32,
    /// Replicas; -1 for the broker's default.
    pub replication_factor: i16,
    /// Its own configurations.
    pub configs: Vec<(String, String)>,
}

/// A topic as the cluster describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Its id, as Kafka prints it.
    pub id: String,
    /// It belongs to the broker.
    pub internal: bool,
    /// In order.
    pub partitions: Vec<PartitionView>,
}

/// A partition as the cluster describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionView {
    /// Which.
    pub partition: i32,
    /// Who leads it; -1 for nobody.
    pub leader: i32,
    /// How often that changed.
    pub leader_epoch: i32,
    /// Who has a copy.
    pub replicas: Vec<i32>,
    /// Whose copy is complete.
    pub in_sync: Vec<i32>,
}

/// A place in a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// The first record that can be read.
    Start,
    /// Behind the last one.
    End,
    /// The first record that is not older, in ms since 1970.
    Time(i64),
}

impl Client {
    /// All topics, by name.
    pub fn topics(&mut self) -> Result<Vec<TopicView>> {
        let mut topics: Vec<_> = self.metadata(None)?.topics.iter().map(view).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// These topics.
    pub fn describe_topics(&mut self, names: &[&str]) -> Result<Vec<TopicView>> {
        let answer = self.metadata(Some(names))?;
        for topic in &answer.topics {
            check(topic.error_code, None, || format!("topic {:?}", topic.name.as_deref().unwrap_or_default()))?;
        }
        Ok(answer.topics.iter().map(view).collect())
    }

    /// Makes a topic.
    pub fn create_topic(&mut self, topic: &NewTopic) -> Result<()> {
        let config =
            |(name, value): &(String, String)| CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
        let creatable = CreatableTopic {
            name: (&topic.name).into(),
            num_partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            configs: topic.configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![creatable], timeout_ms: self.timeout_ms(), validate_only: false };
        for result in self.ask(&request)?.topics {
            check(result.error_code, result.error_message.as_deref(), || format!("topic {:?}", topic.name))?;
        }
        Ok(())
    }

    /// Deletes a topic with all its records.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let request =
            DeleteTopicsRequest { topic_names: vec![name.into()], timeout_ms: self.timeout_ms(), ..Default::default() };
        for result in self.ask(&request)?.responses {
            check(result.error_code, result.error_message.as_deref(), || format!("topic {name:?}"))?;
        }
        Ok(())
    }

    /// Raises the number of a topic's partitions to `count`.
    pub fn grow_topic(&mut self, name: &str, count: i32) -> Result<()> {
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments: None };
        let request =
            CreatePartitionsRequest { topics: vec![topic], timeout_ms: self.timeout_ms(), validate_only: false };
        for result in self.ask(&request)?.results {
            check(result.error_code, result.error_message.as_deref(), || format!("topic {name:?}"))?;
        }
        Ok(())
    }

    /// The offsets of a place in these partitions, in their order. A time behind the last record is at the end.
    pub fn offsets(&mut self, topic: &str, partitions: &[i32], when: When) -> Result<Vec<i64>> {
        let timestamp = match when {
            When::Start => -2,
            When::End => -1,
            When::Time(ms) => ms,
        };
        let asked = |&partition: &i32| {
            (partition, ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() })
        };
        let shares = self.by_leader(topic, partitions.iter().map(asked))?;
        let mut found: Map<i32, i64> = Map::default();
        for (leader, partitions) in shares {
            let topics = vec![ListOffsetsTopic { name: topic.into(), partitions }];
            let answer = self.ask_at(&leader, &ListOffsetsRequest { replica_id: -1, topics, ..Default::default() })?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                let index = partition.partition_index;
                check(partition.error_code, None, || format!("offsets of {topic}-{index}"))?;
                found.insert(index, partition.offset);
            }
        }
        let mut offsets = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let offset = found.get(partition).copied();
            let offset = offset.ok_or_else(|| ClientError::Usage(format!("no answer for {topic}-{partition}")))?;
            offsets.push(match (offset, when) {
                (-1, When::Time(_)) => self.offsets(topic, &[*partition], When::End)?[0],
                _ => offset,
            });
        }
        Ok(offsets)
    }
}

fn view(topic: &MetadataResponseTopic) -> TopicView {
    let mut partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|partition| PartitionView {
            partition: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicView {
        name: topic.name.as_deref().unwrap_or_default().to_owned(),
        id: topic.topic_id.to_string(),
        internal: topic.is_internal,
        partitions,
    }
}
