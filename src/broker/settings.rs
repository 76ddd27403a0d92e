//! What the settings of topics and of the broker are now, and where each value comes from, as clients are told.

use std::sync::Arc;

use super::Options;
use crate::cluster::Topic;
use crate::cluster::topic_config::{Look, TopicKey, Values};
use crate::protocol::Str;

/// A setting of the broker that keeps its Kafka name.
#[derive(Clone, Debug)]
pub struct BrokerSetting {
    /// Its name.
    pub name: &'static str,
    /// What holds; `None`: it is not set and has no default.
    pub value: Option<Arc<str>>,
    /// Its default.
    pub default: Option<&'static str>,
    /// Somebody gave it at the start.
    pub given: bool,
    /// What it may be; `None`: text.
    pub values: Option<Values>,
    /// The topic configuration whose default it sets, and how many of that one's unit its own unit is.
    pub topic_config: Option<(&'static str, i64)>,
    /// What it does.
    pub documentation: &'static str,
}

/// Where a value comes from, with Kafka's numbers (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Source {
    /// The topic's own configuration.
    Topic = 1,
    /// Given to the broker at its start.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// One value that a setting has or would have, under the name that gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    /// The name.
    pub name: &'static str,
    /// The value.
    pub value: Str,
    /// Where it comes from.
    pub source: Source,
}

/// A setting as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What holds.
    pub value: Str,
    /// Where that comes from.
    pub source: Source,
}

/// One configuration of a topic.
pub fn topic(topic: &Topic, key: &'static TopicKey, options: &Options) -> Found {
    if let Some(value) = own(topic, key) {
        return Found { value, source: Source::Topic };
    }
    let value = key.show(&options.topic_defaults);
    let given = options.settings.iter().any(|setting| setting.given && sets(setting, key));
    let source = if given || value != key.default { Source::StaticBroker } else { Source::Default };
    Found { value: value.into(), source }
}

/// All that could give a configuration of a topic its value; the first one does.
pub fn topic_synonyms(topic: &Topic, key: &'static TopicKey, options: &Options) -> Vec<Synonym> {
    let own = own(topic, key).map(|value| Synonym { name: key.name, value, source: Source::Topic });
    let mut broker: Vec<&BrokerSetting> = options.settings.iter().filter(|setting| sets(setting, key)).collect();
    broker.sort_by_key(|setting| setting.topic_config.map(|(_, unit)| unit));
    let given = broker.iter().filter(|setting| setting.given).filter_map(|setting| given(setting));
    own.into_iter().chain(given).chain(broker.iter().filter_map(|setting| default(setting))).collect()
}

/// All that could give a setting of the broker its value; the first one does.
pub fn broker_synonyms(setting: &BrokerSetting) -> Vec<Synonym> {
    setting.given.then(|| given(setting)).flatten().into_iter().chain(default(setting)).collect()
}

/// What a value looks like, with Kafka's numbers (`DescribeConfigsResponse.ConfigType`).
pub fn kafka_type(values: Option<Values>) -> i8 {
    const BOOLEAN: i8 = 1;
    const STRING: i8 = 2;
    const INT: i8 = 3;
    const LONG: i8 = 5;
    const DOUBLE: i8 = 6;
    const LIST: i8 = 7;
    match values {
        Some(Values::Bool | Values::Only(Look::Bool, _)) => BOOLEAN,
        Some(Values::Word(_) | Values::Only(Look::Word, _)) | None => STRING,
        Some(Values::Int(..) | Values::IntOrNone(_) | Values::IntOrDefault(..) | Values::Only(Look::Int, _)) => INT,
        Some(Values::Long(..) | Values::LongOrNone(_) | Values::Only(Look::Long, _)) => LONG,
        Some(Values::Only(Look::Double, _)) => DOUBLE,
        Some(Values::List(_)) => LIST,
    }
}

/// What the topic says itself. The broker's own topics are kept by key, whatever holds for others.
fn own(topic: &Topic, key: &TopicKey) -> Option<Str> {
    if topic.is_fixed(key.name) {
        return Some("compact".into());
    }
    topic.configs.get(key.name).map(|value| value.clone().into())
}

fn sets(setting: &BrokerSetting, key: &TopicKey) -> bool {
    setting.topic_config.is_some_and(|(name, _)| name == key.name)
}

fn given(setting: &BrokerSetting) -> Option<Synonym> {
    let value = setting.value.clone()?.into();
    Some(Synonym { name: setting.name, value, source: Source::StaticBroker })
}

fn default(setting: &BrokerSetting) -> Option<Synonym> {
    Some(Synonym { name: setting.name, value: setting.default?.into(), source: Source::Default })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TopicId;
    use crate::cluster::topic_config::find;

    fn setting(name: &'static str, value: &str, unit: i64, given: bool) -> BrokerSetting {
        BrokerSetting {
            name,
            value: Some(value.into()),
            default: (!given).then_some("168"),
            given,
            values: Some(Values::IntOrNone(1)),
            topic_config: Some(("retention.ms", unit)),
            documentation: "",
        }
    }

    fn named(name: &str, configs: &[(&'static str, &str)]) -> Topic {
        Topic {
            name: name.into(),
            id: TopicId::ZERO,
            partitions: Vec::new(),
            configs: configs.iter().map(|(name, value)| (*name, Arc::from(*value))).collect(),
            overrides: Default::default(),
        }
    }

    #[test]
    fn the_nearest_word_is_the_first_synonym() {
        let mut options = Options {
            settings: vec![
                setting("log.retention.hours", "168", 3_600_000, false),
                setting("log.retention.minutes", "5", 60_000, true),
            ],
            ..Options::default()
        };
        options.topic_defaults.retention_ms = 300_000;
        let key = find("retention.ms").expect("there");
        let found = topic(&named("t", &[]), key, &options);
        assert_eq!((found.value.as_str(), found.source), ("300000", Source::StaticBroker));
        let own = named("t", &[("retention.ms", "7")]);
        assert_eq!(topic(&own, key, &options), Found { value: "7".into(), source: Source::Topic });
        let synonyms = topic_synonyms(&own, key, &options);
        let names: Vec<_> = synonyms.iter().map(|synonym| (synonym.name, synonym.source)).collect();
        let expected = [
            ("retention.ms", Source::Topic),
            ("log.retention.minutes", Source::StaticBroker),
            ("log.retention.hours", Source::Default),
        ];
        assert_eq!(names, expected);
        let other = topic(&named("t", &[]), find("segment.bytes").expect("there"), &options);
        assert_eq!((other.value.as_str(), other.source), ("1073741824", Source::Default));
    }

    #[test]
    fn internal_topics_are_kept_by_key() {
        let key = find("cleanup.policy").expect("there");
        let found = |name| topic(&named(name, &[]), key, &Options::default()).value;
        assert_eq!((found("__consumer_offsets").as_str(), found("t").as_str()), ("compact", "delete"));
    }
}
