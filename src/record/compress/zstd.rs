//! zstd (RFC 8878), streamed.

use super::{Codec, CompressFault, Piece};
use crate::base::limits::{UNFOLD_CHUNK_BYTES, UNFOLD_KEPT_BYTES_MAX};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// Window of the largest frame taken, as a power of two: what Kafka's own reader takes. The memory behind a window is touched only as far as bytes unfold,
/// and a context that needed much is dropped before the next batch.
const WINDOW_LOG_MAX: u32 = 27;

#[derive(Default)]
pub(super) struct Unfolder {
    context: Option<DCtx<'static>>,
    out: Vec<u8>,
    at: usize,
    frame_ended: bool,
}

impl Unfolder {
    pub(super) fn begin(&mut self) {
        self.at = 0;
        self.frame_ended = true;
        self.out.resize(UNFOLD_CHUNK_BYTES, 0);
        self.trim();
        let context = self.context.get_or_insert_with(DCtx::create);
        context.reset(ResetDirective::SessionOnly).expect("a session can always be reset");
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).expect("the parameter is in its range");
    }

    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece<'_>, CompressFault> {
        if self.frame_ended && self.at == input.len() {
            self.trim();
            return Ok(Piece::End);
        }
        let context = self.context.as_mut().expect("begin comes before next");
        let mut from = InBuffer::around(&input[self.at..]);
        let mut into = OutBuffer::around(&mut self.out[..]);
        let hint = context.decompress_stream(&mut into, &mut from).map_err(|_| fault("the frame is broken"))?;
        let given = into.pos();
        self.frame_ended = hint == 0;
        if given == 0 && from.pos() == 0 && !self.frame_ended {
            let ends_early = self.at == input.len();
            return Err(CompressFault { ends_early, ..fault("the bytes end early") });
        }
        self.at += from.pos();
        Ok(Piece::Bytes(&self.out[..given]))
    }

    /// Drops a context that a large window made large.
    pub(super) fn trim(&mut self) {
        if self.context.as_ref().is_some_and(|context| context.sizeof() > UNFOLD_KEPT_BYTES_MAX) {
            self.context = None;
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.out.len() + self.context.as_ref().map_or(0, |context| context.sizeof())
    }
}

impl std::fmt::Debug for Unfolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("zstd::Unfolder").field("at", &self.at).field("held_bytes", &self.held_bytes()).finish()
    }
}

fn fault(what: &'static str) -> CompressFault {
    CompressFault { codec: Codec::Zstd, what, ends_early: false }
}

pub(super) fn compress(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    zstd::stream::copy_encode(input, out, level).expect("memory takes every write");
}
