//! From memory into segments: draining, rolling, flushing, closing.
//!
//! Always true: bytes are copied once, into an aligned buffer, and summed as they are copied; a page that holds acknowledged bytes is written again
//! only while the journal still has them; the log's marks move only when all of a step is written, or gathered (`beside.rs`). Every task here runs to its end, also
//! when its caller goes away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::group::Group;
use super::{Drive, Host, TailPage, Target};
use crate::base::budget::Share;
use crate::base::limits::{DRAIN_BUFFER_BYTES, GENTLE_DRAIN_BYTES, PAGE_BYTES, YIELD_BYTES};
use crate::base::{LogId, Offset, Set};
use crate::io::File;
use crate::io::buffer::AlignedBuf;
use crate::storage::StorageError;
use crate::storage::checksums::{BLOCK_BYTES, Summer, sum_position};
use crate::storage::log::{
    CreateStep, FlushStep, Flushed, Log, SealStep, Step, WriteStep, offset_position, time_position,
};
use crate::storage::segment::{Kind, TailBytes, page_ceil};

impl Drive {
    /// Brings the batches of a log that begin below `up_to` and are there now into its segments. Written, not flushed. A drain that is under way is left
    /// alone.
    ///
    /// # Errors
    /// [`StorageError::WriteFailed`] and [`StorageError::NoSpace`]: the process ends, and the journal still has the bytes. A last page that cannot be
    /// read is no error: a new segment begins.
    pub async fn drain<H: Host>(&self, host: &H, log: LogId, up_to: Offset) -> Result<(), StorageError> {
        let group = Group::new(&self.inner.io);
        self.start_drain(&group, host, log, up_to).await;
        group.finish().await
    }

    /// Brings the batches that all these logs have now into their segments, several logs at a time. As [`Drive::drain`].
    pub async fn drain_all<H: Host>(&self, host: &H, logs: &[LogId]) -> Result<(), StorageError> {
        let group = Group::new(&self.inner.io);
        for log in logs {
            self.start_drain(&group, host, *log, Offset(i64::MAX)).await;
        }
        group.finish().await
    }

    /// Makes everything drained so far durable, for all these logs with as little waiting as possible, and says what each log still needs of its
    /// journal. Only then may a checkpoint name it ([`Log::checkpoint`] gives the flushed state).
    ///
    /// # Errors
    /// [`StorageError::WriteFailed`]: a failed flush ends the process.
    pub async fn flush<H: Host>(&self, host: &H, logs: &[LogId]) -> Result<Vec<Flushed>, StorageError> {
        let begin = |log: &LogId| {
            host.with_log(*log, |log| log.begin_flush().map(|step| (log.spec().id, step, log.directory())))
        };
        let steps: Vec<_> = logs.iter().filter_map(|log| begin(log)?).collect();
        self.settle_all(host, &steps).await?;
        let files: usize = steps.iter().map(|(_, step, _)| step.segments.len() * Kind::ALWAYS.len()).sum();
        if files > self.inner.files_flushed_apart_max && self.inner.files.are_covered() {
            // What was only removed may be on another one.
            let (written, removed): (Vec<_>, Vec<_>) = steps.iter().partition(|(_, step, _)| !step.segments.is_empty());
            self.flush_whole().await?;
            self.flush_apart(host, removed).await?;
            // The device has it now, maybe in its cache. A flush of one file is one of the device, and tells if the file system has given up.
            let (log, step, directory) = written[0];
            let target = Target { log: *log, directory: Arc::clone(directory), base: step.segments[0] };
            self.sync(&target, Kind::Log).await?;
        } else {
            self.flush_apart(host, &steps).await?;
        }
        for (log, step, _) in steps {
            host.with_log(log, |log| log.finish_flush(step.mark));
        }
        Ok(logs.iter().filter_map(|log| host.with_log(*log, |log| log.flushed_state())).collect())
    }

    /// Writes what the small files of these segments have gathered.
    async fn settle_all<H: Host>(&self, host: &H, steps: &[(LogId, FlushStep, Arc<Path>)]) -> Result<(), StorageError> {
        let group = Group::new(&self.inner.io);
        for (log, step, directory) in steps {
            for (base, kind) in step.segments.iter().flat_map(|base| Kind::SMALL.map(|kind| (*base, kind))) {
                let target = Target { log: *log, directory: Arc::clone(directory), base };
                if self.gathers(&target, kind) {
                    self.start_flush(&group, host, *log, async move |drive| drive.settle(&target, kind).await).await;
                }
            }
        }
        group.finish().await
    }

    /// Writes out all that the file system has.
    async fn flush_whole(&self) -> Result<(), StorageError> {
        let began = self.inner.io.now();
        let file = self.inner.topics.clone();
        // No space for what some other program wrote is not the broker's.
        self.inner.files.mount().sync().await.map_err(|source| StorageError::WriteFailed { file, source })?;
        let took = self.inner.io.now().since(began);
        if took >= SLOW_FLUSH {
            tracing::warn!(
                took_ms = took.as_millis(),
                "writing out the file system of {} was slow: other programs write to it, or the disk is slow. Producers wait once the journal is full.",
                self.inner.topics.display()
            );
        }
        Ok(())
    }

    /// File by file, and directory by directory.
    async fn flush_apart<'a, H: Host>(
        &self,
        host: &H,
        steps: impl IntoIterator<Item = &'a (LogId, FlushStep, Arc<Path>)>,
    ) -> Result<(), StorageError> {
        let (group, mut parents) = (Group::new(&self.inner.io), Set::default());
        for (log, step, directory) in steps {
            for base in &step.segments {
                for kind in Kind::ALWAYS {
                    let target = Target { log: *log, directory: Arc::clone(directory), base: *base };
                    self.start_flush(&group, host, *log, async move |drive| drive.sync(&target, kind).await).await;
                }
            }
            if step.parents {
                parents.extend(directory.ancestors().skip(1).take(2).map(Arc::from));
            }
            if step.directory {
                self.start_flush_directory(&group, Arc::clone(directory)).await;
            }
        }
        for parent in parents {
            self.start_flush_directory(&group, parent).await;
        }
        group.finish().await
    }

    /// Closes the active segments for a clean stop: each file is exactly as long as its content. Drain before; flushes after.
    ///
    /// # Errors
    /// As [`Drive::flush`].
    pub async fn close<H: Host>(&self, host: &H, logs: &[LogId]) -> Result<Vec<Flushed>, StorageError> {
        let group = Group::new(&self.inner.io);
        for log in logs {
            let permit = self.inner.drains.take(1, 1).await;
            let (drive, host, log) = (self.clone(), host.clone(), *log);
            group.start(async move {
                let _permit = permit;
                let found = host.with_log(log, |log| log.close_step().map(|step| (step, log.directory())));
                let Some(Some((step, directory))) = found else { return Ok(()) };
                drive.end_segment(&Target { log, directory, base: step.after.base }, &step).await?;
                host.with_log(log, |log| log.closed(&step.after));
                Ok(())
            });
        }
        group.finish().await?;
        self.flush(host, logs).await
    }

    /// Seals the active segments of these logs if nothing in them can be read any more. Written, not flushed. As [`Drive::drain`].
    ///
    /// # Errors
    /// As [`Drive::drain`].
    pub async fn end_dead<H: Host>(&self, host: &H, logs: &[LogId]) -> Result<(), StorageError> {
        let group = Group::new(&self.inner.io);
        for log in logs {
            self.start_drain(&group, host, *log, Offset(0)).await;
        }
        group.finish().await
    }

    async fn start_drain<H: Host>(&self, group: &Group, host: &H, log: LogId, up_to: Offset) {
        let permit = self.inner.drains.take(1, 1).await;
        let (drive, host) = (self.clone(), host.clone());
        group.start(async move {
            let _permit = permit;
            // Not what comes while this writes: with producers that are as fast as the disk there would always be more, in ever smaller writes.
            let begin = |log: &mut Log| log.begin_drain().then(|| up_to.min(log.end()));
            let Some(Some(up_to)) = host.with_log(log, begin) else { return Ok(()) };
            let result = drive.steps(&host, log, up_to).await;
            // What fails in the directory of a log that was deleted meanwhile is of no interest.
            if host.with_log(log, Log::end_drain).is_some() { result } else { Ok(()) }
        });
    }

    async fn steps<H: Host>(&self, host: &H, log: LogId, up_to: Offset) -> Result<(), StorageError> {
        loop {
            let now = self.inner.io.wall_clock();
            let step = host.with_log(log, |log| (log.next_step(up_to, now), log.directory()));
            let Some((step, directory)) = step else { return Ok(()) };
            let target = |base| Target { log, directory: Arc::clone(&directory), base };
            match step {
                Step::Done => return Ok(()),
                Step::Seal(step) => {
                    self.end_segment(&target(step.after.base), &step).await?;
                    host.with_log(log, |log| log.sealed(&step.after));
                }
                Step::Create(step) => {
                    self.create_segment(host, &target(step.base), &step).await?;
                    host.with_log(log, |log| log.created(&step, now));
                }
                Step::Write(mut step) => self.write(host, &target(step.before.base), &mut step).await?,
            }
        }
    }

    /// The last entry of the time index, and the cut to the logical size.
    async fn end_segment(&self, target: &Target, step: &SealStep) -> Result<(), StorageError> {
        self.write_beside(target, Kind::TimeIndex, step.time_position, &step.time_entry).await?;
        if step.cut {
            let file = self.segment_file(target, Kind::Log).await?;
            file.set_len(step.after.bytes).await.map_err(|fault| wrong(target, Kind::Log, fault))?;
        }
        Ok(())
    }

    async fn create_segment<H: Host>(&self, host: &H, target: &Target, step: &CreateStep) -> Result<(), StorageError> {
        let (io, directory) = (&self.inner.io, &*target.directory);
        if step.make_directory {
            let Some(topic_id) = host.with_log(target.log, |log| log.spec().topic_id) else { return Ok(()) };
            io.create_dir_all(directory).await.map_err(StorageError::write(directory))?;
            let (path, text) = (directory.join("partition.metadata"), format!("version: 0\ntopic_id: {topic_id}"));
            io.write_file(&path, text.as_bytes()).await.map_err(StorageError::write(&path))?;
        }
        self.write_epochs(target, step.epochs.as_deref()).await?;
        for kind in Kind::ALWAYS {
            self.inner.files.create(target, kind).await.map_err(|fault| wrong(target, kind, fault))?;
        }
        self.write_beside(target, Kind::Sums, 0, &target.place().header(&self.inner.directory)).await
    }

    /// Copies, sums and writes the batches of one step.
    async fn write<H: Host>(&self, host: &H, target: &Target, step: &mut WriteStep) -> Result<(), StorageError> {
        self.write_epochs(target, step.epochs.as_deref()).await?;
        let tail = match &step.tail {
            Some(tail) => tail.clone(),
            None => match self.read_tail(target, &step.before).await {
                // The page is left as it is, and what follows goes into a new segment.
                Err(damage) if !damage.is_fatal() => {
                    tracing::error!("{damage} The log goes on in a new segment.");
                    host.with_log(target.log, Log::roll_next);
                    return Ok(());
                }
                tail => tail?,
            },
        };
        let guard = match step.rewritten_page() {
            None => None,
            Some(page) => match self.guard(host, target, step, page, &tail).await? {
                Some(seq) => Some(seq),
                None => {
                    host.with_log(target.log, Log::roll_next);
                    return Ok(());
                }
            },
        };
        host.with_log(target.log, |log| log.rewriting(guard));
        let file = self.segment_file(target, Kind::Log).await?;
        if step.allocate > step.allocated {
            let needed = page_ceil(step.after.bytes);
            if step.allocate > needed && !host.spares(step.allocate - needed) {
                step.allocate = needed;
            }
            let allocate = async |to: u64| {
                let allocated = file.allocate(step.allocated, to - step.allocated, false).await;
                allocated.map_err(|fault| wrong(target, Kind::Log, fault))
            };
            if let Err(StorageError::NoSpace { .. }) = allocate(step.allocate).await {
                // Somebody else took it. For what is written now there may be enough.
                step.allocate = needed;
                allocate(step.allocate).await?;
            }
        }
        let group = Group::new(&self.inner.io);
        let (mut sums, tail_sum, tail) = self.copy(host, target, file, step, &tail, &group).await;
        let first = step.before.bytes / BLOCK_BYTES as u64;
        if !step.after.bytes.is_multiple_of(BLOCK_BYTES as u64) {
            sums.extend_from_slice(&tail_sum.to_be_bytes());
        }
        let beside = async {
            let indexes = &step.indexes;
            self.write_beside(target, Kind::Sums, sum_position(first), &sums).await?;
            self.write_beside(target, Kind::Index, offset_position(&step.before), &indexes.offsets).await?;
            self.write_beside(target, Kind::TimeIndex, time_position(&step.before), &indexes.times).await
        };
        // Whatever becomes of these, the drain is over only when nothing is in flight.
        let beside = beside.await;
        group.finish().await.and(beside)?;
        host.with_log(target.log, |log| log.written(step, guard, tail_sum, tail));
        host.drained(step.after.bytes - step.before.bytes);
        Ok(())
    }

    /// The page rule: the sequence of the journal block that lets the last page be rewritten. `None`: there is none and the journal takes nothing.
    async fn guard<H: Host>(
        &self,
        host: &H,
        target: &Target,
        step: &WriteStep,
        position: u64,
        tail: &TailBytes,
    ) -> Result<Option<u64>, StorageError> {
        if let Some(seq) = step.before.tail_guard.filter(|seq| *seq >= host.oldest_journal_seq()) {
            return Ok(Some(seq));
        }
        let page = TailPage { log: target.log, segment: target.base, position, bytes: tail.clone() };
        let seq = host.journal_tail_page(page).await?;
        if let Some(seq) = seq {
            host.with_log(target.log, |log| log.guarded(seq));
        }
        Ok(seq)
    }

    /// One copy and one pass of the checksum over all batches. Gives the checksums of the blocks
    /// that became whole, that of the last, partial one, and the bytes of the last page.
    async fn copy<H: Host>(
        &self,
        host: &H,
        target: &Target,
        file: File,
        step: &WriteStep,
        tail: &TailBytes,
        group: &Group,
    ) -> (Vec<u8>, u32, TailBytes) {
        let mut summer = Summer::resume(target.place(), step.before.bytes, step.before.partial_sum(target.log));
        let mut sums = Vec::with_capacity((step.bytes as usize / BLOCK_BYTES + 2) * size_of::<u32>());
        let mut out = Output {
            host,
            drive: self,
            target,
            file,
            group,
            at: step.before.tail_page(),
            left: step.bytes as usize,
            buffer: None,
            filled: 0,
        };
        out.left += tail.len();
        out.put(tail).await;
        let mut since_yield = 0;
        for slice in step.batches.iter().flat_map(|batch| &batch.slices) {
            for piece in slice.chunks(BLOCK_BYTES) {
                out.put(piece).await;
                summer.feed(piece, &mut sums);
                since_yield += piece.len();
                if since_yield >= YIELD_BYTES {
                    since_yield = 0;
                    self.inner.io.yield_now().await;
                }
            }
        }
        (sums, summer.partial().0, out.finish())
    }

    /// For tools that know Kafka's files: a start reads neither this one nor `partition.metadata`, and nobody waits until they are durable.
    async fn write_epochs(&self, target: &Target, text: Option<&str>) -> Result<(), StorageError> {
        let Some(text) = text else { return Ok(()) };
        let path = target.directory.join("leader-epoch-checkpoint");
        self.inner.io.write_file(&path, text.as_bytes()).await.map_err(StorageError::write(&path))
    }

    /// A file of a segment, to be written to.
    pub(super) async fn segment_file(&self, target: &Target, kind: Kind) -> Result<File, StorageError> {
        self.inner.files.file(target, kind).await.map_err(|fault| wrong(target, kind, fault))
    }

    /// Starts what a flush does with one file of a log. What fails because the log was deleted meanwhile is of no interest.
    async fn start_flush<H: Host>(
        &self,
        group: &Group,
        host: &H,
        log: LogId,
        with_file: impl AsyncFnOnce(Drive) -> Result<(), StorageError> + 'static,
    ) {
        let permit = self.inner.flushes.take(1, 1).await;
        let (drive, host) = (self.clone(), host.clone());
        group.start(async move {
            let _permit = permit;
            let result = with_file(drive).await;
            if host.with_log(log, |_| ()).is_some() { result } else { Ok(()) }
        });
    }

    async fn sync(&self, target: &Target, kind: Kind) -> Result<(), StorageError> {
        let file = self.segment_file(target, kind).await?;
        file.sync_data().await.map_err(|fault| wrong(target, kind, fault))
    }

    async fn start_flush_directory(&self, group: &Group, directory: Arc<Path>) {
        let permit = self.inner.flushes.take(1, 1).await;
        let drive = self.clone();
        group.start(async move {
            let _permit = permit;
            match drive.inner.io.sync_dir(&directory).await {
                // Deleted meanwhile, with its log.
                Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(()),
                result => result.map_err(StorageError::write(&directory)),
            }
        });
    }
}

/// The bytes of one step on their way into the `.log` file.
struct Output<'a, H> {
    host: &'a H,
    drive: &'a Drive,
    target: &'a Target,
    file: File,
    group: &'a Group,
    /// Where the buffer goes; a page boundary.
    at: u64,
    /// Bytes still to come.
    left: usize,
    buffer: Option<(AlignedBuf, Share)>,
    filled: usize,
}

impl<H: Host> Output<'_, H> {
    async fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.buffer.is_none() {
                let permit = self.drive.inner.buffers.take(1, 1).await;
                let gentle = self.drive.is_gentle() && !self.host.hurries();
                let len = match self.left {
                    ..=SMALL_BUFFER_BYTES => SMALL_BUFFER_BYTES,
                    _ if gentle => GENTLE_DRAIN_BYTES,
                    _ => DRAIN_BUFFER_BYTES,
                };
                self.buffer = Some((self.drive.inner.pool.take(len), permit));
            }
            let (buffer, _) = self.buffer.as_mut().expect("filled above");
            let (now, later) = bytes.split_at(bytes.len().min(buffer.len() - self.filled));
            buffer[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            self.left -= now.len();
            bytes = later;
            if self.filled == buffer.len() {
                self.submit();
            }
        }
    }

    /// Pads and writes the last page. Gives its bytes.
    fn finish(mut self) -> TailBytes {
        assert_eq!(self.left, 0, "bytes of a step were left over");
        let Some((buffer, _)) = &mut self.buffer else { return Bytes::new() };
        let end = self.filled.next_multiple_of(PAGE_BYTES);
        buffer[self.filled..end].fill(0);
        let tail = Bytes::copy_from_slice(&buffer[self.filled - self.filled % PAGE_BYTES..self.filled]);
        buffer.truncate(end);
        self.submit();
        tail
    }

    fn submit(&mut self) {
        let Some((buffer, permit)) = self.buffer.take() else { return };
        let (file, target, at) = (self.file.clone(), self.target.clone(), self.at);
        self.at += buffer.len() as u64;
        self.filled = 0;
        self.group.start(async move {
            let result = file.write_at(at, buffer.freeze()).await;
            drop(permit);
            result.map_err(|fault| wrong(&target, Kind::Log, fault))
        });
    }
}

/// Whoever waits this long for a flush should be told why.
const SLOW_FLUSH: Duration = Duration::from_secs(2);
/// What a short step takes instead of a whole drain buffer.
const SMALL_BUFFER_BYTES: usize = 64 << 10;

fn wrong(target: &Target, kind: Kind, fault: std::io::Error) -> StorageError {
    StorageError::write(&target.path(kind))(fault)
}
