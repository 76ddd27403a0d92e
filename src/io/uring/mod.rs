//! The real world: one pinned glommio executor per core, a private ring for files, raw sockets, the kernel's clocks.
//!
//! Always true: this is the one place that names glommio, and every system call of the broker is below here. A panic in any task of a core ends
//! that core's main future with the same panic (in the release profile a panic ends the process anyway).

mod file; // files
mod helper; // calls that would block a core
pub mod host; // what the machine has and allows
mod net; // sockets
mod places; // which CPU each core runs on
mod ring; // the one place where a core waits
mod slice; // how long a core runs at a time
mod time; // clocks, timers, chance
mod wake; // wakers that any thread may call

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, Shares};

use super::buffer::Pool;
use super::{Open, Space};
use crate::base::{Mono, ShardId, Timestamp};
pub(super) use file::{File, Mount};
use helper::Helpers;
pub use host::{HostFault, HostRefusal};
pub(super) use net::{Listener, Socket, Stream};
use ring::Ring;
pub(super) use time::{Sleep, YieldNow};

/// glommio's preempt timer, in effect off: ten years. When it fires between the executor's look at the kernel and its first task, glommio 0.12 takes
/// the core for idle and sleeps although tasks are ready. Nobody needs it: the ring's driver looks at the kernel after each round of tasks.
const PREEMPT_EVERY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Bytes of buffers for file reads and the like that a core keeps for later, per size.
const POOL_KEEP_BYTES: usize = 8 << 20;
/// Bytes that glommio registers for its own file buffers, which we do not use. Its least; it counts three times against locked memory.
const GLOMMIO_IO_MEMORY: usize = 64 << 10;

/// How the cores of this process are started.
#[derive(Clone, Debug)]
pub struct Cores {
    /// One executor is started for each of these and pinned to it, unless `share` lets it be at its neighbour's; the position in this list is the
    /// [`ShardId`]. A CPU may be named twice.
    pub cpus: Vec<usize>,
    /// How long an idle core spins before it sleeps. Zero sleeps at once: spinning costs CPU and buys microseconds.
    pub spin: Duration,
    /// Neighbours in `cpus` may share a CPU while one is enough for both.
    pub share: bool,
    /// Where termination signals come from, if the process has taken them over; see [`host::Signals::take_over`].
    pub signals: Option<Arc<host::Signals>>,
}

impl Cores {
    /// One core per listed CPU, no spinning, no sharing, no signals.
    pub fn on(cpus: Vec<usize>) -> Self {
        Self { cpus, spin: Duration::ZERO, share: false, signals: None }
    }
}

/// Cores that run. Dropping it lets them run on, each where it is.
#[derive(Debug)]
pub struct Running<T: Send + 'static> {
    threads: Vec<ExecutorJoinHandle<Result<T, Panic>>>,
    /// Ends the thread that looks after places.
    places: Option<std::sync::mpsc::Sender<()>>,
}

type Panic = Box<dyn Any + Send>;

impl<T: Send + 'static> Running<T> {
    /// Waits for every core's main future and gives their outputs in shard order. A panic on a core goes on here.
    ///
    /// # Errors
    /// [`HostFault::Core`] when an executor could not be set up.
    pub fn join(self) -> Result<Vec<T>, HostFault> {
        let outcomes: Vec<_> = self.threads.into_iter().map(ExecutorJoinHandle::join).collect();
        drop(self.places);
        let mut outputs = Vec::with_capacity(outcomes.len());
        for (shard, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(Ok(output)) => outputs.push(output),
                Ok(Err(panic)) => resume_unwind(panic),
                Err(fault) => return Err(HostFault::Core { shard, reason: fault.to_string() }),
            }
        }
        Ok(outputs)
    }
}

/// Starts one pinned executor per CPU, each with `main` of its own, and returns while they run.
///
/// When a core's main future ends, file operations in flight are waited for, for a bounded time. Other tasks of the core are not run any further, and what they own may
/// never be dropped: end them first.
///
/// # Errors
/// [`HostFault::Core`] when a thread could not be started.
pub fn run_cores<F, M, T>(cores: &Cores, main: F) -> Result<Running<T>, HostFault>
where
    F: Fn(super::Io) -> M + Clone + Send + 'static,
    M: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let start = Instant::now();
    let mut threads = Vec::with_capacity(cores.cpus.len());
    let (tell, told) = std::sync::mpsc::channel();
    for (shard, cpu) in cores.cpus.iter().enumerate() {
        let main = main.clone();
        let signals = cores.signals.clone();
        let helpers = Helpers::start().map_err(|fault| HostFault::Core { shard, reason: fault.to_string() })?;
        let (spin, tell) = (cores.spin, tell.clone());
        let id = ShardId(u16::try_from(shard).map_err(|_| HostFault::Core { shard, reason: "too many cores".into() })?);
        let thread = LocalExecutorBuilder::new(Placement::Fixed(*cpu))
            .name("core")
            .io_memory(GLOMMIO_IO_MEMORY)
            .preempt_timer(PREEMPT_EVERY)
            .spawn(move || {
                let _ = tell.send((shard, rustix::thread::gettid()));
                run_core(id, start, helpers, spin, signals, main)
            })
            .map_err(|fault| HostFault::Core { shard, reason: fault.to_string() })?;
        threads.push(thread);
    }
    let places = places::look_after(cores.cpus.clone(), cores.share, told)
        .inspect_err(|fault| tracing::warn!(%fault, "no thread that looks after cores: each stays on its CPU"))
        .ok();
    Ok(Running { threads, places })
}

async fn run_core<F, M, T>(
    shard: ShardId,
    start: Instant,
    helpers: Helpers,
    spin: Duration,
    signals: Option<Arc<host::Signals>>,
    main: F,
) -> Result<T, Panic>
where
    F: Fn(super::Io) -> M + 'static,
    M: Future<Output = T> + 'static,
    T: 'static,
{
    // All that is spawned from a task of this queue stays in it, and its tasks take turns: the driver's place behind those that are ready.
    let queue = glommio::executor().create_task_queue(Shares::default(), Latency::NotImportant, "core");
    let ring = Ring::new(helpers, spin).unwrap_or_else(|fault| panic!("core {shard}: no ring: {fault}"));
    let io = Io {
        core: Rc::new(Core {
            shard,
            start,
            ring: Rc::clone(&ring),
            pool: Pool::new(POOL_KEEP_BYTES),
            random: RefCell::new(time::Random::default()),
            signals,
            panicked: RefCell::new(Panicked { payload: None, main: None }),
        }),
    };
    let core = Rc::clone(&io.core);
    let task = Rc::clone(&ring);
    let body = async move {
        ring.start_driver();
        let main = main(super::Io::Uring(io));
        let outcome = UntilPanic { main: Box::pin(main), core: &core }.await;
        core.panicked.borrow_mut().main = None;
        core.ring.drain().await;
        outcome
    };
    glommio::spawn_local_into(task.task(body), queue).expect("the queue was just made").await
}

/// One core's door to the world.
#[derive(Clone)]
pub struct Io {
    core: Rc<Core>,
}

struct Core {
    shard: ShardId,
    start: Instant,
    ring: Rc<Ring>,
    pool: Pool,
    random: RefCell<time::Random>,
    signals: Option<Arc<host::Signals>>,
    panicked: RefCell<Panicked>,
}

struct Panicked {
    payload: Option<Panic>,
    main: Option<Waker>,
}

impl Io {
    pub(super) fn shard(&self) -> ShardId {
        self.core.shard
    }

    pub(super) fn cpu(&self) -> usize {
        rustix::thread::sched_getcpu()
    }

    pub(super) fn now(&self) -> Mono {
        Mono(u64::try_from(self.core.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn wall_clock(&self) -> Timestamp {
        time::wall_clock()
    }

    pub(super) fn random_u64(&self) -> u64 {
        self.core.random.borrow_mut().next()
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.core.pool
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let guarded = Guarded { future, core: Rc::clone(&self.core) };
        drop(self.core.ring.spawn(guarded));
    }

    pub(super) fn sleep(&self, wait: Duration) -> Sleep {
        Sleep::new(&self.core.ring, wait)
    }

    pub(super) fn yield_now(&self) -> YieldNow {
        YieldNow::default()
    }

    pub(super) async fn signal(&self) -> host::Signal {
        match &self.core.signals {
            Some(signals) => signals.next(&self.core.ring).await,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn open(&self, path: &Path, how: Open) -> io::Result<File> {
        File::open(&self.core.ring, &self.core.pool, path, how).await
    }

    pub(super) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        file::create_dir_all(&self.core.ring, path).await
    }

    pub(super) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        file::remove_file(&self.core.ring, path).await
    }

    pub(super) async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        file::remove_dir_all(&self.core.ring, path).await
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.core.ring.rename(from, to).await
    }

    pub(super) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.core.ring.sync_dir(&self.core.pool, path).await
    }

    pub(super) async fn mount_of(&self, path: &Path) -> io::Result<Mount> {
        Mount::open(&self.core.ring, path).await
    }

    pub(super) async fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        file::list_dir(&self.core.ring, path).await
    }

    pub(super) async fn space(&self, path: &Path) -> io::Result<Space> {
        file::space(&self.core.ring, path).await
    }

    pub(super) async fn stat(&self, path: &Path) -> io::Result<(u64, bool)> {
        self.core.ring.stat(path).await
    }

    pub(super) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        Listener::bind(&self.core.ring, address)
    }

    pub(super) fn adopt(&self, socket: Socket) -> io::Result<Stream> {
        Stream::adopt(&self.core.ring, socket)
    }

    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        Stream::connect(&self.core.ring, address).await
    }
}

/// A spawned task whose panic reaches the core's main future.
struct Guarded<F> {
    future: F,
    core: Rc<Core>,
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is pinned because `self` is and it is never moved out; `core` is not pinned.
        let (future, core) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &this.core)
        };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll,
            Err(payload) => {
                let main = {
                    let mut panicked = core.panicked.borrow_mut();
                    panicked.payload.get_or_insert(payload);
                    panicked.main.take()
                };
                main.into_iter().for_each(Waker::wake);
                Poll::Ready(())
            }
        }
    }
}

/// The main future, or the first panic on its core.
struct UntilPanic<'a, M> {
    main: Pin<Box<M>>,
    core: &'a Core,
}

impl<M: Future> Future for UntilPanic<'_, M> {
    type Output = Result<M::Output, Panic>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        {
            let mut panicked = self.core.panicked.borrow_mut();
            if let Some(payload) = panicked.payload.take() {
                return Poll::Ready(Err(payload));
            }
            panicked.main = Some(cx.waker().clone());
        }
        match catch_unwind(AssertUnwindSafe(|| self.main.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pass over the logs asked the ring for 32 flushes at once. Now and then a journal write needs a thread of the kernel, and it came behind them all: 6 ms.
    #[test]
    fn what_may_take_long_does_not_stand_in_the_line_of_writes() {
        let cores = Cores::on(vec![host::allowed_cpus().expect("they can be asked for")[0]]);
        let running = run_cores(&cores, |io| async move {
            let super::super::Io::Uring(real) = &io else { unreachable!("these are real cores") };
            let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            let file = io.open(path, Open::default()).await.unwrap();
            let outside = async |mut what: Pin<Box<dyn Future<Output = io::Result<()>> + '_>>| {
                std::future::poll_fn(|cx| {
                    let outcome = what.as_mut().poll(cx);
                    assert_eq!(real.core.ring.in_flight(), 0);
                    outcome
                })
                .await
            };
            outside(Box::pin(file.sync_data())).await.unwrap();
            let gone = outside(Box::pin(io.remove_file(&std::env::temp_dir().join("coretide, no such file")))).await;
            assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
            drop(file);
            assert_eq!(real.core.ring.in_flight(), 0);
        });
        running.unwrap().join().unwrap();
    }
}
