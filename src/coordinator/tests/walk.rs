//! A random walk: clients that do what clients do and what they should not, a disk that is sometimes slow, crashes, and time. After each step the
//! promises are held against what happened.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;
use crate::coordinator::group::Group;
use crate::coordinator::offsets::View;

const GROUPS: [&str; 3] = ["g", "h", "i"];
const TOPICS: [&str; 3] = ["t", "u", "v"];

/// What one process knows of its membership.
#[derive(Clone, Debug, Default)]
struct Client {
    group: &'static str,
    instance: Option<&'static str>,
    version: i16,
    member_id: Str,
    joined: Option<JoinedGroup>,
    /// It has its assignment.
    synced: bool,
    /// The request that it waits for.
    waiting: Option<Token>,
    /// The life of the group that it asked.
    life: u32,
}

struct Walk {
    world: World,
    random: TestRng,
    clients: Vec<Client>,
    /// Tells generations of the same number apart: a crash and the end of a group begin another life.
    lives: BTreeMap<&'static str, u32>,
    generations: BTreeMap<(u32, String), i32>,
    /// Who led, and who was told what, in a generation.
    leaders: BTreeMap<(u32, String, i32), Str>,
    assignments: BTreeMap<(u32, String, i32, Str), String>,
    /// Commits that wait for their answer: which offset was said for which group, topic and partition.
    commits: BTreeMap<Token, Vec<(String, String, i32, i64)>>,
    next_offset: i64,
    /// What happened, so that a walk in which nothing happens is noticed.
    seen: BTreeMap<&'static str, u32>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let options = Options {
            group_initial_rebalance_delay: secs(seed % 3),
            group_max_size: 4,
            offsets_retention: secs(3_600),
            batch_bytes_max: if seed.is_multiple_of(4) { 1_200 } else { 1 << 20 },
            ..Options::default()
        };
        let client = |number: usize| Client {
            group: GROUPS[number % GROUPS.len()],
            instance: [None, None, Some("x"), Some("y")][number % 4],
            version: [0, 4, 8, 9][number / 4 % 4],
            ..Client::default()
        };
        Self {
            world: World::with(options),
            random: TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
            clients: (0..16).map(client).collect(),
            lives: GROUPS.map(|group| (group, 0)).into(),
            generations: BTreeMap::new(),
            leaders: BTreeMap::new(),
            assignments: BTreeMap::new(),
            commits: BTreeMap::new(),
            next_offset: 0,
            seen: BTreeMap::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.next_u32() as usize % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn step(&mut self) {
        let who = self.below(self.clients.len());
        let before = self.clients[who].waiting;
        // A client waits for its answer, or gives up and asks something else.
        if self.clients[who].waiting.is_some() && self.below(10) > 0 {
            self.time();
        } else {
            match self.below(20) {
                0..6 => self.member(who),
                6..8 => self.heartbeat(who),
                8..11 => self.commit(who),
                11 => self.fetch(who),
                12 => self.leave(who),
                13 => self.delete(),
                14..19 => self.time(),
                _ => self.disk(),
            }
        }
        if self.clients[who].waiting != before {
            self.clients[who].life = self.lives[self.clients[who].group];
        }
        self.hear();
        self.hold();
    }

    /// Joins, or goes on from where it is.
    fn member(&mut self, who: usize) {
        let client = self.clients[who].clone();
        if client.synced && self.below(3) > 0 {
            return self.heartbeat(who);
        }
        let token = match &client.joined {
            Some(joined) if !client.synced || self.below(8) > 0 => {
                let assign =
                    |member: &JoinedMember| (member.member_id.clone(), Bytes::from(format!("{}!", member.member_id)));
                let forget = self.below(4) == 0;
                let assignments = joined.members.iter().map(assign).filter(|_| !forget).collect();
                let lies = self.below(20) == 0;
                self.world.ask(Command::SyncGroup(SyncGroup {
                    group: client.group.into(),
                    member_id: client.member_id.clone(),
                    group_instance_id: client.instance.map(Str::from),
                    generation_id: joined.generation_id - i32::from(lies),
                    protocol_type: Some("consumer".into()),
                    protocol_name: joined.protocol_name.clone(),
                    assignments,
                }))
            }
            _ => {
                let topics: &[&str] = self.pick(&[&["t"][..], &["t", "u"]]);
                let mut protocols = vec![range(topics), protocol("sticky", &subscription(topics))];
                protocols.rotate_left(self.below(2));
                protocols.truncate(2 - usize::from(self.below(6) == 0));
                let forgets = client.instance.is_some() && self.below(3) == 0;
                let join = JoinGroup {
                    group: client.group.into(),
                    member_id: if forgets { Str::default() } else { client.member_id.clone() },
                    group_instance_id: client.instance.map(Str::from),
                    session_timeout_ms: self.pick(&[6_000, 10_000, 30_000]),
                    rebalance_timeout_ms: self.pick(&[5_000, 20_000]),
                    protocol_type: if self.below(30) == 0 { "other" } else { "consumer" }.into(),
                    protocols,
                    require_known_member_id: client.version >= 4,
                    can_skip_assignment: client.version >= 9,
                    ..joining("c")
                };
                self.world.join(join)
            }
        };
        self.clients[who].waiting = Some(token);
    }

    fn heartbeat(&mut self, who: usize) {
        let client = &self.clients[who];
        let generation = client.joined.as_ref().map_or(0, |joined| joined.generation_id);
        let (group, member_id) = (client.group, client.member_id.clone());
        let token = self.world.ask(Command::Heartbeat(Heartbeat {
            group: group.into(),
            member_id,
            group_instance_id: client.instance.map(Str::from),
            generation_id: generation,
        }));
        self.clients[who].waiting = Some(token);
    }

    fn commit(&mut self, who: usize) {
        let client = self.clients[who].clone();
        let mut offsets = Vec::new();
        for _ in 0..=self.below(3) {
            self.next_offset += 1;
            offsets.push((self.pick(&TOPICS), self.below(3) as i32, self.next_offset));
        }
        let alone = self.below(3) == 0;
        let commit = OffsetCommit {
            group: client.group.into(),
            member_id: if alone { Str::default() } else { client.member_id.clone() },
            generation_id: client.joined.filter(|_| !alone).map_or(-1, |joined| joined.generation_id),
            knows_epochs: true,
            retention_time_ms: self.pick(&[-1, -1, -1, 60_000]),
            ..commit(client.group, &offsets)
        };
        let token = self.world.ask(Command::OffsetCommit(commit));
        let said = offsets
            .into_iter()
            .map(|(topic, partition, offset)| (client.group.into(), topic.into(), partition, offset));
        self.commits.insert(token, said.collect());
        self.clients[who].waiting = Some(token);
    }

    fn fetch(&mut self, who: usize) {
        let require_stable = self.below(2) == 0;
        let group = self.clients[who].group;
        let token = self.world.ask(Command::OffsetFetch(OffsetFetch {
            group: group.into(),
            member_id: None,
            member_epoch: -1,
            topics: None,
            require_stable,
        }));
        assert!(require_stable || !self.world.waits(token), "what is committed can be read at once");
        self.clients[who].waiting = Some(token);
    }

    fn leave(&mut self, who: usize) {
        let client = &self.clients[who];
        let identity =
            MemberIdentity { member_id: client.member_id.clone(), group_instance_id: client.instance.map(Str::from) };
        let leave = LeaveGroup { group: client.group.into(), members: vec![identity.clone(), identity] };
        let token = self.world.ask(Command::LeaveGroup(leave));
        self.clients[who] = Client {
            waiting: Some(token),
            member_id: Str::default(),
            joined: None,
            synced: false,
            ..self.clients[who].clone()
        };
    }

    fn delete(&mut self) {
        let (group, topic) = (self.pick(&GROUPS), self.pick(&TOPICS));
        match self.below(6) {
            0 => {
                self.world.ask(Command::DeleteGroups { groups: vec![group.into(), "none".into()] });
            }
            1 => {
                // Their offsets go when the time is told.
                self.world.coordinator.topics_deleted(&[(topic.into(), TopicId::ZERO)], self.world.now);
            }
            2 => {
                self.world.ask(Command::DescribeGroups { groups: GROUPS.map(Str::from).to_vec() });
                self.world.ask(Command::ListGroups(ListGroups::default()));
            }
            _ => {
                let partitions = vec![PartitionIndex(0), PartitionIndex(1)];
                let delete = OffsetDelete { group: group.into(), topics: vec![(topic.into(), partitions)] };
                self.world.ask(Command::OffsetDelete(delete));
            }
        }
    }

    fn time(&mut self) {
        let ms = match self.below(400) {
            0 => 4_000_000,
            1..20 => 10_000,
            20..120 => 1_000,
            _ => 50,
        };
        let ms = self.below(ms) as u64;
        self.world.pass(Duration::from_millis(ms));
    }

    /// The disk becomes slow or quick, writes, or the broker crashes.
    fn disk(&mut self) {
        match self.below(5) {
            0 | 1 => self.world.slow = true,
            2 => self.world.slow = false,
            3 => {
                self.world.commit();
            }
            _ => self.crash(),
        }
        if !self.world.slow {
            while self.world.commit() {}
        }
    }

    fn crash(&mut self) {
        self.count("crashes");
        let replayed = self.world.replayed();
        let ended = std::mem::replace(&mut self.world.coordinator, replayed);
        self.world.under_way.clear();
        self.world.deliver(ended.unload(GroupError::NotCoordinator));
        let all: Vec<Token> = (1..=self.world.given).map(Token).collect();
        assert!(all.iter().all(|token| !self.world.waits(*token)), "somebody waits for a coordinator that ended");
        self.lives.values_mut().for_each(|life| *life += 1);
    }

    /// Clients take their answers.
    fn hear(&mut self) {
        for who in 0..self.clients.len() {
            let Some(token) = self.clients[who].waiting.filter(|token| !self.world.waits(*token)) else { continue };
            self.clients[who].waiting = None;
            match self.world.answer(token).clone() {
                Reply::JoinGroup(Ok(joined)) => self.hear_joined(who, joined),
                Reply::JoinGroup(Err(JoinRefused { error: GroupError::MemberIdRequired, member_id })) => {
                    self.clients[who].member_id = member_id;
                }
                Reply::JoinGroup(Err(refused)) => self.hear_error(who, refused.error),
                Reply::SyncGroup(Ok(synced)) => self.hear_synced(who, synced),
                Reply::SyncGroup(Err(error)) | Reply::Heartbeat(Err(error)) => self.hear_error(who, error),
                _ => {}
            }
        }
        let answered: Vec<Token> = self.commits.keys().copied().filter(|token| !self.world.waits(*token)).collect();
        for token in answered {
            let said = self.commits.remove(&token).unwrap();
            let Ok(results) = self.world.committed(token) else { continue };
            for ((group, topic, partition, offset), result) in said.into_iter().zip(results) {
                assert_eq!(result, Ok(()));
                self.count("commits");
                let durable =
                    self.world.log.iter().rev().any(|record| match decode(&record.key, record.value.as_ref()) {
                        Ok(Replay::Offset(key, Some(value))) => {
                            (&*key.group, &*key.topic, key.partition, value.offset)
                                == (&*group, &*topic, partition, offset)
                        }
                        _ => false,
                    });
                assert!(durable, "{offset} of {topic}-{partition} was acknowledged to {group} and is not durable");
            }
        }
    }

    fn hear_joined(&mut self, who: usize, joined: JoinedGroup) {
        self.count("joins");
        let client = &mut self.clients[who];
        client.member_id = joined.member_id.clone();
        client.joined = Some(joined.clone());
        client.synced = false;
        if !joined.members.is_empty() && !joined.skip_assignment && client.instance.is_none() {
            let generation = (client.life, client.group.to_string(), joined.generation_id);
            let leader = self.leaders.entry(generation).or_insert(joined.member_id.clone());
            assert_eq!(leader, &joined.member_id, "two lead generation {}", joined.generation_id);
        }
        self.count(if joined.skip_assignment { "assignments skipped" } else { "assignments to do" });
    }

    fn hear_synced(&mut self, who: usize, synced: SyncedGroup) {
        self.count("syncs");
        let client = &self.clients[who];
        let generation = client.joined.as_ref().expect("it joined").generation_id;
        let told = String::from_utf8(synced.assignment.to_vec()).unwrap();
        let member = (client.life, client.group.to_string(), generation, client.member_id.clone());
        let before = self.assignments.entry(member).or_insert(told.clone());
        assert_eq!(*before, told, "{} was told two things in generation {generation}", client.member_id);
        self.clients[who].synced = true;
        let client = &self.clients[who];
        assert!(told.is_empty() || client.instance.is_some() || told == format!("{}!", client.member_id));
    }

    fn hear_error(&mut self, who: usize, error: GroupError) {
        let client = &mut self.clients[who];
        client.joined = None;
        client.synced = false;
        if matches!(error, GroupError::UnknownMemberId | GroupError::FencedInstanceId) {
            client.member_id = Str::default();
        }
        self.count(match error {
            GroupError::FencedInstanceId => "fenced",
            GroupError::RebalanceInProgress => "rebalancing",
            GroupError::GroupMaxSizeReached => "full",
            _ => "other errors",
        });
    }

    /// What must hold at all times.
    fn hold(&mut self) {
        for id in GROUPS {
            let life = self.lives.get_mut(id).unwrap();
            let Some(group) = self.world.coordinator.groups.get(id) else {
                *life += 1;
                continue;
            };
            let generation = self.generations.entry((*life, id.to_string())).or_insert(group.generation_id);
            assert!(group.generation_id >= *generation, "generation of {id} went back");
            *generation = group.generation_id;
            assert!(group.awaiting_join() <= 4, "{id} has {} members that joined", group.awaiting_join());
        }
        if self.below(10) == 0 {
            self.compare();
        }
    }

    /// What is committed is what a restart would find.
    fn compare(&mut self) {
        let replayed = self.world.replayed();
        let live = &self.world.coordinator;
        for group in GROUPS {
            let offsets = |coordinator: &Coordinator| -> Vec<(Str, PartitionIndex, i64, Timestamp)> {
                let Some(offsets) = coordinator.offsets.group(group) else { return Vec::new() };
                let all = offsets.topics(View::Committed).flat_map(|topic| {
                    let partitions = offsets.topic(View::Committed, topic);
                    partitions.map(|(partition, o)| (topic.clone(), partition, o.offset.0, o.commit_timestamp))
                });
                all.collect()
            };
            assert_eq!(offsets(live), offsets(&replayed), "offsets of {group}");
            if !self.world.under_way.is_empty() {
                continue;
            }
            match (live.groups.get(group), replayed.groups.get(group)) {
                (Some(live), Some(replayed)) => {
                    assert!(live.generation_id >= replayed.generation_id);
                    if matches!(live.state, State::Stable | State::Empty) {
                        let comparable = |group: &Group| {
                            (group.state, {
                                let mut r = group.to_record();
                                r.current_state_timestamp = 0;
                                r
                            })
                        };
                        assert_eq!(comparable(live), comparable(replayed), "{group}");
                    }
                }
                // A group without a record of its own, whose offsets were all deleted.
                (Some(live), None) => assert!(live.state == State::Empty && live.protocol_type.is_none()),
                (None, found) => assert!(found.is_none(), "{group} comes back"),
            }
        }
        if self.world.under_way.is_empty() {
            self.count("comparisons");
        }
    }

    /// Time and a healthy disk answer everything.
    fn finish(&mut self) {
        self.world.slow = false;
        while self.world.commit() {}
        self.world.pass(secs(400));
        let all: Vec<Token> = (1..=self.world.given).map(Token).collect();
        assert!(all.iter().all(|token| !self.world.waits(*token)), "somebody waits for ever");
        self.hear();
        self.compare();
        self.world.pass(secs(2 * 3_600));
        assert!(self.world.coordinator.is_empty(), "nothing outlives its time");
        assert_eq!((self.world.coordinator.bytes(), self.world.coordinator.timers.len()), (0, 1));
        assert!(self.world.replayed().is_empty());
    }
}

#[test]
fn a_random_walk_keeps_every_promise() {
    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in 0..250 {
        let walked = std::panic::catch_unwind(|| {
            let mut walk = Walk::new(seed);
            (0..400).for_each(|_| walk.step());
            walk.finish();
            walk.seen
        });
        let Ok(walked) = walked else { panic!("seed {seed} breaks a promise") };
        walked.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    let expected = [
        "assignments skipped",
        "assignments to do",
        "commits",
        "comparisons",
        "crashes",
        "fenced",
        "full",
        "joins",
        "other errors",
        "rebalancing",
        "syncs",
    ];
    assert!(seen.keys().eq(&expected), "not everything happened: {seen:?}");
    assert!(seen.values().all(|count| *count >= 10), "{seen:?}");
}
