//! The HTTP port for operators: `/metrics`, `/live`, `/ready`. On loopback unless configured otherwise.

use crate::control::counters::AdminCounters;
use crate::control::places::{Limits, Places};
use crate::counters::{self, Counters};
use crate::load::{self, modes::Mode};
use crate::prometheus::Page;
use crate::state::Shared;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use host::clock::wall_ms;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shake_rules::UnixMillis;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// What the port shows.
#[derive(Clone)]
pub struct Shown {
    pub shards: Arc<[Arc<Counters>]>,
    pub shared: Arc<Shared>,
    pub is_stopping: Arc<AtomicBool>,
    pub admin: Arc<AdminCounters>,
}

/// Connections at once; the oldest gives way, so that who holds one and asks for nothing keeps nobody out.
const CONNECTIONS: Limits = Limits {
    all: 32,
    own_more: 0,
    of_an_address: 32,
};
/// The longest that a request's head may take to come.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// The longest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest that a connection may take in all: one request and its answer, to whoever reads slowly.
const CONNECTION_MAX: Duration = Duration::from_secs(15);
/// The rest after a connection could not be accepted, for lack of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves until the task is dropped: one request a connection.
pub async fn serve(listener: tokio::net::TcpListener, shown: Shown) {
    let routes = Router::new()
        .route(
            "/metrics",
            get(|State(shown): State<Shown>| async move { metrics(&shown) }),
        )
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(|State(shown): State<Shown>| async move { ready(&shown) }))
        .with_state(shown);
    let places = Arc::new(Mutex::new(Places::new(CONNECTIONS)));
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_REST).await;
            continue;
        };
        let routes = TowerToHyperService::new(routes.clone());
        let served = tokio::spawn(async move {
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), routes);
            // Whatever came of it: who asked sees it.
            let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
        });
        let (place, gone) = locked(&places).take(address.ip(), served.abort_handle());
        if let Some((_, gone)) = gone {
            gone.abort();
        }
        let places = Arc::clone(&places);
        tokio::spawn(async move {
            let _ = served.await;
            locked(&places).free(place);
        });
    }
}

fn locked(places: &Mutex<Places<AbortHandle>>) -> MutexGuard<'_, Places<AbortHandle>> {
    // Nothing panics while it is held.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

fn metrics(shown: &Shown) -> ([(&'static str, &'static str); 1], String) {
    let mut page = Page::default();
    counters::show(shown.shards.iter().map(AsRef::as_ref), &mut page);
    shown.admin.show(&mut page);
    load::show(&shown.shared.board, &mut page);
    let secrets = shown.shared.current.secrets();
    let left_s = secrets.certificate.seconds_left(UnixMillis(wall_ms()));
    page.metric("gateway_certificate_expires_in_seconds", left_s);
    page.metric("gateway_log_lines_lost_total", host::log::lines_lost());
    ([("content-type", "text/plain; version=0.0.4")], page.into_text())
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
    } else if shown.shared.current.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n".into())
    } else if let Some(fault) = certificate_fault(shown) {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{fault}; phones and operators do not connect: see `certs issue server`, then SIGHUP\n"),
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
