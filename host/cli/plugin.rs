//! `trommel plugin list`: asked of the running host, or found out by loading the files.

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::ask::ask;
use super::screen::{Paint, counted};
use super::{ConfigArgs, Exit, runtime, status};
use crate::config::Config;
use crate::plugin::{Compiler, Engine, Loader, load_once};
use crate::runner::Plugins;
use crate::telemetry::{PluginRow, plugin_rows};

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Lists the plugins and how they are doing
    #[command(after_help = "Example:\n  trommel plugin list --config trommel.toml --json")]
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &PluginCommand) -> Result<(), Exit> {
    let PluginCommand::List(args) = command;
    let runtime = runtime()?;
    let data_dir = args.config.data_dir()?;
    // Where no host answers, the files do.
    let rows: Vec<PluginRow> = match runtime.block_on(ask(&data_dir, "/api/v1/plugins")) {
        Ok(rows) => rows,
        Err(_) => plugin_rows(&load_files(&args.config.load()?, &runtime)?),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&rows).map_err(Exit::run_time)?;
        println!("{text}");
    } else {
        print_table(&rows);
    }
    Ok(())
}

/// Loads the plugins of a configuration, without a host.
pub(super) fn load_files(config: &Config, runtime: &Runtime) -> Result<Plugins, Exit> {
    let engine = Engine::new().map_err(|error| Exit::environment(format!("{error:#}")))?;
    let cache = config.data_dir.join("cache");
    // What only looks leaves nothing behind where nothing was.
    let cache = config.data_dir.is_dir().then_some(cache);
    let loader = Loader {
        compiler: Compiler::new(engine, cache.as_deref()),
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
    };
    match load_once(&config.plugin_dir, &loader) {
        Ok(plugins) => Ok(plugins),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Plugins::default()),
        Err(error) => {
            let dir = config.plugin_dir.display();
            Err(Exit::environment(format!("cannot read the plugin directory {dir}: {error}")))
        }
    }
}

fn print_table(rows: &[PluginRow]) {
    if rows.is_empty() {
        println!("no plugins");
        return;
    }
    let mut table = String::new();
    status::plugins(&mut table, rows, Paint::new(std::io::stdout().is_terminal()));
    print!("{}", table.trim_start());
    let failed = rows.iter().filter(|row| row.error.is_some()).count();
    if failed > 0 {
        eprintln!("trommel: {} failed to load", counted(failed, "plugin"));
    }
}
