//! `trommel run`: the host in the foreground, until a signal. On SIGHUP, and when its file changes,
//! it takes over its configuration anew.

use std::time::Duration;

use clap::Args;

use super::reread::{Reread, Step, Watched};
use super::signals::{Hangup, Signals};
use super::{ConfigArgs, Exit, runtime};
use crate::app::App;
use crate::config::Config;
use crate::notify::Manager;
use crate::telemetry::log;

/// What `run` is told.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trommel run --config trommel.toml --set listen=127.0.0.1:0\n\n\
    A changed configuration takes effect by itself, or on SIGHUP, without dropping what did not change."
)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Reads the configuration again on SIGHUP only, and not when its file changes
    #[arg(long)]
    no_watch: bool,
}

pub(super) fn run(args: &RunArgs) -> Result<(), Exit> {
    let watched = (!args.no_watch).then(|| Watched::new(&args.config));
    let config = args.config.load()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(host(&config, args, watched));
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn host(config: &Config, args: &RunArgs, watched: Option<Watched>) -> Result<(), Exit> {
    let (mut signals, mut hangup) = (Signals::new()?, Hangup::new()?);
    let mut reread = Reread::start(&args.config, watched)?;
    let mut manager = Manager::default();
    let mut app = App::start(config).await?;
    manager.ready();
    let report = app.reporter();
    let every = manager.beat_every();
    let failure = loop {
        tokio::select! {
            name = signals.first() => {
                tracing::info!("{name}: stopping; once more to stop at once");
                break None;
            }
            () = hangup.next() => reread.ask(),
            step = reread.next() => match step {
                Step::Begins => manager.reloading(),
                Step::Read(read) => {
                    app.reload(*read);
                    manager.ready();
                }
            },
            ended = app.ended(every, || manager.beat(|| report().headline())) => match ended {
                Ok(()) => {
                    tracing::info!("all sources have ended: stopping");
                    break None;
                }
                Err(why) => {
                    tracing::error!("{why}: stopping");
                    break Some(why);
                }
            }
        }
    };
    manager.stopping(failure.as_deref().unwrap_or("stopping in order"));
    let counts = tokio::select! {
        counts = app.stop() => counts,
        name = signals.second() => return Err(Exit::by_signal(name)),
    };
    // The last line on standard error: scripts read it.
    log::end(&counts.to_string());
    match failure {
        None => Ok(()),
        Some(_) => Err(Exit { code: 1, message: String::new() }),
    }
}
