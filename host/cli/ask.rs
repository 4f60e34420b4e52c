//! Asks a running host, which tells where it listens in its data directory. Key function: [`ask`].

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

/// What asking may take.
const ASK_TIME: Duration = Duration::from_secs(5);
/// The largest answer taken.
const MAX_ANSWER: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// No host has left its address.
    #[error("no host is running with the data directory {}\nhint: trommel run starts one", .0.display())]
    NoHost(PathBuf),
    /// The address cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// Where it lies.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A host has left its address, and does not answer there.
    #[error("the host at {0} does not answer: {1}\nhint: it may have died; see its log")]
    Silent(SocketAddr, String),
}

/// What the host that keeps its things in `data_dir` answers to a path.
pub(super) async fn ask<T: DeserializeOwned>(data_dir: &Path, path: &str) -> Result<T, AskError> {
    let address = address(data_dir)?;
    let silent = |error: &dyn std::error::Error| AskError::Silent(address, causes(error));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(crate::tls::no_trust().map_err(|error| silent(&error))?)
        .no_proxy()
        .timeout(ASK_TIME)
        .build()
        .map_err(|error| silent(&error))?;
    let response = client.get(format!("http://{address}{path}")).send().await;
    let mut response =
        response.and_then(reqwest::Response::error_for_status).map_err(|e| silent(&e))?;
    // Anything may listen there by now.
    let mut answer = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| silent(&error))? {
        answer.extend_from_slice(&part);
        if answer.len() > MAX_ANSWER {
            return Err(AskError::Silent(address, "it answers without end".to_owned()));
        }
    }
    serde_json::from_slice(&answer).map_err(|error| silent(&error))
}

fn address(data_dir: &Path) -> Result<SocketAddr, AskError> {
    let file = data_dir.join("listen.addr");
    let text = std::fs::read_to_string(&file).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => AskError::NoHost(data_dir.to_owned()),
        _ => AskError::Unreadable { file: file.clone(), source },
    })?;
    text.trim()
        .parse()
        .map_err(|error| AskError::Unreadable { file, source: io::Error::other(error) })
}

/// An error with all that led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
