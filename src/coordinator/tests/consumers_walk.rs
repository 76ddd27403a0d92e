//! A random walk of groups of the consumer protocol: consumers that do what consumers do and what they should not, topics that come and go, a disk that is
//! sometimes slow, crashes, and time. What always holds is looked at after each step, most of it by the world itself.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::consumers::{beats, joins};
use super::*;

const GROUPS: [&str; 2] = ["g", "h"];
const TOPICS: [&str; 4] = ["t", "u", "ta", "tb"];

/// What one process knows of its membership.
#[derive(Clone, Debug, Default)]
struct Consumer {
    group: &'static str,
    instance: Option<&'static str>,
    id: String,
    epoch: i32,
    owned: Vec<TopicPartitions>,
    waiting: Option<Token>,
    /// The life of the group that it asked.
    life: u32,
}

struct Walk {
    world: World,
    random: TestRng,
    consumers: Vec<Consumer>,
    /// The highest epoch that anybody in a group was told.
    told: BTreeMap<&'static str, i32>,
    /// Groups go and come again.
    lives: BTreeMap<&'static str, u32>,
    ids: u32,
    /// What happened, so that a walk in which nothing happens is noticed.
    seen: BTreeMap<&'static str, u32>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let options = Options {
            group_consumer_assignment_interval_ms: if seed.is_multiple_of(3) { 1000 } else { 0 },
            group_consumer_max_size: 5,
            batch_bytes_max: if seed.is_multiple_of(4) { 1_500 } else { 1 << 20 },
            ..Options::default()
        };
        let consumer = |number: usize| Consumer {
            group: GROUPS[number % GROUPS.len()],
            instance: [None, None, None, Some("x"), Some("x"), Some("y")][number / 2 % 6],
            ..Consumer::default()
        };
        let mut world = World::with(options);
        world.topics.set("t", 6);
        Self {
            world,
            random: TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
            consumers: (0..12).map(consumer).collect(),
            told: BTreeMap::new(),
            lives: BTreeMap::new(),
            ids: 0,
            seen: BTreeMap::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.next_u32() as usize % end
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn step(&mut self) {
        match self.below(100) {
            0..60 => self.beat(),
            60..66 => self.subscribe(),
            66..70 => self.leave(),
            70..74 => self.change_topics(),
            74..84 => {
                let time = [1, 1, 3, 12, 50][self.below(5)];
                self.world.pass(secs(time));
            }
            84..90 => self.world.slow = !self.world.slow,
            90..96 => {
                self.world.commit();
            }
            96 => self.crash(),
            97 => self.remove(),
            98 => self.convert(),
            _ => self.commit_offset(),
        }
        if !self.world.slow {
            while self.world.commit() {}
        }
        self.hear();
        self.look();
    }

    fn send(&mut self, who: usize, heartbeat: ConsumerHeartbeat) {
        let consumer = &self.consumers[who];
        let heartbeat = ConsumerHeartbeat {
            group: consumer.group.into(),
            group_instance_id: consumer.instance.map(Str::from),
            ..heartbeat
        };
        let token = self.world.ask(Command::ConsumerHeartbeat(Box::new(heartbeat)));
        let life = self.lives.get(self.consumers[who].group).copied().unwrap_or(0);
        (self.consumers[who].waiting, self.consumers[who].life) = (Some(token), life);
    }

    fn idle(&mut self) -> Option<usize> {
        let who = self.below(self.consumers.len());
        (self.consumers[who].waiting.is_none()).then_some(who)
    }

    fn beat(&mut self) {
        let Some(who) = self.idle() else { return };
        let consumer = self.consumers[who].clone();
        if consumer.epoch == 0 {
            if consumer.id.is_empty() || self.below(3) == 0 {
                self.ids += 1;
                self.consumers[who].id = format!("m{}", self.ids);
            }
            let id = self.consumers[who].id.clone();
            let heartbeat = match self.below(4) {
                0 => ConsumerHeartbeat {
                    subscribed_topics: None,
                    subscribed_regex: Some("t.*".into()),
                    ..joins(&id, &[])
                },
                1 => joins(&id, &["t"]),
                2 => ConsumerHeartbeat { server_assignor: Some("range".into()), ..joins(&id, &["t", "u"]) },
                _ => joins(&id, &["t", "u"]),
            };
            return self.send(who, heartbeat);
        }
        let owned = match self.below(4) {
            0 => None,
            _ => Some(consumer.owned),
        };
        let epoch = if self.below(30) == 0 { consumer.epoch - 1 } else { consumer.epoch };
        self.send(who, ConsumerHeartbeat { owned, ..beats(&consumer.id, epoch.max(1)) });
    }

    fn subscribe(&mut self) {
        let Some(who) = self.idle().filter(|who| self.consumers[*who].epoch > 0) else { return };
        let consumer = self.consumers[who].clone();
        let topics: Vec<Str> = TOPICS.iter().filter(|_| self.below(2) == 0).map(|topic| Str::from(*topic)).collect();
        let regex = ["", "u", "t.", "(t|u)"][self.below(4)];
        let heartbeat = ConsumerHeartbeat {
            subscribed_topics: Some(topics),
            subscribed_regex: Some(regex.into()),
            owned: (self.below(2) == 0).then_some(consumer.owned),
            ..beats(&consumer.id, consumer.epoch)
        };
        self.count("subscriptions");
        self.send(who, heartbeat);
    }

    fn leave(&mut self) {
        let Some(who) = self.idle().filter(|who| self.consumers[*who].epoch > 0) else { return };
        let consumer = self.consumers[who].clone();
        let epoch = if consumer.instance.is_some() && self.below(3) > 0 { -2 } else { -1 };
        self.send(who, beats(&consumer.id, epoch));
    }

    fn change_topics(&mut self) {
        let topic = TOPICS[self.below(TOPICS.len())];
        match self.world.topics.topics.get(topic).map(|(_, partitions)| *partitions) {
            Some(_) if self.below(3) == 0 => self.world.topics.delete(topic),
            partitions => {
                let more = self.below(3) as i32 + 1;
                self.world.topics.set(topic, partitions.unwrap_or(0) + more);
            }
        }
        self.count("topics");
    }

    fn crash(&mut self) {
        self.world.restart();
        for consumer in &mut self.consumers {
            // Whoever waited hears nothing, and tries again with what it knows.
            if consumer.waiting.is_some_and(|token| !self.world.answers.contains_key(&token)) {
                consumer.waiting = None;
            }
        }
        self.count("crashes");
    }

    fn remove(&mut self) {
        let group = GROUPS[self.below(2)];
        if self.below(2) == 0 {
            self.world.ask(Command::DeleteGroups { groups: vec![group.into()] });
            return;
        }
        let who = self.below(self.consumers.len());
        let member = self.consumers[who].id.as_str().into();
        let members = vec![MemberIdentity { member_id: member, group_instance_id: None }];
        self.world.ask(Command::LeaveGroup(LeaveGroup { group: group.into(), members }));
    }

    /// Somebody tries the classic protocol, and leaves at once.
    fn convert(&mut self) {
        let group = GROUPS[self.below(2)];
        let token = self.world.join(JoinGroup { group: group.into(), ..joining("classic") });
        self.world.pass(secs(3));
        if let Some(Reply::JoinGroup(Ok(joined))) = self.world.answers.get(&token).cloned() {
            let members = vec![MemberIdentity { member_id: joined.member_id, group_instance_id: None }];
            self.world.ask(Command::LeaveGroup(LeaveGroup { group: group.into(), members }));
            self.count("conversions");
        }
    }

    fn commit_offset(&mut self) {
        let who = self.below(self.consumers.len());
        let consumer = self.consumers[who].clone();
        let topic = consumer.owned.first().and_then(|topic| self.world.topics.name(topic.topic_id));
        let offset = commit(consumer.group, &[(&topic.unwrap_or("t".into()), 0, 7)]);
        let offset = OffsetCommit { member_id: consumer.id.as_str().into(), generation_id: consumer.epoch, ..offset };
        self.world.ask(Command::OffsetCommit(offset));
    }

    /// Consumers take in what they were answered. Some answers are lost.
    fn hear(&mut self) {
        for who in 0..self.consumers.len() {
            let Some(token) = self.consumers[who].waiting.filter(|token| !self.world.waits(*token)) else { continue };
            self.consumers[who].waiting = None;
            let Reply::ConsumerHeartbeat(answer) = self.world.answer(token).clone() else { panic!("{token:?}") };
            let life = self.lives.get(self.consumers[who].group).copied().unwrap_or(0);
            if let Ok(assigned) = &answer
                && life == self.consumers[who].life
            {
                let told = self.told.entry(self.consumers[who].group).or_default();
                *told = (*told).max(assigned.member_epoch);
            }
            if self.below(20) == 0 {
                self.count("lost answers");
                continue;
            }
            let consumer = &mut self.consumers[who];
            match answer {
                Ok(assigned) => {
                    consumer.epoch = assigned.member_epoch.max(0);
                    if let Some(assignment) = assigned.assignment {
                        consumer.owned = assignment;
                    }
                    if consumer.epoch == 0 {
                        consumer.owned.clear();
                    }
                    self.count("answers");
                }
                Err(
                    GroupError::FencedMemberEpoch
                    | GroupError::UnknownMemberId
                    | GroupError::GroupIdNotFound
                    | GroupError::FencedInstanceId,
                ) => {
                    (consumer.epoch, consumer.owned) = (0, Vec::new());
                    self.count("fenced");
                }
                Err(GroupError::UnreleasedInstanceId | GroupError::GroupMaxSizeReached) => self.count("turned away"),
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn look(&mut self) {
        for group in GROUPS {
            match self.world.coordinator.consumers.get(group) {
                Some(consumers) => {
                    let told = self.told.get(group).copied().unwrap_or(0);
                    assert!(consumers.epoch >= told, "somebody was told {told}");
                    let state = consumers.state().name();
                    self.count(state);
                }
                None => {
                    self.told.remove(group);
                    *self.lives.entry(group).or_default() += 1;
                }
            }
        }
        if self.world.under_way.is_empty() {
            let replayed = self.world.replayed();
            let mut ids: Vec<&Str> = replayed.consumers.keys().collect();
            let mut expected: Vec<&Str> = self.world.coordinator.consumers.keys().collect();
            ids.sort();
            expected.sort();
            assert_eq!(ids, expected);
            for (id, group) in &replayed.consumers {
                self.world.coordinator.consumers[id].assert_same(group);
            }
        }
    }
}

#[test]
fn a_random_walk_keeps_what_is_promised() {
    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in 0..60 {
        let mut walk = Walk::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (0..400).for_each(|_| walk.step())));
        if let Err(panic) = result {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
        for (what, times) in walk.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    let happened = [
        "answers",
        "fenced",
        "turned away",
        "lost answers",
        "crashes",
        "topics",
        "subscriptions",
        "conversions",
        "Empty",
        "Assigning",
        "Reconciling",
        "Stable",
    ];
    for what in happened {
        assert!(seen.get(what).is_some_and(|times| *times > 10), "{what}: {seen:?}");
    }
}
