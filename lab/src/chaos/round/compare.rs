//! Asks the ledger after a round, and compares it with what phones say.

use super::read;
use crate::chaos::books::{Evidence, Ledger, Settlement, View};
use crate::chaos::plan;
use crate::chaos::stage::Stage;
use crate::demo::reports::{Audit, unpaid, unpaid_by_outbox};
use crate::testbed::{Ended, files, run_to_file};
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Has the ledger answer into a file of this directory.
fn ask(
    stage: &Stage<'_>,
    name: &'static str,
    question: Command,
    directory: &Path,
    output: &str,
) -> anyhow::Result<(Ended, String)> {
    let output = directory.join(output);
    let ended = run_to_file(name, question, &output, &stage.patience(), || Ok(()))?;
    Ok((ended, read(&output)?))
}

fn export(stage: &Stage<'_>, what: &str, directory: &Path, output: &str) -> anyhow::Result<String> {
    let question = stage.question(&["ledger", "export", "--format", "csv", "--what", what]);
    let (ended, text) = ask(stage, "ledger export", question, directory, output)?;
    ended.success()?;
    Ok(text)
}

/// Asks the ledger, and compares it with what phones say.
pub(super) fn compare(
    stage: &Stage<'_>,
    directory: &Path,
    view: &View,
    number: u32,
    is_whole: bool,
) -> anyhow::Result<Vec<String>> {
    // A difference ends with an error as well; what is printed says more.
    let (_, audit) = ask(stage, "audit", stage.audit(), directory, files::AUDIT)?;
    let audit: Audit = serde_json::from_str(&audit).context("the audit is not what was expected")?;
    let verify = stage.question(&["settlement", "verify", "--json"]);
    let (_, settlement) = ask(stage, "settlement verify", verify, directory, "settlement.json")?;
    let settlement: Settlement =
        serde_json::from_str(&settlement).context("the check of the settlement is not what was expected")?;
    let export = |what, output| export(stage, what, directory, output);
    let ledger = Ledger::read(&export("outbox", files::OUTBOX)?, &export("packets", files::PACKETS)?)?;
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
    if let Some(backlog) = settlement.backlog.filter(|backlog| backlog.count > 0) {
        wrong.push(format!("{} lines still wait for settlement", backlog.count));
    }
    let users = export(stage, "users", &directory, files::USERS)?;
    wrong.extend(match &stage.fleet {
        None => unpaid(&read(&plan::settlement(&stage.place))?, &users)?,
        Some(_) => unpaid_by_outbox(&read(&directory.join(files::OUTBOX))?, &users)?,
    });
    Ok(wrong)
}
