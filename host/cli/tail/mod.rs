//! `trommel tail`: events of some streams on the screen, without a configuration file. The same
//! source as that of `run`, with a screen instead of a pipeline behind it. Key type: [`TailArgs`].

mod feed;
mod human;
mod notices;
mod select;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::{Exit, runtime};
use crate::config::{CentralConfig, Config, SourceKind, TailSource, units};
use crate::pipeline;
use crate::source::central::Central;
use crate::telemetry::log;
use feed::{End, Feed};
use notices::Notices;
use select::{Select, Where};

/// How often streams are looked at for news.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long streams may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);

/// Arguments of `trommel tail`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("server").required(true).args(["cluster", "base_url"]), after_help = HELP)]
pub(super) struct TailArgs {
    /// Name of the cluster, for example US-1
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Instead of a cluster: https://host[:port][/path]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// A stream by its name, or by its path below the base URL; may be given more than once
    #[arg(long = "stream", value_name = "NAME", required = true, value_delimiter = ',')]
    streams: Vec<String>,
    /// Ask the server for events of these types only
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',')]
    event_types: Vec<String>,
    /// Show events of this type only, in full or as it is shown, * for any run of characters; may be
    /// given more than once: one must fit
    #[arg(long = "type", value_name = "GLOB")]
    types: Vec<String>,
    /// Show events only where the payload has this, a JSON pointer (/status), or where it is (=) or
    /// is not (!=) a value; may be given more than once: all must hold
    #[arg(long = "where", value_name = "POINTER[=VALUE|!=VALUE]")]
    conditions: Vec<Where>,
    /// Print one line of CloudEvents JSON per event, as a file sink writes it
    #[arg(long)]
    json: bool,
    /// End after so many events shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, for example 30s
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    time: Option<Duration>,
    /// Client id, instead of CENTRAL_CLIENT_ID
    #[arg(long, value_name = "ID", help_heading = "Access")]
    client_id: Option<String>,
    /// A file that holds the client secret, instead of CENTRAL_CLIENT_SECRET
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    client_secret_file: Option<PathBuf>,
    /// A file that holds an access token, instead of CENTRAL_TOKEN or client id and secret
    #[arg(long, value_name = "FILE", help_heading = "Access",
        conflicts_with_all = ["client_id", "client_secret_file"])]
    token_file: Option<PathBuf>,
    /// Id of a GreenLake workspace that gives out the token
    #[arg(long, value_name = "ID", help_heading = "Access")]
    workspace: Option<String>,
    /// Where client id and secret are given for a token [default: HPE's]
    #[arg(long, value_name = "URL", help_heading = "Access")]
    token_endpoint: Option<String>,
    /// PEM file of certificate authorities to trust besides the system's
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    ca_file: Option<PathBuf>,
    /// Any other key of a source of kind central, for example max_frame=1MiB
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Access")]
    overrides: Vec<String>,
}

const HELP: &str = "\
Access comes from CENTRAL_CLIENT_ID and CENTRAL_CLIENT_SECRET, or from CENTRAL_TOKEN.

Examples:
  trommel tail --cluster US-1 --stream ap-events
  trommel tail --cluster US-1 --stream ap-events --type 'aps.state.*' --where /status=false
  trommel tail --cluster US-1 --stream audit-trail-events --json --count 100 > audit.jsonl

It connects again by itself, and says so. Ctrl-C ends it. The exit code is 1 when --for has passed
and no stream could be connected.";

pub(super) fn run(args: TailArgs) -> Result<(), Exit> {
    let config = Config::for_tail(&args.source())?;
    let central = config.sources.into_iter().find_map(|source| match source.kind {
        SourceKind::Central(central) => Some(*central),
        SourceKind::Replay { .. } => None,
    });
    let central = central.ok_or_else(|| Exit::usage("there is no source of kind central"))?;
    let runtime = runtime()?;
    let ended = runtime.block_on(tail(central, &args));
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

impl TailArgs {
    fn source(&self) -> TailSource {
        TailSource {
            cluster: self.cluster.clone(),
            base_url: self.base_url.clone(),
            workspace: self.workspace.clone(),
            token_endpoint: self.token_endpoint.clone(),
            ca_file: self.ca_file.clone(),
            client_id: self.client_id.clone(),
            client_secret_file: self.client_secret_file.clone(),
            token_file: self.token_file.clone(),
            streams: self.streams.clone(),
            event_types: self.event_types.clone(),
            overrides: self.overrides.clone(),
        }
    }
}

async fn tail(central: CentralConfig, args: &TailArgs) -> Result<(), Exit> {
    let mut signals = Signals::new()?;
    let streams: Vec<String> = central.streams.iter().map(|stream| stream.name.clone()).collect();
    let (input, intake) = pipeline::channel(Arc::default());
    let source = Central::new("central", central, vec![input]).map_err(Exit::usage)?;
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let mut notices = Notices::new(source.start(&mut tasks, &stop));
    let (feed, seen) = Feed::new(
        intake,
        Select::new(&args.types, args.conditions.clone()),
        (!args.json).then(|| human::Human::new(&streams)),
        args.count,
    );
    let mut feed = tokio::spawn(feed.run(stop.clone()));

    let deadline = args.time.and_then(|time| Instant::now().checked_add(time));
    let mut clock = tokio::time::interval(LOOK_EVERY);
    let end = loop {
        tokio::select! {
            _ = signals.first() => {
                if std::io::stderr().is_terminal() {
                    // Behind the ^C.
                    eprintln!();
                }
                break Ok(End::Told);
            }
            () = passes(deadline) => break Ok(End::Time),
            end = &mut feed => break end.map_err(|error| format!("decoding failed: {error}")),
            Some(ended) = tasks.join_next() => match ended {
                Ok(Err(why)) => break Err(why),
                Err(error) => break Err(format!("a stream's task failed: {error}")),
                Ok(Ok(())) if tasks.is_empty() => break Err("no stream is left".to_owned()),
                Ok(Ok(())) => {}
            },
            _ = clock.tick() => notices.look(&seen),
        }
    };
    notices.look(&seen);
    stop.cancel();
    let close = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        _ = tokio::time::timeout(CLOSE_WITHIN, close) => {}
        name = signals.second() => return Err(Exit::by_signal(name)),
    }
    if let Err(why) | Ok(End::Broken(why)) = &end {
        eprintln!("trommel: {why}");
    }
    log::end(&notices.summary(&seen));
    match end {
        Ok(End::Time) if !notices.was_connected() => Err(Exit { code: 1, message: String::new() }),
        Ok(End::Broken(_)) | Err(_) => Err(Exit { code: 1, message: String::new() }),
        Ok(_) => Ok(()),
    }
}

async fn passes(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
