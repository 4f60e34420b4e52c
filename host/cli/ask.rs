//! Asks a running host, which tells where it listens in its data directory. Key functions: [`ask`],
//! [`tell`].

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::read_key;
use crate::excerpt::excerpt;

/// What asking may take.
const ASK_TIME: Duration = Duration::from_secs(5);
/// What having it do something may take.
const TELL_TIME: Duration = Duration::from_secs(14);
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
    /// The secret of the host cannot be had.
    #[error("{0}\nhint: only the user that runs the host, and root, may have it do something")]
    NoKey(io::Error),
    /// It answers that it cannot do it.
    #[error("the host answers {0}: {1}")]
    Refused(u16, String),
}

/// What the host that keeps its things in `data_dir` answers to a path.
pub(super) async fn ask<T: DeserializeOwned>(data_dir: &Path, path: &str) -> Result<T, AskError> {
    let address = address(data_dir)?;
    let silent = |error: &dyn std::error::Error| AskError::Silent(address, causes(error));
    let request = client(ASK_TIME).map_err(|error| silent(&*error))?;
    let response = request.get(format!("http://{address}{path}")).send().await;
    let response =
        response.and_then(reqwest::Response::error_for_status).map_err(|e| silent(&e))?;
    answer(address, response).await
}

/// Has the host that keeps its things in `data_dir` do something, or asks how it is coming along:
/// without a body. What is asked with its secret.
pub(super) async fn tell<T: DeserializeOwned>(
    data_dir: &Path,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T, AskError> {
    let address = address(data_dir)?;
    let silent = |error: &dyn std::error::Error| AskError::Silent(address, causes(error));
    let key = read_key(data_dir).map_err(AskError::NoKey)?;
    let url = format!("http://{address}{path}");
    let client = client(TELL_TIME).map_err(|error| silent(&*error))?;
    let request = match body {
        None => client.get(url),
        Some(body) => client
            .post(url)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body).map_err(|error| silent(&error))?),
    };
    let response = request.bearer_auth(key.expose_secret()).send().await;
    let response = response.map_err(|error| silent(&error))?;
    let status = response.status();
    if !status.is_success() {
        let said = read_all(response).await.unwrap_or_default();
        return Err(AskError::Refused(status.as_u16(), excerpt(&said)));
    }
    answer(address, response).await
}

fn client(time: Duration) -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(crate::tls::no_trust()?)
        .no_proxy()
        .timeout(time)
        .build()?)
}

async fn answer<T: DeserializeOwned>(
    address: SocketAddr,
    response: reqwest::Response,
) -> Result<T, AskError> {
    let read = read_all(response).await.map_err(|error| AskError::Silent(address, error))?;
    serde_json::from_slice(&read).map_err(|error| AskError::Silent(address, causes(&error)))
}

/// All of an answer: anything may listen there by now.
async fn read_all(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| causes(&error))? {
        answer.extend_from_slice(&part);
        if answer.len() > MAX_ANSWER {
            return Err("it answers without end".to_owned());
        }
    }
    Ok(answer)
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
