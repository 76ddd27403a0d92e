//! Expressions of consumer groups, held against the names of all topics. One that is made for it takes 0.3 ms for a name, and there may be a hundred expressions
//! and ten thousand topics: so commands that need it stand in one queue of the core, and the work is done in steps.
//!
//! ```text
//! command --> unresolved? --> queue --> step, yield, step, ... --> the command again, with the topics that fit
//!                \--> coordinator
//! ```
//!
//! Bounded: each command here is the only one under way of its connection, and an expression that takes too long is refused.

use std::collections::VecDeque;
use std::time::Duration;

use super::Shard;
use super::groups::Asker;
use super::message::GroupCommand;
use super::waiters::first;
use crate::base::LogId;
use crate::cluster::Image;
use crate::coordinator::{GroupError, Resolved, TopicRegex};
use crate::protocol::Str;
use crate::storage::drive::Notify;

/// Commands whose expressions are still to be held against the topics.
#[derive(Default)]
pub(super) struct Unresolved {
    queue: VecDeque<(Asker, LogId, GroupCommand)>,
    wake: Notify,
}

impl Unresolved {
    pub(super) fn push(&mut self, asker: Asker, log: LogId, command: GroupCommand) {
        self.queue.push_back((asker, log, command));
        self.wake.notify();
    }
}

impl Shard {
    /// Resolves expressions until the broker begins to stop. From then on no command comes here.
    pub(super) async fn resolve_expressions(self) {
        let wake = self.with(|state| state.groups.unresolved.wake.clone());
        loop {
            match self.with(|state| state.groups.unresolved.queue.pop_front()) {
                Some((asker, log, command)) => {
                    let command = self.resolved(log, command).await;
                    self.group_command_here(asker, log, command);
                    self.io().yield_now().await;
                }
                None if self.is_stopping() => return,
                None => first(wake.notified(), self.stopping()).await,
            }
        }
    }

    /// The command with what its expressions stand for, if the broker goes on.
    async fn resolved(&self, log: LogId, mut command: GroupCommand) -> GroupCommand {
        let now = self.io().now();
        let (image, version, unresolved) = self.with(|state| {
            let unresolved = state.groups.unresolved(log, &command, now);
            (state.image.clone(), state.groups.topics_version(), unresolved)
        });
        for regex in unresolved {
            if self.is_stopping() {
                break;
            }
            let topics = self.fitting(&image, &regex).await;
            if let GroupCommand::ConsumerHeartbeat(heartbeat) = &mut command {
                heartbeat.resolved.push(Resolved { regex, version, topics });
            }
            self.io().yield_now().await;
        }
        command
    }

    /// The topics whose names fit, in order.
    async fn fitting(&self, image: &Image, regex: &str) -> Result<Vec<Str>, GroupError> {
        let (mut began, mut spent) = (self.io().now(), Duration::ZERO);
        let regex = TopicRegex::new(regex)?;
        let mut names: Vec<Str> = Vec::new();
        for topic in image.topics() {
            if regex.fits(&topic.name) {
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
    }
}

/// Others wait no longer than this for a core that holds expressions against names, but for the one name that is looked at.
const STEP: Duration = Duration::from_micros(500);
/// An expression that takes longer than this for all topics is refused. A usual one takes 1 us for each.
const REGEX_TIME_MAX: Duration = Duration::from_millis(250);
