//! Every bound of the broker, by name and unit, with the relations between them checked when the broker is compiled.

use std::time::Duration;

/// Bytes of a device page: the unit of direct I/O, and of padding in the journal.
pub const PAGE_BYTES: usize = 4096;

/// Bytes of one journal block at most. One device write.
pub const JOURNAL_BLOCK_BYTES_MAX: usize = 1 << 20;
/// Bytes of one journal file. Fixed, so that recycling never changes a size.
pub const JOURNAL_FILE_BYTES: usize = 64 << 20;
/// Bytes of one file of the metadata journal.
pub const METADATA_JOURNAL_FILE_BYTES: usize = 4 << 20;
/// Bytes of one metadata command at most.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(COMMAND_BYTES_MAX <= METADATA_JOURNAL_FILE_BYTES / 4);
/// Journal blocks in flight at most.
pub const JOURNAL_DEPTH_MAX: usize = 16;

/// Bytes of the largest record batch that `message.max.bytes` or `max.message.bytes` may allow.
pub const BATCH_BYTES_MAX: usize = 15 << 20;
const _: () = assert!(
    BATCH_BYTES_MAX + PAGE_BYTES <= JOURNAL_FILE_BYTES / 4,
    "the largest batch is at most a quarter of a journal file"
);

/// Bytes of a request frame at most: the default of `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 << 20;
/// Bytes of a request frame at most, for APIs that carry no records.
pub const REQUEST_BYTES_MAX_SMALL: usize = 8 << 20;
const _: () = assert!(REQUEST_BYTES_MAX_SMALL <= REQUEST_BYTES_MAX);

/// Elements of all arrays of one request together at most: 60,000 partitions, each in a topic of its own. An element of 16 bytes on the wire takes up to
/// about 640 while its request is answered.
pub const REQUEST_ELEMENTS_MAX: usize = 125_000;
/// A request of more bytes is a large one, unless it carries records.
pub const REQUEST_BYTES_LARGE: usize = 64 << 10;
/// A fetch of more partitions, which its session may remember, is a large one too.
pub const FETCH_PARTITIONS_LARGE: usize = 2000;
/// Large requests that one core answers at the same time. With the bound of elements this bounds what they take.
pub const LARGE_REQUESTS_AT_ONCE: usize = 4;
/// How long a large fetch may wait for data at most: others wait for its place.
pub const LARGE_FETCH_WAIT_MAX: Duration = Duration::from_millis(500);
/// A request about the settings of more resources is a large one too.
pub const RESOURCES_LARGE: usize = 100;
/// Settings in one DescribeConfigs response at most. Each takes up to about 800 bytes while it is answered.
pub const CONFIGS_DESCRIBED_MAX: usize = 50_000;
/// Producers in one DescribeProducers response at most: those of several full partitions.
pub const PRODUCERS_DESCRIBED_MAX: usize = 50_000;
const _: () = assert!(PRODUCERS_PER_PARTITION_MAX <= PRODUCERS_DESCRIBED_MAX);
/// Partitions in one DescribeTopicPartitions response at most, whatever the client asks (Kafka: `max.request.partition.size.limit`).
pub const PARTITIONS_DESCRIBED_MAX: usize = 2000;
/// Elements that a decoder reserves at most on the word of a length field.
pub const DECODE_RESERVE_MAX: usize = 1024;

/// Messages in one lane of a mailbox at most.
pub const MAILBOX_MESSAGES_MAX: usize = 4096;
/// Produce requests of one connection that may wait for the disk at a time.
pub const PRODUCES_IN_FLIGHT_MAX: usize = 256;
/// Partitions of one Produce request at most, whatever becomes of them. What a request has beyond is refused.
pub const PRODUCE_BATCHES_MAX: usize = 60_000;
const _: () = assert!(2 * PRODUCE_BATCHES_MAX <= REQUEST_ELEMENTS_MAX);
/// Connections that one core serves at most.
pub const CONNECTIONS_PER_CORE_MAX: usize = 20_000;
/// Bytes that an idle connection owns at most.
pub const IDLE_CONNECTION_BYTES_MAX: usize = 4096;

/// How long a connection may stand still while others wait for the memory that it holds.
pub const MEMORY_STALLED_MAX: Duration = Duration::from_secs(10);
/// Bytes a second that a connection must move on average after that time, while others wait for the memory that it holds.
pub const MEMORY_BYTES_PER_SECOND_MIN: usize = 64 << 10;
/// Bytes that an answer with records is charged at least: a slice of the tail keeps its whole journal block.
pub const ANSWER_BYTES_MIN: usize = JOURNAL_BLOCK_BYTES_MAX;
/// Bytes of an answer without records from which on it is charged until the peer has taken it.
pub const ANSWER_BYTES_CHARGED: usize = 64 << 10;
const _: () = assert!(ANSWER_BYTES_CHARGED <= ANSWER_BYTES_MIN);
/// Bytes of an answer that are written before their charge is given back.
pub const WRITE_STEP_BYTES: usize = 1 << 20;

/// Connections on their way from the acceptor to one core at most. The next one waits at the acceptor.
pub const ARRIVALS_MAX: usize = 64;

/// Partitions of one topic at most.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 10_000;
/// Partitions that one CreateTopics request may make, as in Kafka.
pub const PARTITIONS_PER_CREATE_MAX: u64 = 10_000;
/// Partitions of the whole node at most.
pub const PARTITIONS_MAX: usize = 200_000;
/// Characters of a topic name at most (Kafka's own bound).
pub const TOPIC_NAME_CHARS_MAX: usize = 249;

/// Idempotent producers remembered per partition at most; the one that was silent longest gives way.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;
/// Idempotent producers remembered per core at most, over all its partitions; those that were silent longest give way. All of them stand in each
/// checkpoint of the core's journal.
pub const PRODUCERS_PER_CORE_MAX: usize = 500_000;
const _: () = assert!(PRODUCERS_PER_PARTITION_MAX <= PRODUCERS_PER_CORE_MAX);
/// Batches remembered per producer to tell a repetition from a gap (Kafka's own number).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// Leader epochs remembered per partition at most; the oldest are merged.
pub const EPOCHS_PER_PARTITION_MAX: usize = 10_000;

/// Fetch sessions per core at most (Kafka: `max.incremental.fetch.session.cache.slots` = 1000 for the broker).
pub const FETCH_SESSIONS_PER_CORE_MAX: usize = 1000;
/// Partitions in all fetch sessions of one core at most.
pub const FETCH_SESSION_PARTITIONS_PER_CORE_MAX: usize = 500_000;
/// How long a fetch may wait for data at most, whatever the client asks. It is answered empty then, and asks again.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(600);
/// Bytes of decompressed records that one batch may unfold to while it is checked.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 256 << 20;
/// Bytes after which a long computation on a core gives way to others.
pub const YIELD_BYTES: usize = 256 << 10;
/// Bytes that one client may have handled, or put into the journal, before others have their turn.
pub const TURN_BYTES: usize = 64 << 10;
/// Bytes that a request counts for at least: four small ones are a turn, too (`perf/results/2026-11-28-slices.md`).
pub const TURN_REQUEST_BYTES_MIN: usize = 16 << 10;
/// Requests of other cores that one core serves before others have their turn.
pub const TURN_REQUESTS: usize = 16;
const _: () = assert!(TURN_REQUEST_BYTES_MIN <= TURN_BYTES && TURN_BYTES <= YIELD_BYTES);

/// Bytes of recompressed batches that one request holds at most before they are handed over. More are recompressed when those are on disk.
pub const RECODED_BYTES_PER_REQUEST_MAX: usize = 16 << 20;
/// Bytes of recompressed batches that one core holds at a time, from before they are made until they are on disk.
pub const RECODED_BYTES_MAX: usize = 64 << 20;
/// Bytes of records that are recompressed in one step.
pub const RECODE_STEP_BYTES: usize = 64 << 10;
const _: () =
    assert!(BATCH_BYTES_MAX <= RECODED_BYTES_PER_REQUEST_MAX && RECODED_BYTES_PER_REQUEST_MAX <= RECODED_BYTES_MAX);

/// Bytes of requests that a connection may send a second on the average to be one that sends little.
pub const SENDS_LITTLE_BYTES_PER_SECOND: u64 = 4 << 20;
/// Bytes of small batches a second that a core takes for the sake of which others are held back. More are a flood of their own.
pub const SMALL_BATCHES_BYTES_PER_SECOND: u64 = 32 << 20;
/// Bytes of a request with small batches at most. One full batch of a Kafka producer with default settings is just larger.
pub const SMALL_PRODUCE_BYTES: usize = 16 << 10;
/// After a small batch of a connection that sends little, all cores keep their reads and writes of segments short for so long.
pub const GENTLE_FOR: Duration = Duration::from_millis(100);
/// It is put off only by so much or more: all cores read the same number.
pub const GENTLE_STEP: Duration = Duration::from_millis(10);

/// Segments of one log at most.
pub const SEGMENTS_PER_LOG_MAX: usize = 1 << 20;
/// Leader epochs remembered per log at most.
pub const EPOCHS_PER_LOG_MAX: usize = 1 << 20;
/// Bytes of producer state that a log's checkpoint may hold.
pub const PRODUCER_STATE_BYTES_MAX: usize = 16 << 20;
/// Bytes of one write that drains batches into a segment.
pub const DRAIN_BUFFER_BYTES: usize = 512 << 10;
/// The same while the disk is wanted for small batches (`perf/results/2026-11-28-gentle.md`).
pub const GENTLE_DRAIN_BYTES: usize = 128 << 10;
/// Drain buffers of a core, which also bounds its segment writes in flight.
pub const DRAIN_BUFFERS: usize = 1;
/// Bytes of indexes and checksums that a core gathers for all its segments before it writes them.
pub const GATHERED_BYTES_MAX: usize = 1 << 20;
/// Bytes after which a log is drained although the journal has room. Short writes of segments hold up those of the journal less.
pub const DRAIN_AHEAD_BYTES: u64 = 512 << 10;
const _: () = assert!(DRAIN_AHEAD_BYTES >= DRAIN_BUFFER_BYTES as u64, "there is a whole write to drain ahead");
/// Bytes of disk that a core keeps free of batches, beside what it has taken in and not drained: for checkpoints, last pages and the like.
pub const DISK_RESERVE_BYTES: u64 = 32 << 20;
/// Bytes of disk that it keeps for each log: the last pages of a segment's files, and its directory.
pub const DISK_RESERVE_LOG_BYTES: u64 = 32 << 10;
/// Bytes that a core must be able to take in again before it does, once it has refused batches for want of space.
pub const DISK_REOPEN_BYTES: u64 = 64 << 20;
const _: () = assert!(DISK_REOPEN_BYTES > 2 * BATCH_BYTES_MAX as u64);
/// Directories of deleted logs that a core removes before it looks whether others have to be drained. Each takes some milliseconds.
pub const DELETIONS_PER_PASS: usize = 16;
/// Logs that a core drains at the same time.
pub const DRAINS_AT_ONCE: usize = 8;
/// Bytes of batches that one step of a drain takes, unless a single batch is larger. A log's drained offset moves after each step.
pub const DRAIN_STEP_BYTES: usize = 16 << 20;
/// Bytes of space allocated ahead of a segment's logical end at most.
pub const SEGMENT_ALLOCATE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of space allocated ahead of a segment's logical end at least.
pub const SEGMENT_ALLOCATE_BYTES_MIN: u64 = 1 << 20;
/// Flushes of segment files and directories that a core asks for at a time.
pub const FLUSHES_AT_ONCE: usize = 32;
/// Threads of a core that carry flushes out, remove files and close them. Each flush waits several times for a disk that others use as well.
pub const DISK_THREADS: usize = 4;
/// Segment files that are flushed one by one. For more of them the whole file system is flushed instead.
pub const FILES_FLUSHED_APART_MAX: usize = 256;
/// Reads of history that a core may be told to have in flight (`--read-depth`). With [`SEGMENT_READ_BYTES_MAX`] this is the budget of catch-up reads.
pub const READ_DEPTH_MAX: usize = 64;
/// Bytes of one read of history, unless a single batch is larger. Where the disk serves one operation at a time, a write of the journal waits for it.
pub const SEGMENT_READ_BYTES_MAX: usize = 256 << 10;
/// The same while the disk is wanted for small batches.
pub const GENTLE_READ_BYTES: usize = 64 << 10;
/// Segment files that a core keeps open.
pub const SEGMENT_FILES_OPEN_MAX: usize = 4096;
/// Descriptors that a core needs beside those of segments, of its journal and of connections: rings, timers, metadata, checkpoints, listeners.
pub const DESCRIPTORS_RESERVED_PER_CORE: usize = 256;
/// Connections for which there must be descriptors at least, else the broker does not start.
pub const CONNECTIONS_MIN: usize = 64;
const _: () = assert!(DRAIN_BUFFERS * DRAIN_BUFFER_BYTES <= 4 << 20, "draining has a few MiB per core");
const _: () = assert!(DRAIN_BUFFER_BYTES.is_multiple_of(PAGE_BYTES) && GENTLE_DRAIN_BYTES.is_multiple_of(PAGE_BYTES));
const _: () = assert!(GENTLE_DRAIN_BYTES <= DRAIN_BUFFER_BYTES && GENTLE_READ_BYTES <= SEGMENT_READ_BYTES_MAX);

/// Bytes that a decompressor unfolds at a time: the size of its window.
pub const UNFOLD_CHUNK_BYTES: usize = 64 << 10;
/// Bytes of history that a check keeps for a snappy block whose copies reach back further than the usual 64 KiB.
pub const SNAPPY_HISTORY_BYTES_MAX: usize = 32 << 20;
/// Bytes of working memory that a decompressor may keep from one batch to the next.
pub const UNFOLD_KEPT_BYTES_MAX: usize = 8 << 20;
/// Records that the answer to one Produce names one by one, over all of its batches.
pub const RECORD_FAULTS_MAX: usize = 1024;
const _: () = assert!(UNFOLD_CHUNK_BYTES <= YIELD_BYTES && SNAPPY_HISTORY_BYTES_MAX <= DECOMPRESSED_BATCH_BYTES_MAX);
const _: () = assert!(EPOCHS_PER_PARTITION_MAX <= EPOCHS_PER_LOG_MAX);
const _: () = assert!(
    PRODUCERS_PER_PARTITION_MAX * (31 + 24 * PRODUCER_BATCHES_REMEMBERED) + EPOCHS_PER_PARTITION_MAX * 12 + 64
        <= PRODUCER_STATE_BYTES_MAX,
    "a partition's state fits into its log's checkpoint"
);

/// Groups of one partition of `__consumer_offsets` at most, those without members included.
pub const GROUPS_PER_PARTITION_MAX: usize = 100_000;
/// Members of one group at most, whatever `group.max.size` allows.
pub const GROUP_MEMBERS_MAX: usize = 10_000;
/// Members of one group that were given an id and have not joined with it yet, at most.
pub const GROUP_PENDING_MEMBERS_MAX: usize = GROUP_MEMBERS_MAX;
/// Protocols that one member may offer.
pub const MEMBER_PROTOCOLS_MAX: usize = 64;
/// Bytes of all that one member says about itself when it joins: names, protocols and their metadata.
pub const MEMBER_BYTES_MAX: usize = 1 << 20;
/// Bytes of an expression for topics that a member may subscribe to.
pub const GROUP_REGEX_BYTES_MAX: usize = 4 << 10;
/// Bytes that such an expression takes up at most when it is compiled.
pub const GROUP_REGEX_PROGRAM_BYTES_MAX: usize = 64 << 10;
/// Members of a group times the topics that they subscribe to together. Partitions are dealt in one go, and a core does nothing else meanwhile.
pub const GROUP_LISTED_TOPICS_MAX: usize = 1_000_000;
/// Heartbeats of a core that wait until an expression was held against all topics. Few: each takes a place among the requests that two cores have under way.
pub const GROUP_REGEXES_WAITING_MAX: usize = 16;
/// Different expressions for topics that the members of one group may have.
pub const GROUP_REGEXES_MAX: usize = 100;
/// Partitions for which one group may have committed an offset: as many as a node may have.
pub const OFFSETS_PER_GROUP_MAX: usize = PARTITIONS_MAX;
/// Bytes of members and offsets that the coordinator of one partition of `__consumer_offsets` holds, by default.
pub const COORDINATOR_BYTES_MAX: usize = 64 << 20;
/// Bytes of the value of a configuration. The longest that makes sense is a list of words.
pub const CONFIG_VALUE_BYTES_MAX: usize = 256;
/// JoinGroup and SyncGroup requests that may wait for other members at the coordinators of one core. As many as half of its connections.
pub const GROUP_REQUESTS_PARKED_PER_CORE_MAX: usize = CONNECTIONS_PER_CORE_MAX / 2;
/// Appends of one coordinator that may wait for the disk.
pub const COORDINATOR_APPENDS_MAX: usize = 1024;
/// Timers of one coordinator that are carried out together.
pub const COORDINATOR_TIMERS_PER_TICK: usize = 1024;
/// Groups and offsets that one step of the search for expired offsets, or for those of deleted topics, looks at; the offsets of the last group it ends with.
pub const EXPIRY_LOOKS_PER_STEP: usize = 512;
const _: () = assert!(MEMBER_BYTES_MAX <= COORDINATOR_BYTES_MAX && MEMBER_BYTES_MAX <= REQUEST_BYTES_MAX_SMALL);

/// Connections of the HTTP server for metrics at most; the oldest gives way to the next.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Bytes of the head of an HTTP request at most.
pub const ADMIN_HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines of an HTTP request at most.
pub const ADMIN_HEADERS_MAX: usize = 64;
/// How long the head of an HTTP request may take to come.
pub const ADMIN_HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long an HTTP connection may last: one request and its answer.
pub const ADMIN_CONNECTION_WITHIN: Duration = Duration::from_secs(15);
/// Scrapes that are answered at a time.
pub const SCRAPES_AT_ONCE: usize = 4;
/// How long a core may take to answer the control thread.
pub const CORE_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Questions of the control thread that may wait at one core.
pub const CORE_QUESTIONS_MAX: usize = 16;
const _: () = assert!(2 * SCRAPES_AT_ONCE <= CORE_QUESTIONS_MAX);
/// Logs that are looked at in one step for a scrape.
pub const LOGS_PER_LOOK: usize = 512;
/// Series of the lag of groups in one scrape at most; how many were left out is a metric of its own.
pub const LAG_SERIES_MAX: usize = 10_000;
/// Bytes of a group's name at most, for a series of its own.
pub const LABEL_BYTES_MAX: usize = 512;
