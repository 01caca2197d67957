//! A phone, and what it says.

use super::common::Client;
use super::scene::{Order, PhoneState};
use super::town::Town;
use bytes::{Bytes, BytesMut};
use lean_quic::CloseReason;
use prost::Message as _;
use shake_proto::code::Code;
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::request::capability;
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind};
use shake_rules::keys::KeyRing;
use shake_rules::ticket::{Ticket, TicketKeys};
use shake_rules::{EventId, LedgerId, PacketId, SponsorId, UnixMillis, UserId};
use std::cell::RefMut;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

pub struct Phone {
    pub(super) town: Town,
    pub(super) number: usize,
}

impl Phone {
    fn state(&self) -> RefMut<'_, PhoneState> {
        RefMut::map(self.town.desk.borrow_mut(), |desk| desk.phone(self.number))
    }

    /// Waits for something that is heard, while the connection is open.
    async fn heard<T>(&self, mut find: impl FnMut(&mut PhoneState) -> Option<T>) -> T {
        poll_fn(|_| {
            let mut state = self.state();
            match (find(&mut state), &state.closed) {
                (Some(found), _) => Poll::Ready(found),
                (None, None) => Poll::Pending,
                (None, Some((reason, _))) => panic!("phone {} was closed: {reason}", self.number),
            }
        })
        .await
    }

    pub(super) async fn connected(&self) -> Result<(), CloseReason> {
        poll_fn(|_| {
            let state = self.state();
            match &state.closed {
                Some((reason, _)) => Poll::Ready(Err(reason.clone())),
                None if state.is_connected => Poll::Ready(Ok(())),
                None => Poll::Pending,
            }
        })
        .await
    }

    pub fn close(&self) {
        self.town.desk.borrow_mut().order(self.number, Order::Close);
    }

    /// The code that the gateway closed the connection with, if it has.
    pub fn closed_with(&self) -> Option<Code> {
        match &self.state().closed {
            None => None,
            Some((CloseReason::Application(number), _)) => Code::from_number(*number),
            Some((other, _)) => panic!("{other}"),
        }
    }

    /// Waits until the gateway closes it. Gives the code, and when that was.
    pub async fn closed(&self) -> (Code, Duration) {
        let closed = poll_fn(|_| self.state().closed.clone().map_or(Poll::Pending, Poll::Ready)).await;
        match closed {
            (CloseReason::Application(number), at) => (Code::from_number(number).expect("a code"), at.into()),
            (other, _) => panic!("{other}"),
        }
    }

    /// Begins a request. Gives the number of the answer.
    pub fn ask(&self, kind: Kind) -> u64 {
        let mut bytes = BytesMut::new();
        frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
        self.town.desk.borrow_mut().ask(self.number, &bytes)
    }

    /// Waits for the answer of this number.
    pub async fn answer(&self, number: u64) -> Result<Reply, Code> {
        let reply = self.answer_bytes(number).await?;
        let reply = frame::decode_stream::<v1::Reply>(reply, REPLY_BYTES_MAX).expect("a Reply");
        Ok(reply.kind.expect("a kind"))
    }

    async fn answer_bytes(&self, number: u64) -> Result<Bytes, Code> {
        let answer = self.heard(|state| state.answers.remove(&number)).await;
        answer
            .map(Bytes::from)
            .map_err(|code| Code::from_number(code).expect("a code"))
    }

    pub async fn request(&self, kind: Kind) -> Result<Reply, Code> {
        self.answer(self.ask(kind)).await
    }

    /// Sends these bytes on a stream of its own. Gives what comes back, or the code that the stream was reset with.
    pub async fn exchange(&self, bytes: &[u8]) -> Result<Bytes, Code> {
        let number = self.town.desk.borrow_mut().ask(self.number, bytes);
        self.answer_bytes(number).await
    }

    pub async fn hello(&self, token: Bytes) -> Result<v1::HelloReply, Code> {
        let hello = v1::Hello {
            token,
            ..Default::default()
        };
        self.hello_with(hello).await
    }

    /// A Hello that wants notices.
    pub async fn hello_and_listen(&self, token: Bytes) -> Result<v1::HelloReply, Code> {
        let hello = v1::Hello {
            token,
            capabilities: capability::NOTICES,
            ..Default::default()
        };
        self.hello_with(hello).await
    }

    pub async fn hello_with(&self, hello: v1::Hello) -> Result<v1::HelloReply, Code> {
        match self.request(Kind::Hello(hello)).await? {
            Reply::Hello(reply) => Ok(reply),
            other => panic!("Hello was answered by {other:?}"),
        }
    }

    /// A shake on a stream.
    pub async fn shake(&self, sequence: u32) -> v1::ShakeReply {
        shaken(self.request(Kind::Shake(v1::Shake { sequence })).await)
    }

    /// Whether a shake is served.
    pub async fn is_served(&self) -> bool {
        self.shake(9).await.slow_down.is_none()
    }

    /// Shakes until it wins.
    pub async fn win(&self) -> v1::RedPacket {
        loop {
            if let Some(packet) = self.shake(1).await.red_packet {
                return packet;
            }
            self.town.sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn send(&self, datagram: &[u8]) {
        let order = Order::Datagram(datagram.to_vec());
        self.town.desk.borrow_mut().order(self.number, order);
    }

    /// A shake in a datagram. Its answer is [`Self::shaken`].
    pub fn send_shake(&self, sequence: u32) {
        self.send(&v1::Shake { sequence }.encode_to_vec());
    }

    pub async fn shake_by_datagram(&self, sequence: u32) -> v1::ShakeReply {
        self.send_shake(sequence);
        let bytes = self.heard(|state| state.datagrams.pop_front()).await;
        decode_shaken(&bytes)
    }

    /// The next answer to a shake by datagram that has come.
    pub fn shaken(&self) -> Option<v1::ShakeReply> {
        self.state().datagrams.pop_front().map(|bytes| decode_shaken(&bytes))
    }

    pub async fn claim(&self, ticket: Bytes) -> v1::claim_reply::Result {
        claimed(self.request(claim_of(ticket)).await)
    }

    /// The next notice.
    pub async fn notice(&self) -> v1::notice::Kind {
        let bytes = self.heard(|state| state.notices.pop_front()).await;
        let notice = frame::decode_stream::<v1::Notice>(bytes.into(), REPLY_BYTES_MAX).expect("a Notice");
        notice.kind.expect("a kind")
    }
}

impl Client for Phone {
    async fn reply_to(&self, kind: Kind) -> Reply {
        self.request(kind).await.expect("a reply")
    }

    async fn win(&self) -> v1::RedPacket {
        Self::win(self).await
    }
}

fn decode_shaken(bytes: &[u8]) -> v1::ShakeReply {
    v1::ShakeReply::decode(bytes).expect("a ShakeReply")
}

/// What a shake on a stream was answered by.
pub fn shaken(answer: Result<Reply, Code>) -> v1::ShakeReply {
    match answer {
        Ok(Reply::Shake(reply)) => reply,
        other => panic!("a shake was answered by {other:?}"),
    }
}

pub fn claim_of(ticket: Bytes) -> Kind {
    let cookie = Bytes::new();
    Kind::Claim(v1::Claim { ticket, cookie })
}

/// What a claim was answered by.
pub fn claimed(answer: Result<Reply, Code>) -> v1::claim_reply::Result {
    match answer {
        Ok(Reply::Claim(reply)) => reply.result.expect("a result"),
        other => panic!("a claim was answered by {other:?}"),
    }
}

/// A ticket that these keys make for this ledger.
pub fn ticket(ring: &KeyRing, ledger: &LedgerId, event: u32, user: u64) -> Bytes {
    let ticket = Ticket {
        event: EventId(event),
        packet: PacketId(5),
        user: UserId(user),
        sponsor: SponsorId(1),
        stage: 0,
        issued_at: UnixMillis(1),
        // Whether its time is over is the agent's to say.
        expires_at: UnixMillis(2),
    };
    let mut sealed = Vec::new();
    TicketKeys::new(ring).seal(ledger, &ticket, [3; 12], &mut sealed);
    sealed.into()
}
