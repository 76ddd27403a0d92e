//! Expressions of consumer groups, held against the names of all topics. One that is made for it takes 0.3 ms for a name, and there may be a hundred expressions
//! in a group and ten thousand topics: so it is done in steps, one expression after the other.
//!
//! ```text
//! heartbeat --> needs what no expression was held against yet? --> queue --> steps --> the heartbeat again, with the topics that fit
//!          \--> something is due to be held against new topics? --> queue --> steps --> the group knows, and its next heartbeat acts on it
//! ```
//!
//! Bounded: few heartbeats wait ([`GROUP_REGEXES_WAITING_MAX`]), a group stands in the queue once, and an expression that takes too long is given up.

use std::collections::VecDeque;
use std::time::Duration;

use super::Shard;
use super::groups::Asker;
use super::message::GroupCommand;
use super::waiters::first;
use crate::base::limits::GROUP_REGEXES_WAITING_MAX;
use crate::base::{LogId, Set};
use crate::coordinator::{GroupError, Resolved, TopicRegex};
use crate::protocol::Str;
use crate::storage::drive::Notify;

/// What is still to be held against the topics.
#[derive(Default)]
pub(super) struct Expressions {
    queue: VecDeque<(LogId, Waiting)>,
    /// Heartbeats in the queue.
    heartbeats: usize,
    /// Groups that stand in it, or one of whose expressions is worked on.
    groups: Set<(LogId, Str)>,
    wake: Notify,
}

enum Waiting {
    /// A heartbeat, which is given to its coordinator afterwards.
    Heartbeat { asker: Asker, command: GroupCommand },
    /// Expressions that a group goes on with meanwhile.
    Group { group: Str, regexes: Vec<Str> },
}

impl Expressions {
    /// No more heartbeats can wait.
    pub(super) fn is_full(&self) -> bool {
        self.heartbeats >= GROUP_REGEXES_WAITING_MAX
    }

    pub(super) fn hold(&mut self, asker: Asker, log: LogId, command: GroupCommand) {
        self.heartbeats += 1;
        self.push(log, Waiting::Heartbeat { asker, command });
    }

    pub(super) fn refresh(&mut self, log: LogId, group: Str, regexes: Vec<Str>) {
        if self.groups.insert((log, group.clone())) {
            self.push(log, Waiting::Group { group, regexes });
        }
    }

    fn push(&mut self, log: LogId, waiting: Waiting) {
        self.queue.push_back((log, waiting));
        self.wake.notify();
    }

    fn pop(&mut self) -> Option<(LogId, Waiting)> {
        let (log, waiting) = self.queue.pop_front()?;
        self.heartbeats -= usize::from(matches!(waiting, Waiting::Heartbeat { .. }));
        Some((log, waiting))
    }

    /// What is left of a group after one expression; the others wait for their turn behind other groups.
    fn done(&mut self, log: LogId, group: Str, left: Vec<Str>) {
        if left.is_empty() {
            self.groups.remove(&(log, group));
        } else {
            self.push(log, Waiting::Group { group, regexes: left });
        }
    }
}

impl Shard {
    /// Resolves expressions until the broker begins to stop. From then on no command comes here.
    pub(super) async fn resolve_expressions(self) {
        let wake = self.with(|state| state.groups.expressions.wake.clone());
        loop {
            match self.with(|state| state.groups.expressions.pop()) {
                Some((log, Waiting::Heartbeat { asker, command })) => {
                    let command = self.resolved(log, command).await;
                    self.group_command_here(asker, log, command);
                }
                Some((log, Waiting::Group { group, regexes })) => self.refresh(log, group, regexes).await,
                None if self.is_stopping() => return,
                None => first(wake.notified(), self.stopping()).await,
            }
            self.io().yield_now().await;
        }
    }

    /// The command, with what one more of its expressions stands for.
    async fn resolved(&self, log: LogId, mut command: GroupCommand) -> GroupCommand {
        let unresolved = self.with(|state| state.groups.unresolved(log, &command));
        if let (Some(regex), GroupCommand::ConsumerHeartbeat(heartbeat)) = (unresolved, &mut command) {
            let found = self.hold_against_topics(regex).await;
            // What was done for the group is not lost if this heartbeat is refused.
            self.with(|state| state.groups.refreshed(log, &heartbeat.group, &found, self.io().now()));
            heartbeat.resolved.push(found);
        }
        command
    }

    /// One expression of a group.
    async fn refresh(&self, log: LogId, group: Str, mut regexes: Vec<Str>) {
        let Some(regex) = regexes.pop().filter(|_| !self.is_stopping()) else {
            return self.with(|state| state.groups.expressions.done(log, group, Vec::new()));
        };
        let found = self.hold_against_topics(regex).await;
        if let Err(error) = found.topics {
            tracing::warn!(group = &*group, regex = &*found.regex, "new topics are not looked for: {error}");
        }
        self.with(|state| {
            state.groups.refreshed(log, &group, &found, self.io().now());
            state.groups.expressions.done(log, group, regexes);
        });
    }

    async fn hold_against_topics(&self, regex: Str) -> Resolved {
        let (image, version) = self.with(|state| (state.image.clone(), state.groups.topics_version()));
        let (mut began, mut spent) = (self.io().now(), Duration::ZERO);
        let mut names: Vec<Str> = Vec::new();
        let topics = async {
            let compiled = TopicRegex::new(&regex)?;
            for topic in image.topics() {
                if compiled.fits(&topic.name) {
                    names.push(topic.name.clone().into());
                }
                let step = self.io().now().since(began);
                if step >= STEP {
                    spent += step;
                    if spent >= REGEX_TIME_MAX {
                        return Err(GroupError::RegularExpressionTooSlow);
                    }
                    self.io().yield_now().await;
                    began = self.io().now();
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        let topics = topics.await;
        Resolved { regex, version, topics }
    }
}

/// Others wait no longer than this for a core that holds expressions against names, but for what it takes to compile one.
const STEP: Duration = Duration::from_micros(500);
/// An expression that takes longer than this for all topics is given up. A usual one takes 1 us for each.
const REGEX_TIME_MAX: Duration = Duration::from_secs(1);
