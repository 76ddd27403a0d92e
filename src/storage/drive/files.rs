//! The segment files of one core, kept open within a bound. Opened when somebody needs them, closed when others were used since.

use std::cell::{Cell, RefCell};
use std::io;

use super::Target;
use crate::base::limits::SEGMENT_FILES_OPEN_MAX;
use crate::base::{LogId, Map, Offset};
use crate::io::{File, Io, Mount, Open};
use crate::storage::segment::Kind;

pub(super) struct Files {
    io: Io,
    mount: Mount,
    /// As [`Files::are_covered`] gives it.
    covered: Cell<bool>,
    kept: RefCell<Map<(LogId, Offset, Kind), Opened>>,
    uses: Cell<u64>,
    /// How often files of a log were closed. What was being opened meanwhile is used once and not kept.
    forgotten: Cell<u64>,
}

struct Opened {
    file: File,
    used: u64,
}

impl Files {
    pub(super) fn new(io: Io, mount: Mount) -> Self {
        let covered = Cell::new(true);
        Self { io, mount, covered, kept: RefCell::default(), uses: Cell::new(0), forgotten: Cell::new(0) }
    }

    /// The file system that they are on, or should be.
    pub(super) fn mount(&self) -> &Mount {
        &self.mount
    }

    /// A flush of the whole file system is one of all files so far. It is not if that is
    /// of an unknown kind, or if somebody has put the directory of a topic elsewhere.
    pub(super) fn are_covered(&self) -> bool {
        self.covered.get()
    }

    /// A file of a segment. The `.log` file goes past the page cache; the small ones beside it do not.
    pub(super) async fn file(&self, target: &Target, kind: Kind) -> io::Result<File> {
        let key = (target.log, target.base, kind);
        if let Some(opened) = self.kept.borrow_mut().get_mut(&key) {
            opened.used = self.next_use();
            return Ok(opened.file.clone());
        }
        let how = Open { write: true, direct: kind == Kind::Log, ..Open::default() };
        let forgotten = self.forgotten.get();
        let file = self.open(target, kind, how).await?;
        if self.forgotten.get() == forgotten {
            self.keep(key, &file);
        }
        Ok(file)
    }

    /// Makes a file of a new segment. What an earlier start left under its name is cut away.
    pub(super) async fn create(&self, target: &Target, kind: Kind) -> io::Result<File> {
        let how = Open { write: true, create: true, direct: kind == Kind::Log, ..Open::default() };
        let file = self.open(target, kind, how).await?;
        if file.len().await? > 0 {
            file.set_len(0).await?;
        }
        self.keep((target.log, target.base, kind), &file);
        Ok(file)
    }

    async fn open(&self, target: &Target, kind: Kind, how: Open) -> io::Result<File> {
        let file = self.io.open(&target.path(kind), how).await?;
        if !self.mount.covers(&file)? {
            self.covered.set(false);
        }
        Ok(file)
    }

    /// Closes the files of a log.
    pub(super) fn forget(&self, log: LogId) {
        self.forgotten.set(self.forgotten.get() + 1);
        self.kept.borrow_mut().retain(|(of, ..), _| *of != log);
    }

    /// Closes the files of one segment.
    pub(super) fn forget_segment(&self, log: LogId, base: Offset) {
        self.kept.borrow_mut().retain(|(of, from, _), _| (*of, *from) != (log, base));
    }

    fn keep(&self, key: (LogId, Offset, Kind), file: &File) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= SEGMENT_FILES_OPEN_MAX {
            let mut uses: Vec<u64> = kept.values().map(|opened| opened.used).collect();
            let (_, oldest_quarter, _) = uses.select_nth_unstable(SEGMENT_FILES_OPEN_MAX / 4);
            let oldest_quarter = *oldest_quarter;
            kept.retain(|_, opened| opened.used > oldest_quarter);
        }
        kept.insert(key, Opened { file: file.clone(), used: self.next_use() });
    }

    fn next_use(&self) -> u64 {
        self.uses.set(self.uses.get() + 1);
        self.uses.get()
    }
}
