//! What travels between cores: owned requests, and replies on a lane of their own.
//!
//! A request names the core and the token that its reply goes back to. A core has a bounded number of requests outstanding with another, and each lane
//! holds that many from every core. Waits of fetches, and their ends, come on top: when they fill a lane, requests wait on the sender's side, in order.
//! A full request lane never keeps a reply from its own.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::lines::Sender;
use crate::base::limits::COMMAND_BYTES_MAX;
use crate::base::{LeaderEpoch, LogId, Mono, Offset, ShardId, Timestamp};
use crate::cluster::{Command, CommandFault, Event, Image, Outcome};
pub use crate::coordinator::{Command as GroupCommand, Reply as GroupReply};
use crate::partition::{AppendFault, AppendRules, DescribedProducer, ReadFault, StartFault};
use crate::record::CheckedBatch;

/// One batch to append.
#[derive(Debug)]
pub struct ProduceBatch {
    /// Where to.
    pub log: LogId,
    /// The leader epoch that the client believes in, or none.
    pub batch: CheckedBatch,
    /// What the topic's configuration asks of it.
    pub rules: AppendRules,
}

/// A batch that is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// Set for topics with `message.timestamp.type=LogAppendTime`.
    pub log_append_time: Option<Timestamp>,
    /// The log's start when it was appended.
    pub log_start: Offset,
}

/// Why a batch was not appended.
#[derive(Clone, Debug)]
pub enum ProduceError {
    /// The log is not here: deleted, or not yet known to this core.
    NoSuchLog,
    /// The partition refused it.
    Refused(AppendFault),
    /// The disk of the data directory has no space left; nothing was appended.
    DiskFull,
    /// The broker is stopping; nothing was appended.
    Stopping,
}

/// What a fetch wants to know of one partition.
#[derive(Clone, Copy, Debug)]
pub struct FetchSpec {
    /// The partition's log.
    pub log: LogId,
    /// From where.
    pub offset: Offset,
    /// Bytes at most.
    pub max_bytes: u32,
    /// The client's leader epoch, or none.
    pub current_epoch: LeaderEpoch,
    /// The epoch of the last record that the client has, or none (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
    /// Only what is committed.
    pub read_committed: bool,
}

/// A log's marks, as every fetch answer shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The high watermark.
    pub high_watermark: Offset,
    /// The last stable offset.
    pub last_stable: Offset,
    /// The first offset that can be read.
    pub log_start: Offset,
}

/// The client's log left the leader's at the end of `epoch` (KIP-595).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Diverging {
    /// The largest epoch that both have.
    pub epoch: LeaderEpoch,
    /// Where it ends here.
    pub end_offset: Offset,
}

/// What a partition can give to a fetch.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Its marks.
    pub marks: Marks,
    /// Bytes that can be read from the offset on; exact for what is in memory, a lower bound of one batch for what is on disk.
    pub available: u64,
    /// Set when the client must truncate first.
    pub diverging: Option<Diverging>,
}

/// One partition's share of a fetch.
#[derive(Clone, Copy, Debug)]
pub struct ReadSpec {
    /// As planned.
    pub fetch: FetchSpec,
    /// The first batch comes even if it is larger than `max_bytes`.
    pub at_least_one: bool,
}

/// Bytes read from one partition.
#[derive(Clone, Debug, Default)]
pub struct ReadDone {
    /// Its marks when it was read.
    pub marks: Marks,
    /// Whole batches, untouched.
    pub slices: SmallVec<[Bytes; 4]>,
}

/// Why a partition could not be read.
#[derive(Clone, Debug)]
pub enum ReadError {
    /// The log is not here.
    NoSuchLog,
    /// The offset or the epoch does not fit.
    Refused(ReadFault),
    /// The bytes on disk are damaged or cannot be read; the log file says which.
    Storage,
}

/// Which offset is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetSpec {
    /// The log's start.
    Earliest,
    /// The end that consumers see: the last stable offset when `read_committed`, else the high watermark.
    Latest {
        /// Only what is committed.
        read_committed: bool,
    },
    /// The first record with at least this timestamp.
    AtLeast(Timestamp),
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
}

/// An offset that was asked for; -1 where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedOffset {
    /// The offset.
    pub offset: Offset,
    /// Its record's timestamp, or none.
    pub timestamp: Timestamp,
    /// The epoch of the offset.
    pub epoch: LeaderEpoch,
}

/// Where an epoch ends; -1 and -1 where it is not known (KIP-101).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The largest epoch at or below the one asked for.
    pub epoch: LeaderEpoch,
    /// Its end.
    pub end_offset: Offset,
}

/// Why records were not deleted.
#[derive(Clone, Debug)]
pub enum DeleteRecordsError {
    /// The log is not here: deleted, or not yet known to this core.
    NoSuchLog,
    /// The offset lies beyond the high watermark, or is negative.
    Refused(StartFault),
    /// The broker is stopping; nothing was deleted.
    Stopping,
}

/// Why a metadata command did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not allowed as things stand.
    #[error(transparent)]
    Refused(CommandFault),
    /// It does not fit the metadata journal.
    #[error(
        "a command of {bytes} bytes is larger than the {COMMAND_BYTES_MAX} that the metadata log takes; ask for less at a time"
    )]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
}

/// What one core asks of another.
#[derive(Debug)]
pub(super) struct Request {
    pub from: ShardId,
    pub token: u32,
    pub ask: Ask,
}

#[derive(Debug)]
pub(super) enum Ask {
    Produce(Sender, Vec<ProduceBatch>),
    Plan(Vec<FetchSpec>),
    /// And the bytes after which nothing more is read.
    Read(Vec<ReadSpec>, u64),
    Wait {
        logs: Vec<(LogId, Offset)>,
        deadline: Mono,
    },
    ListOffset {
        log: LogId,
        spec: OffsetSpec,
        current_epoch: LeaderEpoch,
    },
    EpochEnd {
        log: LogId,
        current_epoch: LeaderEpoch,
        epoch: LeaderEpoch,
    },
    DeleteRecords {
        log: LogId,
        up_to: Offset,
    },
    LogBytes(Vec<LogId>),
    Producers(LogId),
    /// A command for the coordinator of the partition with this log.
    Group {
        log: LogId,
        command: Box<GroupCommand>,
    },
    /// Ends the wait with the same token.
    Cancel,
    Command(Command),
    Image {
        image: Arc<Image>,
        events: Arc<Vec<Event>>,
    },
}

#[derive(Debug)]
pub(super) struct Reply {
    pub token: u32,
    pub answer: Answer,
}

#[derive(Debug)]
pub(super) enum Answer {
    Produced(SmallVec<[Result<Appended, ProduceError>; 4]>),
    Planned(Vec<Result<Planned, ReadError>>),
    Read(Vec<Result<ReadDone, ReadError>>),
    ListedOffset(Result<ListedOffset, ReadError>),
    EpochEnd(Result<EpochEnd, ReadError>),
    DeletedRecords(Result<Offset, DeleteRecordsError>),
    LogBytes(Vec<Option<u64>>),
    Producers(Result<Vec<DescribedProducer>, ReadError>),
    Group(Box<GroupReply>),
    Command(Box<Result<Outcome, CommandError>>),
    /// Nothing more to say.
    Done,
}
