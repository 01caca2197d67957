//! What a gateway tells of itself over HTTP.

use anyhow::Context;
use client_sim::metrics::Metrics;
use std::net::SocketAddr;
use std::time::Duration;

/// What a gateway whose core is taken may need to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The metrics of the gateway whose port this is.
///
/// # Errors
/// When it does not answer within five seconds.
pub fn metrics(port: SocketAddr) -> anyhow::Result<Metrics> {
    let url = format!("http://{port}/metrics");
    Metrics::of(&url, ANSWER).with_context(|| format!("cannot read {url}"))
}
