//! A session of the lean client that can send any frame: its handshake is honest, and what follows is the attack's.

use super::stage::HostileError;
use super::{Findings, PATIENCE, Stage};
use crate::schedule::Micros;
use bytes::Bytes;
use lean_quic::{Config, Connection, DATAGRAM_BYTES, Event, RECEIVE_BYTES_MAX, tls};
use prost::Message as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::ServerName;
use shake_proto::frame::{LENGTH_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use shake_proto::wire::v1::{self, request::Kind};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the gateway did.
pub(super) enum Seen {
    Datagram(Vec<u8>),
    Response,
    Reset(u64),
    /// Why.
    Closed(String),
}

/// Makes sessions.
pub(super) struct Sessions {
    config: Arc<Config>,
    server_name: ServerName<'static>,
    random: SystemRandom,
}

impl Sessions {
    pub(super) fn new(stage: &Stage) -> Result<Self, HostileError> {
        let fail = |error: String| HostileError::Tls(error);
        let config = Config {
            tls: tls(stage.roots.clone(), shake_proto::ALPN).map_err(|error| fail(error.to_string()))?,
            idle_timeout: Micros::from_s(60),
            keep_alive: Micros::from_s(5),
            ack_delay_ms_max: 25,
            request_bytes_max: (REQUEST_BYTES_MAX + LENGTH_BYTES_MAX) as u32,
            response_bytes_max: (REPLY_BYTES_MAX + LENGTH_BYTES_MAX) as u32,
            notices_max: 4,
        };
        let server_name = ServerName::try_from(stage.server_name.clone()).map_err(|error| fail(error.to_string()))?;
        Ok(Self {
            config: Arc::new(config),
            server_name,
            random: SystemRandom::new(),
        })
    }

    pub(super) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).expect("the system has random bytes");
        bytes
    }

    /// A session that has said Hello, or the name of what came in the way. `recording` gets every datagram sent.
    pub(super) fn user(
        &self,
        socket: UdpSocket,
        token: Bytes,
        recording: Option<&mut Vec<Vec<u8>>>,
    ) -> Result<Raw, String> {
        let mut raw = self.connect(socket, recording.is_some())?;
        raw.say_hello(token)?;
        raw.wait(|_, seen| seen.iter().any(|seen| matches!(seen, Seen::Response)))?;
        if let (Some(out), Some(recorded)) = (recording, raw.recorded.take()) {
            *out = recorded;
        }
        Ok(raw)
    }

    /// A session that has completed its handshake and said nothing.
    pub(super) fn stranger(&self, socket: UdpSocket) -> Result<Raw, String> {
        self.connect(socket, false)
    }

    fn connect(&self, socket: UdpSocket, is_recorded: bool) -> Result<Raw, String> {
        let connection = Connection::new(
            self.config.clone(),
            Micros::ZERO,
            self.server_name.clone(),
            self.random(),
            self.random(),
        );
        let mut raw = Raw {
            connection: connection.map_err(|error| error.to_string())?,
            socket,
            origin: Instant::now(),
            recorded: is_recorded.then(Vec::new),
            acts: 0,
            received: 0,
            sent_bytes: 0,
            received_bytes: 0,
        };
        raw.wait(|raw, _| raw.connection.is_open())?;
        Ok(raw)
    }

    /// So many sessions of as many users, each from an address of its own. Those that fail are left out.
    pub(super) fn users(&self, stage: &Stage, count: u32) -> Result<Vec<Raw>, HostileError> {
        let mut users = Vec::new();
        for number in 0..count {
            users.extend(self.user(stage.socket(number)?, stage.token(number.into()), None).ok());
        }
        if users.is_empty() {
            return Err(HostileError::NoConnection(stage.target));
        }
        Ok(users)
    }
}

/// A session.
pub(super) struct Raw {
    pub(super) connection: Connection,
    pub(super) socket: UdpSocket,
    origin: Instant,
    recorded: Option<Vec<Vec<u8>>>,
    /// What [`assault`] had this session do so far.
    pub(super) acts: u64,
    /// Datagrams that came, and their bytes.
    pub(super) received: u64,
    pub(super) received_bytes: u64,
    /// Bytes that went out.
    pub(super) sent_bytes: u64,
}

impl Raw {
    fn now(&self) -> Micros {
        Micros(self.origin.elapsed().as_micros() as u64)
    }

    /// Takes what has come, works, sends what is to go. Never waits.
    pub(super) fn turn(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut sink = |event: Event<'_>| match event {
            Event::Datagram(bytes) => seen.push(Seen::Datagram(bytes.to_vec())),
            Event::Response { .. } | Event::Oversized { .. } => seen.push(Seen::Response),
            Event::StreamReset { code, .. } => seen.push(Seen::Reset(code)),
            Event::Closed(reason) => seen.push(Seen::Closed(reason.to_string())),
            _ => {}
        };
        let mut buffer = [0; RECEIVE_BYTES_MAX];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.received += 1;
            self.received_bytes += length as u64;
            let now = Micros(self.origin.elapsed().as_micros() as u64);
            self.connection.handle_datagram(now, &mut buffer[..length], &mut sink);
        }
        let now = self.now();
        if self.connection.next_timeout().is_some_and(|due| due <= now) {
            self.connection.handle_timeout(now, &mut sink);
        }
        self.transmit();
        seen
    }

    /// Sends what is to go, and reads nothing.
    pub(super) fn transmit(&mut self) {
        let now = self.now();
        let mut datagram = [0; DATAGRAM_BYTES];
        while let Some(length) = self.connection.poll_transmit(now, &mut datagram) {
            if let Some(recorded) = &mut self.recorded {
                recorded.push(datagram[..length].to_vec());
            }
            self.send(&datagram[..length]);
        }
    }

    /// Hello on a stream, with this token; nobody waits for the answer.
    pub(super) fn say_hello(&mut self, token: Bytes) -> Result<(), String> {
        let hello = v1::Hello {
            token,
            ..Default::default()
        };
        let opened = self.connection.open_request(&super::phone::framed(Kind::Hello(hello)));
        opened.map_err(|error| error.to_string())?;
        self.transmit();
        Ok(())
    }

    /// A packet with these frames. Says whether it went out.
    pub(super) fn send_frames(&mut self, frames: &[u8]) -> bool {
        let mut datagram = [0; DATAGRAM_BYTES];
        let sealed = self.connection.seal_frames(frames, &mut datagram);
        sealed.is_some_and(|length| self.send(&datagram[..length]))
    }

    /// A packet with these frames, not sent.
    pub(super) fn sealed(&mut self, frames: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = [0; DATAGRAM_BYTES];
        let length = self.connection.seal_frames(frames, &mut datagram)?;
        Some(datagram[..length].to_vec())
    }

    /// A packet with one shake.
    pub(super) fn sealed_shake(&mut self, sequence: u32) -> Option<Vec<u8>> {
        let shake = v1::Shake { sequence }.encode_to_vec();
        self.sealed(&datagram_frame(&shake))
    }

    pub(super) fn send(&mut self, datagram: &[u8]) -> bool {
        let is_sent = self.socket.send(datagram).is_ok();
        self.sent_bytes += if is_sent { datagram.len() as u64 } else { 0 };
        is_sent
    }

    fn wait(&mut self, until: impl Fn(&Self, &[Seen]) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.turn();
            if let Some(Seen::Closed(why)) = seen.iter().find(|seen| matches!(seen, Seen::Closed(_))) {
                return Err(why.clone());
            }
            if let Some(Seen::Reset(code)) = seen.iter().find(|seen| matches!(seen, Seen::Reset(_))) {
                return Err(crate::tally::code_name(*code));
            }
            if until(self, &seen) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err("no_answer".into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Lets sessions of `stage.size` users send what `act` has them send, in turn and at the stage's rate, until the stage is
/// over. `act` gets a session and the number of the act, and says whether a packet went out. A session that the gateway
/// closes is counted with its reason and replaced.
pub(super) fn assault(
    stage: &Stage,
    findings: &mut Findings,
    mut act: impl FnMut(&mut Raw, u64) -> bool,
) -> Result<(), HostileError> {
    let sessions = Sessions::new(stage)?;
    let mut users = sessions.users(stage, stage.size)?;
    findings.connections += users.len() as u64;
    let (mut pacer, mut number) = (stage.pacer(), 0_u64);
    while !stage.is_over() {
        for _ in 0..pacer.take() {
            let index = (number % users.len() as u64) as usize;
            findings.sent += u64::from(act(&mut users[index], number));
            users[index].acts += 1;
            number += 1;
        }
        for (index, raw) in users.iter_mut().enumerate() {
            for seen in raw.turn() {
                match seen {
                    Seen::Datagram(_) => findings.answer("datagram"),
                    Seen::Response => findings.answer("response"),
                    Seen::Reset(code) => findings.answer(crate::tally::code_name(code)),
                    Seen::Closed(why) => findings.answer(why),
                }
            }
            if !raw.connection.is_open()
                && let Ok(fresh) = sessions.user(stage.socket(index as u32)?, stage.token(index as u64), None)
            {
                findings.connections += 1;
                *raw = fresh;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A DATAGRAM frame with its length (RFC 9221, section 4).
pub(super) fn datagram_frame(payload: &[u8]) -> Vec<u8> {
    let mut frames = Frames::default();
    frames.byte(0x31).varint(payload.len() as u64).bytes(payload);
    frames.0
}

/// Frames being written (RFC 9000, section 19).
#[derive(Default)]
pub(super) struct Frames(pub(super) Vec<u8>);

impl Frames {
    pub(super) fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A variable-length integer (RFC 9000, section 16); the value is below 2^62.
    pub(super) fn varint(&mut self, value: u64) -> &mut Self {
        match value {
            0..=0x3f => self.byte(value as u8),
            0x40..=0x3fff => self.bytes(&(value as u16 | 0x4000).to_be_bytes()),
            0x4000..=0x3fff_ffff => self.bytes(&(value as u32 | 0x8000_0000).to_be_bytes()),
            _ => self.bytes(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
        }
    }
}
