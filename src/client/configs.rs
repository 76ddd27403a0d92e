//! Settings of topics and brokers.

use super::{Client, Result, check};
use crate::protocol::messages::describe_configs::DescribeConfigsResource;
use crate::protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use crate::protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

/// Whose settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by id.
    Broker(i32),
}

impl ConfigResource {
    fn wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(id) => (4, id.to_string()),
        }
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name:?}"),
            Self::Broker(id) => write!(f, "broker {id}"),
        }
    }
}

/// A setting as it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigValue {
    /// Its name.
    pub name: String,
    /// Its value; none where it is secret or not set.
    pub value: Option<String>,
    /// Where it comes from: `topic`, `broker` or `default`.
    pub source: &'static str,
    /// It cannot be altered.
    pub read_only: bool,
    /// What it does, if the broker says so.
    pub documentation: Option<String>,
}

/// A change of one setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigChange {
    /// Sets it.
    Set(String, String),
    /// Gives it back to the default.
    Unset(String),
}

impl Client {
    /// All settings of a topic or a broker.
    pub fn describe_configs(&mut self, resource: &ConfigResource) -> Result<Vec<ConfigValue>> {
        let (resource_type, resource_name) = resource.wire();
        let asked =
            DescribeConfigsResource { resource_type, resource_name: resource_name.into(), configuration_keys: None };
        let request =
            DescribeConfigsRequest { resources: vec![asked], include_synonyms: false, include_documentation: true };
        let mut values = Vec::new();
        for result in self.ask(&request)?.results {
            check(result.error_code, result.error_message.as_deref(), || resource.to_string())?;
            values.extend(result.configs.iter().map(|config| ConfigValue {
                name: config.name.to_string(),
                value: config.value.as_deref().map(str::to_owned),
                source: match config.config_source {
                    1 => "topic",
                    2..=4 => "broker",
                    _ => "default",
                },
                read_only: config.read_only,
                documentation: config.documentation.as_deref().map(str::to_owned),
            }));
        }
        values.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(values)
    }

    /// Changes settings: all of them or none.
    pub fn alter_configs(&mut self, resource: &ConfigResource, changes: &[ConfigChange]) -> Result<()> {
        let (resource_type, resource_name) = resource.wire();
        let configs = changes.iter().map(|change| match change {
            ConfigChange::Set(name, value) => {
                AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()) }
            }
            ConfigChange::Unset(name) => AlterableConfig { name: name.into(), config_operation: 1, value: None },
        });
        let altered =
            AlterConfigsResource { resource_type, resource_name: resource_name.into(), configs: configs.collect() };
        let request = IncrementalAlterConfigsRequest { resources: vec![altered], validate_only: false };
        for result in self.ask(&request)?.responses {
            check(result.error_code, result.error_message.as_deref(), || resource.to_string())?;
        }
        Ok(())
    }
}
