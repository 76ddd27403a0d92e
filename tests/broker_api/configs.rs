//! Settings: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources.

use std::path::Path;
use std::time::Duration;

use coretide::protocol::messages::alter_configs::{AlterConfigsResource, AlterableConfig};
use coretide::protocol::messages::create_topics;
use coretide::protocol::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
};
use coretide::protocol::messages::incremental_alter_configs as incremental;
use coretide::protocol::messages::*;
use coretide::protocol::{ApiKey, ErrorCode};

use crate::connect;
use crate::support::kafka::{Batch, Client};
use crate::support::node::{Node, Wire};
use crate::support::process::Process;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

fn describe(wire: &mut Wire, version: i16, resources: &[(i8, &str, Option<&[&str]>)]) -> Vec<DescribeConfigsResult> {
    let resource = |(resource_type, name, keys): &(i8, &str, Option<&[&str]>)| DescribeConfigsResource {
        resource_type: *resource_type,
        resource_name: (*name).into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: resources.iter().map(resource).collect(),
        include_synonyms: true,
        include_documentation: version >= 3,
    };
    let response: DescribeConfigsResponse = wire.call(ApiKey::DescribeConfigs, version, &request);
    response.results
}

fn one<'a>(result: &'a DescribeConfigsResult, name: &str) -> &'a DescribeConfigsResourceResult {
    result.configs.iter().find(|config| config.name.as_str() == name).expect(name)
}

fn value(wire: &mut Wire, topic: &str, key: &str) -> (String, i8) {
    let result = &describe(wire, 4, &[(TOPIC, topic, Some(&[key]))])[0];
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let config = one(result, key);
    (config.value.as_ref().expect("a value").to_string(), config.config_source)
}

fn change(name: &str, operation: i8, value: Option<&str>) -> incremental::AlterableConfig {
    incremental::AlterableConfig { name: name.into(), config_operation: operation, value: value.map(Into::into) }
}

fn alter(
    wire: &mut Wire,
    version: i16,
    resources: Vec<(i8, &str, Vec<incremental::AlterableConfig>)>,
    validate_only: bool,
) -> Vec<(i16, String)> {
    let resource = |(resource_type, name, configs): (i8, &str, _)| incremental::AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs,
    };
    let resources = resources.into_iter().map(resource).collect();
    let request = IncrementalAlterConfigsRequest { resources, validate_only };
    let response: IncrementalAlterConfigsResponse = wire.call(ApiKey::IncrementalAlterConfigs, version, &request);
    let answer = |one: incremental::AlterConfigsResourceResponse| {
        (one.error_code, one.error_message.map(|message| message.to_string()).unwrap_or_default())
    };
    response.responses.into_iter().map(answer).collect()
}

/// Changes one configuration of a topic, which must work.
fn set(wire: &mut Wire, topic: &str, name: &str, value: &str) {
    let answers = alter(wire, 1, vec![(TOPIC, topic, vec![change(name, SET, Some(value))])], false);
    assert_eq!(answers, [(0, String::new())]);
}

fn batch(timestamp: i64, bytes: usize) -> Vec<u8> {
    Batch { producer_id: -1, producer_epoch: -1, base_sequence: -1, timestamp, values: &[&vec![7; bytes]] }.encode()
}

#[test]
fn every_key_of_a_topic_is_described_in_every_version() {
    let mut wire = connect();
    wire.create("c-described", 1, &[("segment.bytes", "2097152")]);
    let keys = coretide::cluster::topic_config::KEYS;
    for version in 1..=4 {
        let result = &describe(&mut wire, version, &[(TOPIC, "c-described", None)])[0];
        assert_eq!((result.error_code, result.configs.len()), (0, keys.len()));
        for (key, config) in keys.iter().zip(&result.configs) {
            assert_eq!((config.name.as_str(), config.read_only, config.is_sensitive), (key.name, false, false));
            assert_eq!(config.documentation.as_deref(), (version >= 3).then_some(key.documentation));
            assert!(version < 3 || config.config_type > 0);
        }
        let own = one(result, "segment.bytes");
        assert_eq!((own.value.as_deref(), own.config_source), (Some("2097152"), 1));
        assert_eq!((own.synonyms[0].name.as_str(), own.synonyms[0].source), ("segment.bytes", 1));
        let default = one(result, "max.message.bytes");
        assert_eq!((default.value.as_deref(), default.config_source), (Some("1048588"), 5));
        assert_eq!(one(result, "cleanup.policy").value.as_deref(), Some("delete"));
    }
    let some = &describe(&mut wire, 4, &[(TOPIC, "c-described", Some(&["retention.ms", "no.such"]))])[0];
    assert_eq!((some.error_code, some.configs.len()), (0, 1));
    // No keys are all keys, as in Kafka.
    let all = &describe(&mut wire, 4, &[(TOPIC, "c-described", Some(&[]))])[0];
    assert_eq!((all.error_code, all.configs.len()), (0, keys.len()));
}

#[test]
fn resources_that_cannot_be_described_say_why() {
    let mut wire = connect();
    wire.create("c-there", 1, &[]);
    let codes = |results: Vec<DescribeConfigsResult>| -> Vec<_> {
        results.iter().map(|result| ErrorCode::from_code(result.error_code).expect("a code")).collect()
    };
    use ErrorCode::*;
    let asked = [
        (TOPIC, "c-nowhere", Option::None),
        (TOPIC, "no/name", Option::None),
        (BROKER, "2", Option::None),
        (BROKER, "x", Option::None),
        (8, "1", Option::None),
        (16, "metrics", Option::None),
        (32, "group", Option::None),
        (TOPIC, "c-there", Option::None),
    ];
    let expected = [
        UnknownTopicOrPartition,
        InvalidTopicException,
        InvalidRequest,
        InvalidRequest,
        InvalidRequest,
        InvalidRequest,
        InvalidRequest,
        None,
    ];
    assert_eq!(codes(describe(&mut wire, 4, &asked)), expected);
    // One of an unknown kind is enough for all.
    let asked = [(TOPIC, "c-there", Option::None), (3, "c-there", Option::None)];
    assert_eq!(codes(describe(&mut wire, 4, &asked)), [InvalidRequest; 2]);
}

/// Blanks around a value and zeros in front of it are taken, and were kept: a topic's settings in 850 KB, and every description of them as long.
#[test]
fn a_value_is_no_longer_than_it_may_be() {
    let mut wire = connect();
    wire.create("c-long", 1, &[]);
    let long = format!("{:>300}", 7);
    let refused = (ErrorCode::InvalidConfig.code(), "A configuration value of 300 bytes; it may have 256.".to_owned());
    let resource = (TOPIC, "c-long", vec![change("retention.ms", SET, Some(&long))]);
    assert_eq!(alter(&mut wire, 1, vec![resource], false), std::slice::from_ref(&refused));
    let config = create_topics::CreatableTopicConfig { name: "retention.ms".into(), value: Some((&long).into()) };
    let topic = create_topics::CreatableTopic {
        name: "c-longer".into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, validate_only: false };
    let response: CreateTopicsResponse = wire.call(ApiKey::CreateTopics, 7, &request);
    let topic = &response.topics[0];
    let message = topic.error_message.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!((topic.error_code, message), refused);
}

/// 64 KiB name thousands of topics, and each is answered with some kilobytes.
#[test]
fn an_answer_has_a_bounded_number_of_settings() {
    let mut wire = connect();
    wire.create("c-many", 1, &[]);
    let keys = coretide::cluster::topic_config::KEYS.len();
    let asked: Vec<_> = (0..4000).map(|_| (TOPIC, "c-many", None)).collect();
    let results = describe(&mut wire, 4, &asked);
    let described: usize = results.iter().map(|result| result.configs.len()).sum();
    assert_eq!((results.len(), described), (4000, 50_000 / keys * keys));
    assert_eq!(results[3999].error_code, ErrorCode::PolicyViolation.code());
}

fn directory(name: &str) -> std::path::PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

#[test]
fn the_settings_of_the_broker_are_described_with_where_they_come_from() {
    let directory = directory("configs-broker");
    let given = ["--set", "num.partitions=3", "--set", "log.retention.minutes=5", "--set", "message.max.bytes=2000000"];
    let mut broker = Process::start(&directory, &given);
    let mut wire = Wire::connect(broker.address());
    wire.create("described", 1, &[]);
    let result = &describe(&mut wire, 4, &[(BROKER, "1", None)])[0];
    // Beside the settings, what it is and where its data is. (And where it listens, if that was said.)
    assert_eq!((result.error_code, result.configs.len()), (0, coretide::config::keys::keys().len() + 4));
    let found = |name: &str| {
        let config = one(result, name);
        assert!(config.read_only && config.documentation.is_some());
        (config.value.as_ref().map(|value| value.to_string()), config.config_source, config.config_type)
    };
    assert_eq!(found("num.partitions"), (Some("3".into()), 4, 3));
    assert_eq!(found("node.id"), (Some("1".into()), 4, 2));
    assert_eq!(found("log.retention.minutes"), (Some("5".into()), 4, 3));
    assert_eq!(found("log.retention.ms"), (None, 5, 5));
    assert_eq!(found("auto.create.topics.enable"), (Some("true".into()), 5, 1));
    assert_eq!(found("log.cleanup.policy"), (Some("delete".into()), 5, 7));
    let synonyms: Vec<_> = one(result, "num.partitions").synonyms.iter().map(|one| one.source).collect();
    assert_eq!(synonyms, [4, 5]);
    assert_eq!(describe(&mut wire, 4, &[(BROKER, "", None)])[0].configs.len(), 0, "nothing was changed meanwhile");
    assert_eq!(value(&mut wire, "described", "retention.ms"), ("300000".into(), 4));
    assert_eq!(value(&mut wire, "described", "max.message.bytes"), ("2000000".into(), 4));
    assert_eq!(value(&mut wire, "described", "segment.bytes"), ("1073741824".into(), 5));
    drop(wire);
    broker.stop();
}

#[test]
fn what_is_altered_holds_at_once_on_every_core() {
    let mut wire = connect();
    wire.create("c-altered", 4, &[]);
    for partition in 0..4 {
        assert_eq!(wire.produce("c-altered", partition, -1, &batch(5, 3000)).error_code, 0);
    }
    set(&mut wire, "c-altered", "max.message.bytes", "2000");
    let too_large = ErrorCode::MessageTooLarge.code();
    for mut wire in [connect(), connect(), connect()] {
        for partition in 0..4 {
            assert_eq!(wire.produce("c-altered", partition, -1, &batch(5, 3000)).error_code, too_large);
        }
    }
    set(&mut wire, "c-altered", "message.timestamp.type", "LogAppendTime");
    let answer = wire.produce("c-altered", 3, -1, &batch(5, 1000));
    assert!(answer.error_code == 0 && answer.log_append_time_ms > 1_000_000);
    let changes = vec![change("message.timestamp.type", DELETE, None), change("max.message.bytes", DELETE, None)];
    assert_eq!(alter(&mut wire, 0, vec![(TOPIC, "c-altered", changes)], false)[0].0, 0);
    let answer = wire.produce("c-altered", 3, -1, &batch(5, 3000));
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, -1));
    assert_eq!(value(&mut wire, "c-altered", "max.message.bytes"), ("1048588".into(), 5));
}

#[test]
fn retention_that_is_altered_takes_records() {
    let node = Node::with("configs-retention", 2, |options| {
        options.shard.retention_check_interval = Duration::from_millis(50);
    });
    let (mut wire, mut client) = (node.connect(), Client::connect(node.address).expect("a connection"));
    wire.create("aging", 1, &[("retention.ms", "-1")]);
    (0..3).for_each(|_| assert_eq!(wire.produce("aging", 0, -1, &batch(5, 100)).error_code, 0));
    set(&mut wire, "aging", "retention.ms", "600000");
    let begun = std::time::Instant::now();
    while client.list_offset("aging", 0, -2).expect("an answer") != (0, 3) {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing expires");
    }
}

#[test]
fn alterations_that_cannot_be_made_say_why() {
    let mut wire = connect();
    wire.create("c-refused", 1, &[("retention.ms", "7")]);
    let mut ask = |resource: (i8, &str), changes: Vec<incremental::AlterableConfig>| {
        alter(&mut wire, 1, vec![(resource.0, resource.1, changes)], false).remove(0)
    };
    let topic = (TOPIC, "c-refused");
    let retention = |operation, value| vec![change("retention.ms", operation, value)];
    let twice = vec![change("retention.ms", SET, Some("1")), change("retention.ms", DELETE, Option::None)];
    use ErrorCode::*;
    let cases = [
        (topic, vec![change("retention.m", SET, Some("1"))], InvalidConfig, "Did you mean retention.ms?"),
        (topic, retention(SET, Some("-7")), InvalidConfig, "Invalid value -7"),
        (topic, vec![change("preallocate", SET, Some("true"))], InvalidConfig, "the only value honoured"),
        (topic, vec![change("local.retention.ms", SET, Some("1"))], InvalidConfig, "not honoured"),
        (topic, vec![change("cleanup.policy", SET, Some("compact"))], InvalidConfig, "it must be 'delete'"),
        (topic, vec![change("cleanup.policy", APPEND, Some("compact"))], InvalidConfig, "it must be 'delete'"),
        (topic, retention(APPEND, Some("1")), InvalidConfig, "its type is not LIST"),
        (topic, retention(SET, Option::None), InvalidRequest, "Null value"),
        (topic, retention(9, Some("1")), InvalidRequest, "Unknown config operation 9"),
        (topic, twice, InvalidRequest, "duplicate config keys"),
        ((TOPIC, "c-nowhere"), retention(SET, Some("1")), UnknownTopicOrPartition, "does not exist"),
        ((BROKER, "1"), vec![change("num.partitions", SET, Some("3"))], InvalidRequest, "--set KEY=VALUE"),
        ((BROKER, ""), vec![change("num.partitions", SET, Some("3"))], InvalidRequest, "--set KEY=VALUE"),
        ((BROKER, "7"), vec![], InvalidRequest, "Unexpected broker id"),
        ((8, "1"), vec![], InvalidRequest, "have no settings"),
        ((3, "1"), vec![], InvalidRequest, "Unknown resource type 3"),
    ];
    for (resource, changes, code, says) in cases {
        let (found, message) = ask(resource, changes);
        assert!(found == code.code() && message.contains(says), "{code}: {found} {message}");
    }
    let resource = || (TOPIC, "c-refused", retention(SET, Some("9")));
    let answers = alter(&mut wire, 1, vec![resource(), resource()], false);
    assert!(answers.iter().all(|(code, message)| *code == 42 && message.contains("at most once")), "{answers:?}");
    assert_eq!(alter(&mut wire, 1, vec![resource()], true)[0].0, 0);
    assert_eq!(alter(&mut wire, 1, vec![(TOPIC, "c-refused", retention(SET, Some("x")))], true)[0].0, 40);
    assert_eq!(value(&mut wire, "c-refused", "retention.ms"), ("7".into(), 1), "nothing was changed");
}

#[test]
fn altering_all_configurations_resets_those_that_are_not_named() {
    let mut wire = connect();
    wire.create("c-whole", 1, &[("retention.ms", "7"), ("segment.ms", "9")]);
    for version in 0..=2 {
        let mut ask = |configs: &[(&str, Option<&str>)], validate_only| {
            let configs = configs
                .iter()
                .map(|(name, value)| AlterableConfig { name: (*name).into(), value: value.map(Into::into) });
            let resource = AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: "c-whole".into(),
                configs: configs.collect(),
            };
            let request = AlterConfigsRequest { resources: vec![resource], validate_only };
            let response: AlterConfigsResponse = wire.call(ApiKey::AlterConfigs, version, &request);
            response.responses[0].error_code
        };
        assert_eq!(ask(&[("retention.ms", Some("1000"))], true), 0);
        assert_eq!(ask(&[("retention.ms", Some("1000"))], false), 0);
        assert_eq!(ask(&[("retention.ms", None)], false), ErrorCode::InvalidRequest.code());
        assert_eq!(ask(&[("retention.m", Some("5"))], false), ErrorCode::InvalidConfig.code());
        assert_eq!(value(&mut wire, "c-whole", "retention.ms"), ("1000".into(), 1));
        assert_eq!(value(&mut wire, "c-whole", "segment.ms"), ("604800000".into(), 5));
    }
}

/// Over a clean stop, and over a kill: the commands are read from the metadata journal then.
#[test]
fn altered_configurations_and_added_partitions_survive() {
    let directory = directory("configs-survive");
    let mut broker = Process::start(&directory, &[]);
    let mut wire = Wire::connect(broker.address());
    wire.create("kept", 1, &[]);
    wire.create("between", 2, &[]);
    set(&mut wire, "kept", "retention.ms", "12345");
    crate::admin::more_partitions(&mut wire, "kept", 3);
    assert_eq!(wire.produce("kept", 2, -1, &batch(1, 10)).error_code, 0);
    drop(wire);
    broker.stop();
    let mut broker = Process::start(&directory, &[]);
    let mut wire = Wire::connect(broker.address());
    assert_eq!(value(&mut wire, "kept", "retention.ms"), ("12345".into(), 1));
    assert_eq!(wire.read_all("kept", 2).len(), 1);
    set(&mut wire, "kept", "retention.ms", "-1");
    crate::admin::more_partitions(&mut wire, "kept", 5);
    assert_eq!(wire.produce("kept", 4, -1, &batch(1, 10)).error_code, 0);
    drop(wire);
    drop(broker);
    let mut broker = Process::start(&directory, &[]);
    let mut wire = Wire::connect(broker.address());
    assert_eq!(value(&mut wire, "kept", "retention.ms"), ("-1".into(), 1));
    for (partition, records) in [(0, 0), (1, 0), (2, 1), (3, 0), (4, 1)] {
        assert_eq!(wire.read_all("kept", partition).len(), records, "partition {partition}");
    }
    drop(wire);
    broker.stop();
}

#[test]
fn resources_with_settings_are_listed() {
    let mut wire = connect();
    wire.create("c-listed", 1, &[]);
    let mut list = |version, types: &[i8]| {
        let request = ListConfigResourcesRequest { resource_types: types.to_vec() };
        let response: ListConfigResourcesResponse = wire.call(ApiKey::ListConfigResources, version, &request);
        let names: Vec<_> =
            response.config_resources.iter().map(|one| (one.resource_type, one.resource_name.to_string())).collect();
        (response.error_code, names)
    };
    let listed = (TOPIC, "c-listed".to_string());
    assert_eq!(list(0, &[]), (0, vec![]));
    let (code, all) = list(1, &[]);
    assert!(code == 0 && all.contains(&listed) && all.contains(&(BROKER, "1".into())));
    assert_eq!(list(1, &[BROKER]), (0, vec![(BROKER, "1".into())]));
    assert!(list(1, &[TOPIC]).1.contains(&listed));
    assert_eq!(list(1, &[16, 32]), (0, vec![]));
    assert_eq!(list(1, &[3]).0, ErrorCode::UnsupportedVersion.code());
}
