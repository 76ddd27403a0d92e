//! Numbers that must not be mistaken for each other.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// A Kafka broker or node id, as clients see it. Never converts to or from [`ShardId`].
    NodeId(i32)
}
id! {
    /// One core's executor within this process, counted from 0.
    ShardId(u16)
}
id! {
    /// One replica's log. Given out by a metadata command and never used again, so a deleted and re-created topic has other log ids.
    LogId(u64)
}
id! {
    /// A partition's number within its topic.
    PartitionIndex(i32)
}
id! {
    /// The position of a record in its log, counted in records from 0.
    Offset(i64)
}
id! {
    /// Counts the leaders of a partition. The same offset with different content always has a different epoch.
    LeaderEpoch(i32)
}
id! {
    /// An idempotent or transactional producer (KIP-98). -1 is none.
    ProducerId(i64)
}
id! {
    /// Fences older instances of a producer (KIP-98). -1 is none.
    ProducerEpoch(i16)
}
id! {
    /// One start of this broker; equals the index of the metadata command that recorded the start.
    BrokerEpoch(i64)
}
id! {
    /// One journal. Not a core number: any number of cores may follow over a restart.
    JournalId(u32)
}
id! {
    /// One opening of the data directory for writing. Old blocks of an earlier incarnation in a recycled file end the chain like zeros do.
    Incarnation(u64)
}

impl Offset {
    /// The offset `count` records further on.
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl ProducerId {
    /// The batch has no producer state.
    pub const NONE: Self = Self(-1);
}

impl LeaderEpoch {
    /// The client did not say which epoch it believes in.
    pub const NONE: Self = Self(-1);
}

/// A topic's UUID (KIP-516). All zeros means none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// No topic id.
    pub const ZERO: Self = Self([0; 16]);

    /// A version 4 UUID made of 16 random bytes. Ids whose text begins with a dash are turned away, as Kafka does: command lines take them for flags.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        if bytes[0] >> 2 == 62 {
            bytes[0] &= 0x7f;
        }
        Self(bytes)
    }

    /// Whether this is [`TopicId::ZERO`].
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

/// Kafka's text form: URL-safe base64 of the 16 bytes, without padding (22 characters).
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = [0u8; 22];
        let mut out = 0;
        for chunk in self.0.chunks(3) {
            let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for place in 0..=chunk.len() {
                text[out] = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
                out += 1;
            }
        }
        f.write_str(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_prints_as_kafka_prints_it() {
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        let ones = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(ones.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn a_random_topic_id_never_begins_with_a_dash() {
        for first in 0..=255 {
            assert!(!TopicId::from_random([first; 16]).to_string().starts_with('-'));
        }
    }
}
