//! What becomes of a show when a cue is given or cancelled. A tired hand that presses twice must not begin a phase anew, and
//! a gateway that hears late must come to where the others are.

use super::{Refused, errors};
use host::clock::moment;
use shake_proto::admin::{Cue, Refusal};
use shake_rules::UnixMillis;
use shake_rules::kept::{Kept, WAITS_MS};
use shake_rules::show::{Phase, Show};

/// A cue that no phase waits for may be so long over when it arrives, in milliseconds: "now" takes its time to get here.
const CUE_LATE_MS_MAX: u64 = 5_000;

/// Gives a cue its moment. Tells what else the operator should know.
pub fn set(new: &mut Kept, show: &Show, cue: &Cue, now: UnixMillis) -> Result<Vec<String>, Refused> {
    let at = UnixMillis(cue.at_ms);
    let mut remarks = Vec::new();
    if let Some(given) = known(show, &cue.name)?.filter(|&given| given != at) {
        if has_begun(show, &cue.name, given, now) {
            may_play_again(show, cue, given, now)?;
        } else {
            new.cuts.retain(|_, cut| *cut != given.0);
        }
    }
    new.cues.insert(cue.name.clone(), cue.at_ms);
    let running = show
        .phases
        .iter()
        .find(|phase| phase.cue.as_ref() != Some(&cue.name) && phase.starts_at < at && at < phase.ends_at);
    if let Some(phase) = running.filter(|_| cue.cut) {
        new.cuts.insert(phase.name.clone(), cue.at_ms);
        let (cut, end) = (moment(at), moment(phase.ends_at));
        remarks.push(format!("phase {:?} ends at {cut}, and not at {end}", phase.name));
    }
    let next = new.parse_show().map_err(|problems| match running.filter(|_| !cue.cut) {
        Some(phase) => Refused {
            problems: problems.0,
            ..Refused::new(
                Refusal::PhaseRuns,
                format!(
                    "phase {:?} runs until {}, and this cue begins another before that; --cut ends it at the cue's moment",
                    phase.name,
                    moment(phase.ends_at)
                ),
            )
        },
        None => errors(problems),
    })?;
    if at < now {
        remarks.extend(join(&next, &cue.name, at, now)?);
    }
    Ok(remarks)
}

/// Has a cue wait again. It must not have begun.
pub fn cancel(new: &mut Kept, show: &Show, name: &str, now: UnixMillis) -> Result<(), Refused> {
    let Some(given) = known(show, name)? else {
        return Ok(());
    };
    if has_begun(show, name, given, now) {
        let message = format!(
            "cue {name} has begun, at {}; another cue with --cut, or a pushed show, ends a phase that runs",
            moment(given)
        );
        return Err(Refused::new(Refusal::CuePast, message));
    }
    new.cuts.retain(|_, cut| *cut != given.0);
    new.cues.remove(name);
    let is_of_the_file = new
        .parse_show()
        .map_err(errors)?
        .cues
        .get(name)
        .is_some_and(Option::is_some);
    if is_of_the_file {
        new.cues.insert(name.to_owned(), WAITS_MS);
    }
    Ok(())
}

/// The moment that a cue of the show has.
fn known(show: &Show, name: &str) -> Result<Option<UnixMillis>, Refused> {
    show.cues.get(name).copied().ok_or_else(|| {
        let known: Vec<_> = show.cues.keys().map(String::as_str).collect();
        let message = match known.as_slice() {
            [] => format!("no cue {name:?}: the show {:?} has no [cues]", show.name),
            known => format!("no cue {name:?}; the show has {}", known.join(", ")),
        };
        Refused::new(Refusal::CueUnknown, message)
    })
}

/// Whether anything that hangs on a cue with this moment has begun.
fn has_begun(show: &Show, name: &str, given: UnixMillis, now: UnixMillis) -> bool {
    let first = show.phases_of(name).next().map_or(given, |phase| phase.starts_at);
    first <= now
}

/// A cue that was given is given anew only when it is over, and when that is meant.
fn may_play_again(show: &Show, cue: &Cue, given: UnixMillis, now: UnixMillis) -> Result<(), Refused> {
    let is_not_over = |phase: &&Phase| now < phase.ends_at;
    if let Some(phase) = show.phases_of(&cue.name).find(is_not_over) {
        let message = format!(
            "cue {} was given at {}, and its phase {:?} lasts until {}; it can be played again when that is over",
            cue.name,
            moment(given),
            phase.name,
            moment(phase.ends_at)
        );
        return Err(Refused::new(Refusal::PhaseRuns, message));
    }
    if cue.again {
        return Ok(());
    }
    let message = format!(
        "cue {} was played at {}; --again plays it once more",
        cue.name,
        moment(given)
    );
    Err(Refused::new(Refusal::CuePlayed, message))
}

/// Whether a cue that is over can still be joined, and what is missed.
fn join(show: &Show, name: &str, at: UnixMillis, now: UnixMillis) -> Result<Option<String>, Refused> {
    if let Some(phase) = show.phases_of(name).find(|phase| now < phase.ends_at) {
        let late_s = now.since_ms(at) as f64 / 1e3;
        return Ok(Some(format!(
            "joins {late_s:.1} s late: phase {:?} is from {} to {}",
            phase.name,
            moment(phase.starts_at),
            moment(phase.ends_at)
        )));
    }
    if show.phases_of(name).next().is_none() && at.plus_ms(CUE_LATE_MS_MAX) >= now {
        return Ok(None);
    }
    let message = format!(
        "{} is over here, where it is {}, and so is all that this cue begins; give a time to come",
        moment(at),
        moment(now)
    );
    Err(Refused::new(Refusal::CuePast, message))
}
