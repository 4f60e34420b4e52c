//! Connections of the small server, held against whoever may connect: one request each, little time,
//! little memory, and never more than so many at once. Key function: [`serve`].

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Most connections at once. One more, and the oldest is closed: whoever only holds connections open
/// cannot keep a scraper out.
const MAX_CONNECTIONS: usize = 64;
/// How long a request may take to come in.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Largest request line with its headers.
const MAX_REQUEST: usize = 16 << 10;
/// Wait after a connection could not be accepted, for example for want of handles.
const ACCEPT_WAIT: Duration = Duration::from_millis(200);

/// Serves until told to stop; connections that are open then are closed.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let mut is_told = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            // What has ended is let go of.
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                is_told = false;
                open.retain(|task| !task.is_finished());
                while tasks.len() >= MAX_CONNECTIONS {
                    if let Some(oldest) = open.pop_front() {
                        oldest.abort();
                    }
                    // It is closed only once its task is gone.
                    tasks.join_next().await;
                }
                open.push_back(tasks.spawn(connection(stream, router.clone())));
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "a connection to the HTTP server cannot be accepted");
                }
                let wait = tokio::time::sleep(ACCEPT_WAIT);
                if stop.run_until_cancelled(wait).await.is_none() {
                    return;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .max_buf_size(MAX_REQUEST)
        .keep_alive(false);
    let service = TowerToHyperService::new(router);
    let served = http.serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client of the HTTP server is gone"),
        Err(_) => tracing::debug!("a client of the HTTP server took too long"),
    }
}
