//! Batches are put into the codec of their topic here, on the connection's core, before they get their place in the log.
//!
//! Always true: memory for them is taken before they are made, in order among the requests of the core, and held until they are on disk; who waits for
//! it holds none of it.

use super::Broker;
use super::dispatch::Held;
use super::errors::Refusal;
use crate::base::limits::{RECODE_STEP_BYTES, RECODED_BYTES_PER_REQUEST_MAX};
use crate::cluster::TopicSettings;
use crate::record::{CheckedBatch, Codec, Fold, Recoded, Scratch};

/// Into what the batches of a topic are put. `None`: they stay as they are.
pub(super) fn fold(settings: &TopicSettings) -> Option<Fold> {
    let codec = settings.compression?;
    let level = match codec {
        Codec::Gzip => Some(settings.gzip_level).filter(|level| *level > 0),
        // Kafka's default stands for the fast way, which is no level of the thorough one.
        Codec::Lz4 => Some(settings.lz4_level).filter(|level| *level != LZ4_FAST),
        Codec::Zstd => Some(settings.zstd_level),
        Codec::None | Codec::Snappy => None,
    };
    Some(Fold { codec, level })
}

/// Kafka's default level of lz4.
const LZ4_FAST: i32 = 9;

/// What one request holds of it.
#[derive(Default)]
pub(super) struct Recoding {
    share: Option<Held>,
    bytes: usize,
}

impl Recoding {
    /// Whether another batch fits into what a request may hold. The first one always does.
    pub(super) fn has_room(&self, batch: &CheckedBatch, fold: Fold, max_bytes: usize) -> bool {
        let most = batch.recoded_bytes_max(fold.codec).min(max_bytes);
        self.bytes == 0 || self.bytes + most <= RECODED_BYTES_PER_REQUEST_MAX
    }

    /// Whether the request has its share of the memory.
    pub(super) fn has_share(&self) -> bool {
        self.share.is_some()
    }

    /// Waits for the request's share.
    pub(super) async fn take_share(&mut self, broker: &Broker) {
        let all = RECODED_BYTES_PER_REQUEST_MAX;
        self.share = Some(broker.recode_memory.take(all, all).await);
    }

    /// Puts a batch into another codec, within the share that was taken.
    pub(super) async fn recode(
        &mut self,
        broker: &Broker,
        batch: CheckedBatch,
        fold: Fold,
        max_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<CheckedBatch, Refusal> {
        let mut recoder = batch.recoder(fold, max_bytes, scratch);
        loop {
            match recoder.step(RECODE_STEP_BYTES)? {
                Recoded::More => broker.shard().io().yield_now().await,
                Recoded::Done(batch) => {
                    self.bytes += batch.bytes.len();
                    return Ok(batch);
                }
            }
        }
    }

    /// Everything that was made is made: what is really held, until it is on disk.
    pub(super) fn held(self) -> Option<Held> {
        self.share.inspect(|share| share.set(self.bytes))
    }
}
