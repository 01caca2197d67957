//! Whether a request is served: asked once for each, before its handler, whichever way it came. Blocks come first, then the
//! limits of its kind.
//!
//! Claims go on all the same when a user is blocked: what was won before is the user's, its ticket has a time of its own, and
//! the ledger pays it once. So a block costs nobody money, whoever it hits. A Hello hears of the block by its reply.

use crate::blocklist::Blocklist;
use crate::conditions::Conditions;
use crate::counters::{Busy, SlowDown};
use crate::limits::{Limits, UserLimits, Verdict, retry_ms, shake_of_blocked};
use rand::rngs::StdRng;
use rate_limit::Level;
use shake_proto::request_kind::RequestKind;
use shake_rules::{DeviceId, UserId};
use std::net::IpAddr;

/// Who asks.
pub struct Visitor<'a> {
    pub user: UserId,
    /// The app's installation, if its Hello named one.
    pub device: Option<DeviceId>,
    pub address: IpAddr,
    /// What the session has used up.
    pub limits: &'a mut UserLimits,
    pub asked: &'a mut Level,
}

/// Why a shake is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotServed {
    /// Nothing when that was told a moment ago: then only a stream is answered.
    pub why: Option<SlowDown>,
    pub retry_after_ms: u32,
    pub is_blocked: bool,
}

/// Why the ledger is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptOut {
    pub why: Busy,
    pub retry_after_ms: u32,
    pub is_blocked: bool,
}

/// Lets a shake in, or not. Gives the pace that it is answered with.
///
/// # Errors
/// Why it is not served.
pub fn shake(
    visitor: &mut Visitor<'_>,
    conditions: &Conditions,
    blocklist: &Blocklist,
    limits: &mut Limits,
    rng: &mut StdRng,
) -> Result<u32, NotServed> {
    let Limits { shakes, present, .. } = limits;
    if let Some(rest_ms) = blocked_ms(visitor, conditions, blocklist) {
        return Err(NotServed {
            why: shake_of_blocked(present, visitor.limits, rest_ms),
            retry_after_ms: rest_ms,
            is_blocked: true,
        });
    }
    let (live, show_pace_ms) = (&conditions.live, conditions.show_pace_ms());
    let not_served = |why, retry_after_ms| NotServed {
        why,
        retry_after_ms,
        is_blocked: false,
    };
    match shakes.shake(present, visitor.limits, visitor.address, live, show_pace_ms, rng) {
        Verdict::Serve { pace_ms } => Ok(pace_ms),
        Verdict::Refuse { why, retry_after_ms } => Err(not_served(Some(why), retry_after_ms)),
        Verdict::Drop => {
            let [_, longest_ms] = live.throttle.at(present.grade()).retry_ms;
            Err(not_served(None, longest_ms))
        }
    }
}

/// Lets any other request in, or not.
///
/// # Errors
/// Why it is not served.
pub fn request(
    kind: RequestKind,
    visitor: &mut Visitor<'_>,
    conditions: &Conditions,
    blocklist: &Blocklist,
    limits: &mut Limits,
    rng: &mut StdRng,
) -> Result<(), KeptOut> {
    let is_lifted = matches!(kind, RequestKind::Hello | RequestKind::Claim);
    if let Some(rest_ms) = blocked_ms(visitor, conditions, blocklist)
        && !is_lifted
    {
        return Err(KeptOut {
            why: Busy::Blocked,
            retry_after_ms: rest_ms,
            is_blocked: true,
        });
    }
    if !kind.is_of_ledger() {
        return Ok(());
    }
    let Limits { requests, present, .. } = limits;
    let rules = conditions.live.throttle.at(present.grade());
    requests
        .request(present, visitor.limits, visitor.asked, kind, rules)
        .map_err(|why| KeptOut {
            why,
            retry_after_ms: retry_ms(rules, rng),
            is_blocked: false,
        })
}

/// How long a visitor is still blocked, who is let in again if not.
fn blocked_ms(visitor: &mut Visitor<'_>, conditions: &Conditions, blocklist: &Blocklist) -> Option<u32> {
    let blocked_ms = blocklist.blocked_ms(visitor.user, visitor.device, conditions.now.elapsed_ns);
    if blocked_ms.is_none() {
        visitor.limits.readmit();
    }
    blocked_ms
}

/// Shuts out who is blocked, whatever they send, and lets them in when the block is over.
pub fn mind_block(
    conditions: &Conditions,
    blocklist: &Blocklist,
    limits: &Limits,
    (user, device): (UserId, Option<DeviceId>),
    of_user: &mut UserLimits,
) {
    match blocklist.blocked_ms(user, device, conditions.now.elapsed_ns) {
        Some(rest_ms) => of_user.shut(&limits.present, rest_ms),
        None => of_user.readmit(),
    }
}
