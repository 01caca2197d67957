//! The `[operator]` and `[[cues]]` tables: command lines to run while the phones shake.

use super::Cue;
use super::check::Check;
use super::file::{self, At};
use crate::schedule::Micros;

impl Check<'_> {
    /// The cues as commands, in the order of time.
    pub(super) fn cues(&mut self, operator: &file::Operator, cues: Vec<file::Cue>, seconds: u64) -> Vec<Cue> {
        let addresses = operator.address.as_ref().all();
        if addresses.is_empty() {
            self.wrong(operator.address.span(), "address is an empty list".into());
        }
        for address in addresses {
            self.address(address, operator.address.span());
        }
        for (key, value) in [("program", &operator.program), ("certs", &operator.certs)] {
            if value.as_ref().is_empty() {
                self.wrong(value.span(), format!("{key} is empty"));
            }
        }
        let mut checked: Vec<Cue> = cues.into_iter().map(|cue| self.cue(operator, cue, seconds)).collect();
        checked.sort_by_key(|cue| cue.at);
        checked
    }

    fn cue(&mut self, operator: &file::Operator, cue: file::Cue, seconds: u64) -> Cue {
        let at_s = self.span_s("at_s", &cue.at_s);
        if at_s > seconds as f64 {
            let message = format!("at_s = {at_s} is after the end of the shaking, which lasts {seconds} s");
            self.wrong(cue.at_s.span(), message);
        }
        let name = cue.name.as_ref().clone();
        if name.is_empty() || name.starts_with('-') {
            let message = format!("name = {name:?} must not be empty, nor begin with a hyphen");
            self.wrong(cue.name.span(), message);
        }
        let command = match cue.command {
            Some(command) => {
                if command.as_ref().is_empty() {
                    self.wrong(
                        command.span(),
                        "command is empty; it is a program and its arguments".into(),
                    );
                }
                if let Some(in_s) = cue.in_s {
                    let message = "in_s goes with the built-in command; put the delay into `command`";
                    self.wrong(in_s.span(), message.into());
                }
                command.into_inner()
            }
            None => {
                let in_s = cue.in_s.map_or(0.0, |in_s| self.span_s("in_s", &in_s));
                let program = operator.program.as_ref().clone();
                let mut command = vec![program, "cue".into(), name.clone(), "--in".into(), format!("{in_s}s")];
                for address in operator.address.as_ref().all() {
                    command.extend(["--target".into(), address.clone()]);
                }
                command.extend(["--certs".into(), operator.certs.as_ref().clone()]);
                command
            }
        };
        Cue {
            at: Micros((at_s * 1e6) as u64),
            name,
            command,
        }
    }

    /// A span in seconds, with fractions.
    fn span_s(&mut self, name: &str, value: &At<f64>) -> f64 {
        let found = *value.as_ref();
        if !(0.0..=86_400.0).contains(&found) {
            self.wrong(
                value.span(),
                format!("{name} = {found} must be 0 or more, and at most 86400"),
            );
            return 0.0;
        }
        found
    }
}
