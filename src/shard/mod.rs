//! Room under construction.

// The public face, while the room is being built (message.rs holds the types and joins the build when `cluster` and `partition` stand):
//
// impl Shard {
//     pub fn io(&self) -> &Io;
//     pub fn id(&self) -> ShardId;
//     pub fn image(&self) -> Arc<Image>;
//     pub fn produce(&self, batches: SmallVec<[ProduceBatch; 4]>) -> Produced;            // synchronous; answers in the same order
//     pub async fn fetch_plan(&self, specs: Vec<FetchSpec>) -> Vec<Result<Planned, ReadError>>;     // same order
//     pub async fn fetch_read(&self, specs: Vec<ReadSpec>) -> Vec<Result<ReadDone, ReadError>>;     // same order
//     pub async fn fetch_wait(&self, logs: Vec<(LogId, Offset)>, deadline: Mono);   // ends when any log grows past its offset or goes away, at the deadline, or when stopping
//     pub async fn list_offset(&self, log: LogId, spec: OffsetSpec, current_epoch: LeaderEpoch) -> Result<ListedOffset, ReadError>;
//     pub async fn epoch_end(&self, log: LogId, current_epoch: LeaderEpoch, epoch: LeaderEpoch) -> Result<EpochEnd, ReadError>;
//     pub async fn command(&self, command: Command) -> Result<Outcome, CommandError>;
//     pub async fn next_producer_id(&self) -> Result<ProducerId, CommandError>;
//     pub fn is_stopping(&self) -> bool;
//     pub async fn stopping(&self);    // resolves when the broker begins to stop
// }
// impl Produced { pub async fn wait(self) -> SmallVec<[Result<Appended, ProduceError>; 4]>; }   // durable when it returns
