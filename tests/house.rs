//! The house rules, checked: which room may name which, what stays behind the door to the world, and what a newcomer reads first.
//!
//! The matrix and its reasons stand in `src/ARCHITECTURE.md`. Unit tests inside rooms are free, as `perf` and `tests` are. An exception is a line in a
//! table here, with its reason.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms, from the ground up, and the rooms that each may name.
const MATRIX: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("io", &["base"]),
    ("record", &["base"]),
    ("protocol", &["base"]),
    ("storage", &["base", "record", "io"]),
    ("cluster", &["base", "record", "protocol"]),
    ("coordinator", &["base", "record", "protocol"]),
    ("partition", &["base", "record", "cluster", "storage"]),
    ("shard", &["base", "io", "record", "protocol", "storage", "cluster", "coordinator", "partition"]),
    ("broker", &["base", "record", "protocol", "shard"]),
    ("net", &["base", "protocol", "io", "broker"]),
    ("client", &["base", "record", "protocol"]),
    ("control", &["base", "protocol", "io", "shard", "broker", "net"]),
];

/// Those who may name everything: they put the rooms together.
const FREE: &[&str] = &["main", "lib", "cli", "config", "logs", "node", "serve", "sim"];

/// (file or folder under `src`, the room it may name besides, why).
const MATRIX_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("broker", "cluster", "the image and the commands are the words in which the shard is spoken to"),
    (
        "broker",
        "coordinator",
        "commands for groups and their replies are the words in which coordinators are spoken to",
    ),
    ("broker", "partition", "what a partition decided is what a Kafka code is made of"),
];

/// Rooms that never wait. `storage` waits only in its drive.
const NEVER_AWAITS: &[&str] = &["base", "record", "protocol", "cluster", "coordinator", "partition", "storage"];
const AWAIT_EXCEPTIONS: &[(&str, &str)] = &[("storage/drive", "carries out what the room decided")];

/// Words that only `io` may say: effects, clocks, chance, and state that outlives a simulated node.
const BEHIND_THE_DOOR: &[&str] = &[
    "glommio",
    "io_uring",
    "libc",
    "thread_local!",
    "static mut",
    "Instant",
    "SystemTime",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "TcpStream",
    "TcpListener",
    "TcpSocket",
    "UdpSocket",
    "UnixStream",
    "HashMap",
    "HashSet",
    "RandomState",
    "hashbrown",
    "getrandom",
    "tokio",
    "Mutex",
    "RwLock",
];

/// (file or folder under `src`, word, why).
const DOOR_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("base/map.rs", "HashMap", "the one place that gives the map its seeds"),
    ("base/map.rs", "HashSet", "the same for the set"),
    ("base/map.rs", "hashbrown", "the one place that gives the map its seeds"),
    ("base/map.rs", "OnceLock", "the seeds of a process, drawn once before it has a map; a simulated node draws none"),
    ("client/connection.rs", "TcpStream", "the command line's client blocks, and runs on no core"),
    ("cli/tools/records.rs", "SystemTime", "stamps records that a person sends"),
    ("control/mod.rs", "std::thread", "the control thread is not a core: it may wait"),
    ("control/mod.rs", "TcpListener", "is bound before the thread starts, so that a port in use is known"),
    ("control", "tokio", "HTTP for metrics and health, on the control thread only"),
    ("control/server.rs", "TcpListener", "the control thread's sockets are its own; no core waits for them"),
    ("control/server.rs", "TcpStream", "the same"),
    ("control/cores.rs", "Instant", "the deadline of a question, on the control thread's clock"),
    (
        "logs.rs",
        "Instant",
        "how many lines a second are too many is a matter of the process; no simulated node writes there",
    ),
    ("main.rs", "std::fs", "reads the settings file before any core exists"),
    ("main.rs", "std::env", "settings from variables are read here and nowhere else"),
    ("main.rs", "std::process", "gives the exit code"),
    ("serve.rs", "std::process", "ends the process at once when the disk failed or a second signal came"),
    ("node.rs", "Mutex", "hands each core its seat once, before the core does anything"),
];

/// Lines of code in a file, without its tests, comments and blank lines, at most. A longer one holds more than one noun.
const LINES_MAX: usize = 1000;

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let mut faults = String::new();
    for file in sources() {
        let room = file.room();
        if FREE.contains(&room) {
            continue;
        }
        let Some((_, below)) = MATRIX.iter().find(|(name, _)| *name == room) else {
            writeln!(faults, "{}: the room {room} is not in the matrix", file.name).unwrap();
            continue;
        };
        for (line, path) in file.named() {
            let named = path.split("::").next().expect("a path has a first word");
            let allowed = named == room
                || !is_room(named)
                || below.contains(&named)
                || MATRIX_EXCEPTIONS.iter().any(|(place, other, _)| file.is_in(place) && *other == named);
            if !allowed {
                writeln!(faults, "{}:{line}: {room} may not name {named} (crate::{path})", file.name).unwrap();
            }
            if room == "partition" && path.starts_with("storage::drive") {
                writeln!(faults, "{}:{line}: partition may not name storage's drive", file.name).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn only_io_touches_the_world() {
    let mut faults = String::new();
    for file in sources().iter().filter(|file| file.room() != "io") {
        for word in BEHIND_THE_DOOR {
            if DOOR_EXCEPTIONS.iter().any(|(place, excepted, _)| file.is_in(place) && excepted == word) {
                continue;
            }
            for line in file.lines_with(word) {
                writeln!(faults, "{}:{line}: {word} belongs behind io's door", file.name).unwrap();
            }
        }
        for (at, line) in file.code.lines().enumerate() {
            let excepted = |kind| DOOR_EXCEPTIONS.iter().any(|(place, word, _)| file.is_in(place) && *word == kind);
            let mut shared = ["Atomic", "Cell<", "OnceLock", "LazyLock"].into_iter();
            let shared = shared.any(|kind| line.contains(kind) && !excepted(kind));
            if shared && line.trim_start().trim_start_matches("pub ").starts_with("static ") {
                writeln!(faults, "{}:{}: a static that changes outlives a simulated node", file.name, at + 1).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn only_the_real_arm_names_the_runtime() {
    for file in sources() {
        if !file.is_in("io/uring") && !file.is_in("io/uring.rs") {
            assert!(file.lines_with("glommio").is_empty(), "{} names glommio", file.name);
        }
    }
}

#[test]
fn deciding_rooms_never_wait() {
    let mut faults = String::new();
    for file in sources() {
        if !NEVER_AWAITS.contains(&file.room()) || AWAIT_EXCEPTIONS.iter().any(|(place, _)| file.is_in(place)) {
            continue;
        }
        for word in [".await", "async"] {
            for line in file.lines_with(word) {
                writeln!(faults, "{}:{line}: {word}", file.name).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn each_file_says_what_it_is_and_is_about_one_thing() {
    let mut faults = String::new();
    for file in sources() {
        let text = fs::read_to_string(root().join("src").join(&file.name)).expect("readable");
        if !text.starts_with("//!") {
            writeln!(faults, "{} does not begin with //!", file.name).unwrap();
        }
        let lines = file.code.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > LINES_MAX {
            writeln!(faults, "{} has {lines} lines of code without its tests; more than {LINES_MAX}", file.name)
                .unwrap();
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn exceptions_are_still_needed() {
    let sources = sources();
    for (place, word, why) in DOOR_EXCEPTIONS {
        assert!(!why.is_empty());
        let needed = sources.iter().any(|file| file.is_in(place) && !file.lines_with(word).is_empty());
        assert!(needed, "{place} no longer says {word}; remove the exception");
    }
}

#[test]
fn the_readme_begins_with_the_two_commands_and_ci_runs_them() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let top: String = readme.lines().take(30).collect::<Vec<_>>().join("\n");
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    assert!(top.contains("\ncargo run --release\n") || top.contains("\ncargo run --release "));
    assert!(top.contains("\ncargo test\n") || top.contains("\ncargo test "));
    assert!(ci.lines().any(|line| line.contains("cargo test")), ".ci/run does not run the README's test command");
}

#[test]
fn the_readme_lists_the_exit_codes() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for exit in coretide::cli::Exit::ALL {
        let row = format!("| {} |", exit.code());
        assert!(readme.contains(&row), "README.md has no row for exit code {} ({exit:?})", exit.code());
    }
}

/// Files that the product's own messages send people to.
#[test]
fn what_messages_name_exists() {
    for file in ["tuning/seccomp-io_uring.json", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"] {
        assert!(root().join(file).is_file(), "{file}");
    }
    let remedy = coretide::cli::Exit::IoUringNotPermitted.remedy();
    assert!(remedy.contains("tuning/seccomp-io_uring.json"));
}

#[test]
fn each_setting_is_documented_in_the_code() {
    for key in coretide::config::keys::keys() {
        assert!(key.documentation.ends_with('.'), "{}", key.name);
    }
    for key in coretide::cluster::topic_config::KEYS {
        assert!(key.documentation.ends_with('.'), "{}", key.name);
    }
}

/// A source file, without comments, texts and unit tests.
struct Source {
    /// Its name under `src`, with forward slashes.
    name: String,
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        let first = self.name.split('/').next().expect("a name has a first part");
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_in(&self, place: &str) -> bool {
        self.name == place || self.name.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The lines on which a word stands as a word.
    fn lines_with(&self, word: &str) -> Vec<usize> {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let starts_open = word.starts_with(part);
        let found = self.code.match_indices(word).filter(|(at, _)| {
            let before = self.code[..*at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !(after.is_some_and(part) || starts_open && before.is_some_and(part))
        });
        found.map(|(at, _)| self.line_of(at)).collect()
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// The modules that make up the file's own path: `storage/drive/read.rs` is `storage::drive::read`.
    fn depth(&self) -> usize {
        self.name.split('/').filter(|part| !matches!(*part, "mod.rs" | "lib.rs" | "main.rs")).count()
    }

    /// Paths from the crate's root that the file names, in `use` and inline, with their lines. Braces are taken apart.
    fn named(&self) -> Vec<(usize, String)> {
        let mut named = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            let before = self.code[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$') {
                let line = self.line_of(at);
                named.extend(paths(&self.code[at + "crate::".len()..]).into_iter().map(|path| (line, path)));
            }
        }
        let climb = "super::".repeat(self.depth());
        for (at, _) in self.code.match_indices(&climb) {
            let rest = &self.code[at + climb.len()..];
            if !rest.starts_with("super::") && !self.code[..at].ends_with("super::") {
                let line = self.line_of(at);
                named.extend(paths(rest).into_iter().map(|path| (line, path)));
            }
        }
        named
    }
}

/// The paths that begin here: `a::b` is one, `{a::b, c::{d, e}}` are three.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(text.trim_start(), "", &mut found);
    return found;

    /// Gives what follows the path.
    fn walk<'a>(text: &'a str, before: &str, found: &mut Vec<String>) -> &'a str {
        if let Some(mut rest) = text.strip_prefix('{') {
            loop {
                rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix('}') {
                    return after;
                }
                if let Some(after) = rest.strip_prefix(',') {
                    rest = after;
                    continue;
                }
                let after = walk(rest, before, found);
                if after.len() == rest.len() {
                    return after;
                }
                rest = after;
                if let Some(alias) = rest.trim_start().strip_prefix("as ") {
                    rest = alias.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
                }
            }
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let path = if before.is_empty() { word.to_string() } else { format!("{before}::{word}") };
        match rest.strip_prefix("::") {
            Some(deeper) if deeper.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
                walk(deeper, &path, found)
            }
            _ => {
                if !path.is_empty() {
                    found.push(path);
                }
                rest
            }
        }
    }
}

fn is_room(name: &str) -> bool {
    MATRIX.iter().any(|(room, _)| *room == name) || FREE.contains(&name)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    files.sort();
    assert!(files.len() > 20, "the sources were not found");
    let mut sources: Vec<Source> = Vec::new();
    let mut tests = Vec::new();
    for path in files {
        let name = path.strip_prefix(&src).expect("under src").to_string_lossy().into_owned();
        let code = plain(&fs::read_to_string(&path).expect("readable"));
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, mark) in code.match_indices(TEST) {
            let item = code[at + mark.len()..].split_once(';').map_or("", |(item, _)| item.trim());
            if let Some(module) = item.strip_prefix("mod ") {
                tests.push(format!("{folder}/{module}"));
            }
        }
        sources.push(Source { name, code: without_tests(&code) });
    }
    sources.retain(|file| !tests.iter().any(|test| file.is_in(test) || file.name == format!("{test}.rs")));
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code with comments, and the insides of texts and characters, blanked. Lines stay where they are.
fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let blank = |out: &mut Vec<u8>, from: usize, to: usize| {
        out.extend(bytes[from..to].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(len) = raw_string(rest, at.checked_sub(1).map(|before| bytes[before])) {
            at + len
        } else if rest[0] == b'"' {
            at + quoted(rest)
        } else if rest[0] == b'\'' && is_character(rest) {
            at + character(rest)
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        blank(&mut out, at, end);
        at = end;
    }
    String::from_utf8(out).expect("whole characters were kept or blanked")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let start = if rest.starts_with(b"br") { 2 } else { usize::from(rest[0] == b'r') };
    if start == 0 {
        return None;
    }
    let hashes = rest[start..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(start + hashes) != Some(&b'"') {
        return None;
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let body = start + hashes + 1;
    let found = rest[body..].windows(end.len()).position(|window| window == end)?;
    Some(body + found + end.len())
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `'a'` and `'\n'` are characters; `'a` is a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest {
        [_, b'\\', ..] => true,
        [_, byte, ..] => {
            let len = match byte {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            rest.get(1 + len) == Some(&b'\'')
        }
        _ => false,
    }
}

fn character(rest: &[u8]) -> usize {
    let from = if rest[1] == b'\\' { 3 } else { 2 };
    rest[from..].iter().position(|byte| *byte == b'\'').map_or(rest.len(), |at| from + at + 1)
}

/// The code without what stands under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(TEST) {
        out += &rest[..at];
        let item = &rest[at..];
        let open = item.find(['{', ';']).unwrap_or(item.len() - 1);
        let end = if item[open..].starts_with('{') { open + braces(&item[open..]) } else { open + 1 };
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out + rest
}

const TEST: &str = "#[cfg(test)]";

fn braces(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

#[test]
fn the_checker_sees_paths_in_all_their_forms() {
    let named = |name: &str, code: &str| {
        let source = Source { name: name.into(), code: without_tests(&plain(code)) };
        source.named().into_iter().map(|(_, path)| path).collect::<Vec<_>>()
    };
    assert_eq!(named("a/b.rs", "use crate::net::x;"), ["net::x"]);
    assert_eq!(named("a/b.rs", "use crate::{net, io::{x as y, z}, base};"), ["net", "io::x", "io::z", "base"]);
    assert_eq!(named("a/b.rs", "fn f() -> crate::net::X { crate::io::y() }"), ["net::X", "io::y"]);
    assert_eq!(named("a/b.rs", "use super::super::net;"), ["net"]);
    assert_eq!(named("a/mod.rs", "use super::net::x;"), ["net::x"]);
    assert_eq!(named("a/b.rs", "use super::net;"), [""; 0]);
    assert_eq!(
        named("a/b.rs", "// crate::net\n/* crate::io */ \"crate::x\" 'c' r#\"crate::y\"# b\"crate::z\""),
        [""; 0]
    );
    assert_eq!(named("a/b.rs", "#[cfg(test)]\nmod tests { use crate::net; }\nuse crate::io;"), ["io"]);
    assert_eq!(
        named("a/b.rs", "let q = '\"'; use crate::net; let r = '\\''; use crate::io; fn f<'a>() {}"),
        ["net", "io"]
    );
}

#[test]
fn the_checker_sees_words_as_words() {
    let source = Source { name: "a.rs".into(), code: plain("use std::time::Instant;\nlet Instantly = 1;\nx\n.await;") };
    assert_eq!(source.lines_with("Instant"), [1]);
    assert_eq!(source.lines_with(".await"), [4]);
    assert_eq!(source.lines_with("std::time"), [1]);
}
