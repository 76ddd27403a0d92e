//! DescribeConfigs (key 32): settings of topics and of this broker, and where each value comes from.

use super::authorize::{Operation, Resource, allowed};
use super::context::RequestContext;
use super::dispatch::Held;
use super::errors::Refusal;
use super::settings::{self, BrokerSetting, Source, Synonym};
use super::throttle::throttle_ms;
use super::{Broker, Options};
use crate::base::limits::{CONFIGS_DESCRIBED_MAX, RESOURCES_LARGE};
use crate::cluster::topic_config::{KEYS, TopicKey, quoted};
use crate::cluster::{Topic, validate_name};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::{ErrorCode, Str};

/// Kinds of resources that have settings, with Kafka's numbers (`ConfigResource.Type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are Kafka's own")]
#[repr(i8)]
pub(super) enum Kind {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl Kind {
    /// The kind of that number, if there is one.
    pub(super) fn from_number(number: i8) -> Option<Self> {
        let all = [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group];
        all.into_iter().find(|kind| kind.number() == number)
    }

    /// Its number.
    pub(super) fn number(self) -> i8 {
        self as i8
    }

    /// Why settings of this kind cannot be spoken of here; `None` for those that can.
    pub(super) fn unserved(self) -> Option<Refusal> {
        let what = match self {
            Self::Topic | Self::Broker => return None,
            Self::BrokerLogger => "Loggers of a broker",
            Self::ClientMetrics => "Client metrics",
            Self::Group => "Groups",
        };
        let why = format!("{what} have no settings in this version.");
        Some(Refusal::new(ErrorCode::InvalidRequest, why))
    }
}

/// Checks that a broker resource names this broker. `Ok(false)`: it names all brokers, by the empty name.
pub(super) fn names_this_broker(options: &Options, name: &str) -> Result<bool, Refusal> {
    if name.is_empty() {
        return Ok(false);
    }
    let quoted = quoted(name);
    let id: i32 = name.parse().map_err(|_| {
        let why = format!("Broker id must be an integer, but it is: {quoted}");
        Refusal::new(ErrorCode::InvalidRequest, why)
    })?;
    if id != options.node_id.0 {
        let why = format!("Unexpected broker id, expected {} or empty string, but received {quoted}", options.node_id);
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    }
    Ok(true)
}

/// Answers a DescribeConfigs request.
pub async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: DescribeConfigsRequest,
) -> (DescribeConfigsResponse, Option<Held>) {
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let unknown = request.resources.iter().find(|resource| Kind::from_number(resource.resource_type).is_none());
    if let Some(unknown) = unknown {
        // As in Kafka, one of them is enough for all.
        let why = format!("Unexpected resource type {}.", unknown.resource_type);
        let refused = |resource| refused(resource, Refusal::new(ErrorCode::InvalidRequest, why.clone()));
        let results = request.resources.iter().map(refused).collect();
        return (DescribeConfigsResponse { throttle_time_ms, results }, None);
    }
    let mut place_of_large = None;
    if !context.is_large() && request.resources.len() > RESOURCES_LARGE {
        place_of_large = Some(broker.large_requests.take(1, 1).await);
    }
    let asks = Asks {
        options: broker.options(),
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let mut left = CONFIGS_DESCRIBED_MAX;
    let mut results = Vec::with_capacity(request.resources.len());
    for (place, resource) in request.resources.iter().enumerate() {
        if place % RESOURCES_PER_STEP == RESOURCES_PER_STEP - 1 {
            broker.shard().io().yield_now().await;
        }
        let configs = match left {
            0 => Err(too_many()),
            _ => asks.resource(broker, context, resource),
        };
        results.push(match configs {
            Ok(configs) if configs.len() > left => {
                left = 0;
                refused(resource, too_many())
            }
            Ok(configs) => {
                left -= configs.len();
                DescribeConfigsResult {
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.clone(),
                    configs,
                    ..Default::default()
                }
            }
            Err(refusal) => refused(resource, refusal),
        });
    }
    // In the order of fetches, who wait for memory without such a place.
    drop(place_of_large);
    let bytes = results.iter().flat_map(|result| &result.configs).map(bytes_of).sum();
    let held = broker.hold_answer(bytes).await;
    (DescribeConfigsResponse { throttle_time_ms, results }, held)
}

/// About what a setting takes up in an answer.
fn bytes_of(config: &DescribeConfigsResourceResult) -> usize {
    let text = |text: &Option<Str>| text.as_deref().map_or(0, str::len);
    let synonym = |synonym: &DescribeConfigsSynonym| 8 + synonym.name.len() + text(&synonym.value);
    let synonyms: usize = config.synonyms.iter().map(synonym).sum();
    16 + config.name.len() + text(&config.value) + text(&config.documentation) + synonyms
}

fn too_many() -> Refusal {
    let why = format!("The answer would have more than {CONFIGS_DESCRIBED_MAX} settings; ask for fewer at a time.");
    Refusal::new(ErrorCode::PolicyViolation, why)
}

fn refused(resource: &DescribeConfigsResource, refusal: Refusal) -> DescribeConfigsResult {
    DescribeConfigsResult {
        error_code: refusal.code.code(),
        error_message: refusal.message.map(Str::from),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs: Vec::new(),
    }
}

/// How much is to be told of each setting.
struct Asks<'a> {
    options: &'a Options,
    synonyms: bool,
    documentation: bool,
}

impl Asks<'_> {
    fn resource(
        &self,
        broker: &Broker,
        context: &RequestContext,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        // No keys at all are all keys, as in Kafka.
        let keys = resource.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
        let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
        let kind = Kind::from_number(resource.resource_type).expect("all kinds were looked at");
        if let Some(refusal) = kind.unserved() {
            return Err(refusal);
        }
        if kind == Kind::Broker {
            if !allowed(context, Operation::DescribeConfigs, Resource::Cluster) {
                return Err(ErrorCode::ClusterAuthorizationFailed.into());
            }
            // The settings of all brokers together are those that were changed while they ran: none.
            let own = names_this_broker(self.options, &resource.resource_name)?;
            let settings = self.options.settings.iter().filter(|setting| own && wanted(setting.name));
            return Ok(settings.map(|setting| self.broker(setting)).collect());
        }
        if !allowed(context, Operation::DescribeConfigs, Resource::Topic(&resource.resource_name)) {
            return Err(ErrorCode::TopicAuthorizationFailed.into());
        }
        validate_name(&resource.resource_name)
            .map_err(|fault| Refusal::new(ErrorCode::InvalidTopicException, fault.to_string()))?;
        let image = broker.shard().image();
        let topic = image.topic(&resource.resource_name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok(KEYS.iter().filter(|key| wanted(key.name)).map(|key| self.topic(topic, key)).collect())
    }

    fn topic(&self, topic: &Topic, key: &'static TopicKey) -> DescribeConfigsResourceResult {
        let found = settings::topic(topic, key, self.options);
        DescribeConfigsResourceResult {
            name: key.name.into(),
            value: Some(found.value),
            read_only: false,
            config_source: found.source as i8,
            is_sensitive: false,
            synonyms: match self.synonyms {
                true => synonyms(settings::topic_synonyms(topic, key, self.options)),
                false => Vec::new(),
            },
            config_type: settings::kafka_type(Some(key.values)),
            documentation: self.documentation.then(|| key.documentation.into()),
        }
    }

    /// Every setting of the broker is for its start, hence read-only.
    fn broker(&self, setting: &BrokerSetting) -> DescribeConfigsResourceResult {
        DescribeConfigsResourceResult {
            name: setting.name.into(),
            value: setting.value.clone().map(Str::from),
            read_only: true,
            config_source: if setting.given { Source::StaticBroker } else { Source::Default } as i8,
            is_sensitive: false,
            synonyms: if self.synonyms { synonyms(settings::broker_synonyms(setting)) } else { Vec::new() },
            config_type: settings::kafka_type(setting.values),
            documentation: self.documentation.then(|| setting.documentation.into()),
        }
    }
}

fn synonyms(synonyms: Vec<Synonym>) -> Vec<DescribeConfigsSynonym> {
    let synonym = |synonym: Synonym| DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: Some(synonym.value),
        source: synonym.source as i8,
    };
    synonyms.into_iter().map(synonym).collect()
}

/// Resources that are described before others have their turn.
const RESOURCES_PER_STEP: usize = 64;
