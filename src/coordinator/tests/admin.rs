//! DescribeGroups, ListGroups and DeleteGroups.

use super::*;

fn describe(world: &mut World, groups: &[&str]) -> Vec<DescribedGroup> {
    let groups = groups.iter().map(|group| Str::from(*group)).collect();
    let token = world.ask(Command::DescribeGroups { groups });
    match world.answer(token) {
        Reply::DescribeGroups(Ok(groups)) => groups.clone(),
        other => panic!("{other:?}"),
    }
}

fn list(world: &mut World, states: &[&str], types: &[&str]) -> Vec<String> {
    let strings = |names: &[&str]| names.iter().map(|name| Str::from(*name)).collect();
    let token = world.ask(Command::ListGroups(ListGroups { states: strings(states), types: strings(types) }));
    match world.answer(token) {
        Reply::ListGroups(Ok(groups)) => {
            assert!(groups.iter().all(|group| group.group_type == "classic"));
            let mut listed: Vec<_> =
                groups.iter().map(|group| format!("{} {} {}", group.group, group.protocol_type, group.state)).collect();
            listed.sort();
            listed
        }
        other => panic!("{other:?}"),
    }
}

fn delete(world: &mut World, groups: &[&str]) -> Vec<(String, Result<(), GroupError>)> {
    let groups = groups.iter().map(|group| Str::from(*group)).collect();
    let token = world.ask(Command::DeleteGroups { groups });
    match world.answer(token) {
        Reply::DeleteGroups(Ok(groups)) => {
            groups.iter().map(|deleted| (deleted.group.to_string(), deleted.result)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stable_group_is_described_with_all_that_its_members_said() {
    let mut world = World::new();
    let members = world.stable(vec![instance("i"), joining("b")]);
    let mut described = describe(&mut world, &["g", "none"]);
    let none = described.remove(1);
    assert_eq!((none.state, none.error, none.members.len()), ("Dead", Some(GroupError::GroupIdNotFound), 0));
    let group = described.remove(0);
    assert_eq!(
        (group.state, &*group.protocol_type, &*group.protocol, group.error),
        ("Stable", "consumer", "range", None)
    );
    let fixed = group.members.iter().find(|member| member.group_instance_id.is_some()).unwrap();
    let expected = DescribedMember {
        member_id: members.iter().find(|member| member.member_id.starts_with("i-")).unwrap().member_id.clone(),
        group_instance_id: Some("i".into()),
        client_id: "static".into(),
        client_host: "/127.0.0.1".into(),
        metadata: subscription(&["t"]).into(),
        assignment: Bytes::copy_from_slice(fixed.member_id.as_bytes()),
    };
    assert_eq!((group.members.len(), fixed), (2, &expected));
}

#[test]
fn a_group_is_described_without_a_protocol_while_it_has_none() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    world.join(joining("b"));
    let group = describe(&mut world, &["g"]).remove(0);
    assert_eq!((group.state, &*group.protocol), ("PreparingRebalance", ""));
    assert!(group.members.iter().all(|member| member.metadata.is_empty()));
    assert_eq!(group.members.len(), 2);
    world.join(rejoining("a", &member));
    assert_eq!(describe(&mut world, &["g"]).remove(0).state, "CompletingRebalance");
    world.pass(secs(300));
    let group = describe(&mut world, &["g"]).remove(0);
    assert_eq!((group.state, &*group.protocol_type, group.members.len()), ("Empty", "consumer", 0));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = World::new();
    world.stable(vec![joining("a")]);
    world.join(JoinGroup { group: "h".into(), protocol_type: "connect".into(), ..joining("a") });
    world.commit_offsets(commit("simple", &[("t", 0, 1)])).unwrap();
    let all = ["g consumer Stable", "h connect PreparingRebalance", "simple  Empty"];
    let none: [&str; 0] = [];
    assert_eq!(list(&mut world, &[], &[]), all);
    assert_eq!(list(&mut world, &["stable"], &[]), all[..1]);
    assert_eq!(list(&mut world, &[" STABLE ", "Empty"], &[]), [all[0], all[2]]);
    assert_eq!(list(&mut world, &["none"], &[]), none);
    assert_eq!(list(&mut world, &[], &["Classic"]), all);
    assert_eq!(list(&mut world, &[], &["consumer", "share"]), none);
    assert_eq!(list(&mut world, &["Empty"], &["consumer", "classic"]), all[2..]);
}

#[test]
fn empty_groups_are_deleted_with_their_offsets() {
    let mut world = World::new();
    world.commit_offsets(commit("simple", &[("t", 0, 1), ("t", 1, 1), ("u", 0, 1)])).unwrap();
    let member = world.stable(vec![joining("a")]).remove(0);
    world.commit_offsets(commit_as(&member, &[("t", 0, 1)])).unwrap();
    let refused =
        [("none".to_string(), Err(GroupError::GroupIdNotFound)), ("g".into(), Err(GroupError::NonEmptyGroup))];
    assert_eq!(delete(&mut world, &["none", "g"]), refused);
    let records = world.log.len();
    assert_eq!(delete(&mut world, &["simple", "simple"]), [("simple".to_string(), Ok(()))], "twice is once");
    let written = &world.log[records..];
    assert!(written.iter().all(|record| record.value.is_none()));
    let kinds: Vec<bool> =
        written.iter().map(|record| matches!(decode(&record.key, None), Ok(Replay::Group(..)))).collect();
    assert_eq!(kinds, [false, false, false, true], "the group itself goes last");
    for restarted in [false, true] {
        if restarted {
            world.restart();
        }
        assert_eq!(world.offsets("simple"), []);
        assert_eq!(list(&mut world, &[], &[]), ["g consumer Stable"]);
        assert_eq!(world.offsets("g"), [("t".into(), 0, 1)]);
    }
    // Its name is free again.
    assert_eq!(world.commit_offsets(commit("simple", &[("t", 0, 7)])), Ok(vec![Ok(())]));
    assert_eq!(world.offsets("simple"), [("t".into(), 0, 7)]);
}

/// The offsets of a group were gone for everyone as soon as its deletion was asked for, and back again if the broker was killed before that was durable.
#[test]
fn a_group_that_is_deleted_has_its_offsets_until_that_is_durable() {
    let mut world = World::new();
    world.commit_offsets(commit("g", &[("t", 0, 1), ("t", 1, 1)])).unwrap();
    world.slow = true;
    let deletion = world.ask(Command::DeleteGroups { groups: vec!["g".into()] });
    let fetch =
        OffsetFetch { group: "g".into(), member_id: None, member_epoch: -1, topics: None, require_stable: true };
    let stable = world.ask(Command::OffsetFetch(fetch));
    assert_eq!(world.offsets("g").len(), 2);
    assert!(world.waits(deletion) && world.waits(stable));
    while world.commit() {}
    assert_eq!(world.offsets("g"), []);
    assert_eq!(world.fetched(stable), []);
    assert!(!world.waits(deletion));
}

#[test]
fn a_group_with_an_id_that_is_out_can_be_deleted() {
    let mut world = World::new();
    let token = world.join(JoinGroup { require_known_member_id: true, ..joining("a") });
    let (_, id) = world.refused(token);
    assert_eq!(delete(&mut world, &["g"]), [("g".to_string(), Ok(()))]);
    assert_eq!(world.coordinator.timers.len(), 1, "only the search for expired offsets is left");
    let token = world.join(JoinGroup { member_id: id.as_str().into(), ..joining("a") });
    assert_eq!(world.refused(token), (GroupError::UnknownMemberId, id));
}

#[test]
fn a_large_group_is_deleted_in_several_batches() {
    let options =
        Options { batch_bytes_max: 1_000, group_initial_rebalance_delay: Duration::ZERO, ..Options::default() };
    let mut world = World::with(options);
    for partition in 0..100 {
        world.commit_offsets(commit("g", &[("t", partition, 1)])).unwrap();
    }
    world.slow = true;
    let token = world.ask(Command::DeleteGroups { groups: vec!["g".into()] });
    assert!(world.under_way.len() > 2);
    assert!(world.under_way.iter().all(|append| append.batch().len() <= 1_000));
    while world.under_way.len() > 1 {
        assert!(world.commit());
        assert!(world.waits(token));
    }
    // The broker may crash here: then the group is there, with fewer offsets.
    let before = world.replayed();
    assert!(before.groups.contains_key("g"));
    assert!(world.commit());
    assert_eq!(world.answer(token), &Reply::DeleteGroups(Ok(vec![DeletedGroup { group: "g".into(), result: Ok(()) }])));
    assert!(world.replayed().is_empty());
}
