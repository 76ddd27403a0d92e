//! Log lines to stderr through a thread of their own: a blocked terminal or pipe never stalls a core. When the queue is full, lines are dropped.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

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
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).init(),
    }
    guard
}

/// Lines that may wait for stderr.
const LINES_MAX: usize = 8192;
