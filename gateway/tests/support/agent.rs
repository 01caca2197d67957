//! The agent process beside a stand's gateway, and the seed that it feeds from.

use super::{GENEROUS_SHOW, Stand, ended, stop, wait};
use local_postgres::{AGENT, Server};
use shake_agent::ledger;
use shake_agent::seed_draw::{Request as Draw, Splits};
use shake_agent::seed_file::SeedFile;
use shake_agent::seed_fleet;
use shake_rules::seed::PacketKind;
use shake_rules::{Cents, EventId, LedgerId, SponsorId};
use shm_queue::Mapping;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

const AGENT_CONFIG: &str = "SHAKE_TEST_AGENT_CONFIG";

impl Stand {
    /// Which ledger the agent names; until it does, nothing is refused and nothing won.
    pub fn ledger(&self) -> LedgerId {
        let mapping = Mapping::open(&self.path("queue")).expect("the gateway has made it");
        wait("the agent has named its ledger", || mapping.owner().is_some());
        LedgerId(mapping.owner().expect("it was there").identity)
    }

    /// Makes a seed of `count` packets of 10 to 500 cents, of sponsor 1.
    pub fn make_seed(&self, budget_cents: u64, count: u64) {
        self.make_seed_of(budget_cents, count, 1, PacketKind::Plain);
    }

    /// Makes a seed of `count` packets of 10 to 500 cents and this kind, of `sponsors` sponsors in turn.
    pub fn make_seed_of(&self, budget_cents: u64, count: u64, sponsors: u16, kind: PacketKind) {
        self.make_seed_part(budget_cents, count, sponsors, kind, 0);
    }

    /// The same, as this part of a fleet's seed of two: packets of different parts differ.
    pub fn make_seed_part(&self, budget_cents: u64, count: u64, sponsors: u16, kind: PacketKind, part: u16) {
        use shake_rules::seed::{SeedRecord, SeedSum};
        use shake_rules::{PacketId, amounts};
        let mut state = 7_u64;
        let random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state
        };
        let amounts =
            amounts::draw(Cents(budget_cents), count, Cents(10), Cents(500), random).expect("a possible budget");
        let (mut sum, mut records) = (SeedSum::default(), Vec::new());
        for (index, amount) in amounts.into_iter().enumerate() {
            let packet = PacketId(1_000 + 1_000_000 * u64::from(part) + index as u64);
            let record = SeedRecord {
                packet,
                amount,
                sponsor: SponsorId(1 + index as u16 % sponsors),
                kind,
            };
            sum.add(&record);
            records.extend_from_slice(&record.encode());
        }
        let mut file = sum.header(EventId(1), part, part + 1).encode().to_vec();
        file.append(&mut records);
        std::fs::write(self.path("seed.bin"), file).expect("seed.bin");
    }

    /// Starts the agent on the seed: this test program again, as [`be_the_agent_if_asked`].
    pub fn start_agent(&mut self) {
        self.start_agent_by(&[], "");
    }

    /// The same with these lines in its `[abuse]`.
    pub fn start_agent_with(&mut self, abuse: &str) {
        self.start_agent_by(&[], abuse);
    }

    /// The same, where no file may become larger than `bytes`: writes beyond it fail, as on a full disk.
    pub fn start_agent_with_room(&mut self, bytes: u64) {
        // A signal that is ignored stays so over exec; without that, the first write over the limit would end the program.
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let limit = format!("--fsize={bytes}:unlimited");
        self.start_agent_by(&["prlimit", &limit, "sh", "-c", script], "");
    }

    /// Makes room on the agent's disk.
    pub fn make_room(&self) {
        let pid = self.agent.as_ref().expect("the agent runs").id().to_string();
        let limit = "--fsize=unlimited:unlimited";
        let status = Command::new("prlimit").args([limit, "--pid", &pid]).status();
        assert!(status.expect("prlimit, of util-linux").success());
    }

    /// The same, following the show of another directory than the gateway's.
    pub fn start_agent_apart(&mut self, state: &str) {
        self.start_agent_of(&[], "", state);
    }

    /// Starts the agent through another program, if any, with these lines in its `[abuse]`.
    fn start_agent_by(&mut self, through: &[&str], abuse: &str) {
        self.start_agent_of(through, abuse, "state");
    }

    fn start_agent_of(&mut self, through: &[&str], abuse: &str, state: &str) {
        self.start_agent_as(through, &self.agent_config(abuse, state));
    }

    /// Starts the agent with its ledger on a server.
    pub fn start_agent_on(&mut self, url: &str) {
        let config = self.agent_config("", "state");
        let config = config.replace("[ledger]\n", &format!("[ledger]\nurl = \"{url}\"\n"));
        let settlement = self.path("settlement.log").display().to_string();
        self.start_agent_as(&[], &config.replace(&settlement, ""));
    }

    fn agent_config(&self, abuse: &str, state: &str) -> String {
        let path = self.directory.path().display().to_string();
        format!(
            "[queue]\npath = \"{path}/queue\"\n[ledger]\npath = \"{path}/ledger.db\"\n[seed]\nfile = \"{path}/seed.bin\"\n\
             [certs]\ndirectory = \"{path}/certs\"\n[show]\nfile = \"{path}/show.toml\"\n[state]\ndirectory = \"{path}/{state}\"\n\
             [settlement]\nfile = \"{path}/settlement.log\"\n[abuse]\nfile = \"{path}/blocks.json\"\n{abuse}"
        )
    }

    fn start_agent_as(&mut self, through: &[&str], config: &str) {
        std::fs::write(self.path("agent.toml"), config).expect("agent.toml");
        let program = std::env::current_exe().expect("this test program");
        let mut command = match through {
            [] => Command::new(&program),
            [first, more @ ..] => {
                let mut command = Command::new(first);
                command.args(more).arg(&program);
                command
            }
        };
        command
            .args(["--exact", "agent_process", "--nocapture"])
            .env(AGENT_CONFIG, self.path("agent.toml"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(self.log("agent.log"));
        self.agent = Some(command.spawn().expect("the agent starts"));
    }

    /// Kills the agent with SIGKILL.
    pub fn kill_agent(&mut self) {
        stop(
            self.agent.take().expect("the agent runs"),
            nix::sys::signal::Signal::SIGKILL,
        );
    }

    /// Has the agent end in good order, by closing its standard input. Gives its exit code.
    pub fn stop_agent(&mut self) -> Option<i32> {
        let mut agent = self.agent.take().expect("the agent runs");
        drop(agent.stdin.take());
        ended(agent)
    }

    /// The audit of ledger against seed. Panics with its findings unless it balances.
    pub fn audit(&self) -> shake_agent::audit::Report {
        let report =
            shake_agent::audit::audit(&self.path("ledger.db"), &self.path("seed.bin"), |_, _| ()).expect("an audit");
        assert!(report.balanced, "{report:#?}");
        report
    }
}

/// Two gateways, each with its own agent and its own part of the seed, and one ledger. The whole seed is in
/// the directory `seeds` of the first.
pub fn two_gateways(server: &Server) -> [Stand; 2] {
    let here = Stand::new(GENEROUS_SHOW, "");
    let there = here.beside(GENEROUS_SHOW);
    let draw = Draw {
        event: EventId(1),
        budget: Cents(40_000),
        count: 200,
        sponsors: [(SponsorId(1), 1)].into(),
        min: Cents(10),
        max: Cents(500),
        splits: Splits::default(),
    };
    let seeds = here.path("seeds");
    seed_fleet::generate(&draw, 2, &seeds, false, None, rand::random, |_| ()).expect("a seed");
    let mut stands = [here, there];
    let headers = [0, 1].map(|part| {
        let seed = stands[usize::from(part)].path("seed.bin");
        std::fs::copy(seeds.join(seed_fleet::file_name(part)), &seed).expect("a copy");
        *SeedFile::open(&seed).expect("a seed").header()
    });
    let owner = server.database("event").expect("a database");
    ledger::init(&owner, LedgerId([9; 16]), &headers, AGENT).expect("tables");
    for stand in &mut stands {
        stand.start_agent_on(&server.agent_url("event"));
    }
    stands
}

/// When this process was started as an agent, runs it and never returns.
pub fn be_the_agent_if_asked() {
    let Some(path) = std::env::var_os(AGENT_CONFIG) else {
        return;
    };
    let text = std::fs::read_to_string(Path::new(&path)).expect("agent.toml");
    let config = shake_agent::config::Config::parse(&text, Path::new("")).expect("a good agent.toml");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let stop = shake_agent::signals::Stop::default();
    let asked = stop.clone();
    std::thread::spawn(move || {
        // The test harness owns the signals of this process, so the end of the input stands for SIGTERM.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        asked.ask();
    });
    let result = shake_agent::run::run(&config, &stop);
    std::process::exit(result.map_or_else(
        |error| {
            eprintln!("{error:?}");
            1
        },
        |()| 0,
    ));
}
