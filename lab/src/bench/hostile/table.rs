//! What the attacks cost, as a table for people and as JSON.

use super::plan::Attack;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

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

    pub fn verdict(&self) -> String {
        let broken = self.broken();
        if broken.is_empty() {
            "within its bounds".to_owned()
        } else {
            format!("BROKEN: {}", broken.join("; "))
        }
    }
}

pub fn text(rows: &[Row]) -> String {
    let mut text = format!(
        "\n{:<21} {:>8} {:>7} {:>15} {:>17} {:>15} {:>6}  {}\n",
        "attack", "sent", "conns", "honest answered", "honest p99, ms", "growth / bound", "CPU", "verdict"
    );
    for row in rows {
        writeln!(
            text,
            "{:<21} {:>8} {:>7} {:>6.2} → {:>6.2} {:>7.1} → {:>7.1} {:>6.1} / {:>2.0} MiB {:>4.0} %  {}",
            row.attack.name,
            row.sent,
            row.connections,
            row.success_alone * 100.0,
            row.success_under * 100.0,
            row.p99_alone_us as f64 / 1_000.0,
            row.p99_under_us as f64 / 1_000.0,
            row.growth_bytes as f64 / MIB,
            row.attack.growth_bytes_max() as f64 / MIB,
            row.cpu_share * 100.0,
            row.verdict()
        )
        .expect("a String grows");
    }
    text.push_str("\nWhat the gateway counted, and what the attackers were told:\n");
    for row in rows {
        let counted = most(&row.counters);
        let told = most(&row.answers);
        writeln!(
            text,
            "{:<21} counted: {counted}\n{:<21} told: {told}\n{:<21} blocked: {}",
            row.attack.name,
            "",
            "",
            row.blocks.text()
        )
        .expect("a String grows");
    }
    text.push_str(
        "\nHonest: 500 phones, 500 shakes/s, lean engine, without → with the attack; answered of all that were due, in %.\n\
         CPU: the gateway's, of one core, while the attack went on. Timings vary with what else the machine does.\n",
    );
    text
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

pub fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "attack": row.attack.name,
            "rate": row.attack.rate,
            "size": row.attack.size,
            "sent": row.sent,
            "connections": row.connections,
            "success_share_alone": row.success_alone,
            "success_share_under": row.success_under,
            "success_share_min": row.attack.success_min,
            "p99_alone_us": row.p99_alone_us,
            "p99_under_us": row.p99_under_us,
            "growth_bytes": row.growth_bytes,
            "growth_bytes_max": row.attack.growth_bytes_max(),
            "cpu_share": row.cpu_share,
            "counters": row.counters,
            "counted": row.counted,
            "answers": row.answers,
            "blocks": row.blocks.made,
            "blocks_held_back": row.blocks.held_back,
            "first_block_s": row.blocks.first_s,
            "broken": row.broken(),
        })
    };
    rows.iter().map(row).collect()
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
            assert_eq!(case.broken().len(), 1, "{}", case.verdict());
            assert!(text(&[case]).contains("BROKEN"));
        }
    }
}
