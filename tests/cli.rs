//! A day's work from the command line, against a broker process.

#[path = "support/mod.rs"]
mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use coretide::client::{Client, GroupOffset, Options};
use coretide::protocol::ApiKey;
use coretide::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use serde_json::Value;
use support::node::Wire;
use support::process::Process;

/// The command line of one broker.
struct Shell(SocketAddr);

impl Shell {
    fn start(&self, line: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_coretide"))
            .args(line.split_whitespace())
            .env("CORETIDE_BOOTSTRAP", self.0.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program's binary")
    }

    fn run(&self, line: &str, input: &str) -> Output {
        let mut child = self.start(line);
        // A command that does not read its input may be gone before it is written.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    }

    /// What a command that must succeed prints.
    fn text(&self, line: &str) -> String {
        let output = self.run(line, "");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, line: &str) -> Value {
        let text = self.text(&format!("{line} --json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
    }

    /// Exit code and words of a command that must fail.
    fn refusal(&self, line: &str) -> (i32, String) {
        let output = self.run(line, "");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn broker(name: &str) -> (Process, Shell) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    let mut process = Process::start(&directory, &["--cores", "1", "--journal-size", "128MiB"]);
    let shell = Shell(process.address());
    (process, shell)
}

#[test]
fn topics_and_their_settings_are_made_seen_changed_and_deleted() {
    let (_process, shell) = broker("cli-topics");
    assert_eq!(shell.json("cluster")["brokers"][0]["id"], 1);
    assert_eq!(shell.text("topic create orders -p 3 -c retention.ms=1000"), "topic orders made\n");
    assert_eq!(shell.text("topic create orders --if-not-exists"), "topic orders is there already\n");
    let (code, words) = shell.refusal("topic create orders");
    assert!(code == 31 && words.contains("TopicAlreadyExists"), "{code} {words}");
    let listed = shell.text("topic list");
    assert!(listed.lines().any(|line| line.starts_with("orders  3           1")), "{listed}");
    shell.text("topic alter orders -p 4 -c max.message.bytes=2000 --unset retention.ms");
    let described = shell.json("topic describe orders");
    assert_eq!(described[0]["configs"], serde_json::json!({ "max.message.bytes": "2000" }));
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(4));
    assert_eq!(described[0]["partitions"][3]["end"], 0);
    shell.text("config set topic/orders segment.ms=60000");
    let changed = shell.text("config describe topic/orders --changed");
    assert!(
        changed.contains("segment.ms") && changed.contains("60000") && !changed.contains("retention.ms"),
        "{changed}"
    );
    shell.text("config unset topic/orders segment.ms");
    let (code, words) = shell.refusal("config set topic/orders segment.ms=soon");
    assert!(code == 31 && words.contains("InvalidConfig"), "{code} {words}");
    assert!(!shell.json("config describe broker/1").as_array().expect("a list").is_empty());
    let (code, words) = shell.refusal("topic delete nothing orders");
    assert!(code == 31 && words.contains("nothing"), "the other one is deleted all the same: {words}");
    assert_eq!(shell.json("topic list"), serde_json::json!([]));
}

#[test]
fn records_are_sent_and_read_and_groups_are_moved() {
    let (_process, shell) = broker("cli-records");
    shell.text("topic create events -p 2");
    let lines: String = (0..2500).map(|at| format!("k{}:value {at}\n", at % 7)).collect();
    let sent = shell.run("produce events --key-separator : --compression lz4 --header from=test", &lines);
    assert!(sent.status.success() && sent.stderr == b"2500 records acknowledged\n", "{sent:?}");
    let mut read: Vec<String> =
        shell.text("consume events --from start --exit-at-end").lines().map(str::to_owned).collect();
    read.sort();
    let mut expected: Vec<String> = (0..2500).map(|at| format!("value {at}")).collect();
    expected.sort();
    assert_eq!(read, expected);
    let last = shell.text("consume events --from -1 --exit-at-end --json");
    let last: Vec<Value> = last.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(last.len(), 2, "one of each partition");
    assert_eq!(last[0]["headers"], serde_json::json!([{ "key": "from", "value": "test" }]));
    assert_eq!(shell.text("consume events --from 0 -n 3").lines().count(), 3);

    // A line goes out when it comes, not with the next one.
    shell.text("topic create live");
    let mut producer = shell.start("produce live");
    let pipe = producer.stdin.as_mut().expect("piped");
    pipe.write_all(b"alone\n").expect("it reads");
    assert_eq!(shell.text("consume live --from start -n 1"), "alone\n");
    let stamped = shell.json("consume live --from start -n 1")["timestamp"].as_i64();
    assert!(stamped > Some(1_700_000_000_000), "{stamped:?}");
    assert!(producer.wait_with_output().expect("it ends").status.success());

    let (code, words) = shell.refusal("group reset readers --to-end");
    assert!(code == 2 && words.contains("--topic"), "{words}");
    let planned = shell.text("group reset readers --topic events --to-start");
    assert!(planned.ends_with("nothing was changed; --execute does it\n"), "{planned}");
    shell.text("group reset readers --topic events --to-start --execute");
    let offsets = shell.json("group describe readers")["offsets"].clone();
    let lag: i64 =
        offsets.as_array().expect("a list").iter().map(|offset| offset["lag"].as_i64().expect("a lag")).sum();
    assert_eq!(lag, 2500);
    shell.text("group reset readers --shift-by 5 --execute");
    let described = shell.text("group describe readers");
    assert!(described.starts_with("group readers  Empty"), "{described}");
    assert_eq!(shell.json("group list")[0]["group"], "readers");
    shell.text("group delete readers");
    assert_eq!(shell.json("group list"), serde_json::json!([]));
    // One that cannot be deleted does not keep the others.
    shell.text("group reset b --topic events:0,0 --to-start --execute");
    shell.text("group reset d --topic events --to-start --execute");
    let (code, words) = shell.refusal("group delete a b c d");
    assert!(code == 31 && words.contains("\"a\"") && words.contains("\"c\""), "{code} {words}");
    assert_eq!(shell.json("group list"), serde_json::json!([]));
    let (code, words) = shell.refusal("group describe readers");
    assert!(code == 2 && words.contains("no group"), "{code} {words}");
}

#[test]
fn groups_of_the_consumer_protocol_are_shown_and_moved() {
    let (_process, shell) = broker("cli-consumers");
    shell.text("topic create events -p 2");
    assert!(shell.run("produce events", "a\nb\nc\n").status.success());
    // Looking for its coordinator makes the topic of the groups.
    shell.refusal("group describe team");
    let mut wire = Wire::connect(shell.0);
    let mut beat = |member_epoch| {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "team".into(),
            member_id: "one".into(),
            member_epoch,
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["events".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let answer: ConsumerGroupHeartbeatResponse = wire.call(ApiKey::ConsumerGroupHeartbeat, 1, &request);
        assert_eq!(answer.error_code, 0);
        answer.member_epoch
    };
    let epoch = beat(0);
    let listed = shell.json("group list")[0].clone();
    assert_eq!((listed["group"].as_str(), listed["type"].as_str()), (Some("team"), Some("consumer")));
    let described = shell.json("group describe team");
    assert_eq!((described["type"].as_str(), described["protocol"].as_str()), (Some("consumer"), Some("uniform")));
    assert_eq!(
        (described["epoch"].as_i64(), described["assignment_epoch"].as_i64()),
        (Some(epoch.into()), Some(epoch.into()))
    );
    let member = &described["members"][0];
    assert_eq!((member["member"].as_str(), member["epoch"].as_i64()), (Some("one"), Some(epoch.into())));
    assert_eq!(member["target"], serde_json::json!([["events", 0], ["events", 1]]));
    let text = shell.text("group describe team");
    assert!(text.contains("type consumer") && text.contains("target"), "{text}");
    let (code, words) = shell.refusal("group reset team --topic events --to-end --execute");
    assert!(code == 31 && words.contains("1 members"), "{code} {words}");
    assert_eq!(shell.refusal("group delete team").0, 31);

    beat(-1);
    shell.text("group reset team --topic events --to-end --execute");
    let described = shell.json("group describe team");
    assert_eq!((described["state"].as_str(), described["type"].as_str()), (Some("Empty"), Some("consumer")));
    assert_eq!((described["offsets"][0]["lag"].as_i64(), described["offsets"][1]["lag"].as_i64()), (Some(0), Some(0)));
    shell.text("group delete team");
    assert_eq!(shell.json("group list"), serde_json::json!([]));
}

#[test]
fn a_batch_that_is_too_large_goes_out_in_halves() {
    let (_process, shell) = broker("cli-halves");
    shell.text("topic create small --config max.message.bytes=2000 -p 1");
    let lines: String = (0..1000).map(|at| format!("{at}\n")).collect();
    let sent = shell.run("produce small", &lines);
    assert!(sent.status.success() && sent.stderr == b"1000 records acknowledged\n", "{sent:?}");
    assert_eq!(shell.text("consume small -p 0,0 --from start --exit-at-end"), lines, "in order, and once");
    let sent = shell.run("produce small", &format!("a\nb\n{}\n", "c".repeat(3000)));
    let words = String::from_utf8_lossy(&sent.stderr);
    assert_eq!(sent.status.code(), Some(31), "{words}");
    assert!(words.contains("MessageTooLarge (10)"), "{words}");
    assert!(words.contains("; 2 records were acknowledged before"), "{words}");
}

#[test]
fn names_and_offsets_that_clients_made_up_are_shown() {
    let (_process, shell) = broker("cli-nonsense");
    shell.text("topic create events -p 1");
    let options = Options { bootstrap: vec![shell.0.to_string()], timeout: Duration::from_secs(10) };
    let mut client = Client::connect(options).expect("it answers");
    let offset = GroupOffset { topic: "events".into(), partition: 0, offset: i64::MIN };
    client.commit_offsets("evil\u{1b}[2J", std::slice::from_ref(&offset)).expect("any name will do");
    client.commit_offsets("readers", &[offset]).expect("any offset will do");
    let listed = shell.text("group list");
    assert!(listed.contains(r"evil\u{1b}[2J") && !listed.contains('\u{1b}'), "{listed:?}");
    assert_eq!(shell.json("group describe readers")["offsets"][0]["lag"], i64::MAX);
}

#[test]
fn what_cannot_be_says_what_to_do() {
    let shell = Shell("127.0.0.1:1".parse().expect("an address"));
    let (code, words) = shell.refusal("topic list --timeout 1");
    assert!(
        code == 30 && words.contains("no broker answers at 127.0.0.1:1") && words.contains("--bootstrap"),
        "{words}"
    );
    assert_eq!(shell.refusal("topic alter t").0, 2, "nothing is to be changed");
    assert_eq!(shell.refusal("group reset g").0, 2, "nobody said where to");
    assert!(shell.text("completions bash").contains("coretide"));
}
