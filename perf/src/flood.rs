//! What a client may do to a broker: produce, fetch, ask, talk nonsense or connect as fast as it can, or rebalance its groups all the time.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use clap::ValueEnum;

use crate::{
    Result,
    batch::Payload,
    beside::Options,
    client::{self, Client},
    fetch, groups, procfs,
    produce::{self, Counters, Shared, Worker},
    units::Span,
    wire::{Reader, Writer, api, close_frame, open_frame},
};

/// The kinds of floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Batches of 64 KiB, acks=all.
    Produce,
    /// Batches of nearly 1 MiB, acks=all.
    Large,
    /// Reads what was written before, from its start over and over.
    Fetch,
    /// Metadata of all topics, 64 requests in one write and two writes in flight.
    Requests,
    /// Connects, sends bytes that are no request, and again.
    Garbage,
    /// Connects, asks for the versions of APIs, and again.
    Connect,
    /// Consumer groups of which a member leaves and joins again as soon as all are there.
    Groups,
}

impl Kind {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Produce => "produce",
            Kind::Large => "large",
            Kind::Fetch => "fetch",
            Kind::Requests => "requests",
            Kind::Garbage => "garbage",
            Kind::Connect => "connect",
            Kind::Groups => "groups",
        }
    }

    /// So many times its quiet value may the p99 beside it be.
    pub fn bound(self) -> f64 {
        if self == Kind::Groups { 1.5 } else { 2.0 }
    }
}

/// Floods until it is told to stop. May be called again.
pub(crate) type Thread = Box<dyn FnMut(&Shared, &Counters) -> Result<()> + Send>;

/// A flood that can be let loose again and again.
pub(crate) struct Flood {
    /// What its threads do.
    pub(crate) threads: Vec<Thread>,
    /// Rebalances that came to their end so far.
    pub(crate) rebalances: Arc<AtomicU64>,
}

/// The topic of a flood.
pub(crate) fn topic(kind: Kind) -> String {
    format!("flood-{}", kind.name())
}

/// Makes what the flood needs: topics, records to fetch, connections.
pub(crate) fn prepare(kind: Kind, options: &Options) -> Result<Flood> {
    let rebalances = Arc::new(AtomicU64::new(0));
    let threads = match kind {
        Kind::Produce => producers(&producing(kind, options, 64 << 10, options.in_flight))?,
        // A batch has to fit into the default `message.max.bytes`.
        Kind::Large => producers(&producing(kind, options, 1_000_000, options.in_flight.div_ceil(4)))?,
        Kind::Fetch => fetchers(kind, options)?,
        Kind::Requests => (0..options.connections).map(|_| asker(options)).collect::<Result<_>>()?,
        Kind::Garbage => (0..options.connections as u64).map(|seed| caller(options, Some(seed + 1))).collect(),
        Kind::Connect => (0..options.connections).map(|_| caller(options, None)).collect(),
        Kind::Groups => {
            procfs::raise_open_files();
            groups::threads(options, &rebalances)?
        }
    };
    Ok(Flood { threads, rebalances })
}

fn producing(kind: Kind, options: &Options, batch_bytes: usize, in_flight: usize) -> produce::Options {
    produce::Options {
        bootstrap: options.bootstrap.clone(),
        topic: topic(kind),
        partitions: 16,
        connections: options.connections,
        in_flight,
        acks: -1,
        batch_bytes,
        record_bytes: 1024,
        payload: Payload::Random,
        rate: None,
        warmup: Span::Time(Duration::ZERO),
        length: Span::Bytes(FETCHED_BYTES),
        idempotent: false,
        broker_pid: None,
    }
}

fn producers(options: &produce::Options) -> Result<Vec<Thread>> {
    Client::connect(&options.bootstrap)?.create_topic(&options.topic, options.partitions)?;
    produce::settle(options)?;
    (0..options.connections)
        .map(|index| {
            let mut worker = Worker::new(options, index, None)?;
            let work: Thread = Box::new(move |shared, counters| worker.run(shared, counters).map(drop));
            Ok(work)
        })
        .collect()
}

fn fetchers(kind: Kind, options: &Options) -> Result<Vec<Thread>> {
    produce::run(&producing(kind, options, 64 << 10, 5))?;
    let workers = fetch::workers(&fetch::Options {
        bootstrap: options.bootstrap.clone(),
        topic: topic(kind),
        connections: options.connections,
        max_bytes: 50 << 20,
        partition_max_bytes: 1 << 20,
        tail: false,
        read_bytes: CALL_BYTES,
        check_crc: false,
        warmup: Span::Time(Duration::ZERO),
        length: Span::Time(Duration::ZERO),
        broker_pid: None,
    })?;
    let threads = workers.into_iter().map(|mut worker| {
        let work: Thread = Box::new(move |shared, counters| worker.run(shared, counters).map(drop));
        work
    });
    Ok(threads.collect())
}

/// Asks for the metadata of all topics.
fn asker(options: &Options) -> Result<Thread> {
    let mut stream = client::connect(&options.bootstrap)?;
    let mut body = Writer::default();
    body.i32(-1).i8(0);
    let mut frame = open_frame(api::METADATA, 4, 7, false);
    frame.raw(&body.0);
    let burst = close_frame(frame).repeat(BURST);
    let mut answer = Vec::new();
    Ok(Box::new(move |shared, counters| {
        stream.write_all(&burst)?;
        let mut left = BURST;
        while left > 0 {
            if !shared.stopping() {
                stream.write_all(&burst)?;
                left += BURST;
            }
            for _ in 0..BURST {
                let bytes = read_answer(&mut stream, &mut answer)?;
                if Reader(&answer).i32()? != 7 {
                    return Err("an answer to nothing".into());
                }
                counters.add(bytes as u64);
            }
            left -= BURST;
        }
        Ok(())
    }))
}

/// Connects, says something (nonsense, if there is a seed for it), hears what comes of it, and leaves.
fn caller(options: &Options, mut nonsense: Option<u64>) -> Thread {
    let bootstrap = options.bootstrap.clone();
    let mut answer = Vec::new();
    Box::new(move |shared, counters| {
        while !shared.stopping() {
            let mut stream = client::connect(&bootstrap)?;
            leave_at_once(&stream)?;
            match &mut nonsense {
                Some(random) => {
                    let mut bytes = [0; 256];
                    for byte in &mut bytes {
                        *random ^= *random << 13;
                        *random ^= *random >> 7;
                        *random ^= *random << 17;
                        *byte = *random as u8;
                    }
                    // A length that no request has: the broker need not wait for more.
                    bytes[0] |= 0x80;
                    stream.write_all(&bytes)?;
                    // An end or a reset: it hung up, as it should.
                    while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
                }
                None => {
                    stream.write_all(&close_frame(open_frame(api::API_VERSIONS, 0, 7, false)))?;
                    read_answer(&mut stream, &mut answer)?;
                }
            }
            counters.add(0);
        }
        Ok(())
    })
}

/// Reads one answer without its length; gives its bytes.
fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<usize> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length))?;
    answer.resize(length, 0);
    stream.read_exact(answer)?;
    Ok(length)
}

/// The socket is reset when it is dropped, and its port is free again: else there would be none left after some ten thousand.
fn leave_at_once(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the pointer is to a value that lives through the call, and `len` is its size.
    let set = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len)
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

/// Bytes that a flooding thread reads with one call. It lets nobody else at the CPU before the call ends, where the kernel is not preempted.
const CALL_BYTES: usize = 64 << 10;
/// Requests in one write of those who ask.
const BURST: usize = 64;
/// What there is to fetch.
const FETCHED_BYTES: u64 = 256 << 20;
