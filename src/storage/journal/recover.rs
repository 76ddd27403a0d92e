//! How far a journal can be believed after a crash, and what of it survives. Pure: bytes in, verdict out.
//!
//! An invalid block at or below the highest `committed` seen anywhere is damage to data that was acknowledged. Above it is the
//! frontier of the crash: with several blocks in flight a power cut may leave a torn block before whole ones, none of them
//! acknowledged, and everything behind the first gap is discarded.

use bytes::Bytes;
use smallvec::SmallVec;

use super::block::{self, BodyFault, Fragment, Header, Owner};
use super::entry::{Kind, Opened};
use super::plan::{Committed, Tail};
use crate::base::limits::PAGE_BYTES;
use crate::base::{LogId, Map, Offset};

/// A block found in a file: its header is whole, its body may not be.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The header.
    pub header: Header,
    /// The header's checksum.
    pub checksum: u32,
    /// The fragments, or what is wrong.
    pub body: Result<Vec<Fragment>, BodyFault>,
    /// The block.
    pub bytes: Bytes,
}

/// Finds every block of `owner` in a file, also behind damage: each page is looked at unless a whole block covers it.
pub fn scan(owner: &Owner, file: u32, bytes: &Bytes) -> Vec<Scanned> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let mut step = PAGE_BYTES;
        if let Some((header, checksum)) = Header::decode(&bytes[at..])
            && header.owner == *owner
            && (header.file, header.position) == (file, at as u64)
        {
            let end = (at + header.len as usize).min(bytes.len());
            let block = bytes.slice(at..end);
            let body = block::fragments(&header, &block);
            if body.is_ok() {
                step = header.len as usize;
            }
            found.push(Scanned { header, checksum, body, bytes: block });
        }
        at += step;
    }
    found
}

/// What a journal's blocks add up to.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Everything up to the frontier is whole and chained.
    Clean {
        /// The accepted blocks, in order.
        blocks: Vec<Scanned>,
        /// The end of the chain, for the next incarnation to name.
        end: Opened,
        /// Blocks behind the frontier, none of them acknowledged.
        discarded: usize,
    },
    /// Data that was acknowledged is damaged.
    Damaged(Damage),
}

/// Where acknowledged data is damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The first sequence that is not whole.
    pub sequence: u64,
    /// The highest sequence that is known to have been durable.
    pub committed: u64,
    /// The file and position of the block, when its header is whole.
    pub place: Option<(u32, u64)>,
    /// The offsets that are touched, by log; empty when not even the directory can be read.
    pub holes: Vec<(LogId, Offset, Offset)>,
}

/// Follows the chain from `tail`. `committed` is the highest sequence that the checkpoint knows to be durable.
pub fn judge(tail: Tail, committed: u64, mut scanned: Vec<Scanned>) -> Verdict {
    let committed = scanned.iter().map(|block| block.header.committed).fold(committed, u64::max);
    scanned.retain(|block| block.header.sequence >= tail.sequence);
    // Of blocks with one sequence the newest incarnation comes first: the older one lay behind a frontier.
    scanned.sort_by_key(|block| (block.header.sequence, std::cmp::Reverse(block.header.incarnation)));
    let total = scanned.len();
    let mut blocks: Vec<Scanned> = Vec::new();
    let mut candidates = scanned.into_iter().peekable();
    loop {
        let expected = tail.sequence + blocks.len() as u64;
        let last = blocks.last().map(|block| (block.header, block.checksum));
        let (mut next, mut broken) = (None, None);
        while let Some(block) = candidates.next_if(|block| block.header.sequence <= expected) {
            match &block.body {
                Ok(fragments) if next.is_none() && follows(last, &block, fragments) => next = Some(block),
                Err(fault) if broken.is_none() => {
                    broken = Some(((block.header.file, block.header.position), fault.clone()));
                }
                _ => {}
            }
        }
        let Some(block) = next else {
            if expected <= committed {
                return Verdict::Damaged(damage(expected, committed, broken));
            }
            let end = last.map_or(Opened { accepted: expected - 1, checksum: 0 }, |(header, checksum)| Opened {
                accepted: header.sequence,
                checksum,
            });
            let discarded = total - blocks.len();
            return Verdict::Clean { blocks, end, discarded };
        };
        blocks.push(block);
    }
}

/// A defect for the simulation: numbers the blocks behind a gap as if nothing were missing.
pub fn pretend_no_gap(scanned: &mut [Scanned], tail: Tail) {
    scanned.sort_by_key(|block| block.header.sequence);
    let whole = scanned.iter_mut().filter(|block| block.body.is_ok() && block.header.sequence >= tail.sequence);
    let mut previous = 0;
    for (sequence, block) in (tail.sequence..).zip(whole) {
        (block.header.sequence, block.header.previous) = (sequence, previous);
        previous = block.checksum;
    }
}

fn follows(last: Option<(Header, u32)>, block: &Scanned, fragments: &[Fragment]) -> bool {
    let Some((header, checksum)) = last else { return true };
    if block.header.incarnation == header.incarnation {
        return block.header.previous == checksum;
    }
    let first = fragments.first().filter(|fragment| fragment.head.kind == Kind::Opened);
    let opened = first.and_then(|fragment| Opened::decode(&block.bytes[fragment.payload.clone()]));
    opened == Some(Opened { accepted: header.sequence, checksum })
}

fn damage(sequence: u64, committed: u64, broken: Option<((u32, u64), BodyFault)>) -> Damage {
    let place = broken.as_ref().map(|(place, _)| *place);
    let holes = match broken {
        Some((_, BodyFault::Fragments(list))) => {
            list.iter().map(|entry| (entry.log, entry.first, entry.last)).collect()
        }
        _ => Vec::new(),
    };
    Damage { sequence, committed, place, holes }
}

/// Puts the fragments of accepted blocks together. An entry without its last fragment does not exist.
pub fn entries(blocks: &[Scanned]) -> Vec<Committed> {
    let mut whole = Vec::new();
    let mut open: Option<Committed> = None;
    for block in blocks {
        for fragment in block.body.iter().flatten() {
            if fragment.head.is_first() {
                let (head, first_block) = (fragment.head, block.header.sequence);
                open = Some(Committed { head, first_block, payload: SmallVec::new() });
            }
            if let Some(entry) = &mut open {
                entry.payload.push(block.bytes.slice(fragment.payload.clone()));
            }
            if fragment.head.is_last() {
                whole.extend(open.take());
            }
        }
    }
    whole
}

/// What recovery knows of a log before it replays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Everything below stands in segments, flushed.
    pub drained: Offset,
}

/// The first pass of replay: works out which entries survive. Superseded appends are dropped (deleted, truncated or below the drained
/// offset), and `known` says for each log what the checkpoint says; a log that it does not know was deleted. An append below the log start
/// survives: nobody may read its records, but its producer may send it again.
pub fn survivors(entries: Vec<Committed>, known: impl Fn(LogId) -> Option<Known>) -> Vec<Committed> {
    /// What later entries say about earlier ones.
    struct Later {
        deleted: bool,
        end: Offset,
    }
    let mut later: Map<LogId, Later> = Map::default();
    let mut kept: Vec<_> = entries
        .into_iter()
        .rev()
        .filter(|entry| {
            let Some(known) = known(entry.head.log) else { return false };
            let later = later.entry(entry.head.log).or_insert(Later { deleted: false, end: Offset(i64::MAX) });
            if later.deleted {
                return false;
            }
            match entry.head.kind {
                Kind::Append | Kind::AppendRef => {
                    entry.head.last >= known.drained && entry.head.first < later.end
                        || entry.head.kind == Kind::AppendRef
                }
                Kind::Deleted => {
                    later.deleted = true;
                    true
                }
                Kind::Truncate => {
                    later.end = later.end.min(entry.head.first);
                    true
                }
                _ => true,
            }
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LeaderEpoch;
    use crate::storage::journal::Head;

    fn entry(kind: Kind, log: u64, first: i64, last: i64) -> Committed {
        let head = Head { first: Offset(first), last: Offset(last), ..Head::about(kind, LogId(log)) };
        Committed { head: Head { epoch: LeaderEpoch(0), ..head }, first_block: 1, payload: SmallVec::new() }
    }

    fn kept(entries: Vec<Committed>, drained: i64) -> Vec<(Kind, u64, i64)> {
        let known = |log: LogId| {
            let known = Known { drained: Offset(drained) };
            (log.0 < 9).then_some(known)
        };
        let survivors = survivors(entries, known);
        survivors.iter().map(|entry| (entry.head.kind, entry.head.log.0, entry.head.first.0)).collect()
    }

    #[test]
    fn what_later_entries_take_back_does_not_survive() {
        use Kind::*;
        let entries = vec![
            entry(Append, 1, 0, 4),
            entry(Append, 1, 5, 9),
            entry(Append, 2, 0, 0),
            entry(Truncate, 1, 5, 5),
            entry(Append, 1, 5, 6),
            entry(Deleted, 2, 0, 0),
            entry(Append, 9, 0, 0),
        ];
        let expected = [(Append, 1, 0), (Truncate, 1, 5), (Append, 1, 5), (Deleted, 2, 0)];
        assert_eq!(kept(entries, 0), expected);
    }

    #[test]
    fn what_is_drained_does_not_survive_and_what_is_below_the_log_start_does() {
        use Kind::*;
        let entries =
            vec![entry(Append, 1, 0, 4), entry(Append, 1, 5, 9), entry(LogStart, 1, 10, 10), entry(Append, 1, 10, 10)];
        assert_eq!(kept(entries.clone(), 5), [(Append, 1, 5), (LogStart, 1, 10), (Append, 1, 10)]);
        assert_eq!(kept(entries, 10), [(LogStart, 1, 10), (Append, 1, 10)]);
    }
}
