//! Kafka's rules for topic names (`org.apache.kafka.common.internals.Topic`).

use crate::base::limits::TOPIC_NAME_CHARS_MAX;

/// Why a topic may not have a name. The sentences are Kafka's own.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameFault {
    /// Nothing.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// `.` or `..`, which are directories.
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    /// More characters than a directory name may have with its suffix.
    #[error("Topic name is invalid: the length of '{0}' is longer than the max allowed length {TOPIC_NAME_CHARS_MAX}")]
    TooLong(String),
    /// A character outside `a-zA-Z0-9._-`.
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    Characters(String),
}

/// Checks a topic's name alone.
pub fn validate_name(name: &str) -> Result<(), NameFault> {
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameFault::Dots(name.into()));
    }
    if name.chars().count() > TOPIC_NAME_CHARS_MAX {
        return Err(NameFault::TooLong(name.chars().take(TOPIC_NAME_CHARS_MAX).collect::<String>() + "..."));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(NameFault::Characters(name.into()));
    }
    Ok(())
}

/// What two names must not share: metric names fold `.` into `_`. `None`: the name has neither and cannot collide.
pub fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

/// The topic in which groups and their offsets are kept.
pub const GROUPS_TOPIC: &str = "__consumer_offsets";

/// Topics that belong to the broker and that clients may not write to.
pub fn is_internal(name: &str) -> bool {
    matches!(name, GROUPS_TOPIC | "__transaction_state" | "__share_group_state")
}

/// The metadata log's own name in Kafka, which no topic may have.
pub(super) const METADATA_TOPIC: &str = "__cluster_metadata";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafka() {
        for good in ["a", "A-b_c.9", "...", &"x".repeat(249)] {
            assert_eq!(validate_name(good), Ok(()), "{good}");
        }
        assert_eq!(validate_name(""), Err(NameFault::Empty));
        assert_eq!(validate_name(".."), Err(NameFault::Dots("..".into())));
        assert!(matches!(validate_name(&"x".repeat(250)), Err(NameFault::TooLong(_))));
        for bad in ["a b", "a/b", "é", "a\0", "a:b", "a\\b"] {
            assert_eq!(validate_name(bad), Err(NameFault::Characters(bad.into())));
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b"), collision_key("a_b"));
        assert_ne!(collision_key("a.b"), collision_key("a.c"));
        assert_eq!(collision_key("ab-c"), None);
    }
}
