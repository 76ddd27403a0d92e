//! `coretide serve`: from settings to a running node, the screen that says what runs, and the exit code.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use crate::broker;
use crate::cli::{Exit, Refusal};
use crate::config::{ListenerSettings, Settings, show_size};
use crate::io::uring::host::{self, Signals};
use crate::io::uring::{Cores, HostFault};
use crate::net;
use crate::node::{Broker, Listen, Options, StartError, Started};
use crate::shard::{self, BootError, Layout};
use crate::storage::StorageError;
use crate::storage::drive::boot::DirectoryError;

/// Runs the broker until it is told to stop. `say` puts the opening screen before the user.
pub fn run(settings: &Settings, signals: Signals, say: impl Fn(&str)) -> Result<(), Refusal> {
    let cpus = cpus(settings)?;
    let options = options(settings, cpus.len())?;
    let cores = Cores { signals: Some(Arc::new(signals)), ..Cores::on(cpus.clone()) };
    let broker = Broker::start(&cores, options).map_err(refusal)?;
    say(&screen(settings, &cpus, broker.started()));
    broker.wait().map_err(|fault| refusal(fault.into()))
}

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
    let memory = settings.memory.unwrap_or(MEMORY_DEFAULT) as usize / cores;
    let journal_bytes = settings.journal_bytes;
    let kafka = &settings.kafka;
    let data = settings.data_dir.clone();
    let journals = settings.journal_dir.clone().unwrap_or_else(|| data.join("journals"));
    Ok(Options {
        layout: Layout { data, journals },
        node: settings.node_id,
        rack: kafka.rack.as_deref().map(Into::into),
        cluster_id: settings.cluster_id.as_deref().map(Into::into),
        listeners: settings.listeners.iter().map(listen).collect::<Result<_, _>>()?,
        shard: shard::Options {
            cache_bytes: memory / 4,
            journal_bytes,
            journal_depth: settings.journal_depth,
            topics: kafka.topic_defaults,
            producer_expiration_ms: kafka.producer_id_expiration_ms,
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

/// Bytes of memory for buffers and caches when the host does not say how much there is.
const MEMORY_DEFAULT: u64 = 2 << 30;

fn listen(settings: &ListenerSettings) -> Result<Listen, Refusal> {
    let ListenerSettings { name, host, port, advertised_host, advertised_port } = settings;
    let resolved = (host.as_str(), *port).to_socket_addrs();
    let unknown = |why: String| Refusal::new(Exit::Usage, format!("--listen {host}:{port}: {why}"));
    let mut addresses = resolved.map_err(|error| unknown(error.to_string()))?;
    let bind = addresses.next().ok_or_else(|| unknown("the name has no address".into()))?;
    Ok(Listen {
        name: name.as_str().into(),
        bind,
        advertised_host: advertised_host.as_str().into(),
        advertised_port: *advertised_port,
    })
}

fn screen(settings: &Settings, cpus: &[usize], started: &Started) -> String {
    let Started { addresses, endpoints, cluster_id, summary, took } = started;
    let mut lines = vec![format!("Coretide {}", env!("CARGO_PKG_VERSION"))];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<12} {value}"));
    for (address, endpoint) in addresses.iter().zip(endpoints) {
        let told = format!("{} (clients are told {}:{})", endpoint.listener, endpoint.host, endpoint.port);
        line("listener", format!("listening on {address}, {told}"));
    }
    line("data", settings.data_dir.display().to_string());
    line("node", format!("{} of cluster {cluster_id}", settings.node_id));
    line("cores", format!("{} on CPUs {cpus:?}", cpus.len()));
    line(
        "journal",
        format!("{} per core, {} blocks in flight", show_size(settings.journal_bytes), settings.journal_depth),
    );
    line("memory", show_size(settings.memory.unwrap_or(MEMORY_DEFAULT)));
    line("start", start_line(summary, *took));
    lines.push(String::new());
    lines.join("\n")
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
        StartError::Boot(BootError::Directory(DirectoryError::Foreign { .. })) => Exit::Usage,
        StartError::Boot(BootError::Directory(DirectoryError::Damaged { .. }) | BootError::Inconsistent { .. }) => {
            Exit::Corrupt
        }
        StartError::Boot(BootError::Refused(_)) | StartError::CoreLost(_) => Exit::Other,
        StartError::Host(fault) => exit_of_host(fault),
    };
    Refusal::new(exit, error.to_string())
}

fn exit_of_host(fault: &HostFault) -> Exit {
    match fault {
        HostFault::NoCpus | HostFault::Core { .. } => Exit::Other,
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
