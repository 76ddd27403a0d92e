//! What a running journal decides: where each entry goes, when a block is written, when its tickets are due, which file is next.
//!
//! ```text
//!  append            next_write               written                     recycle
//!  ------> [open] ------------> [in flight] ----------> committed ......> (file drained, checkpoint durable) ----> free file
//!              \----> [queue] ----^   at most `depth`, released in order
//! ```
//!
//! Always true: a block is immutable once it is sealed; tickets fall due in the order of sequences; a block never crosses the end of
//! a file; a file is written again only after [`Journal::recycle`]. Pure: no clock, no file.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;

use super::block::{self, DIRECTORY_ENTRY_BYTES, DirectoryEntry, HEADER_BYTES, Header, Owner};
use super::entry::{FIRST, HEAD_BYTES, Head, Kind, LAST, Opened};
use crate::base::limits::PAGE_BYTES;
use crate::base::{Incarnation, LogId, crc};
use crate::io::{AlignedBuf, Pool};

/// How a journal behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The journal and its data directory.
    pub owner: Owner,
    /// This opening.
    pub incarnation: Incarnation,
    /// Bytes of each file.
    pub file_bytes: u64,
    /// Bytes of a block at most.
    pub block_bytes_max: usize,
    /// Bytes of the memory that blocks are cut from. Blocks that are not full share it.
    pub chunk_bytes: usize,
    /// Blocks in flight at most.
    pub depth: usize,
    /// With something in flight, the open block is written early once it holds this much.
    pub threshold: usize,
}

/// Stands for an entry until it is durable: the sequence of the block that holds its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Ticket(pub u64);

/// A block to be written.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which file.
    pub file: u32,
    /// Where in it.
    pub position: u64,
    /// The whole block, page-aligned.
    pub bytes: Bytes,
    /// What [`Journal::written`] wants to hear.
    pub sequence: u64,
}

/// An entry that is durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// What it says.
    pub head: Head,
    /// Its payload, in as many pieces as it has fragments.
    pub payload: SmallVec<[Bytes; 1]>,
}

/// A block that is durable, in order.
#[derive(Debug)]
pub struct CommittedBlock {
    /// Its number.
    pub sequence: u64,
    /// Bytes of memory that it keeps alive.
    pub bytes: usize,
    /// The entries that end in it.
    pub entries: Vec<Committed>,
}

/// A file that holds blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedFile {
    /// Its number.
    pub number: u32,
    /// The first block in it.
    pub first: u64,
    /// The last block in it; meaningless while it is the current one.
    pub last: u64,
}

/// Where a journal begins that nothing was recycled from: the checkpoint names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tail {
    /// The file of the first block that counts.
    pub file: u32,
    /// That block's sequence.
    pub sequence: u64,
}

struct Open {
    buf: AlignedBuf,
    body_end: usize,
    directory: Vec<DirectoryEntry>,
    entries: Vec<Placed>,
}

/// An entry that ends in the open block: its payload's last piece stands at `range`.
struct Placed {
    head: Head,
    earlier: SmallVec<[Bytes; 1]>,
    range: std::ops::Range<usize>,
}

struct Sealed {
    write: Write,
    entries: Vec<Committed>,
    done: bool,
}

/// One core's journal.
pub struct Journal {
    options: Options,
    pool: Pool,
    open: Option<Open>,
    spare: Option<AlignedBuf>,
    queue: VecDeque<Sealed>,
    in_flight: VecDeque<Sealed>,
    /// Oldest first; the last one is written to.
    used: VecDeque<UsedFile>,
    free: VecDeque<u32>,
    position: u64,
    next_sequence: u64,
    durable: u64,
    /// The highest `committed` in any sealed block.
    published: u64,
    /// The newest sealed block with entries.
    content: u64,
    previous: u32,
    reserve: u64,
}

impl Journal {
    /// A journal that continues after `opened` into `files`, none of which holds anything that counts. Its first block names `opened`.
    pub fn new(options: Options, pool: Pool, files: impl IntoIterator<Item = u32>, opened: Opened) -> Self {
        assert!(options.block_bytes_max.is_multiple_of(PAGE_BYTES) && options.chunk_bytes >= options.block_bytes_max);
        assert!(options.file_bytes >= 2 * options.block_bytes_max as u64, "a file holds at least two blocks");
        let mut free: VecDeque<u32> = files.into_iter().collect();
        let number = free.pop_front().expect("a journal has at least one file");
        let next_sequence = opened.accepted + 1;
        let mut journal = Self {
            reserve: options.file_bytes / 8,
            options,
            pool,
            open: None,
            spare: None,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            used: VecDeque::from([UsedFile { number, first: next_sequence, last: 0 }]),
            free,
            position: 0,
            next_sequence,
            durable: opened.accepted,
            published: opened.accepted,
            content: opened.accepted,
            previous: 0,
        };
        journal.append(Head::about(Kind::Opened, LogId(0)), &opened.encode(), |_| {});
        journal
    }

    /// Takes an entry in. `patch` may change the payload's copy before it is checksummed. The caller has asked
    /// [`Journal::has_room`]; entries of the broker's own (a deletion, a guarded page) may use the reserve.
    pub fn append(&mut self, head: Head, payload: &[u8], patch: impl FnOnce(&mut [u8])) -> Ticket {
        let head = Head { place: FIRST | LAST, len: payload.len() as u32, total: payload.len() as u32, ..head };
        if fragment_bytes(payload.len()) > self.block_room_when_empty() {
            return self.append_in_fragments(head, payload, patch);
        }
        self.make_room(fragment_bytes(payload.len()));
        self.place(head, payload, SmallVec::new(), patch);
        self.open_ticket()
    }

    /// What to write next, if anything should be written now: when nothing is in flight, or when fewer than `depth` blocks are and the
    /// open one holds the threshold. No timer.
    pub fn next_write(&mut self) -> Option<Write> {
        if self.in_flight.len() >= self.options.depth {
            return None;
        }
        if self.queue.is_empty() {
            let open = self.open.as_ref().filter(|open| !open.directory.is_empty())?;
            if !self.in_flight.is_empty() && open.body_end < self.options.threshold {
                return None;
            }
            self.seal();
        }
        let sealed = self.queue.pop_front()?;
        let write = sealed.write.clone();
        self.in_flight.push_back(sealed);
        Some(write)
    }

    /// A block without entries that tells recovery how far everything before it is durable; for when the journal goes idle.
    pub fn publish(&mut self) -> Option<Write> {
        let idle = self.in_flight.is_empty() && self.queue.is_empty() && self.open_is_empty();
        if !idle || !self.needs_publishing() || !self.has_room(0) {
            return None;
        }
        self.make_room(0);
        self.seal();
        let sealed = self.queue.pop_front()?;
        let write = sealed.write.clone();
        self.in_flight.push_back(sealed);
        Some(write)
    }

    /// The device has block `sequence`. Gives `committed` each block that became durable by it, in order.
    pub fn written(&mut self, sequence: u64, mut committed: impl FnMut(CommittedBlock)) {
        let block = self.in_flight.iter_mut().find(|block| block.write.sequence == sequence);
        block.expect("a block is written once, while it is in flight").done = true;
        while let Some(block) = self.in_flight.pop_front_if(|block| block.done) {
            assert_eq!(block.write.sequence, self.durable + 1, "blocks are released in order");
            self.durable = block.write.sequence;
            let (sequence, bytes) = (block.write.sequence, block.write.bytes.len());
            committed(CommittedBlock { sequence, bytes, entries: block.entries });
        }
    }

    /// Another file of `file_bytes`, written with zeros and durable, may be used.
    pub fn add_file(&mut self, number: u32) {
        self.free.push_back(number);
    }

    /// The oldest file may be written again: all that it held is durable elsewhere, and a durable checkpoint starts behind it.
    pub fn recycle(&mut self, number: u32) {
        let file = self.used.pop_front().expect("a used file");
        assert_eq!(file.number, number, "files are recycled in order");
        assert!(file.last <= self.durable, "a recycled file is durable");
        self.free.push_back(number);
    }

    /// Makes the current file the last of its blocks, so that it can be recycled although nothing followed it. For a journal that is
    /// full with one file, and for a clean stop. Does nothing while a block is open or in flight.
    pub fn retire_current(&mut self) -> bool {
        let quiet = self.open_is_empty() && self.queue.is_empty() && self.in_flight.is_empty();
        if quiet && let Some(current) = self.used.back_mut() {
            current.last = self.next_sequence - 1;
            self.position = self.options.file_bytes;
        }
        quiet
    }

    /// Bytes kept free for the broker's own entries.
    pub fn set_reserve(&mut self, bytes: u64) {
        self.reserve = bytes.clamp(self.options.file_bytes / 8, self.capacity() / 2);
    }

    /// Whether an entry with this payload may be reserved now, the reserve left untouched.
    pub fn has_room(&self, payload: usize) -> bool {
        self.room() >= self.reserve + (fragment_bytes(payload) + 2 * PAGE_BYTES) as u64
    }

    /// The sequence of the newest entry: a ticket that covers all that was appended so far.
    pub fn newest(&self) -> Ticket {
        if self.open_is_empty() { Ticket(self.next_sequence - 1) } else { self.open_ticket() }
    }

    /// The highest sequence up to which everything is durable.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether `ticket` is due.
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.durable
    }

    /// Whether recovery could not yet tell from the disk that everything written is durable.
    pub fn needs_publishing(&self) -> bool {
        self.published < self.content
    }

    /// The first block that has not been recycled.
    pub fn tail(&self) -> Tail {
        self.used.front().map_or(Tail { file: 0, sequence: self.next_sequence }, |file| Tail {
            file: file.number,
            sequence: file.first,
        })
    }

    /// The tail after the oldest file is recycled.
    pub fn tail_after_oldest(&self) -> Tail {
        self.used.get(1).map_or(
            Tail { file: self.free.front().copied().unwrap_or(0), sequence: self.next_sequence },
            |file| Tail { file: file.number, sequence: file.first },
        )
    }

    /// The oldest file, if nothing more will be written to it and all of it is durable.
    pub fn oldest_finished(&self) -> Option<UsedFile> {
        let oldest = *self.used.front()?;
        let finished = self.used.len() > 1 || self.position == self.options.file_bytes;
        (finished && oldest.last <= self.durable).then_some(oldest)
    }

    /// The files that nothing needs any more when no log needs a block below `needed`, oldest first, and the tail once they are recycled.
    pub fn recyclable(&self, needed: u64) -> (Tail, Vec<u32>) {
        let current_is_finished = self.position == self.options.file_bytes;
        let finished_files = self.used.len() - usize::from(!current_is_finished);
        let last_needless = self.durable.min(needed.saturating_sub(1));
        let goes = |file: &&UsedFile| file.last <= last_needless;
        let numbers: Vec<u32> =
            self.used.iter().take(finished_files).take_while(goes).map(|file| file.number).collect();
        let next = self.free.front().or(numbers.first()).copied().unwrap_or(0);
        let tail = self.used.get(numbers.len());
        let tail = tail.map_or(Tail { file: next, sequence: self.next_sequence }, |file| Tail {
            file: file.number,
            sequence: file.first,
        });
        (tail, numbers)
    }

    /// The end of the chain: what the next incarnation will name.
    pub fn end(&self) -> Opened {
        Opened { accepted: self.next_sequence - 1, checksum: self.previous }
    }

    /// Bytes of all files together.
    pub fn capacity(&self) -> u64 {
        (self.used.len() + self.free.len()) as u64 * self.options.file_bytes
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.used.len() + self.free.len()
    }

    /// Bytes that are used up, the unused ends of finished files included.
    pub fn used_bytes(&self) -> u64 {
        self.used.len().saturating_sub(1) as u64 * self.options.file_bytes + self.position
    }

    /// How it was made.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn room(&self) -> u64 {
        let block = self.options.block_bytes_max as u64;
        let open = self.open.as_ref().map_or(0, |open| open.body_end as u64 + block);
        let here = (self.options.file_bytes - self.position).saturating_sub(open.max(block));
        here + self.free.len() as u64 * (self.options.file_bytes - block)
    }

    fn open_is_empty(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.directory.is_empty())
    }

    fn open_ticket(&self) -> Ticket {
        Ticket(self.next_sequence)
    }

    /// Bytes of one fragment, directory entry included, that an empty block can take.
    fn block_room_when_empty(&self) -> usize {
        self.options.block_bytes_max - HEADER_BYTES
    }

    /// Sees to an open block that can take `bytes` more (fragment and directory entry).
    fn make_room(&mut self, bytes: usize) {
        let max = self.options.block_bytes_max;
        if let Some(open) = &self.open {
            let used = open.body_end + open.directory.len() * DIRECTORY_ENTRY_BYTES;
            if used + bytes <= max.min(open.buf.len()) {
                return;
            }
            if !open.directory.is_empty() {
                self.seal();
            }
        }
        let spare = self.open.take().map(|open| open.buf).or_else(|| self.spare.take());
        let buf = spare.filter(|buf| HEADER_BYTES + bytes <= buf.len());
        let buf = buf.unwrap_or_else(|| self.pool.take(self.options.chunk_bytes));
        self.open = Some(Open {
            buf,
            body_end: HEADER_BYTES,
            directory: Vec::with_capacity(16),
            entries: Vec::with_capacity(16),
        });
    }

    fn place(&mut self, head: Head, payload: &[u8], earlier: SmallVec<[Bytes; 1]>, patch: impl FnOnce(&mut [u8])) {
        let open = self.open.as_mut().expect("make_room opened a block");
        let at = open.body_end;
        let range = at + HEAD_BYTES..at + HEAD_BYTES + payload.len();
        open.buf[at..range.start].copy_from_slice(&head.encode());
        open.buf[range.clone()].copy_from_slice(payload);
        patch(&mut open.buf[range.clone()]);
        let checksum = crc::crc32c(&open.buf[at..range.end]);
        open.body_end = at + block::padded(HEAD_BYTES + payload.len());
        open.buf[range.end..open.body_end].fill(0);
        open.directory.push(DirectoryEntry {
            log: head.log,
            first: head.first,
            last: head.last,
            checksum,
            at: at as u32,
        });
        open.entries.push(Placed { head, earlier, range });
    }

    /// An entry that does not fit one block takes whole blocks, and its last fragment begins the next one.
    fn append_in_fragments(&mut self, head: Head, payload: &[u8], patch: impl FnOnce(&mut [u8])) -> Ticket {
        let mut patched = payload.to_vec();
        patch(&mut patched);
        let piece_max = self.block_room_when_empty() - fragment_bytes(0);
        let (mut earlier, mut rest, mut place) = (SmallVec::new(), patched.as_slice(), FIRST);
        while rest.len() > piece_max {
            let (piece, after) = rest.split_at(piece_max);
            self.make_room(self.block_room_when_empty());
            self.place(Head { place, len: piece.len() as u32, ..head }, piece, SmallVec::new(), |_| {});
            let bytes = self.seal();
            earlier.push(bytes.slice(HEADER_BYTES + HEAD_BYTES..HEADER_BYTES + HEAD_BYTES + piece.len()));
            (rest, place) = (after, 0);
        }
        self.make_room(fragment_bytes(rest.len()));
        self.place(Head { place: place | LAST, len: rest.len() as u32, ..head }, rest, earlier, |_| {});
        self.open_ticket()
    }

    /// Closes the open block, gives it its place on disk, and queues it.
    fn seal(&mut self) -> Bytes {
        let mut open = self.open.take().expect("something to seal");
        for (number, entry) in open.directory.iter().enumerate() {
            let at = open.body_end + number * DIRECTORY_ENTRY_BYTES;
            open.buf[at..at + DIRECTORY_ENTRY_BYTES].copy_from_slice(&entry.encode());
        }
        let directory_end = open.body_end + open.directory.len() * DIRECTORY_ENTRY_BYTES;
        let len = directory_end.next_multiple_of(PAGE_BYTES);
        open.buf[directory_end..len].fill(0);
        let (file, position) = self.take_place(len as u64);
        let header = Header {
            owner: self.options.owner,
            file,
            incarnation: self.options.incarnation,
            position,
            sequence: self.next_sequence,
            committed: self.durable,
            previous: self.previous,
            len: len as u32,
            body_len: (open.body_end - HEADER_BYTES) as u32,
            entries: open.directory.len() as u32,
            body_checksum: crc::crc32c(&open.buf[open.body_end..directory_end]),
        };
        let (bytes, checksum) = header.encode();
        open.buf[..HEADER_BYTES].copy_from_slice(&bytes);
        self.published = self.durable;
        if !open.directory.is_empty() {
            self.content = self.next_sequence;
        }
        (self.previous, self.next_sequence) = (checksum, self.next_sequence + 1);
        let whole = open.buf.split_to(len).freeze();
        self.spare = Some(open.buf).filter(|buf| buf.len() >= 16 * PAGE_BYTES);
        let complete = open.entries.into_iter().filter(|placed| placed.head.is_last());
        let entries = complete
            .map(|mut placed| {
                placed.earlier.push(whole.slice(placed.range));
                Committed { head: placed.head, payload: placed.earlier }
            })
            .collect();
        let write = Write { file, position, bytes: whole.clone(), sequence: header.sequence };
        self.queue.push_back(Sealed { write, entries, done: false });
        whole
    }

    fn take_place(&mut self, len: u64) -> (u32, u64) {
        if self.position + len > self.options.file_bytes {
            let number = self.free.pop_front().expect("admission keeps a free file for what it lets in");
            if let Some(current) = self.used.back_mut() {
                current.last = self.next_sequence - 1;
            }
            self.used.push_back(UsedFile { number, first: self.next_sequence, last: 0 });
            self.position = 0;
        }
        let place = (self.used.back().expect("a current file").number, self.position);
        self.position += len;
        place
    }
}

/// Bytes that a fragment takes in a block: head, payload, padding, directory entry.
fn fragment_bytes(payload: usize) -> usize {
    block::padded(HEAD_BYTES + payload) + DIRECTORY_ENTRY_BYTES
}
