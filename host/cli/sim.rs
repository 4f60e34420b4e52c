//! `trommel sim`: the simulators, from the command line. A thin layer over [`crate::sim`]: standard
//! output carries the one line that says where the simulator is. Key type: [`SimArgs`].

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Exit;
use crate::config::secret_of_variable;
use crate::decode::catalog::{STREAMS, Stream};
use crate::sim::central::{FAULTS, Fault, Options, Rate, Server, SimError, frames};
use crate::sim::proxy::{Proxy, ProxyError, ProxyOptions};

/// Arguments of `trommel sim`.
#[derive(Debug, Args)]
pub struct SimArgs {
    #[command(subcommand)]
    what: Simulator,
}

#[derive(Debug, Subcommand)]
enum Simulator {
    /// Simulates New Central's streaming service
    Central(CentralArgs),
    /// A proxy to test with: CONNECT and plain HTTP, on loopback, with Basic authentication if wanted
    #[command(after_help = "Prints {\"url\":…} when it is ready, and for each request a line of \
        JSON: method, target, status.\n\n\
        Example:\n  PROXY_PASSWORD=secret trommel sim proxy --user me --password-env PROXY_PASSWORD")]
    Proxy(ProxyArgs),
    /// Prints frames of a stream, each after its length as 4 bytes, for `decode` and `replay`
    #[command(
        after_help = "Example:\n  trommel sim frames --stream ap-events --count 100 > ap.frames"
    )]
    Frames(FramesArgs),
}

/// Arguments of `trommel sim frames`.
#[derive(Debug, Args)]
pub struct FramesArgs {
    /// The stream
    #[arg(long, value_name = "NAME", value_parser = stream)]
    stream: &'static Stream,
    /// How many frames
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u64,
    /// The same seed gives the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Arguments of `trommel sim proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Where to listen, on loopback; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The user to ask for
    #[arg(long, value_name = "NAME", requires = "password_env")]
    user: Option<String>,
    /// The environment variable that holds the user's password
    #[arg(long, value_name = "VARIABLE", requires = "user")]
    password_env: Option<String>,
    /// Where to write down what is asked for [default: standard error]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Arguments of `trommel sim central`.
#[derive(Debug, Args)]
#[command(after_help = fault_help())]
pub struct CentralArgs {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where ca.pem, server.pem and server.key are kept; made if missing [default: a new folder
    /// among the temporary files]
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// The same seed gives the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Serve only these streams
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = stream)]
    streams: Vec<&'static Stream>,
    /// Events a second of each stream, or "max": as fast as the slowest client takes them
    #[arg(long, value_name = "N|max", default_value = "100")]
    rate: Rate,
    /// Events of each stream; then its connections stay open, idle
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How long an access token is good for
    #[arg(long, value_name = "SECONDS", default_value_t = 7_200)]
    token_life: u64,
    /// Write down each event and which connections got it
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Write down each event as it is written to a connection, in the order of writing
    #[arg(long, value_name = "FILE")]
    sent: Option<PathBuf>,
    /// Do something wrong; may be given more than once
    #[arg(long = "fault", value_name = "NAME=VALUE")]
    faults: Vec<Fault>,
}

fn fault_help() -> String {
    let lines =
        FAULTS.iter().map(|spec| format!("\n  {}={}\n      {}", spec.name, spec.value, spec.doc));
    let example = "trommel sim central --rate 500 --ledger ledger.jsonl --fault reset=1000 \
                   --fault status=503:2";
    format!(
        "Example:\n  {example}\n\nFaults, which can be combined; where more than one ends connections, \
         those of a stream take turns:{}",
        lines.collect::<String>()
    )
}

fn stream(name: &str) -> Result<&'static Stream, String> {
    Stream::named(name).ok_or_else(|| {
        let names: Vec<_> = STREAMS.iter().map(|stream| stream.name).collect();
        format!("unknown stream; there are {}", names.join(", "))
    })
}

impl CentralArgs {
    fn options(self) -> Options {
        let mut streams: Vec<&'static Stream> = Vec::new();
        for stream in self.streams {
            if !streams.contains(&stream) {
                streams.push(stream);
            }
        }
        Options {
            listen: self.listen,
            tls_dir: self.tls_dir,
            seed: self.seed,
            streams: if streams.is_empty() { STREAMS.iter().collect() } else { streams },
            rate: self.rate,
            count: self.count,
            token_life: Duration::from_secs(self.token_life),
            ledger: self.ledger,
            sent: self.sent,
            faults: self.faults.into_iter().collect(),
        }
    }
}

/// Runs a simulator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot be started, or breaks.
pub async fn run(args: SimArgs) -> Result<(), Exit> {
    match args.what {
        Simulator::Central(args) => run_central(args).await.map_err(Exit::from),
        Simulator::Proxy(args) => run_proxy(args).await,
        Simulator::Frames(args) => {
            print_frames(&args).map_err(|error| Exit::from(SimError::Output(error)))
        }
    }
}

async fn run_proxy(args: ProxyArgs) -> Result<(), Exit> {
    let login = args.user.zip(args.password_env).map(|(user, variable)| {
        secret_of_variable(&variable).map(|password| (user, password)).map_err(Exit::usage)
    });
    let log: Box<dyn std::io::Write + Send> = match args.log {
        Some(path) => Box::new(std::fs::File::create(&path).map_err(|error| {
            Exit::environment(format!("cannot write {}: {error}", path.display()))
        })?),
        None => Box::new(std::io::stderr()),
    };
    let options = ProxyOptions { listen: args.listen, login: login.transpose()?, log };
    let mut stop = Stop::listen()?;
    let proxy = Proxy::bind(options).await.map_err(|error| match error {
        ProxyError::NotLoopback(_) => Exit::usage(error),
        ProxyError::Listen { .. } => Exit::environment(error),
    })?;
    say_ready(&serde_json::json!({ "url": proxy.url() }))?;
    tokio::select! {
        () = proxy.run() => {}
        () = stop.told() => {}
    }
    Ok(())
}

/// Says on standard output, in one line, where a simulator is.
fn say_ready(ready: &impl serde::Serialize) -> Result<(), SimError> {
    let line = serde_json::to_string(ready).map_err(|e| SimError::Output(e.into()))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(SimError::Output)
}

/// SIGTERM and SIGINT. To be there before the ready line: whoever has read that may send one at once.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, SimError> {
        let listen = |kind| signal(kind).map_err(SimError::Signal);
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Stop { terminate: listen(terminate)?, interrupt: listen(interrupt)? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn print_frames(args: &FramesArgs) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for frame in frames(args.stream, args.seed, args.count) {
        // A simulated event has some hundred bytes.
        out.write_all(&(frame.len() as u32).to_be_bytes())?;
        out.write_all(&frame)?;
    }
    out.flush()
}

async fn run_central(args: CentralArgs) -> Result<(), SimError> {
    let mut stop = Stop::listen()?;
    let mut handle = Server::start(args.options()).await?;
    say_ready(handle.ready())?;
    tokio::select! {
        () = stop.told() => {}
        result = handle.ended() => return result,
    }
    tracing::info!("stopping");
    handle.shutdown().await
}

impl From<SimError> for Exit {
    fn from(error: SimError) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        match error {
            SimError::Listen { .. } | SimError::File { .. } => Exit::environment(text),
            _ => Exit::run_time(text),
        }
    }
}
