//! A coordinator with a log that becomes durable when the test says so, a clock, and clients that keep their answers.

mod admin;
mod bounds;
mod consumers;
mod consumers_beside;
mod consumers_walk;
mod expiry;
mod join;
mod kafka;
mod kafka_consumers;
mod line;
mod load;
mod membership;
mod offsets;
mod rebalance;
mod statics;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::group::State;
use super::records::{GroupMetadataKey, GroupMetadataValue, Replay, decode};
use super::timers::Timer;
use super::*;
use crate::base::{LeaderEpoch, Mono, Offset, PartitionIndex, Timestamp, TopicId};
use crate::protocol::Str;

/// The wall clock when a test begins.
const BEGIN: i64 = 1_700_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

struct World {
    options: Options,
    coordinator: Coordinator,
    now: Now,
    /// Records that are durable.
    log: Vec<CoordinatorRecord>,
    under_way: VecDeque<Append>,
    /// Whether the log is slow: appends wait for `commit`.
    slow: bool,
    given: u64,
    topics: TestTopics,
    answers: BTreeMap<Token, Reply>,
}

impl World {
    fn new() -> Self {
        // Tests that do not ask for it need no patience with the first rebalance.
        Self::with(Options { group_initial_rebalance_delay: Duration::ZERO, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let now = Now { mono: Mono(0), wall: Timestamp(BEGIN) };
        Self {
            coordinator: Loading::new(options.clone()).loaded(now),
            options,
            now,
            log: Vec::new(),
            under_way: VecDeque::new(),
            slow: false,
            given: 0,
            topics: TestTopics::default(),
            answers: BTreeMap::new(),
        }
    }

    /// Gives a command, and what its expressions stand for. The answer may be there afterwards.
    fn ask(&mut self, mut command: Command) -> Token {
        if let Some((group, due)) = self.coordinator.due(&command, self.topics.version(), self.now.mono) {
            for regex in due {
                let found = self.hold_against_topics(regex);
                self.coordinator.refreshed(&group, &found, self.now.mono);
            }
        }
        while let Some(regex) = self.coordinator.unresolved(&command) {
            let found = self.hold_against_topics(regex);
            if let Command::ConsumerHeartbeat(heartbeat) = &mut command {
                self.coordinator.refreshed(&heartbeat.group, &found, self.now.mono);
                heartbeat.resolved.push(found);
            }
        }
        self.ask_as_it_is(command)
    }

    fn hold_against_topics(&self, regex: Str) -> Resolved {
        let topics = TopicRegex::new(&regex).map(|regex| {
            let names = self.topics.topics.keys().filter(|name| regex.fits(name));
            let mut names: Vec<Str> = names.map(Str::from).collect();
            names.sort_unstable();
            names
        });
        Resolved { regex, version: self.topics.version(), topics }
    }

    fn ask_as_it_is(&mut self, mut command: Command) -> Token {
        self.given += 1;
        let token = Token(self.given);
        if let Command::JoinGroup(join) = &mut command {
            join.member_uuid[8..].copy_from_slice(&self.given.to_be_bytes());
        }
        let effects = self.coordinator.handle(token, command, &self.topics, self.now);
        self.absorb(effects);
        token
    }

    fn absorb(&mut self, effects: Effects) {
        self.deliver(effects.answers);
        self.under_way.extend(effects.appends);
        if !self.slow {
            while self.commit() {}
        }
        self.coordinator.groups.values().for_each(group::Group::check);
        self.coordinator.consumers.values().for_each(consumer::ConsumerGroup::check);
        assert!(self.coordinator.groups.keys().all(|id| !self.coordinator.consumers.contains_key(id)));
        for timer in self.coordinator.timers.iter() {
            let needed = match timer {
                Timer::Session { group, .. } | Timer::Revocation { group, .. }
                    if self.coordinator.consumers.contains_key(group) =>
                {
                    self.coordinator.consumers[group].needs(timer)
                }
                Timer::Revocation { .. } => false,
                Timer::Session { group, member } => {
                    let group = &self.coordinator.groups[group];
                    group.member(member).is_some() || group.is_pending(member)
                }
                Timer::Join { group } => self.state(group) == State::PreparingRebalance,
                Timer::Sync { group } => !self.coordinator.groups[group].pending_sync.is_empty(),
                Timer::Expiry | Timer::DeletedTopics => true,
            };
            assert!(needed, "nobody needs {timer:?}");
        }
        let bytes: usize = self.coordinator.groups.values().map(group::Group::bytes).sum();
        let consumers = self.coordinator.consumers.values().map(consumer::ConsumerGroup::bytes);
        let bytes = bytes + consumers.sum::<usize>();
        assert_eq!(self.coordinator.group_bytes, bytes);
    }

    fn deliver(&mut self, answers: Vec<Answer>) {
        for Answer { token, reply } in answers {
            assert!(token.0 <= self.given, "{token:?} was never given");
            if let Some(before) = self.answers.insert(token, reply.clone()) {
                panic!("{token:?} is answered twice: {before:?}, {reply:?}");
            }
        }
    }

    /// The oldest append becomes durable.
    fn commit(&mut self) -> bool {
        let Some(append) = self.under_way.pop_front() else { return false };
        assert!(!append.records.is_empty());
        let answers = self.coordinator.committed(append.id);
        self.log.extend(append.records);
        self.deliver(answers);
        true
    }

    /// Time passes, and everything that falls due happens when it is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        let mut steps = 0;
        while let Some(at) = self.coordinator.next_deadline().filter(|at| *at <= end) {
            self.at(at.max(self.now.mono));
            let effects = self.coordinator.tick(&self.topics, self.now);
            self.absorb(effects);
            steps += 1;
            assert!(steps < 10_000, "timers fall due for ever");
        }
        self.at(end);
    }

    /// Topics are gone, and all that follows has happened.
    fn topics_deleted(&mut self, topics: &[(Str, TopicId)]) {
        self.coordinator.topics_deleted(topics, self.now);
        self.pass(Duration::ZERO);
    }

    fn at(&mut self, mono: Mono) {
        let passed = mono.since(self.now.mono).as_nanos() + u128::from(self.now.mono.0 % 1_000_000);
        self.now = Now { mono, wall: Timestamp(self.now.wall.0 + i64::try_from(passed / 1_000_000).unwrap()) };
    }

    /// The broker starts anew with what is durable.
    fn restart(&mut self) {
        self.under_way.clear();
        self.coordinator = self.replayed();
    }

    fn replayed(&self) -> Coordinator {
        let mut loading = Loading::new(self.options.clone());
        for record in &self.log {
            loading.replay(&record.key, record.value.as_ref(), self.now).expect("our own record");
        }
        loading.loaded(self.now)
    }

    fn answer(&self, token: Token) -> &Reply {
        self.answers.get(&token).unwrap_or_else(|| panic!("{token:?} waits"))
    }

    fn waits(&self, token: Token) -> bool {
        !self.answers.contains_key(&token)
    }

    fn join(&mut self, join: JoinGroup) -> Token {
        self.ask(Command::JoinGroup(join))
    }

    fn joined(&self, token: Token) -> JoinedGroup {
        match self.answer(token) {
            Reply::JoinGroup(Ok(joined)) => joined.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The error and the member id that a JoinGroup was refused with.
    fn refused(&self, token: Token) -> (GroupError, String) {
        match self.answer(token) {
            Reply::JoinGroup(Err(refused)) => (refused.error, refused.member_id.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// Asks for the assignment. A leader brings `assignments`.
    fn sync(&mut self, group: &str, member: &JoinedGroup, assignments: &[(&str, &str)]) -> Token {
        let assignments =
            assignments.iter().map(|(id, part)| (Str::from(*id), Bytes::copy_from_slice(part.as_bytes())));
        self.ask(Command::SyncGroup(SyncGroup {
            group: group.into(),
            member_id: member.member_id.clone(),
            group_instance_id: None,
            generation_id: member.generation_id,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.collect(),
        }))
    }

    fn synced(&self, token: Token) -> Result<String, GroupError> {
        match self.answer(token) {
            Reply::SyncGroup(synced) => {
                synced.clone().map(|synced| String::from_utf8(synced.assignment.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, group: &str, member_id: &str, generation_id: i32) -> Result<(), GroupError> {
        let heartbeat =
            Heartbeat { group: group.into(), member_id: member_id.into(), group_instance_id: None, generation_id };
        let token = self.ask(Command::Heartbeat(heartbeat));
        match self.answer(token) {
            Reply::Heartbeat(result) => *result,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Vec<Result<(), GroupError>> {
        let identity = |(id, instance): &(&str, Option<&str>)| MemberIdentity {
            member_id: (*id).into(),
            group_instance_id: instance.map(Str::from),
        };
        let members: Vec<_> = members.iter().map(identity).collect();
        let token = self.ask(Command::LeaveGroup(LeaveGroup { group: group.into(), members: members.clone() }));
        match self.answer(token) {
            Reply::LeaveGroup(Ok(left)) => {
                assert!(left.iter().map(|left| &left.member).eq(&members));
                left.iter().map(|left| left.result).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn state(&self, group: &str) -> State {
        self.coordinator.groups[group].state
    }

    /// The last durable record of a group.
    fn last_group(&self) -> (String, Option<GroupMetadataValue>) {
        let groups =
            self.log.iter().rev().filter_map(|record| match decode(&record.key, record.value.as_ref()).unwrap() {
                Replay::Group(GroupMetadataKey { group }, value) => Some((group.to_string(), value)),
                _ => None,
            });
        groups.into_iter().next().expect("a group was written")
    }

    /// A group "g" of members that joined and synced, the leader first. Each has its own name as its assignment.
    fn stable(&mut self, joins: Vec<JoinGroup>) -> Vec<JoinedGroup> {
        let tokens: Vec<Token> = joins.into_iter().map(|join| self.join(join)).collect();
        self.pass(Duration::ZERO);
        let mut members: Vec<JoinedGroup> = tokens.iter().map(|token| self.joined(*token)).collect();
        members.sort_by_key(|member| member.leader != member.member_id);
        let ids: Vec<String> = members.iter().map(|member| member.member_id.to_string()).collect();
        let assignments: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for member in &members {
            let sync = self.sync("g", member, &assignments);
            assert_eq!(self.synced(sync), Ok(member.member_id.to_string()));
        }
        assert_eq!(self.state("g"), State::Stable);
        members
    }

    fn commit_offsets(&mut self, commit: OffsetCommit) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let token = self.ask(Command::OffsetCommit(commit));
        self.committed(token)
    }

    fn committed(&self, token: Token) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.answer(token) {
            Reply::OffsetCommit(Ok(topics)) => {
                Ok(topics.iter().flat_map(|topic| topic.partitions.iter().map(|(_, result)| *result)).collect())
            }
            Reply::OffsetCommit(Err(error)) => Err(*error),
            other => panic!("{other:?}"),
        }
    }

    /// Committed offsets of a group, of all topics.
    fn offsets(&mut self, group: &str) -> Vec<(String, i32, i64)> {
        let fetch =
            OffsetFetch { group: group.into(), member_id: None, member_epoch: -1, topics: None, require_stable: false };
        let token = self.ask(Command::OffsetFetch(fetch));
        self.fetched(token).into_iter().map(|(topic, fetched)| (topic, fetched.partition.0, fetched.offset.0)).collect()
    }

    fn fetched(&self, token: Token) -> Vec<(String, FetchedPartition)> {
        match self.answer(token) {
            Reply::OffsetFetch(Ok(topics)) => {
                let flat = |topic: &FetchedTopic| {
                    let name = topic.name.to_string();
                    topic.partitions.iter().map(move |fetched| (name.clone(), fetched.clone())).collect::<Vec<_>>()
                };
                topics.iter().flat_map(flat).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Topics that a test makes and deletes.
#[derive(Clone, Default)]
struct TestTopics {
    version: u64,
    made: u16,
    topics: BTreeMap<String, (TopicId, i32)>,
}

impl TestTopics {
    /// A topic is made, or has this many partitions from now on.
    fn set(&mut self, name: &str, partitions: i32) -> TopicId {
        self.version += 1;
        let made = &mut self.made;
        let topic = self.topics.entry(name.to_string()).or_insert_with(|| {
            *made += 1;
            let [high, low] = made.to_be_bytes();
            let mut id = [low; 16];
            if high > 0 {
                id[..2].copy_from_slice(&[high, !low]);
            }
            (TopicId(id), 0)
        });
        topic.1 = partitions;
        topic.0
    }

    fn delete(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }
}

impl Topics for TestTopics {
    fn version(&self) -> u64 {
        self.version
    }

    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        self.topics.get(name).copied()
    }

    fn name(&self, id: TopicId) -> Option<Str> {
        self.topics.iter().find(|(_, (topic, _))| *topic == id).map(|(name, _)| Str::from(name))
    }
}

/// A JoinGroup to group "g" of a consumer whose client id is `client`, without a member id, that may have one at once.
fn joining(client: &str) -> JoinGroup {
    JoinGroup {
        group: "g".into(),
        member_id: Str::default(),
        group_instance_id: None,
        client_id: client.into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![range(&["t"])],
        require_known_member_id: false,
        can_skip_assignment: false,
        member_uuid: [0; 16],
    }
}

/// The same member again.
fn rejoining(client: &str, member: &JoinedGroup) -> JoinGroup {
    JoinGroup { member_id: member.member_id.clone(), ..joining(client) }
}

/// A static member.
fn instance(id: &str) -> JoinGroup {
    JoinGroup { group_instance_id: Some(id.into()), ..joining("static") }
}

/// The protocol "range" with a subscription.
fn range(topics: &[&str]) -> Protocol {
    protocol("range", &subscription(topics))
}

fn protocol(name: &str, metadata: &[u8]) -> Protocol {
    Protocol { name: name.into(), metadata: Bytes::copy_from_slice(metadata) }
}

fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff; 4]);
    bytes
}

/// A commit of (topic, partition, offset) by nobody in particular.
fn commit(group: &str, offsets: &[(&str, i32, i64)]) -> OffsetCommit {
    let topics = offsets.iter().map(|(topic, partition, offset)| CommitTopic {
        name: (*topic).into(),
        topic_id: TopicId::ZERO,
        partitions: vec![CommitPartition {
            partition: PartitionIndex(*partition),
            offset: Offset(*offset),
            leader_epoch: LeaderEpoch::NONE,
            metadata: Str::default(),
        }],
    });
    OffsetCommit {
        group: group.into(),
        member_id: Str::default(),
        group_instance_id: None,
        generation_id: -1,
        knows_epochs: true,
        retention_time_ms: -1,
        topics: topics.collect(),
    }
}

/// A commit by a member.
fn commit_as(member: &JoinedGroup, offsets: &[(&str, i32, i64)]) -> OffsetCommit {
    OffsetCommit { member_id: member.member_id.clone(), generation_id: member.generation_id, ..commit("g", offsets) }
}

fn secs(seconds: u64) -> Duration {
    SECOND * u32::try_from(seconds).unwrap()
}
