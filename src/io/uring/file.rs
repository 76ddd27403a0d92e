//! Files through the core's ring.
//!
//! Always true: memory, paths and the descriptor of an operation are kept by the ring until the kernel has completed it, also when the future that
//! waited was dropped. The kernel may still carry out the operation of a dropped future.
//!
//! Flushes, removals and closes go to the threads beside the core instead (`helper.rs`). A write that cannot be begun at once, such as every journal write that finds the
//! time in its file out of date, waits in the ring's one line for the kernel's threads, often with a single thread behind it: 32 flushes before it were 6 ms.

use std::ffi::CString;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::host;
use super::ring::{Kept, Memory, Operation, Owner, Ring};
use super::time::Sleep;
use crate::base::limits::PAGE_BYTES;
use crate::io::buffer::Pool;
use crate::io::{Open, Space, check_alignment};

/// Tries for a lock that somebody else holds, and the pause between them. The ring of a killed process may hold its files for a moment.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(25);
/// Bytes of one write at most. The kernel takes a little less than 2 GiB and leaves the rest.
const WRITE_BYTES_MAX: usize = 1 << 30;
/// What one vectored operation takes at most (the kernel's `UIO_MAXIOV`).
const VECTORS_MAX: usize = 1024;

impl Ring {
    async fn run(self: &Rc<Self>, entry: Entry, memory: Memory) -> io::Result<(u32, Memory)> {
        // SAFETY: the callers below build `entry` from pointers into `memory`, all of whose forms own their bytes on the heap.
        let (result, kept) = unsafe { self.start(entry, Kept { owner: Owner::None, memory }, false) }.await;
        Ok((check(result)?, kept.memory))
    }

    pub(super) async fn rename(self: &Rc<Self>, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (c_path(from)?, c_path(to)?);
        let at = types::Fd(libc::AT_FDCWD);
        let entry = opcode::RenameAt::new(at, from.as_ptr(), at, to.as_ptr()).build().flags(Flags::ASYNC);
        self.run(entry, Memory::Paths(from, to)).await.map(drop)
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

/// An open file; the last clone closes it.
#[derive(Clone)]
pub(in crate::io) struct File {
    open: Rc<OpenFile>,
    pool: Pool,
}

pub(super) struct OpenFile {
    ring: Rc<Ring>,
    /// Always there until drop.
    fd: ManuallyDrop<Arc<OwnedFd>>,
    direct: bool,
    dsync: bool,
}

impl Drop for OpenFile {
    /// Closing may take a moment: a file that was removed meanwhile goes with its last descriptor.
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        if self.ring.is_closing() {
            return drop(fd);
        }
        self.ring.close(fd);
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
        let opening = unsafe { ring.start(entry, Kept { owner: Owner::None, memory: Memory::Path(path) }, false) };
        // A descriptor opened for a future that is gone would never be closed, so the waiting is done by a task of its own.
        let (result, _) = uncancelled(opening).await;
        let fd = i32::try_from(check(result)?).expect("a descriptor");
        // SAFETY: the kernel just made this descriptor and nobody else knows it.
        let fd = ManuallyDrop::new(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) }));
        let has = |flag: i32| flags & flag == flag;
        Ok(Self { ring: Rc::clone(ring), fd, direct: has(libc::O_DIRECT), dsync: has(libc::O_DSYNC) })
    }

    /// The descriptor, for a call beside the core that may outlive this file.
    fn shared(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    fn stat(&self) -> io::Result<libc::stat> {
        // SAFETY: all zeros is a value of this plain C structure.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `stat` is ours. What is known of an open file is in memory: the call does not wait for the disk.
        check_os(unsafe { libc::fstat(self.fd.as_raw_fd(), &raw mut stat) })?;
        Ok(stat)
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
    let ring = Rc::clone(opening.ring());
    let task = ring.spawn(async move { CloseIfUnclaimed(Some(opening.await)) });
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
            lock(ring, &open.fd).await?;
        }
        Ok(Self { open: Rc::new(open), pool: pool.clone() })
    }

    fn fd(&self) -> types::Fd {
        types::Fd(self.open.fd.as_raw_fd())
    }

    async fn run(&self, entry: Entry, memory: Memory) -> io::Result<(u32, Memory)> {
        let kept = Kept { owner: Owner::File(Rc::clone(&self.open)), memory };
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
        self.check_alignment(pos, &bytes)?;
        let mut done = 0;
        while done < bytes.len() {
            let rest = bytes.slice(done..);
            let len = rest.len().min(WRITE_BYTES_MAX);
            let entry = opcode::Write::new(self.fd(), rest.as_ptr(), len as u32).offset(pos + done as u64).build();
            let (written, _) = self.run(entry, Memory::Bytes(rest)).await?;
            // A direct write is done at once or has failed: what is left of it may not be aligned.
            if self.open.direct || written == 0 {
                check_written(written, len)?;
            }
            done += written as usize;
        }
        Ok(())
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
        let fd = self.open.shared();
        let flush = if data_only { libc::fdatasync } else { libc::fsync };
        // SAFETY: `fd` is open for as long as the call.
        self.open.ring.waiting_for_disk(move || check_os(unsafe { flush(fd.as_raw_fd()) }).map(drop)).await
    }

    pub(in crate::io) async fn allocate(&self, pos: u64, len: u64, keep_size: bool) -> io::Result<()> {
        let mode = if keep_size { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
        let entry = opcode::Fallocate::new(self.fd(), len).offset(pos).mode(mode).build().flags(Flags::ASYNC);
        self.run(entry, Memory::None).await.map(drop)
    }

    pub(in crate::io) async fn set_len(&self, len: u64) -> io::Result<()> {
        let len = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fd = self.open.shared();
        let ring = &self.open.ring;
        ring.blocking(move || {
            // SAFETY: `fd` is open for as long as the call.
            check_os(unsafe { libc::ftruncate(fd.as_raw_fd(), len) }).map(drop)
        })
        .await
    }

    pub(in crate::io) async fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.open.stat()?.st_size).expect("a file has no negative length"))
    }
}

/// The file system of a directory, which stays open so that no error from then on is missed.
pub(in crate::io) struct Mount {
    directory: Rc<OpenFile>,
    /// Its number, if what a flush of the whole file system says can be believed.
    device: Option<u64>,
}

impl Mount {
    pub(super) async fn open(ring: &Rc<Ring>, path: &Path) -> io::Result<Self> {
        let directory = OpenFile::open(ring, path, libc::O_RDONLY | libc::O_DIRECTORY).await?;
        let number = directory.stat()?.st_dev;
        let path = path.to_owned();
        let volume = ring.blocking(move || host::volume(&path)).await;
        let device = volume.is_ok_and(|volume| volume.file_system.is_known_durable()).then_some(number);
        Ok(Self { directory: Rc::new(directory), device })
    }

    pub(in crate::io) async fn sync(&self) -> io::Result<()> {
        let fd = self.directory.shared();
        // SAFETY: `fd` is open for as long as the call.
        self.directory.ring.waiting_for_disk(move || check_os(unsafe { libc::syncfs(fd.as_raw_fd()) }).map(drop)).await
    }

    pub(in crate::io) fn covers(&self, file: &File) -> io::Result<bool> {
        Ok(Some(file.open.stat()?.st_dev) == self.device)
    }
}

/// Takes the exclusive lock on an open file, with a bounded number of tries.
async fn lock(ring: &Rc<Ring>, fd: &OwnedFd) -> io::Result<()> {
    for _ in 1..LOCK_TRIES {
        match super::host::try_lock(fd) {
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => Sleep::new(ring, LOCK_PAUSE).await,
            done => return done,
        };
    }
    super::host::try_lock(fd)
}

/// Makes a directory and its missing parents.
pub(super) async fn create_dir_all(ring: &Ring, path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    ring.blocking(move || std::fs::create_dir_all(path)).await
}

/// Removes a file.
pub(super) async fn remove_file(ring: &Ring, path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    ring.waiting_for_disk(move || std::fs::remove_file(path)).await
}

/// Removes a directory with all that is in it.
pub(super) async fn remove_dir_all(ring: &Ring, path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    ring.removing(move || std::fs::remove_dir_all(path)).await
}

/// The names in a directory, sorted.
pub(super) async fn list_dir(ring: &Ring, path: &Path) -> io::Result<Vec<String>> {
    let path = path.to_owned();
    ring.blocking(move || {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    })
    .await
}

/// The space of the volume that `path` lies on.
pub(super) async fn space(ring: &Ring, path: &Path) -> io::Result<Space> {
    let path = path.to_owned();
    ring.blocking(move || host::space(&path)).await
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
