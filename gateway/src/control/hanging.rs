//! What hangs on the keys that hold, and on those that a reload would take away: told before it is too late.

use super::Control;
use crate::key_use::KeyUse;
use crate::secrets::Secrets;
use host::clock::moment;
use shake_proto::admin_v1 as v1;
use shake_rules::UnixMillis;
use shake_rules::keys::{KeyTag, Purpose};

/// The purposes whose keys are counted.
const COUNTED: [Purpose; 3] = [Purpose::UserToken, Purpose::Ticket, Purpose::Cookie];

impl Control {
    /// What hangs on the keys that are here no more with these files.
    pub(super) fn what_goes(&self, after: &Secrets) -> Vec<String> {
        let before = self.shared.current.secrets();
        let mut remarks = Vec::new();
        for purpose in COUNTED {
            let stays = tags(after, purpose);
            for key in tags(&before, purpose).iter().filter(|key| !stays.contains(key)) {
                let (hangs, is_over) = self.hangs_on(purpose, *key);
                let early = if is_over { "" } else { ", TOO EARLY" };
                let then = refused(purpose);
                remarks.push(format!(
                    "{} key {} goes{early}: {hangs}; {then}",
                    purpose.name(),
                    key.id()
                ));
            }
        }
        remarks.extend(after.lost_reset_key().map(|id| {
            format!(
                "stateless-reset key {id} is the one that this process told its phones, and the file has it no more: put it back, \
                 or phones learn of a crash by their timeouts alone"
            )
        }));
        remarks
    }

    /// What hangs on each key that holds.
    pub(super) fn key_uses(&self) -> Vec<v1::KeyUse> {
        let secrets = self.shared.current.secrets();
        let of = |purpose| {
            let keys = tags(&secrets, purpose).iter();
            keys.map(move |&key| {
                let KeyUse { count, ends_at } = self.shared.key_uses.of(purpose, key);
                let (says, is_over) = self.hangs_on(purpose, key);
                v1::KeyUse {
                    purpose: purpose.name().to_owned(),
                    id: key.id().into(),
                    count,
                    good_until_ms: ends_at.0,
                    hangs: !is_over,
                    says,
                }
            })
        };
        COUNTED.into_iter().flat_map(of).collect()
    }

    /// What hangs on a key, and whether nothing does any more, as far as this process knows.
    fn hangs_on(&self, purpose: Purpose, key: KeyTag) -> (String, bool) {
        hangs(purpose, self.shared.key_uses.of(purpose, key), self.shared.clock.now())
    }
}

fn hangs(purpose: Purpose, used: KeyUse, now: UnixMillis) -> (String, bool) {
    let KeyUse { count, ends_at } = used;
    let is_over = ends_at <= now && (purpose != Purpose::UserToken || count == 0);
    let until = match ends_at <= now {
        true => format!("were over by {}", moment(ends_at)),
        false => format!("are good until {} at the latest", moment(ends_at)),
    };
    let text = match purpose {
        _ if ends_at == UnixMillis(0) => format!("no {} of it was made or shown here", purpose.name()),
        Purpose::UserToken => format!("{count} sessions hang on it; tokens of it that were shown here {until}"),
        Purpose::Cookie => format!("{count} cookies were made with it here, which are good until the event ends"),
        _ => format!("{count} tickets were made with it here; tickets and codes of it that are known here {until}"),
    };
    (text, is_over)
}

/// What becomes of what a key made that is gone.
fn refused(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::UserToken => "those sessions are closed over ten minutes, and such tokens are refused",
        Purpose::Cookie => "such cookies count for nothing, and users by what they won here alone",
        _ => "such tickets and codes are refused",
    }
}

fn tags(secrets: &Secrets, purpose: Purpose) -> &[KeyTag] {
    match purpose {
        Purpose::UserToken => secrets.tokens.tags(),
        Purpose::Ticket => secrets.tickets.tags(),
        Purpose::Cookie => secrets.cookies.tags(),
        Purpose::StatelessReset => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_too_early_while_something_of_it_is_good() {
        let used = |count, ends_at| KeyUse {
            count,
            ends_at: UnixMillis(ends_at),
        };
        let now = UnixMillis(1_000);
        for (purpose, used, is_over, words) in [
            (Purpose::UserToken, used(0, 0), true, "no user-token of it"),
            (Purpose::UserToken, used(1, 900), false, "1 sessions hang on it"),
            (
                Purpose::UserToken,
                used(0, 1_001),
                false,
                "good until 1970-01-01T00:00:01.001Z",
            ),
            (
                Purpose::UserToken,
                used(0, 1_000),
                true,
                "were over by 1970-01-01T00:00:01Z",
            ),
            (
                Purpose::Ticket,
                used(7, 1_000),
                true,
                "7 tickets were made with it here; tickets and codes",
            ),
            (Purpose::Ticket, used(0, 1_001), false, "0 tickets were made"),
            (
                Purpose::Cookie,
                used(3, u64::MAX),
                false,
                "3 cookies were made with it here",
            ),
            (Purpose::Cookie, used(0, 0), true, "no cookie of it was made"),
        ] {
            let (text, found) = hangs(purpose, used, now);
            assert_eq!(found, is_over, "{text}");
            assert!(text.contains(words), "{words} in {text}");
        }
    }
}
