//! The HTTP port for operators: `/metrics`, `/live`, `/ready`. On loopback unless configured otherwise.

use crate::counters::{self, Counters};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the port shows.
#[derive(Clone)]
pub struct Shown {
    pub shards: Arc<[Arc<Counters>]>,
    pub is_stopping: Arc<AtomicBool>,
}

/// Serves until the listener fails or the task is dropped.
pub async fn serve(listener: tokio::net::TcpListener, shown: Shown) -> std::io::Result<()> {
    let routes = Router::new()
        .route(
            "/metrics",
            get(|State(shown): State<Shown>| async move { metrics(&shown) }),
        )
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(|State(shown): State<Shown>| async move { ready(&shown) }))
        .with_state(shown);
    axum::serve(listener, routes).await
}

fn metrics(shown: &Shown) -> ([(&'static str, &'static str); 1], String) {
    let text = counters::render(shown.shards.iter().map(AsRef::as_ref));
    ([("content-type", "text/plain; version=0.0.4")], text)
}

fn ready(shown: &Shown) -> (StatusCode, &'static str) {
    if shown.is_stopping.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
