//! How long a core asks to run at a time when others are ready on its CPU.
//!
//! A core that always has something to do keeps those waiting that end its own durable writes: threads of the kernel, which are ready on its CPU for a few
//! microseconds. All have the same slice, and one that wakes waits until that of whoever runs is over, a millisecond and more. If its own is shorter, the
//! kernel lets it take over at once unless it had more than its share. So a core with a long slice gives way, and goes on as soon as they are
//! done (`perf/results/2026-11-28-slices.md`). Threads that the kernel makes for a ring while its core is busy have the core's slice: it does not give way
//! to those.
//!
//! Linux heeds it since 6.12 (`sched_setattr(2)`, `sched_runtime`); older ones take the call and do nothing. Nothing depends on it.

use std::io;
use std::time::Duration;

use libc::{SYS_sched_getattr, SYS_sched_setattr, sched_attr, syscall};
use rustix::thread::Pid;

/// What a busy core asks for; 1.4 ms (two CPUs) to 2.8 (eight and more) are usual, and the kernel takes 0.1 to 100.
pub(super) const LONG: Duration = Duration::from_millis(20);

/// Asks for slices of this length for a thread of this process; `None` for the kernel's own. A thread that was given another policy than that of
/// ordinary programs is left alone: somebody knew better.
pub(super) fn ask_for(thread: Pid, slice: Option<Duration>) -> io::Result<()> {
    let mut attributes = attributes_of(thread)?;
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.sched_runtime = slice.map_or(0, |slice| slice.as_nanos() as u64);
    // SAFETY: the structure is whole, says its size, and outlives the call, which only reads it.
    match unsafe { syscall(SYS_sched_setattr, thread.as_raw_nonzero().get(), &raw const attributes, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn attributes_of(thread: Pid) -> io::Result<sched_attr> {
    let size = size_of::<sched_attr>() as u32;
    let mut attributes = sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes at most `size` bytes into the structure, which has as many.
    match unsafe { syscall(SYS_sched_getattr, thread.as_raw_nonzero().get(), &raw mut attributes, size, 0) } {
        0 => Ok(attributes),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The slice of a thread in nanoseconds; 0 where the kernel has none to tell.
#[cfg(test)]
pub(super) fn of(thread: Pid) -> u64 {
    attributes_of(thread).unwrap().sched_runtime
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::gettid;

    #[test]
    fn a_slice_is_asked_for_and_given_back_and_nothing_else_changes() {
        let thread = gettid();
        // SAFETY: a call with numbers; it makes this thread alone a bit less important.
        assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.as_raw_nonzero().get() as u32, 1) }, 0);
        let before = attributes_of(thread).unwrap();
        ask_for(thread, Some(LONG)).unwrap();
        let long = attributes_of(thread).unwrap();
        if before.sched_runtime == 0 {
            println!("this kernel knows no slices");
        } else {
            assert_eq!(long.sched_runtime, LONG.as_nanos() as u64);
        }
        ask_for(thread, None).unwrap();
        let after = attributes_of(thread).unwrap();
        assert_eq!(after.sched_runtime, before.sched_runtime);
        for now in [long, after] {
            assert_eq!((now.sched_policy, now.sched_nice, now.sched_flags), (0, before.sched_nice, before.sched_flags));
            assert!(now.sched_nice >= 1);
        }
    }

    #[test]
    fn a_thread_with_another_policy_is_left_alone() {
        let thread = gettid();
        let lowest = libc::sched_param { sched_priority: 0 };
        // SAFETY: the parameter outlives the call; 0 is the calling thread.
        assert_eq!(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const lowest) }, 0);
        let before = of(thread);
        ask_for(thread, Some(LONG)).unwrap();
        let after = attributes_of(thread).unwrap();
        assert_eq!((after.sched_policy, after.sched_runtime), (libc::SCHED_BATCH as u32, before));
    }
}
