//! The floor: a blocking server that does only what no broker can avoid. Receive, check the CRC, copy into a journal buffer, one durable
//! write for all that has arrived, answer.
//!
//! It is what a broker on this machine is measured against, not a broker: nothing can be read back, there are no topics, no segments, no
//! recovery. It speaks just enough of the protocol for `load produce` to run unchanged against it.
//!
//! One thread per connection receives, checks and copies. A write takes everything that has arrived (at most a block) with one
//! `pwrite` to a file that was written with zeros before and is opened with O_DIRECT and O_DSYNC; a few are in flight, and answers leave in the
//! order of the blocks. When nothing is in flight the receiving thread writes by itself, which saves a wake-up; otherwise writer threads do.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
    ptr,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Instant,
};

use clap::Parser;
use coretide_perf::{
    Result, batch, procfs,
    units::Size,
    wire::{PRODUCE_VERSION, Reader, Writer, api},
};

/// A blocking server that receives batches, checks them, writes them durably and answers: the least that a broker can do.
#[derive(Parser)]
#[command(name = "floor", version)]
struct Options {
    /// Where to listen; port 0 prints the port it got.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The journal file. Created and written with zeros at start, removed at exit.
    #[arg(long)]
    file: PathBuf,
    /// Bytes of the journal file; writing starts over at its end.
    #[arg(long, default_value = "256MiB")]
    size: Size,
    /// Bytes of a block, the largest write.
    #[arg(long, default_value = "1MiB")]
    block: Size,
    /// Writes in flight at most.
    #[arg(long, default_value_t = 2)]
    depth: usize,
    /// Writer threads; without any, the receiving threads do all the writing. By default as many as the depth.
    #[arg(long)]
    threads: Option<usize>,
    /// Bytes of the read buffer of a connection.
    #[arg(long, default_value = "512KiB")]
    read_buffer: Size,
}

const ALIGN: usize = 4096;
/// What a journal needs to find its way at recovery: a magic, a sequence, a length.
const BLOCK_HEADER: usize = 64;
const PARTITIONS_MAX: usize = 4096;

fn main() {
    if let Err(error) = run(Options::parse()) {
        eprintln!("floor: {error}");
        std::process::exit(1);
    }
}

fn run(options: Options) -> Result<()> {
    // Blocked before any thread starts, so that only the wait below takes them.
    // SAFETY: a sigset is plain data that sigemptyset makes valid; all pointers are to a local.
    let signals = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut());
        set
    };
    let block = (options.block.0 as usize).next_multiple_of(ALIGN);
    let size = options.size.0.next_multiple_of(block as u64).max(2 * block as u64);
    let file = prepare(&options.file, size, block)?;
    let depth = options.depth.max(1);
    let writers = options.threads.unwrap_or(depth);
    let journal = Arc::new(Journal::new(file, size, block, depth, writers));
    for _ in 0..writers {
        let journal = journal.clone();
        thread::spawn(move || journal.write_for_ever());
    }
    let listener = TcpListener::bind(options.listen)?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let read_buffer = options.read_buffer.0 as usize;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let journal = journal.clone();
            thread::spawn(move || {
                if let Err(error) = serve(stream, &journal, address, read_buffer) {
                    eprintln!("floor: connection: {error}");
                }
            });
        }
    });
    let mut signal = 0;
    // SAFETY: both pointers are to locals that live through the call.
    unsafe { libc::sigwait(&signals, &mut signal) };
    println!("cpu {:.2} s", procfs::own_cpu().as_secs_f64());
    fs::remove_file(&options.file)?;
    Ok(())
}

/// Creates the file and writes every byte of it, so that later writes change neither its size nor its extents.
fn prepare(path: &PathBuf, size: u64, block: usize) -> Result<File> {
    let started = Instant::now();
    let zeros = Aligned::zeroed(block);
    let open = |flags| OpenOptions::new().create(true).write(true).truncate(false).custom_flags(flags).open(path);
    let file = open(libc::O_DIRECT)?;
    file.set_len(size)?;
    for at in (0..size).step_by(block) {
        file.write_all_at(zeros.bytes(), at)?;
    }
    file.sync_all()?;
    eprintln!("{}: {} MiB written with zeros in {:.1} s", path.display(), size >> 20, started.elapsed().as_secs_f64());
    Ok(open(libc::O_DIRECT | libc::O_DSYNC)?)
}

/// Memory at a 4 KiB boundary.
struct Aligned {
    start: *mut u8,
    len: usize,
}

// SAFETY: an owner of plain memory; who may touch which part when is the journal's business (see `Journal::append`).
unsafe impl Send for Aligned {}

impl Aligned {
    fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero (see `layout`).
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Aligned { start, len }
    }
    fn layout(len: usize) -> Layout {
        assert!(len > 0, "an aligned buffer of no bytes");
        Layout::from_size_align(len, ALIGN).expect("4096 is a power of two and the length is far below isize::MAX")
    }
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes were allocated and initialised; nobody writes while a caller reads (see `Journal::append`).
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with the same layout.
        unsafe { dealloc(self.start, Self::layout(self.len)) }
    }
}

/// Bytes that go to disk with one write, and the answers that wait for it.
struct Block {
    memory: Aligned,
    filled: usize,
    /// Threads that still copy into their part.
    copying: usize,
    answers: Vec<(Arc<TcpStream>, Vec<u8>)>,
}

struct State {
    open: Block,
    free: Vec<Block>,
    in_flight: usize,
    sequence: u64,
    position: u64,
    /// Written, but not answered: an earlier block is still in flight.
    written: BTreeMap<u64, Block>,
    answered: u64,
    answering: bool,
    offsets: Vec<i64>,
}

struct Journal {
    file: File,
    size: u64,
    block: usize,
    depth: usize,
    /// Threads that do nothing but write.
    writers: usize,
    state: Mutex<State>,
    /// There may be something to write.
    work: Condvar,
    /// There may be room in the open block.
    room: Condvar,
}

impl Journal {
    fn new(file: File, size: u64, block: usize, depth: usize, writers: usize) -> Self {
        let fresh = || Block {
            memory: Aligned::zeroed(block),
            filled: BLOCK_HEADER,
            copying: 0,
            answers: Vec::with_capacity(64),
        };
        let state = State {
            open: fresh(),
            free: (0..depth).map(|_| fresh()).collect(),
            in_flight: 0,
            sequence: 0,
            position: 0,
            written: BTreeMap::new(),
            answered: 0,
            answering: false,
            offsets: vec![0; PARTITIONS_MAX],
        };
        Journal {
            file,
            size,
            block,
            depth,
            writers,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the journal")
    }

    /// Copies a batch into the open block and leaves an answer to be sent once that is durable. Waits while the block is full.
    fn append(
        &self,
        batch: &[u8],
        to: &Arc<TcpStream>,
        answer: impl FnOnce(&mut Vec<i64>, &mut Vec<u8>),
    ) -> Result<()> {
        if batch.len() + BLOCK_HEADER > self.block {
            return Err(format!("a batch of {} bytes does not fit a block", batch.len()).into());
        }
        let mut state = self.lock();
        while state.open.filled + batch.len() > self.block {
            // The block is full: with no writer threads somebody must write it.
            if state.open.copying == 0 && state.in_flight < self.depth && !state.free.is_empty() {
                state = self.write_one(state);
            } else {
                state = self.room.wait(state).expect("no thread panics while it holds the journal");
            }
        }
        let State { open, offsets, .. } = &mut *state;
        let at = open.filled;
        open.filled += batch.len();
        open.copying += 1;
        let known = open.answers.iter().position(|(stream, _)| Arc::ptr_eq(stream, to));
        let index = known.unwrap_or_else(|| {
            open.answers.push((to.clone(), Vec::with_capacity(256)));
            open.answers.len() - 1
        });
        answer(offsets, &mut open.answers[index].1);
        let start = open.memory.start;
        drop(state);
        // SAFETY: the range was reserved above for this thread alone and lies within the block; the block is not written, moved to another owner or
        // reused while `copying` is above zero, and moving a `Block` does not move its memory.
        unsafe { ptr::copy_nonoverlapping(batch.as_ptr(), start.add(at), batch.len()) };
        let mut state = self.lock();
        state.open.copying -= 1;
        if state.open.copying == 0 && state.open.filled + (64 << 10) > self.block {
            self.room.notify_all();
        }
        Ok(())
    }

    /// Called when a connection has nothing more to append for now: writes if nobody else is about to.
    fn kick(&self) {
        let mut state = self.lock();
        if self.writers > 0 && state.in_flight > 0 {
            if state.ready(self.depth) {
                drop(state);
                self.work.notify_one();
            }
            return;
        }
        while state.ready(self.depth) {
            state = self.write_one(state);
            if self.writers > 0 {
                return;
            }
        }
    }

    fn write_for_ever(&self) {
        let mut state = self.lock();
        loop {
            state = if state.ready(self.depth) {
                self.write_one(state)
            } else {
                self.work.wait(state).expect("no thread panics while it holds the journal")
            };
        }
    }

    /// Seals the open block, writes it, and sends the answers of every block that is durable together with all before it.
    fn write_one<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let fresh = state.free.pop().expect("as many blocks as writes in flight, and one open");
        let mut block = std::mem::replace(&mut state.open, fresh);
        let sequence = state.sequence;
        state.sequence += 1;
        state.in_flight += 1;
        let length = block.filled.next_multiple_of(ALIGN);
        if state.position + length as u64 > self.size {
            state.position = 0;
        }
        let at = state.position;
        state.position += length as u64;
        drop(state);
        self.room.notify_all();

        // SAFETY: this thread owns the block and nobody copies into it any more; the header lies within it.
        unsafe {
            ptr::copy_nonoverlapping(sequence.to_be_bytes().as_ptr(), block.memory.start, 8);
            ptr::copy_nonoverlapping((block.filled as u64).to_be_bytes().as_ptr(), block.memory.start.add(8), 8);
        }
        if let Err(error) = self.file.write_all_at(&block.memory.bytes()[..length], at) {
            eprintln!("floor: write of {length} bytes at {at}: {error}");
            std::process::exit(1);
        }
        block.filled = BLOCK_HEADER;

        let mut state = self.lock();
        state.in_flight -= 1;
        state.written.insert(sequence, block);
        if state.ready(self.depth) {
            self.work.notify_one();
        }
        if state.answering {
            return state;
        }
        state.answering = true;
        let mut next = state.answered;
        while let Some(mut block) = state.written.remove(&next) {
            drop(state);
            for (stream, answers) in block.answers.drain(..) {
                // A client that left gets no answer; its receiving thread notices by itself.
                let _ = (&*stream).write_all(&answers);
            }
            state = self.lock();
            state.free.push(block);
            next += 1;
            state.answered = next;
            self.room.notify_all();
            if state.ready(self.depth) {
                self.work.notify_one();
            }
        }
        state.answering = false;
        state
    }
}

impl State {
    /// Whether the open block holds something and may be written now.
    fn ready(&self, depth: usize) -> bool {
        self.open.filled > BLOCK_HEADER && self.open.copying == 0 && self.in_flight < depth && !self.free.is_empty()
    }
}

/// Receives from one connection until it closes.
fn serve(stream: TcpStream, journal: &Journal, address: SocketAddr, read_buffer: usize) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = Arc::new(stream);
    let mut buffer = vec![0u8; read_buffer];
    let (mut from, mut to) = (0, 0);
    loop {
        while let Some(length) = buffer[from..to].get(..4) {
            let length = usize::try_from(i32::from_be_bytes(length.try_into().expect("four bytes")))?;
            if length + 4 > buffer.len() {
                buffer.resize(length + 4, 0);
            }
            let Some(frame) = buffer[from..to].get(4..4 + length) else { break };
            request(frame, &stream, journal, address)?;
            from += 4 + length;
        }
        journal.kick();
        if from == to {
            (from, to) = (0, 0);
        } else if buffer.len() - from < buffer.len() / 4 || to == buffer.len() {
            buffer.copy_within(from..to, 0);
            (from, to) = (0, to - from);
        }
        let n = (&*stream).read(&mut buffer[to..])?;
        if n == 0 {
            return Ok(());
        }
        to += n;
    }
}

/// Takes in one request: a Produce goes to the journal, all else is answered at once.
fn request(frame: &[u8], stream: &Arc<TcpStream>, journal: &Journal, address: SocketAddr) -> Result<()> {
    let mut r = Reader(frame);
    let (key, version, correlation) = (r.i16()?, r.i16()?, r.i32()?);
    r.bytes16()?;
    let mut w = Writer::default();
    w.i32(0).i32(correlation);
    match (key, version) {
        (api::PRODUCE, PRODUCE_VERSION) => return produce(r, correlation, stream, journal),
        (api::API_VERSIONS, _) => {
            let served = [
                (api::PRODUCE, PRODUCE_VERSION),
                (api::METADATA, 4),
                (api::API_VERSIONS, 0),
                (api::CREATE_TOPICS, 4),
                (api::DELETE_TOPICS, 3),
                (api::INIT_PRODUCER_ID, 1),
            ];
            w.i16(if version == 0 { 0 } else { 35 }).i32(served.len() as i32);
            for (key, version) in served {
                w.i16(key).i16(version).i16(version);
            }
        }
        // Every topic exists, with as many partitions as there may be.
        (api::METADATA, 4) => {
            r.i32()?;
            let name = String::from_utf8_lossy(r.bytes16()?).into_owned();
            w.i32(0).i32(1).i32(1).string(&address.ip().to_string()).i32(address.port().into()).i16(-1);
            w.string("floor").i32(1).i32(1).i16(0).string(&name).i8(0).i32(PARTITIONS_MAX as i32);
            for partition in 0..PARTITIONS_MAX as i32 {
                w.i16(0).i32(partition).i32(1).i32(1).i32(1).i32(1).i32(1);
            }
        }
        (api::CREATE_TOPICS, 4) | (api::DELETE_TOPICS, 3) => {
            r.i32()?;
            let name = String::from_utf8_lossy(r.bytes16()?).into_owned();
            w.i32(0).i32(1).string(&name).i16(0);
            if key == api::CREATE_TOPICS {
                w.i16(-1);
            }
        }
        (api::INIT_PRODUCER_ID, 1) => {
            w.i32(0).i16(0).i64(i64::from(correlation)).i16(0);
        }
        _ => return Err(format!("no answer to API {key} version {version}").into()),
    }
    (&**stream).write_all(&coretide_perf::wire::close_frame(w))?;
    Ok(())
}

fn produce(mut r: Reader<'_>, correlation: i32, stream: &Arc<TcpStream>, journal: &Journal) -> Result<()> {
    r.tags()?;
    r.compact()?;
    let acks = r.i16()?;
    r.i32()?;
    let one = r.uvarint()?;
    let topic = r.compact()?;
    if one != 2 || r.uvarint()? != 2 {
        return Err("a Produce request must hold one topic with one partition".into());
    }
    let partition = r.i32()?;
    let index = usize::try_from(partition).ok().filter(|&p| p < PARTITIONS_MAX).ok_or("a partition out of range")?;
    let bytes = r.compact()?;
    if !batch::crc_holds(bytes) {
        return Err("a batch with a wrong checksum".into());
    }
    let records = i64::from(batch::records(bytes));
    journal.append(bytes, stream, |offsets, out| {
        let base = offsets[index];
        offsets[index] += records;
        if acks == 0 {
            return;
        }
        let mut w = Writer(std::mem::take(out));
        let start = w.0.len();
        w.i32(0).i32(correlation).uvarint(0).uvarint(2).uvarint(topic.len() as u32 + 1).raw(topic).uvarint(2);
        w.i32(partition).i16(0).i64(base).i64(-1).i64(0).uvarint(1).uvarint(0).uvarint(0);
        w.uvarint(0).i32(0).uvarint(0);
        let length = (w.0.len() - start - 4) as i32;
        w.0[start..start + 4].copy_from_slice(&length.to_be_bytes());
        *out = w.0;
    })
}
