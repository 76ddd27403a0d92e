//! Clocks, timers and randomness of the kernel.

use std::future::Future;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use glommio::io::{PollState, PollableFd};
use glommio::timer::Timer;

use crate::base::Timestamp;

/// Ready after a time: never early, and on an idle core about a millisecond late at most (the wheel's step).
pub struct Sleep(Timer);

impl Sleep {
    pub(super) fn new(wait: Duration) -> Self {
        Self(Timer::new(wait))
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// A descriptor that can always be read.
pub(super) struct AlwaysReady(PollableFd<OwnedFd>);

impl AlwaysReady {
    pub(super) fn new() -> io::Result<Rc<Self>> {
        // SAFETY: plain numbers; a counter that starts at one and that nobody reads stays readable.
        let fd = unsafe { libc::eventfd(1, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor and nobody else knows it.
        Ok(Rc::new(Self(PollableFd::new(unsafe { OwnedFd::from_raw_fd(fd) })?)))
    }
}

/// Ready after the executor has looked at the kernel once more. Putting the task behind the other ready ones would not do: while one task is ready the
/// executor does not look.
pub(in crate::io) struct YieldNow {
    always_ready: Rc<AlwaysReady>,
    wait: PollState,
}

impl YieldNow {
    pub(super) fn new(always_ready: &Rc<AlwaysReady>) -> Self {
        Self { always_ready: Rc::clone(always_ready), wait: PollState::new() }
    }
}

impl Future for YieldNow {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.always_ready.0.poll_readable(cx, &mut this.wait).map(drop)
    }
}

/// Milliseconds since 1970, negative before.
pub(super) fn wall_clock() -> Timestamp {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        Err(before) => Timestamp(i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms)),
    }
}

/// The kernel's random numbers, fetched a page at a time.
#[derive(Default)]
pub(super) struct Random {
    words: Vec<u64>,
}

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        if let Some(word) = self.words.pop() {
            return word;
        }
        let mut bytes = [0u8; 512];
        getrandom::fill(&mut bytes).expect("the kernel has random numbers");
        self.words.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)));
        self.words.pop().expect("just filled")
    }
}
