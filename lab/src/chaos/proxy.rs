//! A UDP link between phones and gateway that can be made bad: one thread, on loopback.
//!
//! ```text
//! phones' sockets ──▶ front ──▶ fate ──┬─▶ one socket for each of the phones' ──▶ gateway
//!                 ◀──       ◀── fate ──┴── (its address is the phone's, to the gateway)
//!                              held back: a heap by time
//! ```
//! Limits: so many phones' sockets as [`FLOWS_MAX`], and [`HELD_MAX`] packets held back; what comes beyond is dropped and
//! counted, as on any network.

use super::link::{Badness, Direction, Fate};
use super::schedule::Draws;
use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Sockets of phones. Each life of the simulator has a handful.
const FLOWS_MAX: usize = 256;
/// Packets held back at one time.
const HELD_MAX: usize = 100_000;
/// The longest packet.
const PACKET_BYTES_MAX: usize = 2_048;
/// Packets taken from one socket before the others get their turn.
const BATCH: usize = 256;
/// The longest sleep; the end is noticed within it.
const SLEEP: Duration = Duration::from_millis(20);
/// What bridges a pause of this thread; the kernel caps it.
const BUFFER_BYTES: usize = 4 << 20;

/// What was done to packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub passed: u64,
    pub lost: u64,
    pub late: u64,
    pub twice: u64,
}

#[derive(Default)]
struct Steering {
    badness: Mutex<Badness>,
    is_over: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
    twice: AtomicU64,
}

/// The link. Dropping it ends its thread.
pub struct Proxy {
    /// Where phones find it.
    pub address: SocketAddr,
    steering: Arc<Steering>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A good link to the gateway.
    pub fn start(gateway: SocketAddr, seed: u64) -> anyhow::Result<Self> {
        let front = socket().context("no UDP port for the proxy")?;
        let address = front.local_addr().context("the proxy has no address")?;
        let steering = Arc::new(Steering::default());
        let relay = Relay {
            front,
            gateway,
            flows: Vec::new(),
            by_phone: HashMap::new(),
            held: BinaryHeap::new(),
            count: 0,
            draws: Draws::new(seed, 0),
            steering: Arc::clone(&steering),
        };
        let thread = thread::Builder::new().name("proxy".into()).spawn(move || relay.run());
        Ok(Self {
            address,
            steering,
            thread: Some(thread.context("no thread for the proxy")?),
        })
    }

    /// Makes the link so bad from now on.
    pub fn set(&self, badness: Badness) {
        *self.steering.badness.lock().expect("nothing panics under this lock") = badness;
    }

    /// What was done so far.
    pub fn done(&self) -> Done {
        let steering = &self.steering;
        Done {
            passed: steering.passed.load(Relaxed),
            lost: steering.lost.load(Relaxed),
            late: steering.late.load(Relaxed),
            twice: steering.twice.load(Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.steering.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToGateway(usize),
    ToPhone(usize),
}

struct Flow {
    phone: SocketAddr,
    socket: UdpSocket,
    /// Packets that went to the gateway so far, and to the phone.
    counts: [u32; 2],
}

/// A packet held back: when it goes on, a number that keeps the order of those of one time, where to, and its bytes.
type Held = (Instant, u64, Way, Vec<u8>);

struct Relay {
    front: UdpSocket,
    gateway: SocketAddr,
    flows: Vec<Flow>,
    by_phone: HashMap<SocketAddr, usize>,
    held: BinaryHeap<Reverse<Held>>,
    count: u64,
    draws: Draws,
    steering: Arc<Steering>,
}

impl Relay {
    fn run(mut self) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        while !self.steering.is_over.load(Relaxed) {
            self.sleep();
            let badness = *self.steering.badness.lock().expect("nothing panics under this lock");
            self.take_from_phones(&badness, &mut buffer);
            for flow in 0..self.flows.len() {
                for _ in 0..BATCH {
                    let Ok(length) = self.flows[flow].socket.recv(&mut buffer) else {
                        break;
                    };
                    self.pass(&badness, Way::ToPhone(flow), &buffer[..length]);
                }
            }
            self.let_go(Instant::now());
        }
    }

    fn sleep(&self) {
        let until = self.held.peek().map(|Reverse((at, ..))| *at);
        let longest = until.map_or(SLEEP, |at| at.saturating_duration_since(Instant::now()).min(SLEEP));
        let sockets = self.flows.iter().map(|flow| &flow.socket).chain([&self.front]);
        let mut fds: Vec<_> = sockets
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // Rounded up, so that what is due is due.
        let ms = u16::try_from(longest.as_millis() + 1).expect("at most SLEEP");
        let _ = poll(&mut fds, PollTimeout::from(ms));
    }

    fn take_from_phones(&mut self, badness: &Badness, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Ok((length, phone)) = self.front.recv_from(buffer) else {
                return;
            };
            match self.flow(phone) {
                Some(flow) => self.pass(badness, Way::ToGateway(flow), &buffer[..length]),
                None => {
                    self.steering.lost.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// The flow of a phone's socket; a new one for a new socket.
    fn flow(&mut self, phone: SocketAddr) -> Option<usize> {
        if let Some(flow) = self.by_phone.get(&phone) {
            return Some(*flow);
        }
        if self.flows.len() == FLOWS_MAX {
            return None;
        }
        let socket = socket().ok()?;
        socket.connect(self.gateway).ok()?;
        self.flows.push(Flow {
            phone,
            socket,
            counts: [0; 2],
        });
        self.by_phone.insert(phone, self.flows.len() - 1);
        Some(self.flows.len() - 1)
    }

    fn pass(&mut self, badness: &Badness, way: Way, packet: &[u8]) {
        let (flow, direction) = match way {
            Way::ToGateway(flow) => (flow, Direction::ToGateway),
            Way::ToPhone(flow) => (flow, Direction::ToPhone),
        };
        let count = &mut self.flows[flow].counts[direction as usize];
        *count += 1;
        let fate = badness.fate_of(direction, *count, &mut self.draws);
        let counter = match fate {
            Fate::AtOnce => &self.steering.passed,
            Fate::Lost => &self.steering.lost,
            Fate::Late(_) => &self.steering.late,
            Fate::Twice(_) => &self.steering.twice,
        };
        counter.fetch_add(1, Relaxed);
        if matches!(fate, Fate::AtOnce | Fate::Twice(_)) {
            self.forward(way, packet, badness.delay);
        }
        if let Fate::Late(held) | Fate::Twice(held) = fate {
            self.forward(way, packet, badness.delay + held);
        }
    }

    /// Lets a packet go on after so long.
    fn forward(&mut self, way: Way, packet: &[u8], after: Duration) {
        if after == Duration::ZERO {
            self.send(way, packet);
        } else if self.held.len() < HELD_MAX {
            self.count += 1;
            let held = (Instant::now() + after, self.count, way, packet.to_vec());
            self.held.push(Reverse(held));
        }
    }

    fn let_go(&mut self, now: Instant) {
        while self.held.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, way, packet))) = self.held.pop() else {
                return;
            };
            self.send(way, &packet);
        }
    }

    /// A socket that takes no more, or a gateway that is not there, loses the packet, as any network does.
    fn send(&self, way: Way, packet: &[u8]) {
        let _ = match way {
            Way::ToGateway(flow) => self.flows[flow].socket.send(packet),
            Way::ToPhone(flow) => self.front.send_to(packet, self.flows[flow].phone),
        };
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    // As much as the kernel gives.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES);
    let _ = setsockopt(&socket, sockopt::SndBuf, &BUFFER_BYTES);
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// An echoing gateway, a proxy and a phone.
    fn link() -> (Proxy, UdpSocket, Arc<AtomicBool>, JoinHandle<()>) {
        let gateway = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        gateway.set_read_timeout(Some(SLEEP)).unwrap();
        let proxy = Proxy::start(gateway.local_addr().unwrap(), 1).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let echo = thread::spawn(move || {
            let mut buffer = [0; PACKET_BYTES_MAX];
            while !over.load(Relaxed) {
                if let Ok((length, from)) = gateway.recv_from(&mut buffer) {
                    gateway.send_to(&buffer[..length], from).unwrap();
                }
            }
        });
        let phone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        phone.connect(proxy.address).unwrap();
        phone.set_read_timeout(Some(LONG)).unwrap();
        (proxy, phone, is_over, echo)
    }

    #[test]
    fn packets_pass_both_ways_and_fare_as_told() {
        let (proxy, phone, is_over, echo) = link();
        let mut buffer = [0; PACKET_BYTES_MAX];
        let mut hear = || {
            let length = phone.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        phone.send(b"one").unwrap();
        assert_eq!(hear(), "one");
        assert_eq!(
            proxy.done(),
            Done {
                passed: 2,
                ..Done::default()
            }
        );

        proxy.set(Badness {
            duplicate: 100,
            ..Badness::default()
        });
        phone.send(b"two").unwrap();
        // Twice to the gateway, and each answer twice to the phone.
        assert_eq!([hear(), hear(), hear(), hear()], ["two"; 4]);

        proxy.set(Badness {
            loss: 100,
            ..Badness::default()
        });
        phone.send(b"three").unwrap();
        let began = Instant::now();
        while proxy.done().lost == 0 {
            assert!(began.elapsed() < LONG);
            thread::sleep(Duration::from_millis(1));
        }
        proxy.set(Badness {
            reorder: 100,
            ..Badness::default()
        });
        phone.send(b"four").unwrap();
        assert_eq!(hear(), "four", "and three is gone");
        let done = proxy.done();
        assert_eq!((done.passed, done.lost, done.late, done.twice), (2, 1, 2, 3));
        is_over.store(true, Relaxed);
        echo.join().unwrap();
    }
}
