//! Snappy: the xerial stream that Java clients write, or one raw block as librdkafka and franz-go write it.
//!
//! A raw block says its length in front and may refer back over all of it. Small blocks are unfolded whole; larger ones piece by piece, with the last
//! 64 KiB kept, which is as far as almost every writer reaches back. When one reaches further, the block is unfolded once more with all of it kept.
//!
//! ```text
//! 82 'SNAPPY' 00    magic of the stream
//! version 4, compatible version 4, big endian
//! chunks            length 4, big endian, raw block
//! ```

use super::{Codec, CompressFault, Gatherer, Piece};
use crate::base::limits::{SNAPPY_HISTORY_BYTES_MAX, UNFOLD_CHUNK_BYTES};
use crate::base::varint;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const STREAM_HEADER_BYTES: usize = 16;
/// Bytes of the blocks that we write, as Kafka's clients do.
const BLOCK_BYTES: usize = 32 << 10;
/// Blocks up to this are unfolded at once.
const WHOLE_BYTES_MAX: usize = 2 * UNFOLD_CHUNK_BYTES;
/// Bytes that are kept for references back.
const HISTORY_BYTES: usize = 64 << 10;
/// Bytes that a copy may write beyond its end.
const SLACK_BYTES: usize = 64;
/// Bytes of the buffer, unless a block refers back further than usual.
const USUAL_BYTES: usize = HISTORY_BYTES + WHOLE_BYTES_MAX + SLACK_BYTES;
/// A raw block cannot unfold further: three bytes of input give 64 at most.
const RATIO_MAX: usize = 22;

#[derive(Debug, Default)]
pub(super) struct Unfolder {
    out: Vec<u8>,
    at: usize,
    stream: bool,
    /// The raw block being unfolded: where it ends, and its state.
    block: Option<Block>,
    /// A reference reached behind the usual history; everything is kept.
    keep_all: bool,
}

#[derive(Debug)]
struct Block {
    end: usize,
    /// Bytes still to be unfolded.
    left: usize,
    /// Bytes at the front of `out` that are history or were given out.
    filled: usize,
    /// Bytes unfolded so far.
    total: usize,
    /// The element under way.
    element: Element,
}

#[derive(Clone, Copy, Debug)]
enum Element {
    None,
    Literal { len: usize },
    Copy { len: usize, offset: usize },
}

impl Unfolder {
    pub(super) fn begin(&mut self) {
        self.at = 0;
        self.stream = false;
        self.block = None;
        self.keep_all = false;
        if self.out.len() != USUAL_BYTES {
            self.out = vec![0; USUAL_BYTES];
        }
    }

    /// Drops what a block that refers back far needed.
    pub(super) fn trim(&mut self) {
        if self.out.len() > USUAL_BYTES {
            self.out = Vec::new();
        }
    }

    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        if self.block.is_some() {
            return self.piece(input);
        }
        if self.at == 0 && input.starts_with(&MAGIC) {
            self.stream_header(input)?;
        }
        if self.at == input.len() && (self.stream || self.at > 0) {
            return Ok(Piece::End);
        }
        let end = if self.stream {
            // A second stream may be appended to the first.
            if input[self.at..].starts_with(&MAGIC) {
                self.stream_header(input)?;
                return Ok(Piece::Bytes(&[]));
            }
            let length: [u8; 4] =
                input.get(self.at..self.at + 4).ok_or(EARLY)?.try_into().expect("four bytes were taken");
            let length =
                usize::try_from(i32::from_be_bytes(length)).map_err(|_| fault("a chunk has a negative length"))?;
            self.at += 4;
            self.at.checked_add(length).filter(|end| *end <= input.len()).ok_or(EARLY)?
        } else {
            input.len()
        };
        self.start_block(input, end)
    }

    fn stream_header(&mut self, input: &[u8]) -> Result<(), CompressFault> {
        // Kafka takes any version.
        input.get(self.at..self.at + STREAM_HEADER_BYTES).ok_or(EARLY)?;
        self.at += STREAM_HEADER_BYTES;
        self.stream = true;
        Ok(())
    }

    fn start_block(&mut self, input: &[u8], end: usize) -> Result<Piece<'_>, CompressFault> {
        let block = &input[self.at..end];
        let (length, taken) = varint::read_u32(block).ok_or(fault("a block has no length"))?;
        let length = length as usize;
        if length / RATIO_MAX > block.len() {
            return Err(fault("a block is too short for its length"));
        }
        if length <= WHOLE_BYTES_MAX {
            let given = snap::raw::Decoder::new()
                .decompress(block, &mut self.out[..length])
                .map_err(|_| fault("a block is broken"))?;
            self.at = end;
            return Ok(Piece::Bytes(&self.out[..given]));
        }
        self.at += taken;
        self.block = Some(Block { end, left: length, filled: 0, total: 0, element: Element::None });
        if self.keep_all {
            if length > SNAPPY_HISTORY_BYTES_MAX {
                return Err(fault("a block refers back too far"));
            }
            if self.out.len() < length + SLACK_BYTES {
                self.out.resize(length + SLACK_BYTES, 0);
            }
        }
        self.piece(input)
    }

    /// Unfolds the next piece of the block under way.
    fn piece(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        let block = self.block.as_mut().expect("a block is under way");
        if !self.keep_all && block.filled > HISTORY_BYTES {
            self.out.copy_within(block.filled - HISTORY_BYTES..block.filled, 0);
            block.filled = HISTORY_BYTES;
        }
        let from = block.filled;
        let goal = from + block.left.min(UNFOLD_CHUNK_BYTES);
        match block.unfold(&input[..block.end], &mut self.at, &mut self.out, goal)? {
            Unfolded::Goal => {}
            Unfolded::TooFarBack if self.keep_all => return Err(fault("a copy refers to before the block")),
            Unfolded::TooFarBack => {
                self.begin();
                self.keep_all = true;
                return Ok(Piece::Again);
            }
        }
        block.left -= goal - from;
        block.total += goal - from;
        block.filled = goal;
        if block.left == 0 {
            let spare = !matches!(block.element, Element::None) || self.at != block.end;
            if spare {
                return Err(fault("a block holds more than its length"));
            }
            self.block = None;
        }
        Ok(Piece::Bytes(&self.out[from..goal]))
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.out.len()
    }
}

enum Unfolded {
    Goal,
    TooFarBack,
}

impl Block {
    /// Unfolds elements until `out` is filled up to `goal`.
    fn unfold(&mut self, input: &[u8], at: &mut usize, out: &mut [u8], goal: usize) -> Result<Unfolded, CompressFault> {
        let mut to = self.filled;
        while to < goal {
            match self.element {
                Element::None => self.element = read_element(input, at)?,
                Element::Literal { len } => {
                    let now = len.min(goal - to);
                    let bytes = input.get(*at..*at + now).ok_or(BROKEN)?;
                    out[to..to + now].copy_from_slice(bytes);
                    *at += now;
                    to += now;
                    self.element = if now < len { Element::Literal { len: len - now } } else { Element::None };
                }
                Element::Copy { len, offset } => {
                    if offset > to {
                        let ever = self.total + (to - self.filled);
                        if offset > ever {
                            return Err(fault("a copy refers to before the block"));
                        }
                        return Ok(Unfolded::TooFarBack);
                    }
                    let now = len.min(goal - to);
                    copy_back(out, to, offset, now);
                    to += now;
                    self.element = if now < len { Element::Copy { len: len - now, offset } } else { Element::None };
                }
            }
        }
        Ok(Unfolded::Goal)
    }
}

/// Copies `len` bytes, 64 at most, from `offset` behind `to`; the ranges may overlap. Writes up to [`SLACK_BYTES`] beyond.
#[inline]
fn copy_back(out: &mut [u8], to: usize, offset: usize, len: usize) {
    if offset >= 16 {
        let mut done = 0;
        while done < len {
            let from = to + done - offset;
            out.copy_within(from..from + 16, to + done);
            done += 16;
        }
    } else {
        for place in to..to + len {
            out[place] = out[place - offset];
        }
    }
}

/// Reads the tag of an element: a literal or a copy.
fn read_element(input: &[u8], at: &mut usize) -> Result<Element, CompressFault> {
    let tag = *input.get(*at).ok_or(BROKEN)?;
    *at += 1;
    let mut little_endian = |bytes: usize| -> Result<usize, CompressFault> {
        let taken = input.get(*at..*at + bytes).ok_or(BROKEN)?;
        *at += bytes;
        Ok(taken.iter().rev().fold(0usize, |value, byte| value << 8 | usize::from(*byte)))
    };
    let high = usize::from(tag >> 2);
    let element = match tag & 3 {
        0 if high < 60 => Element::Literal { len: high + 1 },
        0 => Element::Literal { len: little_endian(high - 59)? + 1 },
        1 => Element::Copy { len: 4 + (high & 7), offset: (high >> 3) << 8 | little_endian(1)? },
        2 => Element::Copy { len: high + 1, offset: little_endian(2)? },
        _ => Element::Copy { len: high + 1, offset: little_endian(4)? },
    };
    if matches!(element, Element::Copy { offset: 0, .. }) { Err(BROKEN) } else { Ok(element) }
}

const EARLY: CompressFault = CompressFault { codec: Codec::Snappy, what: "the bytes end early", ends_early: false };
const BROKEN: CompressFault = CompressFault { codec: Codec::Snappy, what: "a block is broken", ends_early: false };

fn fault(what: &'static str) -> CompressFault {
    CompressFault { codec: Codec::Snappy, what, ends_early: false }
}

/// Writes the xerial stream.
#[derive(Default)]
pub(super) struct Folder {
    gatherer: Gatherer,
    folder: Option<snap::raw::Encoder>,
}

impl Folder {
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend(1i32.to_be_bytes());
        out.extend(1i32.to_be_bytes());
        self.gatherer.block.clear();
    }

    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let folder = self.folder.get_or_insert_with(snap::raw::Encoder::new);
        self.gatherer.push(piece, BLOCK_BYTES, |block| fold_block(folder, block, out));
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let folder = self.folder.get_or_insert_with(snap::raw::Encoder::new);
        self.gatherer.end(|block| fold_block(folder, block, out));
    }

    pub(super) fn held_bytes(&self) -> usize {
        // The encoder's table.
        self.gatherer.block.capacity() + self.folder.as_ref().map_or(0, |_| 34 << 10)
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("snappy::Folder").field("held_bytes", &self.held_bytes()).finish()
    }
}

fn fold_block(folder: &mut snap::raw::Encoder, block: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
    let folded = folder.compress(block, &mut out[at + 4..]).expect("the output has its maximum size");
    out[at..at + 4].copy_from_slice(&(folded as u32).to_be_bytes());
    out.truncate(at + 4 + folded);
}

#[cfg(test)]
mod tests {
    use super::super::{Scratch, UnfoldFault, decompress_bounded};
    use super::*;
    use proptest::prelude::*;

    /// A raw block from elements written by hand.
    fn raw(length: usize, elements: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        varint::write_u64(&mut bytes, length as u64);
        bytes.extend(elements.concat());
        bytes
    }

    fn literal(bytes: &[u8]) -> Vec<u8> {
        let mut element = vec![62 << 2];
        element.extend(&((bytes.len() - 1) as u32).to_le_bytes()[..3]);
        element.extend(bytes);
        element
    }

    #[test]
    fn large_raw_blocks_unfold_piece_by_piece() {
        let input: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7 % 97) as u8 ^ (n % 5) as u8).collect();
        let folded = snap::raw::Encoder::new().compress_vec(&input).unwrap();
        let mut scratch = Scratch::default();
        assert!(decompress_bounded(Codec::Snappy, &folded, input.len(), &mut scratch) == Ok(input));
        assert!(scratch.held_bytes() <= HISTORY_BYTES + WHOLE_BYTES_MAX + SLACK_BYTES);
    }

    /// franz-go writes blocks whose copies reach back over the whole block. They unfold, and the memory is given back with the next batch.
    #[test]
    fn a_copy_may_reach_back_over_the_whole_block() {
        let head: Vec<u8> = (0..600_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut copy = vec![(60 - 1) << 2 | 3];
        copy.extend(600_000u32.to_le_bytes());
        let folded = raw(600_060, &[&literal(&head), &copy]);
        let mut input = head.clone();
        input.extend_from_within(..60);
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&folded).unwrap(), input);
        let mut scratch = Scratch::default();
        assert!(decompress_bounded(Codec::Snappy, &folded, input.len(), &mut scratch) == Ok(input));
        scratch.begin(Codec::Snappy);
        assert!(scratch.held_bytes() <= HISTORY_BYTES + WHOLE_BYTES_MAX + SLACK_BYTES);
    }

    #[test]
    fn a_copy_from_before_the_block_is_broken() {
        let head = vec![1u8; 200_000];
        let mut copy = vec![(60 - 1) << 2 | 3];
        copy.extend(200_001u32.to_le_bytes());
        let folded = raw(200_060, &[&literal(&head), &copy]);
        let fault = decompress_bounded(Codec::Snappy, &folded, 1 << 20, &mut Scratch::default()).unwrap_err();
        assert_eq!(fault, UnfoldFault::Fault(super::fault("a copy refers to before the block")));
    }

    #[test]
    fn a_length_that_the_bytes_cannot_hold_is_refused_at_once() {
        let folded = raw(100_000_000, &[&literal(b"x")]);
        let fault = decompress_bounded(Codec::Snappy, &folded, usize::MAX, &mut Scratch::default()).unwrap_err();
        assert_eq!(fault, UnfoldFault::Fault(super::fault("a block is too short for its length")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Our pieces against the `snap` crate's whole block, for bytes that repeat over short and long distances.
        #[test]
        fn pieces_equal_the_whole(words in prop::collection::vec((any::<u8>(), 1usize..3000, 1usize..90), 100..300)) {
            let mut input = Vec::new();
            for (byte, len, period) in words {
                let from = input.len();
                for place in 0..len {
                    input.push(if place < period { byte.wrapping_add(place as u8) } else { input[from + place - period] });
                }
            }
            let folded = snap::raw::Encoder::new().compress_vec(&input).unwrap();
            let mut scratch = Scratch::default();
            prop_assert!(decompress_bounded(Codec::Snappy, &folded, input.len(), &mut scratch) == Ok(input));
        }
    }
}
