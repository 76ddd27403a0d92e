//! The bytes of one connection, whatever protects them on the way. Plain today; encryption becomes another arm.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};

use crate::io::Stream as Plain;

/// A connected peer.
#[derive(Clone)]
pub enum Stream {
    /// Bytes travel as they are.
    Plain(Plain),
}

impl Stream {
    /// Reads what there is into the spare room of `buffer`. 0: the peer sends no more.
    pub async fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
        }
    }

    /// Writes all of `parts`, in order, with as few system calls as the peer's window allows.
    pub async fn write_all(&self, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(parts).await,
        }
    }

    /// Ends both directions: whoever reads or writes is woken.
    pub fn shutdown(&self) {
        match self {
            Self::Plain(stream) => stream.shutdown(),
        }
    }
}
