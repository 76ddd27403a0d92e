//! Settings: from where they come, which wins, and what they come to.
//!
//! A flag wins over a `CORETIDE_...` variable, a variable over the TOML file, the file over the default. A name that nobody knows is an error that
//! names the nearest known one, in each of the three. Nothing below `main` reads flags, variables or the file: rooms get their options handed down.

pub mod keys;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use keys::KafkaSettings;
pub use parse::show_size;

use crate::base::NodeId;
use crate::base::limits::{JOURNAL_DEPTH_MAX, JOURNAL_FILE_BYTES, READ_DEPTH_MAX};
use crate::base::nearest::nearest;
use keys::{Draft, Key};

/// Everything the broker can be told, typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The node's id.
    pub node_id: NodeId,
    /// The cluster id that a new data directory gets, and that an old one must have. `None`: a random one for a new directory.
    pub cluster_id: Option<String>,
    /// Where to listen; never empty, names differ.
    pub listeners: Vec<ListenerSettings>,
    /// Host and port where the process answers over HTTP; `None`: nowhere.
    pub admin: Option<(String, u16)>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where the journals are kept, if not in the data directory.
    pub journal_dir: Option<PathBuf>,
    /// How many cores to run on; `None`: all that the process may use. Never together with `core_list`.
    pub cores: Option<u16>,
    /// Which CPUs to run on.
    pub core_list: Option<Vec<usize>>,
    /// Two neighbouring cores may run on one CPU while that is enough for both.
    pub share_cpus: bool,
    /// Bytes of memory that buffers and caches may take together; `None`: half of what the process may use.
    pub memory: Option<u64>,
    /// Bytes of journal per core: a multiple of `JOURNAL_FILE_BYTES`, at least `JOURNAL_FILES_MIN` of them.
    pub journal_bytes: u64,
    /// Journal blocks in flight per core, 1 to `JOURNAL_DEPTH_MAX`.
    pub journal_depth: usize,
    /// Reads of history in flight per core, 1 to `READ_DEPTH_MAX`.
    pub read_depth: usize,
    /// Go on although the file system is not known to keep what it was told to flush.
    pub allow_unsafe_filesystem: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or directives as `info,coretide::net=debug`.
    pub log_level: String,
    /// The settings that keep their Kafka names.
    pub kafka: KafkaSettings,
}

/// One address to listen on and what clients are told about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Its name, `PLAINTEXT` unless given.
    pub name: String,
    /// Host name or address to bind.
    pub host: String,
    /// Port to bind; 0: one that is free.
    pub port: u16,
    /// Host that clients are told.
    pub advertised_host: String,
    /// Port that clients are told; 0: the one that was bound.
    pub advertised_port: u16,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The command line.
    Flag,
    /// This variable of the environment.
    Variable(String),
    /// The file named by `--config`.
    File(PathBuf),
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why settings were refused. All of it is the fault of who started the program (exit code 2).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("there is no setting {name} ({source_}).{}", nearest.as_ref().map_or(String::new(), |name| format!(" Did you mean {name}?")))]
    Unknown {
        /// The name given.
        name: String,
        /// Where.
        source_: Source,
        /// The known name nearest to it.
        nearest: Option<String>,
    },
    /// A Kafka key that this version does not honour.
    #[error(
        "{name} is a key of Apache Kafka that this version does not honour, so it was not accepted ({source_}). Leave it out."
    )]
    NotHonoured {
        /// The key.
        name: String,
        /// Where.
        source_: Source,
    },
    /// A Kafka key whose work an engine flag does.
    #[error("{name} is set with the flag {flag} here ({source_}).")]
    EngineFlag {
        /// The key.
        name: String,
        /// The flag.
        flag: &'static str,
        /// Where.
        source_: Source,
    },
    /// A value that breaks its rule.
    #[error("{name} = {value:?} ({source_}): it must be {rule}.")]
    Value {
        /// The setting.
        name: String,
        /// The value given.
        value: String,
        /// Where.
        source_: Source,
        /// What it may be.
        rule: String,
    },
    /// `--set` without an equals sign.
    #[error("--set {0}: write it as KEY=VALUE.")]
    NotAPair(String),
    /// The file cannot be read or is not TOML.
    #[error("the settings file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Settings that exclude each other or miss one another.
    #[error("{0}")]
    Together(String),
}

/// One engine setting: a flag, a variable and a name in the file.
#[derive(Debug)]
pub struct EngineKey {
    /// Its name in the file; the flag has two dashes in front, the variable is `CORETIDE_` and the name in capitals with underscores.
    pub name: &'static str,
    /// Its default, as text; `None`: not set.
    pub default: Option<&'static str>,
    /// May be given several times (in a variable: with commas).
    pub repeatable: bool,
    /// What it may be, as half a sentence.
    pub rule: &'static str,
}

impl EngineKey {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// The engine settings, in the order in which they are shown.
pub const ENGINE_KEYS: &[EngineKey] = &[
    EngineKey { name: "node-id", default: Some("1"), repeatable: false, rule: "a whole number from 0 to 2147483647" },
    EngineKey {
        name: "cluster-id",
        default: None,
        repeatable: false,
        rule: "1 to 64 characters of A-Z, a-z, 0-9, '-' and '_'",
    },
    EngineKey {
        name: "listen",
        default: Some("PLAINTEXT=127.0.0.1:9092"),
        repeatable: true,
        rule: "HOST:PORT or NAME=HOST:PORT",
    },
    EngineKey { name: "advertise", default: None, repeatable: true, rule: "HOST:PORT or NAME=HOST:PORT" },
    EngineKey { name: "admin", default: None, repeatable: false, rule: "HOST:PORT" },
    EngineKey { name: "data-dir", default: Some("./data"), repeatable: false, rule: "a directory" },
    EngineKey { name: "journal-dir", default: None, repeatable: false, rule: "a directory" },
    EngineKey { name: "allow-unsafe-filesystem", default: Some("false"), repeatable: false, rule: "true or false" },
    EngineKey { name: "cores", default: None, repeatable: false, rule: "a whole number from 1 to 1024" },
    EngineKey { name: "core-list", default: None, repeatable: false, rule: "CPU numbers as 0,2-5, none of them twice" },
    EngineKey { name: "share-cpus", default: Some("auto"), repeatable: false, rule: "auto or never" },
    EngineKey { name: "memory", default: None, repeatable: false, rule: "a size of at least 64MiB, as 2GiB" },
    EngineKey {
        name: "journal-size",
        default: Some("256MiB"),
        repeatable: false,
        rule: "a multiple of 64MiB from 128MiB to 64GiB",
    },
    EngineKey { name: "journal-depth", default: Some("2"), repeatable: false, rule: "a whole number from 1 to 16" },
    EngineKey { name: "read-depth", default: Some("1"), repeatable: false, rule: "a whole number from 1 to 64" },
    EngineKey { name: "log-format", default: Some("text"), repeatable: false, rule: "text or json" },
    EngineKey {
        name: "log-level",
        default: Some("info"),
        repeatable: false,
        rule: "error, warn, info, debug, trace, off, or directives as info,coretide::net=debug",
    },
];

/// What the command line gave: engine settings by name, and `--set` pairs as written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Given {
    /// The settings file.
    pub config: Option<PathBuf>,
    /// Engine settings by their name in the file.
    pub engine: Vec<(&'static str, Vec<String>)>,
    /// `KEY=VALUE` pairs with Kafka names.
    pub set: Vec<String>,
}

/// Settings and where each came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What holds.
    pub settings: Settings,
    /// Each setting as text, in the order shown.
    shown: Vec<Shown>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Shown {
    name: &'static str,
    values: Vec<String>,
    source: Source,
    kafka: bool,
    repeatable: bool,
}

impl Loaded {
    /// The settings that keep their Kafka names, by name: their key, what holds as text, and whether somebody gave it.
    pub fn kafka(&self) -> impl Iterator<Item = (Key, Option<&str>, bool)> {
        let shown = self.shown.iter().filter(|shown| shown.kafka);
        keys::keys().into_iter().zip(shown).map(|(key, shown)| {
            assert_eq!(key.name, shown.name, "all keys are shown in their order");
            (key, shown.values.first().map(String::as_str), shown.source != Source::Default)
        })
    }
}

/// A settings file that would give the same settings, each line with where its value came from.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut in_kafka = false;
        for shown in &self.shown {
            if shown.kafka && !in_kafka {
                f.write_str("\n[kafka]\n")?;
                in_kafka = true;
            }
            let name = if shown.kafka { format!("{:?}", shown.name) } else { shown.name.to_string() };
            let quoted: Vec<String> =
                shown.values.iter().map(|value| toml::Value::from(value.as_str()).to_string()).collect();
            let line = match quoted.as_slice() {
                [] => format!("# {name} is not set"),
                values if shown.repeatable => format!("{name} = [{}]", values.join(", ")),
                [value, ..] => format!("{name} = {value}"),
            };
            match shown.values.is_empty() {
                true => writeln!(f, "{line}")?,
                false => writeln!(f, "{line:<60} # {}", shown.source)?,
            }
        }
        Ok(())
    }
}

/// Puts the sources together. `environment` is all variables; `read` reads a file.
pub fn load(
    given: &Given,
    environment: impl IntoIterator<Item = (String, String)>,
    read: impl Fn(&Path) -> std::io::Result<String>,
) -> Result<Loaded, ConfigError> {
    let keys = keys::keys();
    let mut found = Found::default();
    let mut file = None;
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX).filter(|rest| *rest != "BOOTSTRAP") else { continue };
        if rest == "CONFIG" {
            file = Some(PathBuf::from(value));
            continue;
        }
        found.variable(&keys, &name, value)?;
    }
    let variables = std::mem::take(&mut found);
    if let Some(path) = given.config.clone().or(file) {
        found.file(&keys, &path, &read)?;
    }
    found.over(variables);
    let mut flags = Found::default();
    for (name, values) in &given.engine {
        flags.engine.insert(name, (values.clone(), Source::Flag));
    }
    for pair in &given.set {
        let (name, value) = pair.split_once('=').ok_or_else(|| ConfigError::NotAPair(pair.clone()))?;
        let key = kafka_key(&keys, name.trim(), &Source::Flag)?;
        flags.kafka.insert(key.name, (value.trim().into(), Source::Flag));
    }
    found.over(flags);
    found.settle(&keys)
}

type Engine = BTreeMap<&'static str, (Vec<String>, Source)>;

/// What was found so far, by name.
#[derive(Default)]
struct Found {
    engine: Engine,
    kafka: BTreeMap<&'static str, (String, Source)>,
}

impl Found {
    /// What `stronger` has, wins.
    fn over(&mut self, stronger: Self) {
        self.engine.extend(stronger.engine);
        self.kafka.extend(stronger.kafka);
    }

    fn variable(&mut self, keys: &[Key], name: &str, value: String) -> Result<(), ConfigError> {
        let source = Source::Variable(name.into());
        if let Some(key) = ENGINE_KEYS.iter().find(|key| key.variable() == name) {
            let values =
                if key.repeatable { value.split(',').map(|part| part.trim().into()).collect() } else { vec![value] };
            self.engine.insert(key.name, (values, source));
            return Ok(());
        }
        if let Some(key) = keys.iter().find(|key| kafka_variable(key.name) == name) {
            self.kafka.insert(key.name, (value, source));
            return Ok(());
        }
        if let Some(key) = keys::kafka_names().find(|key| kafka_variable(key) == name) {
            return Err(unknown_kafka_key(keys, key, &source));
        }
        let known: Vec<String> = ENGINE_KEYS
            .iter()
            .map(EngineKey::variable)
            .chain(keys.iter().map(|key| kafka_variable(key.name)))
            .chain([format!("{VARIABLE_PREFIX}CONFIG")])
            .collect();
        let nearest = nearest(name, known.iter().map(String::as_str)).map(Into::into);
        Err(ConfigError::Unknown { name: name.into(), source_: source, nearest })
    }

    fn file(
        &mut self,
        keys: &[Key],
        path: &Path,
        read: impl Fn(&Path) -> std::io::Result<String>,
    ) -> Result<(), ConfigError> {
        let fault = |reason: String| ConfigError::File { path: path.display().to_string(), reason };
        let text = read(path).map_err(|error| fault(error.to_string()))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| fault(error.to_string()))?;
        let source = Source::File(path.into());
        for (name, value) in &table {
            if name == "kafka" {
                let toml::Value::Table(kafka) = value else {
                    return Err(fault("[kafka] must be a table of Kafka keys".into()));
                };
                self.kafka_table(keys, "", kafka, &source)
                    .map_err(|error| error.unwrap_or_else(|| fault(ONE_VALUE.into())))?;
                continue;
            }
            let Some(key) = ENGINE_KEYS.iter().find(|key| key.name == name) else {
                let known = ENGINE_KEYS.iter().map(|key| key.name).chain(["kafka"]);
                let nearest = nearest(name, known).map(Into::into);
                return Err(ConfigError::Unknown { name: name.clone(), source_: source, nearest });
            };
            let values = match value {
                toml::Value::Array(values) if key.repeatable => values.iter().map(scalar).collect::<Option<Vec<_>>>(),
                value => scalar(value).map(|value| vec![value]),
            };
            let values = values.ok_or_else(|| fault(format!("{name}: {ONE_VALUE}")))?;
            self.engine.insert(key.name, (values, source.clone()));
        }
        Ok(())
    }

    /// `num.partitions = 4` without quotes is a table in a table; both forms are taken. `Err(None)`: a list or a date.
    fn kafka_table(
        &mut self,
        keys: &[Key],
        before: &str,
        table: &toml::Table,
        source: &Source,
    ) -> Result<(), Option<ConfigError>> {
        for (name, value) in table {
            let name = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
            match value {
                toml::Value::Table(inner) => self.kafka_table(keys, &name, inner, source)?,
                value => {
                    let key = kafka_key(keys, &name, source)?;
                    self.kafka.insert(key.name, (scalar(value).ok_or(None)?, source.clone()));
                }
            }
        }
        Ok(())
    }

    /// Types everything and fills in the defaults.
    fn settle(self, keys: &[Key]) -> Result<Loaded, ConfigError> {
        let mut shown = Vec::new();
        let mut draft = Draft::default();
        for key in ENGINE_KEYS {
            let (values, source) = self.engine.get(key.name).cloned().unwrap_or_else(|| {
                (key.default.map(|default| vec![default.to_string()]).unwrap_or_default(), Source::Default)
            });
            shown.push(Shown { name: key.name, values, source, kafka: false, repeatable: key.repeatable });
        }
        for key in keys {
            let (value, source) = match self.kafka.get(key.name) {
                Some((value, source)) => (Some(value.clone()), source.clone()),
                None => (key.default.map(Into::into), Source::Default),
            };
            if let Some(value) = &value {
                draft.set(key, value).ok_or_else(|| ConfigError::Value {
                    name: key.name.into(),
                    value: value.clone(),
                    source_: source.clone(),
                    rule: key.range.rule(),
                })?;
            }
            shown.push(Shown {
                name: key.name,
                values: value.into_iter().collect(),
                source,
                kafka: true,
                repeatable: false,
            });
        }
        let settings = Typing { shown: &shown }.settings(draft.finish())?;
        Ok(Loaded { settings, shown })
    }
}

/// Turns texts into types and says which text was wrong.
struct Typing<'a> {
    shown: &'a [Shown],
}

impl Typing<'_> {
    fn settings(&self, kafka: KafkaSettings) -> Result<Settings, ConfigError> {
        let cores =
            self.one("cores", |text| text.parse().ok().filter(|cores| (1..=parse::CPUS_MAX as u16).contains(cores)))?;
        let core_list = self.one("core-list", parse::core_list)?;
        if cores.is_some() && core_list.is_some() {
            return Err(ConfigError::Together("give cores or core-list, not both.".into()));
        }
        kafka.go_together().map_err(ConfigError::Together)?;
        let journal_file = JOURNAL_FILE_BYTES as u64;
        Ok(Settings {
            node_id: NodeId(self.needed("node-id", |text| text.parse().ok().filter(|id| *id >= 0))?),
            cluster_id: self.one("cluster-id", |text| {
                let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                ((1..=64).contains(&text.len()) && text.bytes().all(legal)).then(|| text.to_string())
            })?,
            listeners: self.listeners()?,
            admin: self.one("admin", |text| {
                parse::address(text).filter(|(name, ..)| name.is_none()).map(|(_, host, port)| (host, port))
            })?,
            data_dir: self.needed("data-dir", path)?,
            journal_dir: self.one("journal-dir", path)?,
            cores,
            core_list,
            share_cpus: self.needed("share-cpus", |text| match text {
                "auto" => Some(true),
                "never" => Some(false),
                _ => None,
            })?,
            memory: self.one("memory", |text| parse::size(text).filter(|bytes| *bytes >= MEMORY_BYTES_MIN))?,
            journal_bytes: self.needed("journal-size", |text| {
                parse::size(text).filter(|bytes| {
                    bytes.is_multiple_of(journal_file)
                        && (JOURNAL_FILES_MIN * journal_file..=JOURNAL_BYTES_MAX).contains(bytes)
                })
            })?,
            journal_depth: self.needed("journal-depth", |text| {
                text.parse().ok().filter(|depth| (1..=JOURNAL_DEPTH_MAX).contains(depth))
            })?,
            read_depth: self
                .needed("read-depth", |text| text.parse().ok().filter(|depth| (1..=READ_DEPTH_MAX).contains(depth)))?,
            allow_unsafe_filesystem: self.needed("allow-unsafe-filesystem", |text| text.parse().ok())?,
            log_format: self.needed("log-format", |text| match text {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            })?,
            log_level: self.needed("log-level", |text| {
                tracing_subscriber::EnvFilter::try_new(text).ok().filter(|_| !text.is_empty()).map(|_| text.to_string())
            })?,
            kafka,
        })
    }

    fn shown(&self, name: &str) -> &Shown {
        self.shown.iter().find(|shown| shown.name == name).expect("each engine setting is shown")
    }

    fn all<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, ConfigError> {
        let shown = self.shown(name);
        let parsed = shown.values.iter().map(|value| {
            parse(value.trim()).ok_or_else(|| ConfigError::Value {
                name: name.into(),
                value: value.clone(),
                source_: shown.source.clone(),
                rule: ENGINE_KEYS.iter().find(|key| key.name == name).expect("an engine setting").rule.into(),
            })
        });
        parsed.collect()
    }

    fn one<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ConfigError> {
        Ok(self.all(name, parse)?.pop())
    }

    fn needed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        Ok(self.one(name, parse)?.expect("the table gives it a default"))
    }

    fn listeners(&self) -> Result<Vec<ListenerSettings>, ConfigError> {
        let mut listeners: Vec<ListenerSettings> = Vec::new();
        for (name, host, port) in self.all("listen", parse::address)? {
            let name = name.unwrap_or_else(|| LISTENER.into());
            if listeners.iter().any(|listener| listener.name == name) {
                return Err(ConfigError::Together(format!(
                    "two listeners are named {name}; give each a name of its own, as NAME=HOST:PORT."
                )));
            }
            listeners.push(ListenerSettings { name, advertised_host: String::new(), host, port, advertised_port: 0 });
        }
        if listeners.is_empty() {
            return Err(ConfigError::Together("listen is an empty list; give at least one HOST:PORT.".into()));
        }
        for (name, host, port) in self.all("advertise", parse::address)? {
            let place = match &name {
                None if listeners.len() == 1 => listeners.first_mut(),
                None => listeners.iter_mut().find(|listener| listener.name == LISTENER),
                Some(name) => listeners.iter_mut().find(|listener| &listener.name == name),
            };
            let listener = place.ok_or_else(|| {
                let name = name.as_deref().unwrap_or(LISTENER);
                ConfigError::Together(format!("advertise names the listener {name}, and none of that name listens."))
            })?;
            if !listener.advertised_host.is_empty() {
                return Err(ConfigError::Together(format!(
                    "two addresses are advertised for listener {}.",
                    listener.name
                )));
            }
            (listener.advertised_host, listener.advertised_port) = (host, port);
        }
        for listener in &mut listeners {
            if listener.advertised_host.is_empty() {
                (listener.advertised_host, listener.advertised_port) = (listener.host.clone(), listener.port);
            }
            if parse::is_wildcard(&listener.advertised_host) {
                return Err(ConfigError::Together(format!(
                    "listener {} would tell clients to connect to {}, which is no address; say where they reach it with --advertise {}=HOST:PORT.",
                    listener.name, listener.advertised_host, listener.name
                )));
            }
        }
        Ok(listeners)
    }
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn kafka_variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}KAFKA_{}", key.to_uppercase().replace('.', "_"))
}

fn kafka_key<'a>(keys: &'a [Key], name: &str, source: &Source) -> Result<&'a Key, ConfigError> {
    keys.iter().find(|key| key.name == name).ok_or_else(|| unknown_kafka_key(keys, name, source))
}

fn unknown_kafka_key(keys: &[Key], name: &str, source: &Source) -> ConfigError {
    let (name, source_) = (name.to_string(), source.clone());
    if let Some(flag) = keys::engine_flag(&name) {
        return ConfigError::EngineFlag { name, flag, source_ };
    }
    if keys::is_kafka_key(&name) {
        return ConfigError::NotHonoured { name, source_ };
    }
    let nearest = nearest(&name, keys.iter().map(|key| key.name)).map(Into::into);
    ConfigError::Unknown { name, source_, nearest }
}

/// `CORETIDE_BOOTSTRAP` is of the commands that talk to a broker, and nothing to the broker.
const VARIABLE_PREFIX: &str = "CORETIDE_";
const LISTENER: &str = "PLAINTEXT";
const ONE_VALUE: &str = "a setting is text, a whole number, true or false";
/// Journal files per core at least: one that is written, one that is drained.
pub const JOURNAL_FILES_MIN: u64 = 2;
/// Bytes of journal per core at most.
pub const JOURNAL_BYTES_MAX: u64 = 64 << 30;
/// Bytes of the memory budget at least.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(engine: &[(&'static str, &str)], set: &[&str]) -> Given {
        let mut given = Given { set: set.iter().map(ToString::to_string).collect(), ..Given::default() };
        for (name, value) in engine {
            match given.engine.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(value.to_string()),
                None => given.engine.push((name, vec![value.to_string()])),
            }
        }
        given
    }

    fn load_with(given: &Given, environment: &[(&str, &str)], file: &str) -> Result<Loaded, ConfigError> {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        load(given, environment, |_| Ok(file.to_string()))
    }

    fn fault(given: &Given) -> String {
        load_with(given, &[], "").expect_err("refused").to_string()
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        let settings = load_with(&Given::default(), &[("HOME", "/x")], "").expect("loads").settings;
        assert_eq!(settings.node_id, NodeId(1));
        assert_eq!(settings.data_dir, PathBuf::from("./data"));
        assert_eq!(settings.kafka, KafkaSettings::default());
        let listener = &settings.listeners[0];
        assert_eq!((listener.name.as_str(), listener.host.as_str(), listener.port), ("PLAINTEXT", "127.0.0.1", 9092));
        assert_eq!((listener.advertised_host.as_str(), listener.advertised_port), ("127.0.0.1", 9092));
        assert_eq!((settings.cores, settings.core_list, settings.memory), (None, None, None));
        assert!(settings.share_cpus);
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
        let file = "data-dir = 'file'\njournal-dir = 'file'\nnode-id = 7\n[kafka]\nnum.partitions = 3\n'max.connections' = 5\n'max.connections.per.ip' = 2";
        let environment = [
            ("CORETIDE_CONFIG", "x.toml"),
            ("CORETIDE_DATA_DIR", "variable"),
            ("CORETIDE_JOURNAL_DIR", "variable"),
            ("CORETIDE_KAFKA_NUM_PARTITIONS", "4"),
            ("CORETIDE_BOOTSTRAP", "elsewhere:9092"),
            ("CORETIDE_KAFKA_MAX_CONNECTIONS", "6"),
        ];
        let loaded =
            load_with(&given(&[("data-dir", "flag")], &["num.partitions=5"]), &environment, file).expect("loads");
        let settings = &loaded.settings;
        assert_eq!(settings.data_dir, PathBuf::from("flag"));
        assert_eq!(settings.journal_dir, Some(PathBuf::from("variable")));
        assert_eq!(settings.node_id, NodeId(7));
        assert_eq!(settings.kafka.num_partitions, 5);
        assert_eq!((settings.kafka.max_connections, settings.kafka.max_connections_per_ip), (6, 2));
        let shown = loaded.to_string();
        let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).expect(start).to_string();
        assert!(line("data-dir").ends_with("# flag"));
        assert!(line("journal-dir").ends_with("# variable CORETIDE_JOURNAL_DIR"));
        assert!(line("node-id").ends_with("# file x.toml"));
        assert!(line("journal-depth").ends_with("# default"));
        assert!(line("\"num.partitions\" = \"5\"").ends_with("# flag"));
        assert!(line("# cores").ends_with("is not set"));
    }

    #[test]
    fn kafkas_settings_are_listed_with_what_was_given() {
        let loaded = load_with(&given(&[], &["num.partitions=5", "log.retention.hours=1"]), &[], "").expect("loads");
        let all: Vec<_> = loaded.kafka().map(|(key, value, given)| (key.name, value, given)).collect();
        assert_eq!(all.len(), keys::keys().len());
        for row in [
            ("num.partitions", Some("5"), true),
            ("log.retention.hours", Some("1"), true),
            ("log.retention.ms", None, false),
            ("fetch.max.bytes", Some("57671680"), false),
        ] {
            assert!(all.contains(&row), "{row:?}");
        }
        let topic = |name: &str| keys::keys().into_iter().find(|key| key.name == name).expect("there").topic_config();
        assert_eq!(topic("log.retention.hours"), Some(("retention.ms", 3_600_000)));
        assert_eq!(topic("log.retention.ms"), Some(("retention.ms", 1)));
        assert_eq!(topic("num.partitions"), None);
    }

    #[test]
    fn what_is_shown_is_a_settings_file() {
        let given = given(&[("listen", "A=127.0.0.1:1"), ("listen", "B=[::1]:2")], &["broker.rack=a \"b\" \\c"]);
        let first = load_with(&given, &[], "").expect("loads");
        let again = Given { config: Some("saved.toml".into()), ..Given::default() };
        let second = load_with(&again, &[], &first.to_string()).expect("loads");
        assert_eq!(first.settings, second.settings);
    }

    #[test]
    fn unknown_names_are_errors_with_the_nearest() {
        assert!(fault(&given(&[], &["num.partition=4"])).contains("Did you mean num.partitions?"));
        assert!(fault(&given(&[], &["zebra=4"])).ends_with("there is no setting zebra (flag)."));
        assert!(fault(&given(&[], &["log.cleaner.threads=4"])).contains("does not honour"));
        assert!(fault(&given(&[], &["log.dirs=/x"])).contains("--data-dir"));
        assert!(fault(&given(&[], &["num.partitions"])).contains("KEY=VALUE"));
        let variable = |name| load_with(&Given::default(), &[(name, "1")], "").expect_err("refused").to_string();
        assert!(variable("CORETIDE_DATADIR").contains("Did you mean CORETIDE_DATA_DIR?"));
        assert!(variable("CORETIDE_KAFKA_NUM_PARTITION").contains("Did you mean CORETIDE_KAFKA_NUM_PARTITIONS?"));
        assert!(variable("CORETIDE_KAFKA_LOG_CLEANER_THREADS").contains("does not honour"));
        let in_file = |text| {
            let given = Given { config: Some("f".into()), ..Given::default() };
            load_with(&given, &[], text).expect_err("refused").to_string()
        };
        assert!(in_file("data-dri = 'x'").contains("Did you mean data-dir?"));
        assert!(in_file("[kafka]\nnum.partitoins = 1").contains("Did you mean num.partitions?"));
        assert!(in_file("[kafka]\nnum.partitions = [1]").contains("a setting is text"));
        assert!(in_file("kafka = 1").contains("must be a table"));
        assert!(in_file("= 1").starts_with("the settings file f:"));
    }

    #[test]
    fn values_out_of_range_say_the_rule() {
        for (name, value) in [
            ("node-id", "-1"),
            ("cluster-id", "a b"),
            ("listen", "9092"),
            ("advertise", "x"),
            ("data-dir", ""),
            ("cores", "0"),
            ("core-list", "3-1"),
            ("share-cpus", "always"),
            ("memory", "1MiB"),
            ("journal-size", "100MiB"),
            ("journal-size", "64MiB"),
            ("journal-depth", "0"),
            ("journal-depth", "17"),
            ("read-depth", "0"),
            ("read-depth", "65"),
            ("allow-unsafe-filesystem", "maybe"),
            ("log-format", "xml"),
            ("log-level", "info,,=x="),
        ] {
            let fault = fault(&given(&[(name, value)], &[]));
            assert!(fault.starts_with(&format!("{name} = {value:?} (flag): it must be ")), "{fault}");
        }
        assert!(fault(&given(&[], &["num.partitions=0"])).contains("from 1 to 10000"));
    }

    #[test]
    fn times_of_consumer_groups_fit_their_bounds() {
        let set = |pairs: &[&str]| load_with(&given(&[], pairs), &[], "").map(|_| ());
        let fault = |pairs: &[&str]| set(pairs).expect_err("refused").to_string();
        assert!(fault(&["group.consumer.session.timeout.ms=10000"]).contains("group.consumer.min.session.timeout.ms"));
        assert!(fault(&["group.consumer.session.timeout.ms=60001"]).contains("which is 60000"));
        assert!(fault(&["group.consumer.min.session.timeout.ms=60001"]).contains("is 45000; it must be from"));
        assert!(fault(&["group.consumer.heartbeat.interval.ms=1000"]).contains("which is 5000"));
        assert!(fault(&["group.consumer.max.heartbeat.interval.ms=4999"]).contains("which is 4999"));
        assert!(fault(&["group.consumer.assignment.interval.ms=15001"]).contains("which is 15000"));
        let long = ["group.consumer.max.heartbeat.interval.ms=50000", "group.consumer.heartbeat.interval.ms=45000"];
        assert!(fault(&long).contains("must be less than group.consumer.session.timeout.ms"));
        assert!(fault(&["group.coordinator.rebalance.protocols=consumer"]).contains("must name classic"));
        assert!(fault(&["group.consumer.migration.policy=upgrade"]).contains("the only value honoured"));
        let short = ["group.consumer.min.session.timeout.ms=100", "group.consumer.session.timeout.ms=6000"];
        assert_eq!(set(&short), Ok(()));
    }

    #[test]
    fn listeners_and_what_they_advertise() {
        let load = |engine| load_with(&given(engine, &[]), &[], "").map(|loaded| loaded.settings.listeners);
        let listeners = load(&[("listen", "0.0.0.0:9092"), ("advertise", "broker.example:19092")]).expect("loads");
        assert_eq!((listeners[0].advertised_host.as_str(), listeners[0].advertised_port), ("broker.example", 19092));
        let listeners = load(&[
            ("listen", "IN=10.0.0.1:9092"),
            ("listen", "OUT=0.0.0.0:9093"),
            ("advertise", "OUT=broker.example:443"),
        ])
        .expect("loads");
        assert_eq!(listeners[0].advertised_host, "10.0.0.1");
        assert_eq!(listeners[1].advertised_host, "broker.example");
        for (engine, says) in [
            (&[("listen", "0.0.0.0:9092")][..], "--advertise PLAINTEXT=HOST:PORT"),
            (&[("listen", "[::]:9092")], "--advertise"),
            (&[("listen", "h:1"), ("listen", "h:2")], "two listeners are named PLAINTEXT"),
            (&[("advertise", "X=h:1")], "none of that name listens"),
            (&[("listen", "A=h:1"), ("listen", "B=h:2"), ("advertise", "h:1")], "none of that name listens"),
            (&[("advertise", "h:1"), ("advertise", "h:2")], "two addresses"),
        ] {
            let fault = load(engine).expect_err("refused").to_string();
            assert!(fault.contains(says), "{fault}");
        }
        assert!(fault(&given(&[("cores", "1"), ("core-list", "0")], &[])).contains("not both"));
    }
}
