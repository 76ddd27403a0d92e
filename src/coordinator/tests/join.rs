//! JoinGroup: who is refused, and who becomes a member of what.

use super::*;

#[test]
fn a_group_is_made_by_its_first_member() {
    let mut world = World::new();
    let token = world.join(joining("one"));
    assert_eq!(
        world.last_group(),
        ("g".into(), Some(GroupMetadataValue { current_state_timestamp: BEGIN, ..Default::default() }))
    );
    assert!(world.waits(token), "others may come");
    assert_eq!(world.state("g"), State::PreparingRebalance);
    world.pass(Duration::ZERO);
    let joined = world.joined(token);
    assert_eq!(joined.member_id, "one-00000000-0000-4000-8000-000000000001");
    assert_eq!((joined.generation_id, &joined.leader), (1, &joined.member_id));
    assert_eq!((joined.protocol_type.as_deref(), joined.protocol_name.as_deref()), (Some("consumer"), Some("range")));
    assert!(!joined.skip_assignment);
    let metadata = Bytes::from(subscription(&["t"]));
    assert_eq!(
        joined.members,
        [JoinedMember { member_id: joined.member_id.clone(), group_instance_id: None, metadata }]
    );
    assert_eq!(world.state("g"), State::CompletingRebalance);
}

#[test]
fn only_the_leader_learns_who_the_members_are() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b"), joining("c")]);
    let ids = |members: &[JoinedMember]| members.iter().map(|m| m.member_id.to_string()).collect::<Vec<_>>();
    assert_eq!(members.iter().map(|m| m.members.len()).collect::<Vec<_>>(), [3, 0, 0]);
    assert_eq!(ids(&members[0].members), members.iter().map(|m| m.member_id.to_string()).collect::<Vec<_>>());
    assert!(members.iter().all(|member| member.leader == members[0].member_id && member.generation_id == 1));
}

#[test]
fn what_is_wrong_with_a_join_is_said() {
    let ok = || joining("x");
    let table: Vec<(&str, JoinGroup, GroupError, &str)> = vec![
        ("no group", JoinGroup { group: "".into(), member_id: "m".into(), ..ok() }, GroupError::InvalidGroupId, "m"),
        ("short session", JoinGroup { session_timeout_ms: 5_999, ..ok() }, GroupError::InvalidSessionTimeout, ""),
        ("long session", JoinGroup { session_timeout_ms: 1_800_001, ..ok() }, GroupError::InvalidSessionTimeout, ""),
        (
            "group unknown",
            JoinGroup { member_id: "m".into(), group: "new".into(), ..ok() },
            GroupError::UnknownMemberId,
            "m",
        ),
        ("member unknown", JoinGroup { member_id: "m".into(), ..ok() }, GroupError::UnknownMemberId, "m"),
        (
            "other type",
            JoinGroup { protocol_type: "connect".into(), ..ok() },
            GroupError::InconsistentGroupProtocol,
            "",
        ),
        (
            "no type",
            JoinGroup { protocol_type: "".into(), group: "n1".into(), ..ok() },
            GroupError::InconsistentGroupProtocol,
            "",
        ),
        (
            "no protocols",
            JoinGroup { protocols: vec![], group: "n2".into(), ..ok() },
            GroupError::InconsistentGroupProtocol,
            "",
        ),
        (
            "other protocol",
            JoinGroup { protocols: vec![protocol("x", b"")], ..ok() },
            GroupError::InconsistentGroupProtocol,
            "",
        ),
        (
            "other protocol, with an id",
            JoinGroup { member_id: "m".into(), protocols: vec![protocol("x", b"")], ..ok() },
            GroupError::InconsistentGroupProtocol,
            "m",
        ),
        (
            "instance unknown",
            JoinGroup { member_id: "m".into(), group_instance_id: Some("i".into()), ..ok() },
            GroupError::UnknownMemberId,
            "m",
        ),
    ];
    let mut world = World::new();
    world.stable(vec![joining("a")]);
    for (what, join, error, member) in table {
        let token = world.join(join);
        assert_eq!(world.refused(token), (error, member.to_string()), "{what}");
        assert_eq!(world.state("g"), State::Stable, "{what}");
    }
}

#[test]
fn sessions_may_be_as_short_and_as_long_as_allowed() {
    let mut world = World::new();
    for session_timeout_ms in [6_000, 1_800_000] {
        let token =
            world.join(JoinGroup { session_timeout_ms, group: session_timeout_ms.to_string().into(), ..joining("a") });
        assert!(world.waits(token));
    }
}

/// KIP-394: members without an id that never come back no longer fill a group.
#[test]
fn a_dynamic_member_comes_back_with_the_id_it_was_given() {
    let mut world = World::new();
    let first = world.join(JoinGroup { require_known_member_id: true, ..joining("a") });
    let (error, id) = world.refused(first);
    assert_eq!(error, GroupError::MemberIdRequired);
    assert!(id.starts_with("a-"));
    assert_eq!(world.state("g"), State::Empty);
    let again = JoinGroup { member_id: id.as_str().into(), require_known_member_id: true, ..joining("a") };
    let token = world.join(again);
    world.pass(Duration::ZERO);
    assert_eq!(world.joined(token).member_id, id.as_str());
}

#[test]
fn an_id_that_does_not_come_back_is_forgotten_after_a_session() {
    let mut world = World::new();
    let first = world.join(JoinGroup { require_known_member_id: true, ..joining("a") });
    let (_, id) = world.refused(first);
    world.pass(secs(10));
    let token = world.join(JoinGroup { member_id: id.as_str().into(), ..joining("a") });
    assert_eq!(world.refused(token), (GroupError::UnknownMemberId, id));
}

#[test]
fn an_id_that_is_out_holds_up_a_rebalance_until_it_comes_back_or_is_forgotten() {
    for comes_back in [true, false] {
        let mut world = World::new();
        let leader = world.stable(vec![joining("a")]).remove(0);
        let pending = world.join(JoinGroup { require_known_member_id: true, ..joining("b") });
        let (_, id) = world.refused(pending);
        assert_eq!(world.state("g"), State::Stable, "asking for an id disturbs nobody");
        let again = world.join(rejoining("a", &leader));
        assert!(world.waits(again), "b is expected");
        if comes_back {
            let joins = world.join(JoinGroup { member_id: id.as_str().into(), ..joining("b") });
            assert_eq!(world.joined(joins).generation_id, 2);
        } else {
            world.pass(secs(10));
        }
        assert_eq!(world.joined(again).members.len(), if comes_back { 2 } else { 1 });
    }
}

#[test]
fn an_id_of_a_dynamic_member_is_of_no_use_to_a_static_one() {
    let mut world = World::new();
    let first = world.join(JoinGroup { require_known_member_id: true, ..joining("a") });
    let (_, id) = world.refused(first);
    let token = world.join(JoinGroup { member_id: id.as_str().into(), ..instance("i") });
    assert_eq!(world.refused(token), (GroupError::UnknownServerError, id));
}

#[test]
fn a_follower_with_nothing_new_to_say_is_told_the_generation_again() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b")]);
    let token = world.join(rejoining("b", &members[1]));
    assert_eq!(world.joined(token), members[1]);
    assert_eq!(world.state("g"), State::Stable);
}

#[test]
fn whoever_has_something_new_to_say_makes_the_group_rebalance() {
    let changes: [(&str, usize, Vec<Protocol>); 3] = [
        ("the leader joins again", 0, vec![range(&["t"])]),
        ("a follower subscribes to another topic", 1, vec![range(&["other"])]),
        ("a follower offers more", 1, vec![range(&["t"]), protocol("sticky", b"")]),
    ];
    for (what, who, protocols) in changes {
        let mut world = World::new();
        let members = world.stable(vec![joining("a"), joining("b")]);
        let token = world.join(JoinGroup { protocols, ..rejoining("", &members[who]) });
        assert!(world.waits(token), "{what}");
        assert_eq!(world.state("g"), State::PreparingRebalance, "{what}");
        let other = world.join(rejoining("", &members[1 - who]));
        assert_eq!(world.joined(other).generation_id, 2, "{what}");
        assert_eq!(world.joined(token).leader, members[0].member_id, "{what}: the leader stays");
    }
}

#[test]
fn while_the_leader_works_a_member_may_ask_again_or_change_its_mind() {
    let mut world = World::new();
    let tokens = [world.join(joining("a")), world.join(joining("b"))];
    world.pass(Duration::ZERO);
    for token in tokens {
        let joined = world.joined(token);
        let again = world.join(rejoining("", &joined));
        assert_eq!(world.joined(again), joined, "its answer was lost");
    }
    assert_eq!(world.state("g"), State::CompletingRebalance);
    let joined = world.joined(tokens[0]);
    let changed = world.join(JoinGroup { protocols: vec![range(&["other"])], ..rejoining("", &joined) });
    assert!(world.waits(changed));
    assert_eq!(world.state("g"), State::PreparingRebalance);
}

#[test]
fn a_member_that_asks_twice_has_one_answer_for_each() {
    let mut world = World::new();
    let leader = world.stable(vec![joining("a"), joining("b")]).remove(0);
    let first = world.join(rejoining("a", &leader));
    let second = world.join(rejoining("a", &leader));
    assert_eq!(world.refused(first), (GroupError::RebalanceInProgress, leader.member_id.to_string()));
    assert!(world.waits(second));
}

#[test]
fn the_protocol_that_all_offer_and_most_prefer_is_chosen() {
    let offers = |names: &[&str]| names.iter().map(|name| protocol(name, name.as_bytes())).collect::<Vec<_>>();
    let table: [(&[&[&str]], &str); 5] = [
        (&[&["x"]], "x"),
        (&[&["x", "y"], &["y", "x"], &["y", "x"]], "y"),
        (&[&["x", "y"], &["z", "y"], &["z", "y"]], "y"), // z is not offered by all
        (&[&["x", "y"], &["y", "x"]], "x"),              // the leader decides
        (&[&["y", "x", "y"], &["x", "y"]], "y"),         // a name twice counts once
    ];
    for (members, chosen) in table {
        let mut world = World::new();
        let join =
            |offered: &&[&str]| JoinGroup { protocols: offers(offered), protocol_type: "test".into(), ..joining("a") };
        let tokens: Vec<Token> = members.iter().map(|offered| world.join(join(offered))).collect();
        world.pass(Duration::ZERO);
        for token in tokens {
            let joined = world.joined(token);
            assert_eq!(joined.protocol_name.as_deref(), Some(chosen), "{members:?}");
            assert!(joined.members.iter().all(|member| member.metadata == chosen), "{members:?}");
        }
    }
}

#[test]
fn a_group_takes_as_many_members_as_it_may_have() {
    let options = Options { group_max_size: 2, group_initial_rebalance_delay: Duration::ZERO, ..Options::default() };
    let mut world = World::with(options);
    world.join(JoinGroup { group: "h".into(), ..joining("a") });
    world.join(JoinGroup { group: "h".into(), ..joining("b") });
    let third = world.join(JoinGroup { group: "h".into(), ..joining("c") });
    assert_eq!(world.refused(third), (GroupError::GroupMaxSizeReached, String::new()));
    let members = world.stable(vec![joining("a"), joining("b")]);
    let fourth = world.join(joining("d"));
    assert_eq!(world.refused(fourth), (GroupError::GroupMaxSizeReached, String::new()));
    // A rebalance gives places to those who come first.
    let again = world.join(rejoining("a", &members[0]));
    let newcomer = world.join(joining("e"));
    let twice = world.join(rejoining("a", &members[0]));
    assert_eq!(world.refused(again).0, GroupError::RebalanceInProgress, "who has a place may ask again");
    let again = twice;
    let late = world.join(rejoining("b", &members[1]));
    assert_eq!(world.refused(late), (GroupError::GroupMaxSizeReached, String::new()));
    world.pass(secs(60));
    assert_eq!(world.joined(again).generation_id, world.joined(newcomer).generation_id);
    assert_eq!(world.coordinator.groups["g"].members().len(), 2);
}
