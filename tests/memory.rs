//! What peers can make the broker's program hold: answers that nobody reads, and frames that do not come.

#[path = "support/mod.rs"]
mod support;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use coretide::protocol::ApiKey;
use coretide::protocol::messages::fetch::{FetchPartition, FetchTopic};
use coretide::protocol::messages::*;
use support::kafka::Batch;
use support::node::Wire;

/// A broker on one core with the least memory there may be.
struct Process {
    child: Child,
    dir: PathBuf,
    address: SocketAddr,
}

impl Process {
    fn start(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("the target directory can be written");
        Self::on(dir)
    }

    fn on(dir: PathBuf) -> Self {
        let log = dir.join("log");
        let file = File::create(&log).expect("the target directory can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_coretide"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--cores", "1", "--journal-size", "128MiB"]);
        command.args(["--memory", "64MiB", "--allow-unsafe-filesystem", "--data-dir"]).arg(dir.join("data"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORETIDE_")) {
            command.env_remove(name);
        }
        let said = file.try_clone().expect("a descriptor is left");
        let child = command.stdin(Stdio::null()).stdout(said).stderr(file).spawn().expect("the program");
        let begun = Instant::now();
        let address = loop {
            let said = std::fs::read_to_string(&log).expect("just made");
            let listening = said.split_once("listening on ").filter(|_| said.ends_with('\n'));
            if let Some((_, rest)) = listening {
                break rest.split(',').next().expect("an address").parse().expect("an address");
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, dir, address }
    }

    /// Stops it, which drains everything, and starts it again: what it has is history then.
    fn again(mut self) -> Self {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(stopped.success() && self.child.wait().expect("a child").success());
        let dir = std::mem::take(&mut self.dir);
        Self::on(dir)
    }

    /// Bytes of memory that are its own.
    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux says it");
        line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.dir.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Twenty-four clients ask for 32 MiB of history each and do not read it. All of it stood in memory, once for each of them, for as long as they liked.
#[test]
fn answers_that_nobody_reads_hold_a_bounded_amount() {
    const PARTITIONS: i32 = 32;
    let broker = Process::start("memory-answers");
    let mut wire = Wire::connect(broker.address);
    wire.create("unread", PARTITIONS, &[]);
    let value = vec![7; 1_000_000];
    let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &[&value] };
    for partition in 0..PARTITIONS {
        assert_eq!(wire.produce("unread", partition, -1, &batch.encode()).error_code, 0);
    }
    let broker = broker.again();
    let partitions = (0..PARTITIONS).map(|partition| FetchPartition {
        partition,
        partition_max_bytes: 2 << 20,
        ..Default::default()
    });
    let topics = vec![FetchTopic { topic: "unread".into(), partitions: partitions.collect(), ..Default::default() }];
    let request = FetchRequest { min_bytes: 1, max_bytes: 55 << 20, topics, ..Default::default() };
    let before = broker.resident();
    let mut unread: Vec<_> = (0..24).map(|_| Wire::connect(broker.address)).collect();
    unread.iter_mut().for_each(|wire| wire.ask(ApiKey::Fetch, 12, &request));
    std::thread::sleep(Duration::from_secs(3));
    let more = broker.resident().saturating_sub(before);
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
    // Others are served, at the latest when those that hold the memory are found to stand still.
    let mut reader = Wire::connect(broker.address);
    let response: FetchResponse = reader.call(ApiKey::Fetch, 12, &request);
    let records = response.responses.iter().flat_map(|topic| &topic.partitions).map(|one| one.records.byte_len());
    assert!(records.sum::<usize>() >= 1_000_000);
}
