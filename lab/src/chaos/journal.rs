//! What the phones wrote down while they played (`client-sim run --journal`): each gain and each packet sent, with its time,
//! and how many shakes had been served by then: served in time, and not by "slow down". And from it, when service was back. Pure.

use crate::demo::reports::rows;
use anyhow::Context;
use std::collections::BTreeMap;

/// One movement of money that a phone was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub kind: String,
    pub packet: u64,
    pub user: u64,
    pub cents: u64,
    pub at_ms: u64,
}

/// The journal of one life of the simulator, or of several, one after the other.
#[derive(Debug, Default)]
pub struct Journal {
    pub told: Vec<Told>,
    /// Shakes served between one beat and the next, by the time of the later one.
    pub served: BTreeMap<u64, u64>,
}

impl Journal {
    /// Adds what a life wrote. A last line without a line break was cut by the simulator's death.
    ///
    /// # Errors
    /// A line that is none.
    pub fn add(&mut self, text: &str) -> anyhow::Result<()> {
        let Some(end) = text.rfind('\n') else {
            return Ok(());
        };
        let columns = ["at_ms", "kind", "packet", "user", "cents", "served"];
        let mut before = 0;
        for (at, row) in rows(&text[..end], columns)?.into_iter().enumerate() {
            let number = |field: &str| {
                let number: Result<u64, _> = field.parse();
                number.with_context(|| format!("line {}: {field:?} is no number", at + 2))
            };
            let [at_ms, kind, packet, user, cents, served] = row;
            let (at_ms, served) = (number(&at_ms)?, number(&served)?);
            if kind == "shakes" {
                *self.served.entry(at_ms).or_default() += served.saturating_sub(before);
                before = served;
            } else {
                self.told.push(Told {
                    kind,
                    packet: number(&packet)?,
                    user: number(&user)?,
                    cents: number(&cents)?,
                    at_ms,
                });
            }
        }
        Ok(())
    }

    /// Shakes served in a span of time, per second.
    pub fn rate(&self, from_ms: u64, until_ms: u64) -> f64 {
        let served: u64 = self.served.range(from_ms..until_ms).map(|(_, served)| served).sum();
        served as f64 * 1e3 / until_ms.saturating_sub(from_ms).max(1) as f64
    }

    /// How long after `from_ms` shakes were served again at a tenth of `usual_rate`: the first beat that begins two seconds
    /// in each of which so many were, so that the answers to what had waited are not taken for service. `None` also while
    /// these seconds are not over.
    pub fn shakes_back_ms(&self, from_ms: u64, usual_rate: f64) -> Option<u64> {
        const SECOND_MS: u64 = 1_000;
        let last_ms = *self.served.last_key_value()?.0;
        let is_service = |at_ms: u64| self.rate(at_ms, at_ms + SECOND_MS) >= usual_rate / 10.0;
        let mut beats = self.served.range(from_ms..).map(|(at_ms, _)| *at_ms);
        let began = beats.find(|at_ms| is_service(*at_ms) && is_service(at_ms + SECOND_MS));
        began
            .filter(|at_ms| at_ms + 2 * SECOND_MS <= last_ms)
            .map(|at_ms| at_ms - from_ms)
    }

    /// How long after `from_ms` the first claim was served.
    pub fn claims_back_ms(&self, from_ms: u64) -> Option<u64> {
        let opened = self.told.iter().filter(|told| told.kind == "open");
        let after = opened.filter_map(|told| told.at_ms.checked_sub(from_ms));
        after.min()
    }
}

/// A moment from which no fault was at work, how long shakes and claims took to be back then, and what went before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The fault that ended last.
    pub after: String,
    /// `None` when they were not back before the next fault or the end.
    pub shakes_ms: Option<u64>,
    pub claims_ms: Option<u64>,
}

/// When a fault was at work, as it came: from and until, in milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub from_ms: u64,
    pub until_ms: u64,
}

/// The moments of calm after each cluster of faults, up to the next. A moment that the next fault cut short before
/// service was back says nothing, and is left out; the last one never is.
pub fn recoveries(journal: &Journal, spans: &[Span], usual_rate: f64) -> Vec<Recovery> {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.from_ms);
    let mut found = Vec::new();
    let mut ends: Option<(u64, String)> = None;
    let mut look = |(calm_ms, name): (u64, String), next_ms: Option<u64>| {
        let within = |ms: &u64| next_ms.is_none_or(|next_ms| calm_ms + ms < next_ms);
        let shakes_ms = journal.shakes_back_ms(calm_ms, usual_rate).filter(within);
        let claims_ms = journal.claims_back_ms(calm_ms).filter(within);
        if next_ms.is_none() || (shakes_ms.is_some() && claims_ms.is_some()) {
            found.push(Recovery {
                after: name,
                shakes_ms,
                claims_ms,
            });
        }
    };
    for span in spans {
        match ends.take() {
            Some(calm) if calm.0 < span.from_ms => {
                look(calm, Some(span.from_ms));
                ends = Some((span.until_ms, span.name));
            }
            Some(calm) if calm.0 >= span.until_ms => ends = Some(calm),
            _ => ends = Some((span.until_ms, span.name)),
        }
    }
    if let Some(calm) = ends {
        look(calm, None);
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const TEXT: &str = "at_ms,kind,packet,user,cents,served\n\
        1000,shakes,,,,100\n1100,open,7,1,300,150\n1100,shakes,,,,200\n2100,shakes,,,,300\n3000,shakes,,,,301\n\
        5200,shakes,,,,501\n5400,grab,9,4,1,510\n5500,open,8,2,10,540\n6200,shakes,,,,701\n7200,shakes,,,,702\n56";

    fn span(name: &str, from_ms: u64, until_ms: u64) -> Span {
        Span {
            name: name.to_owned(),
            from_ms,
            until_ms,
        }
    }

    #[test]
    fn lines_are_read_and_the_cut_one_is_not() {
        let mut journal = Journal::default();
        journal.add(TEXT).unwrap();
        assert_eq!(journal.told.len(), 3);
        assert_eq!((journal.told[1].kind.as_str(), journal.told[1].packet), ("grab", 9));
        assert_eq!(journal.served.values().sum::<u64>(), 702);
        // A second life counts from nothing.
        journal
            .add("at_ms,kind,packet,user,cents,served\n9000,shakes,,,,10\n")
            .unwrap();
        assert_eq!(journal.served.values().sum::<u64>(), 712);
        let header = TEXT.lines().next().unwrap();
        for (bad, place) in [
            ("1,open,2", "line: 2"),
            ("x,shakes,,,,1", "line 2"),
            ("1,open,a,2,3,4", "line 2"),
        ] {
            let error = Journal::default().add(&format!("{header}\n{bad}\n")).unwrap_err();
            assert!(error.to_string().contains(place), "{bad}: {error}");
        }
    }

    #[test]
    fn service_is_back_when_enough_is_served() {
        let mut journal = Journal::default();
        journal.add(TEXT).unwrap();
        // A tenth of 2,000/s: the one served at 3,000 is not service, 200 at 5,200 and 6,200 each are.
        assert_eq!(journal.shakes_back_ms(2_000, 2_000.0), Some(3_200));
        assert_eq!(journal.claims_back_ms(2_000), Some(3_500));
        assert_eq!(journal.shakes_back_ms(6_000, 2_000.0), None);
        assert_eq!(journal.shakes_back_ms(6_500, 1.0), None, "its seconds are not over");
    }

    #[test]
    fn calm_is_measured_from_the_last_end_of_a_cluster() {
        let mut journal = Journal::default();
        journal.add(TEXT).unwrap();
        let spans = [span("a", 2_000, 4_000), span("b", 3_000, 3_500), span("c", 900, 1_050)];
        let found = recoveries(&journal, &spans, 1_000.0);
        let expected = |after: &str, shakes_ms, claims_ms| Recovery {
            after: after.to_owned(),
            shakes_ms: Some(shakes_ms),
            claims_ms: Some(claims_ms),
        };
        assert_eq!(found, [expected("c", 50, 50), expected("a", 1_200, 1_500)]);
        // Cut short by the next: left out. Never back: told.
        let found = recoveries(&journal, &[span("d", 2_000, 2_500), span("e", 2_600, 6_000)], 2_000.0);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].after.as_str(), found[0].shakes_ms), ("e", None));
    }
}
