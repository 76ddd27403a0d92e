//! What a quorum must remember besides the commands, in a format that stands from the first day so that growing into one needs no migration.

use super::codec::{self, DecodeError, put_count, put_i32, put_u16, put_u32, put_u64};
use crate::base::{Cursor, NodeId, crc};

/// The place of a command in the metadata log. A single node counts its starts as terms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct EntryId {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Its number, counted from 1; 0 is before the first.
    pub index: u64,
}

/// Who votes on the metadata log and who only follows it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Membership {
    /// Nodes with a vote.
    pub voters: Vec<NodeId>,
    /// Nodes without one.
    pub observers: Vec<NodeId>,
}

impl Membership {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for nodes in [&self.voters, &self.observers] {
            put_count(out, nodes.len());
            nodes.iter().for_each(|node| put_i32(out, node.0));
        }
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let mut nodes = || codec::list(cursor, 4, |cursor| Ok(NodeId(cursor.i32()?)));
        Ok(Self { voters: nodes()?, observers: nodes()? })
    }
}

/// The vote that a node gave and must not forget. Kept in a file of its own, twice.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Vote {
    /// The term it was given in.
    pub term: u64,
    /// The node it was given to.
    pub node: NodeId,
    /// A majority gave it too: the node leads this term.
    pub committed: bool,
}

impl Vote {
    /// Bytes of an encoded vote.
    pub const BYTES: usize = 23;

    /// | bytes | what |
    /// |---|---|
    /// | 0..4 | magic `CTVO` |
    /// | 4..6 | format version, 1 |
    /// | 6..14 | term |
    /// | 14..18 | node |
    /// | 18 | committed, 0 or 1 |
    /// | 19..23 | CRC-32C of all before |
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        out.extend_from_slice(VOTE_MAGIC);
        put_u16(&mut out, VOTE_VERSION);
        put_u64(&mut out, self.term);
        put_i32(&mut out, self.node.0);
        out.push(u8::from(self.committed));
        let sum = crc::crc32c(&out);
        put_u32(&mut out, sum);
        out
    }

    /// Reads what [`Vote::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = checked(bytes, VOTE_MAGIC, "the vote", VOTE_VERSION)?;
        let vote = Self { term: cursor.u64()?, node: NodeId(cursor.i32()?), committed: codec::bool(&mut cursor)? };
        codec::end(&cursor)?;
        Ok(vote)
    }
}

/// Checks magic, version and trailing checksum, and gives the body between them.
pub(super) fn checked<'a>(
    bytes: &'a [u8],
    magic: &[u8; 4],
    what: &'static str,
    known: u16,
) -> Result<Cursor<'a>, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.array::<4>()? != *magic {
        return Err(DecodeError::Invalid("the magic bytes are not there"));
    }
    let found = cursor.u16()?;
    if found == 0 || found > known {
        return Err(DecodeError::Version { what, found, known });
    }
    let body = cursor.left().checked_sub(4).ok_or(crate::base::Short { wanted: 4, left: cursor.left() })?;
    let body = cursor.take(body)?;
    let found = cursor.u32()?;
    let computed = crc::crc32c(&bytes[..bytes.len() - 4]);
    if found != computed {
        return Err(DecodeError::Checksum { found, computed });
    }
    Ok(Cursor::new(body))
}

const VOTE_MAGIC: &[u8; 4] = b"CTVO";
const VOTE_VERSION: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_has_these_bytes_and_comes_back() {
        let vote = Vote { term: 7, node: NodeId(1), committed: true };
        let bytes = vote.encode();
        assert_eq!(bytes.len(), Vote::BYTES);
        assert_eq!(&bytes[..19], b"CTVO\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x01\x01");
        assert_eq!(Vote::decode(&bytes), Ok(vote));
    }

    #[test]
    fn a_damaged_or_newer_vote_is_refused() {
        let bytes = Vote { term: 7, node: NodeId(1), committed: false }.encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Vote::decode(&damaged).is_err(), "byte {at}");
            assert!(Vote::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut newer = bytes.clone();
        newer[5] = 2;
        assert_eq!(Vote::decode(&newer), Err(DecodeError::Version { what: "the vote", found: 2, known: 1 }));
    }
}
