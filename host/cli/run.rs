//! `trommel run`: the host in the foreground, until a signal.

use std::time::Duration;

use super::signals::Signals;
use super::{ConfigArgs, Exit, runtime};
use crate::app::App;
use crate::config::Config;
use crate::notify::Manager;

pub(super) fn run(args: &ConfigArgs) -> Result<(), Exit> {
    let config = args.load()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(host(&config));
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn host(config: &Config) -> Result<(), Exit> {
    let mut signals = Signals::new()?;
    let mut manager = Manager::default();
    let mut app = App::start(config).await?;
    manager.ready();
    let report = app.reporter();
    let every = manager.beat_every();
    let failure = tokio::select! {
        name = signals.next() => {
            tracing::info!("{name}: stopping; once more to stop at once");
            None
        }
        ended = app.ended(every, || manager.beat(|| report().headline())) => match ended {
            Ok(()) => {
                tracing::info!("all sources have ended: stopping");
                None
            }
            Err(why) => {
                tracing::error!("{why}: stopping");
                Some(why)
            }
        }
    };
    manager.stopping(failure.as_deref().unwrap_or("stopping in order"));
    let counts = tokio::select! {
        counts = app.stop() => counts,
        name = signals.next() => return Err(Exit::by_signal(name)),
    };
    // The last line on standard error: scripts read it.
    eprintln!("{counts}");
    match failure {
        None => Ok(()),
        Some(_) => Err(Exit { code: 1, message: String::new() }),
    }
}
