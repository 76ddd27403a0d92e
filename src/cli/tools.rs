//! Commands that talk to a broker: topics, groups, records, settings, the cluster.

mod groups; // coretide group
mod records; // coretide produce, coretide consume
mod settings; // coretide config, coretide cluster
mod topics; // coretide topic

use std::io::{BufReader, Read, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::show::{Part, Shown, write};
use super::{Exit, Refusal};
use crate::client::{Client, ClientError, Options};

/// Commands that talk to a broker.
#[derive(Subcommand, Debug)]
pub enum Tool {
    /// List, make, describe, change and delete topics
    #[command(subcommand)]
    Topic(topics::Topic),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(groups::Group),
    /// Send lines from standard input as records
    Produce(records::Produce),
    /// Print records
    Consume(records::Consume),
    /// Show and change settings of topics and brokers
    #[command(subcommand)]
    Config(settings::Config),
    /// Show the cluster: brokers, controller, features
    Cluster {
        /// Whom to ask
        #[command(flatten)]
        to: To,
    },
}

/// Whom to talk to, and how results look.
#[derive(Args, Debug, Clone)]
pub struct To {
    /// Brokers to begin with, tried in order
    #[arg(
        long,
        short,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        env = "CORETIDE_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        help_heading = "Connection"
    )]
    bootstrap: Vec<String>,
    /// Seconds that a connection or an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600), help_heading = "Connection")]
    timeout: u32,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl To {
    fn connect(&self) -> Result<Client, Refusal> {
        let timeout = Duration::from_secs(self.timeout.into());
        Ok(Client::connect(Options { bootstrap: self.bootstrap.clone(), timeout })?)
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Unreachable { .. } => Exit::Unreachable,
            ClientError::Refused { .. } | ClientError::NotServed { .. } => Exit::Refused,
            ClientError::Usage(_) => Exit::Usage,
            ClientError::Broken { .. } | ClientError::Garbled { .. } => Exit::Other,
        };
        Self::new(exit, error.to_string())
    }
}

/// Carries out a command.
pub fn run(tool: &Tool, input: &mut BufReader<impl Read>, out: &mut dyn Write) -> Result<(), Refusal> {
    let done = match tool {
        Tool::Topic(topic) => topics::run(topic, out),
        Tool::Group(group) => groups::run(group, out),
        Tool::Produce(produce) => records::produce(produce, input, out),
        Tool::Consume(consume) => records::consume(consume, out),
        Tool::Config(config) => settings::run(config, out),
        Tool::Cluster { to } => settings::cluster(to, out),
    };
    match done {
        // The one who read our output has seen enough.
        Err(refusal) if refusal.exit == Exit::Done => Ok(()),
        done => done,
    }
}

/// Deletes what is named. One that cannot be deleted does not keep the others.
fn delete_each(
    kind: &str,
    names: &[String],
    to: &To,
    out: &mut dyn Write,
    mut delete: impl FnMut(&str) -> Result<(), ClientError>,
) -> Result<(), Refusal> {
    let mut failed = None;
    for name in names {
        match delete(name) {
            Ok(()) => {
                let line = Part::Line(format!("{kind} {name} deleted"));
                write(out, &Shown { parts: vec![line], json: json!({ kind: name }) }, to.json)?;
            }
            Err(error @ ClientError::Refused { .. }) => {
                if let Some(earlier) = failed.replace(error) {
                    eprintln!("coretide: {earlier}");
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
