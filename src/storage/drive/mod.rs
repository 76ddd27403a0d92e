//! The sequences that wait for a disk. What to do is decided by the pure files of `storage`; here it is carried out over `io`.

pub mod boot; // what stands in a data directory
pub mod journal; // writes the journal's blocks

mod beside; // the small files of a segment, written a page at a time
mod files; // segment files, kept open within a bound
mod group; // waiting for tasks
mod notify; // wakes a task
mod read; // verified reads of history
mod recover_tail; // the end of a log after a crash
mod remove; // files of segments and logs that are gone
mod shared_disk; // what all cores know of the disk
mod write_out; // from memory into segments, and flushing them

use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

pub use notify::Notify;
pub use recover_tail::{Recovering, TailPiece};
pub use shared_disk::SharedDisk;

use super::StorageError;
use super::checksums::Place;
use super::log::Log;
use super::segment::{Kind, file_path};
use crate::base::budget::Budget;
use crate::base::limits::{
    DRAIN_BUFFER_BYTES, DRAIN_BUFFERS, DRAINS_AT_ONCE, FILES_FLUSHED_APART_MAX, FLUSHES_AT_ONCE,
};
use crate::base::{LogId, Offset};
use crate::io::Io;
use crate::io::buffer::Pool;
use beside::Gathered;
use files::Files;

/// What the segments part needs of the core that owns the logs. A handle; clones are the same core.
pub trait Host: Clone + 'static {
    /// Runs `with` on a log of this core. `None`: there is no such log (any more).
    fn with_log<R>(&self, log: LogId, with: impl FnOnce(&mut Log) -> R) -> Option<R>;

    /// Puts the bytes of a segment's last, partial page into the journal again and waits until they are durable there. Gives the sequence of the
    /// oldest block that holds them; `None`: the journal takes nothing now (recovery), and the segment is rolled instead.
    fn journal_tail_page(&self, page: TailPage) -> impl Future<Output = Result<Option<u64>, StorageError>>;

    /// Whether somebody will soon wait for the room that a drain makes: its writes need not be gentle to others then.
    fn hurries(&self) -> bool;

    /// So many bytes of batches were written into a segment.
    fn drained(&self, _bytes: u64) {}

    /// Whether so many bytes of the disk may be allocated ahead, beyond what is written now. If so, they are no longer there for others.
    fn spares(&self, bytes: u64) -> bool;

    /// Sequence of the oldest block in a journal file that is not recyclable. A file whose recycling has begun, by a flush whose checkpoint will leave
    /// it out, counts as recyclable already.
    fn oldest_journal_seq(&self) -> u64;
}

/// The bytes of the last, partial page of a segment, on their way into the journal.
#[derive(Clone, Debug)]
pub struct TailPage {
    /// The log.
    pub log: LogId,
    /// Base offset of the segment.
    pub segment: Offset,
    /// Where the page begins in the segment.
    pub position: u64,
    /// Its bytes up to the logical end of the segment.
    pub bytes: Bytes,
}

/// How a core goes about it.
#[derive(Clone, Debug)]
pub struct DriveOptions {
    /// Segment files that are flushed one by one at most, instead of with their file system.
    pub files_flushed_apart_max: usize,
    /// Reads of history in flight at most.
    pub read_depth: usize,
    /// Whether segments are written and read in short pieces while small batches come.
    pub gentle: bool,
    /// What it shares with the other cores of the node: those that are given clones of the same options.
    pub disk: SharedDisk,
}

impl Default for DriveOptions {
    fn default() -> Self {
        Self {
            files_flushed_apart_max: FILES_FLUSHED_APART_MAX,
            read_depth: 1,
            gentle: true,
            disk: SharedDisk::default(),
        }
    }
}

/// One core's way to its segments. A handle; clones are the same.
#[derive(Clone)]
pub struct Drive {
    inner: Rc<Inner>,
}

struct Inner {
    io: Io,
    /// The UUID of the data directory.
    directory: [u8; 16],
    /// What all segments are in.
    topics: PathBuf,
    files_flushed_apart_max: usize,
    gentle: bool,
    disk: SharedDisk,
    files: Files,
    gathered: Gathered,
    pool: Pool,
    buffers: Budget,
    drains: Budget,
    flushes: Budget,
    reads: Budget,
    /// One at a time: who renames in a directory and who removes it would trip each other up.
    removals: Budget,
}

impl Drive {
    /// For the core of `io`, and segments under `topics`. `directory` is the UUID of the data directory, which every checksum file names.
    ///
    /// # Errors
    /// [`StorageError::WriteFailed`]: `topics` cannot be opened.
    pub async fn open(
        io: &Io,
        topics: &Path,
        directory: [u8; 16],
        options: DriveOptions,
    ) -> Result<Self, StorageError> {
        let mount = io.mount_of(topics).await.map_err(StorageError::write(topics))?;
        let inner = Inner {
            files: Files::new(io.clone(), mount),
            gathered: Gathered::new(),
            io: io.clone(),
            directory,
            topics: topics.to_owned(),
            disk: options.disk,
            gentle: options.gentle,
            files_flushed_apart_max: options.files_flushed_apart_max,
            pool: Pool::new(DRAIN_BUFFERS * DRAIN_BUFFER_BYTES),
            buffers: Budget::new(DRAIN_BUFFERS),
            drains: Budget::new(DRAINS_AT_ONCE),
            flushes: Budget::new(FLUSHES_AT_ONCE),
            reads: Budget::new(options.read_depth),
            removals: Budget::new(1),
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// What it shares with the other cores of the node.
    pub fn disk(&self) -> &SharedDisk {
        &self.inner.disk
    }

    /// Whether what nobody waits for is to be short now.
    fn is_gentle(&self) -> bool {
        self.inner.gentle && self.inner.disk.is_gentle(self.inner.io.now())
    }
}

/// One segment of one log, by name.
#[derive(Clone, Debug)]
struct Target {
    log: LogId,
    directory: Arc<Path>,
    base: Offset,
}

impl Target {
    fn path(&self, kind: Kind) -> PathBuf {
        file_path(&self.directory, self.base, kind)
    }

    fn place(&self) -> Place {
        Place { log: self.log, base: self.base }
    }
}
