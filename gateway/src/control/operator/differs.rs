//! Who of several gateways differs, in one line: what operators must see before anything else.

use super::client::Client;
use host::clock::moment;
use shake_proto::admin_v1 as v1;
use shake_rules::UnixMillis;
use std::collections::BTreeMap;

/// Cues are the same when they are so close, in milliseconds: each is told by a clock of its own.
const CUE_MS: u64 = 1_000;

/// A gateway as it stood lately.
pub struct Seen<'a> {
    pub target: &'a str,
    pub status: &'a v1::Status,
    /// By how many milliseconds its clock is ahead of ours.
    pub ahead_ms: i64,
}

impl<'a> Seen<'a> {
    pub fn of(client: &'a Client) -> Self {
        Self {
            target: &client.target,
            status: &client.status,
            ahead_ms: client.offset.us / 1_000,
        }
    }

    /// The moments of the cues by our clock.
    fn cues(&self) -> BTreeMap<&str, Option<u64>> {
        let ours = |at: u64| at.saturating_add_signed(-self.ahead_ms);
        let cues = self.status.cues.iter();
        cues.map(|cue| (cue.name.as_str(), cue.at_ms.map(ours))).collect()
    }

    fn content(&self) -> (u64, &str, &str) {
        let status = self.status;
        (status.version, &status.show_sha256, &status.throttle_sha256)
    }

    /// What is not as there.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let (status, theirs) = (self.status, other.status);
        if status.version != theirs.version {
            found.push(format!("version {} instead of {}", status.version, theirs.version));
        }
        if status.event != theirs.event {
            found.push(format!("event {} instead of {}", status.event, theirs.event));
        }
        if status.show_sha256 != theirs.show_sha256 {
            found.push("another show".to_owned());
        }
        if status.throttle_sha256 != theirs.throttle_sha256 {
            found.push("another throttle".to_owned());
        }
        let told =
            |at: Option<u64>| at.map_or_else(|| "waits".to_owned(), |at| format!("at {}", moment(UnixMillis(at))));
        let (cues, others) = (self.cues(), other.cues());
        for (name, &at) in &cues {
            let Some(&there) = others.get(name) else {
                continue;
            };
            let is_same = match (at, there) {
                (Some(at), Some(there)) => at.abs_diff(there) <= CUE_MS,
                (at, there) => at == there,
            };
            if !is_same {
                found.push(format!("cue {name} {} instead of {}", told(at), told(there)));
            }
        }
        found
    }
}

/// The gateway that the others are held against: of the content that most have, and of the highest version among those.
pub fn reference<'s, 'a>(seen: &'s [Seen<'a>]) -> Option<&'s Seen<'a>> {
    let alike = |one: &Seen<'_>| seen.iter().filter(|other| other.content() == one.content()).count();
    seen.iter().max_by_key(|one| (alike(one), one.status.version))
}

/// Gateways that give out the same packets: each would pay them once, and so would the other.
fn twins(seen: &[Seen<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, one) in seen.iter().enumerate() {
        for other in &seen[at + 1..] {
            let (Some(books), Some(theirs)) = (&one.status.books, &other.status.books) else {
                continue;
            };
            if (one.status.event, books.part) != (other.status.event, theirs.part) {
                continue;
            }
            let (target, other, part) = (one.target, other.target, books.part + 1);
            found.push(if books.ledger == theirs.ledger {
                format!("{target} and {other} have one ledger, {}: one is a copy, or both are one gateway", books.ledger)
            } else {
                format!("{target} and {other} both give out part {part} of the seed: each packet would be paid twice; stop one")
            });
        }
    }
    found
}

/// The line; nothing for a single gateway that answers.
pub fn line(seen: &[Seen<'_>], silent: &[String]) -> Option<String> {
    if seen.len() + silent.len() < 2 {
        return None;
    }
    let reference = reference(seen);
    let mut found: Vec<_> = seen
        .iter()
        .filter_map(|one| {
            let differences = one.differences(reference?);
            (!differences.is_empty()).then(|| format!("{}: {}", one.target, differences.join(", ")))
        })
        .collect();
    found.extend(twins(seen));
    found.extend(silent.iter().map(|target| format!("{target} does not answer")));
    Some(match (found.is_empty(), reference) {
        (true, Some(reference)) => format!(
            "{} gateways agree: show {:?}, event {}, version {}",
            seen.len(),
            reference.status.show,
            reference.status.event,
            reference.status.version
        ),
        _ => format!("DIFFERS  {}", found.join("; ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(version: u64, show: &str, cue: Option<u64>) -> v1::Status {
        v1::Status {
            version,
            show_sha256: show.to_owned(),
            cues: vec![v1::CueState {
                name: "go".to_owned(),
                at_ms: cue,
            }],
            ..v1::Status::default()
        }
    }

    #[test]
    fn who_differs_is_told_with_what_and_clocks_make_no_difference() {
        let (good, late) = (status(7, "a", Some(90_000)), status(7, "a", Some(95_300)));
        let (behind, other) = (status(6, "b", None), status(7, "a", Some(60_000)));
        let seen = |target, status, ahead_ms| Seen {
            target,
            status,
            ahead_ms,
        };
        // Its clock is five seconds ahead, and so is its moment.
        let same = [seen("gw1", &good, 0), seen("gw2", &late, 5_000)];
        assert!(line(&same, &[]).is_some_and(|line| line.starts_with("2 gateways agree")));
        let all = [
            seen("gw0", &behind, 0),
            seen("gw1", &good, 0),
            seen("gw2", &late, 5_000),
            seen("gw3", &other, 0),
        ];
        let told = line(&all, &["gw4".to_owned()]).expect("a line");
        assert_eq!(
            told,
            "DIFFERS  gw0: version 6 instead of 7, another show, cue go waits instead of at 1970-01-01T00:01:00Z; \
             gw1: cue go at 1970-01-01T00:01:30Z instead of at 1970-01-01T00:01:00Z; \
             gw2: cue go at 1970-01-01T00:01:30.3Z instead of at 1970-01-01T00:01:00Z; gw4 does not answer"
        );
        assert_eq!(line(&all[..1], &[]), None);
    }

    #[test]
    fn packets_that_two_gateways_give_out_are_told() {
        let with = |part, ledger: &str| v1::Status {
            books: Some(v1::Books {
                part,
                ledger: ledger.to_owned(),
            }),
            ..status(7, "a", None)
        };
        let all = [
            with(0, "aa"),
            with(1, "bb"),
            with(1, "cc"),
            with(0, "aa"),
            status(7, "a", None),
        ];
        let seen = |at: usize| Seen {
            target: ["gw0", "gw1", "gw2", "gw3", "gw4"][at],
            status: &all[at],
            ahead_ms: 0,
        };
        let told = |which: &[usize]| {
            let seen: Vec<_> = which.iter().map(|&at| seen(at)).collect();
            line(&seen, &[]).expect("a line")
        };
        assert!(told(&[0, 1, 4]).starts_with("3 gateways agree"));
        assert_eq!(
            told(&[0, 1, 2]),
            "DIFFERS  gw1 and gw2 both give out part 2 of the seed: each packet would be paid twice; stop one"
        );
        assert_eq!(
            told(&[0, 3]),
            "DIFFERS  gw0 and gw3 have one ledger, aa: one is a copy, or both are one gateway"
        );
    }
}
