//! The command line of `shake-agent`: reads files and the clock, prints, and chooses the exit code. The work is in the library.

#![forbid(unsafe_code)]

mod cli;
mod commands;

use cli::part::PartCommand;
use cli::seed::SeedCommand;
use cli::settlement::SettlementCommand;
use cli::{Cli, Command, LedgerCommand};
use host::console;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (outcome, failed) = match host::cli::parse::<Cli>().command {
        Command::Run(args) => (commands::run::run(args.config.as_deref()), 1),
        Command::CheckConfig(args) => (commands::run::check_config(args.config.as_deref()), 1),
        Command::PrintConfig => (commands::run::print_config(), 1),
        Command::Seed(SeedCommand::Generate(args)) => (commands::seed::generate(&args), 1),
        Command::Seed(SeedCommand::Inspect(args)) => (commands::seed::inspect(&args), 1),
        Command::Seed(SeedCommand::Verify(args)) => (commands::seed::verify(&args), 2),
        Command::Settlement(SettlementCommand::Run(args)) => (commands::settlement::run(&args), 1),
        Command::Settlement(SettlementCommand::Verify(args)) => (commands::settlement::verify(&args), 2),
        Command::Settlement(SettlementCommand::Begin(args)) => (commands::settlement::begin(&args), 1),
        Command::Part(PartCommand::Status(args)) => (commands::part::status(&args), 1),
        Command::Part(PartCommand::Retire(args)) => (commands::part::retire(&args), 1),
        Command::Part(PartCommand::Adopt(args)) => (commands::part::adopt(&args), 1),
        Command::Blocks(command) => (commands::blocks::run(&command), 1),
        Command::Audit(args) => (commands::books::audit(&args), 2),
        Command::Close(args) => (commands::close::close(&args), 1),
        Command::Ledger(LedgerCommand::Export(args)) => (commands::books::export(&args), 1),
        Command::Ledger(LedgerCommand::Copy(args)) => (commands::ledger::copy(&args), 1),
        Command::Ledger(LedgerCommand::Backup(args)) => (commands::ledger::backup(&args), 1),
        Command::Ledger(LedgerCommand::Init(args)) => (commands::ledger::init(&args), 1),
        Command::Ledger(LedgerCommand::AcceptLoss(args)) => (commands::loss::accept(&args), 1),
        Command::Ledger(LedgerCommand::Show(command)) => (commands::show::show(&command), 1),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            console::tell(&format!("error: {}", told(&error)));
            ExitCode::from(failed)
        }
    }
}

/// An error with its causes, but for those that the text before them says already.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            said if said.contains(&cause) => text,
            said => format!("{said}: {cause}"),
        }
    })
}
