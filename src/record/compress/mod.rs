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

/// What unfolding and folding work in. It allocates nothing before the first compressed batch, is used again and again, and does not grow with what a batch
/// unfolds to. One exception, bounded by `SNAPPY_HISTORY_BYTES_MAX` and given back at once: a snappy block that refers back further than 64 KiB.
#[derive(Debug, Default)]
pub struct Scratch {
    unfolders: Unfolders,
    folder: Folder,
}

#[derive(Debug, Default)]
struct Unfolders {
    gzip: gzip::Unfolder,
    snappy: snappy::Unfolder,
    lz4: lz4::Unfolder,
    zstd: zstd::Unfolder,
    codec: Codec,
}

#[derive(Debug, Default)]
struct Folder {
    gzip: gzip::Folder,
    snappy: snappy::Folder,
    lz4: lz4::Folder,
    zstd: zstd::Folder,
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

/// One step of unfolding and folding again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refolded {
    /// So many bytes went from one to the other.
    Bytes(usize),
    /// Everything was unfolded. The fold is to be ended.
    End,
    /// Forget the pieces so far, and begin the fold again.
    Again,
}

/// Into what a body is folded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fold {
    /// The codec.
    pub codec: Codec,
    /// How hard it tries: gzip 1 to 9, lz4 1 to 17, zstd. `None`: the codec's own default. Snappy has no levels.
    pub level: Option<i32>,
}

impl Scratch {
    /// Gets ready for another body.
    pub(super) fn begin(&mut self, codec: Codec) {
        let unfolders = &mut self.unfolders;
        unfolders.codec = codec;
        match codec {
            Codec::None => {}
            Codec::Gzip => unfolders.gzip.begin(),
            Codec::Snappy => unfolders.snappy.begin(),
            Codec::Lz4 => unfolders.lz4.begin(),
            Codec::Zstd => unfolders.zstd.begin(),
        }
    }

    /// The next piece of `input`, which must be the same whole body at each call since [`Scratch::begin`].
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        self.unfolders.next(input)
    }

    /// Begins to fold a body of `bytes` bytes onto the end of `out`.
    pub(super) fn begin_fold(&mut self, fold: Fold, bytes: usize, out: &mut Vec<u8>) {
        self.folder.begin(fold, bytes, out);
    }

    /// Folds a piece. What comes of it may come later.
    pub(super) fn fold(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.folder.push(piece, out);
    }

    /// Ends the fold.
    pub(super) fn end_fold(&mut self, out: &mut Vec<u8>) {
        self.folder.end(out);
    }

    /// As [`Scratch::next`], and the piece is folded.
    pub(super) fn refold(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Refolded, CompressFault> {
        Ok(match self.unfolders.next(input)? {
            Piece::Bytes(piece) => {
                self.folder.push(piece, out);
                Refolded::Bytes(piece.len())
            }
            Piece::End => Refolded::End,
            Piece::Again => Refolded::Again,
        })
    }

    /// Gives back what one batch needed beyond the usual, however it ended. What was begun cannot go on.
    pub fn trim(&mut self) {
        self.unfolders.snappy.trim();
        self.unfolders.zstd.trim();
        self.folder.zstd.trim();
    }

    /// Bytes of memory held now.
    pub fn held_bytes(&self) -> usize {
        let Unfolders { gzip, snappy, lz4, zstd, .. } = &self.unfolders;
        gzip.held_bytes() + snappy.held_bytes() + lz4.held_bytes() + zstd.held_bytes() + self.folder.held_bytes()
    }
}

impl Unfolders {
    fn next(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        match self.codec {
            Codec::None => Ok(Piece::End),
            Codec::Gzip => self.gzip.next(input),
            Codec::Snappy => self.snappy.next(input),
            Codec::Lz4 => self.lz4.next(input),
            Codec::Zstd => self.zstd.next(input),
        }
    }
}

impl Folder {
    fn begin(&mut self, fold: Fold, bytes: usize, out: &mut Vec<u8>) {
        self.codec = fold.codec;
        match fold.codec {
            Codec::None => {}
            Codec::Gzip => self.gzip.begin(fold.level, out),
            Codec::Snappy => self.snappy.begin(out),
            Codec::Lz4 => self.lz4.begin(fold.level, out),
            Codec::Zstd => self.zstd.begin(fold.level, bytes),
        }
    }

    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self.codec {
            Codec::None => out.extend_from_slice(piece),
            Codec::Gzip => self.gzip.push(piece, out),
            Codec::Snappy => self.snappy.push(piece, out),
            Codec::Lz4 => self.lz4.push(piece, out),
            Codec::Zstd => self.zstd.push(piece, out),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        match self.codec {
            Codec::None => {}
            Codec::Gzip => self.gzip.end(out),
            Codec::Snappy => self.snappy.end(out),
            Codec::Lz4 => self.lz4.end(out),
            Codec::Zstd => self.zstd.end(out),
        }
    }

    fn held_bytes(&self) -> usize {
        self.gzip.held_bytes() + self.snappy.held_bytes() + self.lz4.held_bytes() + self.zstd.held_bytes()
    }
}

/// Gathers bytes into blocks of a fixed size.
#[derive(Debug, Default)]
struct Gatherer {
    block: Vec<u8>,
}

impl Gatherer {
    /// Gives each block of `size` that is full by now to `take`.
    fn push(&mut self, mut piece: &[u8], size: usize, mut take: impl FnMut(&[u8])) {
        while !piece.is_empty() {
            if self.block.is_empty() && piece.len() >= size {
                let (whole, rest) = piece.split_at(size);
                take(whole);
                piece = rest;
                continue;
            }
            let (now, rest) = piece.split_at(piece.len().min(size - self.block.len()));
            self.block.extend_from_slice(now);
            piece = rest;
            if self.block.len() == size {
                take(&self.block);
                self.block.clear();
            }
        }
    }

    /// Gives the rest, if there is any.
    fn end(&mut self, take: impl FnOnce(&[u8])) {
        if !self.block.is_empty() {
            take(&self.block);
            self.block.clear();
        }
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

/// Folds a whole body onto the end of `out`. `level` is as in [`Fold`].
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
    let mut folder = Folder::default();
    folder.begin(Fold { codec, level }, input.len(), out);
    folder.push(input, out);
    folder.end(out);
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

    /// At its highest level zstd would take 800 MB.
    #[test]
    fn the_hardest_fold_has_bounded_memory() {
        let input = text(5, 9 << 20);
        for level in [1, 9, 15, 19, 22] {
            let mut scratch = Scratch::default();
            let mut out = Vec::new();
            scratch.begin_fold(Fold { codec: Codec::Zstd, level: Some(level) }, input.len(), &mut out);
            scratch.fold(&input[..1 << 18], &mut out);
            assert!(scratch.held_bytes() < 40 << 20, "level {level} holds {}", scratch.held_bytes());
            scratch.trim();
            assert!(scratch.held_bytes() <= 9 << 20, "level {level} keeps {}", scratch.held_bytes());
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

        /// However the pieces are cut, and whatever was folded before, the same bytes come of it.
        #[test]
        fn pieces_fold_as_the_whole(inputs in prop::collection::vec((any::<u64>(), 0usize..200_000), 1..4), cut in 1usize..70_000) {
            let mut scratch = Scratch::default();
            for codec in CODECS {
                for (seed, len) in &inputs {
                    let input = text(*seed, *len);
                    let (mut whole, mut pieces) = (Vec::new(), vec![7; 3]);
                    compress(codec, Some(3), &input, &mut whole);
                    scratch.begin_fold(Fold { codec, level: Some(3) }, input.len(), &mut pieces);
                    input.chunks(cut).for_each(|piece| scratch.fold(piece, &mut pieces));
                    scratch.end_fold(&mut pieces);
                    prop_assert_eq!(&pieces[..3], &[7; 3]);
                    let unfolded = decompress_bounded(codec, &pieces[3..], input.len(), &mut scratch);
                    prop_assert!(unfolded.as_ref() == Ok(&input), "{:?}", codec);
                    // Where zstd and zlib end a block depends on how they are fed.
                    if matches!(codec, Codec::Lz4 | Codec::Snappy) {
                        prop_assert!(pieces[3..] == whole, "{:?}", codec);
                    }
                }
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
