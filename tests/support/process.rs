//! A broker as a process of its own, which can be stopped and started again on what it left.
#![allow(dead_code)]

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again until it is so. Panics when that takes too long.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A broker process. Killed with SIGKILL when dropped.
pub struct Process {
    child: Child,
    said: PathBuf,
}

impl Process {
    /// Starts the program on `directory`, on a free port, with these flags besides.
    pub fn start(directory: &Path, flags: &[&str]) -> Self {
        fs::create_dir_all(directory).expect("the target directory can be written");
        let said = directory.join("said");
        let file = File::create(&said).expect("the target directory can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_coretide"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.join("data"));
        // What a file system does with a power cut is not the question here.
        command.arg("--allow-unsafe-filesystem").args(flags);
        // The broker takes its settings from such variables, and refuses those that it does not know.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORETIDE_")) {
            command.env_remove(name);
        }
        let output = file.try_clone().expect("a descriptor is left");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(file).spawn().expect("the broker's binary");
        Self { child, said }
    }

    /// What it wrote so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Waits for the line in which it says where it listens.
    pub fn address(&mut self) -> SocketAddr {
        self.address_after("listening on ")
    }

    /// Waits for the line in which it says where it answers over HTTP.
    pub fn admin(&mut self) -> SocketAddr {
        self.address_after("admin        http://")
    }

    fn address_after(&mut self, words: &str) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.said();
            let word = said.split_once(words).and_then(|(_, rest)| rest.split([',', ' ', '/']).next());
            if let Some(address) = word.and_then(|word| word.parse().ok()) {
                return address;
            }
            let ended = self.child.try_wait().expect("the child is ours");
            assert!(ended.is_none(), "the broker ended with {ended:?} and said:\n{said}");
            assert!(Instant::now() < deadline, "the broker does not listen and said:\n{said}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Bytes of memory that are its own.
    pub fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux says it");
        line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") << 10
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(asked.expect("kill is there").success());
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "the broker does not end and said:\n{}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it cleanly.
    pub fn stop(mut self) {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "the broker ended with {status} and said:\n{}", self.said());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // `Child::kill` is SIGKILL; it fails only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
