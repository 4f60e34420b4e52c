//! Connects every stream of a configuration once, with the source that `run` uses, and closes it as
//! soon as it is known how it went: a host may run beside this, and servers count connections. What comes in meanwhile is passed over. Key function: [`connect`].

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::config::{Config, SourceKind, SubscriberId};
use crate::pipeline;
use crate::source::central::{Central, Memory};
use crate::source::{SharedStatus, State};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long closing may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How a stream could be connected.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub source: String,
    pub stream: String,
    pub ok: bool,
    /// Why not; empty if it could.
    pub detail: String,
    /// The likely fix; may be empty.
    pub hint: String,
}

/// A stream that is being tried.
struct Tried {
    status: SharedStatus,
    stop: CancellationToken,
    row: Option<Row>,
}

/// Connects what can be connected.
pub(super) async fn connect(config: &Config) -> Result<Vec<Row>, Exit> {
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let (input, mut intake) = pipeline::channel(Arc::default());
    let mut tried = Vec::new();
    for source in &config.sources {
        if let SourceKind::Central(central) = &source.kind {
            let mut central = (**central).clone();
            // With the id of a host that runs it would take events from that.
            central.subscriber_id = SubscriberId::Off;
            let streams = central.streams.clone();
            let central = Central::new(&source.name, central, vec![input.clone()]);
            let central = central.map_err(Exit::usage)?;
            for config in &streams {
                let status = SharedStatus::new(&source.name, &config.name);
                let own = stop.child_token();
                let memory = Memory::new(None, &source.name, &config.name, 1);
                tasks.spawn(central.stream(config, memory, status.clone(), &stop, own.clone()));
                tried.push(Tried { status, stop: own, row: None });
            }
        }
    }
    drop(input);
    let pass_over = async {
        while intake.wait().await {
            intake.take(usize::MAX, usize::MAX);
        }
        // There may be no source that is connected.
        std::future::pending::<()>().await;
    };
    let rows = tokio::select! {
        rows = settle(tried) => rows,
        () = pass_over => Vec::new(),
    };
    stop.cancel();
    drop(intake);
    let close = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(CLOSE_WITHIN, close).await.is_err() {
        tracing::warn!("streams did not close in time");
    }
    Ok(rows)
}

/// Waits until it is known of each stream, or for as long as there is patience.
async fn settle(mut tried: Vec<Tried>) -> Vec<Row> {
    let deadline = Instant::now() + PATIENCE;
    while tried.iter().any(|stream| stream.row.is_none()) && Instant::now() < deadline {
        for stream in tried.iter_mut().filter(|stream| stream.row.is_none()) {
            stream.row = look(&stream.status);
            if stream.row.is_some() {
                stream.stop.cancel();
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let too_late = |status: &SharedStatus| {
        let (status, detail) = (status.get(), format!("no connection within {PATIENCE:?}"));
        Row { source: status.source, stream: status.stream, ok: false, detail, hint: String::new() }
    };
    let rows = tried.into_iter();
    rows.map(|stream| stream.row.unwrap_or_else(|| too_late(&stream.status))).collect()
}

fn look(status: &SharedStatus) -> Option<Row> {
    let status = status.get();
    let is_up = status.connections > 0;
    let is_down = matches!(status.state, State::Waiting | State::Failing | State::Stopped);
    (is_up || is_down).then(|| Row {
        source: status.source,
        stream: status.stream,
        ok: is_up,
        detail: if is_up { String::new() } else { status.detail },
        hint: if is_up { String::new() } else { status.hint },
    })
}
