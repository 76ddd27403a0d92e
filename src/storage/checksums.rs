//! The checksum file of a segment (`.sums`): one CRC-32C for each block of the `.log` file, so that no damaged byte is ever served.
//!
//! ```text
//!  0   8 bytes  magic "CTIDSUMS"
//!  8   4 bytes  version, 1
//! 12   4 bytes  bytes of a block
//! 16  16 bytes  UUID of the data directory
//! 32   8 bytes  log id
//! 40   8 bytes  base offset of the segment
//! 48  12 bytes  zero
//! 60   4 bytes  CRC-32C of the 60 bytes before
//! 64   4 bytes  per block: CRC-32C of (log id, base offset, number of the block) followed by the block's bytes
//! ```
//! Always true: the checksum of a whole block is written, or gathered to be, before the log says that the block is there, and never changes after. The last block of
//! a segment may be partial; its checksum covers the bytes up to the logical size. While a segment is active that one is believed from memory
//! and from the checkpoint, not from the file: a crash between the write of the page and the write of the checksum leaves them apart. Recovery puts
//! the checkpoint's value back, cuts the segment to the checkpointed size, and drains everything above it again from the journal.

use crate::base::{Cursor, LogId, Offset, crc};
use crate::storage::Fault;

/// Bytes of a `.log` file that one checksum covers.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Bytes in front of the checksums.
pub const HEADER_BYTES: usize = 64;
/// Bytes of one checksum.
pub const SUM_BYTES: usize = 4;
const MAGIC: [u8; 8] = *b"CTIDSUMS";
const VERSION: u32 = 1;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(crate::base::limits::PAGE_BYTES), "a block is read with direct I/O");

/// What a checksum is bound to, so that bytes of another place never pass for these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The log.
    pub log: LogId,
    /// Base offset of the segment.
    pub base: Offset,
}

impl Place {
    /// The checksum of an empty block.
    pub fn seed(&self, block: u64) -> u32 {
        let mut binding = [0; 24];
        binding[..8].copy_from_slice(&self.log.0.to_be_bytes());
        binding[8..16].copy_from_slice(&self.base.0.to_be_bytes());
        binding[16..].copy_from_slice(&block.to_be_bytes());
        crc::crc32c(&binding)
    }

    /// The header of this segment's checksum file.
    pub fn header(&self, directory: &[u8; 16]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_be_bytes());
        header[12..16].copy_from_slice(&(BLOCK_BYTES as u32).to_be_bytes());
        header[16..32].copy_from_slice(directory);
        header[32..40].copy_from_slice(&self.log.0.to_be_bytes());
        header[40..48].copy_from_slice(&self.base.0.to_be_bytes());
        let sum = crc::crc32c(&header[..60]);
        header[60..].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// Whether `header` is that of this segment's checksum file.
    pub fn check_header(&self, directory: &[u8; 16], header: &[u8]) -> Result<(), Fault> {
        if header.len() < HEADER_BYTES {
            return Err(Fault::Short { wanted: HEADER_BYTES as u64, found: header.len() as u64 });
        }
        if header[..8] != MAGIC {
            return Err(Fault::Magic);
        }
        let kept = u32::from_be_bytes(header[60..64].try_into().expect("4 bytes"));
        let found = crc::crc32c(&header[..60]);
        if kept != found {
            return Err(Fault::Checksum { kept, found });
        }
        let version = u32::from_be_bytes(header[8..12].try_into().expect("4 bytes"));
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        if header[..60] != self.header(directory)[..60] { Err(Fault::Foreign) } else { Ok(()) }
    }
}

/// Where in the file the checksum of `block` stands.
pub fn sum_position(block: u64) -> u64 {
    HEADER_BYTES as u64 + block * SUM_BYTES as u64
}

/// Sums bytes as they are drained, in order.
#[derive(Clone, Copy, Debug)]
pub struct Summer {
    place: Place,
    block: u64,
    filled: usize,
    sum: u32,
}

impl Summer {
    /// Goes on at `position`, where `partial` is the checksum of what stands before it in its block.
    pub fn resume(place: Place, position: u64, partial: u32) -> Self {
        let (block, filled) = (position / BLOCK_BYTES as u64, (position % BLOCK_BYTES as u64) as usize);
        Self { place, block, filled, sum: if filled == 0 { place.seed(block) } else { partial } }
    }

    /// Takes in the next bytes, and appends the checksums of the blocks that became whole.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.sum = crc::extend(self.sum, now);
            self.filled += now.len();
            if self.filled == BLOCK_BYTES {
                out.extend_from_slice(&self.sum.to_be_bytes());
                *self = Self::resume(self.place, (self.block + 1) * BLOCK_BYTES as u64, 0);
            }
            bytes = later;
        }
    }

    /// The checksum of the bytes so far of the block that is not whole, and whether it has any.
    pub fn partial(&self) -> (u32, bool) {
        (self.sum, self.filled > 0)
    }
}

/// The checksum of the last, partial block as the log remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailSum {
    /// Number of the block.
    pub block: u64,
    /// Its checksum over the bytes up to the logical size.
    pub sum: u32,
}

/// Verifies `bytes`, which begin with the first byte of block `first` and end with a whole block or at the logical size of the segment.
///
/// `sums` holds the kept checksums of these blocks; `tail` overrides the one of its block. Gives the byte, counted from the segment's first, of the
/// first block that differs.
pub fn verify(place: Place, first: u64, bytes: &[u8], sums: &[u8], tail: Option<TailSum>) -> Result<(), (u64, Fault)> {
    let mut kept = Cursor::new(sums);
    for (block, data) in (first..).zip(bytes.chunks(BLOCK_BYTES)) {
        let position = block * BLOCK_BYTES as u64;
        let in_file = kept.u32();
        let kept = match tail.filter(|tail| tail.block == block) {
            Some(tail) => tail.sum,
            None => {
                in_file.map_err(|_| (position, Fault::Malformed("the checksum file ends before the segment does")))?
            }
        };
        let found = crc::extend(place.seed(block), data);
        if kept != found {
            return Err((position, Fault::Checksum { kept, found }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: Place = Place { log: LogId(7), base: Offset(4000) };

    #[test]
    fn a_header_is_believed_only_at_its_own_place() {
        let header = PLACE.header(&[1; 16]);
        assert_eq!(PLACE.check_header(&[1; 16], &header), Ok(()));
        assert_eq!(PLACE.check_header(&[2; 16], &header), Err(Fault::Foreign));
        assert_eq!(Place { log: LogId(8), ..PLACE }.check_header(&[1; 16], &header), Err(Fault::Foreign));
        assert_eq!(Place { base: Offset(0), ..PLACE }.check_header(&[1; 16], &header), Err(Fault::Foreign));
        for place in 0..HEADER_BYTES {
            let mut flipped = header;
            flipped[place] ^= 1;
            assert!(PLACE.check_header(&[1; 16], &flipped).is_err(), "byte {place}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_sums(bytes in 0usize..5 * BLOCK_BYTES, cuts in proptest::collection::vec(1usize..20_000, 1..20)) {
            let data: Vec<u8> = (0..bytes).map(|place| (place * 31 % 251) as u8).collect();
            let (mut out, mut at, mut partial) = (Vec::new(), 0, 0);
            for cut in cuts.iter().cycle() {
                let to = (at + cut).min(bytes);
                let mut summer = Summer::resume(PLACE, at as u64, partial);
                summer.feed(&data[at..to], &mut out);
                (partial, at) = (summer.partial().0, to);
                if at == bytes { break }
            }
            let tail = (bytes % BLOCK_BYTES > 0).then_some(TailSum { block: (bytes / BLOCK_BYTES) as u64, sum: partial });
            prop_assert_eq!(verify(PLACE, 0, &data, &out, tail), Ok(()));
            if bytes > 0 {
                let mut wrong = data.clone();
                wrong[bytes / 2] ^= 0x10;
                let at = (bytes / 2 / BLOCK_BYTES * BLOCK_BYTES) as u64;
                prop_assert_eq!(verify(PLACE, 0, &wrong, &out, tail).map_err(|(position, _)| position), Err(at));
                let other = Place { log: LogId(9), ..PLACE };
                prop_assert!(verify(other, 0, &data, &out, tail).is_err());
                prop_assert!(verify(PLACE, 1, &data, &out, tail).is_err());
            }
        }
    }
}
