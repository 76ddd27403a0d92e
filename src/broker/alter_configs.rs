//! AlterConfigs (key 33): all configurations of topics anew. What altering one resource takes is here for IncrementalAlterConfigs too.

use std::sync::Arc;

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::describe_configs::{Kind, names_this_broker};
use super::errors::Refusal;
use super::throttle::throttle_ms;
use super::{Broker, would_be};
use crate::base::limits::CONFIG_VALUE_BYTES_MAX;
use crate::base::{Map, Set};
use crate::cluster::{AlterTopicConfigs, Command, CommandFault, ConfigChange, ConfigOperation};
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::CommandError;

/// Answers an AlterConfigs request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let named = times(request.resources.iter().map(|resource| (resource.resource_type, &resource.resource_name)));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let change = |config: &crate::protocol::messages::alter_configs::AlterableConfig| Change {
            name: config.name.clone(),
            operation: ConfigOperation::Set as i8,
            value: config.value.clone(),
        };
        let alteration = Alteration {
            resource_type: resource.resource_type,
            name: &resource.resource_name,
            named: named[&(resource.resource_type, &resource.resource_name)],
            replace: true,
            changes: resource.configs.iter().map(change).collect(),
        };
        let (error_code, error_message) = alteration.carry_out(broker, context, request.validate_only).await;
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    AlterConfigsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), responses }
}

/// How often each resource is named.
pub(super) fn times<'a>(resources: impl Iterator<Item = (i8, &'a Str)>) -> Map<(i8, &'a Str), usize> {
    let mut times = Map::default();
    resources.for_each(|resource| *times.entry(resource).or_default() += 1);
    times
}

/// What a request wants of one resource.
pub(super) struct Alteration<'a> {
    /// Its kind, by Kafka's number.
    pub resource_type: i8,
    /// Its name.
    pub name: &'a Str,
    /// How often the request names it.
    pub named: usize,
    /// What is not named goes back to its default.
    pub replace: bool,
    /// What is to be changed.
    pub changes: Vec<Change>,
}

/// A change as it was asked for.
pub(super) struct Change {
    /// The configuration.
    pub name: Str,
    /// By Kafka's number.
    pub operation: i8,
    /// The value.
    pub value: Option<Str>,
}

impl Alteration<'_> {
    /// Does it, or only says whether it could be done. Gives the code and the sentence of the answer.
    pub(super) async fn carry_out(
        self,
        broker: &Broker,
        context: &RequestContext,
        validate_only: bool,
    ) -> (i16, Option<Str>) {
        broker.shard().io().yield_now().await;
        match self.try_to(broker, context, validate_only).await {
            Ok(()) => (ErrorCode::None.code(), None),
            Err(refusal) => (refusal.code.code(), refusal.message.map(Str::from)),
        }
    }

    async fn try_to(self, broker: &Broker, context: &RequestContext, validate_only: bool) -> Result<(), Refusal> {
        let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
        if self.named > 1 {
            return invalid("Each resource must appear at most once.");
        }
        if has_duplicates(&self.changes) {
            return invalid("Error due to duplicate config keys");
        }
        let null = |change: &&Change| change.value.is_none() && change.operation != ConfigOperation::Delete as i8;
        if let Some(change) = self.changes.iter().find(null) {
            return invalid(&format!("Null value not supported for : {}", quoted(&change.name)));
        }
        let Some(kind) = Kind::from_number(self.resource_type) else {
            return invalid(&format!("Unknown resource type {}", self.resource_type));
        };
        if let Some(refusal) = kind.unserved() {
            return Err(refusal);
        }
        if kind == Kind::Broker {
            return self.alter_broker(broker, context);
        }
        let name = self.name.clone();
        if !allowed(context, Operation::AlterConfigs, Resource::Topic(&name)) {
            return Err(ErrorCode::TopicAuthorizationFailed.into());
        }
        let unknown = || {
            let why = format!("The topic '{}' does not exist.", quoted(&name));
            Refusal::new(ErrorCode::UnknownTopicOrPartition, why)
        };
        let topic_id = broker.shard().image().topic(&name).ok_or_else(unknown)?.id;
        let replace = self.replace;
        let changes = self.changes.into_iter().map(Change::into_command).collect::<Result<_, _>>()?;
        let command = Command::AlterTopicConfigs(AlterTopicConfigs { topic_id, replace, changes });
        let done = match validate_only {
            true => would_be(broker, &command).map(drop).map_err(CommandError::Refused),
            false => broker.shard().command(command).await.map(drop),
        };
        match done {
            Ok(()) if validate_only => Ok(()),
            Ok(()) => {
                tracing::info!(topic = %name, peer = %context.peer, "configurations altered");
                Ok(())
            }
            // Deleted meanwhile.
            Err(CommandError::Refused(CommandFault::UnknownTopic(_))) => Err(unknown()),
            Err(error) => Err(error.into()),
        }
    }

    /// A broker's settings are given at its start. Changing none of them is possible.
    fn alter_broker(&self, broker: &Broker, context: &RequestContext) -> Result<(), Refusal> {
        if !allowed(context, Operation::AlterConfigs, Resource::Cluster) {
            return Err(ErrorCode::ClusterAuthorizationFailed.into());
        }
        names_this_broker(broker.options(), self.name)?;
        match self.changes.first() {
            None => Ok(()),
            Some(change) => {
                let name = quoted(&change.name);
                let why = format!(
                    "Cannot update {name} dynamically: the settings of a broker are given at its start, with --set KEY=VALUE."
                );
                Err(Refusal::new(ErrorCode::InvalidRequest, why))
            }
        }
    }
}

impl Change {
    fn into_command(self) -> Result<ConfigChange, Refusal> {
        let operation = ConfigOperation::from_number(self.operation).ok_or_else(|| {
            let why = format!("Unknown config operation {}", self.operation);
            Refusal::new(ErrorCode::InvalidRequest, why)
        })?;
        check_value(self.value.as_deref())?;
        Ok(ConfigChange { name: self.name.into(), operation, value: self.value.map(Arc::from) })
    }
}

/// Values are parsed with their blanks and leading zeros, and kept as they were written: what is longer than any sound one would be kept, and described, too.
pub(super) fn check_value(value: Option<&str>) -> Result<(), Refusal> {
    let bytes = value.map_or(0, str::len);
    if bytes <= CONFIG_VALUE_BYTES_MAX {
        return Ok(());
    }
    let why = format!("A configuration value of {bytes} bytes; it may have {CONFIG_VALUE_BYTES_MAX}.");
    Err(Refusal::new(ErrorCode::InvalidConfig, why))
}

fn has_duplicates(changes: &[Change]) -> bool {
    let mut names: Set<&Str> = Set::default();
    !changes.iter().all(|change| names.insert(&change.name))
}

/// A client's text, as a message repeats it.
fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

const QUOTED_CHARS_MAX: usize = 64;
