//! The way from the control thread to the cores: questions into their mailboxes, answers until a deadline.

use tokio::time::{Instant, timeout_at};

use super::answer::Snapshot;
use crate::base::limits::{CORE_ANSWERS_WITHIN, CORE_QUESTIONS_MAX};
use crate::base::{LogId, Offset};
use crate::io::{Receiver, Sender, mailbox};

/// A question to one core.
#[derive(Debug)]
pub struct Question {
    pub(super) what: What,
    pub(super) reply: Sender<(usize, Told)>,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum What {
    /// Whether it serves.
    Stage,
    /// All its numbers.
    Snapshot,
    /// The high watermarks of these logs, as far as they are there.
    HighWatermarks(Vec<LogId>),
}

/// What a core says.
#[derive(Debug)]
pub(super) enum Told {
    Stage(Stage),
    /// `None`: it has none yet.
    Snapshot(Option<Box<Snapshot>>),
    HighWatermarks(Vec<(LogId, Offset)>),
}

/// How far a core is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Starting,
    Serving,
    Stopping,
}

/// All cores, as the control thread sees them.
#[derive(Clone, Debug)]
pub struct Cores(Vec<Sender<Question>>);

/// The ways to `count` cores, and their other ends in the order of the cores.
pub fn cores(count: usize) -> (Cores, Vec<Receiver<Question>>) {
    let (ways, ends) = (0..count).map(|_| mailbox(CORE_QUESTIONS_MAX)).unzip();
    (Cores(ways), ends)
}

impl Cores {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Asks each core what `what` gives for it. `None` where nothing was asked, or where no answer came in time.
    pub(super) async fn ask(&self, mut what: impl FnMut(usize) -> Option<What>) -> Vec<Option<Told>> {
        let deadline = Instant::now() + CORE_ANSWERS_WITHIN;
        let (reply, mut answers) = mailbox(self.count().max(1));
        for (at, way) in self.0.iter().enumerate() {
            if let Some(what) = what(at) {
                // A full mailbox is that of a core that does not answer.
                let _ = way.try_send(Question { what, reply: reply.clone() });
            }
        }
        drop(reply);
        let mut told: Vec<Option<Told>> = self.0.iter().map(|_| None).collect();
        let all = async {
            while let Some((at, answer)) = answers.recv().await {
                told[at] = Some(answer);
            }
        };
        let _ = timeout_at(deadline, all).await;
        told
    }

    /// Whether every core serves, and none has begun to stop.
    pub(super) async fn all_serve(&self) -> bool {
        let stages = self.ask(|_| Some(What::Stage)).await;
        stages.iter().all(|told| matches!(told, Some(Told::Stage(Stage::Serving))))
    }
}
