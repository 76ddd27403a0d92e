//! A client with one connection and one request at a time.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};

use crate::io::{Io, Stream};
use crate::protocol::header::decode_response_header;
use crate::protocol::{ApiKey, Frame, Message, Reader};

/// The connection is gone, or what came over it makes no sense; the broker may or may not have done what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

pub(super) struct Client {
    stream: Stream,
    buffer: BytesMut,
    correlation_id: i32,
}

impl Client {
    pub(super) async fn connect(io: &Io, address: SocketAddr) -> Result<Self, Gone> {
        Ok(Self { stream: io.connect(address).await?, buffer: BytesMut::new(), correlation_id: 0 })
    }

    /// Asks and waits for the answer.
    pub(super) async fn call<A: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Message,
    ) -> Result<A, Gone> {
        self.correlation_id += 1;
        let frame = Frame::request(api, version, self.correlation_id, Some("sim"), request);
        let mut parts = [frame.into_bytes()].into_iter().collect();
        self.stream.write_all(&mut parts).await?;
        let answer = self.frame().await?;
        let mut reader = Reader::new(&answer);
        let correlation_id = decode_response_header(&mut reader, api, version).map_err(|_| Gone)?;
        assert_eq!(correlation_id, self.correlation_id, "answers come in the order of the requests");
        Ok(A::decode(&mut reader, version).expect("the broker writes what can be read"))
    }

    async fn frame(&mut self) -> Result<Bytes, Gone> {
        loop {
            if let Some((length, _)) = self.buffer.split_first_chunk::<4>() {
                let len = i32::from_be_bytes(*length) as usize;
                if self.buffer.len() >= 4 + len {
                    self.buffer.advance(4);
                    return Ok(self.buffer.split_to(len).freeze());
                }
            }
            self.buffer.reserve(64 << 10);
            if self.stream.read(&mut self.buffer).await? == 0 {
                return Err(Gone);
            }
        }
    }
}
