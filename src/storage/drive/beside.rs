//! What is to go into the small files beside a `.log` file, the indexes and the checksums: gathered, and written a page at a time.
//!
//! A step of a drain has a hundred bytes for each of them, and ext4 takes no buffered write without blocking, so that io_uring hands each to a thread of its
//! own: a tenth of a core at 64 KiB batches (`perf/results/2026-11-27-drain.md`).
//! Always true: what is gathered is written before its file is flushed, so no checkpoint speaks of it, and a crash that loses it takes no more than what
//! a power cut may take of a file that was not flushed. It stays gathered until it is in the file, and whoever reads lays it over what he has read.

use std::cell::{Cell, RefCell};
use std::io;

use bytes::Bytes;

use super::{Drive, Target};
use crate::base::budget::{Budget, Share};
use crate::base::limits::{GATHERED_BYTES_MAX, PAGE_BYTES};
use crate::base::{LogId, Map, Offset};
use crate::io::File;
use crate::storage::StorageError;
use crate::storage::segment::Kind;

/// What all files of one core have gathered.
pub(super) struct Gathered {
    files: RefCell<Map<Key, Piece>>,
    /// What they are charged with together.
    bytes: Cell<usize>,
    /// Whoever adds to a file or writes it has the turn of its log, or else an old end could be written over a new one.
    turns: [Budget; 1 << TURNS_LOG2],
}

type Key = (LogId, Offset, Kind);

/// The end of a file, not written yet.
struct Piece {
    position: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn charge(&self) -> usize {
        PIECE_BYTES + self.bytes.len()
    }
}

impl Gathered {
    pub(super) fn new() -> Self {
        Self { files: RefCell::default(), bytes: Cell::new(0), turns: std::array::from_fn(|_| Budget::new(1)) }
    }

    /// Drops what belongs to a log that is deleted.
    pub(super) fn forget(&self, log: LogId) {
        self.files.borrow_mut().retain(|(of, ..), piece| {
            let goes = *of == log;
            self.bytes.set(self.bytes.get() - if goes { piece.charge() } else { 0 });
            !goes
        });
    }

    async fn turn(&self, log: LogId) -> Share {
        // The logs of one core have numbers that are the same modulo the number of cores.
        let turn = log.0.wrapping_mul(GOLDEN_RATIO) >> (u64::BITS - TURNS_LOG2);
        self.turns[turn as usize].take(1, 1).await
    }

    /// Adds bytes behind what the file has, or over the last of it. Says whether it is to be written now.
    fn add(&self, key: Key, position: u64, bytes: &[u8]) -> bool {
        let mut files = self.files.borrow_mut();
        let before = files.get(&key).map_or(0, Piece::charge);
        let piece = files.entry(key).or_insert_with(|| Piece { position, bytes: Vec::new() });
        let kept = position.checked_sub(piece.position).filter(|kept| *kept <= piece.bytes.len() as u64);
        let kept = kept.expect("a small file grows at its end");
        piece.bytes.truncate(kept as usize);
        piece.bytes.extend_from_slice(bytes);
        self.bytes.set(self.bytes.get() - before + piece.charge());
        piece.bytes.len() >= PAGE_BYTES || self.bytes.get() > GATHERED_BYTES_MAX
    }

    fn piece(&self, key: &Key) -> Option<(u64, Bytes)> {
        self.files.borrow().get(key).map(|piece| (piece.position, Bytes::copy_from_slice(&piece.bytes)))
    }

    fn written(&self, key: &Key) {
        let charge = self.files.borrow_mut().remove(key).map_or(0, |piece| piece.charge());
        self.bytes.set(self.bytes.get() - charge);
    }
}

impl Drive {
    /// Puts bytes into a small file, behind what it has or over the last of it: sooner or later, but before [`Drive::settle`] returns.
    pub(super) async fn write_beside(
        &self,
        target: &Target,
        kind: Kind,
        position: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let turn = self.inner.gathered.turn(target.log).await;
        if self.inner.gathered.add((target.log, target.base, kind), position, bytes) {
            self.write_gathered(&turn, target, kind).await?;
        }
        Ok(())
    }

    /// Whether anything of a file is not written yet.
    pub(super) fn gathers(&self, target: &Target, kind: Kind) -> bool {
        self.inner.gathered.files.borrow().contains_key(&(target.log, target.base, kind))
    }

    /// Writes what a file has gathered. To be run to its end.
    pub(super) async fn settle(&self, target: &Target, kind: Kind) -> Result<(), StorageError> {
        let turn = self.inner.gathered.turn(target.log).await;
        self.write_gathered(&turn, target, kind).await
    }

    /// A small file as it will be. Whatever is gathered now is seen, also while it is being written.
    pub(super) fn settled(&self, target: &Target, kind: Kind, file: File) -> Settled {
        let piece = self.inner.gathered.piece(&(target.log, target.base, kind));
        Settled { file, piece: piece.unwrap_or_default() }
    }

    /// It stays gathered when the write fails: the next flush must not pass over it.
    async fn write_gathered(&self, _turn: &Share, target: &Target, kind: Kind) -> Result<(), StorageError> {
        let key = (target.log, target.base, kind);
        let Some((position, bytes)) = self.inner.gathered.piece(&key) else { return Ok(()) };
        let write = async { self.inner.files.file(target, kind).await?.write_at(position, bytes).await };
        write.await.map_err(StorageError::write(&target.path(kind)))?;
        self.inner.gathered.written(&key);
        Ok(())
    }
}

/// A file, and what is to be written at its end.
pub(super) struct Settled {
    file: File,
    piece: (u64, Bytes),
}

impl Settled {
    pub(super) async fn len(&self) -> io::Result<u64> {
        let (position, piece) = &self.piece;
        Ok(self.file.len().await?.max(position + piece.len() as u64))
    }

    /// As [`File::read_at`].
    pub(super) async fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let found = self.file.read_at(position, len).await?;
        Ok(lay_over(found, position, len, &self.piece))
    }
}

/// `found` was read where `len` bytes were wanted.
fn lay_over(found: Bytes, position: u64, len: usize, (over, piece): &(u64, Bytes)) -> Bytes {
    let (first, end) = ((*over).max(position), (over + piece.len() as u64).min(position + len as u64));
    if first >= end || first > position + found.len() as u64 {
        return found;
    }
    let (at, to) = ((first - position) as usize, (end - position) as usize);
    let mut all = found.to_vec();
    all.resize(all.len().max(to), 0);
    all[at..to].copy_from_slice(&piece[(first - over) as usize..(end - over) as usize]);
    all.into()
}

/// There are 32 turns, as many as flushes under way.
const TURNS_LOG2: u32 = 5;
/// 2^64 divided by the golden ratio, odd: neighbouring numbers are spread over all turns.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
/// What a file is charged with beside its bytes.
const PIECE_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const SUMS: Key = (LogId(1), Offset(0), Kind::Sums);
    const INDEX: Key = (LogId(2), Offset(0), Kind::Index);

    /// A checksum of a partial block is replaced by that of the whole one.
    #[test]
    fn what_is_added_goes_behind_or_over_the_last() {
        let gathered = Gathered::new();
        assert!(!gathered.add(SUMS, 64, b"aaaabbbb"));
        assert!(!gathered.add(SUMS, 68, b"BBBBcccc"));
        assert!(!gathered.add(SUMS, 76, b"dddd"));
        assert_eq!(gathered.piece(&SUMS), Some((64, Bytes::from_static(b"aaaaBBBBccccdddd"))));
        gathered.written(&SUMS);
        assert_eq!(gathered.piece(&SUMS), None);
        assert!(!gathered.add(SUMS, 76, b"DDDD"), "over what is in the file");
        assert_eq!(gathered.piece(&SUMS), Some((76, Bytes::from_static(b"DDDD"))));
    }

    #[test]
    fn what_is_gathered_is_read_over_what_the_file_has() {
        let read = |found: &'static [u8], position, len, piece: &'static [u8]| {
            lay_over(Bytes::from_static(found), position, len, &(8, Bytes::from_static(piece)))
        };
        assert_eq!(read(b"0123", 4, 4, b"abcd"), "0123", "before it");
        assert_eq!(read(b"01234567", 0, 12, b"abcd"), "01234567abcd", "the file ends where it begins");
        assert_eq!(read(b"0123456789", 0, 12, b"abcd"), "01234567abcd", "over the file's end");
        assert_eq!(read(b"89", 8, 2, b"abcd"), "ab", "a part");
        assert_eq!(read(b"", 10, 8, b"abcd"), "cd", "its end, and nothing behind");
        assert_eq!(read(b"0123", 0, 12, b"abcd"), "0123", "not over a gap");
        assert_eq!(read(b"01", 0, 2, b""), "01");
    }

    #[test]
    fn a_page_is_written_and_so_is_anything_when_all_files_have_much() {
        let gathered = Gathered::new();
        assert!(!gathered.add(INDEX, 0, &[0; PAGE_BYTES - 8]));
        assert!(gathered.add(INDEX, PAGE_BYTES as u64 - 8, &[0; 8]));
        gathered.written(&INDEX);
        let held = PAGE_BYTES - 8 + PIECE_BYTES;
        let fit = GATHERED_BYTES_MAX / held;
        for log in 1..=fit as u64 {
            assert!(!gathered.add((LogId(log), Offset(0), Kind::Sums), 0, &[0; PAGE_BYTES - 8]), "log {log} of {fit}");
        }
        let one_more = (LogId(fit as u64 + 1), Offset(0), Kind::Sums);
        assert!(gathered.add(one_more, 0, &[0; PAGE_BYTES - 8]));
        gathered.written(&one_more);
        assert_eq!(gathered.bytes.get(), fit * held);
        for log in 1..=fit as u64 {
            gathered.forget(LogId(log));
        }
        assert_eq!((gathered.bytes.get(), gathered.files.borrow().len()), (0, 0));
    }
}
