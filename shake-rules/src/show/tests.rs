//! Good shows and wrong ones.

use super::*;

const GOOD: &str = r#"
[event]
id = 7
name = "gala"
starts = "2027-02-05T20:00:00+08:00"

[limits]
packets_per_user = 2

[[sponsors]]
id = 1
name = "Acme"
resource = 9

[[phases]]
name = "opening"
start_s = 0
end_s = 10
releases_per_second = 83
without_packet = "greeting"
weights = { greeting = 3, red_packet = 1 }
resources = { greeting = 65 }

[[phases]]
name = "final"
start_s = 20.5
end_s = 30
weights = { nothing = 1 }
"#;

#[test]
fn a_good_show_and_its_phases_in_time() {
    let show = Show::parse(GOOD, UnixMillis(0)).expect("good");
    assert_eq!(
        (
            show.event,
            show.limits.packets_per_user,
            show.limits.packets_per_sponsor
        ),
        (EventId(7), 2, 1)
    );
    let start = show.phases[0].starts_at;
    assert_eq!(start, UnixMillis(1_801_828_800_000));
    let at = |ms| (show.phase_at(start.plus_ms(ms)), show.phase_after(start.plus_ms(ms)));
    assert_eq!(show.phase_at(UnixMillis(start.0 - 1)), None);
    assert_eq!(at(0), (Some(0), Some(1)));
    assert_eq!(at(9_999), (Some(0), Some(1)));
    assert_eq!(at(10_000), (None, Some(1)));
    assert_eq!(at(20_500), (Some(1), None));
    assert_eq!(at(30_000), (None, None));
}

#[test]
fn times_may_stand_without_quotes() {
    let quoted = "\"2027-02-05T20:00:00+08:00\"";
    assert!(GOOD.contains(quoted));
    let bare = GOOD.replace(quoted, "2027-02-05T20:00:00+08:00");
    let show = Show::parse(&bare, UnixMillis(0)).expect("good");
    assert_eq!(show, Show::parse(GOOD, UnixMillis(0)).expect("good"));
    for wrong in ["2027-02-05T20:00:00", "2027-02-05", "12", "true"] {
        let text = GOOD.replace(quoted, wrong);
        let problems = Show::parse(&text, UnixMillis(0)).expect_err(wrong).to_string();
        assert!(problems.contains("line 5"), "{problems}");
    }
}

#[test]
fn cues_move_their_phases_and_an_unset_cue_waits() {
    let with = |cue: &str| {
        let text = GOOD.replace("[limits]", &format!("[cues]\nfinal = {cue:?}\n[limits]"));
        text.replace("start_s = 20.5", "cue = \"final\"\nstart_s = 20.5")
    };
    let start = UnixMillis(1_801_828_800_000);
    let moved = Show::parse(&with("+60s"), UnixMillis(0)).expect("good");
    assert_eq!(moved.phases[1].starts_at, start.plus_ms(80_500));
    let waits = Show::parse(&with(""), UnixMillis(0)).expect("good");
    assert_eq!(waits.phases[1].starts_at, UnixMillis(u64::MAX));
    assert_eq!(waits.phase_after(start.plus_ms(1 << 40)), Some(1));
    assert_eq!(waits.phase_at(start.plus_ms(1 << 40)), None);
    assert_eq!(waits.past_phases(start.plus_ms(10_000)).count(), 1);
    let at = start.plus_ms(40_000);
    let cues_at = |cues: &[(&str, UnixMillis)]| Moments {
        cues: cues.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect(),
        ..Moments::default()
    };
    let set = Show::parse_at(&with(""), &cues_at(&[("final", at), ("gone", at)])).expect("good");
    assert_eq!(set.phases[1].starts_at, at.plus_ms(20_500));
    assert_eq!(set.cues, BTreeMap::from([("final".to_owned(), Some(at))]));
    let early = cues_at(&[("final", UnixMillis(start.0 - 15_000))]);
    let problems = Show::parse_at(&with(""), &early).expect_err("in the first phase");
    assert!(problems.to_string().contains("overlap"), "{problems}");
}

#[test]
fn a_manifest_is_read_and_its_mistakes_named() {
    let with = |address: &str, sha: &str, after: &str| {
        format!(
            "{GOOD}\n[resources]\nversion = 3\n[[resources.packages]]\nid = 1\naddress = {address:?}\nsize_bytes = 9\n\
             sha256 = {sha:?}\nfetch_after = {after:?}\nfetch_before = \"2027-02-02T00:00:00Z\"\n"
        )
    };
    let sha = "ab".repeat(32);
    let good = Show::parse(&with("http://a/b", &sha, "2027-02-01T00:00:00Z"), UnixMillis(0)).expect("good");
    assert_eq!(
        (good.manifest.version, good.manifest.packages[0].sha256),
        (3, [0xab; 32])
    );
    for (address, sha, after, word) in [
        ("ftp://a", sha.as_str(), "2027-02-01T00:00:00Z", "http"),
        ("http://a", "abc", "2027-02-01T00:00:00Z", "sha256"),
        ("http://a", sha.as_str(), "2027-02-03T00:00:00Z", "later"),
    ] {
        let problems = Show::parse(&with(address, sha, after), UnixMillis(0)).expect_err(word);
        assert!(problems.to_string().contains(word), "{problems}");
    }
}

/// Values that could be read and would have broken the night: no ticket is ever good, phones shake without a pause, no
/// Hello is answered, money is given by nobody.
#[test]
fn values_that_break_the_night_have_a_line_and_a_reason() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    for (from, to, line, word) in [
        (
            "packets_per_user = 2",
            "ticket_lifetime_s = 0".to_owned(),
            8,
            "1 to 31536000",
        ),
        (
            "packets_per_user = 2",
            "share_lifetime_s = 0".to_owned(),
            8,
            "1 to 31536000",
        ),
        (
            "packets_per_user = 2",
            "ticket_lifetime_s = 4294967295".to_owned(),
            8,
            "1 to 31536000",
        ),
        ("id = 7", "rest_pace_ms = 0".to_owned(), 3, "1 to 3600000"),
        ("id = 7", "rest_pace_ms = 4000000000".to_owned(), 3, "1 to 3600000"),
        ("name = \"gala\"", format!("name = {long:?}"), 4, "255"),
        ("id = 1\n", "id = 0\n".to_owned(), 10, "the event itself"),
        ("name = \"Acme\"", format!("name = {long:?}"), 10, "255"),
        ("name = \"opening\"", format!("name = {long:?}"), 15, "255"),
        ("end_s = 10", "end_s = 10\npace_ms = 0".to_owned(), 15, "pace_ms = 0"),
        (
            "end_s = 10",
            "end_s = 10\npace_ms = 4000000000".to_owned(),
            15,
            "3600000",
        ),
        ("end_s = 10", "end_s = 0.0001".to_owned(), 15, "after it"),
        ("[limits]", format!("[cues]\n{long} = \"\"\n[limits]"), 8, "255"),
        (
            "[limits]",
            "[gifts]\nbudget_cents = 9000000000000000000\n[limits]".to_owned(),
            8,
            "0 to",
        ),
        (
            "end_s = 10",
            "end_s = 10\ngifts = { per_second = 1, recipients = 2, min_cents = 5, max_cents = 9 }".to_owned(),
            19,
            "budget",
        ),
    ] {
        let text = GOOD.replacen(from, &to, 1);
        let problems = Show::parse(&text, UnixMillis(0)).expect_err(&to);
        assert!(
            problems.0.iter().any(|p| p.line == line && p.message.contains(word)),
            "{to}: wanted line {line} with {word:?}, got:\n{problems}"
        );
    }
}

/// A manifest of so many packages, the first of which stands in line 35 and each of which has eight lines.
fn with_packages(count: u32) -> String {
    let mut text = format!("{GOOD}\n[resources]\nversion = 3\n");
    for id in 1..=count {
        text.push_str(&format!(
            "[[resources.packages]]\nid = {id}\naddress = \"https://cdn.example/show/{id:04}.zip\"\nsize_bytes = 2000000\n\
             sha256 = \"{}\"\nfetch_after = \"2027-02-01T00:00:00Z\"\nfetch_before = \"2027-02-02T00:00:00Z\"\n",
            "ab".repeat(32)
        ));
    }
    text
}

#[test]
fn a_manifest_that_no_reply_has_room_for_is_refused_where_it_becomes_too_long() {
    let good = Show::parse(&with_packages(65), UnixMillis(0)).expect("the packages of 2015");
    assert_eq!(good.manifest.packages.len(), 65);
    for count in [1_000, 1_300] {
        let problems = Show::parse(&with_packages(count), UnixMillis(0)).expect_err("too long");
        let [problem] = problems.0.as_slice() else {
            panic!("told once: {problems}");
        };
        assert!(problem.line > 36 && problem.message.contains("too long"), "{problems}");
    }
}

#[test]
fn a_show_of_too_many_parts_is_refused() {
    let phase = |n: u32| {
        let (from, to) = (100 + n, 101 + n);
        format!("[[phases]]\nname = \"p{n}\"\nstart_s = {from}\nend_s = {to}\nweights = {{ nothing = 1 }}\n")
    };
    let phases: String = (0..1_000).map(phase).collect();
    let problems = Show::parse(&format!("{GOOD}{phases}"), UnixMillis(0)).expect_err("too many phases");
    assert!(problems.to_string().contains("1002 phases"), "{problems}");
    let cues: String = (0..1_001).map(|n| format!("c{n} = \"\"\n")).collect();
    let text = GOOD.replace("[limits]", &format!("[cues]\n{cues}[limits]"));
    let problems = Show::parse(&text, UnixMillis(0)).expect_err("too many cues");
    assert!(problems.to_string().contains("1001 cues"), "{problems}");
}

/// Each edit of the good file must be refused at that line with that word.
#[test]
fn contradictions_have_a_line_and_a_reason() {
    let cases = [
        ("id = 7", "id = 7\nidd = 8", 4, "idd"),
        ("2027-02-05T20:00:00+08:00", "soon", 5, "soon"),
        ("packets_per_user = 2", "packets_per_user = 9", 8, "1 to 8"),
        ("end_s = 10", "end_s = 21", 24, "overlap"),
        ("end_s = 10", "end_s = 0", 15, "after it"),
        ("releases_per_second = 83", "releases_per_second = -1", 15, "0 or more"),
        ("greeting = 3, red", "hello = 3, red", 21, "hello"),
        ("{ nothing = 1 }", "{ nothing = 0 }", 24, "above zero"),
        (
            "without_packet = \"greeting\"",
            "without_packet = \"red_packet\"",
            20,
            "must be one of",
        ),
    ];
    for (from, to, line, word) in cases {
        let text = GOOD.replacen(from, to, 1);
        let problems = Show::parse(&text, UnixMillis(0)).expect_err(to);
        assert!(
            problems.0.iter().any(|p| p.line == line && p.message.contains(word)),
            "{to}: wanted line {line} with {word:?}, got:\n{problems}"
        );
    }
}
