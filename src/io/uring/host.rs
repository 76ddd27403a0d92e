//! What the host must be like before the broker starts, and what its disk is like.
//!
//! Everything here runs before the cores do, or never blocks. Each refusal is a [`HostRefusal`] of its own kind, so that the command line can name
//! the remedy.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, sched_getaffinity};

use super::ring::Ring;
use crate::base::limits::PAGE_BYTES;
use crate::io::Space;
use crate::io::buffer::AlignedBuf;

/// The oldest kernel that will do: below it direct writes complete slowly and wake-ups were seen to get lost.
pub const KERNEL_NEEDED: (u32, u32) = (6, 6);
/// Bytes of locked memory that each core needs.
pub const LOCKED_BYTES_PER_CORE: u64 = 512 << 10;
/// Writes per method when the disk is measured, and the time after which fewer must do.
const MEASURED_WRITES: usize = 50;
const MEASURE_AT_MOST: Duration = Duration::from_millis(500);
/// Pages of the file that is measured on.
const MEASURED_PAGES: usize = 64;
/// A durable write that is faster than this is doubted: no known device does it.
const PLAUSIBLE_WRITE: Duration = Duration::from_micros(8);

/// Why the cores could not be run.
#[derive(Debug, thiserror::Error)]
pub enum HostFault {
    /// The kernel does not tell on which CPUs this process may run.
    #[error("the kernel does not tell on which CPUs this process may run")]
    NoCpus,
    /// An executor could not be set up or started.
    #[error("core {shard} could not be started: {reason}")]
    Core {
        /// Which, counted from 0.
        shard: usize,
        /// What the executor or the kernel said.
        reason: String,
    },
}

/// Why this host will not do. One kind per remedy.
#[derive(Debug, thiserror::Error)]
pub enum HostRefusal {
    /// Older than [`KERNEL_NEEDED`].
    #[error("the kernel is {found}; at least {}.{} is needed", KERNEL_NEEDED.0, KERNEL_NEEDED.1)]
    KernelTooOld {
        /// The release as the kernel names it.
        found: String,
    },
    /// EPERM: a seccomp profile (containers have one by default) or `kernel.io_uring_disabled` keeps io_uring from us.
    #[error("io_uring is not permitted{}", match sysctl { Some(value) => format!(" (kernel.io_uring_disabled is {value})"), None => String::new() })]
    IoUringForbidden {
        /// The value of `kernel.io_uring_disabled`, if it is not 0.
        sysctl: Option<u8>,
    },
    /// ENOSYS: the kernel was built without io_uring, or a sandbox hides it.
    #[error("this kernel does not have io_uring")]
    IoUringMissing,
    /// Too little memory may be locked.
    #[error("{allowed} bytes of memory may be locked; {needed} are needed for {cores} cores")]
    LockedMemory {
        /// The hard limit.
        allowed: u64,
        /// What is needed.
        needed: u64,
        /// For how many cores.
        cores: usize,
    },
    /// The file system does not take direct writes, so nothing can be made durable on it.
    #[error("{} is on {file_system}, which does not take direct writes", directory.display())]
    NoDirectWrites {
        /// Where.
        directory: PathBuf,
        /// Its kind.
        file_system: FileSystem,
    },
    /// The process may not do this there.
    #[error("no permission to {what} {}", path.display())]
    NoPermission {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("no space left to {what} {}", path.display())]
    NoSpace {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Anything else that the kernel refused.
    #[error("could not {what} {}: {source}", path.display())]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Where, if there is a where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl HostRefusal {
    fn of(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NoPermission { what, path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { what, path },
            _ => Self::Refused { what, path, source },
        }
    }
}

/// Checks what must hold before any core starts: the kernel's age, io_uring, locked memory. Raises the soft limits of locked memory and open files
/// to their hard limits.
///
/// # Errors
/// [`HostRefusal::KernelTooOld`], [`HostRefusal::IoUringForbidden`], [`HostRefusal::IoUringMissing`], [`HostRefusal::LockedMemory`], [`HostRefusal::Refused`].
pub fn check(cores: usize) -> Result<Limits, HostRefusal> {
    let kernel = check_kernel()?;
    // Before the ring: on older kernels its memory counts as locked.
    let locked_bytes = check_locked_memory(cores)?;
    check_io_uring()?;
    let open_files = raise(libc::RLIMIT_NOFILE, "raise the number of open files")?;
    Ok(Limits { kernel, locked_bytes, open_files })
}

/// What the host allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The kernel's release.
    pub kernel: String,
    /// Bytes that may be locked; `u64::MAX` is without limit.
    pub locked_bytes: u64,
    /// Files and sockets that may be open.
    pub open_files: u64,
}

fn check_kernel() -> Result<String, HostRefusal> {
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the structure is ours; all zeros is a value of it.
    if unsafe { libc::uname(names.as_mut_ptr()) } != 0 {
        return Err(HostRefusal::of("ask the kernel for its release", Path::new(""), io::Error::last_os_error()));
    }
    // SAFETY: initialised as zeros and filled by the kernel.
    let names = unsafe { names.assume_init() };
    let release: String = names.release.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8 as char).collect();
    match kernel_version(&release) {
        Some(version) if version < KERNEL_NEEDED => Err(HostRefusal::KernelTooOld { found: release }),
        // A release that cannot be read is no reason to refuse: what is needed is checked by itself.
        _ => Ok(release),
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn check_io_uring() -> Result<(), HostRefusal> {
    let Err(fault) =
        io_uring::IoUring::<io_uring::squeue::Entry>::builder().setup_single_issuer().setup_coop_taskrun().build(2)
    else {
        return Ok(());
    };
    match fault.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            let value = sysctl.ok().and_then(|text| text.trim().parse().ok()).filter(|value| *value != 0);
            Err(HostRefusal::IoUringForbidden { sysctl: value })
        }
        Some(libc::ENOSYS) => Err(HostRefusal::IoUringMissing),
        _ => Err(HostRefusal::of("make a ring", Path::new(""), fault)),
    }
}

fn check_locked_memory(cores: usize) -> Result<u64, HostRefusal> {
    let allowed = raise(libc::RLIMIT_MEMLOCK, "raise the limit of locked memory")?;
    let needed = LOCKED_BYTES_PER_CORE * cores as u64;
    if allowed < needed { Err(HostRefusal::LockedMemory { allowed, needed, cores }) } else { Ok(allowed) }
}

/// Raises a soft limit to its hard limit and says what that is.
fn raise(resource: libc::__rlimit_resource_t, what: &'static str) -> Result<u64, HostRefusal> {
    let fault = || HostRefusal::of(what, Path::new(""), io::Error::last_os_error());
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(fault());
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: the structure is ours and only read.
        if unsafe { libc::setrlimit(resource, &raw const raised) } != 0 {
            return Err(fault());
        }
    }
    Ok(limit.rlim_max)
}

/// What kind of file system something lies on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileSystem {
    /// Known to keep what it says is durable.
    Ext4,
    /// Known to keep what it says is durable.
    Xfs,
    /// Not known to; its name, or the number that the kernel gives it.
    Other(String),
}

impl FileSystem {
    /// Whether writes that it reports durable are.
    pub fn is_known_durable(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ext4 => f.write_str("ext4"),
            Self::Xfs => f.write_str("xfs"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Where a directory's bytes end up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// The file system.
    pub file_system: FileSystem,
    /// Bytes that this process may still take.
    pub free_bytes: u64,
    /// The device's number, as the kernel writes it: `major:minor`.
    pub device: String,
    /// Its name, such as `vda` or `nvme0n1p2`; absent if it has no block device.
    pub device_name: Option<String>,
    /// Its maker's name for it, if the kernel tells.
    pub model: Option<String>,
    /// Whether the device has a volatile cache that must be flushed; absent if the kernel does not tell.
    pub volatile_cache: Option<bool>,
}

/// Makes a directory, with those above it, unless it is there.
///
/// # Errors
/// [`HostRefusal::NoPermission`], [`HostRefusal::NoSpace`], [`HostRefusal::Refused`].
pub fn make_directory(directory: &Path) -> Result<(), HostRefusal> {
    std::fs::create_dir_all(directory).map_err(|source| HostRefusal::of("make", directory, source))
}

/// Whether there is anything in a directory.
pub fn has_entries(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// Bytes of memory that this process may use: the machine's, or less where a control group says so.
pub fn memory_bytes() -> Option<u64> {
    // SAFETY: both names are known to the C library, and the call has no other preconditions.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let machine = u64::try_from(pages).ok()?.checked_mul(u64::try_from(page).ok()?)?;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(group.map_or(machine, |group: u64| group.min(machine)))
}

/// What this process has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessUse {
    /// CPU time of all its threads.
    pub cpu: Duration,
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
}

/// What this process has used so far, if the kernel tells.
pub fn process_use() -> Option<ProcessUse> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    read_use(&stat, &status)
}

fn read_use(stat: &str, status: &str) -> Option<ProcessUse> {
    // The name of the process stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |field: usize| fields.split_whitespace().nth(field)?.parse::<u64>().ok();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let cpu = Duration::from_millis((ticks(11)? + ticks(12)?) * (1000 / TICKS_PER_SECOND));
    Some(ProcessUse { cpu, resident_bytes: kib << 10 })
}

/// Linux counts the CPU time of processes in these, on every machine that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Random words of the kernel, before there is a core to ask for them.
pub fn random_words<const N: usize>() -> [u64; N] {
    let mut random = super::time::Random::default();
    std::array::from_fn(|_| random.next())
}

/// Looks at what a directory lies on.
///
/// # Errors
/// [`HostRefusal::NoPermission`], [`HostRefusal::Refused`].
pub fn volume(directory: &Path) -> Result<Volume, HostRefusal> {
    let fault = |source| HostRefusal::of("look at the file system of", directory, source);
    let stat = statfs(directory).map_err(fault)?;
    let number = std::fs::metadata(directory).map_err(fault)?.dev();
    let device = format!("{}:{}", libc::major(number), libc::minor(number));
    let sys = PathBuf::from(format!("/sys/dev/block/{device}")).canonicalize().ok();
    // A partition has its queue in the disk above it.
    let disk = sys.as_ref().map(|sys| if sys.join("queue").exists() { sys.clone() } else { sys.join("..") });
    let read = |file: &str| {
        let text = std::fs::read_to_string(disk.as_ref()?.join(file)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    Ok(Volume {
        file_system: file_system(stat.f_type as u64, &device),
        free_bytes: space_of(&stat).usable_bytes,
        device_name: sys.as_ref().and_then(|sys| Some(sys.file_name()?.to_str()?.to_owned())),
        model: read("device/model"),
        volatile_cache: read("queue/write_cache").map(|mode| mode == "write back"),
        device,
    })
}

/// The space of the volume that a path lies on.
pub(super) fn space(path: &Path) -> io::Result<Space> {
    statfs(path).map(|stat| space_of(&stat))
}

fn space_of(stat: &libc::statfs) -> Space {
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_bsize as u64);
    Space { total_bytes: bytes(stat.f_blocks), usable_bytes: bytes(stat.f_bavail) }
}

fn statfs(path: &Path) -> io::Result<libc::statfs> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with a zero and the structure is ours.
    if unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a value of it, and the kernel filled it.
    Ok(unsafe { stat.assume_init() })
}

fn file_system(magic: u64, device: &str) -> FileSystem {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    let named = mounted_as(device);
    match (magic & 0xffff_ffff, named) {
        (XFS, _) => FileSystem::Xfs,
        // ext2 and ext3 have the same number.
        (EXT, Some(name)) if name != "ext4" => FileSystem::Other(name),
        (EXT, _) => FileSystem::Ext4,
        (_, Some(name)) => FileSystem::Other(name),
        (0x0102_1994, None) => FileSystem::Other("tmpfs".into()),
        (0x794c_7630, None) => FileSystem::Other("overlay".into()),
        (0x9123_683e, None) => FileSystem::Other("btrfs".into()),
        (0x2fc1_2fc1, None) => FileSystem::Other("zfs".into()),
        (0x6969, None) => FileSystem::Other("nfs".into()),
        (other, None) => FileSystem::Other(format!("file system {other:#x}")),
    }
}

/// The kind that the mount table has for a device.
fn mounted_as(device: &str) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    Some(line.split(" - ").nth(1)?.split(' ').next()?.to_owned())
}

/// What one durable 4 KiB write costs in a directory, in the middle of what was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteCost {
    /// Each write by itself (`O_DIRECT | O_DSYNC`), as the journal does.
    pub dsync: Duration,
    /// A write, then a flush of the file (`O_DIRECT`, `fdatasync`).
    pub write_then_flush: Duration,
}

impl WriteCost {
    /// Whether a device can be this fast and durable. If not, something between us and it may be lying.
    pub fn is_plausible(&self) -> bool {
        self.dsync.min(self.write_then_flush) >= PLAUSIBLE_WRITE
    }
}

/// Measures on a small file of its own, which it removes. Takes a second at most, usually some milliseconds, and blocks: not for a core.
///
/// # Errors
/// [`HostRefusal::NoDirectWrites`], [`HostRefusal::NoPermission`], [`HostRefusal::NoSpace`], [`HostRefusal::Refused`].
pub fn measure_durable_write(directory: &Path) -> Result<WriteCost, HostRefusal> {
    let path = directory.join(format!(".coretide-measure-{}", std::process::id()));
    let measured = measure_on(&path);
    let removed = std::fs::remove_file(&path);
    match measured {
        Ok(cost) => removed.map(|()| cost).map_err(|source| HostRefusal::of("remove", &path, source)),
        Err(fault) if fault.raw_os_error() == Some(libc::EINVAL) => {
            let file_system = volume(directory)?.file_system;
            Err(HostRefusal::NoDirectWrites { directory: directory.to_owned(), file_system })
        }
        Err(fault) => Err(HostRefusal::of("measure the disk with", &path, fault)),
    }
}

fn measure_on(path: &Path) -> io::Result<WriteCost> {
    let zeros = AlignedBuf::zeroed(MEASURED_PAGES * PAGE_BYTES);
    let open = |flags: i32| {
        OpenOptions::new().create(true).truncate(false).write(true).custom_flags(libc::O_DIRECT | flags).open(path)
    };
    let flushed = open(0)?;
    flushed.write_all_at(&zeros, 0)?;
    flushed.sync_all()?;
    let dsync = open(libc::O_DSYNC)?;
    Ok(WriteCost {
        dsync: middle_of(&dsync, &zeros, |_| Ok(()))?,
        write_then_flush: middle_of(&flushed, &zeros, File::sync_data)?,
    })
}

fn middle_of(file: &File, zeros: &[u8], flush: impl Fn(&File) -> io::Result<()>) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut costs = Vec::with_capacity(MEASURED_WRITES);
    while costs.len() < MEASURED_WRITES && begun.elapsed() < MEASURE_AT_MOST {
        let page = (costs.len() % MEASURED_PAGES) * PAGE_BYTES;
        let start = Instant::now();
        file.write_all_at(&zeros[page..page + PAGE_BYTES], page as u64)?;
        flush(file)?;
        costs.push(start.elapsed());
    }
    costs.sort_unstable();
    Ok(costs[costs.len() / 2])
}

/// A request to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

/// The termination signals of this process, taken over from the kernel's default of ending it.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks SIGTERM and SIGINT for this thread and all it starts from here on, so that they arrive at [`crate::io::Io::signal`]. Call it first
    /// of all in `main`: a thread started earlier would still be ended by them.
    pub fn take_over() -> io::Result<Self> {
        // SAFETY: all zeros is a value of this plain C structure, and the calls below fill it.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is ours; both numbers are signals.
        unsafe {
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
        }
        // SAFETY: `set` is valid; the old mask is not asked for.
        let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        // SAFETY: `set` is valid and -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal, on a core.
    pub(super) async fn next(&self, ring: &Rc<Ring>) -> Signal {
        let watched = Rc::new(self.fd.try_clone().expect("one more descriptor"));
        loop {
            // SAFETY: all zeros is a value of this plain C structure.
            let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
            let len = size_of::<libc::signalfd_siginfo>();
            // SAFETY: the descriptor is open, and `info` is ours and `len` bytes long.
            let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), len) };
            match (usize::try_from(read), info.ssi_signo as libc::c_int) {
                (Ok(read), libc::SIGTERM) if read == len => return Signal::Terminate,
                (Ok(read), libc::SIGINT) if read == len => return Signal::Interrupt,
                _ => ring.readable(&watched).await.expect("a signal descriptor can be polled"),
            }
        }
    }
}

/// Takes the exclusive lock on an open file now, or says [`io::ErrorKind::WouldBlock`].
pub(super) fn try_lock(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call does not block.
    if unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The CPUs that this process may run on, in ascending order: its affinity mask, which cgroups narrow.
///
/// # Errors
/// [`HostFault::NoCpus`] when the kernel does not say.
pub fn allowed_cpus() -> Result<Vec<usize>, HostFault> {
    cpus_of(None).ok().filter(|cpus| !cpus.is_empty()).ok_or(HostFault::NoCpus)
}

/// The CPUs that a thread of this process, or else the one that asks, may run on, in ascending order.
pub(super) fn cpus_of(thread: Option<Pid>) -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(thread)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(kernel_version("6.18.44-fc-v445"), Some((6, 18)));
        assert_eq!(kernel_version("6.6"), Some((6, 6)));
        assert_eq!(kernel_version("7.0.0-rc1+"), Some((7, 0)));
        assert_eq!(kernel_version("odd"), None);
        assert!((6, 5) < KERNEL_NEEDED && (6, 18) > KERNEL_NEEDED && (10, 0) > KERNEL_NEEDED);
    }

    #[test]
    fn what_the_process_used_is_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 3 0 1 1 1 1";
        let used = read_use(stat, "Name:\tx\nVmRSS:\t    2048 kB\nThreads: 3\n");
        assert_eq!(used, Some(ProcessUse { cpu: Duration::from_millis(1750), resident_bytes: 2 << 20 }));
        assert!(process_use().is_some_and(|used| used.resident_bytes > 0));
        assert_eq!(read_use("odd", ""), None);
    }

    #[test]
    fn a_write_that_no_device_can_do_is_doubted() {
        let cost = |dsync, flush| WriteCost {
            dsync: Duration::from_micros(dsync),
            write_then_flush: Duration::from_micros(flush),
        };
        assert!(cost(77, 69).is_plausible() && !cost(2, 3).is_plausible());
    }
}
