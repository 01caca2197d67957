//! Whether phones, ledger, seed and settlement agree after a round. Pure: compares what each said, and names every reason
//! why not.

use super::journal::Told;
use crate::demo::reports::{Audit, id, rows};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// What phones were told, of all rounds so far: cents by packet and user for gains, cents by packet and sender for packets
/// sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub gains: BTreeMap<(u64, u64), u64>,
    pub sends: BTreeMap<(u64, u64), u64>,
}

/// What the ledger has, in the same terms.
#[derive(Debug, Default)]
pub struct Ledger {
    pub gains: BTreeMap<(u64, u64), u64>,
    pub sends: BTreeMap<(u64, u64), u64>,
    /// Who opened each packet that was won; more than one is what must never be.
    pub openers: BTreeMap<u64, Vec<u64>>,
}

/// `shake-agent settlement verify --json`, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub struct Settlement {
    pub agrees: bool,
    /// None where payment reads the table, or copies of it.
    pub backlog: Option<Backlog>,
}

/// Credits that wait to be settled.
#[derive(Debug, Deserialize)]
pub struct Backlog {
    pub count: u64,
}

impl View {
    /// Adds what a phone was told. The same may be told again.
    ///
    /// # Errors
    /// When it was told something else before: money changed under the phone.
    pub fn add(&mut self, kind: &str, packet: u64, user: u64, cents: u64) -> Result<(), String> {
        let of_kind = if kind == "send" {
            &mut self.sends
        } else {
            &mut self.gains
        };
        match of_kind.insert((packet, user), cents) {
            Some(before) if before != cents => Err(format!(
                "user {user} was told {before} and then {cents} cents of packet {packet} ({kind})"
            )),
            _ => Ok(()),
        }
    }

    /// Adds a journal.
    pub fn add_journal(&mut self, told: &[Told]) -> Vec<String> {
        let add = |told: &Told| self.add(&told.kind, told.packet, told.user, told.cents).err();
        told.iter().filter_map(add).collect()
    }

    /// Adds the list that a simulator writes at its end.
    ///
    /// # Errors
    /// When it is none.
    pub fn add_credits(&mut self, list: &str) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        for [kind, packet, user, cents] in rows(list, ["kind", "packet", "user", "cents"])? {
            wrong.extend(self.add(&kind, id(&packet)?, id(&user)?, cents.parse()?).err());
        }
        Ok(wrong)
    }

    /// Adds another view.
    pub fn join(&mut self, other: &Self) {
        self.gains.extend(&other.gains);
        self.sends.extend(&other.sends);
    }
}

impl Ledger {
    /// Reads `ledger export` of the outbox and of the packets.
    ///
    /// # Errors
    /// When they are none.
    pub fn read(outbox: &str, packets: &str) -> anyhow::Result<Self> {
        let mut ledger = Self::default();
        for [kind, packet, user, cents] in rows(outbox, ["kind", "packet", "user", "cents"])? {
            if kind == "refund" || kind == "send" {
                continue;
            }
            let (packet, user, cents) = (id(&packet)?, id(&user)?, cents.parse::<u64>()?);
            *ledger.gains.entry((packet, user)).or_default() += cents;
            if kind == "open" {
                ledger.openers.entry(packet).or_default().push(user);
            }
        }
        for [origin, packet, sender, cents] in rows(packets, ["origin", "packet", "sender", "cents"])? {
            if origin == "sent" {
                ledger.sends.insert((id(&packet)?, id(&sender)?), cents.parse()?);
            }
        }
        Ok(ledger)
    }
}

/// Everything that was said after a round.
pub struct Evidence<'a> {
    /// What phones were told, in this and all earlier rounds.
    pub all: &'a View,
    /// What those of this round were told.
    pub round: &'a View,
    /// The users of this round.
    pub users: Range<u64>,
    /// No simulator of this round was killed: what the phones know is all that there is.
    pub is_whole: bool,
    pub ledger: &'a Ledger,
    pub audit: &'a Audit,
    pub settlement: &'a Settlement,
}

impl Evidence<'_> {
    /// Every reason why they do not agree; none when they do.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if !self.audit.balanced {
            let first = self.audit.differences.first();
            let named = first.map_or(String::new(), |d| {
                format!(": {} {} expected {} found {}", d.kind, d.subject, d.expected, d.found)
            });
            failures.push(format!(
                "the audit has {} differences{named}",
                self.audit.difference_count
            ));
        }
        if !self.settlement.agrees {
            failures.push("the settlement file and the outbox do not agree".into());
        }
        let (all, ledger) = (self.all, self.ledger);
        acknowledged(&mut failures, "credits", &all.gains, &ledger.gains);
        acknowledged(&mut failures, "packets sent", &all.sends, &ledger.sends);
        for (packet, users) in ledger.openers.iter().filter(|(_, users)| users.len() > 1) {
            failures.push(format!(
                "packet {packet} was opened {} times, by users {users:?}",
                users.len()
            ));
        }
        if self.is_whole {
            let ours = |of: &BTreeMap<(u64, u64), u64>| -> Vec<(u64, u64)> {
                of.keys()
                    .filter(|(_, user)| self.users.contains(user))
                    .copied()
                    .collect()
            };
            let unheard = |of: &BTreeMap<(u64, u64), u64>, heard: &BTreeMap<(u64, u64), u64>| -> Vec<(u64, u64)> {
                ours(of).into_iter().filter(|key| !heard.contains_key(key)).collect()
            };
            name(
                &mut failures,
                "credits that no phone heard of",
                &unheard(&ledger.gains, &self.round.gains),
            );
            name(
                &mut failures,
                "packets sent that no phone heard of",
                &unheard(&ledger.sends, &self.round.sends),
            );
        }
        let credited: u64 = ledger.gains.values().sum();
        let books = self.audit.total.opened.cents + self.audit.sent.grabbed.cents;
        if credited != books {
            failures.push(format!("the outbox credits {credited} cents, the audit says {books}"));
        }
        failures
    }
}

/// All that phones were told stands in the ledger, to the cent.
fn acknowledged(
    failures: &mut Vec<String>,
    what: &str,
    told: &BTreeMap<(u64, u64), u64>,
    ledger: &BTreeMap<(u64, u64), u64>,
) {
    let keys = |is_wrong: &dyn Fn(&(u64, u64), u64) -> bool| -> Vec<(u64, u64)> {
        let wrong = told.iter().filter(|(key, cents)| is_wrong(key, **cents));
        wrong.map(|(key, _)| *key).collect()
    };
    let missing = keys(&|key, _| !ledger.contains_key(key));
    let differ = keys(&|key, cents| ledger.get(key).is_some_and(|found| *found != cents));
    name(
        failures,
        &format!("acknowledged {what} that the ledger does not have"),
        &missing,
    );
    name(
        failures,
        &format!("acknowledged {what} of another amount in the ledger"),
        &differ,
    );
}

fn name(failures: &mut Vec<String>, what: &str, keys: &[(u64, u64)]) {
    const NAMED: usize = 3;
    if keys.is_empty() {
        return;
    }
    let named: Vec<_> = keys
        .iter()
        .take(NAMED)
        .map(|(packet, user)| format!("packet {packet} of user {user}"))
        .collect();
    let more = if keys.len() > NAMED { ", …" } else { "" };
    failures.push(format!("{} {what}: {}{more}", keys.len(), named.join(", ")));
}

/// What a simulator's own report says that must not be. Claims of honest phones are refused for no reason but these.
pub fn report_failures(report: &Value, reasons: &[&str]) -> Vec<String> {
    let mut failures = Vec::new();
    let checks = report.get("checks").and_then(Value::as_object);
    if checks.and_then(|checks| checks.get("passed")) != Some(&Value::Bool(true)) {
        let told =
            |value: &Value| value.as_u64().is_some_and(|n| n > 0) || value.as_array().is_some_and(|a| !a.is_empty());
        let named: Vec<_> = checks.into_iter().flatten().filter(|(_, value)| told(value)).collect();
        failures.push(format!("the gateway did what it never may: {named:?}"));
    }
    for kind in ["/claims", "/packets/grabs", "/packets/sends"] {
        for end in ["gave_up", "failed", "unfinished"] {
            let count = report.pointer(&format!("{kind}/{end}")).and_then(Value::as_u64);
            match count {
                Some(0) => {}
                Some(count) => failures.push(format!("{count} of the phones' {kind} ended as {end}")),
                None => failures.push(format!("the report has no {kind}/{end}")),
            }
        }
    }
    let refused = report.pointer("/claims/refused").and_then(Value::as_object);
    for (reason, count) in refused.into_iter().flatten() {
        if !reasons.contains(&reason.as_str()) {
            failures.push(format!("{count} claims of honest phones were refused as {reason}"));
        }
    }
    failures
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
