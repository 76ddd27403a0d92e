//! SyncGroup, Heartbeat and LeaveGroup.

use super::*;

#[test]
fn everybody_waits_for_the_leaders_assignment() {
    let mut world = World::new();
    let tokens = [world.join(joining("a")), world.join(joining("b")), world.join(joining("c"))];
    world.pass(Duration::ZERO);
    let members = tokens.map(|token| world.joined(token));
    let early = world.sync("g", &members[1], &[]);
    assert!(world.waits(early));
    assert_eq!(world.heartbeat("g", &members[1].member_id, 1), Ok(()));
    let ids = members.clone().map(|member| member.member_id.to_string());
    world.slow = true;
    let leader = world.sync("g", &members[0], &[(&ids[0], "for a"), (&ids[1], "for b"), ("stranger", "lost")]);
    let late = world.sync("g", &members[2], &[]);
    assert!(world.waits(early) && world.waits(leader) && world.waits(late), "the assignment is not durable");
    assert!(world.commit());
    assert_eq!(world.synced(leader), Ok("for a".into()));
    assert_eq!(world.synced(early), Ok("for b".into()));
    assert_eq!(world.synced(late), Ok(String::new()), "the leader forgot it");
    let (_, value) = world.last_group();
    let value = value.unwrap();
    let assigned: Vec<_> =
        value.members.iter().map(|member| (member.member_id.to_string(), member.assignment.clone())).collect();
    let [a, b, c] = ids;
    assert_eq!(assigned, [(a.clone(), "for a".into()), (b, "for b".into()), (c, Bytes::new())]);
    assert_eq!(
        (value.generation, value.leader.as_deref(), value.protocol.as_deref()),
        (1, Some(a.as_str()), Some("range"))
    );
    let again = world.sync("g", &members[1], &[]);
    assert_eq!(world.synced(again), Ok("for b".into()), "whoever asks again is told again");
}

/// The record has the time at which the generation began, as Kafka writes it, not that at which it became stable.
#[test]
fn the_record_of_a_generation_has_the_time_of_its_beginning() {
    let mut world = World::new();
    let token = world.join(joining("a"));
    world.pass(Duration::ZERO);
    world.pass(secs(2));
    let member = world.joined(token);
    world.sync("g", &member, &[]);
    assert_eq!(world.last_group().1.unwrap().current_state_timestamp, BEGIN);
    assert_eq!(world.coordinator.groups["g"].state_timestamp, Timestamp(BEGIN + 2_000));
}

#[test]
fn what_is_wrong_with_a_sync_is_said() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    let ok = || SyncGroup {
        group: "g".into(),
        member_id: member.member_id.clone(),
        group_instance_id: None,
        generation_id: 1,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![],
    };
    let table = [
        (ok(), None),
        (SyncGroup { protocol_type: None, protocol_name: None, ..ok() }, None),
        (SyncGroup { group: "".into(), ..ok() }, Some(GroupError::InvalidGroupId)),
        (SyncGroup { group: "none".into(), ..ok() }, Some(GroupError::UnknownMemberId)),
        (SyncGroup { member_id: "none".into(), ..ok() }, Some(GroupError::UnknownMemberId)),
        (SyncGroup { member_id: "".into(), ..ok() }, Some(GroupError::UnknownMemberId)),
        (SyncGroup { group_instance_id: Some("i".into()), ..ok() }, Some(GroupError::UnknownMemberId)),
        (SyncGroup { generation_id: 0, ..ok() }, Some(GroupError::IllegalGeneration)),
        (SyncGroup { generation_id: 2, ..ok() }, Some(GroupError::IllegalGeneration)),
        (SyncGroup { protocol_type: Some("connect".into()), ..ok() }, Some(GroupError::InconsistentGroupProtocol)),
        (SyncGroup { protocol_name: Some("sticky".into()), ..ok() }, Some(GroupError::InconsistentGroupProtocol)),
    ];
    for (sync, error) in table {
        let what = format!("{sync:?}");
        let token = world.ask(Command::SyncGroup(sync));
        assert_eq!(world.synced(token).err(), error, "{what}");
    }
}

#[test]
fn a_sync_during_a_rebalance_sends_the_member_to_join() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b")]);
    world.join(joining("c"));
    let token = world.sync("g", &members[0], &[]);
    assert_eq!(world.synced(token), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_member_that_syncs_twice_has_one_answer_for_each() {
    let mut world = World::new();
    let tokens = [world.join(joining("a")), world.join(joining("b"))];
    world.pass(Duration::ZERO);
    let follower = world.joined(tokens[1]);
    let first = world.sync("g", &follower, &[]);
    let second = world.sync("g", &follower, &[]);
    assert_eq!(world.synced(first), Err(GroupError::RebalanceInProgress));
    assert!(world.waits(second));
}

#[test]
fn a_newcomer_sends_away_those_who_wait_for_their_assignment() {
    let mut world = World::new();
    let tokens = [world.join(joining("a")), world.join(joining("b"))];
    world.pass(Duration::ZERO);
    let follower = world.joined(tokens[1]);
    let waiting = world.sync("g", &follower, &[]);
    world.join(joining("c"));
    assert_eq!(world.synced(waiting), Err(GroupError::RebalanceInProgress));
}

#[test]
fn an_assignment_that_the_log_does_not_take_reaches_nobody() {
    let options =
        Options { batch_bytes_max: 1_500, group_initial_rebalance_delay: Duration::ZERO, ..Options::default() };
    let mut world = World::with(options);
    let tokens = [world.join(joining("a")), world.join(joining("b"))];
    world.pass(Duration::ZERO);
    let members = tokens.map(|token| world.joined(token));
    let waiting = world.sync("g", &members[1], &[]);
    let records = world.log.len();
    let leader = world.sync("g", &members[0], &[(&members[1].member_id, &"x".repeat(1_500))]);
    for token in [waiting, leader] {
        assert_eq!(world.synced(token), Err(GroupError::UnknownServerError));
    }
    assert_eq!((world.log.len(), world.state("g")), (records, State::PreparingRebalance));
    // The group is alive: a smaller one will do.
    let tokens = [world.join(rejoining("a", &members[0])), world.join(rejoining("b", &members[1]))];
    let leader = world.joined(tokens[0]);
    let token = world.sync("g", &leader, &[(&leader.member_id, "x")]);
    assert_eq!(world.synced(token), Ok("x".into()));
}

#[test]
fn what_is_wrong_with_a_heartbeat_is_said() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    let id = member.member_id.to_string();
    let table = [
        ("g", id.as_str(), 1, Ok(())),
        ("", id.as_str(), 1, Err(GroupError::InvalidGroupId)),
        ("none", id.as_str(), 1, Err(GroupError::UnknownMemberId)),
        ("g", "none", 1, Err(GroupError::UnknownMemberId)),
        ("g", id.as_str(), 0, Err(GroupError::IllegalGeneration)),
        ("g", id.as_str(), -1, Err(GroupError::IllegalGeneration)),
    ];
    for (group, member, generation, result) in table {
        assert_eq!(world.heartbeat(group, member, generation), result, "{group} {member} {generation}");
    }
}

#[test]
fn heartbeats_keep_a_member() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    for _ in 0..10 {
        world.pass(secs(9));
        assert_eq!(world.heartbeat("g", &member.member_id, 1), Ok(()));
    }
    world.pass(secs(9));
    assert_eq!(world.heartbeat("g", &member.member_id, 2), Err(GroupError::IllegalGeneration));
    world.pass(SECOND);
    assert_eq!(
        world.heartbeat("g", &member.member_id, 1),
        Err(GroupError::UnknownMemberId),
        "a wrong one does not count"
    );
}

#[test]
fn whoever_leaves_makes_the_others_rebalance_at_once() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b")]);
    assert_eq!(world.leave("g", &[(&members[0].member_id, None)]), [Ok(())]);
    assert_eq!(world.heartbeat("g", &members[1].member_id, 1), Err(GroupError::RebalanceInProgress));
    let token = world.join(rejoining("b", &members[1]));
    assert_eq!(world.joined(token).leader, members[1].member_id);
}

#[test]
fn whoever_leaves_is_no_longer_waited_for() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b")]);
    let token = world.join(rejoining("a", &members[0]));
    assert!(world.waits(token));
    assert_eq!(world.leave("g", &[(&members[1].member_id, None)]), [Ok(())]);
    assert_eq!(world.joined(token).members.len(), 1);
}

#[test]
fn whoever_leaves_while_it_waits_is_told() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b")]);
    let token = world.join(rejoining("a", &members[0]));
    assert_eq!(world.leave("g", &[(&members[0].member_id, None)]), [Ok(())]);
    assert_eq!(world.refused(token), (GroupError::UnknownMemberId, String::new()));

    let mut world = World::new();
    let tokens = [world.join(joining("a")), world.join(joining("b"))];
    world.pass(Duration::ZERO);
    let follower = world.joined(tokens[1]);
    let sync = world.sync("g", &follower, &[]);
    assert_eq!(world.leave("g", &[(&follower.member_id, None)]), [Ok(())]);
    assert_eq!(world.synced(sync), Err(GroupError::UnknownMemberId));
}

#[test]
fn several_members_leave_together() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b"), joining("c")]);
    let pending = world.join(JoinGroup { require_known_member_id: true, ..joining("d") });
    let (_, pending) = world.refused(pending);
    let (a, b) = (members[0].member_id.to_string(), members[1].member_id.to_string());
    let left =
        world.leave("g", &[(&a, None), ("none", None), (&pending, None), (&b, None), (&b, None), (&a, Some("i"))]);
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(left, [Ok(()), unknown, Ok(()), Ok(()), unknown, unknown]);
    let token = world.join(rejoining("c", &members[2]));
    assert_eq!(world.joined(token).members.len(), 1);
}

#[test]
fn nobody_can_leave_what_is_not_there() {
    let mut world = World::new();
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(world.leave("none", &[("a", None), ("", Some("i"))]), [unknown, unknown]);
    let token = world.ask(Command::LeaveGroup(LeaveGroup { group: "".into(), members: vec![] }));
    assert_eq!(world.answer(token), &Reply::LeaveGroup(Err(GroupError::InvalidGroupId)));
    world.commit_offsets(commit("g", &[("t", 0, 1)])).unwrap();
    assert_eq!(world.leave("g", &[("a", None)]), [unknown]);
}
