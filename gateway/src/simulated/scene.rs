//! The script of a simulated world: what a test does goes on whenever something happened that it may wait for, phones carry
//! out what it wants of them, and the agent looks at its rings.

use super::agent::Agent;
use lean_quic::{CloseReason, Event, Micros, Refused, StreamId};
use quic_shard::sim::{Client, Script};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

/// What a phone is to do.
#[derive(Debug)]
pub enum Order {
    /// To ask this on a stream of its own. The number names the answer.
    Ask(u64, Vec<u8>),
    Datagram(Vec<u8>),
    Close,
}

/// What became of a request: a reply, or the code that its stream was reset with.
pub type Answer = Result<Vec<u8>, u64>;

/// A phone: what it is to do, and what it heard.
#[derive(Default)]
pub struct PhoneState {
    orders: VecDeque<Order>,
    asked: HashMap<StreamId, u64>,
    pub is_connected: bool,
    pub answers: HashMap<u64, Answer>,
    pub datagrams: VecDeque<Vec<u8>>,
    pub notices: VecDeque<Vec<u8>>,
    pub closed: Option<(CloseReason, Micros)>,
}

impl PhoneState {
    /// Does what is to be done. What cannot be yet is tried again when something was heard.
    fn carry_out(&mut self, it: &mut Client, now: Micros) {
        while let Some(order) = self.orders.pop_front() {
            match &order {
                Order::Ask(number, bytes) => match it.connection.open_request(bytes) {
                    Ok(stream) => {
                        self.asked.insert(stream, *number);
                    }
                    Err(Refused::NotConnected | Refused::StreamLimit) => return self.orders.push_front(order),
                    Err(refused) => panic!("a request: {refused}"),
                },
                Order::Datagram(bytes) => it.connection.send_datagram(bytes).expect("an open connection"),
                Order::Close => it.connection.close(now, 0, &mut |_| ()),
            }
        }
    }

    fn hear(&mut self, event: Event<'_>, now: Micros) {
        match event {
            Event::Connected => self.is_connected = true,
            Event::Datagram(bytes) => self.datagrams.push_back(bytes.to_vec()),
            Event::Response { stream, bytes } => self.is_answered(stream, Ok(bytes)),
            Event::StreamReset { stream, code } => self.is_answered(stream, Err(code)),
            Event::Notice(bytes) => self.notices.push_back(bytes),
            Event::Closed(reason) => self.closed = Some((reason, now)),
            Event::Oversized { .. } | Event::NoticeLost => panic!("{event:?}"),
            Event::StreamsAvailable | Event::ResetToken(_) => {}
        }
    }

    fn is_answered(&mut self, stream: StreamId, answer: Answer) {
        let number = self.asked.remove(&stream).expect("it was asked");
        self.answers.insert(number, answer);
    }
}

/// What a test and its phones have in common.
#[derive(Default)]
pub struct Desk {
    pub now: Micros,
    /// When the test goes on though nothing happens.
    look_at: Micros,
    has_news: bool,
    phones: BTreeMap<usize, PhoneState>,
    urged: Vec<usize>,
    numbers: u64,
}

impl Desk {
    /// The next phone that begins, in the network of this number; each has 256 addresses.
    pub fn begin(&mut self, network: usize) -> usize {
        let first = network * 256;
        let phone = (first..first + 256).find(|phone| !self.phones.contains_key(phone));
        let phone = phone.expect("the network has room");
        self.phones.insert(phone, PhoneState::default());
        self.urged.push(phone);
        phone
    }

    pub fn phone(&mut self, phone: usize) -> &mut PhoneState {
        self.phones.get_mut(&phone).expect("it has begun")
    }

    pub fn order(&mut self, phone: usize, order: Order) {
        self.phone(phone).orders.push_back(order);
        self.urged.push(phone);
    }

    /// Asks on a stream. Gives the number of the answer.
    pub fn ask(&mut self, phone: usize, bytes: &[u8]) -> u64 {
        self.numbers += 1;
        self.order(phone, Order::Ask(self.numbers, bytes.to_vec()));
        self.numbers
    }

    /// Whether it is so late; if not, the test goes on then at the latest.
    pub fn waits_until(&mut self, at: Micros) -> Poll<()> {
        if self.now >= at {
            return Poll::Ready(());
        }
        self.look_at = self.look_at.min(at);
        Poll::Pending
    }
}

/// The script.
pub struct Scene {
    pub desk: Rc<RefCell<Desk>>,
    pub agent: Rc<RefCell<Agent>>,
    /// What the test does, until it is done.
    pub play: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// Set when it is.
    pub stop: Arc<AtomicBool>,
}

impl Script for Scene {
    fn act(&mut self, client: usize, it: &mut Client, now: Micros) -> Option<Micros> {
        self.desk.borrow_mut().phone(client).carry_out(it, now);
        None
    }

    fn hear(&mut self, client: usize, event: Event<'_>, now: Micros) {
        let mut desk = self.desk.borrow_mut();
        desk.phone(client).hear(event, now);
        desk.has_news = true;
        desk.urged.push(client);
    }

    fn direct(&mut self, now: Micros, urged: &mut Vec<usize>) -> Option<Micros> {
        let agent_at = self.agent.borrow_mut().look(now);
        let goes_on = {
            let mut desk = self.desk.borrow_mut();
            desk.now = now;
            let goes_on = std::mem::take(&mut desk.has_news) || desk.look_at <= now;
            if goes_on {
                desk.look_at = Micros(u64::MAX);
            }
            goes_on
        };
        if goes_on
            && let Some(play) = &mut self.play
            && play.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            self.play = None;
            self.stop.store(true, Relaxed);
        }
        let mut desk = self.desk.borrow_mut();
        urged.append(&mut desk.urged);
        Some(agent_at.min(desk.look_at))
    }
}
