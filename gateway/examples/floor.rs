//! The floor that the gateway's CPU per shake is held against: a UDP echo that opens and seals each datagram with
//! AES-128-GCM under a key of its session, in batches of 64, and knows nothing of QUIC. `cargo xtask bench cost` runs it.
//!
//! ```text
//! datagram  [ session u32 | number u64 | 32 bytes sealed, 16 bytes tag ]     big endian, 60 bytes each way
//! ```

use clap::{Args, Parser, Subcommand};
use host::console;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::hint::black_box;
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

const BATCH: usize = 64;
const HEADER_BYTES: usize = 12;
const PAYLOAD_BYTES: usize = 32;
const DATAGRAM_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES + 16;
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Direction, so that no nonce is used twice under one key.
const REQUEST: u8 = 0;
const REPLY: u8 = 1;

/// A UDP echo with AES-128-GCM: the least that a gateway could spend on a shake.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers until it is killed; prints its address first
    Serve {
        #[arg(long, default_value = "127.0.0.1:0")]
        address: SocketAddrV4,
        /// Sessions whose keys it holds
        #[arg(long)]
        sessions: u32,
    },
    /// Sends at an even rate, and prints how many were sent and answered
    Load(Load),
}

#[derive(Args)]
struct Load {
    #[arg(long)]
    target: SocketAddrV4,
    #[arg(long)]
    sessions: u32,
    #[arg(long)]
    per_second: u32,
    #[arg(long)]
    seconds: u32,
    /// Pause between two looks at what is due; 0 sends each datagram at its moment
    #[arg(long, default_value_t = 0)]
    tick_us: u64,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve { address, sessions } => serve(address, sessions),
        Command::Load(load) => offer(&load),
    }
}

type Keys = Vec<[u8; 16]>;

/// The keys of all sessions, apart from each other in memory as a server's are.
fn keys(sessions: u32) -> Keys {
    let key = |session: u32| {
        let mut key = *b"floor of a shake";
        key[..4].copy_from_slice(&session.to_be_bytes());
        key
    };
    (0..sessions).map(key).collect()
}

fn nonce(direction: u8, number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[0] = direction;
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The session's key, expanded for one use, as a gateway with a million sessions does.
fn key(keys: &Keys, session: u32) -> Option<LessSafeKey> {
    let raw = keys.get(session as usize)?;
    UnboundKey::new(&AES_128_GCM, raw).ok().map(LessSafeKey::new)
}

fn header(datagram: &[u8]) -> Option<(u32, u64)> {
    let session = datagram.first_chunk()?;
    let number = datagram.get(4..HEADER_BYTES)?.first_chunk()?;
    Some((u32::from_be_bytes(*session), u64::from_be_bytes(*number)))
}

/// Opens a request in place and writes the reply's datagram.
fn answer(keys: &Keys, request: &mut [u8], reply: &mut [u8; DATAGRAM_BYTES]) -> Option<()> {
    let (session, number) = header(request)?;
    let key = key(keys, session)?;
    let opened = key
        .open_in_place(nonce(REQUEST, number), Aad::empty(), &mut request[HEADER_BYTES..])
        .ok()?;
    reply[HEADER_BYTES..HEADER_BYTES + PAYLOAD_BYTES].copy_from_slice(opened.first_chunk::<PAYLOAD_BYTES>()?);
    reply[..HEADER_BYTES].copy_from_slice(&request[..HEADER_BYTES]);
    seal(&key, REPLY, number, reply)
}

fn seal(key: &LessSafeKey, direction: u8, number: u64, datagram: &mut [u8; DATAGRAM_BYTES]) -> Option<()> {
    let (body, tag) = datagram[HEADER_BYTES..].split_at_mut(PAYLOAD_BYTES);
    let sealed = key
        .seal_in_place_separate_tag(nonce(direction, number), Aad::empty(), body)
        .ok()?;
    tag.copy_from_slice(sealed.as_ref());
    Some(())
}

/// Many datagrams to a system call.
struct Batches {
    received: Vec<[u8; DATAGRAM_BYTES]>,
    receive_headers: MultiHeaders<SockaddrIn>,
    send_headers: MultiHeaders<SockaddrIn>,
}

impl Batches {
    fn new() -> Self {
        Self {
            received: vec![[0; DATAGRAM_BYTES]; BATCH],
            receive_headers: MultiHeaders::preallocate(BATCH, None),
            send_headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Takes what is there; gives the length and sender of each.
    fn receive(&mut self, socket: &UdpSocket, from: &mut Vec<(usize, Option<SockaddrIn>)>) -> anyhow::Result<()> {
        from.clear();
        let mut slices: Vec<_> = self.received.iter_mut().map(|one| [IoSliceMut::new(one)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(
            socket.as_raw_fd(),
            &mut self.receive_headers,
            slices.iter_mut(),
            flags,
            None,
        ) {
            Ok(messages) => from.extend(messages.map(|message| (message.bytes, message.address))),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn send(&mut self, socket: &UdpSocket, datagrams: &[[u8; DATAGRAM_BYTES]], to: &[Option<SockaddrIn>]) -> usize {
        let slices: Vec<_> = datagrams.iter().map(|one| [IoSlice::new(one)]).collect();
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut self.send_headers,
            slices.iter(),
            to,
            [],
            MsgFlags::MSG_DONTWAIT,
        );
        sent.map_or(0, Iterator::count)
    }
}

fn bind(address: SocketAddrV4) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES)?;
    setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

fn wait(socket: &UdpSocket, at_most: Duration) -> anyhow::Result<()> {
    let mut descriptor = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut descriptor, PollTimeout::try_from(at_most)?)?;
    Ok(())
}

fn serve(address: SocketAddrV4, sessions: u32) -> anyhow::Result<()> {
    let keys = keys(sessions);
    let socket = bind(address)?;
    console::line(&socket.local_addr()?.to_string())?;
    let mut batches = Batches::new();
    let mut from = Vec::with_capacity(BATCH);
    let mut replies = vec![[0; DATAGRAM_BYTES]; BATCH];
    let mut to = Vec::with_capacity(BATCH);
    loop {
        wait(&socket, Duration::from_secs(1))?;
        loop {
            batches.receive(&socket, &mut from)?;
            to.clear();
            for (request, (length, sender)) in batches.received.iter_mut().zip(&from) {
                let reply = &mut replies[to.len()];
                if *length == DATAGRAM_BYTES && answer(&keys, request, reply).is_some() {
                    to.push(*sender);
                }
            }
            if !to.is_empty() {
                batches.send(&socket, &replies[..to.len()], &to);
            }
            if from.len() < BATCH {
                break;
            }
        }
    }
}

/// Sends evenly, to sessions all over the table.
fn offer(load: &Load) -> anyhow::Result<()> {
    let keys = keys(load.sessions);
    let socket = bind(SocketAddrV4::new([127, 0, 0, 1].into(), 0))?;
    let target = Some(SockaddrIn::from(load.target));
    let mut batches = Batches::new();
    let mut from = Vec::with_capacity(BATCH);
    let mut requests = vec![[0; DATAGRAM_BYTES]; BATCH];
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let began = Instant::now();
    let length = Duration::from_secs(load.seconds.into());
    while began.elapsed() < length + Duration::from_millis(500) {
        let due = (began.elapsed().min(length).as_secs_f64() * f64::from(load.per_second)) as u64;
        while sent < due {
            let count = (due - sent).min(BATCH as u64) as usize;
            for (at, request) in requests[..count].iter_mut().enumerate() {
                let number = sent + at as u64;
                // A large odd step visits the sessions in an order that no cache foresees.
                let session = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % load.sessions;
                request[..4].copy_from_slice(&session.to_be_bytes());
                request[4..HEADER_BYTES].copy_from_slice(&number.to_be_bytes());
                let key = key(&keys, session).expect("the session is one of the table");
                seal(&key, REQUEST, number, request).expect("the body has room");
            }
            let taken = batches.send(&socket, &requests[..count], &vec![target; count]);
            sent += taken as u64;
            if taken == 0 {
                break;
            }
        }
        loop {
            batches.receive(&socket, &mut from)?;
            answered += black_box(&batches.received)
                .iter()
                .zip(&from)
                .filter(|(_, (length, _))| *length == DATAGRAM_BYTES)
                .count() as u64;
            if from.len() < BATCH {
                break;
            }
        }
        wait(&socket, Duration::ZERO)?;
        if load.tick_us > 0 {
            std::thread::sleep(Duration::from_micros(load.tick_us));
        }
    }
    console::line(&format!("{{\"sent\": {sent}, \"answered\": {answered}}}"))?;
    Ok(())
}
