//! The tail cache of one log: the newest durable batches, as slices of the journal blocks that hold them.
//!
//! Always true: batches stand in offset order; those that are not drained yet are never evicted; nothing is copied. Bytes are counted here by slice;
//! the memory that the slices keep alive is charged by backing block, by the owner of the blocks.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::{LeaderEpoch, Offset, Timestamp};

/// A durable batch in memory.
#[derive(Clone, Debug)]
pub struct CachedBatch {
    /// Its first offset.
    pub base: Offset,
    /// Its last offset.
    pub last: Offset,
    /// The leader epoch it was appended in.
    pub epoch: LeaderEpoch,
    /// The largest timestamp of its records.
    pub max_timestamp: Timestamp,
    /// Sequence of the first journal block that holds bytes of it.
    pub seq: u64,
    /// Its bytes as they are stored, in order. More than one when the batch continues over journal blocks.
    pub slices: SmallVec<[Bytes; 1]>,
}

impl CachedBatch {
    /// Length of the batch.
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(Bytes::len).sum()
    }
}

/// The newest batches of a log. The drained ones stand first.
#[derive(Default, Debug)]
pub struct TailCache {
    batches: VecDeque<CachedBatch>,
    drained: usize,
    bytes: u64,
    undrained_bytes: u64,
}

impl TailCache {
    /// Takes in the next batch.
    pub fn push(&mut self, batch: CachedBatch) {
        if let Some(newest) = self.batches.back() {
            assert!(newest.last < batch.base, "batch {} was pushed after {}", batch.base, newest.last);
        }
        let bytes = batch.bytes() as u64;
        self.bytes += bytes;
        self.undrained_bytes += bytes;
        self.batches.push_back(batch);
    }

    /// The batches below `offset` are in a segment now.
    pub fn drained(&mut self, offset: Offset) {
        while let Some(batch) = self.batches.get(self.drained).filter(|batch| batch.last < offset) {
            self.undrained_bytes -= batch.bytes() as u64;
            self.drained += 1;
        }
    }

    /// Lets go of the drained batches whose journal block has the sequence `seq` or an older one. Gives the bytes of the slices let go.
    pub fn evict_through(&mut self, seq: u64) -> u64 {
        let before = self.bytes;
        while self.drained > 0 && self.batches.front().is_some_and(|batch| batch.seq <= seq) {
            self.bytes -= self.batches.pop_front().map_or(0, |batch| batch.bytes() as u64);
            self.drained -= 1;
        }
        before - self.bytes
    }

    /// First offset from which on everything is here.
    pub fn first(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.base)
    }

    /// The batches that are in no segment yet.
    pub fn undrained(&self) -> impl Iterator<Item = &CachedBatch> {
        self.batches.range(self.drained..)
    }

    /// The batch that holds `offset` or, when it falls in a hole, the one after it; and all that follow. Nothing when `offset` is older than the cache.
    pub fn from(&self, offset: Offset) -> impl Iterator<Item = &CachedBatch> {
        let start = match self.first() {
            Some(first) if first <= offset => self.batches.partition_point(|batch| batch.last < offset),
            _ => self.batches.len(),
        };
        self.batches.range(start..)
    }

    /// All batches, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &CachedBatch> {
        self.batches.iter()
    }

    /// Bytes of all slices.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the batches that are in no segment yet.
    pub fn undrained_bytes(&self) -> u64 {
        self.undrained_bytes
    }

    /// Whether nothing is here.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}
