//! The HTTP port for operators: `/metrics`, `/live`, `/ready`. On loopback unless configured otherwise.

use crate::control::counters::AdminCounters;
use crate::counters::{self, Counters};
use crate::load::{self, modes::Mode};
use crate::shard::serving::Shared;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use host::clock::wall_ms;
use shake_rules::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the port shows.
#[derive(Clone)]
pub struct Shown {
    pub shards: Arc<[Arc<Counters>]>,
    pub shared: Arc<Shared>,
    pub is_stopping: Arc<AtomicBool>,
    pub admin: Arc<AdminCounters>,
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
    text.push_str(&load::render(&shown.shared.board));
    let left_s = shown
        .shared
        .current
        .secrets()
        .certificate
        .seconds_left(UnixMillis(wall_ms()));
    text.push_str(&format!(
        "# TYPE gateway_certificate_expires_in_seconds gauge\ngateway_certificate_expires_in_seconds {left_s}\n"
    ));
    let lost = host::log::lines_lost();
    text.push_str(&format!(
        "# TYPE gateway_log_lines_lost_total counter\ngateway_log_lines_lost_total {lost}\n"
    ));
    ([("content-type", "text/plain; version=0.0.4")], text)
}

fn certificate_fault(shown: &Shown) -> Option<String> {
    let secrets = shown.shared.current.secrets();
    secrets.certificate.fault_at(UnixMillis(wall_ms()))
}

/// A gateway without its agent is ready: it serves shakes, and sending all of its phones elsewhere would be worse. Which
/// modes it is in stands in the text.
fn ready(shown: &Shown) -> (StatusCode, String) {
    if shown.is_stopping.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into())
    } else if shown.shared.current.drain().is_some() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n".into())
    } else if let Some(fault) = certificate_fault(shown) {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{fault}; phones do not connect\n"),
        )
    } else {
        let modes: Vec<_> = shown.shared.board.modes().iter().map(Mode::name).collect();
        let text = if modes.is_empty() {
            "ready\n".into()
        } else {
            format!("ready; degraded: {}\n", modes.join(", "))
        };
        (StatusCode::OK, text)
    }
}
