//! `Hello`: checks the user token, takes the cookie in, and tells the client where the show stands.

use super::serving::Serving;
use super::spent::Spent;
use super::terms::Proof;
use bytes::Bytes;
use rand::Rng;
use shake_proto::code::Code;
use shake_proto::request::Hello;
use shake_proto::wire::v1;
use shake_rules::cookie::CookieError;
use shake_rules::keys::Purpose;
use shake_rules::show::Package;
use shake_rules::token::TokenError;
use shake_rules::winnings::Winnings;
use shake_rules::{UnixMillis, UserId};

impl Serving {
    /// What a Hello proves, and the reply. `known` is who said it before on this connection. Only an authentic one is charged:
    /// what is forged is a misdeed, and told as such.
    pub(super) fn hello(
        &mut self,
        hello: &Hello,
        known: Option<UserId>,
        spent: &mut Spent,
    ) -> Result<(Proof, v1::HelloReply), Code> {
        let token = self
            .secrets
            .tokens
            .check(&hello.token, self.unix)
            .map_err(|error| match error {
                TokenError::Forged => Code::TokenForged,
                TokenError::Expired => Code::TokenExpired,
            })?;
        if known.is_some_and(|known| known != token.user) {
            return Err(Code::UserChanged);
        }
        let key = self.secrets.tokens.signer(&hello.token).ok_or(Code::TokenForged)?;
        spent.hello(self.now.elapsed_ns).map_err(|_| Code::TooMany)?;
        self.counters.hellos.inc();
        let winnings = self.take_cookie(token.user, &hello.cookie);
        let pace_ms = self.limits.present.pace_ms(self.show_pace_ms(), &mut self.rng);
        let (current_phase, next_phase) = self.phases_to_wire();
        let reply = v1::HelloReply {
            server_time_ms: self.unix.0,
            config_version: self.live.version,
            pace_ms,
            current_phase,
            next_phase,
            manifest: self.manifest_newer_than(hello.resource_version, spent),
            cookie: if winnings.as_slice().is_empty() {
                Bytes::new()
            } else {
                self.cookie_of(token.user, &winnings)
            },
            blocked: None,
        };
        Ok((Proof { token, key }, reply))
    }

    /// The phase that holds now and the next one, as clients see them.
    pub(super) fn phases_to_wire(&self) -> (Option<v1::Phase>, Option<v1::Phase>) {
        let show = &self.live.show;
        let phase = |index: usize| v1::Phase {
            name: show.phases[index].name.clone(),
            starts_in_ms: show.phases[index].starts_at.since_ms(self.unix),
            ends_in_ms: show.phases[index].ends_at.since_ms(self.unix),
        };
        (self.phase.map(phase), show.phase_after(self.unix).map(phase))
    }

    /// The resource manifest, for a client whose own is older. A session gets each version once: it is by far the largest of
    /// all that is said, and no packet of a stream gets lost.
    fn manifest_newer_than(&self, version: u64, spent: &mut Spent) -> Option<v1::ResourceManifest> {
        let manifest = &self.live.show.manifest;
        let resource = |package: &Package| v1::Resource {
            id: package.id,
            address: package.address.clone(),
            size_bytes: package.size_bytes,
            sha256: Bytes::copy_from_slice(&package.sha256),
            fetch_after_ms: package.fetch_after.0,
            fetch_before_ms: package.fetch_before.0,
        };
        let is_told = version < manifest.version && spent.manifest(manifest.version);
        is_told.then(|| v1::ResourceManifest {
            version: manifest.version,
            resources: manifest.packages.iter().map(resource).collect(),
        })
    }

    /// What the user has won, by the cookie and by what is known here. A cookie that is not theirs adds nothing.
    pub(super) fn take_cookie(&mut self, user: UserId, cookie: &[u8]) -> Winnings {
        if cookie.is_empty() {
            return self.shared.winners.of(user);
        }
        match self.secrets.cookies.open(self.live.show.event, user, cookie) {
            Ok(said) => self.shared.winners.merge(user, &said),
            Err(error) => {
                if error != CookieError::OtherEvent {
                    self.counters.cookies_refused.inc();
                    self.is_forged = true;
                }
                self.shared.winners.of(user)
            }
        }
    }

    /// A fresh limit cookie.
    pub(super) fn cookie_of(&mut self, user: UserId, winnings: &Winnings) -> Bytes {
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        self.secrets
            .cookies
            .seal(self.live.show.event, user, winnings, nonce, &mut self.cookie);
        let (key, event_end) = (self.secrets.cookies.maker(), UnixMillis(u64::MAX));
        self.shared.key_uses.made(self.shard, Purpose::Cookie, key, event_end);
        Bytes::copy_from_slice(&self.cookie)
    }
}
