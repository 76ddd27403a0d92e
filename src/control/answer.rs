//! The other end, on each core: questions of the control thread become copies of the core's numbers.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use super::cores::{Question, Stage, Told, What};
use crate::base::{ShardId, Timestamp};
use crate::broker::{self, Broker};
use crate::io::Receiver;
use crate::net;
use crate::shard::{self, BootSummary, Shard};

/// What there is to ask on a core that serves.
pub struct Place {
    /// Its data.
    pub shard: Shard,
    /// Its requests.
    pub broker: Rc<Broker>,
    /// Its connections.
    pub connections: Rc<net::Counts>,
    /// On core 0: how the start went.
    pub started: Option<Started>,
}

/// How the start went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Started {
    /// When the process began.
    pub process_since: Timestamp,
    /// How long the start took.
    pub took: Duration,
    /// What it found on disk.
    pub recovered: BootSummary,
}

/// A copy of all numbers of a core.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub shard: shard::Metrics,
    pub broker: broker::metrics::Metrics,
    pub net: net::Metrics,
    pub started: Option<Started>,
}

/// Answers questions as long as somebody may ask, one after the other. `place` is filled once the core serves.
pub async fn answer(core: ShardId, mut questions: Receiver<Question>, place: Rc<OnceCell<Place>>) {
    while let Some(Question { what, reply }) = questions.recv().await {
        if reply.is_closed() {
            continue;
        }
        let told = match (what, place.get()) {
            (What::Stage, None) => Told::Stage(Stage::Starting),
            (What::Stage, Some(place)) if place.shard.is_stopping() => Told::Stage(Stage::Stopping),
            (What::Stage, Some(_)) => Told::Stage(Stage::Serving),
            (What::Snapshot, None) => Told::Snapshot(None),
            (What::Snapshot, Some(place)) => Told::Snapshot(Some(Box::new(place.snapshot().await))),
            (What::HighWatermarks(_), None) => Told::HighWatermarks(Vec::new()),
            (What::HighWatermarks(logs), Some(place)) => Told::HighWatermarks(place.shard.high_watermarks(&logs).await),
        };
        // Whoever asked may have given up.
        let _ = reply.try_send((usize::from(core.0), told));
    }
}

impl Place {
    async fn snapshot(&self) -> Snapshot {
        Snapshot {
            shard: self.shard.metrics().await,
            broker: self.broker.metrics(),
            net: self.connections.copy(),
            started: self.started,
        }
    }
}
