//! The world: its events in the order of time, and the machine that it is to a shard.

use super::client::{Client, Script, address, client_at};
use super::network::Network;
use crate::batch::{BATCH, PACKET_BYTES_MAX, PacketInfo, RecvBatch, SendBatch};
use crate::io::{Drops, Io, Now};
use lean_quic::{Config, Connection, DATAGRAM_BYTES, Micros};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The bit of a packet's first byte that only those of a handshake have (RFC 9000, section 17.2).
const LONG_HEADER: u8 = 0x80;
/// Copies of a packet that is tampered with.
const COPIES: usize = 8;
/// An address that no client has.
const NOBODY: ([u8; 4], u16) = ([192, 0, 2, 1], 443);
/// The wall clock at the beginning: any time, so that nothing relies on the machine's.
const WALL_NS: u64 = 1_800_000_000_000_000_000;

/// What is going to happen.
enum Event {
    ToShard(SocketAddr, Vec<u8>),
    ToClient(usize, Vec<u8>),
    /// A client may do something; the first time it begins.
    Act(usize),
    /// A client's connection has something to do.
    Timer(usize),
    /// The script wanted to be asked.
    Ask,
}

/// When. What is due at the same moment happens in the order in which it came about.
struct Entry {
    at: Micros,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, which a heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Clients, their network and time.
pub struct World<S> {
    origin: Instant,
    now: Micros,
    end: Micros,
    /// Set at the end, so that the shard stops.
    stop: Arc<AtomicBool>,
    rng: StdRng,
    network: Network,
    config: Arc<Config>,
    clients: Vec<Option<Client>>,
    /// What the clients do and hear.
    pub script: S,
    due: BinaryHeap<Entry>,
    numbers: u64,
    /// When the script is asked next, though nothing happens.
    ask_at: Micros,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    trace: DefaultHasher,
    packets: u64,
}

impl<S: Script> World<S> {
    /// A world that ends after so long. `stop` is what its shard is told to stop by.
    pub fn new(seed: u64, network: Network, config: Config, script: S, end: Micros, stop: Arc<AtomicBool>) -> Self {
        let mut world = Self {
            origin: Instant::now(),
            now: Micros::ZERO,
            end,
            stop,
            rng: StdRng::seed_from_u64(seed),
            network,
            config: Arc::new(config),
            clients: Vec::new(),
            script,
            due: BinaryHeap::new(),
            numbers: 0,
            ask_at: Micros::ZERO,
            inbox: VecDeque::new(),
            trace: DefaultHasher::new(),
            packets: 0,
        };
        world.push(Micros::ZERO, Event::Ask);
        world
    }

    /// Adds a client that begins then.
    pub fn add_client(&mut self, begins: Micros) {
        let client = self.clients.len();
        self.clients.push(None);
        self.push(begins, Event::Act(client));
    }

    /// Has the shard get these bytes then, from an address that no client has.
    pub fn send_garbage(&mut self, at: Micros, bytes: Vec<u8>) {
        self.push(at, Event::ToShard(NOBODY.into(), bytes));
    }

    /// Stands for all packets that went either way: when, how long, and whose. The same seed gives the same.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// How many packets went either way.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The moment that it is.
    pub fn instant(&self) -> Instant {
        self.origin + Duration::from(self.now)
    }

    fn push(&mut self, at: Micros, event: Event) {
        self.numbers += 1;
        let number = self.numbers;
        self.due.push(Entry { at, number, event });
    }

    /// Lets time pass until then; with `is_woken` only until something came for the shard.
    fn pass(&mut self, until: Micros, is_woken: bool) {
        while !is_woken || self.inbox.is_empty() {
            if self.due.peek().is_none_or(|next| next.at > until) {
                self.now = self.now.max(until);
                break;
            }
            if let Some(Entry { at, event, .. }) = self.due.pop() {
                self.now = self.now.max(at);
                self.happen(event);
                self.direct();
            }
        }
        if self.now >= self.end {
            self.stop.store(true, Relaxed);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToShard(from, bytes) => self.inbox.push_back((from, bytes)),
            Event::ToClient(client, mut bytes) => {
                if let Some(Some(it)) = self.clients.get_mut(client) {
                    let (script, now) = (&mut self.script, self.now);
                    let mut hear = |event: lean_quic::Event<'_>| script.hear(client, event, now);
                    it.connection.handle_datagram(now, &mut bytes, &mut hear);
                    self.settle(client);
                }
            }
            Event::Timer(client) => {
                if let Some(Some(it)) = self.clients.get_mut(client)
                    && it.armed.is_some_and(|at| at <= self.now)
                {
                    it.armed = None;
                    let (script, now) = (&mut self.script, self.now);
                    let mut hear = |event: lean_quic::Event<'_>| script.hear(client, event, now);
                    it.connection.handle_timeout(now, &mut hear);
                    self.settle(client);
                }
            }
            Event::Act(client) => self.act(client),
            Event::Ask => {
                if self.ask_at <= self.now {
                    self.ask_at = Micros(u64::MAX);
                }
            }
        }
    }

    /// Has the script say what comes of what happened.
    fn direct(&mut self) {
        let mut urged = Vec::new();
        let next = self.script.direct(self.now, &mut urged);
        for client in urged {
            while self.clients.len() <= client {
                self.clients.push(None);
            }
            self.push(self.now, Event::Act(client));
        }
        // One that was wanted later comes all the same, and changes nothing.
        if let Some(at) = next.filter(|&at| at < self.ask_at) {
            self.ask_at = at;
            self.push(at.max(self.now), Event::Ask);
        }
    }

    fn act(&mut self, client: usize) {
        if self.clients[client].is_none() {
            let mut ids = [0; 16];
            self.rng.fill_bytes(&mut ids);
            let [local, destination] = [&ids[..8], &ids[8..]].map(|id| id.try_into().expect("eight bytes"));
            let name = "localhost".try_into().expect("a name");
            let connection = Connection::new(Arc::clone(&self.config), self.now, name, local, destination);
            self.clients[client] = Some(Client {
                connection: connection.expect("TLS takes its configuration"),
                moves: 0,
                armed: None,
            });
        }
        if let Some(it) = &mut self.clients[client] {
            let next = self.script.act(client, it, self.now);
            self.settle(client);
            if let Some(next) = next {
                self.push(next.max(self.now), Event::Act(client));
            }
        }
    }

    /// Sends what a client has to send, and sets its timer.
    fn settle(&mut self, client: usize) {
        let mut buffer = [0; DATAGRAM_BYTES];
        loop {
            let now = self.now;
            let Some(it) = &mut self.clients[client] else {
                return;
            };
            let Some(length) = it.connection.poll_transmit(now, &mut buffer) else {
                break;
            };
            let from = address(client, it.moves);
            self.note(client, length, true);
            for at in self.network.arrivals(now, &mut self.rng).into_iter().flatten() {
                self.push(at, Event::ToShard(from, buffer[..length].to_vec()));
            }
            let is_of_session = buffer[0] & LONG_HEADER == 0;
            if self.network.is_tampered_with && is_of_session {
                self.tamper(from, &buffer[..length]);
            }
        }
        let Some(it) = &mut self.clients[client] else {
            return;
        };
        // An earlier timer looks again.
        if let Some(at) = it.connection.next_timeout()
            && it.armed.is_none_or(|armed| at < armed)
        {
            it.armed = Some(at);
            self.push(at.max(self.now), Event::Timer(client));
        }
    }

    /// Sends copies of a packet, those of every other packet ahead of it: one as it is, the others cut, lengthened or altered,
    /// and half of these from elsewhere.
    fn tamper(&mut self, from: SocketAddr, packet: &[u8]) {
        let lead = Micros::from_ms(self.packets % 2);
        let at = Micros(self.now.plus(self.network.delay).0.saturating_sub(lead.0)).max(self.now);
        for copy in 0..COPIES {
            let draw = self.rng.next_u64() as usize;
            let mut bytes = packet.to_vec();
            match copy {
                0 => {}
                1 => bytes.truncate((draw % packet.len()).max(1)),
                2 => bytes.extend_from_slice(&[0; 30]),
                // The connection ID stays, so that it is this session that gets it.
                _ => bytes[9 + draw % (packet.len() - 9)] ^= 1 << (copy % 8),
            }
            let from = if copy % 2 == 0 { from } else { NOBODY.into() };
            self.push(at, Event::ToShard(from, bytes));
        }
    }

    fn note(&mut self, client: usize, length: usize, is_to_shard: bool) {
        self.packets += 1;
        (self.now, client, length, is_to_shard).hash(&mut self.trace);
    }

    fn send(&mut self, batch: &mut SendBatch) {
        for packet in batch.packets() {
            let Some(client) = client_at(packet.remote).filter(|client| *client < self.clients.len()) else {
                continue;
            };
            self.note(client, packet.bytes.len(), false);
            for at in self.network.arrivals(self.now, &mut self.rng).into_iter().flatten() {
                self.push(at, Event::ToClient(client, packet.bytes.to_vec()));
            }
        }
        batch.clear();
    }
}

/// The machine that a world is to its shard.
pub struct SimIo<S>(Rc<RefCell<World<S>>>);

impl<S> SimIo<S> {
    /// The machine of this world.
    pub fn new(world: &Rc<RefCell<World<S>>>) -> Self {
        Self(Rc::clone(world))
    }

    fn elapsed(&self) -> Duration {
        self.0.borrow().now.into()
    }
}

impl<S: Script> Io for SimIo<S> {
    fn instant(&self) -> Instant {
        self.0.borrow().origin + self.elapsed()
    }

    fn monotonic_ns(&self) -> u64 {
        self.elapsed().as_nanos() as u64
    }

    fn boot_ns(&self) -> u64 {
        self.monotonic_ns()
    }

    fn wall_ns(&self) -> u64 {
        WALL_NS + self.elapsed().as_nanos() as u64
    }

    fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<()> {
        let now_ns = self.wall_ns();
        let mut world = self.0.borrow_mut();
        let count = world.inbox.len().min(BATCH);
        let packets: Vec<_> = world.inbox.drain(..count).collect();
        for (buffer, (_, bytes)) in batch.buffers().iter_mut().zip(&packets) {
            let length = bytes.len().min(PACKET_BYTES_MAX);
            buffer[..length].copy_from_slice(&bytes[..length]);
        }
        let infos = packets.iter().map(|(from, bytes)| PacketInfo {
            len: bytes.len() as u32,
            remote: Some(*from),
            ..PacketInfo::default()
        });
        batch.fill(Some(now_ns), infos);
        Ok(())
    }

    fn send(&mut self, batch: &mut SendBatch) -> usize {
        self.0.borrow_mut().send(batch);
        0
    }

    fn sleep(&mut self, time: Duration) {
        let mut world = self.0.borrow_mut();
        let until = world.now.plus(micros(time));
        world.pass(until, false);
    }

    fn wait(&mut self, timeout: Duration, _doorbell: Option<BorrowedFd<'_>>) {
        let mut world = self.0.borrow_mut();
        let until = world.now.plus(micros(timeout));
        world.pass(until, true);
    }

    /// Nothing is filtered: what a kernel may drop need not be dropped.
    fn filter_out(&mut self, _cid: u64, _hold_ns: u64, _now: &Now) {}

    fn drops(&mut self) -> Drops {
        Drops::default()
    }
}

/// Rounded up, so that a wait is never of no time at all.
fn micros(time: Duration) -> Micros {
    Micros(time.as_nanos().div_ceil(1_000) as u64)
}
