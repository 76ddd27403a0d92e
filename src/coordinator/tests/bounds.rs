//! What a client can make grow has an end, and an answer there.

use super::*;
use crate::base::limits::*;

#[test]
fn a_member_may_say_so_much_about_itself() {
    let many = |count| (0..count).map(|number: usize| protocol(&number.to_string(), b"")).collect::<Vec<_>>();
    let large = |bytes| vec![protocol("range", &vec![0; bytes])];
    let table = [
        (JoinGroup { protocols: many(MEMBER_PROTOCOLS_MAX), ..joining("a") }, None),
        (JoinGroup { protocols: many(MEMBER_PROTOCOLS_MAX + 1), ..joining("a") }, Some(GroupError::MemberTooLarge)),
        (JoinGroup { protocols: large(MEMBER_BYTES_MAX - 1_000), ..joining("a") }, None),
        (JoinGroup { protocols: large(MEMBER_BYTES_MAX), ..joining("a") }, Some(GroupError::MemberTooLarge)),
        (joining(&"x".repeat(32_767 - 37)), None),
        (joining(&"x".repeat(32_767 - 36)), Some(GroupError::MemberTooLarge)), // its id would be longer than a string may be
    ];
    for (at, (join, error)) in table.into_iter().enumerate() {
        let mut world = World::new();
        let token = world.join(JoinGroup { require_known_member_id: true, ..join });
        assert_eq!(world.refused(token).0, error.unwrap_or(GroupError::MemberIdRequired), "row {at}");
        assert_eq!(world.coordinator.is_empty(), error.is_some(), "row {at}");
    }
}

#[test]
fn a_group_gives_out_so_many_ids() {
    let mut world = World::new();
    let join = || JoinGroup { require_known_member_id: true, ..joining("a") };
    for number in 0..GROUP_PENDING_MEMBERS_MAX {
        let mut join = join();
        join.member_uuid[8..].copy_from_slice(&(number as u64).to_be_bytes());
        // Not by way of the world, which looks at the whole group each time.
        let effects = world.coordinator.handle(Token(0), Command::JoinGroup(join), &world.topics, world.now);
        let first = effects.appends.iter().flat_map(|append| world.coordinator.committed(append.id));
        let answer = first.collect::<Vec<_>>().pop().or(effects.answers.first().cloned()).unwrap();
        assert!(matches!(answer.reply, Reply::JoinGroup(Err(JoinRefused { error: GroupError::MemberIdRequired, .. }))));
    }
    let token = world.join(join());
    assert_eq!(world.refused(token), (GroupError::GroupMaxSizeReached, String::new()));
    world.pass(secs(10));
    let token = world.join(join());
    assert_eq!(world.refused(token).0, GroupError::MemberIdRequired);
}

#[test]
fn a_group_never_has_more_members_than_the_broker_allows() {
    let options = Options { group_max_size: usize::MAX, ..Options::default() };
    assert_eq!(options.members_max(), GROUP_MEMBERS_MAX);
    assert_eq!(Options { group_max_size: 5, ..options }.members_max(), 5);
}

#[test]
fn a_partition_takes_so_many_groups() {
    let options = Options { bytes_max: usize::MAX, ..Options::default() };
    let now = Now { mono: Mono(0), wall: Timestamp(BEGIN) };
    let mut loading = Loading::new(options.clone());
    for number in 0..GROUPS_PER_PARTITION_MAX {
        let record = CoordinatorRecord::group(&number.to_string().into(), &GroupMetadataValue::default());
        loading.replay(&record.key, record.value.as_ref(), now).unwrap();
    }
    let mut coordinator = loading.loaded(now);
    let mut answer =
        |command| coordinator.handle(Token(1), command, &TestTopics::default(), now).answers.remove(0).reply;
    let full = GroupError::GroupMaxSizeReached;
    let reply = answer(Command::JoinGroup(joining("a")));
    assert_eq!(reply, Reply::JoinGroup(Err(JoinRefused { error: full, member_id: Str::default() })));
    let reply = answer(Command::OffsetCommit(commit("g", &[("t", 0, 1)])));
    assert_eq!(reply, Reply::OffsetCommit(Err(GroupError::InvalidCommitOffsetSize)));
    assert!(
        !coordinator
            .handle(Token(1), Command::OffsetCommit(commit("7", &[("t", 0, 1)])), &TestTopics::default(), now)
            .appends
            .is_empty()
    );
}

#[test]
fn a_group_commits_so_many_offsets() {
    let now = Now { mono: Mono(0), wall: Timestamp(BEGIN) };
    let options = Options { bytes_max: usize::MAX, ..Options::default() };
    let mut coordinator = Loading::new(options).loaded(now);
    let partitions = |range: std::ops::Range<usize>| {
        let offsets: Vec<(&str, i32, i64)> = range.map(|partition| ("t", partition as i32, 1)).collect();
        let mut commit = commit("g", &offsets);
        let partitions = commit.topics.drain(..).flat_map(|topic| topic.partitions).collect();
        commit.topics = vec![CommitTopic { name: "t".into(), topic_id: TopicId::ZERO, partitions }];
        Command::OffsetCommit(commit)
    };
    let mut results = |range| {
        let effects = coordinator.handle(Token(1), partitions(range), &TestTopics::default(), now);
        let mut answers = effects.answers;
        answers.extend(effects.appends.iter().flat_map(|append| coordinator.committed(append.id)));
        match answers.remove(0).reply {
            Reply::OffsetCommit(Ok(topics)) => {
                topics[0].partitions.iter().map(|(_, result)| *result).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(results(0..OFFSETS_PER_GROUP_MAX).iter().all(Result::is_ok));
    let end = OFFSETS_PER_GROUP_MAX;
    assert_eq!(results(end - 1..end + 1), [Ok(()), Err(GroupError::InvalidCommitOffsetSize)]);
}

#[test]
fn memory_that_is_used_up_is_an_answer() {
    let options = Options { bytes_max: 100_000, group_initial_rebalance_delay: Duration::ZERO, ..Options::default() };
    let mut world = World::with(options);
    let full = GroupError::CoordinatorNotAvailable;
    let large =
        |group: String| JoinGroup { group: group.into(), protocols: vec![protocol("x", &[0; 10_000])], ..joining("a") };
    let refused = (0..20).find(|number| {
        let token = world.join(large(number.to_string()));
        !world.waits(token) && world.refused(token).0 == full
    });
    assert_eq!(refused, Some(8), "each takes more than 10,000 bytes");
    assert!(world.coordinator.bytes() <= 100_000);
    // Smaller things still find room, until nothing does.
    let mut partition = 0;
    while world.commit_offsets(commit("s", &[("t", partition, 1)])).is_ok() {
        partition += 1;
    }
    assert!((1..100).contains(&partition));
    assert!(world.coordinator.bytes() <= 100_000);
    assert_eq!(world.commit_offsets(commit("s", &[("t", 0, 2)])), Ok(vec![Ok(())]), "nobody loses its place");
    assert_eq!(world.commit_offsets(commit("s", &[("t", 0, 2), ("t", partition, 1)])), Err(full));
    // A member may come back, but not with more.
    world.pass(Duration::ZERO);
    let (id, _) = world.coordinator.groups["0"].members().first_key_value().unwrap();
    let (id, protocols) = (id.clone(), vec![protocol("x", &[0; 20_000])]);
    let token = world.join(JoinGroup { member_id: id.clone(), protocols, ..large("0".into()) });
    assert_eq!(world.refused(token), (full, id.to_string()));
    let token = world.join(JoinGroup { member_id: id.clone(), ..large("0".into()) });
    let member = world.joined(token);
    // Nor does a large assignment find room.
    let token = world.ask(Command::SyncGroup(SyncGroup {
        group: "0".into(),
        member_id: id.clone(),
        group_instance_id: None,
        generation_id: member.generation_id,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(id, Bytes::from(vec![0; 20_000]))],
    }));
    assert_eq!(world.synced(token), Err(full));
    // What is gone makes room.
    world.pass(secs(3_600));
    let token = world.join(large("new".into()));
    assert!(world.waits(token));
}

#[test]
fn so_many_appends_wait_for_the_disk() {
    let mut world = World::new();
    let member = world.stable(vec![joining("a")]).remove(0);
    world.slow = true;
    for _ in 0..COORDINATOR_APPENDS_MAX {
        world.ask(Command::OffsetCommit(commit_as(&member, &[("t", 0, 1)])));
    }
    assert_eq!(world.coordinator.appends_under_way(), COORDINATOR_APPENDS_MAX);
    let full = Err(GroupError::CoordinatorNotAvailable);
    assert_eq!(world.commit_offsets(commit_as(&member, &[("t", 0, 1)])).map(|_| ()), full);
    let refused = world.join(joining("b"));
    assert_eq!(world.refused(refused).0, GroupError::CoordinatorNotAvailable);
    assert_eq!(world.offsets("g"), [], "reading goes on");
    // Time stands still meanwhile: the member is not removed for a silence that may be ours.
    assert_eq!(world.coordinator.next_deadline(), None);
    world.pass(secs(100));
    assert_eq!(world.state("g"), State::Stable);
    assert!(world.commit());
    assert!(world.coordinator.next_deadline().is_some());
    world.pass(Duration::ZERO);
    assert_eq!(world.state("g"), State::Empty);
}

#[test]
fn a_record_that_the_log_does_not_take_is_refused() {
    let options =
        Options { batch_bytes_max: 1_000, group_initial_rebalance_delay: Duration::ZERO, ..Options::default() };
    let mut world = World::with(options);
    let mut large = commit("g", &[("t", 0, 1), ("t", 1, 1)]);
    large.topics[1].partitions[0].metadata = "x".repeat(1_000).into();
    assert_eq!(world.commit_offsets(large), Ok(vec![Ok(()), Err(GroupError::InvalidCommitOffsetSize)]));
    // A static member that comes back with more than fits is refused, and its place kept.
    let members = world.stable(vec![JoinGroup { group: "g".into(), ..instance("i") }]);
    let records = world.log.len();
    let token = world.join(JoinGroup { protocols: vec![protocol("range", &[0; 1_000])], ..instance("i") });
    assert_eq!(world.refused(token), (GroupError::UnknownServerError, String::new()));
    assert_eq!((world.log.len(), world.state("g")), (records, State::Stable));
    assert_eq!(world.heartbeat("g", &members[0].member_id, members[0].generation_id), Ok(()));
}

/// A note of 4 KiB, fetched a million times by one request of a few MiB, would be an answer of 4 GiB.
#[test]
fn an_answer_does_not_grow_by_asking_for_the_same_again() {
    let mut world = World::new();
    let mut large = commit("g", &[("t", 0, 1)]);
    large.topics[0].partitions[0].metadata = "x".repeat(4_096).into();
    world.commit_offsets(large).unwrap();
    let topic = || FetchTopic { name: "t".into(), topic_id: TopicId::ZERO, partitions: vec![PartitionIndex(0); 100] };
    let fetch = OffsetFetch {
        group: "g".into(),
        member_id: None,
        member_epoch: -1,
        topics: Some(vec![topic(), topic()]),
        require_stable: false,
    };
    let token = world.ask(Command::OffsetFetch(fetch));
    assert_eq!(world.fetched(token).len(), 1);
    let token = world.ask(Command::DescribeGroups { groups: vec!["g".into(); 100] });
    let Reply::DescribeGroups(Ok(groups)) = world.answer(token) else { panic!("it is described") };
    assert_eq!(groups.len(), 1);
}

#[test]
fn what_is_kept_does_not_hold_a_frame_in_memory() {
    let frame = Bytes::from(vec![0; 1 << 20]);
    let mut world = World::new();
    let protocols = vec![Protocol { name: "range".into(), metadata: frame.slice(..10) }];
    let token = world.join(JoinGroup { protocols, ..joining("a") });
    world.pass(Duration::ZERO);
    let member_id = world.joined(token).member_id;
    world.ask(Command::SyncGroup(SyncGroup {
        group: "g".into(),
        member_id: member_id.clone(),
        group_instance_id: None,
        generation_id: 1,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(member_id, frame.slice(..10))],
    }));
    assert_eq!(world.state("g"), State::Stable);
    let replayed = Bytes::from(vec![0; 1 << 20]);
    let value = GroupMetadataValue {
        members: vec![records::MemberMetadata {
            subscription: replayed.slice(..10),
            assignment: replayed.slice(..10),
            ..Default::default()
        }],
        ..Default::default()
    };
    let group = group::Group::from_record("h".into(), value, world.now.wall);
    assert_eq!(group.members().len(), 1);
    assert!(frame.is_unique() && replayed.is_unique(), "what is kept was copied");
}
