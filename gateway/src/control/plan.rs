//! Whether a change may be, and what it would make: pure, so that a dry run and the change itself cannot differ.

use super::Refused;
use crate::live::Live;
use shake_proto::admin::{Change, Refusal, What};
use shake_rules::document::{Problem, Problems};
use shake_rules::kept::Kept;
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
pub fn plan(kept: &Kept, live: &Live, change: &Change, by: &str, now: UnixMillis) -> Result<Plan, Refused> {
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
            let show = check_show(&mut new, &live.show, now, &mut remarks)?;
            Live {
                version: new.version,
                stages: new.number_stages(&show),
                show: Arc::new(show),
                throttle: Arc::clone(&live.throttle),
            }
        }
    };
    check_version(kept, change)?;
    Ok(Plan::Next(Box::new(Next {
        kept: new,
        live,
        differences,
        remarks,
    })))
}

/// Versions only grow, and one version is one content.
fn check_version(kept: &Kept, change: &Change) -> Result<(), Refused> {
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

/// Reads the show that would hold, with the cues that were set, and tells what becomes of the phase that runs.
fn check_show(new: &mut Kept, before: &Show, now: UnixMillis, remarks: &mut Vec<String>) -> Result<Show, Refused> {
    let show = new.parse_show().map_err(errors)?;
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
                "phase {:?} would be over already, at {}, and was never played",
                phase.name,
                moment(phase.ends_at)
            ),
        })
        .collect();
    if !over.is_empty() {
        return Err(errors(Problems(over)));
    }
    for (name, at) in &new.cues {
        let at = moment(UnixMillis(*at));
        remarks.push(match show.cues.contains_key(name) {
            true => format!("cue {name} stays at {at}, as an operator set it"),
            false => format!("cue {name}, set to {at}, is not in this show and is forgotten"),
        });
    }
    new.cues.retain(|name, _| show.cues.contains_key(name));
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
mod tests {
    use super::*;
    use shake_rules::EventId;
    use shake_rules::kept::Configured;
    use shake_rules::throttle;

    const SHOW: &str = "[cues]\nfinal = \"\"\n[[phases]]\nname = \"a\"\nend_s = 10\nweights = { nothing = 1 }\n\
                        [[phases]]\nname = \"b\"\ncue = \"final\"\nend_s = 10\nweights = { nothing = 1 }\n";
    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn running() -> (Kept, Live) {
        let configured = Configured {
            show: SHOW.to_owned(),
            throttle: String::new(),
            event: EventId(1),
            now: NOW,
            forget_pushed: false,
        };
        let (mut kept, _) = Kept::at_start(None, configured);
        kept.version = 7;
        let show = kept.parse_show().expect("good");
        let live = Live {
            version: 7,
            stages: kept.number_stages(&show),
            show: Arc::new(show),
            throttle: Arc::new(Throttle::parse(throttle::DEFAULT).expect("the default")),
        };
        (kept, live)
    }

    fn change(what: What, version: u64) -> Change {
        Change {
            what,
            version,
            dry_run: false,
        }
    }

    fn cue(name: &str, at_ms: u64) -> What {
        What::Cue {
            name: name.to_owned(),
            at_ms,
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let (kept, live) = running();
        let later = NOW.plus_ms(12_000);
        let show = |from: &str, to: &str| What::Show(SHOW.replace(from, to));
        let good = show("end_s = 10", "end_s = 11");
        for (what, version, refusal) in [
            (good.clone(), 8, None),
            (good.clone(), 99, None),
            (good.clone(), 7, Some(Refusal::VersionTaken)),
            (good, 6, Some(Refusal::VersionOld)),
            (What::Show(SHOW.to_owned()), 7, None),
            (What::Show(SHOW.to_owned()), 6, Some(Refusal::VersionOld)),
            (show("end_s = 10", "end_s = 0"), 8, Some(Refusal::Errors)),
            (show("[cues]", "[event]\nid = 2\n[cues]"), 8, Some(Refusal::OtherEvent)),
            // Errors go before versions: an operator who looks wants to see them.
            (show("end_s = 10", "end_s = 0"), 1, Some(Refusal::Errors)),
            (What::Throttle(throttle::DEFAULT.to_owned()), 8, None),
            (What::Throttle("grade = 1".to_owned()), 8, Some(Refusal::Errors)),
            (cue("final", later.0), 8, None),
            (cue("final", later.0), 7, Some(Refusal::VersionTaken)),
            (cue("finale", later.0), 8, Some(Refusal::CueUnknown)),
            (cue("final", NOW.0), 8, Some(Refusal::CuePast)),
            // In the first phase.
            (cue("final", NOW.0 + 8_000), 8, Some(Refusal::Errors)),
        ] {
            let now = NOW.plus_ms(7_000);
            let found = plan(&kept, &live, &change(what.clone(), version), "ann", now).err();
            assert_eq!(found.map(|refused| refused.refusal), refusal, "{what:?} as {version}");
        }
    }

    #[test]
    fn a_cue_stays_over_a_pushed_show_and_a_phase_that_was_never_played_is_an_error() {
        let (kept, live) = running();
        let next =
            |kept: &Kept, live: &Live, what, version, now| match plan(kept, live, &change(what, version), "ann", now) {
                Ok(Plan::Next(next)) => Ok(*next),
                Ok(Plan::AlreadyThere) => panic!("new"),
                Err(refused) => Err(refused),
            };
        let at = NOW.plus_ms(20_000);
        let first = next(&kept, &live, cue("final", at.0), 8, NOW).expect("good");
        assert_eq!(first.live.show.phases[1].starts_at, at);
        assert_eq!(first.differences[0], "- cues.final = (waits)");
        let text = SHOW.replace("name = \"b\"", "name = \"c\"");
        let second = next(&first.kept, &first.live, What::Show(text), 9, NOW).expect("good");
        assert_eq!(second.live.show.phases[1].starts_at, at);
        assert_eq!(second.live.stages, [0, 2]);
        assert_eq!((second.kept.by.as_str(), second.kept.is_pushed), ("ann", true));
        let late = NOW.plus_ms(60_000);
        let text = format!("{SHOW}[[phases]]\nname = \"new\"\nstart_s = 12\nend_s = 15\nweights = {{ nothing = 1 }}\n");
        let refused = next(&first.kept, &first.live, What::Show(text), 9, late)
            .err()
            .expect("over");
        assert_eq!((refused.refusal, refused.problems[0].line), (Refusal::Errors, 12));
        assert!(
            next(
                &first.kept,
                &first.live,
                What::Show(SHOW.replace("nothing = 1", "nothing = 2")),
                9,
                late
            )
            .is_ok()
        );
    }
}
