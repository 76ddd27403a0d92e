//! Whatever bytes arrive, the decoder answers. What it accepts, it writes in a form that it reads as the same; and the walk over a Produce request
//! sees what the declared decoder sees.
//!
//! An input is a request as it stands in a frame: API key, version, the rest of the header, body. With the highest bit of the key set, it is a
//! response instead: key, version, body.
//!
//! The rooms `base` and `protocol` are compiled in as they stand, without the rest of the broker: they name nothing else.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the rooms have more in them than is used here")]

#[path = "../../src/base/mod.rs"]
mod base;
#[path = "../../src/protocol/mod.rs"]
mod protocol;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::header::decode_response_header;
use protocol::messages::{DECLARED, Declared, ProduceRequest};
use protocol::produce_walk::{ProduceWalk, Step, TopicRef};
use protocol::{ApiKey, DecodeError, Message, Reader, decode_request_header};

fuzz_target!(|input: &[u8]| {
    let frame = Bytes::copy_from_slice(input);
    let mut reader = Reader::new(&frame);
    match reader.i16() {
        Ok(key) if key < 0 => response(key & i16::MAX, reader),
        Ok(_) => request(Reader::new(&frame)),
        Err(_) => {}
    }
});

fn request(mut reader: Reader<'_>) {
    let Ok(header) = decode_request_header(&mut reader) else { return };
    let body = reader.rest();
    if header.api == ApiKey::Produce {
        let decoded = ProduceRequest::decode(&mut reader.clone(), header.version);
        assert_eq!(walk(reader.clone(), header.version), decoded.as_ref().map(flat).map_err(|e| *e));
    }
    if let Some(message) = declared(header.api, true) {
        recode(message, &body, header.version);
    }
}

fn response(key: i16, mut reader: Reader<'_>) {
    let (Some(api), Ok(version)) = (ApiKey::from_key(key), reader.i16()) else { return };
    let _ = decode_response_header(&mut reader.clone(), api, version);
    if let Some(message) = declared(api, false) {
        recode(message, &reader.rest(), version);
    }
}

fn declared(api: ApiKey, request: bool) -> Option<&'static Declared> {
    DECLARED.iter().find(|message| message.api == Some(api) && message.is_request() == request)
}

fn recode(message: &Declared, body: &Bytes, version: i16) {
    if let Ok(once) = (message.recode)(body, version) {
        assert_eq!((message.recode)(&once, version).as_ref(), Ok(&once), "{} {version}", message.name);
    }
}

/// A Produce request as a list of what it says, in order.
#[derive(Debug, PartialEq)]
enum Said {
    Start(Option<String>, i16, i32),
    Topic(String, [u8; 16], usize),
    Partition(i32, Option<Bytes>),
}

fn flat(request: &ProduceRequest) -> Vec<Said> {
    let id = request.transactional_id.as_deref().map(str::to_owned);
    let mut said = vec![Said::Start(id, request.acks, request.timeout_ms)];
    for topic in &request.topic_data {
        said.push(Said::Topic(topic.name.to_string(), topic.topic_id.0, topic.partition_data.len()));
        let partitions = topic.partition_data.iter();
        said.extend(
            partitions.map(|p| Said::Partition(p.index, p.records.clone().map(|records| records.into_bytes()))),
        );
    }
    said
}

fn walk(reader: Reader<'_>, version: i16) -> Result<Vec<Said>, DecodeError> {
    let walk = ProduceWalk::new(reader, version)?;
    let id = walk.transactional_id.as_deref().map(str::to_owned);
    let mut said = vec![Said::Start(id, walk.acks, walk.timeout_ms)];
    for step in walk {
        said.push(match step? {
            Step::Topic { topic: TopicRef::Name(name), partitions } => Said::Topic(name.into(), [0; 16], partitions),
            Step::Topic { topic: TopicRef::Id(id), partitions } => Said::Topic(String::new(), id.0, partitions),
            Step::Partition { index, records } => Said::Partition(index, records),
        });
    }
    Ok(said)
}
