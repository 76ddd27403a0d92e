//! Several endpoints measured in turn on one machine: A B A B, the same steps for each, medians over the rounds, a markdown page as result.
//!
//! Every endpoint is started once and stays up, idle while another one is measured. Each run has a topic of its own that is deleted after it.

use std::{
    fmt::Write,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    Result,
    batch::Payload,
    client::Client,
    produce,
    report::{Run, median, number},
    units::Span,
};

/// What to compare, and how long.
#[derive(Args, Debug)]
pub struct Options {
    /// Rounds; every round measures each endpoint once per step.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measured seconds of a run.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Not measured, before a saturating run: a time or a size. The default is five times what the journals of two cores hold, so that the
    /// state is steady. The other steps warm up 1 s.
    #[arg(long, default_value = "2560MiB", value_name = "SPAN")]
    warmup: Span,
    /// The same for the reference.
    #[arg(long, default_value = "3s", value_name = "SPAN")]
    reference_warmup: Span,
    /// Pause between two runs, for background work of the one before to end.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    settle: f64,
    /// Steps to run (default: all): 64k, 16k, rate, depth1.
    #[arg(long, value_delimiter = ',')]
    steps: Vec<String>,
    /// A Coretide to measure: `[NAME=]PROGRAM [ARGUMENTS]`; repeatable. By default the `coretide` beside this program. `none` leaves it out.
    #[arg(long, value_name = "COMMAND")]
    coretide: Vec<String>,
    /// Further arguments of `floor`; `none` leaves it out.
    #[arg(long, default_value = "", value_name = "ARGUMENTS", allow_hyphen_values = true)]
    floor: String,
    /// A shell command that starts a reference broker in the background and prints `HOST:PORT PID`.
    #[arg(long, value_name = "COMMAND")]
    reference_start: Option<String>,
    /// A shell command that stops it.
    #[arg(long, value_name = "COMMAND")]
    reference_stop: Option<String>,
    /// What the reference is called in the result.
    #[arg(long, default_value = "reference", value_name = "NAME")]
    reference_name: String,
    /// Where data goes while this runs (a subdirectory, removed afterwards).
    #[arg(long, default_value = "target/perf", value_name = "DIRECTORY")]
    dir: PathBuf,
    /// The result. By default perf/results/DATE-compare.md.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One thing to measure, the same for every endpoint.
struct Step {
    key: &'static str,
    title: &'static str,
    batch_bytes: usize,
    connections: usize,
    in_flight: usize,
    rate: Option<f64>,
}

const STEPS: [Step; 4] = [
    Step {
        key: "64k",
        title: "64 KiB batches, 4 connections, 5 in flight",
        batch_bytes: 64 << 10,
        connections: 4,
        in_flight: 5,
        rate: None,
    },
    Step {
        key: "16k",
        title: "16 KiB batches, 4 connections, 5 in flight",
        batch_bytes: 16 << 10,
        connections: 4,
        in_flight: 5,
        rate: None,
    },
    Step {
        key: "rate",
        title: "6,000 batches of 16 KiB a second (open loop), 4 connections",
        batch_bytes: 16 << 10,
        connections: 4,
        in_flight: 5,
        rate: Some(6000.0),
    },
    Step {
        key: "depth1",
        title: "4 KiB batches, 1 connection, 1 in flight",
        batch_bytes: 4 << 10,
        connections: 1,
        in_flight: 1,
        rate: None,
    },
];

/// Partitions of every topic.
const PARTITIONS: i32 = 16;

/// Starts the endpoints, measures them, writes the page and stops what was started.
pub fn run(options: &Options) -> Result<()> {
    let dir = options.dir.join(format!("compare-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let result = start_all(options, &dir).and_then(|endpoints| measure_all(options, &endpoints));
    fs::remove_dir_all(&dir)?;
    let page = result?;
    let out = match &options.out {
        Some(path) => path.clone(),
        None => Path::new("perf/results").join(format!("{}-compare.md", shell("date -u +%F"))),
    };
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&out, &page)?;
    println!("{page}\nwritten to {}", out.display());
    Ok(())
}

fn start_all(options: &Options, dir: &Path) -> Result<Vec<Endpoint>> {
    let beside = std::env::current_exe()?;
    let beside = beside.parent().ok_or("this program has no directory")?;
    let mut endpoints = Vec::new();
    if options.floor != "none" {
        let mut command = Command::new(beside.join("floor"));
        command.args(["--listen", "127.0.0.1:0", "--file"]).arg(dir.join("floor.journal"));
        command.args(options.floor.split_whitespace());
        endpoints.push(Endpoint::start("floor", command, dir)?);
    }
    let fallback = vec![beside.join("coretide").display().to_string()];
    let brokers = if options.coretide.is_empty() { &fallback } else { &options.coretide };
    for text in brokers.iter().filter(|text| *text != "none") {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if !name.contains(['/', ' ']) => (name, rest),
            _ => ("coretide", text.as_str()),
        };
        endpoints.push(Endpoint::start_coretide(name, rest, dir)?);
    }
    if let Some(start) = &options.reference_start {
        let said = shell(start);
        let last = said.lines().last().unwrap_or_default();
        let (bootstrap, pid) = last.split_once(' ').ok_or_else(|| format!("the reference printed `{said}`"))?;
        endpoints.push(Endpoint {
            name: options.reference_name.clone(),
            bootstrap: bootstrap.into(),
            pid: pid.trim().parse()?,
            child: None,
            stop: options.reference_stop.clone(),
        });
    }
    Ok(endpoints)
}

fn measure_all(options: &Options, endpoints: &[Endpoint]) -> Result<String> {
    let chosen = |step: &&Step| options.steps.is_empty() || options.steps.iter().any(|key| key == step.key);
    if let Some(key) = options.steps.iter().find(|key| STEPS.iter().all(|step| step.key != *key)) {
        return Err(format!("no step is called `{key}`").into());
    }
    let mut page = preamble(options, endpoints);
    for step in STEPS.iter().filter(chosen) {
        let mut runs: Vec<Vec<Option<Run>>> = endpoints.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds {
            for (endpoint, runs) in endpoints.iter().zip(&mut runs) {
                let run = measure(options, step, endpoint, round);
                match &run {
                    Ok(run) => eprintln!("{} {} round {}\n{}", step.key, endpoint.name, round + 1, run.table()),
                    Err(error) => eprintln!("{} {} round {}: {error}", step.key, endpoint.name, round + 1),
                }
                runs.push(run.ok());
                thread::sleep(Duration::from_secs_f64(options.settle));
            }
        }
        write_step(&mut page, step, endpoints, &runs)?;
    }
    Ok(page)
}

fn measure(options: &Options, step: &Step, endpoint: &Endpoint, round: usize) -> Result<Run> {
    let topic = format!("compare-{}-{round}", step.key);
    let saturating = step.rate.is_none() && step.connections > 1;
    let run = produce::run(&produce::Options {
        bootstrap: endpoint.bootstrap.clone(),
        topic: topic.clone(),
        partitions: PARTITIONS,
        connections: step.connections,
        in_flight: step.in_flight,
        acks: -1,
        batch_bytes: step.batch_bytes,
        record_bytes: 1024,
        payload: Payload::Random,
        rate: step.rate,
        warmup: match &endpoint.child {
            Some(_) if saturating => options.warmup,
            Some(_) => Span::Time(Duration::from_secs(1)),
            None => options.reference_warmup,
        },
        length: Span::Time(Duration::from_secs_f64(options.seconds)),
        idempotent: false,
        broker_pid: Some(endpoint.pid),
    });
    // A broker that failed the run may have left: the run's own error is the one to tell.
    let deleted = Client::connect(&endpoint.bootstrap).and_then(|mut client| client.delete_topic(&topic));
    let run = run?;
    deleted?;
    if endpoint.child.is_none() {
        // The reference leaves dirty pages behind, whose writing would be charged to whoever is next.
        // SAFETY: sync takes nothing and touches no memory of ours.
        unsafe { libc::sync() };
    }
    Ok(run)
}

fn write_step(page: &mut String, step: &Step, endpoints: &[Endpoint], runs: &[Vec<Option<Run>>]) -> Result<()> {
    let figures = [
        "MB/s",
        "requests/s",
        "CPU s/GB",
        "switches/request",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "load CPU s/GB",
    ];
    writeln!(page, "\n## {}\n\n| | {} | elsewhere, cores |", step.title, figures.join(" | "))?;
    writeln!(page, "|---|{}---|", "---|".repeat(figures.len()))?;
    for (endpoint, runs) in endpoints.iter().zip(runs) {
        let done: Vec<&Run> = runs.iter().flatten().collect();
        let failed = runs.len() - done.len();
        let note = if failed > 0 { format!(" ({failed} of {} runs failed)", runs.len()) } else { String::new() };
        write!(page, "| {}{note} |", endpoint.name)?;
        for figure in [
            Run::mb_per_second,
            Run::requests_per_second,
            cpu,
            |run: &Run| run.broker_switches().unwrap_or(f64::NAN),
            |run: &Run| run.ms(0.5),
            |run: &Run| run.ms(0.9),
            |run: &Run| run.ms(0.99),
            |run: &Run| run.ms(0.999),
            |run: &Run| run.ms(1.0),
            Run::own_cpu_per_gb,
            |run: &Run| run.elsewhere().unwrap_or(f64::NAN),
        ] {
            write!(page, " {} |", spread(done.iter().map(|run| figure(run)).collect()))?;
        }
        writeln!(page)?;
    }
    let Some((base, others)) = runs.split_first().filter(|_| endpoints[0].name == "floor") else { return Ok(()) };
    if others.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n| against the floor, round by round | rate | CPU per GB | p50 | p99 |\n|---|---|---|---|---|")?;
    for (endpoint, other) in endpoints[1..].iter().zip(others) {
        write!(page, "| {} |", endpoint.name)?;
        for figure in [Run::mb_per_second, cpu, |run: &Run| run.ms(0.5), |run: &Run| run.ms(0.99)] {
            let pairs = other.iter().zip(base).filter_map(|(a, b)| Some(figure(a.as_ref()?) / figure(b.as_ref()?)));
            write!(page, " {} |", spread(pairs.collect()))?;
        }
        writeln!(page)?;
    }
    Ok(())
}

fn cpu(run: &Run) -> f64 {
    run.broker_cpu_per_gb().unwrap_or(f64::NAN)
}

/// The median, and the smallest and largest in brackets.
fn spread(mut values: Vec<f64>) -> String {
    if values.is_empty() {
        return "-".into();
    }
    values.sort_by(f64::total_cmp);
    format!("**{}** ({} to {})", number(median(values.clone())), number(values[0]), number(values[values.len() - 1]))
}

fn preamble(options: &Options, endpoints: &[Endpoint]) -> String {
    let cpu = shell("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1");
    let cores = thread::available_parallelism().map_or(0, |n| n.get());
    // How a reference is started is this machine's business, and its path says nothing to a reader.
    let mut hidden = false;
    let arguments: Vec<String> = std::env::args()
        .skip(2)
        .map(|argument| {
            let shown = if hidden { "...".into() } else { argument.clone() };
            hidden = ["--reference-start", "--reference-stop", "--out"].contains(&argument.as_str());
            if shown.contains(' ') { format!("'{shown}'") } else { shown }
        })
        .collect();
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    format!(
        "# {}, in turn on one machine\n\n- Date: {}; revision: {}\n- Command: `perf/compare {}`\n- Host: {cores} x {cpu}, Linux {}, file system {}\n\
         - {} rounds, {} s measured per run, warm-up of saturating runs {}, of the reference {}; 1 KiB records, {PARTITIONS} partitions, acks=all, random payload. \
         The load generator shares the cores with the broker.\n\
         - Figures are the median (smallest to largest) over the rounds. MB is 10^6 bytes, GB 10^9. Latency is per request; in the open loop from the \
         moment the batch was due. \"Elsewhere\" is CPU time of neither load nor broker: kernel threads, and whatever else ran.\n",
        names.join(", "),
        shell("date -u '+%F %R UTC'"),
        shell("git describe --always --dirty"),
        arguments.join(" "),
        shell("uname -r"),
        shell(&format!("findmnt -no FSTYPE -T '{}'", options.dir.display())),
        options.rounds,
        options.seconds,
        options.warmup,
        options.reference_warmup,
    )
}

/// What a shell command prints, trimmed; empty if it fails.
fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).stderr(Stdio::inherit()).output();
    output.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string()).unwrap_or_default()
}

/// Something that is measured. Stopped when dropped.
pub(crate) struct Endpoint {
    name: String,
    bootstrap: String,
    pid: u32,
    child: Option<Child>,
    stop: Option<String>,
}

impl Endpoint {
    /// Starts a Coretide, given as `PROGRAM [ARGUMENTS]`, with its data in `dir`.
    pub(crate) fn start_coretide(name: &str, command: &str, dir: &Path) -> Result<Self> {
        let mut words = command.split_whitespace();
        let mut command = Command::new(words.next().ok_or("--coretide names no program")?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.join(name)).args(words);
        Endpoint::start(name, command, dir)
    }

    /// Where it listens.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Starts a program and waits for the line in which it says where it listens.
    fn start(name: &str, mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|e| format!("cannot start {command:?}: {e}"))?;
        let mut endpoint =
            Endpoint { name: name.into(), bootstrap: String::new(), pid: child.id(), child: Some(child), stop: None };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let said = fs::read_to_string(&log)?;
            if let Some(address) = listening(&said) {
                endpoint.bootstrap = address;
                return Ok(endpoint);
            }
            let ended = endpoint.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if ended || Instant::now() > deadline {
                return Err(format!("{name} does not listen; it said:\n{said}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The address after `listening on` in what a broker printed.
fn listening(said: &str) -> Option<String> {
    let at = said.find("listening on ")? + "listening on ".len();
    let rest = &said[at..];
    // Up to the end of the word, which must be there: the line may be half written.
    let end = rest.find(|c: char| c.is_whitespace() || c == ',' || c == '"')?;
    Some(rest[..end].into())
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(stop) = &self.stop {
            shell(stop);
        }
        let Some(child) = &mut self.child else { return };
        // SAFETY: kill takes two numbers; the process is our own child and was not waited for, so its id is still its own.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_once_it_is_whole() {
        assert_eq!(listening("x\nlistening on 127.0.0.1:4"), None);
        assert_eq!(listening("x\n  listening on 127.0.0.1:4242\n"), Some("127.0.0.1:4242".into()));
    }

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), "**2.00** (1.00 to 3.00)");
        assert_eq!(spread(vec![4.0, 1.0]), "**2.50** (1.00 to 4.00)");
        assert_eq!(spread(vec![]), "-");
    }
}
