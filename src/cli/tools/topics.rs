//! `coretide topic`.

use std::io::Write;

use clap::Subcommand;
use serde_json::json;

use super::{To, delete_each, pair};
use crate::cli::Refusal;
use crate::cli::show::{Part, Shown, write};
use crate::client::{Client, ClientError, ConfigChange, ConfigResource, NewTopic, When};
use crate::protocol::ErrorCode;

/// What can be done with topics.
#[derive(Subcommand, Debug)]
pub enum Topic {
    /// List topics
    List {
        /// Also those that belong to the broker
        #[arg(long)]
        internal: bool,
        #[command(flatten)]
        to: To,
    },
    /// Make a topic
    Create {
        /// Its name
        topic: String,
        /// Partitions [default: the broker's num.partitions]
        #[arg(long, short, value_name = "N", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
        partitions: i32,
        /// Replicas [default: the broker's default.replication.factor]
        #[arg(long, value_name = "N", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
        replication_factor: i16,
        /// A configuration of the topic; repeatable
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
        config: Vec<(String, String)>,
        /// Do nothing if there is a topic of this name
        #[arg(long)]
        if_not_exists: bool,
        #[command(flatten)]
        to: To,
    },
    /// Describe topics: partitions, offsets, and the configurations that they set themselves
    Describe {
        /// Their names
        #[arg(required = true)]
        topics: Vec<String>,
        #[command(flatten)]
        to: To,
    },
    /// Change a topic
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Alter {
        /// Its name
        topic: String,
        /// Raise the number of partitions to this
        #[arg(long, short, value_name = "N", group = "change")]
        partitions: Option<i32>,
        /// Set a configuration; repeatable
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair, group = "change")]
        config: Vec<(String, String)>,
        /// Give a configuration back to the broker's default; repeatable
        #[arg(long, value_name = "KEY", group = "change")]
        unset: Vec<String>,
        #[command(flatten)]
        to: To,
    },
    /// Delete topics with all their records
    Delete {
        /// Their names
        #[arg(required = true)]
        topics: Vec<String>,
        #[command(flatten)]
        to: To,
    },
}

pub(super) fn run(topic: &Topic, out: &mut dyn Write) -> Result<(), Refusal> {
    match topic {
        Topic::List { internal, to } => write(out, &list(&mut to.connect()?, *internal)?, to.json),
        Topic::Create { topic, partitions, replication_factor, config, if_not_exists, to } => {
            let new = NewTopic {
                name: topic.clone(),
                partitions: *partitions,
                replication_factor: *replication_factor,
                configs: config.clone(),
            };
            let line = match to.connect()?.create_topic(&new) {
                Err(ClientError::Refused { code, .. })
                    if *if_not_exists && code == ErrorCode::TopicAlreadyExists.code() =>
                {
                    format!("topic {topic} is there already")
                }
                done => done.map(|()| format!("topic {topic} made"))?,
            };
            write(out, &Shown { parts: vec![Part::Line(line)], json: json!({ "topic": topic }) }, to.json)
        }
        Topic::Describe { topics, to } => write(out, &describe(&mut to.connect()?, topics)?, to.json),
        Topic::Alter { topic, partitions, config, unset, to } => {
            let mut client = to.connect()?;
            let sets = config.iter().cloned().map(|(key, value)| ConfigChange::Set(key, value));
            let changes: Vec<_> = sets.chain(unset.iter().cloned().map(ConfigChange::Unset)).collect();
            if !changes.is_empty() {
                client.alter_configs(&ConfigResource::Topic(topic.clone()), &changes)?;
            }
            if let Some(count) = partitions {
                client.grow_topic(topic, *count)?;
            }
            let line = Part::Line(format!("topic {topic} changed"));
            write(out, &Shown { parts: vec![line], json: json!({ "topic": topic }) }, to.json)
        }
        Topic::Delete { topics, to } => {
            let mut client = to.connect()?;
            delete_each("topic", topics, to, out, |topic| client.delete_topic(topic))
        }
    }
}

fn list(client: &mut Client, internal: bool) -> Result<Shown, Refusal> {
    let topics: Vec<_> = client.topics()?.into_iter().filter(|topic| internal || !topic.internal).collect();
    let row = |topic: &crate::client::TopicView| {
        let replicas = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
        vec![topic.name.clone(), topic.partitions.len().to_string(), replicas.to_string(), topic.id.clone()]
    };
    let json = topics.iter().map(|topic| {
        json!({ "topic": topic.name, "id": topic.id, "partitions": topic.partitions.len(), "internal": topic.internal })
    });
    Ok(Shown {
        json: json.collect(),
        parts: vec![Part::Table(&["topic", "partitions", "replicas", "id"], topics.iter().map(row).collect())],
    })
}

fn describe(client: &mut Client, names: &[String]) -> Result<Shown, Refusal> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut parts, mut all) = (Vec::new(), Vec::new());
    for topic in client.describe_topics(&names)? {
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        let starts = client.offsets(&topic.name, &indexes, When::Start)?;
        let ends = client.offsets(&topic.name, &indexes, When::End)?;
        let configs = client.describe_configs(&ConfigResource::Topic(topic.name.clone()))?;
        let own: Vec<_> = configs.iter().filter(|config| config.source == "topic").collect();
        parts.push(Part::Line(format!("topic {}  id {}", topic.name, topic.id)));
        for config in &own {
            parts.push(Part::Line(format!("  {} = {}", config.name, config.value.as_deref().unwrap_or("(secret)"))));
        }
        let (mut rows, mut json) = (Vec::new(), Vec::new());
        for ((partition, start), end) in topic.partitions.iter().zip(&starts).zip(&ends) {
            rows.push(vec![
                partition.partition.to_string(),
                partition.leader.to_string(),
                partition.leader_epoch.to_string(),
                ids(&partition.replicas),
                ids(&partition.in_sync),
                start.to_string(),
                end.to_string(),
            ]);
            json.push(json!({
                "partition": partition.partition, "leader": partition.leader, "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas, "in_sync": partition.in_sync, "start": start, "end": end,
            }));
        }
        parts.push(Part::Table(&["partition", "leader", "epoch", "replicas", "in sync", "start", "end"], rows));
        let own: serde_json::Map<_, _> = own.iter().map(|c| (c.name.clone(), json!(c.value))).collect();
        all.push(json!({
            "topic": topic.name, "id": topic.id, "internal": topic.internal, "configs": own, "partitions": json,
        }));
    }
    Ok(Shown { parts, json: all.into() })
}

fn ids(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}
