//! The HTTP port for operators: `/metrics`, `/live`, `/ready`. On loopback unless configured otherwise.

use crate::control::counters::AdminCounters;
use crate::counters::{self, Counters};
use crate::shard::serving::Shared;
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
    pub admin: Arc<AdminCounters>,
    pub shared: Arc<Shared>,
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
    let mut text = counters::render(shown.shards.iter().map(AsRef::as_ref));
    text.push_str(&shown.admin.render());
    ([("content-type", "text/plain; version=0.0.4")], text)
}

fn ready(shown: &Shown) -> (StatusCode, &'static str) {
    if shown.is_stopping.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if shown.shared.current.drain().is_some() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
