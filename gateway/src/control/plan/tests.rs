//! What may be changed, and what it would make.

use super::*;
use shake_proto::admin::Cue;
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
        stages: kept.number_stages(&show).expect("two"),
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
        now_ms: None,
    }
}

const SERVED: Served = Served { busy_retry_ms: 1_000 };

fn cue(name: &str, at_ms: u64) -> What {
    What::Cue(Cue {
        name: name.to_owned(),
        at_ms,
        again: false,
        cut: false,
    })
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
        (good.clone(), NOW.0 + 607_000, None),
        (good.clone(), NOW.0 + 607_001, Some(Refusal::VersionAhead)),
        (good.clone(), i64::MAX as u64, Some(Refusal::VersionAhead)),
        (
            show("[cues]", "[limits]\nticket_lifetime_s = 0\n[cues]"),
            8,
            Some(Refusal::Errors),
        ),
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
        (cue("final", NOW.0 - 20_000), 8, Some(Refusal::CuePast)),
        // In the first phase.
        (cue("final", NOW.0 + 8_000), 8, Some(Refusal::PhaseRuns)),
    ] {
        let now = NOW.plus_ms(7_000);
        let found = plan(&kept, &live, SERVED, &change(what.clone(), version), "ann", now).err();
        assert_eq!(found.map(|refused| refused.refusal), refusal, "{what:?} as {version}");
    }
}

#[test]
fn a_cue_stays_over_a_pushed_show_and_a_phase_that_was_never_played_is_an_error() {
    let (kept, live) = running();
    let next = |kept: &Kept, live: &Live, what, version, now| match plan(
        kept,
        live,
        SERVED,
        &change(what, version),
        "ann",
        now,
    ) {
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

/// A show that waits for its cue, and one that starts with the push.
fn waiting() -> (Kept, Live) {
    let (mut kept, live) = running();
    kept.show = SHOW.replace("name = \"a\"", "name = \"a\"\ncue = \"final\"").replace(
        "name = \"b\"\ncue = \"final\"\nend_s = 10",
        "name = \"b\"\ncue = \"final\"\nstart_s = 20\nend_s = 30",
    );
    let show = Arc::new(kept.parse_show().expect("good"));
    let stages = kept.number_stages(&show).expect("two");
    (kept, Live { show, stages, ..live })
}

fn next(kept: &Kept, live: &Live, change: &Change, now: UnixMillis) -> Result<Next, Refused> {
    match plan(kept, live, SERVED, change, "ann", now)? {
        Plan::Next(next) => Ok(*next),
        Plan::AlreadyThere => panic!("new"),
    }
}

#[test]
fn now_is_the_moment_of_the_push_until_a_phase_has_begun() {
    let (kept, live) = waiting();
    let tonight =
        "[event]\nstarts = \"now\"\n[[phases]]\nname = \"t\"\nstart_s = 5\nend_s = 60\nweights = { nothing = 1 }\n";
    let push = |text: &str, version, now_ms| Change {
        now_ms,
        ..change(What::Show(text.to_owned()), version)
    };
    // An hour after the start: every phase from the gateway's own start would be over.
    let later = NOW.plus_ms(3_600_000);
    let told = later.plus_ms(250);
    for (now_ms, at) in [(None, later), (Some(told.0), told)] {
        let found = next(&kept, &live, &push(tonight, 8, now_ms), later).expect("good");
        assert_eq!(
            (found.kept.started_at_ms, found.live.show.phases[0].starts_at),
            (at.0, at.plus_ms(5_000))
        );
        let said = format!("starts = \"now\" is {}, the moment of this push", moment(at));
        assert!(found.remarks.contains(&said), "{:?}", found.remarks);
    }
    // Pushed again before the first phase: again the moment of the push.
    let first = next(&kept, &live, &push(tonight, 8, None), later).expect("good");
    let again = next(&first.kept, &first.live, &push(tonight, 9, None), later.plus_ms(4_000)).expect("good");
    assert_eq!(again.kept.started_at_ms, later.0 + 4_000);
    // Within the first phase: an edited file moves nothing, and one whose phases would be over is told why.
    let within = later.plus_ms(20_000);
    let edited = next(
        &first.kept,
        &first.live,
        &push(&tonight.replace("60", "90"), 9, None),
        within,
    )
    .expect("good");
    assert_eq!(
        (edited.kept.started_at_ms, edited.live.show.phases[0].starts_at),
        (later.0, later.plus_ms(5_000))
    );
    assert!(
        edited
            .remarks
            .iter()
            .any(|said| said.contains("stays") && said.contains("\"t\" has begun")),
        "{:?}",
        edited.remarks
    );
    let other = tonight.replace("\"t\"", "\"u\"").replace("60", "6");
    let refused = next(&first.kept, &first.live, &push(&other, 9, None), within)
        .err()
        .expect("over");
    assert!(refused.problems[0].message.contains("stays"), "{refused:?}");
    // A show with a time, a throttle and a cue say nothing of now.
    let timed = tonight.replace("\"now\"", "\"2027-02-05T20:00:00+08:00\"");
    let found = next(&kept, &live, &push(&timed, 8, None), later).expect("good");
    assert_eq!(found.kept.started_at_ms, kept.started_at_ms);
    let found = next(&kept, &live, &change(cue("final", later.0), 8), later).expect("good");
    assert_eq!(found.kept.started_at_ms, kept.started_at_ms);
    assert!(
        !found.remarks.iter().any(|said| said.contains("starts =")),
        "{:?}",
        found.remarks
    );
}

#[test]
fn lifetimes_that_end_before_who_was_told_busy_comes_back_are_refused_where_they_stand() {
    let (kept, live) = running();
    for (key, refused_s) in [("ticket_lifetime_s", 4), ("share_lifetime_s", 4)] {
        let served = Served { busy_retry_ms: 5_000 };
        for seconds in [refused_s, 5] {
            let text = format!("[limits]\n{key} = {seconds}\n{SHOW}");
            let found = plan(&kept, &live, served, &change(What::Show(text), 8), "ann", NOW);
            let lines = found
                .err()
                .map(|refused| refused.problems.iter().map(|p| p.line).collect::<Vec<_>>());
            assert_eq!(lines, (seconds == refused_s).then(|| vec![2]), "{key} = {seconds}");
        }
    }
}

/// Phase "a" of the event's first ten seconds, and "b" of ten seconds at its cue; with what hands ask for.
fn pressed(name: &str, at_ms: u64, again: bool, cut: bool) -> What {
    What::Cue(Cue {
        name: name.to_owned(),
        at_ms,
        again,
        cut,
    })
}

#[test]
fn who_is_late_joins_while_the_phase_runs_and_cuts_where_the_others_did() {
    let (kept, live) = running();
    // Given for second 4, while "a" ran; heard here at second 9.
    let (at, now) = (NOW.0 + 4_000, NOW.plus_ms(9_000));
    let late = next(&kept, &live, &change(pressed("final", at, false, true), 8), now).expect("joins");
    let phases: Vec<_> = late
        .live
        .show
        .phases
        .iter()
        .map(|phase| (phase.starts_at.0, phase.ends_at.0))
        .collect();
    assert_eq!(phases, [(NOW.0, at), (at, at + 10_000)]);
    assert!(
        late.remarks.iter().any(|said| said.contains("joins 5.0 s late")),
        "{:?}",
        late.remarks
    );
    // The same moment again, as by a repeated command: the same phases.
    let same = next(
        &late.kept,
        &late.live,
        &change(pressed("final", at, false, true), 9),
        now,
    )
    .expect("the same");
    assert_eq!(same.live.show, late.live.show);
    // A moment later it is over.
    let over = NOW.plus_ms(14_000);
    let refused = next(&kept, &live, &change(pressed("final", at, false, true), 8), over).err();
    assert_eq!(refused.map(|refused| refused.refusal), Some(Refusal::CuePast));
}

#[test]
fn a_cue_is_moved_until_it_begins_and_played_again_only_when_it_is_over() {
    let (kept, live) = running();
    let set = next(
        &kept,
        &live,
        &change(pressed("final", NOW.0 + 20_000, false, false), 8),
        NOW,
    )
    .expect("set");
    // Moved into the first phase, which ends for it; and out again, which gives that its time back.
    let moved = next(
        &set.kept,
        &set.live,
        &change(pressed("final", NOW.0 + 5_000, false, true), 9),
        NOW,
    )
    .expect("moved");
    assert_eq!(moved.live.show.phases[0].ends_at, NOW.plus_ms(5_000));
    let back = next(
        &moved.kept,
        &moved.live,
        &change(pressed("final", NOW.0 + 20_000, false, false), 10),
        NOW,
    );
    let back = back.expect("moved back");
    assert_eq!((&back.live.show, back.kept.cuts.len()), (&set.live.show, 0));
    let cancelled = next(
        &moved.kept,
        &moved.live,
        &change(What::CancelCue("final".into()), 10),
        NOW,
    )
    .expect("waits");
    assert_eq!(
        (&cancelled.live.show.phases, cancelled.kept.cuts.len()),
        (&live.show.phases, 0)
    );
    for (second, again, refusal) in [
        (25, false, Some(Refusal::PhaseRuns)),
        (25, true, Some(Refusal::PhaseRuns)),
        (30, false, Some(Refusal::CuePlayed)),
        (30, true, None),
    ] {
        let now = NOW.plus_ms(second * 1_000);
        let pressed = pressed("final", now.0, again, false);
        let found = next(&set.kept, &set.live, &change(pressed, 9), now);
        if let Ok(found) = &found {
            assert_eq!(found.live.stages, set.live.stages, "a phase keeps its stage");
        }
        let found = found.err().map(|refused| refused.refusal);
        assert_eq!(found, refusal, "in second {second}, again: {again}");
        let cancel = next(&set.kept, &set.live, &change(What::CancelCue("final".into()), 9), now);
        assert_eq!(cancel.err().map(|refused| refused.refusal), Some(Refusal::CuePast));
    }
}

#[test]
fn a_cue_with_a_time_in_its_file_waits_when_it_is_cancelled() {
    let (mut kept, live) = running();
    kept.show = SHOW.replace("final = \"\"", "final = \"+30s\"");
    let show = Arc::new(kept.parse_show().expect("good"));
    let live = Live { show, ..live };
    let cancelled = next(&kept, &live, &change(What::CancelCue("final".into()), 8), NOW).expect("waits");
    assert_eq!(cancelled.live.show.cues["final"], None);
    let read = Kept::parse(&cancelled.kept.to_text()).expect("whole");
    assert_eq!(read.parse_show().expect("good"), *cancelled.live.show);
    let change = change(What::CancelCue("final".into()), 9);
    let again = plan(&cancelled.kept, &cancelled.live, SERVED, &change, "ann", NOW);
    assert!(matches!(again, Ok(Plan::AlreadyThere)));
}

#[test]
fn what_another_gateway_runs_is_adopted_with_phases_that_are_over() {
    let (kept, live) = running();
    let now = NOW.plus_ms(60_000);
    let running = shake_proto::admin::Running {
        show: SHOW.replace("\"a\"", "\"over\""),
        throttle: throttle::DEFAULT.to_owned(),
        started_at_ms: NOW.0 + 5,
        cues: [("final".to_owned(), now.0 - 1_000)].into(),
        cuts: [("over".to_owned(), NOW.0 + 900)].into(),
    };
    let change = |version| change(What::Adopt(Box::new(running.clone())), version);
    let found = next(&kept, &live, &change(8), now).expect("adopted");
    let show = &found.live.show;
    assert_eq!(
        (show.phases[0].starts_at.0, show.phases[0].ends_at.0),
        (NOW.0 + 5, NOW.0 + 900)
    );
    assert_eq!(show.phase_at(now), Some(1));
    assert!(matches!(
        plan(&found.kept, &found.live, SERVED, &change(8), "ann", now),
        Ok(Plan::AlreadyThere)
    ));
}
