//! `seed generate` and `seed inspect`.

use super::{Progress, print};
use crate::{GenerateArgs, InspectArgs};
use anyhow::bail;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use shake_agent::seed_file::{SeedFile, Tally};
use shake_agent::seed_generate::{self, Request};
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, EventId, SponsorId};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Reads `ID[:WEIGHT]`.
pub fn sponsor(text: &str) -> Result<(u16, u32), String> {
    let (id, weight) = text.split_once(':').unwrap_or((text, "1"));
    let id = id
        .parse()
        .map_err(|_| format!("{id:?} is no sponsor's number; it must be 0 to {}", u16::MAX))?;
    match weight.parse() {
        Ok(weight) if weight > 0 => Ok((id, weight)),
        _ => Err(format!("{weight:?} is no weight; it must be a whole number from 1 on")),
    }
}

pub fn generate(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let mut sponsors = BTreeMap::new();
    for &(id, weight) in &args.sponsors {
        if sponsors.insert(SponsorId(id), weight).is_some() {
            bail!("--sponsor {id} stands twice; give each sponsor once, with its weight");
        }
    }
    let request = Request {
        event: EventId(args.event),
        budget: Cents(args.budget),
        count: args.count,
        sponsors,
        min: Cents(args.min),
        max: Cents(args.max),
    };
    let mut rng = match args.seed {
        Some(seed) => StdRng::seed_from_u64(seed),
        None => StdRng::from_rng(&mut rand::rng()),
    };
    let mut progress = Progress::begin();
    let made = seed_generate::generate(
        &request,
        &args.out,
        args.force,
        || rng.next_u64(),
        |done| {
            progress.say(|| format!("{done} of {} packets written", args.count));
        },
    )?;
    show(&args.out, &made.header, &made.sponsors, args.json)?;
    Ok(ExitCode::SUCCESS)
}

pub fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let seed = SeedFile::open(&args.file)?;
    let survey = seed.survey()?;
    show(&args.file, seed.header(), &survey.sponsors, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn show(path: &Path, header: &SeedHeader, sponsors: &BTreeMap<SponsorId, Tally>, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let sponsors: Vec<Value> = sponsors
            .iter()
            .map(|(id, tally)| json!({"sponsor": id.0, "packets": tally.packets, "cents": tally.cents}))
            .collect();
        let value = json!({
            "file": path.display().to_string(),
            "event": header.event.0,
            "part": header.part,
            "parts": header.parts,
            "packets": header.count,
            "cents": header.total.0,
            "records_crc": format!("{:08x}", header.records_crc),
            "sponsors": sponsors,
        });
        print(&value.to_string())?;
        return Ok(());
    }
    let mut text = format!(
        "{}: event {}, part {} of {}, checksum {:08x}\n\n  {:>7}  {:>12}  {:>16}\n",
        path.display(),
        header.event,
        header.part + 1,
        header.parts,
        header.records_crc,
        "sponsor",
        "packets",
        "cents"
    );
    for (id, tally) in sponsors {
        let _ = writeln!(text, "  {:>7}  {:>12}  {:>16}", id.0, tally.packets, tally.cents);
    }
    let _ = write!(text, "  {:>7}  {:>12}  {:>16}", "total", header.count, header.total.0);
    print(&text)?;
    Ok(())
}
