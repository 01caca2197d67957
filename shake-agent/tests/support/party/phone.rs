//! A user: shakes, claims, sends, grabs, and asks again until there is an answer.

use shake_rules::ticket::Ticket;
use shake_rules::{PacketId, UserId};

/// What a phone wants to know and asks again for.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// Open what was won.
    Claim {
        sealed: Vec<u8>,
        ticket: Ticket,
    },
    /// Open what somebody else won.
    Steal {
        sealed: Vec<u8>,
    },
    Send {
        key: u64,
        total: u64,
        shares: u16,
        named: Vec<UserId>,
    },
    Grab {
        packet: PacketId,
    },
    /// The balance, of which the user knows so much.
    Wallet {
        at_least: u64,
    },
}

impl Errand {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Steal { .. } => "steal",
            Self::Send { .. } => "send",
            Self::Grab { .. } => "grab",
            Self::Wallet { .. } => "wallet",
        }
    }
}

#[derive(Debug)]
pub struct Phone {
    pub user: UserId,
    pub cookie: Vec<u8>,
    /// Won and not opened yet.
    pub tickets: Vec<(Vec<u8>, Ticket)>,
    /// One at a time, and each until it is answered for good.
    pub errand: Option<Errand>,
    pub sends: u64,
}

impl Phone {
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            cookie: Vec::new(),
            tickets: Vec::new(),
            errand: None,
            sends: 0,
        }
    }
}
