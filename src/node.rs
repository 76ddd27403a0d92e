//! One broker process: its cores from their start to their end.
//!
//! ```text
//! core 0: lock and read the directory -> seed every core -> all ready -> old journals removed -> listen -> ... -> stop
//! others:                                their seed -> open journal and logs -> ready -> serve -> quiet -> drained
//! ```
//!
//! The same code runs on real cores and on simulated ones: [`core`] is one core's whole life.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::base::{Mono, NodeId, ShardId, Timestamp, map};
use crate::broker::{self, Broker as Answers};
use crate::cluster::Endpoint;
use crate::control::{self, Place, Question};
use crate::io::uring::{self, HostFault};
use crate::io::{Io, Listener, Open, Receiver, Sender, mailbox};
use crate::net::{self, Arrival, Door, doors};
use crate::shard::{self, BootError, BootSummary, CoreSeed, Identity, Layout, MeshSeat, Shard, Start, mesh};
use crate::storage::StorageError;

/// What a node is to be.
#[derive(Clone)]
pub struct Options {
    /// Where it keeps what.
    pub layout: Layout,
    /// Its node id.
    pub node: NodeId,
    /// Its rack, if any.
    pub rack: Option<Arc<str>>,
    /// The cluster id for a new directory; `None`: a random one.
    pub cluster_id: Option<Arc<str>>,
    /// Where it listens.
    pub listeners: Vec<Listen>,
    /// How each core behaves.
    pub shard: shard::Options,
    /// How connections behave.
    pub net: net::Options,
    /// How requests are answered.
    pub broker: broker::Options,
    /// Called once when the disk failed and nothing may be acknowledged any more. Ends the process.
    pub on_failure: Arc<dyn Fn(&StorageError) + Send + Sync>,
    /// Called at the second request to stop. Ends the process.
    pub on_impatience: Arc<dyn Fn() + Send + Sync>,
}

/// One address to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// The listener's name.
    pub name: Arc<str>,
    /// Where to bind; port 0 asks for a free one.
    pub bind: SocketAddr,
    /// What clients are told; port 0: the one that was bound.
    pub advertised_host: Arc<str>,
    /// See `advertised_host`.
    pub advertised_port: u16,
}

/// A node that answers requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Started {
    /// The addresses that were bound, in the order of the listeners.
    pub addresses: Vec<SocketAddr>,
    /// What clients are told.
    pub endpoints: Vec<Endpoint>,
    /// The cluster it is in.
    pub cluster_id: Arc<str>,
    /// What the start found on disk.
    pub summary: BootSummary,
    /// How long the start took.
    pub took: Duration,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process works in the directory.
    #[error("the data directory {} is in use by another process. Stop that one, or name another directory.", .0.display())]
    DirectoryInUse(PathBuf),
    /// The directory cannot be made or opened.
    #[error("the data directory {} cannot be used: {source}", dir.display())]
    Directory {
        /// Which one.
        dir: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// What is in the directory cannot be brought in order.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The machine refuses what a core needs.
    #[error(transparent)]
    Host(#[from] HostFault),
    /// A core ended before it was ready.
    #[error("core {0} ended while the broker was starting")]
    CoreLost(ShardId),
}

/// What core 0 tells the others.
enum Order {
    Begin(Box<CoreSeed>),
    Stop,
    Finish,
}

/// What the others tell core 0.
enum Note {
    Ready(Result<(), StartError>),
    Quiet,
    Finished,
}

/// One core's place in a node. Made for all cores together by [`seats`].
pub struct Seat {
    mesh: MeshSeat,
    arrivals: Receiver<Arrival>,
    orders: Receiver<Order>,
    notes: Sender<Note>,
    questions: Option<Receiver<Question>>,
    chief: Option<Chief>,
}

impl Seat {
    /// Has the core answer the control thread.
    pub fn answer(&mut self, questions: Receiver<Question>) {
        self.questions = Some(questions);
    }
}

/// What only core 0 has.
struct Chief {
    cores: Vec<Sender<Order>>,
    notes: Receiver<Note>,
    door: Door,
    announce: Box<dyn FnOnce(Result<Started, StartError>) + Send>,
    stop: Receiver<()>,
}

/// The places of a node's cores, and the way to stop it. `announce` hears once how the start went.
pub fn seats(
    cores: u16,
    announce: impl FnOnce(Result<Started, StartError>) + Send + 'static,
) -> (Vec<Seat>, Sender<()>) {
    let (stop, stopped) = mailbox(1);
    let (notes, heard) = mailbox(2 * usize::from(cores));
    let (door, arrivals) = doors(usize::from(cores));
    let (orders, taken): (Vec<_>, Vec<_>) = (0..cores).map(|_| mailbox(4)).unzip();
    let announce = Box::new(announce);
    let mut chief = Some(Chief { cores: orders, notes: heard, door, announce, stop: stopped });
    let seats = mesh(cores).into_iter().zip(arrivals).zip(taken).map(|((mesh, arrivals), orders)| Seat {
        mesh,
        arrivals,
        orders,
        notes: notes.clone(),
        questions: None,
        chief: chief.take(),
    });
    (seats.collect(), stop)
}

/// One core, from its start to its end.
pub async fn core(io: Io, seat: Seat, options: Options) {
    core_seen(io, seat, options, |_| {}).await;
}

/// As [`core`]; `ready` sees the core when it serves the others. For the simulation, which asks of it what no message of the protocol does yet.
pub async fn core_seen(io: Io, mut seat: Seat, options: Options, ready: impl FnOnce(&Shard)) {
    let place = Rc::new(OnceCell::new());
    if let Some(questions) = seat.questions.take() {
        io.spawn(control::answer(io.shard(), questions, place.clone()));
    }
    match seat.chief.take() {
        Some(chief) => lead(io, seat, chief, options, place, ready).await,
        None => follow(io, seat, options, place, ready).await,
    }
}

/// What the control thread may ask about, once the core serves.
type Seen = Rc<OnceCell<Place>>;

async fn follow(io: Io, mut seat: Seat, options: Options, place: Seen, ready: impl FnOnce(&Shard)) {
    let Some(Order::Begin(seed)) = seat.orders.recv().await else { return };
    let on_failure = failure(&options);
    let start = Start { seat: seat.mesh, seed: *seed, options: options.shard.clone(), on_failure };
    let shard = match Shard::start(&io, start, None).await {
        Ok(shard) => shard,
        Err(error) => {
            let _ = seat.notes.send(Note::Ready(Err(error.into()))).await;
            return;
        }
    };
    let _ = seat.notes.send(Note::Ready(Ok(()))).await;
    ready(&shard);
    let (orders, notes) = (&mut seat.orders, &seat.notes);
    let (quiet, served) = serve(&io, &shard, &options, seat.arrivals);
    let _ = place.set(served);
    wait_for_stop(orders).await;
    shard.begin_stop();
    quiet.await;
    let _ = notes.send(Note::Quiet).await;
    while !matches!(orders.recv().await, Some(Order::Finish) | None) {}
    shard.finish().await;
    let _ = notes.send(Note::Finished).await;
}

async fn wait_for_stop(orders: &mut Receiver<Order>) {
    while !matches!(orders.recv().await, Some(Order::Stop) | None) {}
}

/// Starts to serve connections; the future ends when the last one has ended after a stop.
fn serve(
    io: &Io,
    shard: &Shard,
    options: &Options,
    arrivals: Receiver<Arrival>,
) -> (impl Future<Output = ()> + use<>, Place) {
    let answers = Rc::new(Answers::new(shard.clone(), Arc::new(options.broker.clone())));
    let (done, mut ended) = mailbox(1);
    let counts = Rc::new(net::Counts::default());
    let place = Place { shard: shard.clone(), broker: answers.clone(), connections: counts.clone(), started: None };
    let serving = net::serve(io.clone(), answers, arrivals, Rc::new(options.net.clone()), counts);
    io.spawn(async move {
        serving.await;
        let _ = done.try_send(());
    });
    let quiet = async move {
        ended.recv().await;
    };
    (quiet, place)
}

fn failure(options: &Options) -> Rc<dyn Fn(&StorageError)> {
    let on_failure = options.on_failure.clone();
    Rc::new(move |error| on_failure(error))
}

async fn lead(io: Io, seat: Seat, chief: Chief, options: Options, place: Seen, ready: impl FnOnce(&Shard)) {
    let Chief { cores, mut notes, door, announce, stop } = chief;
    let begun = io.now();
    let (shard, _lock, listeners, started) = match begin(&io, seat.mesh, &cores, &mut notes, &options, begun).await {
        Ok(begun) => begun,
        Err(error) => return announce(Err(error)),
    };
    let (quiet, mut served) = serve(&io, &shard, &options, seat.arrivals);
    let turn = Rc::new(net::Turn::new(served.connections.clone()));
    for (number, listener) in listeners.into_iter().enumerate() {
        let net = Rc::new(options.net.clone());
        io.spawn(net::accept(io.clone(), listener, number, door.clone(), turn.clone(), net));
    }
    served.started = Some(control::Started {
        process_since: Timestamp(io.wall_clock().0 - (io.now().0 / 1_000_000) as i64),
        took: started.took,
        recovered: started.summary,
    });
    let _ = place.set(served);
    announce(Ok(started));
    ready(&shard);
    let (sweeper, image) = (shard.clone(), shard.image());
    io.spawn(async move {
        if let Err(error) = sweeper.sweep_deleted(&image).await {
            tracing::warn!("directories of deleted topics stay until the next start: {error}");
        }
    });
    asked_to_stop(&io, stop).await;
    let (patient, impatience) = (io.clone(), options.on_impatience.clone());
    io.spawn(async move {
        patient.signal().await;
        impatience();
    });
    tracing::info!("stopping: parked requests end now, the others within {} s", options.net.stop_within.as_secs());
    shard.begin_stop();
    tell_all(&cores, || Order::Stop).await;
    quiet.await;
    hear_from_all(&mut notes, cores.len() - 1, |note| matches!(note, Note::Quiet)).await;
    tell_all(&cores, || Order::Finish).await;
    shard.finish().await;
    hear_from_all(&mut notes, cores.len() - 1, |note| matches!(note, Note::Finished)).await;
    if let Err(error) = shard.seal_metadata().await {
        (options.on_failure)(&error);
    }
    tracing::info!("stopped: everything is drained");
}

type Begun = (Shard, crate::io::File, Vec<Listener>, Started);

async fn begin(
    io: &Io,
    seat: MeshSeat,
    cores: &[Sender<Order>],
    notes: &mut Receiver<Note>,
    options: &Options,
    begun: Mono,
) -> Result<Begun, StartError> {
    let lock = lock_directory(io, &options.layout.data).await?;
    let mut listeners = Vec::new();
    let mut endpoints = Vec::new();
    for listen in &options.listeners {
        let listener = io.listen(listen.bind).await;
        let listener = listener.map_err(|source| StartError::Listen { address: listen.bind, source })?;
        let port = if listen.advertised_port == 0 { listener.local_addr().port() } else { listen.advertised_port };
        endpoints.push(Endpoint { listener: listen.name.clone(), host: listen.advertised_host.clone(), port });
        listeners.push(listener);
    }
    let identity = Identity {
        node: options.node,
        rack: options.rack.clone(),
        endpoints: endpoints.clone(),
        cores: cores.len() as u16,
        cluster_id: options.cluster_id.clone(),
    };
    tracing::debug!("the directory is locked, the addresses are bound");
    let mut booted = shard::boot(io, &options.layout, &identity, &options.shard, failure(options)).await?;
    tracing::debug!(summary = ?booted.summary, "the directory is in order");
    let mut seeds = std::mem::take(&mut booted.cores).into_iter();
    let mine = seeds.next().expect("a node has a core");
    for (core, seed) in cores[1..].iter().zip(seeds) {
        let _ = core.send(Order::Begin(Box::new(seed))).await;
    }
    let start = Start { seat, seed: mine, options: options.shard.clone(), on_failure: failure(options) };
    let shard = Shard::start(io, start, Some(&booted)).await?;
    tracing::debug!("core 0 is ready");
    for _ in 1..cores.len() {
        match notes.recv().await {
            Some(Note::Ready(ready)) => ready?,
            _ => return Err(StartError::CoreLost(ShardId(0))),
        }
    }
    booted.remove_retired(io).await.map_err(BootError::Storage)?;
    let started = Started {
        addresses: listeners.iter().map(Listener::local_addr).collect(),
        endpoints,
        cluster_id: booted.image.cluster_id().cloned().unwrap_or_default(),
        summary: booted.summary,
        took: io.now() - begun,
    };
    Ok((shard, lock, listeners, started))
}

/// Held for the life of the process: two brokers in one directory would destroy it.
async fn lock_directory(io: &Io, dir: &std::path::Path) -> Result<crate::io::File, StartError> {
    let failed = |source| StartError::Directory { dir: dir.to_owned(), source };
    io.create_dir_all(dir).await.map_err(failed)?;
    let how = Open { write: true, create: true, lock: true, ..Open::default() };
    match io.open(&dir.join("lock"), how).await {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(StartError::DirectoryInUse(dir.to_owned())),
        opened => opened.map_err(failed),
    }
}

/// Ends with a signal, or with a word from whoever started the node. Nobody there to say it is not a word.
async fn asked_to_stop(io: &Io, mut stop: Receiver<()>) {
    let told = async {
        if stop.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    let (mut signal, mut told) = (std::pin::pin!(io.signal()), std::pin::pin!(told));
    std::future::poll_fn(|context| {
        if signal.as_mut().poll(context).is_ready() || told.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}

async fn tell_all(cores: &[Sender<Order>], order: impl Fn() -> Order) {
    for core in &cores[1..] {
        let _ = core.send(order()).await;
    }
}

async fn hear_from_all(notes: &mut Receiver<Note>, count: usize, is_it: impl Fn(&Note) -> bool) {
    let mut heard = 0;
    while heard < count {
        match notes.recv().await {
            Some(note) if is_it(&note) => heard += 1,
            Some(_) => {}
            None => return,
        }
    }
}

/// A broker that runs in this process, on cores of its own.
pub struct Broker {
    running: uring::Running<()>,
    started: Started,
    stop: Sender<()>,
}

impl Broker {
    /// Starts a broker and returns once it answers requests. The first of a process draws the seeds of its maps.
    pub fn start(cores: &uring::Cores, options: Options) -> Result<Self, StartError> {
        Self::start_asked(cores, options, Vec::new())
    }

    /// As [`Broker::start`]; each core answers the questions that come to it, from its first moment on.
    pub fn start_asked(
        cores: &uring::Cores,
        options: Options,
        questions: Vec<Receiver<Question>>,
    ) -> Result<Self, StartError> {
        map::seed(uring::host::random_words());
        let (announce, announced) = mpsc::channel();
        let count = u16::try_from(cores.cpus.len()).expect("cores were counted as a u16");
        let (mut seats, stop) = seats(count, move |outcome| {
            let _ = announce.send(outcome);
        });
        seats.iter_mut().zip(questions).for_each(|(seat, questions)| seat.answer(questions));
        let seats: Arc<Mutex<Vec<Option<Seat>>>> = Arc::new(Mutex::new(seats.into_iter().map(Some).collect()));
        let running = uring::run_cores(cores, move |io| {
            let at = usize::from(io.shard().0);
            let seat =
                seats.lock().ok().and_then(|mut seats| seats[at].take()).expect("each core takes its own seat once");
            core(io, seat, options.clone())
        })?;
        let started = announced.recv().map_err(|_| StartError::CoreLost(ShardId(0)))??;
        Ok(Self { running, started, stop })
    }

    /// Where and as what it runs.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Asks it to stop. [`Broker::wait`] returns when it has.
    pub fn stop(&self) {
        let _ = self.stop.try_send(());
    }

    /// Waits until it has stopped.
    pub fn wait(self) -> Result<(), HostFault> {
        self.running.join().map(drop)
    }
}
