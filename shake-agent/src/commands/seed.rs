//! `seed generate`, `seed inspect` and `seed verify`.

use super::{Progress, print};
use crate::cli::seed::{GenerateArgs, InspectArgs, SeedVerifyArgs};
use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use shake_agent::seed_file::{SeedFile, Tally};
use shake_agent::seed_fleet::verify;
use shake_agent::seed_fleet::{self, MANIFEST, Manifest, ManifestKeys};
use shake_agent::seed_generate::{self, Request, Splits};
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::money::{grouped, money};
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, EventId, SponsorId};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
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

/// Reads `MIN..MAX`, or one number for both.
pub fn shares(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| {
        text.parse()
            .map_err(|_| format!("{text:?} is no number of shares; give MIN..MAX, for example 3..10"))
    };
    Ok(number(least)?..=number(most)?)
}

/// Reads a share of the whole, 0 to 1.
pub fn part_of_one(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err(format!("{text:?} is no share; it must be 0 to 1, for example 0.2")),
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
        splits: match &args.shares {
            Some(shares) => Splits {
                packets: (args.split_share * args.count as f64).round() as u64,
                shares: shares.clone(),
            },
            None => Splits::default(),
        },
    };
    let mut rng = match args.seed {
        Some(seed) => StdRng::seed_from_u64(seed),
        None => StdRng::from_rng(&mut rand::rng()),
    };
    let mut progress = Progress::begin();
    let say = |done| progress.say(|| format!("{done} of {} packets written", args.count));
    if args.parts > 1 {
        let keys = args.certs.as_deref().map(read_keys).transpose()?;
        let random = || rng.next_u64();
        let manifest = seed_fleet::generate(&request, args.parts, &args.out, args.force, keys.as_ref(), random, say)?;
        show_fleet(&args.out, &manifest, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.certs.is_some() {
        bail!(
            "--certs authenticates the manifest of a fleet's seed, and one file has none; give --parts 2 or more with it"
        );
    }
    let made = seed_generate::generate(&request, &args.out, args.force, || rng.next_u64(), say)?;
    show(&args.out, &made.header, &made.sponsors, args.json)?;
    Ok(ExitCode::SUCCESS)
}

pub fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let seed = SeedFile::open(&args.file)?;
    let survey = seed.survey()?;
    show(&args.file, seed.header(), &survey.sponsors, args.json)?;
    Ok(ExitCode::SUCCESS)
}

pub fn verify(args: &SeedVerifyArgs) -> anyhow::Result<ExitCode> {
    let keys = args.certs.as_deref().map(read_keys).transpose()?;
    let mut progress = Progress::begin();
    let report = verify::verify(&args.directory, keys.as_ref(), |done| {
        progress.say(|| format!("{done} packets read"));
    })?;
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(ExitCode::from(u8::from(!report.whole)))
}

/// The manifest keys of a directory of certificates.
pub fn read_keys(certs: &Path) -> anyhow::Result<ManifestKeys> {
    let path = certs.join(Purpose::Ticket.file_name());
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}; --certs must name the directory that `certs generate` made, the same on all gateways",
            path.display()
        )
    })?;
    let ring = KeyRing::parse(&text, Purpose::Ticket).with_context(|| path.display().to_string())?;
    Ok(ManifestKeys::new(&ring))
}

fn show_fleet(directory: &Path, manifest: &Manifest, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        print(&serde_json::to_string(manifest)?)?;
        return Ok(());
    }
    let fleet = &manifest.fleet;
    let mut text = String::new();
    for file in &fleet.files {
        let path = directory.join(&file.name);
        let _ = writeln!(
            text,
            "{}: {} packets ({} split), {}",
            path.display(),
            grouped(file.packets),
            grouped(file.split_packets),
            money(file.cents)
        );
    }
    let origin = match &manifest.authentication {
        Some(code) => format!("authenticated with ticket key {}", code.key_id),
        None => "not authenticated (give --certs to do so)".to_owned(),
    };
    let _ = write!(
        text,
        "{}: event {}, {} packets ({} split), {} in {} files; {origin}",
        directory.join(MANIFEST).display(),
        fleet.event,
        grouped(fleet.packets),
        grouped(fleet.split_packets),
        money(fleet.budget_cents),
        fleet.files.len()
    );
    print(&text)?;
    Ok(())
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
        "money"
    );
    for (id, tally) in sponsors {
        let _ = writeln!(
            text,
            "  {:>7}  {:>12}  {:>16}",
            id.0,
            grouped(tally.packets),
            money(tally.cents)
        );
    }
    let _ = write!(
        text,
        "  {:>7}  {:>12}  {:>16}",
        "total",
        grouped(header.count),
        money(header.total.0)
    );
    print(&text)?;
    Ok(())
}
