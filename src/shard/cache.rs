//! Which journal blocks stay in memory after they are drained: the newest, within a budget.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::base::LogId;

/// The durable blocks that are still in memory, oldest first.
pub(super) struct Cache {
    blocks: VecDeque<Block>,
    bytes: usize,
    budget: usize,
}

struct Block {
    sequence: u64,
    /// What its memory costs: its own pages, never the length of a slice.
    bytes: usize,
    logs: SmallVec<[LogId; 8]>,
}

impl Cache {
    pub(super) fn new(budget: usize) -> Self {
        Self { blocks: VecDeque::new(), bytes: 0, budget }
    }

    pub(super) fn remember(&mut self, sequence: u64, bytes: usize, logs: SmallVec<[LogId; 8]>) {
        self.bytes += bytes;
        self.blocks.push_back(Block { sequence, bytes, logs });
    }

    /// Bytes of the blocks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go of the oldest blocks until the budget holds, but of none at or after `undrained`. Calls `evict` with a log and the
    /// sequence up to which it must let go.
    pub(super) fn shrink(&mut self, undrained: u64, mut evict: impl FnMut(LogId, u64)) {
        while self.bytes > self.budget
            && let Some(block) = self.blocks.pop_front_if(|block| block.sequence < undrained)
        {
            self.bytes -= block.bytes;
            block.logs.iter().for_each(|log| evict(*log, block.sequence));
        }
    }
}
