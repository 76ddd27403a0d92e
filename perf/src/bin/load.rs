//! The load generator. `load produce` and `load fetch` measure one endpoint; `load compare` runs several endpoints in turn; `load beside` measures what
//! a flood does to a client beside it.

use clap::{Args, Parser, Subcommand};
use coretide_perf::{
    batch::Payload,
    beside, compare, fetch, procfs, produce,
    report::Run,
    units::{Size, Span},
};

#[derive(Parser)]
#[command(name = "load", version, about = "Load generator for endpoints that speak the Kafka protocol.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Produce pre-encoded batches, saturating or at a fixed rate.
    Produce(Produce),
    /// Fetch as fast as the broker can.
    Fetch(Fetch),
    /// Start the floor and Coretide (and a reference), measure them in turn, write the result as markdown.
    Compare(compare::Options),
    /// Measure a quiet producer alone and beside a flood, in turn.
    Beside(beside::Options),
}

#[derive(Args)]
struct Common {
    /// The broker that leads all partitions.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    bootstrap: String,
    /// The topic.
    #[arg(long, default_value = "load")]
    topic: String,
    /// Connections, each with a thread of its own.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Measure for so many seconds (without --bytes 5 s).
    #[arg(long, value_name = "SECONDS", conflicts_with = "bytes")]
    seconds: Option<f64>,
    /// Measure until so many bytes are acknowledged or fetched.
    #[arg(long, value_name = "SIZE")]
    bytes: Option<Size>,
    /// Not measured, before the measurement: a time (`2s`) or a size (`5GiB`).
    #[arg(long, default_value = "1s", value_name = "SPAN")]
    warmup: Span,
    /// The broker's process: measures its CPU time and context switches.
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl Common {
    fn length(&self) -> Span {
        match self.bytes {
            Some(size) => Span::Bytes(size.0),
            None => Span::Time(std::time::Duration::from_secs_f64(self.seconds.unwrap_or(5.0))),
        }
    }
    fn print(&self, run: &Run) {
        if self.json {
            return println!("{}", run.json());
        }
        println!("{}", run.table());
        if let Some((now, most)) = self.broker_pid.and_then(|pid| procfs::resident(pid).ok()) {
            println!("broker memory: {} MB resident, {} MB at most", now / 1_000_000, most / 1_000_000);
        }
    }
}

#[derive(Args)]
struct Produce {
    #[command(flatten)]
    common: Common,
    /// Partitions, created with the topic.
    #[arg(long, default_value_t = 16)]
    partitions: i32,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    /// 0, 1 or -1 (all).
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    acks: i16,
    /// Bytes of a batch in all.
    #[arg(long, default_value = "64KiB")]
    batch_bytes: Size,
    /// Bytes of a record, framing included.
    #[arg(long, default_value = "1KiB")]
    record_bytes: Size,
    /// What the values hold.
    #[arg(long, value_enum, default_value = "random")]
    payload: Payload,
    /// Open loop: batches a second over all connections. Latency counts from the moment a batch was due.
    #[arg(long)]
    rate: Option<f64>,
    /// Send with producer ids and sequences.
    #[arg(long)]
    idempotent: bool,
    /// Delete the topic afterwards.
    #[arg(long)]
    delete: bool,
}

#[derive(Args)]
struct Fetch {
    #[command(flatten)]
    common: Common,
    /// `max_bytes` of a request.
    #[arg(long, default_value = "50MiB")]
    max_bytes: Size,
    /// `partition_max_bytes`.
    #[arg(long, default_value = "1MiB")]
    partition_max_bytes: Size,
    /// Read what arrives from now on, instead of the whole log over and over.
    #[arg(long)]
    tail: bool,
    /// Check the checksum of each batch, as consumers do.
    #[arg(long)]
    check_crc: bool,
}

fn main() {
    let result = match Cli::parse().command {
        Command::Produce(p) => produce(&p),
        Command::Fetch(f) => fetch(&f),
        Command::Compare(options) => compare::run(&options),
        Command::Beside(options) => beside::run(&options),
    };
    if let Err(error) = result {
        eprintln!("load: {error}");
        std::process::exit(1);
    }
}

fn produce(p: &Produce) -> coretide_perf::Result<()> {
    let run = produce::run(&produce::Options {
        bootstrap: p.common.bootstrap.clone(),
        topic: p.common.topic.clone(),
        partitions: p.partitions,
        connections: p.common.connections,
        in_flight: p.in_flight,
        acks: p.acks,
        batch_bytes: p.batch_bytes.0 as usize,
        record_bytes: p.record_bytes.0 as usize,
        payload: p.payload,
        rate: p.rate,
        warmup: p.common.warmup,
        length: p.common.length(),
        idempotent: p.idempotent,
        broker_pid: p.common.broker_pid,
    })?;
    p.common.print(&run);
    if p.delete {
        coretide_perf::client::Client::connect(&p.common.bootstrap)?.delete_topic(&p.common.topic)?;
    }
    Ok(())
}

fn fetch(f: &Fetch) -> coretide_perf::Result<()> {
    let run = fetch::run(&fetch::Options {
        bootstrap: f.common.bootstrap.clone(),
        topic: f.common.topic.clone(),
        connections: f.common.connections,
        max_bytes: i32::try_from(f.max_bytes.0)?,
        partition_max_bytes: i32::try_from(f.partition_max_bytes.0)?,
        tail: f.tail,
        read_bytes: usize::MAX,
        check_crc: f.check_crc,
        warmup: f.common.warmup,
        length: f.common.length(),
        broker_pid: f.common.broker_pid,
    })?;
    f.common.print(&run);
    Ok(())
}
