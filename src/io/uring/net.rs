//! TCP over raw non-blocking sockets: each call is tried first and waits for readiness only when it would block.
//!
//! Always true: reading waits before it reads, so a dropped read loses no byte; nothing here raises SIGPIPE; listeners never share a port.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};

use super::ring::Ring;

/// Connections that the kernel may hold before they are accepted; it allows `net.core.somaxconn` at most. Further clients try again after a second.
const BACKLOG: libc::c_int = 4096;
/// Parts that one system call writes at most.
const PARTS_PER_WRITE: usize = 64;
/// Room that a read makes when its buffer has none.
const READ_ROOM_BYTES: usize = 4096;

/// Waits for connections.
pub(in crate::io) struct Listener {
    ring: Rc<Ring>,
    fd: Rc<OwnedFd>,
    local: SocketAddr,
}

impl Listener {
    /// Without SO_REUSEPORT, so a port that is in use is an error. SO_REUSEADDR only passes over connections of an earlier process that linger.
    pub(super) fn bind(ring: &Rc<Ring>, address: SocketAddr) -> io::Result<Self> {
        let fd = socket(address)?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
        let (storage, len) = to_kernel(address);
        // SAFETY: the descriptor is open and the address is valid for `len` bytes.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const storage).cast(), len) })?;
        // SAFETY: the descriptor is open.
        check(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) })?;
        let local = local_address(&fd)?;
        Ok(Self { ring: Rc::clone(ring), fd: Rc::new(fd), local })
    }

    pub(in crate::io) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(in crate::io) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        loop {
            let (mut storage, mut len) = empty_address();
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            // SAFETY: the descriptor is open; the address is ours and `len` is its size.
            let accepted =
                check(unsafe { libc::accept4(self.fd.as_raw_fd(), (&raw mut storage).cast(), &raw mut len, flags) });
            match accepted {
                Ok(fd) => {
                    // SAFETY: the kernel just made this descriptor and nobody else knows it.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    let peer = from_kernel(&storage)?;
                    return Ok((Socket { fd, peer }, peer));
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => self.ring.readable(&self.fd).await?,
                // The peer gave up before it was served; the next may be there.
                Err(fault) if matches!(fault.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) => {
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// A connection on its way to the core that will serve it.
pub(in crate::io) struct Socket {
    fd: OwnedFd,
    peer: SocketAddr,
}

/// A connection on its core.
#[derive(Clone)]
pub(in crate::io) struct Stream {
    open: Rc<OpenStream>,
}

struct OpenStream {
    ring: Rc<Ring>,
    fd: Rc<OwnedFd>,
    peer: SocketAddr,
    local: Cell<Option<SocketAddr>>,
    /// The last read found less than it had room for: the next one waits before it tries.
    emptied: Cell<bool>,
}

impl Stream {
    pub(super) fn adopt(ring: &Rc<Ring>, socket: Socket) -> io::Result<Self> {
        set_option(&socket.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
        let (ring, fd) = (Rc::clone(ring), Rc::new(socket.fd));
        let open = OpenStream { ring, fd, peer: socket.peer, local: Cell::new(None), emptied: Cell::new(false) };
        Ok(Self { open: Rc::new(open) })
    }

    pub(super) async fn connect(ring: &Rc<Ring>, address: SocketAddr) -> io::Result<Self> {
        let fd = socket(address)?;
        let (storage, len) = to_kernel(address);
        // SAFETY: the descriptor is open and the address is valid for `len` bytes.
        let started = check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const storage).cast(), len) });
        let waits = match started {
            Ok(_) => false,
            Err(fault) if matches!(fault.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => true,
            Err(fault) => return Err(fault),
        };
        let stream = Self::adopt(ring, Socket { fd, peer: address })?;
        if waits {
            stream.open.ring.writable(&stream.open.fd).await?;
            stream.take_error()?;
        }
        Ok(stream)
    }

    fn take_error(&self) -> io::Result<()> {
        let mut fault: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        let fd = self.open.fd.as_raw_fd();
        // SAFETY: the descriptor is open; the value is ours and `len` is its size.
        check(unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut fault).cast(), &raw mut len)
        })?;
        if fault == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(fault)) }
    }

    pub(in crate::io) async fn read(&self, into: &mut BytesMut) -> io::Result<usize> {
        if into.capacity() == into.len() {
            into.reserve(READ_ROOM_BYTES);
        }
        loop {
            if self.open.emptied.replace(false) {
                self.open.ring.readable(&self.open.fd).await?;
            }
            let room = into.spare_capacity_mut();
            let fd = self.open.fd.as_raw_fd();
            // SAFETY: the descriptor is open and `room` is writable memory of ours.
            let read = unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
            match check_size(read) {
                Ok(read) => {
                    self.open.emptied.set(read < room.len());
                    // SAFETY: the kernel wrote the first `read` bytes of the room.
                    unsafe { into.set_len(into.len() + read) };
                    return Ok(read);
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    self.open.ring.readable(&self.open.fd).await?
                }
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    pub(in crate::io) async fn write_all(&self, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
        loop {
            while parts.front().is_some_and(Bytes::is_empty) {
                parts.pop_front();
            }
            if parts.is_empty() {
                return Ok(());
            }
            match self.send(parts) {
                Ok(sent) => advance(parts, sent),
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    self.open.ring.writable(&self.open.fd).await?
                }
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    /// One vectored write of as much as the socket takes now.
    fn send(&self, parts: &VecDeque<Bytes>) -> io::Result<usize> {
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PARTS_PER_WRITE];
        let mut count = 0;
        for (vector, part) in vectors.iter_mut().zip(parts) {
            *vector = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
            count += 1;
        }
        // SAFETY: all zeros is a value of this plain C structure.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = vectors.as_mut_ptr();
        message.msg_iovlen = count;
        let fd = self.open.fd.as_raw_fd();
        // SAFETY: the descriptor is open; the vectors name bytes that `parts` owns during the call, and sending only reads them.
        let sent = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        check_size(sent)
    }

    pub(in crate::io) fn shutdown(&self, how: std::net::Shutdown) {
        let how = match how {
            std::net::Shutdown::Read => libc::SHUT_RD,
            std::net::Shutdown::Write => libc::SHUT_WR,
            std::net::Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: the descriptor is open. It fails only when the peer was faster, and then there is nothing to do.
        unsafe { libc::shutdown(self.open.fd.as_raw_fd(), how) };
    }

    pub(in crate::io) fn peer_addr(&self) -> SocketAddr {
        self.open.peer
    }

    pub(in crate::io) fn local_addr(&self) -> io::Result<SocketAddr> {
        if let Some(known) = self.open.local.get() {
            return Ok(known);
        }
        let local = local_address(&self.open.fd)?;
        self.open.local.set(Some(local));
        Ok(local)
    }
}

/// Takes `sent` bytes off the front.
fn advance(parts: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(first) = parts.front_mut() {
        if sent < first.len() {
            return first.advance(sent);
        }
        sent -= first.len();
        parts.pop_front();
    }
}

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: plain numbers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the value is ours and `len` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const on).cast(), len) }).map(drop)
}

fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let (mut storage, mut len) = empty_address();
    // SAFETY: the descriptor is open; the address is ours and `len` is its size.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut storage).cast(), &raw mut len) })?;
    from_kernel(&storage)
}

fn empty_address() -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a value of this plain C structure.
    (unsafe { std::mem::zeroed() }, size_of::<libc::sockaddr_storage>() as libc::socklen_t)
}

fn to_kernel(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    let (mut storage, _) = empty_address();
    let len = match address {
        SocketAddr::V4(v4) => {
            let plain = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_storage` is larger than every address and aligned for each.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(plain) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let plain = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(plain) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}

fn from_kernel(storage: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure the kernel wrote, and the storage is large enough and aligned for it.
            let plain = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(plain.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddrV4::new(ip, u16::from_be(plain.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let plain = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(plain.sin6_addr.s6_addr);
            Ok(SocketAddrV6::new(ip, u16::from_be(plain.sin6_port), plain.sin6_flowinfo, plain.sin6_scope_id).into())
        }
        family => Err(io::Error::other(format!("an address of family {family}"))),
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
