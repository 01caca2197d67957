//! `Hello`: checks the user token, merges the limit cookie, and says how the show stands.

use crate::conditions::Conditions;
use crate::cookies::{self, Seals};
use crate::credentials::Proof;
use crate::limits::SessionLimits;
use crate::winners::Winners;
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::request::Hello;
use shake_proto::wire::v1;
use shake_rules::UserId;
use shake_rules::token::TokenError;

/// A Hello that is good.
pub struct Greeting {
    pub reply: v1::HelloReply,
    pub is_cookie_forged: bool,
}

/// What a Hello proves, whose token comes first and is charged only when it is authentic: what is forged is a misdeed, and told
/// as such. `known` is who said it before on this connection.
///
/// # Errors
/// What the stream is to be refused with.
pub fn prove(
    conditions: &Conditions,
    hello: &Hello,
    known: Option<UserId>,
    limits: &mut SessionLimits,
) -> Result<Proof, Code> {
    let keys = &conditions.secrets.tokens;
    let token = keys.check(&hello.token, conditions.unix).map_err(|error| match error {
        TokenError::Forged => Code::TokenForged,
        TokenError::Expired => Code::TokenExpired,
    })?;
    if known.is_some_and(|known| known != token.user) {
        return Err(Code::UserChanged);
    }
    let key = keys.signer(&hello.token).ok_or(Code::TokenForged)?;
    limits.hello(conditions.now.elapsed_ns).map_err(|_| Code::TooMany)?;
    Ok(Proof { token, key })
}

/// Answers a Hello that proved who says it. `pace_ms` is what the user is told.
pub fn greet(
    conditions: &Conditions,
    winners: &Winners,
    seals: &mut Seals,
    hello: &Hello,
    user: UserId,
    limits: &mut SessionLimits,
    pace_ms: u32,
) -> Greeting {
    let told = cookies::take(conditions, winners, user, &hello.cookie);
    let (current_phase, next_phase) = conditions.phases_to_wire();
    let reply = v1::HelloReply {
        server_time_ms: conditions.unix.0,
        config_version: conditions.live.version,
        pace_ms,
        current_phase,
        next_phase,
        manifest: manifest_newer_than(conditions, hello.resource_version, limits),
        cookie: if told.winnings.as_slice().is_empty() {
            Bytes::new()
        } else {
            seals.cookie(conditions, user, &told.winnings)
        },
        blocked: None,
    };
    Greeting {
        reply,
        is_cookie_forged: told.is_forged,
    }
}

/// The resource manifest, for a client whose own is older. A session gets each version once: it is by far the largest of
/// all that is said, and no packet of a stream gets lost.
fn manifest_newer_than(
    conditions: &Conditions,
    version: u64,
    limits: &mut SessionLimits,
) -> Option<v1::ResourceManifest> {
    let manifest = &conditions.live.show.manifest;
    let is_told = version < manifest.version && limits.manifest(manifest.version);
    is_told.then(|| manifest.into())
}
