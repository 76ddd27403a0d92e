//! The client: which broker to ask for what.

use std::time::Duration;

use super::connection::{Call, Connection};
use super::{ClientError, Result, check};
use crate::base::Map;
use crate::protocol::messages::metadata::MetadataRequestTopic;
use crate::protocol::messages::{DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest, MetadataResponse};

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port`, tried in order.
    pub bootstrap: Vec<String>,
    /// How long a connection or an answer may take.
    pub timeout: Duration,
}

/// A connection to the cluster.
pub struct Client {
    options: Options,
    /// By `host:port`.
    connections: Map<String, Connection>,
    /// Whoever answered first.
    first: String,
    /// The leader of each partition, by topic.
    leaders: Map<String, Vec<Option<String>>>,
}

/// A broker as the cluster names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where clients reach it.
    pub address: String,
    /// Its rack.
    pub rack: Option<String>,
    /// It acts as the controller.
    pub controller: bool,
}

/// The cluster at a glance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterView {
    /// Its id.
    pub id: String,
    /// All brokers.
    pub brokers: Vec<Broker>,
    /// Finalized features and their levels.
    pub features: Vec<(String, i16)>,
}

impl Client {
    /// Connects to the first bootstrap broker that answers.
    pub fn connect(options: Options) -> Result<Self> {
        let mut refused = ClientError::Usage("no bootstrap broker is named".into());
        for address in &options.bootstrap {
            match Connection::open(address, options.timeout) {
                Ok(connection) => {
                    let first = address.clone();
                    let connections = [(first.clone(), connection)].into_iter().collect();
                    return Ok(Self { options, connections, first, leaders: Map::default() });
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// The same in the form of requests.
    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.options.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Asks any broker.
    pub(super) fn ask<R: Call>(&mut self, request: &R) -> Result<R::Answer> {
        let first = self.first.clone();
        self.connection(&first)?.call(request)
    }

    /// Asks one broker.
    pub(super) fn ask_at<R: Call>(&mut self, address: &str, request: &R) -> Result<R::Answer> {
        self.connection(address)?.call(request)
    }

    /// The open connection to a broker, opened if need be.
    pub(super) fn connection(&mut self, address: &str) -> Result<&mut Connection> {
        if !self.connections.contains_key(address) {
            let connection = Connection::open(address, self.options.timeout)?;
            self.connections.insert(address.to_owned(), connection);
        }
        Ok(self.connections.get_mut(address).expect("inserted above"))
    }

    /// Metadata of these topics, or of all. Creates none.
    pub(super) fn metadata(&mut self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let named = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
        let topics = topics.map(|topics| topics.iter().map(named).collect());
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
        self.ask(&request)
    }

    /// The brokers that lead a topic's partitions, in the order of the partitions; none where there is no leader now.
    pub fn leaders(&mut self, topic: &str) -> Result<&[Option<String>]> {
        if !self.leaders.contains_key(topic) {
            let leaders = self.find_leaders(topic)?;
            self.leaders.insert(topic.to_owned(), leaders);
        }
        Ok(&self.leaders[topic])
    }

    fn find_leaders(&mut self, topic: &str) -> Result<Vec<Option<String>>> {
        let answer = self.metadata(Some(&[topic]))?;
        let brokers: Map<i32, String> =
            answer.brokers.iter().map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port))).collect();
        let found = answer.topics.first().ok_or_else(|| ClientError::Usage(format!("no topic {topic:?}")))?;
        check(found.error_code, None, || format!("topic {topic:?}"))?;
        let mut partitions: Vec<_> = found.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        Ok(partitions.iter().map(|partition| brokers.get(&partition.leader_id).cloned()).collect())
    }

    /// The broker that leads a partition.
    pub fn leader(&mut self, topic: &str, partition: i32) -> Result<String> {
        let leaders = self.leaders(topic)?;
        let leader = usize::try_from(partition).ok().and_then(|partition| leaders.get(partition));
        match leader {
            None => Err(ClientError::Usage(format!(
                "topic {topic:?} has no partition {partition}; it has {}, from 0",
                leaders.len()
            ))),
            Some(None) => Err(ClientError::Usage(format!("{topic}-{partition} has no leader now"))),
            Some(Some(leader)) => Ok(leader.clone()),
        }
    }

    /// What is asked of partitions, each with its number, by the brokers that lead them.
    pub(super) fn by_leader<T>(
        &mut self,
        topic: &str,
        asked: impl IntoIterator<Item = (i32, T)>,
    ) -> Result<Vec<(String, Vec<T>)>> {
        let mut shares: Vec<(String, Vec<T>)> = Vec::new();
        for (partition, one) in asked {
            let leader = self.leader(topic, partition)?;
            match shares.iter_mut().find(|(address, _)| *address == leader) {
                Some((_, share)) => share.push(one),
                None => shares.push((leader, vec![one])),
            }
        }
        Ok(shares)
    }

    /// The coordinator of a group.
    pub(super) fn coordinator(&mut self, group: &str) -> Result<String> {
        let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
        let answer = self.ask(&request)?;
        let found = answer.coordinators.first();
        let found = found.ok_or_else(|| ClientError::Usage(format!("no coordinator for group {group:?}")))?;
        check(found.error_code, found.error_message.as_deref(), || format!("the coordinator of group {group:?}"))?;
        Ok(format!("{}:{}", found.host, found.port))
    }

    /// The addresses of all brokers.
    pub(super) fn everybody(&mut self) -> Result<Vec<String>> {
        let brokers = self.metadata(Some(&[]))?.brokers;
        Ok(brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).collect())
    }

    /// The cluster at a glance.
    pub fn cluster(&mut self) -> Result<ClusterView> {
        let answer = self.ask(&DescribeClusterRequest::default())?;
        check(answer.error_code, answer.error_message.as_deref(), || "the cluster".into())?;
        let brokers = answer.brokers.iter().map(|broker| Broker {
            id: broker.broker_id,
            address: format!("{}:{}", broker.host, broker.port),
            rack: broker.rack.as_deref().map(str::to_owned),
            controller: broker.broker_id == answer.controller_id,
        });
        let first = self.first.clone();
        let features = self.connection(&first)?.features.clone();
        Ok(ClusterView { id: answer.cluster_id.to_string(), brokers: brokers.collect(), features })
    }
}
