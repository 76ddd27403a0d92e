//! Kafka's own coordinator and ours, side by side, for groups of the consumer protocol: `tests/golden/consumers.txt` holds what consumers asked of the
//! classes of kafka-group-coordinator 4.3.1 and what came of it (`GoldenConsumers.java` explains its lines). Ours must answer and append likewise.
//! Where Kafka writes the same record twice in a row, for a static member that comes back while partitions are dealt, ours writes it once.

use super::kafka::{code, hex, list, nullable, shown, text};
use super::*;

struct Kafka {
    world: World,
    effects: Vec<String>,
    logged: usize,
}

impl Kafka {
    fn new(words: &[&str]) -> Self {
        let options = Options {
            group_consumer_max_size: words[1].parse().unwrap(),
            group_consumer_assignment_interval_ms: words[2].parse().unwrap(),
            group_consumer_assignors: vec![Assignor::Range],
            ..Options::default()
        };
        Self { world: World::with(options), effects: Vec::new(), logged: 0 }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "time" => {
                let end = Mono(words[1].parse::<u64>().unwrap() * 1_000_000);
                self.world.pass(end.since(self.world.now.mono));
            }
            "restart" => self.world.restart(),
            "topic" => {
                let topics = &mut self.world.topics;
                topics.version += 1;
                match words[3].parse().unwrap() {
                    0 => topics.topics.remove(words[1]),
                    partitions => topics.topics.insert(words[1].into(), (topic_id(words[2]), partitions)),
                };
            }
            "beat" => {
                let answer = self.world.beat(heartbeat(&words[1..]));
                self.effects.push(render(&answer));
            }
            "describe" => {
                let described = self.world.described(words[1]);
                self.effects.push(render_described(&described));
            }
            _ => panic!("{line}"),
        }
        let record = |record: &CoordinatorRecord| {
            format!("+ {} {}", hex(&record.key), record.value.as_ref().map_or("-".into(), |value| hex(value)))
        };
        let mut records: Vec<String> = self.world.log[self.logged..].iter().map(record).collect();
        records.sort();
        self.effects.extend(records);
        self.logged = self.world.log.len();
    }
}

fn heartbeat(words: &[&str]) -> ConsumerHeartbeat {
    let owned = |part: &&str| {
        let mut numbers = part.split(':');
        let topic_id = topic_id(numbers.next().unwrap());
        TopicPartitions {
            topic_id,
            partitions: numbers.map(|number| PartitionIndex(number.parse().unwrap())).collect(),
        }
    };
    ConsumerHeartbeat {
        group: text(words[0]),
        member_id: text(words[1]),
        member_epoch: words[2].parse().unwrap(),
        group_instance_id: nullable(words[3]),
        rack_id: None,
        rebalance_timeout_ms: words[4].parse().unwrap(),
        subscribed_topics: (words[5] != "-").then(|| list(words[5]).into_iter().map(Str::from).collect()),
        subscribed_regex: None,
        server_assignor: nullable(words[6]),
        owned: (words[7] != "-").then(|| list(words[7]).iter().map(owned).collect()),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        member_uuid: [0; 16],
        resolved: Vec::new(),
    }
}

/// The transcript's topic ids are small numbers.
fn topic_id(number: &str) -> TopicId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.parse::<u64>().unwrap().to_be_bytes());
    TopicId(id)
}

fn render(answer: &Result<ConsumerAssigned, GroupError>) -> String {
    let assigned = match answer {
        Ok(assigned) => assigned,
        Err(error) => return format!("= {}", code(*error)),
    };
    let topic = |topic: &TopicPartitions| {
        let id = u64::from_be_bytes(topic.topic_id.0[8..].try_into().unwrap());
        let partitions: String = topic.partitions.iter().map(|partition| format!(":{partition}")).collect();
        format!("{id}{partitions}")
    };
    let assignment = assigned.assignment.as_ref().map_or("-".into(), |topics| {
        let mut parts: Vec<String> = topics.iter().map(topic).collect();
        parts.sort();
        shown(&parts.join(","))
    });
    let member = assigned.member_id.as_deref().unwrap_or("-");
    format!("= {member} {} {} {assignment}", assigned.member_epoch, assigned.heartbeat_interval_ms)
}

fn render_described(group: &DescribedConsumerGroup) -> String {
    if let Some(error) = group.error {
        return format!("= {}", code(error));
    }
    let size = |parts: &[(TopicPartitions, Str)]| parts.iter().map(|(topic, _)| topic.partitions.len()).sum::<usize>();
    let member = |m: &DescribedConsumer| {
        format!("{}:{}:{}:{}", m.member_id, m.member_epoch, size(&m.assignment), size(&m.target))
    };
    let mut members: Vec<String> = group.members.iter().map(member).collect();
    members.sort();
    format!("= {} {} {} {}", group.state, group.group_epoch, group.assignment_epoch, shown(&members.join(",")))
}

#[test]
fn ours_does_as_kafkas_for_consumers() {
    let transcript = include_str!("../../../tests/golden/consumers.txt");
    let mut lines = transcript.lines().enumerate().peekable();
    let mut kafka: Option<Kafka> = None;
    while let Some((number, line)) = lines.next() {
        let mut expected = Vec::new();
        while let Some((_, effect)) = lines.next_if(|(_, line)| line.starts_with(['=', '+'])) {
            expected.push(effect);
        }
        expected.dedup();
        if let Some(walk) = line.strip_prefix("walk ") {
            kafka = Some(Kafka::new(&walk.split(' ').collect::<Vec<_>>()));
            continue;
        }
        let kafka = kafka.as_mut().expect("a transcript begins with a walk");
        kafka.line(line);
        let found = std::mem::take(&mut kafka.effects);
        assert_eq!(found, expected, "line {}: {line}", number + 1);
    }
    // What a transcript must be rich in.
    for (answer, times) in [("= 110", 5), ("= 111", 5), ("= 25", 5), ("= 81", 5), ("= 82", 1), ("= m", 100)] {
        let found = transcript.lines().filter(|line| line.starts_with(answer)).count();
        assert!(found >= times, "{found} times {answer}");
    }
}
