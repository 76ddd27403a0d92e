//! Files through a private io_uring per core.
//!
//! Always true: memory, paths and the descriptor of an operation are kept by the ring until the kernel has completed it, also when the future that
//! waited was dropped. The kernel may still carry out the operation of a dropped future. Operations in flight never exceed the completion queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use glommio::io::{PollState, PollableFd};
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

use super::blocking;
use crate::base::limits::PAGE_BYTES;
use crate::io::buffer::{AlignedBuf, Pool};
use crate::io::{Open, check_alignment};

/// Entries of the submission queue; the completion queue has twice as many.
const RING_ENTRIES: u32 = 256;
/// Operations that the kernel works on at most; more wait in line.
const IN_FLIGHT_MAX: usize = 2 * RING_ENTRIES as usize;
/// Unsubmitted operations after which no more are gathered.
const GATHER_MAX: usize = 8;
/// Tries for a lock that somebody else holds, and the pause between them. The ring of a killed process may hold its files for a moment.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(25);
/// Looks at what is in flight when a core ends, and the pause between them.
const DRAIN_TRIES: u32 = 2000;
const DRAIN_PAUSE: Duration = Duration::from_millis(1);
/// What one vectored operation takes at most (the kernel's `UIO_MAXIOV`).
const VECTORS_MAX: usize = 1024;

/// Fits every operation: who waits for it, and what must outlive it.
pub(super) struct Ring {
    state: RefCell<State>,
    fd: RawFd,
    /// The reaper's task waits here while nothing is in flight or gathered.
    bell: Cell<Option<Waker>>,
    /// The reaper hears of completions.
    watching: Cell<bool>,
    closing: Cell<bool>,
}

struct State {
    ring: IoUring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Submitted or gathered, and not completed.
    in_flight: usize,
    /// Prepared and not yet shown to the kernel.
    gathered: usize,
    /// Prepared while the rings were full.
    line: VecDeque<Entry>,
}

enum Slot {
    Free,
    /// The kernel has it; the waker is of the future that waits.
    Waiting(Option<Waker>, Kept),
    /// The kernel has it and nobody waits any more.
    Abandoned(#[allow(dead_code, reason = "kept alive, not read")] Kept),
    Done(i32, Kept),
}

/// What the kernel may touch until the operation completes. Only kept alive; all of it is behind pointers that do not move.
struct Kept {
    #[allow(dead_code, reason = "kept alive, not read")]
    file: Option<Rc<OpenFile>>,
    memory: Memory,
}

#[allow(dead_code, reason = "kept alive, not read")]
enum Memory {
    None,
    Bytes(Bytes),
    Vectored(Box<[libc::iovec]>, Vec<Bytes>),
    Buffer(AlignedBuf),
    Path(CString),
    Paths(CString, CString),
    Stat(CString, Box<libc::statx>),
}

impl Ring {
    pub(super) fn new() -> io::Result<Rc<Self>> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_cqsize(IN_FLIGHT_MAX as u32)
            .build(RING_ENTRIES)?;
        let fd = ring.as_raw_fd();
        let state = State {
            ring,
            slots: Vec::with_capacity(64),
            free: Vec::with_capacity(64),
            in_flight: 0,
            gathered: 0,
            line: VecDeque::new(),
        };
        Ok(Rc::new(Self {
            state: RefCell::new(state),
            fd,
            bell: Cell::new(None),
            watching: Cell::new(false),
            closing: Cell::new(false),
        }))
    }

    /// Starts the task that submits what was gathered and reaps what completed.
    pub(super) fn start_reaper(self: &Rc<Self>) {
        let ring = Rc::clone(self);
        drop(glommio::spawn_local(async move { ring.reap_until_closed().await }).detach());
    }

    async fn reap_until_closed(self: Rc<Self>) {
        let watched = PollableFd::new(Borrowed(self.fd)).expect("this runs on an executor");
        let mut wait = PollState::new();
        std::future::poll_fn(|cx| {
            loop {
                self.submit();
                self.reap();
                if self.closing.get() && self.state.borrow().in_flight == 0 {
                    return Poll::Ready(());
                }
                ring_bell_later(&self.bell, cx);
                if self.state.borrow().in_flight == 0 {
                    self.watching.set(false);
                    return Poll::Pending;
                }
                let ready = watched.poll_readable(cx, &mut wait);
                self.watching.set(ready.is_pending());
                match ready {
                    Poll::Ready(ready) => ready.expect("the ring's descriptor can be polled"),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    /// Waits until the kernel holds nothing of ours any more and ends the reaper. Bounded, because tasks that go on working start new operations.
    pub(super) async fn drain(&self) {
        self.closing.set(true);
        self.wake_reaper();
        for _ in 0..DRAIN_TRIES {
            if self.state.borrow().in_flight == 0 {
                return;
            }
            glommio::timer::Timer::new(DRAIN_PAUSE).await;
        }
    }

    fn wake_reaper(&self) {
        if let Some(waker) = self.bell.take() {
            waker.wake();
        }
    }

    /// Gives the kernel an operation. `urgent` ones are shown to it at once, together with all gathered so far; others wait until the tasks that
    /// are ready now have run, so that several share one system call.
    ///
    /// # Safety
    /// All memory that `entry` names is owned by `kept`, at addresses that moving `kept` does not change.
    unsafe fn start(self: &Rc<Self>, entry: Entry, kept: Kept, urgent: bool) -> Operation {
        let slot = {
            let mut state = self.state.borrow_mut();
            let slot = state.free.pop().unwrap_or_else(|| {
                state.slots.push(Slot::Free);
                u32::try_from(state.slots.len() - 1).expect("fewer operations than 2^32")
            });
            state.slots[slot as usize] = Slot::Waiting(None, kept);
            state.line.push_back(entry.user_data(u64::from(slot)));
            // SAFETY: the slot keeps all that the entry names until its completion is reaped.
            unsafe { state.fill() };
            slot
        };
        if urgent || self.state.borrow().gathered >= GATHER_MAX {
            self.submit();
            self.reap();
        }
        if !self.watching.get() || self.state.borrow().gathered > 0 {
            self.wake_reaper();
        }
        Operation { ring: Rc::clone(self), slot, done: false }
    }

    /// Shows the kernel all gathered operations.
    fn submit(&self) {
        let mut state = self.state.borrow_mut();
        while state.gathered > 0 {
            match state.ring.submit() {
                Ok(taken) => state.gathered -= taken.min(state.gathered),
                Err(fault) if fault.raw_os_error() == Some(libc::EINTR) => {}
                // The kernel wants completions to be taken first; the reaper comes back.
                Err(fault) if matches!(fault.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => break,
                Err(fault) => panic!("io_uring does not take operations any more: {fault}"),
            }
            // SAFETY: every entry in line has a slot that keeps what it names.
            unsafe { state.fill() };
        }
    }

    /// Takes all completions there are and wakes their futures.
    fn reap(&self) {
        loop {
            // No waker is called and nothing is dropped while the state is borrowed: either may lead back here.
            let (waker, kept) = {
                let mut state = self.state.borrow_mut();
                let Some(completion) = state.ring.completion().next() else { break };
                state.in_flight -= 1;
                let slot = usize::try_from(completion.user_data()).expect("a slot's number");
                match std::mem::replace(&mut state.slots[slot], Slot::Free) {
                    Slot::Waiting(waker, kept) => {
                        state.slots[slot] = Slot::Done(completion.result(), kept);
                        (waker, None)
                    }
                    Slot::Abandoned(kept) => {
                        state.free.push(slot as u32);
                        (None, Some(kept))
                    }
                    Slot::Free | Slot::Done(..) => panic!("operation {slot} completed twice"),
                }
            };
            waker.into_iter().for_each(Waker::wake);
            drop(kept);
        }
        let mut state = self.state.borrow_mut();
        if !state.line.is_empty() {
            // SAFETY: every entry in line has a slot that keeps what it names.
            unsafe { state.fill() };
            drop(state);
            self.submit();
        }
    }

    async fn run(self: &Rc<Self>, entry: Entry, memory: Memory) -> io::Result<(u32, Memory)> {
        // SAFETY: the callers below build `entry` from pointers into `memory`, all of whose forms own their bytes on the heap.
        let (result, kept) = unsafe { self.start(entry, Kept { file: None, memory }, false) }.await;
        Ok((check(result)?, kept.memory))
    }

    pub(super) async fn rename(self: &Rc<Self>, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (c_path(from)?, c_path(to)?);
        let at = types::Fd(libc::AT_FDCWD);
        let entry = opcode::RenameAt::new(at, from.as_ptr(), at, to.as_ptr()).build().flags(Flags::ASYNC);
        self.run(entry, Memory::Paths(from, to)).await.map(drop)
    }

    pub(super) async fn remove_file(self: &Rc<Self>, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build().flags(Flags::ASYNC);
        self.run(entry, Memory::Path(path)).await.map(drop)
    }

    pub(super) async fn sync_dir(self: &Rc<Self>, pool: &Pool, path: &Path) -> io::Result<()> {
        let directory = OpenFile::open(self, path, libc::O_RDONLY | libc::O_DIRECTORY).await?;
        File { open: Rc::new(directory), pool: pool.clone() }.sync(false).await
    }

    /// Length and kind of what the path names.
    pub(super) async fn stat(self: &Rc<Self>, path: &Path) -> io::Result<(u64, bool)> {
        let path = c_path(path)?;
        // SAFETY: all zeros is a value of this plain C structure.
        let mut stat: Box<libc::statx> = Box::new(unsafe { std::mem::zeroed() });
        let into: *mut libc::statx = &raw mut *stat;
        let entry = opcode::Statx::new(types::Fd(libc::AT_FDCWD), path.as_ptr(), into.cast())
            .mask(libc::STATX_SIZE | libc::STATX_TYPE)
            .build();
        match self.run(entry, Memory::Stat(path, stat)).await? {
            (_, Memory::Stat(_, stat)) => Ok((stat.stx_size, u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR)),
            _ => unreachable!("the memory that went in comes out"),
        }
    }
}

impl State {
    /// Moves entries from the line into the submission queue while both rings have room.
    ///
    /// # Safety
    /// Every entry in line has a slot that keeps what it names.
    unsafe fn fill(&mut self) {
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(entry) = self.line.front() else { return };
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                return;
            }
            self.line.pop_front();
            self.in_flight += 1;
            self.gathered += 1;
        }
    }
}

impl Drop for Ring {
    /// The kernel may not keep pointers into memory that goes away with us.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        while state.in_flight > 0 {
            match state.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(fault) if fault.raw_os_error() == Some(libc::EINTR) => {}
                Err(_) => {
                    // Not known to be done: what it keeps must never be freed.
                    std::mem::forget(std::mem::take(&mut state.slots));
                    return;
                }
            }
            state.in_flight -= state.ring.completion().count();
        }
    }
}

fn ring_bell_later(bell: &Cell<Option<Waker>>, cx: &Context<'_>) {
    let waker = match bell.take() {
        Some(waker) if waker.will_wake(cx.waker()) => waker,
        _ => cx.waker().clone(),
    };
    bell.set(Some(waker));
}

/// A descriptor that somebody else closes.
struct Borrowed(RawFd);

impl AsRawFd for Borrowed {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Waits for one operation. Dropping it leaves the operation to the kernel.
struct Operation {
    ring: Rc<Ring>,
    slot: u32,
    done: bool,
}

impl Future for Operation {
    type Output = (i32, Kept);
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(i32, Kept)> {
        let this = &mut *self;
        let mut state = this.ring.state.borrow_mut();
        let place = &mut state.slots[this.slot as usize];
        match place {
            Slot::Done(..) => {
                let Slot::Done(result, kept) = std::mem::replace(place, Slot::Free) else { unreachable!("matched") };
                state.free.push(this.slot);
                this.done = true;
                Poll::Ready((result, kept))
            }
            Slot::Waiting(waker, _) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Slot::Free | Slot::Abandoned(_) => panic!("operation {} was polled after its end", this.slot),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.ring.state.borrow_mut();
        let place = &mut state.slots[self.slot as usize];
        let dropped = match std::mem::replace(place, Slot::Free) {
            Slot::Waiting(waker, kept) => {
                *place = Slot::Abandoned(kept);
                (waker, None)
            }
            Slot::Done(_, kept) => {
                state.free.push(self.slot);
                (None, Some(kept))
            }
            Slot::Free | Slot::Abandoned(_) => unreachable!("an operation is dropped once"),
        };
        drop(state);
        drop(dropped);
    }
}

/// An open file; the last clone closes it.
#[derive(Clone)]
pub(in crate::io) struct File {
    open: Rc<OpenFile>,
    pool: Pool,
}

struct OpenFile {
    ring: Rc<Ring>,
    /// Always there until drop.
    fd: ManuallyDrop<OwnedFd>,
    direct: bool,
    dsync: bool,
}

impl Drop for OpenFile {
    /// Closing the last descriptor of a removed file frees its extents, which may take long: a helper of the kernel does it.
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        if self.ring.closing.get() {
            return drop(fd);
        }
        let entry = opcode::Close::new(types::Fd(fd.into_raw_fd())).build().flags(Flags::ASYNC);
        // SAFETY: the entry names no memory.
        drop(unsafe { self.ring.start(entry, Kept { file: None, memory: Memory::None }, false) });
    }
}

impl OpenFile {
    async fn open(ring: &Rc<Ring>, path: &Path, flags: i32) -> io::Result<Self> {
        let path = c_path(path)?;
        let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
            .flags(flags | libc::O_CLOEXEC)
            .mode(0o644)
            .build();
        // SAFETY: the path is owned by the kept memory.
        let opening = unsafe { ring.start(entry, Kept { file: None, memory: Memory::Path(path) }, false) };
        // A descriptor opened for a future that is gone would never be closed, so the waiting is done by a task of its own.
        let (result, _) = uncancelled(opening).await;
        let fd = i32::try_from(check(result)?).expect("a descriptor");
        // SAFETY: the kernel just made this descriptor and nobody else knows it.
        let fd = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
        let has = |flag: i32| flags & flag == flag;
        Ok(Self { ring: Rc::clone(ring), fd, direct: has(libc::O_DIRECT), dsync: has(libc::O_DSYNC) })
    }
}

/// Runs the operation to its end also when the caller goes away; its outcome is then dropped.
async fn uncancelled(opening: Operation) -> (i32, Kept) {
    struct CloseIfUnclaimed(Option<(i32, Kept)>);
    impl Drop for CloseIfUnclaimed {
        fn drop(&mut self) {
            if let Some((fd @ 0.., _)) = self.0 {
                // SAFETY: an opened descriptor that nobody else knows.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    let task = glommio::spawn_local(async move { CloseIfUnclaimed(Some(opening.await)) }).detach();
    let mut outcome = task.await.expect("a detached task ends by itself");
    outcome.0.take().expect("taken once")
}

impl File {
    pub(super) async fn open(ring: &Rc<Ring>, pool: &Pool, path: &Path, how: Open) -> io::Result<Self> {
        let mut flags = if how.write || how.create { libc::O_RDWR } else { libc::O_RDONLY };
        let choices = [(how.create, libc::O_CREAT), (how.direct, libc::O_DIRECT), (how.dsync, libc::O_DSYNC)];
        for (chosen, flag) in choices {
            flags |= if chosen { flag } else { 0 };
        }
        let open = OpenFile::open(ring, path, flags).await?;
        if how.lock {
            lock(&open.fd).await?;
        }
        Ok(Self { open: Rc::new(open), pool: pool.clone() })
    }

    fn fd(&self) -> types::Fd {
        types::Fd(self.open.fd.as_raw_fd())
    }

    async fn run(&self, entry: Entry, memory: Memory) -> io::Result<(u32, Memory)> {
        let kept = Kept { file: Some(Rc::clone(&self.open)), memory };
        // Journal blocks are the one thing that an acknowledgement waits for.
        let urgent = self.open.direct && self.open.dsync;
        // SAFETY: the callers below build `entry` from pointers into `memory`, all of whose forms own their bytes on the heap.
        let (result, kept) = unsafe { self.open.ring.start(entry, kept, urgent) }.await;
        Ok((check(result)?, kept.memory))
    }

    fn check_alignment(&self, pos: u64, bytes: &Bytes) -> io::Result<()> {
        if self.open.direct { check_alignment(pos, bytes.len(), bytes.as_ptr().addr()) } else { Ok(()) }
    }

    pub(in crate::io) async fn write_at(&self, pos: u64, bytes: Bytes) -> io::Result<()> {
        let len = bytes.len();
        if len == 0 {
            return Ok(());
        }
        self.check_alignment(pos, &bytes)?;
        let count = u32::try_from(len).map_err(|_| too_long(len))?;
        let entry = opcode::Write::new(self.fd(), bytes.as_ptr(), count).offset(pos).build();
        let (written, _) = self.run(entry, Memory::Bytes(bytes)).await?;
        check_written(written, len)
    }

    pub(in crate::io) async fn write_vectored_at(&self, mut pos: u64, mut parts: Vec<Bytes>) -> io::Result<()> {
        parts.retain(|part| !part.is_empty());
        while !parts.is_empty() {
            let rest = parts.split_off(parts.len().min(VECTORS_MAX));
            let len: usize = parts.iter().map(Bytes::len).sum();
            for part in &parts {
                self.check_alignment(pos, part)?;
            }
            u32::try_from(len).map_err(|_| too_long(len))?;
            let vectors: Box<[libc::iovec]> = parts
                .iter()
                .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
                .collect();
            let entry = opcode::Writev::new(self.fd(), vectors.as_ptr(), vectors.len() as u32).offset(pos).build();
            let (written, _) = self.run(entry, Memory::Vectored(vectors, parts)).await?;
            check_written(written, len)?;
            pos += len as u64;
            parts = rest;
        }
        Ok(())
    }

    pub(in crate::io) async fn read_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        let page = PAGE_BYTES as u64;
        let (first, span) = if self.open.direct {
            let first = pos - pos % page;
            (first, (pos - first) as usize + len)
        } else {
            (pos, len)
        };
        let span = if self.open.direct { span.next_multiple_of(PAGE_BYTES) } else { span };
        let skip = (pos - first) as usize;
        let mut buffer = self.pool.take(span);
        let mut filled = 0;
        while filled < skip + len {
            // A direct read that stopped inside a page met the end of the file; going on from there would not be aligned.
            if self.open.direct && !filled.is_multiple_of(PAGE_BYTES) {
                break;
            }
            let count = u32::try_from(span - filled).map_err(|_| too_long(len))?;
            let into = buffer[filled..].as_mut_ptr();
            let entry = opcode::Read::new(self.fd(), into, count).offset(first + filled as u64).build();
            match self.run(entry, Memory::Buffer(buffer)).await? {
                (0, Memory::Buffer(back)) => {
                    buffer = back;
                    break;
                }
                (read, Memory::Buffer(back)) => {
                    buffer = back;
                    filled += read as usize;
                }
                _ => unreachable!("the memory that went in comes out"),
            }
        }
        let end = filled.min(skip + len);
        Ok(if end <= skip { Bytes::new() } else { buffer.freeze().slice(skip..end) })
    }

    pub(in crate::io) async fn sync(&self, data_only: bool) -> io::Result<()> {
        let flags = if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
        let entry = opcode::Fsync::new(self.fd()).flags(flags).build();
        self.run(entry, Memory::None).await.map(drop)
    }

    pub(in crate::io) async fn allocate(&self, pos: u64, len: u64, keep_size: bool) -> io::Result<()> {
        let mode = if keep_size { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
        let entry = opcode::Fallocate::new(self.fd(), len).offset(pos).mode(mode).build().flags(Flags::ASYNC);
        self.run(entry, Memory::None).await.map(drop)
    }

    pub(in crate::io) async fn set_len(&self, len: u64) -> io::Result<()> {
        let len = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // A descriptor of its own, so that the call may outlive this future and file.
        let fd = self.open.fd.try_clone()?;
        blocking(move || {
            // SAFETY: `fd` is open for as long as the call.
            check_os(unsafe { libc::ftruncate(fd.as_raw_fd(), len) }).map(drop)
        })
        .await
    }

    pub(in crate::io) async fn len(&self) -> io::Result<u64> {
        // SAFETY: all zeros is a value of this plain C structure.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `stat` is ours. The length of an open file is in memory: the call does not wait for the disk.
        check_os(unsafe { libc::fstat(self.open.fd.as_raw_fd(), &raw mut stat) })?;
        Ok(u64::try_from(stat.st_size).expect("a file has no negative length"))
    }
}

/// Takes the exclusive lock on an open file, with a bounded number of tries.
async fn lock(fd: &OwnedFd) -> io::Result<()> {
    for _ in 1..LOCK_TRIES {
        match super::host::try_lock(fd) {
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => glommio::timer::Timer::new(LOCK_PAUSE).await,
            done => return done,
        };
    }
    super::host::try_lock(fd)
}

/// Makes a directory and its missing parents.
pub(super) async fn create_dir_all(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || std::fs::create_dir_all(path)).await
}

/// Removes a directory with all that is in it.
pub(super) async fn remove_dir_all(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || std::fs::remove_dir_all(path)).await
}

/// The names in a directory, sorted.
pub(super) async fn list_dir(path: &Path) -> io::Result<Vec<String>> {
    let path = path.to_owned();
    blocking(move || {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    })
    .await
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// A completion's number: a count, or an error with its sign turned.
fn check(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

fn check_os(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_written(written: u32, len: usize) -> io::Result<()> {
    if written as usize == len {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::WriteZero, format!("short write: {written} of {len} bytes")))
}

fn too_long(len: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{len} bytes are too many for one operation"))
}
