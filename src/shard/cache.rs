//! Which journal blocks stay in memory after they are drained: the newest that somebody may still read from memory, within a budget.
//!
//! Memory that nobody reads is worth more to the next block: it may still be in the processor's cache, and it need not be had a second time.

use std::collections::VecDeque;
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::{LogId, Mono, Offset};

/// The durable blocks that are still in memory, oldest first.
pub(super) struct Cache {
    blocks: VecDeque<Block>,
    bytes: usize,
    budget: usize,
}

/// Blocks that are let go of together.
pub(super) struct Block {
    /// Of the last one.
    pub sequence: u64,
    /// What their memory costs: their own pages, never the length of a slice.
    bytes: usize,
    /// The logs that have batches in them, and the last offset of each.
    pub logs: SmallVec<[(LogId, Offset); 8]>,
    /// So many of them need it no more. Nobody looks at those again: a block may hold thousands of logs, and is looked at with each step of each drain.
    pub passed: usize,
}

impl Cache {
    pub(super) fn new(budget: usize) -> Self {
        Self { blocks: VecDeque::new(), bytes: 0, budget }
    }

    /// Takes in the block `sequence`. `from` is the sequence of the first block that holds bytes of its entries: an entry that goes over several blocks keeps
    /// them all.
    pub(super) fn remember(&mut self, from: u64, sequence: u64, bytes: usize, logs: SmallVec<[(LogId, Offset); 8]>) {
        self.bytes += bytes;
        let mut block = Block { sequence, bytes, logs, passed: 0 };
        while let Some(mut before) = self.blocks.pop_back_if(|before| before.sequence >= from) {
            before.logs.append(&mut block.logs);
            block = Block { sequence, bytes: before.bytes + block.bytes, logs: before.logs, passed: 0 };
        }
        self.blocks.push_back(block);
    }

    /// Bytes of the blocks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest block, and whether it is one too many.
    pub(super) fn oldest(&mut self) -> Option<(&mut Block, bool)> {
        let too_many = self.bytes > self.budget;
        self.blocks.front_mut().map(|block| (block, too_many))
    }

    /// Lets go of the oldest block.
    pub(super) fn forget_oldest(&mut self) {
        self.bytes -= self.blocks.pop_front().map_or(0, |block| block.bytes);
    }
}

/// From where on a log was lately read: the lowest offset asked for in this span of time and in the one before.
#[derive(Default)]
pub(super) struct Readers {
    span: u64,
    lowest: Option<Offset>,
    before: Option<Offset>,
}

/// A consumer that asks less often than this is not waited for. Its next batches come from the disk.
const READERS_SPAN: Duration = Duration::from_secs(10);

impl Readers {
    /// Somebody reads at this offset.
    pub(super) fn asked(&mut self, offset: Offset, now: Mono) {
        self.turn(now);
        self.lowest = Some(self.lowest.map_or(offset, |lowest| lowest.min(offset)));
    }

    /// Whether somebody may still want what stands at or below this offset.
    pub(super) fn may_want(&mut self, offset: Offset, now: Mono) -> bool {
        self.turn(now);
        self.lowest.into_iter().chain(self.before).any(|lowest| lowest <= offset)
    }

    fn turn(&mut self, now: Mono) {
        let span = now.0 / READERS_SPAN.as_nanos() as u64;
        if span != self.span {
            self.before = self.lowest.take().filter(|_| span == self.span + 1);
            self.span = span;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(logs: &[(u64, i64)]) -> SmallVec<[(LogId, Offset); 8]> {
        logs.iter().map(|(log, last)| (LogId(*log), Offset(*last))).collect()
    }

    #[test]
    fn blocks_of_one_entry_are_let_go_of_together() {
        let mut cache = Cache::new(100);
        cache.remember(1, 1, 30, logs(&[(1, 9)]));
        cache.remember(2, 2, 30, logs(&[(2, 9)]));
        cache.remember(3, 3, 30, logs(&[]));
        // This one's entry began in block 2.
        cache.remember(2, 4, 30, logs(&[(3, 9)]));
        let (block, too_many) = cache.oldest().expect("four were remembered");
        assert_eq!((block.sequence, too_many), (1, true));
        cache.forget_oldest();
        assert_eq!(cache.bytes(), 90);
        let (block, too_many) = cache.oldest().expect("the rest");
        assert_eq!((block.sequence, too_many), (4, false));
        assert_eq!(block.logs, logs(&[(2, 9), (3, 9)]));
        cache.forget_oldest();
        assert_eq!((cache.bytes(), cache.oldest().is_none()), (0, true));
    }

    #[test]
    fn what_is_behind_all_readers_is_not_wanted() {
        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        let mut readers = Readers::default();
        assert!(!readers.may_want(Offset(5), at(0)), "nobody reads");
        readers.asked(Offset(7), at(1));
        readers.asked(Offset(3), at(2));
        readers.asked(Offset(9), at(3));
        assert!(!readers.may_want(Offset(2), at(3)));
        assert!(readers.may_want(Offset(3), at(3)));
        // The one at 3 has gone on, or away: it counts until the end of the next span.
        readers.asked(Offset(8), at(12));
        assert!(readers.may_want(Offset(3), at(19)));
        readers.asked(Offset(20), at(20));
        assert!(!readers.may_want(Offset(7), at(20)));
        assert!(readers.may_want(Offset(8), at(20)));
        assert!(!readers.may_want(Offset(100), at(45)), "nobody asked for two spans");
    }
}
