//! Produce (key 0): each batch is checked on this core, given its place in its log in request order, and answered once it is on disk.
//!
//! Always true: when [`handle`] returns, every batch of the request has its place, however long the check of a compressed one took; the connection
//! hands the next request over only then. So the batches of one connection reach a partition in the order in which they were sent.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Broker;
use super::authorize::{Operation, Resource, allowed};
use super::context::{RequestContext, Stage};
use super::dispatch::{Answer, Handled, Held, respond, undecodable};
use super::errors::Refusal;
use super::fetch_session::TopicKey;
use super::recode::{self, Recoding};
use super::throttle::throttle_ms;
use super::topic_key;
use crate::base::limits::{PRODUCE_BATCHES_MAX, RECORD_FAULTS_MAX, YIELD_BYTES};
use crate::base::{LogId, Map, PartitionIndex, Timestamp, TopicId};
use crate::cluster::{Image, Topic, TopicSettings, is_internal};
use crate::partition::AppendRules;
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use crate::protocol::produce_walk::{ProduceWalk, Step, TopicRef};
use crate::protocol::{DecodeError, ErrorCode, Reader, Str};
use crate::record::{BatchLimits, CheckedBatch, Codec, Progress, RawBatch, Scratch, TimestampType};
use crate::shard::{Answers, Appended, ProduceBatch};

/// Takes a Produce request in. Gives the answer, or a future of it when batches are on their way to the disk.
pub async fn handle(broker: Rc<Broker>, context: RequestContext, body: Bytes) -> Handled {
    let image = broker.shard.image();
    let read = ProduceWalk::new(Reader::new(&body), context.version).and_then(|walk| {
        let (acks, refused) = (walk.acks, refused_as_a_whole(&context, &walk));
        Ok((acks, refused, Plan::read(&context, &image, walk)?))
    });
    let (acks, refused, mut plan) = match read {
        Ok(read) => read,
        Err(fault) => return undecodable(&context, fault).into(),
    };
    drop(body);
    context.stamps.mark(Stage::Decoded, broker.shard.io().now());
    let (batches, recoded) = plan.check(&broker, &context, acks, refused).await;
    context.stamps.mark(Stage::Routed, broker.shard.io().now());
    if batches.is_empty() {
        return plan.answer(&broker, &context, acks).into();
    }
    if context.is_small() {
        broker.shard.small_batches_came(context.request_bytes);
    }
    let ticket = broker.shard.produce(context.peer, batches);
    Handled::Later(Box::pin(async move {
        let appended = ticket.await;
        drop(recoded);
        context.stamps.mark(Stage::Durable, broker.shard.io().now());
        settle(&mut plan.slots, appended);
        let answer = plan.answer(&broker, &context, acks);
        if let Answer::Close(_) = answer {
            broker.counter.closed(context.api);
        }
        answer
    }))
}

/// What becomes of each partition of a request.
struct Plan {
    topics: Vec<Asked>,
    slots: Vec<Slot>,
}

/// A topic as it was named, and what it is.
struct Asked {
    name: Str,
    id: TopicId,
    found: Result<Arc<Topic>, ErrorCode>,
}

struct Slot {
    /// Its topic's place in `topics`.
    topic: usize,
    index: i32,
    outcome: Outcome,
}

enum Outcome {
    /// Not looked at yet. None: null on the wire.
    Asked(Option<Bytes>),
    /// On its way; answers come in the order of the slots.
    Waiting,
    Appended(Appended),
    Refused(Refusal),
}

type Batches = SmallVec<[ProduceBatch; 4]>;

/// What is wrong with the request whatever its batches are.
fn refused_as_a_whole(context: &RequestContext, walk: &ProduceWalk<'_>) -> Option<Refusal> {
    if let Some(id) = walk.transactional_id.as_deref() {
        if !allowed(context, Operation::Write, Resource::TransactionalId(id)) {
            return Some(ErrorCode::TransactionalIdAuthorizationFailed.into());
        }
        return Some(no_transactions());
    }
    if !matches!(walk.acks, -1..=1) {
        return Some(ErrorCode::InvalidRequiredAcks.into());
    }
    None
}

/// Java's producer takes this code as final for a transaction and reports it as what it is: not supported here.
fn no_transactions() -> Refusal {
    Refusal::new(ErrorCode::UnsupportedVersion, "Transactions are not served by this version.")
}

/// A topic as a request names it, if this client may write to it.
fn topic(context: &RequestContext, image: &Image, name: TopicRef<'_>) -> Asked {
    let (found, name, id) = match name {
        TopicRef::Name(name) => {
            (image.topic(&name).ok_or(ErrorCode::UnknownTopicOrPartition), Str::from(name), TopicId::ZERO)
        }
        TopicRef::Id(id) => (image.topic_by_id(&id).ok_or(ErrorCode::UnknownTopicId), Str::default(), id),
    };
    let known = found.map_or(name.as_str(), |topic| &topic.name);
    let found = if !known.is_empty() && !allowed(context, Operation::Write, Resource::Topic(known)) {
        Err(ErrorCode::TopicAuthorizationFailed)
    } else if is_internal(known) {
        Err(ErrorCode::InvalidTopicException)
    } else {
        found.cloned()
    };
    Asked { name, id, found }
}

/// The log of a partition, if it may be written to with these acks.
fn log(broker: &Broker, topic: &Topic, index: i32, acks: i16, settings: &TopicSettings) -> Result<LogId, ErrorCode> {
    let partition = topic.partition(PartitionIndex(index)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if partition.leader != broker.options.node_id {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    if acks == ACKS_ALL && usize::try_from(settings.min_insync_replicas).is_ok_and(|min| min > partition.in_sync.len())
    {
        return Err(ErrorCode::NotEnoughReplicas);
    }
    Ok(partition.log_id)
}

fn limits(settings: &TopicSettings, version: i16) -> BatchLimits {
    BatchLimits {
        max_bytes: usize::try_from(settings.max_message_bytes).unwrap_or(0),
        compacted: false,
        timestamp_type: settings.timestamp_type,
        timestamp_before_max_ms: settings.timestamp_before_max_ms,
        timestamp_after_max_ms: settings.timestamp_after_max_ms,
        zstd_allowed: version >= ZSTD_FROM,
    }
}

/// Checks batches one after the other and gives way to other tasks every `YIELD_BYTES`.
struct Walk<'a> {
    broker: &'a Broker,
    scratch: &'a mut Scratch,
    since_yield: &'a mut usize,
}

impl Walk<'_> {
    async fn check(self, batch: RawBatch, limits: &BatchLimits, now: Timestamp) -> Result<CheckedBatch, Refusal> {
        *self.since_yield += batch.0.len();
        if *self.since_yield > YIELD_BYTES {
            *self.since_yield = 0;
            self.broker.shard.io().yield_now().await;
        }
        let mut checker = batch.checker(limits, now, self.scratch)?;
        let batch = loop {
            match checker.step(YIELD_BYTES)? {
                Progress::Done(batch) => break batch,
                Progress::More => self.broker.shard.io().yield_now().await,
            }
        };
        if batch.info.transactional { Err(no_transactions()) } else { Ok(batch) }
    }
}

impl Plan {
    /// One slot per partition. A partition named again takes the later records in its first place, as in Kafka. Nothing is looked at before the
    /// last byte of the request was understood.
    fn read(context: &RequestContext, image: &Image, walk: ProduceWalk<'_>) -> Result<Self, DecodeError> {
        let mut plan = Self { topics: Vec::new(), slots: Vec::new() };
        let several = walk.topics > 1;
        let mut places: Map<TopicKey, usize> = Map::default();
        let mut place = 0;
        for step in walk {
            match step? {
                Step::Topic { topic: name, .. } => {
                    let asked = topic(context, image, name);
                    let next = plan.topics.len();
                    place = match several {
                        true => *places
                            .entry(topic_key(context.version >= BY_ID_FROM, asked.name.clone(), asked.id))
                            .or_insert(next),
                        false => next,
                    };
                    if place == next {
                        plan.topics.push(asked);
                    }
                }
                Step::Partition { index, records } => {
                    plan.slots.push(Slot { topic: place, index, outcome: Outcome::Asked(records) });
                }
            }
        }
        if plan.slots.len() > 1 {
            plan.drop_repetitions();
        }
        Ok(plan)
    }

    fn drop_repetitions(&mut self) {
        let mut places: Map<(usize, i32), usize> = Map::default();
        let mut kept: Vec<Slot> = Vec::with_capacity(self.slots.len());
        for slot in self.slots.drain(..) {
            match *places.entry((slot.topic, slot.index)).or_insert(kept.len()) {
                at if at == kept.len() => kept.push(slot),
                at => kept[at] = slot,
            }
        }
        self.slots = kept;
    }

    /// Checks every batch. Gives what may be appended, in the order of the slots that wait for it, and the memory that was taken for it.
    async fn check(
        &mut self,
        broker: &Broker,
        context: &RequestContext,
        acks: i16,
        refused: Option<Refusal>,
    ) -> (Batches, Option<Held>) {
        let mut batches = Batches::new();
        let now = broker.shard.io().wall_clock();
        // Allocates nothing: what is neither compressed nor to be compressed needs none.
        let mut no_scratch = Scratch::default();
        let mut scratch = None;
        let mut recoding = Recoding::default();
        let mut since_yield = 0;
        let mut named_records = 0;
        for place in 0..self.slots.len() {
            let slot = &mut self.slots[place];
            let Outcome::Asked(records) = std::mem::replace(&mut slot.outcome, Outcome::Asked(None)) else {
                unreachable!("slots are looked at once")
            };
            let topic = &self.topics[slot.topic].found;
            let target = || -> Result<_, Refusal> {
                if let Some(refusal) = &refused {
                    return Err(refusal.clone());
                }
                if place >= PRODUCE_BATCHES_MAX {
                    return Err(Refusal::new(ErrorCode::InvalidRequest, "The request has too many partitions."));
                }
                let topic = topic.as_ref().map_err(|code| *code)?;
                let settings = topic.settings(&broker.options.topic_defaults);
                Ok((log(broker, topic, slot.index, acks, &settings)?, settings))
            };
            let checked = match target() {
                Ok((log, settings)) => {
                    let limits = limits(&settings, context.version);
                    let rules =
                        AppendRules { log_append_time: settings.timestamp_type == TimestampType::LogAppendTime };
                    let fold = recode::fold(&settings);
                    // Kafka never answers null records. Nothing to append is what an empty batch is refused for.
                    let batch = RawBatch(records.unwrap_or_default());
                    let folds = fold.is_some_and(|fold| fold.codec != Codec::None);
                    if scratch.is_none() && (batch.is_compressed() || folds) {
                        scratch = Some(broker.shard.scratch().await);
                    }
                    let lent = scratch.as_deref_mut().unwrap_or(&mut no_scratch);
                    let walk = Walk { broker, scratch: lent, since_yield: &mut since_yield };
                    let batch = match (walk.check(batch, &limits, now).await, fold) {
                        (Ok(batch), Some(fold)) if fold.codec != batch.info.codec => {
                            if !recoding.has_room(&batch, fold, limits.max_bytes) {
                                // Who waits holds nothing that others wait for.
                                drop(scratch.take());
                                hand_over(broker, context, &mut self.slots, std::mem::take(&mut batches)).await;
                                recoding = Recoding::default();
                            }
                            if !recoding.has_share() {
                                drop(scratch.take());
                                recoding.take_share(broker).await;
                            }
                            if scratch.is_none() {
                                scratch = Some(broker.shard.scratch().await);
                            }
                            let lent = scratch.as_deref_mut().unwrap_or(&mut no_scratch);
                            recoding.recode(broker, batch, fold, limits.max_bytes, lent).await
                        }
                        (checked, _) => checked,
                    };
                    batch.map(|batch| ProduceBatch { log, batch, rules })
                }
                Err(refusal) => Err(refusal),
            };
            self.slots[place].outcome = match checked {
                Ok(batch) => {
                    batches.push(batch);
                    Outcome::Waiting
                }
                Err(mut refusal) => {
                    refusal.records.truncate(RECORD_FAULTS_MAX - named_records);
                    refusal.records.shrink_to_fit();
                    named_records += refusal.records.len();
                    Outcome::Refused(refusal)
                }
            };
        }
        (batches, recoding.held())
    }

    fn answer(self, broker: &Broker, context: &RequestContext, acks: i16) -> Answer {
        if acks == ACKS_NONE {
            let failed = self.slots.iter().find_map(|slot| match &slot.outcome {
                Outcome::Refused(refusal) => Some((slot, refusal)),
                _ => None,
            });
            return match failed {
                None => Answer::Silent,
                Some((slot, refusal)) => Answer::Close(format!(
                    "acks=0 for {}-{}: {}{}",
                    self.topics[slot.topic].name,
                    slot.index,
                    refusal.code,
                    refusal.message.as_deref().map(|message| format!(", {message}")).unwrap_or_default()
                )),
            };
        }
        let mut responses: Vec<_> = self
            .topics
            .into_iter()
            .map(|topic| TopicProduceResponse { name: topic.name, topic_id: topic.id, partition_responses: Vec::new() })
            .collect();
        for slot in self.slots {
            responses[slot.topic].partition_responses.push(partition(slot));
        }
        let throttle_time_ms = throttle_ms(context, context.request_bytes);
        let response = ProduceResponse { responses, throttle_time_ms, ..Default::default() };
        respond(broker, context, context.version, &response)
    }
}

/// Has batches appended and waits until they are on disk: a request whose recompressed batches are too many to be held together.
async fn hand_over(broker: &Broker, context: &RequestContext, slots: &mut [Slot], batches: Batches) {
    let appended = broker.shard.produce(context.peer, batches).await;
    settle(slots, appended);
}

/// Gives the slots that wait what became of their batches, in their order.
fn settle(slots: &mut [Slot], appended: Answers) {
    let waiting = slots.iter_mut().filter(|slot| matches!(slot.outcome, Outcome::Waiting));
    for (slot, appended) in waiting.zip(appended) {
        slot.outcome = appended.map_or_else(|error| Outcome::Refused(error.into()), Outcome::Appended);
    }
}

fn partition(slot: Slot) -> PartitionProduceResponse {
    match slot.outcome {
        Outcome::Appended(appended) => PartitionProduceResponse {
            index: slot.index,
            error_code: ErrorCode::None.code(),
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time.unwrap_or(Timestamp::NONE).0,
            log_start_offset: appended.log_start.0,
            ..Default::default()
        },
        Outcome::Refused(refusal) => PartitionProduceResponse {
            index: slot.index,
            error_code: refusal.code.code(),
            base_offset: -1,
            record_errors: refusal
                .records
                .into_iter()
                .map(|fault| BatchIndexAndErrorMessage {
                    batch_index: fault.index,
                    batch_index_error_message: Some(fault.kind.to_string().into()),
                })
                .collect(),
            error_message: refusal.message.map(Str::from),
            ..Default::default()
        },
        Outcome::Asked(_) | Outcome::Waiting => unreachable!("every slot has its outcome when it is answered"),
    }
}

/// The client wants no answer.
const ACKS_NONE: i16 = 0;
/// The client waits for all in-sync replicas.
const ACKS_ALL: i16 = -1;
/// The first version that names topics by id.
const BY_ID_FROM: i16 = 13;
/// The first version whose batches may use zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
