//! The way from an agent to PostgreSQL: a TCP link that can be closed, go silent, and break in a commit.
//!
//! ```text
//! agent ──▶ listener ──▶ one thread each way ──▶ PostgreSQL
//! ```
//! Connections are few: an agent has one, and another one when it comes back.

use anyhow::Context;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks of what waits for the end of a silence.
const LOOK: Duration = Duration::from_millis(5);
/// What an agent's library sends to commit, behind the message's head.
const COMMIT: &[u8] = b"COMMIT\0";

/// How the way is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Open,
    /// Nobody is connected, nor can be.
    Closed,
    /// What is sent waits on the way, in both directions.
    Silent,
    /// The next COMMIT is lost, and the connection with it.
    LosesCommit,
    /// The next COMMIT passes; its answer is lost, and the connection with it.
    LosesAnswer,
}

#[derive(Default)]
struct Steering {
    state: Mutex<State>,
    /// Both ends of each connection, by its number.
    connections: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
    /// Connections so far.
    count: AtomicU64,
    is_over: AtomicBool,
    /// Connections that were broken or refused, commits and answers that were lost, and pieces that waited.
    done: AtomicU64,
}

impl Steering {
    fn state(&self) -> State {
        *self.state.lock().expect("nothing panics under this lock")
    }

    /// Takes the state away if it is this one: it strikes once.
    fn strikes_once(&self, state: State) -> bool {
        let mut now = self.state.lock().expect("nothing panics under this lock");
        let is_struck = *now == state;
        if is_struck {
            *now = State::Open;
        }
        is_struck
    }

    fn wait_while_silent(&self) {
        if self.state() == State::Silent {
            self.done.fetch_add(1, Relaxed);
        }
        while self.state() == State::Silent && !self.is_over.load(Relaxed) {
            thread::sleep(LOOK);
        }
    }

    fn cut(&self) {
        let mut connections = self.connections.lock().expect("nothing panics under this lock");
        for (_, ends) in std::mem::take(&mut *connections) {
            self.done.fetch_add(1, Relaxed);
            close(&ends);
        }
    }

    fn keep(&self, ends: [TcpStream; 2]) -> u64 {
        let number = self.count.fetch_add(1, Relaxed);
        let mut connections = self.connections.lock().expect("nothing panics under this lock");
        connections.insert(number, ends);
        number
    }

    fn forget(&self, number: u64) {
        let mut connections = self.connections.lock().expect("nothing panics under this lock");
        connections.remove(&number);
    }
}

fn close(ends: &[TcpStream; 2]) {
    for end in ends {
        // One that has ended is closed already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// The way. Dropping it closes it.
pub struct Way {
    /// Where the agent finds it.
    pub address: SocketAddr,
    steering: Arc<Steering>,
    thread: Option<JoinHandle<()>>,
}

impl Way {
    /// An open way to this server.
    pub fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no TCP port for a way to PostgreSQL")?;
        let address = listener.local_addr().context("the way has no address")?;
        let steering = Arc::new(Steering::default());
        let shared = Arc::clone(&steering);
        let accept = move || {
            for client in listener.incoming() {
                if shared.is_over.load(Relaxed) {
                    break;
                }
                if let Ok(client) = client {
                    connect(client, server, &shared);
                }
            }
        };
        let thread = thread::Builder::new().name("way".into()).spawn(accept);
        Ok(Self {
            address,
            steering,
            thread: Some(thread.context("no thread for a way to PostgreSQL")?),
        })
    }

    /// Makes it so from now on.
    pub fn set(&self, state: State) {
        *self.steering.state.lock().expect("nothing panics under this lock") = state;
        if state == State::Closed {
            self.steering.cut();
        }
    }

    /// How often it did what it was told to, so far.
    pub fn done(&self) -> u64 {
        self.steering.done.load(Relaxed)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.steering.is_over.store(true, Relaxed);
        self.steering.cut();
        // The listener looks up when somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Passes on what one client and the server say to each other, for as long as both are there. A server that is not there ends it.
fn connect(client: TcpStream, server: SocketAddr, steering: &Arc<Steering>) {
    if steering.state() == State::Closed {
        steering.done.fetch_add(1, Relaxed);
        return;
    }
    let Ok(server) = TcpStream::connect(server) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let clones = || Ok::<_, std::io::Error>([client.try_clone()?, server.try_clone()?]);
    let (Ok(kept), Ok(there), Ok(back)) = (clones(), clones(), clones()) else {
        return;
    };
    let number = steering.keep(kept);
    // Set while the answer to a COMMIT is to be lost.
    let answer_is_lost = Arc::new(AtomicBool::new(false));
    let (steer, lost) = (Arc::clone(steering), Arc::clone(&answer_is_lost));
    let there = thread::Builder::new().name("way-there".into()).spawn(move || {
        pass_there(there, &steer, &lost);
        steer.forget(number);
    });
    let steer = Arc::clone(steering);
    let back = thread::Builder::new()
        .name("way-back".into())
        .spawn(move || pass_back(back, &steer, &answer_is_lost));
    if there.is_err() || back.is_err() {
        close(&[client, server]);
    }
}

fn pass_there(ends: [TcpStream; 2], steering: &Steering, answer_is_lost: &AtomicBool) {
    let [mut client, mut server] = ends;
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        steering.wait_while_silent();
        let bytes = &buffer[..count];
        if bytes.windows(COMMIT.len()).any(|window| window == COMMIT) {
            if steering.strikes_once(State::LosesCommit) {
                steering.done.fetch_add(1, Relaxed);
                break;
            }
            if steering.strikes_once(State::LosesAnswer) {
                answer_is_lost.store(true, Relaxed);
            }
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    close(&[client, server]);
}

fn pass_back(ends: [TcpStream; 2], steering: &Steering, answer_is_lost: &AtomicBool) {
    let [mut client, mut server] = ends;
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if answer_is_lost.load(Relaxed) {
            steering.done.fetch_add(1, Relaxed);
            break;
        }
        steering.wait_while_silent();
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    close(&[client, server]);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A server that answers each piece with what it got, and says what it got.
    fn server() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&got);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (mut client, all) = (client.unwrap(), Arc::clone(&all));
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = client.read(&mut buffer) {
                        all.lock().unwrap().extend(&buffer[..count]);
                        let _ = client.write_all(&buffer[..count]);
                    }
                });
            }
        });
        (address, got)
    }

    fn client(way: &Way) -> TcpStream {
        let client = TcpStream::connect(way.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// What comes back of it; nothing when the connection breaks.
    fn echo(client: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
        let mut back = vec![0; bytes.len()];
        let _ = client.write_all(bytes);
        match client.read_exact(&mut back) {
            Ok(()) => back,
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it hangs");
                Vec::new()
            }
        }
    }

    #[test]
    fn a_commit_or_its_answer_is_lost_once() {
        for (state, arrives) in [(State::LosesCommit, false), (State::LosesAnswer, true)] {
            let (address, got) = server();
            let way = Way::start(address).unwrap();
            let mut first = client(&way);
            assert_eq!(echo(&mut first, b"BEGIN\0"), b"BEGIN\0");
            way.set(state);
            assert_eq!(echo(&mut first, b"UPDATE\0"), b"UPDATE\0", "nothing else is lost");
            assert_eq!(echo(&mut first, COMMIT), b"");
            assert_eq!(way.done(), 1);
            let has_arrived = got.lock().unwrap().ends_with(COMMIT);
            assert_eq!(has_arrived, arrives, "{state:?}");
            assert_eq!(echo(&mut client(&way), COMMIT), COMMIT);
        }
    }

    #[test]
    fn a_closed_way_breaks_and_lets_nobody_in_until_it_is_open() {
        let (address, _) = server();
        let way = Way::start(address).unwrap();
        let mut first = client(&way);
        assert_eq!(echo(&mut first, b"x"), b"x");
        way.set(State::Closed);
        assert_eq!(echo(&mut first, b"x"), b"");
        assert_eq!(echo(&mut client(&way), b"x"), b"");
        assert_eq!(way.done(), 2);
        way.set(State::Open);
        assert_eq!(echo(&mut client(&way), b"x"), b"x");
    }

    #[test]
    fn what_waits_in_a_silence_passes_after_it() {
        let (address, got) = server();
        let way = Way::start(address).unwrap();
        let mut first = client(&way);
        assert_eq!(echo(&mut first, b"x"), b"x");
        way.set(State::Silent);
        first.write_all(b"y").unwrap();
        while way.done() == 0 {
            thread::sleep(LOOK);
        }
        assert_eq!(got.lock().unwrap()[..], *b"x");
        way.set(State::Open);
        let mut back = [0];
        first.read_exact(&mut back).unwrap();
        assert_eq!(back, *b"y");
    }
}
