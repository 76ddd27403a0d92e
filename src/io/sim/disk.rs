//! One machine's file system and the device under it: what was not flushed may be lost, torn or reordered.
//!
//! Two pictures are kept of every file and directory: the current one, which running programs see, and the durable one, which a power cut leaves.
//! Between them stand the operations that are not flushed, in their order. Always true: a flush moves to the durable picture exactly what had completed
//! before the flush was asked for, no more; a file's name is its directory's business; an operation keeps its descriptor, and so its lock, until it has
//! completed, also when who asked for it is dead. Nothing here knows the scheduler except through calls made at a later time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Component, Path};
use std::rc::Rc;

use bytes::Bytes;

use super::content::{Content, FileOp, survive};
use super::random::Random;
use super::scheduler::{Promise, Scheduler};
use crate::base::limits::PAGE_BYTES;
use crate::io::buffer::{AlignedBuf, Pool};
use crate::io::{Open, Space, check_alignment};

/// Bytes that a device writes as one.
pub const SECTOR_BYTES: usize = 512;
/// Tries for a lock and nanoseconds between them, as in the real world.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE_NANOS: u64 = 25_000_000;
pub(super) const PAGE: u64 = PAGE_BYTES as u64;

/// How a disk behaves. "One in" is how often on average; 0 is never.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Microseconds of one operation, at least and at most.
    pub latency_us: (u64, u64),
    /// Operations that take `slow_us` instead, one in.
    pub slow_one_in: u32,
    /// Microseconds of a slow operation.
    pub slow_us: u64,
    /// Bytes that files may occupy together.
    pub capacity: u64,
    /// Reads that fail with EIO, one in.
    pub read_error_one_in: u32,
    /// Writes that fail with EIO and leave a torn range, one in.
    pub write_error_one_in: u32,
    /// Flushes that fail with EIO, one in. What they should have flushed may then never become durable, even by a later flush that succeeds.
    pub sync_error_one_in: u32,
    /// Writes of which one bit is turned on the way, one in. Nobody is told.
    pub flip_one_in: u32,
    /// Writes that land at another aligned place of the same file, one in. Nobody is told.
    pub misdirect_one_in: u32,
}

impl Default for DiskOptions {
    /// A device that works: 20 to 200 microseconds, a slow operation now and then, 64 GiB.
    fn default() -> Self {
        Self {
            latency_us: (20, 200),
            slow_one_in: 1000,
            slow_us: 20_000,
            capacity: 64 << 30,
            read_error_one_in: 0,
            write_error_one_in: 0,
            sync_error_one_in: 0,
            flip_one_in: 0,
            misdirect_one_in: 0,
        }
    }
}

/// What a power cut takes of the operations that were not flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Loss {
    /// Each by chance is lost, torn or whole, independently of the others.
    #[default]
    Random,
    /// All.
    Everything,
    /// None: the device had just written everything.
    Nothing,
}

/// What has happened on a disk, so that a run that exercised nothing can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskCounts {
    /// Writes that completed.
    pub writes: u64,
    /// Reads that completed.
    pub reads: u64,
    /// Flushes of files and directories that completed.
    pub syncs: u64,
    /// Operations that were lost by power cuts.
    pub lost: u64,
    /// Writes that were torn by power cuts.
    pub torn: u64,
    /// Faults that were injected: errors, flips, misdirections.
    pub faults: u64,
}

type InodeId = usize;
const ROOT: InodeId = 0;

pub(super) struct Disk {
    scheduler: Rc<Scheduler>,
    state: RefCell<State>,
    /// Counts power cuts. What was under way before one has no effect after it.
    life: Cell<u64>,
}

struct State {
    options: DiskOptions,
    random: Random,
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    next_number: u64,
    /// Writes that the device is working on, by number.
    in_flight: BTreeMap<u64, Write>,
    used_pages: u64,
    /// Operations before this number are with the device, which has not been flushed since.
    written_out: u64,
    counts: DiskCounts,
}

enum Inode {
    File(FileNode),
    Directory(DirNode),
}

#[derive(Default)]
struct FileNode {
    current: Content,
    durable: Content,
    /// Completed and not flushed, in order of completion.
    pending: VecDeque<(u64, FileOp)>,
    /// Names that the current picture has for it, and open descriptors. Without either its space is free.
    names: u32,
    opens: u32,
    locked: bool,
}

#[derive(Clone)]
struct Write {
    inode: InodeId,
    pos: u64,
    bytes: Bytes,
}

#[derive(Default)]
struct DirNode {
    current: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
    pending: VecDeque<(u64, DirOp)>,
}

#[derive(Clone)]
enum DirOp {
    Put(String, InodeId),
    Take(String),
    /// A rename into this directory; the old name goes together with the new one's coming.
    MoveIn {
        name: String,
        inode: InodeId,
        from: InodeId,
        old: String,
    },
    /// The other half of a `MoveIn` elsewhere, by its number.
    MoveOut(u64, InodeId),
}

/// An open descriptor. Its last owner closes it.
struct Handle {
    disk: Rc<Disk>,
    inode: InodeId,
    life: u64,
    how: Open,
    locked: Cell<bool>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.disk.life.get() != self.life {
            return;
        }
        let mut state = self.disk.state.borrow_mut();
        let file = state.file(self.inode);
        file.opens -= 1;
        if self.locked.get() {
            file.locked = false;
        }
        state.free_if_gone(self.inode);
    }
}

impl Disk {
    pub(super) fn new(scheduler: &Rc<Scheduler>, random: Random, options: DiskOptions) -> Rc<Self> {
        let inodes = BTreeMap::from([(ROOT, Inode::Directory(DirNode::default()))]);
        let state = State {
            options,
            random,
            inodes,
            next_inode: ROOT + 1,
            next_number: 0,
            in_flight: BTreeMap::new(),
            used_pages: 0,
            written_out: 0,
            counts: DiskCounts::default(),
        };
        Rc::new(Self { scheduler: Rc::clone(scheduler), state: RefCell::new(state), life: Cell::new(0) })
    }

    pub(super) fn set_options(&self, options: DiskOptions) {
        self.state.borrow_mut().options = options;
    }

    pub(super) fn options(&self) -> DiskOptions {
        self.state.borrow().options.clone()
    }

    pub(super) fn counts(&self) -> DiskCounts {
        self.state.borrow().counts
    }

    /// Turns a bit of a file where it lies, as rot does.
    pub(super) fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let inode = state.resolve(path)?;
        let file = state.try_file(inode)?;
        for content in [&mut file.current, &mut file.durable] {
            let mut old = [0];
            content.read(byte, &mut old);
            if byte < content.len {
                content.write(byte, &[old[0] ^ 1 << (bit % 8)]);
            }
        }
        Ok(())
    }

    /// Takes the power away: operations under way and not flushed are lost as `loss` says, and what is durable becomes what is there.
    pub(super) fn cut_power(&self, loss: Loss) {
        self.life.set(self.life.get() + 1);
        self.state.borrow_mut().cut_power(loss);
    }

    /// Does `work` after the time the device takes, however its outcome is used, unless the power goes first.
    fn later<T: 'static>(
        self: &Rc<Self>,
        work: impl FnOnce(&Rc<Disk>) -> io::Result<T> + 'static,
    ) -> Promise<io::Result<T>> {
        let promise = Promise::new();
        let (kept, disk, life) = (promise.clone(), Rc::clone(self), self.life.get());
        let wait = self.state.borrow_mut().latency();
        self.scheduler.call_after(wait, move || {
            if disk.life.get() == life {
                let outcome = work(&disk);
                kept.keep(outcome);
            }
        });
        promise
    }

    pub(super) async fn open(self: &Rc<Self>, pool: &Pool, path: &Path, how: Open) -> io::Result<File> {
        let path = path.to_owned();
        let opening = self.later(move |disk| {
            let mut state = disk.state.borrow_mut();
            let inode = match state.resolve(&path) {
                Ok(inode) => inode,
                Err(fault) if how.create && fault.kind() == io::ErrorKind::NotFound => state.create(&path)?,
                Err(fault) => return Err(fault),
            };
            state.try_file(inode)?.opens += 1;
            let life = disk.life.get();
            Ok(Handle { disk: Rc::clone(disk), inode, life, how, locked: Cell::new(false) })
        });
        let handle = Rc::new(opening.wait().await?);
        if how.lock {
            self.lock(&handle).await?;
        }
        Ok(File { handle, pool: pool.clone() })
    }

    async fn lock(self: &Rc<Self>, handle: &Rc<Handle>) -> io::Result<()> {
        for _ in 0..LOCK_TRIES {
            let file_is_locked = self.life.get() != handle.life || self.state.borrow_mut().file(handle.inode).locked;
            if !file_is_locked {
                self.state.borrow_mut().file(handle.inode).locked = true;
                handle.locked.set(true);
                return Ok(());
            }
            let promise = Promise::new();
            let kept = promise.clone();
            self.scheduler.call_after(LOCK_PAUSE_NANOS, move || kept.keep(()));
            promise.wait().await;
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(super) async fn create_dir_all(self: &Rc<Self>, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.later(move |disk| disk.state.borrow_mut().create_dir_all(&path)).wait().await
    }

    pub(super) async fn space(self: &Rc<Self>, path: &Path) -> io::Result<Space> {
        let path = path.to_owned();
        let work = move |disk: &Rc<Disk>| {
            let state = disk.state.borrow();
            state.resolve(&path)?;
            let (total_bytes, used) = (state.options.capacity, state.used_pages * PAGE);
            Ok(Space { total_bytes, usable_bytes: total_bytes.saturating_sub(used) })
        };
        self.later(work).wait().await
    }

    pub(super) async fn remove_file(self: &Rc<Self>, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        let work = move |disk: &Rc<Disk>| {
            let mut state = disk.state.borrow_mut();
            let inode = state.resolve(&path)?;
            state.try_file(inode)?;
            let (parent, name) = state.parent(&path)?;
            state.take_name(parent, name);
            Ok(())
        };
        self.later(work).wait().await
    }

    /// One name after the other, in no order that anybody could rely on: a crash on the way leaves some of them.
    pub(super) async fn remove_dir_all(self: &Rc<Self>, path: &Path) -> io::Result<()> {
        loop {
            let path = path.to_owned();
            if self.later(move |disk| disk.state.borrow_mut().remove_some(&path)).wait().await? {
                return Ok(());
            }
        }
    }

    pub(super) async fn rename(self: &Rc<Self>, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.later(move |disk| disk.state.borrow_mut().rename(&from, &to)).wait().await
    }

    pub(super) async fn sync_dir(self: &Rc<Self>, path: &Path) -> io::Result<()> {
        let (inode, upto) = {
            let mut state = self.state.borrow_mut();
            let inode = state.resolve(path)?;
            state.try_dir(inode)?;
            (inode, state.next_number)
        };
        self.later(move |disk| disk.state.borrow_mut().sync_dir(inode, upto)).wait().await
    }

    pub(super) async fn list_dir(self: &Rc<Self>, path: &Path) -> io::Result<Vec<String>> {
        let path = path.to_owned();
        let work = move |disk: &Rc<Disk>| {
            let mut state = disk.state.borrow_mut();
            let inode = state.resolve(&path)?;
            Ok(state.try_dir(inode)?.current.keys().cloned().collect())
        };
        self.later(work).wait().await
    }

    pub(super) async fn stat(self: &Rc<Self>, path: &Path) -> io::Result<(u64, bool)> {
        let path = path.to_owned();
        let work = move |disk: &Rc<Disk>| {
            let state = disk.state.borrow();
            match &state.inodes[&state.resolve(&path)?] {
                Inode::File(file) => Ok((file.current.len, false)),
                Inode::Directory(_) => Ok((PAGE, true)),
            }
        };
        self.later(work).wait().await
    }
}

/// All of a simulated disk.
pub(in crate::io) struct Mount {
    disk: Rc<Disk>,
}

impl Mount {
    pub(super) fn new(disk: &Rc<Disk>) -> Self {
        Self { disk: Rc::clone(disk) }
    }

    pub(in crate::io) async fn sync(&self) -> io::Result<()> {
        let upto = self.disk.state.borrow().next_number;
        self.disk.later(move |disk| disk.state.borrow_mut().sync_all(upto)).wait().await
    }
}

/// An open file of a simulated disk.
#[derive(Clone)]
pub(in crate::io) struct File {
    handle: Rc<Handle>,
    pool: Pool,
}

impl File {
    /// As [`Disk::later`], and the descriptor stays open until then.
    fn later<T: 'static>(
        &self,
        work: impl FnOnce(&mut State, InodeId) -> io::Result<T> + 'static,
    ) -> Promise<io::Result<T>> {
        let handle = Rc::clone(&self.handle);
        if handle.disk.life.get() != handle.life {
            return Promise::new();
        }
        handle.disk.later({
            let handle = Rc::clone(&handle);
            move |disk| {
                let outcome = work(&mut disk.state.borrow_mut(), handle.inode);
                drop(handle);
                outcome
            }
        })
    }

    pub(in crate::io) async fn write_at(&self, pos: u64, bytes: Bytes) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.handle.how.direct {
            check_alignment(pos, bytes.len(), bytes.as_ptr().addr())?;
        }
        self.start_write(pos, bytes)?.wait().await
    }

    pub(in crate::io) async fn write_vectored_at(&self, pos: u64, parts: Vec<Bytes>) -> io::Result<()> {
        let mut whole = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
        for part in parts.iter().filter(|part| !part.is_empty()) {
            if self.handle.how.direct {
                check_alignment(pos, part.len(), part.as_ptr().addr())?;
            }
            whole.extend_from_slice(part);
        }
        if whole.is_empty() {
            return Ok(());
        }
        self.start_write(pos, whole.into())?.wait().await
    }

    fn start_write(&self, pos: u64, bytes: Bytes) -> io::Result<Promise<io::Result<()>>> {
        let Handle { how, inode, .. } = *self.handle;
        if !(how.write || how.create) {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let number = {
            let mut state = self.handle.disk.state.borrow_mut();
            let number = state.number();
            if self.handle.disk.life.get() == self.handle.life {
                state.in_flight.insert(number, Write { inode, pos, bytes });
            }
            number
        };
        Ok(self.later(move |state, _| state.complete_write(number, how.dsync)))
    }

    pub(in crate::io) async fn read_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        let pool = self.pool.clone();
        let work = move |state: &mut State, inode| {
            state.counts.reads += 1;
            let one_in = state.options.read_error_one_in;
            state.fail(one_in)?;
            let content = &state.file(inode).current;
            let count = usize::try_from(content.len.saturating_sub(pos)).unwrap_or(usize::MAX).min(len);
            let mut buffer: AlignedBuf = pool.take(count);
            content.read(pos, &mut buffer);
            Ok(buffer.freeze())
        };
        self.later(work).wait().await
    }

    pub(in crate::io) async fn sync(&self) -> io::Result<()> {
        let upto = self.handle.disk.state.borrow().next_number;
        self.later(move |state, inode| state.sync_file(inode, upto)).wait().await
    }

    pub(in crate::io) async fn allocate(&self, pos: u64, len: u64, keep_size: bool) -> io::Result<()> {
        let work = move |state: &mut State, inode| {
            state.change(inode, FileOp::Reserve { pos, len })?;
            if !keep_size && state.file(inode).current.len < pos + len {
                state.change(inode, FileOp::Grow(pos + len))?;
            }
            Ok(())
        };
        self.later(work).wait().await
    }

    /// Happens at once and is told later: in the real world it is a call on a thread of the process, which is over before the process is, and with it the lock
    /// on its directory. An operation on the ring may outlive both.
    pub(in crate::io) async fn set_len(&self, len: u64) -> io::Result<()> {
        let (disk, inode) = (&self.handle.disk, self.handle.inode);
        let alive = disk.life.get() == self.handle.life;
        let outcome = if alive { disk.state.borrow_mut().change(inode, FileOp::SetLen(len)) } else { Ok(()) };
        self.later(move |_, _| outcome).wait().await
    }

    pub(in crate::io) async fn len(&self) -> io::Result<u64> {
        self.later(|state, inode| Ok(state.file(inode).current.len)).wait().await
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    fn latency(&mut self) -> u64 {
        let (least, most) = self.options.latency_us;
        let slow = self.random.one_in(self.options.slow_one_in);
        let nanos = self.random.between(least * 1000, most * 1000);
        if slow { self.options.slow_us * 1000 } else { nanos }
    }

    fn fail(&mut self, one_in: u32) -> io::Result<()> {
        if self.random.one_in(one_in) {
            self.counts.faults += 1;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }

    fn try_file(&mut self, inode: InodeId) -> io::Result<&mut FileNode> {
        match self.inodes.get_mut(&inode) {
            Some(Inode::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file(&mut self, inode: InodeId) -> &mut FileNode {
        self.try_file(inode).expect("an open descriptor is of a file")
    }

    fn try_dir(&mut self, inode: InodeId) -> io::Result<&mut DirNode> {
        match self.inodes.get_mut(&inode) {
            Some(Inode::Directory(directory)) => Ok(directory),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn dir(&mut self, inode: InodeId) -> &mut DirNode {
        self.try_dir(inode).expect("only directories have names in them")
    }

    fn resolve(&self, path: &Path) -> io::Result<InodeId> {
        let mut at = ROOT;
        for name in names(path)? {
            let Some(Inode::Directory(directory)) = self.inodes.get(&at) else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *directory.current.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(InodeId, &'a str)> {
        let name = names(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.resolve(path.parent().expect("a path with a name has a parent"))?;
        self.try_dir(parent)?;
        Ok((parent, name))
    }

    fn add(&mut self, inode: Inode) -> InodeId {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, inode);
        self.next_inode
    }

    fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        let (parent, name) = self.parent(path)?;
        let inode = self.add(Inode::File(FileNode::default()));
        self.put_name(parent, name, inode);
        Ok(inode)
    }

    fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path)? {
            at = match self.try_dir(at)?.current.get(name) {
                Some(inode) => *inode,
                None => {
                    let inode = self.add(Inode::Directory(DirNode::default()));
                    self.put_name(at, name, inode);
                    inode
                }
            };
        }
        self.try_dir(at).map(drop)
    }

    fn put_name(&mut self, parent: InodeId, name: &str, inode: InodeId) {
        let number = self.number();
        let directory = self.dir(parent);
        directory.current.insert(name.to_owned(), inode);
        directory.pending.push_back((number, DirOp::Put(name.to_owned(), inode)));
        if let Ok(file) = self.try_file(inode) {
            file.names += 1;
        }
    }

    fn take_name(&mut self, parent: InodeId, name: &str) {
        let number = self.number();
        let directory = self.dir(parent);
        let taken = directory.current.remove(name);
        directory.pending.push_back((number, DirOp::Take(name.to_owned())));
        self.name_is_gone(taken);
    }

    fn name_is_gone(&mut self, taken: Option<InodeId>) {
        if let Some(inode) = taken
            && let Ok(file) = self.try_file(inode)
        {
            file.names -= 1;
            self.free_if_gone(inode);
        }
    }

    /// Gives back the space of a file that has neither a name nor a descriptor. Its durable picture stays: the loss of the name may be lost.
    fn free_if_gone(&mut self, inode: InodeId) {
        let file = self.file(inode);
        if file.names == 0 && file.opens == 0 {
            let pages = file.current.taken_pages();
            file.current = Content::default();
            file.pending.clear();
            self.used_pages -= pages;
        }
    }

    /// Removes one name in or below a directory; says whether it was the directory's own, the last.
    fn remove_some(&mut self, path: &Path) -> io::Result<bool> {
        let top = self.resolve(path)?;
        self.try_dir(top)?;
        let (mut parent, name) = self.parent(path)?;
        let (mut name, mut inode) = (name.to_owned(), top);
        while let Ok(directory) = self.try_dir(inode)
            && !directory.current.is_empty()
        {
            let count = directory.current.len() as u64;
            let at = self.random.below(count) as usize;
            let (below, child) = self.dir(inode).current.iter().nth(at).expect("one of them");
            (parent, name, inode) = (inode, below.clone(), *child);
        }
        self.take_name(parent, &name);
        Ok(inode == top)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.resolve(from)?;
        let (source, old) = self.parent(from)?;
        let (target, name) = self.parent(to)?;
        if let Ok(replaced) = self.resolve(to) {
            if replaced == inode {
                return Ok(());
            }
            match (&self.inodes[&replaced], &self.inodes[&inode]) {
                (Inode::Directory(_), Inode::File(_)) => return Err(io::ErrorKind::IsADirectory.into()),
                (Inode::File(_), Inode::Directory(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                (Inode::Directory(full), _) if !full.current.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
        }
        let number = self.number();
        self.dir(source).current.remove(old);
        let replaced = self.dir(target).current.insert(name.to_owned(), inode);
        self.name_is_gone(replaced);
        let coming = DirOp::MoveIn { name: name.to_owned(), inode, from: source, old: old.to_owned() };
        self.dir(target).pending.push_back((number, coming));
        if source != target {
            self.dir(source).pending.push_back((number, DirOp::MoveOut(number, target)));
        }
        Ok(())
    }

    /// Makes the directory's operations before `upto` durable, in their order.
    fn sync_dir(&mut self, inode: InodeId, upto: u64) -> io::Result<()> {
        self.flush_device()?;
        self.settle_dir(inode, upto);
        Ok(())
    }

    fn settle_dir(&mut self, inode: InodeId, upto: u64) {
        while self.dir(inode).pending.front().is_some_and(|(number, _)| *number < upto) {
            let (_, op) = self.dir(inode).pending.pop_front().expect("just seen");
            self.settle_dir_op(inode, op);
        }
    }

    /// Every flush ends with one of the device, which takes what was written out before.
    fn flush_device(&mut self) -> io::Result<()> {
        self.counts.syncs += 1;
        self.fail(self.options.sync_error_one_in)?;
        let upto = std::mem::take(&mut self.written_out);
        if upto > 0 {
            self.settle_all(upto, true);
        }
        Ok(())
    }

    fn settle_all(&mut self, upto: u64, flushed: bool) {
        let inodes: Vec<InodeId> = self.inodes.keys().copied().collect();
        for inode in inodes {
            match self.inodes[&inode] {
                Inode::File(_) => self.settle_file(inode, upto, flushed),
                Inode::Directory(_) if flushed => self.settle_dir(inode, upto),
                Inode::Directory(_) => {}
            }
        }
    }

    fn settle_dir_op(&mut self, inode: InodeId, op: DirOp) {
        match op {
            DirOp::Put(name, child) => {
                self.dir(inode).durable.insert(name, child);
            }
            DirOp::Take(name) => {
                self.dir(inode).durable.remove(&name);
            }
            DirOp::MoveIn { name, inode: child, from, old } => {
                self.dir(inode).durable.insert(name, child);
                let source = self.dir(from);
                if source.durable.get(&old) == Some(&child) {
                    source.durable.remove(&old);
                }
            }
            DirOp::MoveOut(number, target) => {
                let coming = &mut self.dir(target).pending;
                if let Some(at) = coming.iter().position(|(other, _)| *other == number) {
                    let (_, op) = coming.remove(at).expect("just found");
                    self.settle_dir_op(target, op);
                }
            }
        }
    }

    fn complete_write(&mut self, number: u64, dsync: bool) -> io::Result<()> {
        let Write { inode, mut pos, mut bytes } = self.in_flight.remove(&number).expect("a write completes once");
        let completed = self.number();
        self.counts.writes += 1;
        let options = self.options.clone();
        let added = self.file(inode).current.missing_pages(pos, bytes.len() as u64);
        if (self.used_pages + added) * PAGE > options.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let failed = self.fail(options.write_error_one_in);
        if failed.is_err() {
            let sectors = self.random.below((bytes.len() / SECTOR_BYTES) as u64 + 1) as usize;
            bytes.truncate(sectors * SECTOR_BYTES);
        }
        if self.random.one_in(options.flip_one_in) && !bytes.is_empty() {
            let mut flipped = bytes.to_vec();
            let at = self.random.below(flipped.len() as u64) as usize;
            flipped[at] ^= 1 << self.random.below(8);
            bytes = flipped.into();
            self.counts.faults += 1;
        }
        let pages = self.file(inode).current.len / PAGE;
        if self.random.one_in(options.misdirect_one_in) && pages > 1 {
            pos = self.random.below(pages) * PAGE + pos % PAGE;
            self.counts.faults += 1;
        }
        let end = pos + bytes.len() as u64;
        let grown = end > self.file(inode).current.len;
        self.used_pages += self.file(inode).current.missing_pages(pos, bytes.len() as u64);
        let file = self.file(inode);
        file.current.write(pos, &bytes);
        file.current.len = file.current.len.max(end);
        if dsync && failed.is_ok() {
            file.settle_older(pos, end);
            file.durable.write(pos, &bytes);
            file.durable.len = file.durable.len.max(end);
        } else {
            // Numbered anew: a flush takes what completed before it.
            file.pending.push_back((completed, FileOp::Write { pos, bytes }));
            if grown {
                file.pending.push_back((completed, FileOp::Grow(end)));
            }
        }
        failed
    }

    /// A change of a file's shape.
    fn change(&mut self, inode: InodeId, op: FileOp) -> io::Result<()> {
        let number = self.number();
        let capacity = self.options.capacity;
        let used = self.used_pages;
        let file = self.file(inode);
        let before = file.current.taken_pages();
        if let FileOp::Reserve { pos, len } = op
            && (used + file.current.missing_pages(pos, len)) * PAGE > capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.current.apply(&op);
        let after = file.current.taken_pages();
        file.pending.push_back((number, op));
        self.used_pages = self.used_pages + after - before;
        Ok(())
    }

    fn sync_file(&mut self, inode: InodeId, upto: u64) -> io::Result<()> {
        let flushed = self.flush_device();
        self.settle_file(inode, upto, flushed.is_ok());
        flushed
    }

    fn settle_file(&mut self, inode: InodeId, upto: u64, flushed: bool) {
        let mut stays = VecDeque::new();
        while let Some((number, op)) = self.file(inode).pending.pop_front() {
            if number >= upto {
                stays.push_back((number, op));
            } else if flushed {
                self.file(inode).durable.apply(&op);
            } else if self.random.one_in(2) {
                // The kernel believes it clean from here on; no later flush will write it.
                self.counts.lost += 1;
            } else {
                stays.push_back((number, op));
            }
        }
        self.file(inode).pending = stays;
    }

    /// Writes everything out, and no more than that: the next flush of anything makes it durable.
    fn sync_all(&mut self, upto: u64) -> io::Result<()> {
        self.counts.syncs += 1;
        let failed = self.fail(self.options.sync_error_one_in);
        match &failed {
            Ok(()) => self.written_out = self.written_out.max(upto),
            Err(_) => self.settle_all(upto, false),
        }
        failed
    }

    fn cut_power(&mut self, loss: Loss) {
        self.written_out = 0;
        // Writes that the device was working on come last in each file's line, in an order of their own.
        let mut in_flight: Vec<(u64, Write)> = std::mem::take(&mut self.in_flight).into_iter().collect();
        while !in_flight.is_empty() {
            let at = self.random.below(in_flight.len() as u64) as usize;
            let (number, Write { inode, pos, bytes }) = in_flight.swap_remove(at);
            let end = pos + bytes.len() as u64;
            let file = self.file(inode);
            file.pending.push_back((number, FileOp::Write { pos, bytes }));
            if end > file.current.len {
                file.pending.push_back((number, FileOp::Grow(end)));
            }
        }
        let inodes: Vec<InodeId> = self.inodes.keys().copied().collect();
        for inode in &inodes {
            if let Some(Inode::File(file)) = self.inodes.get_mut(inode) {
                for (_, op) in std::mem::take(&mut file.pending) {
                    survive(&mut file.durable, op, loss, &mut self.random, &mut self.counts);
                }
                file.durable.cut_pages();
            }
        }
        for inode in &inodes {
            if matches!(self.inodes[inode], Inode::Directory(_)) {
                self.settle_some(*inode, loss);
            }
        }
        for inode in self.inodes.values_mut() {
            match inode {
                Inode::File(file) => {
                    file.current = file.durable.clone();
                    (file.names, file.opens, file.locked) = (0, 0, false);
                }
                Inode::Directory(directory) => {
                    directory.pending.clear();
                    directory.current = directory.durable.clone();
                }
            }
        }
        self.forget_unreachable();
    }

    /// The file system's own log keeps the order of one directory's changes, so a first part of them survives.
    fn settle_some(&mut self, inode: InodeId, loss: Loss) {
        let count = self.dir(inode).pending.len() as u64;
        let survive = match loss {
            Loss::Everything => 0,
            Loss::Nothing => count,
            Loss::Random => self.random.between(0, count),
        };
        self.counts.lost += count - survive;
        for _ in 0..survive {
            // A rename that another directory brought about may have left already.
            let Some((_, op)) = self.dir(inode).pending.pop_front() else { return };
            self.settle_dir_op(inode, op);
        }
    }

    fn forget_unreachable(&mut self) {
        let mut reached = vec![ROOT];
        let mut kept = BTreeMap::new();
        while let Some(inode) = reached.pop() {
            // A directory of which two names survived is walked once.
            let Some(node) = self.inodes.remove(&inode) else { continue };
            if let Inode::Directory(directory) = &node {
                reached.extend(directory.current.values());
            }
            kept.insert(inode, node);
        }
        self.inodes = kept;
        let named: Vec<InodeId> = self.inodes.values().flat_map(Inode::children).collect();
        for inode in named {
            if let Ok(file) = self.try_file(inode) {
                file.names += 1;
            }
        }
        let taken = |inode: &Inode| match inode {
            Inode::File(file) => file.current.taken_pages(),
            Inode::Directory(_) => 0,
        };
        self.used_pages = self.inodes.values().map(taken).sum();
    }
}

impl Inode {
    fn children(&self) -> Vec<InodeId> {
        match self {
            Self::File(_) => Vec::new(),
            Self::Directory(directory) => directory.current.values().copied().collect(),
        }
    }
}

impl FileNode {
    /// A synchronous write is newer than what was not flushed in its range, so that can no longer come after it.
    fn settle_older(&mut self, start: u64, end: u64) {
        let cut = self.pending.iter().any(|(_, op)| matches!(op, FileOp::SetLen(_)));
        let mut stays = VecDeque::new();
        for (number, op) in std::mem::take(&mut self.pending) {
            let overlaps = match &op {
                FileOp::Write { pos, bytes } => *pos < end && start < *pos + bytes.len() as u64,
                _ => false,
            };
            if cut || overlaps {
                self.durable.apply(&op);
            } else {
                stays.push_back((number, op));
            }
        }
        self.pending = stays;
    }
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
