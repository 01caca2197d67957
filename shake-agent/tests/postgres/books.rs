//! What is read of the ledger while agents run.

use super::*;

/// From the command line, while agents run: user 7 has opened two packets, the second of which is this.
pub fn read_the_books(fleet: &Fleet, packet: PacketId) {
    let seeds = fleet.seeds.path().join("seeds");
    let (seeds, url) = (seeds.to_str().unwrap(), fleet.server.url("event"));
    let check = |args: &str, code: i32, word: &str| {
        let output = agent(&fleet.events[0]).args(args.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {text}");
        assert!(text.contains(word), "{args}: {text}");
    };
    let audit = format!("audit --fleet {seeds}");
    check(&format!("{audit} --config agent.toml --on-primary"), 0, "\nbalanced");
    check(
        &format!("{audit} --ledger {url} --on-primary --json"),
        0,
        "\"opened\":{\"packets\":2,",
    );
    check(
        &format!("{audit} --ledger {url}"),
        2,
        "give a standby's address, or --on-primary",
    );
    check(
        &format!("{audit} --ledger {url} --on-primary --unused seed-0.bin"),
        2,
        "that of all parts",
    );
    check("audit --config agent.toml --on-primary", 2, "--fleet");
    check("ledger show user 7 --config agent.toml", 0, "user 7");
    check(
        &format!("ledger show packet {packet} --ledger {url} --json"),
        0,
        "\"state\":\"opened\"",
    );
    check(
        "ledger export --config agent.toml --what outbox --format csv",
        1,
        "--on-primary",
    );
    let export = format!("ledger export --ledger {url} --on-primary --what outbox --format csv");
    check(&export, 0, "transfer,incarnation,part\n");
    check(
        "settlement verify --config agent.toml --on-primary --json",
        0,
        "\"agrees\":true",
    );
    copy_the_outbox(&url, check);
    check(
        "ledger backup to.db --config agent.toml",
        1,
        "for ledgers in files only",
    );
    check(&format!("ledger copy to.db --ledger {url}"), 1, "pg_basebackup");
    // A cent is missing.
    let take = "UPDATE users SET balance_cents = balance_cents - 1 WHERE usr = 7";
    fleet.server.run("event", take).unwrap();
    check(
        &format!("{audit} --config agent.toml --on-primary"),
        1,
        "account_balance: user 7: expected",
    );
    check(
        "settlement verify --config agent.toml --on-primary",
        1,
        "does NOT agree",
    );
}

/// Payment has a file for each part, which goes on where it ended, and agrees.
fn copy_the_outbox(url: &str, check: impl Fn(&str, i32, &str)) {
    let run = format!("settlement run --ledger {url} --out settlement --once");
    check(&run, 3, "--from-the-beginning");
    check(
        &format!("{run} --from-the-beginning"),
        0,
        "2 lines were added to the files of 2 parts",
    );
    check(&run, 0, "0 lines were added");
    let verify = format!("settlement verify --ledger {url} --on-primary --file settlement");
    check(&verify, 0, "2 lines are in the files, 0 wait");
    check(
        "settlement run --ledger ledger.db --out settlement",
        1,
        "settled by its agent",
    );
    check(
        &format!("settlement begin --from 1 --ledger {url}"),
        1,
        "settlement run --from-the-beginning",
    );
}
