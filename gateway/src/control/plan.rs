//! Whether a change may be, and what it would make: pure, so that a dry run and the change itself cannot differ.

mod cue;

use super::Refused;
use super::pairs::{self, Served};
use crate::config_store::Live;
use host::clock::moment;
use shake_proto::admin::{Change, Refusal, Running, What};
use shake_rules::document::{Problem, Problems};
use shake_rules::kept::{self, Kept, WAITS_MS};
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use shake_rules::{UnixMillis, difference};
use std::sync::Arc;

/// What becomes of a change.
pub enum Plan {
    /// It holds already.
    AlreadyThere,
    Next(Box<Next>),
}

/// What would hold after a change.
pub struct Next {
    pub kept: Kept,
    pub live: Live,
    /// Lines of the difference.
    pub differences: Vec<String>,
    /// What else the operator should know.
    pub remarks: Vec<String>,
}

/// Checks a change against what runs.
///
/// # Errors
/// The first reason that keeps it from being; errors of a file all at once.
pub fn plan(
    kept: &Kept,
    live: &Live,
    served: Served,
    change: &Change,
    by: &str,
    now: UnixMillis,
) -> Result<Plan, Refused> {
    let is_same = match &change.what {
        What::Show(text) => *text == kept.show,
        What::Throttle(text) => *text == kept.throttle,
        What::Cue(cue) => kept.cues.get(&cue.name) == Some(&cue.at_ms),
        What::CancelCue(_) => false,
        // Its moments are of another's clock; one version is one content.
        What::Adopt(running) => running.show == kept.show && running.throttle == kept.throttle,
    };
    let waits = |name| live.show.cues.get(name) == Some(&None);
    if is_same && change.version == kept.version || matches!(&change.what, What::CancelCue(name) if waits(name)) {
        return Ok(Plan::AlreadyThere);
    }
    let mut new = Kept {
        version: change.version,
        by: by.to_owned(),
        at_ms: now.0,
        is_pushed: true,
        ..kept.clone()
    };
    let mut remarks = Vec::new();
    let (show, throttle) = match &change.what {
        What::Throttle(text) => {
            new.throttle.clone_from(text);
            (Arc::clone(&live.show), Arc::new(Throttle::parse(text).map_err(errors)?))
        }
        What::Show(text) => {
            new.show.clone_from(text);
            let pushed_at = change.now_ms.map_or(now, UnixMillis);
            let show = push_show(&mut new, &live.show, pushed_at, now, &mut remarks)?;
            (Arc::new(show), Arc::clone(&live.throttle))
        }
        What::Cue(given) => {
            remarks = cue::set(&mut new, &live.show, given, now)?;
            (Arc::new(new.parse_show().map_err(errors)?), Arc::clone(&live.throttle))
        }
        What::CancelCue(name) => {
            cue::cancel(&mut new, &live.show, name, now)?;
            (Arc::new(new.parse_show().map_err(errors)?), Arc::clone(&live.throttle))
        }
        What::Adopt(running) => {
            adopt(&mut new, running);
            let show = new.parse_show().map_err(errors)?;
            same_event(&show, &live.show)?;
            (
                Arc::new(show),
                Arc::new(Throttle::parse(&new.throttle).map_err(errors)?),
            )
        }
    };
    pairs::check(&new.show, &show, served).map_err(errors)?;
    if !matches!(change.what, What::Throttle(_)) {
        remarks.push(what_runs(&live.show, &show, now));
    }
    let differences = differences(kept, &live.show, &new, &show);
    let live = Live {
        version: new.version,
        stages: new.number_stages(&show).map_err(errors)?,
        show,
        throttle,
    };
    check_version(kept, change, now)?;
    Ok(Plan::Next(Box::new(Next {
        kept: new,
        live,
        differences,
        remarks,
    })))
}

/// Versions only grow, one version is one content, and none is so large that nothing could come after it.
fn check_version(kept: &Kept, change: &Change, now: UnixMillis) -> Result<(), Refused> {
    let max = kept::version_max(kept.version, now);
    if change.version > max {
        let message = format!(
            "version {} is above {max}, ten minutes ahead of the clock here: what comes after it would have to be above it; \
             leave --version out, or set the clocks",
            change.version
        );
        return Err(Refused::new(Refusal::VersionAhead, message));
    }
    if change.version > kept.version {
        return Ok(());
    }
    let refusal = if change.version < kept.version {
        Refusal::VersionOld
    } else {
        Refusal::VersionTaken
    };
    let by = if kept.by.is_empty() {
        "the configured files".to_owned()
    } else {
        format!("{:?}", kept.by)
    };
    Err(Refused::new(
        refusal,
        format!(
            "version {} is not above {}, which {by} made at {}; look with `gateway status`, then push again",
            change.version,
            kept.version,
            moment(UnixMillis(kept.at_ms))
        ),
    ))
}

/// What would hold of what another gateway runs.
fn adopt(new: &mut Kept, running: &Running) {
    new.show.clone_from(&running.show);
    new.throttle.clone_from(&running.throttle);
    new.started_at_ms = running.started_at_ms;
    new.cues.clone_from(&running.cues);
    new.cuts.clone_from(&running.cuts);
}

/// What differs: both files, and the moments that do not stand in them.
fn differences(kept: &Kept, before: &Show, new: &Kept, show: &Show) -> Vec<String> {
    let mut lines = difference::of(&kept.show, &new.show);
    lines.extend(difference::of(&kept.throttle, &new.throttle));
    let waits = || "(waits)".to_owned();
    for (name, at) in &show.cues {
        let was = before.cues.get(name).copied();
        if kept.cues.get(name) != new.cues.get(name) && was != Some(*at) {
            lines.extend(was.map(|was| format!("- cues.{name} = {}", was.map_or_else(waits, moment))));
            lines.push(format!("+ cues.{name} = {}", at.map_or_else(waits, moment)));
        }
    }
    let cut = |sign, name: &str, at: &u64| format!("{sign} cut of phase {name:?} = {}", moment(UnixMillis(*at)));
    let gone = kept.cuts.iter().filter(|(name, at)| new.cuts.get(*name) != Some(at));
    lines.extend(gone.map(|(name, at)| cut('-', name, at)));
    let made = new.cuts.iter().filter(|(name, at)| kept.cuts.get(*name) != Some(at));
    lines.extend(made.map(|(name, at)| cut('+', name, at)));
    lines
}

fn what_runs(before: &Show, show: &Show, now: UnixMillis) -> String {
    let runs = |show: &Show| match show.phase_at(now) {
        Some(index) => format!(
            "phase {:?} until {}",
            show.phases[index].name,
            moment(show.phases[index].ends_at)
        ),
        None => "no phase".to_owned(),
    };
    let (was, is) = (runs(before), runs(show));
    if was == is {
        format!("now: {is}, as before")
    } else {
        format!("now: {is}, instead of {was}")
    }
}

fn same_event(show: &Show, before: &Show) -> Result<(), Refused> {
    if show.event == before.event {
        return Ok(());
    }
    let message = format!(
        "the show is of event {}, and this gateway runs event {}: its tickets, packets and ledger belong to that one",
        show.event, before.event
    );
    Err(Refused::new(Refusal::OtherEvent, message))
}

/// Reads a show that is pushed at `pushed_at`, with the moments that operators have set, and tells what becomes of these.
fn push_show(
    new: &mut Kept,
    before: &Show,
    pushed_at: UnixMillis,
    now: UnixMillis,
    remarks: &mut Vec<String>,
) -> Result<Show, Refused> {
    let (show, moment_of_now) = read_show(new, before, pushed_at, now)?;
    same_event(&show, before)?;
    let over: Vec<Problem> = show
        .past_phases(now)
        .filter(|phase| {
            !before
                .phases
                .iter()
                .any(|old| old.name == phase.name && old.starts_at <= now)
        })
        .map(|phase| Problem {
            line: phase.line,
            message: format!(
                "phase {:?} would be over already, at {}, and was never played{}",
                phase.name,
                moment(phase.ends_at),
                moment_of_now
                    .as_ref()
                    .map_or_else(String::new, |said| format!("; {said}"))
            ),
        })
        .collect();
    if !over.is_empty() {
        return Err(errors(Problems(over)));
    }
    remarks.extend(moment_of_now);
    for (name, &at) in &new.cues {
        let at = match at {
            WAITS_MS => "cancelled".to_owned(),
            at => format!("at {}", moment(UnixMillis(at))),
        };
        remarks.push(match show.cues.contains_key(name) {
            true => format!("cue {name} stays {at}, as an operator set it"),
            false => format!("cue {name}, {at}, is not in this show and is forgotten"),
        });
    }
    new.cues.retain(|name, _| show.cues.contains_key(name));
    new.cuts
        .retain(|name, _| show.phases.iter().any(|phase| phase.name == *name));
    Ok(show)
}

/// Reads the show that would hold. While no phase has begun, `starts = "now"` is the moment of the push; afterwards it stays
/// what it was, or a file with one comma mended would begin the evening anew. Says which it is, where it matters.
fn read_show(
    new: &mut Kept,
    before: &Show,
    pushed_at: UnixMillis,
    now: UnixMillis,
) -> Result<(Show, Option<String>), Refused> {
    let begun = before.first_begun(now);
    let stayed_ms = new.started_at_ms;
    if begun.is_none() {
        new.started_at_ms = pushed_at.0;
    }
    let show = new.parse_show().map_err(errors)?;
    if !show.starts_now {
        new.started_at_ms = stayed_ms;
        return Ok((show, None));
    }
    let at = moment(UnixMillis(new.started_at_ms));
    let said = match begun {
        None => format!("starts = \"now\" is {at}, the moment of this push"),
        Some(phase) => format!(
            "starts = \"now\" stays {at}, because phase {:?} has begun; give starts a time to move the phases",
            phase.name
        ),
    };
    Ok((show, Some(said)))
}

fn errors(problems: Problems) -> Refused {
    Refused {
        refusal: Refusal::Errors,
        message: format!("{} error(s); nothing was changed", problems.0.len()),
        problems: problems.0,
    }
}

#[cfg(test)]
mod tests;
