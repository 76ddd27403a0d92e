//! Which APIs Kafka has, and from which version each is flexible.

/// No version is flexible.
const NEVER: i16 = i16::MAX;

macro_rules! api_keys {
    ($($name:ident = $key:literal, flexible from $flexible:expr;)+) => {
        /// One kind of request, by Kafka's name. Being named here says nothing about being served: that is the broker's catalogue.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs, reason = "the names are Kafka's own and say it all")]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)+
        }

        impl ApiKey {
            /// Every API, in ascending order of its key.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The API with this key, if there is one.
            pub const fn from_key(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Kafka's name of it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The first flexible version (KIP-482); `i16::MAX` if there is none.
            pub const fn flexible_from(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)+
                }
            }
        }
    };
}

impl ApiKey {
    /// The number on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// The version of the header before a request: 1, or 2 with tagged fields.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if version >= self.flexible_from() { 2 } else { 1 }
    }

    /// The version of the header before a response: 0, or 1 with tagged fields. ApiVersions stays at 0 for ever, so that a client that is
    /// about to learn the broker's versions can read the answer (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        if version >= self.flexible_from() && !matches!(self, Self::ApiVersions) { 1 } else { 0 }
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

api_keys! {
    Produce = 0, flexible from 9;
    Fetch = 1, flexible from 12;
    ListOffsets = 2, flexible from 6;
    Metadata = 3, flexible from 9;
    OffsetCommit = 8, flexible from 8;
    OffsetFetch = 9, flexible from 6;
    FindCoordinator = 10, flexible from 3;
    JoinGroup = 11, flexible from 6;
    Heartbeat = 12, flexible from 4;
    LeaveGroup = 13, flexible from 4;
    SyncGroup = 14, flexible from 4;
    DescribeGroups = 15, flexible from 5;
    ListGroups = 16, flexible from 3;
    SaslHandshake = 17, flexible from NEVER;
    ApiVersions = 18, flexible from 3;
    CreateTopics = 19, flexible from 5;
    DeleteTopics = 20, flexible from 4;
    DeleteRecords = 21, flexible from 2;
    InitProducerId = 22, flexible from 2;
    OffsetForLeaderEpoch = 23, flexible from 4;
    AddPartitionsToTxn = 24, flexible from 3;
    AddOffsetsToTxn = 25, flexible from 3;
    EndTxn = 26, flexible from 3;
    WriteTxnMarkers = 27, flexible from 0;
    TxnOffsetCommit = 28, flexible from 3;
    DescribeAcls = 29, flexible from 2;
    CreateAcls = 30, flexible from 2;
    DeleteAcls = 31, flexible from 2;
    DescribeConfigs = 32, flexible from 4;
    AlterConfigs = 33, flexible from 2;
    AlterReplicaLogDirs = 34, flexible from 2;
    DescribeLogDirs = 35, flexible from 2;
    SaslAuthenticate = 36, flexible from 2;
    CreatePartitions = 37, flexible from 2;
    CreateDelegationToken = 38, flexible from 2;
    RenewDelegationToken = 39, flexible from 2;
    ExpireDelegationToken = 40, flexible from 2;
    DescribeDelegationToken = 41, flexible from 2;
    DeleteGroups = 42, flexible from 2;
    ElectLeaders = 43, flexible from 2;
    IncrementalAlterConfigs = 44, flexible from 1;
    AlterPartitionReassignments = 45, flexible from 0;
    ListPartitionReassignments = 46, flexible from 0;
    OffsetDelete = 47, flexible from NEVER;
    DescribeClientQuotas = 48, flexible from 1;
    AlterClientQuotas = 49, flexible from 1;
    DescribeUserScramCredentials = 50, flexible from 0;
    AlterUserScramCredentials = 51, flexible from 0;
    Vote = 52, flexible from 0;
    BeginQuorumEpoch = 53, flexible from 1;
    EndQuorumEpoch = 54, flexible from 1;
    DescribeQuorum = 55, flexible from 0;
    AlterPartition = 56, flexible from 0;
    UpdateFeatures = 57, flexible from 0;
    Envelope = 58, flexible from 0;
    FetchSnapshot = 59, flexible from 0;
    DescribeCluster = 60, flexible from 0;
    DescribeProducers = 61, flexible from 0;
    BrokerRegistration = 62, flexible from 0;
    BrokerHeartbeat = 63, flexible from 0;
    UnregisterBroker = 64, flexible from 0;
    DescribeTransactions = 65, flexible from 0;
    ListTransactions = 66, flexible from 0;
    AllocateProducerIds = 67, flexible from 0;
    ConsumerGroupHeartbeat = 68, flexible from 0;
    ConsumerGroupDescribe = 69, flexible from 0;
    ControllerRegistration = 70, flexible from 0;
    GetTelemetrySubscriptions = 71, flexible from 0;
    PushTelemetry = 72, flexible from 0;
    AssignReplicasToDirs = 73, flexible from 0;
    ListConfigResources = 74, flexible from 0;
    DescribeTopicPartitions = 75, flexible from 0;
    ShareGroupHeartbeat = 76, flexible from 0;
    ShareGroupDescribe = 77, flexible from 0;
    ShareFetch = 78, flexible from 0;
    ShareAcknowledge = 79, flexible from 0;
    AddRaftVoter = 80, flexible from 0;
    RemoveRaftVoter = 81, flexible from 0;
    UpdateRaftVoter = 82, flexible from 0;
    InitializeShareGroupState = 83, flexible from 0;
    ReadShareGroupState = 84, flexible from 0;
    WriteShareGroupState = 85, flexible from 0;
    DeleteShareGroupState = 86, flexible from 0;
    ReadShareGroupStateSummary = 87, flexible from 0;
    StreamsGroupHeartbeat = 88, flexible from 0;
    StreamsGroupDescribe = 89, flexible from 0;
    DescribeShareGroupOffsets = 90, flexible from 0;
    AlterShareGroupOffsets = 91, flexible from 0;
    DeleteShareGroupOffsets = 92, flexible from 0;
}
