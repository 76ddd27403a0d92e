//! What the host must be like before the broker starts, and what its disk is like.
//!
//! Everything here runs before the cores do, or never blocks. Each refusal is a [`HostFault`] of its own kind, so that the command line can name
//! the remedy.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use glommio::io::PollableFd;

/// Why this host will not do.
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
    pub(super) async fn next(&self) -> Signal {
        let watched = PollableFd::new(Fd(self.fd.as_raw_fd())).expect("this runs on an executor");
        loop {
            // SAFETY: all zeros is a value of this plain C structure.
            let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
            let len = size_of::<libc::signalfd_siginfo>();
            // SAFETY: the descriptor is open, and `info` is ours and `len` bytes long.
            let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), len) };
            match (usize::try_from(read), info.ssi_signo as libc::c_int) {
                (Ok(read), libc::SIGTERM) if read == len => return Signal::Terminate,
                (Ok(read), libc::SIGINT) if read == len => return Signal::Interrupt,
                _ => watched.readable().await.expect("a signal descriptor can be polled"),
            }
        }
    }
}

struct Fd(libc::c_int);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> libc::c_int {
        self.0
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
    let mut cpus: Vec<usize> =
        core_affinity::get_core_ids().ok_or(HostFault::NoCpus)?.iter().map(|cpu| cpu.id).collect();
    cpus.sort_unstable();
    if cpus.is_empty() { Err(HostFault::NoCpus) } else { Ok(cpus) }
}
