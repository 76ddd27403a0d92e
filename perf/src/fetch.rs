//! Fetch load: raw fetches without sessions, one outstanding per connection, each connection over its own partitions.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use hdrhistogram::Histogram;

use crate::{
    Result, batch,
    client::{self, Client},
    produce::{Counters, Shared, drive},
    report::Run,
    units::Span,
    wire::{Reader, api, close_frame, open_frame},
};

/// What to read, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port` of the broker that leads all partitions.
    pub bootstrap: String,
    /// Must exist.
    pub topic: String,
    /// Connections; partition p is read by connection p modulo this.
    pub connections: usize,
    /// `max_bytes` of a request.
    pub max_bytes: i32,
    /// `partition_max_bytes`.
    pub partition_max_bytes: i32,
    /// Start at the log end and read what arrives, instead of from the log start over and over.
    pub tail: bool,
    /// Bytes of one read at most.
    pub read_bytes: usize,
    /// Check the checksum of every batch, as consumers do.
    pub check_crc: bool,
    /// Not measured.
    pub warmup: Span,
    /// Measured.
    pub length: Span,
    /// Process whose CPU and context switches are measured.
    pub broker_pid: Option<u32>,
}

/// Fetches as `options` say and returns what was measured. Bytes are those of the records fields.
pub fn run(options: &Options) -> Result<Run> {
    let workers = workers(options)?;
    drive(workers, options.warmup, options.length, options.broker_pid, |mut worker, shared, counters| {
        worker.run(shared, counters)
    })
}

/// The connections, each with its partitions.
pub(crate) fn workers(options: &Options) -> Result<Vec<Worker>> {
    let mut control = Client::connect(&options.bootstrap)?;
    let partitions = control.leaders(&options.topic)?.len();
    if partitions == 0 {
        return Err(format!("topic {} does not exist", options.topic).into());
    }
    let mut workers = Vec::new();
    for index in 0..options.connections.clamp(1, partitions) {
        let mut positions = Vec::new();
        for partition in (index..partitions).step_by(options.connections) {
            let earliest = control.list_offset(&options.topic, partition as i32, -2)?;
            let latest = control.list_offset(&options.topic, partition as i32, -1)?;
            if earliest == latest && !options.tail {
                return Err(format!("{}-{partition} is empty: nothing to fetch", options.topic).into());
            }
            let from = if options.tail { latest } else { earliest };
            positions.push(Position { partition: partition as i32, from, next: from });
        }
        let stream = client::connect(&options.bootstrap)?;
        workers.push(Worker { options: options.clone(), stream, positions, answer: Vec::new() });
    }
    Ok(workers)
}

struct Position {
    partition: i32,
    from: i64,
    next: i64,
}

/// One connection that fetches.
pub(crate) struct Worker {
    options: Options,
    stream: TcpStream,
    positions: Vec<Position>,
    answer: Vec<u8>,
}

impl Worker {
    /// Fetches until it is told to stop. May be called again.
    pub(crate) fn run(&mut self, shared: &Shared, counters: &Counters) -> Result<Histogram<u64>> {
        let mut latency = Histogram::new(3).map_err(|e| e.to_string())?;
        while !shared.stopping() {
            let sent = Instant::now();
            self.exchange()?;
            let elapsed = sent.elapsed();
            counters.add(self.take_in()?);
            if shared.measuring() {
                latency.record(elapsed.as_nanos() as u64).map_err(|e| e.to_string())?;
            }
            // So that each partition is the first one in turn: the byte budget is dealt out in request order.
            self.positions.rotate_left(1);
        }
        Ok(latency)
    }

    /// Sends one fetch over all positions and reads its answer into `answer`.
    fn exchange(&mut self) -> Result<()> {
        let options = &self.options;
        let mut w = open_frame(api::FETCH, 11, 1, false);
        w.i32(-1).i32(500).i32(1).i32(options.max_bytes).i8(0).i32(0).i32(-1);
        w.i32(1).string(&options.topic).i32(self.positions.len() as i32);
        for p in &self.positions {
            w.i32(p.partition).i32(-1).i64(p.next).i64(-1).i32(options.partition_max_bytes);
        }
        w.i32(0).string("");
        self.stream.write_all(&close_frame(w))?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length))?;
        if self.answer.len() < length {
            self.answer.resize(length, 0);
        }
        for piece in self.answer[..length].chunks_mut(options.read_bytes) {
            self.stream.read_exact(piece)?;
        }
        Ok(())
    }

    /// Moves the positions past what was fetched; at the end of a log back to its start. Returns the bytes of records.
    fn take_in(&mut self) -> Result<u64> {
        let mut bytes = 0;
        let mut r = Reader(&self.answer);
        r.i32()?;
        r.i32()?;
        match r.i16()? {
            0 => {}
            code => return Err(format!("Fetch: error {code}").into()),
        }
        r.i32()?;
        for _ in 0..r.i32()? {
            r.bytes16()?;
            for _ in 0..r.i32()? {
                let partition = r.i32()?;
                match r.i16()? {
                    0 => {}
                    code => return Err(format!("Fetch of partition {partition}: error {code}").into()),
                }
                let high = r.i64()?;
                r.i64()?;
                r.i64()?;
                for _ in 0..r.i32()?.max(0) {
                    r.i64()?;
                    r.i64()?;
                }
                r.i32()?;
                let records = r.bytes32()?;
                let position = self
                    .positions
                    .iter_mut()
                    .find(|p| p.partition == partition)
                    .ok_or("an answer for a partition that was not asked for")?;
                for batch in batch::walk(records) {
                    if self.options.check_crc && !batch::crc_holds(batch) {
                        return Err(format!("partition {partition}: a batch with a wrong checksum").into());
                    }
                    position.next = batch::next_offset(batch);
                }
                bytes += records.len() as u64;
                if position.next >= high && !self.options.tail {
                    position.next = position.from;
                }
            }
        }
        Ok(bytes)
    }
}
