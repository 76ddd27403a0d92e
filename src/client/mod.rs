//! A small blocking Kafka client, for the command line: one request at a time, on plain sockets, with the product's own codec.
//!
//! Always true: every wait has a deadline; an answer is never larger than the bound below; what a broker refuses is told with its own words. It
//! works against any Kafka broker that is not older than 3.0. Knows nothing of flags or of how results are shown.

mod cluster; // which broker to ask
mod configs; // settings of topics and brokers
mod connection; // one socket: requests out, answers in
mod groups; // consumer groups and their offsets
mod partitioner; // which partition a key belongs to
mod records; // produce and fetch
mod topics; // topics, and where their partitions begin and end

pub use cluster::{Broker, Client, ClusterView, Options};
pub use configs::{ConfigChange, ConfigResource, ConfigValue};
pub use connection::Call;
pub use groups::{GroupMember, GroupOffset, GroupView, ListedGroup};
pub use partitioner::partition_of_key;
pub use records::{Fetched, FetchedRecord, ToSend};
pub use topics::{NewTopic, PartitionView, TopicView, When};

use crate::protocol::{ApiKey, DecodeError, ErrorCode};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No broker could be reached.
    #[error("no broker answers at {address}: {source}")]
    Unreachable {
        /// Who was tried last.
        address: String,
        /// What happened.
        source: std::io::Error,
    },
    /// The connection broke, or the answer did not come in time.
    #[error("{address} did not answer {api}: {source}")]
    Broken {
        /// Who was asked.
        address: String,
        /// For what.
        api: ApiKey,
        /// What happened.
        source: std::io::Error,
    },
    /// An answer that cannot be read.
    #[error("{address} answered {api} with something that cannot be read: {source}")]
    Garbled {
        /// Who was asked.
        address: String,
        /// For what.
        api: ApiKey,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The broker does not serve what is needed.
    #[error("{address} does not serve {api} in a version that this client speaks")]
    NotServed {
        /// Who was asked.
        address: String,
        /// For what.
        api: ApiKey,
    },
    /// The broker refused.
    #[error("{what}: {}", reason(*code, message.as_deref()))]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's error code.
        code: i16,
        /// The broker's own words.
        message: Option<String>,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Usage(String),
}

fn reason(code: i16, message: Option<&str>) -> String {
    let name = ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |code| code.to_string());
    match message {
        Some(message) if !message.is_empty() => format!("{name}: {message}"),
        _ => name,
    }
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Turns a code from an answer into a result.
fn check(code: i16, message: Option<&str>, what: impl FnOnce() -> String) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(ClientError::Refused { what: what(), code, message: message.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_why_and_in_whose_words() {
        assert!(check(0, None, || unreachable!("no error")).is_ok());
        let refused = |code, message| check(code, message, || "topic \"t\"".into()).unwrap_err().to_string();
        assert_eq!(refused(36, Some("it is there")), "topic \"t\": TopicAlreadyExists (36): it is there");
        assert_eq!(refused(36, None), "topic \"t\": TopicAlreadyExists (36)");
        assert_eq!(refused(9999, None), "topic \"t\": error 9999");
    }
}
