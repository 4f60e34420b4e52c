//! The paths under which a host is asked to do something. Whoever asks shows the secret first; nothing
//! else of the request is looked at before. Key function: [`router`].

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{Begun, Control, Dropped};
use crate::pipeline::Redriven;
use crate::store::Select;

/// The largest request.
const MAX_BODY: usize = 16 << 20;

/// What failed, and what is said of it.
type Failed = (StatusCode, String);

/// The paths of a host that can be asked.
pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/api/v1/dead-letters/drop", post(drop_letters))
        .route("/api/v1/dead-letters/redrive", post(redrive))
        .route("/api/v1/dead-letters/redrive/{job}", get(progress))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(control)
}

/// Whoever asks has the secret.
struct Allowed;

impl FromRequestParts<Arc<Control>> for Allowed {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Self::Rejection> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match given.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(secret) if control.key.is(secret) => Ok(Allowed),
            _ => {
                let why = "for those alone who can read control.key in the host's data directory\n";
                Err((StatusCode::UNAUTHORIZED, why).into_response())
            }
        }
    }
}

async fn drop_letters(
    _: Allowed,
    State(control): State<Arc<Control>>,
    Json(select): Json<Select>,
) -> Result<Json<Dropped>, Failed> {
    blocking(move || control.drop_letters(&select)).await.map(Json)
}

async fn redrive(
    _: Allowed,
    State(control): State<Arc<Control>>,
    Json(select): Json<Select>,
) -> Result<Json<Begun>, Failed> {
    blocking(move || control.redrive(&select)).await.map(Json)
}

async fn progress(
    _: Allowed,
    State(control): State<Arc<Control>>,
    Path(job): Path<u64>,
) -> Result<Json<Vec<Redriven>>, Failed> {
    let unknown = || (StatusCode::NOT_FOUND, format!("no request {job} is known\n"));
    control.progress(job).map(Json).ok_or_else(unknown)
}

/// Does what blocks where it may.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Failed> {
    let done = tokio::task::spawn_blocking(act).await;
    let done = done.map_err(|error| error.to_string()).and_then(|done| done);
    done.map_err(|why| (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")))
}
