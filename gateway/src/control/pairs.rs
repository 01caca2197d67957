//! What two files say that does not go together: pure, for `check-config`, the start and a push alike.

use crate::config::Config;
use shake_rules::document::{self, Problems};
use shake_rules::show::Show;

/// What the configuration says and a show must go with.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// When a client that was told Busy asks again, in milliseconds.
    pub busy_retry_ms: u32,
}

impl Served {
    pub fn of(config: &Config) -> Self {
        Self {
            busy_retry_ms: config.claims.busy_retry_ms,
        }
    }
}

/// Checks a show, whose file's text is given, against what it is served with.
///
/// # Errors
/// Every contradiction, with its line in the show's text.
pub fn check(text: &str, show: &Show, served: Served) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for (key, lifetime_ms) in [
        ("ticket_lifetime_s", show.ticket_lifetime_ms),
        ("share_lifetime_s", show.share_lifetime_ms),
    ] {
        if lifetime_ms < served.busy_retry_ms.into() {
            let message = format!(
                "{key} = {} is over before who was told Busy asks again, after [claims] busy_retry_ms = {} of gateway.toml",
                lifetime_ms / 1_000,
                served.busy_retry_ms
            );
            problems.add_at(document::line_of_key(text, &["limits", key]), message);
        }
    }
    problems.or_value(())
}
