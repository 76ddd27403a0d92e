//! gzip (RFC 1952) over raw deflate, so that one inflater serves for ever: the members' headers and trailers are read here.

use super::{Codec, CompressFault, Piece};
use crate::base::limits::UNFOLD_CHUNK_BYTES;
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

#[derive(Debug, Default)]
pub(super) struct Unfolder {
    held: Option<Held>,
    at: usize,
    place: Place,
}

/// What comes next in the input.
#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Header,
    Deflate,
    Trailer,
}

#[derive(Debug)]
struct Held {
    inflate: Decompress,
    crc: Crc,
    out: Vec<u8>,
}

impl Unfolder {
    pub(super) fn begin(&mut self) {
        self.at = 0;
        self.place = Place::Header;
        self.held.get_or_insert_with(|| Held {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            out: vec![0; UNFOLD_CHUNK_BYTES],
        });
    }

    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        let held = self.held.as_mut().expect("begin comes before next");
        if self.place == Place::Trailer {
            // Looked at after the last bytes were given, as Java does: a broken record is found before a wrong checksum.
            let trailer: [u8; 8] = input.get(self.at..self.at + 8).ok_or(EARLY)?.try_into().expect("eight bytes");
            let [a, b, c, d, e, f, g, h] = trailer;
            if u32::from_le_bytes([a, b, c, d]) != held.crc.sum() {
                return Err(fault("the CRC does not fit"));
            }
            if u32::from_le_bytes([e, f, g, h]) != held.crc.amount() {
                return Err(fault("the length does not fit"));
            }
            self.at += 8;
            self.place = Place::Header;
        }
        if self.place == Place::Header {
            // Another member may follow the first one. What is none is ignored, as Java does.
            match header_bytes(&input[self.at..]) {
                Ok(bytes) => self.at += bytes,
                Err(_) if self.at > 0 => return Ok(Piece::End),
                Err(fault) => return Err(fault),
            }
            held.inflate.reset(false);
            held.crc.reset();
            self.place = Place::Deflate;
        }
        let (taken, given) = (held.inflate.total_in(), held.inflate.total_out());
        let status = held
            .inflate
            .decompress(&input[self.at..], &mut held.out, FlushDecompress::None)
            .map_err(|_| fault("the deflate stream is broken"))?;
        self.at += (held.inflate.total_in() - taken) as usize;
        let given = (held.inflate.total_out() - given) as usize;
        held.crc.update(&held.out[..given]);
        match status {
            Status::StreamEnd => self.place = Place::Trailer,
            Status::Ok | Status::BufError if given == 0 && self.at == input.len() => return Err(EARLY),
            Status::BufError if given == 0 => return Err(fault("the deflate stream makes no progress")),
            Status::Ok | Status::BufError => {}
        }
        Ok(Piece::Bytes(&held.out[..given]))
    }

    pub(super) fn held_bytes(&self) -> usize {
        // zlib-rs: a window of 32 KiB and about 10 KiB of tables.
        self.held.as_ref().map_or(0, |held| held.out.len() + (44 << 10))
    }
}

/// How long the header of a member is.
fn header_bytes(input: &[u8]) -> Result<usize, CompressFault> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CHECKSUM: u8 = 2;
    let fixed: [u8; 10] = input.get(..10).ok_or(EARLY)?.try_into().expect("ten bytes were taken");
    if fixed[..3] != [0x1f, 0x8b, 8] {
        return Err(fault("the magic bytes are missing"));
    }
    let flags = fixed[3];
    let mut at = 10;
    if flags & EXTRA != 0 {
        let len: [u8; 2] = input.get(at..at + 2).ok_or(EARLY)?.try_into().expect("two bytes were taken");
        at += 2 + usize::from(u16::from_le_bytes(len));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let rest = input.get(at..).ok_or(EARLY)?;
            at += 1 + rest.iter().position(|byte| *byte == 0).ok_or(EARLY)?;
        }
    }
    if flags & CHECKSUM != 0 {
        at += 2;
    }
    if at > input.len() { Err(EARLY) } else { Ok(at) }
}

const EARLY: CompressFault = CompressFault { codec: Codec::Gzip, what: "the bytes end early", ends_early: true };

fn fault(what: &'static str) -> CompressFault {
    CompressFault { codec: Codec::Gzip, what, ends_early: false }
}

/// Writes one member, without a name or a time, as Java's `GZIPOutputStream` does.
#[derive(Debug, Default)]
pub(super) struct Folder {
    held: Option<Folding>,
}

#[derive(Debug)]
struct Folding {
    level: Compression,
    deflate: Compress,
    crc: Crc,
}

impl Folder {
    pub(super) fn begin(&mut self, level: Option<i32>, out: &mut Vec<u8>) {
        let level = level.and_then(|level| u32::try_from(level).ok()).filter(|level| (1..=9).contains(level));
        let level = level.map_or_else(Compression::default, Compression::new);
        match &mut self.held {
            Some(held) if held.level == level => {
                held.deflate.reset();
                held.crc.reset();
            }
            held => *held = Some(Folding { level, deflate: Compress::new(level, false), crc: Crc::new() }),
        }
        out.extend(HEADER);
    }

    pub(super) fn push(&mut self, mut piece: &[u8], out: &mut Vec<u8>) {
        let held = self.held.as_mut().expect("begin comes before push");
        held.crc.update(piece);
        while !piece.is_empty() {
            out.reserve(UNFOLD_CHUNK_BYTES);
            let taken = held.deflate.total_in();
            held.deflate.compress_vec(piece, out, FlushCompress::None).expect("the stream has not ended");
            piece = &piece[(held.deflate.total_in() - taken) as usize..];
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let held = self.held.as_mut().expect("begin comes before end");
        loop {
            out.reserve(UNFOLD_CHUNK_BYTES);
            let status = held.deflate.compress_vec(&[], out, FlushCompress::Finish);
            if status.expect("the stream has not ended") == Status::StreamEnd {
                break;
            }
        }
        out.extend(held.crc.sum().to_le_bytes());
        out.extend(held.crc.amount().to_le_bytes());
    }

    pub(super) fn held_bytes(&self) -> usize {
        // zlib-rs: a window of 64 KiB, hash chains, and what waits to be written.
        self.held.as_ref().map_or(0, |_| 320 << 10)
    }
}

/// Magic, deflate, no flags, no time, no hint, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

#[cfg(test)]
mod tests {
    use super::super::{Scratch, UnfoldFault, compress, decompress_bounded};
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn members_and_optional_fields_are_read() {
        let mut bytes = Vec::new();
        let mut named = flate2::GzBuilder::new()
            .filename("a")
            .comment("b")
            .extra(vec![1, 2, 3])
            .write(&mut bytes, Default::default());
        named.write_all(b"one ").unwrap();
        named.finish().unwrap();
        compress(Codec::Gzip, Some(9), b"two", &mut bytes);
        let mut scratch = Scratch::default();
        assert_eq!(decompress_bounded(Codec::Gzip, &bytes, 100, &mut scratch).unwrap(), b"one two");
        bytes.extend([1, 2, 3]);
        assert_eq!(decompress_bounded(Codec::Gzip, &bytes, 100, &mut scratch).unwrap(), b"one two");
    }

    #[test]
    fn a_wrong_checksum_is_found() {
        let mut bytes = Vec::new();
        compress(Codec::Gzip, None, b"hello", &mut bytes);
        let at = bytes.len() - 8;
        bytes[at] ^= 1;
        let fault = decompress_bounded(Codec::Gzip, &bytes, 100, &mut Scratch::default()).unwrap_err();
        assert_eq!(fault, UnfoldFault::Fault(super::fault("the CRC does not fit")));
    }

    #[test]
    fn other_readers_read_our_members() {
        let input: Vec<u8> = (0..300_000u32).map(|n| (n >> 7) as u8 ^ (n % 3) as u8).collect();
        let mut sizes = Vec::new();
        for level in [None, Some(1), Some(9)] {
            let mut folded = Vec::new();
            compress(Codec::Gzip, level, &input, &mut folded);
            let mut again = Vec::new();
            flate2::read::GzDecoder::new(&folded[..]).read_to_end(&mut again).unwrap();
            assert!(again == input);
            sizes.push(folded.len());
        }
        assert!(sizes[1] > sizes[2], "the level counts: {sizes:?}");
    }
}
