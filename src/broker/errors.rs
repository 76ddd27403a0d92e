//! The only place where faults of the rooms below become Kafka's error codes.

use super::fetch_session::SessionFault;
use crate::cluster::CommandFault;
use crate::coordinator::GroupError;
use crate::partition::{AppendFault, ReadFault};
use crate::protocol::ErrorCode;
use crate::record::{BatchFault, RecordFault, RecordFaultKind};
use crate::shard::{CommandError, DeleteRecordsError, ProduceError, ReadError};

/// A refusal as a response carries it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Kafka's code.
    pub code: ErrorCode,
    /// A sentence for people, where there is more to say than the code does.
    pub message: Option<String>,
    /// Single records that were refused.
    pub records: Vec<RecordFault>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

impl Refusal {
    /// A code with a sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), records: Vec::new() }
    }
}

/// A batch that is not what it should be.
impl From<BatchFault> for Refusal {
    fn from(fault: BatchFault) -> Self {
        let message = fault.to_string();
        let code = match &fault {
            BatchFault::NoBatch { .. }
            | BatchFault::OldFormat { .. }
            | BatchFault::SecondBatch
            | BatchFault::BaseOffset { .. }
            | BatchFault::Count { .. }
            | BatchFault::Control
            | BatchFault::Sequence { .. }
            | BatchFault::Record { .. } => ErrorCode::InvalidRecord,
            BatchFault::Length { .. } | BatchFault::Magic { .. } | BatchFault::Crc { .. } => ErrorCode::CorruptMessage,
            BatchFault::ZstdTooEarly => ErrorCode::UnsupportedCompressionType,
            BatchFault::TooLarge { .. } | BatchFault::UnfoldsTooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchFault::UnknownCodec { .. } | BatchFault::Compression(_) => ErrorCode::UnknownServerError,
            BatchFault::LogAppendTime => ErrorCode::InvalidTimestamp,
            BatchFault::Refused(records) => {
                let timestamp = |fault: &RecordFault| matches!(fault.kind, RecordFaultKind::Timestamp { .. });
                match records.iter().any(timestamp) {
                    true => ErrorCode::InvalidTimestamp,
                    false => ErrorCode::InvalidRecord,
                }
            }
        };
        let records = match fault {
            BatchFault::Refused(records) => records,
            _ => Vec::new(),
        };
        Self { code, message: Some(message), records }
    }
}

/// A batch that was not appended.
impl From<ProduceError> for Refusal {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::NoSuchLog => ErrorCode::UnknownTopicOrPartition.into(),
            ProduceError::Refused(fault) => {
                let code = match &fault {
                    AppendFault::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
                    AppendFault::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
                    AppendFault::OutsideTransaction { .. } => ErrorCode::InvalidTxnState,
                };
                Self::new(code, fault.to_string())
            }
            // Retriable: there may be space again before the client gives up.
            ProduceError::DiskFull => Self::new(
                ErrorCode::KafkaStorageError,
                "The disk is full. Nothing was appended; the broker takes records again when there is space.",
            ),
            // Retriable: the client looks for the leader again, and finds the broker that comes back.
            ProduceError::Stopping => ErrorCode::NotLeaderOrFollower.into(),
        }
    }
}

/// A partition that cannot be read.
pub fn read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::NoSuchLog => ErrorCode::UnknownTopicOrPartition,
        ReadError::Refused(fault) => match fault {
            ReadFault::OffsetOutOfRange { .. } | ReadFault::UnknownLastFetchedEpoch { .. } => {
                ErrorCode::OffsetOutOfRange
            }
            ReadFault::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            ReadFault::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        },
        ReadError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// Records that were not deleted.
impl From<DeleteRecordsError> for Refusal {
    fn from(error: DeleteRecordsError) -> Self {
        match error {
            DeleteRecordsError::NoSuchLog => ErrorCode::UnknownTopicOrPartition.into(),
            DeleteRecordsError::Refused(fault) => Self::new(ErrorCode::OffsetOutOfRange, fault.to_string()),
            DeleteRecordsError::Stopping => ErrorCode::NotLeaderOrFollower.into(),
        }
    }
}

/// A metadata command that did not happen.
impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(fault) => fault.into(),
            CommandError::Stopping => ErrorCode::NotController.into(),
            CommandError::TooLarge { .. } => {
                Refusal { message: Some(error.to_string()), ..ErrorCode::InvalidRequest.into() }
            }
        }
    }
}

/// A metadata command that is not allowed as things stand.
impl From<CommandFault> for Refusal {
    fn from(fault: CommandFault) -> Self {
        let code = match &fault {
            CommandFault::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            CommandFault::Name(_) | CommandFault::NameCollides { .. } => ErrorCode::InvalidTopicException,
            CommandFault::NameReserved | CommandFault::AssignmentWithCount(_) => ErrorCode::InvalidRequest,
            CommandFault::PartitionsNotPositive | CommandFault::PartitionsNotMore { .. } => {
                ErrorCode::InvalidPartitions
            }
            CommandFault::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
            CommandFault::ReplicationFactorNotPositive | CommandFault::ReplicationFactorTooLarge { .. } => {
                ErrorCode::InvalidReplicationFactor
            }
            CommandFault::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
            CommandFault::Config(_) => ErrorCode::InvalidConfig,
            CommandFault::UnknownTopic(_) => ErrorCode::UnknownTopicId,
            CommandFault::NoBroker => ErrorCode::BrokerNotAvailable,
            CommandFault::AlreadyFormed
            | CommandFault::NotFormed
            | CommandFault::ClusterIdInvalid(_)
            | CommandFault::FeatureUnsupported { .. }
            | CommandFault::BrokerInvalid(_)
            | CommandFault::TopicIdInvalid(_)
            | CommandFault::EmptyLease
            | CommandFault::ProducerIdsExhausted
            | CommandFault::LogIdsExhausted => ErrorCode::UnknownServerError,
        };
        Self::new(code, fault.to_string())
    }
}

/// What a group's coordinator refuses.
pub fn group(error: GroupError) -> ErrorCode {
    match error {
        GroupError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
        GroupError::MemberTooLarge => ErrorCode::InvalidRequest,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        GroupError::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
        GroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        GroupError::InvalidRegularExpression | GroupError::RegularExpressionTooSlow => {
            ErrorCode::InvalidRegularExpression
        }
        GroupError::InvalidRequest(_) => ErrorCode::InvalidRequest,
        GroupError::UnknownServerError => ErrorCode::UnknownServerError,
    }
}

/// A fetch that does not fit its session.
pub fn session(fault: SessionFault) -> ErrorCode {
    match fault {
        SessionFault::NotFound => ErrorCode::FetchSessionIdNotFound,
        SessionFault::WrongEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionFault::TopicNaming => ErrorCode::FetchSessionTopicIdError,
    }
}
