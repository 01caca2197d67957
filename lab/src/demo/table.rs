//! The demo's result as a table for people, and as JSON.

use super::Options;
use super::reports::Tally;
use super::verdict::{Evidence, sum};
use client_sim::report::Percentiles;
use serde_json::{Value, json};
use shake_rules::money::{grouped, money};

/// The table, with more lines about how it went.
pub fn text(options: &Options, evidence: &Evidence, more: &[(&str, String)], failures: &[String]) -> String {
    let phones = &evidence.phones;
    let (sessions, shakes, claims) = (&phones.sessions, &phones.shakes, &phones.claims.counts);
    let mut out = format!(
        "\n{} phones, {} shakes/s, {} s\n\n",
        grouped(options.sessions.into()),
        grouped(options.shakes_per_second.into()),
        options.seconds
    );
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<11}  {value}\n"));
    line(
        "phones",
        format!(
            "{} on the {} engine, connected at {:.0}/s, {} gave up, {} connections lost",
            grouped(sessions.counts.connected),
            phones.scenario.engine,
            sessions.handshakes_per_second,
            grouped(sessions.counts.failed),
            grouped(sessions.counts.lost)
        ),
    );
    line(
        "shakes",
        format!(
            "{} sent, {} answered at {:.0}/s, {} unanswered, {} without a connection ({:.4} %)",
            grouped(shakes.counts.sent),
            grouped(shakes.counts.answered),
            shakes.answered_per_second,
            grouped(shakes.counts.unanswered),
            grouped(shakes.counts.skipped_offline),
            evidence.unanswered_share() * 100.0
        ),
    );
    line("latency", percentiles(&phones.latency));
    for (at, (outcome, count)) in phones.outcomes.iter().enumerate() {
        line(
            if at == 0 { "outcomes" } else { "" },
            format!("{outcome:<14} {:>12}", grouped(*count)),
        );
    }
    let refused: u64 = claims.course.refused.values().sum();
    line(
        "wins",
        format!(
            "{} won, {} opened, {} refused, {} without an end; {} busy answers",
            grouped(claims.wins),
            grouped(claims.opened),
            grouped(refused),
            grouped(claims.course.without_answer()),
            grouped(claims.course.busy)
        ),
    );
    line("claims", percentiles(&phones.claims.latency));
    for (name, value) in more {
        line(name, value.clone());
    }
    out.push_str(&packets(evidence));
    let agree = evidence.phones_credits == evidence.books.credits;
    let mut line = |name: &str, value: &str| out.push_str(&format!("  {name:<11}  {value}\n"));
    line(
        "audit",
        if evidence.books.audit.balanced {
            "balanced"
        } else {
            "NOT balanced"
        },
    );
    line(
        "agreement",
        if agree {
            "phones and ledger agree credit by credit"
        } else {
            "phones and ledger DIFFER"
        },
    );
    line("result", if failures.is_empty() { "good" } else { "FAILED" });
    for difference in evidence.books.audit.differences.iter().take(10) {
        let super::reports::Difference {
            kind,
            subject,
            expected,
            found,
        } = difference;
        out.push_str(&format!("  {kind}: {subject}: expected {expected}, found {found}\n"));
    }
    for remark in &phones.remarks {
        out.push_str(&format!("  remark: {remark}\n"));
    }
    for failure in failures {
        out.push_str(&format!("  failed: {failure}\n"));
    }
    out
}

/// Where the packets and their cents are, and what the phones say of the opened ones.
fn packets(evidence: &Evidence) -> String {
    let total = evidence.books.audit.total;
    let sent = &evidence.books.audit.sent;
    let mut out = format!("\n  {:<24}  {:>12}  {:>18}\n", "", "number", "money");
    let mut row = |name: &str, tally: Tally| {
        out.push_str(&format!(
            "  {name:<24}  {:>12}  {:>18}\n",
            grouped(tally.packets),
            money(tally.cents)
        ));
    };
    row("phones say: credits", sum(&evidence.phones_credits));
    row("ledger says: credits", sum(&evidence.books.credits));
    row("seed, all of it", total.seed);
    row("budget for gifts", total.gifts);
    row("  credited", total.opened);
    row("  in tickets or in hand", total.held);
    row("  gone back", total.refunded);
    row("  void", total.void);
    row("  lost", total.lost);
    row("  not released", total.unreleased);
    if sent.sent.packets > 0 {
        row("sent by users", sent.sent);
        row("  grabbed", sent.grabbed);
        row("  to be grabbed", sent.open);
        row("  gone back", sent.refunded);
    }
    out.push('\n');
    out
}

fn percentiles(latency: &Percentiles) -> String {
    let Percentiles {
        p50_us,
        p90_us,
        p99_us,
        p999_us,
        max_us,
        ..
    } = latency;
    let ms = |us: &u64| format!("{:.2}", *us as f64 / 1000.0);
    format!(
        "p50 {}  p90 {}  p99 {}  p99.9 {}  max {} ms",
        ms(p50_us),
        ms(p90_us),
        ms(p99_us),
        ms(p999_us),
        ms(max_us)
    )
}

/// The same for programs.
pub fn json(options: &Options, evidence: &Evidence, failures: &[String]) -> Value {
    let phones = &evidence.phones;
    let tally = |tally: Tally| json!({"number": tally.packets, "cents": tally.cents});
    let latency = |latency: &Percentiles| {
        let Percentiles {
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
            ..
        } = latency;
        json!({"p50_us": p50_us, "p90_us": p90_us, "p99_us": p99_us, "p999_us": p999_us, "max_us": max_us})
    };
    let (shakes, claims, total) = (&phones.shakes, &phones.claims, evidence.books.audit.total);
    json!({
        "good": failures.is_empty(),
        "failures": failures,
        "remarks": phones.remarks,
        "sessions": options.sessions,
        "shakes_per_second": options.shakes_per_second,
        "seconds": options.seconds,
        "engine": phones.scenario.engine,
        "connected": phones.sessions.counts.connected,
        "shakes": {
            "sent": shakes.counts.sent,
            "answered": shakes.counts.answered,
            "unanswered": shakes.counts.unanswered,
            "held_back": shakes.counts.held_back,
            "skipped_offline": shakes.counts.skipped_offline,
            "unanswered_share": evidence.unanswered_share(),
        },
        "outcomes": phones.outcomes,
        "latency": latency(&phones.latency),
        "claim_latency": latency(&claims.latency),
        "wins": claims.counts.wins,
        "phones_credits": tally(sum(&evidence.phones_credits)),
        "ledger_credits": tally(sum(&evidence.books.credits)),
        "ledger": {
            "seed": tally(total.seed),
            "unreleased": tally(total.unreleased),
            "held": tally(total.held),
            "opened": tally(total.opened),
            "refunded": tally(total.refunded),
            "gifts": tally(total.gifts),
            "void": tally(total.void),
            "lost": tally(total.lost),
        },
        "audit_balanced": evidence.books.audit.balanced,
        "credits_agree": evidence.phones_credits == evidence.books.credits,
    })
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::good;
    use super::*;

    const OPTIONS: Options = Options::of_size(2_000, 5_000, 20);

    #[test]
    fn the_table_has_what_was_asked() {
        let good = good();
        let more = [("fleet", "of two".to_owned())];
        let text = text(&OPTIONS, &good, &more, &good.failures());
        for words in [
            "10,000 sent",
            "greeting",
            "p99.9 9.00",
            "13.00",
            "50.00",
            "0.0100 %",
            "balanced",
            "credit by credit",
            "fleet        of two",
            "good",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        let bad = super::text(&OPTIONS, &good, &[], &["the sky fell".into()]);
        assert!(bad.contains("FAILED") && bad.contains("failed: the sky fell"), "{bad}");
    }

    #[test]
    fn the_json_says_the_same() {
        let good = good();
        let json = json(&OPTIONS, &good, &good.failures());
        assert_eq!((&json["good"], &json["credits_agree"]), (&true.into(), &true.into()));
        assert_eq!(json["phones_credits"], json["ledger_credits"]);
    }
}
