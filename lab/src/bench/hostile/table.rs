//! What the attacks cost, and the bounds that they keep or break.

use super::plan::Attack;
use crate::report::{Line, Report, Table};
use shake_rules::money::grouped;
use std::collections::BTreeMap;

/// Counters and answers that are shown of each attack.
const SHOWN: usize = 6;
const MIB: f64 = 1_048_576.0;

/// One attack and what it did.
pub struct Row {
    pub attack: &'static Attack,
    pub success_alone: f64,
    pub success_under: f64,
    pub p99_alone_us: u64,
    pub p99_under_us: u64,
    /// From before the attack to the most during it.
    pub growth_bytes: u64,
    /// Of one core, while the attack went on.
    pub cpu_share: f64,
    pub connections: u64,
    pub sent: u64,
    pub answers: BTreeMap<String, u64>,
    pub breaches: Vec<String>,
    pub counters: BTreeMap<String, u64>,
    /// Of what the attack has a bound for, in its order.
    pub counted: Vec<u64>,
    pub is_balanced: bool,
    /// Whom the agent blocked, and for what.
    pub blocks: Blocked,
}

/// The blocks of one attack.
#[derive(Clone, Debug, Default)]
pub struct Blocked {
    /// By rule.
    pub made: BTreeMap<String, u64>,
    /// Not made, because too many held already.
    pub held_back: u64,
    /// Honest phones among them.
    pub honest: usize,
    /// From the attack's start to the first, in seconds.
    pub first_s: Option<f64>,
}

impl Blocked {
    fn text(&self) -> String {
        let Some(first_s) = self.first_s else {
            return "nobody".to_owned();
        };
        let made: Vec<_> = self.made.iter().map(|(rule, made)| format!("{rule} {made}")).collect();
        let held_back = match self.held_back {
            0 => String::new(),
            some => format!(", {some} held back"),
        };
        format!("{}{held_back}; the first after {first_s:.1} s", made.join(", "))
    }
}

impl Row {
    /// The bounds that do not hold, in words.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.success_under < self.attack.success_min {
            broken.push(format!(
                "{:.2} % of the honest shakes answered, not {:.1} %",
                self.success_under * 100.0,
                self.attack.success_min * 100.0
            ));
        }
        let growth = self.growth_bytes as f64 / MIB;
        if self.growth_bytes > self.attack.growth_bytes_max() {
            broken.push(format!(
                "memory grew by {growth:.1} MiB, not {:.1}",
                self.attack.growth_bytes_max() as f64 / MIB
            ));
        }
        if !self.is_balanced {
            broken.push("the audit does not balance".to_owned());
        }
        if self.blocks.honest > 0 {
            broken.push(format!("{} honest phones were taken for abusers", self.blocks.honest));
        }
        for ((name, most), counted) in self.attack.counted_max.iter().zip(&self.counted) {
            if counted > most {
                broken.push(format!("{name} {counted}, not {most}"));
            }
        }
        broken.extend(self.breaches.iter().map(|breach| format!("breach: {breach}")));
        broken
    }
}

/// What the attacks cost, what was counted and told meanwhile, and a line for each.
pub fn report(rows: &[Row]) -> Report {
    let head = [
        "attack",
        "sent",
        "connections",
        "honest %, alone",
        "under attack",
        "p99 ms, alone",
        "under attack",
        "growth MiB",
        "at most",
        "CPU",
    ];
    let mut costs = Table::new("", head);
    let mut counts = Table::new(
        "What the gateway counted, what the attackers were told, and whom the agent blocked",
        ["attack", "counted", "told", "blocked"],
    );
    for row in rows {
        let percent = |share: f64| format!("{:.2}", share * 100.0);
        let ms = |us: u64| format!("{:.1}", us as f64 / 1e3);
        costs.row([
            row.attack.name.to_owned(),
            grouped(row.sent),
            grouped(row.connections),
            percent(row.success_alone),
            percent(row.success_under),
            ms(row.p99_alone_us),
            ms(row.p99_under_us),
            format!("{:.1}", row.growth_bytes as f64 / MIB),
            format!("{:.0}", row.attack.growth_bytes_max() as f64 / MIB),
            format!("{:.0} %", row.cpu_share * 100.0),
        ]);
        counts.row([
            row.attack.name.to_owned(),
            most(&row.counters),
            most(&row.answers),
            row.blocks.text(),
        ]);
    }
    let line = |row: &Row| Line {
        bound: "within its bounds".to_owned(),
        ..Line::without(row.attack.name, &row.broken())
    };
    Report {
        tables: vec![costs, counts],
        lines: rows.iter().map(line).collect(),
    }
}

/// The largest first.
fn most(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown: Vec<_> = sorted
        .iter()
        .take(SHOWN)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if shown.is_empty() {
        "nothing".to_owned()
    } else {
        shown.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::hostile::plan::ALL;

    fn row() -> Row {
        Row {
            attack: &ALL[0],
            success_alone: 1.0,
            success_under: 1.0,
            p99_alone_us: 1,
            p99_under_us: 1,
            growth_bytes: 0,
            cpu_share: 0.1,
            connections: 1,
            sent: 1,
            answers: BTreeMap::new(),
            breaches: Vec::new(),
            counters: BTreeMap::new(),
            counted: Vec::new(),
            is_balanced: true,
            blocks: Blocked::default(),
        }
    }

    /// An attack with a bound on what the gateway counts.
    fn counting() -> &'static Attack {
        let found = ALL.iter().find(|attack| attack.counted_max.len() == 1);
        found.expect("there is one")
    }

    #[test]
    fn each_bound_breaks_by_itself() {
        assert!(row().broken().is_empty());
        let cases = [
            Row {
                success_under: 0.99,
                ..row()
            },
            Row {
                growth_bytes: u64::MAX,
                ..row()
            },
            Row {
                is_balanced: false,
                ..row()
            },
            Row {
                attack: counting(),
                counted: vec![u64::MAX],
                ..row()
            },
            Row {
                breaches: vec!["paid twice".to_owned()],
                ..row()
            },
            Row {
                blocks: Blocked {
                    honest: 1,
                    ..Blocked::default()
                },
                ..row()
            },
        ];
        for case in cases {
            assert_eq!(case.broken().len(), 1, "{:?}", case.broken());
            let report = report(&[case]);
            assert!(!report.lines[0].holds, "{report}");
        }
    }
}
