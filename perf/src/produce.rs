//! Produce load: pre-encoded requests of one batch each over blocking sockets, one thread per connection.
//!
//! Saturating: each connection keeps `in_flight` requests outstanding, and a latency is counted from the moment the request was written. Open
//! loop: batches are due at fixed moments whatever the broker does, and a latency is counted from the moment the batch was *due*, so
//! that a stall is charged to every batch that had to wait for it (no coordinated omission).

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    Error, Result,
    batch::{self, Payload},
    client::{self, Client},
    procfs,
    report::Run,
    units::Span,
    wire::{PRODUCE_VERSION, Reader, api, close_frame, open_frame},
};

/// What to send, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port` of the broker that leads all partitions.
    pub bootstrap: String,
    /// Created if it does not exist.
    pub topic: String,
    /// How many partitions to send to, and to create.
    pub partitions: i32,
    /// Connections, each with a thread. Each sends to all partitions in turn.
    pub connections: usize,
    /// Requests without an answer on one connection, at most.
    pub in_flight: usize,
    /// 0, 1 or -1. With 0 a request counts once it is written.
    pub acks: i16,
    /// Bytes of a batch in all.
    pub batch_bytes: usize,
    /// Bytes of a record with its framing.
    pub record_bytes: usize,
    /// What the values hold.
    pub payload: Payload,
    /// Batches a second over all connections; `None` saturates.
    pub rate: Option<f64>,
    /// Not measured.
    pub warmup: Span,
    /// Measured.
    pub length: Span,
    /// With producer ids and sequences; each batch is stamped and its checksum made anew.
    pub idempotent: bool,
    /// Process whose CPU and context switches are measured.
    pub broker_pid: Option<u32>,
}

/// Phases of a run; before these comes warming up, 0.
const MEASURING: u8 = 1;
const STOPPING: u8 = 2;

/// What the threads tell the one that looks on.
#[derive(Default)]
pub(crate) struct Shared {
    phase: AtomicU8,
    failed: AtomicBool,
}

/// Counters of one thread, on a cache line of their own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl Counters {
    /// Bytes and requests so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.bytes.load(Relaxed), self.requests.load(Relaxed))
    }
    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }
}

impl Shared {
    pub(crate) fn stop(&self) {
        self.phase.store(STOPPING, Relaxed);
    }
    pub(crate) fn fail(&self) {
        self.failed.store(true, Relaxed);
    }
    pub(crate) fn stopping(&self) -> bool {
        self.phase.load(Relaxed) == STOPPING
    }
    pub(crate) fn measuring(&self) -> bool {
        self.phase.load(Relaxed) == MEASURING
    }
}

/// Bytes of one write at most. The thread lets nobody else at the CPU before a call ends, where the kernel is not preempted.
const WRITE_BYTES: usize = 128 << 10;

/// Sends as `options` say and returns what was measured. The first error that the broker answers ends the run.
pub fn run(options: &Options) -> Result<Run> {
    let mut control = Client::connect(&options.bootstrap)?;
    control.create_topic(&options.topic, options.partitions)?;
    settle(options)?;
    let mut workers = Vec::new();
    for index in 0..options.connections {
        let producer = if options.idempotent { Some(control.init_producer_id()?) } else { None };
        workers.push(Worker::new(options, index, producer)?);
    }
    drive(workers, options.warmup, options.length, options.broker_pid, |mut worker, shared, counters| {
        worker.run(shared, counters)
    })
}

/// Runs one thread per worker through warm-up and measurement. Shared with the fetch load.
pub(crate) fn drive<W: Send>(
    workers: Vec<W>,
    warmup: Span,
    length: Span,
    broker_pid: Option<u32>,
    work: impl Fn(W, &Shared, &Counters) -> Result<Histogram<u64>> + Sync,
) -> Result<Run> {
    let shared = Arc::new(Shared::default());
    let counters: Vec<Counters> = workers.iter().map(|_| Counters::default()).collect();
    let totals = || {
        counters
            .iter()
            .fold((0, 0), |(bytes, requests), c| (bytes + c.bytes.load(Relaxed), requests + c.requests.load(Relaxed)))
    };
    let broker = || broker_pid.map(procfs::usage).transpose();
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .zip(&counters)
            .map(|(worker, counters)| {
                let (shared, work) = (&*shared, &work);
                scope.spawn(move || {
                    let result = work(worker, shared, counters);
                    if result.is_err() {
                        shared.failed.store(true, Relaxed);
                    }
                    result
                })
            })
            .collect();
        let pass = |span: Span, started: Instant, from: u64| {
            while !shared.failed.load(Relaxed) && !threads.iter().all(|t| t.is_finished()) {
                let left = match span {
                    Span::Time(time) => time.saturating_sub(started.elapsed()),
                    Span::Bytes(bytes) if totals().0 - from >= bytes => Duration::ZERO,
                    Span::Bytes(_) => Duration::from_millis(2),
                };
                if left.is_zero() {
                    break;
                }
                thread::sleep(left.min(Duration::from_millis(20)));
            }
        };
        pass(warmup, Instant::now(), 0);
        let (machine_before, broker_before, own_before) = (procfs::machine_cpu(), broker(), procfs::own_cpu());
        let (started, before) = (Instant::now(), totals());
        shared.phase.store(MEASURING, Relaxed);
        pass(length, started, before.0);
        shared.phase.store(STOPPING, Relaxed);
        let (seconds, after) = (started.elapsed().as_secs_f64(), totals());
        let (own_after, broker_after, machine_after) = (procfs::own_cpu(), broker(), procfs::machine_cpu());
        let mut latency = Histogram::new(3).map_err(|e| e.to_string())?;
        for thread in threads {
            latency.add(thread.join().map_err(|_| "a thread panicked")??).map_err(|e| e.to_string())?;
        }
        let broker = match (broker_before?, broker_after?) {
            (Some(before), Some(after)) => Some(after.since(before)),
            _ => None,
        };
        Ok(Run {
            seconds,
            bytes: after.0 - before.0,
            requests: after.1 - before.1,
            latency,
            own_cpu: own_after.saturating_sub(own_before),
            broker,
            machine_cpu: machine_after?.saturating_sub(machine_before?),
        })
    })
}

/// Sends one batch to each partition until it is taken: a leader that was just named may need a moment.
pub(crate) fn settle(options: &Options) -> Result<()> {
    let mut stream = client::connect(&options.bootstrap)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    for partition in 0..options.partitions {
        loop {
            let batch = batch::build(512, 512, options.payload, 1);
            stream.write_all(&encode(&options.topic, partition, -1, &batch).0)?;
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length))?];
            stream.read_exact(&mut answer)?;
            match produce_error(&answer)? {
                0 => break,
                // Unknown topic, leader not available, not leader: the broker has yet to catch up with its own metadata.
                3 | 5 | 6 if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
                code => return Err(format!("Produce to {}-{partition}: error {code}", options.topic).into()),
            }
        }
    }
    Ok(())
}

/// A Produce request of one batch, and where in it the batch stands.
fn encode(topic: &str, partition: i32, acks: i16, batch: &[u8]) -> (Vec<u8>, usize) {
    let mut w = open_frame(api::PRODUCE, PRODUCE_VERSION, 0, true);
    w.uvarint(0).i16(acks).i32(30_000).uvarint(2).compact(topic).uvarint(2).i32(partition);
    w.uvarint(batch.len() as u32 + 1);
    let at = w.0.len();
    w.raw(batch).uvarint(0).uvarint(0).uvarint(0);
    (close_frame(w), at)
}

/// The error code of the one partition in a Produce answer (without its length, with its header).
fn produce_error(answer: &[u8]) -> Result<i16> {
    let mut r = Reader(answer);
    r.i32()?;
    r.tags()?;
    if r.uvarint()? != 2 {
        return Err("a Produce answer without a topic".into());
    }
    r.compact()?;
    r.uvarint()?;
    r.i32()?;
    r.i16()
}

/// A request ready to go.
struct Prepared {
    frame: Vec<u8>,
    batch_at: usize,
    batch_bytes: usize,
    records: i32,
    sequence: i32,
}

/// One connection that produces.
pub(crate) struct Worker {
    stream: TcpStream,
    requests: Vec<Prepared>,
    /// The partition that is next.
    turn: usize,
    correlation: i32,
    /// The oldest first: correlation, bytes, when sent or due.
    waiting: VecDeque<(i32, u64, Instant)>,
    received: Vec<u8>,
    filled: usize,
    in_flight: usize,
    acks: i16,
    /// Open loop: time between two batches of this connection, and when its first is due after the start.
    schedule: Option<(Duration, Duration)>,
    producer: Option<(i64, i16)>,
    latency: Histogram<u64>,
}

impl Worker {
    pub(crate) fn new(options: &Options, index: usize, producer: Option<(i64, i16)>) -> Result<Self> {
        let mut requests = Vec::new();
        for partition in 0..options.partitions {
            let seed = (index as u64) << 32 | (partition as u64) << 8 | 0x9e37_79b9_0000_0001;
            let batch = batch::build(options.batch_bytes, options.record_bytes, options.payload, seed);
            let (frame, batch_at) = encode(&options.topic, partition, options.acks, &batch);
            let (batch_bytes, records) = (batch.len(), batch::records(&batch));
            requests.push(Prepared { frame, batch_at, batch_bytes, records, sequence: 0 });
        }
        let schedule = options.rate.map(|rate| {
            let interval = Duration::from_secs_f64(options.connections as f64 / rate);
            (interval, interval.mul_f64(index as f64 / options.connections as f64))
        });
        Ok(Worker {
            stream: client::connect(&options.bootstrap)?,
            turn: index * options.partitions as usize / options.connections,
            requests,
            correlation: 0,
            waiting: VecDeque::with_capacity(options.in_flight),
            received: vec![0; 64 << 10],
            filled: 0,
            in_flight: options.in_flight.max(1),
            acks: options.acks,
            schedule,
            producer,
            latency: Histogram::new(3).map_err(|e| e.to_string())?,
        })
    }

    /// Sends until it is told to stop, and until everything is answered. May be called again. Gives the latencies of this time.
    pub(crate) fn run(&mut self, shared: &Shared, counters: &Counters) -> Result<Histogram<u64>> {
        if self.schedule.is_some() {
            // The kernel may round a sleep up by 50 us otherwise.
            // SAFETY: PR_SET_TIMERSLACK takes a plain number and concerns this thread only.
            unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        }
        let started = Instant::now();
        let mut sent = 0u32;
        loop {
            let stopping = shared.stopping();
            if stopping && self.waiting.is_empty() {
                return Ok(std::mem::replace(&mut self.latency, Histogram::new(3).map_err(|e| e.to_string())?));
            }
            let room = !stopping && self.waiting.len() < self.in_flight;
            match self.schedule {
                None if room => {
                    self.send(Instant::now(), shared, counters)?;
                }
                None => self.receive(shared, counters)?,
                Some((interval, first)) => {
                    let due = started + first + interval * sent;
                    let now = Instant::now();
                    if room && now >= due {
                        self.send(due, shared, counters)?;
                        sent += 1;
                    } else if !room || self.readable_before(due - now)? {
                        self.receive(shared, counters)?;
                    }
                }
            }
        }
    }

    fn send(&mut self, from: Instant, shared: &Shared, counters: &Counters) -> Result<()> {
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        let next = (self.turn + 1) % self.requests.len();
        let request = &mut self.requests[self.turn];
        self.turn = next;
        request.frame[8..12].copy_from_slice(&self.correlation.to_be_bytes());
        if let Some((id, epoch)) = self.producer {
            let batch = &mut request.frame[request.batch_at..request.batch_at + request.batch_bytes];
            batch::stamp(batch, id, epoch, request.sequence);
            // After the largest sequence comes 0.
            let after = (i64::from(request.sequence) + i64::from(request.records)) & i64::from(i32::MAX);
            request.sequence = after as i32;
        }
        for piece in request.frame.chunks(WRITE_BYTES) {
            self.stream.write_all(piece)?;
        }
        let bytes = request.batch_bytes as u64;
        if self.acks != 0 {
            self.waiting.push_back((self.correlation, bytes, from));
            return Ok(());
        }
        self.count(bytes, from, shared, counters)
    }

    /// Waits for bytes, then takes in every whole answer among them.
    fn receive(&mut self, shared: &Shared, counters: &Counters) -> Result<()> {
        let n = self.stream.read(&mut self.received[self.filled..])?;
        if n == 0 {
            return Err("the broker closed the connection".into());
        }
        self.filled += n;
        let mut at = 0;
        while let Some(length) = self.received[at..self.filled].get(..4) {
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if length + 4 > self.received.len() {
                return Err(format!("a Produce answer of {length} bytes").into());
            }
            let Some(answer) = self.received[at..self.filled].get(4..4 + length) else { break };
            let (correlation, bytes, from) = self.waiting.pop_front().ok_or("an answer to nothing")?;
            if answer.get(..4) != Some(&correlation.to_be_bytes()[..]) {
                return Err("answers are out of order".into());
            }
            match produce_error(answer)? {
                0 => {}
                code => return Err(Error::from(format!("Produce: error {code}"))),
            }
            at += 4 + length;
            self.count(bytes, from, shared, counters)?;
        }
        self.received.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    fn count(&mut self, bytes: u64, from: Instant, shared: &Shared, counters: &Counters) -> Result<()> {
        counters.add(bytes);
        if shared.measuring() {
            self.latency.record(from.elapsed().as_nanos() as u64).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Whether the socket has something to read before `wait` is over.
    fn readable_before(&self, wait: Duration) -> Result<bool> {
        let mut poll = libc::pollfd { fd: self.stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // A short limit, so that the end of the run is noticed.
        let wait = wait.min(Duration::from_millis(50));
        let time = libc::timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        // SAFETY: both pointers are to values that live through the call, and the count is 1.
        let ready = unsafe { libc::ppoll(&mut poll, 1, &time, std::ptr::null()) };
        if ready < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(ready > 0)
    }
}
