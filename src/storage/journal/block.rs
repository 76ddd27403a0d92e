//! The bytes of one journal block: what one device write carries.
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! |  0 |  4 | magic `CTJB` |
//! |  4 |  2 | format version, 1 |
//! |  6 |  2 | zero |
//! |  8 | 16 | UUID of the data directory |
//! | 24 |  4 | journal id |
//! | 28 |  4 | file number |
//! | 32 |  8 | incarnation |
//! | 40 |  8 | position of the block in its file: a misdirected write shows |
//! | 48 |  8 | sequence: 1, 2, 3... over the life of the journal |
//! | 56 |  8 | `committed`: the highest sequence known durable when the block was submitted |
//! | 64 |  4 | checksum of the previous block's header; 0 in the first block of an incarnation |
//! | 68 |  4 | bytes of the block: a multiple of 4,096 |
//! | 72 |  4 | bytes of the body |
//! | 76 |  4 | entries in the directory |
//! | 80 |  4 | CRC-32C of the body: over the directory, which holds a CRC-32C for each fragment |
//! | 84 |  8 | zero |
//! | 92 |  4 | CRC-32C of bytes 0 to 92 |
//! | 96 |    | body: fragments ([`super::entry`]), each starting at a multiple of 8 |
//! |    |    | directory: for each fragment log id (8), first offset (8), last offset (8), CRC-32C of head and payload (4), where it starts in the block (4) |
//! |    |    | zeros up to the next page |
//!
//! The directory lets recovery say which logs a damaged body belonged to. All numbers are big-endian.

use super::entry::{HEAD_BYTES, Head};
use crate::base::limits::PAGE_BYTES;
use crate::base::{Cursor, Incarnation, JournalId, LogId, Offset, crc};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 96;
/// Bytes of one directory entry.
pub const DIRECTORY_ENTRY_BYTES: usize = 32;
/// The format that this build writes.
pub const VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"CTJB";

/// The journal that a block belongs to: what every block of an incarnation has in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// UUID of the data directory.
    pub directory: [u8; 16],
    /// The journal.
    pub journal: JournalId,
}

/// A block's header, read or about to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Whose block it is.
    pub owner: Owner,
    /// The file's number within the journal.
    pub file: u32,
    /// The opening that wrote it.
    pub incarnation: Incarnation,
    /// Where it stands in its file.
    pub position: u64,
    /// Its number in the journal.
    pub sequence: u64,
    /// The highest sequence known durable when it was submitted.
    pub committed: u64,
    /// The checksum of the block before it.
    pub previous: u32,
    /// Bytes of the whole block.
    pub len: u32,
    /// Bytes of its fragments.
    pub body_len: u32,
    /// How many fragments there are.
    pub entries: u32,
    /// CRC-32C of the directory.
    pub body_checksum: u32,
}

impl Header {
    /// The bytes and their checksum, by which the next block names this one.
    pub fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_be_bytes());
        out[8..24].copy_from_slice(&self.owner.directory);
        out[24..28].copy_from_slice(&self.owner.journal.0.to_be_bytes());
        out[28..32].copy_from_slice(&self.file.to_be_bytes());
        out[32..40].copy_from_slice(&self.incarnation.0.to_be_bytes());
        out[40..48].copy_from_slice(&self.position.to_be_bytes());
        out[48..56].copy_from_slice(&self.sequence.to_be_bytes());
        out[56..64].copy_from_slice(&self.committed.to_be_bytes());
        out[64..68].copy_from_slice(&self.previous.to_be_bytes());
        out[68..72].copy_from_slice(&self.len.to_be_bytes());
        out[72..76].copy_from_slice(&self.body_len.to_be_bytes());
        out[76..80].copy_from_slice(&self.entries.to_be_bytes());
        out[80..84].copy_from_slice(&self.body_checksum.to_be_bytes());
        let checksum = crc::crc32c(&out[..92]);
        out[92..].copy_from_slice(&checksum.to_be_bytes());
        (out, checksum)
    }

    /// Reads the header at the start of `page`, with its checksum. `None`: no whole header of this format stands here.
    pub fn decode(page: &[u8]) -> Option<(Self, u32)> {
        let bytes = page.get(..HEADER_BYTES)?;
        let mut cursor = Cursor::new(bytes);
        if cursor.array().ok()? != MAGIC || cursor.u16().ok()? != VERSION {
            return None;
        }
        cursor.u16().ok()?;
        let header = Self {
            owner: Owner { directory: cursor.array().ok()?, journal: JournalId(cursor.u32().ok()?) },
            file: cursor.u32().ok()?,
            incarnation: Incarnation(cursor.u64().ok()?),
            position: cursor.u64().ok()?,
            sequence: cursor.u64().ok()?,
            committed: cursor.u64().ok()?,
            previous: cursor.u32().ok()?,
            len: cursor.u32().ok()?,
            body_len: cursor.u32().ok()?,
            entries: cursor.u32().ok()?,
            body_checksum: cursor.u32().ok()?,
        };
        cursor.u64().ok()?;
        let checksum = cursor.u32().ok()?;
        (checksum == crc::crc32c(&bytes[..92]) && header.shape_holds()).then_some((header, checksum))
    }

    fn shape_holds(&self) -> bool {
        let directory = u64::from(self.entries) * DIRECTORY_ENTRY_BYTES as u64;
        let used = HEADER_BYTES as u64 + u64::from(self.body_len) + directory;
        (self.len as usize).is_multiple_of(PAGE_BYTES)
            && self.body_len.is_multiple_of(8)
            && used <= u64::from(self.len)
            && self.position.is_multiple_of(PAGE_BYTES as u64)
    }
}

/// One fragment, as the directory names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryEntry {
    /// The log.
    pub log: LogId,
    /// First offset.
    pub first: Offset,
    /// Last offset.
    pub last: Offset,
    /// CRC-32C of the fragment's head and payload.
    pub checksum: u32,
    /// Where the fragment starts in the block.
    pub at: u32,
}

impl DirectoryEntry {
    /// As it stands on disk.
    pub fn encode(&self) -> [u8; DIRECTORY_ENTRY_BYTES] {
        let mut out = [0; DIRECTORY_ENTRY_BYTES];
        out[0..8].copy_from_slice(&self.log.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.first.0.to_be_bytes());
        out[16..24].copy_from_slice(&self.last.0.to_be_bytes());
        out[24..28].copy_from_slice(&self.checksum.to_be_bytes());
        out[28..32].copy_from_slice(&self.at.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8; DIRECTORY_ENTRY_BYTES]) -> Self {
        let mut cursor = Cursor::new(bytes);
        let mut read = || -> Result<Self, crate::base::Short> {
            Ok(Self {
                log: LogId(cursor.u64()?),
                first: Offset(cursor.i64()?),
                last: Offset(cursor.i64()?),
                checksum: cursor.u32()?,
                at: cursor.u32()?,
            })
        };
        read().expect("the array has the size of an entry")
    }
}

/// What is wrong with a block whose header is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BodyFault {
    /// The file ends before the block does.
    Cut,
    /// The directory does not match the header's checksum: it cannot be said which logs are touched.
    Directory,
    /// The directory is whole; these fragments are not.
    Fragments(Vec<DirectoryEntry>),
}

/// The directory of a block whose header is `header`. `None`: it is cut or damaged.
pub fn directory(header: &Header, block: &[u8]) -> Option<Vec<DirectoryEntry>> {
    let start = HEADER_BYTES + header.body_len as usize;
    let bytes = block.get(start..start + header.entries as usize * DIRECTORY_ENTRY_BYTES)?;
    (crc::crc32c(bytes) == header.body_checksum).then(|| {
        let chunks = bytes.chunks_exact(DIRECTORY_ENTRY_BYTES);
        chunks.map(|entry| DirectoryEntry::decode(entry.try_into().expect("exact chunk"))).collect()
    })
}

/// A fragment of a whole block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Its head.
    pub head: Head,
    /// Where its payload stands in the block.
    pub payload: std::ops::Range<usize>,
}

/// Checks the whole body and lists its fragments in order.
pub fn fragments(header: &Header, block: &[u8]) -> Result<Vec<Fragment>, BodyFault> {
    if block.len() < header.len as usize {
        return Err(BodyFault::Cut);
    }
    let directory = directory(header, block).ok_or(BodyFault::Directory)?;
    let body_end = HEADER_BYTES + header.body_len as usize;
    let whole = |entry: &DirectoryEntry| -> Option<Fragment> {
        let at = entry.at as usize;
        let head = Head::decode(block.get(at..at.checked_add(HEAD_BYTES)?)?)?;
        let payload = at + HEAD_BYTES..at + HEAD_BYTES + head.len as usize;
        let bytes = block.get(at..payload.end)?;
        let same = (head.log, head.first, head.last) == (entry.log, entry.first, entry.last);
        (same && payload.end <= body_end && crc::crc32c(bytes) == entry.checksum).then_some(Fragment { head, payload })
    };
    let found: Vec<_> = directory.iter().map(|entry| whole(entry).ok_or(*entry)).collect();
    if found.iter().all(Result::is_ok) {
        return Ok(found.into_iter().filter_map(Result::ok).collect());
    }
    Err(BodyFault::Fragments(found.into_iter().filter_map(Result::err).collect()))
}

/// A fragment's payload rounded up to where the next fragment may start.
pub fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            owner: Owner { directory: [7; 16], journal: JournalId(2) },
            file: 3,
            incarnation: Incarnation(4),
            position: 8192,
            sequence: 5,
            committed: 4,
            previous: 0xaabb_ccdd,
            len: 4096,
            body_len: 48,
            entries: 1,
            body_checksum: 0,
        }
    }

    #[test]
    fn a_header_stands_on_disk_as_the_table_says() {
        let (bytes, checksum) = header().encode();
        let mut golden = Vec::new();
        golden.extend(b"CTJB\x00\x01\x00\x00");
        golden.extend([7; 16]);
        golden.extend([0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0x20, 0]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 4, 0xaa, 0xbb, 0xcc, 0xdd]);
        golden.extend([0, 0, 0x10, 0, 0, 0, 0, 48, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[..92], golden);
        assert_eq!(bytes[92..], checksum.to_be_bytes());
        assert_eq!(Header::decode(&bytes), Some((header(), checksum)));
    }

    #[test]
    fn one_wrong_bit_anywhere_spoils_a_header() {
        let (bytes, _) = header().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_whose_parts_do_not_fit_its_length_is_refused() {
        for wrong in [
            Header { len: 4095, ..header() },
            Header { body_len: 4096, ..header() },
            Header { entries: u32::MAX, ..header() },
            Header { position: 1, ..header() },
        ] {
            assert_eq!(Header::decode(&wrong.encode().0), None, "{wrong:?}");
        }
    }
}
