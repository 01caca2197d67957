//! The lean engine against a server stack that shares no code with the one it was written beside: aioquic, from PyPI.
//! Needs `python3` with its `venv`, and the first time PyPI; without them the test fails and says so.

use client_sim::engine::Stop;
use client_sim::report::Report;
use client_sim::run::{Verdict, Watch, run};
use client_sim::scenario::{Overrides, Scenario};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use shake_rules::keys::{Key, KeyRing, Purpose};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign_server.py");
const ENVIRONMENT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/aioquic");

const SCENARIO: &str = "
[load]
sessions = 30
connects_per_second = 100
shakes_per_second = 150
seconds = 2
settle_s = 5
[behaviour]
obey_pace = false
use_streams_for_shakes = 0.3
[limits]
# With a tenth lost, a handshake may need its third probe, on a machine that does other things as well.
connect_timeout_ms = 20000
request_timeout_ms = 20000
shake_timeout_ms = 3000
[engine]
kind = \"lean\"
";

struct Foreign {
    server: Child,
    address: SocketAddr,
    files: TempDir,
}

impl Foreign {
    fn start(flags: &[&str]) -> Self {
        let files = TempDir::new().expect("a temporary directory");
        write_identity(files.path());
        let mut server = Command::new("python3")
            .args([SCRIPT, "--environment", ENVIRONMENT])
            .arg("--certificate")
            .arg(files.path().join("server.pem"))
            .arg("--key")
            .arg(files.path().join("server.key.pem"))
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs python3 in the PATH, to run a server that is not ours");
        let mut line = String::new();
        BufReader::new(server.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("readable");
        let Some(port) = line
            .trim()
            .strip_prefix("listening ")
            .and_then(|port| port.parse().ok())
        else {
            let mut reason = String::new();
            let _ = server.stderr.take().expect("piped").read_to_string(&mut reason);
            panic!(
                "the aioquic server of this test does not start (it needs python3, venv, and PyPI once):\n{line}{reason}"
            );
        };
        Self {
            server,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            files,
        }
    }

    fn play(&self) -> Report {
        let overrides = Overrides {
            target: Some(self.address.to_string()),
            certs: Some(self.files.path().to_owned()),
            ..Overrides::default()
        };
        let scenario = Scenario::parse(SCENARIO, &overrides).expect("a good scenario");
        let outcome = run(scenario, &Watch::default(), &Stop::default(), &mut |_| {}).expect("the run begins");
        assert_eq!(outcome.verdict, Verdict::Fine, "{}", outcome.report.to_text());
        outcome.report
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn write_identity(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a good name");
    let leaf = leaf
        .signed_by(&key, &Issuer::from_params(&params, &ca_key))
        .expect("a certificate");
    let ring = KeyRing::of(Key::new(1, [5; 32]));
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("server.pem", leaf.pem()),
        ("server.key.pem", key.serialize_pem()),
        (Purpose::UserToken.file_name(), ring.to_file(Purpose::UserToken)),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
}

/// Each session on datagrams meets a key update, a change of the server's connection ID, a PING, a notice, and responses that come a
/// byte a frame, in this order, and everything is answered.
#[test]
fn a_server_of_another_stack_is_understood() {
    for flags in [&[][..], &["--retry"]] {
        let report = Foreign::start(flags).play();
        let text = report.to_text();
        assert_eq!(
            (report.sessions.counts.connected, report.sessions.counts.lost),
            (30, 0),
            "{text}"
        );
        assert_eq!(
            (report.shakes.counts.sent, report.shakes.counts.answered),
            (300, 300),
            "{text}"
        );
        assert!(report.shakes.counts.sent_on_streams > 0, "{text}");
        assert_eq!(report.outcomes["greeting"], 300, "{text}");
        assert!(report.errors.is_empty(), "{text}");
    }
}

/// A tenth of all datagrams is lost each way: whatever must arrive does, so that only shakes on datagrams go unanswered.
#[test]
fn a_server_of_another_stack_is_understood_through_loss() {
    let report = Foreign::start(&["--loss", "0.1", "--seed", "7"]).play();
    let text = report.to_text();
    assert_eq!(
        (report.sessions.counts.connected, report.sessions.counts.lost),
        (30, 0),
        "{text}"
    );
    assert_eq!(report.shakes.counts.sent, 300, "{text}");
    let on_datagrams = report.shakes.counts.sent - report.shakes.counts.sent_on_streams;
    assert!(
        report.shakes.counts.unanswered > 0 && report.shakes.counts.unanswered < on_datagrams / 2,
        "{text}"
    );
    assert!(report.sessions.counts.failed == 0 && report.errors.is_empty(), "{text}");
}
