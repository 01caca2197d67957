use super::*;

#[test]
fn the_default_file_says_the_defaults() {
    let default = Config::parse(DEFAULT, Path::new("")).expect("the shipped file");
    assert_eq!(Ok(default.clone()), Config::parse("", Path::new("")));
    let placed = Config::parse(DEFAULT, Path::new("/etc/shake")).expect("the shipped file");
    assert_eq!(placed.ledger, Path::new("/etc/shake/ledger.db"));
    assert_eq!(
        (placed.show, placed.queue),
        (default.show.clone(), default.queue.clone())
    );
    assert_eq!((default.batch_max, default.grants_in_hand), (512, 64));
    assert_eq!(default.commit_every, Duration::from_millis(10));
}

/// The unit may write in its state directories and in /dev/shm, and nowhere else.
#[test]
fn the_unit_and_its_configuration_agree_on_where_things_lie() {
    const UNIT: &str = include_str!("../../../deploy/systemd/shake-agent.service");
    let value = |key: &str| UNIT.lines().find_map(|line| line.strip_prefix(key));
    let start = value("ExecStart=").expect("a unit starts something");
    let (_, file) = start.rsplit_once("--config ").expect("with a configuration");
    let mut directories = value("StateDirectory=").expect("it writes").split(' ');
    let mut next = || Path::new("/var/lib").join(directories.next().expect("its own, and the gateway's"));
    let (own, gateways) = (next(), next());
    let directory = Path::new(file).parent().expect("an absolute path");
    let config = Config::parse(include_str!("../../../deploy/systemd/agent.toml"), directory).expect("a good file");
    let written = [Some(config.ledger), config.settlement, config.blocks];
    for path in written.into_iter().flatten() {
        assert!(path.starts_with(&own), "{} is not in {}", path.display(), own.display());
    }
    assert!(config.seed.starts_with(&own) && config.queue.starts_with("/dev/shm"));
    assert_eq!(
        config.state.as_deref(),
        Some(gateways.as_path()),
        "the gateway's, where the witness is written"
    );
    assert_eq!(config.certs, Path::new("/etc/shake/certs"), "the gateway's");
    assert_eq!(value("WorkingDirectory="), None, "no relative path starts there");
}

#[test]
fn every_problem_has_its_line() {
    for (from, to, word) in [
        ("batch_max = 512", "batch_max = 0", "1 to 8192"),
        ("batch_max = 512", "batch_max = \"many\"", "expected"),
        ("every_ms = 10", "every_ms = 101", "0 (off) to 100"),
        ("grants_in_hand = 64", "grants_in_hand = 4097", "1 to 4096"),
        ("level = \"info\"", "level = \"loud\"", "loud"),
        ("flood = 600", "flood = 99999999", "0 (off) to"),
        ("farm = 20", "farm = 2000", "0 (off) to 1000"),
        ("block_s = 60", "block_s = 90000", "1 to 86400"),
        ("block_s_max = 3600", "block_s_max = 30", "less than block_s = 60"),
        ("memory_s = 3600", "memory_s = 59", "less than window_s = 60"),
        ("file = \"settlement.log\"", "file = \"ledger.db\"", "[ledger] path too"),
        (
            "file = \"blocks.json\"",
            "file = \"/dev/shm/shake-gateway\"",
            "[queue] path too",
        ),
        ("exempt = []", "exempt = [\"here\"]", "no network"),
        ("dry_run = false", "dry_run = 1", "boolean"),
        ("status_every_s = 10", "status_every_s = 0", "1 to 3600"),
        ("file = \"seed.bin\"", "file = \"\"", "empty"),
        ("machine = \"\"", "machine = \"gw\\n1\"", "a name of"),
        ("path = \"ledger.db\"", "paht = \"ledger.db\"", "paht"),
    ] {
        let text = DEFAULT.replacen(from, to, 1);
        let line = 1 + text
            .lines()
            .position(|line| line == to)
            .expect("the default file has the key");
        let problems = Config::parse(&text, Path::new("")).expect_err(to);
        assert!(
            problems.0.iter().any(|p| p.line == line && p.message.contains(word)),
            "{to}: wanted line {line} with {word:?}, got:\n{problems}"
        );
    }
}

/// What moves balances stands in the table of a server, and nobody takes an agent's own file for all of it.
#[test]
fn a_ledger_on_a_server_has_no_settlement_file_of_an_agent() {
    let text = DEFAULT.replacen("url = \"\"", "url = \"postgres://agent@localhost/event\"", 1);
    let problems = Config::parse(&text, Path::new("")).expect_err("it names both");
    assert!(
        problems.to_string().contains("`shake-agent settlement run`"),
        "{problems}"
    );
    let text = text.replacen("file = \"settlement.log\"", "file = \"\"", 1);
    let config = Config::parse(&text, Path::new("")).expect("it names the server alone");
    assert!(config.settlement.is_none() && config.server.is_some());
}
