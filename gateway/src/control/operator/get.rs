//! `get`: a file that a gateway runs, as it was pushed or configured.

use super::GetArgs;
use super::client::{Client, Operator};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use host::console;
use shake_proto::admin_v1::{self as v1, reply, request::Kind};
use std::process::ExitCode;

#[derive(Clone, Copy, ValueEnum)]
pub enum What {
    /// The show
    Show,
    /// The limits and grades
    Throttle,
}

pub async fn get(args: &GetArgs) -> Result<ExitCode> {
    let client = Client::connect(&Operator::read(&args.certs)?, &args.target).await;
    let client = client.with_context(|| args.target.clone())?;
    let running = running(&client).await;
    client.close().await;
    let running = running?;
    console::print(match args.what {
        What::Show => &running.show,
        What::Throttle => &running.throttle,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a gateway runs, whole, with moments by its own clock.
pub async fn running(client: &Client) -> Result<v1::Running> {
    let kind = Some(Kind::Running(v1::RunningRequest {}));
    match client.ask(v1::Request { kind }).await?.result {
        reply::Result::Running(running) => Ok(running),
        _ => bail!(
            "{} did not say what it runs; is it a gateway of this version?",
            client.target
        ),
    }
}
