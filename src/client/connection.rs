//! One connection to one broker.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;

use super::{ClientError, Result};
use crate::base::Map;
use crate::protocol::header::decode_response_header;
use crate::protocol::messages::*;
use crate::protocol::{ApiKey, Frame, Message, Reader};

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What this client calls itself.
const CLIENT_ID: &str = "coretide-cli";

/// A request that this client sends.
pub trait Call: Message {
    /// Its API.
    const API: ApiKey;
    /// The newest version used: later ones name topics by id where people use names.
    const NEWEST: i16;
    /// The oldest version used.
    const OLDEST: i16;
    /// The answer to it.
    type Answer: Message;
}

macro_rules! calls {
    ($($request:ident => $answer:ident, $api:ident, $oldest:literal..=$newest:literal;)+) => { $(
        impl Call for $request {
            const API: ApiKey = ApiKey::$api;
            const NEWEST: i16 = $newest;
            const OLDEST: i16 = $oldest;
            type Answer = $answer;
        }
    )+ };
}

calls! {
    ProduceRequest => ProduceResponse, Produce, 3..=12;
    FetchRequest => FetchResponse, Fetch, 4..=12;
    ListOffsetsRequest => ListOffsetsResponse, ListOffsets, 1..=9;
    MetadataRequest => MetadataResponse, Metadata, 4..=12;
    CreateTopicsRequest => CreateTopicsResponse, CreateTopics, 5..=7;
    DeleteTopicsRequest => DeleteTopicsResponse, DeleteTopics, 5..=5;
    CreatePartitionsRequest => CreatePartitionsResponse, CreatePartitions, 1..=3;
    DescribeConfigsRequest => DescribeConfigsResponse, DescribeConfigs, 1..=4;
    IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, IncrementalAlterConfigs, 0..=1;
    FindCoordinatorRequest => FindCoordinatorResponse, FindCoordinator, 4..=6;
    ListGroupsRequest => ListGroupsResponse, ListGroups, 4..=5;
    DescribeGroupsRequest => DescribeGroupsResponse, DescribeGroups, 5..=6;
    ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse, ConsumerGroupDescribe, 0..=1;
    DeleteGroupsRequest => DeleteGroupsResponse, DeleteGroups, 1..=2;
    OffsetFetchRequest => OffsetFetchResponse, OffsetFetch, 8..=9;
    OffsetCommitRequest => OffsetCommitResponse, OffsetCommit, 6..=9;
    DescribeClusterRequest => DescribeClusterResponse, DescribeCluster, 0..=1;
}

/// A connection that is open.
pub(super) struct Connection {
    stream: TcpStream,
    address: String,
    correlation_id: i32,
    /// What the broker serves, by API key.
    served: Map<i16, (i16, i16)>,
    /// The finalized features by name.
    pub(super) features: Vec<(String, i16)>,
}

impl Connection {
    /// Connects, and asks what is served.
    pub(super) fn open(address: &str, timeout: Duration) -> Result<Self> {
        let unreachable = |source| ClientError::Unreachable { address: address.to_owned(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for resolved in address.to_socket_addrs().map_err(unreachable)? {
            let opened = TcpStream::connect_timeout(&resolved, timeout).and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                Ok(stream)
            });
            match opened {
                Ok(stream) => {
                    let served = Map::default();
                    let address = address.to_owned();
                    let mut connection = Self { stream, address, correlation_id: 0, served, features: Vec::new() };
                    connection.learn_what_is_served()?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(unreachable(last))
    }

    fn learn_what_is_served(&mut self) -> Result<()> {
        let request = ApiVersionsRequest {
            client_software_name: "coretide".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let answer: ApiVersionsResponse = self.exchange(ApiKey::ApiVersions, 3, &request)?;
        super::check(answer.error_code, None, || "the versions that the broker serves".into())?;
        self.served = answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        self.features = answer.finalized_features.iter().map(|f| (f.name.to_string(), f.max_version_level)).collect();
        Ok(())
    }

    /// Waits for answers so long from now on.
    pub(super) fn wait(&self, timeout: Duration) {
        // It fails only for a time of zero, which nobody asks for.
        let _ = self.stream.set_read_timeout(Some(timeout));
    }

    /// One request and its answer, in the newest version that both sides speak.
    pub(super) fn call<R: Call>(&mut self, request: &R) -> Result<R::Answer> {
        let not_served = || ClientError::NotServed { address: self.address.clone(), api: R::API };
        let (oldest, newest) = *self.served.get(&R::API.key()).ok_or_else(not_served)?;
        let version = newest.min(R::NEWEST);
        if version < oldest.max(R::OLDEST) {
            return Err(not_served());
        }
        self.exchange(R::API, version, request)
    }

    fn exchange<A: Message>(&mut self, api: ApiKey, version: i16, request: &impl Message) -> Result<A> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = Frame::request(api, version, self.correlation_id, Some(CLIENT_ID), request);
        let answer = self.round_trip(frame).map_err(|source| ClientError::Broken {
            address: self.address.clone(),
            api,
            source,
        })?;
        let garbled = |source| ClientError::Garbled { address: self.address.clone(), api, source };
        let mut reader = Reader::new(&answer);
        // An answer to another request would be one to a request that timed out, and then this connection is not used any more.
        decode_response_header(&mut reader, api, version).map_err(garbled)?;
        A::decode(&mut reader, version).map_err(garbled)
    }

    fn round_trip(&mut self, frame: Frame) -> io::Result<Bytes> {
        for part in &frame.parts {
            self.stream.write_all(part)?;
        }
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::other("the length of the answer makes no sense"))?;
        let mut answer = Vec::new();
        // Grows with what comes, not with what was announced.
        (&mut self.stream).take(length as u64).read_to_end(&mut answer)?;
        if answer.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.into())
    }
}
