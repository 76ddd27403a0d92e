//! Walks the body of a Produce request without making anything of it: the hot path's reading of [`ProduceRequest`].
//!
//! Always true: on any bytes, the walk yields what the declared decoder yields, and ends in the same error. Record bytes come as slices that share
//! the frame. Nothing is allocated, except to mend a name that is not UTF-8.
//!
//! [`ProduceRequest`]: super::messages::ProduceRequest

use bytes::Bytes;
use std::borrow::Cow;

use super::messages::ProduceRequest;
use super::messages::produce::{PartitionProduceData, TopicProduceData};
use super::types::{Message, Wire};
use super::wire::{DecodeError, Reader, Version};
use crate::base::TopicId;

/// The first version whose topics stand by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// How a request names a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicRef<'a> {
    /// By name, up to version 12.
    Name(Cow<'a, str>),
    /// By id, from version 13.
    Id(TopicId),
}

/// What the walk comes upon, in the order of the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A topic; its partitions follow.
    Topic {
        /// Which one.
        topic: TopicRef<'a>,
        /// How many steps [`Step::Partition`] follow.
        partitions: usize,
    },
    /// A partition of the last topic.
    Partition {
        /// Its number.
        index: i32,
        /// What to append; `None` is null on the wire.
        records: Option<Bytes>,
    },
}

/// What stands before the topics, and then an iterator over topics and partitions. An error may come at any step, so nothing may be appended
/// before the last one; after an error the walk is over.
#[derive(Clone, Debug)]
pub struct ProduceWalk<'a> {
    /// The transaction that the records belong to.
    pub transactional_id: Option<Cow<'a, str>>,
    /// 0 none, 1 the leader, -1 all in-sync replicas. Not checked.
    pub acks: i16,
    /// How long to wait for in-sync replicas.
    pub timeout_ms: i32,
    /// Topics in the request.
    pub topics: usize,
    reader: Reader<'a>,
    version: Version,
    topics_left: usize,
    partitions_left: usize,
    over: bool,
}

impl<'a> ProduceWalk<'a> {
    /// Starts at the reader's place, which is the first byte after the request's header.
    pub fn new(reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !ProduceRequest::VERSIONS.contains(&version) {
            return Err(DecodeError::UnknownVersion { message: ProduceRequest::NAME, version });
        }
        let mut reader = reader;
        let version = Version::new(version, version >= ProduceRequest::FLEXIBLE_FROM);
        let transactional_id = reader.text(version.flexible)?;
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let topics = Self::count::<TopicProduceData>(&mut reader, version)?;
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
            reader,
            version,
            topics_left: topics,
            partitions_left: 0,
            over: false,
        })
    }

    /// The length of an array of `T`, charged to the reader's budget.
    fn count<T: Wire>(reader: &mut Reader<'a>, version: Version) -> Result<usize, DecodeError> {
        let count = reader.len(version.flexible)?.ok_or(DecodeError::Null)?;
        reader.elements(count, T::smallest(version))?;
        Ok(count)
    }

    fn step(&mut self) -> Result<Option<Step<'a>>, DecodeError> {
        if self.partitions_left > 0 {
            self.partition().map(Some)
        } else if self.topics_left > 0 {
            self.topic().map(Some)
        } else {
            self.over = true;
            self.end_of_structure()?;
            Ok(None)
        }
    }

    fn topic(&mut self) -> Result<Step<'a>, DecodeError> {
        self.topics_left -= 1;
        let topic = if self.version.number >= TOPIC_IDS_FROM {
            TopicRef::Id(self.reader.topic_id()?)
        } else {
            TopicRef::Name(self.reader.text(self.version.flexible)?.ok_or(DecodeError::Null)?)
        };
        let partitions = Self::count::<PartitionProduceData>(&mut self.reader, self.version)?;
        self.partitions_left = partitions;
        if partitions == 0 {
            self.end_of_structure()?;
        }
        Ok(Step::Topic { topic, partitions })
    }

    fn partition(&mut self) -> Result<Step<'a>, DecodeError> {
        self.partitions_left -= 1;
        let index = self.reader.i32()?;
        let records = self.reader.bytes(self.version.flexible)?;
        self.end_of_structure()?;
        if self.partitions_left == 0 {
            self.end_of_structure()?;
        }
        Ok(Step::Partition { index, records })
    }

    /// None of Produce's structures has tagged fields of its own.
    fn end_of_structure(&mut self) -> Result<(), DecodeError> {
        if self.version.flexible { self.reader.skip_tagged_fields() } else { Ok(()) }
    }
}

impl<'a> Iterator for ProduceWalk<'a> {
    type Item = Result<Step<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step();
        self.over |= step.is_err();
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Records, Str, Writer};
    use proptest::prelude::*;

    /// What the walk saw, put together again.
    fn walked(body: &Bytes, version: i16) -> Result<ProduceRequest, DecodeError> {
        let mut walk = ProduceWalk::new(Reader::new(body), version)?;
        let mut request = ProduceRequest {
            transactional_id: walk.transactional_id.take().map(Str::from),
            acks: walk.acks,
            timeout_ms: walk.timeout_ms,
            topic_data: Vec::new(),
        };
        let mut announced = 0;
        for step in walk {
            match step? {
                Step::Topic { topic, partitions } => {
                    assert_eq!(announced, 0, "a topic ends before its partitions do");
                    announced = partitions;
                    let (name, topic_id) = match topic {
                        TopicRef::Name(name) => (name.into(), TopicId::ZERO),
                        TopicRef::Id(id) => (Str::default(), id),
                    };
                    request.topic_data.push(TopicProduceData { name, topic_id, partition_data: Vec::new() });
                }
                Step::Partition { index, records } => {
                    announced -= 1;
                    let topic = request.topic_data.last_mut().expect("a topic comes first");
                    topic.partition_data.push(PartitionProduceData { index, records: records.map(Records::from) });
                }
            }
        }
        Ok(request)
    }

    fn decoded(body: &Bytes, version: i16) -> Result<ProduceRequest, DecodeError> {
        ProduceRequest::decode(&mut Reader::new(body), version)
    }

    prop_compose! {
        fn partition()(index: i32, records in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))) -> PartitionProduceData {
            PartitionProduceData { index, records: records.map(|records| Records::from(Bytes::from(records))) }
        }
    }

    prop_compose! {
        fn topic()(name in "[a-z]{0,6}", id: [u8; 16], partition_data in proptest::collection::vec(partition(), 0..4)) -> TopicProduceData {
            TopicProduceData { name: name.as_str().into(), topic_id: TopicId(id), partition_data }
        }
    }

    prop_compose! {
        fn request()(
            transactional_id in proptest::option::of("[a-z]{0,6}"),
            acks: i16,
            timeout_ms: i32,
            topic_data in proptest::collection::vec(topic(), 0..4),
        ) -> ProduceRequest {
            ProduceRequest { transactional_id: transactional_id.map(Str::from), acks, timeout_ms, topic_data }
        }
    }

    proptest! {
        #[test]
        fn the_walk_sees_what_the_decoder_sees(request in request(), version in ProduceRequest::VERSIONS) {
            let mut writer = Writer::default();
            request.encode(&mut writer, version);
            let body: Bytes = writer.finish().concat().into();
            let decoded = decoded(&body, version);
            prop_assert!(decoded.is_ok());
            prop_assert_eq!(walked(&body, version), decoded);
        }

        #[test]
        fn the_walk_fails_as_the_decoder_fails(
            request in request(),
            version in ProduceRequest::VERSIONS,
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut writer = Writer::default();
            request.encode(&mut writer, version);
            let mut body = writer.finish().concat();
            for (place, byte) in damage {
                let place = place.index(body.len());
                body[place] = byte;
            }
            body.truncate(cut.index(body.len() * 2).max(1));
            let body = Bytes::from(body);
            prop_assert_eq!(walked(&body, version), decoded(&body, version));
        }
    }

    #[test]
    fn records_share_the_frame() {
        let records = Bytes::from_static(b"a batch");
        let partition = PartitionProduceData { index: 7, records: Some(records.into()) };
        let topic = TopicProduceData { name: "t".into(), partition_data: vec![partition], ..Default::default() };
        let request = ProduceRequest { topic_data: vec![topic], ..Default::default() };
        let mut writer = Writer::default();
        request.encode(&mut writer, 9);
        let body: Bytes = writer.finish().concat().into();
        let last = ProduceWalk::new(Reader::new(&body), 9).unwrap().last();
        let Some(Ok(Step::Partition { index: 7, records: Some(records) })) = last else { panic!("{last:?}") };
        assert!(body.as_ptr_range().contains(&records.as_ptr()));
    }
}
