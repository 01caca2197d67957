//! What is kept, whole and not.

use super::*;

#[test]
fn versions_follow_the_clock_and_never_reach_the_end_of_their_range() {
    let now = UnixMillis(1_800_000_000_000);
    assert_eq!((new_version(7, now), new_version(now.0 + 5, now)), (now.0, now.0 + 6));
    assert_eq!(
        (version_max(7, now), version_max(now.0 + 900_000, now)),
        (now.0 + 600_000, now.0 + 900_001)
    );
    // A version of another time, near the end of its range, is not gone on from.
    let (mut before, _) = Kept::at_start(None, configured(SHOW));
    let at = Configured {
        now,
        ..configured("edited")
    };
    for (version, next) in [
        (7, 8),
        (now.0 + 5, now.0 + 6),
        (i64::MAX as u64, now.0),
        (u64::MAX, now.0),
    ] {
        before.version = version;
        assert_eq!(Kept::at_start(Some(before.clone()), at.clone()).0.version, next);
    }
}

const SHOW: &str = "[cues]\nc = \"\"\n[[phases]]\nname = \"a\"\nend_s = 1\nweights = { nothing = 1 }\n\
                    [[phases]]\nname = \"b\"\ncue = \"c\"\nend_s = 1\nweights = { nothing = 1 } # '''\n";

fn configured(show: &str) -> Configured {
    Configured {
        show: show.to_owned(),
        throttle: "x = 1\n".to_owned(),
        event: EventId(1),
        now: UnixMillis(5_000),
        forget_pushed: false,
    }
}

#[test]
fn it_reads_back_as_written_and_half_of_it_does_not() {
    let (mut kept, _) = Kept::at_start(None, configured(SHOW));
    kept.cues.insert("c".into(), 9_000);
    kept.by = "Ann \"the\" operator".into();
    let text = kept.to_text();
    assert_eq!(Kept::parse(&text), Ok(kept.clone()));
    assert_eq!(kept.parse_show().expect("good").phases[1].starts_at, UnixMillis(9_000));
    for cut in 0..text.len() {
        Kept::parse(&text[..cut]).expect_err("a part of a file");
    }
}

/// The text of a file with this version, and the same of format 1.
fn file(version: u64) -> String {
    let (mut kept, _) = Kept::at_start(None, configured(SHOW));
    kept.version = version;
    kept.to_text()
}

#[test]
fn a_changed_byte_is_found_and_other_formats_are_read() {
    let text = file(7);
    let changed = text.replace("end_s = 1", "end_s = 9");
    let problems = Kept::parse(&changed).expect_err("another show than was written");
    assert!(problems.to_string().contains("checksum"), "{problems}");
    assert_eq!(Kept::salvage(&changed).map(|kept| kept.version), Some(7));
    let first = format!(
        "# remarks\n\n{}",
        text.split_once("sha256 = ")
            .and_then(|(_, rest)| rest.split_once('\n'))
            .expect("a sum")
            .1
    );
    assert_eq!(Kept::parse(&first), Kept::parse(&text), "format 1");
    // A later program wrote keys that this one does not know.
    let (_, body) = first.split_once("\n\n").expect("remarks");
    let later = format!("flavour = \"new\"\n{body}[colours]\nred = 1\n");
    let later = format!("# remarks\nformat = 9\nsha256 = \"{}\"\n{later}", sha256(&later));
    assert_eq!(Kept::parse(&later), Kept::parse(&text));
}

#[test]
fn of_two_copies_the_newest_whole_one_holds_and_none_is_not_a_first_start() {
    let good = |version| Ok(Some(file(version)));
    let torn = || Ok::<_, String>(Some(file(9)[..200].to_owned()));
    let unreadable = || Err::<Option<String>, _>("permission denied".to_owned());
    for (copies, version) in [
        ([Ok(None), Ok(None)], Ok(None)),
        ([good(3), good(2)], Ok(Some(3))),
        ([good(2), good(3)], Ok(Some(3))),
        ([Ok(None), good(3)], Ok(Some(3))),
        ([torn(), good(3)], Ok(Some(3))),
        ([good(3), unreadable()], Ok(Some(3))),
        ([torn(), unreadable()], Err(2)),
        ([Ok(None), torn()], Err(1)),
    ] {
        let found = newest(FILES.into_iter().zip(copies.clone()));
        let found = found
            .map(|kept| kept.map(|kept| kept.version))
            .map_err(|faults| faults.len());
        assert_eq!(found, version, "{copies:?}");
    }
}

#[test]
fn only_the_gateway_of_this_mapping_and_this_epoch_is_followed() {
    let (mut kept, _) = Kept::at_start(None, configured(SHOW));
    assert!(!kept.is_of(0, 0), "it names none");
    (kept.mapping_instance, kept.mapping_epoch) = (instance_name(0xab), 3);
    assert!(kept.is_of(0xab, 3) && !kept.is_of(0xab, 4) && !kept.is_of(0xac, 3));
}

#[test]
fn a_cut_ends_a_phase_before_its_time() {
    let (mut kept, _) = Kept::at_start(None, configured(SHOW));
    // Phase a runs from 5,000 to 6,000; b at its cue would begin within it.
    kept.cues.insert("c".into(), 5_400);
    kept.parse_show().expect_err("they overlap");
    kept.cuts.insert("a".into(), 5_400);
    let show = kept.parse_show().expect("good");
    assert_eq!(
        (show.phases[0].ends_at, show.phases[1].starts_at),
        (UnixMillis(5_400), UnixMillis(5_400))
    );
    // A cut never makes a phase longer; one from before it began ended an earlier playing of it.
    for (at, ends_at) in [(9_000, 6_000), (100, 6_000), (5_000, 6_000), (5_001, 5_001)] {
        kept.cuts.insert("a".into(), at);
        kept.cues.clear();
        assert_eq!(kept.parse_show().expect("good").phases[0].ends_at, UnixMillis(ends_at));
    }
}

#[test]
fn stages_end_with_their_sixteen_bits() {
    let (mut kept, _) = Kept::at_start(None, configured(SHOW));
    kept.stages = (0..STAGES_MAX).map(|n| format!("old {n}")).collect();
    let before = kept.clone();
    let show = kept.parse_show().expect("good");
    let problems = kept.number_stages(&show).expect_err("the second phase has none");
    assert!(problems.to_string().contains("65535 is the last"), "{problems}");
    assert_eq!(kept, before);
}

#[test]
fn stages_keep_their_names() {
    let (mut kept, _) = Kept::at_start(None, configured(SHOW));
    let show = kept.parse_show().expect("good");
    assert_eq!(kept.number_stages(&show), Ok(vec![0, 1]));
    // The cue puts b before a; then a phase is added, and one of the same name twice.
    kept.cues.insert("c".into(), 1_000);
    assert_eq!(kept.number_stages(&kept.parse_show().expect("good")), Ok(vec![1, 0]));
    kept.show = SHOW.replace("\"a\"", "\"new\"");
    assert_eq!(kept.number_stages(&kept.parse_show().expect("good")), Ok(vec![1, 2]));
    kept.show = SHOW.replace("\"a\"", "\"b\"");
    assert_eq!(kept.number_stages(&kept.parse_show().expect("good")), Ok(vec![1, 3]));
    assert_eq!(kept.stages, ["a", "b", "new", "b"]);
}

#[test]
fn what_was_pushed_holds_until_the_configured_files_change() {
    let (mut before, _) = Kept::at_start(None, configured(SHOW));
    let start = |before: &Kept, configured| Kept::at_start(Some(before.clone()), configured);
    // Nothing was pushed: the configuration holds, and versions and stages go on.
    before.stages = vec!["a".into()];
    before.version = 4;
    let (kept, why) = start(&before, configured("other = 1"));
    assert_eq!((kept.version, kept.stages.len(), why), (5, 1, None));
    assert_eq!(kept.show, "other = 1");
    before.is_pushed = true;
    before.show = "pushed".into();
    assert_eq!(start(&before, configured(SHOW)), (before.clone(), None));
    let forget = Configured {
        forget_pushed: true,
        ..configured(SHOW)
    };
    for configured in [forget, configured("edited")] {
        let text = configured.show.clone();
        let (kept, why) = start(&before, configured);
        assert_eq!((kept.version, kept.show, kept.is_pushed), (5, text, false));
        assert!(why.is_some());
    }
}
