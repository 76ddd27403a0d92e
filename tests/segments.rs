//! The segments part of the storage through its public door, on real files: what was pushed is what is read, through drains, flushes, rolls,
//! evictions, clean stops and crashes, from memory and from disk.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use coretide::base::{LeaderEpoch, LogId, Map, Offset, PartitionIndex, Timestamp, TopicId, crc};
use coretide::io::sim::{Crash, Loss, World, WorldOptions};
use coretide::io::uring::{Cores, run_cores};
use coretide::io::{Io, Open};
use coretide::storage::drive::{Drive, DriveOptions, Host, Recovering, SharedDisk, TailPage, TailPiece};
use coretide::storage::{CachedBatch, Fault, Log, LogCheckpoint, LogOptions, LogSpec, StorageError};
use smallvec::SmallVec;

const DIRECTORY: [u8; 16] = [0xd1; 16];
const LOG: LogId = LogId(77);

/// Runs `test` on one core with an empty directory of its own.
fn on_a_core<F: Future<Output = ()> + 'static>(
    name: &'static str,
    test: impl Fn(Io, PathBuf) -> F + Clone + Send + 'static,
) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("segments").join(name);
    let main = move |io: Io| {
        let (root, test) = (root.clone(), test.clone());
        async move {
            let _ = io.remove_dir_all(&root).await;
            io.create_dir_all(&root).await.expect("the test's directory");
            test(io.clone(), root.clone()).await;
            let _ = io.remove_dir_all(&root).await;
        }
    };
    run_cores(&Cores::on(vec![0]), main).and_then(|running| running.join()).expect("a core");
}

async fn open_drive(io: &Io, root: &Path) -> Drive {
    io.create_dir_all(root).await.expect("the test's directory");
    Drive::open(io, root, DIRECTORY, DriveOptions::default()).await.expect("a directory")
}

/// A core with logs and a journal in memory.
#[derive(Clone, Default)]
struct Core(Rc<State>);

#[derive(Default)]
struct State {
    logs: RefCell<Map<LogId, Log>>,
    /// Everything the journal was given, in order, with its sequence.
    journal: RefCell<Vec<(u64, TailPiece)>>,
    /// Sequences below are recycled.
    oldest: Cell<u64>,
    next: Cell<u64>,
    /// The journal takes no pages.
    closed: Cell<bool>,
    /// Somebody will soon wait for room.
    hurries: Cell<bool>,
    /// The log start by the newest entry in the journal, or by the checkpoint.
    start: Cell<i64>,
    pages: Cell<usize>,
    /// Each write of a drain finds one more of these in the journal when it is done.
    meanwhile: RefCell<Vec<Bytes>>,
}

impl Host for Core {
    fn with_log<R>(&self, log: LogId, with: impl FnOnce(&mut Log) -> R) -> Option<R> {
        self.0.logs.borrow_mut().get_mut(&log).map(with)
    }

    async fn journal_tail_page(&self, page: TailPage) -> Result<Option<u64>, StorageError> {
        if self.0.closed.get() {
            return Ok(None);
        }
        let seq = self.next_seq();
        let TailPage { segment, position, bytes, .. } = page;
        assert!(position.is_multiple_of(4096) && !bytes.is_empty() && bytes.len() < 4096);
        self.0.journal.borrow_mut().push((seq, TailPiece::Page { segment, position, bytes, seq }));
        self.0.pages.set(self.0.pages.get() + 1);
        Ok(Some(seq))
    }

    fn drained(&self, _bytes: u64) {
        let next = self.0.meanwhile.borrow_mut().pop();
        next.into_iter().for_each(|bytes| self.append(bytes, 1));
    }

    fn hurries(&self) -> bool {
        self.0.hurries.get()
    }

    fn spares(&self, _bytes: u64) -> bool {
        true
    }

    fn oldest_journal_seq(&self) -> u64 {
        self.0.oldest.get()
    }
}

impl Core {
    fn with(log: Log) -> Self {
        let core = Self::default();
        core.0.logs.borrow_mut().insert(log.spec().id, log);
        core
    }

    fn next_seq(&self) -> u64 {
        self.0.next.set(self.0.next.get() + 1);
        self.0.next.get()
    }

    fn log<R>(&self, with: impl FnOnce(&mut Log) -> R) -> R {
        self.with_log(LOG, with).expect("the log")
    }

    /// A batch becomes durable in the journal.
    fn append(&self, bytes: Bytes, pieces: usize) {
        let batch = cached(bytes, self.next_seq(), pieces);
        self.0.journal.borrow_mut().push((batch.seq, TailPiece::Batch(batch.clone())));
        self.log(|log| log.push(batch));
    }

    /// An entry that moves the log start becomes durable, and files of segments go: some at once, some later or never.
    async fn move_start(&self, drive: &Drive, to: i64, removed: bool) {
        self.0.start.set(self.0.start.get().max(to));
        self.log(|log| log.set_log_start(Offset(to)));
        let (directory, dead) = self.log(|log| (log.directory(), log.take_dead()));
        drive.retire_segments(LOG, &directory, &dead).await.expect("new names");
        if removed {
            drive.remove_segments(LOG, &directory, &dead).await.expect("files are removed");
        }
    }

    fn recycle(&self, needed: Option<u64>) {
        self.0.oldest.set(needed.unwrap_or(self.0.next.get() + 1));
        self.0.journal.borrow_mut().retain(|(seq, _)| *seq >= self.0.oldest.get());
    }
}

fn spec(root: &Path, options: LogOptions) -> LogSpec {
    let (topic, topic_id) = ("orders".into(), TopicId([5; 16]));
    LogSpec { id: LOG, topic, topic_id, partition: PartitionIndex(3), root: root.to_owned(), options }
}

/// A stored batch, valid down to its records: `records` of them with `value` bytes each.
fn batch(base: i64, epoch: i32, timestamp: i64, records: usize, value: usize) -> Bytes {
    let mut body = Vec::new();
    for place in 0..records {
        let mut record = vec![0u8, 0];
        varint(&mut record, place as i64);
        varint(&mut record, -1);
        varint(&mut record, value as i64);
        record.extend((0..value).map(|byte| (byte as i64 * 7 + base + place as i64) as u8));
        varint(&mut record, 0);
        varint(&mut body, record.len() as i64);
        body.extend(record);
    }
    let mut covered = Vec::new();
    covered.extend(0i16.to_be_bytes());
    covered.extend((records as i32 - 1).to_be_bytes());
    covered.extend(timestamp.to_be_bytes());
    covered.extend(timestamp.to_be_bytes());
    covered.extend((-1i64).to_be_bytes());
    covered.extend((-1i16).to_be_bytes());
    covered.extend((-1i32).to_be_bytes());
    covered.extend((records as i32).to_be_bytes());
    covered.extend(body);
    let mut out = Vec::new();
    out.extend(base.to_be_bytes());
    out.extend((covered.len() as i32 + 9).to_be_bytes());
    out.extend(epoch.to_be_bytes());
    out.push(2);
    out.extend(crc::crc32c(&covered).to_be_bytes());
    out.extend(covered);
    out.into()
}

fn varint(out: &mut Vec<u8>, value: i64) {
    coretide::base::varint::write_i64(out, value);
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a header")
}

fn cached(bytes: Bytes, seq: u64, pieces: usize) -> CachedBatch {
    let base = i64::from_be_bytes(number(&bytes, 0));
    let slices: SmallVec<[Bytes; 1]> = (0..pieces)
        .map(|piece| bytes.slice(bytes.len() * piece / pieces..bytes.len() * (piece + 1) / pieces))
        .collect();
    CachedBatch {
        base: Offset(base),
        last: Offset(base + i64::from(i32::from_be_bytes(number(&bytes, 23)))),
        epoch: LeaderEpoch(i32::from_be_bytes(number(&bytes, 12))),
        max_timestamp: Timestamp(i64::from_be_bytes(number(&bytes, 35))),
        seq,
        slices,
    }
}

fn joined(slices: &[Bytes]) -> Vec<u8> {
    slices.concat()
}

/// What was appended, and what of it must be read.
#[derive(Default)]
struct Model {
    batches: Vec<Bytes>,
    end: i64,
}

impl Model {
    fn append(&mut self, core: &Core, random: &mut Random, epoch: i32) {
        let records = 1 + random.below(5);
        let value = match random.below(12) {
            0 => 20_000 + random.below(60_000),
            1..=4 => random.below(4000),
            _ => random.below(300),
        };
        let bytes = batch(self.end, epoch, 1_000_000 + self.end * 10 - (random.below(50) as i64), records, value);
        self.end += records as i64;
        self.batches.push(bytes.clone());
        core.append(bytes, 1 + random.below(3));
    }

    /// The batches from the one that holds `offset`, below `up_to`.
    fn from(&self, offset: i64, up_to: i64) -> Vec<u8> {
        let wanted = |bytes: &&Bytes| {
            let batch = cached((*bytes).clone(), 0, 1);
            batch.last.0 >= offset && batch.base.0 < up_to
        };
        self.batches.iter().filter(wanted).flat_map(|bytes| bytes.iter().copied()).collect()
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

const SMALL: LogOptions = LogOptions {
    segment_bytes: 150_000,
    segment_ms: i64::MAX,
    segment_jitter_ms: 0,
    index_interval_bytes: 1000,
    segment_index_bytes: 1 << 20,
};

/// Reads from `offset` to the end by many reads and compares.
async fn compare(drive: &Drive, core: &Core, model: &Model, offset: i64, max_bytes: usize, up_to: i64) {
    let (mut at, mut all) = (offset, Vec::new());
    while at < up_to {
        let slices = drive.read(core, LOG, Offset(at), max_bytes, true, Offset(up_to)).await.expect("a read");
        let bytes = joined(&slices);
        assert!(!bytes.is_empty(), "nothing at {at} of {up_to}");
        let first_bytes = 12 + i32::from_be_bytes(number(&bytes, 8)) as usize;
        assert!(bytes.len() <= max_bytes.max(first_bytes), "{} bytes of {max_bytes}", bytes.len());
        let mut left = &bytes[..];
        while !left.is_empty() {
            let head = cached(Bytes::copy_from_slice(left), 0, 1);
            at = head.last.0 + 1;
            left = &left[12 + i32::from_be_bytes(number(left, 8)) as usize..];
        }
        all.extend(bytes);
    }
    assert!(all == model.from(offset, up_to), "other bytes from {offset} to {up_to}");
}

/// Any order of appends, drains, flushes, evictions, reads, clean stops and crashes gives back exactly what was appended. A crash may tear the last page
/// below the checkpoint and leaves garbage above it; the journal holds no more than what the logs said they need.
#[test]
fn what_was_pushed_is_what_is_read() {
    on_a_core("model", |io, root| async move {
        let (mut torn, mut pages, mut starts) = (0, 0, 0);
        for seed in 0..24 {
            let root = root.join(format!("{seed}"));
            let (tears, journaled, moved) = life_of_a_log(&io, &root, seed).await;
            (torn, pages, starts) = (torn + tears, pages + journaled, starts + moved);
        }
        assert!(torn > 3 && pages > 3, "{torn} torn pages and {pages} journaled ones exercise nothing");
        assert!(starts > 25, "the log start moved {starts} times");
    });
}

async fn life_of_a_log(io: &Io, root: &Path, seed: u64) -> (usize, usize, usize) {
    let mut random = Random(seed * 7919 + 1);
    let mut core = Core::with(Log::new(spec(root, SMALL)));
    let mut drive = open_drive(io, root).await;
    let mut checkpoint = core.log(|log| log.checkpoint());
    let (mut model, mut torn, mut pages, mut starts, mut epoch) = (Model::default(), 0, 0, 0, 0);
    for _ in 0..70 {
        match random.below(21) {
            0..=6 => (0..=random.below(12)).for_each(|_| model.append(&core, &mut random, epoch)),
            7..=9 => {
                drive.drain(&core, LOG, Offset(random.below(model.end as usize + 1) as i64)).await.expect("a drain")
            }
            10 => drive.drain_all(&core, &[LOG]).await.expect("a drain"),
            11..=12 => {
                let flushed = drive.flush(&core, &[LOG]).await.expect("a flush");
                checkpoint = core.log(|log| log.checkpoint());
                core.recycle(flushed[0].needed_seq);
            }
            13 => {
                let seq = random.below(core.0.next.get() as usize + 1) as u64;
                core.log(|log| log.evict_through(seq, true));
            }
            14..=16 if model.end > core.0.start.get() => {
                let start = core.0.start.get();
                let offset = start + random.below((model.end - start) as usize) as i64;
                let up_to = model.batches.iter().map(|bytes| cached(bytes.clone(), 0, 1).base.0);
                let mut up_to: Vec<i64> = up_to.chain([model.end]).filter(|base| *base > offset).collect();
                let up_to = up_to.swap_remove(random.below(up_to.len()));
                compare(&drive, &core, &model, offset, random.below(40_000), up_to).await;
            }
            17 => {
                drive.drain_all(&core, &[LOG]).await.expect("a drain");
                drive.close(&core, &[LOG]).await.expect("a close");
                checkpoint = core.log(|log| log.checkpoint());
                let oldest = core.log(|log| log.segments().next().map_or(model.end, |segment| segment.base.0));
                assert!(oldest <= core.0.start.get().min(model.end), "{oldest} is above the log start");
                assert_eq!(files_hold(io, &core).await, model.from(oldest, i64::MAX), "the .log files are the batches");
                pages += core.0.pages.get();
                (core, drive) = restarted(io, root, &checkpoint, &core, Vec::new()).await;
                core.0.oldest.set(core.0.next.get() + 1);
                epoch += 1;
            }
            18 => {
                pages += core.0.pages.get();
                torn += usize::from(damage(io, &core, &checkpoint, &mut random).await);
                let journal = core.0.journal.borrow().clone();
                (core, drive) = restarted(io, root, &checkpoint, &core, journal).await;
                for _ in 0..=random.below(2) {
                    recover(&core, &drive, &checkpoint).await;
                }
                if random.below(2) == 0 {
                    // Recovery ends: everything is drained without a journal to write to, and a new journal begins.
                    core.0.closed.set(true);
                    drive.drain_all(&core, &[LOG]).await.expect("a drain");
                    core.0.closed.set(false);
                    drive.flush(&core, &[LOG]).await.expect("a flush");
                    core.log(Log::leave_journal);
                    core.recycle(None);
                    checkpoint = core.log(|log| log.checkpoint());
                }
                epoch += 1;
            }
            19 => {
                let start = core.0.start.get();
                let to = start + random.below((model.end - start) as usize + 1) as i64;
                core.move_start(&drive, to, random.below(2) == 0).await;
                starts += usize::from(to > start);
                if core.log(|log| log.active_is_dead()) {
                    drive.end_dead(&core, &[LOG]).await.expect("a sealed segment");
                    assert!(core.log(|log| log.active().is_none()));
                }
            }
            _ => {}
        }
        core.log(|log| assert_eq!(log.end(), Offset(model.end)));
    }
    let start = core.0.start.get();
    assert_eq!(core.log(|log| log.log_start()), Offset(start), "the log start survives everything");
    compare(&drive, &core, &model, start, 30_000, model.end).await;
    assert_eq!(core.log(|log| log.available(Offset(0), Offset(model.end)) > 0), model.end > start);
    (torn, pages + core.0.pages.get(), starts)
}

/// The next start: only the checkpoint and the journal are left.
async fn restarted(
    io: &Io,
    root: &Path,
    checkpoint: &LogCheckpoint,
    before: &Core,
    journal: Vec<(u64, TailPiece)>,
) -> (Core, Drive) {
    let checkpoint = LogCheckpoint::decode(&checkpoint.encode()).expect("a checkpoint");
    let core = Core::with(Log::restore(spec(root, SMALL), checkpoint));
    core.0.next.set(before.0.next.get());
    core.0.oldest.set(before.0.oldest.get());
    core.0.start.set(before.0.start.get());
    *core.0.journal.borrow_mut() = journal;
    (core, open_drive(io, root).await)
}

/// Brings the log back from its checkpoint and the journal. May be done again and again.
async fn recover(core: &Core, drive: &Drive, checkpoint: &LogCheckpoint) {
    let root = core.log(|log| log.spec().root.clone());
    core.0.logs.borrow_mut().insert(LOG, Log::restore(spec(&root, SMALL), checkpoint.clone()));
    core.log(|log| log.recover_log_start(Offset(core.0.start.get())));
    let journal = core.0.journal.borrow().clone();
    let below = |piece: &TailPiece| match piece {
        TailPiece::Batch(batch) => batch.base < checkpoint.drained,
        TailPiece::Page { .. } => true,
    };
    let pieces = journal.iter().map(|(_, piece)| piece.clone()).filter(below).collect();
    drive.recover_tail(core, LOG, &Recovering { pieces }).await.expect("recovery");
    for (_, piece) in journal {
        match piece {
            TailPiece::Batch(batch) if batch.base >= checkpoint.drained => core.log(|log| log.push(batch)),
            _ => {}
        }
    }
    // A part of the replay is drained already when the next crash comes.
    let some = core.log(|log| log.drained().0 + (log.end().0 - log.drained().0) / 2);
    drive.drain(core, LOG, Offset(some)).await.expect("a drain");
}

/// What a power cut may do: a torn last page, if it was written again since the checkpoint, and garbage above.
async fn damage(io: &Io, core: &Core, checkpoint: &LogCheckpoint, random: &mut Random) -> bool {
    let Some(active) = checkpoint.active else { return false };
    let written_again = core.log(|log| log.drained()) > checkpoint.drained && !active.bytes.is_multiple_of(4096);
    let path = core.log(|log| log.directory()).join(format!("{:020}.log", active.base.0));
    if !io.exists(&path).await.expect("a look") {
        return false;
    }
    let file = io.open(&path, Open { write: true, ..Open::default() }).await.expect("the active segment");
    let grown = file.len().await.expect("a length") > active.bytes;
    if grown {
        file.write_at(active.bytes, Bytes::from(vec![0xee; 5000])).await.expect("garbage");
    }
    let torn = written_again && grown && active.bytes > 0 && random.below(3) > 0;
    if torn {
        let page = active.bytes - active.bytes % 4096;
        let from = page + (random.below((active.bytes - page) as usize) as u64);
        file.write_at(from, Bytes::from(vec![0xdd; (active.bytes - from) as usize])).await.expect("a tear");
    }
    torn
}

/// The bytes of all `.log` files of a closed log.
async fn files_hold(io: &Io, core: &Core) -> Vec<u8> {
    let directory = core.log(|log| log.directory());
    let mut all = Vec::new();
    for name in io.list_dir(&directory).await.unwrap_or_default() {
        if name.ends_with(".log") {
            all.extend(io.read_file(&directory.join(&name)).await.expect("a segment"));
        }
    }
    all
}

/// A drained and flushed log of one closed segment and one active one, nothing in memory.
async fn two_segments(io: &Io, root: &Path) -> (Core, Drive, Model) {
    let core = Core::with(Log::new(spec(root, SMALL)));
    let drive = open_drive(io, root).await;
    let mut model = Model::default();
    for _ in 0..120 {
        let bytes = batch(model.end, 0, 5000 + model.end, 2, 900);
        model.end += 2;
        model.batches.push(bytes.clone());
        core.append(bytes, 1);
    }
    drive.drain_all(&core, &[LOG]).await.expect("a drain");
    drive.flush(&core, &[LOG]).await.expect("a flush");
    core.log(|log| log.evict_through(u64::MAX, true));
    assert_eq!(core.log(|log| log.segments().count()), 2);
    (core, drive, model)
}

/// A flipped bit in a sealed segment: its block answers with where it is, all others are served, and nobody exits.
#[test]
fn a_damaged_block_is_never_served() {
    on_a_core("damaged", |io, root| async move {
        let (core, drive, model) = two_segments(&io, &root).await;
        let path = core.log(|log| log.directory()).join("00000000000000000000.log");
        let file = io.open(&path, Open { write: true, ..Open::default() }).await.expect("the segment");
        let byte = file.read_at(50_000, 1).await.expect("a byte")[0];
        file.write_at(50_000, Bytes::from(vec![byte ^ 4])).await.expect("a flip");
        let (mut damaged, mut at) = (0, 0);
        for bytes in &model.batches {
            let wanted = cached(bytes.clone(), 0, 1);
            match drive.read(&core, LOG, wanted.base, 1, true, Offset(model.end)).await {
                Ok(slices) => assert_eq!(joined(&slices), *bytes),
                Err(StorageError::Corrupt { file, position, found: Fault::Checksum { .. } }) => {
                    assert_eq!((file, position), (path.clone(), 49_152));
                    assert!(
                        at + bytes.len() > 49_152 - 4096 && at < 65_536 + 4096,
                        "the batch at {at} is not in that block"
                    );
                    damaged += 1;
                }
                Err(other) => panic!("{other}"),
            }
            at += bytes.len();
        }
        assert!((8..16).contains(&damaged), "{damaged} batches of 1.9 KB in a block of 16 KB");
    });
}

/// A read of 256 KiB ends in the middle of a batch. The rest of that one is read after it where much would have to be read again, unless it is damaged.
#[test]
fn a_batch_that_a_read_cuts_in_two_is_whole() {
    on_a_core("cut", |io, root| async move {
        for (bytes, batches) in [(140_000, 2), (300_000, 1), (1_200_000, 1)] {
            let root = root.join(bytes.to_string());
            let core = Core::with(Log::new(spec(&root, LogOptions { segment_bytes: 1 << 30, ..SMALL })));
            let drive = open_drive(&io, &root).await;
            let mut model = Model::default();
            for _ in 0..5 {
                let bytes = batch(model.end, 0, 5000, 1, bytes);
                model.end += 1;
                model.batches.push(bytes.clone());
                core.append(bytes, 1);
            }
            drive.drain_all(&core, &[LOG]).await.expect("a drain");
            core.log(|log| log.evict_through(u64::MAX, true));
            let read = async |up_to| {
                let slices = drive.read(&core, LOG, Offset(0), 1 << 20, true, Offset(up_to)).await.expect("a read");
                joined(&slices)
            };
            assert!(read(5).await == model.from(0, batches), "the first {batches} of {bytes}");
            assert!(read(1).await == model.from(0, 1), "not beyond the end");
            compare(&drive, &core, &model, 0, 1 << 20, 5).await;
            if bytes == 140_000 {
                let path = core.log(|log| log.directory()).join("00000000000000000000.log");
                let file = io.open(&path, Open { write: true, ..Open::default() }).await.expect("the segment");
                file.write_at(279_000, Bytes::from_static(b"no")).await.expect("damage");
                assert!(read(5).await == model.from(0, 1), "what is sound is served");
            }
        }
    });
}

/// The indexes have no checksum. Garbage in them costs time, not data.
#[test]
fn a_damaged_or_missing_index_is_not_believed() {
    on_a_core("index", |io, root| async move {
        let (core, drive, model) = two_segments(&io, &root).await;
        let directory = core.log(|log| log.directory());
        let index = directory.join("00000000000000000000.index");
        let file = io.open(&index, Open { write: true, ..Open::default() }).await.expect("the index");
        for entry in 0..file.len().await.expect("a length") / 8 {
            let position = Bytes::copy_from_slice(&(entry as u32 * 333 + 77).to_be_bytes());
            file.write_at(entry * 8 + 4, position).await.expect("garbage");
        }
        compare(&drive, &core, &model, 50, 10_000, model.end).await;
        let drive = open_drive(&io, &root).await;
        io.remove_file(&index).await.expect("gone");
        core.log(|log| *log = Log::restore(log.spec().clone(), log.checkpoint()));
        compare(&drive, &core, &model, 70, 10_000, model.end).await;
    });
}

#[test]
fn a_timestamp_finds_its_batch_on_disk_and_in_memory() {
    on_a_core("timestamps", |io, root| async move {
        let (core, drive, mut model) = two_segments(&io, &root).await;
        for _ in 0..5 {
            let bytes = batch(model.end, 0, 5000 + model.end, 2, 900);
            model.end += 2;
            model.batches.push(bytes.clone());
            core.append(bytes, 1);
        }
        assert_eq!(core.log(|log| log.max_timestamp()), Timestamp(5000 + model.end - 2));
        let find = async |timestamp: i64, from: i64, up_to: i64| {
            let found = drive
                .first_batch_at(&core, LOG, Timestamp(timestamp), Offset(from), Offset(up_to))
                .await
                .expect("a search");
            (!found.is_empty()).then(|| cached(joined(&found).into(), 0, 1).base.0)
        };
        for offset in (0..model.end).step_by(2) {
            assert_eq!(find(5000 + offset, 0, model.end).await, Some(offset), "its own time");
            assert_eq!(find(5000 + offset - 1, 0, model.end).await, Some(offset), "a time before it");
        }
        assert_eq!(find(0, 0, model.end).await, Some(0));
        assert_eq!(find(0, 7, model.end).await, Some(6), "the batch that holds the offset");
        assert_eq!(find(5000 + model.end, 0, model.end).await, None, "later than all");
        assert_eq!(find(5100, 0, 100).await, None, "at or above the bound");
        assert_eq!(find(0, model.end, model.end).await, None, "from the end");
    });
}

/// The page rule: a page with acknowledged bytes is written again only while the journal has them.
#[test]
fn a_page_is_journaled_before_it_is_written_again_without_its_guard() {
    on_a_core("guard", |io, root| async move {
        let core = Core::with(Log::new(spec(&root, SMALL)));
        let drive = open_drive(&io, &root).await;
        core.append(batch(0, 0, 1, 1, 100), 1);
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        core.append(batch(1, 0, 1, 1, 100), 1);
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        assert_eq!(core.0.pages.get(), 0, "the journal still has the first batch");
        assert_eq!(core.log(|log| log.needed_seq()), Some(1));
        let flushed = drive.flush(&core, &[LOG]).await.expect("a flush");
        assert_eq!(flushed[0].needed_seq, None);
        core.recycle(None);
        core.append(batch(2, 0, 1, 1, 100), 1);
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        assert_eq!(core.0.pages.get(), 1, "the journal has the page again");
        assert_eq!(core.log(|log| log.needed_seq()), Some(3), "until the page is flushed, its guard is needed");
        // Without a journal the next batch begins a segment.
        drive.flush(&core, &[LOG]).await.expect("a flush");
        core.recycle(None);
        core.0.closed.set(true);
        core.append(batch(3, 0, 1, 1, 100), 1);
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        assert_eq!(
            core.log(|log| log.segments().map(|segment| segment.base).collect::<Vec<_>>()),
            [Offset(0), Offset(3)]
        );
    });
}

/// A clean stop left the guard of the last page in the state of a log, and the next start took that state over into a journal of its own, whose
/// sequences begin at 1. After a crash the old number was believed: the page was written again although no journal had its bytes.
#[test]
fn a_guard_of_another_journal_is_not_believed() {
    on_a_core("other-journal", |io, root| async move {
        let core = Core::with(Log::new(spec(&root, SMALL)));
        let drive = open_drive(&io, &root).await;
        core.0.next.set(4989);
        core.append(batch(0, 0, 1, 1, 100), 1);
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        drive.close(&core, &[LOG]).await.expect("a close");
        let stopped = core.log(|log| log.checkpoint());
        assert_eq!(stopped.active.expect("a segment").tail_guard, Some(4990));
        let (core, drive) = restarted(&io, &root, &stopped, &Core::default(), Vec::new()).await;
        core.0.closed.set(true);
        recover(&core, &drive, &stopped).await;
        core.append(batch(1, 0, 1, 1, 100), 1);
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        let bases: Vec<_> = core.log(|log| log.segments().map(|segment| segment.base).collect());
        assert_eq!(bases, [Offset(0), Offset(1)], "a new segment begins instead");
    });
}

/// The last page of a segment could not be read when the next batch was drained, and the whole broker ended.
#[test]
fn a_last_page_that_cannot_be_read_ends_its_segment_only() {
    on_a_core("last-page", |io, root| async move {
        let (core, drive, mut model) = two_segments(&io, &root).await;
        let active = core.log(|log| *log.active().expect("a segment"));
        assert!(!active.bytes.is_multiple_of(4096), "the last page is partial");
        let path = core.log(|log| log.directory()).join(format!("{:020}.log", active.base.0));
        let file = io.open(&path, Open { write: true, ..Open::default() }).await.expect("the segment");
        file.write_at(active.bytes - 1, Bytes::from(vec![0xdd])).await.expect("damage");
        let before = model.end;
        for _ in 0..3 {
            let bytes = batch(model.end, 0, 5000 + model.end, 2, 900);
            model.end += 2;
            model.batches.push(bytes.clone());
            core.append(bytes, 1);
        }
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        drive.flush(&core, &[LOG]).await.expect("a flush");
        core.log(|log| log.evict_through(u64::MAX, true));
        assert_eq!(core.log(|log| log.active().expect("a segment").base), Offset(before));
        compare(&drive, &core, &model, before, 10_000, model.end).await;
        compare(&drive, &core, &model, 0, 10_000, active.base.0).await;
        let damaged = drive.read(&core, LOG, Offset(before - 2), 1, true, Offset(before)).await;
        assert!(matches!(damaged, Err(StorageError::Corrupt { .. })), "{damaged:?}");
    });
}

/// A read that was under way opened a file again between the closing of a deleted log's files and their removal. Its descriptor stayed, and with it
/// the space.
#[test]
fn a_deletion_leaves_no_file_open() {
    on_a_core("reopened", |io, root| async move {
        for round in 0..10 {
            let (core, _, model) = two_segments(&io, &root).await;
            let drive = open_drive(&io, &root).await;
            let reading = Rc::new(Cell::new(0));
            for offset in (0..model.end).step_by(6) {
                reading.set(reading.get() + 1);
                let (core, drive, reading, end) = (core.clone(), drive.clone(), reading.clone(), Offset(model.end));
                io.spawn(async move {
                    // Whatever it finds.
                    let _ = drive.read(&core, LOG, Offset(offset), 1, true, end).await;
                    reading.set(reading.get() - 1);
                });
            }
            for _ in 0..round {
                io.yield_now().await;
            }
            let directory = core.log(|log| log.directory());
            drive.delete(LOG, &directory).await.expect("a deletion");
            let open = || {
                let all = std::fs::read_dir("/proc/self/fd").expect("this process");
                let names = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
                names.filter(|name| name.starts_with(&*directory)).count()
            };
            for _ in 0..2000 {
                if reading.get() == 0 && open() == 0 {
                    break;
                }
                io.sleep(std::time::Duration::from_millis(1)).await;
            }
            assert_eq!((reading.get(), open()), (0, 0), "round {round}");
        }
    });
}

/// A pass once went on as long as producers were as fast as it was: seventy milliseconds of writes that became smaller and smaller.
#[test]
fn a_drain_ends_where_the_log_ended_when_it_began() {
    on_a_core("drain_end", |io, root| async move {
        let core = Core::with(Log::new(spec(&root, SMALL)));
        let drive = open_drive(&io, &root).await;
        core.append(batch(0, 0, 1, 10, 50), 1);
        core.0.meanwhile.replace((1..10).rev().map(|place| batch(place * 10, 0, 1, 10, 50)).collect());
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        assert_eq!(core.log(|log| (log.drained(), log.end())), (Offset(10), Offset(20)));
        drive.drain(&core, LOG, Offset(i64::MAX)).await.expect("a drain");
        assert_eq!(core.log(|log| (log.drained(), log.end())), (Offset(20), Offset(30)));
    });
}

/// A small batch waits for what the disk is doing for others. What is short for its sake, and for how long.
#[test]
fn segments_are_written_and_read_in_short_pieces_while_small_batches_come() {
    let world = World::new(1, WorldOptions::default());
    let machine = world.process("machine");
    let counted = |small_batches: bool, hurries: bool, gentle: bool| {
        let writes = world.disk_counts(machine).writes;
        let read = world.run(machine, move |io| async move {
            let disk = SharedDisk::default();
            let root = format!("/{small_batches}-{hurries}-{gentle}");
            let options = DriveOptions { disk: disk.clone(), gentle, ..DriveOptions::default() };
            io.create_dir_all(Path::new(&root)).await.expect("a directory");
            let core = Core::with(Log::new(spec(Path::new(&root), LogOptions { segment_bytes: 1 << 30, ..SMALL })));
            let drive = Drive::open(&io, Path::new(&root), DIRECTORY, options).await.expect("a directory");
            (0..2_000).for_each(|at| core.append(batch(at, 0, 1, 1, 940), 1));
            core.0.hurries.set(hurries);
            if small_batches {
                disk.small_batch_came(io.now());
            }
            drive.drain(&core, LOG, Offset(i64::MAX)).await.expect("a drain");
            core.log(|log| log.evict_through(u64::MAX, true));
            let read = drive.read(&core, LOG, Offset(0), 1 << 20, true, Offset(2_000)).await.expect("a read");
            let later = async {
                io.sleep(Duration::from_millis(200)).await;
                drive.read(&core, LOG, Offset(0), 1 << 20, true, Offset(2_000)).await.expect("a read")
            };
            (joined(&read).len() >> 10, joined(&later.await).len() >> 10)
        });
        (world.disk_counts(machine).writes - writes, read)
    };
    let (long, gentle, hurried) = (counted(false, false, true), counted(true, false, true), counted(true, true, true));
    assert_eq!(gentle.0 - long.0, 16 - 4, "writes of 128 instead of 512 KiB");
    assert_eq!(hurried.0, long.0, "room comes first");
    assert_eq!(counted(true, false, false), long, "a disk that serves several operations at a time");
    assert_eq!((long.1, gentle.1), ((255, 255), (63, 255)), "whole KiB of an answer, and of one 200 ms later");
}

/// 1,000 logs come back from their checkpoints without a file being opened: there are none.
#[test]
fn a_thousand_logs_restore_at_once() {
    on_a_core("thousand", |io, root| async move {
        let (core, _, _) = two_segments(&io, &root).await;
        let bytes = core.log(|log| log.checkpoint()).encode();
        let start = io.now();
        let spec = spec(Path::new("nowhere"), SMALL);
        let logs: Vec<Log> = (0..1000)
            .map(|_| Log::restore(spec.clone(), LogCheckpoint::decode(&bytes).expect("a checkpoint")))
            .collect();
        let took = io.now().since(start);
        assert!(took.as_millis() < 50 && logs.len() == 1000, "{took:?}");
    });
}

/// DeleteRecords goes beyond a segment: its files get another name, then go. What is left is read as before, also after a crash in between that brings back
/// the old names, and with a checkpoint that still lists the segment.
#[test]
fn a_segment_below_the_log_start_goes() {
    on_a_core("start", |io, root| async move {
        let (core, drive, model) = two_segments(&io, &root).await;
        let checkpoint = core.log(|log| log.checkpoint());
        let directory = core.log(|log| log.directory());
        let second = core.log(|log| log.segments().nth(1).expect("two").base.0);
        let names = async |of: &str| -> Vec<String> {
            let names = io.list_dir(&directory).await.expect("names");
            names.into_iter().filter(|name| name.contains(of)).collect()
        };
        let suffixes = ["index", "log", "sums", "timeindex"];
        core.move_start(&drive, second - 1, true).await;
        assert_eq!(names("deleted").await, [""; 0], "one record can still be read");
        compare(&drive, &core, &model, second - 1, 10_000, model.end).await;
        core.move_start(&drive, second, false).await;
        assert_eq!(
            names("00000000000000000000").await,
            suffixes.map(|kind| format!("00000000000000000000.{kind}.deleted"))
        );
        compare(&drive, &core, &model, second, 10_000, model.end).await;
        let none = drive.read(&core, LOG, Offset(second - 1), 1000, true, Offset(model.end)).await.expect("a read");
        assert!(none.is_empty());
        // The new name of one file was not durable, the others are there under it.
        let (log, deleted) =
            (directory.join(format!("{:020}.log", 0)), directory.join(format!("{:020}.log.deleted", 0)));
        io.rename(&deleted, &log).await.expect("back");
        let (core, drive) = restarted(&io, &root, &checkpoint, &core, Vec::new()).await;
        recover(&core, &drive, &checkpoint).await;
        assert_eq!(names("00000000000000000000").await, [""; 0], "nothing of it is left");
        compare(&drive, &core, &model, second, 10_000, model.end).await;
        drive.remove_segments(LOG, &directory, &[Offset(0)]).await.expect("a second removal is fine");
    });
}

/// A host on which the log's start moves as soon as a read was planned.
#[derive(Clone)]
struct Hasty(Core, i64);

impl Host for Hasty {
    fn with_log<R>(&self, log: LogId, with: impl FnOnce(&mut Log) -> R) -> Option<R> {
        let answer = self.0.with_log(log, with);
        self.0.log(|log| {
            log.set_log_start(Offset(self.1));
            log.take_dead()
        });
        answer
    }

    async fn journal_tail_page(&self, _: TailPage) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }

    fn hurries(&self) -> bool {
        false
    }

    fn spares(&self, _bytes: u64) -> bool {
        true
    }

    fn oldest_journal_seq(&self) -> u64 {
        0
    }
}

/// A read was planned, and when it opened the file retention had taken it. That is not damage.
#[test]
fn a_read_that_retention_overtakes_finds_nothing() {
    on_a_core("overtaken", |io, root| async move {
        for by_time in [false, true] {
            let (core, _, model) = two_segments(&io, &root.join(format!("{by_time}"))).await;
            let directory = core.log(|log| log.directory());
            let second = core.log(|log| log.segments().nth(1).expect("two").base);
            let drive = open_drive(&io, &root).await;
            drive.retire_segments(LOG, &directory, &[Offset(0)]).await.expect("new names");
            let lost = drive.read(&core, LOG, Offset(0), 1000, true, Offset(model.end)).await;
            assert!(matches!(lost, Err(StorageError::Corrupt { .. })), "the log has it, the disk has not: {lost:?}");
            let hasty = Hasty(core, second.0);
            if by_time {
                let found = drive.first_batch_at(&hasty, LOG, Timestamp(0), Offset(0), Offset(model.end)).await;
                assert_eq!(
                    cached(joined(&found.expect("a search")).into(), 0, 1).base,
                    second,
                    "the first that is left"
                );
            } else {
                let read = drive.read(&hasty, LOG, Offset(0), 1000, true, Offset(model.end)).await;
                assert!(read.expect("a read").is_empty());
            }
        }
    });
}

#[test]
fn a_deleted_log_leaves_no_file() {
    on_a_core("deleted", |io, root| async move {
        let (core, drive, _) = two_segments(&io, &root).await;
        let directory = core.log(|log| log.directory());
        core.0.logs.borrow_mut().clear();
        drive.delete(LOG, &directory).await.expect("a deletion");
        assert!(!io.exists(&directory).await.expect("a look"));
        drive.delete(LOG, &directory).await.expect("a second one is fine");
        drive.drain_all(&core, &[LOG]).await.expect("a drain of nothing");
    });
}

/// Nothing but this flush stands between the segments and the end of their journal, which may be on another disk.
#[test]
fn what_is_flushed_with_its_file_system_survives_a_power_cut() {
    let world = World::new(1, WorldOptions::default());
    let machine = world.process("machine");
    let root = Path::new("/data");
    world.run(machine, move |io| async move {
        io.create_dir_all(root).await.expect("a directory");
        let core = Core::with(Log::new(spec(root, SMALL)));
        let options = DriveOptions { files_flushed_apart_max: 0, ..DriveOptions::default() };
        let drive = Drive::open(&io, root, DIRECTORY, options).await.expect("a directory");
        core.append(batch(0, 0, 1, 1, 100), 1);
        drive.drain_all(&core, &[LOG]).await.expect("a drain");
        drive.flush(&core, &[LOG]).await.expect("a flush");
    });
    world.crash(machine, Crash::PowerCut(Loss::Everything));
    world.run(machine, move |io| async move {
        let found = io.read_file(&root.join("orders/3-77/00000000000000000000.log")).await.expect("the segment");
        let wanted = batch(0, 0, 1, 1, 100);
        assert_eq!(found[..wanted.len()], wanted[..]);
    });
}

/// The files beside the batches are Kafka's, to the byte.
#[test]
fn the_files_beside_are_kafkas() {
    on_a_core("beside", |io, root| async move {
        let (core, drive, model) = two_segments(&io, &root).await;
        drive.close(&core, &[LOG]).await.expect("a close");
        let directory = core.log(|log| log.directory());
        assert_eq!(directory.strip_prefix(&root).expect("inside"), Path::new("orders/3-77"));
        let names = io.list_dir(&directory).await.expect("the names");
        let second = core.log(|log| log.segments().nth(1).expect("two").base.0);
        let mut expected: Vec<String> = [0, second]
            .iter()
            .flat_map(|base| ["index", "log", "sums", "timeindex"].map(|suffix| format!("{base:020}.{suffix}")))
            .collect();
        expected.extend(["leader-epoch-checkpoint", "partition.metadata"].map(String::from));
        assert_eq!(names, expected);
        let metadata = io.read_file(&directory.join("partition.metadata")).await.expect("metadata");
        assert_eq!(metadata, b"version: 0\ntopic_id: BQUFBQUFBQUFBQUFBQUFBQ");
        let epochs = io.read_file(&directory.join("leader-epoch-checkpoint")).await.expect("epochs");
        assert_eq!(epochs, b"0\n1\n0 0\n");
        // One entry per batch: each is longer than the interval. The first has none.
        let index = io.read_file(&directory.join("00000000000000000000.index")).await.expect("the index");
        let times = io.read_file(&directory.join("00000000000000000000.timeindex")).await.expect("the time index");
        let mut position = 0;
        let mut wanted = (Vec::new(), Vec::new());
        for (place, bytes) in
            model.batches.iter().take_while(|bytes| cached((*bytes).clone(), 0, 1).base.0 < second).enumerate()
        {
            let batch = cached(bytes.clone(), 0, 1);
            if place > 0 {
                wanted.0.extend((batch.last.0 as u32).to_be_bytes());
                wanted.0.extend((position as u32).to_be_bytes());
                wanted.1.extend(batch.max_timestamp.0.to_be_bytes());
                wanted.1.extend((batch.last.0 as u32).to_be_bytes());
            }
            position += bytes.len();
        }
        assert_eq!((index, times), wanted);
    });
}
