//! Incremental fetch sessions (KIP-227; topic ids by KIP-516): a client names its partitions once, then only what changes, and hears only of
//! partitions that changed.
//!
//! Pure: requests in, the partitions to read out; what was read in, the partitions worth sending out. One core owns its sessions; an id carries the
//! core's number, so the id of another core's session is not found here and the client starts over with a full fetch, as after an eviction.
//! Always true: a session's epoch moves when its request is accepted, so a repeated request is told from a new one; sessions and their
//! partitions are bounded. Knows nothing of logs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::limits::{FETCH_SESSION_PARTITIONS_PER_CORE_MAX, FETCH_SESSIONS_PER_CORE_MAX};
use crate::base::{Map, Mono, ShardId, TopicId};
use crate::protocol::Str;

/// No session: neither asked for nor granted.
pub const NO_SESSION: i32 = 0;
/// The epoch of a request that asks for a new session.
pub const EPOCH_INITIAL: i32 = 0;
/// The epoch of a request that wants no session, or closes the one it names.
pub const EPOCH_FINAL: i32 = -1;

/// A topic as the request named it: by name up to version 12, by id from version 13.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TopicKey {
    /// By name.
    Name(Str),
    /// By id.
    Id(TopicId),
}

/// A partition of a topic.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicKey,
    /// The partition's number.
    pub partition: i32,
}

/// What a client wants of one partition, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The first offset wanted.
    pub offset: i64,
    /// Bytes at most.
    pub max_bytes: i32,
    /// The leader epoch the client believes in; -1 when it does not say.
    pub current_leader_epoch: i32,
    /// The epoch of the last record the client has; -1 when it does not say.
    pub last_fetched_epoch: i32,
}

/// One request, as far as sessions care.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The session it belongs to.
    pub session_id: i32,
    /// The session's epoch as the client counts it.
    pub epoch: i32,
    /// Whether topics are named by id (version 13 on).
    pub by_topic_id: bool,
    /// Whether a replica asks. Its session gives way last.
    pub privileged: bool,
    /// Partitions added or changed; all of them when the fetch is full.
    pub partitions: Vec<(PartitionKey, Wanted)>,
    /// Partitions to leave out from now on.
    pub forgotten: Vec<PartitionKey>,
}

/// Why a request does not fit its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionFault {
    /// The session was never made, was closed, gave way to another, or lives on another core.
    #[error("no fetch session has this id")]
    NotFound,
    /// The request is repeated, lost its predecessor, or was overtaken.
    #[error("the fetch session is at another epoch")]
    WrongEpoch,
    /// The session names topics by id and the request by name, or the other way round.
    #[error("the fetch session names its topics in the other way")]
    TopicNaming,
}

/// A request that was accepted: what is to be read for it.
#[derive(Debug)]
pub struct Begun {
    kind: Kind,
    /// The partitions to read, in the order in which they are to be served.
    pub partitions: Vec<(PartitionKey, Wanted)>,
}

/// What was found in one partition, as far as sessions care.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Bytes of records to be sent.
    pub record_bytes: usize,
    /// The high watermark, -1 when unknown.
    pub high_watermark: i64,
    /// The log start offset, -1 when unknown.
    pub log_start: i64,
    /// The partition is answered with an error.
    pub error: bool,
    /// The answer names a diverging epoch or a preferred replica.
    pub notice: bool,
}

/// The sessions of one core.
#[derive(Debug)]
pub struct FetchSessions {
    shard: ShardId,
    sessions_max: usize,
    partitions_max: usize,
    sessions: Map<i32, Session>,
    partitions: usize,
}

impl FetchSessions {
    /// No sessions yet; at most `sessions_max`, within the bounds of `limits`.
    pub fn new(shard: ShardId, sessions_max: usize) -> Self {
        let sessions_max = sessions_max.min(FETCH_SESSIONS_PER_CORE_MAX);
        Self::with_bounds(shard, sessions_max, FETCH_SESSION_PARTITIONS_PER_CORE_MAX)
    }

    /// No sessions yet; at most `sessions_max` of them with `partitions_max` partitions together.
    pub fn with_bounds(shard: ShardId, sessions_max: usize, partitions_max: usize) -> Self {
        Self { shard, sessions_max, partitions_max, sessions: Map::default(), partitions: 0 }
    }

    /// Takes a request in: moves its session on, or says what is wrong with it.
    pub fn begin(&mut self, now: Mono, asked: Asked) -> Result<Begun, SessionFault> {
        if asked.epoch == EPOCH_INITIAL || asked.epoch == EPOCH_FINAL {
            return Ok(self.begin_full(asked));
        }
        let session = self.sessions.get_mut(&asked.session_id).ok_or(SessionFault::NotFound)?;
        if session.epoch != asked.epoch {
            return Err(SessionFault::WrongEpoch);
        }
        if session.by_topic_id != asked.by_topic_id {
            return Err(SessionFault::TopicNaming);
        }
        let before = session.partitions.len();
        session.partitions.update(&asked.partitions, &asked.forgotten);
        let after = session.partitions.len();
        self.partitions = self.partitions - before + after;
        if after == 0 {
            self.sessions.remove(&asked.session_id);
            return Ok(Begun { kind: Kind::Sessionless, partitions: asked.partitions });
        }
        if self.partitions > self.partitions_max && after > before {
            self.remove(asked.session_id);
            return Err(SessionFault::NotFound);
        }
        session.last_used = now;
        session.epoch = epoch_after(session.epoch);
        let partitions = session.partitions.in_order().map(|(key, cached)| (key.clone(), cached.wanted)).collect();
        Ok(Begun { kind: Kind::Incremental { id: asked.session_id, epoch: session.epoch }, partitions })
    }

    /// Takes what was found and leaves in `answers` what is to be sent. Gives the session id for the response.
    ///
    /// `random` is asked for ids of new sessions.
    pub fn finish<T>(
        &mut self,
        now: Mono,
        kind: Kind,
        answers: &mut Vec<(PartitionKey, Wanted, T)>,
        found: impl Fn(&T) -> Found,
        random: impl FnMut() -> u64,
    ) -> Result<i32, SessionFault> {
        match kind {
            Kind::Sessionless => Ok(NO_SESSION),
            Kind::Full { by_topic_id, privileged } => {
                let partitions = answers
                    .iter()
                    .map(|(key, wanted, value)| (key.clone(), Cached::new(*wanted, found(value))))
                    .collect::<Partitions>();
                Ok(self.create(now, by_topic_id, privileged, partitions, random))
            }
            Kind::Incremental { id, epoch } => {
                let session = self.sessions.get_mut(&id).ok_or(SessionFault::NotFound)?;
                if session.epoch != epoch {
                    return Err(SessionFault::WrongEpoch);
                }
                answers.retain(|(key, _, value)| session.partitions.note(key, found(value)));
                Ok(id)
            }
        }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn begin_full(&mut self, asked: Asked) -> Begun {
        if asked.session_id != NO_SESSION {
            self.remove(asked.session_id);
        }
        let kind = match asked.epoch {
            EPOCH_FINAL => Kind::Sessionless,
            _ => Kind::Full { by_topic_id: asked.by_topic_id, privileged: asked.privileged },
        };
        Begun { kind, partitions: without_repetitions(asked.partitions) }
    }

    fn create(
        &mut self,
        now: Mono,
        by_topic_id: bool,
        privileged: bool,
        partitions: Partitions,
        mut random: impl FnMut() -> u64,
    ) -> i32 {
        let size = partitions.len();
        let room = (self.sessions.len() < self.sessions_max && self.partitions + size <= self.partitions_max)
            || self.evict(now, privileged, size);
        if !room || self.partitions + size > self.partitions_max || self.sessions_max == 0 {
            return NO_SESSION;
        }
        let id = loop {
            let id = ((random() as u32) << SHARD_BITS & i32::MAX as u32 | u32::from(self.shard.0) & SHARD_MASK) as i32;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let epoch = epoch_after(EPOCH_INITIAL);
        let session = Session { by_topic_id, privileged, created: now, last_used: now, epoch, partitions };
        self.sessions.insert(id, session);
        self.partitions += size;
        id
    }

    /// Makes room for a session of `size` partitions, as Kafka does: first the one unused longest, if it is stale; otherwise the least valuable of
    /// those old enough, if it is not worth more than the new one. A replica's session is worth more, then a larger one.
    fn evict(&mut self, now: Mono, privileged: bool, size: usize) -> bool {
        let Some((stale, last_used)) =
            self.sessions.iter().map(|(id, session)| (*id, session.last_used)).min_by_key(|(id, used)| (*used, *id))
        else {
            return false;
        };
        if now.since(last_used) > EVICTION_AGE {
            self.remove(stale);
            return true;
        }
        let least = self
            .sessions
            .iter()
            .filter(|(_, session)| session.is_old() || (privileged && !session.privileged))
            .map(|(id, session)| (session.privileged, session.partitions.len(), *id))
            .min();
        match least {
            Some(least) if (privileged, size, NO_SESSION) >= least => {
                self.remove(least.2);
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }
}

impl Begun {
    /// Parts the partitions from what [`FetchSessions::finish`] wants back.
    pub fn into_parts(self) -> (Kind, Vec<(PartitionKey, Wanted)>) {
        (self.kind, self.partitions)
    }
}

/// How a fetch relates to sessions, between its beginning and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// No session now or later.
    Sessionless,
    /// A session is made of what is answered.
    Full {
        /// Whether topics are named by id.
        by_topic_id: bool,
        /// Whether a replica asks.
        privileged: bool,
    },
    /// Part of a session.
    Incremental {
        /// The session.
        id: i32,
        /// The epoch it must still have when the answer is made.
        epoch: i32,
    },
}

#[derive(Debug)]
struct Session {
    by_topic_id: bool,
    privileged: bool,
    created: Mono,
    last_used: Mono,
    /// The epoch that the next request must carry.
    epoch: i32,
    partitions: Partitions,
}

impl Session {
    /// Whether others may push it out, judged when it was last used, as Kafka does.
    fn is_old(&self) -> bool {
        self.last_used.since(self.created) > EVICTION_AGE
    }
}

/// One partition in a session: what is wanted, and what the client was last told.
#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start: i64,
}

impl Cached {
    fn new(wanted: Wanted, found: Found) -> Self {
        Self { wanted, high_watermark: found.high_watermark, log_start: found.log_start }
    }

    fn unheard(wanted: Wanted) -> Self {
        Self { wanted, high_watermark: -1, log_start: -1 }
    }

    /// Whether the client must hear of this. Remembers what it is told; after an error the next answer without one is always sent.
    fn note(&mut self, found: Found) -> bool {
        let changed = found.high_watermark != self.high_watermark || found.log_start != self.log_start;
        self.high_watermark = if found.error { -1 } else { found.high_watermark };
        self.log_start = found.log_start;
        changed || found.record_bytes > 0 || found.error || found.notice
    }
}

/// Partitions in the order in which they are served. One that got records goes to the end, so that none starves.
#[derive(Debug, Default)]
struct Partitions {
    places: Map<PartitionKey, u64>,
    order: BTreeMap<u64, (PartitionKey, Cached)>,
    next: u64,
}

impl Partitions {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn in_order(&self) -> impl Iterator<Item = (&PartitionKey, &Cached)> {
        self.order.values().map(|(key, cached)| (key, cached))
    }

    fn update(&mut self, changed: &[(PartitionKey, Wanted)], forgotten: &[PartitionKey]) {
        for (key, wanted) in changed {
            match self.places.get(key) {
                Some(place) => self.order.get_mut(place).expect("each place is filled").1.wanted = *wanted,
                None => self.push(key.clone(), Cached::unheard(*wanted)),
            }
        }
        for key in forgotten {
            if let Some(place) = self.places.remove(key) {
                self.order.remove(&place);
            }
        }
    }

    /// Whether the client must hear of this. A partition that was forgotten meanwhile is not sent.
    fn note(&mut self, key: &PartitionKey, found: Found) -> bool {
        let Some(place) = self.places.get_mut(key) else {
            return false;
        };
        let (_, cached) = self.order.get_mut(place).expect("each place is filled");
        let send = cached.note(found);
        if found.record_bytes > 0 {
            let entry = self.order.remove(place).expect("each place is filled");
            *place = self.next;
            self.order.insert(self.next, entry);
            self.next += 1;
        }
        send
    }

    fn push(&mut self, key: PartitionKey, cached: Cached) {
        self.places.insert(key.clone(), self.next);
        self.order.insert(self.next, (key, cached));
        self.next += 1;
    }
}

impl FromIterator<(PartitionKey, Cached)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (PartitionKey, Cached)>>(partitions: I) -> Self {
        let mut all = Self::default();
        for (key, cached) in partitions {
            if !all.places.contains_key(&key) {
                all.push(key, cached);
            }
        }
        all
    }
}

/// A partition named twice keeps its first place and its last wish, as in Kafka's map.
fn without_repetitions(mut partitions: Vec<(PartitionKey, Wanted)>) -> Vec<(PartitionKey, Wanted)> {
    if partitions.len() < 2 {
        return partitions;
    }
    let mut places: Map<PartitionKey, usize> = Map::default();
    let mut kept = 0;
    for at in 0..partitions.len() {
        match places.get(&partitions[at].0) {
            Some(place) => partitions[*place].1 = partitions[at].1,
            None => {
                places.insert(partitions[at].0.clone(), kept);
                partitions.swap(kept, at);
                kept += 1;
            }
        }
    }
    partitions.truncate(kept);
    partitions
}

/// Epochs count from 1 and wrap to 1, because 0 and -1 have meanings of their own.
fn epoch_after(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        ..0 => EPOCH_FINAL,
        _ => epoch + 1,
    }
}

/// A session unused for longer is stale; one younger than this is not pushed out by equals (Kafka's own number).
const EVICTION_AGE: Duration = Duration::from_secs(120);
/// Low bits of a session id that hold the core's number.
const SHARD_BITS: u32 = 9;
const SHARD_MASK: u32 = (1 << SHARD_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, partition: i32) -> PartitionKey {
        PartitionKey { topic: TopicKey::Name(name.into()), partition }
    }

    fn wanted(offset: i64) -> Wanted {
        Wanted { offset, max_bytes: 1 << 20, current_leader_epoch: -1, last_fetched_epoch: -1 }
    }

    fn asked(session_id: i32, epoch: i32, partitions: &[(&str, i32, i64)]) -> Asked {
        Asked {
            session_id,
            epoch,
            by_topic_id: false,
            privileged: false,
            partitions: partitions.iter().map(|(name, number, offset)| (key(name, *number), wanted(*offset))).collect(),
            forgotten: Vec::new(),
        }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    fn quiet(high_watermark: i64) -> Found {
        Found { high_watermark, ..Found::default() }
    }

    fn data(high_watermark: i64) -> Found {
        Found { record_bytes: 10, high_watermark, ..Found::default() }
    }

    /// Runs one request to its end; `found` says what is in a partition. Gives the session id and the partitions sent.
    fn fetch(
        sessions: &mut FetchSessions,
        now: Mono,
        asked: Asked,
        found: impl Fn(&PartitionKey) -> Found,
    ) -> Result<(i32, Vec<PartitionKey>), SessionFault> {
        let (kind, partitions) = sessions.begin(now, asked)?.into_parts();
        let mut answers: Vec<_> =
            partitions.into_iter().map(|(key, wanted)| (key.clone(), wanted, found(&key))).collect();
        let mut next = now.0 / 1_000_000;
        let id = sessions.finish(
            now,
            kind,
            &mut answers,
            |found| *found,
            || {
                next += 1;
                next
            },
        )?;
        Ok((id, answers.into_iter().map(|(key, ..)| key).collect()))
    }

    #[test]
    fn a_full_fetch_makes_a_session_and_increments_send_only_changes() {
        let mut sessions = FetchSessions::new(ShardId(3), FETCH_SESSIONS_PER_CORE_MAX);
        let all = asked(0, 0, &[("a", 0, 0), ("a", 1, 0), ("b", 0, 0)]);
        let (id, sent) = fetch(&mut sessions, at(1), all, |_| quiet(5)).unwrap();
        assert!(id != NO_SESSION && id as u32 & SHARD_MASK == 3);
        assert_eq!(sent.len(), 3);
        let (_, sent) = fetch(&mut sessions, at(2), asked(id, 1, &[]), |_| quiet(5)).unwrap();
        assert_eq!(sent, []);
        let (_, sent) = fetch(&mut sessions, at(3), asked(id, 2, &[]), |k| quiet(5 + i64::from(k.partition))).unwrap();
        assert_eq!(sent, [key("a", 1)]);
        let moved = Found { log_start: 2, ..quiet(5) };
        let hear =
            |k: &PartitionKey| if k.topic == key("b", 0).topic { moved } else { quiet(5 + i64::from(k.partition)) };
        let (_, sent) = fetch(&mut sessions, at(4), asked(id, 3, &[]), hear).unwrap();
        assert_eq!(sent, [key("b", 0)]);
    }

    #[test]
    fn an_error_is_reported_again_and_its_end_is_reported_too() {
        let mut sessions = FetchSessions::new(ShardId(0), FETCH_SESSIONS_PER_CORE_MAX);
        let unknown = Found { high_watermark: -1, log_start: -1, error: true, ..Found::default() };
        let (id, sent) = fetch(&mut sessions, at(1), asked(0, 0, &[("gone", 0, 0)]), |_| unknown).unwrap();
        assert_eq!(sent.len(), 1);
        for epoch in 1..4 {
            let (_, sent) = fetch(&mut sessions, at(1), asked(id, epoch, &[]), |_| unknown).unwrap();
            assert_eq!(sent, [key("gone", 0)]);
        }
        let (_, sent) = fetch(&mut sessions, at(1), asked(id, 4, &[]), |_| quiet(0)).unwrap();
        assert_eq!(sent, [key("gone", 0)]);
        let (_, sent) = fetch(&mut sessions, at(1), asked(id, 5, &[]), |_| quiet(0)).unwrap();
        assert_eq!(sent, []);
    }

    #[test]
    fn wrong_epochs_and_unknown_ids_have_their_own_faults() {
        let mut sessions = FetchSessions::new(ShardId(0), FETCH_SESSIONS_PER_CORE_MAX);
        let (id, _) = fetch(&mut sessions, at(1), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap();
        assert_eq!(sessions.begin(at(1), asked(id, 2, &[])).unwrap_err(), SessionFault::WrongEpoch);
        assert_eq!(sessions.begin(at(1), asked(id + 512, 1, &[])).unwrap_err(), SessionFault::NotFound);
        let by_id = Asked { by_topic_id: true, ..asked(id, 1, &[]) };
        assert_eq!(sessions.begin(at(1), by_id).unwrap_err(), SessionFault::TopicNaming);
        fetch(&mut sessions, at(1), asked(id, 1, &[]), |_| quiet(0)).unwrap();
        assert_eq!(sessions.begin(at(1), asked(id, 1, &[])).unwrap_err(), SessionFault::WrongEpoch);
    }

    #[test]
    fn a_repeated_request_makes_the_first_ones_answer_void() {
        let mut sessions = FetchSessions::new(ShardId(0), FETCH_SESSIONS_PER_CORE_MAX);
        let (id, _) = fetch(&mut sessions, at(1), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap();
        let (kind, _) = sessions.begin(at(1), asked(id, 1, &[])).unwrap().into_parts();
        sessions.begin(at(1), asked(id, 2, &[])).unwrap();
        let mut answers: Vec<(PartitionKey, Wanted, Found)> = Vec::new();
        let finished = sessions.finish(at(1), kind, &mut answers, |found| *found, || 0);
        assert_eq!(finished, Err(SessionFault::WrongEpoch));
    }

    #[test]
    fn a_session_closes_by_the_final_epoch_or_when_its_last_partition_is_forgotten() {
        let mut sessions = FetchSessions::new(ShardId(0), FETCH_SESSIONS_PER_CORE_MAX);
        let (id, _) = fetch(&mut sessions, at(1), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap();
        assert_eq!(fetch(&mut sessions, at(1), asked(id, EPOCH_FINAL, &[]), |_| quiet(0)).unwrap().0, NO_SESSION);
        assert_eq!(sessions.begin(at(1), asked(id, 1, &[])).unwrap_err(), SessionFault::NotFound);
        let (id, _) = fetch(&mut sessions, at(1), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap();
        let forget = Asked { forgotten: vec![key("a", 0)], ..asked(id, 1, &[]) };
        assert_eq!(fetch(&mut sessions, at(1), forget, |_| quiet(0)).unwrap(), (NO_SESSION, vec![]));
        assert!(sessions.is_empty() && sessions.partitions == 0);
    }

    #[test]
    fn a_partition_with_records_goes_to_the_end() {
        let mut sessions = FetchSessions::new(ShardId(0), FETCH_SESSIONS_PER_CORE_MAX);
        let all = asked(0, 0, &[("a", 0, 0), ("a", 1, 0), ("a", 2, 0)]);
        let (id, _) = fetch(&mut sessions, at(1), all, |_| quiet(9)).unwrap();
        let hear = |k: &PartitionKey| if k.partition == 0 { data(9) } else { quiet(9) };
        fetch(&mut sessions, at(1), asked(id, 1, &[]), hear).unwrap();
        let change = asked(id, 2, &[("a", 2, 7), ("a", 3, 0)]);
        let order: Vec<_> = sessions.begin(at(1), change).unwrap().partitions;
        let order: Vec<_> = order.iter().map(|(key, wanted)| (key.partition, wanted.offset)).collect();
        assert_eq!(order, [(1, 0), (2, 7), (0, 0), (3, 0)]);
    }

    #[test]
    fn the_last_wish_for_a_partition_counts() {
        let mut sessions = FetchSessions::new(ShardId(0), FETCH_SESSIONS_PER_CORE_MAX);
        let twice = asked(0, 0, &[("a", 0, 1), ("b", 0, 2), ("a", 0, 3), ("c", 0, 4)]);
        let begun = sessions.begin(at(1), twice).unwrap();
        let order: Vec<_> = begun.partitions.iter().map(|(_, wanted)| wanted.offset).collect();
        assert_eq!(order, [3, 2, 4]);
    }

    #[test]
    fn a_full_cache_keeps_young_sessions_and_gives_up_stale_and_smaller_old_ones() {
        let mut sessions = FetchSessions::with_bounds(ShardId(0), 2, 100);
        let (one, _) = fetch(&mut sessions, at(0), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap();
        let (two, _) = fetch(&mut sessions, at(0), asked(0, 0, &[("a", 0, 0), ("a", 1, 0)]), |_| quiet(0)).unwrap();
        let many = || asked(0, 0, &[("a", 0, 0), ("a", 1, 0), ("a", 2, 0)]);
        assert_eq!(fetch(&mut sessions, at(1), many(), |_| quiet(0)).unwrap().0, NO_SESSION);
        // Both are used after two minutes of life, so both may be pushed out; the smaller goes first.
        fetch(&mut sessions, at(121), asked(one, 1, &[]), |_| quiet(0)).unwrap();
        fetch(&mut sessions, at(121), asked(two, 1, &[]), |_| quiet(0)).unwrap();
        let (three, _) = fetch(&mut sessions, at(122), many(), |_| quiet(0)).unwrap();
        assert_ne!(three, NO_SESSION);
        assert!(!sessions.sessions.contains_key(&one) && sessions.sessions.contains_key(&two));
        // A smaller newcomer is worth less than the old session that is left.
        assert_eq!(fetch(&mut sessions, at(123), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap().0, NO_SESSION);
        // Long after, the one unused longest goes whatever its size.
        let (four, _) = fetch(&mut sessions, at(300), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap();
        assert_ne!(four, NO_SESSION);
        assert!(!sessions.sessions.contains_key(&two));
    }

    #[test]
    fn the_bound_on_partitions_holds_for_new_and_growing_sessions() {
        let mut sessions = FetchSessions::with_bounds(ShardId(0), 10, 2);
        assert_eq!(
            fetch(&mut sessions, at(0), asked(0, 0, &[("a", 0, 0), ("a", 1, 0), ("a", 2, 0)]), |_| quiet(0)).unwrap().0,
            NO_SESSION
        );
        let (id, _) = fetch(&mut sessions, at(0), asked(0, 0, &[("a", 0, 0)]), |_| quiet(0)).unwrap();
        let more = asked(id, 1, &[("b", 0, 0), ("c", 0, 0)]);
        assert_eq!(sessions.begin(at(0), more).unwrap_err(), SessionFault::NotFound);
        assert!(sessions.is_empty() && sessions.partitions == 0);
    }

    #[test]
    fn epochs_wrap_to_one() {
        assert_eq!([epoch_after(0), epoch_after(1), epoch_after(i32::MAX), epoch_after(-1)], [1, 2, 1, -1]);
    }
}
