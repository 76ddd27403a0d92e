//! Kafka's own coordinator and ours, side by side: `tests/golden/groups.txt` holds what clients asked of the classes of kafka-group-coordinator 4.3.1 and
//! what came of it (`GoldenGroups.java` explains its lines). Ours must answer, append and wait likewise, to the byte and to the millisecond.

use super::*;
use crate::base::crc;

struct Kafka {
    world: World,
    /// What a line brought about, as the transcript writes it.
    effects: Vec<String>,
    logged: usize,
    /// Names tokens by the transcript's numbers.
    tokens: BTreeMap<Token, String>,
}

impl Kafka {
    fn new(words: &[&str]) -> Self {
        let [_, max_size, delay_ms] = words else { panic!("{words:?}") };
        let options = Options {
            group_max_size: max_size.parse().unwrap(),
            group_initial_rebalance_delay: Duration::from_millis(delay_ms.parse().unwrap()),
            offsets_retention: secs(3_600),
            ..Options::default()
        };
        Self { world: World::with(options), effects: Vec::new(), logged: 0, tokens: BTreeMap::new() }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "time" => {
                let end = Mono(words[1].parse::<u64>().unwrap() * 1_000_000);
                self.world.pass(end.since(self.world.now.mono));
            }
            "restart" => {
                self.world.restart();
                self.tokens.clear();
            }
            "topics-deleted" => {
                self.world.topics_deleted(&[(words[2].into(), topic_id("1", words[2]))]);
                self.effects.push(format!("= {} topics-deleted", words[1]));
            }
            _ => {
                let command = command(words[0], &words[2..]);
                let uuid =
                    words.last().and_then(|id| id.get(id.len().checked_sub(36)?..)).filter(|_| words[0] == "join");
                let token = self.ask(command, uuid);
                self.tokens.insert(token, words[1].into());
            }
        }
        let waiting: Vec<Token> = self.tokens.keys().copied().filter(|token| !self.world.waits(*token)).collect();
        for token in waiting {
            let number = self.tokens.remove(&token).unwrap();
            self.effects.push(format!("= {number} {}", render(self.world.answer(token))));
        }
        self.effects.sort_by_key(|effect| effect.split(' ').nth(1).unwrap().parse::<u32>().unwrap());
        let mut records: Vec<String> = self.world.log[self.logged..].iter().map(render_record).collect();
        records.sort();
        self.effects.extend(records);
        self.logged = self.world.log.len();
    }

    /// As `World::ask`, with the chance that Kafka had.
    fn ask(&mut self, mut command: Command, uuid: Option<&str>) -> Token {
        if let (Command::JoinGroup(join), Some(uuid)) = (&mut command, uuid) {
            join.member_uuid = *uuid::Uuid::parse_str(uuid).expect("a member id ends with a UUID").as_bytes();
        }
        self.world.given += 1;
        let token = Token(self.world.given);
        let effects = self.world.coordinator.handle(token, command, &self.world.topics, self.world.now);
        self.world.absorb(effects);
        token
    }
}

fn command(name: &str, words: &[&str]) -> Command {
    let group = text(words[0]);
    let groups = || list(words[0]).into_iter().map(Str::from).collect();
    match name {
        "join" => Command::JoinGroup(JoinGroup {
            group,
            member_id: text(words[1]),
            group_instance_id: nullable(words[2]),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: words[4].parse().unwrap(),
            rebalance_timeout_ms: words[5].parse().unwrap(),
            protocol_type: words[6].into(),
            protocols: list(words[7])
                .iter()
                .map(|protocol| protocol.split_once(':').unwrap())
                .map(|(name, metadata)| Protocol { name: name.into(), metadata: unhex(metadata) })
                .collect(),
            require_known_member_id: words[3].parse::<i16>().unwrap() >= 4,
            can_skip_assignment: words[3].parse::<i16>().unwrap() >= 9,
            member_uuid: [0; 16],
        }),
        "sync" => Command::SyncGroup(SyncGroup {
            group,
            member_id: text(words[1]),
            group_instance_id: nullable(words[2]),
            generation_id: words[3].parse().unwrap(),
            protocol_type: nullable(words[4]),
            protocol_name: nullable(words[5]),
            assignments: list(words[6])
                .iter()
                .map(|part| part.split_once(':').unwrap())
                .map(|(member, assignment)| (member.into(), unhex(assignment)))
                .collect(),
        }),
        "heartbeat" => Command::Heartbeat(Heartbeat {
            group,
            member_id: text(words[1]),
            group_instance_id: nullable(words[2]),
            generation_id: words[3].parse().unwrap(),
        }),
        "leave" => Command::LeaveGroup(LeaveGroup {
            group,
            members: list(words[1])
                .iter()
                .map(|member| member.split_once('/').unwrap())
                .map(|(id, instance)| MemberIdentity { member_id: text(id), group_instance_id: nullable(instance) })
                .collect(),
        }),
        "commit" => Command::OffsetCommit(OffsetCommit {
            group,
            member_id: text(words[1]),
            group_instance_id: nullable(words[2]),
            generation_id: words[3].parse().unwrap(),
            knows_epochs: true,
            retention_time_ms: words[4].parse().unwrap(),
            topics: list(words[5]).into_iter().map(commit_topic).collect(),
        }),
        "fetch" => Command::OffsetFetch(OffsetFetch {
            group,
            member_id: None,
            member_epoch: -1,
            topics: (words[1] != "-").then(|| list(words[1]).into_iter().map(fetch_topic).collect()),
            require_stable: true,
        }),
        "delete-offsets" => {
            let topic = |part: &str| {
                let (name, partition) = part.split_once('/').unwrap();
                (Str::from(name), vec![PartitionIndex(partition.parse().unwrap())])
            };
            Command::OffsetDelete(OffsetDelete { group, topics: list(words[1]).into_iter().map(topic).collect() })
        }
        "delete-groups" => Command::DeleteGroups { groups: groups() },
        "describe" => Command::DescribeGroups { groups: groups() },
        "list" => {
            let names = |word| list(word).into_iter().map(Str::from).collect();
            Command::ListGroups(ListGroups { states: names(words[0]), types: names(words[1]) })
        }
        _ => panic!("{name}"),
    }
}

fn commit_topic(part: &str) -> CommitTopic {
    let fields: Vec<&str> = part.split('/').collect();
    let metadata = if fields[5] == "LONG" { "x".repeat(4_097).into() } else { nullable(fields[5]).unwrap_or_default() };
    CommitTopic {
        name: fields[0].into(),
        topic_id: topic_id(fields[1], fields[0]),
        partitions: vec![CommitPartition {
            partition: PartitionIndex(fields[2].parse().unwrap()),
            offset: Offset(fields[3].parse().unwrap()),
            leader_epoch: LeaderEpoch(fields[4].parse().unwrap()),
            metadata,
        }],
    }
}

fn fetch_topic(part: &str) -> FetchTopic {
    let fields: Vec<&str> = part.split('/').collect();
    FetchTopic {
        name: fields[0].into(),
        topic_id: topic_id(fields[1], fields[0]),
        partitions: vec![PartitionIndex(fields[2].parse().unwrap())],
    }
}

/// The transcript's topic ids: 0 is none, else two numbers of 64 bits.
fn topic_id(number: &str, name: &str) -> TopicId {
    let mut id = [0; 16];
    if number != "0" {
        (id[7], id[15]) = (number.parse().unwrap(), name.as_bytes()[0]);
    }
    TopicId(id)
}

pub(super) fn text(word: &str) -> Str {
    if word == "~" { Str::default() } else { word.into() }
}

pub(super) fn nullable(word: &str) -> Option<Str> {
    (word != "-").then(|| text(word))
}

pub(super) fn list(word: &str) -> Vec<&str> {
    if word == "~" { Vec::new() } else { word.split(',').collect() }
}

fn unhex(word: &str) -> Bytes {
    let digits = |at| u8::from_str_radix(&word[at..at + 2], 16).expect("two hex digits");
    if word == "~" { Bytes::new() } else { (0..word.len()).step_by(2).map(digits).collect() }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    shown(&digits)
}

pub(super) fn shown(text: &str) -> String {
    if text.is_empty() { "~".into() } else { text.into() }
}

fn shown_or_null(text: &Option<Str>) -> String {
    text.as_ref().map_or("-".into(), |text| shown(text))
}

fn joined_list(parts: impl IntoIterator<Item = String>) -> String {
    shown(&parts.into_iter().collect::<Vec<_>>().join(","))
}

fn render_record(record: &CoordinatorRecord) -> String {
    match &record.value {
        Some(value) => format!("+ {} {} {:08x}", hex(&record.key), value.len(), crc::crc32c(value)),
        None => format!("+ {} -", hex(&record.key)),
    }
}

fn render(reply: &Reply) -> String {
    match reply {
        Reply::JoinGroup(Err(refused)) => format!("join {} {}", code(refused.error), shown(&refused.member_id)),
        Reply::JoinGroup(Ok(joined)) => {
            let member = |m: &JoinedMember| {
                format!("{}:{}:{}", m.member_id, shown_or_null(&m.group_instance_id), hex(&m.metadata))
            };
            format!(
                "join 0 {} {} {} {} {} {} {}",
                joined.member_id,
                joined.generation_id,
                shown_or_null(&joined.protocol_type),
                shown_or_null(&joined.protocol_name),
                shown(&joined.leader),
                joined.skip_assignment,
                joined_list(joined.members.iter().map(member)),
            )
        }
        Reply::SyncGroup(Err(error)) => format!("sync {}", code(*error)),
        Reply::SyncGroup(Ok(synced)) => {
            let (protocol_type, name) = (shown_or_null(&synced.protocol_type), shown_or_null(&synced.protocol_name));
            format!("sync 0 {protocol_type} {name} {}", hex(&synced.assignment))
        }
        Reply::Heartbeat(result) => format!("heartbeat {}", code_of(result)),
        Reply::LeaveGroup(Ok(left)) => {
            format!("leave 0 {}", joined_list(left.iter().map(|left| code_of(&left.result).to_string())))
        }
        Reply::OffsetCommit(Err(error)) => format!("commit {}", code(*error)),
        Reply::OffsetCommit(Ok(topics)) => {
            let codes =
                topics.iter().flat_map(|topic| topic.partitions.iter().map(|(_, result)| code_of(result).to_string()));
            format!("commit 0 {}", joined_list(codes))
        }
        Reply::OffsetFetch(Ok(topics)) => {
            let partition = |name: &Str, p: &FetchedPartition| {
                format!("{name}/{}/{}/{}/{}", p.partition, p.offset, p.leader_epoch, shown(&p.metadata))
            };
            let parts = topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| partition(&topic.name, p)));
            format!("fetch 0 {}", joined_list(parts))
        }
        Reply::OffsetDelete(Err(error)) => format!("delete-offsets {}", code(*error)),
        Reply::OffsetDelete(Ok(topics)) => {
            let codes =
                topics.iter().flat_map(|topic| topic.partitions.iter().map(|(_, result)| code_of(result).to_string()));
            format!("delete-offsets 0 {}", joined_list(codes))
        }
        Reply::DeleteGroups(Ok(groups)) => {
            let groups = groups.iter().map(|deleted| format!("{}/{}", deleted.group, code_of(&deleted.result)));
            format!("delete-groups {}", joined_list(groups))
        }
        Reply::DescribeGroups(Ok(groups)) => {
            format!("describe {}", groups.iter().map(render_described).collect::<Vec<_>>().join(" "))
        }
        Reply::ListGroups(Ok(groups)) => {
            let group =
                |g: &ListedGroup| format!("{}/{}/{}/{}", g.group, shown(&g.protocol_type), g.state, g.group_type);
            let mut groups: Vec<String> = groups.iter().map(group).collect();
            groups.sort();
            format!("list {}", joined_list(groups))
        }
        refused => panic!("{refused:?}"),
    }
}

fn render_described(group: &DescribedGroup) -> String {
    let member = |m: &DescribedMember| {
        let instance = shown_or_null(&m.group_instance_id);
        let (metadata, assignment) = (hex(&m.metadata), hex(&m.assignment));
        format!("{}:{instance}:{}:{}:{metadata}:{assignment}", m.member_id, m.client_id, m.client_host)
    };
    let members = joined_list(group.members.iter().map(member));
    let (protocol_type, protocol) = (shown(&group.protocol_type), shown(&group.protocol));
    format!("{}/{}/{}/{protocol_type}/{protocol}/{members}", group.group, group.error.map_or(0, code), group.state)
}

fn code_of(result: &Result<(), GroupError>) -> i16 {
    result.map_or_else(code, |()| 0)
}

/// Kafka's number of an error, which each of ours documents.
pub(super) fn code(error: GroupError) -> i16 {
    match error {
        GroupError::UnknownServerError => -1,
        GroupError::OffsetMetadataTooLarge => 12,
        GroupError::CoordinatorLoadInProgress => 14,
        GroupError::CoordinatorNotAvailable => 15,
        GroupError::NotCoordinator => 16,
        GroupError::IllegalGeneration => 22,
        GroupError::InconsistentGroupProtocol => 23,
        GroupError::InvalidGroupId => 24,
        GroupError::UnknownMemberId => 25,
        GroupError::InvalidSessionTimeout => 26,
        GroupError::RebalanceInProgress => 27,
        GroupError::InvalidCommitOffsetSize => 28,
        GroupError::MemberTooLarge => 42,
        GroupError::NonEmptyGroup => 68,
        GroupError::GroupIdNotFound => 69,
        GroupError::MemberIdRequired => 79,
        GroupError::GroupMaxSizeReached => 81,
        GroupError::FencedInstanceId => 82,
        GroupError::GroupSubscribedToTopic => 86,
        GroupError::UnsupportedVersion => 35,
        GroupError::FencedMemberEpoch => 110,
        GroupError::UnreleasedInstanceId => 111,
        GroupError::UnsupportedAssignor => 112,
        GroupError::StaleMemberEpoch => 113,
        GroupError::InvalidRegularExpression | GroupError::RegularExpressionTooSlow => 128,
        GroupError::InvalidRequest(_) => 42,
    }
}

#[test]
fn ours_does_as_kafkas() {
    let transcript = include_str!("../../../tests/golden/groups.txt");
    let mut lines = transcript.lines().enumerate().peekable();
    let mut kafka: Option<Kafka> = None;
    while let Some((number, line)) = lines.next() {
        let mut expected = Vec::new();
        while let Some((_, effect)) = lines.next_if(|(_, line)| line.starts_with(['=', '+'])) {
            expected.push(effect);
        }
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
    for (answer, times) in [
        ("join 0 ", 100),
        ("join 25 ", 5),
        ("join 79 ", 5),
        ("join 81 ", 2),
        ("join 82 ", 5),
        ("sync 0 ", 20),
        ("sync 27", 5),
        ("heartbeat 0", 5),
        ("heartbeat 27", 5),
        ("commit 0 ", 5),
        ("commit 27", 5),
        ("fetch 0 ", 5),
        (" true ", 3), // assignments skipped
    ] {
        let found = transcript
            .lines()
            .filter(|line| line.starts_with('=') && line.contains(&format!(" {}", answer.trim_start())))
            .count();
        assert!(found >= times, "{found} times {answer}");
    }
}
