//! zstd (RFC 8878), streamed.

use super::{Codec, CompressFault, Piece};
use crate::base::limits::{UNFOLD_CHUNK_BYTES, UNFOLD_KEPT_BYTES_MAX};
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

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

/// Writes one frame, which says how long it unfolds.
#[derive(Default)]
pub(super) struct Folder {
    context: Option<CCtx<'static>>,
}

impl Folder {
    pub(super) fn begin(&mut self, level: Option<i32>, bytes: usize) {
        let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
        let context = self.context.get_or_insert_with(CCtx::create);
        context.reset(ResetDirective::SessionAndParameters).expect("a context can always be reset");
        let mut set = |parameter| context.set_parameter(parameter).expect("the parameter is in its range");
        set(CParameter::CompressionLevel(level));
        if level >= LEVEL_LARGE {
            set(CParameter::WindowLog(FOLD_WINDOW_LOG_MAX));
            set(CParameter::ChainLog(TABLE_LOG_MAX));
            set(CParameter::HashLog(TABLE_LOG_MAX));
        }
        context.set_pledged_src_size(Some(bytes as u64)).expect("the session has not begun");
    }

    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut from = InBuffer::around(piece);
        while from.pos() < piece.len() {
            self.step(&mut from, out, ZSTD_EndDirective::ZSTD_e_continue);
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let mut nothing = InBuffer::around(&[]);
        while self.step(&mut nothing, out, ZSTD_EndDirective::ZSTD_e_end) > 0 {}
    }

    /// Gives how many bytes are still to be written, at least.
    fn step(&mut self, from: &mut InBuffer<'_>, out: &mut Vec<u8>, how: ZSTD_EndDirective) -> usize {
        let context = self.context.as_mut().expect("begin comes first");
        out.reserve(UNFOLD_CHUNK_BYTES);
        let at = out.len();
        let mut into = OutBuffer::around_pos(out, at);
        context.compress_stream2(&mut into, from, how).expect("as many bytes come as were announced")
    }

    /// Drops a context that a high level made large.
    pub(super) fn trim(&mut self) {
        if self.held_bytes() > UNFOLD_KEPT_BYTES_MAX {
            self.context = None;
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.context.as_ref().map_or(0, |context| context.sizeof())
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("zstd::Folder").field("held_bytes", &self.held_bytes()).finish()
    }
}

/// From this level on zstd would have larger windows and tables than these, and gets these: how hard it tries stays.
const LEVEL_LARGE: i32 = 9;
/// Window of our frames, as a power of two: 2 MiB.
const FOLD_WINDOW_LOG_MAX: u32 = 21;
/// Entries of each table, as a power of two: 4 MiB.
const TABLE_LOG_MAX: u32 = 20;
