//! The small HTTP server beside the pipelines: `/metrics`, `/healthz`, `/readyz`, and what the
//! command line asks a running host. Key functions: [`serve`], [`plugin_rows`].

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::{CLASSIC, OPEN_METRICS, Page};
use super::{StatusReport, View, connections, health};
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

/// Serves until told to stop: what is shown of the host, and `others`.
pub async fn serve(listener: TcpListener, view: View, others: Router, stop: CancellationToken) {
    let page = Arc::new(Page::new(view.clone()));
    let metrics = get(move |headers: HeaderMap| async move { show_metrics(&page, &headers) });
    let router = Router::new()
        .route("/metrics", metrics)
        .route("/healthz", get(show_alive))
        .route("/readyz", get(show_ready))
        .route("/api/v1/plugins", get(show_plugins))
        .route("/api/v1/status", get(show_status))
        .with_state(view)
        .merge(others);
    connections::serve(listener, router, stop).await;
}

fn show_metrics(page: &Page, headers: &HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_open = accepted.into_iter().any(|value| value.contains("application/openmetrics-text"));
    let (kind, text) = match is_open {
        true => (OPEN_METRICS, page.open_metrics()),
        false => (CLASSIC, page.classic()),
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn show_plugins(State(view): State<View>) -> Json<Vec<PluginRow>> {
    let plugins = view.plugins.borrow().clone();
    Json(plugin_rows(&plugins))
}

async fn show_status(State(view): State<View>) -> Json<StatusReport> {
    Json(StatusReport::new(&view))
}

async fn show_alive(State(view): State<View>) -> (StatusCode, String) {
    answer(health::alive(&view), "ok\n")
}

async fn show_ready(State(view): State<View>) -> (StatusCode, String) {
    answer(health::ready(&view), "ready\n")
}

fn answer(found: Result<(), String>, fine: &str) -> (StatusCode, String) {
    match found {
        Ok(()) => (StatusCode::OK, fine.to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}
