//! What the limit of open files means for the broker's program: connections never take the descriptors that the disk needs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program under a hard limit, with a directory of its own.
fn broker(name: &str, open_files: u32) -> Command {
    let directory = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    let _ = std::fs::remove_dir_all(&directory);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {open_files} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_coretide")]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--cores", "1", "--journal-size", "128MiB"]);
    command.args(["--allow-unsafe-filesystem", "--data-dir", &directory]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORETIDE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// It started, took connections until no descriptor was left, and when a segment was to be opened it said that the disk had failed and ended.
#[test]
fn a_limit_that_leaves_no_room_for_connections_is_refused() {
    let mut child = broker("descriptors-few", 1000).spawn().expect("a shell");
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let output = child.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(19), "{said}");
    assert!(said.contains("1000 files may be open"), "{said}");
    assert!(said.contains("ulimit -Hn"), "{said}");
}

#[test]
fn the_opening_screen_says_how_many_connections_fit() {
    let log = format!("{}/descriptors-said", env!("CARGO_TARGET_TMPDIR"));
    let file = std::fs::File::create(&log).expect("the target directory can be written");
    let mut child = broker("descriptors-enough", 5000).stdout(file).spawn().expect("a shell");
    let begun = Instant::now();
    let said = loop {
        let said = std::fs::read_to_string(&log).expect("just made");
        if said.contains("listening on") && said.ends_with('\n') || begun.elapsed() > Duration::from_secs(60) {
            break said;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = child.kill();
    let _ = child.wait();
    // Of 5,000: 4,096 files of segments, 2 of the journal, and a reserve of 256.
    assert!(said.contains("connections  at most 646, by the limit of 5000 open files"), "{said}");
}
