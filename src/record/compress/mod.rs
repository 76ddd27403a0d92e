//! The four codecs, both ways, on whole bodies of batches.
//!
//! Unfolding gives one piece after the other from a buffer of fixed size, so that a small batch which unfolds to gigabytes costs neither memory nor, as the
//! caller may stop between pieces, the core. Folding writes the framing that Kafka's own clients write.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use super::batch::Codec;

/// Compressed bytes that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{codec:?}: {what}")]
pub struct CompressFault {
    /// Which format was expected.
    pub codec: Codec,
    /// What is wrong.
    pub what: &'static str,
    /// The bytes end early; all that is there is right.
    pub ends_early: bool,
}

/// What unfolding works in. It allocates nothing before the first compressed batch, is used again and again, and does not grow with what a batch unfolds
/// to. One exception, bounded by `SNAPPY_HISTORY_BYTES_MAX` and given back at once: a snappy block that refers back further than 64 KiB.
#[derive(Debug, Default)]
pub struct Scratch {
    gzip: gzip::Unfolder,
    snappy: snappy::Unfolder,
    lz4: lz4::Unfolder,
    zstd: zstd::Unfolder,
    codec: Codec,
}

/// One step of unfolding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'s> {
    /// The next bytes; may be none, when only input was used up.
    Bytes(&'s [u8]),
    /// Everything was unfolded.
    End,
    /// Forget the pieces so far: they are given once more from the first one on.
    Again,
}

impl Scratch {
    /// Gets ready for another body.
    pub(super) fn begin(&mut self, codec: Codec) {
        self.codec = codec;
        match codec {
            Codec::None => {}
            Codec::Gzip => self.gzip.begin(),
            Codec::Snappy => self.snappy.begin(),
            Codec::Lz4 => self.lz4.begin(),
            Codec::Zstd => self.zstd.begin(),
        }
    }

    /// The next piece of `input`, which must be the same whole body at each call since [`Scratch::begin`].
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        match self.codec {
            Codec::None => Ok(Piece::End),
            Codec::Gzip => self.gzip.next(input),
            Codec::Snappy => self.snappy.next(input),
            Codec::Lz4 => self.lz4.next(input),
            Codec::Zstd => self.zstd.next(input),
        }
    }

    /// Gives back what one batch needed beyond the usual, however it ended. What was begun cannot go on.
    pub fn trim(&mut self) {
        self.snappy.trim();
        self.zstd.trim();
    }

    /// Bytes of memory held now.
    pub fn held_bytes(&self) -> usize {
        self.gzip.held_bytes() + self.snappy.held_bytes() + self.lz4.held_bytes() + self.zstd.held_bytes()
    }
}

/// Why a body was not unfolded as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnfoldFault {
    /// It cannot be read.
    #[error(transparent)]
    Fault(#[from] CompressFault),
    /// It is longer than allowed.
    #[error("it unfolds to more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
}

/// Unfolds a whole body into memory, up to `max` bytes. For stored batches that must be looked into; checks use the pieces.
pub fn decompress_bounded(
    codec: Codec,
    input: &[u8],
    max: usize,
    scratch: &mut Scratch,
) -> Result<Vec<u8>, UnfoldFault> {
    if codec == Codec::None {
        return if input.len() > max { Err(UnfoldFault::TooLarge { max }) } else { Ok(input.to_vec()) };
    }
    let mut out = Vec::new();
    scratch.begin(codec);
    loop {
        match scratch.next(input)? {
            Piece::Bytes(bytes) if bytes.len() > max - out.len() => return Err(UnfoldFault::TooLarge { max }),
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Again => out.clear(),
            Piece::End => return Ok(out),
        }
    }
}

/// Folds `input` onto the end of `out`. `level` counts for gzip (1 to 9) and zstd, each with its own default; the other two have none.
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
    match codec {
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => gzip::compress(level, input, out),
        Codec::Snappy => snappy::compress(input, out),
        Codec::Lz4 => lz4::compress(input, out),
        Codec::Zstd => zstd::compress(level, input, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn text(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                b"the quick brown fox "[(state >> 58) as usize % 20]
            })
            .collect()
    }

    #[test]
    fn what_was_folded_unfolds_again() {
        let mut scratch = Scratch::default();
        for len in [0, 1, 100, 65_535, 65_536, 65_537, 1_000_000] {
            let input = text(len as u64, len);
            for codec in CODECS {
                let mut folded = Vec::new();
                compress(codec, None, &input, &mut folded);
                let again = decompress_bounded(codec, &folded, len, &mut scratch);
                assert!(again.as_ref() == Ok(&input), "{codec:?} of {len}: {:?}", again.map(|bytes| bytes.len()));
            }
        }
    }

    /// Zeros unfold a thousandfold. The bound holds, and neither the bound nor the size of the output shows in the memory held.
    #[test]
    fn a_bomb_costs_no_memory() {
        let zeros = vec![0u8; 40 << 20];
        for codec in CODECS {
            let mut scratch = Scratch::default();
            let mut folded = Vec::new();
            compress(codec, None, &zeros, &mut folded);
            assert_eq!(
                decompress_bounded(codec, &folded, 1 << 20, &mut scratch),
                Err(UnfoldFault::TooLarge { max: 1 << 20 })
            );
            scratch.begin(codec);
            let mut unfolded = 0;
            while let Piece::Bytes(bytes) = scratch.next(&folded).unwrap() {
                unfolded += bytes.len();
            }
            assert_eq!(unfolded, zeros.len());
            assert!(scratch.held_bytes() < 9 << 20, "{codec:?} holds {}", scratch.held_bytes());
        }
    }

    #[test]
    fn a_cut_body_is_an_error() {
        let mut scratch = Scratch::default();
        let input = text(7, 200_000);
        for codec in CODECS {
            let mut folded = Vec::new();
            compress(codec, None, &input, &mut folded);
            for cut in [1, 2, 5, 30, folded.len() / 2, folded.len() - 1] {
                let cut_off = decompress_bounded(codec, &folded[..cut], input.len(), &mut scratch);
                assert!(cut_off != Ok(input.clone()), "{codec:?} cut at {cut}");
                assert!(cut_off.is_err(), "{codec:?} cut at {cut}: {}", cut_off.unwrap().len());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(input in prop::collection::vec(any::<u8>(), 0..5000), repeat in 1usize..40) {
            let input = input.repeat(repeat);
            let mut scratch = Scratch::default();
            for codec in CODECS {
                let mut folded = Vec::new();
                compress(codec, None, &input, &mut folded);
                prop_assert!(decompress_bounded(codec, &folded, input.len(), &mut scratch).as_ref() == Ok(&input), "{:?}", codec);
            }
        }

        /// Whatever a peer sends, unfolding ends, with bytes or with a fault.
        #[test]
        fn garbage_is_survived(input in prop::collection::vec(any::<u8>(), 0..2000), at in any::<usize>(), with in any::<u8>()) {
            let mut scratch = Scratch::default();
            for codec in CODECS {
                let _ = decompress_bounded(codec, &input, 1 << 22, &mut scratch);
                let mut folded = Vec::new();
                compress(codec, None, &input.repeat(3), &mut folded);
                let at = at % folded.len();
                folded[at] = with;
                let _ = decompress_bounded(codec, &folded, 1 << 22, &mut scratch);
            }
        }
    }
}
