//! Groups: members and generations, committed offsets, what outlives a crash, and those who wait.

use std::time::Duration;

use bytes::Bytes;
use coretide::base::TopicId;
use coretide::coordinator::partition_for;
use coretide::node::Options;
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode, Str};

use crate::restarts::directory;
use crate::support::kafka::Batch;
use crate::support::node::{Node, Wire};
use crate::support::process::Process;

/// A broker on which nobody waits for the first rebalance, and whose members may be silent for as short as they like.
fn node(name: &str, cores: usize, change: impl FnOnce(&mut Options)) -> Node {
    Node::with(name, cores, |options| {
        options.shard.groups.group_initial_rebalance_delay = Duration::ZERO;
        options.shard.groups.group_min_session_timeout_ms = 1;
        options.broker.offsets_partitions = 10;
        change(options);
    })
}

pub fn find_coordinator(wire: &mut Wire, groups: &[&str]) -> FindCoordinatorResponse {
    let coordinator_keys = groups.iter().map(|group| Str::from(*group)).collect();
    wire.call(ApiKey::FindCoordinator, 6, &FindCoordinatorRequest { coordinator_keys, ..Default::default() })
}

/// A member of a group, with a connection of its own.
struct Member {
    wire: Wire,
    group: Str,
    id: Str,
    instance: Option<Str>,
    generation: i32,
    session_timeout_ms: i32,
    /// What it says under the protocol.
    said: Bytes,
}

const JOIN: i16 = 9;
const SYNC: i16 = 5;

impl Member {
    fn new(wire: Wire, group: &str) -> Self {
        Self {
            wire,
            group: group.into(),
            id: Str::default(),
            instance: None,
            generation: -1,
            session_timeout_ms: 30_000,
            said: Bytes::from_static(b"said"),
        }
    }

    fn of(node: &Node, group: &str) -> Self {
        Self::new(node.connect(), group)
    }

    /// A member whose id the coordinator has given out.
    fn known(node: &Node, group: &str) -> Self {
        let mut member = Self::of(node, group);
        member.ask_to_join();
        let refused = member.joined();
        assert_eq!(refused.error_code, ErrorCode::MemberIdRequired.code());
        assert!(refused.member_id.starts_with("test-"), "{}", refused.member_id);
        member.id = refused.member_id;
        member
    }

    fn ask_to_join(&mut self) {
        let protocol = join_group::JoinGroupRequestProtocol { name: "range".into(), metadata: self.said.clone() };
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: 60_000,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            reason: None,
        };
        self.wire.ask(ApiKey::JoinGroup, JOIN, &request);
    }

    fn joined(&mut self) -> JoinGroupResponse {
        let joined: JoinGroupResponse = self.wire.answer(ApiKey::JoinGroup, JOIN);
        if joined.error_code == 0 {
            (self.id, self.generation) = (joined.member_id.clone(), joined.generation_id);
        }
        joined
    }

    /// Joins and must succeed.
    fn join(&mut self) -> JoinGroupResponse {
        self.ask_to_join();
        let joined = self.joined();
        assert_eq!(joined.error_code, 0);
        joined
    }

    fn ask_to_sync(&mut self, parts: &[(&Str, &'static str)]) {
        let assignments = parts.iter().map(|(id, part)| sync_group::SyncGroupRequestAssignment {
            member_id: (*id).clone(),
            assignment: Bytes::from_static(part.as_bytes()),
        });
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assignments.collect(),
        };
        self.wire.ask(ApiKey::SyncGroup, SYNC, &request);
    }

    /// The part of the work, or the error.
    fn synced(&mut self) -> Result<String, i16> {
        let synced: SyncGroupResponse = self.wire.answer(ApiKey::SyncGroup, SYNC);
        match synced.error_code {
            0 => Ok(String::from_utf8(synced.assignment.to_vec()).expect("as it was sent")),
            code => Err(code),
        }
    }

    /// Joins an empty group and has its own part.
    fn lead_alone(&mut self, part: &'static str) {
        assert_eq!(self.join().members.len(), 1);
        let id = self.id.clone();
        self.ask_to_sync(&[(&id, part)]);
        assert_eq!(self.synced().as_deref(), Ok(part));
    }

    fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.instance.clone(),
        };
        self.wire.call::<_, HeartbeatResponse>(ApiKey::Heartbeat, 4, &request).error_code
    }

    fn leave(&mut self) -> i16 {
        let member = leave_group::MemberIdentity { member_id: self.id.clone(), ..Default::default() };
        let request = LeaveGroupRequest { group_id: self.group.clone(), members: vec![member], ..Default::default() };
        let left: LeaveGroupResponse = self.wire.call(ApiKey::LeaveGroup, 5, &request);
        assert_eq!((left.error_code, left.members.len()), (0, 1));
        left.members[0].error_code
    }

    fn commit(&mut self, topic: &str, offsets: &[(i32, i64)]) -> Vec<i16> {
        commit(&mut self.wire, 9, &self.group, (&self.id, self.generation), (topic, TopicId::ZERO), offsets)
    }
}

pub fn commit(
    wire: &mut Wire,
    version: i16,
    group: &str,
    (member_id, generation): (&str, i32),
    (name, topic_id): (&str, TopicId),
    offsets: &[(i32, i64)],
) -> Vec<i16> {
    use offset_commit::*;
    let partition = |(partition, offset): &(i32, i64)| OffsetCommitRequestPartition {
        partition_index: *partition,
        committed_offset: *offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(format!("note {offset}").into()),
    };
    let topic =
        OffsetCommitRequestTopic { name: name.into(), topic_id, partitions: offsets.iter().map(partition).collect() };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.into(),
        topics: vec![topic],
        ..Default::default()
    };
    let mut response: OffsetCommitResponse = wire.call(ApiKey::OffsetCommit, version, &request);
    assert_eq!(response.topics.len(), 1);
    response.topics.remove(0).partitions.iter().map(|partition| partition.error_code).collect()
}

/// Commits from outside of a group.
fn commit_alone(wire: &mut Wire, group: &str, topic: &str, offsets: &[(i32, i64)]) {
    let codes = commit(wire, 9, group, ("", -1), (topic, TopicId::ZERO), offsets);
    assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
}

/// All offsets of a group: topic, partition, offset.
pub fn committed(wire: &mut Wire, group: &str) -> Vec<(String, i32, i64)> {
    let group = offset_fetch::OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let mut response: OffsetFetchResponse = wire.call(ApiKey::OffsetFetch, 9, &request);
    let group = response.groups.remove(0);
    assert_eq!(group.error_code, 0);
    let mut all: Vec<_> = group
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|one| (topic.name.to_string(), one)))
        .map(|(topic, one)| {
            assert_eq!(one.metadata.as_deref(), Some(format!("note {}", one.committed_offset).as_str()));
            (topic, one.partition_index, one.committed_offset)
        })
        .collect();
    all.sort();
    all
}

fn describe(wire: &mut Wire, group: &str) -> describe_groups::DescribedGroup {
    let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
    let mut response: DescribeGroupsResponse = wire.call(ApiKey::DescribeGroups, 6, &request);
    assert_eq!(response.groups.len(), 1);
    response.groups.remove(0)
}

fn listed(wire: &mut Wire) -> Vec<(String, String)> {
    let response: ListGroupsResponse = wire.call(ApiKey::ListGroups, 5, &ListGroupsRequest::default());
    assert_eq!(response.error_code, 0);
    response.groups.iter().map(|group| (group.group_id.to_string(), group.group_state.to_string())).collect()
}

#[test]
fn two_members_share_the_work_commit_and_leave() {
    let node = node("groups-two", 2, |_| {});
    let mut wire = node.connect();
    wire.create("work", 4, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut one = Member::known(&node, "team");
    let alone = one.join();
    assert_eq!((alone.generation_id, &alone.leader, alone.members.len()), (1, &alone.member_id, 1));
    assert_eq!((alone.protocol_type.as_deref(), alone.protocol_name.as_deref()), (Some("consumer"), Some("range")));
    let id = one.id.clone();
    one.ask_to_sync(&[(&id, "all")]);
    assert_eq!(one.synced().as_deref(), Ok("all"));
    assert_eq!((one.heartbeat(), describe(&mut wire, "team").group_state.as_str()), (0, "Stable"));

    // Another one comes: it waits until the first one has heard of it.
    let mut other = Member::known(&node, "team");
    other.ask_to_join();
    while one.heartbeat() == 0 {}
    assert_eq!(one.heartbeat(), ErrorCode::RebalanceInProgress.code());
    let led = one.join();
    assert_eq!((led.generation_id, led.members.len()), (2, 2));
    let followed = other.joined();
    assert_eq!((followed.generation_id, followed.members.len(), &followed.leader), (2, 0, &one.id));
    other.ask_to_sync(&[]);
    let (first, second) = (one.id.clone(), other.id.clone());
    one.ask_to_sync(&[(&first, "0 and 1"), (&second, "2 and 3")]);
    assert_eq!((one.synced(), other.synced()), (Ok("0 and 1".into()), Ok("2 and 3".into())));

    let described = describe(&mut wire, "team");
    assert_eq!((described.group_state.as_str(), described.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(described.members.len(), 2);
    for member in &described.members {
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("test", "/127.0.0.1"));
        assert_eq!(&member.member_metadata[..], b"said");
    }

    assert_eq!(one.commit("work", &[(0, 10), (1, 11)]), [0, 0]);
    assert_eq!(other.commit("work", &[(3, 13), (4, 14), (2, 12)]), [0, ErrorCode::UnknownTopicOrPartition.code(), 0]);
    assert_eq!(other.commit("nowhere", &[(0, 1)]), [ErrorCode::UnknownTopicOrPartition.code()]);
    let all = |offset: [i64; 4]| -> Vec<_> {
        (0..).zip(offset).map(|(at, offset)| ("work".to_owned(), at, offset)).collect()
    };
    assert_eq!(committed(&mut wire, "team"), all([10, 11, 12, 13]));

    // Others cannot commit in its name.
    let stale = commit(&mut wire, 9, "team", (&other.id, 1), ("work", TopicId::ZERO), &[(0, 99)]);
    assert_eq!(stale, [ErrorCode::IllegalGeneration.code()]);
    let stranger = commit(&mut wire, 9, "team", ("stranger", 2), ("work", TopicId::ZERO), &[(0, 99)]);
    assert_eq!(stranger, [ErrorCode::UnknownMemberId.code()]);

    assert_eq!((other.leave(), other.leave()), (0, ErrorCode::UnknownMemberId.code()));
    assert_eq!(one.heartbeat(), ErrorCode::RebalanceInProgress.code());
    assert_eq!(one.join().generation_id, 3);
    assert_eq!(one.leave(), 0);
    assert_eq!(listed(&mut wire), [("team".into(), "Empty".into())]);
    assert_eq!(committed(&mut wire, "team"), all([10, 11, 12, 13]));

    let request = DeleteGroupsRequest { groups_names: vec!["team".into(), "nobody".into(), "team".into()] };
    let deleted: DeleteGroupsResponse = wire.call(ApiKey::DeleteGroups, 2, &request);
    let mut results: Vec<_> =
        deleted.results.iter().map(|result| (result.group_id.as_str(), result.error_code)).collect();
    results.sort();
    assert_eq!(results, [("nobody", ErrorCode::GroupIdNotFound.code()), ("team", 0)]);
    assert_eq!((listed(&mut wire), committed(&mut wire, "team")), (Vec::new(), Vec::new()));
    assert_eq!(describe(&mut wire, "team").error_code, ErrorCode::GroupIdNotFound.code());
}

#[test]
fn a_group_outlives_a_kill() {
    let directory = directory("groups-killed");
    let flags = |cores| {
        ["--cores", cores, "--journal-size", "128MiB", "--set", "group.initial.rebalance.delay.ms=0"].map(str::to_owned)
    };
    let start = |cores| Process::start(&directory, &flags(cores).each_ref().map(String::as_str));
    let mut broker = start("2");
    let address = broker.address();
    let mut wire = Wire::connect(address);
    wire.create("work", 3, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut member = Member::new(Wire::connect(address), "team");
    member.instance = Some("instance".into());
    member.lead_alone("everything");
    assert_eq!(member.generation, 1);
    for life in 1..4 {
        assert_eq!(member.commit("work", &[(0, 10 * life), (2, life)]), [0, 0]);
        commit_alone(&mut wire, "loner", "work", &[(1, 100 + life)]);
        // SIGKILL: what was answered is durable, or it should not have been answered.
        drop(broker);
        broker = start(["1", "2"][life as usize % 2]);
        wire = Wire::connect(broker.address());
        member.wire = Wire::connect(broker.address());
        let expected = [("work".to_owned(), 0, 10 * life), ("work".to_owned(), 2, life)];
        retry_while_loading(|| match describe(&mut wire, "team") {
            group if group.error_code == ErrorCode::CoordinatorLoadInProgress.code() => None,
            group => {
                assert_eq!((group.error_code, group.group_state.as_str(), group.members.len()), (0, "Stable", 1));
                Some(())
            }
        });
        retry_while_loading(|| {
            let group = describe(&mut wire, "loner");
            (group.error_code != ErrorCode::CoordinatorLoadInProgress.code()).then_some(())
        });
        assert_eq!(committed(&mut wire, "team"), expected);
        assert_eq!(committed(&mut wire, "loner"), [("work".to_owned(), 1, 100 + life)]);
        // The member is one in the same generation, and has its part.
        assert_eq!(member.heartbeat(), 0, "life {life}");
        member.ask_to_sync(&[]);
        assert_eq!(member.synced().as_deref(), Ok("everything"));
    }
    broker.stop();
    std::fs::remove_dir_all(directory).expect("the test's own directory");
}

/// Asks again until the coordinator is loaded.
pub fn retry_while_loading(mut ask: impl FnMut() -> Option<()>) {
    while ask().is_none() {}
}

#[test]
fn a_static_member_comes_back_as_itself_and_fences_its_double() {
    let node = node("groups-static", 1, |_| {});
    let mut wire = node.connect();
    find_coordinator(&mut wire, &["team"]);
    let mut member = Member::of(&node, "team");
    member.instance = Some("first".into());
    member.lead_alone("everything");
    let before = member.id.clone();
    // It restarts without an id: no rebalance, a new id, the same part.
    let mut again = Member::of(&node, "team");
    again.instance = Some("first".into());
    let joined = again.join();
    assert_eq!((joined.generation_id, joined.skip_assignment), (1, true));
    assert_ne!(again.id, before);
    again.ask_to_sync(&[]);
    assert_eq!(again.synced().as_deref(), Ok("everything"));
    assert_eq!(member.heartbeat(), ErrorCode::FencedInstanceId.code());
    assert_eq!(again.heartbeat(), 0);
}

#[test]
fn nobody_coordinates_before_the_topic_is_made() {
    let node = node("groups-none", 2, |_| {});
    let mut member = Member::of(&node, "team");
    let not_coordinator = ErrorCode::NotCoordinator.code();
    member.ask_to_join();
    assert_eq!(member.joined().error_code, not_coordinator);
    member.ask_to_sync(&[]);
    assert_eq!(member.synced(), Err(not_coordinator));
    assert_eq!(member.heartbeat(), not_coordinator);
    assert_eq!(describe(&mut member.wire, "team").error_code, not_coordinator);
    assert_eq!(listed(&mut member.wire), []);
    member.wire.create("work", 1, &[]);
    assert_eq!(member.commit("work", &[(0, 1)]), [not_coordinator]);

    // Looking for a coordinator makes it.
    let found = find_coordinator(&mut member.wire, &["team", "", "other"]);
    assert_eq!(found.coordinators.len(), 3);
    for coordinator in &found.coordinators {
        assert_eq!((coordinator.error_code, coordinator.node_id, coordinator.host.as_str()), (0, 1, "127.0.0.1"));
        assert_eq!(coordinator.port, i32::from(node.address.port()));
    }
    let topic = metadata::MetadataRequestTopic { name: Some("__consumer_offsets".into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let described: MetadataResponse = member.wire.call(ApiKey::Metadata, 12, &request);
    assert!(described.topics[0].is_internal);
    assert_eq!(described.topics[0].partitions.len(), 10);
    member = Member::known(&node, "team");
    member.lead_alone("everything");

    // Other kinds of coordinators are refused for good.
    for (key_type, code) in
        [(1, ErrorCode::UnsupportedVersion), (2, ErrorCode::InvalidRequest), (9, ErrorCode::InvalidRequest)]
    {
        let request = FindCoordinatorRequest { key: "team".into(), key_type, ..Default::default() };
        let refused: FindCoordinatorResponse = member.wire.call(ApiKey::FindCoordinator, 3, &request);
        assert_eq!((refused.error_code, refused.node_id, refused.port), (code.code(), -1, -1));
        assert!(refused.error_message.is_some_and(|message| !message.is_empty()));
    }
}

#[test]
fn every_version_of_every_group_api_answers() {
    let node = node("groups-versions", 2, |_| {});
    let mut wire = node.connect();
    wire.create("work", 1, &[]);
    for version in 0..=6 {
        let keys = if version < 4 { Vec::new() } else { vec!["team".into()] };
        let request = FindCoordinatorRequest { key: "team".into(), key_type: 0, coordinator_keys: keys };
        let found: FindCoordinatorResponse = wire.call(ApiKey::FindCoordinator, version, &request);
        match version {
            0..4 => assert_eq!((found.error_code, found.node_id), (0, 1)),
            _ => assert_eq!((found.coordinators[0].error_code, found.coordinators[0].node_id), (0, 1)),
        }
    }
    for version in 0..=9 {
        let protocol = join_group::JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::new() };
        let mut request = JoinGroupRequest {
            group_id: format!("join-{version}").into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        let mut joined: JoinGroupResponse = wire.call(ApiKey::JoinGroup, version, &request);
        if version >= 4 {
            assert_eq!(joined.error_code, ErrorCode::MemberIdRequired.code());
            request.member_id = joined.member_id;
            joined = wire.call(ApiKey::JoinGroup, version, &request);
        }
        assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 1), "version {version}");
        // The other requests of its life, in the versions of the same number where there are such.
        let assignment =
            sync_group::SyncGroupRequestAssignment { member_id: joined.member_id.clone(), assignment: "all".into() };
        let sync = SyncGroupRequest {
            group_id: request.group_id.clone(),
            generation_id: 1,
            member_id: joined.member_id.clone(),
            group_instance_id: None,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![assignment],
        };
        let synced: SyncGroupResponse = wire.call(ApiKey::SyncGroup, version.min(5), &sync);
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
        let heartbeat = HeartbeatRequest {
            group_id: request.group_id.clone(),
            generation_id: 1,
            member_id: joined.member_id.clone(),
            group_instance_id: None,
        };
        assert_eq!(wire.call::<_, HeartbeatResponse>(ApiKey::Heartbeat, version.min(4), &heartbeat).error_code, 0);
        let member = leave_group::MemberIdentity { member_id: joined.member_id.clone(), ..Default::default() };
        let leave = LeaveGroupRequest {
            group_id: request.group_id.clone(),
            member_id: joined.member_id,
            members: vec![member],
        };
        let left: LeaveGroupResponse = wire.call(ApiKey::LeaveGroup, version.min(5), &leave);
        assert_eq!(left.error_code, 0);
    }
    for version in 0..=6 {
        let request = DescribeGroupsRequest { groups: vec!["join-0".into(), "nobody".into()], ..Default::default() };
        let mut described: DescribeGroupsResponse = wire.call(ApiKey::DescribeGroups, version, &request);
        described.groups.sort_by(|one, other| one.group_id.as_str().cmp(&other.group_id));
        assert_eq!((described.groups[0].error_code, described.groups[0].group_state.as_str()), (0, "Empty"));
        let not_found = if version < 6 { 0 } else { ErrorCode::GroupIdNotFound.code() };
        assert_eq!((described.groups[1].error_code, described.groups[1].group_state.as_str()), (not_found, "Dead"));
    }
    for version in 0..=5 {
        let all: ListGroupsResponse = wire.call(ApiKey::ListGroups, version, &ListGroupsRequest::default());
        assert_eq!((all.error_code, all.groups.len()), (0, 10));
    }
    let id = topic_id(&mut wire, "work");
    for version in 2..=10 {
        let group = format!("commit-{version}");
        let codes = commit(&mut wire, version, &group, ("", -1), ("work", id), &[(0, 7)]);
        assert_eq!(codes, [0], "version {version}");
        let unknown = commit(&mut wire, version, &group, ("", -1), ("nowhere", TopicId([9; 16])), &[(0, 7)]);
        let code = if version < 10 { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId };
        assert_eq!(unknown, [code.code()]);
        // A generation that nobody has.
        let code = if version < 9 { ErrorCode::IllegalGeneration } else { ErrorCode::GroupIdNotFound };
        let member = commit(&mut wire, version, "nobody", ("member", 1), ("work", id), &[(0, 7)]);
        assert_eq!(member, [code.code()]);
    }
    for version in 1..=10 {
        use offset_fetch::*;
        let (group, by_id) = ("commit-10", version >= 10);
        let one = OffsetFetchRequestTopic { name: "work".into(), partition_indexes: vec![0, 5] };
        let several = OffsetFetchRequestTopics { name: "work".into(), topic_id: id, partition_indexes: vec![0, 5] };
        let nowhere =
            OffsetFetchRequestTopics { name: "nowhere".into(), topic_id: TopicId([9; 16]), partition_indexes: vec![0] };
        let of_group = OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![nowhere, several]),
            ..Default::default()
        };
        let request = OffsetFetchRequest {
            group_id: group.into(),
            topics: Some(vec![one]),
            groups: vec![of_group],
            require_stable: version >= 7,
        };
        let fetched: OffsetFetchResponse = wire.call(ApiKey::OffsetFetch, version, &request);
        if version < 8 {
            let found = &fetched.topics[0].partitions;
            assert_eq!((fetched.error_code, found[0].committed_offset, found[1].committed_offset), (0, 7, -1));
            continue;
        }
        let topics = &fetched.groups[0].topics;
        let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::None };
        assert_eq!((topics[0].partitions[0].error_code, topics[0].partitions[0].committed_offset), (code.code(), -1));
        assert_eq!(topics[1].topic_id, if by_id { id } else { TopicId::ZERO });
        assert_eq!((topics[1].partitions[0].committed_offset, topics[1].partitions[1].committed_offset), (7, -1));
    }
    let partition = offset_delete::OffsetDeleteRequestPartition { partition_index: 0 };
    let topics = ["nowhere", "work"]
        .map(|name| offset_delete::OffsetDeleteRequestTopic { name: name.into(), partitions: vec![partition.clone()] });
    let request = OffsetDeleteRequest { group_id: "commit-2".into(), topics: topics.into() };
    let deleted: OffsetDeleteResponse = wire.call(ApiKey::OffsetDelete, 0, &request);
    let codes: Vec<_> = deleted.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!((deleted.error_code, codes), (0, vec![ErrorCode::UnknownTopicOrPartition.code(), 0]));
    assert_eq!(committed(&mut wire, "commit-2"), []);
    for version in 0..=2 {
        let request = DeleteGroupsRequest { groups_names: vec![format!("join-{version}").into()] };
        let deleted: DeleteGroupsResponse = wire.call(ApiKey::DeleteGroups, version, &request);
        assert_eq!(deleted.results[0].error_code, 0);
    }
}

pub fn topic_id(wire: &mut Wire, name: &str) -> TopicId {
    let topic = metadata::MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    wire.call::<_, MetadataResponse>(ApiKey::Metadata, 12, &request).topics[0].topic_id
}

/// A broker that is asked to stop waited for the members of a rebalance, as long as they liked.
#[test]
fn those_who_wait_are_answered_when_the_broker_stops() {
    let node = node("groups-stop", 2, |_| {});
    let mut wire = node.connect();
    let teams: Vec<String> = (0..8).map(|team| format!("team {team}")).collect();
    find_coordinator(&mut wire, &teams.iter().map(String::as_str).collect::<Vec<_>>());
    let mut waiting = Vec::new();
    for team in &teams {
        // One that has joined does not come back, so another one waits for it; and of a second pair the follower waits for its part.
        let mut stays = Member::known(&node, team);
        stays.lead_alone("everything");
        let mut joins = Member::known(&node, team);
        joins.ask_to_join();
        while stays.heartbeat() == 0 {}
        let mut other = Member::known(&node, &format!("{team} again"));
        other.join();
        other.ask_to_sync(&[]);
        waiting.push((joins, other));
    }
    // A leader that brings nothing is not left to wait, so only joins do.
    node.begin_stop();
    for (joins, _) in &mut waiting {
        assert_eq!(joins.joined().error_code, ErrorCode::NotCoordinator.code());
    }
    node.wait();
}

/// Whoever goes away while it waits is a member all the same, for as long as its session lasts; and nobody waits for it longer.
#[test]
fn one_who_disconnects_while_it_waits_is_missed_and_forgotten() {
    let node = node("groups-gone", 2, |_| {});
    let mut wire = node.connect();
    find_coordinator(&mut wire, &["team"]);
    let mut stays = Member::known(&node, "team");
    stays.lead_alone("everything");
    let mut goes = Member::known(&node, "team");
    goes.session_timeout_ms = 50;
    goes.ask_to_join();
    while stays.heartbeat() == 0 {}
    drop(goes);
    let joined = stays.join();
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    let id = stays.id.clone();
    stays.ask_to_sync(&[(&id, "half")]);
    assert_eq!(stays.synced().as_deref(), Ok("half"));
    while stays.heartbeat() == 0 {}
    let joined = stays.join();
    assert_eq!((joined.generation_id, joined.members.len()), (3, 1));
}

#[test]
fn groups_live_on_all_cores() {
    let node = node("groups-cores", 2, |_| {});
    let groups: Vec<String> = (0..30).map(|group| format!("group {group}")).collect();
    let partitions = groups.iter().map(|group| partition_for(group, 10)).collect::<std::collections::BTreeSet<_>>();
    assert!(partitions.len() >= 9, "{partitions:?}");
    let mut wires = [node.connect(), node.connect()];
    wires[0].create("work", 2, &[]);
    find_coordinator(&mut wires[0], &["group 0"]);
    for (number, group) in (0..).zip(&groups) {
        commit_alone(&mut wires[number as usize % 2], group, "work", &[(0, number), (1, 1000 + number)]);
    }
    for wire in &mut wires {
        let all = groups.iter().map(|group| offset_fetch::OffsetFetchRequestGroup {
            group_id: group.as_str().into(),
            topics: None,
            ..Default::default()
        });
        let request = OffsetFetchRequest { groups: all.collect(), ..Default::default() };
        let fetched: OffsetFetchResponse = wire.call(ApiKey::OffsetFetch, 8, &request);
        for (number, group) in (0..).zip(&fetched.groups) {
            let offsets: Vec<_> = group.topics[0].partitions.iter().map(|one| one.committed_offset).collect();
            assert_eq!(
                (group.group_id.as_str(), offsets),
                (groups[number as usize].as_str(), vec![number, 1000 + number])
            );
        }
        assert_eq!(listed(wire).len(), groups.len());
    }
    // Tools read the topic: each commit is a record with a key.
    let records: usize = (0..10).map(|partition| wires[0].read_all("__consumer_offsets", partition).len()).sum();
    assert_eq!(records, 2 * groups.len());
    // Nobody else writes there.
    let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 0, values: &[b"mine"] };
    let refused = wires[0].produce("__consumer_offsets", 0, -1, &batch.encode());
    assert_eq!(refused.error_code, ErrorCode::InvalidTopicException.code());
}

fn delete_topic(wire: &mut Wire, name: &str) {
    let request = DeleteTopicsRequest { topic_names: vec![name.into()], timeout_ms: 10_000, ..Default::default() };
    let deleted: DeleteTopicsResponse = wire.call(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(deleted.responses[0].error_code, 0);
}

#[test]
fn offsets_go_with_their_topic_and_groups_with_theirs() {
    let mut node = node("groups-deleted", 2, |_| {});
    let mut wire = node.connect();
    for topic in ["kept", "gone"] {
        wire.create(topic, 1, &[]);
    }
    let groups = ["a", "b", "c", "d"];
    find_coordinator(&mut wire, &groups);
    for group in groups {
        commit_alone(&mut wire, group, "kept", &[(0, 5)]);
        commit_alone(&mut wire, group, "gone", &[(0, 6)]);
    }
    delete_topic(&mut wire, "gone");
    // The answer to the deletion does not wait for the tombstones; the answer to the next commit does.
    for group in groups {
        commit_alone(&mut wire, group, "kept", &[(0, 7)]);
        assert_eq!(committed(&mut wire, group), [("kept".to_owned(), 0, 7)]);
    }
    node = node.restart(|_| {});
    wire = node.connect();
    for group in groups {
        retry_while_loading(|| {
            (describe(&mut wire, group).error_code != ErrorCode::CoordinatorLoadInProgress.code()).then_some(())
        });
        assert_eq!(committed(&mut wire, group), [("kept".to_owned(), 0, 7)]);
    }
    let mut member = Member::known(&node, "a");
    member.lead_alone("everything");
    delete_topic(&mut wire, "__consumer_offsets");
    assert_eq!(member.heartbeat(), ErrorCode::NotCoordinator.code());
    assert_eq!(listed(&mut wire), []);
    find_coordinator(&mut wire, &["a"]);
    assert_eq!((listed(&mut wire), committed(&mut wire, "a")), (Vec::new(), Vec::new()));
    assert_eq!(member.heartbeat(), ErrorCode::UnknownMemberId.code());
}

/// A member that waited kept the memory in which its request had come, and one of the few places for large requests: with a few such members the last one
/// could not join, and all waited for it.
#[test]
fn members_that_say_much_do_not_keep_others_from_joining() {
    const MEMBERS: usize = 12;
    let node = node("groups-large", 1, |options| {
        options.net.buffer_bytes = 1 << 20;
        options.shard.groups.group_initial_rebalance_delay = Duration::from_secs(3600);
    });
    let mut wire = node.connect();
    find_coordinator(&mut wire, &["crowd"]);
    let mut members: Vec<_> = (0..MEMBERS).map(|_| Member::known(&node, "crowd")).collect();
    for member in &mut members {
        member.said = Bytes::from(vec![7; 300_000]);
        member.ask_to_join();
    }
    // All of them wait for the delay of the first rebalance; the broker hears of each nevertheless.
    while describe(&mut wire, "crowd").members.len() < MEMBERS {}
    let said = vec![0; 300_000];
    let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 0, values: &[&said] };
    wire.create("work", 1, &[]);
    assert_eq!(wire.produce("work", 0, -1, &batch.encode()).error_code, 0);
    node.begin_stop();
    for member in &mut members {
        assert_eq!(member.joined().error_code, ErrorCode::NotCoordinator.code());
    }
    node.wait();
}
