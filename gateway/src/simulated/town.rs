//! What a test sees: the time, the phones, the gateway's counters and state, the agent.

use super::agent::Agent;
use super::house::unix;
use super::phone::Phone;
use super::scene::Desk;
use crate::config::Config;
use crate::counters::{self, Counters};
use crate::secrets::{Secrets, key_ring};
use crate::state::Shared;
use bytes::Bytes;
use lean_quic::{CloseReason, Micros};
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};
use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub struct Town {
    pub(super) desk: Rc<RefCell<Desk>>,
    pub(super) agent: Rc<RefCell<Agent>>,
    pub shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    pub(super) config: Rc<Config>,
    /// The moment of the beginning.
    pub(super) began: Instant,
    pub(super) stop: Arc<AtomicBool>,
}

impl Town {
    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        self.desk.borrow().now.into()
    }

    /// The moment that it is.
    pub fn instant(&self) -> Instant {
        self.began + self.now()
    }

    /// The time of day.
    pub fn unix(&self) -> UnixMillis {
        unix(self.desk.borrow().now)
    }

    pub fn agent(&self) -> RefMut<'_, Agent> {
        self.agent.borrow_mut()
    }

    pub async fn sleep(&self, time: Duration) {
        let at = self.desk.borrow().now.plus(Micros(time.as_micros() as u64));
        poll_fn(|_| self.desk.borrow_mut().waits_until(at)).await;
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, is_so: impl FnMut() -> bool) {
        self.until_within(PATIENCE, what, is_so).await;
    }

    /// The same, for so long at the most.
    pub async fn until_within(&self, patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = self.now() + patience;
        while !is_so() {
            assert!(self.now() < end, "not in time: {what}");
            self.sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of a metric, by its whole name with labels.
    pub fn metric(&self, name: &str) -> u64 {
        let sums = counters::sums(std::iter::once(&*self.counters));
        let found = sums.into_iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("{name} is counted")).1
    }

    /// Has the gateway end as by SIGTERM.
    pub fn stop_gateway(&self) {
        self.stop.store(true, Relaxed);
    }

    /// A step of the rotation of the user tokens' keys, which the gateway takes.
    pub fn rotate_tokens(&self, step: certs::rotate::Step) {
        let purposes = [Purpose::UserToken];
        certs::rotate::rotate(&self.config.certs_directory, &purposes, step, jiff::Timestamp::now()).expect("a step");
        let before = self.shared.current.secrets();
        let secrets = Secrets::read(&self.config, Some(&before)).expect("good files");
        self.shared.current.store_secrets(secrets);
    }

    pub fn keys(&self, purpose: Purpose) -> KeyRing {
        key_ring(&self.config.certs_directory, purpose).expect("a key file")
    }

    pub fn token(&self, user: u64) -> Bytes {
        self.token_until(user, UnixMillis(u64::MAX))
    }

    /// A token that ends then.
    pub fn token_until(&self, user: u64, expires_at: UnixMillis) -> Bytes {
        let keys = TokenKeys::new(&self.keys(Purpose::UserToken));
        let user = UserId(user);
        Bytes::copy_from_slice(&keys.mint(UserToken { user, expires_at }))
    }

    /// A phone that has connected but not said Hello.
    pub async fn phone(&self) -> Phone {
        self.phone_of(0).await.expect("a connection")
    }

    /// The same from the network of this number, or why there is none.
    pub async fn phone_of(&self, network: usize) -> Result<Phone, CloseReason> {
        let number = self.desk.borrow_mut().begin(network);
        let phone = Phone {
            town: self.clone(),
            number,
        };
        phone.connected().await.map(|()| phone)
    }

    /// Holds that the gateway lets nobody in.
    pub async fn cannot_connect(&self, network: usize) {
        let refused = self.phone_of(network).await.err();
        // CONNECTION_REFUSED (RFC 9000, section 20.1).
        assert_eq!(refused, Some(CloseReason::Transport(2)));
    }

    /// A phone that has said Hello.
    pub async fn user(&self, user: u64) -> Phone {
        self.user_by(self.token(user)).await
    }

    /// The same with this token.
    pub async fn user_by(&self, token: Bytes) -> Phone {
        let phone = self.phone().await;
        phone.hello(token).await.expect("a good Hello");
        phone
    }
}
