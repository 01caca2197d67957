//! The UDP sockets that the sessions share: recvmmsg(2) and sendmmsg(2), in buffers that are used again.

use super::super::EngineError;
use super::super::sockets::OwnSockets;
use crate::network::{Counts, Network, Networks, Way};
use crate::schedule::Micros;
use lean_quic::{Connection, DATAGRAM_BYTES, RECEIVE_BYTES_MAX};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

/// Datagrams in one system call.
pub(super) const BATCH: usize = 64;
/// Refusals that are read from a socket in a row before the others get their turn.
const ERRORS_AT_ONCE: u32 = 64;
/// How long a full socket is waited for before a datagram is given up.
const PATIENCE_MS: u8 = 5;
/// Datagrams under way in simulated networks: two seconds of what a core can send, at some hundred bytes each.
const UNDER_WAY_MAX: usize = 1 << 17;

/// The sockets, and what waits to leave through them.
pub(super) struct Sockets {
    /// In groups of the same size, one for each gateway that sessions were led to.
    sockets: Vec<UdpSocket>,
    outboxes: Vec<Outbox>,
    inbox: Inbox,
    group_size: usize,
    /// The gateway of each group, by its place among those known.
    groups: Vec<usize>,
    /// The group of each seat; empty as long as there is only one.
    group_of: Vec<u8>,
    /// What stands between the seats and the sockets, if anything. A datagram on its way out is noted with its socket.
    network: Option<Box<Network<usize>>>,
    pub(super) own: OwnSockets,
}

impl Sockets {
    /// Opens and connects the sockets, for so many seats on these networks.
    pub(super) fn open(
        count: u32,
        target: SocketAddr,
        seats: u32,
        networks: &Arc<Networks>,
    ) -> Result<Self, EngineError> {
        let mut own = OwnSockets::default();
        let sockets = Self::open_group(count, target, &mut own)?;
        Ok(Self {
            outboxes: sockets.iter().map(|_| Outbox::new()).collect(),
            inbox: Inbox::new(),
            sockets,
            group_size: count as usize,
            groups: vec![0],
            group_of: Vec::new(),
            network: (!networks.is_empty()).then(|| Box::new(Network::new(networks.clone(), 0..seats, UNDER_WAY_MAX))),
            own,
        })
    }

    /// From now on what this seat says goes to that gateway, the first of them being the scenario's.
    pub(super) fn lead_to(&mut self, index: u32, gateway: usize, target: SocketAddr) -> Result<(), EngineError> {
        if gateway == 0 && self.group_of.is_empty() {
            return Ok(());
        }
        let known = self.groups.iter().position(|known| *known == gateway);
        let group = match known {
            Some(group) => group,
            None => {
                let more = Self::open_group(self.group_size as u32, target, &mut self.own)?;
                self.outboxes.extend(more.iter().map(|_| Outbox::new()));
                self.sockets.extend(more);
                self.groups.push(gateway);
                self.groups.len() - 1
            }
        };
        let index = index as usize;
        if self.group_of.len() <= index {
            self.group_of.resize(index + 1, 0);
        }
        self.group_of[index] = group as u8; // at most as many as gateways are kept
        Ok(())
    }

    /// The socket of a seat whose NAT has given it so many other addresses before.
    fn of(&self, index: u32, binding: u32) -> usize {
        let group = self.group_of.get(index as usize).copied().unwrap_or(0);
        usize::from(group) * self.group_size + (index as usize + binding as usize) % self.group_size
    }

    fn open_group(count: u32, target: SocketAddr, own: &mut OwnSockets) -> Result<Vec<UdpSocket>, EngineError> {
        let mut open = || {
            let socket = own.open(target)?;
            let connect = || {
                socket.connect(target)?;
                socket.set_nonblocking(true)
            };
            connect().map_err(|source| EngineError::Socket { target, source })?;
            Ok(socket)
        };
        (0..count).map(|_| open()).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Takes what has arrived at a socket, up to [`BATCH`] datagrams; [`datagram`](Self::datagram) gives each.
    pub(super) fn receive(&mut self, socket: usize) -> usize {
        self.inbox.fill(&self.sockets[socket])
    }

    /// One of the datagrams that were received last, to look at.
    pub(super) fn peek(&self, at: usize) -> &[u8] {
        &self.inbox.buffers[at][..self.inbox.lengths[at]]
    }

    /// One of the datagrams that were received last. It is handed out once: what comes of it may scramble it.
    pub(super) fn datagram(&self, at: usize, buffer: &mut [u8; RECEIVE_BYTES_MAX]) -> usize {
        let datagram = self.peek(at);
        buffer[..datagram.len()].copy_from_slice(datagram);
        datagram.len()
    }

    /// Queues all that a connection has to say at the seat's socket. It leaves with [`flush`](Self::flush) at the
    /// latest.
    pub(super) fn take_from(&mut self, index: u32, connection: &mut Connection, now: Micros) {
        if self.network.is_some() {
            return self.send_across(index, connection, now);
        }
        let socket = self.of(index, 0);
        let outbox = &mut self.outboxes[socket];
        while let Some(length) = connection.poll_transmit(now, &mut outbox.buffers[outbox.count]) {
            outbox.filled(length, &self.sockets[socket]);
        }
    }

    // ---- networks ------------------------------------------------------------------------------------------

    /// Whether a network stands between the seats and the sockets.
    pub(super) fn has_network(&self) -> bool {
        self.network.is_some()
    }

    /// Lets all that a connection has to say enter the seat's network.
    fn send_across(&mut self, index: u32, connection: &mut Connection, now: Micros) {
        let Some(mut network) = self.network.take() else {
            return;
        };
        let socket = self.of(index, network.binding(now, index));
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Some(length) = connection.poll_transmit(now, &mut buffer) {
            network.send(now, index, Way::Out, &buffer[..length], socket);
        }
        self.network = Some(network);
    }

    /// Lets a datagram that came at this socket enter the seat's network. One that came to an address which the seat's NAT
    /// has given up is lost.
    pub(super) fn receive_across(&mut self, now: Micros, socket: usize, index: u32, datagram: &[u8]) {
        let Some(mut network) = self.network.take() else {
            return;
        };
        if socket == self.of(index, network.binding(now, index)) {
            network.send(now, index, Way::In, datagram, socket);
        } else {
            network.stray(index);
        }
        self.network = Some(network);
    }

    /// Queues, each at its socket, what has crossed its network on the way out. Gives the first datagram that has crossed it
    /// on the way in, or nothing when none is left.
    pub(super) fn cross(&mut self, now: Micros) -> Option<Box<[u8]>> {
        let network = self.network.as_mut()?;
        while let Some(arrival) = network.take(now) {
            match arrival.way {
                Way::In => return Some(arrival.datagram),
                Way::Out => {
                    let outbox = &mut self.outboxes[arrival.note];
                    outbox.buffers[outbox.count][..arrival.datagram.len()].copy_from_slice(&arrival.datagram);
                    outbox.filled(arrival.datagram.len(), &self.sockets[arrival.note]);
                }
            }
        }
        None
    }

    /// Whether the seat's path has not been dead since then.
    pub fn has_lived_since(&mut self, now: Micros, index: u32, since: Micros) -> bool {
        let network = self.network.as_mut();
        network.is_none_or(|network| network.has_lived_since(now, index, since))
    }

    /// When the next datagram has crossed its network.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.network.as_ref()?.next_at()
    }

    /// What became of the datagrams, by network.
    pub(super) fn network_counts(&self) -> &[Counts] {
        self.network.as_ref().map_or(&[], |network| network.counts())
    }

    // ---- the kernel ----------------------------------------------------------------------------------------

    /// Sends what is queued.
    pub(super) fn flush(&mut self) {
        for (socket, outbox) in self.sockets.iter().zip(&mut self.outboxes) {
            outbox.empty(socket);
        }
    }

    /// Sleeps until something arrives, or for so long; at least a millisecond, which is what poll(2) counts in.
    pub(super) fn wait(&self, span: Micros) {
        let watched = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let mut watched: Vec<PollFd<'_>> = watched.collect();
        let timeout = PollTimeout::try_from(span.0.div_ceil(1_000)).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut watched, timeout); // interrupted or not, the next turn looks by itself
    }
}

/// Datagrams of one system call, on their way in.
struct Inbox {
    headers: MultiHeaders<()>,
    buffers: Box<[[u8; RECEIVE_BYTES_MAX]; BATCH]>,
    lengths: [usize; BATCH],
}

impl Inbox {
    fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: Box::new([[0; RECEIVE_BYTES_MAX]; BATCH]),
            lengths: [0; BATCH],
        }
    }

    /// How many came; none when there is none now.
    fn fill(&mut self, socket: &UdpSocket) -> usize {
        for _ in 0..ERRORS_AT_ONCE {
            match self.receive(socket) {
                Ok(count) => return count,
                Err(Errno::EAGAIN) => return 0,
                // Such as a port that is closed: the datagram it answers is lost, and QUIC finds that out by itself.
                Err(_) => {}
            }
        }
        0
    }

    fn receive(&mut self, socket: &UdpSocket) -> nix::Result<usize> {
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let messages = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &mut slices,
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        let places = messages.zip(&mut self.lengths);
        Ok(places.map(|(message, length)| *length = message.bytes).count())
    }
}

/// Datagrams that wait for one system call, on their way out.
struct Outbox {
    headers: MultiHeaders<()>,
    buffers: Box<[[u8; DATAGRAM_BYTES]; BATCH]>,
    lengths: [usize; BATCH],
    count: usize,
}

impl Outbox {
    fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: Box::new([[0; DATAGRAM_BYTES]; BATCH]),
            lengths: [0; BATCH],
            count: 0,
        }
    }

    /// The next buffer holds a datagram of this length.
    fn filled(&mut self, length: usize, socket: &UdpSocket) {
        self.lengths[self.count] = length;
        self.count += 1;
        if self.count == BATCH {
            self.empty(socket);
        }
    }

    /// Sends all. A socket that stays full for a moment has the rest dropped, as any network may.
    fn empty(&mut self, socket: &UdpSocket) {
        let mut sent = 0;
        let mut is_patient = true;
        while sent < self.count {
            match self.send(sent, socket) {
                Ok(count) => sent += count.max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if is_patient => {
                    is_patient = false;
                    let mut one = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut one, PATIENCE_MS);
                }
                Err(Errno::EAGAIN) => break,
                // This one cannot be sent (an earlier one was refused, or there is no route); QUIC recovers.
                Err(_) => sent += 1,
            }
        }
        self.count = 0;
    }

    /// One system call for what stands from `first` on. Gives how many the kernel took.
    fn send(&mut self, first: usize, socket: &UdpSocket) -> nix::Result<usize> {
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|at| [IoSlice::new(&self.buffers[at][..self.lengths[at]])]);
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &slices[first..self.count],
            [None; BATCH],
            [],
            MsgFlags::MSG_DONTWAIT,
        )?;
        Ok(sent.count())
    }
}
