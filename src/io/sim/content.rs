//! The bytes of a simulated file, what changes them, and what a power cut leaves of a change.

use std::rc::Rc;

use bytes::Bytes;

use super::disk::{DiskCounts, Loss, PAGE, SECTOR_BYTES};
use super::random::Random;
use crate::base::limits::PAGE_BYTES;

/// Bytes of a file. What lies behind the pages, and pages that are not data, reads as zeros.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) len: u64,
    pages: Vec<Page>,
}

#[derive(Clone, Default)]
enum Page {
    /// No space is taken.
    #[default]
    Hole,
    /// Space is reserved and reads as zeros.
    Reserved,
    Data(Rc<[u8; PAGE_BYTES]>),
}

/// A change of a file that is not durable by itself.
pub(super) enum FileOp {
    Write {
        pos: u64,
        bytes: Bytes,
    },
    /// The length became at least this.
    Grow(u64),
    SetLen(u64),
    Reserve {
        pos: u64,
        len: u64,
    },
}

impl Content {
    /// Fills `into` from `pos`; zeros where there is nothing.
    pub(super) fn read(&self, pos: u64, into: &mut [u8]) {
        for (page, at, part) in parts(pos, into.len()) {
            match self.pages.get(page) {
                Some(Page::Data(data)) => into[part.clone()].copy_from_slice(&data[at..at + part.len()]),
                _ => into[part].fill(0),
            }
        }
    }

    pub(super) fn write(&mut self, pos: u64, bytes: &[u8]) {
        for (page, at, part) in parts(pos, bytes.len()) {
            if self.pages.len() <= page {
                self.pages.resize(page + 1, Page::Hole);
            }
            let bytes = &bytes[part];
            match &mut self.pages[page] {
                Page::Data(data) => Rc::make_mut(data)[at..at + bytes.len()].copy_from_slice(bytes),
                // Zeros on zeros: files are pre-written a lot, and memory need not hold that.
                place if bytes.iter().all(|byte| *byte == 0) => *place = Page::Reserved,
                place => {
                    let mut data = Rc::new([0; PAGE_BYTES]);
                    Rc::make_mut(&mut data)[at..at + bytes.len()].copy_from_slice(bytes);
                    *place = Page::Data(data);
                }
            }
        }
    }

    pub(super) fn apply(&mut self, op: &FileOp) {
        match op {
            FileOp::Write { pos, bytes } => self.write(*pos, bytes),
            FileOp::Grow(len) => self.len = self.len.max(*len),
            FileOp::SetLen(len) => {
                let shorter = *len < self.len;
                self.len = *len;
                if shorter {
                    self.cut_pages();
                }
            }
            FileOp::Reserve { pos, len } => {
                for (page, _, _) in parts(*pos, *len as usize) {
                    if self.pages.len() <= page {
                        self.pages.resize(page + 1, Page::Hole);
                    }
                    if let Page::Hole = self.pages[page] {
                        self.pages[page] = Page::Reserved;
                    }
                }
            }
        }
    }

    /// Forgets what lies behind the length; a later growth reads as zeros.
    pub(super) fn cut_pages(&mut self) {
        self.pages.truncate(self.len.div_ceil(PAGE) as usize);
        let inside = (self.len % PAGE) as usize;
        if inside > 0
            && let Some(Page::Data(data)) = self.pages.get_mut((self.len / PAGE) as usize)
        {
            Rc::make_mut(data)[inside..].fill(0);
        }
    }

    pub(super) fn missing_pages(&self, pos: u64, len: u64) -> u64 {
        let hole = |page: usize| matches!(self.pages.get(page), None | Some(Page::Hole));
        parts(pos, len as usize).filter(|(page, _, _)| hole(*page)).count() as u64
    }

    pub(super) fn taken_pages(&self) -> u64 {
        self.pages.iter().filter(|page| !matches!(page, Page::Hole)).count() as u64
    }
}

/// Cuts a range of a file at page boundaries: page, place in it, and the part of the range.
fn parts(pos: u64, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = pos + done as u64;
        let inside = (at % PAGE) as usize;
        let count = (PAGE_BYTES - inside).min(len - done);
        let part = done..done + count;
        done += count;
        Some(((at / PAGE) as usize, inside, part))
    })
}

/// What a power cut leaves of one operation on a file.
pub(super) fn survive(durable: &mut Content, op: FileOp, loss: Loss, random: &mut Random, counts: &mut DiskCounts) {
    let fate = match loss {
        Loss::Everything => 0,
        Loss::Nothing => 3,
        Loss::Random => random.below(8),
    };
    match (fate, op) {
        (0..=2, _) => counts.lost += 1,
        (3..=5, op) => durable.apply(&op),
        (fate, FileOp::Write { pos, bytes }) => {
            counts.torn += 1;
            let sectors = bytes.len().div_ceil(SECTOR_BYTES) as u64;
            let first = random.between(0, sectors);
            for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                // Either a first part, or, as a device with several channels leaves it, any pages.
                let lives = if fate == 6 {
                    (number as u64) < first
                } else {
                    (first ^ (number as u64 / 8)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0
                };
                if lives {
                    durable.write(pos + (number * SECTOR_BYTES) as u64, sector);
                }
            }
        }
        (_, op) => durable.apply(&op),
    }
}
