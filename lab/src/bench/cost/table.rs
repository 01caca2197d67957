//! The table of `cargo xtask bench cost`.

use super::{Options, Row};
use crate::report::Table;
use shake_rules::money::grouped;

/// All rows, a line for each server.
pub fn table(options: &Options, rows: &[Row]) -> Table {
    let title = format!("{} s each, the median of {}", options.seconds, options.rounds);
    let head = [
        "server",
        "sessions",
        "shakes/s",
        "us a shake",
        "times the floor",
        "shakes a wake-up",
        "KB a session",
        "unanswered",
        "p99 ms",
        "stolen",
    ];
    let mut table = Table::new(title, head);
    for row in rows {
        let servers = [
            ("floor", Some(&row.floor)),
            ("gateway", Some(&row.gateway)),
            ("plain quinn", row.plain.as_ref()),
        ];
        for (name, measured) in servers {
            let Some(one) = measured else { continue };
            table.row([
                name.to_owned(),
                grouped(row.sessions.into()),
                grouped(row.rate.into()),
                format!("{:.2}", one.cpu_us_per_shake),
                format!("{:.2}", row.times_floor(one)),
                format!("{:.1}", one.shakes_per_sleep),
                format!("{:.2}", one.resident_bytes as f64 / 1e3 / f64::from(row.sessions)),
                format!("{:.3} %", one.unanswered_share * 100.0),
                format!("{:.2}", one.p99_us as f64 / 1e3),
                format!("{:.1} %", one.stolen_share * 100.0),
            ]);
        }
    }
    table
}
