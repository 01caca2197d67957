//! The directory of the bench, its configurations, and one run of agent, gateway and phones in it.

use super::samples::{Sample, Sampler};
use super::say;
use crate::testbed::{self, Patience, Programs, Stage, files, run_to_file};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use xtask::interrupt::Interrupt;
use xtask::workspace::root;

/// Packets in the seed; more than can be given in all runs.
const PACKETS: u64 = 60_000;
/// Cores of gateway with agent, and of the phones.
const CORES: [usize; 2] = [0, 1];

/// The directory and addresses, and the programs.
pub struct Place {
    at: testbed::Place,
    programs: Programs,
    sessions: u32,
}

/// What one run left.
pub struct Played {
    /// The simulator's report.
    pub report: Value,
    /// The gateway's metrics twice a second.
    pub samples: Vec<Sample>,
}

impl Place {
    pub fn fresh(programs: Programs, sessions: u32) -> anyhow::Result<Self> {
        Ok(Self {
            at: testbed::Place::fresh("bench-overload")?,
            programs,
            sessions,
        })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.at.file(name)
    }

    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.at.write(name, text)
    }

    /// Makes certificates, seed and what does not change from run to run.
    pub fn prepare(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let seed: Vec<String> = ["--event", "1", "--min", "10", "--max", "500", "--sponsor", "1"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("--count={PACKETS}"), format!("--budget={}", PACKETS * 50)])
            .collect();
        testbed::make_certs_and_seed(&self.at, &self.programs, &seed, interrupt)?;
        self.write(files::SHOW, SHOW)?;
        self.write(
            files::GATEWAY,
            &format!(
                "[listen]\naddress = \"{}\"\nshards = 1\n[certs]\ndirectory = \"certs\"\n[show]\nfile = \"show.toml\"\n\
                 [throttle]\nfile = \"throttle.toml\"\n[queue]\npath = {:?}\n[metrics]\naddress = \"{}\"\n",
                self.at.gateway,
                self.at.queue(),
                self.at.metrics
            ),
        )
    }

    /// The default throttle, with small paces and users' rates scaled: each phone stands for many.
    pub fn scaled_throttle(&self) -> anyhow::Result<String> {
        let path = root().join("deploy/throttle.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().map(|line| {
            if line.starts_with("user = ") {
                return "user = { per_second = 200, burst = 20 }".to_owned();
            }
            line.replace("pace_ms = [1000,", "pace_ms = [20,")
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Runs agent, gateway and phones through the steps (name, shakes per second, seconds), and ends them.
    pub fn play(
        &self,
        throttle: &str,
        obeying: f64,
        steps: &[(String, u32, u32)],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Played> {
        self.write(files::THROTTLE, throttle)?;
        self.write(files::AGENT, &self.agent())?;
        self.write(files::SCENARIO, &self.scenario(obeying, steps))?;
        // Each run has books of its own, so that each has the whole seed.
        testbed::remove(&self.file("books"))?;
        fs::create_dir_all(self.file("books")).context("cannot make the ledger's directory")?;
        self.at.remove_queue();
        let mut stage = Stage::start(&self.at, &self.programs.on_core(CORES[0]), interrupt)?;
        let mut phones = self.programs.on_core(CORES[1]).command("client-sim");
        phones.arg("run").arg(self.file(files::SCENARIO)).arg("--json");
        let length: u32 = steps.iter().map(|(_, _, seconds)| seconds).sum();
        let patience = Patience {
            at_most: Duration::from_secs(u64::from(length) * 2 + u64::from(self.sessions / 500) + 120),
            interrupt,
        };
        let mut sampler = Sampler::new(self.at.metrics, stage.gateway.pid());
        let ended = run_to_file("client-sim", phones, &self.file(files::REPORT), &patience, || {
            sampler.look()?;
            stage.check()
        })?;
        if !ended.is_success() {
            say("the simulator says that something is amiss; its report stands");
        }
        stage.end()?;
        let text = fs::read_to_string(self.file(files::REPORT)).context("cannot read the simulator's report")?;
        let report: Value = serde_json::from_str(&text).context("the simulator's report is no JSON")?;
        ensure!(report["steps"].is_array(), "the simulator's report has no steps");
        Ok(Played {
            report,
            samples: sampler.samples,
        })
    }

    /// In a dry run of the abuse analysis: phones that shake eighty times a second would be blocked, and it is the grades
    /// that are measured here.
    fn agent(&self) -> String {
        format!(
            "[queue]\npath = {:?}\n[ledger]\npath = {:?}\n[seed]\nfile = {:?}\n[certs]\ndirectory = {:?}\n[show]\n\
             file = {:?}\n[settlement]\nfile = {:?}\n[state]\ndirectory = {:?}\n[abuse]\ndry_run = true\n",
            self.at.queue(),
            self.file("books/ledger.db"),
            self.file("seed.bin"),
            self.file("certs"),
            self.file("show.toml"),
            self.file("books/settlement.csv"),
            self.file("books/state"),
        )
    }

    fn scenario(&self, obeying: f64, steps: &[(String, u32, u32)]) -> String {
        let mut text = format!(
            "[target]\naddress = \"{}\"\nserver_name = \"localhost\"\nca = {:?}\n[users]\ntoken_key = {:?}\n[load]\n\
             sessions = {}\nconnects_per_second = 2000\nconnects_at_once = 64\nsettle_s = 20\n[behaviour]\n\
             obey_pace = {obeying:?}\n[engine]\nkind = \"lean\"\n",
            self.at.gateway,
            self.file("certs/ca.pem"),
            self.file("certs/user-token.key.toml"),
            self.sessions,
        );
        for (name, rate, seconds) in steps {
            text.push_str(&format!(
                "[[steps]]\nname = {name:?}\nshakes_per_second = {rate}\nseconds = {seconds}\n"
            ));
        }
        text
    }
}

/// Phones may shake as fast as they like, and about eighty packets a second go out.
const SHOW: &str = r#"
[event]
id = 1
name = "overload"
starts = "now"
[limits]
packets_per_user = 8
packets_per_sponsor = 8
[[sponsors]]
id = 1
name = "Sponsor"
resource = 1
[[phases]]
name = "shake"
start_s = 0
end_s = 86400
pace_ms = 1
releases_per_second = 83
without_packet = "greeting"
weights = { nothing = 30, greeting = 55, red_packet = 15 }
"#;

/// No limit and no grade but 0.
pub fn open_throttle() -> String {
    let never = "enter = {}\nleave = {}\n";
    let grades: String = ["", never, never, never, never]
        .iter()
        .map(|thresholds| format!("[[grades]]\n{thresholds}shed_after_ms = 60000\n"))
        .collect();
    grades
}

/// The pace of [`forced_throttle`]: such that the bench's phones make batches not much smaller in serving than in refusing.
pub const FORCED_PACE_MS: f64 = 1_500.0;

/// Grade 4 as soon as anything happens at all, with one fixed pace.
pub fn forced_throttle() -> String {
    let thresholds = "enter = { process_cpu = 0.00001 }\nleave = { process_cpu = 0.000001 }\n";
    let grades: String = ["", thresholds, thresholds, thresholds, thresholds]
        .iter()
        .map(|thresholds| {
            format!("[[grades]]\n{thresholds}pace_ms = [{FORCED_PACE_MS:.0}, {FORCED_PACE_MS:.0}]\nshed_after_ms = 60000\nretry_ms = [5000, 10000]\n")
        })
        .collect();
    grades
}
