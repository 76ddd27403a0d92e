//! Offsets whose time is over (KIP-211), and those of topics that are gone.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn offsets_of_a_group_that_never_had_members_last_from_their_commit() {
    let mut world = World::new();
    world.commit_offsets(commit("g", &[("t", 0, 1), ("t", 1, 1)])).unwrap();
    world.pass(6 * DAY);
    world.commit_offsets(commit("g", &[("t", 1, 2)])).unwrap();
    world.pass(DAY - SECOND);
    assert_eq!(world.offsets("g").len(), 2);
    world.pass(Duration::from_secs(601));
    assert_eq!(world.offsets("g"), [("t".into(), 1, 2)]);
    world.pass(7 * DAY);
    assert_eq!(world.offsets("g"), []);
    assert!(world.coordinator.is_empty(), "the group is gone with its last offset");
    assert!(world.replayed().is_empty());
}

#[test]
fn offsets_of_a_group_last_from_when_it_lost_its_last_member() {
    let mut world = World::new();
    let member = world.stable(vec![JoinGroup { session_timeout_ms: 1_800_000, ..joining("a") }]).remove(0);
    world.commit_offsets(commit_as(&member, &[("t", 0, 1)])).unwrap();
    for _ in 0..10 * 24 * 2 {
        world.pass(secs(1_799));
        assert_eq!(world.heartbeat("g", &member.member_id, 1), Ok(()));
    }
    assert_eq!(world.offsets("g").len(), 1, "a consumer that works keeps what it subscribes to");
    world.leave("g", &[(&member.member_id, None)]);
    world.pass(7 * DAY - SECOND);
    assert_eq!(world.offsets("g").len(), 1);
    // A restart does not begin the time anew.
    world.restart();
    world.pass(Duration::from_secs(601));
    assert_eq!(world.offsets("g"), []);
    assert!(world.coordinator.is_empty());
}

#[test]
fn a_consumer_at_work_loses_the_offsets_of_topics_that_it_gave_up() {
    let mut world = World::with(Options {
        group_initial_rebalance_delay: Duration::ZERO,
        offsets_retention: secs(60),
        offsets_retention_check_interval: secs(1),
        ..Options::default()
    });
    let join = JoinGroup { session_timeout_ms: 1_000_000, ..joining("a") };
    let member = world.stable(vec![join.clone()]).remove(0);
    world.commit_offsets(commit_as(&member, &[("t", 0, 1), ("old", 0, 1)])).unwrap();
    world.pass(secs(59));
    assert_eq!(world.offsets("g").len(), 2);
    world.pass(secs(2));
    assert_eq!(world.offsets("g"), [("t".into(), 0, 1)]);
    // While it rebalances nothing is over.
    world.commit_offsets(commit_as(&member, &[("old", 0, 1)])).unwrap();
    world.join(JoinGroup { member_id: member.member_id.clone(), ..join });
    assert_eq!(world.state("g"), State::CompletingRebalance);
    world.pass(secs(59));
    assert_eq!(world.offsets("g").len(), 2);
}

#[test]
fn members_of_other_protocols_keep_all_offsets() {
    let mut world = World::with(Options {
        group_initial_rebalance_delay: Duration::ZERO,
        offsets_retention: secs(10),
        offsets_retention_check_interval: secs(1),
        ..Options::default()
    });
    for (protocol_type, metadata) in [("connect", subscription(&["t"])), ("consumer", b"not readable".to_vec())] {
        let join = JoinGroup {
            protocol_type: protocol_type.into(),
            session_timeout_ms: 1_000_000,
            protocols: vec![protocol("p", &metadata)],
            ..joining("a")
        };
        let member = world.stable(vec![join]).remove(0);
        let generation_id = member.generation_id;
        world.commit_offsets(commit_as(&member, &[("t", 0, 1), ("u", 0, 1)])).unwrap();
        world.pass(secs(600));
        assert_eq!(world.offsets("g").len(), 2, "{protocol_type}");
        world.leave("g", &[(&member.member_id, None)]);
        world.pass(secs(12));
        assert_eq!((world.offsets("g").len(), generation_id), (0, 1), "{protocol_type}");
    }
}

#[test]
fn a_retention_of_the_clients_own_counts() {
    let mut world = World::new();
    world.commit_offsets(OffsetCommit { retention_time_ms: 60_000, ..commit("g", &[("short", 0, 1)]) }).unwrap();
    let month = 30 * 24 * 60 * 60 * 1_000;
    world.commit_offsets(OffsetCommit { retention_time_ms: month, ..commit("g", &[("long", 0, 1)]) }).unwrap();
    world.commit_offsets(OffsetCommit { retention_time_ms: i64::MAX, ..commit("g", &[("ever", 0, 1)]) }).unwrap();
    world.pass(secs(600));
    assert_eq!(world.offsets("g"), [("ever".into(), 0, 1), ("long".into(), 0, 1)]);
    world.pass(29 * DAY);
    assert_eq!(world.offsets("g").len(), 2);
    world.pass(2 * DAY);
    assert_eq!(world.offsets("g"), [("ever".into(), 0, 1)]);
}

#[test]
fn an_empty_group_without_offsets_is_gone_at_the_next_search() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    world.leave("g", &[(&member.member_id, None)]);
    world.pass(secs(599));
    assert!(!world.coordinator.is_empty());
    world.pass(secs(1));
    assert!(world.coordinator.is_empty());
    assert_eq!(world.last_group(), ("g".into(), None));
}

#[test]
fn an_offset_that_is_under_way_keeps_its_group() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    world.leave("g", &[(&member.member_id, None)]);
    world.pass(secs(599));
    world.slow = true;
    let token = world.ask(Command::OffsetCommit(commit("g", &[("t", 0, 1)])));
    world.pass(secs(1));
    assert!(world.commit());
    assert_eq!(world.committed(token), Ok(vec![Ok(())]));
    assert_eq!(world.offsets("g"), [("t".into(), 0, 1)]);
    assert!(world.under_way.is_empty());
}

#[test]
fn a_search_is_cut_into_steps() {
    let mut world = World::new();
    for number in 0..1_000 {
        world.commit_offsets(commit(&format!("g{number}"), &[("t", 0, 1)])).unwrap();
    }
    world.at(Mono(u64::try_from((8 * DAY).as_nanos()).unwrap()));
    for step in 1..=4 {
        assert!(world.coordinator.next_deadline().is_some_and(|at| at <= world.now.mono));
        let effects = world.coordinator.tick(&world.topics, world.now);
        assert!(effects.appends.iter().map(|append| append.records.len()).sum::<usize>() <= 512, "step {step}");
        world.absorb(effects);
    }
    assert!(world.coordinator.is_empty());
    assert_eq!(world.coordinator.bytes(), 0);
}

#[test]
fn the_offsets_of_a_deleted_topic_are_gone() {
    let mut world = World::new();
    let with_id = |id: u8, commit: OffsetCommit| {
        let mut commit = commit;
        commit.topics.iter_mut().for_each(|topic| topic.topic_id = TopicId([id; 16]));
        commit
    };
    world.commit_offsets(with_id(1, commit("g", &[("t", 0, 1), ("u", 0, 1)]))).unwrap();
    world.commit_offsets(commit("h", &[("t", 1, 1), ("t", 2, 1)])).unwrap();
    world.commit_offsets(with_id(2, commit("i", &[("t", 0, 1)]))).unwrap();
    world.slow = true;
    world.topics_deleted(&[("t".into(), TopicId([1; 16])), ("none".into(), TopicId([3; 16]))]);
    assert_eq!(world.offsets("g").len(), 2, "not yet durable");
    while world.commit() {}
    assert_eq!(world.offsets("g"), [("u".into(), 0, 1)]);
    assert_eq!(world.offsets("h"), []);
    assert_eq!(world.offsets("i"), [("t".into(), 0, 1)], "it belongs to the topic that came after");
    world.topics_deleted(&[("t".into(), TopicId([1; 16]))]);
    assert!(world.under_way.is_empty());
}

/// All offsets of all groups were looked at in one step, which kept the core for as long as there were groups.
#[test]
fn the_search_for_offsets_of_deleted_topics_is_cut_into_steps() {
    let mut world = World::new();
    for number in 0..1_000 {
        world.commit_offsets(commit(&format!("g{number}"), &[("t", 0, 1), ("u", 0, 1)])).unwrap();
    }
    let (t, u) = ([("t".into(), TopicId([1; 16]))], [("u".into(), TopicId([2; 16]))]);
    world.coordinator.topics_deleted(&t, world.now);
    let mut steps = 0;
    while world.coordinator.next_deadline() == Some(world.now.mono) {
        let effects = world.coordinator.tick(&world.topics, world.now);
        assert!(effects.appends.iter().map(|append| append.records.len()).sum::<usize>() <= 512);
        world.absorb(effects);
        // Deleted while a search is under way.
        if steps == 0 {
            world.coordinator.topics_deleted(&u, world.now);
        }
        steps += 1;
    }
    assert!(steps > 8, "{steps}");
    assert!((0..1_000).all(|number| world.offsets(&format!("g{number}")).is_empty()));
}

#[test]
fn an_offset_that_is_committed_after_the_deletion_stays() {
    let mut world = World::new();
    for group in ["g", "h"] {
        world.commit_offsets(commit(group, &[("t", 0, 1), ("t", 1, 1)])).unwrap();
    }
    world.coordinator.topics_deleted(&[("t".into(), TopicId([1; 16]))], world.now);
    // To a new topic of that name, by a client that does not speak of ids, before the search has come to it.
    world.commit_offsets(commit("g", &[("t", 0, 7)])).unwrap();
    world.pass(Duration::ZERO);
    assert_eq!(world.offsets("g"), [("t".into(), 0, 7)]);
    assert_eq!(world.offsets("h"), []);
}
