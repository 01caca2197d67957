//! Every difference between the books is named, and none where there is none.

use super::*;
use crate::demo::reports::unpaid;
use crate::demo::verdict::tests::good;
use serde_json::json;

const OUTBOX: &str = "seq,at_ms,user,cents,kind,packet,transfer\n\
    1,5,u1,300,open,p7,4\n2,5,u2,1000,open,p9,5\n3,6,u1,-50,send,p5,8\n4,6,u2,40,grab,p5,9\n5,7,u1,10,refund,p5,11\n";
const PACKETS: &str = "packet,origin,sponsor,sender,cents\np7,seed,1,,300\np9,seed,1,,1000\np5,sent,,u1,50\n";
const CREDITS: &str = "kind,packet,user,sponsor,cents\nopen,7,1,2,300\nopen,9,2,2,1000\ngrab,5,2,0,40\nsend,5,1,0,50\n";

fn check(told: &str, outbox: &str, spoil: fn(&mut Audit, &mut Settlement), is_whole: bool, expected: &[&str]) {
    let mut view = View::default();
    assert_eq!(view.add_credits(told).unwrap(), Vec::<String>::new());
    let ledger = Ledger::read(outbox, PACKETS).unwrap();
    let mut audit = good().books.audit;
    let mut settlement = Settlement {
        agrees: true,
        backlog: Some(Backlog { count: 0 }),
    };
    spoil(&mut audit, &mut settlement);
    let failures = Evidence {
        all: &view,
        round: &view,
        users: 1..10,
        is_whole,
        ledger: &ledger,
        audit: &audit,
        settlement: &settlement,
    }
    .failures();
    let fits = failures.len() == expected.len() && failures.iter().zip(expected).all(|(f, part)| f.contains(part));
    assert!(fits, "{failures:?} is not {expected:?}");
}

#[test]
fn each_disagreement_is_named() {
    let well: fn(&mut Audit, &mut Settlement) = |_, _| {};
    check(CREDITS, OUTBOX, well, true, &[]);
    check(
        CREDITS,
        OUTBOX,
        |audit, _| audit.balanced = false,
        true,
        &["the audit has"],
    );
    check(
        CREDITS,
        OUTBOX,
        |_, settlement| settlement.agrees = false,
        true,
        &["settlement"],
    );
    let more = format!("{CREDITS}open,8,3,1,5\n");
    check(
        &more,
        OUTBOX,
        well,
        true,
        &["1 acknowledged credits that the ledger does not have: packet 8 of user 3"],
    );
    let more = format!("{CREDITS}send,6,3,0,5\n");
    check(
        &more,
        OUTBOX,
        well,
        true,
        &["1 acknowledged packets sent that the ledger does not have"],
    );
    check(
        &CREDITS.replace(",300", ",301"),
        OUTBOX,
        well,
        true,
        &["of another amount"],
    );
    let less = CREDITS.replace("grab,5,2,0,40\n", "");
    check(
        &less,
        OUTBOX,
        well,
        true,
        &["1 credits that no phone heard of: packet 5 of user 2"],
    );
    check(&less, OUTBOX, well, false, &[]);
    let less = CREDITS.replace("send,5,1,0,50\n", "");
    check(&less, OUTBOX, well, true, &["1 packets sent that no phone heard of"]);
    let twice = format!("{OUTBOX}5,8,4,300,open,7,12\n");
    check(
        CREDITS,
        &twice,
        well,
        false,
        &[
            "packet 7 was opened 2 times, by users [1, 4]",
            "1640 cents, the audit says 1340",
        ],
    );
    let twice = format!("{OUTBOX}5,8,1,300,open,7,12\n");
    check(
        CREDITS,
        &twice,
        well,
        false,
        &["of another amount", "packet 7 was opened 2 times", "1640 cents"],
    );
}

#[test]
fn what_changes_under_a_phone_is_told() {
    let mut view = View::default();
    view.add("open", 1, 2, 3).unwrap();
    view.add("open", 1, 2, 3).unwrap();
    assert!(view.add("open", 1, 2, 4).unwrap_err().contains("told 3 and then 4"));
    view.add("send", 1, 2, 9).unwrap();
}

#[test]
fn a_report_has_no_loose_ends() {
    let ends = json!({"gave_up": 0, "failed": 0, "unfinished": 0});
    let good = json!({"checks": {"passed": true}, "claims": {"gave_up": 0, "failed": 0, "unfinished": 0, "refused": {}},
                      "packets": {"grabs": ends, "sends": ends}});
    assert_eq!(report_failures(&good, &[]), Vec::<String>::new());
    let mut bad = good.clone();
    bad["claims"]["unfinished"] = 2.into();
    bad["checks"] = json!({"passed": false, "opened_twice": [4], "wallets_wrong": 0});
    bad["claims"]["refused"] = json!({"limit_reached": 3});
    let failures = report_failures(&bad, &["packet_void"]);
    assert!(
        failures.len() == 3 && failures[0].contains("opened_twice") && !failures[0].contains("wallets"),
        "{failures:?}"
    );
    assert_eq!(report_failures(&bad, &["limit_reached"]).len(), 2);
    assert_eq!(report_failures(&json!({}), &[]).len(), 10);
}

#[test]
fn lines_for_payment_sum_to_the_balances_user_by_user() {
    let file = "shake-settlement-2,ledger=00,00000000\n1,k,u1,1,300,300,open,p7,5,0\n2,k,u1,2,-50,250,send,p5,6,0\n\
                3,k,u2,1,50,50,grab,p5,6,0\n";
    let users = "user,balance_cents,lines,packets_opened\nu1,250,2,1\nu2,50,1,0\n";
    assert_eq!(unpaid(file, users).unwrap(), Vec::<String>::new());
    for (file, users, part) in [
        (
            file.replace("2,k,u1,2,-50,250,send,p5,6,0\n", ""),
            users.to_owned(),
            "user 1 has 250 cents",
        ),
        (
            file.replace("-50,250", "-50,240"),
            users.to_owned(),
            "the last of them says 240",
        ),
        (
            file.to_owned(),
            users.replace("u2,50,1,0\n", ""),
            "user 2 has lines for payment and no account",
        ),
        (file.to_owned(), format!("{users}u3,7,0,0\n"), "user 3 has 7 cents"),
    ] {
        let wrong = unpaid(&file, &users).unwrap();
        assert!(wrong.len() == 1 && wrong[0].contains(part), "{wrong:?}");
    }
    assert!(unpaid("header\nnothing\n", users).is_err());
}
