use super::*;

fn parse(text: &str) -> Result<Scenario, Problems> {
    Scenario::parse(text, &Overrides::default())
}

#[test]
fn the_built_in_file_says_what_the_defaults_are() {
    assert_eq!(parse(DEFAULT).expect("good"), parse("").expect("good"));
    for key in [
        "seed",
        "obey_pace",
        "claim_tries_max",
        "keep_alive_s",
        "connects_at_once",
        "token_lifetime_s",
        "share_split",
        "friends_told",
        "send_share",
        "send_min_cents",
        "view_share",
        "wallet_share",
        "hoard_share",
        "grab_share",
        "repeat_share",
        "delay_ms",
        "fetch_share",
        "sample",
        "silence_backoff_ms",
        "silences_max",
        "hello_delay_ms",
        "program",
        "certs",
    ] {
        assert!(DEFAULT.contains(&format!("\n{key} = ")), "{key} is missing");
    }
}

#[test]
fn every_shipped_scenario_is_good() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/scenarios");
    for entry in std::fs::read_dir(folder).expect("the folder is part of the project") {
        let path = entry.expect("a file of it").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        parse(&text).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
    }
}

/// Each edit of the built-in file must be refused with that word, at the line where the edit stands.
#[test]
fn contradictions_have_a_line_and_a_reason() {
    let placed = [
        ("sessions = 1000", "sessions = 0", "1 to 1000000"),
        ("sessions = 1000", "sesions = 5", "sesions"),
        ("seconds = 20", "seconds = \"20\"", "invalid type"),
        ("address = \"127.0.0.1:4433\"", "address = \"127.0.0.1\"", "host:port"),
        ("server_name = \"localhost\"", "server_name = \"a b\"", "DNS name"),
        ("kind = \"quinn\"", "kind = \"fast\"", "no engine"),
        ("obey_pace = true", "obey_pace = 1.5", "share"),
        ("obey_pace = true", "obey_pace = \"yes\"", "share"),
        (
            "claim_delay_ms = [200, 1500]",
            "claim_delay_ms = [9, 1]",
            "[least, most]",
        ),
        ("first_id = 1", "first_id = 0", "1 or more"),
        ("ca = \"certs/ca.pem\"", "ca = \"\"", "empty"),
        ("share_split = 0.0", "share_split = 2.0", "share"),
        ("friends_told = 3", "friends_told = 0", "1 to 100"),
        ("send_share = 0.0", "send_share = -0.5", "share"),
        ("send_min_cents = 100", "send_min_cents = 4", "5 to"),
        ("grab_share = 1.0", "grab_share = \"all\"", "share"),
        ("repeat_share = 0.0", "repeat_share = 7.0", "share"),
        ("delay_ms = [200, 2000]", "delay_ms = [2, 1]", "[least, most]"),
        ("fetch_share = 0.0", "fetch_share = 1.1", "share"),
        ("sample = 100", "sample = 0", "1 to 10000"),
        (
            "silence_backoff_ms = [2000, 10000]",
            "silence_backoff_ms = [0, 1]",
            "[least, most]",
        ),
        ("silences_max = 2", "silences_max = 0", "1 to 100"),
        ("hello_delay_ms = [0, 5000]", "hello_delay_ms = [2, 1]", "[least, most]"),
        ("program = \"gateway\"", "program = \"\"", "empty"),
    ];
    for (from, to, word) in placed {
        let text = DEFAULT.replacen(&format!("\n{from}"), &format!("\n{to}"), 1);
        assert_ne!(text, DEFAULT, "{from} stands in the built-in file");
        let wanted = text.lines().position(|line| line.starts_with(to)).map(|at| at + 1);
        let problems = parse(&text).expect_err(to);
        assert!(
            problems
                .0
                .iter()
                .any(|p| Some(p.line) == wanted && p.message.contains(word)),
            "{to}: wanted line {wanted:?} with {word:?}, got:\n{problems}"
        );
    }
    let between = [
        ("[load]\nsettle_s = 1", "raise settle_s"),
        ("[users]\ntoken_lifetime_s = 30", "raise it"),
        ("[engine]\nkeep_alive_s = 60", "comes too late"),
        (
            "[load]\nseconds = 5\n[[steps]]\nshakes_per_second = 1\nseconds = 9",
            "take it out",
        ),
        ("[[steps]]\nshakes_per_second = 1", "seconds"),
        ("[[steps]]\nshakes_per_second = 1\nseconds = 0", "1 to"),
        (
            "[[steps]]\nshakes_per_second = 1\nseconds = 86400\n[[steps]]\nshakes_per_second = 1\nseconds = 1",
            "at most 64 steps",
        ),
        ("[engine]\nkeep_alive_s = 0\nidle_timeout_s = 10", "set keep_alive_s"),
    ];
    for (text, word) in between {
        let problems = parse(text).expect_err(text);
        assert!(problems.to_string().contains(word), "{text}: {problems}");
    }
}

#[test]
fn cues_become_commands_in_the_order_of_time() {
    let text = "[operator]\nprogram = \"bin/gateway\"\naddress = \"10.0.0.5:9\"\n\
                [[cues]]\nat_s = 8.5\nname = \"main\"\nin_s = 2.5\n\
                [[cues]]\nat_s = 2\nname = \"custom\"\ncommand = [\"touch\", \"it\"]\n";
    let scenario = parse(text).expect("good");
    let [first, second] = &scenario.cues[..] else {
        panic!("two cues");
    };
    assert_eq!(
        (first.at, &first.command[..]),
        (Micros::from_s(2), &["touch".to_owned(), "it".into()][..])
    );
    assert_eq!(second.at, Micros::from_ms(8_500));
    let wanted = "bin/gateway cue main --in 2.5s --target 10.0.0.5:9 --certs certs";
    assert_eq!(second.command.join(" "), wanted);
    for (cue, line, word) in [
        ("at_s = 30\nname = \"late\"", 2, "after the end"),
        ("at_s = -1\nname = \"early\"", 2, "0 or more"),
        ("at_s = 1\nname = \"\"", 3, "empty"),
        ("at_s = 1\nname = \"--evil\"", 3, "begin with"),
        ("at_s = 1\nname = \"a\"\nin_s = -2", 4, "0 or more"),
        ("at_s = 1\nname = \"a\"\nin_s = 2\ncommand = [\"x\"]", 4, "command"),
        ("at_s = 1\nname = \"a\"\ncommand = []", 4, "empty"),
    ] {
        let problems = parse(&format!("[[cues]]\n{cue}")).expect_err(cue);
        let found = |p: &shake_rules::document::Problem| p.line == line && p.message.contains(word);
        assert!(problems.0.iter().any(found), "{cue}: {problems}");
    }
}

#[test]
fn cues_go_by_the_steps_and_one_process_of_several_gives_them() {
    let text = "[[steps]]\nshakes_per_second = 10\nseconds = 20\n[[steps]]\nshakes_per_second = 20\nseconds = 20\n\
                [[cues]]\nat_s = 40\nname = \"end\"\n";
    assert_eq!(parse(text).expect("good").cues.len(), 1);
    assert!(parse(&text.replace("at_s = 40", "at_s = 40.5")).is_err());
    for (users, cues) in [(1..=500, 1), (501..=1_000, 0)] {
        let overrides = Overrides {
            users: Some(Users(users.clone())),
            ..Overrides::default()
        };
        let scenario = Scenario::parse(text, &overrides).expect("good");
        assert_eq!(scenario.cues.len(), cues, "{users:?}");
    }
}

const NETWORK: &str = "[network.lte]
share = 0.5
round_trip_ms = [40, 90]
jitter_ms = 20
loss = 0.01
reordering = 0.01
reordered_by_ms = [1, 30]
duplication = 0.001
rebinds_every_s = 600
dies_every_s = 1800
dead_ms = [2000, 9000]
[network.wifi]
share = 0.5
round_trip_ms = [10, 40]
";

#[test]
fn networks_are_read_by_name() {
    let scenario = parse(NETWORK).expect("good");
    let networks = &scenario.habits.networks;
    assert_eq!(networks.names().collect::<Vec<_>>(), ["lte", "wifi", "direct"]);
    let [lte, wifi] = &networks.profiles[..] else {
        panic!("two networks");
    };
    assert_eq!(
        (lte.share, lte.loss, lte.reordering, lte.duplication),
        (0.5, 0.01, 0.01, 0.001)
    );
    assert_eq!(lte.round_trip, [40, 90].map(Micros::from_ms));
    assert_eq!(lte.round_trip_max(), Micros::from_ms(130));
    assert_eq!(lte.reordered_by, [1, 30].map(Micros::from_ms));
    assert_eq!(
        (lte.rebinds_every, lte.dies_every),
        (Micros::from_s(600), Micros::from_s(1_800))
    );
    assert_eq!(lte.dead_for, [2_000, 9_000].map(Micros::from_ms));
    assert!(lte.moves_phones() && !wifi.moves_phones());
    assert_eq!(
        (wifi.loss, wifi.jitter, wifi.dies_every),
        (0.0, Micros::ZERO, Micros::ZERO)
    );
    assert!(parse("").expect("good").habits.networks.is_empty());
}

#[test]
fn networks_that_cannot_be_are_refused_with_their_line() {
    for (from, to, word) in [
        ("share = 0.5", "share = 1.5", "share"),
        ("share = 0.5", "shares = 0.5", "shares"),
        ("round_trip_ms = [40, 90]", "round_trip_ms = [90, 40]", "[least, most]"),
        ("round_trip_ms = [40, 90]", "round_trip_ms = [40, 10001]", "10000"),
        ("jitter_ms = 20", "jitter_ms = 10001", "0 to 10000"),
        ("loss = 0.01", "loss = 1.01", "share"),
        ("reordering = 0.01", "reordering = -0.1", "share"),
        ("reordered_by_ms = [1, 30]", "reordered_by_ms = [0, 30]", "between 1"),
        ("duplication = 0.001", "duplication = \"some\"", "share"),
        ("rebinds_every_s = 600", "rebinds_every_s = 86401", "86400"),
        ("dies_every_s = 1800", "dies_every_s = 100000", "86400"),
        ("dead_ms = [2000, 9000]", "dead_ms = [0, 9000]", "between 1"),
        ("jitter_ms = 20", "delay_ms = 20", "delay_ms"),
    ] {
        let text = NETWORK.replacen(from, to, 1);
        let wanted = text.lines().position(|line| line == to).map(|at| at + 1);
        let problems = parse(&text).expect_err(to);
        let found = |p: &shake_rules::document::Problem| Some(p.line) == wanted && p.message.contains(word);
        assert!(problems.0.iter().any(found), "{to}: {problems}");
    }
    let whole = [
        (
            NETWORK.replace("share = 0.5\nround_trip_ms = [10", "share = 0.6\nround_trip_ms = [10"),
            13,
            "1.100 together",
        ),
        (NETWORK.replace("network.wifi", "network.direct"), 13, "direct"),
        (NETWORK.replace("network.wifi", "network.\"\""), 13, "1 to 32 bytes"),
        (NETWORK.replace("share = 0.5\n", ""), 1, "share"),
        (
            format!("{NETWORK}[engine]\nkind = \"lean\"\nsockets = 1\n"),
            0,
            "engine.sockets = 2",
        ),
    ];
    for (text, line, word) in whole {
        let problems = parse(&text).expect_err(word);
        let found = |p: &shake_rules::document::Problem| p.line == line && p.message.contains(word);
        assert!(problems.0.iter().any(found), "{word}: {problems}");
    }
    // The other engine gives each phone a socket of its own.
    assert!(parse(&format!("{NETWORK}[engine]\nsockets = 1\n")).is_ok());
}

#[test]
fn flags_win_and_are_checked_too() {
    let overrides = Overrides {
        sessions: Some(7),
        shakes_per_second: Some(0),
        seconds: Some(3),
        target: Some("[::1]:9".into()),
        certs: Some("made".into()),
        ..Overrides::default()
    };
    let scenario = Scenario::parse(DEFAULT, &overrides).expect("good");
    assert_eq!(
        (scenario.sessions, scenario.shakes_per_second(), scenario.seconds()),
        (7, 0, 3)
    );
    assert_eq!(scenario.addresses(), "[::1]:9");
    assert_eq!(scenario.ca, PathBuf::from("made/ca.pem"));
    assert_eq!(scenario.token_key, PathBuf::from("made/user-token.key.toml"));
    for (target, named, server_name, operator) in [
        ("gw1.example:4433", None, "gw1.example", "gw1.example:4434"),
        (
            "gw1.example:4433",
            Some("other.example"),
            "other.example",
            "gw1.example:4434",
        ),
        ("192.0.2.7:4433", None, "localhost", "192.0.2.7:4434"),
        ("[2001:db8::7]:4433", None, "localhost", "[2001:db8::7]:4434"),
        ("127.0.0.1:5000", None, "localhost", "127.0.0.1:4434"),
        ("localhost:5000", None, "localhost", "127.0.0.1:4434"),
    ] {
        let elsewhere = Overrides {
            target: Some(target.into()),
            server_name: named.map(str::to_owned),
            ..Overrides::default()
        };
        let cues = format!("{DEFAULT}\n[[cues]]\nat_s = 1\nname = \"main\"\n");
        let scenario = Scenario::parse(&cues, &elsewhere).expect("good");
        assert_eq!(scenario.server_name, server_name, "{target}");
        let command = &scenario.cues[0].command;
        assert!(command.contains(&operator.to_owned()), "{target}: {command:?}");
    }
    let bad = Overrides {
        sessions: Some(0),
        ..Overrides::default()
    };
    let problems = Scenario::parse(DEFAULT, &bad).expect_err("no sessions");
    assert_eq!(problems.0[0].line, 0);
    let journal = Overrides {
        journal: Some("journal.csv".into()),
        ..Overrides::default()
    };
    let problems = Scenario::parse(DEFAULT, &journal).expect_err("the built-in engine is quinn");
    assert!(problems.to_string().contains("engine.kind = \"lean\""), "{problems}");
    let scenario = Scenario::parse("[engine]\nkind = \"lean\"", &journal).expect("good");
    assert_eq!(scenario.journal, Some(PathBuf::from("journal.csv")));
}

const STEPS: &str = "
[users]
first_id = 101
[load]
sessions = 1000
connects_per_second = 100
[[steps]]
name = \"hold\"
shakes_per_second = 0
seconds = 10
[[steps]]
shakes_per_second = 3001
seconds = 60
";

#[test]
fn steps_follow_each_other() {
    let scenario = parse(STEPS).expect("good");
    let names: Vec<&str> = scenario.steps.iter().map(|step| &step.name[..]).collect();
    assert_eq!(names, ["hold", "3001/s"]);
    assert_eq!((scenario.seconds(), scenario.shakes_per_second()), (70, 3_001));
    let overrides = Overrides {
        seconds: Some(3),
        ..Overrides::default()
    };
    let problems = Scenario::parse(STEPS, &overrides).expect_err("which seconds?");
    assert!(problems.to_string().contains("--seconds does not go"), "{problems}");
}

#[test]
fn parts_of_the_users_add_up_to_the_whole() {
    let part = |users: &str| {
        let overrides = Overrides {
            users: Some(users.parse().expect("a range")),
            ..Overrides::default()
        };
        Scenario::parse(STEPS, &overrides)
    };
    let parts = ["101..400", "401..401", "402..1100"].map(|users| part(users).expect("within"));
    let sum = |of: fn(&Scenario) -> u32| parts.iter().map(of).sum::<u32>();
    assert_eq!(sum(|part| part.sessions), 1_000);
    assert_eq!(sum(Scenario::shakes_per_second), 3_001);
    assert_eq!(parts[2].first_id, 402);
    for outside in ["100..200", "101..1101"] {
        let problems = part(outside).expect_err(outside);
        assert!(problems.to_string().contains("101..1100"), "{problems}");
    }
}
