//! The command line: what can be asked for, and with which code the program ends.

pub mod show; // results, as tables or as JSON
pub mod time; // times as people write them
pub mod tools; // commands that talk to a broker

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Given;

/// A broker that speaks the Apache Kafka protocol. Acknowledged means on disk.
///
/// Without a command it serves, as `coretide serve` does.
#[derive(Parser, Debug)]
#[command(name = "coretide", version, max_term_width = 110, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Action>,
    /// Flags of `serve`, when no command is named.
    #[command(flatten)]
    pub serve: ServeFlags,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// Run a broker until SIGTERM or SIGINT
    #[command(after_help = AFTER_HELP)]
    Serve(Box<ServeFlags>),
    /// List the settings that keep their Kafka names, with ranges, defaults and what they do
    Settings,
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Commands that talk to a broker
    #[command(flatten)]
    Tool(tools::Tool),
}

impl Cli {
    /// The command, with `serve` filled in.
    pub fn action(self) -> Action {
        self.command.unwrap_or_else(|| Action::Serve(Box::new(self.serve)))
    }
}

/// Flags of `serve`. All values are text here: `config` types them, whichever source they come from.
#[derive(Args, Clone, Default, Debug)]
pub struct ServeFlags {
    /// Address to listen on; repeatable with different names; port 0 takes a free one and prints it [default: PLAINTEXT=127.0.0.1:9092]
    #[arg(long, value_name = "[NAME=]HOST:PORT", help_heading = "Network")]
    listen: Vec<String>,
    /// Address that clients are told to connect to, per listener [default: where it listens]
    #[arg(long, value_name = "[NAME=]HOST:PORT", help_heading = "Network")]
    advertise: Vec<String>,

    /// Address for metrics and health over HTTP, without TLS or passwords; port 0 takes a free one and prints it [default: none]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Network")]
    admin: Option<String>,

    /// Directory of everything that must last [default: ./data]
    #[arg(long, value_name = "DIR", help_heading = "Storage")]
    data_dir: Option<String>,
    /// Directory of the journals, for a disk of their own [default: inside the data directory]
    #[arg(long, value_name = "DIR", help_heading = "Storage")]
    journal_dir: Option<String>,
    /// Bytes of journal per core, pre-written in steps: a multiple of 64MiB from 128MiB to 64GiB [default: 256MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Storage")]
    journal_size: Option<String>,
    /// Journal blocks that may be on their way to the disk at a time, per core: 1 to 16 [default: 2]
    #[arg(long, value_name = "N", help_heading = "Storage")]
    journal_depth: Option<String>,
    /// Reads of history that may be on their way to the disk at a time, per core: 1 to 64 [default: 1]
    #[arg(long, value_name = "N", help_heading = "Storage")]
    read_depth: Option<String>,
    /// Go on although the file system is not known to keep what it was told to flush (known: ext4, XFS)
    #[arg(long, help_heading = "Storage")]
    allow_unsafe_filesystem: bool,

    /// How many cores to run on [default: all that the process may use]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    cores: Option<String>,
    /// Which CPUs to run on, as 0,2-5; not together with --cores
    #[arg(long, value_name = "CPUS", help_heading = "Machine")]
    core_list: Option<String>,
    /// Whether two neighbouring cores may run on one CPU while that is enough for both: auto or never [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Machine")]
    share_cpus: Option<String>,
    /// Bytes of memory that buffers and caches may take together: at least 64MiB [default: half of what the process may use]
    #[arg(long, value_name = "SIZE", help_heading = "Machine")]
    memory: Option<String>,

    /// The node's id, 0 to 2147483647 [default: 1]
    #[arg(long, value_name = "N", help_heading = "Identity")]
    node_id: Option<String>,
    /// The cluster id of a new data directory; an old one must have it [default: a random one]
    #[arg(long, value_name = "ID", help_heading = "Identity")]
    cluster_id: Option<String>,

    /// How log lines on stderr look: text or json [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    log_format: Option<String>,
    /// Which log lines are written: error, warn, info, debug, trace, off, or directives as info,coretide::net=debug [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = "Logs")]
    log_level: Option<String>,

    /// A setting with its Kafka name; repeatable; `coretide settings` lists them
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Settings")]
    set: Vec<String>,
    /// A TOML file of settings: flags without their dashes, Kafka names under [kafka]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// Print every setting and where it came from, as a settings file, and end
    #[arg(long, help_heading = "Settings")]
    pub print_config: bool,
}

impl ServeFlags {
    /// What was given, for [`crate::config::load`].
    pub fn given(&self) -> Given {
        let lists = [("listen", &self.listen), ("advertise", &self.advertise)];
        let ones = [
            ("admin", &self.admin),
            ("data-dir", &self.data_dir),
            ("journal-dir", &self.journal_dir),
            ("journal-size", &self.journal_size),
            ("journal-depth", &self.journal_depth),
            ("read-depth", &self.read_depth),
            ("cores", &self.cores),
            ("core-list", &self.core_list),
            ("share-cpus", &self.share_cpus),
            ("memory", &self.memory),
            ("node-id", &self.node_id),
            ("cluster-id", &self.cluster_id),
            ("log-format", &self.log_format),
            ("log-level", &self.log_level),
        ];
        let mut engine: Vec<(&'static str, Vec<String>)> = Vec::new();
        engine.extend(
            lists.into_iter().filter(|(_, values)| !values.is_empty()).map(|(name, values)| (name, values.clone())),
        );
        engine.extend(ones.into_iter().filter_map(|(name, value)| Some((name, vec![value.clone()?]))));
        if self.allow_unsafe_filesystem {
            engine.push(("allow-unsafe-filesystem", vec!["true".into()]));
        }
        Given { config: self.config.clone(), engine, set: self.set.clone() }
    }
}

/// The codes with which the program ends. README.md has the same table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done, or stopped as asked with everything drained.
    Done = 0,
    /// Something that has no code of its own.
    Other = 1,
    /// A flag, variable, file or value that cannot be.
    Usage = 2,
    /// A second signal came before the stop was complete; the next start recovers from the journal.
    Interrupted = 3,
    /// The kernel does not let this process use io_uring.
    IoUringNotPermitted = 10,
    /// Less than 512 KiB of locked memory per core.
    LockedMemory = 11,
    /// The kernel lacks what the broker needs.
    KernelTooOld = 12,
    /// Another process listens there.
    PortInUse = 13,
    /// Another broker has the data directory.
    DataDirectoryInUse = 14,
    /// The data was written by a newer program.
    NewerFormat = 15,
    /// A file system that is not known to be durable.
    UnknownFileSystem = 16,
    /// No space for the journal.
    NoSpace = 17,
    /// A file, directory or port that this user may not use.
    NoPermission = 18,
    /// Too few files may be open for segments, journals and connections.
    OpenFiles = 19,
    /// The disk failed while running; nothing more was acknowledged.
    DiskFailed = 20,
    /// Acknowledged data is damaged.
    Corrupt = 21,
    /// No broker answers a command that talks to one.
    Unreachable = 30,
    /// The broker refused what a command asked for.
    Refused = 31,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: &'static [Self] = &[
        Self::Done,
        Self::Other,
        Self::Usage,
        Self::Interrupted,
        Self::IoUringNotPermitted,
        Self::LockedMemory,
        Self::KernelTooOld,
        Self::PortInUse,
        Self::DataDirectoryInUse,
        Self::NewerFormat,
        Self::UnknownFileSystem,
        Self::NoSpace,
        Self::NoPermission,
        Self::OpenFiles,
        Self::DiskFailed,
        Self::Corrupt,
        Self::Unreachable,
        Self::Refused,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What the one who started the program can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Done | Self::Other => "",
            Self::Unreachable => {
                "Is a broker running there? --bootstrap HOST:PORT or CORETIDE_BOOTSTRAP names another one."
            }
            Self::Refused => "Nothing was changed by what was refused.",
            Self::Usage => "Run `coretide --help` or `coretide settings` for what can be given.",
            Self::Interrupted => "The next start recovers from the journal.",
            Self::IoUringNotPermitted => {
                "In a container, start it with the seccomp profile tuning/seccomp-io_uring.json \
                 (docker run --security-opt seccomp=tuning/seccomp-io_uring.json); elsewhere, sysctl kernel.io_uring_disabled must be 0."
            }
            Self::LockedMemory => {
                "Raise the limit: `ulimit -l unlimited`, LimitMEMLOCK=infinity in a systemd unit, or docker run --ulimit memlock=-1."
            }
            Self::KernelTooOld => "Linux 6.6 is the oldest kernel that is supported.",
            Self::PortInUse => {
                "Stop the other process, or choose another port with --listen HOST:PORT (port 0 takes a free one)."
            }
            Self::DataDirectoryInUse => "Stop the other broker, or choose another directory with --data-dir.",
            Self::NewerFormat => "Start the version of coretide that wrote it, or a newer one. Nothing was changed.",
            Self::UnknownFileSystem => {
                "Put the data on ext4 or XFS. For a test, --allow-unsafe-filesystem goes on; acknowledged data may then be lost in a power cut."
            }
            Self::NoSpace => "Free some space, or make the journal smaller with --journal-size.",
            Self::NoPermission => {
                "Give this user the right, or choose a directory with --data-dir or a port above 1023 with --listen."
            }
            Self::OpenFiles => {
                "Raise the hard limit: `ulimit -Hn`, LimitNOFILE=1048576 in a systemd unit, or docker run --ulimit nofile=1048576."
            }
            Self::DiskFailed => {
                "Look at the kernel's log for the device. The next start recovers what was acknowledged, or says what is damaged."
            }
            Self::Corrupt => {
                "Restore the file that is named from a copy, or a replica. No acknowledged data was changed."
            }
        }
    }
}

/// Why the program ends early: the code, and what happened with its values. The remedy goes with the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The code.
    pub exit: Exit,
    /// What happened.
    pub what: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into() }
    }
}

/// One message: what happened, then what to do.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match self.exit.remedy() {
            "" => Ok(()),
            remedy => write!(f, "\n  {remedy}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<crate::config::ConfigError> for Refusal {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

/// The table of `coretide settings`.
pub fn settings_page() -> String {
    let mut page = String::new();
    for key in crate::config::keys::keys() {
        let default = key.default.unwrap_or("not set");
        page += &format!("{}\n    {}\n    {}; default {default}\n", key.name, key.documentation, key.range.rule());
    }
    page
}

/// The completion script for a shell.
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "coretide", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

const AFTER_HELP: &str = "Every flag can also be a variable (CORETIDE_DATA_DIR) or a line of the settings file (data-dir = \"...\"); a flag wins over a \
variable, a variable over the file. Kafka names as variables: CORETIDE_KAFKA_NUM_PARTITIONS.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ENGINE_KEYS;

    #[test]
    fn the_flags_are_sound_and_cover_each_engine_setting() {
        use clap::CommandFactory;
        let command = Cli::command();
        command.clone().debug_assert();
        for key in ENGINE_KEYS {
            let flag = command.get_arguments().find(|argument| argument.get_long() == Some(key.name));
            let flag = flag.unwrap_or_else(|| panic!("--{} is missing", key.name));
            let help = flag.get_help().expect("has help").to_string();
            if let Some(default) = key.default.filter(|default| *default != "false") {
                assert!(help.contains(&format!("[default: {default}]")), "--{}: {help}", key.name);
            }
        }
    }

    #[test]
    fn no_command_is_serve_and_flags_arrive() {
        let parse = |line: &str| match Cli::parse_from(line.split_whitespace()).action() {
            Action::Serve(flags) => flags,
            other => panic!("asked to serve, not {other:?}"),
        };
        assert_eq!(parse("coretide").given(), Given::default());
        let line = "--listen A=h:1 --listen B=h:2 --data-dir d --set a=b --allow-unsafe-filesystem --print-config";
        for line in [format!("coretide {line}"), format!("coretide serve {line}")] {
            let flags = parse(&line);
            assert!(flags.print_config);
            assert_eq!(
                flags.given(),
                Given {
                    config: None,
                    engine: vec![
                        ("listen", vec!["A=h:1".into(), "B=h:2".into()]),
                        ("data-dir", vec!["d".into()]),
                        ("allow-unsafe-filesystem", vec!["true".into()]),
                    ],
                    set: vec!["a=b".into()],
                }
            );
        }
        assert!(Cli::try_parse_from(["coretide", "--data-dri", "x"]).is_err());
    }

    #[test]
    fn exit_codes_are_apart_and_every_refusal_has_a_remedy() {
        assert!(Exit::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        for exit in Exit::ALL.iter().filter(|exit| exit.code() > 1) {
            assert!(exit.remedy().ends_with('.'), "{exit:?}");
            assert!(Refusal::new(*exit, "what").to_string().starts_with("what\n  "));
        }
        assert_eq!(Refusal::new(Exit::Other, "what").to_string(), "what");
    }
}
