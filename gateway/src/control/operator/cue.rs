//! `cue`: one moment for all targets, whatever their clocks say.

use super::CueArgs;
use super::change::{self, line};
use super::client::Client;
use super::fleet::{Fleet, STRAGGLERS};
use anyhow::Result;
use host::clock::wall_ms;
use shake_proto::admin_v1::{self as v1, request::Kind};
use std::process::ExitCode;

pub async fn cue(args: &CueArgs) -> Result<ExitCode> {
    // Fixed before anybody is reached: who is late joins.
    let now_ms = wall_ms();
    let ours = now_ms.saturating_add(args.delay.map_or(0, |delay| delay.as_millis() as u64));
    let mut fleet = Fleet::begin(&args.change.targets)?;
    fleet.gather(STRAGGLERS).await?;
    let version = change::version(&args.change, fleet.clients(), &|_| false);
    let request = |client: &Client, dry_run| {
        let name = args.name.clone();
        let kind = if args.cancel {
            Kind::CancelCue(v1::CancelCue { name, version, dry_run })
        } else {
            Kind::Cue(v1::Cue {
                name,
                at_ms: args.at.unwrap_or_else(|| client.its_time(ours)),
                version,
                dry_run,
                again: args.again,
                cut: args.cut,
            })
        };
        v1::Request { kind: Some(kind) }
    };
    change::make(fleet, &args.change, request, line).await
}
