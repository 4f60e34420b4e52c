//! The command line: one file per command, one exit code per kind of failure. Key types: [`Cli`],
//! [`Exit`].

mod check;
mod decode;
mod plugin;
mod run;
mod sim;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::StartError;
use crate::config::{Config, ConfigError};
use crate::telemetry;

/// Keeps live event streams open and passes every event through sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(
    name = "trommel",
    version,
    after_help = "Example:\n  trommel run --config trommel.toml\n\n\
        Exit codes: 0 ok, 1 run time, 2 usage or configuration, 3 environment.\n\
        Logs go to standard error; TROMMEL_LOG=debug shows more."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the pipelines of a configuration until it is told to stop
    #[command(
        after_help = "Example:\n  trommel run --config trommel.toml --set listen=127.0.0.1:0"
    )]
    Run(ConfigArgs),
    /// Checks a configuration and its plugins without connecting anywhere
    #[command(after_help = "Example:\n  trommel check --config trommel.toml")]
    Check(ConfigArgs),
    /// Shows plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Decodes frames from a file or standard input to lines of JSON
    #[command(after_help = "Example:\n  trommel decode --stream ap-events frame.bin\n  \
        trommel decode --framed < frames.bin")]
    Decode(decode::DecodeArgs),
    /// Runs a simulator: a server that stands in for a vendor, for demos and tests
    #[command(after_help = "Example:\n  trommel sim central --rate 500 --ledger ledger.jsonl")]
    Sim(sim::SimArgs),
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
        Config::load(&self.config, &self.overrides).map_err(Exit::from)
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
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plugin(command) => plugin::run(&command),
        Command::Decode(args) => decode::run(&args),
        Command::Sim(args) => {
            telemetry::log::start(&crate::config::log_filter());
            runtime()?.block_on(sim::run(args)).map_err(Exit::from)
        }
    }
}

/// A runtime for commands that wait.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::environment(format!("cannot start threads: {error}")))
}
