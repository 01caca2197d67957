//! The table of `cargo xtask bench cost`.

use super::{Options, Row};

/// All rows, a line for each server.
pub fn text(options: &Options, rows: &[Row]) -> String {
    let mut text = format!(
        "{} s each, the median of {} rounds, lean phones, all on this machine; stolen: CPU time that its host gave to others\n\n{:>9} {:>8}  {:<12} {:>10} {:>9} {:>11} {:>11} {:>11} {:>9} {:>8}\n",
        options.seconds,
        options.rounds,
        "sessions",
        "shakes/s",
        "server",
        "us/shake",
        "x floor",
        "per wake-up",
        "KB/session",
        "unanswered",
        "p99 ms",
        "stolen",
    );
    for row in rows {
        let servers = [
            ("floor", Some(&row.floor)),
            ("gateway", Some(&row.gateway)),
            ("plain quinn", row.plain.as_ref()),
        ];
        for (name, measured) in servers {
            let Some(one) = measured else { continue };
            text.push_str(&format!(
                "{:>9} {:>8}  {name:<12} {:>10.2} {:>9.2} {:>11.1} {:>11.2} {:>10.3}% {:>9.2} {:>7.1}%\n",
                row.sessions,
                row.rate,
                one.cpu_us_per_shake,
                row.times_floor(one),
                one.shakes_per_sleep,
                one.resident_bytes as f64 / 1e3 / f64::from(row.sessions),
                one.unanswered_share * 100.0,
                one.p99_us as f64 / 1e3,
                one.stolen_share * 100.0,
            ));
        }
    }
    text
}
