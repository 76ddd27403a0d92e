//! Metrics and health over HTTP: one thread beside the cores, which asks them and never waits for one for long.
//!
//! ```text
//! HTTP client --> control thread --question--> mailbox of each core --> copies its numbers in steps
//!                      ^------------------------ answer --------------------------+
//! ```
//!
//! Always true: cores are reached by their mailboxes only, at most a few scrapes at a time, and one that does not answer in time is left out and named;
//! connections, their number, their time and the heads of requests are bounded, whatever a client does. Changes nothing in the broker.

mod answer; // on each core: questions to numbers
mod cores; // the way to the cores, with its deadline
mod page; // all numbers as a page of metrics
mod server; // HTTP, bounded
mod text; // the text format

pub use answer::{Place, Started, answer};
pub use cores::{Cores, Question, cores};

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use crate::io::{Sender, mailbox};

/// The control thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens on `bind` and answers from now on: also while the cores start and stop.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread cannot be started.
    pub fn start(bind: SocketAddr, cores: Cores) -> io::Result<Self> {
        let listener = TcpListener::bind(bind)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = mailbox(1);
        let run = move || {
            let ended = tokio::task::LocalSet::new().block_on(&runtime, server::serve(listener, cores, stopped));
            if let Err(error) = ended {
                tracing::error!(%error, "metrics and health are not served any more");
            }
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(run)?;
        tracing::info!("metrics and health are served on http://{address}");
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told by its hook.
            let _ = thread.join();
        }
    }
}
