//! What every attack has: a target, keys to mint tokens with, an end, and a rate.

use super::{FIRST_USER, Options};
use crate::names::resolve;
use crate::run::{RunError, read_authority, read_token_key, unix_now};
use bytes::Bytes;
use rustls::RootCertStore;
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why there was no attack.
#[derive(Debug, Error)]
pub enum HostileError {
    /// A file or an address is wrong.
    #[error(transparent)]
    Setting(#[from] RunError),
    /// No socket, or no thread.
    #[error("cannot open a socket or a thread: {0}")]
    System(#[from] std::io::Error),
    /// The TLS library does not accept the configuration.
    #[error("cannot set up TLS 1.3: {0}")]
    Tls(String),
    /// Nobody answers at the target.
    #[error("no connection to {0}; is the gateway up, with certificates of the same CA?")]
    NoConnection(SocketAddr),
    /// stdout is gone.
    #[error("cannot write to stdout: {0}")]
    Output(std::io::Error),
}

/// Where an attack takes place.
pub(super) struct Stage {
    pub(super) target: SocketAddr,
    pub(super) server_name: String,
    pub(super) roots: RootCertStore,
    pub(super) rate: u32,
    pub(super) size: u32,
    pub(super) packets_per_user: u32,
    tokens: TokenKeys,
    began: Instant,
    ends: Instant,
}

impl Stage {
    pub(super) fn new(options: &Options) -> Result<Self, HostileError> {
        let roots = read_authority(&options.certs.join("ca.pem"))?;
        let target = resolve(&options.target, &options.server_name, &roots)?;
        let began = Instant::now();
        Ok(Self {
            target,
            server_name: options.server_name.clone(),
            roots,
            rate: options.rate,
            size: options.size,
            packets_per_user: options.packets_per_user,
            tokens: read_token_key(&options.certs.join("user-token.key.toml"))?,
            began,
            ends: began + Duration::from_secs(options.seconds.into()),
        })
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Until when it goes on, for asynchronous attacks.
    pub(super) fn ends(&self) -> tokio::time::Instant {
        self.ends.into()
    }

    /// A good token of the attackers' user of this number.
    pub(super) fn token(&self, number: u64) -> Bytes {
        self.token_until(number, unix_now().plus_ms(86_400_000))
    }

    pub(super) fn expired_token(&self, number: u64) -> Bytes {
        self.token_until(number, UnixMillis(1_000))
    }

    fn token_until(&self, number: u64, expires_at: UnixMillis) -> Bytes {
        let user = UserId(FIRST_USER + number);
        Bytes::copy_from_slice(&self.tokens.mint(UserToken { user, expires_at }))
    }

    /// Runs an asynchronous attack to its end on this thread.
    pub(super) fn block_on<T>(&self, attack: impl Future<Output = T>) -> Result<T, HostileError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(attack))
    }

    /// A UDP socket on an address of its own in 127.0.0.0/8 when the target is there too; else on any address.
    pub(super) fn socket(&self, number: u32) -> Result<UdpSocket, HostileError> {
        let [_, high, middle, low] = (number % 0x00ff_fffd + 2).to_be_bytes();
        let from = match self.target {
            SocketAddr::V4(target) if target.ip().is_loopback() => Ipv4Addr::new(127, high, middle, low).into(),
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(from, 0))?;
        socket.connect(self.target)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    pub(super) fn pacer(&self) -> Pacer {
        Pacer {
            per_second: self.rate,
            began: Instant::now(),
            taken: 0,
        }
    }
}

/// Spreads a rate over time.
pub(super) struct Pacer {
    per_second: u32,
    began: Instant,
    taken: u64,
}

impl Pacer {
    /// How many are due now. They count as taken; what was late is caught up with, a tenth of a second's worth at a time.
    pub(super) fn take(&mut self) -> u32 {
        let due = (self.began.elapsed().as_secs_f64() * f64::from(self.per_second)) as u64;
        let count = due
            .saturating_sub(self.taken)
            .min(u64::from(self.per_second / 10).max(1));
        self.taken += count;
        count as u32
    }

    /// Waits for at least one.
    pub(super) async fn next(&mut self) {
        while self.take() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
