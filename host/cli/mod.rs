//! The command line: one file per command, one exit code per kind of failure. Key types: [`Cli`],
//! [`Exit`].

mod ask;
mod check;
mod decode;
mod dlq;
mod gaps;
mod generate;
mod init;
mod journal;
mod out;
mod plugin;
mod range;
mod replay;
mod reread;
mod run;
mod screen;
mod signals;
mod sim;
mod status;
mod tail;
mod when;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum as _};

use crate::app::StartError;
use crate::config::{Config, ConfigError};
use crate::telemetry::log;

/// Keeps live event streams open and passes every event through sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(
    name = "trommel",
    version,
    after_help = "Examples:\n  trommel tail --cluster US-1 --stream ap-events\n  trommel init\n  \
        trommel run --config trommel.toml\n\n\
        Exit codes: 0 ok, 1 run time, 2 usage or configuration, 3 environment.\n\
        Logs go to standard error."
)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// What is logged, and how.
#[derive(Debug, Args)]
struct LogArgs {
    /// error, warn, info, debug, trace, or PART=LEVEL,... [default: TROMMEL_LOG, else what the command needs]
    #[arg(long, value_name = "LEVEL", global = true, help_heading = "Log", value_parser = log_level)]
    log_level: Option<String>,
    /// human, json, or auto: human on a terminal, else json [default: TROMMEL_LOG_FORMAT]
    #[arg(
        long,
        value_name = "FORMAT",
        global = true,
        help_heading = "Log",
        hide_possible_values = true
    )]
    log_format: Option<log::Format>,
}

/// A lone word that is no level would be taken for a part of the program, and nothing be logged.
fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = LEVELS.contains(&text.to_ascii_lowercase().as_str());
    match is_level || text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err(format!("known: {}, or for example trommel=debug", LEVELS.join(", "))),
    }
}

impl LogArgs {
    /// Starts logging. `level` counts where nothing is said.
    fn start(&self, level: &str) -> Result<(), Exit> {
        let from_env = crate::config::log_format().map(|format| {
            log::Format::from_str(&format, true).map_err(|_| {
                let known = "auto, human or json";
                Exit::usage(format!("TROMMEL_LOG_FORMAT: {format:?} is none of {known}"))
            })
        });
        let format = match self.log_format {
            Some(format) => format,
            None => from_env.transpose()?.unwrap_or_default(),
        };
        let filter = self.log_level.clone().or_else(crate::config::log_filter);
        log::start(filter.as_deref().unwrap_or(level), format, crate::config::no_color());
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows events of some streams, without a configuration file
    Tail(tail::TailArgs),
    /// Writes a configuration to begin with
    Init(init::InitArgs),
    /// Runs the pipelines of a configuration until it is told to stop
    Run(run::RunArgs),
    /// Checks configuration, plugins and machine; with --online the connections too
    Check(check::CheckArgs),
    /// Shows how a running host is doing
    Status(status::StatusArgs),
    /// Shows when nobody knows what was sent, and why
    Gaps(gaps::GapsArgs),
    /// Shows plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Dead letters: what could not be used, to be looked at, taken again or dropped
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Takes what the journal holds through plugins once more, to standard output
    Replay(replay::ReplayArgs),
    /// The journal: exported, imported, verified
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Decodes frames from a file or standard input to lines of JSON
    #[command(after_help = "Example:\n  trommel decode --stream ap-events frame.bin\n  \
        trommel decode --framed < frames.bin")]
    Decode(decode::DecodeArgs),
    /// Runs a simulator: a server that stands in for a vendor, for demos and tests
    #[command(after_help = "Example:\n  trommel sim central --rate 500 --ledger ledger.jsonl")]
    Sim(sim::SimArgs),
    /// Prints the completions of a shell
    Completions(generate::CompletionsArgs),
    /// Prints the manual page, or writes those of all commands
    Man(generate::ManArgs),
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "trommel.toml")]
    config: PathBuf,
    /// Overrides a key of the configuration, for example source.hq.cluster=EU-1
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, Exit> {
        self.load_config().map_err(Exit::from)
    }

    fn load_config(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config, &self.overrides)
    }

    /// Where a host with this configuration keeps its things.
    fn data_dir(&self) -> Result<PathBuf, Exit> {
        Config::data_dir_of(&self.config, &self.overrides).map_err(Exit::from)
    }
}

/// How a command ended, when not well: what to print, and the exit code.
#[derive(Debug)]
pub struct Exit {
    /// The exit code.
    pub code: u8,
    /// What to print on standard error; may be empty.
    pub message: String,
}

impl Exit {
    /// Something went wrong while it ran.
    pub fn run_time(message: impl std::fmt::Display) -> Self {
        Exit { code: 1, message: message.to_string() }
    }

    /// The command line or the configuration is wrong.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Exit { code: 2, message: message.to_string() }
    }

    /// The machine is not as it should be.
    pub fn environment(message: impl std::fmt::Display) -> Self {
        Exit { code: 3, message: message.to_string() }
    }
}

impl Exit {
    /// A second signal, while the first was obeyed.
    fn by_signal(name: &str) -> Self {
        Exit { code: if name == "SIGINT" { 130 } else { 143 }, message: String::new() }
    }
}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Exit::usage(error)
    }
}

impl From<StartError> for Exit {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Environment { .. } => Exit::environment(error),
            StartError::Unusable(_) => Exit::environment(error),
        }
    }
}

/// Runs a command.
///
/// # Errors
/// What to print, and the exit code.
pub fn run(cli: Cli) -> Result<(), Exit> {
    // What only looks says what is wrong itself.
    let level = match cli.command {
        Command::Run(_) | Command::Sim(_) => "info",
        Command::Tail(_) | Command::Check(_) => "error",
        _ => "warn",
    };
    cli.log.start(level)?;
    match cli.command {
        Command::Tail(args) => tail::run(args),
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plugin(command) => plugin::run(&command),
        Command::Dlq(command) => dlq::run(&command),
        Command::Replay(args) => replay::run(&args),
        Command::Journal(command) => journal::run(&command),
        Command::Decode(args) => decode::run(&args),
        Command::Sim(args) => runtime()?.block_on(sim::run(args)),
        Command::Status(args) => status::run(&args),
        Command::Gaps(args) => gaps::run(&args),
        Command::Completions(args) => generate::completions(&args, Cli::command()),
        Command::Man(args) => generate::man(&args, Cli::command()),
    }
}

/// A runtime for commands that wait.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::environment(format!("cannot start threads: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &clap::Command) -> Vec<clap::Command> {
        let inner: Vec<_> = command.get_subcommands().flat_map(leaves).collect();
        if inner.is_empty() { vec![command.clone()] } else { inner }
    }

    #[test]
    fn every_command_has_an_example_and_is_well_formed() {
        let command = Cli::command();
        command.clone().debug_assert();
        for leaf in leaves(&command) {
            let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = leaf.get_name();
            assert!(help.contains("Example") && help.contains("trommel "), "{name}: {help}");
        }
    }

    /// The words of a line as a shell has them, up to where its output goes elsewhere.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
        for letter in line.chars().chain([' ']) {
            match letter {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted => {
                    words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty()))
                }
                letter => word.push(letter),
            }
        }
        let end = words.iter().position(|word| ["|", ">", "<", "#", "&"].contains(&word.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        words
    }

    #[test]
    fn every_example_is_understood() {
        let command = Cli::command();
        let all = leaves(&command).into_iter().chain([command.clone()]);
        let helps = all.filter_map(|leaf| leaf.get_after_help().map(ToString::to_string));
        let mut count = 0;
        for help in helps {
            for line in help.lines().map(str::trim).filter(|line| line.starts_with("trommel ")) {
                let parsed = command.clone().try_get_matches_from(words(line));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                count += 1;
            }
        }
        assert!(count > 30, "{count}");
    }
}
