//! Asks the ledger after a round, and compares it with what phones say.

use super::{COMMAND, Stage, read};
use crate::chaos::books::{Evidence, Ledger, Settlement, View};
use crate::chaos::plan;
use crate::demo::reports::{Audit, unpaid};
use crate::testbed::{Patience, files, run_to_file};
use anyhow::Context;
use std::fs;
use std::path::Path;

/// Asks the ledger, and compares it with what phones say.
pub(super) fn compare(
    stage: &Stage<'_>,
    directory: &Path,
    view: &View,
    number: u32,
    is_whole: bool,
) -> anyhow::Result<Vec<String>> {
    let ask = |name: &'static str, args: &[&str], output: &str| {
        let mut command = stage.programs.command("shake-agent");
        command.args(args).arg("--config").arg(stage.place.file(files::AGENT));
        let patience = Patience {
            at_most: COMMAND,
            interrupt: stage.interrupt,
        };
        let output = directory.join(output);
        // A difference ends with an error as well; what is printed says more.
        run_to_file(name, command, &output, &patience, || Ok(()))?;
        read(&output)
    };
    let export = |what, output| {
        ask(
            "ledger export",
            &["ledger", "export", "--format", "csv", "--what", what],
            output,
        )
    };
    let audit: Audit = serde_json::from_str(&ask("audit", &["audit", "--json"], files::AUDIT)?)
        .context("the audit is not what was expected")?;
    let settlement: Settlement = serde_json::from_str(&ask(
        "settlement verify",
        &["settlement", "verify", "--json"],
        "settlement.json",
    )?)
    .context("the check of the settlement is not what was expected")?;
    let ledger = Ledger::read(&export("outbox", files::OUTBOX)?, &export("packets", "packets.csv")?)?;
    let first = plan::first_user(number);
    let evidence = Evidence {
        all: &stage.all,
        round: view,
        users: first..first + plan::PHONES,
        is_whole,
        ledger: &ledger,
        audit: &audit,
        settlement: &settlement,
    };
    Ok(evidence.failures())
}

/// The last look, after both programs have ended in good order: everything agrees, and nothing waits for settlement.
///
/// # Errors
/// When something cannot be read.
pub fn compare_at_end(stage: &Stage<'_>, rounds: u32) -> anyhow::Result<Vec<String>> {
    let directory = stage.place.file("end");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut wrong = compare(stage, &directory, &View::default(), rounds, false)?;
    let settlement: Settlement = serde_json::from_str(&read(&directory.join("settlement.json"))?)?;
    if settlement.backlog.count > 0 {
        wrong.push(format!("{} lines still wait for settlement", settlement.backlog.count));
    }
    let mut export = stage.programs.command("shake-agent");
    let what = ["ledger", "export", "--format", "csv", "--what", "users", "--config"];
    export.args(what).arg(stage.place.file(files::AGENT));
    let patience = Patience {
        at_most: COMMAND,
        interrupt: stage.interrupt,
    };
    let users = directory.join(files::USERS);
    run_to_file("ledger export", export, &users, &patience, || Ok(()))?.success()?;
    let lines = read(&plan::settlement(stage.place))?;
    wrong.extend(unpaid(&lines, &read(&users)?)?);
    Ok(wrong)
}
