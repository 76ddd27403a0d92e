//! Compression and decompression of the records of a batch.

use super::batch::Codec;

/// What decompression needs: allocates nothing until the first compressed batch, is used again and again, and never grows with the output.
#[derive(Debug, Default)]
pub struct Scratch {}

/// Compressed bytes that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{codec:?}: {what}")]
pub struct CompressFault {
    /// Which format was expected.
    pub codec: Codec,
    /// What is wrong.
    pub what: &'static str,
}
