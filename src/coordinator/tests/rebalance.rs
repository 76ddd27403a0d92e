//! How long a rebalance waits, and for whom.

use super::*;

#[test]
fn the_first_rebalance_waits_for_more_members_to_come() {
    let mut world = World::with(Options { group_initial_rebalance_delay: secs(3), ..Options::default() });
    let first = world.join(JoinGroup { rebalance_timeout_ms: 7_000, ..joining("a") });
    world.pass(secs(3) - Duration::from_millis(1));
    assert!(world.waits(first));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.joined(first).members.len(), 1, "nobody came, so the wait is over");
}

#[test]
fn each_newcomer_extends_the_first_wait_up_to_the_rebalance_timeout() {
    let mut world = World::with(Options { group_initial_rebalance_delay: secs(3), ..Options::default() });
    let mut tokens = Vec::new();
    let mut ends = Vec::new();
    for second in 0..9 {
        tokens.push(world.join(JoinGroup { rebalance_timeout_ms: 7_000, ..joining("a") }));
        world.pass(SECOND);
        ends.push((second + 1, tokens.iter().filter(|token| !world.waits(**token)).count()));
    }
    // Waits of 3, 3 and 1 seconds: the seven of the rebalance timeout. Then everybody who came has joined.
    assert_eq!(ends.iter().find(|(_, answered)| *answered > 0), Some(&(7, 7)));
}

#[test]
fn a_wait_ends_when_nobody_came_during_it() {
    let mut world = World::with(Options { group_initial_rebalance_delay: secs(3), ..Options::default() });
    let first = world.join(joining("a"));
    world.pass(SECOND);
    let second = world.join(joining("b"));
    world.pass(secs(2));
    assert!(world.waits(first) && world.waits(second), "b came during the first wait");
    world.pass(secs(3));
    assert_eq!(world.joined(first).members.len(), 2);
    assert_eq!(world.joined(second).generation_id, 1);
}

#[test]
fn a_rebalance_ends_when_all_members_have_joined() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b")]);
    let newcomer = world.join(joining("c"));
    assert_eq!(world.state("g"), State::PreparingRebalance);
    for member in &members {
        assert_eq!(world.heartbeat("g", &member.member_id, 1), Err(GroupError::RebalanceInProgress));
    }
    let a = world.join(rejoining("a", &members[0]));
    assert!(world.waits(newcomer) && world.waits(a));
    let b = world.join(rejoining("b", &members[1]));
    for token in [newcomer, a, b] {
        assert_eq!(world.joined(token).generation_id, 2);
    }
    assert_eq!(world.joined(a).members.len(), 3);
}

#[test]
fn dynamic_members_that_do_not_join_in_time_are_removed() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), JoinGroup { rebalance_timeout_ms: 90_000, ..joining("b") }]);
    let newcomer = world.join(joining("c"));
    // The longest timeout of all counts. Heartbeats keep the others' sessions.
    for _ in 0..89 {
        world.pass(SECOND);
        for member in &members {
            let _ = world.heartbeat("g", &member.member_id, 1);
        }
    }
    assert!(world.waits(newcomer));
    world.pass(SECOND);
    let joined = world.joined(newcomer);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
    assert_eq!(joined.leader, joined.member_id, "the leader did not join, so another one leads");
    assert_eq!(world.heartbeat("g", &members[0].member_id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_member_that_falls_silent_is_removed() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), JoinGroup { session_timeout_ms: 30_000, ..joining("b") }]);
    world.pass(secs(10) - Duration::from_millis(1));
    assert_eq!(world.state("g"), State::Stable);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.state("g"), State::PreparingRebalance, "a was silent for 10 seconds");
    assert_eq!(world.heartbeat("g", &members[0].member_id, 1), Err(GroupError::UnknownMemberId));
    let token = world.join(rejoining("b", &members[1]));
    let joined = world.joined(token);
    assert_eq!((joined.leader.clone(), joined.members.len()), (joined.member_id, 1));
}

#[test]
fn the_last_member_leaves_an_empty_group_behind() {
    let mut world = World::new();
    world.stable(vec![joining("a")]);
    world.pass(secs(10));
    assert_eq!(world.state("g"), State::Empty);
    let (_, value) = world.last_group();
    let expected = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 2,
        current_state_timestamp: BEGIN + 10_000,
        ..Default::default()
    };
    assert_eq!(value, Some(expected));
}

#[test]
fn a_member_that_waits_is_not_taken_for_silent() {
    let mut world = World::new();
    let long = |client| JoinGroup { rebalance_timeout_ms: 300_000, ..joining(client) };
    let members = world.stable(vec![long("a"), JoinGroup { session_timeout_ms: 200_000, ..long("b") }]);
    let waiting = world.join(JoinGroup { member_id: members[0].member_id.clone(), ..long("a") });
    world.pass(secs(100));
    assert!(world.waits(waiting), "its session of 10 seconds is long over, but it cannot send heartbeats");
    world.pass(secs(101));
    assert_eq!(world.joined(waiting).members.len(), 1, "b could, and did not");
}

/// A client that gave up comes again under another id. The one it gave up would hold a place in the group for as long as a rebalance lasts.
#[test]
fn a_new_member_that_waits_is_given_up_after_five_minutes() {
    let mut world = World::new();
    let long = |client| JoinGroup { rebalance_timeout_ms: 3_600_000, session_timeout_ms: 1_000_000, ..joining(client) };
    world.stable(vec![long("a")]);
    let newcomer = world.join(long("b"));
    world.pass(secs(300) - Duration::from_millis(1));
    assert!(world.waits(newcomer));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.refused(newcomer), (GroupError::UnknownMemberId, String::new()));
}

#[test]
fn members_that_do_not_ask_for_their_assignment_are_removed() {
    let mut world = World::new();
    let tokens = [world.join(joining("a")), world.join(joining("b")), world.join(joining("c"))];
    world.pass(Duration::ZERO);
    let members = tokens.map(|token| world.joined(token));
    let leader = world.sync("g", &members[0], &[]);
    assert_eq!(world.synced(leader), Ok(String::new()));
    for _ in 0..60 {
        assert_eq!(world.state("g"), State::Stable);
        for member in &members {
            assert_eq!(world.heartbeat("g", &member.member_id, 1), Ok(()));
        }
        world.pass(SECOND);
    }
    assert_eq!(world.state("g"), State::PreparingRebalance);
    let known = members.map(|member| world.heartbeat("g", &member.member_id, 1));
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(known, [Err(GroupError::RebalanceInProgress), unknown, unknown]);
}

#[test]
fn without_the_leaders_assignment_nobody_waits_for_ever() {
    let mut world = World::new();
    let tokens = [world.join(joining("a")), world.join(joining("b"))];
    world.pass(Duration::ZERO);
    let [leader, follower] = tokens.map(|token| world.joined(token));
    let waiting = world.sync("g", &follower, &[]);
    for _ in 0..59 {
        world.pass(SECOND);
        assert_eq!(world.heartbeat("g", &leader.member_id, 1), Ok(()));
        assert!(world.waits(waiting));
    }
    world.pass(SECOND);
    assert_eq!(world.synced(waiting), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.heartbeat("g", &leader.member_id, 1), Err(GroupError::UnknownMemberId));
    let again = world.join(rejoining("b", &follower));
    assert_eq!(world.joined(again).leader, follower.member_id);
}

#[test]
fn who_leaves_during_the_first_wait_takes_the_generation_along() {
    let mut world = World::with(Options { group_initial_rebalance_delay: secs(3), ..Options::default() });
    let token = world.join(JoinGroup { require_known_member_id: true, ..joining("a") });
    let (_, id) = world.refused(token);
    let token = world.join(JoinGroup { member_id: id.as_str().into(), ..joining("a") });
    assert_eq!(world.leave("g", &[(&id, None)]), [Ok(())]);
    assert_eq!(world.refused(token), (GroupError::UnknownMemberId, String::new()));
    world.pass(secs(3));
    assert_eq!((world.state("g"), world.coordinator.groups["g"].generation_id), (State::Empty, 1));
}
