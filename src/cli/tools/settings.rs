//! `coretide config` and `coretide cluster`.

use std::io::Write;

use clap::Subcommand;
use serde_json::json;

use super::{To, pair};
use crate::cli::Refusal;
use crate::cli::show::{Part, Shown, write};
use crate::client::{ConfigChange, ConfigResource};

/// What can be done with settings.
#[derive(Subcommand, Debug)]
pub enum Config {
    /// Show the settings of a topic (by name) or a broker (by id)
    Describe {
        /// `topic/NAME` or `broker/ID`
        #[arg(value_parser = resource)]
        of: ConfigResource,
        /// Only those that are not at their default
        #[arg(long)]
        changed: bool,
        /// With what each does
        #[arg(long)]
        help_texts: bool,
        #[command(flatten)]
        to: To,
    },
    /// Set settings: all of them or none
    Set {
        /// `topic/NAME` or `broker/ID`
        #[arg(value_parser = resource)]
        of: ConfigResource,
        /// What to set
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        settings: Vec<(String, String)>,
        #[command(flatten)]
        to: To,
    },
    /// Give settings back to their defaults
    Unset {
        /// `topic/NAME` or `broker/ID`
        #[arg(value_parser = resource)]
        of: ConfigResource,
        /// Which
        #[arg(required = true, value_name = "KEY")]
        settings: Vec<String>,
        #[command(flatten)]
        to: To,
    },
}

fn resource(text: &str) -> Result<ConfigResource, String> {
    match text.split_once('/') {
        Some(("topic", name)) if !name.is_empty() => Ok(ConfigResource::Topic(name.to_owned())),
        Some(("broker", id)) => {
            id.parse().map(ConfigResource::Broker).map_err(|_| format!("{id:?} is not the id of a broker"))
        }
        _ => Err(format!("{text:?} is neither topic/NAME nor broker/ID")),
    }
}

pub(super) fn run(config: &Config, out: &mut dyn Write) -> Result<(), Refusal> {
    match config {
        Config::Describe { of, changed, help_texts, to } => {
            let mut values = to.connect()?.describe_configs(of)?;
            values.retain(|value| !changed || value.source != "default");
            let mut rows = Vec::new();
            for value in &values {
                let shown = value.value.clone().unwrap_or_default();
                rows.push(vec![value.name.clone(), shown, value.source.to_owned()]);
                if let Some(text) = value.documentation.as_ref().filter(|_| *help_texts) {
                    rows.push(vec![format!("  {text}"), String::new(), String::new()]);
                }
            }
            let json = values.iter().map(|value| {
                json!({
                    "name": value.name, "value": value.value, "source": value.source, "read_only": value.read_only,
                    "documentation": value.documentation,
                })
            });
            let json = json.collect();
            write(out, &Shown { parts: vec![Part::Table(&["setting", "value", "from"], rows)], json }, to.json)
        }
        Config::Set { of, settings, to } => {
            let set = |(key, value): &(String, String)| ConfigChange::Set(key.clone(), value.clone());
            change(of, settings.iter().map(set).collect(), to, out)
        }
        Config::Unset { of, settings, to } => {
            change(of, settings.iter().cloned().map(ConfigChange::Unset).collect(), to, out)
        }
    }
}

fn change(of: &ConfigResource, changes: Vec<ConfigChange>, to: &To, out: &mut dyn Write) -> Result<(), Refusal> {
    to.connect()?.alter_configs(of, &changes)?;
    let parts = vec![Part::Line(format!("{of} changed"))];
    write(out, &Shown { parts, json: json!({ "changed": changes.len() }) }, to.json)
}

pub(super) fn cluster(to: &To, out: &mut dyn Write) -> Result<(), Refusal> {
    let view = to.connect()?.cluster()?;
    let row = |broker: &crate::client::Broker| {
        let role = if broker.controller { "controller" } else { "" };
        vec![broker.id.to_string(), broker.address.clone(), broker.rack.clone().unwrap_or_default(), role.into()]
    };
    let mut parts = vec![Part::Line(format!("cluster {}", view.id))];
    parts.extend(view.features.iter().map(|(name, level)| Part::Line(format!("  {name} = {level}"))));
    parts.push(Part::Table(&["broker", "address", "rack", "role"], view.brokers.iter().map(row).collect()));
    let brokers: Vec<_> = view
        .brokers
        .iter()
        .map(|b| json!({ "id": b.id, "address": b.address, "rack": b.rack, "controller": b.controller }))
        .collect();
    let features: serde_json::Map<_, _> =
        view.features.iter().map(|(name, level)| (name.clone(), json!(level))).collect();
    let json = json!({ "cluster": view.id, "brokers": brokers, "features": features });
    write(out, &Shown { parts, json }, to.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_belong_to_a_topic_or_a_broker() {
        assert_eq!(resource("topic/a/b"), Ok(ConfigResource::Topic("a/b".into())));
        assert_eq!(resource("broker/1"), Ok(ConfigResource::Broker(1)));
        for wrong in ["a", "topic/", "broker/x", "group/g", "/"] {
            assert!(resource(wrong).is_err(), "{wrong}");
        }
    }
}
