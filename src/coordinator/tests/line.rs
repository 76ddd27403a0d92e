//! Nobody is told what is not durable, and everybody is told.

use super::*;

#[test]
fn every_answer_waits_for_the_appends_before_it() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    world.slow = true;
    let commit_token = world.ask(Command::OffsetCommit(commit_as(&member, &[("t", 0, 1)])));
    let heartbeat = world.ask(Command::Heartbeat(Heartbeat {
        group: "g".into(),
        member_id: member.member_id.clone(),
        group_instance_id: None,
        generation_id: 1,
    }));
    let second = world.ask(Command::OffsetCommit(commit_as(&member, &[("t", 0, 2)])));
    let listed = world.ask(Command::ListGroups(ListGroups::default()));
    assert!([commit_token, heartbeat, second, listed].iter().all(|token| world.waits(*token)));
    assert!(world.commit());
    assert!(!world.waits(commit_token) && !world.waits(heartbeat) && world.waits(second) && world.waits(listed));
    assert!(world.commit());
    assert!(!world.waits(second) && !world.waits(listed));
}

#[test]
fn a_new_id_is_given_out_when_its_group_is_durable() {
    let mut world = World::new();
    world.slow = true;
    let token = world.join(JoinGroup { require_known_member_id: true, ..joining("a") });
    assert!(world.waits(token));
    assert!(world.commit());
    assert_eq!(world.refused(token).0, GroupError::MemberIdRequired);
}

#[test]
#[should_panic(expected = "is committed, but")]
fn appends_are_committed_in_order() {
    let mut world = World::new();
    world.slow = true;
    world.ask(Command::OffsetCommit(commit("g", &[("t", 0, 1)])));
    world.ask(Command::OffsetCommit(commit("g", &[("t", 0, 2)])));
    world.under_way.pop_front();
    world.commit();
}

#[test]
fn an_append_is_a_batch_of_kafkas() {
    let mut world = World::new();
    world.slow = true;
    world.ask(Command::OffsetCommit(commit("g", &[("t", 0, 1), ("t", 1, 1)])));
    let append = world.under_way.front().unwrap();
    let bytes = append.batch();
    let mut batches = crate::record::batches(&bytes);
    let batch = batches.next().unwrap();
    assert!(batches.rest().is_empty() && batch.crc_holds());
    assert_eq!((batch.info().base_timestamp, batch.info().max_timestamp), (Timestamp(BEGIN), Timestamp(BEGIN)));
    let records: Vec<_> = crate::record::records(batch.body()).map(Result::unwrap).collect();
    let expected: Vec<_> = append.records.iter().map(|record| (Some(&*record.key), record.value.as_deref())).collect();
    assert_eq!(records.iter().map(|record| (record.key, record.value)).collect::<Vec<_>>(), expected);
    assert_eq!(records.len(), 2);
}

#[test]
fn a_coordinator_that_ends_refuses_everybody_who_waits() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a"), joining("b")]).remove(0);
    let rejoin = world.join(rejoining("a", &member));
    let other = JoinGroup { group: "h".into(), ..joining("x") };
    let tokens = [world.join(other.clone()), world.join(other)];
    world.pass(Duration::ZERO);
    let follower = world.joined(tokens[1]);
    let sync = world.ask(Command::SyncGroup(SyncGroup {
        group: "h".into(),
        member_id: follower.member_id.clone(),
        group_instance_id: None,
        generation_id: 1,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![],
    }));
    world.slow = true;
    let commit_token = world.ask(Command::OffsetCommit(commit_as(&member, &[("t", 0, 1)])));
    let join = world.join(JoinGroup { group: "new".into(), require_known_member_id: true, ..joining("y") });
    let waiting = [rejoin, sync, commit_token, join];
    assert!(waiting.iter().all(|token| world.waits(*token)));
    let coordinator = std::mem::replace(&mut world.coordinator, Loading::new(Options::default()).loaded(world.now));
    let answers = coordinator.unload(GroupError::NotCoordinator);
    assert_eq!(answers.len(), waiting.len());
    world.deliver(answers);
    assert_eq!(world.refused(rejoin), (GroupError::NotCoordinator, member.member_id.to_string()));
    assert_eq!(world.synced(sync), Err(GroupError::NotCoordinator));
    assert_eq!(world.committed(commit_token), Err(GroupError::NotCoordinator));
    assert_eq!(world.refused(join).0, GroupError::NotCoordinator, "the id was not durable, so it is not said");
}

#[test]
fn every_command_can_be_refused_as_what_it_is() {
    let group = || Str::from("g");
    let commands = [
        Command::JoinGroup(JoinGroup { member_id: "m".into(), ..joining("a") }),
        Command::Heartbeat(Heartbeat {
            group: group(),
            member_id: "m".into(),
            group_instance_id: None,
            generation_id: 1,
        }),
        Command::LeaveGroup(LeaveGroup { group: group(), members: vec![] }),
        Command::OffsetCommit(commit("g", &[])),
        Command::OffsetFetch(OffsetFetch {
            group: group(),
            member_id: None,
            member_epoch: -1,
            topics: None,
            require_stable: false,
        }),
        Command::OffsetDelete(OffsetDelete { group: group(), topics: vec![] }),
        Command::DescribeGroups { groups: vec![] },
        Command::ListGroups(ListGroups::default()),
        Command::DeleteGroups { groups: vec![] },
    ];
    let error = GroupError::CoordinatorLoadInProgress;
    let member_id = Str::from("m");
    let replies = [
        Reply::JoinGroup(Err(JoinRefused { error, member_id })),
        Reply::Heartbeat(Err(error)),
        Reply::LeaveGroup(Err(error)),
        Reply::OffsetCommit(Err(error)),
        Reply::OffsetFetch(Err(error)),
        Reply::OffsetDelete(Err(error)),
        Reply::DescribeGroups(Err(error)),
        Reply::ListGroups(Err(error)),
        Reply::DeleteGroups(Err(error)),
    ];
    let mut world = World::new();
    for (command, reply) in commands.into_iter().zip(replies) {
        assert_eq!(command.refused(error), reply);
        // What it is answered can be refused afterwards, too.
        let token = world.ask(command);
        let refused = world.answer(token).refused(error);
        assert_eq!(std::mem::discriminant(&refused), std::mem::discriminant(&reply));
    }
}
