//! Verified reads of history: no byte leaves here before the checksum of its block was compared.
//!
//! Reads go past the page cache and have a small budget of their own, so that a consumer of history never displaces the tail. Damage closes
//! only the range it stands in.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Drive, Host, Target};
use crate::base::limits::{GENTLE_READ_BYTES, PAGE_BYTES, SEGMENT_READ_BYTES_MAX};
use crate::base::{LogId, Offset, Timestamp};
use crate::io::File;
use crate::record::{BatchHeader, HEADER_BYTES};
use crate::storage::checksums::{BLOCK_BYTES, HEADER_BYTES as SUMS_HEADER_BYTES, SUM_BYTES, sum_position, verify};
use crate::storage::index::{OFFSET_ENTRY_BYTES, Search, TIME_ENTRY_BYTES, offset_entry, time_entry};
use crate::storage::log::{DiskRange, ReadPlan, TimestampPlan};
use crate::storage::segment::{ActiveSegment, Kind, TailBytes};
use crate::storage::{Fault, StorageError};

/// What a batch's header says, as far as a read needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) base: Offset,
    pub(super) last: Offset,
    pub(super) max_timestamp: Timestamp,
    pub(super) bytes: u64,
}

/// Whole batches of one segment.
struct Found {
    slices: SmallVec<[Bytes; 4]>,
    /// The offset after the last of them, and where the next batch begins.
    next: Offset,
    position: u64,
}

impl Drive {
    /// Reads whole batches from the one that holds `offset`, below `up_to`, about `max_bytes` at most; from memory if they are there, else verified
    /// from the disk. Nothing when there is nothing, or when the log is gone.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] and [`StorageError::ReadFailed`]; both close only this range.
    pub async fn read<H: Host>(
        &self,
        host: &H,
        log: LogId,
        mut offset: Offset,
        max_bytes: usize,
        at_least_one: bool,
        up_to: Offset,
    ) -> Result<SmallVec<[Bytes; 4]>, StorageError> {
        loop {
            let range = match host.with_log(log, |log| log.read_plan(offset, max_bytes, at_least_one, up_to)) {
                None | Some(ReadPlan::Empty) => return Ok(SmallVec::new()),
                Some(ReadPlan::Cached(slices)) => return Ok(slices),
                Some(ReadPlan::Disk(range)) => range,
            };
            let found = match self.read_range(&range).await {
                // Retention took the segment meanwhile: whoever asked is told so by the log's start.
                Err(_) if !still_there(host, &range) => continue,
                found => found?,
            };
            if let Some(found) = found {
                host.with_log(log, |log| log.remember(found.next, range.base, found.position));
                return Ok(found.slices);
            }
            // A hole at the end of the segment.
            if range.next <= offset {
                return Ok(SmallVec::new());
            }
            offset = range.next;
        }
    }

    /// Whole batches of one segment. `None`: no batch at or above the offset and below `up_to` is in it.
    ///
    /// # Errors
    /// As [`Drive::read`].
    async fn read_range(&self, range: &DiskRange) -> Result<Option<Found>, StorageError> {
        let from = match range.position {
            Some(position) => position,
            None => self.offset_position(range, range.offset).await?,
        };
        let want = range.max_bytes.min(if self.is_gentle() { GENTLE_READ_BYTES } else { SEGMENT_READ_BYTES_MAX });
        let Some((start, head)) = self.find(range, from, want, |head| head.last >= range.offset).await? else {
            return Ok(None);
        };
        let bytes = start.bytes;
        if head.base >= range.up_to {
            return Ok(None);
        }
        let nothing = |position| Found { slices: SmallVec::new(), next: head.base, position };
        if head.bytes > range.max_bytes as u64 && !range.at_least_one {
            return Ok(Some(nothing(start.position)));
        }
        let (mut end, mut next, mut cut) = (0, head.base, None);
        while let Some(head) = self.head(range, start.position + end as u64, &bytes[end..])? {
            let total = end + head.bytes as usize;
            if head.base >= range.up_to || (end > 0 && total > range.max_bytes) {
                break;
            }
            if total > bytes.len() {
                // What is here of it would be read again the next time. A little of it is not worth another read now.
                let much = (bytes.len() - end) * 4 >= bytes.len();
                cut = much.then(|| (total, head.last.plus(1)));
                break;
            }
            (end, next) = (total, head.last.plus(1));
        }
        let mut slices = SmallVec::from_iter([bytes.slice(..end)]);
        if let Some((total, after)) = cut {
            // If the rest of it is damaged, that is told the next time.
            let missing = total - bytes.len();
            if let Ok(rest) = self.read_blocks(range, start.position + bytes.len() as u64, missing).await {
                slices = SmallVec::from_iter([bytes, rest.slice(..missing)]);
                (end, next) = (total, after);
            }
        }
        Ok(Some(Found { slices, next, position: start.position + end as u64 }))
    }

    /// The first batch at or above `from` and below `up_to` that holds a record with `timestamp` or a later one, whole. Which of its records that is,
    /// is the caller's to see; with none at or above `from`, ask again from the batch's end.
    ///
    /// # Errors
    /// As [`Drive::read`].
    pub async fn first_batch_at<H: Host>(
        &self,
        host: &H,
        log: LogId,
        timestamp: Timestamp,
        mut from: Offset,
        up_to: Offset,
    ) -> Result<SmallVec<[Bytes; 1]>, StorageError> {
        loop {
            let range = match host.with_log(log, |log| log.timestamp_plan(timestamp, from, up_to)) {
                None | Some(TimestampPlan::None) => return Ok(SmallVec::new()),
                Some(TimestampPlan::Cached(batch)) => return Ok(batch.slices),
                Some(TimestampPlan::Disk(range)) => range,
            };
            let found = match self.find_timestamp(&range, timestamp, up_to).await {
                Err(_) if !still_there(host, &range) => continue,
                found => found?,
            };
            if let Some((start, head)) = found {
                let found = head.base < up_to;
                return Ok(if found {
                    SmallVec::from_iter([start.bytes.slice(..head.bytes as usize)])
                } else {
                    SmallVec::new()
                });
            }
            assert!(range.next > from, "log {log}: a search for a timestamp does not get on from {from}");
            from = range.next;
        }
    }

    /// The first batch of a segment that holds a record with `timestamp` or a later one, or that is not below `up_to`.
    async fn find_timestamp(
        &self,
        range: &DiskRange,
        timestamp: Timestamp,
        up_to: Offset,
    ) -> Result<Option<(Chunk, Head)>, StorageError> {
        let reached = self.time_offset(range, timestamp).await?.max(range.offset);
        let begin = self.offset_position(range, reached).await?;
        let matches =
            |head: &Head| head.base >= up_to || (head.max_timestamp >= timestamp && head.last >= range.offset);
        self.find(range, begin, SCAN_BYTES, matches).await
    }

    /// Walks batches from `position`, which is the start of one, to the first that `wanted` takes. Gives it with what was read behind it: at least
    /// the whole batch, and `want` bytes if there are that many.
    async fn find(
        &self,
        range: &DiskRange,
        mut position: u64,
        want: usize,
        wanted: impl Fn(&Head) -> bool,
    ) -> Result<Option<(Chunk, Head)>, StorageError> {
        let mut least = want.max(HEADER_BYTES);
        while position < range.bytes {
            let chunk = self.read_blocks(range, position, least).await?;
            let mut at = 0;
            least = want.max(HEADER_BYTES);
            while let Some(head) = self.head(range, position + at as u64, &chunk[at..])? {
                let whole = at + head.bytes as usize <= chunk.len();
                if !wanted(&head) {
                    at += head.bytes as usize;
                    if !whole {
                        break;
                    }
                    continue;
                }
                let enough = chunk.len() - at >= want || position + chunk.len() as u64 >= range.bytes;
                if whole && (enough || at == 0) {
                    return Ok(Some((Chunk { position: position + at as u64, bytes: chunk.slice(at..) }, head)));
                }
                least = want.max(head.bytes as usize);
                // What is here of it is not read again, unless that is little beside the copy.
                if at == 0 && chunk.len() * 4 >= head.bytes as usize {
                    let missing = head.bytes as usize - chunk.len();
                    let rest = self.read_blocks(range, position + chunk.len() as u64, missing).await?;
                    return Ok(Some((Chunk { position, bytes: [chunk, rest].concat().into() }, head)));
                }
                break;
            }
            position += at as u64;
        }
        Ok(None)
    }

    /// The header at the front of `bytes`, which stand at `position`. `None`: the bytes end before it does.
    fn head(&self, range: &DiskRange, position: u64, bytes: &[u8]) -> Result<Option<Head>, StorageError> {
        let Some(header) = BatchHeader::read(bytes) else { return Ok(None) };
        read_head(header, range.bytes - position).map(Some).map_err(|found| StorageError::Corrupt {
            file: target(range).path(Kind::Log),
            position,
            found,
        })
    }

    /// At least `least` verified bytes from `position`, if the range has that many. They are read by whole blocks, and all that were read are given.
    async fn read_blocks(&self, range: &DiskRange, position: u64, least: usize) -> Result<Bytes, StorageError> {
        // For one read, not for a search: that may look through a whole segment.
        let _permit = self.inner.reads.take(1, 1).await;
        let (target, block_bytes) = (target(range), BLOCK_BYTES as u64);
        let first = position / block_bytes;
        let end = (position + least as u64).next_multiple_of(block_bytes).min(range.bytes);
        let log = self.read_file(&target, Kind::Log).await?;
        let bytes =
            log.read_at(first * block_bytes, (end - first * block_bytes).next_multiple_of(PAGE_BYTES as u64) as usize);
        let bytes = bytes.await.map_err(|fault| unread(&target, Kind::Log, fault))?;
        let wanted = (end - first * block_bytes) as usize;
        let short = Fault::Short { wanted: end, found: first * block_bytes + bytes.len() as u64 };
        if bytes.len() < wanted {
            return Err(StorageError::corrupt(&target.path(Kind::Log), first * block_bytes, short));
        }
        let bytes = bytes.slice(..wanted);
        let blocks = wanted.div_ceil(BLOCK_BYTES);
        // The checksum of the tail block is in memory; alone, it needs no file.
        let sums = if range.tail.is_some_and(|tail| tail.block == first) {
            Bytes::new()
        } else {
            self.sums(&target, first, blocks).await?
        };
        verify(target.place(), first, &bytes, &sums, range.tail).map_err(|(position, found)| {
            let file = target.path(Kind::Log);
            tracing::error!(file = %file.display(), position, %found, "a block of a segment is damaged");
            StorageError::Corrupt { file, position, found }
        })?;
        Ok(bytes.slice((position - first * block_bytes) as usize..))
    }

    async fn sums(&self, target: &Target, first: u64, blocks: usize) -> Result<Bytes, StorageError> {
        let file = self.settled(target, Kind::Sums, self.read_file(target, Kind::Sums).await?);
        let read = |fault| unread(target, Kind::Sums, fault);
        let header = file.read_at(0, SUMS_HEADER_BYTES).await.map_err(read)?;
        let checked = target.place().check_header(&self.inner.directory, &header);
        checked.map_err(|found| StorageError::corrupt(&target.path(Kind::Sums), 0, found))?;
        file.read_at(sum_position(first), blocks * SUM_BYTES).await.map_err(read)
    }

    /// Where to begin to look for the batch that holds `offset`: at a batch that begins at or below it. An index that cannot be believed is as
    /// good as none: the search begins at the front.
    async fn offset_position(&self, range: &DiskRange, offset: Offset) -> Result<u64, StorageError> {
        let Ok(relative) = u32::try_from(offset.0 - range.base.0) else { return Ok(0) };
        let at_or_below = |entry: &[u8]| offset_entry(entry).0 <= relative;
        let found = self.search(range, Kind::Index, OFFSET_ENTRY_BYTES, at_or_below).await?;
        let Some(entry) = found else { return Ok(0) };
        let position = u64::from(offset_entry(&entry).1);
        if position + HEADER_BYTES as u64 > range.bytes {
            return Ok(0);
        }
        // The index has no checksum of its own, so its word is held against the batch it points at.
        let bytes = self.read_blocks(range, position, HEADER_BYTES).await?;
        let head = BatchHeader::read(&bytes).and_then(|header| read_head(header, range.bytes - position).ok());
        match head {
            Some(head) if head.last.0 - range.base.0 == i64::from(offset_entry(&entry).0) => Ok(position),
            _ => {
                tracing::warn!(file = %target(range).path(Kind::Index).display(), position, "an index entry points at no batch; reading from the front");
                Ok(0)
            }
        }
    }

    /// The offset up to which no record has `timestamp` or a later one.
    async fn time_offset(&self, range: &DiskRange, timestamp: Timestamp) -> Result<Offset, StorageError> {
        let at_or_below = |entry: &[u8]| time_entry(entry).0 < timestamp;
        let found = self.search(range, Kind::TimeIndex, TIME_ENTRY_BYTES, at_or_below).await?;
        Ok(found.map_or(range.base, |entry| range.base.plus(i64::from(time_entry(&entry).1))))
    }

    /// The last entry of an index file that is at or below what is looked for.
    async fn search(
        &self,
        range: &DiskRange,
        kind: Kind,
        entry_bytes: usize,
        at_or_below: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Bytes>, StorageError> {
        let target = target(range);
        let _permit = self.inner.reads.take(1, 1).await;
        let file = match self.inner.files.file(&target, kind).await {
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %target.path(kind).display(), "an index is missing; reading from the front");
                return Ok(None);
            }
            file => self.settled(&target, kind, file.map_err(|fault| unread(&target, kind, fault))?),
        };
        let read = |fault| unread(&target, kind, fault);
        let mut search = Search::new(file.len().await.map_err(read)? / entry_bytes as u64);
        let mut found = None;
        while let Some(probe) = search.probe() {
            let left = search.left();
            if left.end - left.start <= SEARCH_AT_ONCE {
                let entries = (left.end - left.start) as usize;
                let bytes = file.read_at(left.start * entry_bytes as u64, entries * entry_bytes).await.map_err(read)?;
                let below = bytes.chunks_exact(entry_bytes).take_while(|entry| at_or_below(entry)).count();
                if below > 0 {
                    found = Some(bytes.slice((below - 1) * entry_bytes..below * entry_bytes));
                }
                break;
            }
            let entry = file.read_at(probe * entry_bytes as u64, entry_bytes).await.map_err(read)?;
            let below = entry.len() == entry_bytes && at_or_below(&entry);
            search.answer(probe, below);
            if below {
                found = Some(entry);
            }
        }
        Ok(found)
    }

    /// The bytes of the last, partial page of a segment that nobody has read since the start. Its whole last block is verified.
    pub(super) async fn read_tail(&self, target: &Target, segment: &ActiveSegment) -> Result<TailBytes, StorageError> {
        if segment.bytes.is_multiple_of(PAGE_BYTES as u64) {
            return Ok(Bytes::new());
        }
        let block = self.read_tail_block(target, segment).await?;
        let start = (segment.tail_page() % BLOCK_BYTES as u64) as usize;
        Ok(block.slice(start..))
    }

    /// The last, partial block of a segment, verified against the checksum that the log remembers.
    pub(super) async fn read_tail_block(
        &self,
        target: &Target,
        segment: &ActiveSegment,
    ) -> Result<Bytes, StorageError> {
        let (bytes, tail) = (segment.bytes, segment.tail_block());
        let position = bytes - bytes % BLOCK_BYTES as u64;
        let (log, base, directory, up_to) = (target.log, target.base, target.directory.clone(), Offset(i64::MAX));
        let (max_bytes, at_least_one, offset, next) = (BLOCK_BYTES, true, base, base);
        let range = DiskRange {
            log,
            directory,
            base,
            bytes,
            tail,
            position: None,
            offset,
            up_to,
            max_bytes,
            at_least_one,
            next,
        };
        if tail.is_none() { Ok(Bytes::new()) } else { self.read_blocks(&range, position, BLOCK_BYTES).await }
    }

    async fn read_file(&self, target: &Target, kind: Kind) -> Result<File, StorageError> {
        self.inner.files.file(target, kind).await.map_err(|fault| match fault.kind() {
            std::io::ErrorKind::NotFound => {
                StorageError::corrupt(&target.path(kind), 0, Fault::Malformed("the file is missing"))
            }
            _ => unread(target, kind, fault),
        })
    }
}

/// Verified bytes and where they stand.
struct Chunk {
    position: u64,
    bytes: Bytes,
}

/// What a stored header says, if it can be believed. `left` are the bytes from its first one to the end of the segment.
pub(super) fn read_head(header: &BatchHeader, left: u64) -> Result<Head, Fault> {
    let (base, delta) = (header.base_offset.get(), i64::from(header.last_offset_delta.get()));
    let bytes = header.batch_bytes().ok_or(Fault::Malformed("a batch is shorter than its header"))? as u64;
    if header.magic != 2 {
        return Err(Fault::Malformed("a batch has another magic number than 2"));
    }
    if base < 0 || delta < 0 {
        return Err(Fault::Malformed("a batch has negative offsets"));
    }
    if bytes > left {
        return Err(Fault::Malformed("a batch ends behind its segment"));
    }
    let max_timestamp = Timestamp(header.max_timestamp.get());
    Ok(Head { base: Offset(base), last: Offset(base + delta), max_timestamp, bytes })
}

/// Index entries that are read at once instead of one by one.
const SEARCH_AT_ONCE: u64 = 256;
/// Bytes that a search for a timestamp reads at a time.
const SCAN_BYTES: usize = 128 << 10;

/// Whether the log still has the segment of a range.
fn still_there<H: Host>(host: &H, range: &DiskRange) -> bool {
    host.with_log(range.log, |log| log.holds(range.base)) == Some(true)
}

fn target(range: &DiskRange) -> Target {
    Target { log: range.log, directory: range.directory.clone(), base: range.base }
}

fn unread(target: &Target, kind: Kind, fault: std::io::Error) -> StorageError {
    StorageError::read(&target.path(kind))(fault)
}
