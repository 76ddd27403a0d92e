//! Metrics and health over HTTP, scraped from a broker process.

#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod process;
#[path = "support/scrape.rs"]
mod scrape;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use coretide::io::uring::host;
use coretide::protocol::ApiKey;
use coretide::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka::{Batch, Client};
use node::Wire;
use process::{Process, until};
use scrape::{Page, get};

fn broker(name: &str, cores: &str) -> Process {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    let flags = ["--cores", cores, "--share-cpus", "never", "--journal-size", "128MiB", "--admin", "127.0.0.1:0"];
    Process::start(&directory, &flags)
}

fn batch(values: &[&[u8]]) -> Vec<u8> {
    Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 1_700_000_000_000, values }.encode()
}

fn run(bootstrap: SocketAddr, line: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_coretide"))
        .args(line.split_whitespace())
        .env("CORETIDE_BOOTSTRAP", bootstrap.to_string())
        .output()
        .expect("the program's binary");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn numbers_move_with_what_clients_do() {
    let mut process = broker("metrics-move", "2");
    let (address, admin) = (process.address(), process.admin());
    assert_eq!(get(admin, "/live").0, 200);
    assert_eq!(get(admin, "/ready"), (200, "ready\n".into()));
    assert_eq!(get(admin, "/").0, 404);
    let before = Page::scrape(admin);
    assert_eq!(before.value("coretide_core_unresponsive{core=\"1\"}"), 0.0);
    let own = host::allowed_cpus().unwrap()[1];
    assert_eq!(before.value("coretide_core_cpu{core=\"1\"}"), own as f64);
    assert_eq!(before.value("coretide_requests_total{api=\"Produce\"}"), 0.0);
    assert!(before.value("process_start_time_seconds") > 1.7e9 && before.value("coretide_start_seconds") > 0.0);
    assert!(before.value("process_resident_memory_bytes") > 1e6);

    let mut client = Client::connect(address).expect("connects");
    assert_eq!(client.create_topic("events", 3, &[]).expect("answered"), 0);
    let value = [7; 1000];
    for partition in [0, 0, 1, 2, 2, 2] {
        client.send("events", partition, &batch(&[&value, &value])).expect("sent");
        assert_eq!(client.receive().expect("answered").error, 0);
    }
    client.send("nothing", 0, &batch(&[&value])).expect("sent");
    assert_ne!(client.receive().expect("answered").error, 0);
    client.fetch("events", &[(0, 0), (2, 0)], Duration::ZERO, 1 << 20).expect("answered");
    let page = Page::scrape(admin);
    assert_eq!(page.value("coretide_requests_total{api=\"Produce\"}"), 7.0);
    assert_eq!(page.value("coretide_request_errors_total{api=\"Produce\"}"), 1.0);
    assert_eq!(page.value("coretide_requests_total{api=\"Fetch\"}"), 1.0);
    assert_eq!(page.value("coretide_request_errors_total{api=\"Fetch\"}"), 0.0);
    assert!(page.value("coretide_request_bytes_total{api=\"Produce\"}") > 13_000.0);
    assert!(page.value("coretide_response_bytes_total{api=\"Fetch\"}") > 10_000.0);
    assert_eq!(page.value("coretide_request_seconds_count{class=\"produce\"}"), 7.0);
    assert_eq!(page.value("coretide_request_seconds_bucket{class=\"fetch\",le=\"+Inf\"}"), 1.0);
    assert_eq!(page.sum("coretide_connections_open"), 1.0);
    assert!(page.sum("coretide_connections_accepted_total") >= 1.0);
    assert_eq!((page.value("coretide_topics"), page.sum("coretide_partitions")), (1.0, 3.0));
    assert!((12_000.0..13_000.0).contains(&page.sum("coretide_log_bytes")));
    assert!(page.sum("coretide_journal_written_bytes_total") > 12_000.0);
    assert!(page.value("coretide_journal_write_seconds_count") >= 6.0);
    assert!(page.sum("coretide_cache_bytes") > 12_000.0);
    let described = include_str!("../tuning/metrics.md");
    for family in page.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(described.contains(&format!("`{family}`")), "tuning/metrics.md does not describe {family}");
    }
    assert!(page.sum("coretide_journal_capacity_bytes") >= page.sum("coretide_journal_used_bytes"));
    process.stop();
}

#[test]
fn groups_of_both_protocols_are_counted() {
    let mut process = broker("metrics-groups", "2");
    let (address, admin) = (process.address(), process.admin());
    let mut wire = Wire::connect(address);
    wire.create("events", 2, &[]);
    run(address, "group reset classic --topic events --to-start --execute");
    let mut join = |member: &str| {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "team".into(),
            member_id: member.into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["events".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let answer: ConsumerGroupHeartbeatResponse = wire.call(ApiKey::ConsumerGroupHeartbeat, 1, &request);
        assert_eq!(answer.error_code, 0);
    };
    let groups = |page: &Page, state: &str| page.value(&format!("coretide_groups{{state=\"{state}\"}}"));
    join("one");
    let page = Page::scrape(admin);
    assert_eq!((groups(&page, "Empty"), groups(&page, "Stable")), (1.0, 1.0));
    join("other");
    let page = Page::scrape(admin);
    assert_eq!(groups(&page, "Assigning") + groups(&page, "Reconciling"), 1.0, "the first one has it all still");
    assert_eq!((groups(&page, "Stable"), page.value("coretide_group_members")), (0.0, 2.0));
    process.stop();
}

#[test]
fn the_lag_of_a_group_is_what_it_has_not_read() {
    let mut process = broker("metrics-lag", "2");
    let (address, admin) = (process.address(), process.admin());
    let mut client = Client::connect(address).expect("connects");
    assert_eq!(client.create_topic("events", 2, &[]).expect("answered"), 0);
    for partition in [0, 0, 0, 1] {
        client.send("events", partition, &batch(&[b"a", b"b"])).expect("sent");
        assert_eq!(client.receive().expect("answered").error, 0);
    }
    run(address, "group reset readers --topic events --to-start --execute");
    run(address, "group reset readers --topic events:0 --shift-by 4 --execute");
    let lag = |partition: u8| {
        format!("coretide_group_lag_records{{group=\"readers\",topic=\"events\",partition=\"{partition}\"}}")
    };
    let page = Page::scrape(admin);
    assert_eq!((page.value(&lag(0)), page.value(&lag(1))), (2.0, 2.0));
    assert_eq!(page.value("coretide_groups{state=\"Empty\"}"), 1.0);
    assert_eq!((page.value("coretide_group_offsets"), page.value("coretide_group_members")), (2.0, 0.0));
    assert_eq!(page.value("coretide_group_lag_left_out"), 0.0);
    assert!(page.value("coretide_group_log_bytes") > 0.0);
    client.send("events", 1, &batch(&[b"c"])).expect("sent");
    assert_eq!(client.receive().expect("answered").error, 0);
    assert_eq!(Page::scrape(admin).value(&lag(1)), 3.0);
    run(address, "topic delete events");
    assert_eq!(Page::scrape(admin).find(&lag(1)), None);
    process.stop();
}

#[test]
fn who_creeps_or_talks_nonsense_keeps_nobody_from_a_scrape() {
    let mut process = broker("metrics-rude", "1");
    let admin = process.admin();
    // More than are served at a time: the oldest give way.
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(admin).expect("the control thread listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").expect("written");
        slow.push(stream);
    }
    let asked = Instant::now();
    Page::scrape(admin);
    assert!(asked.elapsed() < Duration::from_secs(4), "it waited for the slow ones: {:?}", asked.elapsed());
    let endless = vec![b'a'; 200_000];
    for garbage in
        [&b"\x00\xff\x16\x03\x01"[..], b"GET\r\n\r\n", b"\r\n\r\n\r\n", b"PUT /metrics HTTP/9\r\n\r\n", &endless]
    {
        let mut stream = TcpStream::connect(admin).expect("the control thread listens");
        // It may have hung up before all of it is written, or while it is read.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(get(admin, "/live").0, 200);
    let mut post = TcpStream::connect(admin).expect("the control thread listens");
    post.write_all(b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n").expect("written");
    let mut answer = [0; 12];
    post.read_exact(&mut answer).expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 405");
    // Those who never end their request are ended.
    for mut stream in slow {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{ended:?}");
    }
    process.stop();
}

/// A client that does not read its answer keeps the broker from being done for a few seconds. Meanwhile nobody should send it anything.
#[test]
fn a_broker_that_stops_is_alive_and_not_ready() {
    let mut process = broker("metrics-stop", "2");
    let (address, admin) = (process.address(), process.admin());
    let mut client = Client::connect(address).expect("connects");
    assert_eq!(client.create_topic("events", 1, &[]).expect("answered"), 0);
    let value = vec![7; 900_000];
    for _ in 0..24 {
        client.send("events", 0, &batch(&[&value])).expect("sent");
        assert_eq!(client.receive().expect("answered").error, 0);
    }
    client.send_fetch("events", &[(0, 0)], Duration::ZERO, 50 << 20).expect("sent");
    let answered = "coretide_request_seconds_count{class=\"fetch\"}";
    until("the fetch is answered", || Page::scrape(admin).value(answered) >= 1.0);
    assert_eq!(get(admin, "/ready").0, 200);
    process.terminate();
    until("the broker says that it stops", || get(admin, "/ready").0 == 503);
    assert_eq!(get(admin, "/live").0, 200);
    assert_eq!(get(admin, "/metrics").0, 200);
    drop(client);
    assert!(process.wait().success(), "{}", process.said());
}
