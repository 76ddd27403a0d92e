//! Log lines to stderr through a thread of their own: a blocked terminal or pipe never stalls a core. When the queue is full, lines are dropped.
//!
//! A client that provokes lines does not fill a disk with them: each place in the code that writes a line may write a few at once and one a second
//! after that. The next line that is written from there says how many were left out. Why the process ends is not said here, but on stderr at once.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// Starts logging. Lines that are still queued are written when the guard is dropped.
///
/// Panics if logging was started already, or if `level` was not checked by `config`.
pub fn start(format: LogFormat, level: &str) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).finish(io::stderr());
    let filter = EnvFilter::try_new(level).expect("config checked the level");
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => {
            let lines = lines.with_ansi(io::stderr().is_terminal()).with_target(false);
            lines.map_event_format(|inner| Limited::new(inner, format)).init();
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_ansi(false);
            lines.map_event_format(|inner| Limited::new(inner, format)).init();
        }
    }
    guard
}

/// Formats a line as `inner` does, or as nothing if there are too many of its kind.
struct Limited<F> {
    inner: F,
    format: LogFormat,
    begun: Instant,
    sites: Sites,
}

impl<F> Limited<F> {
    fn new(inner: F, format: LogFormat) -> Self {
        Self { inner, format, begun: Instant::now(), sites: Sites::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        // What describes a place in the code is a constant there: its address tells the place.
        let site = std::ptr::from_ref(event.metadata()).addr();
        match self.sites.admit(site, self.begun.elapsed()) {
            None => Ok(()),
            Some(0) => self.inner.format_event(context, to, event),
            Some(left_out) => {
                let mut line = String::new();
                self.inner.format_event(context, Writer::new(&mut line), event)?;
                match (self.format, line.trim_end()) {
                    (LogFormat::Text, line) => writeln!(to, "{line} left_out={left_out}"),
                    (LogFormat::Json, line) => {
                        writeln!(to, "{},\"left_out\":{left_out}}}", line.strip_suffix('}').unwrap_or(line))
                    }
                }
            }
        }
    }
}

/// The places that have written lines. Cores share it without waiting for each other.
struct Sites([Site; SITES_MAX]);

#[derive(Default)]
struct Site {
    /// Which place. 0: none yet.
    name: AtomicUsize,
    /// When all its lines so far are paid for, at one for each `LINE_PERIOD`; in nanoseconds since logging began.
    paid: AtomicU64,
    left_out: AtomicU64,
}

impl Default for Sites {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Site::default()))
    }
}

impl Sites {
    /// Whether a place may write a line `now`. If so, how many it has left out since its last one.
    fn admit(&self, name: usize, now: Duration) -> Option<u64> {
        let site = self.site(name);
        let now = nanoseconds(now);
        let pay = |paid: u64| {
            let ahead = paid.saturating_sub(now);
            (ahead <= nanoseconds(LINE_PERIOD * (BURST_LINES - 1))).then(|| paid.max(now) + nanoseconds(LINE_PERIOD))
        };
        match site.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay) {
            Ok(_) => Some(site.left_out.swap(0, Ordering::Relaxed)),
            Err(_) => {
                site.left_out.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// The place's own site. When all are taken, those that come late share one.
    fn site(&self, name: usize) -> &Site {
        // Neighbours are some hundred bytes apart.
        let first = (name >> 4) % SITES_MAX;
        let own = (first..SITES_MAX).chain(0..first).map(|at| &self.0[at]).find(|site| {
            let found = site.name.load(Ordering::Relaxed);
            let take = || site.name.compare_exchange(0, name, Ordering::Relaxed, Ordering::Relaxed);
            found == name || found == 0 && take().map_or_else(|other| other == name, |_| true)
        });
        own.unwrap_or(&self.0[first])
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Lines that may wait for stderr.
const LINES_MAX: usize = 8192;
/// Lines that one place writes at once.
const BURST_LINES: u32 = 20;
/// After that one line for each such time.
const LINE_PERIOD: Duration = Duration::from_secs(1);
/// Places that have a limit of their own. There are fewer in the code and what it uses.
const SITES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What becomes of so many lines at once.
    fn lines(sites: &Sites, name: usize, now: Duration, count: usize) -> Vec<u64> {
        (0..count).filter_map(|_| sites.admit(name, now)).collect()
    }

    #[test]
    fn a_place_writes_some_lines_at_once_and_one_a_second_after_that() {
        let sites = Sites::default();
        assert_eq!(lines(&sites, 16, 5 * SECOND, 1000), [0; 20]);
        assert!(lines(&sites, 16, 6 * SECOND - Duration::from_nanos(1), 10).is_empty());
        assert_eq!(lines(&sites, 16, 6 * SECOND, 10), [990]);
        assert_eq!(lines(&sites, 16, 8 * SECOND, 10), [9, 0]);
        // Silence is not saved up.
        assert_eq!(lines(&sites, 16, 10_000 * SECOND, 1000).len(), 20);
    }

    #[test]
    fn places_do_not_use_up_each_others_lines() {
        let sites = Sites::default();
        for name in 1..=SITES_MAX {
            // All of them would like the same site.
            assert_eq!(lines(&sites, name * SITES_MAX * 16, SECOND, 50), [0; 20], "{name}");
        }
        assert!(lines(&sites, 7, SECOND, 50).is_empty(), "one too many shares a site");
    }

    #[test]
    fn cores_that_write_together_leave_out_what_is_too_much_and_count_it() {
        let sites = Sites::default();
        let written: usize = std::thread::scope(|scope| {
            let cores: Vec<_> = (0..4).map(|_| scope.spawn(|| lines(&sites, 16, SECOND, 1000).len())).collect();
            cores.into_iter().map(|core| core.join().expect("a thread")).sum()
        });
        assert_eq!(written, 20);
        assert_eq!(sites.admit(16, 2 * SECOND), Some(3980));
    }
}
