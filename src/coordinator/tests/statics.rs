//! Static members (KIP-345): a process that starts anew takes its old place.

use super::*;

/// A static member that lost its id.
fn returning(id: &str, version: i16) -> JoinGroup {
    JoinGroup { require_known_member_id: version >= 4, can_skip_assignment: version >= 9, ..instance(id) }
}

#[test]
fn a_static_member_joins_without_asking_for_an_id_first() {
    let mut world = World::new();
    let members = world.stable(vec![returning("i", 9)]);
    assert!(members[0].member_id.starts_with("i-"), "its id begins with the instance");
    assert_eq!(members[0].members[0].group_instance_id.as_deref(), Some("i"));
}

#[test]
fn a_static_follower_takes_its_old_place_without_a_rebalance() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), instance("i")]);
    let old = &members[1];
    let token = world.join(returning("i", 9));
    let joined = world.joined(token);
    assert_ne!(joined.member_id, old.member_id);
    assert_eq!((joined.generation_id, &joined.leader, joined.skip_assignment), (1, &members[0].member_id, false));
    assert_eq!(world.state("g"), State::Stable);
    // The new id is durable, with the old assignment.
    let (_, value) = world.last_group();
    let ids: Vec<Str> = value.unwrap().members.into_iter().map(|member| member.member_id).collect();
    assert!(ids.contains(&joined.member_id) && !ids.contains(&old.member_id));
    let sync = world.sync("g", &joined, &[]);
    assert_eq!(world.synced(sync), Ok(old.member_id.to_string()));
    assert_eq!(world.heartbeat("g", &old.member_id, 1), Err(GroupError::UnknownMemberId));
    // The old one's session is over with it.
    world.pass(secs(9));
    assert_eq!(world.heartbeat("g", &joined.member_id, 1), Ok(()));
}

/// KIP-814: a leader that comes back once had no way to know that it leads and that there is nothing to assign.
#[test]
fn a_static_leader_that_comes_back_assigns_nothing() {
    for version in [8, 9] {
        let mut world = World::new();
        let members = world.stable(vec![instance("i"), joining("b")]);
        let (leader, follower) = (&members[0], &members[1]);
        let (back, other) = if leader.member_id.starts_with("i-") { (leader, follower) } else { (follower, leader) };
        assert_eq!(back.leader, back.member_id, "the static member leads");
        let token = world.join(returning("i", version));
        let joined = world.joined(token);
        if version >= 9 {
            assert_eq!((&joined.leader, joined.skip_assignment, joined.members.len()), (&joined.member_id, true, 2));
        } else {
            assert_eq!((&joined.leader, joined.skip_assignment, joined.members.len()), (&back.member_id, false, 0));
        }
        assert_eq!(world.heartbeat("g", &other.member_id, 1), Ok(()));
        assert!(world.coordinator.groups["g"].is_leader(&joined.member_id));
    }
}

#[test]
fn a_static_member_that_changes_the_choice_of_protocol_makes_the_group_rebalance() {
    let offers = |names: &[&str]| names.iter().map(|name| protocol(name, b"")).collect::<Vec<_>>();
    let mut world = World::new();
    let both = |join: JoinGroup| JoinGroup { protocols: offers(&["x", "y"]), protocol_type: "test".into(), ..join };
    world.stable(vec![both(joining("a")), both(instance("i"))]);
    let token = world.join(JoinGroup { protocols: offers(&["y"]), ..both(returning("i", 9)) });
    assert!(world.waits(token));
    assert_eq!(world.state("g"), State::PreparingRebalance);
}

#[test]
fn a_static_member_may_change_what_it_says_without_a_rebalance() {
    let mut world = World::new();
    world.stable(vec![joining("a"), instance("i")]);
    let token = world.join(JoinGroup { protocols: vec![range(&["new"])], ..returning("i", 9) });
    let joined = world.joined(token);
    assert_eq!(joined.generation_id, 1);
    let (_, value) = world.last_group();
    let member = value.unwrap().members.into_iter().find(|member| member.member_id == joined.member_id).unwrap();
    assert_eq!(member.subscription, subscription(&["new"]));
}

#[test]
fn whoever_holds_the_old_id_is_fenced() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), instance("i")]);
    let old = members[1].clone();
    // It waits for a rebalance when its successor comes.
    let waiting =
        world.join(JoinGroup { protocols: vec![range(&["x"])], member_id: old.member_id.clone(), ..instance("i") });
    assert!(world.waits(waiting));
    let successor = world.join(returning("i", 9));
    assert_eq!(world.refused(waiting), (GroupError::FencedInstanceId, old.member_id.to_string()));
    assert!(world.waits(successor));
    let again = world.join(rejoining("a", &members[0]));
    let successor = world.joined(successor);
    let leader = world.joined(again);
    assert_eq!(successor.generation_id, 2);
    // It waits for its assignment when its successor's successor comes.
    let sync = world.sync("g", &successor, &[]);
    let third = world.join(returning("i", 9));
    assert_eq!(world.synced(sync), Err(GroupError::FencedInstanceId));
    assert_eq!(world.state("g"), State::PreparingRebalance);
    let again = world.join(rejoining("a", &leader));
    assert_eq!(world.joined(third).generation_id, world.joined(again).generation_id);

    // And all that it asks for afterwards is refused.
    let instance_id = Some(Str::from("i"));
    let token = world.join(JoinGroup { member_id: old.member_id.clone(), ..instance("i") });
    assert_eq!(world.refused(token), (GroupError::FencedInstanceId, old.member_id.to_string()));
    let (group, member_id) = (Str::from("g"), old.member_id.clone());
    let (generation_id, group_instance_id) = (3, instance_id.clone());
    let token = world.ask(Command::Heartbeat(Heartbeat { group, member_id, group_instance_id, generation_id }));
    assert_eq!(world.answer(token), &Reply::Heartbeat(Err(GroupError::FencedInstanceId)));
    let token = world.ask(Command::SyncGroup(SyncGroup {
        group: "g".into(),
        member_id: old.member_id.clone(),
        group_instance_id: instance_id.clone(),
        generation_id: 3,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![],
    }));
    assert_eq!(world.synced(token), Err(GroupError::FencedInstanceId));
    let commit = OffsetCommit { group_instance_id: instance_id, ..commit_as(&old, &[("t", 0, 1)]) };
    assert_eq!(world.commit_offsets(commit), Err(GroupError::FencedInstanceId));
    assert_eq!(world.leave("g", &[(&old.member_id, Some("i"))]), [Err(GroupError::FencedInstanceId)]);
}

#[test]
fn a_static_member_keeps_its_place_while_it_misses_rebalances() {
    let mut world = World::new();
    let long = JoinGroup { session_timeout_ms: 600_000, ..instance("i") };
    let members = world.stable(vec![joining("a"), long]);
    let (dynamic, fixed) = if members[0].member_id.starts_with("a-") { (0, 1) } else { (1, 0) };
    let newcomer = world.join(joining("c"));
    let again = world.join(rejoining("a", &members[dynamic]));
    world.pass(secs(60));
    let joined = world.joined(newcomer);
    assert_eq!(joined.generation_id, world.joined(again).generation_id);
    let group = &world.coordinator.groups["g"];
    assert_eq!(group.members().len(), 3);
    assert!(group.member(&members[fixed].member_id).is_some());
    assert!(!group.is_leader(&members[fixed].member_id), "somebody leads who joined");
}

#[test]
fn a_group_of_absent_static_members_waits_for_their_sessions_to_end() {
    for rebalance_timeout_ms in [20_000, 0, -1] {
        let mut world = World::new();
        let fixed = |id| JoinGroup { session_timeout_ms: 100_000, rebalance_timeout_ms: 20_000, ..instance(id) };
        let members = world.stable(vec![fixed("i"), fixed("j")]);
        let token = world.join(JoinGroup {
            member_id: members[0].member_id.clone(),
            protocols: vec![range(&["new"])],
            rebalance_timeout_ms,
            ..fixed(&members[0].members[0].group_instance_id.clone().unwrap())
        });
        assert!(world.waits(token));
        world.pass(secs(20));
        assert_eq!(world.joined(token).generation_id, 2, "j does not join, and stays");
        // Neither asks for its assignment, so both are removed.
        world.pass(secs(20));
        assert_eq!(world.state("g"), State::Empty);
    }
}

/// With hardly any time for a rebalance the timer would fall due again as soon as it was looked at.
#[test]
fn absent_static_members_without_patience_do_not_keep_the_broker_busy() {
    let mut world = World::new();
    let hasty = |join| JoinGroup { rebalance_timeout_ms: 1, ..join };
    let members = world.stable(vec![hasty(joining("a")), hasty(instance("i"))]);
    let dynamic = members.iter().find(|member| member.member_id.starts_with("a-")).unwrap();
    assert_eq!(world.leave("g", &[(&dynamic.member_id, None)]), [Ok(())]);
    let mut ticks = 0;
    while let Some(at) = world.coordinator.next_deadline().filter(|at| *at < Mono(10_000_000_000)) {
        world.at(at);
        let effects = world.coordinator.tick(&world.topics, world.now);
        world.absorb(effects);
        ticks += 1;
        assert!(ticks <= 11, "once a second is enough");
    }
    assert_eq!(world.state("g"), State::PreparingRebalance);
    world.pass(SECOND);
    assert_eq!(world.state("g"), State::Empty, "its session is over");
}

#[test]
fn an_instance_leaves_by_its_name() {
    let mut world = World::new();
    let members = world.stable(vec![instance("i"), instance("j")]);
    let id = world.coordinator.groups["g"].static_member("j").unwrap().clone();
    let left = world.leave("g", &[("", Some("i")), ("", Some("unknown")), ("", None), (&id, Some("j"))]);
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(left, [Ok(()), unknown, unknown, Ok(())]);
    assert_eq!(world.state("g"), State::Empty);
    assert_eq!(world.heartbeat("g", &members[0].member_id, 1), unknown);
}

/// The old id once stayed among those that had not asked for their assignment, and a rebalance followed for nothing.
#[test]
fn a_successor_inherits_that_it_must_ask_for_its_assignment() {
    let mut world = World::new();
    let tokens = [world.join(instance("i")), world.join(joining("a"))];
    world.pass(Duration::ZERO);
    let members = tokens.map(|token| world.joined(token));
    let leader = members.iter().find(|member| member.leader == member.member_id).unwrap().clone();
    let sync = world.sync("g", &leader, &[]);
    assert_eq!(world.synced(sync), Ok(String::new()));
    let back = world.join(returning("i", 9));
    let back = world.joined(back);
    let sync = world.sync("g", &back, &[]);
    assert_eq!(world.synced(sync), Ok(String::new()));
    if leader.member_id != members[1].member_id {
        let sync = world.sync("g", &members[1], &[]);
        assert_eq!(world.synced(sync), Ok(String::new()));
    }
    for _ in 0..120 {
        world.pass(SECOND);
        assert_eq!(world.heartbeat("g", &back.member_id, 1), Ok(()));
        assert_eq!(world.heartbeat("g", &members[1].member_id, 1), Ok(()));
    }
}
