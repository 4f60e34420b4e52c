//! New Central's event streams: one WebSocket connection per stream, held open for ever. Key type:
//! [`Central`].

mod connection;
mod handshake;
mod stream;
mod token;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::CentralConfig;
use crate::frame::Origin;
use crate::pipeline::Input;
use crate::source::SharedStatus;
use crate::tls::{self, TlsError};

/// A source of kind `central`.
pub struct Central {
    name: String,
    config: CentralConfig,
    tls: Arc<rustls::ClientConfig>,
    tokens: Arc<token::Tokens>,
    outputs: Vec<Input>,
}

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
        outputs: Vec<Input>,
    ) -> Result<Self, SourceError> {
        let tls = tls::client_config(config.ca_file.as_deref())
            .map_err(|error| SourceError::Tls(name.to_owned(), error))?;
        let tokens = token::Tokens::new(name, &config, Arc::clone(&tls));
        Ok(Central { name: name.to_owned(), config, tls, tokens: Arc::new(tokens), outputs })
    }

    /// Starts a task per stream. When `stop` is cancelled each closes its connection, hands on what
    /// was sent before the other side closed too, and ends.
    pub fn start(
        self,
        tasks: &mut JoinSet<Result<(), String>>,
        stop: &CancellationToken,
    ) -> Vec<SharedStatus> {
        let mut statuses = Vec::new();
        for stream in &self.config.streams {
            let status = SharedStatus::new(&self.name, &stream.name);
            let origin =
                Origin { source: self.name.as_str().into(), stream: stream.name.as_str().into() };
            let reader = stream::Stream {
                target: handshake::Target::new(&self.config, stream, Arc::clone(&self.tls)),
                tokens: Arc::clone(&self.tokens),
                origin: Arc::new(origin),
                outputs: self.outputs.clone(),
                status: status.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(async move {
                reader.run().await;
                Ok(())
            });
            statuses.push(status);
        }
        statuses
    }
}
