//! A quiet client beside a flood: what one client's load does to the latency of another.
//!
//! The quiet client produces small batches at a fixed rate over one connection that lasts as long as the program; its latency is counted from the
//! moment each batch was due. Phases alternate, quiet and flooded, and medians over the rounds are compared: a p99 of a few seconds on a
//! machine with neighbours says little by itself. The threads that flood run under SCHED_IDLE, so that they take what CPU the broker and the
//! quiet client leave: what is measured is what the broker makes of a flood, not how the kernel shares two cores among three programs. Autogroups have
//! to be off for that: with them the weight of the whole session on a CPU is that of a thread under SCHED_IDLE whenever nobody else of it runs there, and
//! from one moment to the next a thousand; kernel threads that were ready, such as those that end durable writes, waited up to 67 ms meanwhile.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    Result,
    batch::Payload,
    client::Client,
    compare::Endpoint,
    flood::{self, Flood, Kind},
    produce::{self, Counters, Shared, Worker, drive},
    report::{Run, median, number},
    units::{Size, Span},
};

/// Who floods, and who is beside it.
#[derive(Args, Debug, Clone)]
pub struct Options {
    /// The broker that leads all partitions.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub bootstrap: String,
    /// Start this first, on a new data directory under `--dir`, and stop it at the end: `PROGRAM [ARGUMENTS]`.
    #[arg(long, value_name = "COMMAND", conflicts_with = "bootstrap")]
    pub coretide: Option<String>,
    /// Where its data goes (a subdirectory, removed afterwards).
    #[arg(long, default_value = "target/perf", value_name = "DIRECTORY")]
    pub dir: PathBuf,
    /// What floods; several are measured one after the other.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    pub flood: Vec<Kind>,
    /// Rounds, each of a quiet and a flooded phase.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Measured seconds of a phase.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Seconds at the start of each phase that are not measured.
    #[arg(long, default_value_t = 1.0)]
    pub settle: f64,
    /// Seconds of flood before the first round.
    #[arg(long, default_value_t = 5.0)]
    pub warmup: f64,
    /// Batches a second of the quiet client.
    #[arg(long, default_value_t = 300.0)]
    pub rate: f64,
    /// Bytes of a batch of the quiet client.
    #[arg(long, default_value = "1KiB")]
    pub batch_bytes: Size,
    /// Connections that flood, a thread each (`groups` has one per member and two threads).
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Requests in flight on each flooding connection; of `large` a quarter.
    #[arg(long, default_value_t = 20)]
    pub in_flight: usize,
    /// Consumer groups of `groups`.
    #[arg(long, default_value_t = 1000)]
    pub groups: usize,
    /// Members of each group.
    #[arg(long, default_value_t = 10)]
    pub members: usize,
    /// Seconds between two heartbeats of a member: so late it may learn of a rebalance. Kafka's consumers have 3.
    #[arg(long, default_value_t = 3.0)]
    pub heartbeat: f64,
    /// Let the flood compete for the CPU as any program does.
    #[arg(long)]
    pub same_priority: bool,
    /// Print each round.
    #[arg(long)]
    pub verbose: bool,
}

/// Whether the kernel makes a group of each session.
const AUTOGROUPS: &str = "/proc/sys/kernel/sched_autogroup_enabled";

/// One round: the quiet client alone, and beside the flood.
struct Round {
    quiet: Run,
    flooded: Run,
    did: Did,
}

/// What the flood managed, per second.
#[derive(Clone, Copy)]
struct Did {
    requests: f64,
    bytes: f64,
    rebalances: f64,
}

/// Measures each flood in turn and prints a table.
pub fn run(options: &Options) -> Result<()> {
    if !options.same_priority && std::fs::read_to_string(AUTOGROUPS).is_ok_and(|on| on.trim() != "0") {
        return Err("kernel threads wait for no reason beside SCHED_IDLE in an autogroup, and the p99 is theirs: \
                    `sysctl kernel.sched_autogroup_enabled=0` while this runs, or --same-priority"
            .into());
    }
    let dir = options.dir.join(format!("beside-{}", std::process::id()));
    let Some(command) = &options.coretide else { return measure_all(options) };
    std::fs::create_dir_all(&dir)?;
    let result = Endpoint::start_coretide("coretide", command, &dir)
        .and_then(|endpoint| measure_all(&Options { bootstrap: endpoint.bootstrap().into(), ..options.clone() }));
    std::fs::remove_dir_all(&dir)?;
    result
}

fn measure_all(options: &Options) -> Result<()> {
    println!(
        "| flood | it did | quiet p50 ms | p99 | p99.9 | flooded p50 ms | p99 | p99.9 | p99, of medians | round by round | bound |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for &kind in &options.flood {
        let rounds = measure(options, kind)?;
        println!("{}", row(kind, &rounds));
    }
    Ok(())
}

fn measure(options: &Options, kind: Kind) -> Result<Vec<Round>> {
    let topic = format!("beside-{}", kind.name());
    let quiet = produce::Options {
        bootstrap: options.bootstrap.clone(),
        topic: topic.clone(),
        partitions: 16,
        connections: 1,
        // As many as are due in a few seconds: the loop stays open.
        in_flight: 1000,
        acks: -1,
        batch_bytes: options.batch_bytes.0 as usize,
        record_bytes: options.batch_bytes.0 as usize,
        payload: Payload::Random,
        rate: Some(options.rate),
        warmup: Span::Time(Duration::ZERO),
        length: Span::Time(Duration::ZERO),
        idempotent: false,
        broker_pid: None,
    };
    let mut control = Client::connect(&options.bootstrap)?;
    control.create_topic(&topic, quiet.partitions)?;
    produce::settle(&quiet)?;
    let mut worker = Worker::new(&quiet, 0, None)?;
    let mut flood = flood::prepare(kind, options)?;
    let (settle, seconds) = (Duration::from_secs_f64(options.settle), Duration::from_secs_f64(options.seconds));
    phase(options, &mut worker, Some(&mut flood), settle, Duration::from_secs_f64(options.warmup))?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let (quiet, _) = phase(options, &mut worker, None, settle, seconds)?;
        let (flooded, did) = phase(options, &mut worker, Some(&mut flood), settle, seconds)?;
        if options.verbose {
            eprintln!(
                "{} {number}: quiet p50 {:.3} p99 {:.3}, flooded p50 {:.3} p99 {:.3} p99.9 {:.3} max {:.3} ms, {}",
                kind.name(),
                quiet.ms(0.5),
                quiet.ms(0.99),
                flooded.ms(0.5),
                flooded.ms(0.99),
                flooded.ms(0.999),
                flooded.ms(1.0),
                did.shown()
            );
        }
        rounds.push(Round { quiet, flooded, did });
    }
    drop(flood);
    for topic in [topic, flood::topic(kind)] {
        control.delete_topic(&topic)?;
    }
    Ok(rounds)
}

/// Measures the quiet client for a while, with the flood beside it if there is one.
fn phase(
    options: &Options,
    quiet: &mut Worker,
    flood: Option<&mut Flood>,
    settle: Duration,
    length: Duration,
) -> Result<(Run, Did)> {
    let (shared, counters) = (Shared::default(), Counters::default());
    let rebalances = flood.as_ref().map(|flood| flood.rebalances.clone()).unwrap_or_default();
    let rebalanced = || rebalances.load(std::sync::atomic::Ordering::Relaxed);
    let (begun, before) = (Instant::now(), rebalanced());
    thread::scope(|scope| {
        let threads: Vec<_> = flood
            .into_iter()
            .flat_map(|flood| &mut flood.threads)
            .map(|work| {
                let (shared, counters) = (&shared, &counters);
                scope.spawn(move || {
                    if !options.same_priority {
                        give_way()?;
                    }
                    let result = work(shared, counters);
                    if result.is_err() {
                        shared.fail();
                    }
                    result
                })
            })
            .collect();
        let (settle, length) = (Span::Time(settle), Span::Time(length));
        let run = drive(vec![quiet], settle, length, None, |quiet, shared, counters| quiet.run(shared, counters));
        let (seconds, (bytes, requests)) = (begun.elapsed().as_secs_f64(), counters.totals());
        let rebalances = rebalanced() - before;
        shared.stop();
        for thread in threads {
            thread.join().map_err(|_| "a flooding thread panicked")??;
        }
        let did = Did {
            requests: requests as f64 / seconds,
            bytes: bytes as f64 / seconds,
            rebalances: rebalances as f64 / seconds,
        };
        Ok((run?, did))
    })
}

/// This thread takes only what CPU others leave.
fn give_way() -> Result<()> {
    let nothing = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a value that lives through the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &nothing) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

impl Did {
    fn shown(self) -> String {
        let requests = format!("{} requests/s", number(self.requests));
        match self {
            Did { rebalances, .. } if rebalances > 0.0 => format!("{requests}, {} rebalances/s", number(rebalances)),
            Did { bytes, .. } if bytes > 0.0 => format!("{requests}, {} MB/s", number(bytes / 1e6)),
            _ => requests,
        }
    }
}

fn row(kind: Kind, rounds: &[Round]) -> String {
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let did = Did {
        requests: of(&|round| round.did.requests),
        bytes: of(&|round| round.did.bytes),
        rebalances: of(&|round| round.did.rebalances),
    };
    let mut cells = vec![kind.name().to_string(), did.shown()];
    for quantile in [0.5, 0.99, 0.999] {
        cells.push(number(of(&|round| round.quiet.ms(quantile))));
    }
    for quantile in [0.5, 0.99, 0.999] {
        cells.push(number(of(&|round| round.flooded.ms(quantile))));
    }
    let (quiet, flooded) = (of(&|round| round.quiet.ms(0.99)), of(&|round| round.flooded.ms(0.99)));
    cells.push(format!("**{}**", number(flooded / quiet)));
    let mut ratios: Vec<f64> = rounds.iter().map(|round| round.flooded.ms(0.99) / round.quiet.ms(0.99)).collect();
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios.first().copied(), ratios.last().copied());
    cells.push(format!("{} to {}", number(least.unwrap_or(f64::NAN)), number(most.unwrap_or(f64::NAN))));
    cells.push(number(kind.bound()));
    format!("| {} |", cells.join(" | "))
}
