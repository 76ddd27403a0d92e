//! The page of metrics: the numbers of all cores, put together. Every metric stands here, with its name and what it means; `tuning/metrics.md` lists them.

use super::answer::{Snapshot, Started};
use super::cores::{Cores, Told, What};
use super::text::Kind::{Counter, Gauge};
use super::text::Text;
use crate::base::limits::LAG_SERIES_MAX;
use crate::base::{LogId, Map, Offset, Times};
use crate::broker::catalogue::APIS;
use crate::broker::metrics::{Class, Metrics as Requests};
use crate::io::uring::host;
use crate::shard::GroupOffset;

/// Asks all cores and puts their numbers together.
pub(super) async fn page(cores: &Cores) -> String {
    let told = cores.ask(|_| Some(What::Snapshot)).await;
    let unresponsive: Vec<bool> = told.iter().map(Option::is_none).collect();
    let snapshots: Vec<Option<Box<Snapshot>>> = told
        .into_iter()
        .map(|told| match told {
            Some(Told::Snapshot(snapshot)) => snapshot,
            _ => None,
        })
        .collect();
    let lags = Lags::gather(cores, &snapshots).await;
    let mut text = Text::default();
    process(&mut text, snapshots.iter().flatten().find_map(|snapshot| snapshot.started));
    let names: Vec<String> = (0..cores.count()).map(|core| core.to_string()).collect();
    let series = names.iter().zip(&unresponsive).map(|(core, is)| ([("core", core.as_str())], u8::from(*is)));
    text.family(Gauge, "coretide_core_unresponsive", "1: the core did not answer; its numbers are left out.", series);
    let cores = PerCore { names, snapshots };
    let help = "The CPU that the core runs on; two neighbours may share one.";
    text.family(Gauge, "coretide_core_cpu", help, cores.each(|snapshot| snapshot.shard.cpu));
    requests(&mut text, &cores);
    connections(&mut text, &cores);
    journal(&mut text, &cores);
    logs(&mut text, &cores);
    groups(&mut text, &cores, &lags);
    text.finish()
}

fn process(text: &mut Text, started: Option<Started>) {
    let version = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
    text.family(Gauge, "coretide_build_info", "1, with the version as a label.", version);
    if let Some(used) = host::process_use() {
        let help = "CPU time of the process.";
        text.one(Counter, "process_cpu_seconds_total", help, used.cpu.as_secs_f64());
        text.one(
            Gauge,
            "process_resident_memory_bytes",
            "Memory of the process that is resident.",
            used.resident_bytes,
        );
    }
    let Some(started) = started else { return };
    let since = started.process_since.0 as f64 / 1000.0;
    text.one(Gauge, "process_start_time_seconds", "When the process began, in seconds since 1970.", since);
    let took = started.took.as_secs_f64();
    text.one(Gauge, "coretide_start_seconds", "How long the start took, recovery included.", took);
    let found = started.recovered;
    let help = "Bytes of journal that the start read.";
    text.one(Gauge, "coretide_start_journal_read_bytes", help, found.journal_bytes);
    let help = "Batches that the start took from the journal into segments.";
    text.one(Gauge, "coretide_start_recovered_batches", help, found.batches);
}

/// Snapshots, where there are any, with the names of their cores.
struct PerCore {
    names: Vec<String>,
    snapshots: Vec<Option<Box<Snapshot>>>,
}

impl PerCore {
    fn all(&self) -> impl Iterator<Item = (&str, &Snapshot)> {
        let snapshots = self.names.iter().zip(&self.snapshots);
        snapshots.filter_map(|(name, snapshot)| Some((name.as_str(), snapshot.as_deref()?)))
    }

    fn each<V>(&self, value: impl Fn(&Snapshot) -> V) -> impl Iterator<Item = ([(&str, &str); 1], V)> {
        self.all().map(move |(core, snapshot)| ([("core", core)], value(snapshot)))
    }

    fn sum(&self, value: impl Fn(&Snapshot) -> u64) -> u64 {
        self.all().map(|(_, snapshot)| value(snapshot)).sum()
    }
}

fn requests(text: &mut Text, cores: &PerCore) {
    let mut all = Requests::default();
    cores.all().for_each(|(_, snapshot)| all.merge(&snapshot.broker));
    let apis = || APIS.iter().map(|api| api.key.name()).zip(&all.apis);
    let mut family = |name, help, value: fn(&crate::broker::metrics::ApiCounts) -> u64| {
        text.family(Counter, name, help, apis().map(|(api, counts)| ([("api", api)], value(counts))));
    };
    family("coretide_requests_total", "Requests taken up.", |counts| counts.requests);
    let help = "Responses that carry an error code, and connections closed over a request.";
    family("coretide_request_errors_total", help, |counts| counts.errors);
    family("coretide_request_bytes_total", "Bytes of requests.", |counts| counts.bytes_in);
    family("coretide_response_bytes_total", "Bytes of responses.", |counts| counts.bytes_out);
    let help = "Requests of no API or version that is served; their connections were closed.";
    text.one(Counter, "coretide_requests_refused_total", help, all.refused);
    let times = Class::ALL.iter().zip(&all.times).map(|(class, times)| ([("class", class.name())], times));
    let help = "From the last byte of a request to its response, by class of API; a fetch waits on purpose.";
    text.histograms("coretide_request_seconds", help, times);
}

fn connections(text: &mut Text, cores: &PerCore) {
    let help = "Connections of Kafka clients that are served.";
    text.family(Gauge, "coretide_connections_open", help, cores.each(|snapshot| snapshot.net.open));
    let help = "Connections of Kafka clients that were taken in.";
    text.family(Counter, "coretide_connections_accepted_total", help, cores.each(|snapshot| snapshot.net.accepted));
    let help = "Connections of Kafka clients that were closed at once because of a limit.";
    text.family(Counter, "coretide_connections_refused_total", help, cores.each(|snapshot| snapshot.net.refused));
}

fn journal(text: &mut Text, cores: &PerCore) {
    let help = "Bytes of all journal files.";
    text.family(Gauge, "coretide_journal_capacity_bytes", help, cores.each(|snapshot| snapshot.shard.journal_capacity));
    let help = "Bytes of journal that are not recycled.";
    text.family(Gauge, "coretide_journal_used_bytes", help, cores.each(|snapshot| snapshot.shard.journal_used));
    let help = "Bytes of journal blocks written.";
    let bytes = cores.each(|snapshot| snapshot.shard.counts.block_bytes);
    text.family(Counter, "coretide_journal_written_bytes_total", help, bytes);
    let mut times = Times::default();
    cores.all().for_each(|(_, snapshot)| times.merge(&snapshot.shard.counts.block_times));
    let help = "From a journal block's write to its being on disk. Its count is that of the blocks.";
    text.histograms("coretide_journal_write_seconds", help, [([], &times)]);
    let help = "Parts of produce requests that wait for room in the journal.";
    text.family(Gauge, "coretide_journal_waiting_parts", help, cores.each(|snapshot| snapshot.shard.waiting_for_room));
    let help = "Bytes free on the disk of the data directory.";
    text.family(
        Gauge,
        "coretide_disk_free_bytes",
        help,
        [([], cores.all().map(|(_, snapshot)| snapshot.shard.disk_free).min().unwrap_or(0))],
    );
    let help = "Whether batches of producers are refused because the disk is full.";
    text.family(Gauge, "coretide_disk_full", help, cores.each(|snapshot| u8::from(snapshot.shard.disk_full)));
    let help = "Bytes of journal blocks in memory, for consumers at the tail.";
    text.family(Gauge, "coretide_cache_bytes", help, cores.each(|snapshot| snapshot.shard.cache_bytes));
    let help = "Times that all logs were drained into segments to make room in the journal.";
    let passes = cores.each(|snapshot| snapshot.shard.counts.drain_passes);
    text.family(Counter, "coretide_drain_passes_total", help, passes);
    let help = "Steps in which batches of one log were written into a segment.";
    text.family(Counter, "coretide_drains_total", help, cores.each(|snapshot| snapshot.shard.counts.drains));
    let help = "Bytes of batches written into segments.";
    let bytes = cores.each(|snapshot| snapshot.shard.counts.drained_bytes);
    text.family(Counter, "coretide_drained_bytes_total", help, bytes);
}

fn logs(text: &mut Text, cores: &PerCore) {
    let topics = cores.all().map(|(_, snapshot)| snapshot.shard.topics).max();
    if let Some(topics) = topics {
        text.one(Gauge, "coretide_topics", "Topics, internal ones included.", topics);
    }
    let help = "Partitions whose log is here.";
    text.family(Gauge, "coretide_partitions", help, cores.each(|snapshot| snapshot.shard.partitions));
    let help = "Bytes of batches in segments and in the journal.";
    text.family(Gauge, "coretide_log_bytes", help, cores.each(|snapshot| snapshot.shard.log_bytes));
    text.family(Gauge, "coretide_segments", "Segments of all logs.", cores.each(|snapshot| snapshot.shard.segments));
    let help = "Idempotent producers that are remembered, at most.";
    text.family(Gauge, "coretide_producers", help, cores.each(|snapshot| snapshot.shard.producers));
    let help = "Segments that left their logs, by retention or DeleteRecords.";
    let removed = cores.each(|snapshot| snapshot.shard.counts.segments_removed);
    text.family(Counter, "coretide_segments_removed_total", help, removed);
}

fn groups(text: &mut Text, cores: &PerCore, lags: &Lags) {
    let mut census = crate::shard::GroupCounts::default();
    cores.all().for_each(|(_, snapshot)| census.merge(&snapshot.shard.groups.counts));
    let states =
        crate::shard::GROUP_STATES.iter().zip(census.groups).map(|(state, count)| ([("state", *state)], count));
    text.family(Gauge, "coretide_groups", "Groups of both protocols by state.", states);
    text.one(Gauge, "coretide_group_members", "Members of all groups.", census.members);
    text.one(Gauge, "coretide_group_offsets", "Offsets that groups have committed.", census.offsets);
    let help = "Partitions of __consumer_offsets that are not loaded; their groups are not counted.";
    text.one(
        Gauge,
        "coretide_group_partitions_not_loaded",
        help,
        cores.sum(|snapshot| snapshot.shard.groups.not_loaded),
    );
    let help = "Bytes of __consumer_offsets.";
    text.one(Gauge, "coretide_group_log_bytes", help, cores.sum(|snapshot| snapshot.shard.offsets_log_bytes));
    let help = "Records from the committed offset of a group to the high watermark.";
    let series = lags.series.iter().map(|lag| {
        (
            [("group", &*lag.offset.place.group), ("topic", &*lag.offset.place.topic), ("partition", &*lag.partition)],
            lag.records,
        )
    });
    text.family(Gauge, "coretide_group_lag_records", help, series);
    let shown = lags.series.len() as u64;
    let help = "Committed offsets without a lag: beyond the limit of series, of topics that are gone, or of names that are too long.";
    text.one(Gauge, "coretide_group_lag_left_out", help, census.offsets.saturating_sub(shown));
}

/// How far groups are behind.
struct Lags {
    series: Vec<Lag>,
}

struct Lag {
    offset: GroupOffset,
    partition: String,
    records: i64,
}

impl Lags {
    /// The high watermarks are those of a moment after the offsets, so that no lag is too small.
    async fn gather(cores: &Cores, snapshots: &[Option<Box<Snapshot>>]) -> Self {
        let committed = || snapshots.iter().flatten().flat_map(|snapshot| &snapshot.shard.groups.offsets);
        let mut wanted: Vec<Vec<LogId>> = vec![Vec::new(); cores.count()];
        for offset in committed().take(LAG_SERIES_MAX) {
            let (log, owner) = offset.log;
            if let Some(wanted) = wanted.get_mut(usize::from(owner.0)) {
                wanted.push(log);
            }
        }
        for logs in &mut wanted {
            logs.sort_unstable();
            logs.dedup();
        }
        let ask = |core: usize| {
            let logs = std::mem::take(&mut wanted[core]);
            (!logs.is_empty()).then_some(What::HighWatermarks(logs))
        };
        let mut high: Map<LogId, Offset> = Map::default();
        for told in cores.ask(ask).await {
            if let Some(Told::HighWatermarks(some)) = told {
                high.extend(some);
            }
        }
        let lag = |offset: &GroupOffset| {
            let high = high.get(&offset.log.0)?;
            let records = high.0.saturating_sub(offset.place.offset.0).max(0);
            Some(Lag { offset: offset.clone(), partition: offset.place.partition.0.to_string(), records })
        };
        Self { series: committed().take(LAG_SERIES_MAX).filter_map(lag).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cores::{Question, cores};
    use super::*;

    /// Core 0 is starting, core 1 hangs, core 2 has ended.
    #[test]
    fn a_core_that_does_not_answer_is_named_and_left_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (cores, mut ends) = cores(3);
        drop(ends.pop());
        let _hangs = ends.pop();
        let mut starting = ends.pop().expect("three were made");
        let answering = async move {
            while let Some(Question { reply, .. }) = starting.recv().await {
                let _ = reply.try_send((0, Told::Snapshot(None)));
            }
        };
        let page = runtime.block_on(async {
            tokio::task::LocalSet::new()
                .run_until(async {
                    tokio::task::spawn_local(answering);
                    page(&cores).await
                })
                .await
        });
        for (core, unresponsive) in [(0, 0), (1, 1), (2, 1)] {
            let line = format!("coretide_core_unresponsive{{core=\"{core}\"}} {unresponsive}");
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("coretide_partitions{"), "{page}");
        // Every line is a comment or a series, and no family stands twice.
        let families: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let mut once = families.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), families.len());
        assert!(page.lines().all(|line| line.starts_with("# ")
            || line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok())));
    }
}
