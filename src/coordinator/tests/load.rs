//! Loading: what a coordinator knows after a restart.

use super::*;
use crate::coordinator::records::MemberMetadata;

#[test]
fn a_group_goes_on_after_a_restart() {
    let mut world = World::new();
    let members = world.stable(vec![instance("i"), joining("b")]);
    world.commit_offsets(commit_as(&members[0], &[("t", 0, 42)])).unwrap();
    world.restart();
    assert_eq!(world.state("g"), State::Stable);
    for member in &members {
        assert_eq!(world.heartbeat("g", &member.member_id, 1), Ok(()));
        let sync = world.sync("g", member, &[]);
        assert_eq!(world.synced(sync), Ok(member.member_id.to_string()));
    }
    let follower = &members[1];
    let again = world.join(JoinGroup { group_instance_id: None, ..rejoining("b", follower) });
    assert_eq!(world.joined(again).generation_id, 1, "a follower with one protocol has nothing new to say");
    assert_eq!(world.offsets("g"), [("t".into(), 0, 42)]);
    let back = world.join(instance("i"));
    assert_eq!(world.joined(back).generation_id, 1, "a static member is known by its instance");
}

#[test]
fn members_have_the_time_of_their_sessions_to_be_heard_of() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), JoinGroup { session_timeout_ms: 20_000, ..joining("b") }]);
    world.pass(secs(9));
    world.restart();
    for (member, seconds) in members.iter().zip([10, 20]) {
        let timer = Timer::Session { group: "g".into(), member: member.member_id.clone() };
        assert_eq!(world.coordinator.timers.deadline(&timer), Some(world.now.mono + secs(seconds)));
    }
    world.pass(secs(10));
    assert_eq!(world.state("g"), State::PreparingRebalance);
}

#[test]
fn a_group_that_became_too_large_shrinks_by_a_rebalance() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b"), joining("c")]);
    world.options.group_max_size = 2;
    world.restart();
    assert_eq!(world.state("g"), State::PreparingRebalance);
    assert_eq!(world.commit_offsets(commit_as(&members[2], &[("t", 0, 1)])), Ok(vec![Ok(())]), "it can still commit");
    let tokens: Vec<Token> = members.iter().map(|member| world.join(rejoining("", member))).collect();
    assert_eq!(world.refused(tokens[2]), (GroupError::GroupMaxSizeReached, String::new()));
    world.pass(secs(60));
    assert_eq!(world.joined(tokens[0]).members.len(), 2);
}

#[test]
fn a_tombstone_takes_the_group_and_a_later_record_brings_it_back() {
    let now = Now { mono: Mono(0), wall: Timestamp(BEGIN) };
    let mut loading = Loading::new(Options::default());
    let value = GroupMetadataValue { protocol_type: "consumer".into(), generation: 4, ..Default::default() };
    let group = CoordinatorRecord::group(&"g".into(), &value);
    let gone = CoordinatorRecord::group_tombstone(&"g".into());
    for record in [&group, &gone, &group, &gone, &gone] {
        loading.replay(&record.key, record.value.as_ref(), now).unwrap();
    }
    assert_eq!(loading.replayed().records, 5);
    loading.replay(&group.key, group.value.as_ref(), now).unwrap();
    let coordinator = loading.loaded(now);
    let group = &coordinator.groups["g"];
    assert_eq!((group.state, group.generation_id, group.is_consumer()), (State::Empty, 4, true));
}

#[test]
fn records_that_are_not_understood_are_counted() {
    let now = Now { mono: Mono(0), wall: Timestamp(BEGIN) };
    let mut loading = Loading::new(Options::default());
    let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let known = CoordinatorRecord::group_tombstone(&"g".into());
    let faults = [
        loading.replay(&bytes(b"\0\x0a\0\x01g"), Some(&bytes(b"\0\0")), now),
        loading.replay(&known.key, Some(&bytes(b"\0\x09")), now),
        loading.replay(&known.key, Some(&bytes(b"\0\x03\0")), now),
        loading.replay(&bytes(b"\0"), None, now),
        loading.replay(&known.key, None, now),
    ];
    assert!(faults[..4].iter().all(Result::is_err) && faults[4].is_ok());
    let expected = Replayed { records: 1, unknown_kinds: 1, unknown_versions: 1, malformed: 2 };
    assert_eq!(loading.replayed(), expected);
    assert!(loading.loaded(now).is_empty());
}

/// Nobody writes such records, but a log is bytes.
#[test]
fn a_strange_group_is_taken_as_well_as_can_be() {
    let now = Now { mono: Mono(0), wall: Timestamp(BEGIN) };
    let member = |id: &str, instance: Option<&str>| MemberMetadata {
        member_id: id.into(),
        group_instance_id: instance.map(Str::from),
        session_timeout: -5,
        rebalance_timeout: -1,
        ..Default::default()
    };
    let value = GroupMetadataValue {
        leader: Some("nobody".into()),
        generation: i32::MAX,
        members: vec![member("a", Some("i")), member("a", None), member("b", Some("i")), member("c", None)],
        ..Default::default()
    };
    let record = CoordinatorRecord::group(&"g".into(), &value);
    let mut loading = Loading::new(Options::default());
    loading.replay(&record.key, record.value.as_ref(), now).unwrap();
    let mut world = World::new();
    world.coordinator = loading.loaded(now);
    let group = &world.coordinator.groups["g"];
    group.check();
    assert_eq!(group.members().keys().map(|id| id.to_string()).collect::<Vec<_>>(), ["a", "c"]);
    world.pass(secs(60));
    assert_eq!(world.state("g"), State::Empty);
}
