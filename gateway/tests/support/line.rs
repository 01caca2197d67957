//! A phone's UDP socket whose datagrams fare as a test says.

use super::{PATIENCE, Phone, Stand};
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToGateway,
    ToPhone,
}

/// What becomes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passes,
    Lost,
    /// Of those to the gateway: the next overtakes it.
    Overtaken,
}

type Judge = Box<dyn FnMut(Way, &[u8]) -> Fate + Send>;

struct State {
    judge: Judge,
    overtaken: Option<(SocketAddr, Vec<u8>)>,
    /// How the last to the gateway was to be marked.
    mark: Option<EcnCodepoint>,
}

pub struct Line {
    inner: Arc<dyn AsyncUdpSocket>,
    state: Mutex<State>,
}

/// Whether the first packet of a datagram has a long header (RFC 9000, section 17.2).
pub fn is_long(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 != 0)
}

impl Line {
    /// To be made within a runtime of tokio.
    pub fn new(judge: impl FnMut(Way, &[u8]) -> Fate + Send + 'static) -> Arc<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let inner = TokioRuntime.wrap_udp_socket(socket).expect("a socket of the runtime");
        let state = State {
            judge: Box::new(judge),
            overtaken: None,
            mark: None,
        };
        Arc::new(Self {
            inner,
            state: Mutex::new(state),
        })
    }

    /// How the phone marked the last datagram that it sent.
    pub fn mark(&self) -> Option<EcnCodepoint> {
        self.state.lock().expect("nothing panics under it").mark
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Line {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.state.lock().expect("nothing panics under it");
        state.mark = transmit.ecn;
        match (state.judge)(Way::ToGateway, transmit.contents) {
            Fate::Lost => return Ok(()),
            Fate::Overtaken => {
                state.overtaken = Some((transmit.destination, transmit.contents.to_vec()));
                return Ok(());
            }
            Fate::Passes => self.inner.try_send(transmit)?,
        }
        if let Some((destination, contents)) = state.overtaken.take() {
            self.inner.try_send(&Transmit {
                destination,
                ecn: None,
                contents: &contents,
                segment_size: None,
                src_ip: None,
            })?;
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(cx, bufs, meta))?;
        let mut state = self.state.lock().expect("nothing panics under it");
        for (buf, meta) in bufs.iter().zip(meta).take(count) {
            if (state.judge)(Way::ToPhone, &buf[..meta.len]) == Fate::Lost {
                meta.len = 0;
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }
}

impl Stand {
    /// A phone over such a line, that has not said Hello.
    pub async fn phone_over(&self, line: &Arc<Line>) -> Phone {
        let socket: Arc<dyn AsyncUdpSocket> = Arc::clone(line) as _;
        let config = quinn::EndpointConfig::default();
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime));
        let endpoint = endpoint.expect("an endpoint");
        let connecting = endpoint
            .connect_with(
                self.client_config(quinn::TransportConfig::default()),
                self.address,
                "localhost",
            )
            .expect("a good configuration");
        let connection = tokio::time::timeout(PATIENCE, connecting).await.expect("in time");
        Phone {
            endpoint,
            connection: connection.expect("a connection"),
        }
    }
}
