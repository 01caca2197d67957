//! The operator's commands against a stand, and what they say.

use super::Stand;
use certs::rotate::{self, Step};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shake_rules::keys::Purpose;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread::{self, JoinHandle};

impl Stand {
    /// An operator's command with the certificates in `certs`; for the gateway, where no target is named.
    pub fn operator(&self, certs: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(arguments).arg("--certs").arg(certs);
        if !arguments.contains(&"--target") {
            command.args(["--target", &self.admin.to_string()]);
        }
        command
    }

    /// Runs an operator's command, with the certificates in `certs`.
    pub fn operate_with(&self, certs: &Path, arguments: &[&str]) -> Operated {
        let output = self.operator(certs, arguments).output();
        Operated::of(&output.expect("the operator's command runs"))
    }

    /// The same on a thread of its own.
    pub fn begin_to_operate(&self, arguments: &[&str]) -> JoinHandle<Operated> {
        let mut command = self.operator(&self.path("certs"), arguments);
        thread::spawn(move || Operated::of(&command.output().expect("the operator's command runs")))
    }

    /// Runs the program in the stand's directory until it ends by itself.
    pub fn run(&self, arguments: &[&str]) -> Operated {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(arguments).current_dir(self.directory.path());
        Operated::of(&command.output().expect("the gateway starts"))
    }

    /// The same; it must end with an error. Gives what it said.
    pub fn run_to_its_end(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert!(!ended.is_good, "{ended:?}");
        ended.text
    }

    /// Starts the gateway, which must refuse to. Gives what it said.
    pub fn gateway_that_does_not_start(&self, arguments: &[&str]) -> String {
        self.run_to_its_end(&[&["run", "--config", "gateway.toml"], arguments].concat())
    }

    /// Reloads, and gives the lines of the difference.
    pub fn reload(&self) -> Vec<String> {
        let done = self.operate(&["reload", "--json"]);
        assert!(done.is_good, "{done:?}");
        let done = done.json().remove(0);
        assert_eq!(
            (&done["shards"], &done["shards_applied"]),
            (&2.into(), &2.into()),
            "{done}"
        );
        let lines = done["differences"].as_array().expect("lines").iter();
        lines.map(|line| line.as_str().expect("a line").to_owned()).collect()
    }

    /// How it stands, as its `status` says to programs.
    pub fn status(&self) -> serde_json::Value {
        let status = self.operate(&["status", "--json"]);
        assert!(status.is_good, "{status:?}");
        status.json().remove(0)
    }

    /// The lines of the audit log.
    pub fn audit_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("state/audit.log")).expect("an audit log");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }

    /// The lines of the audit log about a reload: result and detail.
    pub fn reloads(&self) -> Vec<(String, String)> {
        let word = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        let lines = self.audit_log().into_iter();
        lines
            .filter(|line| line["what"] == "reload")
            .map(|line| (word(&line["result"]), word(&line["detail"])))
            .collect()
    }

    /// Sends the gateway SIGHUP.
    pub fn hang_up(&self) {
        let id = Pid::from_raw(self.gateway_id() as i32);
        kill(id, Signal::SIGHUP).expect("the gateway is there");
    }

    /// A step of a rotation of these keys, in the gateway's own directory.
    pub fn rotate(&self, purposes: &[Purpose], step: Step) {
        rotate::rotate(&self.path("certs"), purposes, step, jiff::Timestamp::now()).expect("a step");
    }

    /// Runs an operator's command against the gateway.
    pub fn operate(&self, arguments: &[&str]) -> Operated {
        self.operate_with(&self.path("certs"), arguments)
    }
}

/// A command that ends with its test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// What an operator's command said.
#[derive(Debug)]
pub struct Operated {
    pub is_good: bool,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its output and errors.
    pub text: String,
}

impl Operated {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            is_good: output.status.success(),
            code: output.status.code(),
            text: text(&output.stdout) + &text(&output.stderr),
        }
    }

    /// Its output as JSON, one value a line.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let value = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        self.text.lines().map(value).collect()
    }
}
