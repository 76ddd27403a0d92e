//! The consumer protocol: what the members of a group of consumers tell each other inside JoinGroup and SyncGroup. The
//! broker carries it unread, except where it must know what a group subscribes to.
//! KIP-429 (owned partitions), KIP-792 (generation), KIP-881 (rack).

use bytes::Bytes;

use crate::protocol::{DecodeError, Message, Reader, Str, Writer, message};

message! {
    /// What a member wants: the metadata of its protocols in JoinGroup.
    ConsumerProtocolSubscription, versions 0..=3, flexible from never {
        topics: Vec<Str>,
        user_data: Option<Bytes>,
        owned_partitions: Vec<TopicPartition> [1..],
        generation_id: i32 [2..] = -1,
        rack_id: Option<Str> [3..],
    }

    /// Partitions of one topic.
    TopicPartition {
        topic: Str,
        partitions: Vec<i32>,
    }
}

message! {
    /// What a member gets: its assignment in SyncGroup.
    ConsumerProtocolAssignment, versions 0..=3, flexible from never {
        assigned_partitions: Vec<TopicPartition>,
        user_data: Option<Bytes>,
    }
}

/// Reads a subscription or an assignment as members exchange it: the version, then the message. A version from the
/// future is read as the newest one that is known, as Kafka does, for versions only add fields at the end.
///
/// Errors: the version is negative, or the bytes are not such a message.
pub fn decode_versioned<M: Message>(bytes: &Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    M::decode(&mut reader, version.min(*M::VERSIONS.end()))
}

/// Writes a subscription or an assignment as members exchange it: the version, then the message.
///
/// # Panics
/// If the message has no such version.
pub fn encode_versioned<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::default();
    writer.i16(version);
    message.encode(&mut writer, version);
    writer.finish().concat().into()
}

/// The topics of a subscription. What it says besides is not looked at, and neither is its version, as Kafka does: some
/// clients announce a version and leave out fields that it has.
///
/// Errors: the bytes do not begin with a subscription.
pub fn subscribed_topics(metadata: &Bytes) -> Result<Vec<Str>, DecodeError> {
    let mut reader = Reader::new(metadata);
    reader.i16()?;
    ConsumerProtocolSubscription::decode(&mut reader, 0).map(|subscription| subscription.topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> ConsumerProtocolSubscription {
        ConsumerProtocolSubscription {
            topics: vec!["a".into(), "b".into()],
            user_data: Some(Bytes::from_static(b"mine")),
            owned_partitions: vec![TopicPartition { topic: "a".into(), partitions: vec![0, 2] }],
            generation_id: 7,
            rack_id: Some("r".into()),
        }
    }

    #[test]
    fn a_version_from_the_future_is_read_as_the_newest() {
        let newest = encode_versioned(&subscription(), 3);
        assert_eq!(decode_versioned(&newest), Ok(subscription()));
        let future = Bytes::from([&[0, 9], &newest[2..], b"more"].concat());
        assert_eq!(decode_versioned(&future), Ok(subscription()));
        let found = decode_versioned::<ConsumerProtocolSubscription>(&Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0]));
        assert!(matches!(found, Err(DecodeError::UnknownVersion { version: -1, .. })), "{found:?}");
    }

    #[test]
    fn topics_are_read_whatever_follows_them() {
        let old = ConsumerProtocolSubscription {
            owned_partitions: Vec::new(),
            generation_id: -1,
            rack_id: None,
            ..subscription()
        };
        let old = encode_versioned(&old, 0);
        for announced in [0, 1, 3, 9, i16::MAX] {
            let metadata = Bytes::from([&announced.to_be_bytes()[..], &old[2..]].concat());
            assert_eq!(subscribed_topics(&metadata), Ok(subscription().topics));
        }
        assert_eq!(subscribed_topics(&encode_versioned(&subscription(), 3)), Ok(subscription().topics));
    }

    /// Members may send whatever they like as metadata.
    #[test]
    fn metadata_that_is_no_subscription_is_an_error() {
        for metadata in [&b""[..], b"\0", b"\0\0", b"\0\0\x7f\xff\xff\xff", b"\0\0\xff\xff\xff\xff"] {
            assert!(subscribed_topics(&Bytes::from_static(metadata)).is_err(), "{metadata:?}");
        }
    }
}
