//! Very many connections at once, what an operator may say about them, and the log lines that they provoke. Against the broker's program.

#[path = "support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use coretide::io::uring::host;
use support::kafka::{Batch, Client, Stored};
use support::process::{Process, until};
use support::scrape::Page;

/// Bytes that a connection may take in the broker while little or nothing is under way on it: tuning/host.md says so.
const CONNECTION_BYTES: usize = 8 << 10;
/// What requests of this test take beside that, whatever the number of connections: read buffers, answers, records.
const BESIDE_BYTES: usize = 48 << 20;

/// Bytes in front of a request of ApiVersions version 0, and the request.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
/// The beginning of a Produce of 1 MiB.
const PRODUCE: [u8; 12] = [0, 16, 0, 0, 0, 0, 0, 9, 0, 0, 0, 7];

fn broker(name: &str, flags: &[&str]) -> Process {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    let flags = [&["--journal-size", "128MiB", "--memory", "64MiB", "--admin", "127.0.0.1:0"], flags].concat();
    Process::start(&directory, &flags)
}

/// One who asks for ApiVersions and nothing else.
struct Caller(TcpStream);

impl Caller {
    fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("nobody is turned away"))
    }

    /// From another address than 127.0.0.1.
    fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            socket.connect(address).await?.into_std()
        });
        let stream = stream.expect("nobody is turned away");
        stream.set_nonblocking(false).expect("a TCP socket");
        Self::over(stream)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP socket");
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the broker keeps the connection");
    }

    fn answer(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer)?;
        assert_eq!(answer[..6], [0, 0, 0, 7, 0, 0], "the number of the request, and no error");
        Ok(())
    }

    fn call(&mut self) -> io::Result<()> {
        self.0.write_all(&API_VERSIONS)?;
        self.answer()
    }

    /// Whether something has come, without waiting for it.
    fn has_answer(&self) -> bool {
        self.0.set_nonblocking(true).expect("a TCP socket");
        let came = self.0.peek(&mut [0]).is_ok();
        self.0.set_nonblocking(false).expect("a TCP socket");
        came
    }

    fn expect_closed(&mut self) {
        match self.0.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("it should have been closed: {other:?}"),
        }
    }
}

/// How many of the ten thousand this machine allows a broker, and this process.
fn as_many_as_may_be(said: &str) -> usize {
    let mine = host::check(1).expect("a machine that runs the broker").open_files.saturating_sub(500) as usize;
    let (_, rest) = said.split_once("connections  at most ").expect("the broker says how many it takes");
    let most: usize = rest.split(',').next().expect("a number").parse().expect("a number");
    let count = 10_000.min(most - 10).min(mine);
    assert!(count >= 1_000, "{count} connections are too few to show anything; raise the hard limit of open files");
    if count < 10_000 {
        eprintln!("the limit of open files allows {count} connections, not 10,000");
    }
    count
}

/// Produces and fetches in turn until it is told to stop, and finds what it produced.
fn at_work(address: SocketAddr, stop: &AtomicBool, rounds: &AtomicUsize) -> Client {
    let mut client = Client::connect(address).expect("connects");
    assert_eq!(client.create_topic("events", 2, &[]).expect("answered"), 0);
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed);
        let partition = (round % 2) as i32;
        let value = format!("round {round}").into_bytes();
        let batch = Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp: 5, values: &[&value] };
        client.send("events", partition, &batch.encode()).expect("sent");
        let produced = client.receive().expect("answered");
        assert_eq!((produced.error, produced.base_offset), (0, round as i64 / 2));
        let from = [(partition, produced.base_offset)];
        let fetched = client.fetch("events", &from, Duration::ZERO, 1 << 20).expect("answered");
        let batch = Stored::walk(&fetched[0].records).next().expect("what is acknowledged can be read");
        assert!(batch.base_offset() == produced.base_offset && batch.0.windows(value.len()).any(|part| part == value));
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    client
}

/// Ten thousand clients: silent ones, some that send a byte now and then, that never read, that vanish in the middle of a request.
#[test]
fn ten_thousand_connections_keep_nobody_from_working() {
    let mut process = broker("connections-many", &["--cores", "2", "--listen", "OTHER=127.0.0.2:0"]);
    process.address();
    let said = process.said();
    // Two destinations: each may be reached from all ports.
    let listeners = said.split("listening on ").skip(1).map(|rest| rest.split(',').next().expect("an address"));
    let addresses: Vec<SocketAddr> = listeners.map(|address| address.parse().expect("an address")).collect();
    assert_eq!(addresses.len(), 2);
    let (count, admin) = (as_many_as_may_be(&said), process.admin());
    let open = || Page::scrape(admin).sum("coretide_connections_open") as usize;
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // A test that fails must not wait for the one at work.
        let _stopped = Stop(&stop);
        let worker = scope.spawn(|| at_work(addresses[0], &stop, &rounds));
        let goes_on = |when: &str| {
            let before = rounds.load(Ordering::Relaxed);
            until(when, || rounds.load(Ordering::Relaxed) > before + 3);
        };
        goes_on("work before the others come");
        let before = process.resident();

        // All come as fast as they can, and ask.
        let storm: Vec<_> = (0..4)
            .map(|part| {
                let (addresses, mine) = (&addresses, count / 4 + usize::from(part < count % 4));
                scope.spawn(move || (0..mine).map(|number| Caller::connect(addresses[number % 2])).collect::<Vec<_>>())
            })
            .collect();
        let mut callers: Vec<_> = storm.into_iter().flat_map(|part| part.join().expect("all connect")).collect();
        callers.iter_mut().for_each(|caller| caller.send(&API_VERSIONS));
        callers.iter_mut().for_each(|caller| caller.answer().expect("an answer for everybody"));
        assert_eq!((callers.len(), open()), (count, count + 1));
        goes_on("work beside silent connections");
        let silent = process.resident().saturating_sub(before);
        println!("{count} silent connections: {} bytes each", silent / count);
        assert!(silent <= count * CONNECTION_BYTES + BESIDE_BYTES, "{silent} bytes for {count} connections");

        // One in ten sends a request byte by byte, one in ten goes away inside one, one in a hundred asks much and reads nothing.
        let vanish = callers.split_off(count - count / 10);
        let mut greedy = callers.split_off(callers.len() - count / 100);
        let (creep, quiet) = callers.split_at_mut(count / 10);
        let send = |creep: &mut [Caller], bytes: &[u8]| {
            bytes.iter().for_each(|byte| creep.iter_mut().for_each(|caller| caller.send(&[*byte])));
        };
        send(creep, &API_VERSIONS[..7]);
        let much = API_VERSIONS.repeat(2000);
        greedy.iter_mut().for_each(|caller| caller.send(&much));
        goes_on("work beside those that creep or do not read");
        for (number, mut caller) in vanish.into_iter().enumerate() {
            match number % 4 {
                0 => caller.send(&API_VERSIONS[..5]),
                // More than fits into the connection's own buffer, so that it is lent some.
                1 => caller.send(&[&PRODUCE[..], &[0; 8000]].concat()),
                2 => caller.send(&PRODUCE),
                // An answer that nobody takes.
                _ => caller.send(&API_VERSIONS),
            }
        }
        let left = count - count / 10;
        until("those that went away are gone", || open() == left + 1);
        send(creep, &API_VERSIONS[7..]);
        creep.iter_mut().for_each(|caller| caller.answer().expect("slowness is no fault"));
        goes_on("work beside all of them");
        let busy = process.resident().saturating_sub(before);
        println!("and with those at it: {} bytes each", busy / count);
        assert!(busy <= count * CONNECTION_BYTES + BESIDE_BYTES, "{busy} bytes for {count} connections");
        quiet.iter_mut().for_each(|caller| caller.call().expect("silence is no fault"));

        drop((callers, greedy));
        until("all are gone but the one at work", || open() == 1);
        stop.store(true, Ordering::Relaxed);
        drop(worker.join().expect("the one at work found everything in order"));
    });
    until("the last one is gone", || open() == 0);
    let page = Page::scrape(admin);
    assert_eq!(page.sum("coretide_connections_refused_total"), 0.0);
    assert_eq!(page.sum("coretide_connections_accepted_total") as usize, count + 1);
    process.stop();
}

/// Ends those who wait for it, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As in Kafka: at `max.connections` the next one waits outside, and comes in when somebody goes.
#[test]
fn beyond_max_connections_one_waits_for_a_place() {
    let mut process = broker("connections-max", &["--cores", "1", "--set", "max.connections=2"]);
    let (address, admin) = (process.address(), process.admin());
    let mut first = Caller::connect(address);
    let mut second = Caller::connect(address);
    first.call().expect("there is a place");
    second.call().expect("there is a place");
    let mut waiting: Vec<_> = (0..3).map(|_| Caller::connect(address)).collect();
    waiting.iter_mut().for_each(|caller| caller.send(&API_VERSIONS));
    for _ in 0..100 {
        first.call().expect("who is in stays in");
    }
    assert!(waiting.iter().all(|caller| !caller.has_answer()));
    assert_eq!(Page::scrape(admin).sum("coretide_connections_open"), 2.0);
    drop(second);
    waiting[0].answer().expect("a place is free");
    assert!(waiting[1..].iter().all(|caller| !caller.has_answer()));
    // In the order in which they came.
    drop(first);
    waiting[1].answer().expect("a place is free");
    drop(waiting.remove(0));
    waiting[1].answer().expect("a place is free");
    assert_eq!(Page::scrape(admin).sum("coretide_connections_refused_total"), 0.0);
    process.stop();
}

#[test]
fn each_address_has_as_many_places_as_max_connections_per_ip() {
    let mut process = broker("connections-per-ip", &["--cores", "1", "--set", "max.connections.per.ip=2"]);
    let (address, admin) = (process.address(), process.admin());
    let mut here: Vec<_> = (0..2).map(|_| Caller::connect(address)).collect();
    here.iter_mut().for_each(|caller| caller.call().expect("there is a place"));
    Caller::connect(address).expect_closed();
    let mut there: Vec<_> = (0..2).map(|_| Caller::connect_from([127, 0, 0, 2], address)).collect();
    there.iter_mut().for_each(|caller| caller.call().expect("other addresses have places of their own"));
    Caller::connect_from([127, 0, 0, 2], address).expect_closed();
    drop(here.pop());
    until("the place is given back", || Caller::connect(address).call().is_ok());
    here[0].call().expect("who is in stays in");
    assert!(Page::scrape(admin).sum("coretide_connections_refused_total") >= 2.0);
    process.stop();
}

#[test]
fn who_is_silent_for_connections_max_idle_ms_is_closed_and_nobody_else() {
    let mut process = broker("connections-idle", &["--cores", "1", "--set", "connections.max.idle.ms=2000"]);
    let address = process.address();
    let (mut talks, mut silent, mut begun) =
        (Caller::connect(address), Caller::connect(address), Caller::connect(address));
    silent.call().expect("it is served");
    begun.send(&API_VERSIONS[..5]);
    until("the silent ones are closed", || {
        talks.call().expect("who talks is not closed");
        silent.has_answer() && begun.has_answer()
    });
    silent.expect_closed();
    begun.expect_closed();
    talks.call().expect("who talks is not closed");
    process.stop();
}

/// Each of them was a line in the log.
#[test]
fn clients_that_provoke_log_lines_do_not_fill_the_log() {
    const PROVOKED: usize = 2000;
    let flags = ["--cores", "1", "--log-level", "info,coretide::net=debug", "--set", "max.connections.per.ip=1"];
    let mut process = broker("connections-log", &flags);
    let (address, begun) = (process.address(), Instant::now());
    // At once as many as a place may write at once, and one a second.
    let most = || 20 + 1 + begun.elapsed().as_secs() as usize;
    let (malformed, turned_away) = ("connection ended", "max.connections.per.ip is reached");
    let mut sent = 0;
    while sent < PROVOKED {
        // The one before it may still have its place: then it is turned away.
        let mut caller = Caller::connect(address);
        sent += usize::from(caller.0.write_all(&[0xff; 12]).is_ok());
        caller.expect_closed();
    }
    let mut holds = None;
    until("a place is free", || {
        let mut caller = Caller::connect(address);
        let served = caller.call().is_ok();
        holds = served.then_some(caller);
        served
    });
    (0..PROVOKED).for_each(|_| Caller::connect(address).expect_closed());
    // After a while the next line from there is written, and says what was left out.
    until("what was left out is counted", || {
        Caller::connect(address).expect_closed();
        process.said().lines().any(|line| line.contains(turned_away) && line.contains("left_out="))
    });
    holds.expect("it is served").call().expect("who is in stays in");
    process.terminate();
    assert!(process.wait().success());
    for line in [malformed, turned_away] {
        let written = process.said().lines().filter(|said| said.contains(line)).count();
        assert!((20..=most()).contains(&written), "{written} lines of {line:?}");
    }
    assert!(process.said().contains("stopped: everything is drained"), "others are not held back");
}
