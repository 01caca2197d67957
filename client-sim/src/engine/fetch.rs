//! Fetches resource packages over plain HTTP/1.1 and checks what comes, on a few threads beside any engine.
//!
//! ```text
//! engine ── order ──▶ heap by time ──▶ fetcher × 4 ──▶ counts
//! ```
//! The heap is bounded by the sample of users times the packages of the manifest. Dropping the fetchers lets what is
//! under way end on its own; nothing new is begun.

use crate::schedule::Micros;
use crate::tally::Packages;
use crate::user::Fetch;
use ring::digest::{Context, SHA256};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Fetches at one time.
const FETCHERS: usize = 4;
/// A fetch that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
const CHUNK_BYTES: usize = 16 << 10;

/// The threads that fetch.
#[derive(Debug)]
pub(super) struct Fetchers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What times count from.
    origin: Instant,
    state: Mutex<State>,
    /// Wakes fetchers: an order came, or it is over.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    orders: BinaryHeap<Reverse<Order>>,
    threads: usize,
    counts: Packages,
    is_over: bool,
}

/// A fetch, in the order of time.
#[derive(Debug)]
struct Order(Fetch);

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        self.0.at == other.0.at
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.at.cmp(&other.0.at)
    }
}

impl Fetchers {
    /// Starts no thread before the first order.
    pub(super) fn new(origin: Instant) -> Self {
        let shared = Shared {
            origin,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Fetches this when its time has come. Without threads for it, that is counted as a failure.
    pub(super) fn order(&self, fetch: Fetch) {
        let mut state = self.shared.lock();
        if state.threads < FETCHERS {
            let shared = self.shared.clone();
            let started = thread::Builder::new()
                .name("fetcher".into())
                .spawn(move || shared.work());
            match started {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads > 0 => {}
                Err(_) => return state.fail("no_thread"),
            }
        }
        state.orders.push(Reverse(Order(fetch)));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Begins nothing more; gives what was counted.
    pub(super) fn end(&self) -> Packages {
        let mut state = self.shared.lock();
        state.is_over = true;
        self.shared.changed.notify_all();
        std::mem::take(&mut state.counts)
    }
}

impl Drop for Fetchers {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn fail(&mut self, name: &str) {
        *self.counts.failures.entry(name.to_owned()).or_default() += 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics under this lock: it only counts and queues")
    }

    /// The life of one fetcher.
    fn work(&self) {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .build();
        let agent = config.new_agent();
        while let Some(fetch) = self.next() {
            let got = get(&agent, &fetch);
            let mut state = self.lock();
            match got {
                Ok(()) => {
                    state.counts.fetched += 1;
                    state.counts.bytes += fetch.size_bytes;
                }
                Err(name) => state.fail(&name),
            }
        }
    }

    /// Waits for the next fetch whose time has come; nothing when it is over.
    fn next(&self) -> Option<Fetch> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            let now = Micros(self.origin.elapsed().as_micros() as u64);
            let wait = match state.orders.peek() {
                Some(Reverse(Order(first))) if first.at <= now => {
                    return state.orders.pop().map(|Reverse(Order(fetch))| fetch);
                }
                Some(Reverse(Order(first))) => first.at.since(now).into(),
                None => TIMEOUT,
            };
            state = self.changed.wait_timeout(state, wait).expect("see `lock`").0;
        }
    }
}

/// One package, checked; the name of what is wrong otherwise.
fn get(agent: &ureq::Agent, fetch: &Fetch) -> Result<(), String> {
    if !fetch.address.starts_with("http://") {
        return Err("not_http".into());
    }
    let response = agent.get(&fetch.address).call().map_err(|error| match error {
        ureq::Error::StatusCode(status) => format!("status_{status}"),
        ureq::Error::Timeout(_) => "timeout".into(),
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => "no_connection".into(),
        _ => "http".into(),
    })?;
    if response.status().as_u16() != 200 {
        return Err(format!("status_{}", response.status().as_u16()));
    }
    // One byte more than told shows that there is more, and is all that is read of it.
    let mut body = response
        .into_body()
        .into_reader()
        .take(fetch.size_bytes.saturating_add(1));
    let mut context = Context::new(&SHA256);
    let mut chunk = [0; CHUNK_BYTES];
    let mut size_bytes = 0;
    loop {
        match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                context.update(&chunk[..read]);
                size_bytes += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err("cut_short".into()),
        }
    }
    if size_bytes != fetch.size_bytes {
        Err("wrong_size".into())
    } else if context.finish().as_ref() != fetch.sha256 {
        Err("wrong_sha256".into())
    } else {
        Ok(())
    }
}
