//! Groups of the consumer protocol (KIP-848): members and epochs, who has what, and what is refused.

use bytes::Bytes;
use coretide::base::TopicId;
use coretide::node::Options;
use coretide::protocol::messages::consumer_group_describe::DescribedGroup;
use coretide::protocol::messages::consumer_group_heartbeat::TopicPartitions;
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode, Str};

use crate::groups::{commit, committed, find_coordinator, retry_while_loading, topic_id};
use crate::support::node::{Node, Wire};

/// A broker whose groups are dealt out anew as often as they change.
fn node(name: &str, cores: usize, change: impl FnOnce(&mut Options)) -> Node {
    Node::with(name, cores, |options| {
        options.shard.groups.group_consumer_assignment_interval_ms = 0;
        options.shard.groups.group_min_session_timeout_ms = 1;
        options.broker.offsets_partitions = 10;
        change(options);
    })
}

/// A member of a group, with a connection of its own, that takes and gives up partitions as it is told.
struct Consumer {
    wire: Wire,
    group: Str,
    id: Str,
    instance: Option<Str>,
    topics: Vec<Str>,
    assignor: Option<Str>,
    epoch: i32,
    has: Vec<(TopicId, Vec<i32>)>,
}

impl Consumer {
    fn new(wire: Wire, group: &str, id: &str, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|topic| Str::from(*topic)).collect();
        let (instance, assignor) = (None, None);
        Self { wire, group: group.into(), id: id.into(), instance, topics, assignor, epoch: 0, has: Vec::new() }
    }

    fn of(node: &Node, group: &str, id: &str, topics: &[&str]) -> Self {
        Self::new(node.connect(), group, id, topics)
    }

    /// All that a member says when it joins, and whenever it is in doubt.
    fn whole(&self) -> ConsumerGroupHeartbeatRequest {
        let owned = |(topic_id, partitions): &(TopicId, Vec<i32>)| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.clone(),
        };
        ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: self.instance.clone(),
            rack_id: None,
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(self.topics.clone()),
            subscribed_topic_regex: None,
            server_assignor: self.assignor.clone(),
            topic_partitions: Some(self.has.iter().map(owned).collect()),
        }
    }

    /// A heartbeat that says nothing new.
    fn bare(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            ..Default::default()
        }
    }

    fn ask(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        self.wire.call(ApiKey::ConsumerGroupHeartbeat, 1, request)
    }

    /// A heartbeat that must be answered well. The member does as it is told.
    fn beat(&mut self) -> ConsumerGroupHeartbeatResponse {
        let answer = self.ask(&self.whole());
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, None));
        assert_eq!(answer.member_id, Some(self.id.clone()));
        self.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            let topics = assignment.topic_partitions.iter();
            self.has = topics.map(|topic| (topic.topic_id, topic.partitions.clone())).collect();
        }
        answer
    }

    fn code(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ErrorCode {
        let answer = self.ask(request);
        let code = ErrorCode::from_code(answer.error_code).expect("a code of Kafka's");
        assert_eq!(answer.error_message.is_some(), code != ErrorCode::None, "{code}");
        code
    }

    fn leave(&mut self, epoch: i32) -> ConsumerGroupHeartbeatResponse {
        self.epoch = epoch;
        let request = ConsumerGroupHeartbeatRequest { instance_id: self.instance.clone(), ..self.bare() };
        self.has.clear();
        self.ask(&request)
    }

    fn partitions(&self) -> Vec<i32> {
        let mut all: Vec<_> = self.has.iter().flat_map(|(_, partitions)| partitions.clone()).collect();
        all.sort_unstable();
        all
    }
}

/// Members are heard of until each has so many partitions and the group is stable.
fn settle(members: &mut [&mut Consumer], counts: &[usize]) -> DescribedGroup {
    for _ in 0..10_000 {
        for member in members.iter_mut() {
            member.beat();
        }
        let had: Vec<_> = members.iter().map(|member| member.partitions().len()).collect();
        if had == counts {
            let group = members[0].group.clone();
            let described = describe(&mut members[0].wire, &group);
            if described.group_state == *"Stable" {
                return described;
            }
        }
    }
    panic!("never settled");
}

fn describe(wire: &mut Wire, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.into()], ..Default::default() };
    let mut response: ConsumerGroupDescribeResponse = wire.call(ApiKey::ConsumerGroupDescribe, 1, &request);
    assert_eq!(response.groups.len(), 1);
    response.groups.remove(0)
}

/// Groups of a type: name, state, protocol type, type.
fn listed(wire: &mut Wire, types: &[&str]) -> Vec<[String; 4]> {
    let types_filter = types.iter().map(|name| Str::from(*name)).collect();
    let request = ListGroupsRequest { types_filter, ..Default::default() };
    let response: ListGroupsResponse = wire.call(ApiKey::ListGroups, 5, &request);
    assert_eq!(response.error_code, 0);
    let text = |group: &list_groups::ListedGroup| {
        [&group.group_id, &group.group_state, &group.protocol_type, &group.group_type].map(|text| text.to_string())
    };
    response.groups.iter().map(text).collect()
}

fn delete(wire: &mut Wire, group: &str) -> ErrorCode {
    let request = DeleteGroupsRequest { groups_names: vec![group.into()] };
    let deleted: DeleteGroupsResponse = wire.call(ApiKey::DeleteGroups, 2, &request);
    ErrorCode::from_code(deleted.results[0].error_code).expect("a code of Kafka's")
}

#[test]
fn members_come_share_and_go() {
    let node = node("consumers-share", 2, |_| {});
    let mut wire = node.connect();
    wire.create("work", 4, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut one = Consumer::of(&node, "team", "one", &["work"]);
    let joined = one.beat();
    assert_eq!(joined.heartbeat_interval_ms, 5000);
    assert!(joined.member_epoch > 0);
    let alone = settle(&mut [&mut one], &[4]);
    assert_eq!((one.partitions(), alone.group_epoch), (vec![0, 1, 2, 3], one.epoch));
    // What it knows is not said again.
    let (bare, epoch) = (one.bare(), one.epoch);
    let quiet = one.ask(&bare);
    assert_eq!((quiet.error_code, quiet.member_epoch, quiet.assignment), (0, epoch, None));

    let mut other = Consumer::of(&node, "team", "other", &["work"]);
    other.beat();
    assert!(other.partitions().is_empty(), "the first one has them still");
    let described = settle(&mut [&mut one, &mut other], &[2, 2]);
    let mut all = [one.partitions(), other.partitions()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!((described.error_code, described.assignor_name.as_str()), (0, "uniform"));
    assert_eq!((described.group_epoch, described.assignment_epoch), (one.epoch, other.epoch));
    assert_eq!(described.members.len(), 2);
    for member in &described.members {
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("test", "/127.0.0.1"));
        assert_eq!((member.member_epoch, member.member_type), (one.epoch, 1));
        assert_eq!(member.subscribed_topic_names, ["work"]);
        assert_eq!((member.subscribed_topic_regex.as_deref().unwrap_or_default(), &member.rack_id), ("", &None));
        let [topic] = &member.assignment.topic_partitions[..] else { panic!("one topic") };
        assert_eq!((topic.topic_name.as_str(), topic.partitions.len()), ("work", 2));
        assert_eq!(member.assignment, member.target_assignment);
    }
    let here = ["team", "Stable", "consumer", "consumer"].map(str::to_owned);
    assert_eq!(listed(&mut wire, &[]), std::slice::from_ref(&here));
    assert_eq!(listed(&mut wire, &["Consumer"]), [here]);
    assert!(listed(&mut wire, &["classic"]).is_empty());
    assert_eq!(delete(&mut wire, "team"), ErrorCode::NonEmptyGroup);

    let left = other.leave(-1);
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    settle(&mut [&mut one], &[4]);
    assert_eq!(one.leave(-1).error_code, 0);
    let empty = describe(&mut wire, "team");
    assert_eq!((empty.error_code, empty.group_state.as_str(), empty.members.len()), (0, "Empty", 0));
    assert_eq!(delete(&mut wire, "team"), ErrorCode::None);
    let gone = describe(&mut wire, "team");
    assert_eq!(gone.error_code, ErrorCode::GroupIdNotFound.code());
    assert!(gone.error_message.is_some_and(|message| message.contains("team")));
}

#[test]
fn epochs_that_are_not_the_members_own_are_fenced_or_stale() {
    let node = node("consumers-epochs", 2, |_| {});
    let mut wire = node.connect();
    wire.create("work", 2, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut member = Consumer::of(&node, "team", "one", &["work"]);
    settle(&mut [&mut member], &[2]);
    let epoch = member.epoch;

    let fenced = ConsumerGroupHeartbeatRequest { member_epoch: epoch + 1, ..member.bare() };
    assert_eq!(member.code(&fenced), ErrorCode::FencedMemberEpoch);
    let stranger = ConsumerGroupHeartbeatRequest { member_id: "stranger".into(), ..member.bare() };
    assert_eq!(member.code(&stranger), ErrorCode::UnknownMemberId);
    let elsewhere = ConsumerGroupHeartbeatRequest { group_id: "no team".into(), ..member.bare() };
    assert_eq!(member.code(&elsewhere), ErrorCode::GroupIdNotFound);
    let assignor = ConsumerGroupHeartbeatRequest { server_assignor: Some("sticky".into()), ..member.whole() };
    assert_eq!(member.code(&assignor), ErrorCode::UnsupportedAssignor);
    assert_eq!((member.beat().member_epoch, member.partitions()), (epoch, vec![0, 1]), "nothing came of it");

    let mut commit = |version, member: (&str, i32)| {
        let topic = ("work", topic_id(&mut wire, "work"));
        let codes = commit(&mut wire, version, "team", member, topic, &[(0, 7)]);
        ErrorCode::from_code(codes[0]).expect("a code of Kafka's")
    };
    for version in [9, 10] {
        assert_eq!(commit(version, ("one", epoch)), ErrorCode::None);
        assert_eq!(commit(version, ("one", epoch + 1)), ErrorCode::StaleMemberEpoch);
        assert_eq!(commit(version, ("stranger", epoch)), ErrorCode::UnknownMemberId);
        assert_eq!(commit(version, ("", -1)), ErrorCode::UnknownMemberId, "the group has members");
    }
    // Clients that know nothing of epochs do not get to commit with one.
    assert_eq!(commit(8, ("one", epoch)), ErrorCode::UnsupportedVersion);

    let mut fetch = |member: Option<&str>, member_epoch| {
        let group = offset_fetch::OffsetFetchRequestGroup {
            group_id: "team".into(),
            member_id: member.map(Into::into),
            member_epoch,
            topics: None,
        };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let response: OffsetFetchResponse = wire.call(ApiKey::OffsetFetch, 9, &request);
        ErrorCode::from_code(response.groups[0].error_code).expect("a code of Kafka's")
    };
    assert_eq!(fetch(None, -1), ErrorCode::None, "tools ask without a member");
    assert_eq!(fetch(Some("one"), epoch), ErrorCode::None);
    assert_eq!(fetch(Some("one"), epoch + 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(fetch(Some("stranger"), epoch), ErrorCode::UnknownMemberId);
    assert_eq!(committed(&mut wire, "team"), [("work".to_owned(), 0, 7)]);
}

#[test]
fn a_static_member_leaves_its_place_to_its_next_life() {
    let node = node("consumers-static", 1, |_| {});
    let mut wire = node.connect();
    wire.create("work", 3, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut first = Consumer::of(&node, "team", "first life", &["work"]);
    first.instance = Some("instance".into());
    settle(&mut [&mut first], &[3]);
    let mut second = Consumer::of(&node, "team", "second life", &["work"]);
    second.instance = first.instance.clone();
    let whole = second.whole();
    assert_eq!(second.code(&whole), ErrorCode::UnreleasedInstanceId);
    let left = first.leave(-2);
    assert_eq!((left.error_code, left.member_epoch), (0, -2));
    settle(&mut [&mut second], &[3]);
    let described = describe(&mut wire, "team");
    assert_eq!(described.members.len(), 1);
    assert_eq!(described.members[0].instance_id.as_deref(), Some("instance"));
    first.epoch = 1;
    let bare = first.bare();
    assert_ne!(first.code(&bare), ErrorCode::None);
}

#[test]
fn a_member_that_is_silent_is_out() {
    let node = node("consumers-silent", 1, |options| {
        options.shard.groups.group_consumer_session_timeout_ms = 100;
    });
    let mut wire = node.connect();
    wire.create("work", 3, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut silent = Consumer::of(&node, "team", "silent", &["work"]);
    silent.beat();
    let mut stays = Consumer::of(&node, "team", "stays", &["work"]);
    let described = loop {
        stays.beat();
        let described = describe(&mut wire, "team");
        if described.members.len() == 1 && stays.partitions().len() == 3 {
            break described;
        }
    };
    assert_eq!(described.members[0].member_id, *"stays");
    let bare = silent.bare();
    let knocks = ConsumerGroupHeartbeatRequest { member_epoch: 1, ..bare };
    assert_eq!(silent.code(&knocks), ErrorCode::UnknownMemberId);
}

#[test]
fn a_group_outlives_a_restart() {
    let mut node = node("consumers-restart", 2, |_| {});
    let mut wire = node.connect();
    wire.create("work", 4, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut one = Consumer::of(&node, "team", "one", &["work"]);
    let mut other = Consumer::of(&node, "team", "other", &["work"]);
    settle(&mut [&mut one, &mut other], &[2, 2]);
    let (topic, epoch) = (("work", TopicId::ZERO), one.epoch);
    assert_eq!(commit(&mut wire, 9, "team", ("one", epoch), topic, &[(1, 11)]), [0]);
    let mut gone = Consumer::of(&node, "gone", "one", &["work"]);
    gone.beat();
    assert_eq!(commit(&mut wire, 9, "gone", ("one", gone.epoch), topic, &[(1, 11)]), [0]);
    assert_eq!((gone.leave(-1).error_code, delete(&mut wire, "gone")), (0, ErrorCode::None));
    node = node.restart(|_| {});
    wire = node.connect();
    retry_while_loading(|| {
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        (describe(&mut wire, "team").error_code != loading).then_some(())
    });
    let described = describe(&mut wire, "team");
    assert_eq!((described.group_state.as_str(), described.group_epoch), ("Stable", epoch));
    // Offsets of a group that is no more once made one of the classic protocol when they were read again.
    let groups: Vec<_> = listed(&mut wire, &[]).into_iter().map(|[group, ..]| group).collect();
    assert_eq!(groups, ["team"]);
    for member in [&mut one, &mut other] {
        member.wire = node.connect();
        let had = member.has.clone();
        assert_eq!(member.beat().member_epoch, epoch, "no rebalance");
        assert_eq!(member.has, had);
    }
    assert_eq!(commit(&mut wire, 9, "team", ("other", epoch), topic, &[(2, 12)]), [0]);
    assert_eq!(committed(&mut wire, "team"), [("work".to_owned(), 1, 11), ("work".to_owned(), 2, 12)]);
}

#[test]
fn the_two_protocols_keep_out_of_each_others_groups() {
    let node = node("consumers-classic", 2, |options| {
        options.shard.groups.group_initial_rebalance_delay = std::time::Duration::ZERO;
    });
    let mut wire = node.connect();
    wire.create("work", 1, &[]);
    find_coordinator(&mut wire, &["new", "old"]);
    let mut member = Consumer::of(&node, "new", "one", &["work"]);
    settle(&mut [&mut member], &[1]);
    let join = |group: &str, member: Str| JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member,
        protocol_type: "consumer".into(),
        protocols: vec![join_group::JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::new() }],
        ..Default::default()
    };
    let refused: JoinGroupResponse = wire.call(ApiKey::JoinGroup, 9, &join("new", Str::default()));
    assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol.code());
    let request = DescribeGroupsRequest { groups: vec!["new".into()], ..Default::default() };
    let described: DescribeGroupsResponse = wire.call(ApiKey::DescribeGroups, 6, &request);
    assert_eq!(described.groups[0].error_code, ErrorCode::GroupIdNotFound.code());

    let refused: JoinGroupResponse = wire.call(ApiKey::JoinGroup, 9, &join("old", Str::default()));
    let joined: JoinGroupResponse = wire.call(ApiKey::JoinGroup, 9, &join("old", refused.member_id));
    assert_eq!(joined.error_code, 0);
    let mut stranger = Consumer::of(&node, "old", "one", &["work"]);
    let whole = stranger.whole();
    assert_eq!(stranger.code(&whole), ErrorCode::GroupIdNotFound);
    assert_eq!(describe(&mut wire, "old").error_code, ErrorCode::GroupIdNotFound.code());
    let types: Vec<_> = listed(&mut wire, &[]).into_iter().map(|[group, _, _, kind]| (group, kind)).collect();
    assert_eq!(types, [("new".into(), "consumer".into()), ("old".into(), "classic".into())]);
}

#[test]
fn an_expression_finds_topics_that_come_later() {
    let node = node("consumers-regex", 1, |_| {});
    let mut wire = node.connect();
    wire.create("events-a", 1, &[]);
    wire.create("other", 1, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut member = Consumer::of(&node, "team", "one", &[]);
    let regex = |text: &str| Some(Str::from(text));
    let wrong = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: regex("events-(["), ..member.whole() };
    assert_eq!(member.code(&wrong), ErrorCode::InvalidRegularExpression);
    let mut request = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: regex("events-.*"),
        ..member.whole()
    };
    let mut topics = 0;
    while topics != 1 {
        let answer = member.ask(&request);
        assert_eq!(answer.error_code, 0);
        topics = answer.assignment.map_or(0, |assignment| assignment.topic_partitions.len());
        request = ConsumerGroupHeartbeatRequest { member_epoch: answer.member_epoch, ..member.bare() };
    }
    assert_eq!(describe(&mut wire, "team").members[0].subscribed_topic_regex.as_deref(), Some("events-.*"));
}

#[test]
fn nobody_coordinates_before_the_topic_is_made() {
    let node = node("consumers-none", 1, |_| {});
    let mut member = Consumer::of(&node, "team", "one", &["work"]);
    let whole = member.whole();
    assert_eq!(member.code(&whole), ErrorCode::NotCoordinator);
    let described = describe(&mut member.wire, "team");
    assert_eq!(described.error_code, ErrorCode::NotCoordinator.code());
}

#[test]
fn the_protocol_can_be_turned_off() {
    let node = node("consumers-off", 1, |options| options.broker.consumer_groups = false);
    let mut member = Consumer::of(&node, "team", "one", &["work"]);
    find_coordinator(&mut member.wire, &["team"]);
    let whole = member.whole();
    assert_eq!(member.ask(&whole).error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(describe(&mut member.wire, "team").error_code, ErrorCode::UnsupportedVersion.code());
}

#[test]
fn requests_that_no_client_sends_are_refused_with_a_sentence() {
    let node = node("consumers-nonsense", 2, |_| {});
    let mut wire = node.connect();
    wire.create("work", 1, &[]);
    find_coordinator(&mut wire, &["team"]);
    let mut member = Consumer::of(&node, "team", "one", &["work"]);
    let whole = member.whole();
    for request in [
        ConsumerGroupHeartbeatRequest { group_id: "".into(), ..whole.clone() },
        ConsumerGroupHeartbeatRequest { member_id: "".into(), ..whole.clone() },
        ConsumerGroupHeartbeatRequest { member_epoch: -3, ..whole.clone() },
        ConsumerGroupHeartbeatRequest { member_epoch: i32::MIN, ..whole.clone() },
        ConsumerGroupHeartbeatRequest { member_epoch: -2, ..whole.clone() },
        ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..whole.clone() },
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..whole.clone() },
        ConsumerGroupHeartbeatRequest { topic_partitions: None, ..whole.clone() },
    ] {
        assert_eq!(member.code(&request), ErrorCode::InvalidRequest, "{request:?}");
    }
    assert_eq!(describe(&mut wire, "").error_code, ErrorCode::InvalidGroupId.code());
    assert_eq!(describe(&mut wire, "team").error_code, ErrorCode::GroupIdNotFound.code(), "nothing came of them");

    // What is too much for a member is refused or kept, and others are served meanwhile.
    let many: Vec<Str> = (0..100_000).map(|number| format!("topic {number}").into()).collect();
    let named = ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(many), ..whole.clone() };
    member.ask(&named);
    settle(&mut [&mut member], &[1]);
    let owned = TopicPartitions { topic_id: TopicId([7; 16]), partitions: (0..100_000).collect() };
    let owning = ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![owned]), ..member.bare() };
    member.ask(&owning);
    let long = "x".repeat(32_767);
    let regex = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some(long.as_str().into()), ..member.bare() };
    member.ask(&regex);
    for count in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 6]] {
        // A group, a member, an epoch, no instance, no rack, a timeout, and then so many names.
        let mut body = vec![0, 2, b'g', 2, b'm', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend(count);
        let mut closed = node.connect();
        closed.send_request(68, 1, &body);
        closed.expect_closed("a huge count of topics");
    }
    let asked = vec!["team".into(); 50_000];
    let request = ConsumerGroupDescribeRequest { group_ids: asked, include_authorized_operations: true };
    let described: ConsumerGroupDescribeResponse = wire.call(ApiKey::ConsumerGroupDescribe, 1, &request);
    assert_eq!(described.groups.len(), 1, "each group once");
}

#[test]
fn version_0_gives_out_ids_and_every_version_answers() {
    let node = node("consumers-versions", 1, |_| {});
    let mut wire = node.connect();
    wire.create("work", 1, &[]);
    find_coordinator(&mut wire, &["team"]);
    let nobody = Consumer::of(&node, "team", "", &["work"]).whole();
    let joined: ConsumerGroupHeartbeatResponse = wire.call(ApiKey::ConsumerGroupHeartbeat, 0, &nobody);
    let id = joined.member_id.expect("an id");
    assert!(joined.error_code == 0 && !id.is_empty());
    for version in [0, 1] {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec!["team".into()], include_authorized_operations: true };
        let described: ConsumerGroupDescribeResponse = wire.call(ApiKey::ConsumerGroupDescribe, version, &request);
        let group = &described.groups[0];
        assert_eq!((group.error_code, &group.members[0].member_id), (0, &id));
        assert_eq!(group.members[0].member_type, if version == 0 { -1 } else { 1 });
        assert_ne!(group.authorized_operations, i32::MIN);
    }
}
