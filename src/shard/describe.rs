//! What a core tells about its logs to those who look after them: sizes, producers, the volume.

use std::io;
use std::path::Path;

use super::message::{Answer, Ask, ReadError};
use super::waiters::all;
use super::{Shard, State};
use crate::base::{LogId, TopicId};
use crate::io::Space;
use crate::partition::DescribedProducer;

impl Shard {
    /// Bytes of batches that each log holds, in segments and in the journal, in the order asked. `None`: the log is not here.
    pub async fn log_bytes(&self, logs: &[LogId]) -> Vec<Option<u64>> {
        let Some(split) = self.split(logs, |log| *log) else { return self.log_bytes_here(logs) };
        let parts = split.iter().map(|(core, places)| {
            let part: Vec<_> = places.iter().map(|place| logs[*place]).collect();
            async move {
                if *core == self.id() {
                    return self.log_bytes_here(&part);
                }
                match self.0.mesh.call(*core, Ask::LogBytes(part)).await {
                    Answer::LogBytes(part) => part,
                    other => unreachable!("a question for sizes was answered with {other:?}"),
                }
            }
        });
        super::read::in_order(&split, all(parts).await)
    }

    /// The producers that a log remembers, by id.
    pub async fn producers(&self, log: LogId) -> Result<Vec<DescribedProducer>, ReadError> {
        let owner = self.owner(log);
        if owner == self.id() {
            return self.producers_here(log);
        }
        match self.0.mesh.call(owner, Ask::Producers(log)).await {
            Answer::Producers(producers) => producers,
            other => unreachable!("a question for producers was answered with {other:?}"),
        }
    }

    pub(super) fn log_bytes_here(&self, logs: &[LogId]) -> Vec<Option<u64>> {
        let bytes = |state: &mut State, log: &LogId| {
            let log = &state.replicas.get(log)?.log;
            Some(log.segment_bytes() + log.undrained_bytes())
        };
        self.with(|state| logs.iter().map(|log| bytes(state, log)).collect())
    }

    pub(super) fn producers_here(&self, log: LogId) -> Result<Vec<DescribedProducer>, ReadError> {
        self.with(|state| {
            let replica = state.replicas.get(&log).ok_or(ReadError::NoSuchLog)?;
            Ok(replica.partition.producers().described())
        })
    }

    /// The data directory.
    pub fn data_directory(&self) -> &Path {
        self.0.topics.parent().expect("the topics have a directory in the data directory")
    }

    /// The data directory's own id.
    pub fn directory_id(&self) -> TopicId {
        TopicId(self.0.directory)
    }

    /// The space of the volume that the data directory lies on.
    pub async fn space(&self) -> io::Result<Space> {
        self.io().space(self.data_directory()).await
    }
}
