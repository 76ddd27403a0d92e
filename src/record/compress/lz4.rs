//! LZ4 frames as Kafka takes them: independent blocks, one frame per batch, no dictionary.
//!
//! ```text
//! 04 22 4d 18       magic
//! flags 1           version 01 in the top bits; independent blocks 0x20, block checksums 0x10, content size 0x08, content checksum 0x04
//! block size 1      4 to 7 in bits 4 to 6: 64 KiB, 256 KiB, 1 MiB, 4 MiB
//! content size 8    if flagged
//! header checksum 1 second byte of the xxHash-32 of the bytes from the flags on
//! blocks            length 4 (top bit: stored as it is), bytes, xxHash-32 if flagged
//! 00 00 00 00       end; a content checksum may follow and is not looked at
//! ```

use super::{Codec, CompressFault, Gatherer, Piece};
use crate::base::limits::UNFOLD_KEPT_BYTES_MAX;
use twox_hash::XxHash32;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const INDEPENDENT: u8 = 0x20;
const BLOCK_CHECKSUM: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const VERSION_1: u8 = 0x40;
const STORED: u32 = 0x8000_0000;
/// Bytes of the blocks that we write.
const BLOCK_BYTES: usize = 64 << 10;
const _: () = assert!(4 << 20 <= UNFOLD_KEPT_BYTES_MAX);

#[derive(Debug, Default)]
pub(super) struct Unfolder {
    out: Vec<u8>,
    at: usize,
    block_max: usize,
    checksums: bool,
    ended: bool,
}

impl Unfolder {
    pub(super) fn begin(&mut self) {
        self.at = 0;
        self.ended = false;
    }

    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        if self.at == 0 {
            self.header(input)?;
        }
        if self.ended {
            return Ok(Piece::End);
        }
        let length = self.u32(input)?;
        if length == 0 {
            self.ended = true;
            return Ok(Piece::End);
        }
        let bytes = (length & !STORED) as usize;
        if bytes > self.block_max {
            return Err(fault("a block is longer than the header allows"));
        }
        let block = input.get(self.at..self.at + bytes).ok_or(EARLY)?;
        self.at += bytes;
        if self.checksums && self.u32(input)? != XxHash32::oneshot(0, block) {
            return Err(fault("the checksum of a block does not fit"));
        }
        let given = if length & STORED != 0 {
            self.out[..bytes].copy_from_slice(block);
            bytes
        } else {
            lz4_flex::block::decompress_into(block, &mut self.out[..self.block_max])
                .map_err(|_| fault("a block is broken"))?
        };
        Ok(Piece::Bytes(&self.out[..given]))
    }

    fn header(&mut self, input: &[u8]) -> Result<(), CompressFault> {
        let head: [u8; 6] = input.get(..6).ok_or(EARLY)?.try_into().expect("six bytes were taken");
        let [.., flags, size] = head;
        if head[..4] != MAGIC {
            return Err(fault("the magic bytes are missing"));
        }
        if flags & 0xc0 != VERSION_1 || flags & 0x03 != 0 || size & 0x8f != 0 {
            return Err(fault("the header has an unknown version or flag"));
        }
        if flags & INDEPENDENT == 0 {
            return Err(fault("blocks that depend on each other are not supported"));
        }
        let block_max = match size >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(fault("the header has an unknown block size")),
        };
        let checksum_at = if flags & CONTENT_SIZE == 0 { 6 } else { 14 };
        let checksum = *input.get(checksum_at).ok_or(EARLY)?;
        if header_checksum(&input[4..checksum_at]) != checksum {
            return Err(fault("the checksum of the header does not fit"));
        }
        if self.out.len() < block_max {
            self.out.resize(block_max, 0);
        }
        self.block_max = block_max;
        self.checksums = flags & BLOCK_CHECKSUM != 0;
        self.at = checksum_at + 1;
        Ok(())
    }

    fn u32(&mut self, input: &[u8]) -> Result<u32, CompressFault> {
        let bytes = input.get(self.at..self.at + 4).ok_or(EARLY)?;
        self.at += 4;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.out.len()
    }
}

/// Why folding cannot fail.
const ROOM: &str = "the output has its maximum size";

fn header_checksum(descriptor: &[u8]) -> u8 {
    (XxHash32::oneshot(0, descriptor) >> 8) as u8
}

const EARLY: CompressFault = CompressFault { codec: Codec::Lz4, what: "the bytes end early", ends_early: false };

fn fault(what: &'static str) -> CompressFault {
    CompressFault { codec: Codec::Lz4, what, ends_early: false }
}

/// Writes frames as Kafka's Java client does: independent blocks of 64 KiB, no checksums but the header's. Without a level blocks are made the fast way, with
/// one by the slow and thorough encoder (lz4hc), as Kafka does.
#[derive(Debug, Default)]
pub(super) struct Folder {
    gatherer: Gatherer,
    level: Option<i32>,
}

impl Folder {
    pub(super) fn begin(&mut self, level: Option<i32>, out: &mut Vec<u8>) {
        self.level = level;
        let descriptor = [VERSION_1 | INDEPENDENT, 4 << 4];
        out.extend(MAGIC);
        out.extend(descriptor);
        out.push(header_checksum(&descriptor));
        self.gatherer.block.clear();
    }

    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let level = self.level;
        self.gatherer.push(piece, BLOCK_BYTES, |block| fold_block(level, block, out));
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let level = self.level;
        self.gatherer.end(|block| fold_block(level, block, out));
        out.extend([0; 4]);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.gatherer.block.capacity()
    }
}

fn fold_block(level: Option<i32>, block: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + 4 + lz4_flex::block::get_maximum_output_size(block.len()), 0);
    let into = &mut out[at + 4..];
    let folded = match level {
        None => lz4_flex::block::compress_into(block, into).expect(ROOM),
        Some(level) => {
            let mode = lz4::block::CompressionMode::HIGHCOMPRESSION(level);
            lz4::block::compress_to_buffer(block, Some(mode), false, into).expect(ROOM)
        }
    };
    let length = if folded < block.len() {
        folded as u32
    } else {
        out[at + 4..at + 4 + block.len()].copy_from_slice(block);
        block.len() as u32 | STORED
    };
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    out.truncate(at + 4 + (length & !STORED) as usize);
}

#[cfg(test)]
mod tests {
    use super::super::{Scratch, compress, decompress_bounded};
    use super::*;
    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
    use std::io::{Read, Write};

    fn input() -> Vec<u8> {
        (0..300_000u32).flat_map(|n| [(n >> 9) as u8, (n % 64) as u8]).collect()
    }

    #[test]
    fn other_writers_frames_are_read() {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            let info = FrameInfo::new()
                .block_size(size)
                .block_mode(BlockMode::Independent)
                .block_checksums(true)
                .content_checksum(true)
                .content_size(Some(input().len() as u64));
            let mut folder = FrameEncoder::with_frame_info(info, Vec::new());
            folder.write_all(&input()).unwrap();
            let folded = folder.finish().unwrap();
            let again = decompress_bounded(Codec::Lz4, &folded, 1 << 20, &mut Scratch::default());
            assert!(again == Ok(input()), "{size:?}");
        }
    }

    #[test]
    fn other_readers_read_our_frames() {
        let mut folded = Vec::new();
        compress(Codec::Lz4, None, &input(), &mut folded);
        let mut again = Vec::new();
        FrameDecoder::new(&folded[..]).read_to_end(&mut again).unwrap();
        assert!(again == input());
        assert!(folded.len() < input().len());
    }

    /// One that was as hard as another, or as the fast way, would not be asked for. 17 is as hard as 12, the hardest of lz4hc.
    #[test]
    fn levels_are_kept_and_other_readers_read_them() {
        let text: Vec<u8> =
            (0..60_000u32).flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761) >> 21).into_bytes()).collect();
        let sizes = [None, Some(1), Some(4), Some(12), Some(17)].map(|level| {
            let mut folded = Vec::new();
            compress(Codec::Lz4, level, &text, &mut folded);
            let mut again = Vec::new();
            FrameDecoder::new(&folded[..]).read_to_end(&mut again).unwrap();
            assert!(again == text, "{level:?}");
            folded.len()
        });
        assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2] && sizes[2] > sizes[3] && sizes[3] == sizes[4], "{sizes:?}");
    }

    /// As `Lz4BlockOutputStream` of kafka-clients writes them, to the byte.
    #[test]
    fn a_frame_has_these_bytes() {
        let mut folded = Vec::new();
        compress(Codec::Lz4, None, b"abc", &mut folded);
        assert_eq!(folded, b"\x04\x22\x4d\x18\x60\x40\x82\x03\x00\x00\x80abc\0\0\0\0");
    }

    /// Kafka's Java reader throws on them, so a batch with such a frame could never be consumed.
    #[test]
    fn linked_blocks_are_refused() {
        let mut folder = FrameEncoder::with_frame_info(FrameInfo::new().block_mode(BlockMode::Linked), Vec::new());
        folder.write_all(&input()).unwrap();
        let folded = folder.finish().unwrap();
        assert!(decompress_bounded(Codec::Lz4, &folded, 1 << 20, &mut Scratch::default()).is_err());
    }
}
