//! The errands of a user: each is one request on a stream that is tried, the same each time, until it is answered, or
//! out of tries. What an answer means stands with its kind, one file each; what they share stands here.

mod claim;
mod grab;
mod hello;
mod send;
mod view;
mod wallet;

pub use send::SEND_SHARES;

use super::resources::Fetch;
use super::{Habits, RequestFailure, User};
use crate::schedule::Micros;
use crate::tally::{ErrandKind, Tally};
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::reply::{ClaimResult, GrabResult, SendResult, ViewResult, WalletResult};
use shake_proto::wire::v1::{self, reply, request};
use shake_rules::code::CODE_BYTES;

/// An errand of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrandId(u32);

/// An errand to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrandStart {
    /// Which.
    pub id: ErrandId,
    /// When to send it.
    pub at: Micros,
}

/// What becomes of an errand after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrandNext {
    /// Try again at this time, with the same request.
    At(Micros),
    /// It has ended.
    Done,
}

/// What an errand asks for, and what is needed to check the answer.
#[derive(Debug)]
enum Task {
    Claim { ticket: Bytes, sponsor: u32 },
    Send(v1::Send),
    Grab { code: Bytes, was_offered: bool },
    View(view::Look),
    Wallet(wallet::Sum),
    Hello,
}

#[derive(Debug)]
pub(super) struct Errand {
    id: ErrandId,
    task: Task,
    tries: u32,
    first_try: Option<Micros>,
}

impl Errand {
    /// Whether money hangs on it.
    pub(super) fn moves_money(&self) -> bool {
        self.task.kind().moves_money()
    }
}

/// A reply of the kind that was asked for.
enum Answer {
    Claim(ClaimResult),
    Send(SendResult),
    Grab(GrabResult),
    View(ViewResult),
    Wallet(WalletResult),
    Hello(v1::HelloReply),
}

impl Task {
    fn kind(&self) -> ErrandKind {
        match self {
            Self::Claim { .. } => ErrandKind::Claim,
            Self::Send(_) => ErrandKind::Send,
            Self::Grab { .. } => ErrandKind::Grab,
            Self::View(_) => ErrandKind::View,
            Self::Wallet(_) => ErrandKind::Wallet,
            Self::Hello => ErrandKind::Hello,
        }
    }
}

impl Answer {
    fn of(kind: ErrandKind, reply: v1::Reply) -> Result<Self, Code> {
        match (kind, reply.kind.ok_or(Code::Unknown)?) {
            (ErrandKind::Claim, reply::Kind::Claim(reply)) => reply.try_into().map(Self::Claim),
            (ErrandKind::Send, reply::Kind::Send(reply)) => reply.try_into().map(Self::Send),
            (ErrandKind::Grab, reply::Kind::Grab(reply)) => reply.try_into().map(Self::Grab),
            (ErrandKind::View, reply::Kind::PacketView(reply)) => reply.try_into().map(Self::View),
            (ErrandKind::Wallet, reply::Kind::Wallet(reply)) => reply.try_into().map(Self::Wallet),
            (ErrandKind::Hello, reply::Kind::Hello(reply)) => Ok(Self::Hello(reply)),
            _ => Err(Code::Unknown),
        }
    }

    /// When to ask again, in milliseconds; nothing when this is the answer.
    fn busy(&self) -> Option<u32> {
        match *self {
            Self::Claim(ClaimResult::Busy { retry_after_ms })
            | Self::Send(SendResult::Busy { retry_after_ms })
            | Self::Grab(GrabResult::Busy { retry_after_ms })
            | Self::View(ViewResult::Busy { retry_after_ms })
            | Self::Wallet(WalletResult::Busy { retry_after_ms }) => Some(retry_after_ms),
            _ => None,
        }
    }
}

/// What a user does because of something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin an errand.
    Errand(ErrandStart),
    /// Leave this connection, and connect anew.
    Leave {
        /// When, unless the connection ends before.
        at: Micros,
        /// To which gateway, as host:port; nothing for another of the scenario's, or the same when it has no other.
        to: Option<String>,
    },
    /// Fetch a package.
    Fetch(Fetch),
    /// Tell another user of a code: [`User::on_told`] of the session with this index.
    Tell {
        /// The friend's session.
        friend_index: u32,
        /// What grabs a share.
        code: Bytes,
    },
}

impl User {
    /// Begins an errand after a delay between these, in milliseconds.
    fn begin(&mut self, now: Micros, task: Task, delay_ms: [u32; 2], tally: &mut Tally) -> Action {
        let id = ErrandId(self.errands_begun);
        self.errands_begun += 1;
        tally.begin(task.kind());
        self.errands.push(Errand {
            id,
            task,
            tries: 0,
            first_try: None,
        });
        let [least, most] = delay_ms.map(|ms| Micros::from_ms(ms.into()).0);
        let at = now.plus(Micros(self.jitter.between(least, most)));
        Action::Errand(ErrandStart { id, at })
    }

    /// The request of an errand whose time has come; nothing when the errand has ended. `token` mints the user's.
    pub fn errand_request(
        &mut self,
        now: Micros,
        id: ErrandId,
        token: impl FnOnce(u64) -> Bytes,
    ) -> Option<request::Kind> {
        let errand = self.errands.iter_mut().find(|errand| errand.id == id)?;
        errand.first_try.get_or_insert(now);
        Some(match &errand.task {
            Task::Claim { ticket, .. } => request::Kind::Claim(v1::Claim {
                ticket: ticket.clone(),
                cookie: self.cookie.clone(),
            }),
            Task::Send(send) => request::Kind::Send(send.clone()),
            Task::Grab { code, .. } => request::Kind::Grab(v1::Grab { code: code.clone() }),
            Task::View(look) => request::Kind::PacketView(v1::PacketView {
                code: look.code.clone(),
            }),
            Task::Wallet(_) => request::Kind::Wallet(v1::Wallet {}),
            Task::Hello => request::Kind::Hello(self.hello(token(self.id))),
        })
    }

    /// A try of an errand was answered, or not. Gives what becomes of it, and what the user does because of it.
    pub fn on_errand(
        &mut self,
        now: Micros,
        id: ErrandId,
        answer: Result<v1::Reply, RequestFailure>,
        habits: &Habits,
        tally: &mut Tally,
    ) -> (ErrandNext, Vec<Action>) {
        let Some(at) = self.errands.iter().position(|errand| errand.id == id) else {
            return (ErrandNext::Done, Vec::new());
        };
        match &answer {
            Err(RequestFailure::Timeout) => self.unheard = self.unheard.saturating_add(1),
            Err(RequestFailure::Offline | RequestFailure::ConnectionLost) => {}
            _ => self.unheard = 0,
        }
        let kind = self.errands[at].task.kind();
        let answer = answer.and_then(|reply| Answer::of(kind, reply).map_err(RequestFailure::Malformed));
        let mut actions = Vec::new();
        let next = match answer {
            Ok(answer) => match answer.busy() {
                Some(retry_after_ms) => {
                    tally.errand(kind).busy += 1;
                    let wait = self.manners.wait_told(retry_after_ms, &mut self.jitter);
                    self.retry(at, now.plus(wait), habits, tally)
                }
                None => {
                    let errand = self.remove_errand(at);
                    self.conclude(now, errand, answer, habits, tally, &mut actions);
                    ErrandNext::Done
                }
            },
            Err(failure) => self.on_errand_failed(at, now, &failure, habits, tally),
        };
        if next == ErrandNext::Done {
            actions.extend(self.ask_wallet_at_last(now, habits, tally));
        }
        actions.extend(self.forsake(now, habits));
        (next, actions)
    }

    /// The answer is final: hands it to its kind.
    fn conclude(
        &mut self,
        now: Micros,
        errand: Errand,
        answer: Answer,
        habits: &Habits,
        tally: &mut Tally,
        actions: &mut Vec<Action>,
    ) {
        let Errand { task, first_try, .. } = errand;
        match (task, answer) {
            (Task::Claim { sponsor, .. }, Answer::Claim(result)) => {
                if let ClaimResult::Opened { .. } = result {
                    let took = now.since(first_try.unwrap_or(now)).0.max(1);
                    tally.claim_latency.saturating_record(took);
                    let network = self.network(habits);
                    tally
                        .networks
                        .count(network, |counts| counts.claim_latency.saturating_record(took));
                }
                self.on_claim(now, sponsor, result, habits, tally, actions);
            }
            (Task::Send(send), Answer::Send(result)) => self.on_sent(now, &send, result, habits, tally, actions),
            (Task::Grab { code, was_offered }, Answer::Grab(result)) => {
                self.on_grab(now, code, was_offered, result, habits, tally, actions);
            }
            (Task::View(look), Answer::View(result)) => self.on_view(&look, result, tally),
            (Task::Wallet(sum), Answer::Wallet(result)) => self.on_wallet(&sum, result, tally),
            (Task::Hello, Answer::Hello(reply)) => self.on_hello_again(now, reply, habits, tally, actions),
            _ => unreachable!("`Answer::of` gives the kind that the task asked for"),
        }
    }

    fn on_errand_failed(
        &mut self,
        at: usize,
        now: Micros,
        failure: &RequestFailure,
        habits: &Habits,
        tally: &mut Tally,
    ) -> ErrandNext {
        if *failure == RequestFailure::Offline {
            // Nothing was sent, so it was no try; the session reconnects meanwhile.
            return ErrandNext::At(now.plus(self.manners.wait_after(1, &habits.backoff, &mut self.jitter)));
        }
        let kind = self.errands[at].task.kind();
        tally.error(&format!("{}_{}", kind.name(), failure.name()), "");
        tally.violations.malformed_replies += u64::from(matches!(failure, RequestFailure::Malformed(_)));
        if failure.is_final() {
            self.remove_errand(at);
            tally.errand(kind).failed += 1;
            self.purse.is_in_doubt |= kind.moves_money();
            return ErrandNext::Done;
        }
        let tries = self.errands[at].tries + 1;
        let wait = self.manners.wait_after(tries, &habits.backoff, &mut self.jitter);
        self.retry(at, now.plus(wait), habits, tally)
    }

    fn retry(&mut self, at: usize, when: Micros, habits: &Habits, tally: &mut Tally) -> ErrandNext {
        let errand = &mut self.errands[at];
        let kind = errand.task.kind();
        errand.tries += 1;
        if errand.tries >= self.manners.tries_max(habits.claim_tries_max) {
            self.remove_errand(at);
            tally.errand(kind).gave_up += 1;
            self.purse.is_in_doubt |= kind.moves_money();
            return ErrandNext::Done;
        }
        tally.errand(kind).retries += 1;
        ErrandNext::At(when)
    }

    /// An errand ends. A user without one keeps no memory for the next: there are a million users.
    fn remove_errand(&mut self, at: usize) -> Errand {
        let errand = self.errands.swap_remove(at);
        if self.errands.is_empty() {
            self.errands = Vec::new();
        }
        errand
    }

    /// Whether anything but another Hello is under way.
    pub(super) fn has_errands(&self) -> bool {
        !self.errands.iter().all(|errand| matches!(errand.task, Task::Hello))
    }

    /// A reply that decodes, and yet lacks what it must say: the errand has failed.
    fn on_senseless(&mut self, kind: ErrandKind, tally: &mut Tally) {
        tally.violations.malformed_replies += 1;
        tally.errand(kind).failed += 1;
        self.purse.is_in_doubt |= kind.moves_money();
    }

    /// The run is over: what is still under way is unfinished.
    pub(super) fn give_up_errands(&mut self, tally: &mut Tally) {
        for errand in self.errands.drain(..) {
            tally.errand(errand.task.kind()).unfinished += 1;
        }
    }

    /// Another user of the run, at random; nobody when there is no other.
    fn someone_else(&mut self, habits: &Habits) -> Option<u32> {
        let others = habits.sessions.checked_sub(1).filter(|others| *others > 0)?;
        let drawn = self.jitter.between(0, u64::from(others) - 1) as u32;
        Some(drawn + u32::from(drawn >= self.index))
    }

    /// Tells as many random friends of a code as the habits say.
    fn tell_friends(&mut self, code: &Bytes, habits: &Habits, tally: &mut Tally, actions: &mut Vec<Action>) {
        for _ in 0..habits.packets.friends_told {
            let Some(friend_index) = self.someone_else(habits) else {
                return;
            };
            tally.packets.codes_told += 1;
            let code = code.clone();
            actions.push(Action::Tell { friend_index, code });
        }
    }
}

/// Whether these bytes can be a code at all.
pub(super) fn is_code(code: &[u8]) -> bool {
    (1..=CODE_BYTES).contains(&code.len())
}
