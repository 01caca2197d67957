//! How often users ask the ledger.

use super::present::{Present, unlimited};
use super::user::UserLimits;
use crate::counters::Busy;
use rate_limit::{Level, Limit, Shared};
use shake_proto::request_kind::RequestKind;
use shake_rules::throttle::GradeRules;

/// Limits requests to the ledger.
pub struct RequestLimiter {
    claims: Shared,
    sends: Shared,
    /// Of one user.
    user: Limit,
}

impl RequestLimiter {
    pub(super) fn new() -> Self {
        Self {
            claims: Shared::new(unlimited()),
            sends: Shared::new(unlimited()),
            user: unlimited(),
        }
    }

    pub(super) fn take_rules(&mut self, rules: &GradeRules, shards: u16) {
        self.claims.limit = rules.claims.part(shards);
        self.sends.limit = rules.sends.part(shards);
        self.user = rules.user_requests.part(1);
    }

    /// Judges a request to the ledger. `asked` is what the user has used up.
    ///
    /// # Errors
    /// Why it is to be answered busy.
    pub fn request(
        &mut self,
        present: &Present,
        user: &UserLimits,
        asked: &mut Level,
        kind: RequestKind,
        rules: &GradeRules,
    ) -> Result<(), Busy> {
        if kind.service().is_some_and(|service| rules.is_off(service)) {
            return Err(Busy::SwitchedOff);
        }
        let is_fresh_claim = kind == RequestKind::Claim && user.has_won(present);
        if !is_fresh_claim {
            self.user.take(asked, present.now_ns).map_err(|_| Busy::UserRate)?;
        }
        let shared = match kind {
            RequestKind::Claim => &mut self.claims,
            RequestKind::Send | RequestKind::Grab => &mut self.sends,
            _ => return Ok(()),
        };
        shared.take(present.now_ns).map_err(|_| Busy::GradeRate)
    }
}
