//! Limit cookies: what a user has won, which the phone carries from gateway to gateway; and how cookies and tickets are
//! sealed.

use crate::conditions::Conditions;
use crate::state::Shared;
use crate::winners::Winners;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shake_rules::cookie::CookieError;
use shake_rules::keys::Purpose;
use shake_rules::ticket::Ticket;
use shake_rules::winnings::Winnings;
use shake_rules::{LedgerId, UnixMillis, UserId};
use std::sync::Arc;

/// What a cookie told.
pub struct Told {
    /// What the user has won, by the cookie and by what is known here.
    pub winnings: Winnings,
    /// It is not authentic, and adds nothing.
    pub is_forged: bool,
}

/// Takes a user's cookie into account. One of another event adds nothing.
pub fn take(conditions: &Conditions, winners: &Winners, user: UserId, cookie: &[u8]) -> Told {
    let told = |winnings, is_forged| Told { winnings, is_forged };
    if cookie.is_empty() {
        return told(winners.of(user), false);
    }
    match conditions
        .secrets
        .cookies
        .open(conditions.live.show.event, user, cookie)
    {
        Ok(said) => told(winners.merge(user, &said), false),
        Err(error) => told(winners.of(user), error != CookieError::OtherEvent),
    }
}

/// What tickets and cookies are made with. Notes what hangs on each key.
pub struct Seals {
    /// Unpredictable, because draws and nonces come from it.
    pub rng: StdRng,
    /// For the making, used again.
    ticket: Vec<u8>,
    cookie: Vec<u8>,
    shared: Arc<Shared>,
    shard: u16,
}

impl Seals {
    pub fn new(rng: StdRng, shared: Arc<Shared>, shard: u16) -> Self {
        Self {
            rng,
            ticket: Vec::new(),
            cookie: Vec::new(),
            shared,
            shard,
        }
    }

    /// A fresh cookie.
    pub fn cookie(&mut self, conditions: &Conditions, user: UserId, winnings: &Winnings) -> Bytes {
        let (nonce, event) = (self.nonce(), conditions.live.show.event);
        let keys = &conditions.secrets.cookies;
        keys.seal(event, user, winnings, nonce, &mut self.cookie);
        let (key, event_end) = (keys.maker(), UnixMillis(u64::MAX));
        self.shared.key_uses.made(self.shard, Purpose::Cookie, key, event_end);
        Bytes::copy_from_slice(&self.cookie)
    }

    /// A ticket of this ledger.
    pub fn ticket(&mut self, conditions: &Conditions, ledger: &LedgerId, ticket: &Ticket) -> Bytes {
        let (nonce, keys) = (self.nonce(), &conditions.secrets.tickets);
        keys.seal(ledger, ticket, nonce, &mut self.ticket);
        let (key, ends_at) = (keys.maker(), ticket.expires_at);
        self.shared.key_uses.made(self.shard, Purpose::Ticket, key, ends_at);
        Bytes::copy_from_slice(&self.ticket)
    }

    /// A ticket was shown here that is authentic, and perhaps was made by another life of this gateway.
    pub fn saw(&self, conditions: &Conditions, bytes: &[u8], ticket: &Ticket) {
        if let Some(key) = conditions.secrets.tickets.maker_of(bytes) {
            let ends_at = ticket.expires_at;
            self.shared.key_uses.known(self.shard, Purpose::Ticket, key, ends_at);
        }
    }

    /// The agent may make a code now, by a key that is the active ticket key's.
    pub fn expect_code(&self, conditions: &Conditions) {
        let ends_at = conditions.unix.plus_ms(conditions.live.show.share_lifetime_ms);
        let key = conditions.secrets.tickets.maker();
        self.shared.key_uses.known(self.shard, Purpose::Ticket, key, ends_at);
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        nonce
    }
}
