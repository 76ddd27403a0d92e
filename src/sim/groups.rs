//! A story of groups: members that join, commit and look at what they committed, while the broker is killed and loses its power.
//!
//! What must hold: what was committed and answered is found again, and nothing that nobody committed; the generation of a group whose members had their
//! parts never goes back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Gone};
use super::scenario::{address, node_options, start_broker};
use crate::io::Io;
use crate::io::sim::{Crash, Loss, Process, Random, World, WorldOptions};
use crate::protocol::messages::{
    find_coordinator, heartbeat, join_group, metadata, offset_commit, offset_fetch, sync_group,
};
use crate::protocol::{ApiKey, ErrorCode, Message, Str};
use crate::shard::Defect;

/// What happened, so that a run in which nothing happened can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupStory {
    /// Commits that were acknowledged.
    pub commits: u64,
    /// Times that a member had its part.
    pub generations: u64,
    /// Requests that came while the coordinator was loading.
    pub loading: u64,
    /// Requests that were refused for another reason, or not answered.
    pub refused: u64,
    /// Times that the broker was brought down.
    pub crashes: u64,
    /// The same for the same seed.
    pub trace: u64,
}

const GROUPS: u64 = 4;
const COMMITS: i64 = 25;
const PATIENCE: Duration = Duration::from_secs(120);

/// Tells the story of `seed`. `Err` is the rule that was broken.
pub fn tell_of_groups(seed: u64, defect: Option<Defect>) -> Result<GroupStory, String> {
    let world = World::new(seed, WorldOptions::default());
    let mut chance = world.random("groups");
    let (broker, clients) = (world.process("broker"), world.process("clients"));
    let shared = Rc::new(Shared::default());
    let start = |chance: &mut Random| start(&world, broker, chance, defect, &shared);
    start(&mut chance);
    let seeds: Vec<u64> = (0..GROUPS).map(|_| chance.next_u64()).collect();
    let members = shared.clone();
    world.start(clients, 1, move |io: Io| {
        for (group, seed) in (0..).zip(&seeds) {
            let member = Member::new(io.clone(), group, Random::new(*seed, "member"), members.clone());
            io.spawn(member.live());
        }
        async move { std::future::pending().await }
    });
    for _ in 0..chance.between(1, 4) {
        let time = Duration::from_micros(chance.between(500, 80_000));
        world.run_until(time, || shared.is_over());
        let how = match chance.below(4) {
            0 => Crash::Kill,
            1 => Crash::PowerCut(Loss::Everything),
            _ => Crash::PowerCut(Loss::Random),
        };
        world.crash(broker, how);
        shared.count(|story| story.crashes += 1);
        start(&mut chance);
    }
    world.run_until(PATIENCE, || shared.is_over());
    if let Some(rule) = shared.broken.borrow().clone() {
        return Err(rule);
    }
    if shared.done.get() < GROUPS {
        return Err(format!("no progress: {} of {GROUPS} groups are done after {PATIENCE:?}", shared.done.get()));
    }
    Ok(GroupStory { trace: world.trace_hash(), ..shared.story.get() })
}

/// What all who take part tell.
#[derive(Default)]
struct Shared {
    story: Cell<GroupStory>,
    done: Cell<u64>,
    broken: RefCell<Option<String>>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.done.get() == GROUPS || self.broken.borrow().is_some()
    }

    fn count(&self, count: impl FnOnce(&mut GroupStory)) {
        let mut story = self.story.get();
        count(&mut story);
        self.story.set(story);
    }

    fn break_rule(&self, rule: String) {
        self.broken.borrow_mut().get_or_insert(rule);
    }
}

/// Starts the broker with any number of cores. Does not wait for it.
fn start(world: &World, broker: Process, chance: &mut Random, defect: Option<Defect>, shared: &Rc<Shared>) {
    let cores = chance.between(1, 3) as u16;
    let mut options = node_options(chance);
    options.shard.defect = defect;
    options.broker.offsets_partitions = 3;
    options.shard.groups.group_initial_rebalance_delay = Duration::from_millis(chance.between(0, 3));
    let shared = shared.clone();
    start_broker(world, broker, cores, options, move |rule| shared.break_rule(rule));
}

/// The one member of a group, a static one: it comes back as itself, whatever it has forgotten.
struct Member {
    io: Io,
    group: Str,
    chance: Random,
    shared: Rc<Shared>,
    client: Option<Client>,
    id: Str,
    generation: i32,
    /// The generation in which it last had its part.
    settled: i32,
    /// The last offset that was acknowledged, and the last one that was sent; -1 for none.
    acknowledged: i64,
    sent: i64,
}

/// Why a step did not come to its end: it is tried again, from the beginning.
enum Setback {
    Gone,
    Refused(i16),
}

impl From<Gone> for Setback {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

fn accepted(code: i16) -> Result<(), Setback> {
    if code == 0 { Ok(()) } else { Err(Setback::Refused(code)) }
}

impl Member {
    fn new(io: Io, group: u64, chance: Random, shared: Rc<Shared>) -> Self {
        Self {
            io,
            group: format!("group {group}").into(),
            chance,
            shared,
            client: None,
            id: Str::default(),
            generation: -1,
            settled: -1,
            acknowledged: -1,
            sent: -1,
        }
    }

    async fn live(mut self) {
        while self.acknowledged < COMMITS && !self.shared.is_over() {
            let setback = match self.work().await {
                Ok(()) => continue,
                Err(setback) => setback,
            };
            match setback {
                Setback::Refused(code) if code == ErrorCode::CoordinatorLoadInProgress.code() => {
                    self.shared.count(|story| story.loading += 1);
                }
                Setback::Refused(code) => {
                    self.shared.count(|story| story.refused += 1);
                    if !may_try_again(code) {
                        return self.shared.break_rule(format!("{} was refused with {code}", self.group));
                    }
                    if code != ErrorCode::NotCoordinator.code() {
                        self.id = Str::default();
                    }
                }
                Setback::Gone => {
                    self.shared.count(|story| story.refused += 1);
                    self.client = None;
                }
            }
            self.io.sleep(Duration::from_millis(2)).await;
        }
        self.shared.done.set(self.shared.done.get() + 1);
    }

    /// Joins, and commits a few times.
    async fn work(&mut self) -> Result<(), Setback> {
        self.find().await?;
        self.look().await?;
        self.join().await?;
        for _ in 0..self.chance.between(1, 6) {
            self.commit().await?;
            if self.chance.one_in(3) {
                self.look().await?;
            }
            if self.chance.one_in(3) {
                self.heartbeat().await?;
            }
            if self.chance.one_in(3) {
                self.io.sleep(Duration::from_micros(self.chance.between(0, 3_000))).await;
            }
        }
        Ok(())
    }

    async fn call<A: Message>(&mut self, api: ApiKey, version: i16, request: &impl Message) -> Result<A, Gone> {
        if self.client.is_none() {
            self.client = Some(Client::connect(&self.io, address()).await?);
        }
        self.client.as_mut().expect("connected above").call(api, version, request).await
    }

    async fn find(&mut self) -> Result<(), Setback> {
        let topic = metadata::MetadataRequestTopic { name: Some("work".into()), ..Default::default() };
        let made = metadata::MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let made: metadata::MetadataResponse = self.call(ApiKey::Metadata, 9, &made).await?;
        accepted(made.topics[0].error_code)?;
        let request = find_coordinator::FindCoordinatorRequest { key: self.group.clone(), ..Default::default() };
        let found: find_coordinator::FindCoordinatorResponse = self.call(ApiKey::FindCoordinator, 3, &request).await?;
        accepted(found.error_code)
    }

    async fn join(&mut self) -> Result<(), Setback> {
        let protocol = join_group::JoinGroupRequestProtocol { name: "range".into(), metadata: "said".into() };
        let request = join_group::JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            member_id: self.id.clone(),
            group_instance_id: Some("instance".into()),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        let joined: join_group::JoinGroupResponse = self.call(ApiKey::JoinGroup, 5, &request).await?;
        accepted(joined.error_code)?;
        (self.id, self.generation) = (joined.member_id, joined.generation_id);
        if self.generation < self.settled {
            let rule = format!("{}: generation {} after {}", self.group, self.generation, self.settled);
            self.shared.break_rule(rule);
        }
        let assignment = sync_group::SyncGroupRequestAssignment {
            member_id: self.id.clone(),
            assignment: self.group.as_str().to_owned().into(),
        };
        let request = sync_group::SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: Some("instance".into()),
            assignments: if joined.leader == self.id { vec![assignment] } else { Vec::new() },
            ..Default::default()
        };
        let synced: sync_group::SyncGroupResponse = self.call(ApiKey::SyncGroup, 3, &request).await?;
        accepted(synced.error_code)?;
        if &synced.assignment[..] != self.group.as_bytes() {
            self.shared.break_rule(format!("{} was given {:?}", self.group, synced.assignment));
        }
        self.settled = self.generation;
        self.shared.count(|story| story.generations += 1);
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<(), Setback> {
        let request = heartbeat::HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: Some("instance".into()),
        };
        let heard: heartbeat::HeartbeatResponse = self.call(ApiKey::Heartbeat, 3, &request).await?;
        accepted(heard.error_code)
    }

    async fn commit(&mut self) -> Result<(), Setback> {
        use offset_commit::*;
        self.sent = self.acknowledged + 1;
        let partition =
            OffsetCommitRequestPartition { partition_index: 0, committed_offset: self.sent, ..Default::default() };
        let topic = OffsetCommitRequestTopic { name: "work".into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            group_instance_id: Some("instance".into()),
            topics: vec![topic],
            ..Default::default()
        };
        let committed: OffsetCommitResponse = self.call(ApiKey::OffsetCommit, 7, &request).await?;
        accepted(committed.topics[0].partitions[0].error_code)?;
        self.acknowledged = self.sent;
        self.shared.count(|story| story.commits += 1);
        Ok(())
    }

    /// Looks at what is committed.
    async fn look(&mut self) -> Result<(), Setback> {
        use offset_fetch::*;
        let topic = OffsetFetchRequestTopic { name: "work".into(), partition_indexes: vec![0] };
        let request =
            OffsetFetchRequest { group_id: self.group.clone(), topics: Some(vec![topic]), ..Default::default() };
        let fetched: OffsetFetchResponse = self.call(ApiKey::OffsetFetch, 7, &request).await?;
        accepted(fetched.error_code)?;
        let offset = fetched.topics[0].partitions[0].committed_offset;
        if !(self.acknowledged..=self.sent).contains(&offset) {
            let (group, acknowledged, sent) = (&self.group, self.acknowledged, self.sent);
            self.shared.break_rule(format!("{group}: {offset} is committed, not {acknowledged} to {sent}"));
        }
        Ok(())
    }
}

fn may_try_again(code: i16) -> bool {
    [
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
        ErrorCode::UnknownMemberId,
        ErrorCode::IllegalGeneration,
        ErrorCode::RebalanceInProgress,
        ErrorCode::FencedInstanceId,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::NotController,
    ]
    .iter()
    .any(|known| known.code() == code)
}
