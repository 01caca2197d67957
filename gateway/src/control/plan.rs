//! Whether a change may be, and what it would make: pure, so that a dry run and the change itself cannot differ.

use super::Refused;
use super::pairs::{self, Served};
use crate::live::Live;
use shake_proto::admin::{Change, Refusal, What};
use shake_rules::document::{Problem, Problems};
use shake_rules::kept::{self, Kept};
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use shake_rules::{UnixMillis, difference};
use std::sync::Arc;

/// A cue may be so long over when it arrives, in milliseconds: "now" takes its time to get here.
const CUE_LATE_MS_MAX: u64 = 5_000;

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
        What::Cue { name, at_ms } => kept.cues.get(name) == Some(at_ms),
    };
    if is_same && change.version == kept.version {
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
    let differences = match &change.what {
        What::Show(text) => {
            new.show.clone_from(text);
            difference::of(&kept.show, text)
        }
        What::Throttle(text) => {
            new.throttle.clone_from(text);
            difference::of(&kept.throttle, text)
        }
        What::Cue { name, at_ms } => set_cue(&mut new, &live.show, name, UnixMillis(*at_ms), now)?,
    };
    let live = match &change.what {
        What::Throttle(text) => Live {
            version: new.version,
            show: Arc::clone(&live.show),
            stages: live.stages.clone(),
            throttle: Arc::new(Throttle::parse(text).map_err(errors)?),
        },
        What::Show(_) | What::Cue { .. } => {
            let pushed_at = match &change.what {
                What::Show(_) => Some(change.now_ms.map_or(now, UnixMillis)),
                _ => None,
            };
            let show = check_show(&mut new, &live.show, pushed_at, now, &mut remarks)?;
            pairs::check(&new.show, &show, served).map_err(errors)?;
            Live {
                version: new.version,
                stages: new.number_stages(&show).map_err(errors)?,
                show: Arc::new(show),
                throttle: Arc::clone(&live.throttle),
            }
        }
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

fn set_cue(new: &mut Kept, show: &Show, name: &str, at: UnixMillis, now: UnixMillis) -> Result<Vec<String>, Refused> {
    let Some(before) = show.cues.get(name) else {
        let known: Vec<_> = show.cues.keys().map(String::as_str).collect();
        let message = match known.as_slice() {
            [] => format!("no cue {name:?}: the show {:?} has no [cues]", show.name),
            known => format!("no cue {name:?}; the show has {}", known.join(", ")),
        };
        return Err(Refused::new(Refusal::CueUnknown, message));
    };
    if at.plus_ms(CUE_LATE_MS_MAX) < now {
        let message = format!(
            "{} is over here, where it is {}; give a time to come",
            moment(at),
            moment(now)
        );
        return Err(Refused::new(Refusal::CuePast, message));
    }
    new.cues.insert(name.to_owned(), at.0);
    let before = before.map_or_else(|| "(waits)".to_owned(), moment);
    Ok(vec![
        format!("- cues.{name} = {before}"),
        format!("+ cues.{name} = {}", moment(at)),
    ])
}

/// Reads the show that would hold, with the cues that were set, and tells what becomes of the phase that runs. `pushed_at`
/// is the moment of the push, when the show itself is pushed.
fn check_show(
    new: &mut Kept,
    before: &Show,
    pushed_at: Option<UnixMillis>,
    now: UnixMillis,
    remarks: &mut Vec<String>,
) -> Result<Show, Refused> {
    let (show, moment_of_now) = read_show(new, before, pushed_at, now)?;
    if show.event != before.event {
        let message = format!(
            "the show is of event {}, and this gateway runs event {}: its tickets, packets and ledger belong to that one",
            show.event, before.event
        );
        return Err(Refused::new(Refusal::OtherEvent, message));
    }
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
    for (name, at) in &new.cues {
        let at = moment(UnixMillis(*at));
        remarks.push(match show.cues.contains_key(name) {
            true => format!("cue {name} stays at {at}, as an operator set it"),
            false => format!("cue {name}, set to {at}, is not in this show and is forgotten"),
        });
    }
    new.cues.retain(|name, _| show.cues.contains_key(name));
    new.cuts
        .retain(|name, _| show.phases.iter().any(|phase| phase.name == *name));
    let runs = |show: &Show| match show.phase_at(now) {
        Some(index) => format!(
            "phase {:?} until {}",
            show.phases[index].name,
            moment(show.phases[index].ends_at)
        ),
        None => "no phase".to_owned(),
    };
    let (was, is) = (runs(before), runs(&show));
    remarks.push(if was == is {
        format!("now: {is}, as before")
    } else {
        format!("now: {is}, instead of {was}")
    });
    Ok(show)
}

/// Reads the show that would hold. While no phase has begun, `starts = "now"` is the moment of the push; afterwards it stays
/// what it was, or a file with one comma mended would begin the evening anew. Says which it is, where it matters.
fn read_show(
    new: &mut Kept,
    before: &Show,
    pushed_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(Show, Option<String>), Refused> {
    let Some(pushed_at) = pushed_at else {
        return new.parse_show().map(|show| (show, None)).map_err(errors);
    };
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

/// A moment as people read it.
pub fn moment(at: UnixMillis) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "the end of time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
