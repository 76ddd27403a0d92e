//! Why a group's coordinator refuses something.

/// A refusal. Each is one of Kafka's errors; the room that answers clients gives it the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum GroupError {
    /// 14, COORDINATOR_LOAD_IN_PROGRESS. A heartbeat is answered without an error instead, so that no member leaves because of it.
    #[error("The coordinator is loading and hence can't process requests.")]
    CoordinatorLoadInProgress,
    /// 15, COORDINATOR_NOT_AVAILABLE: too many appends wait for the disk, or the memory for groups is used up. Clients try again.
    #[error("The coordinator is not available.")]
    CoordinatorNotAvailable,
    /// 16, NOT_COORDINATOR.
    #[error("This is not the correct coordinator.")]
    NotCoordinator,
    /// 12, OFFSET_METADATA_TOO_LARGE.
    #[error("The metadata field of the offset request was too large.")]
    OffsetMetadataTooLarge,
    /// 22, ILLEGAL_GENERATION.
    #[error("Specified group generation id is not valid.")]
    IllegalGeneration,
    /// 23, INCONSISTENT_GROUP_PROTOCOL.
    #[error(
        "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type \
         or empty protocol list."
    )]
    InconsistentGroupProtocol,
    /// 24, INVALID_GROUP_ID.
    #[error("The configured groupId is invalid.")]
    InvalidGroupId,
    /// 25, UNKNOWN_MEMBER_ID.
    #[error("The coordinator is not aware of this member.")]
    UnknownMemberId,
    /// 26, INVALID_SESSION_TIMEOUT.
    #[error(
        "The session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms)."
    )]
    InvalidSessionTimeout,
    /// 27, REBALANCE_IN_PROGRESS.
    #[error("The group is rebalancing, so a rejoin is needed.")]
    RebalanceInProgress,
    /// 28, INVALID_COMMIT_OFFSET_SIZE: the group has committed as many offsets as one may, or the record is larger than the log takes.
    #[error("The committing offset data size is not valid.")]
    InvalidCommitOffsetSize,
    /// 42, INVALID_REQUEST: a member that says more about itself than is allowed.
    #[error("A member offers more protocols or longer names and metadata than the broker allows.")]
    MemberTooLarge,
    /// 68, NON_EMPTY_GROUP.
    #[error("The group is not empty.")]
    NonEmptyGroup,
    /// 69, GROUP_ID_NOT_FOUND. OffsetCommit answers ILLEGAL_GENERATION (22) instead below version 9.
    #[error("The group id does not exist.")]
    GroupIdNotFound,
    /// 79, MEMBER_ID_REQUIRED (KIP-394). Comes with the id.
    #[error("The group member needs to have a valid member id before actually entering a consumer group.")]
    MemberIdRequired,
    /// 81, GROUP_MAX_SIZE_REACHED: the group has as many members as one may, or the partition as many groups.
    #[error("The consumer group has reached its max size.")]
    GroupMaxSizeReached,
    /// 82, FENCED_INSTANCE_ID (KIP-345).
    #[error(
        "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id."
    )]
    FencedInstanceId,
    /// 86, GROUP_SUBSCRIBED_TO_TOPIC.
    #[error("Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it.")]
    GroupSubscribedToTopic,
    /// 35, UNSUPPORTED_VERSION: a commit of a version that does not speak of epochs.
    #[error("The group is of the consumer protocol, which needs OffsetCommit version 9 or above.")]
    UnsupportedVersion,
    /// 110, FENCED_MEMBER_EPOCH (KIP-848). The member is to give up what it has and join again.
    #[error(
        "The consumer group member's epoch is not the one that the coordinator knows; it must abandon all its partitions and rejoin."
    )]
    FencedMemberEpoch,
    /// 111, UNRELEASED_INSTANCE_ID (KIP-848).
    #[error("The instance id is still used by another member in the consumer group; that member must leave first.")]
    UnreleasedInstanceId,
    /// 112, UNSUPPORTED_ASSIGNOR (KIP-848).
    #[error("The assignor or its version range is not supported by the consumer group.")]
    UnsupportedAssignor,
    /// 113, STALE_MEMBER_EPOCH (KIP-848). The member tries again with the epoch of its next heartbeat.
    #[error("The member epoch is stale; the member must retry after it has received its updated epoch.")]
    StaleMemberEpoch,
    /// 128, INVALID_REGULAR_EXPRESSION.
    #[error("The regular expression of the subscription cannot be used; the broker takes the syntax of RE2.")]
    InvalidRegularExpression,
    /// 128, INVALID_REGULAR_EXPRESSION.
    #[error(
        "It takes too long to hold the regular expression of the subscription against the names of all topics; a simpler one is needed."
    )]
    RegularExpressionTooSlow,
    /// 42, INVALID_REQUEST: fields that do not go together. Says which.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// -1, UNKNOWN_SERVER_ERROR: what the group is would be larger than the log takes, or a request that no client sends.
    #[error("The server experienced an unexpected error when processing the request.")]
    UnknownServerError,
}
