//! `trommel run`: the host in the foreground, until a signal.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigArgs, Exit, runtime};
use crate::app::App;
use crate::config::Config;
use crate::telemetry;

pub(super) fn run(args: &ConfigArgs) -> Result<(), Exit> {
    let config = args.load()?;
    telemetry::log::start(&crate::config::log_filter());
    let runtime = runtime()?;
    let ended = runtime.block_on(host(&config));
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn host(config: &Config) -> Result<(), Exit> {
    let mut signals = Signals::new()?;
    let mut app = App::start(config).await?;
    let failure = tokio::select! {
        name = signals.next() => {
            tracing::info!("{name}: stopping; once more to stop at once");
            None
        }
        ended = app.ended() => match ended {
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
    let counts = tokio::select! {
        counts = app.stop() => counts,
        name = signals.next() => {
            let code = if name == "SIGINT" { 130 } else { 143 };
            return Err(Exit { code, message: String::new() });
        }
    };
    // The last line on standard error: scripts read it.
    eprintln!("{counts}");
    match failure {
        None => Ok(()),
        Some(_) => Err(Exit { code: 1, message: String::new() }),
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Exit> {
        let listen = |kind| signal(kind).map_err(Exit::environment);
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
