//! Which topics a consumer says it subscribes to: the front of the metadata that the consumer protocol puts into JoinGroup.
//!
//! ```text
//! version   2   0 or higher; later versions add fields behind these
//! topics    4   count, then each name with 2 bytes of length in front
//! user data 4   length (below zero: none), then bytes
//! ```

use crate::base::{Cursor, Set, Short};
use crate::protocol::Str;

/// The protocol type of consumers, whose metadata can be read.
pub(super) const CONSUMER: &str = "consumer";

/// Adds the topics in `metadata` to `topics`. `None` if it cannot be understood; nothing is sized from what it says.
pub(super) fn subscribed(metadata: &[u8], topics: &mut Set<Str>) -> Option<()> {
    read(metadata, topics).ok().flatten()
}

fn read(metadata: &[u8], topics: &mut Set<Str>) -> Result<Option<()>, Short> {
    let mut cursor = Cursor::new(metadata);
    let version = cursor.i16()?;
    let Ok(count) = u32::try_from(cursor.i32()?) else { return Ok(None) };
    if version < 0 {
        return Ok(None);
    }
    for _ in 0..count {
        let Ok(length) = usize::try_from(cursor.i16()?) else { return Ok(None) };
        let Ok(topic) = std::str::from_utf8(cursor.take(length)?) else { return Ok(None) };
        if !topics.contains(topic) {
            topics.insert(Str::from(topic));
        }
    }
    if let Ok(length) = usize::try_from(cursor.i32()?) {
        cursor.take(length)?;
    }
    Ok(Some(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(metadata: &[u8]) -> Option<Vec<Str>> {
        let mut topics = Set::default();
        subscribed(metadata, &mut topics)?;
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort();
        Some(topics)
    }

    #[test]
    fn a_subscription_is_read_in_any_version() {
        let body = b"\0\0\0\x02\0\x01b\0\x02aa\xff\xff\xff\xff";
        for version in [0u16, 1, 3, 77] {
            let metadata = [&version.to_be_bytes()[..], body, b"what later versions add"].concat();
            assert_eq!(topics(&metadata).unwrap(), ["aa", "b"], "version {version}");
        }
        assert_eq!(topics(b"\0\0\0\0\0\0\0\0\0\x01x").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_not_a_subscription_is_none() {
        let bad: &[&[u8]] = &[
            b"",
            b"\0",
            b"\0\0",
            b"\xff\xff\0\0\0\0\xff\xff\xff\xff",             // a version below zero
            b"\0\0\xff\xff\xff\xff\xff\xff\xff\xff",         // topics are null
            b"\0\0\x7f\xff\xff\xff\0\x01a\xff\xff\xff\xff",  // more topics than bytes
            b"\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff",       // a topic that is null
            b"\0\0\0\0\0\x01\0\x02\xc3\x28\xff\xff\xff\xff", // not UTF-8
            b"\0\0\0\0\0\x01\0\x01a",                        // no user data
            b"\0\0\0\0\0\0\0\0\0\x02x",                      // user data cut off
        ];
        for metadata in bad {
            assert_eq!(topics(metadata), None, "{metadata:?}");
        }
    }
}
