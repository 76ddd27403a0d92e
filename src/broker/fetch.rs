//! Fetch (key 1): what is there is planned, the byte budget is dealt out in request order, then it is read.
//!
//! Always true: one batch comes whatever the limits say, if there is one; batches are sent as they are stored, from shared memory. A fetch that finds
//! too little waits for any of its logs to grow, and plans again. A partition that does not exist never ends the wait.

use std::time::Duration;

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::dispatch::Held;
use super::fetch_session::{Asked, Found, PartitionKey, TopicKey, Wanted};
use super::throttle::throttle_ms;
use super::{Broker, errors, find_topic, topic_key};
use crate::base::limits::{ANSWER_BYTES_MIN, FETCH_PARTITIONS_LARGE, FETCH_WAIT_MAX, LARGE_FETCH_WAIT_MAX};
use crate::base::{LeaderEpoch, LogId, Mono, Offset, PartitionIndex};
use crate::cluster::Image;
use crate::protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::{ErrorCode, Records};
use crate::record::Codec;
use crate::shard::{FetchSpec, Marks, Planned, ReadDone, ReadError, ReadSpec};

/// Answers a Fetch request. With the answer comes the charge for the records in it.
pub async fn handle(broker: &Broker, context: &RequestContext, request: FetchRequest) -> (FetchResponse, Option<Held>) {
    if !matches!(request.isolation_level, UNCOMMITTED | COMMITTED) {
        return (refused_as_a_whole(context, &request, ErrorCode::UnknownServerError), None);
    }
    let mut limits = Limits::new(broker, context, &request);
    let (kind, partitions) = match broker.sessions.borrow_mut().begin(broker.shard.io().now(), asked(context, request))
    {
        Ok(begun) => begun.into_parts(),
        Err(fault) => {
            let error_code = errors::session(fault).code();
            let throttle_time_ms = throttle_ms(context, context.request_bytes);
            return (FetchResponse { throttle_time_ms, error_code, ..Default::default() }, None);
        }
    };
    let mut _place = None;
    if context.is_large() || partitions.len() > FETCH_PARTITIONS_LARGE {
        if !context.is_large() {
            _place = Some(broker.large_requests.take(1, 1).await);
        }
        limits.deadline = limits.deadline.min(broker.shard.io().now() + LARGE_FETCH_WAIT_MAX);
    }
    let (mut answers, held) = read(broker, context, &limits, partitions).await;
    let now = broker.shard.io().now();
    let finished =
        broker.sessions.borrow_mut().finish(now, kind, &mut answers, found, || broker.shard.io().random_u64());
    let bytes = answers.iter().map(|(_, _, data)| data.records.byte_len()).sum::<usize>();
    let throttle_time_ms = throttle_ms(context, context.request_bytes + bytes);
    match finished {
        Ok(session_id) => {
            let responses = by_topic(answers);
            (FetchResponse { throttle_time_ms, session_id, responses, ..Default::default() }, held)
        }
        Err(fault) => {
            let error_code = errors::session(fault).code();
            (FetchResponse { throttle_time_ms, error_code, ..Default::default() }, None)
        }
    }
}

/// What holds for a fetch as a whole.
struct Limits {
    bytes_max: i32,
    bytes_min: u64,
    read_committed: bool,
    deadline: Mono,
    waits: bool,
    /// A broker that is nobody's follower here asks to replicate.
    by_replica: bool,
}

impl Limits {
    fn new(broker: &Broker, context: &RequestContext, request: &FetchRequest) -> Self {
        let bytes_max = request.max_bytes.min(broker.options.fetch_bytes_max);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(FETCH_WAIT_MAX);
        Self {
            bytes_max,
            bytes_min: u64::try_from(request.min_bytes.min(bytes_max)).unwrap_or(0),
            read_committed: request.isolation_level == COMMITTED,
            deadline: broker.shard.io().now() + wait,
            waits: !wait.is_zero(),
            by_replica: replica_id(context, request) >= 0,
        }
    }
}

/// One partition of a fetch.
struct Share {
    key: PartitionKey,
    wanted: Wanted,
    state: State,
}

enum State {
    /// There is no such partition for this client. Known without asking its owner, and no reason to end the wait.
    Absent(ErrorCode),
    /// To be asked.
    Here(LogId),
    /// What its owner said last.
    Planned(LogId, Planned),
    /// Its owner refused.
    Refused(ErrorCode),
}

type Answers = Vec<(PartitionKey, Wanted, PartitionData)>;

async fn read(
    broker: &Broker,
    context: &RequestContext,
    limits: &Limits,
    partitions: Vec<(PartitionKey, Wanted)>,
) -> (Answers, Option<Held>) {
    let mut shares: Vec<_> = {
        let image = broker.shard.image();
        let state = |key: &_, wanted: &_| match place(broker, context, limits, &image, key, wanted) {
            Ok(log) => State::Here(log),
            Err(Absence::Unknown(code)) => State::Absent(code),
            Err(Absence::Refused(code)) => State::Refused(code),
        };
        partitions
            .into_iter()
            .map(|(key, wanted)| {
                let state = state(&key, &wanted);
                Share { key, wanted, state }
            })
            .collect()
    };
    loop {
        let verdict = plan(broker, limits, &mut shares).await;
        if verdict == Verdict::Answer || !limits.waits || broker.shard.io().now() >= limits.deadline {
            break;
        }
        let waiting = shares.iter().filter_map(|share| match &share.state {
            State::Planned(log, planned) => Some((*log, planned.marks.high_watermark)),
            _ => None,
        });
        let waiting: Vec<_> = waiting.collect();
        broker.shard.fetch_wait(waiting, limits.deadline).await;
        if broker.shard.is_stopping() {
            break;
        }
    }
    deal_and_read(broker, limits, shares).await
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Answer,
    Wait,
}

/// Asks the owners what there is, all of them at once.
async fn plan(broker: &Broker, limits: &Limits, shares: &mut [Share]) -> Verdict {
    let mut specs = Vec::with_capacity(shares.len());
    for share in shares.iter() {
        if let State::Here(log) | State::Planned(log, _) = share.state {
            specs.push(spec(limits, log, &share.wanted));
        }
    }
    if specs.is_empty() {
        return Verdict::Answer;
    }
    let mut planned = broker.shard.fetch_plan(specs).await.into_iter();
    let mut bytes = 0;
    let mut answer = false;
    for share in shares {
        match share.state {
            State::Here(log) | State::Planned(log, _) => match planned.next().expect("as many answers as questions") {
                Ok(planned) => {
                    bytes += planned.available.min(u64::try_from(share.wanted.max_bytes).unwrap_or(0));
                    answer |= planned.diverging.is_some();
                    share.state = State::Planned(log, planned);
                }
                Err(error) => {
                    answer = true;
                    share.state = State::Refused(errors::read(&error));
                }
            },
            State::Refused(_) => answer = true,
            State::Absent(_) => {}
        }
    }
    if answer || bytes >= limits.bytes_min { Verdict::Answer } else { Verdict::Wait }
}

/// Deals the byte budget out in request order and reads. What turns out to be over the budget is left for the next fetch.
///
/// What may be read is charged before, and with little memory left the answer has less. The charge is given back when the peer has taken the answer, so
/// clients that do not read hold a bounded amount together.
async fn deal_and_read(broker: &Broker, limits: &Limits, shares: Vec<Share>) -> (Answers, Option<Held>) {
    let mut bytes_max = u64::try_from(limits.bytes_max).unwrap_or(0);
    let mut held = None;
    let planned = planned_bytes(&shares).min(bytes_max);
    if shares.iter().any(has_something) {
        let wanted = usize::try_from(planned).unwrap_or(usize::MAX).max(ANSWER_BYTES_MIN);
        let charge = broker.answer_memory.take(wanted, ANSWER_BYTES_MIN).await;
        bytes_max = bytes_max.min(charge.amount() as u64);
        held = Some(charge);
    }
    let (places, specs): (Vec<_>, Vec<_>) = deal(limits, &shares, bytes_max).into_iter().unzip();
    let mut reads: Vec<Option<Read>> = shares.iter().map(|_| None).collect();
    let mut last = places.first().copied();
    if !specs.is_empty() {
        let done = broker.shard.fetch_read(specs, bytes_max).await;
        places.into_iter().zip(done).for_each(|(place, read)| reads[place] = Some(read));
    }
    // What was to come whatever the limits say did not: then it is the next one's turn.
    while !reads.iter().flatten().any(has_records)
        && let Some(before) = last
        && let Some(place) = (before + 1..shares.len()).find(|place| has_something(&shares[*place]))
    {
        let specs = Vec::from_iter(read_spec(limits, &shares[place], bytes_max, true));
        reads[place] = broker.shard.fetch_read(specs, bytes_max).await.pop();
        last = Some(place);
    }
    let mut left = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut first = true;
    let mut answers = Vec::with_capacity(shares.len());
    for (share, read) in shares.into_iter().zip(reads) {
        let mut data = answer(limits, &share, read);
        let bytes = data.records.byte_len();
        if bytes > left && !first {
            data.records = Records::default();
        } else if bytes > 0 {
            left = left.saturating_sub(bytes);
            first = false;
        }
        answers.push((share.key, share.wanted, data));
    }
    let bytes = answers.iter().map(|(_, _, data)| data.records.byte_len()).sum::<usize>();
    if let Some(charge) = held.take_if(|_| bytes > 0) {
        charge.set(bytes.max(ANSWER_BYTES_MIN));
        return (answers, Some(charge));
    }
    (answers, None)
}

/// Bytes that a read would give if nothing but the partitions' own limits held.
fn planned_bytes(shares: &[Share]) -> u64 {
    let bytes = |share: &Share| match &share.state {
        State::Planned(_, planned) if has_something(share) => {
            planned.available.min(u64::try_from(share.wanted.max_bytes).unwrap_or(0))
        }
        _ => 0,
    };
    shares.iter().map(bytes).sum()
}

type Read = Result<ReadDone, ReadError>;

/// What is to be read, with the places in the request. The first one gives a batch whatever its size.
fn deal(limits: &Limits, shares: &[Share], bytes_max: u64) -> Vec<(usize, ReadSpec)> {
    let mut left = bytes_max;
    let mut specs = Vec::with_capacity(shares.len());
    for (place, share) in shares.iter().enumerate() {
        if let State::Planned(_, planned) = &share.state
            && has_something(share)
            && (left > 0 || specs.is_empty())
            && let Some(spec) = read_spec(limits, share, left, specs.is_empty())
        {
            left -= u64::from(spec.fetch.max_bytes).min(planned.available);
            specs.push((place, spec));
        }
    }
    specs
}

fn read_spec(limits: &Limits, share: &Share, left: u64, at_least_one: bool) -> Option<ReadSpec> {
    let State::Planned(log, _) = share.state else { return None };
    let bytes = u64::try_from(share.wanted.max_bytes).unwrap_or(0).min(left);
    if bytes == 0 && !at_least_one {
        return None;
    }
    let max_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Some(ReadSpec { fetch: FetchSpec { max_bytes, ..spec(limits, log, &share.wanted) }, at_least_one })
}

fn has_something(share: &Share) -> bool {
    matches!(&share.state, State::Planned(_, planned) if planned.available > 0 && planned.diverging.is_none())
}

fn has_records(read: &Read) -> bool {
    read.as_ref().is_ok_and(|done| !done.slices.is_empty())
}

fn spec(limits: &Limits, log: LogId, wanted: &Wanted) -> FetchSpec {
    FetchSpec {
        log,
        offset: Offset(wanted.offset),
        max_bytes: u32::try_from(wanted.max_bytes).unwrap_or(0),
        current_epoch: LeaderEpoch(wanted.current_leader_epoch),
        last_fetched_epoch: LeaderEpoch(wanted.last_fetched_epoch),
        read_committed: limits.read_committed,
    }
}

/// Why a partition is not asked for.
enum Absence {
    /// It does not exist for this client: no reason to answer at once.
    Unknown(ErrorCode),
    /// It does, and the client must hear at once.
    Refused(ErrorCode),
}

fn place(
    broker: &Broker,
    context: &RequestContext,
    limits: &Limits,
    image: &Image,
    key: &PartitionKey,
    wanted: &Wanted,
) -> Result<LogId, Absence> {
    let topic = find_topic(image, &key.topic).map_err(Absence::Unknown)?;
    if !allowed(context, Operation::Read, Resource::Topic(&topic.name)) {
        return Err(Absence::Unknown(ErrorCode::TopicAuthorizationFailed));
    }
    let partition = topic.partition(PartitionIndex(key.partition));
    let partition = partition.ok_or(Absence::Unknown(ErrorCode::UnknownTopicOrPartition))?;
    if limits.by_replica || partition.leader != broker.options.node_id {
        return Err(Absence::Refused(ErrorCode::NotLeaderOrFollower));
    }
    if wanted.max_bytes < 0 || limits.bytes_max < 0 {
        return Err(Absence::Refused(ErrorCode::UnknownServerError));
    }
    let stored = topic.settings(&broker.options.topic_defaults).compression;
    if context.version < ZSTD_FROM && stored == Some(Codec::Zstd) {
        // The client cannot know it (KIP-110).
        return Err(Absence::Refused(ErrorCode::UnsupportedCompressionType));
    }
    Ok(partition.log_id)
}

fn answer(limits: &Limits, share: &Share, read: Option<Result<ReadDone, ReadError>>) -> PartitionData {
    let partition_index = share.key.partition;
    let (marks, diverging, slices) = match (&share.state, read) {
        (State::Absent(code) | State::Refused(code), _) => return failed(partition_index, *code),
        (_, Some(Err(error))) => return failed(partition_index, errors::read(&error)),
        (_, Some(Ok(done))) => (done.marks, None, done.slices),
        (State::Planned(_, planned), None) => (planned.marks, planned.diverging, Default::default()),
        (State::Here(_), None) => unreachable!("every partition was planned"),
    };
    let Marks { high_watermark, last_stable, log_start } = marks;
    PartitionData {
        partition_index,
        error_code: ErrorCode::None.code(),
        high_watermark: high_watermark.0,
        last_stable_offset: last_stable.0,
        log_start_offset: log_start.0,
        diverging_epoch: diverging.map_or_else(EpochEndOffset::default, |diverging| EpochEndOffset {
            epoch: diverging.epoch.0,
            end_offset: diverging.end_offset.0,
        }),
        aborted_transactions: limits.read_committed.then(Vec::new),
        records: slices.into_iter().collect(),
        ..Default::default()
    }
}

fn failed(partition_index: i32, code: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code: code.code(), high_watermark: -1, ..Default::default() }
}

/// What a session wants to know of an answer.
fn found(data: &PartitionData) -> Found {
    Found {
        record_bytes: data.records.byte_len(),
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
        error: data.error_code != ErrorCode::None.code(),
        notice: data.diverging_epoch != EpochEndOffset::default() || data.preferred_read_replica >= 0,
    }
}

fn asked(context: &RequestContext, request: FetchRequest) -> Asked {
    let by_topic_id = context.version >= BY_ID_FROM;
    let partitions = request.topics.into_iter().flat_map(|topic| {
        let key = topic_key(by_topic_id, topic.topic, topic.topic_id);
        topic.partitions.into_iter().map(move |partition| {
            let wanted = Wanted {
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            (PartitionKey { topic: key.clone(), partition: partition.partition }, wanted)
        })
    });
    let forgotten = request.forgotten_topics_data.into_iter().flat_map(|topic| {
        let key = topic_key(by_topic_id, topic.topic, topic.topic_id);
        topic.partitions.into_iter().map(move |partition| PartitionKey { topic: key.clone(), partition })
    });
    Asked {
        session_id: request.session_id,
        epoch: request.session_epoch,
        by_topic_id,
        // No replica is served yet, and anybody can say that he is one.
        privileged: false,
        partitions: partitions.collect(),
        forgotten: forgotten.collect(),
    }
}

/// Neighbours of one topic share an entry.
fn by_topic(answers: Answers) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut current: Option<TopicKey> = None;
    for (key, _, data) in answers {
        if current.as_ref() != Some(&key.topic) {
            let (topic, topic_id) = match &key.topic {
                TopicKey::Name(name) => (name.clone(), Default::default()),
                TopicKey::Id(id) => (Default::default(), *id),
            };
            topics.push(FetchableTopicResponse { topic, topic_id, partitions: Vec::new() });
            current = Some(key.topic);
        }
        topics.last_mut().expect("just made").partitions.push(data);
    }
    topics
}

/// A request that is wrong as a whole. Up to version 12 every partition says so too, as in Kafka.
fn refused_as_a_whole(context: &RequestContext, request: &FetchRequest, code: ErrorCode) -> FetchResponse {
    let topics = request.topics.iter().filter(|_| context.version < BY_ID_FROM);
    let responses = topics.map(|topic| FetchableTopicResponse {
        topic: topic.topic.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|one| failed(one.partition, code)).collect(),
    });
    FetchResponse {
        throttle_time_ms: throttle_ms(context, context.request_bytes),
        error_code: code.code(),
        session_id: request.session_id,
        responses: responses.collect(),
        ..Default::default()
    }
}

/// The broker that asks, or a negative number for a consumer.
fn replica_id(context: &RequestContext, request: &FetchRequest) -> i32 {
    if context.version >= REPLICA_STATE_FROM { request.replica_state.replica_id } else { request.replica_id }
}

const UNCOMMITTED: i8 = 0;
const COMMITTED: i8 = 1;
/// The first version whose batches may use zstd (KIP-110).
const ZSTD_FROM: i16 = 10;
/// The first version that names topics by id.
const BY_ID_FROM: i16 = 13;
/// The first version that says which broker asks in a structure of its own (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TopicId;

    #[test]
    fn neighbours_of_one_topic_share_an_entry() {
        let answer = |topic: TopicKey, partition| {
            let wanted = Wanted { offset: 0, max_bytes: 1, current_leader_epoch: -1, last_fetched_epoch: -1 };
            let data = PartitionData { partition_index: partition, ..Default::default() };
            (PartitionKey { topic, partition }, wanted, data)
        };
        let (a, b) = (TopicKey::Name("a".into()), TopicKey::Id(TopicId([1; 16])));
        let topics = by_topic(vec![answer(a.clone(), 0), answer(a.clone(), 3), answer(b, 1), answer(a, 2)]);
        let shape: Vec<_> = topics
            .iter()
            .map(|topic| (topic.topic.as_str(), topic.partitions.iter().map(|one| one.partition_index).collect()))
            .collect();
        assert_eq!(shape, [("a", vec![0, 3]), ("", vec![1]), ("a", vec![2])]);
    }
}
