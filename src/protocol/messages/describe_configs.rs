//! DescribeConfigs (key 32): settings of topics, brokers and other resources, and where each value comes from.
//! KIP-133, KIP-226 (sources and synonyms), KIP-569 (types and documentation).

use crate::protocol::{Str, message};

message! {
    /// Which resources, and how much to tell of each setting.
    DescribeConfigsRequest, versions 1..=4, flexible from 4 {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool,
        include_documentation: bool [3..],
    }

    /// `resource_type`: 2 topic, 4 broker, 8 loggers of a broker, 16 client metrics, 32 group. `configuration_keys`
    /// absent asks for all of them.
    DescribeConfigsResource {
        resource_type: i8,
        resource_name: Str,
        configuration_keys: Option<Vec<Str>>,
    }
}

message! {
    /// Answers for every resource.
    DescribeConfigsResponse, versions 1..=4, flexible from 4 {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }

    /// One resource.
    DescribeConfigsResult {
        error_code: i16,
        error_message: Option<Str>,
        resource_type: i8,
        resource_name: Str,
        configs: Vec<DescribeConfigsResourceResult>,
    }

    /// One setting. `config_source`: 1 topic, 2 broker, 3 all brokers, 4 configuration file, 5 default, 6 logger, 7
    /// client metrics, 8 group. A sensitive value is null. `config_type`: 0 unknown, 1 boolean, 2 string, 3 int, 4
    /// short, 5 long, 6 double, 7 list, 8 class, 9 password.
    DescribeConfigsResourceResult {
        name: Str,
        value: Option<Str>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym>,
        config_type: i8 [3..],
        documentation: Option<Str> [3..],
    }

    /// Where the value could come from; the first one wins.
    DescribeConfigsSynonym {
        name: Str,
        value: Option<Str>,
        source: i8,
    }
}
