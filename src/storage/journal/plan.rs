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
    /// The sequence of the block in which it begins: the oldest that a crash would need for it.
    pub first_block: u64,
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
    first_block: u64,
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
    joiner: crc::Joiner,
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
            joiner: crc::Joiner::default(),
        };
        journal.append(Head::about(Kind::Opened, LogId(0)), &opened.encode());
        journal
    }

    /// Takes an entry in. The caller has asked [`Journal::has_room`]; entries of the broker's own (a deletion, a guarded page) may use the reserve.
    pub fn append(&mut self, head: Head, payload: &[u8]) -> Ticket {
        self.append_patched(head, payload, |_| None)
    }

    /// As [`Journal::append`]. `patch` may change the payload's copy before it is checksummed. If it gives a position and a checksum, that is the
    /// checksum of the copy's bytes from there on, known to the caller and not computed again.
    pub fn append_patched(
        &mut self,
        head: Head,
        payload: &[u8],
        patch: impl FnOnce(&mut [u8]) -> Option<(usize, u32)>,
    ) -> Ticket {
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
        self.submit()
    }

    /// Whether what was appended since the last write fills a block of its own: whatever comes now is better kept back, where it can still be
    /// overtaken. Over when [`Journal::next_write`] has given that block.
    pub fn has_enough(&self) -> bool {
        !self.queue.is_empty() || self.open.as_ref().is_some_and(|open| open.body_end >= self.options.threshold)
    }

    /// A block without entries that tells recovery how far everything before it is durable; for when the journal goes idle.
    pub fn publish(&mut self) -> Option<Write> {
        let idle = self.in_flight.is_empty() && self.queue.is_empty() && self.open_is_empty();
        if !idle || !self.needs_publishing() || !self.has_room(0) {
            return None;
        }
        self.make_room(0);
        self.seal();
        self.submit()
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

    /// Makes the current file the last of its blocks, so that it can be recycled although nothing followed it. For a journal that has no room
    /// although no file of it is full. Does nothing while a block is open or in flight.
    pub fn retire_current(&mut self) -> bool {
        let quiet = self.open_is_empty() && self.queue.is_empty() && self.in_flight.is_empty();
        if quiet && let Some(current) = self.used.back_mut() {
            current.last = self.next_sequence - 1;
            self.position = self.options.file_bytes;
        }
        quiet
    }

    /// Bytes kept free for the broker's own entries: at most half of what there is beside one file, since files are used again only when they are
    /// full.
    pub fn set_reserve(&mut self, bytes: u64) {
        let file_bytes = self.options.file_bytes;
        self.reserve = bytes.min((self.capacity() - file_bytes) / 2).max(file_bytes / 8);
    }

    /// Whether an entry with this payload may be reserved now, the reserve left untouched. What a sender of little asks, and the broker itself.
    pub fn has_room(&self, payload: usize) -> bool {
        self.room() >= self.reserve + (fragment_bytes(payload) + 2 * PAGE_BYTES) as u64
    }

    /// As [`Journal::has_room`], and what is kept for those who send little is left untouched, too.
    pub fn has_plenty(&self, payload: usize) -> bool {
        self.room() >= self.reserve + self.headroom() + (fragment_bytes(payload) + 2 * PAGE_BYTES) as u64
    }

    /// Whether one of the broker's own entries may be appended, out of the reserve.
    pub fn has_reserve(&self, payload: usize) -> bool {
        self.room() >= (fragment_bytes(payload) + 2 * PAGE_BYTES) as u64
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

    /// The oldest block that an entry which is not durable yet begins in; the next one to become durable if there is none. An entry over several
    /// blocks is nobody's before its last block is durable, and its first ones may be durable long before.
    fn oldest_unfinished(&self) -> u64 {
        let sealed = self.in_flight.iter().chain(&self.queue).flat_map(|block| &block.entries);
        let open = self.open.iter().flat_map(|open| &open.entries);
        let begins = sealed.map(|entry| entry.first_block).chain(open.map(|placed| placed.first_block));
        begins.fold(self.durable + 1, u64::min)
    }

    /// The files that nothing needs any more when no log needs a block below `needed`, oldest first, and the tail once they are recycled.
    pub fn recyclable(&self, needed: u64) -> (Tail, Vec<u32>) {
        let current_is_finished = self.position == self.options.file_bytes;
        let finished_files = self.used.len() - usize::from(!current_is_finished);
        let last_needless = self.oldest_unfinished().min(needed).saturating_sub(1);
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

    /// Bytes that only those get who send little, when others have filled the rest.
    fn headroom(&self) -> u64 {
        self.options.file_bytes / 16
    }

    /// Sends the oldest sealed block on its way.
    fn submit(&mut self) -> Option<Write> {
        let sealed = self.queue.pop_front()?;
        let write = sealed.write.clone();
        self.in_flight.push_back(sealed);
        Some(write)
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

    fn place(
        &mut self,
        head: Head,
        payload: &[u8],
        earlier: SmallVec<[Bytes; 1]>,
        patch: impl FnOnce(&mut [u8]) -> Option<(usize, u32)>,
    ) {
        let open = self.open.as_mut().expect("make_room opened a block");
        let at = open.body_end;
        let range = at + HEAD_BYTES..at + HEAD_BYTES + payload.len();
        open.buf[at..range.start].copy_from_slice(&head.encode());
        open.buf[range.clone()].copy_from_slice(payload);
        let checksum = match patch(&mut open.buf[range.clone()]) {
            Some((from, known)) if payload.len() - from >= JOIN_BYTES_MIN => {
                let before = crc::crc32c(&open.buf[at..range.start + from]);
                self.joiner.join(before, known, payload.len() - from)
            }
            _ => crc::crc32c(&open.buf[at..range.end]),
        };
        open.body_end = at + block::padded(HEAD_BYTES + payload.len());
        open.buf[range.end..open.body_end].fill(0);
        open.directory.push(DirectoryEntry {
            log: head.log,
            first: head.first,
            last: head.last,
            checksum,
            at: at as u32,
        });
        let first_block = self.next_sequence - earlier.len() as u64;
        open.entries.push(Placed { head, first_block, earlier, range });
    }

    /// An entry that does not fit one block takes whole blocks, and its last fragment begins the next one.
    fn append_in_fragments(
        &mut self,
        head: Head,
        payload: &[u8],
        patch: impl FnOnce(&mut [u8]) -> Option<(usize, u32)>,
    ) -> Ticket {
        let mut patched = payload.to_vec();
        patch(&mut patched);
        let piece_max = self.block_room_when_empty() - fragment_bytes(0);
        let (mut earlier, mut rest, mut place) = (SmallVec::new(), patched.as_slice(), FIRST);
        while rest.len() > piece_max {
            let (piece, after) = rest.split_at(piece_max);
            self.make_room(self.block_room_when_empty());
            self.place(Head { place, len: piece.len() as u32, ..head }, piece, SmallVec::new(), |_| None);
            let bytes = self.seal();
            earlier.push(bytes.slice(HEADER_BYTES + HEAD_BYTES..HEADER_BYTES + HEAD_BYTES + piece.len()));
            (rest, place) = (after, 0);
        }
        self.make_room(fragment_bytes(rest.len()));
        self.place(Head { place: place | LAST, len: rest.len() as u32, ..head }, rest, earlier, |_| None);
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
                Committed { head: placed.head, first_block: placed.first_block, payload: placed.earlier }
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
        let current = self.used.back_mut().expect("a current file");
        let place = (current.number, self.position);
        self.position += len;
        // A file that is full to its last byte is finished, although no other has followed it yet.
        if self.position == self.options.file_bytes {
            current.last = self.next_sequence;
        }
        place
    }
}

/// From so many bytes on, putting a known checksum in its place is cheaper than summing them again.
const JOIN_BYTES_MIN: usize = 4 << 10;

/// Bytes that a fragment takes in a block: head, payload, padding, directory entry.
fn fragment_bytes(payload: usize) -> usize {
    block::padded(HEAD_BYTES + payload) + DIRECTORY_ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{JournalId, Offset};
    use crate::storage::journal::recover::{Verdict, entries, judge, scan};

    const FILE_BYTES: u64 = 64 << 10;
    const BLOCK_BYTES: usize = 16 << 10;

    fn owner() -> Owner {
        Owner { directory: [3; 16], journal: JournalId(1) }
    }

    fn journal(depth: usize, files: u32) -> Journal {
        let options = Options {
            owner: owner(),
            incarnation: Incarnation(1),
            file_bytes: FILE_BYTES,
            block_bytes_max: BLOCK_BYTES,
            chunk_bytes: BLOCK_BYTES,
            depth,
            threshold: 4096,
        };
        Journal::new(options, Pool::new(0), 0..files, Opened { accepted: 0, checksum: 0 })
    }

    fn append(journal: &mut Journal, offset: i64, payload: &[u8]) -> Ticket {
        let head = Head {
            first: Offset(offset),
            last: Offset(offset),
            ..Head::about(Kind::Append, LogId(1 + offset as u64 % 3))
        };
        journal.append(head, payload)
    }

    /// Writes everything that the journal wants written, at once; gives the offsets that became durable, and keeps the bytes.
    fn settle(journal: &mut Journal, disk: &mut [Vec<u8>]) -> Vec<i64> {
        let mut durable = Vec::new();
        while let Some(write) = journal.next_write() {
            let at = write.position as usize;
            disk[write.file as usize][at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            journal.written(write.sequence, |block| {
                let appends = block.entries.iter().filter(|entry| entry.head.kind == Kind::Append);
                durable.extend(appends.map(|entry| entry.head.first.0));
            });
        }
        durable
    }

    #[test]
    fn those_who_send_little_have_room_when_others_have_not() {
        let (mut journal, mut disk) = (journal(1, 2), disk(2));
        let fill = |journal: &mut Journal, disk: &mut [Vec<u8>], has_room: fn(&Journal, usize) -> bool| {
            let before = journal.used_bytes();
            while has_room(journal, 1000) {
                let offset = journal.next_sequence as i64;
                append(journal, offset, &[7; 1000]);
                settle(journal, disk);
            }
            journal.used_bytes() - before
        };
        assert!(fill(&mut journal, &mut disk, Journal::has_plenty) > FILE_BYTES / 2);
        assert!(fill(&mut journal, &mut disk, Journal::has_room) >= FILE_BYTES / 16);
    }

    /// Found by the simulated story, seed 506: what was in the last block of such a file was lost in a power cut.
    #[test]
    fn a_file_that_is_full_to_its_last_byte_ends_with_its_last_block() {
        let (mut journal, mut disk) = (journal(1, 2), disk(2));
        while journal.position < FILE_BYTES {
            let offset = journal.next_sequence as i64;
            append(&mut journal, offset, &[7; 100]);
            settle(&mut journal, &mut disk);
        }
        let last = journal.durable();
        assert_eq!(journal.used.len(), 1, "nothing followed yet");
        assert_eq!(journal.recyclable(last).1, Vec::<u32>::new(), "its last block is needed");
        assert_eq!(journal.recyclable(last + 1).1, vec![0]);
    }

    /// The reserve could be half of the journal: nothing was let in long before the first file was full, so no file was ever finished.
    #[test]
    fn however_great_the_reserve_a_file_fills_up() {
        let (mut journal, mut disk) = (journal(1, 3), disk(3));
        journal.set_reserve(u64::MAX);
        while journal.has_room(100) {
            let offset = journal.next_sequence as i64;
            append(&mut journal, offset, &[7; 100]);
            settle(&mut journal, &mut disk);
        }
        assert_eq!(journal.recyclable(u64::MAX).1, vec![0]);
    }

    #[test]
    fn a_file_in_which_an_unfinished_entry_begins_is_not_recycled() {
        let (mut journal, mut disk) = (journal(1, 4), disk(4));
        while journal.position + (BLOCK_BYTES as u64) < FILE_BYTES {
            let offset = journal.next_sequence as i64;
            append(&mut journal, offset, &[7; 100]);
            settle(&mut journal, &mut disk);
        }
        append(&mut journal, 1000, &[8; BLOCK_BYTES + BLOCK_BYTES / 2]);
        let mut files = Vec::new();
        while let Some(write) = journal.next_write() {
            files.push(write.file);
            assert_eq!(journal.recyclable(u64::MAX).1, Vec::<u32>::new(), "with {files:?} written");
            journal.written(write.sequence, |_| {});
            if journal.queue.is_empty() && journal.open_is_empty() {
                break;
            }
        }
        assert_eq!(files, [0, 1], "the entry begins in one file and ends in the next");
        assert_eq!(journal.recyclable(u64::MAX).1, vec![0]);
    }

    fn disk(files: u32) -> Vec<Vec<u8>> {
        vec![vec![0; FILE_BYTES as usize]; files as usize]
    }

    fn read_back(disk: &[Vec<u8>], tail: Tail, committed: u64) -> Verdict {
        let scanned = (0u32..).zip(disk).flat_map(|(number, file)| scan(&owner(), number, &file.clone().into()));
        judge(tail, committed, scanned.collect())
    }

    fn offsets(verdict: &Verdict) -> Vec<i64> {
        let Verdict::Clean { blocks, .. } = verdict else { panic!("damaged: {verdict:?}") };
        let appends = entries(blocks).into_iter().filter(|entry| entry.head.kind == Kind::Append);
        appends.map(|entry| entry.head.first.0).collect()
    }

    #[test]
    fn the_first_append_is_written_at_once_and_those_during_its_flight_together() {
        let mut journal = journal(2, 2);
        let first = append(&mut journal, 0, &[1; 100]);
        let write = journal.next_write().expect("nothing is in flight");
        let second = append(&mut journal, 1, &[2; 100]);
        let third = append(&mut journal, 2, &[3; 100]);
        assert!(journal.next_write().is_none(), "one block is in flight and the open one is below the threshold");
        assert_eq!((first, second, third), (Ticket(1), Ticket(2), Ticket(2)));
        append(&mut journal, 3, &[4; 5000]);
        let above = journal.next_write().expect("the threshold is reached");
        append(&mut journal, 4, &[5; 5000]);
        assert!(journal.next_write().is_none(), "as many as may be are in flight");
        journal.written(above.sequence, |_| panic!("an earlier block is not on disk yet"));
        assert!(!journal.is_durable(first));
        let mut released = Vec::new();
        journal.written(write.sequence, |block| released.push(block.sequence));
        assert_eq!(released, [1, 2]);
        assert!(journal.is_durable(third));
    }

    #[test]
    fn an_entry_larger_than_a_block_comes_back_whole() {
        let (mut journal, mut disk) = (journal(2, 2), disk(2));
        let payload: Vec<u8> = (0..40_000u32).map(|number| (number % 251) as u8).collect();
        append(&mut journal, 0, b"before");
        append(&mut journal, 1, &payload);
        append(&mut journal, 2, b"behind");
        assert_eq!(settle(&mut journal, &mut disk), [0, 1, 2]);
        let Verdict::Clean { blocks, .. } = read_back(&disk, Tail { file: 0, sequence: 1 }, 0) else { panic!() };
        let found: Vec<_> = entries(&blocks).into_iter().map(|entry| entry.payload.concat()).collect();
        assert_eq!(found[1..], [b"before".to_vec(), payload, b"behind".to_vec()]);
        let begins: Vec<_> = entries(&blocks).into_iter().map(|entry| entry.first_block).collect();
        assert_eq!(begins, [1, 1, 2, 4], "an entry that spans blocks needs the one in which it begins");
    }

    #[test]
    fn files_are_recycled_in_order_and_old_blocks_do_not_come_back() {
        let (mut journal, mut disk) = (journal(1, 3), disk(3));
        let mut tail = journal.tail();
        for offset in 0..200 {
            while !journal.has_room(3000) {
                let (next, finished) = journal.recyclable(u64::MAX);
                assert!(!finished.is_empty(), "everything is durable, so the oldest file may go");
                finished.into_iter().for_each(|number| journal.recycle(number));
                tail = next;
            }
            append(&mut journal, offset, &[offset as u8; 3000]);
            assert_eq!(settle(&mut journal, &mut disk), [offset]);
        }
        assert!(journal.end().accepted > 100);
        let kept = offsets(&read_back(&disk, tail, 0));
        assert_eq!(kept, (200 - kept.len() as i64..200).collect::<Vec<_>>());
        assert!(kept.len() >= 10);
    }

    #[test]
    fn a_file_stays_as_long_as_a_log_needs_a_block_in_it() {
        let (mut journal, mut disk) = (journal(1, 4), disk(4));
        for offset in 0..30 {
            append(&mut journal, offset, &[0; 3000]);
            settle(&mut journal, &mut disk);
        }
        let first = *journal.used.front().expect("a file");
        assert_eq!(journal.recyclable(first.last), (Tail { file: 0, sequence: 1 }, vec![]));
        let (tail, finished) = journal.recyclable(first.last + 1);
        assert_eq!((tail.sequence, finished), (first.last + 1, vec![0]));
    }

    #[test]
    fn an_idle_journal_says_once_that_everything_is_durable() {
        let (mut journal, mut disk) = (journal(1, 2), disk(2));
        append(&mut journal, 0, b"x");
        settle(&mut journal, &mut disk);
        assert!(journal.needs_publishing());
        let write = journal.publish().expect("the last block's durability is not on disk");
        journal.written(write.sequence, |block| assert!(block.entries.is_empty()));
        assert!(journal.publish().is_none());
    }

    /// A power cut with blocks in flight: whatever lands of the last ones, in whatever order, nothing acknowledged is lost, nothing
    /// behind a gap comes back, and damage below what was committed is told apart.
    #[test]
    fn any_mixture_of_lost_and_torn_blocks_in_flight_leaves_a_prefix() {
        for pattern in 0..81u32 {
            let (mut journal, mut disk) = (journal(4, 2), disk(2));
            append(&mut journal, 0, &[9; 2000]);
            assert_eq!(settle(&mut journal, &mut disk), [0]);
            let mut flying = Vec::new();
            for offset in 1..5 {
                append(&mut journal, offset, &[offset as u8; 5000]);
                flying.push(journal.next_write().expect("fewer than four are in flight"));
            }
            let mut fates = pattern;
            let mut whole = Vec::new();
            for write in &flying {
                let landed = match fates % 3 {
                    0 => 0,
                    1 => 512 * 3,
                    _ => write.bytes.len(),
                };
                fates /= 3;
                let at = write.position as usize;
                disk[write.file as usize][at..at + landed].copy_from_slice(&write.bytes[..landed]);
                whole.push(landed == write.bytes.len());
            }
            let prefix = whole.iter().take_while(|whole| **whole).count() as i64;
            let verdict = read_back(&disk, Tail { file: 0, sequence: 1 }, 1);
            assert_eq!(offsets(&verdict), (0..=prefix).collect::<Vec<_>>(), "pattern {pattern}");
        }
    }

    #[test]
    fn a_broken_block_that_was_committed_is_damage_and_names_its_logs() {
        let (mut journal, mut disk) = (journal(1, 2), disk(2));
        let mut places = Vec::new();
        for offset in 0..3 {
            append(&mut journal, offset, &[7; 2000]);
            let write = journal.next_write().expect("a write");
            places.push((write.file as usize, write.position as usize));
            let at = write.position as usize;
            disk[write.file as usize][at..at + write.bytes.len()].copy_from_slice(&write.bytes);
            journal.written(write.sequence, |_| {});
        }
        let (file, at) = places[1];
        disk[file][at + 500] ^= 1;
        let Verdict::Damaged(damage) = read_back(&disk, Tail { file: 0, sequence: 1 }, 0) else {
            panic!("not noticed")
        };
        assert_eq!((damage.sequence, damage.committed), (2, 2));
        assert_eq!(damage.holes, [(LogId(2), Offset(1), Offset(1))]);
        disk[file][at..at + 96].fill(0);
        let Verdict::Damaged(damage) = read_back(&disk, Tail { file: 0, sequence: 1 }, 0) else {
            panic!("not noticed")
        };
        assert_eq!((damage.sequence, damage.holes), (2, vec![]));
    }
}
