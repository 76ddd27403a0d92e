//! A declaration as data. Only tests and tools ask for it: they compare it with the schemas that Kafka publishes.

use std::ops::{Bound, RangeBounds};

/// Versions from the first to the last, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first version.
    pub first: i16,
    /// The last version; `i16::MAX` if there is no end.
    pub last: i16,
}

impl Span {
    /// The span that a range expression means.
    pub fn of(range: impl RangeBounds<i16>) -> Self {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(after) => after.saturating_sub(1),
            Bound::Unbounded => i16::MAX,
        };
        Self { first, last }
    }

    /// Whether `version` lies within.
    pub fn holds(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

/// The type of a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Schema {
    /// A type without parts, by Kafka's name.
    Plain(&'static str),
    /// Any number of elements.
    Array(Box<Schema>),
    /// A type that may be absent.
    Nullable(Box<Schema>),
    /// A structure: Kafka's name of it, and its fields in the order of the wire.
    Struct(&'static str, Vec<Field>),
}

/// A field of a structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name, in snake case.
    pub name: &'static str,
    /// What it holds.
    pub schema: Schema,
    /// The versions that have it.
    pub versions: Span,
    /// The versions in which it may be null, if its type can be.
    pub nulls: Span,
    /// Its tag, if it is a tagged field (KIP-482).
    pub tag: Option<u32>,
    /// Its value in versions that lack it, as written in the declaration; the type's own default if empty.
    pub default: &'static str,
}
