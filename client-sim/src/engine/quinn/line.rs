//! The line of one phone: a UDP socket of its own behind a simulated network, as `quinn` wants its sockets.
//!
//! ```text
//! connection ── try_send ──▶ network ── poll_recv, at its time ──▶ socket
//! connection ◀── poll_recv, at its time ── network ◀── poll_recv ── socket
//! ```
//! The endpoint's task drives both ways: it polls for datagrams, and is woken when the next one has crossed. A rebinding NAT
//! is another socket, of which the connection learns nothing.

use super::super::EngineError;
use super::super::sockets::local_address;
use crate::network::{Counts, Network, Networks, Way};
use crate::schedule::Micros;
use ::quinn::udp::{RecvMeta, Transmit};
use ::quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::time::Sleep;

/// Datagrams of one phone under way at one time.
const UNDER_WAY_MAX: usize = 256;
/// Datagrams read from the socket before other lines get their turn.
const BATCH: usize = 32;

#[derive(Debug)]
pub(super) struct Line {
    phone: u32,
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    socket: UdpSocket,
    /// Addresses that the phone had before.
    binding: u32,
    /// A datagram on its way is noted with the gateway's address.
    network: Network<SocketAddr>,
    timer: Pin<Box<Sleep>>,
    /// When the timer is set for.
    wakes_at: Option<Micros>,
    /// Of the endpoint's task.
    waker: Option<Waker>,
}

impl Line {
    /// Opens the line of a phone that can reach the target. Times count from `origin`.
    pub(super) fn open(
        phone: u32,
        target: SocketAddr,
        networks: &Arc<Networks>,
        origin: Instant,
    ) -> Result<Self, EngineError> {
        let socket = bind(target.ip()).map_err(|source| EngineError::Socket { target, source })?;
        let state = State {
            socket,
            binding: 0,
            network: Network::new(networks.clone(), phone..phone + 1, UNDER_WAY_MAX),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            wakes_at: None,
            waker: None,
        };
        Ok(Self {
            phone,
            origin,
            state: Mutex::new(state),
        })
    }

    /// Whether the phone's path has not been dead since then.
    pub fn has_lived_since(&self, now: Micros, since: Micros) -> bool {
        self.lock().network.has_lived_since(now, self.phone, since)
    }

    /// What became of the datagrams, by network.
    pub(super) fn counts(&self) -> Vec<Counts> {
        self.lock().network.counts().to_vec()
    }

    fn now(&self) -> Micros {
        Micros(self.origin.elapsed().as_micros() as u64)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics under this lock: it queues and calls the kernel")
    }
}

impl State {
    /// Gives the phone its next address when its NAT does. While no socket can be had, it keeps the old one.
    fn rebind(&mut self, now: Micros, phone: u32) {
        let binding = self.network.binding(now, phone);
        if binding == self.binding {
            return;
        }
        if let Ok(next) = self.socket.local_addr().and_then(|address| bind(address.ip())) {
            self.socket = next;
            self.binding = binding;
        }
    }

    /// Lets what waits at the socket enter the network. Ready when there may be more.
    fn receive(&mut self, now: Micros, phone: u32, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut taken = 0;
        while taken < BATCH {
            ready!(self.socket.poll_recv_ready(cx))?;
            match self.socket.try_recv_from(buffer) {
                Ok((length, from)) => {
                    self.network.send(now, phone, Way::In, &buffer[..length], from);
                    taken += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Such as a port that is closed: the datagram it answers is lost, and QUIC finds that out by itself.
                Err(_) => taken += 1,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what has crossed the network on the way out, and gives what has on the way in, as far as there is room.
    fn cross(&mut self, now: Micros, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut count = 0;
        let room = buffers.len().min(metas.len());
        while count < room
            && let Some(arrival) = self.network.take(now)
        {
            let datagram = &arrival.datagram;
            if arrival.way == Way::Out {
                let _ = self.socket.try_send_to(datagram, arrival.note); // a full socket loses it, as any network may
                continue;
            }
            let length = datagram.len().min(buffers[count].len());
            buffers[count][..length].copy_from_slice(&datagram[..length]);
            metas[count] = RecvMeta {
                addr: arrival.note,
                len: length,
                stride: length,
                ecn: None,
                dst_ip: None,
            };
            count += 1;
        }
        count
    }

    /// Has the task woken when the next datagram has crossed.
    fn wait(&mut self, origin: Instant, cx: &mut Context<'_>) {
        self.wakes_at = self.network.next_at();
        if let Some(at) = self.wakes_at {
            self.timer.as_mut().reset((origin + Duration::from(at)).into());
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl AsyncUdpSocket for Line {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = self.now();
        let mut state = self.lock();
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(segment) {
            let gateway = transmit.destination;
            state.network.send(now, self.phone, Way::Out, datagram, gateway);
        }
        let next_at = state.network.next_at();
        let is_earlier = next_at.is_some_and(|next| state.wakes_at.is_none_or(|set| next < set));
        if let Some(waker) = state.waker.as_ref().filter(|_| is_earlier) {
            waker.wake_by_ref();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        state.waker = Some(cx.waker().clone());
        let now = self.now();
        state.rebind(now, self.phone);
        if let Poll::Ready(more) = state.receive(now, self.phone, &mut buffers[0], cx) {
            more?;
            cx.waker().wake_by_ref();
        }
        match state.cross(now, buffers, metas) {
            0 => {
                state.wait(self.origin, cx);
                Poll::Pending
            }
            count => Poll::Ready(Ok(count)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.lock().socket.local_addr()
    }
}

/// What does not fit into the network is lost, so nobody waits to send.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A socket of the kernel's own buffer size: it holds a hundred datagrams, and one phone has no more under way.
fn bind(peer: IpAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(SocketAddr::new(local_address(peer), 0))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
