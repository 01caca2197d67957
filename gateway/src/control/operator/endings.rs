//! Certificates that end while an operator looks on: said an hour before, and when it has happened. What is connected stays
//! connected, so nothing else would show it until somebody connects anew.

use host::clock::moment;
use shake_rules::UnixMillis;
use std::collections::BTreeMap;

/// So long before the end it is said, in milliseconds.
const SOON_MS: u64 = 3_600_000;
/// What the operator's own certificate is called.
pub const OWN: &str = "operator.pem of --certs";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Far,
    Soon,
    Over,
}

/// What was said of whose certificate.
#[derive(Default)]
pub struct Endings(BTreeMap<String, (UnixMillis, Stage)>);

impl Endings {
    /// What is to be said of the certificate of a gateway, or of [`OWN`], if that is new.
    pub fn look(&mut self, whose: &str, expires_at: UnixMillis, now: UnixMillis) -> Option<String> {
        let stage = match expires_at.0.checked_sub(now.0) {
            None | Some(0) => Stage::Over,
            Some(..=SOON_MS) => Stage::Soon,
            Some(_) => Stage::Far,
        };
        let before = self.0.insert(whose.to_owned(), (expires_at, stage));
        if stage == Stage::Far || before == Some((expires_at, stage)) {
            return None;
        }
        let (at, is_own) = (moment(expires_at), whose == OWN);
        let what = match (stage, is_own) {
            (Stage::Over, false) => "neither phones nor operators connect any more",
            (Stage::Over, true) => "no gateway lets it in any more",
            (_, false) => "neither phones nor operators connect then",
            (_, true) => "no gateway lets it in then",
        };
        let remedy = match is_own {
            true => "`certs issue operator DIR --name NAME` makes another",
            false => "`certs issue server DIR` makes another; bring it there, then `systemctl reload gateway`",
        };
        let word = if stage == Stage::Over { "EXPIRED" } else { "EXPIRES" };
        Some(format!("{whose}  {word} at {at}: {what}; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_said_an_hour_before_and_when_it_came_and_no_more() {
        let (mut endings, end) = (Endings::default(), UnixMillis(10 * SOON_MS));
        let mut said = |whose: &str, expires_at, before_ms: i64| {
            let now = UnixMillis(end.0.saturating_add_signed(-before_ms));
            let line = endings.look(whose, expires_at, now)?;
            line.contains(whose).then(|| {
                line.split_whitespace()
                    .find(|word| word.starts_with("EXPIRE"))
                    .map(str::to_owned)
            })?
        };
        let hour = SOON_MS as i64;
        for (before_ms, wanted) in [
            (hour + 1, None),
            (hour, Some("EXPIRES")),
            (hour - 1, None),
            (1, None),
            (0, Some("EXPIRED")),
            (-1, None),
        ] {
            assert_eq!(said("gw1", end, before_ms).as_deref(), wanted, "{before_ms} ms before");
        }
        // Another gateway, and our own: each is said for itself. A new one is begun with anew.
        assert_eq!(said("gw2", end, 1).as_deref(), Some("EXPIRES"));
        assert_eq!(said(OWN, end, -1).as_deref(), Some("EXPIRED"));
        assert_eq!(said("gw1", UnixMillis(end.0 + 1), 1).as_deref(), Some("EXPIRES"));
        assert_eq!(said("gw1", UnixMillis(u64::MAX), 1), None);
    }
}
