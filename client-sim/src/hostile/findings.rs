//! What an attack did and what it got.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Breaches that are told in words; more are only counted.
const BREACHES_TOLD: usize = 20;

/// Counts of one attack. Field names are stable.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Its name.
    pub attack: String,
    /// How long it took.
    pub seconds: f64,
    /// Connections that were established.
    pub connections: u64,
    /// Hostile packets or requests that went out.
    pub sent: u64,
    /// What came back, by name: an error code, a refusal, an outcome.
    pub answers: BTreeMap<String, u64>,
    /// What no correct gateway does, in words.
    pub breaches: Vec<String>,
}

impl Findings {
    pub(super) fn new(attack: String) -> Self {
        Self {
            attack,
            ..Self::default()
        }
    }

    pub(super) fn answer(&mut self, name: impl Into<String>) {
        self.answers_add(name, 1);
    }

    pub(super) fn answers_add(&mut self, name: impl Into<String>, count: u64) {
        if count > 0 {
            *self.answers.entry(name.into()).or_default() += count;
        }
    }

    pub(super) fn breach(&mut self, what: impl Into<String>) {
        if self.breaches.len() < BREACHES_TOLD {
            self.breaches.push(what.into());
        }
        self.answer("breach");
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "{}: {:.1} s, {} connections, {} sent\n",
            self.attack, self.seconds, self.connections, self.sent
        );
        for (name, count) in &self.answers {
            writeln!(text, "  {name:<40} {count:>10}").expect("a String grows");
        }
        for breach in &self.breaches {
            writeln!(text, "  BREACH: {breach}").expect("a String grows");
        }
        text
    }
}
