//! What a journal block holds: typed entries, each about one log.
//!
//! An entry travels as one or more fragments (first, middle, last), because it may continue over blocks. It exists when its last
//! fragment is committed. A fragment is a 40-byte head, its payload, and zeros up to the next multiple of 8:
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! |  0 | 1 | kind ([`Kind`]) |
//! |  1 | 1 | place: bit 0 = first fragment, bit 1 = last fragment |
//! |  2 | 2 | zero |
//! |  4 | 4 | bytes of this fragment's payload |
//! |  8 | 8 | log id |
//! | 16 | 8 | first offset |
//! | 24 | 8 | last offset |
//! | 32 | 4 | leader epoch |
//! | 36 | 4 | bytes of the whole entry's payload |
//!
//! All numbers are big-endian. What the offsets and the payload mean stands at each kind.

use crate::base::{Cursor, LeaderEpoch, LogId, Offset};

/// Bytes of a fragment's head.
pub const HEAD_BYTES: usize = 40;
/// This fragment begins its entry.
pub const FIRST: u8 = 1;
/// This fragment ends its entry.
pub const LAST: u8 = 2;

/// What an entry says. The numbers are format version 1 and never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One record batch, whole, in the payload. First and last offset are the batch's.
    Append = 1,
    /// A batch range whose bytes stand in a segment; the payload is an [`Extent`] with the partial pages at its ends.
    AppendRef = 2,
    /// The log ends at `first offset`; `leader epoch` is the epoch that decided so.
    Truncate = 3,
    /// The log starts at `first offset`.
    LogStart = 4,
    /// A leader epoch starts at `first offset`.
    EpochStart = 5,
    /// A segment with base `first offset` became the active one.
    SegmentRolled = 6,
    /// Segments went (compaction, retention): payload is a [`Replaced`].
    SegmentsReplaced = 7,
    /// This journal takes the log over; the payload is the generation (8 bytes).
    Adopt = 8,
    /// This journal lets the log go; the payload is the generation (8 bytes).
    Release = 9,
    /// The log is deleted; nothing of it before this entry counts.
    Deleted = 10,
    /// One metadata command; first offset = its index, leader epoch = its term. Only in the metadata journal.
    Command = 11,
    /// An incarnation begins; the payload is an [`Opened`]. The first entry of the first block of each incarnation.
    Opened = 12,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        use Kind::*;
        [Append, AppendRef, Truncate, LogStart, EpochStart, SegmentRolled, SegmentsReplaced, Adopt, Release, Deleted]
            .into_iter()
            .chain([Command, Opened])
            .find(|kind| *kind as u8 == number)
    }
}

/// The head of a fragment, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the entry says.
    pub kind: Kind,
    /// [`FIRST`] and [`LAST`].
    pub place: u8,
    /// Bytes of this fragment's payload.
    pub len: u32,
    /// The log that the entry is about.
    pub log: LogId,
    /// See [`Kind`].
    pub first: Offset,
    /// See [`Kind`].
    pub last: Offset,
    /// See [`Kind`].
    pub epoch: LeaderEpoch,
    /// Bytes of the whole entry's payload, over all its fragments.
    pub total: u32,
}

impl Head {
    /// The head of an entry without offsets of its own.
    pub fn about(kind: Kind, log: LogId) -> Self {
        Self {
            kind,
            place: FIRST | LAST,
            len: 0,
            log,
            first: Offset(0),
            last: Offset(0),
            epoch: LeaderEpoch(0),
            total: 0,
        }
    }

    /// As it stands on disk.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[0] = self.kind as u8;
        out[1] = self.place;
        out[4..8].copy_from_slice(&self.len.to_be_bytes());
        out[8..16].copy_from_slice(&self.log.0.to_be_bytes());
        out[16..24].copy_from_slice(&self.first.0.to_be_bytes());
        out[24..32].copy_from_slice(&self.last.0.to_be_bytes());
        out[32..36].copy_from_slice(&self.epoch.0.to_be_bytes());
        out[36..40].copy_from_slice(&self.total.to_be_bytes());
        out
    }

    /// Reads a head. `None`: no head that this version wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let kind = Kind::from_number(cursor.u8().ok()?)?;
        let place = cursor.u8().ok()?;
        let reserved = cursor.u16().ok()?;
        let head = Self {
            kind,
            place,
            len: cursor.u32().ok()?,
            log: LogId(cursor.u64().ok()?),
            first: Offset(cursor.i64().ok()?),
            last: Offset(cursor.i64().ok()?),
            epoch: LeaderEpoch(cursor.i32().ok()?),
            total: cursor.u32().ok()?,
        };
        (reserved == 0 && place & !(FIRST | LAST) == 0 && head.len <= head.total).then_some(head)
    }

    /// Whether this fragment begins its entry.
    pub fn is_first(&self) -> bool {
        self.place & FIRST != 0
    }

    /// Whether this fragment ends its entry.
    pub fn is_last(&self) -> bool {
        self.place & LAST != 0
    }
}

/// Where the bytes of an [`Kind::AppendRef`] stand. Whole pages stand in the segment; the partial pages at both ends travel along.
///
/// With `pages` = 0 and no `head` the entry only guards a partial tail page that is about to be rewritten (storage contract, section 4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Where the first byte of the extent stands in the segment: the start of `head`.
    pub position: u64,
    /// Bytes of whole pages after `head`.
    pub pages: u64,
    /// The bytes before the first whole page.
    pub head: Vec<u8>,
    /// The bytes after the last whole page.
    pub tail: Vec<u8>,
}

impl Extent {
    /// As it stands in the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.head.len() + self.tail.len());
        out.extend(self.segment.0.to_be_bytes());
        out.extend(self.position.to_be_bytes());
        out.extend(self.pages.to_be_bytes());
        for part in [&self.head, &self.tail] {
            out.extend((part.len() as u32).to_be_bytes());
            out.extend(part);
        }
        out
    }

    /// Reads a payload. `None`: not an extent.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let extent = Self {
            segment: Offset(cursor.i64().ok()?),
            position: cursor.u64().ok()?,
            pages: cursor.u64().ok()?,
            head: cursor.prefixed().ok()?.to_vec(),
            tail: cursor.prefixed().ok()?.to_vec(),
        };
        (cursor.left() == 0).then_some(extent)
    }
}

/// Which segments a [`Kind::SegmentsReplaced`] took away and which it put in their place, by base offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaced {
    /// Gone.
    pub removed: Vec<Offset>,
    /// New.
    pub added: Vec<Offset>,
}

impl Replaced {
    /// As it stands in the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for list in [&self.removed, &self.added] {
            out.extend((list.len() as u32).to_be_bytes());
            list.iter().for_each(|base| out.extend(base.0.to_be_bytes()));
        }
        out
    }

    /// Reads a payload. `None`: not such a list.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let mut list = || {
            let count = cursor.u32().ok()? as usize;
            cursor.take(count.checked_mul(8)?).ok().map(|bytes| {
                bytes
                    .chunks_exact(8)
                    .map(|base| Offset(i64::from_be_bytes(base.try_into().expect("8 bytes"))))
                    .collect()
            })
        };
        let replaced = Self { removed: list()?, added: list()? };
        (cursor.left() == 0).then_some(replaced)
    }
}

/// The accepted end of what came before an incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The sequence of the last block that was accepted; 0 in a new journal.
    pub accepted: u64,
    /// That block's checksum; 0 in a new journal.
    pub checksum: u32,
}

impl Opened {
    /// As it stands in the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        out.extend(self.accepted.to_be_bytes());
        out.extend(self.checksum.to_be_bytes());
        out
    }

    /// Reads a payload. `None`: not an opening.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let opened = Self { accepted: cursor.u64().ok()?, checksum: cursor.u32().ok()? };
        (cursor.left() == 0).then_some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_stands_on_disk_as_the_table_says() {
        let head = Head {
            kind: Kind::Append,
            place: FIRST,
            len: 5,
            log: LogId(7),
            first: Offset(10),
            last: Offset(12),
            epoch: LeaderEpoch(3),
            total: 9,
        };
        let golden = [
            1, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0,
            3, 0, 0, 0, 9,
        ];
        assert_eq!(head.encode(), golden);
        assert_eq!(Head::decode(&golden), Some(head));
        assert_eq!(Head::decode(&golden[..39]), None);
        for (at, bad) in [(0, 0), (0, 13), (1, 4), (2, 1), (7, 10)] {
            let mut bytes = golden;
            bytes[at] = bad;
            assert_eq!(Head::decode(&bytes), None, "byte {at} = {bad}");
        }
    }

    #[test]
    fn every_kind_has_its_number() {
        for number in 1..=12 {
            assert_eq!(Kind::from_number(number).expect("known") as u8, number);
        }
        assert_eq!((Kind::from_number(0), Kind::from_number(13)), (None, None));
    }

    #[test]
    fn payloads_come_back_and_refuse_what_is_cut_or_longer() {
        let extent = Extent { segment: Offset(4), position: 100, pages: 8192, head: vec![1, 2], tail: vec![3] };
        let replaced = Replaced { removed: vec![Offset(0), Offset(9)], added: vec![Offset(0)] };
        let opened = Opened { accepted: 9, checksum: 0xdead_beef };
        assert_eq!(Extent::decode(&extent.encode()), Some(extent.clone()));
        assert_eq!(Replaced::decode(&replaced.encode()), Some(replaced.clone()));
        assert_eq!(Opened::decode(&opened.encode()), Some(opened));
        let refuses = |bytes: Vec<u8>, decodes: fn(&[u8]) -> bool| {
            assert!(!decodes(&bytes[..bytes.len() - 1]));
            assert!(!decodes(&[bytes, vec![0]].concat()));
        };
        refuses(extent.encode(), |bytes| Extent::decode(bytes).is_some());
        refuses(replaced.encode(), |bytes| Replaced::decode(bytes).is_some());
        refuses(opened.encode(), |bytes| Opened::decode(bytes).is_some());
    }
}
