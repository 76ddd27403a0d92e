//! The one door to the world: files, sockets, time, chance, tasks and mailboxes.
//!
//! Each type is an enum over two arms, dispatched by `match`: `uring` is the real world, `sim` a simulated one that repeats from a seed. What
//! stands above this room cannot tell them apart; `tests/io_twins.rs` runs one list of expectations on both.
//!
//! Always true: an [`Io`] and what it hands out stay on their core, except [`Socket`], [`Sender`], [`Receiver`] and buffers, which may cross. A
//! dropped future of a file operation leaves the operation to the kernel: it may still happen, and its memory is kept until then.
//! Knows nothing of Kafka, journals or logs.

pub mod buffer;
mod mailbox;
pub mod sim;
pub mod uring;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::base::limits::PAGE_BYTES;
use crate::base::{Mono, ShardId, Timestamp};
pub use buffer::{AlignedBuf, Pool};
pub use mailbox::{Receiver, Sender, mailbox};
pub use uring::host::Signal;

/// One core's door to the world. Clones are the same door; it stays on its core.
#[derive(Clone)]
pub enum Io {
    /// The real world.
    Uring(uring::Io),
    /// A simulated world.
    Sim(sim::Io),
}

/// How a file is opened. All false: for reading, through the page cache, and it must exist.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Open {
    /// For reading and writing.
    pub write: bool,
    /// Made (empty) if it is not there; implies `write`. Its directory entry is durable only after [`Io::sync_dir`].
    pub create: bool,
    /// Past the page cache: positions, lengths and addresses of writes are multiples of 4 KiB.
    pub direct: bool,
    /// Each write is durable, its needed metadata included, before it completes. With `direct` such writes are shown to the kernel at once;
    /// others may be gathered for a moment.
    pub dsync: bool,
    /// Locked for this descriptor alone, for as long as it is open. A lock that somebody else keeps for about a second is
    /// [`io::ErrorKind::WouldBlock`].
    pub lock: bool,
}

/// The space of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Bytes that it has.
    pub total_bytes: u64,
    /// Bytes that this process may still take.
    pub usable_bytes: u64,
}

impl Io {
    /// The core this is.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Uring(io) => io.shard(),
            Self::Sim(io) => io.shard(),
        }
    }

    /// The number of the CPU that the core runs on now.
    pub fn cpu(&self) -> usize {
        match self {
            Self::Uring(io) => io.cpu(),
            Self::Sim(io) => io.shard().0.into(),
        }
    }

    /// A clock that never goes back. All cores of a process share its zero.
    pub fn now(&self) -> Mono {
        match self {
            Self::Uring(io) => io.now(),
            Self::Sim(io) => io.now(),
        }
    }

    /// The clock on the wall, which may jump both ways.
    pub fn wall_clock(&self) -> Timestamp {
        match self {
            Self::Uring(io) => io.wall_clock(),
            Self::Sim(io) => io.wall_clock(),
        }
    }

    /// 64 random bits that nobody can foretell (in the simulation: that come from its seed).
    pub fn random_u64(&self) -> u64 {
        match self {
            Self::Uring(io) => io.random_u64(),
            Self::Sim(io) => io.random_u64(),
        }
    }

    /// This core's pool of aligned buffers.
    pub fn pool(&self) -> &Pool {
        match self {
            Self::Uring(io) => io.pool(),
            Self::Sim(io) => io.pool(),
        }
    }

    /// Starts a task on this core; it runs to its end and nobody waits for it. A panic in it ends the core.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        match self {
            Self::Uring(io) => io.spawn(task),
            Self::Sim(io) => io.spawn(task),
        }
    }

    /// Ready after `wait`, never earlier, and about a millisecond late at most on a core that is not busy.
    pub fn sleep(&self, wait: Duration) -> Sleep {
        Sleep(match self {
            Self::Uring(io) => SleepArm::Uring(io.sleep(wait)),
            Self::Sim(io) => SleepArm::Sim(io.sleep(wait)),
        })
    }

    /// Ready at `deadline`; at once if that has passed.
    pub fn sleep_until(&self, deadline: Mono) -> Sleep {
        self.sleep(deadline.since(self.now()))
    }

    /// Lets other tasks that are ready run, and the core look at its sockets and files, before this one goes on.
    pub fn yield_now(&self) -> YieldNow {
        YieldNow(match self {
            Self::Uring(io) => YieldArm::Uring(io.yield_now()),
            Self::Sim(io) => YieldArm::Sim(io.yield_now()),
        })
    }

    /// The next termination signal of the process. Never ready if the process has not taken over its signals. One core waits for it.
    pub async fn signal(&self) -> Signal {
        match self {
            Self::Uring(io) => io.signal().await,
            Self::Sim(io) => io.signal().await,
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::WouldBlock`] when somebody else keeps the lock.
    pub async fn open(&self, path: &Path, how: Open) -> io::Result<File> {
        Ok(File(match self {
            Self::Uring(io) => FileArm::Uring(io.open(path, how).await?),
            Self::Sim(io) => FileArm::Sim(io.open(path, how).await?),
        }))
    }

    /// Makes a directory and its missing parents. Durable only after [`Io::sync_dir`] of each parent.
    pub async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Uring(io) => io.create_dir_all(path).await,
            Self::Sim(io) => io.create_dir_all(path).await,
        }
    }

    /// Removes a file's name. Durable only after [`Io::sync_dir`].
    pub async fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Uring(io) => io.remove_file(path).await,
            Self::Sim(io) => io.remove_file(path).await,
        }
    }

    /// Removes a directory with all that is in it.
    pub async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Uring(io) => io.remove_dir_all(path).await,
            Self::Sim(io) => io.remove_dir_all(path).await,
        }
    }

    /// Gives a file or directory another name, in place of whatever file had it. Durable only after [`Io::sync_dir`] of both directories.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Uring(io) => io.rename(from, to).await,
            Self::Sim(io) => io.rename(from, to).await,
        }
    }

    /// Makes a directory's entries durable.
    pub async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Uring(io) => io.sync_dir(path).await,
            Self::Sim(io) => io.sync_dir(path).await,
        }
    }

    /// The file system that a directory is on.
    pub async fn mount_of(&self, path: &Path) -> io::Result<Mount> {
        Ok(Mount(match self {
            Self::Uring(io) => MountArm::Uring(io.mount_of(path).await?),
            Self::Sim(io) => MountArm::Sim(io.mount_of(path).await?),
        }))
    }

    /// The names in a directory, sorted. Names that are not UTF-8 are left out: nothing of ours has such a name.
    pub async fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        match self {
            Self::Uring(io) => io.list_dir(path).await,
            Self::Sim(io) => io.list_dir(path).await,
        }
    }

    /// The space of the volume that `path` lies on.
    pub async fn space(&self, path: &Path) -> io::Result<Space> {
        match self {
            Self::Uring(io) => io.space(path).await,
            Self::Sim(io) => io.space(path).await,
        }
    }

    /// The length of the file at `path`, in bytes.
    pub async fn file_len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.stat(path).await?.0)
    }

    /// Whether there is anything at `path`.
    pub async fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.stat(path).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Whether there is a directory at `path`.
    pub async fn is_dir(&self, path: &Path) -> io::Result<bool> {
        match self.stat(path).await {
            Ok((_, is_dir)) => Ok(is_dir),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    async fn stat(&self, path: &Path) -> io::Result<(u64, bool)> {
        match self {
            Self::Uring(io) => io.stat(path).await,
            Self::Sim(io) => io.stat(path).await,
        }
    }

    /// The bytes of a small file.
    pub async fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::default()).await?;
        let len = usize::try_from(file.len().await?).map_err(io::Error::other)?;
        Ok(file.read_at(0, len).await?.to_vec())
    }

    /// Puts a small file in place so that after a crash either the old bytes or the new are there: written beside it under the suffix `.tmp`,
    /// flushed, renamed, directory flushed.
    pub async fn write_file_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let (beside, bytes) = (Path::new(&beside), Bytes::copy_from_slice(bytes));
        loop {
            // Made anew: what a dead process still writes goes into the file that it had open.
            match self.remove_file(beside).await {
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            let file = self.open(beside, Open { create: true, ..Open::default() }).await?;
            file.write_at(0, bytes.clone()).await?;
            file.sync_all().await?;
            drop(file);
            match self.rename(beside, path).await {
                // A rename that a dead process had under way took the new file. It had one at most.
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
                renamed => break renamed?,
            }
        }
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent).await,
            _ => self.sync_dir(Path::new(".")).await,
        }
    }

    /// Puts a small file in place, for others to read. What is there after a crash may be a part of it, or nothing.
    pub async fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(path, Open { create: true, ..Open::default() }).await?;
        if file.len().await? > bytes.len() as u64 {
            file.set_len(0).await?;
        }
        file.write_at(0, Bytes::copy_from_slice(bytes)).await
    }

    /// Listens for TCP connections. Port 0 takes a free one; see [`Listener::local_addr`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when the port is taken, also by a listener that would share it.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        Ok(Listener(match self {
            Self::Uring(io) => ListenerArm::Uring(io.listen(address)?),
            Self::Sim(io) => ListenerArm::Sim(io.listen(address)?),
        }))
    }

    /// Takes over a connection that was accepted on any core. Small writes are sent at once (TCP_NODELAY).
    pub fn adopt(&self, socket: Socket) -> io::Result<Stream> {
        Ok(Stream(match (self, socket.0) {
            (Self::Uring(io), SocketArm::Uring(socket)) => StreamArm::Uring(io.adopt(socket)?),
            (Self::Sim(io), SocketArm::Sim(socket)) => StreamArm::Sim(io.adopt(socket)),
            _ => panic!("a socket does not leave its world"),
        }))
    }

    /// Opens a TCP connection. Small writes are sent at once (TCP_NODELAY).
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        Ok(Stream(match self {
            Self::Uring(io) => StreamArm::Uring(io.connect(address).await?),
            Self::Sim(io) => StreamArm::Sim(io.connect(address).await?),
        }))
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Io(shard {})", self.shard())
    }
}

/// A future that is ready after a time. Dropping it cancels the timer.
pub struct Sleep(SleepArm);

enum SleepArm {
    Uring(uring::Sleep),
    Sim(sim::Sleep),
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            SleepArm::Uring(sleep) => Pin::new(sleep).poll(cx),
            SleepArm::Sim(sleep) => Pin::new(sleep).poll(cx),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}

/// A future that is ready once others had their turn.
pub struct YieldNow(YieldArm);

enum YieldArm {
    Uring(uring::YieldNow),
    Sim(sim::YieldNow),
}

impl Future for YieldNow {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            YieldArm::Uring(yielding) => Pin::new(yielding).poll(cx),
            YieldArm::Sim(yielding) => Pin::new(yielding).poll(cx),
        }
    }
}

impl fmt::Debug for YieldNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YieldNow")
    }
}

/// An open file. Clones are the same descriptor; the last one closes it, and with that gives up its lock.
#[derive(Clone)]
pub struct File(FileArm);

#[derive(Clone)]
enum FileArm {
    Uring(uring::File),
    Sim(sim::File),
}

/// A mounted file system, to be flushed as a whole.
pub struct Mount(MountArm);

enum MountArm {
    Uring(uring::Mount),
    Sim(sim::Mount),
}

impl Mount {
    /// Writes out whatever was done on the file system before, names and lengths of files included; also what other programs did, and that may take long. All of it
    /// is durable after a flush of any of its files: the kernel need not end this with one of the device (ext4 without a journal), and may pass over a
    /// file system that it gave up.
    ///
    /// # Errors
    /// The kernel could not write something back, and told nobody yet: of whatever program, since whenever (syncfs(2), Linux 5.8).
    pub async fn sync(&self) -> io::Result<()> {
        match &self.0 {
            MountArm::Uring(mount) => mount.sync().await,
            MountArm::Sim(mount) => mount.sync().await,
        }
    }

    /// Whether [`Mount::sync`] can be trusted for the file: it is on this file system, and that is of a kind that keeps its word.
    pub fn covers(&self, file: &File) -> io::Result<bool> {
        match (&self.0, &file.0) {
            (MountArm::Uring(mount), FileArm::Uring(file)) => mount.covers(file),
            (MountArm::Sim(_), FileArm::Sim(_)) => Ok(true),
            _ => panic!("a file does not leave its world"),
        }
    }
}

impl File {
    /// Writes all of `bytes` at `pos`.
    ///
    /// # Errors
    /// The kernel's; a short write is [`io::ErrorKind::WriteZero`]; unaligned use of a direct file is [`io::ErrorKind::InvalidInput`]. After an
    /// error, and after this future was dropped, what the range holds is not known.
    pub async fn write_at(&self, pos: u64, bytes: Bytes) -> io::Result<()> {
        match &self.0 {
            FileArm::Uring(file) => file.write_at(pos, bytes).await,
            FileArm::Sim(file) => file.write_at(pos, bytes).await,
        }
    }

    /// Writes the parts one behind the other from `pos`. Errors as for [`File::write_at`]; on a direct file each part is aligned.
    pub async fn write_vectored_at(&self, pos: u64, parts: Vec<Bytes>) -> io::Result<()> {
        match &self.0 {
            FileArm::Uring(file) => file.write_vectored_at(pos, parts).await,
            FileArm::Sim(file) => file.write_vectored_at(pos, parts).await,
        }
    }

    /// Reads `len` bytes from `pos`; fewer only at the end of the file. On a direct file the aligned range around it is read and sliced.
    pub async fn read_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        match &self.0 {
            FileArm::Uring(file) => file.read_at(pos, len).await,
            FileArm::Sim(file) => file.read_at(pos, len).await,
        }
    }

    /// Makes all completed writes durable, with the metadata that reading them back needs (`fdatasync`).
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.0 {
            FileArm::Uring(file) => file.sync(true).await,
            FileArm::Sim(file) => file.sync().await,
        }
    }

    /// Makes all completed writes and all metadata of the file durable (`fsync`). Its name is the directory's business.
    pub async fn sync_all(&self) -> io::Result<()> {
        match &self.0 {
            FileArm::Uring(file) => file.sync(false).await,
            FileArm::Sim(file) => file.sync().await,
        }
    }

    /// Reserves disk space for the range, which reads as zeros where nothing was written. Extends the file unless `keep_size`.
    pub async fn allocate(&self, pos: u64, len: u64, keep_size: bool) -> io::Result<()> {
        match &self.0 {
            FileArm::Uring(file) => file.allocate(pos, len, keep_size).await,
            FileArm::Sim(file) => file.allocate(pos, len, keep_size).await,
        }
    }

    /// Cuts or extends the file to `len` bytes.
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            FileArm::Uring(file) => file.set_len(len).await,
            FileArm::Sim(file) => file.set_len(len).await,
        }
    }

    /// The file's length in bytes.
    pub async fn len(&self) -> io::Result<u64> {
        match &self.0 {
            FileArm::Uring(file) => file.len().await,
            FileArm::Sim(file) => file.len().await,
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("File")
    }
}

/// Waits for TCP connections.
pub struct Listener(ListenerArm);

enum ListenerArm {
    Uring(uring::Listener),
    Sim(sim::Listener),
}

impl Listener {
    /// The address it listens on, with the port it got.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            ListenerArm::Uring(listener) => listener.local_addr(),
            ListenerArm::Sim(listener) => listener.local_addr(),
        }
    }

    /// The next connection and its peer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The kernel's, such as too many open files; the listener lives on.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match &self.0 {
            ListenerArm::Uring(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok((Socket(SocketArm::Uring(socket)), peer))
            }
            ListenerArm::Sim(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok((Socket(SocketArm::Sim(socket)), peer))
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.local_addr())
    }
}

/// An accepted connection on its way to the core that will serve it with [`Io::adopt`]. Dropping it closes the connection.
pub struct Socket(SocketArm);

enum SocketArm {
    Uring(uring::Socket),
    Sim(sim::Socket),
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

/// A TCP connection. Clones are the same connection; the last one closes it. One task may read while another writes.
#[derive(Clone)]
pub struct Stream(StreamArm);

#[derive(Clone)]
enum StreamArm {
    Uring(uring::Stream),
    Sim(sim::Stream),
}

impl Stream {
    /// Appends what has arrived to `into`, at most its spare capacity (room is made if it has none), and says how many bytes; 0 when the peer has
    /// finished writing. Dropping the future loses no byte.
    pub async fn read(&self, into: &mut BytesMut) -> io::Result<usize> {
        match &self.0 {
            StreamArm::Uring(stream) => stream.read(into).await,
            StreamArm::Sim(stream) => stream.read(into).await,
        }
    }

    /// Writes all parts in order, several with each system call, and takes off the front what was written.
    ///
    /// # Errors
    /// The kernel's; how much of `parts` had been written before does not matter then: the connection is of no more use.
    pub async fn write_all(&self, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
        match &self.0 {
            StreamArm::Uring(stream) => stream.write_all(parts).await,
            StreamArm::Sim(stream) => stream.write_all(parts).await,
        }
    }

    /// Ends the connection both ways, now: a waiting read gives 0, a waiting write fails, the peer sees the end.
    pub fn shutdown(&self) {
        self.end(Shutdown::Both);
    }

    /// Says that nothing more is written; reading goes on.
    pub fn finish_writing(&self) {
        self.end(Shutdown::Write);
    }

    fn end(&self, how: Shutdown) {
        match &self.0 {
            StreamArm::Uring(stream) => stream.shutdown(how),
            StreamArm::Sim(stream) => stream.shutdown(how),
        }
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        match &self.0 {
            StreamArm::Uring(stream) => stream.peer_addr(),
            StreamArm::Sim(stream) => stream.peer_addr(),
        }
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            StreamArm::Uring(stream) => stream.local_addr(),
            StreamArm::Sim(stream) => Ok(stream.local_addr()),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.peer_addr())
    }
}

/// What direct files ask of a write, in both arms.
fn check_alignment(pos: u64, len: usize, address: usize) -> io::Result<()> {
    if pos.is_multiple_of(PAGE_BYTES as u64) && (len | address).is_multiple_of(PAGE_BYTES) {
        return Ok(());
    }
    let told = format!("direct write of {len} bytes from {address:#x} to {pos} is not aligned to {PAGE_BYTES}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, told))
}
