//! AlterConfigs (key 33): all configurations of topics anew. What altering one resource takes is here for IncrementalAlterConfigs too.

use std::sync::Arc;

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::describe_configs::{Kind, names_this_broker};
use super::errors::Refusal;
use super::throttle::throttle_ms;
use super::{Broker, decide};
use crate::base::limits::CONFIG_VALUE_BYTES_MAX;
use crate::base::{Map, Set};
use crate::cluster::topic_config::quoted;
use crate::cluster::{AlterTopicConfigs, Command, CommandFault, ConfigChange, ConfigOperation};
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse, AlterableConfig,
};
use crate::protocol::{ErrorCode, Str};
use crate::shard::CommandError;

/// Answers an AlterConfigs request.
pub async fn handle(broker: &Broker, context: &RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let change = |config: AlterableConfig| Change {
        name: config.name,
        operation: ConfigOperation::Set as i8,
        value: config.value,
    };
    let alterations = request.resources.into_iter().map(|resource| Alteration {
        resource_type: resource.resource_type,
        name: resource.resource_name,
        replace: true,
        changes: resource.configs.into_iter().map(change).collect(),
    });
    let altered = carry_out_all(broker, context, alterations.collect(), request.validate_only).await;
    let response = |Altered { resource_type, resource_name, error_code, error_message }| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type,
        resource_name,
    };
    let responses = altered.into_iter().map(response).collect();
    AlterConfigsResponse { throttle_time_ms: throttle_ms(context, context.request_bytes), responses }
}

/// What a request wants of one resource.
pub(super) struct Alteration {
    /// Its kind, by Kafka's number.
    pub resource_type: i8,
    /// Its name.
    pub name: Str,
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

/// The answer for one resource.
pub(super) struct Altered {
    pub resource_type: i8,
    pub resource_name: Str,
    pub error_code: i16,
    pub error_message: Option<Str>,
}

/// Alters each resource in turn, or only says whether that could be done. One that is named twice is not altered.
pub(super) async fn carry_out_all(
    broker: &Broker,
    context: &RequestContext,
    alterations: Vec<Alteration>,
    validate_only: bool,
) -> Vec<Altered> {
    let mut times: Map<(i8, Str), usize> = Map::default();
    for alteration in &alterations {
        *times.entry((alteration.resource_type, alteration.name.clone())).or_default() += 1;
    }
    let mut answers = Vec::with_capacity(alterations.len());
    for alteration in alterations {
        broker.shard().io().yield_now().await;
        let (resource_type, resource_name) = (alteration.resource_type, alteration.name.clone());
        let done = match times[&(resource_type, resource_name.clone())] {
            1 => alteration.try_to(broker, context, validate_only).await,
            _ => Err(Refusal::new(ErrorCode::InvalidRequest, "Each resource must appear at most once.")),
        };
        let (error_code, error_message) = match done {
            Ok(()) => (ErrorCode::None.code(), None),
            Err(refusal) => (refusal.code.code(), refusal.message.map(Str::from)),
        };
        answers.push(Altered { resource_type, resource_name, error_code, error_message });
    }
    answers
}

impl Alteration {
    async fn try_to(self, broker: &Broker, context: &RequestContext, validate_only: bool) -> Result<(), Refusal> {
        let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
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
        match decide(broker, command, validate_only).await {
            Ok(_) if validate_only => Ok(()),
            Ok(_) => {
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
        names_this_broker(broker.options(), &self.name)?;
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
