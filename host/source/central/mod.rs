//! New Central's event streams: one WebSocket connection per stream, held open for ever, and a second
//! one for the moment in which a token ends. Key type: [`Central`].

mod failure;
mod handshake;
mod memory;
mod outlet;
mod reader;
mod retry;
mod stream;
mod subscriber;
mod token;
mod websocket;
mod window;

pub use memory::{Memory, id_of};
pub use subscriber::kept_id;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{CentralConfig, StreamConfig, SubscriberId};
use crate::frame::Origin;
use crate::pipeline::Outputs;
use crate::source::SharedStatus;
use crate::tls::{self, TlsError};

/// A source of kind `central`.
pub struct Central {
    name: String,
    config: CentralConfig,
    tls: Arc<rustls::ClientConfig>,
    tokens: Arc<token::Tokens>,
    outputs: Outputs,
}

/// How many events duplicates are looked for among, of all streams together.
pub const WINDOW: usize = 1_000_000;

/// Why a source cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Its certificate authorities.
    #[error("source.{0}: {1}")]
    Tls(String, TlsError),
}

impl Central {
    /// Makes a source that hands its frames to these pipelines.
    ///
    /// # Errors
    /// When its TLS cannot be set up.
    pub fn new(
        name: &str,
        config: CentralConfig,
        outputs: impl Into<Outputs>,
    ) -> Result<Self, SourceError> {
        let tls = tls::client_config(config.ca_file.as_deref())
            .map_err(|error| SourceError::Tls(name.to_owned(), error))?;
        let tokens = token::Tokens::new(name, &config, Arc::clone(&tls));
        Ok(Central {
            name: name.to_owned(),
            config,
            tls,
            tokens: Arc::new(tokens),
            outputs: outputs.into(),
        })
    }

    /// The pipelines that it hands its frames to.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Starts a task per stream. When `stop` is cancelled each closes its connection, hands on what
    /// was sent before the other side closed too, and ends. Nothing is remembered of them, and gaps are
    /// not written down.
    pub fn start(
        self,
        tasks: &mut JoinSet<Result<(), String>>,
        stop: &CancellationToken,
    ) -> Vec<SharedStatus> {
        let mut statuses = Vec::new();
        let window = WINDOW / self.config.streams.len().max(1);
        for config in &self.config.streams {
            let status = SharedStatus::new(&self.name, &config.name);
            let memory = Memory::new(None, &self.name, &config.name, window);
            let stream = self.stream(config, memory, status.clone(), stop, stop.clone());
            tasks.spawn(async move {
                stream.await;
                Ok(())
            });
            statuses.push(status);
        }
        statuses
    }

    /// One stream, to be run as a task. When `stop` is cancelled it closes its connection and hands on
    /// what it read; when `leave` is cancelled too, what pipelines have no room for is given up soon.
    pub fn stream(
        &self,
        config: &StreamConfig,
        memory: Arc<Memory>,
        status: SharedStatus,
        leave: &CancellationToken,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let origin =
            Origin { source: self.name.as_str().into(), stream: config.name.as_str().into() };
        let origin = Arc::new(origin);
        let outlet = outlet::Outlet::new(
            Arc::clone(&origin),
            self.outputs.clone(),
            status.clone(),
            leave.clone(),
            Arc::clone(&memory),
        );
        memory.gaps.set_kept(self.config.subscriber_id != SubscriberId::Off);
        let stream = stream::Stream {
            target: handshake::Target::new(&self.config, config, Arc::clone(&self.tls)),
            tokens: Arc::clone(&self.tokens),
            origin,
            outlet,
            memory,
            status,
            max_frame: self.config.max_frame,
            max_retries: self.config.max_retries,
            stop,
        };
        stream.run()
    }
}
