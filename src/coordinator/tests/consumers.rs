//! Groups of the consumer protocol: joining, epochs, reconciliation, leaving, static members, expressions, topics that change.

use super::*;
use crate::coordinator::consumer::ConsumerState;

/// Partitions by the name of their topic.
type Parts = Vec<(String, Vec<i32>)>;

/// A world that deals at once, with the topic "t" of 6 partitions.
pub(super) fn world() -> World {
    let mut world = World::with(Options {
        group_consumer_assignment_interval_ms: 0,
        group_initial_rebalance_delay: Duration::ZERO,
        ..Options::default()
    });
    world.topics.set("t", 6);
    world
}

/// A heartbeat by which a member joins group "g".
pub(super) fn joins(member: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".into(),
        member_id: member.into(),
        member_epoch: 0,
        group_instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 60_000,
        subscribed_topics: Some(topics.iter().map(|topic| Str::from(*topic)).collect()),
        subscribed_regex: None,
        server_assignor: None,
        owned: Some(Vec::new()),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        member_uuid: [7; 16],
        resolved: Vec::new(),
    }
}

/// A static member.
fn joins_as(member: &str, instance: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { group_instance_id: Some(instance.into()), ..joins(member, &["t"]) }
}

/// A member that subscribes by an expression.
fn joins_by(member: &str, regex: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { subscribed_topics: None, subscribed_regex: Some(regex.into()), ..joins(member, &[]) }
}

/// A heartbeat of a member that has nothing new to say.
pub(super) fn beats(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        subscribed_topics: None,
        owned: None,
        ..joins(member, &[])
    }
}

impl World {
    pub(super) fn beat(&mut self, heartbeat: ConsumerHeartbeat) -> Result<ConsumerAssigned, GroupError> {
        let token = self.ask(Command::ConsumerHeartbeat(Box::new(heartbeat)));
        match self.answer(token) {
            Reply::ConsumerHeartbeat(answer) => answer.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat that says what the member has. Gives its epoch and what it is told to have, if it is told.
    fn own(&mut self, member: &str, epoch: i32, owned: &[(&str, &[i32])]) -> (i32, Option<Parts>) {
        let owned = owned.iter().map(|(topic, partitions)| TopicPartitions {
            topic_id: self.topics.topics[*topic].0,
            partitions: partitions.iter().copied().map(PartitionIndex).collect(),
        });
        let heartbeat = ConsumerHeartbeat { owned: Some(owned.collect()), ..beats(member, epoch) };
        let answer = self.beat(heartbeat).unwrap();
        (answer.member_epoch, answer.assignment.as_ref().map(|assignment| self.named(assignment)))
    }

    fn named(&self, assignment: &[TopicPartitions]) -> Parts {
        let mut named: Vec<_> = assignment
            .iter()
            .map(|topic| {
                let name = self.topics.name(topic.topic_id).map_or("?".to_string(), |name| name.to_string());
                (name, topic.partitions.iter().map(|partition| partition.0).collect())
            })
            .collect();
        named.sort();
        named
    }

    /// A member joins. Gives its epoch and what it is told to have.
    fn enter(&mut self, heartbeat: ConsumerHeartbeat) -> (i32, Parts) {
        let answer = self.beat(heartbeat).unwrap();
        (answer.member_epoch, self.named(&answer.assignment.expect("who joins is told")))
    }

    pub(super) fn described(&mut self, group: &str) -> DescribedConsumerGroup {
        let token = self.ask(Command::DescribeConsumerGroups { groups: vec![group.into()] });
        match self.answer(token) {
            Reply::DescribeConsumerGroups(Ok(groups)) => groups[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    fn consumer_state(&self) -> ConsumerState {
        self.coordinator.consumers["g"].state()
    }
}

fn t(partitions: &[i32]) -> Parts {
    vec![("t".to_string(), partitions.to_vec())]
}

#[test]
fn one_member_has_everything() {
    let mut world = world();
    let answer = world.beat(joins("a", &["t"])).unwrap();
    assert_eq!((answer.member_id.as_deref(), answer.member_epoch, answer.heartbeat_interval_ms), (Some("a"), 2, 5000));
    assert_eq!(world.named(&answer.assignment.unwrap()), t(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(world.consumer_state(), ConsumerState::Stable);
    let written = world.log.len();
    let again = world.beat(beats("a", 2)).unwrap();
    assert_eq!((again.member_epoch, again.assignment), (2, None), "it knows");
    assert_eq!(world.log.len(), written, "nothing changed");
    let full = ConsumerHeartbeat { member_epoch: 2, ..joins("a", &["t"]) };
    assert!(world.beat(full).unwrap().assignment.is_some(), "who says everything is told everything");
    assert_eq!(world.log.len(), written);
}

#[test]
fn a_member_without_an_id_is_given_one() {
    let mut world = world();
    let answer = world.beat(joins("", &["t"])).unwrap();
    let id = answer.member_id.unwrap();
    assert_eq!(id.len(), 22, "{id}");
    assert_eq!(world.beat(beats(&id, 2)).unwrap().member_epoch, 2);
}

#[test]
fn a_second_member_waits_until_the_first_gave_up_its_half() {
    let mut world = world();
    world.enter(joins("a", &["t"]));
    assert_eq!(world.enter(joins("b", &["t"])), (3, vec![]), "nothing is free");
    assert_eq!(world.consumer_state(), ConsumerState::Reconciling);
    // The first is told to keep three, and stays in its epoch as long as it has more.
    assert_eq!(world.own("a", 2, &[("t", &[0, 1, 2, 3, 4, 5])]), (2, Some(t(&[0, 1, 2]))));
    assert_eq!(world.own("a", 2, &[("t", &[0, 1, 2, 3, 4, 5])]), (2, None));
    assert_eq!(world.beat(beats("b", 3)).unwrap().assignment, None, "still nothing");
    assert_eq!(world.own("a", 2, &[("t", &[0, 1, 2])]), (3, None));
    assert_eq!(world.own("b", 3, &[]), (3, Some(t(&[3, 4, 5]))));
    assert_eq!(world.consumer_state(), ConsumerState::Stable);
}

#[test]
fn a_third_member_gets_its_part_from_both() {
    let mut world = world();
    world.enter(joins("a", &["t"]));
    world.enter(joins("b", &["t"]));
    world.own("a", 2, &[]);
    world.own("b", 3, &[]);
    assert_eq!(world.enter(joins("c", &["t"])), (4, vec![]));
    assert_eq!(world.beat(beats("a", 3)).unwrap().member_epoch, 3);
    assert_eq!(world.own("a", 3, &[("t", &[0, 1])]), (4, None));
    assert_eq!(world.own("c", 4, &[]), (4, Some(t(&[2]))), "what is free is given at once");
    assert_eq!(world.beat(beats("b", 3)).unwrap().assignment.map(|it| world.named(&it)), Some(t(&[3, 4])));
    assert_eq!(world.own("c", 4, &[("t", &[2])]), (4, None), "the rest is not free");
    assert_eq!(world.own("b", 3, &[("t", &[3, 4])]), (4, None));
    assert_eq!(world.own("c", 4, &[("t", &[2])]), (4, Some(t(&[2, 5]))));
    assert_eq!(world.consumer_state(), ConsumerState::Stable);
}

#[test]
fn who_does_not_give_up_in_time_is_removed() {
    let mut world = world();
    world.enter(joins("a", &["t"]));
    world.enter(joins("b", &["t"]));
    world.beat(beats("a", 2)).unwrap();
    for _ in 0..2 {
        world.pass(secs(29));
        world.beat(beats("a", 2)).unwrap();
        world.beat(beats("b", 3)).unwrap();
    }
    world.pass(secs(2));
    assert_eq!(world.beat(beats("a", 2)), Err(GroupError::UnknownMemberId));
    assert_eq!(world.own("b", 3, &[]), (4, Some(t(&[0, 1, 2, 3, 4, 5]))));
}

#[test]
fn who_is_silent_is_removed_and_the_others_take_over() {
    let mut world = world();
    world.enter(joins("a", &["t"]));
    world.pass(secs(44));
    world.enter(joins("b", &["t"]));
    world.pass(secs(1));
    assert_eq!(world.beat(beats("a", 2)), Err(GroupError::UnknownMemberId));
    assert_eq!(world.own("b", 3, &[]), (4, Some(t(&[0, 1, 2, 3, 4, 5]))));
    world.pass(secs(45));
    assert_eq!(world.consumer_state(), ConsumerState::Empty);
    assert_eq!(world.described("g").group_epoch, 5);
}

#[test]
fn who_leaves_gives_everything_up() {
    let mut world = world();
    world.enter(joins("a", &["t"]));
    world.enter(joins("b", &["t"]));
    let left = world.beat(beats("a", -1)).unwrap();
    assert_eq!((left.member_id.as_deref(), left.member_epoch, left.assignment), (Some("a"), -1, None));
    assert_eq!(world.own("b", 3, &[]), (4, Some(t(&[0, 1, 2, 3, 4, 5]))));
    assert_eq!(world.beat(beats("a", -1)), Err(GroupError::UnknownMemberId));
    assert_eq!(world.beat(ConsumerHeartbeat { group: "x".into(), ..beats("a", -1) }), Err(GroupError::GroupIdNotFound));
}

#[test]
fn epochs_fence() {
    let mut world = world();
    world.enter(joins("a", &["t"]));
    world.enter(joins("b", &["t"]));
    assert_eq!(world.beat(beats("a", 6)), Err(GroupError::FencedMemberEpoch), "from the future");
    world.own("a", 2, &[]);
    // The answer with epoch 2 was lost: the member comes with 1, and has no more than it is to have.
    assert_eq!(world.own("a", 2, &[("t", &[0, 1])]).0, 3);
    assert_eq!(world.beat(beats("a", 2)), Err(GroupError::FencedMemberEpoch), "it does not say what it has");
    let too_much = TopicPartitions { topic_id: world.topics.topics["t"].0, partitions: vec![PartitionIndex(5)] };
    let heartbeat = ConsumerHeartbeat { owned: Some(vec![too_much]), ..beats("a", 2) };
    assert_eq!(world.beat(heartbeat), Err(GroupError::FencedMemberEpoch), "it has what it is not to have");
    assert_eq!(world.enter(joins("a", &["t"])), (3, t(&[0, 1, 2])), "it may always join again");
    assert_eq!(world.beat(beats("x", 2)), Err(GroupError::UnknownMemberId));
    assert_eq!(world.beat(ConsumerHeartbeat { group: "x".into(), ..beats("a", 2) }), Err(GroupError::GroupIdNotFound));
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = world();
    world.enter(joins_as("a", "i"));
    assert_eq!(world.beat(joins_as("b", "i")), Err(GroupError::UnreleasedInstanceId));
    let away = ConsumerHeartbeat { group_instance_id: Some("i".into()), ..beats("a", -2) };
    assert_eq!(world.beat(away.clone()).unwrap().member_epoch, -2);
    assert_eq!(world.described("g").members[0].member_epoch, -2);
    world.pass(secs(44));
    let epoch = world.described("g").group_epoch;
    assert_eq!(world.enter(joins_as("b", "i")), (2, t(&[0, 1, 2, 3, 4, 5])));
    assert_eq!(world.described("g").group_epoch, epoch, "nobody else notices");
    let old = ConsumerHeartbeat { group_instance_id: Some("i".into()), ..beats("a", 2) };
    assert_eq!(world.beat(old), Err(GroupError::FencedInstanceId));
    assert_eq!(world.beat(away), Err(GroupError::FencedInstanceId));
    let nobody = ConsumerHeartbeat { group_instance_id: Some("j".into()), ..beats("b", 2) };
    assert_eq!(world.beat(nobody), Err(GroupError::UnknownMemberId));
    world.restart();
    assert_eq!(world.beat(beats("b", 2)).unwrap().member_epoch, 2);
}

/// What that other member had was dealt to nobody until something else changed.
#[test]
fn a_static_member_that_comes_back_under_the_id_of_another_member_takes_its_place() {
    let mut world = world();
    world.enter(joins_as("a", "i"));
    world.enter(joins("b", &["t"]));
    world.own("a", 2, &[]);
    world.own("b", 3, &[]);
    world.beat(ConsumerHeartbeat { group_instance_id: Some("i".into()), ..beats("a", -2) }).unwrap();
    let (epoch, _) = world.enter(joins_as("b", "i"));
    world.own("b", epoch, &[]);
    let described = world.described("g");
    assert_eq!((described.members.len(), described.state), (1, "Stable"));
    let has = &described.members[0].assignment;
    assert_eq!(has.iter().map(|(topic, _)| topic.partitions.len()).sum::<usize>(), 6);
}

#[test]
fn a_static_member_that_stays_away_is_removed() {
    let mut world = world();
    world.enter(joins_as("a", "i"));
    world.enter(joins("b", &["t"]));
    world.beat(ConsumerHeartbeat { group_instance_id: Some("i".into()), ..beats("a", -2) }).unwrap();
    assert_eq!(world.own("b", 3, &[]), (3, None), "its place is kept");
    world.pass(secs(44));
    world.beat(beats("b", 3)).unwrap();
    world.pass(secs(1));
    assert_eq!(world.own("b", 3, &[]), (4, Some(t(&[0, 1, 2, 3, 4, 5]))));
}

/// One that was fast among fewer topics goes on with those that it stood for.
#[test]
fn an_expression_that_takes_too_long_is_refused_or_stays_as_it_was() {
    let mut world = world();
    world.enter(joins_by("a", "t"));
    let too_slow =
        |regex: &str| Resolved { regex: regex.into(), version: 2, topics: Err(GroupError::RegularExpressionTooSlow) };
    let slow = |regex: &str| ConsumerHeartbeat { resolved: vec![too_slow(regex)], ..beats("a", 2) };
    let other = ConsumerHeartbeat { subscribed_regex: Some("u".into()), ..slow("u") };
    assert_eq!(world.beat(other), Err(GroupError::RegularExpressionTooSlow));
    world.topics.set("u", 1);
    world.pass(secs(10));
    world.coordinator.refreshed("g", &too_slow("t"), world.now.mono);
    assert_eq!(world.beat(beats("a", 2)).unwrap().member_epoch, 2);
    assert_eq!(world.described("g").group_epoch, 2);
    let has = world.described("g").members[0].assignment.iter().map(|(topic, _)| topic.partitions.len()).sum::<usize>();
    assert_eq!(has, 6);
    let token = world.ask_as_it_is(Command::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
        subscribed_regex: Some("u".into()),
        ..beats("a", 2)
    })));
    let refused = Reply::ConsumerHeartbeat(Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(*world.answer(token), refused, "nobody held it against the topics");
    world.restart();
    assert_eq!(world.beat(slow("t")), Err(GroupError::CoordinatorNotAvailable), "nothing is known of it yet");
    assert_eq!(world.beat(beats("a", 2)).unwrap().member_epoch, 2);
    assert_eq!(world.described("g").group_epoch, 2);
}

#[test]
fn expressions_stand_for_topics_whose_whole_name_fits() {
    let mut world = world();
    world.topics.set("aa", 1);
    world.topics.set("ab", 2);
    world.topics.set("xab", 4);
    let (epoch, has) = world.enter(joins_by("a", "a."));
    assert_eq!((epoch, has), (2, vec![("aa".into(), vec![0]), ("ab".into(), vec![0, 1])]));
    let both = ConsumerHeartbeat { subscribed_topics: Some(vec!["xab".into(), "ab".into()]), ..beats("a", 2) };
    assert_eq!(world.beat(both).unwrap().member_epoch, 3);
    assert_eq!(world.described("g").members[0].assignment.len(), 3);
    // A new topic is seen when the last look is some seconds old.
    world.topics.set("ac", 1);
    assert_eq!(world.beat(beats("a", 3)).unwrap().member_epoch, 3);
    world.pass(secs(10));
    let answer = world.beat(beats("a", 3)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment.unwrap().len()), (4, 4));
    // Without the expression, what the names do not name is to be given up.
    let fewer = ConsumerHeartbeat { subscribed_regex: Some(Str::default()), ..beats("a", 4) };
    let answer = world.beat(fewer).unwrap();
    assert_eq!(world.named(&answer.assignment.unwrap()), [("ab".into(), vec![0, 1]), ("xab".into(), vec![0, 1, 2, 3])]);
}

/// What it costs to hold an expression against all topics is not for whoever is refused anyway.
#[test]
fn nothing_is_resolved_for_a_heartbeat_that_is_refused() {
    let mut world = world();
    world.enter(joins_by("a", "t"));
    let by = |heartbeat: ConsumerHeartbeat| {
        Command::ConsumerHeartbeat(Box::new(ConsumerHeartbeat { subscribed_regex: Some("u".into()), ..heartbeat }))
    };
    let unresolved = |world: &World, heartbeat| world.coordinator.unresolved(&by(heartbeat));
    assert_eq!(unresolved(&world, beats("a", 2)), Some("u".into()));
    assert_eq!(unresolved(&world, joins("b", &["t"])), Some("u".into()));
    assert_eq!(unresolved(&world, beats("a", 7)), None, "fenced");
    assert_eq!(unresolved(&world, beats("b", 2)), None, "not a member");
    assert_eq!(unresolved(&world, ConsumerHeartbeat { group: "x".into(), ..beats("a", 2) }), None, "not a group");
    assert_eq!(unresolved(&world, ConsumerHeartbeat { rebalance_timeout_ms: -1, ..joins("b", &["t"]) }), None);
    world.restart();
    assert_eq!(world.coordinator.unresolved(&Command::ConsumerHeartbeat(Box::new(beats("a", 2)))), Some("t".into()));
}

#[test]
fn what_is_no_expression_is_refused() {
    let mut world = world();
    for bad in ["(", "a)|(b", "[", "a{4000}{4000}", "(?=a)", &"a".repeat(5000)] {
        assert_eq!(world.beat(joins_by("a", bad)), Err(GroupError::InvalidRegularExpression), "{bad}");
    }
    assert!(world.coordinator.consumers.is_empty() && world.log.is_empty());
    world.enter(joins("a", &["t"]));
    let bad = ConsumerHeartbeat { subscribed_regex: Some("(".into()), ..beats("a", 2) };
    assert_eq!(world.beat(bad), Err(GroupError::InvalidRegularExpression));
    assert_eq!(world.beat(beats("a", 2)).unwrap().member_epoch, 2);
}

#[test]
fn topics_that_come_grow_and_go_raise_the_epoch() {
    let mut world = world();
    assert_eq!(world.enter(joins("a", &["t", "u"])), (2, t(&[0, 1, 2, 3, 4, 5])));
    world.topics.set("other", 3);
    assert_eq!(world.beat(beats("a", 2)).unwrap().member_epoch, 2, "not one of its own");
    world.topics.set("u", 1);
    let answer = world.beat(beats("a", 2)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment.unwrap().len()), (3, 2));
    world.topics.set("u", 2);
    let answer = world.beat(beats("a", 3)).unwrap();
    assert_eq!((answer.member_epoch, world.named(&answer.assignment.unwrap())[1].1.len()), (4, 2));
    world.topics.delete("t");
    let answer = world.beat(beats("a", 4)).unwrap();
    assert_eq!((answer.member_epoch, world.named(&answer.assignment.unwrap())), (4, vec![("u".into(), vec![0, 1])]));
    assert_eq!(world.own("a", 4, &[("u", &[0, 1])]).0, 5);
    // The same name is another topic.
    world.topics.set("t", 1);
    assert_eq!(world.beat(beats("a", 5)).unwrap().member_epoch, 6);
    assert_eq!(world.consumer_state(), ConsumerState::Stable);
}

#[test]
fn topics_that_changed_while_the_broker_was_away_are_noticed() {
    let mut world = world();
    world.enter(joins("a", &["t"]));
    world.restart();
    let written = world.log.len();
    assert_eq!(world.beat(beats("a", 2)).unwrap().member_epoch, 2);
    assert_eq!(world.log.len(), written, "they are what they were");
    world.restart();
    world.topics.set("t", 7);
    assert_eq!(world.beat(beats("a", 2)).unwrap().member_epoch, 3);
}

#[test]
fn partitions_are_dealt_once_in_a_while() {
    let mut world = world();
    world.options.group_consumer_assignment_interval_ms = 1000;
    world.restart();
    world.enter(joins("a", &["t"]));
    assert_eq!(world.enter(joins("b", &["t"])), (2, vec![]), "not yet");
    assert_eq!(world.consumer_state(), ConsumerState::Assigning);
    world.pass(secs(1));
    assert_eq!(world.own("b", 2, &[]), (3, None));
    assert_eq!(world.own("a", 2, &[]), (3, Some(t(&[0, 1, 2]))));
    assert_eq!(world.own("b", 3, &[]), (3, Some(t(&[3, 4, 5]))));
}

#[test]
fn ranges_are_neighbours_and_the_same_for_topics_of_the_same_size() {
    let mut world = world();
    world.topics.set("u", 6);
    let range =
        |member: &str| ConsumerHeartbeat { server_assignor: Some("range".into()), ..joins(member, &["t", "u"]) };
    world.enter(range("b"));
    world.enter(range("a"));
    world.own("b", 2, &[]);
    let both =
        |partitions: &[i32]| vec![("t".to_string(), partitions.to_vec()), ("u".to_string(), partitions.to_vec())];
    assert_eq!(world.own("a", 3, &[]).1, Some(both(&[0, 1, 2])));
    assert_eq!(world.described("g").assignor, "range");
    let unknown = ConsumerHeartbeat { server_assignor: Some("x".into()), ..joins("c", &["t"]) };
    assert_eq!(world.beat(unknown), Err(GroupError::UnsupportedAssignor));
    world.options.group_consumer_assignors = vec![Assignor::Uniform];
    world.restart();
    assert_eq!(world.beat(range("c")), Err(GroupError::UnsupportedAssignor));
    assert_eq!(world.described("g").assignor, "uniform");
}

#[test]
fn heartbeats_that_make_no_sense_are_refused() {
    let mut world = world();
    let join = || joins("a", &["t"]);
    let owned = vec![TopicPartitions { topic_id: TopicId([1; 16]), partitions: vec![PartitionIndex(0)] }];
    let bad = [
        ConsumerHeartbeat { member_id: " ".into(), ..beats("", 2) },
        ConsumerHeartbeat { member_id: "".into(), ..beats("", -1) },
        ConsumerHeartbeat { group: "".into(), ..join() },
        ConsumerHeartbeat { group_instance_id: Some("".into()), ..join() },
        ConsumerHeartbeat { rack_id: Some("".into()), ..join() },
        ConsumerHeartbeat { rebalance_timeout_ms: -1, ..join() },
        ConsumerHeartbeat { owned: None, ..join() },
        ConsumerHeartbeat { owned: Some(owned), ..join() },
        ConsumerHeartbeat { subscribed_topics: None, ..join() },
        beats("a", -2),
        beats("a", -3),
    ];
    for heartbeat in bad {
        assert!(matches!(world.beat(heartbeat.clone()), Err(GroupError::InvalidRequest(_))), "{heartbeat:?}");
    }
    assert!(world.log.is_empty() && world.coordinator.is_empty());
}
