//! The simulator as a whole: starts clocks and ledgers, accepts connections, and stops everything
//! in good order. Key types: [`Server`], [`Handle`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;

use super::SimError;
use super::connection::{Connection, Terms};
use super::envelope::Envelopes;
use super::faults::Faults;
use super::gate::{Gate, Turns};
use super::http::{self, Opened, Site, Slot, TOKEN_PATH};
use super::hub::{Hub, Subscriber};
use super::options::Options;
use super::sent::SentLog;
use super::style::Style;
use super::tls::Tls;
use super::tokens::Tokens;
use super::works::{Ended, Works};
use crate::sim::content::Rng;

/// How long a client may take for the TLS handshake, and then for a request.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many connections there may be at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 4_096;

/// How long what is queued may still go out once the simulator stops.
const GRACE: Duration = Duration::from_millis(1_500);

/// By when everything has ended: the grace, and a close.
const END: Duration = Duration::from_secs(6);

/// Where a started simulator is, and how to get in. Its JSON is the line that scripts wait for.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Base URL of the streams.
    pub base_url: String,
    /// URL of the token endpoint.
    pub token_endpoint: String,
    /// The CA to trust.
    pub ca_file: PathBuf,
    /// Client id that the token endpoint accepts.
    pub client_id: String,
    /// Client secret that goes with it.
    pub client_secret: String,
}

/// A simulated Central.
#[derive(Debug)]
pub struct Server;

/// A running simulator. Dropping it stops the simulator without waiting.
#[derive(Debug)]
pub struct Handle {
    ready: Ready,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), SimError>>,
}

impl Handle {
    /// Where it is.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Stops it: the clocks stand, what is queued goes out for a moment, every connection is closed
    /// in good order, the ledger is complete.
    ///
    /// # Errors
    /// What went wrong since the start.
    pub async fn shutdown(self) -> Result<(), SimError> {
        self.stop.send_replace(true);
        joined(self.task.await)
    }

    /// Waits until it ends by itself, which it does only when something is broken.
    ///
    /// # Errors
    /// What that was.
    pub async fn ended(&mut self) -> Result<(), SimError> {
        joined((&mut self.task).await)
    }
}

fn joined(result: Result<Result<(), SimError>, tokio::task::JoinError>) -> Result<(), SimError> {
    result.unwrap_or(Err(SimError::Stopped("server")))
}

impl Server {
    /// Starts a simulator.
    ///
    /// # Errors
    /// When the address is taken, or a file cannot be used.
    pub async fn start(options: Options) -> Result<Handle, SimError> {
        let tls = Tls::open(
            options.tls_dir.as_deref(),
            options.listen.ip(),
            &options.faults.certificates,
        )?;
        let failed = |source| SimError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tokens = Arc::new(Tokens::new(options.seed, options.token_life));
        let ready = ready(address, tls.ca_file.clone(), &tokens);
        let (works, ended) = Works::start(&options, &tokens)?;
        let (stop, stopping) = watch::channel(false);
        let (stop_at, _) = watch::channel(None);
        let house = House {
            tls,
            site: Site {
                gates: options.streams.iter().map(|_| Gate::new(&options.faults)).collect(),
                streams: options.streams.clone(),
                tokens,
                token_faults: Turns::new(&options.faults.token),
                opened: AtomicU32::new(0),
            },
            oversized: oversized(&options),
            hubs: works.hubs.clone(),
            log: works.log.clone(),
            stop_at,
            queue: options.rate.queue(),
            seed: options.seed,
            faults: options.faults,
        };
        let task = tokio::spawn(serve(listener, Arc::new(house), works, ended, stopping));
        Ok(Handle { ready, stop, task })
    }
}

fn ready(address: SocketAddr, ca_file: PathBuf, tokens: &Tokens) -> Ready {
    let port = address.port();
    let local = address.ip().is_loopback() || address.ip().is_unspecified();
    let base_url =
        if local { format!("https://localhost:{port}") } else { format!("https://{address}") };
    Ready {
        token_endpoint: format!("{base_url}{TOKEN_PATH}"),
        base_url,
        ca_file,
        client_id: tokens.client_id().to_owned(),
        client_secret: tokens.client_secret().to_owned(),
    }
}

/// What every connection needs.
struct House {
    tls: Tls,
    site: Site,
    hubs: Vec<Arc<Hub>>,
    stop_at: watch::Sender<Option<Instant>>,
    queue: usize,
    log: Option<Arc<SentLog>>,
    seed: u64,
    faults: Faults,
    /// The oversized frame of each stream, where there is to be one.
    oversized: Vec<Option<Bytes>>,
}

fn oversized(options: &Options) -> Vec<Option<Bytes>> {
    let frame = |stream| {
        let oversized = options.faults.oversized?;
        Some(Envelopes::new(stream, options.seed).oversized(oversized.bytes).into())
    };
    options.streams.iter().map(|stream| frame(stream)).collect()
}

async fn serve(
    listener: TcpListener,
    house: Arc<House>,
    works: Works,
    mut ended: Ended,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), SimError> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let result = loop {
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = told(&mut stopping, |stop| *stop) => break Ok(()),
            Some(result) = ended.recv() => break result.and(Err(SimError::Stopped("clock"))),
            Some(result) = connections.join_next() => note(result),
            (permit, accepted) = accept => match accepted {
                Ok((stream, _)) => {
                    let house = Arc::clone(&house);
                    connections.spawn(async move {
                        let _permit = permit;
                        house.connection(stream).await;
                    });
                }
                // Out of file descriptors, most likely: the others go on, and time may help.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    };
    drop(listener);
    house.stop_at.send_replace(Some(Instant::now() + GRACE));
    works.hubs.iter().for_each(|hub| hub.stop());
    let drained = async {
        while let Some(result) = connections.join_next().await {
            note(result)
        }
    };
    if timeout(END, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "these did not end in time");
        connections.shutdown().await;
    }
    let joined = tokio::task::spawn_blocking(move || works.join()).await;
    let mut last = result.and(joined.unwrap_or(Err(SimError::Stopped("clock"))));
    while let Ok(result) = ended.try_recv() {
        last = last.and(result);
    }
    last
}

/// Waits for a word. That nobody is left to say it is a word to stop as well.
async fn told<T>(receiver: &mut watch::Receiver<T>, is_it: impl FnMut(&T) -> bool) {
    let _ = receiver.wait_for(is_it).await;
}

/// A connection's task returns nothing; that it panicked must be known.
fn note(result: Result<(), tokio::task::JoinError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a connection's task failed");
    }
}

impl House {
    /// One TCP connection, from the TLS handshake to its end.
    async fn connection(&self, stream: TcpStream) {
        // Small events must not wait for one another.
        let _ = stream.set_nodelay(true);
        let mut stop = self.stop_at.subscribe();
        let tls = tokio::select! {
            tls = timeout(HANDSHAKE, self.tls.acceptor().accept(stream)) => tls,
            () = told(&mut stop, Option::is_some) => return,
        };
        let tls = match tls {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return tracing::debug!(%error, "no TLS"),
            Err(_) => return tracing::debug!("no TLS in time"),
        };
        let slot = Slot::default();
        let service =
            service_fn(|request| async { http::answer(&self.site, request, &slot).await });
        let http = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE)
            .serve_connection(TokioIo::new(tls), service)
            .with_upgrades();
        tokio::select! {
            served = http => if let Err(error) = served {
                tracing::debug!(%error, "HTTP ended");
            },
            () = told(&mut stop, Option::is_some) => return,
        }
        let opened = slot.into_inner().ok().flatten();
        if let Some(opened) = opened {
            self.stream(opened, stop).await;
        }
    }

    /// A connection that became a stream.
    async fn stream(&self, opened: Opened, stop: watch::Receiver<Option<Instant>>) {
        let upgraded = match opened.upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "no upgrade"),
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() else {
            return tracing::error!("the upgraded connection is not the one accepted");
        };
        let (sender, queue) = mpsc::channel(self.queue);
        let hub = &self.hubs[opened.index];
        let subscriber = Subscriber {
            queue: sender,
            filter: opened.filter.clone(),
            share: opened.share.clone(),
            generation: opened.grant.generation,
            left: opened.pass.end.map(|end| (end.frames.get(), end.ending)),
        };
        // Whoever comes too late has a queue that is closed, and so is closed in good order.
        if let Err(error) = hub.arrive(subscriber, &opened.grant, &opened.revoked) {
            tracing::debug!(?error, "not let in");
        }
        let rng = Rng::new(self.seed, &format!("connection {}", opened.number));
        let oversized = self.oversized[opened.index].clone();
        let terms = Terms {
            number: opened.number,
            stream: self.site.streams[opened.index].name,
            index: opened.index,
            filter: opened.filter,
            share: opened.share,
            hub: Arc::clone(hub),
            pass: Some(opened.pass),
            style: Style::new(&self.faults, oversized, rng),
            trickle: self.faults.trickle,
            log: self.log.clone(),
            until: opened.grant.until,
            generation: opened.grant.generation,
            revoked: opened.revoked,
            stop,
        };
        Connection::new(parts.io.into_inner(), &parts.read_buf, queue, terms).run().await;
    }
}
