//! The `coretide` program.

use std::io::{BufReader, Write};
use std::process::ExitCode;

use clap::Parser;
use coretide::cli::{Action, Cli, Exit, Refusal, ServeFlags, completions, settings_page, tools};
use coretide::config;
use coretide::io::uring::host::Signals;
use coretide::{logs, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = match Cli::parse().action() {
        Action::Serve(flags) => start(&flags),
        Action::Settings => print(&settings_page()),
        Action::Completions { shell } => print(&completions(shell)),
        Action::Tool(tool) => tools::run(&tool, &mut BufReader::new(std::io::stdin()), &mut std::io::stdout().lock()),
    };
    let exit = match ended {
        Ok(()) => Exit::Done,
        Err(refusal) => {
            eprintln!("coretide: {refusal}");
            refusal.exit
        }
    };
    ExitCode::from(exit.code())
}

fn start(flags: &ServeFlags) -> Result<(), Refusal> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let loaded = config::load(&flags.given(), variables, |path| std::fs::read_to_string(path))?;
    if flags.print_config {
        return print(&loaded.to_string());
    }
    // Before any thread exists: one started earlier would still be ended by SIGTERM.
    let signals = Signals::take_over().map_err(|error| Refusal::new(Exit::Other, format!("signals: {error}")))?;
    let _logs = logs::start(loaded.settings.log_format, &loaded.settings.log_level);
    serve::run(&loaded, signals, |screen| {
        let _ = print(screen);
    })
}

fn print(text: &str) -> Result<(), Refusal> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Refusal::new(Exit::Other, format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}
