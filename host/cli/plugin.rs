//! `trommel plugin list`: asked of the running host, or found out by loading the files.

use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{ConfigArgs, Exit, runtime};
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

/// What asking a running host may take.
const ASK_TIME: Duration = Duration::from_secs(5);

pub(super) fn run(command: &PluginCommand) -> Result<(), Exit> {
    let PluginCommand::List(args) = command;
    let config = args.config.load()?;
    let runtime = runtime()?;
    let rows = match runtime.block_on(ask(&config)) {
        Some(rows) => rows,
        None => plugin_rows(&load_files(&config, &runtime)?),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&rows).map_err(Exit::run_time)?;
        println!("{text}");
    } else {
        print_table(&rows);
    }
    Ok(())
}

/// Asks the host that runs with this configuration, if one does.
async fn ask(config: &Config) -> Option<Vec<PluginRow>> {
    let address = std::fs::read_to_string(config.data_dir.join("listen.addr")).ok()?;
    let address: std::net::SocketAddr = address.trim().parse().ok()?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(crate::tls::no_trust().ok()?)
        .no_proxy()
        .timeout(ASK_TIME)
        .build()
        .ok()?;
    let response = client.get(format!("http://{address}/api/v1/plugins")).send().await.ok()?;
    // Anything else may listen there by now.
    serde_json::from_slice(&response.bytes().await.ok()?).ok()
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
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
    println!("{:<width$}  {:<9}  {:<10}  {:<9}  SHA-256", "NAME", "ROLE", "VERSION", "STATE");
    for row in rows {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        println!(
            "{:<width$}  {:<9}  {:<10}  {:<9}  {}",
            row.name,
            or_dash(&row.role),
            or_dash(&row.version),
            row.state,
            row.sha256.get(..12).unwrap_or("-")
        );
        for line in row.error.iter().flat_map(|error| error.lines()) {
            println!("{:<width$}  {line}", "");
        }
    }
}
