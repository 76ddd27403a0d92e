//! A world that repeats from its seed: any number of processes with many cores each, on one thread, with their disks, clocks and network.
//!
//! Always true: the same seed and the same program give the same [`World::trace_hash`]; each concern draws from its own stream of chance; a dead process
//! has no effect any more, except by operations that it had given to its kernel. A test's panic prints the seed.
//!
//! Knows nothing of brokers: what runs in it is written against [`crate::io::Io`], clients too.

mod content;
mod disk;
mod net;
mod random;
mod scheduler;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::buffer::Pool;
use super::uring::host::Signal;
use super::{Open, Space};
use crate::base::{Mono, ShardId, Timestamp};
use disk::Disk;
pub use disk::{DiskCounts, DiskOptions, Loss, SECTOR_BYTES};
pub(super) use disk::{File, Mount};
use net::Net;
pub(super) use net::{Listener, Socket, Stream};
pub use net::{NetCounts, NetOptions};
pub use random::Random;
pub(super) use scheduler::Sleep;
use scheduler::{Owner, Scheduler, Step};

/// Where wall clocks stand when a world begins, in milliseconds since 1970: 2026-01-01.
const WALL_CLOCK_START_MS: i64 = 1_767_225_600_000;
/// Virtual time after which [`World::run`] gives up, as a bound for what should end by itself.
const RUN_LIMIT: Duration = Duration::from_secs(3600);

/// How a world behaves from its beginning; see [`World::set_disk`] and [`World::set_net`] for changes on the way.
#[derive(Clone, Debug, Default)]
pub struct WorldOptions {
    /// Every machine's disk.
    pub disk: DiskOptions,
    /// The network between all.
    pub net: NetOptions,
}

/// How a process ends against its will.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// As by SIGKILL: the machine lives on, so nothing written is lost, and operations in flight may still land later, keeping their files (and
    /// locks) open until then.
    Kill,
    /// The machine loses its power, and its disk what was not flushed.
    PowerCut(Loss),
}

/// A machine with one process on it. It has a disk of its own, which outlives the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Process(usize);

/// A simulated world. Dropping it ends everything in it.
pub struct World {
    shared: Rc<Shared>,
}

struct Shared {
    seed: u64,
    options: WorldOptions,
    scheduler: Rc<Scheduler>,
    net: Net,
    machines: RefCell<Vec<Rc<Machine>>>,
    lives: Cell<u64>,
}

struct Machine {
    number: usize,
    name: String,
    disk: Rc<Disk>,
    random: RefCell<Random>,
    clock_offset_ms: Cell<i64>,
    life: RefCell<Option<Rc<Life>>>,
}

/// One run of a process.
struct Life {
    number: u64,
    alive: Cell<bool>,
    /// Cores whose main future has not ended.
    cores: Cell<usize>,
    signals: RefCell<Signals>,
}

#[derive(Default)]
struct Signals {
    waiting: VecDeque<Signal>,
    waker: Option<Waker>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, options: WorldOptions) -> Self {
        let scheduler = Scheduler::new(seed);
        let net = Net::new(scheduler.clock.clone(), Random::new(seed, "net"), options.net.clone());
        let machines = RefCell::default();
        Self { shared: Rc::new(Shared { seed, options, scheduler, net, machines, lives: Cell::new(0) }) }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The machine of this name, which is made at its first mention, with an empty disk and no process running.
    pub fn process(&self, name: &str) -> Process {
        let mut machines = self.shared.machines.borrow_mut();
        if let Some(known) = machines.iter().position(|machine| machine.name == name) {
            return Process(known);
        }
        let number = machines.len();
        let stream = |concern: &str| Random::new(self.shared.seed, &format!("{concern} of {name}"));
        machines.push(Rc::new(Machine {
            number,
            name: name.to_owned(),
            disk: Disk::new(&self.shared.scheduler, stream("disk"), self.shared.options.disk.clone()),
            random: RefCell::new(stream("chance")),
            clock_offset_ms: Cell::new(0),
            life: RefCell::new(None),
        }));
        Process(number)
    }

    fn machine(&self, process: Process) -> Rc<Machine> {
        Rc::clone(&self.shared.machines.borrow()[process.0])
    }

    /// Starts the process with `cores` cores, each with a main future of its own; also again after a crash, with any number of cores. When a core's
    /// main future ends, so do all tasks of that core; when all have ended, the process has.
    pub fn start<M: Future<Output = ()> + 'static>(&self, process: Process, cores: u16, main: impl Fn(super::Io) -> M) {
        assert!(!self.is_running(process), "{} runs already", self.machine(process).name);
        assert!(cores > 0, "a process has a core");
        let life = self.begin_life(process, usize::from(cores));
        for shard in 0..cores {
            let io = self.io(process, &life, shard);
            let body = main(super::Io::Sim(io.clone()));
            io.clone().spawn(async move {
                body.await;
                io.end_core();
            });
        }
    }

    fn begin_life(&self, process: Process, cores: usize) -> Rc<Life> {
        let number = self.shared.lives.get() + 1;
        self.shared.lives.set(number);
        let alive = Cell::new(true);
        let life = Rc::new(Life { number, alive, cores: Cell::new(cores), signals: RefCell::default() });
        *self.machine(process).life.borrow_mut() = Some(Rc::clone(&life));
        life
    }

    fn io(&self, process: Process, life: &Rc<Life>, shard: u16) -> Io {
        let machine = self.machine(process);
        let shared = Rc::clone(&self.shared);
        Io { core: Rc::new(Core { shared, machine, life: Rc::clone(life), shard, pool: Pool::new(0) }) }
    }

    /// Runs `body` on a core of the process until it ends, and everything else meanwhile. A process that does not run is started for it, with one core, and
    /// ends with it: the way to write a client as a straight line.
    ///
    /// # Panics
    /// When it does not end within an hour of virtual time, or nothing will ever happen again.
    pub fn run<M: Future + 'static>(&self, process: Process, body: impl FnOnce(super::Io) -> M) -> M::Output
    where
        M::Output: 'static,
    {
        let running = self.machine(process).life.borrow().clone().filter(|life| life.alive.get());
        let (life, own) = match running {
            Some(life) => (life, false),
            None => (self.begin_life(process, 1), true),
        };
        let io = self.io(process, &life, 0);
        let outcome = Rc::new(RefCell::new(None));
        let (body, told) = (body(super::Io::Sim(io.clone())), Rc::clone(&outcome));
        io.clone().spawn(async move {
            *told.borrow_mut() = Some(body.await);
            if own {
                io.end_core();
            }
        });
        let ended = self.run_until(RUN_LIMIT, || outcome.borrow().is_some());
        assert!(ended, "seed {}: still running after {RUN_LIMIT:?} of virtual time, or stuck", self.seed());
        outcome.take().expect("it ended")
    }

    /// Runs until `condition` holds (asked after every step) or `limit` of virtual time has passed or nothing will ever happen again. Says whether
    /// the condition holds.
    pub fn run_until(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let story = Story { seed: self.shared.seed };
        let scheduler = &self.shared.scheduler;
        let end = scheduler.clock.now() + nanos(limit);
        let held = loop {
            if condition() {
                break true;
            }
            match scheduler.step(&self.shared.net, end) {
                Step::Moved => {}
                Step::Stuck | Step::TimeUp => break condition(),
            }
        };
        std::mem::forget(story);
        held
    }

    /// Runs for so much virtual time.
    pub fn run_for(&self, time: Duration) {
        self.run_until(time, || false);
    }

    /// Runs until the process has ended by itself. Says whether it did within `limit` of virtual time.
    pub fn run_until_ended(&self, process: Process, limit: Duration) -> bool {
        self.run_until(limit, || !self.is_running(process))
    }

    /// Whether the process runs.
    pub fn is_running(&self, process: Process) -> bool {
        self.machine(process).life.borrow().as_ref().is_some_and(|life| life.alive.get())
    }

    /// Ends the process now, without any of its code running again. Its memory is gone; see [`Crash`] for its disk. Without a process only the disk is
    /// struck.
    pub fn crash(&self, process: Process, how: Crash) {
        let machine = self.machine(process);
        let life = machine.life.borrow_mut().take();
        if let Some(life) = life {
            // First, so that what destructors do has no effect: a dead process runs none.
            life.alive.set(false);
            self.shared.net.break_connections(machine.number);
            if let Crash::PowerCut(loss) = how {
                machine.disk.cut_power(loss);
            }
            self.shared.scheduler.end_tasks(|owner| owner.life == life.number);
        } else if let Crash::PowerCut(loss) = how {
            machine.disk.cut_power(loss);
        }
        self.shared.net.forget_machine(machine.number);
        self.shared.scheduler.note(machine.number as u64);
    }

    /// Asks the process to stop; see [`super::Io::signal`].
    pub fn signal(&self, process: Process, signal: Signal) {
        if let Some(life) = &*self.machine(process).life.borrow() {
            let mut signals = life.signals.borrow_mut();
            signals.waiting.push_back(signal);
            let waker = signals.waker.take();
            drop(signals);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Changes how a machine's disk behaves from now on.
    pub fn set_disk(&self, process: Process, options: DiskOptions) {
        self.machine(process).disk.set_options(options);
    }

    /// How a machine's disk behaves.
    pub fn disk_options(&self, process: Process) -> DiskOptions {
        self.machine(process).disk.options()
    }

    /// Turns one bit of a file where it lies.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn flip_bit(&self, process: Process, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        self.machine(process).disk.flip_bit(path, byte, bit)
    }

    /// What has happened on a machine's disk.
    pub fn disk_counts(&self, process: Process) -> DiskCounts {
        self.machine(process).disk.counts()
    }

    /// Changes how the network behaves from now on.
    pub fn set_net(&self, options: NetOptions) {
        self.shared.net.set_options(options);
    }

    /// What has happened on the network.
    pub fn net_counts(&self) -> NetCounts {
        self.shared.net.counts()
    }

    /// Keeps two machines from hearing each other: what is sent waits, connecting times out.
    pub fn cut(&self, a: Process, b: Process) {
        self.shared.net.set_cut(a.0, b.0, true);
    }

    /// Lets two machines hear each other again.
    pub fn heal(&self, a: Process, b: Process) {
        self.shared.net.set_cut(a.0, b.0, false);
    }

    /// Breaks all connections of a machine now; both ends see a reset.
    pub fn break_connections(&self, process: Process) {
        self.shared.net.break_connections(process.0);
    }

    /// Moves a machine's wall clock by so many milliseconds, forth or back. [`super::Io::now`] does not notice.
    pub fn jump_clock(&self, process: Process, by_ms: i64) {
        let offset = &self.machine(process).clock_offset_ms;
        offset.set(offset.get() + by_ms);
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Mono {
        Mono(self.shared.scheduler.clock.now())
    }

    /// A number that is the same only if everything happened in the same order at the same times.
    pub fn trace_hash(&self) -> u64 {
        self.shared.scheduler.trace_hash()
    }

    /// How many times tasks were polled.
    pub fn polls(&self) -> u64 {
        self.shared.scheduler.total_polls()
    }

    /// A stream of chance for a scenario's own decisions.
    pub fn random(&self, concern: &str) -> Random {
        Random::new(self.shared.seed, &format!("scenario: {concern}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for machine in self.shared.machines.borrow().iter() {
            if let Some(life) = machine.life.borrow_mut().take() {
                life.alive.set(false);
            }
        }
        self.shared.scheduler.end_tasks(|_| true);
        self.shared.scheduler.forget_agenda();
        self.shared.net.forget_agenda();
    }
}

/// Prints the seed when a run panics.
struct Story {
    seed: u64,
}

impl Drop for Story {
    fn drop(&mut self) {
        eprintln!("simulation: the run of seed {} ended with a panic", self.seed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// One simulated core's door to its world.
#[derive(Clone)]
pub struct Io {
    core: Rc<Core>,
}

struct Core {
    shared: Rc<Shared>,
    machine: Rc<Machine>,
    life: Rc<Life>,
    shard: u16,
    pool: Pool,
}

impl Io {
    pub(super) fn shard(&self) -> ShardId {
        ShardId(self.core.shard)
    }

    pub(super) fn now(&self) -> Mono {
        Mono(self.core.shared.scheduler.clock.now())
    }

    pub(super) fn wall_clock(&self) -> Timestamp {
        let passed = i64::try_from(self.now().0 / 1_000_000).unwrap_or(i64::MAX);
        Timestamp(WALL_CLOCK_START_MS + passed + self.core.machine.clock_offset_ms.get())
    }

    pub(super) fn random_u64(&self) -> u64 {
        self.core.machine.random.borrow_mut().next_u64()
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.core.pool
    }

    fn owner(&self) -> Owner {
        Owner { life: self.core.life.number, shard: self.core.shard }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if self.core.life.alive.get() {
            self.core.shared.scheduler.spawn(self.owner(), Box::pin(task));
        }
    }

    /// This core's main future has ended.
    fn end_core(&self) {
        let owner = self.owner();
        let life = &self.core.life;
        life.cores.set(life.cores.get() - 1);
        if life.cores.get() == 0 {
            life.alive.set(false);
            self.core.shared.scheduler.end_tasks(|other| other.life == owner.life);
            self.core.shared.net.forget_listeners(self.core.machine.number);
        } else {
            self.core.shared.scheduler.end_tasks(|other| other == owner);
        }
    }

    pub(super) fn sleep(&self, wait: Duration) -> Sleep {
        Sleep::new(&self.core.shared.scheduler, wait)
    }

    pub(super) fn yield_now(&self) -> YieldNow {
        YieldNow { yielded: false }
    }

    pub(super) async fn signal(&self) -> Signal {
        std::future::poll_fn(|cx| {
            let mut signals = self.core.life.signals.borrow_mut();
            match signals.waiting.pop_front() {
                Some(signal) => Poll::Ready(signal),
                None => {
                    signals.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn disk(&self) -> &Rc<Disk> {
        &self.core.machine.disk
    }

    pub(super) async fn open(&self, path: &Path, how: Open) -> io::Result<File> {
        self.disk().open(&self.core.pool, path, how).await
    }

    pub(super) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk().create_dir_all(path).await
    }

    pub(super) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk().remove_file(path).await
    }

    pub(super) async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk().remove_dir_all(path).await
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk().rename(from, to).await
    }

    pub(super) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().sync_dir(path).await
    }

    pub(super) async fn mount_of(&self, path: &Path) -> io::Result<Mount> {
        self.disk().stat(path).await?;
        Ok(Mount::new(self.disk()))
    }

    pub(super) async fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk().list_dir(path).await
    }

    pub(super) async fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk().space(path).await
    }

    pub(super) async fn stat(&self, path: &Path) -> io::Result<(u64, bool)> {
        self.disk().stat(path).await
    }

    pub(super) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        self.core.shared.net.listen(self.core.machine.number, address)
    }

    pub(super) fn adopt(&self, socket: Socket) -> Stream {
        Stream::adopt(socket)
    }

    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        self.core.shared.net.connect(self.core.machine.number, address).await
    }
}

/// Ready at the second look. Which task is next is chance anyway.
pub(super) struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
