//! Groups of the consumer protocol beside everything else: the classic protocol, offsets, lists, deletion, expiry, bounds, and a log that ends anywhere.

use super::consumers::{beats, joins, world};
use super::*;
use crate::base::limits::{GROUP_LISTED_TOPICS_MAX, GROUP_MEMBERS_MAX, GROUPS_PER_PARTITION_MAX};

fn heartbeat(member: &str, epoch: i32, member_epoch_of: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { group: member_epoch_of.into(), ..beats(member, epoch) }
}

#[test]
fn a_classic_member_is_refused_by_a_group_with_members() {
    let mut world = world();
    world.beat(joins("a", &["t"])).unwrap();
    let token = world.join(joining("classic"));
    assert_eq!(world.refused(token).0, GroupError::InconsistentGroupProtocol);
    assert_eq!(world.heartbeat("g", "a", 1), Err(GroupError::UnknownMemberId));
    let sync = SyncGroup {
        group: "g".into(),
        member_id: "a".into(),
        group_instance_id: None,
        generation_id: 2,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![],
    };
    let token = world.ask(Command::SyncGroup(sync));
    assert_eq!(world.synced(token), Err(GroupError::UnknownMemberId));
    assert_eq!(world.beat(beats("a", 2)).unwrap().member_epoch, 2, "and nothing happened");
}

#[test]
fn a_classic_group_with_members_refuses_consumers() {
    let mut world = world();
    let members = world.stable(vec![joining("a")]);
    assert_eq!(world.beat(joins("b", &["t"])), Err(GroupError::GroupIdNotFound));
    assert_eq!(world.beat(beats("b", -1)), Err(GroupError::GroupIdNotFound));
    assert_eq!(world.heartbeat("g", &members[0].member_id, 1), Ok(()));
}

#[test]
fn a_group_without_members_changes_its_protocol_and_keeps_its_offsets() {
    let mut world = world();
    let members = world.stable(vec![joining("a")]);
    world.commit_offsets(commit_as(&members[0], &[("t", 0, 42)])).unwrap();
    world.leave("g", &[(&members[0].member_id, None)]);
    assert_eq!(world.beat(joins("b", &["t"])).unwrap().member_epoch, 2);
    assert_eq!(world.offsets("g"), [("t".into(), 0, 42)]);
    world.restart();
    assert_eq!(world.beat(beats("b", 2)).unwrap().member_epoch, 2);
    world.beat(beats("b", -1)).unwrap();
    let wrong = world.join(JoinGroup { member_id: "x".into(), ..joining("c") });
    assert_eq!(world.refused(wrong).0, GroupError::UnknownMemberId);
    assert_eq!(world.described("g").state, "Empty", "and the group is what it was");
    let token = world.join(joining("c"));
    world.pass(secs(3));
    assert_eq!(world.joined(token).generation_id, 1);
    assert_eq!(world.offsets("g"), [("t".into(), 0, 42)]);
    assert_eq!(world.described("g").error, Some(GroupError::GroupIdNotFound));
    let before = world.coordinator.len();
    world.restart();
    assert_eq!((world.coordinator.len(), world.coordinator.consumers.len()), (before, 0));
}

#[test]
fn administrators_remove_members() {
    let mut world = world();
    world.beat(joins("a", &["t"])).unwrap();
    world.beat(ConsumerHeartbeat { group_instance_id: Some("i".into()), ..joins("b", &["t"]) }).unwrap();
    let left = world.leave("g", &[("a", None), ("x", None), ("", Some("i")), ("y", Some("i")), ("", Some("j"))]);
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(left, [Ok(()), unknown, Ok(()), Err(GroupError::FencedInstanceId), unknown]);
    assert_eq!(world.described("g").state, "Empty");
    assert_eq!(world.described("g").group_epoch, 4, "once for all of them");
}

#[test]
fn commits_are_held_against_epochs() {
    let mut world = world();
    world.beat(joins("a", &["t"])).unwrap();
    world.beat(joins("b", &["t"])).unwrap();
    world.beat(ConsumerHeartbeat { owned: Some(vec![]), ..beats("a", 2) }).unwrap();
    let by = |member: &str, epoch: i32, partition: i32| OffsetCommit {
        member_id: member.into(),
        generation_id: epoch,
        ..commit("g", &[("t", partition, 7)])
    };
    assert_eq!(world.commit_offsets(by("a", 3, 5)), Ok(vec![Ok(())]), "its own epoch");
    assert_eq!(world.commit_offsets(by("a", 2, 0)), Ok(vec![Ok(())]), "it has had this one since epoch 1");
    assert_eq!(world.commit_offsets(by("a", 2, 5)), Err(GroupError::StaleMemberEpoch), "it gave this one up");
    assert_eq!(world.commit_offsets(by("a", 4, 0)), Err(GroupError::StaleMemberEpoch));
    assert_eq!(world.commit_offsets(by("x", 2, 0)), Err(GroupError::UnknownMemberId));
    assert_eq!(world.commit_offsets(commit("g", &[("t", 0, 1)])), Err(GroupError::UnknownMemberId));
    let old = OffsetCommit { knows_epochs: false, ..by("a", 3, 0) };
    assert_eq!(world.commit_offsets(old), Err(GroupError::UnsupportedVersion));

    let mut fetch = |member_id: Option<&str>, member_epoch: i32| {
        let fetch = OffsetFetch {
            group: "g".into(),
            member_id: member_id.map(Str::from),
            member_epoch,
            topics: None,
            require_stable: false,
        };
        let token = world.ask(Command::OffsetFetch(fetch));
        match world.answer(token) {
            Reply::OffsetFetch(answer) => answer.clone().map(|topics| topics.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(None, -1), Ok(1));
    assert_eq!(fetch(Some("a"), 3), Ok(1));
    assert_eq!(fetch(Some("a"), 2), Err(GroupError::StaleMemberEpoch));
    assert_eq!(fetch(Some("x"), 2), Err(GroupError::UnknownMemberId));
    world.beat(beats("a", -1)).unwrap();
    world.beat(beats("b", -1)).unwrap();
    assert_eq!(world.commit_offsets(commit("g", &[("t", 0, 1)])), Ok(vec![Ok(())]), "nobody is left");
}

#[test]
fn offsets_of_topics_that_are_subscribed_to_stay() {
    let mut world = world();
    world.beat(joins("a", &["t"])).unwrap();
    let by = |topic: &str| OffsetCommit { member_id: "a".into(), generation_id: 2, ..commit("g", &[(topic, 0, 7)]) };
    world.commit_offsets(by("t")).unwrap();
    world.commit_offsets(by("u")).unwrap();
    let topics = ["t", "u"].map(|topic| (topic.into(), vec![PartitionIndex(0)]));
    let token = world.ask(Command::OffsetDelete(OffsetDelete { group: "g".into(), topics: topics.into() }));
    match world.answer(token) {
        Reply::OffsetDelete(Ok(topics)) => {
            let results: Vec<_> = topics.iter().map(|topic| topic.partitions[0].1).collect();
            assert_eq!(results, [Err(GroupError::GroupSubscribedToTopic), Ok(())]);
        }
        other => panic!("{other:?}"),
    }
    // Days go by. The member lives on; what nobody subscribes to expires, and at last the group.
    world.commit_offsets(by("u")).unwrap();
    for _ in 0..(8 * 24 * 60 * 2) {
        world.pass(secs(30));
        world.beat(beats("a", 2)).unwrap();
    }
    assert_eq!(world.offsets("g"), [("t".into(), 0, 7)]);
    world.beat(beats("a", -1)).unwrap();
    world.pass(secs(600));
    assert!(world.offsets("g").is_empty() && world.coordinator.is_empty());
    assert!(world.replayed().is_empty());
}

#[test]
fn groups_are_listed_described_counted_and_deleted() {
    let mut world = world();
    world.beat(joins("a", &["t"])).unwrap();
    world.beat(joins("b", &["t"])).unwrap();
    world.commit_offsets(commit("simple", &[("t", 0, 1)])).unwrap();
    let mut list = |states: &[&str], types: &[&str]| {
        let texts = |of: &[&str]| of.iter().map(|text| Str::from(*text)).collect::<Vec<_>>();
        let token = world.ask(Command::ListGroups(ListGroups::of(&texts(states), &texts(types))));
        match world.answer(token) {
            Reply::ListGroups(Ok(groups)) => {
                let shown = |group: &ListedGroup| (group.group.to_string(), group.state, group.group_type);
                let mut shown: Vec<_> = groups.iter().map(shown).collect();
                shown.sort();
                shown
            }
            other => panic!("{other:?}"),
        }
    };
    let consumers = ("g".to_string(), "Reconciling", "consumer");
    let simple = ("simple".to_string(), "Empty", "classic");
    assert_eq!(list(&[], &[]), [consumers.clone(), simple.clone()]);
    assert_eq!(list(&["reconciling"], &[]), std::slice::from_ref(&consumers));
    assert_eq!(list(&[], &["Consumer"]), [consumers]);
    assert_eq!(list(&[], &["classic"]), [simple]);
    assert_eq!(list(&["Stable"], &["consumer"]), []);
    let census = world.coordinator.census();
    assert_eq!((census.groups, census.members), ([1, 0, 0, 0, 0, 1], 2));

    let described = world.described("g");
    assert_eq!((described.state, described.group_epoch, described.assignment_epoch), ("Reconciling", 3, 3));
    assert_eq!((&*described.assignor, described.members.len()), ("uniform", 2));
    let parts = |parts: &[(TopicPartitions, Str)]| parts.iter().map(|(it, _)| it.partitions.len()).sum::<usize>();
    let member = &described.members[0];
    assert_eq!((parts(&member.assignment), parts(&member.target), &*member.subscribed_topics[0]), (6, 3, "t"));
    assert_eq!(world.described("simple").error, Some(GroupError::GroupIdNotFound));
    let token = world.ask(Command::DescribeGroups { groups: vec!["g".into()] });
    assert!(matches!(world.answer(token), Reply::DescribeGroups(Ok(groups)) if groups[0].state == "Dead"));

    let delete = |world: &mut World| {
        let token = world.ask(Command::DeleteGroups { groups: vec!["g".into()] });
        match world.answer(token) {
            Reply::DeleteGroups(Ok(deleted)) => deleted[0].result,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut world), Err(GroupError::NonEmptyGroup));
    world.beat(beats("a", -1)).unwrap();
    world.beat(beats("b", -1)).unwrap();
    assert_eq!(delete(&mut world), Ok(()));
    assert_eq!(world.described("g").error, Some(GroupError::GroupIdNotFound));
    assert_eq!(world.replayed().consumers.len(), 0);
}

#[test]
fn a_group_takes_no_more_members_than_it_may_have() {
    let mut world = world();
    world.options.group_consumer_max_size = 2;
    world.restart();
    world.beat(joins("a", &["t"])).unwrap();
    world.beat(joins("b", &["t"])).unwrap();
    assert_eq!(world.beat(joins("c", &["t"])), Err(GroupError::GroupMaxSizeReached));
    assert_eq!(world.beat(joins("", &["t"])), Err(GroupError::GroupMaxSizeReached));
    assert!(world.beat(joins("a", &["t"])).is_ok(), "who has a place keeps it");
    assert!(Options::default().consumers_max() == GROUP_MEMBERS_MAX && GROUP_MEMBERS_MAX < GROUPS_PER_PARTITION_MAX);
}

#[test]
fn what_members_say_is_bounded_by_memory() {
    let mut world = world();
    let name = "n".repeat(200);
    let names: Vec<String> = (0..10_000).map(|number| format!("{name}{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(world.beat(joins("a", &names)), Err(GroupError::MemberTooLarge));
    assert_eq!(world.beat(joins(&"m".repeat(40_000), &["t"])), Err(GroupError::MemberTooLarge));
    world.options.bytes_max = 60_000;
    world.restart();
    let mut refused = 0;
    for number in 0..100 {
        let answer = world.beat(ConsumerHeartbeat { group: format!("g{number}").into(), ..joins("a", &names[..20]) });
        refused += usize::from(answer == Err(GroupError::CoordinatorNotAvailable));
        assert!(world.coordinator.bytes() <= 60_000, "{}", world.coordinator.bytes());
    }
    assert!((50..100).contains(&refused), "{refused}");
    world.topics.set("large", 5_000);
    let large =
        ConsumerHeartbeat { group: "g0".into(), subscribed_topics: Some(vec!["large".into()]), ..beats("a", 2) };
    assert_eq!(world.beat(large), Err(GroupError::CoordinatorNotAvailable));
    assert!(world.beat(heartbeat("a", 2, "g0")).is_ok(), "who is there stays");
}

/// The refusal left the member's old expression without its topics, and when another member left in that moment nobody was dealt them again.
#[test]
fn an_expression_for_which_there_is_no_room_changes_nothing() {
    let mut world = world();
    for number in 0..2_000 {
        world.topics.set(&format!("n{number}"), 1);
    }
    world.options.bytes_max = 60_000;
    world.restart();
    let by = |regex: &str| ConsumerHeartbeat { subscribed_regex: Some(regex.into()), ..beats("a", 1) };
    let first = ConsumerHeartbeat { subscribed_topics: None, subscribed_regex: Some("t".into()), ..joins("a", &[]) };
    let epoch = world.beat(first).unwrap().member_epoch;
    let wide = ConsumerHeartbeat { member_epoch: epoch, ..by("n.*") };
    assert_eq!(world.beat(wide), Err(GroupError::CoordinatorNotAvailable));
    assert!(world.coordinator.bytes() <= 60_000, "{}", world.coordinator.bytes());
    world.beat(joins("b", &["t"])).unwrap();
    let again = ConsumerHeartbeat { member_epoch: epoch, ..by("n1.*") };
    assert_eq!(world.beat(again), Err(GroupError::CoordinatorNotAvailable));
    world.beat(beats("b", -1)).unwrap();
    for _ in 0..3 {
        let epoch = world.described("g").members[0].member_epoch;
        world.beat(beats("a", epoch)).unwrap();
    }
    let has = &world.described("g").members[0].assignment;
    assert_eq!(has.iter().map(|(topic, _)| topic.partitions.len()).collect::<Vec<_>>(), [6]);
}

#[test]
fn members_and_topics_are_bounded_together() {
    let mut world = world();
    for number in 0..GROUP_LISTED_TOPICS_MAX / 50 {
        world.topics.set(&format!("n{number}"), 1);
    }
    for member in 0..49 {
        world.beat(joins(&format!("m{member}"), &["t"])).unwrap();
    }
    let all = ConsumerHeartbeat { subscribed_topics: None, subscribed_regex: Some("n.*".into()), ..joins("x", &[]) };
    let why = "the group has too many members for so many topics";
    assert_eq!(world.beat(all), Err(GroupError::InvalidRequest(why)));
    assert!(world.beat(joins("y", &["t"])).is_ok());
}

#[test]
fn nobody_is_told_what_is_not_durable() {
    let mut world = world();
    world.slow = true;
    let token = world.ask(Command::ConsumerHeartbeat(Box::new(joins("a", &["t"]))));
    assert!(world.waits(token));
    let other = world.ask(Command::ConsumerHeartbeat(Box::new(beats("a", 2))));
    assert!(world.waits(other));
    world.commit();
    assert!(!world.waits(token) && !world.waits(other));
}

/// The broker may crash between any two records, whatever batches they stand in.
#[test]
fn a_group_is_of_use_after_any_prefix_of_its_records() {
    let mut world = world();
    world.topics.set("u", 3);
    world.beat(joins("a", &["t", "u"])).unwrap();
    world.beat(ConsumerHeartbeat { group_instance_id: Some("i".into()), ..joins("b", &["t"]) }).unwrap();
    world.beat(ConsumerHeartbeat { owned: Some(vec![]), ..beats("a", 2) }).unwrap();
    world.beat(ConsumerHeartbeat { owned: Some(vec![]), ..beats("b", 3) }).unwrap();
    world.beat(ConsumerHeartbeat { group_instance_id: Some("i".into()), ..beats("b", -2) }).unwrap();
    world.beat(ConsumerHeartbeat { group_instance_id: Some("i".into()), ..joins("c", &["t"]) }).unwrap();
    world.beat(beats("a", -1)).unwrap();
    world
        .commit_offsets(OffsetCommit { member_id: "c".into(), generation_id: 3, ..commit("g", &[("t", 0, 1)]) })
        .unwrap();
    world.leave("g", &[("c", None)]);
    world.ask(Command::DeleteGroups { groups: vec!["g".into()] });
    let log = world.log.clone();
    assert!(log.len() > 30, "{}", log.len());
    for end in 0..=log.len() {
        world.log = log[..end].to_vec();
        world.restart();
        assert!(world.coordinator.consumers.values().all(|group| group.len() <= 3), "{end}");
        // Whoever joins gets everything when the others are gone.
        let epoch = world.beat(joins("d", &["t", "u"])).unwrap().member_epoch;
        world.pass(secs(44));
        let epoch = world.beat(beats("d", epoch)).unwrap().member_epoch;
        world.pass(secs(44));
        let answer = world.beat(ConsumerHeartbeat { member_epoch: epoch, ..joins("d", &["t", "u"]) }).unwrap();
        let partitions: usize = answer.assignment.unwrap().iter().map(|topic| topic.partitions.len()).sum();
        assert_eq!(partitions, 9, "after {end} records");
        assert_eq!(world.described("g").state, "Stable");
        world.beat(beats("d", -1)).unwrap();
    }
    assert_eq!(world.coordinator.consumers["g"].len(), 0);
}

/// The topics that brokers before 4.1 kept in the log are removed from it when there is occasion.
#[test]
fn what_older_brokers_kept_is_removed() {
    let mut world = world();
    world.beat(joins("a", &["t"])).unwrap();
    let mut old = CoordinatorRecord::partition_metadata_tombstone(&"g".into());
    old.value = Some(Bytes::from_static(&[0, 0, 1, 0]));
    world.log.push(old.clone());
    world.restart();
    let written = world.log.len();
    world.beat(beats("a", 2)).unwrap();
    assert_eq!(world.log[written..], [CoordinatorRecord { value: None, ..old }]);
}

/// The epoch of a group rose with the last record of members that left. A crash between the batches of a long command left their partitions to nobody.
#[test]
fn whoever_stays_gets_what_many_had_that_left_however_much_is_on_disk() {
    let mut world = world();
    for member in ["a", "b", "c", "d"] {
        world.beat(joins(member, &["t"])).unwrap();
    }
    let before = world.log.len();
    world.leave("g", &[("b", None), ("c", None), ("d", None)]);
    let log = world.log.clone();
    assert_eq!(log.len(), before + 10);
    for end in before..=log.len() {
        world.log = log[..end].to_vec();
        world.restart();
        for _ in 0..4 {
            let epoch =
                world.described("g").members.iter().find(|member| &*member.member_id == "a").unwrap().member_epoch;
            world.beat(ConsumerHeartbeat { owned: Some(vec![]), ..beats("a", epoch) }).unwrap();
            world.pass(secs(40));
        }
        let described = world.described("g");
        assert_eq!((described.members.len(), described.state), (1, "Stable"), "after {end} records");
        let has = &described.members[0].assignment;
        assert_eq!(has.iter().map(|(topic, _)| topic.partitions.len()).sum::<usize>(), 6, "after {end} records");
    }
}
