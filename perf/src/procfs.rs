//! What a process has used: CPU time and context switches, read from `/proc`; and how many files it may open.

use std::{fs, time::Duration};

use crate::Result;

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all its threads, also of those that ended. Resolution 10 ms.
    pub cpu: Duration,
    /// Context switches, voluntary or not, of the threads that live now.
    pub switches: u64,
}

impl Usage {
    /// What was used between `before` and this.
    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu: self.cpu.saturating_sub(before.cpu), switches: self.switches.saturating_sub(before.switches) }
    }
}

/// What process `pid` has used.
pub fn usage(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| format!("process {pid}: {e}"))?;
    // The name, in brackets, may hold spaces: count fields from its end. Fields 14 and 15 of proc(5) are utime and stime.
    let after_name = stat.rsplit_once(") ").ok_or("/proc/PID/stat has no name")?.1;
    let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        switches += status
            .lines()
            .filter(|line| line.contains("voluntary_ctxt_switches:"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(Usage { cpu: Duration::from_secs_f64(ticks as f64 / ticks_per_second()), switches })
}

/// CPU time of this process. Finer than [`usage`].
pub fn own_cpu() -> Duration {
    // SAFETY: rusage is plain data for which all zeros is a value, and getrusage fills it.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut used);
        used
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(used.ru_utime) + of(used.ru_stime)
}

/// CPU time that the whole machine has used since it started, kernel threads and interrupts included. Resolution 10 ms.
pub fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("/proc/stat is empty")?;
    // proc(5): user, nice, system, idle, iowait, irq, softirq, steal.
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let ticks: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| fields.get(i)).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second()))
}

/// Lets this process have as many files and sockets open as the system allows it.
pub fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a value that lives through them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes no pointer and has no precondition.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64
}

/// Resident memory of process `pid` in bytes, now and at its highest.
pub fn resident(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    Ok((of("VmRSS:").unwrap_or(0), of("VmHWM:").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let me = std::process::id();
        let before = usage(me).expect("this process has a /proc entry");
        let spin = std::time::Instant::now();
        while spin.elapsed() < Duration::from_millis(60) {}
        let used = usage(me).expect("this process has a /proc entry").since(before);
        assert!(used.cpu >= Duration::from_millis(10), "{used:?}");
        assert!(resident(me).expect("this process has a /proc entry").0 > 0);
    }
}
