//! What the members of a group subscribe to together, and the topics that this stands for now.

use std::collections::BTreeMap;

use super::PARTITION_BYTES;
use super::member::{NAME_BYTES, Said};
use crate::base::{Mono, Set, TopicId};
use crate::coordinator::command::Resolved;
use crate::coordinator::topics::Topics;
use crate::protocol::Str;

/// Names and expressions of all members, and the topics that are meant.
#[derive(Clone, Debug, Default)]
pub struct Subscribed {
    /// How many members name each topic.
    names: BTreeMap<Str, usize>,
    regexes: BTreeMap<Str, Expression>,
    /// `None` after a start, until a member is heard of.
    known: Option<Known>,
    /// Names or expressions came or went, or stand for something else, since the topics were looked at.
    stale: bool,
    /// Memory of names and expressions, as it is charged.
    bytes: usize,
}

/// An expression for topics.
#[derive(Clone, PartialEq, Debug, Default)]
struct Expression {
    /// How many members have it.
    members: usize,
    /// `None` while it was not held against any topics.
    fitting: Option<Fitting>,
}

/// What an expression stands for.
#[derive(Clone, PartialEq, Debug)]
pub struct Fitting {
    /// The topics that fit, in order.
    topics: Vec<Str>,
    /// When it was held against all topics last.
    at: Mono,
    /// The version of those topics.
    version: u64,
}

/// The topics that a group subscribes to, those that there are.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Known {
    /// The topics were looked at in this version.
    pub version: u64,
    /// By name: id and number of partitions.
    pub topics: BTreeMap<Str, (TopicId, i32)>,
    /// Partitions of all of them.
    pub partitions: usize,
}

impl Subscribed {
    /// A member says something else than before, or comes, or goes.
    pub fn exchange(&mut self, before: Option<&Said>, after: Option<&Said>) {
        for name in after.into_iter().flat_map(|said| &said.topics) {
            let count = self.names.entry(name.clone()).or_default();
            if *count == 0 {
                self.bytes += 2 * NAME_BYTES;
                self.stale = true;
            }
            *count += 1;
        }
        if let Some(said) = after.filter(|said| !said.regex.is_empty()) {
            if !self.regexes.contains_key(&said.regex) {
                self.bytes += 2 * NAME_BYTES;
                self.stale = true;
            }
            self.regexes.entry(said.regex.clone()).or_default().members += 1;
        }
        for name in before.into_iter().flat_map(|said| &said.topics) {
            let count = self.names.get_mut(name).expect("counted when the member named it");
            *count -= 1;
            if *count == 0 {
                self.names.remove(name);
                self.bytes -= 2 * NAME_BYTES;
                self.stale = true;
            }
        }
        if let Some(said) = before.filter(|said| !said.regex.is_empty()) {
            let expression = self.regexes.get_mut(&said.regex).expect("counted when the member had it");
            expression.members -= 1;
            if expression.members == 0 {
                let expression = self.regexes.remove(&said.regex).unwrap_or_default();
                self.bytes -= 2 * NAME_BYTES + expression.bytes();
                self.stale = true;
            }
        }
    }

    /// Some member has this expression.
    pub fn has_regex(&self, regex: &str) -> bool {
        self.regexes.contains_key(regex)
    }

    /// How many different expressions there are.
    pub fn regexes(&self) -> usize {
        self.regexes.len()
    }

    /// What an expression stands for, as far as that is known.
    pub fn fitting(&self, regex: &str) -> Option<&Fitting> {
        self.regexes.get(regex)?.fitting.as_ref()
    }

    /// From now on an expression of a member stands for this.
    pub fn fit(&mut self, regex: &str, fitting: Fitting) {
        if let Some(expression) = self.regexes.get_mut(regex) {
            self.bytes -= expression.bytes();
            self.stale |= expression.fitting.as_ref().is_none_or(|before| before.topics != fitting.topics);
            expression.fitting = Some(fitting);
            self.bytes += expression.bytes();
        }
    }

    /// The expressions that were not held against any topics yet: all of them after a start.
    pub fn unresolved(&self) -> impl Iterator<Item = &Str> {
        self.regexes.iter().filter(|(_, expression)| expression.fitting.is_none()).map(|(regex, _)| regex)
    }

    /// The expressions that are to be held against all topics again: that was long ago, and the topics are others now.
    pub fn due(&self, version: u64, now: Mono) -> Vec<Str> {
        let due = |fitting: &Fitting| fitting.version != version && now >= fitting.at + REGEX_REFRESH_INTERVAL;
        let due = self.regexes.iter().filter(|(_, expression)| expression.fitting.as_ref().is_some_and(due));
        due.map(|(regex, _)| regex.clone()).collect()
    }

    /// Takes over what expressions were found to stand for.
    pub fn take_over(&mut self, found: &[Resolved], now: Mono) {
        for Resolved { regex, version, topics } in found {
            let topics = match (topics, self.fitting(regex)) {
                (Ok(topics), _) => topics.clone(),
                // One that was in order when it came stays so.
                (Err(_), Some(before)) => before.topics.clone(),
                (Err(_), None) => continue,
            };
            self.fit(regex, Fitting { topics, at: now, version: *version });
        }
    }

    /// The topics that are known were looked at in this version, and what members subscribe to is the same.
    pub fn is_fresh(&self, version: u64) -> bool {
        !self.stale && self.known.as_ref().is_some_and(|known| known.version == version)
    }

    /// Looks names and expressions up among the topics that there are.
    pub fn look(&self, topics: &dyn Topics) -> Known {
        let mut known = Known { version: topics.version(), ..Known::default() };
        let fitting = self.regexes.values().filter_map(|expression| expression.fitting.as_ref());
        for name in self.names.keys().chain(fitting.flat_map(|fitting| &fitting.topics)) {
            if known.topics.contains_key(name) {
                continue;
            }
            if let Some((id, partitions)) = topics.find(name) {
                known.partitions += usize::try_from(partitions).unwrap_or(0);
                known.topics.insert(name.clone(), (id, partitions));
            }
        }
        known
    }

    /// From now on these are the topics.
    pub fn know(&mut self, known: Known) {
        self.known = Some(known);
        self.stale = false;
    }

    /// The topics, as far as they were looked at.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// The topics of one member, those that there are.
    pub fn of<'a>(&'a self, said: &'a Said) -> impl Iterator<Item = (TopicId, i32)> + 'a {
        let fitting = self.fitting(&said.regex).into_iter().flat_map(|fitting| &fitting.topics);
        let names = said.topics.iter().chain(fitting);
        names.filter_map(|name| self.known.as_ref()?.topics.get(name).copied())
    }

    /// The ids of those.
    pub fn ids_of(&self, said: &Said) -> Set<TopicId> {
        self.of(said).map(|(id, _)| id).collect()
    }

    /// A member subscribes to the topic, or might.
    pub fn has(&self, topic: &str) -> bool {
        let fits = |expression: &Expression| match &expression.fitting {
            Some(Fitting { topics, .. }) => topics.binary_search_by(|name| (**name).cmp(topic)).is_ok(),
            None => true,
        };
        self.names.contains_key(topic) || self.regexes.values().any(fits)
    }

    /// Memory, as it is charged; that of partitions is the group's.
    pub fn bytes(&self) -> usize {
        self.bytes + self.known.as_ref().map_or(0, |known| known.topics.len() * NAME_BYTES)
    }

    /// Names or expressions came or went, or stand for something else, since the topics were looked at.
    #[cfg(test)]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Every count that is kept equals what it counts.
    #[cfg(test)]
    pub fn check<'a>(&self, members: impl Iterator<Item = &'a Said>) {
        let mut anew = Subscribed::default();
        members.for_each(|said| anew.exchange(None, Some(said)));
        assert_eq!(self.names, anew.names);
        let counts = |of: &Subscribed| -> Vec<(Str, usize)> {
            of.regexes.iter().map(|(regex, expression)| (regex.clone(), expression.members)).collect()
        };
        assert_eq!(counts(self), counts(&anew));
        let resolved: usize = self.regexes.values().map(Expression::bytes).sum();
        assert_eq!(self.bytes, anew.bytes + resolved);
    }
}

impl Expression {
    fn bytes(&self) -> usize {
        self.fitting.as_ref().map_or(0, |fitting| fitting.topics.len() * size_of::<Str>())
    }
}

impl Known {
    /// Memory, as it is charged, with that of the group's partitions.
    pub fn bytes(&self) -> usize {
        self.topics.len() * NAME_BYTES + self.partitions * PARTITION_BYTES
    }

    /// The hash of these topics that Kafka keeps with a group's epoch, of topics whose brokers have no rack.
    pub fn hash(&self) -> i64 {
        if self.topics.is_empty() {
            return 0;
        }
        let of_each =
            self.topics.iter().flat_map(|(name, (id, partitions))| topic_hash(name, *id, *partitions).to_le_bytes());
        hash(&of_each.collect::<Vec<u8>>())
    }
}

fn topic_hash(name: &str, id: TopicId, partitions: i32) -> i64 {
    let mut bytes = vec![0];
    bytes.extend(id.0[..8].iter().rev());
    bytes.extend(id.0[8..].iter().rev());
    let mut units = 0i32;
    for unit in name.encode_utf16() {
        bytes.extend(unit.to_le_bytes());
        units += 1;
    }
    bytes.extend(units.to_le_bytes());
    bytes.extend(partitions.to_le_bytes());
    (0..partitions).for_each(|partition| bytes.extend(partition.to_le_bytes()));
    hash(&bytes)
}

fn hash(bytes: &[u8]) -> i64 {
    twox_hash::XxHash3_64::oneshot(bytes).cast_signed()
}

/// Expressions are held against new topics no more often than this, as in Kafka.
const REGEX_REFRESH_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_topics_is_that_of_kafka() {
        let mut checked = 0;
        for line in include_str!("../../../tests/golden/consumer_offsets.txt").lines() {
            let mut words = line.split(' ');
            if words.next() != Some("topics") {
                continue;
            }
            let expected: i64 = words.next().expect("a hash").parse().expect("a number");
            let mut known = Known::default();
            for (word, number) in words.zip(1..) {
                let (name, partitions) = word.split_once(':').expect("name and partitions");
                let digits = |at| u8::from_str_radix(&name[at..at + 2], 16).expect("two hex digits");
                let name = String::from_utf8((0..name.len()).step_by(2).map(digits).collect()).expect("UTF-8");
                known.topics.insert(name.into(), (TopicId([number; 16]), partitions.parse().expect("a number")));
            }
            assert_eq!(known.hash(), expected, "{line}");
            checked += 1;
        }
        assert_eq!(checked, 3);
    }
}
