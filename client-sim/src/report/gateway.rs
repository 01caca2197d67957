//! The gateway's own view of a run: its Prometheus text, read once a second on a thread beside the engine.
//!
//! ```text
//! thread "metrics" ── GET URL, once a second ──▶ counts of the moment ──▶ Recorder: rates of each row
//! ```
//! A gateway that does not answer is told of once, in the remarks; the run goes on without its curves.

use crate::metrics::Metrics;
use serde::{Deserialize, Serialize};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two readings.
const EVERY: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What the gateway counted in the time of a row, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayRates {
    /// Shakes that it answered.
    pub shakes: f64,
    /// Packets of the seed that it gave out: wins, at the release rate of the show.
    pub released: f64,
    /// Packets that the event gave to random users.
    pub gifts: f64,
}

/// What it has counted since it began.
#[derive(Clone, Copy, Debug)]
struct Counts {
    at: Instant,
    rates_of: [f64; 3],
}

/// The names of the counts, in the order of [`GatewayRates`]; each is a sum over its labels.
const NAMES: [&str; 3] = ["gateway_shakes_total", "gateway_wins_total", "gateway_gifts_total"];

/// Reads a gateway until it is dropped.
#[derive(Debug)]
pub(super) struct Gateway {
    latest: Arc<Mutex<Result<Option<Counts>, String>>>,
    before: Option<Counts>,
    rates: Option<GatewayRates>,
    /// Dropped to end the thread.
    _end: Sender<()>,
    _thread: JoinHandle<()>,
}

impl Gateway {
    /// Begins to read.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn watch(url: String) -> std::io::Result<Self> {
        let latest = Arc::new(Mutex::new(Ok(None)));
        let (end, is_over) = channel::<()>();
        let told = latest.clone();
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            let mut next = Instant::now();
            while matches!(
                is_over.recv_timeout(next.saturating_duration_since(Instant::now())),
                Err(RecvTimeoutError::Timeout)
            ) {
                next = Instant::now() + EVERY;
                let read = read(&url).map(Some);
                *told.lock().expect("nothing panics under this lock") = read;
            }
        })?;
        Ok(Self {
            latest,
            before: None,
            rates: None,
            _end: end,
            _thread: thread,
        })
    }

    /// What it counted between the last two readings; nothing before the second, and while it does not answer.
    pub(super) fn rates(&mut self) -> Option<GatewayRates> {
        let latest = self.latest.lock().expect("see `watch`").clone().ok().flatten()?;
        let before = *self.before.get_or_insert(latest);
        let span_s = latest.at.saturating_duration_since(before.at).as_secs_f64();
        if span_s > 0.0 {
            // Counts that fall are those of a gateway that was started anew.
            let rate = |of: usize| (latest.rates_of[of] - before.rates_of[of]).max(0.0) / span_s;
            self.rates = Some(GatewayRates {
                shakes: rate(0),
                released: rate(1),
                gifts: rate(2),
            });
            self.before = Some(latest);
        }
        self.rates
    }

    /// Why the last reading failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.latest.lock().expect("see `watch`").clone().err()
    }
}

fn read(url: &str) -> Result<Counts, String> {
    let metrics = Metrics::of(url, TIMEOUT).map_err(|error| error.to_string())?;
    if !NAMES.iter().all(|name| metrics.has(name)) {
        return Err("what it answers is not the text of a gateway's metrics".into());
    }
    Ok(Counts {
        at: Instant::now(),
        rates_of: NAMES.map(|name| metrics.sum(name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn rates_are_differences_and_a_stranger_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("http://{}/metrics", listener.local_addr().expect("bound"));
        let server = std::thread::spawn(move || {
            for wins in [10, 30] {
                let (mut stream, _) = listener.accept().expect("asked");
                let _ = stream.read(&mut [0; 1_024]);
                let text = format!("gateway_shakes_total 5\ngateway_wins_total {wins}\ngateway_gifts_total 0\n");
                let length = text.len();
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all((head + &text).as_bytes()).expect("it listens");
            }
        });
        let mut gateway = Gateway::watch(url).expect("a thread");
        let mut wait = |is_enough: &dyn Fn(&mut Gateway) -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !is_enough(&mut gateway) {
                assert!(Instant::now() < deadline, "{:?}", gateway.failure());
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        wait(&|gateway| {
            gateway
                .rates()
                .is_some_and(|rates| rates.released > 0.0 && rates.shakes == 0.0)
        });
        server.join().expect("it asserts what it can");
        wait(&|gateway| gateway.failure().is_some());
    }
}
