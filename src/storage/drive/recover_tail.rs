//! A log's files after a crash: remove what the log does not know, cut everything above the checkpoint, and mend the last page from the journal if a crash
//! tore it.
//!
//! Everything above the checkpointed position is in the journal and is drained again through the ordinary path, so nothing above it is looked at.
//! Below it only the last page can be damaged by a crash, since only that page was written again; its bytes are in the journal then, as batches or as
//! an AppendRef. Crashing inside this and starting again gives the same result: it only cuts, and writes bytes that were there before.

use bytes::{Bytes, BytesMut};

use super::group::Group;
use super::{Drive, Host, Target};
use crate::base::limits::PAGE_BYTES;
use crate::base::{LogId, Offset};
use crate::io::buffer::AlignedBuf;
use crate::storage::checksums::{BLOCK_BYTES, sum_position};
use crate::storage::log::{offset_position, time_position};
use crate::storage::segment::{ActiveSegment, Kind, is_deleted, parse_file_name};
use crate::storage::{CachedBatch, Fault, StorageError};

/// What recovery knows of a log's journal.
#[derive(Clone, Debug, Default)]
pub struct Recovering {
    /// What the journal still holds of the log below its checkpointed offset, in journal order.
    pub pieces: Vec<TailPiece>,
}

/// Bytes below the checkpointed position that the journal still holds.
#[derive(Clone, Debug)]
pub enum TailPiece {
    /// A whole batch. Consecutive ones that end at the drained offset are of use.
    Batch(CachedBatch),
    /// The bytes of a page, as [`super::TailPage`] had them.
    Page {
        /// Base offset of the segment.
        segment: Offset,
        /// Where the page begins in it.
        position: u64,
        /// The bytes.
        bytes: Bytes,
        /// Sequence of the oldest block that holds them.
        seq: u64,
    },
}

impl Drive {
    /// Puts the ends of all these logs in order, several at a time. As [`Drive::recover_tail`].
    pub async fn recover_tails<H: Host>(
        &self,
        host: &H,
        logs: impl IntoIterator<Item = (LogId, Recovering)>,
    ) -> Result<(), StorageError> {
        let group = Group::new(&self.inner.io);
        for (log, recovering) in logs {
            let permit = self.inner.drains.take(1, 1).await;
            let (drive, host) = (self.clone(), host.clone());
            group.start(async move {
                let _permit = permit;
                drive.recover_tail(&host, log, &recovering).await
            });
        }
        group.finish().await
    }

    /// Puts the end of a restored log in order after a crash, before any batch is pushed. Only for logs with entries in the journal; the others were
    /// not written to since their checkpoint. Written, not flushed.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] when bytes below the checkpointed position are damaged and the journal does not have them.
    pub async fn recover_tail<H: Host>(
        &self,
        host: &H,
        log: LogId,
        recovering: &Recovering,
    ) -> Result<(), StorageError> {
        let found = host.with_log(log, |log| (log.active().copied(), log.directory(), log.drained()));
        let Some((active, directory, drained)) = found else { return Ok(()) };
        let io = &self.inner.io;
        self.inner.files.forget(log);
        self.inner.gathered.forget(log);
        if !io.is_dir(&directory).await.map_err(StorageError::read(&directory))? {
            // Without segments, the first drain makes it.
            return match active {
                Some(active) => Err(missing(&Target { log, directory, base: active.base })),
                None => Ok(()),
            };
        }
        let oldest = host.with_log(log, |log| log.segments().next().map(|segment| segment.base)).flatten();
        let kept_base = active.map(|active| active.base);
        let mut removed = false;
        for name in io.list_dir(&directory).await.map_err(StorageError::read(&directory))? {
            // Above the checkpoint: drained again from the journal. Below the oldest segment: the log's start went beyond it, and a crash came before its
            // files were removed.
            let goes = |base| base >= drained && Some(base) != kept_base || oldest.is_none_or(|oldest| base < oldest);
            if is_deleted(&name) || parse_file_name(&name).is_some_and(|(base, _)| goes(base)) {
                let path = directory.join(&name);
                io.remove_file(&path).await.map_err(StorageError::write(&path))?;
                removed = true;
            }
        }
        if removed {
            host.with_log(log, |log| log.names_changed());
        }
        let Some(active) = active else { return Ok(()) };
        let target = Target { log, directory, base: active.base };
        self.cut(&target, &active).await?;
        let (tail, guard) = self.mend(&target, &active, drained, recovering).await?;
        host.with_log(log, |log| log.recovered(tail, guard));
        Ok(())
    }

    /// Cuts the files of the active segment to the checkpointed size.
    async fn cut(&self, target: &Target, active: &ActiveSegment) -> Result<(), StorageError> {
        let blocks = active.bytes / BLOCK_BYTES as u64 + u64::from(active.tail_block().is_some());
        for (kind, len) in [
            (Kind::Log, active.bytes),
            (Kind::Index, offset_position(active)),
            (Kind::TimeIndex, time_position(active)),
            (Kind::Sums, sum_position(blocks)),
        ] {
            let path = target.path(kind);
            let file = match self.inner.files.file(target, kind).await {
                Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Err(missing(target)),
                file => file.map_err(StorageError::read(&path))?,
            };
            if file.len().await.map_err(StorageError::read(&path))? > len {
                file.set_len(len).await.map_err(StorageError::write(&path))?;
            }
        }
        if let Some(tail) = active.tail_block() {
            self.write_beside(target, Kind::Sums, sum_position(tail.block), &tail.sum.to_be_bytes()).await?;
        }
        Ok(())
    }

    /// The bytes of the last page, and the sequence that guards them in the journal. The guard that the checkpoint names means nothing by itself: it
    /// may be of another journal, from which the log's state was taken over.
    async fn mend(
        &self,
        target: &Target,
        active: &ActiveSegment,
        drained: Offset,
        recovering: &Recovering,
    ) -> Result<(Bytes, Option<u64>), StorageError> {
        let page = active.tail_page();
        if page == active.bytes {
            return Ok((Bytes::new(), None));
        }
        let mended = page_from_journal(active, drained, &recovering.pieces);
        let guard = mended.as_ref().map(|(_, seq)| *seq);
        let damage = match self.read_tail(target, active).await {
            Ok(tail) => return Ok((tail, guard)),
            Err(damage) => damage,
        };
        let Some((bytes, _)) = mended.filter(|(bytes, _)| page + bytes.len() as u64 == active.bytes) else {
            return Err(damage);
        };
        tracing::warn!(file = %target.path(Kind::Log).display(), position = page, "the last page was torn; it is written again from the journal");
        let file = self.segment_file(target, Kind::Log).await?;
        let path = target.path(Kind::Log);
        file.write_at(page, AlignedBuf::padded_copy(&bytes).freeze()).await.map_err(StorageError::write(&path))?;
        file.set_len(active.bytes).await.map_err(StorageError::write(&path))?;
        Ok((self.read_tail(target, active).await?, guard))
    }
}

/// The bytes of the last page up to the logical end, and the oldest sequence that holds any of them.
fn page_from_journal(active: &ActiveSegment, drained: Offset, pieces: &[TailPiece]) -> Option<(Bytes, u64)> {
    let (page, wanted) = (active.tail_page(), (active.bytes - active.tail_page()) as usize);
    // Newest first: where two hold the same bytes, the younger guards them longer.
    let reference = pieces.iter().rev().find_map(|piece| match piece {
        TailPiece::Page { segment, position, bytes, seq } if *segment == active.base && *position == page => {
            Some((bytes.clone(), *seq))
        }
        _ => None,
    });
    let (mut back, mut next, mut seq) = (Vec::new(), drained, u64::MAX);
    let mut length = 0;
    for piece in pieces.iter().rev() {
        let TailPiece::Batch(batch) = piece else { continue };
        if length >= wanted || batch.last.plus(1) != next {
            if length >= wanted {
                break;
            }
            continue;
        }
        (next, seq) = (batch.base, seq.min(batch.seq));
        length += batch.bytes();
        back.push(batch);
    }
    let whole: BytesMut =
        back.iter().rev().flat_map(|batch| &batch.slices).flat_map(|slice| slice.iter().copied()).collect();
    let whole = whole.freeze();
    if length >= wanted && seq < u64::MAX {
        return Some((whole.slice(length - wanted..), seq));
    }
    // The reference may end before the logical end: batches were drained behind it.
    let (start, seq_of_start) = reference?;
    if start.len() >= wanted {
        return Some((start.slice(..wanted), seq_of_start));
    }
    let rest = wanted - start.len();
    (length >= rest).then(|| {
        let joined = [&start[..], &whole[length - rest..]].concat();
        (joined.into(), seq_of_start.min(seq))
    })
}

fn missing(target: &Target) -> StorageError {
    let found = Fault::Malformed("a file of the last segment is missing");
    StorageError::corrupt(&target.path(Kind::Log), 0, found)
}

const _: () = assert!(PAGE_BYTES <= BLOCK_BYTES, "the last page is in the last block");
