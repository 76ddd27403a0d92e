//! OffsetCommit, OffsetFetch and OffsetDelete.

use super::*;

fn fetch(world: &mut World, group: &str, topics: &[(&str, TopicId, &[i32])]) -> Vec<(String, FetchedPartition)> {
    let topics = topics.iter().map(|(name, topic_id, partitions)| FetchTopic {
        name: (*name).into(),
        topic_id: *topic_id,
        partitions: partitions.iter().map(|partition| PartitionIndex(*partition)).collect(),
    });
    let topics = Some(topics.collect());
    let token = world.ask(Command::OffsetFetch(OffsetFetch {
        group: group.into(),
        member_id: None,
        member_epoch: -1,
        topics,
        require_stable: false,
    }));
    world.fetched(token)
}

fn delete(world: &mut World, group: &str, topic: &str) -> Result<Vec<Result<(), GroupError>>, GroupError> {
    let topics = vec![(Str::from(topic), vec![PartitionIndex(0), PartitionIndex(1)])];
    let token = world.ask(Command::OffsetDelete(OffsetDelete { group: group.into(), topics }));
    match world.answer(token) {
        Reply::OffsetDelete(Ok(topics)) => {
            assert_eq!(topics[0].name, topic);
            Ok(topics[0].partitions.iter().map(|(_, result)| *result).collect())
        }
        Reply::OffsetDelete(Err(error)) => Err(*error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_committed_is_fetched() {
    let mut world = World::new();
    let mut request = commit("g", &[("t", 3, 42)]);
    request.topics[0].topic_id = TopicId([7; 16]);
    request.topics[0].partitions[0].leader_epoch = LeaderEpoch(5);
    request.topics[0].partitions[0].metadata = "note".into();
    assert_eq!(world.commit_offsets(request), Ok(vec![Ok(())]));
    let expected = |partition, offset, epoch, note: &str| FetchedPartition {
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(epoch),
        metadata: note.into(),
    };
    let there = ("t".to_string(), expected(3, 42, 5, "note"));
    let none = |topic: &str, partition| (topic.to_string(), expected(partition, -1, -1, ""));
    let zero = TopicId::ZERO;
    assert_eq!(
        fetch(&mut world, "g", &[("t", zero, &[3, 4]), ("u", zero, &[0])]),
        [there.clone(), none("t", 4), none("u", 0)]
    );
    assert_eq!(fetch(&mut world, "g", &[("t", TopicId([7; 16]), &[3])]), vec![there.clone()]);
    assert_eq!(fetch(&mut world, "g", &[("t", TopicId([8; 16]), &[3])]), [none("t", 3)], "another topic of that name");
    assert_eq!(fetch(&mut world, "h", &[("t", zero, &[3])]), [none("t", 3)]);
    assert_eq!(world.offsets("g"), [("t".into(), 3, 42)]);
    assert_eq!(world.offsets("h"), []);
    world.restart();
    assert_eq!(fetch(&mut world, "g", &[("t", zero, &[3])]), [there]);
}

#[test]
fn any_offset_may_be_committed_and_to_the_group_without_a_name() {
    let mut world = World::new();
    for offset in [-1, i64::MIN, i64::MAX, 0] {
        assert_eq!(world.commit_offsets(commit("", &[("t", 0, offset)])), Ok(vec![Ok(())]));
        assert_eq!(world.offsets(""), [("t".into(), 0, offset)]);
    }
}

#[test]
fn who_may_commit() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    let ok = || commit_as(&member, &[("t", 0, 1)]);
    let alone = || commit("g", &[("t", 0, 1)]);
    let table = [
        ("the member", ok(), Ok(())),
        ("of an older generation", OffsetCommit { generation_id: 0, ..ok() }, Err(GroupError::IllegalGeneration)),
        ("without a generation", OffsetCommit { generation_id: -1, ..ok() }, Err(GroupError::IllegalGeneration)),
        ("a stranger", OffsetCommit { member_id: "x".into(), ..ok() }, Err(GroupError::UnknownMemberId)),
        (
            "an unknown instance",
            OffsetCommit { group_instance_id: Some("i".into()), ..ok() },
            Err(GroupError::UnknownMemberId),
        ),
        ("nobody, while there are members", alone(), Err(GroupError::UnknownMemberId)),
        (
            "to a new group, with a generation",
            OffsetCommit { group: "n".into(), ..ok() },
            Err(GroupError::GroupIdNotFound),
        ),
        ("to a new group, by nobody", OffsetCommit { group: "n".into(), ..alone() }, Ok(())),
        ("then with a generation", OffsetCommit { group: "n".into(), ..ok() }, Err(GroupError::UnknownMemberId)),
        ("then by name only", OffsetCommit { group: "n".into(), member_id: "x".into(), ..alone() }, Ok(())),
    ];
    for (what, commit, result) in table {
        assert_eq!(world.commit_offsets(commit).map(|_| ()), result, "{what}");
    }
}

/// Members commit what they have done when they are called to join; before their first sync they have done nothing yet.
#[test]
fn commits_during_a_rebalance() {
    let mut world = World::new();
    let members = world.stable(vec![joining("a"), joining("b")]);
    let newcomer = world.join(joining("c"));
    assert_eq!(world.state("g"), State::PreparingRebalance);
    assert_eq!(world.commit_offsets(commit_as(&members[0], &[("t", 0, 1)])), Ok(vec![Ok(())]));
    world.join(rejoining("a", &members[0]));
    world.join(rejoining("b", &members[1]));
    let newcomer = world.joined(newcomer);
    assert_eq!(world.state("g"), State::CompletingRebalance);
    assert_eq!(world.commit_offsets(commit_as(&newcomer, &[("t", 0, 2)])), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.offsets("g"), [("t".into(), 0, 1)]);
}

#[test]
fn a_commit_proves_that_the_member_lives() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    for _ in 0..5 {
        world.pass(secs(9));
        assert_eq!(world.commit_offsets(commit_as(&member, &[("t", 0, 1)])), Ok(vec![Ok(())]));
    }
}

#[test]
fn long_notes_are_refused_one_by_one() {
    let mut world = World::new();
    let mut request = commit("g", &[("t", 0, 1), ("t", 1, 1), ("t", 2, 1)]);
    request.topics[0].partitions[0].metadata = "x".repeat(4096).into();
    request.topics[1].partitions[0].metadata = "x".repeat(4097).into();
    request.topics[2].partitions[0].metadata = "é".repeat(4096).into(); // twice the bytes, and as many of Java's characters
    assert_eq!(world.commit_offsets(request), Ok(vec![Ok(()), Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
    assert_eq!(world.offsets("g"), [("t".into(), 0, 1), ("t".into(), 2, 1)]);
}

#[test]
fn only_what_is_durable_is_fetched() {
    let mut world = World::new();
    world.commit_offsets(commit("g", &[("t", 0, 1)])).unwrap();
    world.slow = true;
    let second = world.ask(Command::OffsetCommit(commit("g", &[("t", 0, 2), ("t", 1, 2)])));
    let third = world.ask(Command::OffsetCommit(commit("g", &[("t", 0, 3)])));
    let fetch = || {
        Command::OffsetFetch(OffsetFetch {
            group: "g".into(),
            member_id: None,
            member_epoch: -1,
            topics: None,
            require_stable: true,
        })
    };
    let stable = world.ask(fetch());
    assert_eq!(world.offsets("g"), [("t".into(), 0, 1)]);
    assert!(world.waits(second) && world.waits(third) && world.waits(stable));
    assert!(world.commit());
    assert_eq!(world.committed(second), Ok(vec![Ok(()), Ok(())]));
    assert_eq!(world.offsets("g"), [("t".into(), 0, 2), ("t".into(), 1, 2)]);
    assert!(world.waits(third) && world.waits(stable));
    assert!(world.commit());
    assert_eq!(world.offsets("g"), [("t".into(), 0, 3), ("t".into(), 1, 2)]);
    assert_eq!(world.fetched(stable).len(), 2);
    assert_eq!(world.fetched(stable)[0].1.offset, Offset(3), "whoever would rather wait sees the newest");
}

#[test]
fn a_deletion_is_seen_when_it_is_durable() {
    let mut world = World::new();
    world.commit_offsets(commit("g", &[("t", 0, 1), ("t", 1, 1)])).unwrap();
    world.slow = true;
    let topics = vec![(Str::from("t"), vec![PartitionIndex(0)])];
    let token = world.ask(Command::OffsetDelete(OffsetDelete { group: "g".into(), topics }));
    assert_eq!(world.offsets("g").len(), 2);
    // A commit behind the deletion is a new offset.
    let token2 = world.ask(Command::OffsetCommit(commit("g", &[("t", 0, 9)])));
    assert!(world.commit());
    assert!(!world.waits(token) && world.waits(token2));
    assert_eq!(world.offsets("g"), [("t".into(), 1, 1)]);
    assert!(world.commit());
    assert_eq!(world.offsets("g"), [("t".into(), 0, 9), ("t".into(), 1, 1)]);
}

#[test]
fn offsets_are_deleted_unless_somebody_reads_the_topic() {
    let mut world = World::new();
    assert_eq!(delete(&mut world, "none", "t"), Err(GroupError::GroupIdNotFound));
    assert_eq!(delete(&mut world, "", "t"), Err(GroupError::InvalidGroupId));
    let member = world.stable(vec![joining("a")]).remove(0);
    let offsets = [("t", 0, 1), ("u", 0, 1)];
    world.commit_offsets(commit_as(&member, &offsets)).unwrap();
    let subscribed = Err(GroupError::GroupSubscribedToTopic);
    assert_eq!(delete(&mut world, "g", "t"), Ok(vec![subscribed; 2]));
    let records = world.log.len();
    assert_eq!(delete(&mut world, "g", "u"), Ok(vec![Ok(()); 2]), "one partition has no offset, which is no error");
    assert_eq!(world.log.len(), records + 1);
    assert_eq!(world.offsets("g"), [("t".into(), 0, 1)]);
    world.leave("g", &[(&member.member_id, None)]);
    assert_eq!(delete(&mut world, "g", "t"), Ok(vec![Ok(()); 2]));
    assert_eq!(world.offsets("g"), []);
}

#[test]
fn a_group_that_is_no_consumer_must_be_empty_for_its_offsets_to_be_deleted() {
    let mut world = World::new();
    let member = world.stable(vec![JoinGroup { protocol_type: "connect".into(), ..joining("a") }]).remove(0);
    world.commit_offsets(commit_as(&member, &[("t", 0, 1)])).unwrap();
    assert_eq!(delete(&mut world, "g", "t"), Err(GroupError::NonEmptyGroup));
    world.leave("g", &[(&member.member_id, None)]);
    assert_eq!(delete(&mut world, "g", "t"), Ok(vec![Ok(()); 2]));
}

#[test]
fn consumers_that_cannot_be_understood_might_read_any_topic() {
    let mut world = World::new();
    let member = world.stable(vec![JoinGroup { protocols: vec![protocol("range", b"?")], ..joining("a") }]).remove(0);
    world.commit_offsets(commit_as(&member, &[("t", 0, 1)])).unwrap();
    assert_eq!(delete(&mut world, "g", "t"), Ok(vec![Err(GroupError::GroupSubscribedToTopic); 2]));
}

#[test]
fn a_retention_of_the_clients_own_is_written_as_kafka_writes_it() {
    let mut world = World::new();
    world
        .commit_offsets(OffsetCommit { knows_epochs: true, retention_time_ms: 1_000, ..commit("g", &[("t", 0, 1)]) })
        .unwrap();
    world.commit_offsets(commit("g", &[("t", 0, 1)])).unwrap();
    let versions: Vec<u8> = world.log.iter().map(|record| record.value.as_ref().unwrap()[1]).collect();
    assert_eq!(versions, [1, 4]);
    match decode(&world.log[0].key, world.log[0].value.as_ref()).unwrap() {
        Replay::Offset(_, Some(value)) => {
            assert_eq!((value.commit_timestamp, value.expire_timestamp), (BEGIN, BEGIN + 1_000))
        }
        other => panic!("{other:?}"),
    }
}
