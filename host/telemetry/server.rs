//! The small HTTP server beside the pipelines: `/metrics`, `/healthz`, `/readyz`, and what the
//! command line asks a running host. Key functions: [`serve`], [`plugin_rows`].

use std::sync::PoisonError;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{StatusReport, View, metrics};
use crate::runner::{Entry, Plugins};

/// One plugin as `trommel plugin list --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRow {
    /// Name in the plugin directory.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Hash of the newest version of the file.
    pub sha256: String,
    /// `filter`, `transform`, `alert` or `export`; null if it has never loaded.
    pub role: Option<String>,
    /// Its version in its own words; null if it has never loaded.
    pub version: Option<String>,
    /// `serving`, `compiling` or `failed`.
    pub state: String,
    /// What is wrong with the newest version of the file; null if nothing is.
    pub error: Option<String>,
}

/// The plugins as rows, by name.
pub fn plugin_rows(plugins: &Plugins) -> Vec<PluginRow> {
    plugins.entries.iter().map(|(name, entry)| plugin_row(name, entry)).collect()
}

fn plugin_row(name: &str, entry: &Entry) -> PluginRow {
    let info = entry.serving.as_ref().map(|factory| factory.info());
    let state = match entry {
        Entry { is_loading: true, .. } => "compiling",
        Entry { error: Some(_), .. } | Entry { serving: None, .. } => "failed",
        _ => "serving",
    };
    PluginRow {
        name: name.to_owned(),
        file: format!("{name}.wasm"),
        sha256: entry.sha256.clone(),
        role: info.map(|info| info.role.name().to_owned()),
        version: info.map(|info| info.version.clone()),
        state: state.to_owned(),
        error: entry.error.clone(),
    }
}

/// Serves until told to stop.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    view: View,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(show_ready))
        .route("/api/v1/plugins", get(show_plugins))
        .route("/api/v1/status", get(show_status))
        .with_state(view);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn show_metrics(State(view): State<View>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&view))
}

async fn show_plugins(State(view): State<View>) -> Json<Vec<PluginRow>> {
    let plugins = view.plugins.borrow().clone();
    Json(plugin_rows(&plugins))
}

async fn show_status(State(view): State<View>) -> Json<StatusReport> {
    Json(StatusReport::new(&view))
}

async fn show_ready(State(view): State<View>) -> (StatusCode, String) {
    let held = view.pipelines.iter().filter_map(|pipeline| {
        let held = pipeline.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|why| format!("pipeline {:?} is held: {why}\n", pipeline.name))
    });
    let statuses = view.streams.iter().map(|status| status.get());
    let away = statuses.filter(|status| !status.state.is_up()).map(|status| {
        let (source, stream) = (&status.source, &status.stream);
        format!("stream {source}/{stream} is {}: {}\n", status.state.name(), status.detail)
    });
    let why: String = held.chain(away).collect();
    match why.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}
