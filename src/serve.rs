//! `coretide serve`: from settings to a running node, the screen that says what runs, and the exit code.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::{
    ADMIN_CONNECTIONS_MAX, CONNECTIONS_MIN, CONNECTIONS_PER_CORE_MAX, DESCRIPTORS_RESERVED_PER_CORE,
    JOURNAL_FILE_BYTES, SEGMENT_FILES_OPEN_MAX,
};
use crate::broker;
use crate::cli::{Exit, Refusal};
use crate::config::keys::{Key, Range};
use crate::config::{ListenerSettings, Loaded, Settings, show_size};
use crate::control::{self, Control};
use crate::coordinator;
use crate::io::uring::host::{self, Signals, Volume, WriteCost};
use crate::io::uring::{Cores, HostRefusal};
use crate::net;
use crate::node::{Broker, Listen, Options, StartError, Started};
use crate::shard::{self, BootError, Layout};
use crate::storage::StorageError;
use crate::storage::drive::DriveOptions;
use crate::storage::drive::boot::DirectoryError;

/// Runs the broker until it is told to stop. `say` puts the opening screen before the user.
pub fn run(loaded: &Loaded, signals: Signals, say: impl Fn(&str)) -> Result<(), Refusal> {
    let settings = &loaded.settings;
    let cpus = cpus(settings)?;
    let mut options = options(settings, cpus.len())?;
    options.broker.settings = loaded.kafka().map(broker_setting).chain(facts(settings, &options.layout)).collect();
    let host = look_at_host(settings, &options.layout, cpus.len())?;
    options.net.connections_max = host.connections.most(settings.kafka.max_connections, cpus.len());
    let cores = Cores { share: settings.share_cpus, signals: Some(Arc::new(signals)), ..Cores::on(cpus.clone()) };
    let (ways, questions) = control::cores(cpus.len());
    let control = settings.admin.as_ref().map(|admin| start_control(admin, ways)).transpose()?;
    let broker = Broker::start_asked(&cores, options, questions).map_err(refusal)?;
    let admin = control.as_ref().map(Control::address);
    say(&screen(settings, &cpus, &host, broker.started(), admin));
    broker.wait().map_err(|fault| refusal(fault.into()))
}

fn start_control((host, port): &(String, u16), cores: control::Cores) -> Result<Control, Refusal> {
    let bind = resolve("admin", host, *port)?;
    Control::start(bind, cores).map_err(|source| refusal(StartError::Listen { address: bind, source }))
}

/// What the opening screen says about the machine.
struct Host {
    volume: Volume,
    cost: WriteCost,
    connections: ConnectionRoom,
}

/// How many connections there are descriptors for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ConnectionRoom {
    open_files: u64,
    connections: usize,
}

impl ConnectionRoom {
    /// What segments, journals and the cores themselves leave of the limit. Without a descriptor for a segment the broker would have to end as if the
    /// disk had failed.
    fn new(open_files: u64, journal_bytes: u64, cores: usize) -> Result<Self, Refusal> {
        let journal_files = journal_bytes.div_ceil(JOURNAL_FILE_BYTES as u64);
        let per_core = (SEGMENT_FILES_OPEN_MAX + DESCRIPTORS_RESERVED_PER_CORE) as u64 + journal_files;
        let needed = cores as u64 * per_core;
        let left = open_files.saturating_sub(needed);
        if left < CONNECTIONS_MIN as u64 {
            let what = format!(
                "{open_files} files may be open; segments and journals need {needed} (cores: {cores}), and connections {CONNECTIONS_MIN} more"
            );
            return Err(Refusal::new(Exit::OpenFiles, what));
        }
        Ok(Self { open_files, connections: usize::try_from(left).unwrap_or(usize::MAX) })
    }

    /// Connections of the whole broker at most, given `max.connections`.
    fn most(self, set: usize, cores: usize) -> usize {
        self.connections.min(set).min(cores * CONNECTIONS_PER_CORE_MAX)
    }

    fn line(self, set: usize, cores: usize) -> String {
        let most = self.most(set, cores);
        let why = match most {
            most if most == set => "max.connections".to_owned(),
            most if most == self.connections => format!("the limit of {} open files", self.open_files),
            _ => format!("{CONNECTIONS_PER_CORE_MAX} per core"),
        };
        format!("at most {most}, by {why}")
    }
}

/// Refuses what would fail later, or would fail to keep what it acknowledged.
fn look_at_host(settings: &Settings, layout: &Layout, cores: usize) -> Result<Host, Refusal> {
    let fault = |refused: HostRefusal| Refusal::new(exit_of_host(&refused), refused.to_string());
    let limits = host::check(cores).map_err(fault)?;
    let admin = if settings.admin.is_some() { ADMIN_DESCRIPTORS } else { 0 };
    let connections = ConnectionRoom::new(limits.open_files.saturating_sub(admin), settings.journal_bytes, cores)?;
    // Not `layout.journals`: that it is there tells a used data directory from a new one.
    let journals = settings.journal_dir.as_ref().unwrap_or(&layout.data);
    host::make_directory(&layout.data).map_err(fault)?;
    host::make_directory(journals).map_err(fault)?;
    let volume = host::volume(journals).map_err(fault)?;
    for directory in [&layout.data, journals] {
        let volume = host::volume(directory).map_err(fault)?;
        if !volume.file_system.is_known_durable() && !settings.allow_unsafe_filesystem {
            let what = format!(
                "{} is on {}, which is not known to keep what it was told to flush",
                directory.display(),
                volume.file_system
            );
            return Err(Refusal::new(Exit::UnknownFileSystem, what));
        }
    }
    let cost = host::measure_durable_write(journals).map_err(fault)?;
    let needed = settings.journal_bytes * cores as u64 + DISK_BESIDE_JOURNAL;
    if volume.free_bytes < needed && !host::has_entries(&layout.journals) {
        let (free, needed) = (show_size(volume.free_bytes), show_size(needed));
        let what = format!(
            "{} has {free} free; the journal of {cores} cores and the first segments need {needed}",
            journals.display()
        );
        return Err(Refusal::new(Exit::NoSpace, what));
    }
    Ok(Host { volume, cost, connections })
}

/// Drained journal that a core keeps for consumers at the tail. More would only be read by consumers that lag, and costs page faults until it
/// is full.
const TAIL_CACHE_BYTES_MAX: usize = 128 << 20;

/// Descriptors of the control thread: its connections, and a few for itself.
const ADMIN_DESCRIPTORS: u64 = ADMIN_CONNECTIONS_MAX as u64 + 8;

/// Bytes that a new data directory needs beside its journals.
const DISK_BESIDE_JOURNAL: u64 = 64 << 20;

fn cpus(settings: &Settings) -> Result<Vec<usize>, Refusal> {
    let allowed = host::allowed_cpus().map_err(|fault| refusal(fault.into()))?;
    if let Some(list) = &settings.core_list {
        if let Some(cpu) = list.iter().find(|cpu| !allowed.contains(cpu)) {
            let what = format!("--core-list names CPU {cpu}; this process may use {allowed:?}");
            return Err(Refusal::new(Exit::Usage, what));
        }
        return Ok(list.clone());
    }
    let wanted = settings.cores.map_or(allowed.len(), usize::from);
    if wanted > allowed.len() {
        let what = format!("--cores {wanted}: this process may use {} CPUs ({allowed:?})", allowed.len());
        return Err(Refusal::new(Exit::Usage, what));
    }
    Ok(allowed[..wanted].to_vec())
}

/// The memory budget, and how it is divided: half may be journal that is not drained yet, the rest is for what consumers read at the tail
/// and for requests on their way in.
fn options(settings: &Settings, cores: usize) -> Result<Options, Refusal> {
    let memory = memory(settings) as usize / cores;
    let journal_bytes = settings.journal_bytes;
    let kafka = &settings.kafka;
    // Clients are told it, and may be in other directories.
    let data = std::path::absolute(&settings.data_dir).unwrap_or_else(|_| settings.data_dir.clone());
    let journals = settings.journal_dir.clone().unwrap_or_else(|| data.join("journals"));
    Ok(Options {
        layout: Layout { data, journals },
        node: settings.node_id,
        rack: kafka.rack.as_deref().map(Into::into),
        cluster_id: settings.cluster_id.as_deref().map(Into::into),
        listeners: settings.listeners.iter().map(listen).collect::<Result<_, _>>()?,
        shard: shard::Options {
            cache_bytes: (memory / 4).min(TAIL_CACHE_BYTES_MAX),
            journal_bytes,
            journal_depth: settings.journal_depth,
            drive: DriveOptions {
                read_depth: settings.read_depth,
                // Not on a disk that, as the operator says, serves several operations at a time, or that no journal is on.
                gentle: settings.read_depth == 1 && settings.journal_dir.is_none(),
                ..DriveOptions::default()
            },
            topics: kafka.topic_defaults,
            producer_expiration_ms: kafka.producer_id_expiration_ms,
            retention_check_interval: Duration::from_millis(kafka.retention_check_interval_ms.max(1) as u64),
            groups: coordinator::Options {
                group_min_session_timeout_ms: kafka.group_min_session_timeout_ms,
                group_max_session_timeout_ms: kafka.group_max_session_timeout_ms,
                group_initial_rebalance_delay: millis(kafka.group_initial_rebalance_delay_ms.into()),
                group_max_size: usize::try_from(kafka.group_max_size).unwrap_or(usize::MAX),
                offset_metadata_max_bytes: usize::try_from(kafka.offset_metadata_max_bytes).unwrap_or(0),
                offsets_retention: millis(kafka.offsets_retention_ms),
                offsets_retention_check_interval: millis(kafka.offsets_retention_check_interval_ms),
                group_consumer_session_timeout_ms: kafka.group_consumer_session_timeout_ms.value,
                group_consumer_heartbeat_interval_ms: kafka.group_consumer_heartbeat_interval_ms.value,
                group_consumer_assignment_interval_ms: kafka.group_consumer_assignment_interval_ms.value,
                group_consumer_max_size: usize::try_from(kafka.group_consumer_max_size).unwrap_or(usize::MAX),
                group_consumer_assignors: kafka.group_consumer_assignors.iter().map(|name| assignor(name)).collect(),
                ..coordinator::Options::default()
            },
            groups_bytes: (memory / 4).max(16 << 20),
            ..shard::Options::default()
        },
        net: net::Options {
            request_bytes_max: kafka.socket_request_max_bytes,
            connections_max: kafka.max_connections,
            connections_per_ip_max: kafka.max_connections_per_ip,
            idle_max: Duration::from_millis(u64::try_from(kafka.connections_max_idle_ms).unwrap_or(u64::MAX)),
            buffer_bytes: (memory / 4).max(16 << 20),
            ..net::Options::default()
        },
        broker: broker::Options {
            node_id: settings.node_id,
            listeners: settings.listeners.iter().map(|listener| listener.name.as_str().into()).collect(),
            auto_create_topics: kafka.auto_create_topics,
            num_partitions: kafka.num_partitions,
            topic_defaults: kafka.topic_defaults,
            fetch_bytes_max: kafka.fetch_max_bytes,
            fetch_sessions_max: kafka.fetch_session_slots.div_ceil(cores),
            consumer_groups: kafka.group_protocols.consumer,
            offsets_partitions: kafka.offsets_topic_num_partitions,
            offsets_segment_bytes: kafka.offsets_topic_segment_bytes,
            answer_bytes: (memory / 4).max(16 << 20),
            ..broker::Options::default()
        },
        on_failure: Arc::new(|error| {
            eprintln!("coretide: {error}\n  {}", Exit::DiskFailed.remedy());
            std::process::exit(i32::from(Exit::DiskFailed.code()));
        }),
        on_impatience: Arc::new(|| {
            eprintln!("coretide: stopped at once. {}", Exit::Interrupted.remedy());
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }),
    })
}

fn assignor(name: &str) -> coordinator::Assignor {
    coordinator::Assignor::from_name(name).expect("the settings name those that there are")
}

/// A setting as DescribeConfigs shows it.
fn broker_setting((key, value, given): (Key, Option<&str>, bool)) -> broker::settings::BrokerSetting {
    broker::settings::BrokerSetting {
        name: key.name,
        value: value.map(Into::into),
        default: key.default,
        given,
        values: match key.range {
            Range::Values(values) => Some(values),
            Range::Text(_) => None,
        },
        topic_config: key.topic_config(),
        documentation: key.documentation,
    }
}

fn millis(milliseconds: i64) -> Duration {
    Duration::from_millis(milliseconds.max(0) as u64)
}

/// What flags of our own say, under the names by which Kafka's tools know it.
fn facts(settings: &Settings, layout: &Layout) -> Vec<broker::settings::BrokerSetting> {
    let all =
        |address: fn(&ListenerSettings) -> String| settings.listeners.iter().map(address).collect::<Vec<_>>().join(",");
    let node = settings.node_id.0.to_string();
    let values = [
        (
            "advertised.listeners",
            all(|l| {
                format!(
                    "{}://{}:{}",
                    l.name,
                    l.advertised_host,
                    if l.advertised_port == 0 { l.port } else { l.advertised_port }
                )
            }),
            "Where clients are told to connect; --advertise.",
        ),
        ("broker.id", node.clone(), "The node's id; --node-id."),
        ("listeners", all(|l| format!("{}://{}:{}", l.name, l.host, l.port)), "Where the broker listens; --listen."),
        ("log.dirs", layout.data.display().to_string(), "The data directory; --data-dir."),
        ("node.id", node, "The node's id; --node-id."),
        ("process.roles", "broker,controller".to_owned(), "One node is both."),
    ];
    // A port that the kernel is yet to choose is not known here.
    let known = |(name, ..): &(&str, String, &str)| {
        !name.ends_with("listeners") || settings.listeners.iter().all(|listener| listener.port != 0)
    };
    let setting = |(name, value, documentation): (_, String, _)| broker::settings::BrokerSetting {
        name,
        value: Some(value.into()),
        default: None,
        given: true,
        values: None,
        topic_config: None,
        documentation,
    };
    values.into_iter().filter(known).map(setting).collect()
}

/// What was set, or half of what the process may use.
fn memory(settings: &Settings) -> u64 {
    settings.memory.unwrap_or_else(|| host::memory_bytes().map_or(MEMORY_DEFAULT, |bytes| bytes / 2))
}

/// Bytes of memory for buffers and caches when the host does not say how much there is.
const MEMORY_DEFAULT: u64 = 2 << 30;

fn listen(settings: &ListenerSettings) -> Result<Listen, Refusal> {
    let ListenerSettings { name, host, port, advertised_host, advertised_port } = settings;
    Ok(Listen {
        name: name.as_str().into(),
        bind: resolve("listen", host, *port)?,
        advertised_host: advertised_host.as_str().into(),
        advertised_port: *advertised_port,
    })
}

fn resolve(flag: &str, host: &str, port: u16) -> Result<SocketAddr, Refusal> {
    let resolved = (host, port).to_socket_addrs();
    let unknown = |why: String| Refusal::new(Exit::Usage, format!("--{flag} {host}:{port}: {why}"));
    let mut addresses = resolved.map_err(|error| unknown(error.to_string()))?;
    addresses.next().ok_or_else(|| unknown("the name has no address".into()))
}

fn screen(settings: &Settings, cpus: &[usize], host: &Host, started: &Started, admin: Option<SocketAddr>) -> String {
    let Started { addresses, endpoints, cluster_id, summary, took } = started;
    let mut lines = vec![format!("Coretide {}", env!("CARGO_PKG_VERSION"))];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<12} {value}"));
    for (address, endpoint) in addresses.iter().zip(endpoints) {
        let told = format!("{} (clients are told {}:{})", endpoint.listener, endpoint.host, endpoint.port);
        line("listener", format!("listening on {address}, {told}"));
    }
    if let Some(admin) = admin {
        line("admin", format!("http://{admin}/metrics, /live and /ready"));
    }
    line("data", settings.data_dir.display().to_string());
    line("disk", disk_line(host));
    line("node", format!("{} of cluster {cluster_id}", settings.node_id));
    let shared = if settings.share_cpus && cpus.len() > 1 { "; two may share one while it is enough" } else { "" };
    line("cores", format!("{} on CPUs {cpus:?}{shared}", cpus.len()));
    line(
        "journal",
        format!("{} per core, {} blocks in flight", show_size(settings.journal_bytes), settings.journal_depth),
    );
    line("memory", show_size(memory(settings)));
    line("connections", host.connections.line(settings.kafka.max_connections, cpus.len()));
    line("start", start_line(summary, *took));
    lines.push(String::new());
    lines.join("\n")
}

fn disk_line(host: &Host) -> String {
    let Host { volume, cost, .. } = host;
    let device = volume.device_name.as_deref().unwrap_or(&volume.device);
    let cache = match volume.volatile_cache {
        Some(true) => ", volatile cache",
        Some(false) => ", no volatile cache",
        None => "",
    };
    let unverified = if cost.is_plausible() { "" } else { "; unverified: no device is this fast and durable" };
    format!(
        "{} on {device}{cache}; a durable 4 KiB write takes {} us by O_DIRECT | O_DSYNC, as the journal does, {} us by write and fdatasync{unverified}",
        volume.file_system,
        cost.dsync.as_micros(),
        cost.write_then_flush.as_micros()
    )
}

fn start_line(summary: &shard::BootSummary, took: Duration) -> String {
    let found = match (summary.new, summary.clean) {
        (true, _) => "a new directory".to_owned(),
        (false, true) => format!("{} partitions after a clean stop", summary.partitions),
        (false, false) => format!(
            "{} partitions recovered from {} of journal: {} batches taken over, {} unacknowledged blocks left",
            summary.partitions,
            show_size(summary.journal_bytes),
            summary.batches,
            summary.discarded_blocks
        ),
    };
    format!("{found}, in {} ms", took.as_millis())
}

fn refusal(error: StartError) -> Refusal {
    let exit = match &error {
        StartError::DirectoryInUse(_) => Exit::DataDirectoryInUse,
        StartError::Directory { source, .. } => exit_of(source),
        StartError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Exit::PortInUse,
        StartError::Listen { source, .. } => exit_of(source),
        StartError::Boot(BootError::Directory(DirectoryError::Newer { .. })) => Exit::NewerFormat,
        StartError::Boot(BootError::Directory(DirectoryError::Storage(error)) | BootError::Storage(error)) => {
            exit_of_storage(error)
        }
        StartError::Boot(
            BootError::Directory(DirectoryError::Foreign { .. })
            | BootError::OtherCluster { .. }
            | BootError::OtherNode { .. },
        ) => Exit::Usage,
        StartError::Boot(BootError::Directory(DirectoryError::Damaged { .. }) | BootError::Inconsistent { .. }) => {
            Exit::Corrupt
        }
        StartError::Boot(BootError::Refused(_)) | StartError::CoreLost(_) | StartError::Host(_) => Exit::Other,
    };
    Refusal::new(exit, error.to_string())
}

fn exit_of_host(fault: &HostRefusal) -> Exit {
    match fault {
        HostRefusal::KernelTooOld { .. } | HostRefusal::IoUringMissing => Exit::KernelTooOld,
        HostRefusal::IoUringForbidden { .. } => Exit::IoUringNotPermitted,
        HostRefusal::LockedMemory { .. } => Exit::LockedMemory,
        HostRefusal::NoDirectWrites { .. } => Exit::UnknownFileSystem,
        HostRefusal::NoPermission { .. } => Exit::NoPermission,
        HostRefusal::NoSpace { .. } => Exit::NoSpace,
        HostRefusal::Refused { source, .. } => exit_of(source),
    }
}

fn exit_of_storage(error: &StorageError) -> Exit {
    match error {
        StorageError::NoSpace { .. } => Exit::NoSpace,
        StorageError::WriteFailed { source, .. } | StorageError::ReadFailed { source, .. } => match exit_of(source) {
            Exit::Other => Exit::DiskFailed,
            exit => exit,
        },
        StorageError::Corrupt { .. } => Exit::Corrupt,
    }
}

fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::NoSpace,
        _ => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_the_disk_leaves() {
        let room = |open_files, cores| ConnectionRoom::new(open_files, 256 << 20, cores);
        assert_eq!(room(4356 + 63, 1).unwrap_err().exit, Exit::OpenFiles);
        assert_eq!(room(4356 + 64, 1).unwrap().connections, 64);
        assert_eq!(room(20_000, 4).unwrap().connections, 20_000 - 4 * 4356);
        let room = room(1 << 30, 2).unwrap();
        assert_eq!((room.most(usize::MAX, 2), room.most(7, 2)), (40_000, 7));
        assert_eq!(room.line(7, 2), "at most 7, by max.connections");
        assert_eq!(room.line(1 << 31, 2), "at most 40000, by 20000 per core");
    }
}
