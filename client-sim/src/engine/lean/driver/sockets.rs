//! The UDP sockets that the sessions share: recvmmsg(2) and sendmmsg(2), in buffers that are used again.

use super::super::super::EngineError;
use super::super::super::sockets::OwnSockets;
use super::super::{Connection, DATAGRAM_BYTES, RECEIVE_BYTES_MAX};
use crate::schedule::Micros;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams in one system call.
pub(super) const BATCH: usize = 64;
/// Refusals that are read from a socket in a row before the others get their turn.
const ERRORS_AT_ONCE: u32 = 64;
/// How long a full socket is waited for before a datagram is given up.
const PATIENCE_MS: u8 = 5;

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
    pub(super) own: OwnSockets,
}

impl Sockets {
    /// Opens and connects the sockets.
    pub(super) fn open(count: u32, target: SocketAddr) -> Result<Self, EngineError> {
        let mut own = OwnSockets::default();
        let sockets = Self::open_group(count, target, &mut own)?;
        Ok(Self {
            outboxes: sockets.iter().map(|_| Outbox::new()).collect(),
            inbox: Inbox::new(),
            sockets,
            group_size: count as usize,
            groups: vec![0],
            group_of: Vec::new(),
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

    /// The socket of a seat.
    fn of(&self, index: u32) -> usize {
        let group = self.group_of.get(index as usize).copied().unwrap_or(0);
        usize::from(group) * self.group_size + index as usize % self.group_size
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
        let socket = self.of(index);
        let outbox = &mut self.outboxes[socket];
        while let Some(length) = connection.poll_transmit(now, &mut outbox.buffers[outbox.count]) {
            outbox.lengths[outbox.count] = length;
            outbox.count += 1;
            if outbox.count == BATCH {
                outbox.empty(&self.sockets[socket]);
            }
        }
    }

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
