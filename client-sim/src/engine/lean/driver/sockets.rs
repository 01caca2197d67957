//! The UDP sockets that the sessions share.

use super::super::super::EngineError;
use super::super::{Connection, DATAGRAM_BYTES, RECEIVE_BYTES_MAX};
use crate::schedule::Micros;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

/// Kernel buffer of each socket, each way. A tenth of a second of 20,000 replies fits into one.
const BUFFER_BYTES: usize = 4 << 20;
/// How long a full socket is waited for before a datagram is given up.
const PATIENCE_MS: u8 = 5;

pub(super) struct Sockets {
    /// In groups of the same size, one for each gateway that sessions were led to.
    sockets: Vec<UdpSocket>,
    group_size: usize,
    /// The gateway of each group, by its place among those known.
    groups: Vec<usize>,
    /// The group of each seat; empty as long as there is only one.
    group_of: Vec<u8>,
}

impl Sockets {
    /// Opens and connects the sockets. A kernel that grants smaller buffers is remarked upon.
    pub(super) fn open(count: u32, target: SocketAddr, remarks: &mut Vec<String>) -> Result<Self, EngineError> {
        Ok(Self {
            sockets: Self::open_group(count, target, remarks)?,
            group_size: count as usize,
            groups: vec![0],
            group_of: Vec::new(),
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
                let more = Self::open_group(self.group_size as u32, target, &mut Vec::new())?;
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

    /// Opens and connects sockets. A kernel that grants smaller buffers is remarked upon.
    fn open_group(count: u32, target: SocketAddr, remarks: &mut Vec<String>) -> Result<Vec<UdpSocket>, EngineError> {
        let open = || {
            let socket = UdpSocket::bind(SocketAddr::new(local_address(target.ip()), 0))?;
            socket.connect(target)?;
            socket.set_nonblocking(true)?;
            // Refusals show in what is read back: the kernel cuts silently, and doubles the value: socket(7).
            let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES);
            let _ = setsockopt(&socket, sockopt::SndBuf, &BUFFER_BYTES);
            let granted = getsockopt(&socket, sockopt::RcvBuf).unwrap_or(0) / 2;
            Ok((socket, granted))
        };
        let mut sockets = Vec::new();
        for _ in 0..count {
            let (socket, granted) = open().map_err(|source| EngineError::Socket { target, source })?;
            if granted < BUFFER_BYTES && remarks.is_empty() {
                remarks.push(format!(
                    "the system grants socket buffers of {granted} bytes instead of {BUFFER_BYTES}; raise net.core.rmem_max, or replies may be lost here"
                ));
            }
            sockets.push(socket);
        }
        Ok(sockets)
    }

    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// The next datagram of a socket, or `None` when there is none now.
    pub(super) fn receive(&self, socket: usize, buffer: &mut [u8; RECEIVE_BYTES_MAX]) -> Option<usize> {
        loop {
            match self.sockets[socket].recv(buffer) {
                Ok(length) => return Some(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // Such as a port that is closed: the datagram it answers is lost, and QUIC finds that out by itself.
                Err(_) => {}
            }
        }
    }

    /// Sends all that a connection has to say, over the seat's socket.
    pub(super) fn flush(&self, index: u32, connection: &mut Connection, now: Micros) {
        let socket = &self.sockets[self.of(index)];
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Some(length) = connection.poll_transmit(now, &mut buffer) {
            if let Err(error) = socket.send(&buffer[..length])
                && error.kind() == ErrorKind::WouldBlock
            {
                let mut one = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut one, PATIENCE_MS);
                let _ = socket.send(&buffer[..length]); // or it is lost
            }
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

/// The address to send from: a loopback target is reached from the loopback, any other from wherever the route says.
fn local_address(target: IpAddr) -> IpAddr {
    match target {
        _ if target.is_loopback() => target,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
