//! The programs for another C library: that they compile for musl, as `docs/operator.md` builds them.
//!
//! All of them, though most of our code that depends on the C library is the gateway's: on two cores, after the tests were
//! built, all take 64 s and the gateway with what it is made of 34 s, so that the difference buys certainty. SQLite is compiled
//! unoptimised, because nothing of it is run; that saves another 30 s.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use xtask::steps::Steps;
use xtask::workspace::{cargo, root};

const TARGET: &str = "x86_64-unknown-linux-musl";
/// Compiles the C of the dependencies for it. Debian's package `musl-tools` has it.
const COMPILER: &str = "musl-gcc";

/// Checks the programs as a step, or notes what is missing for it.
///
/// # Errors
/// Only when interrupted.
pub fn check(steps: &mut Steps<'_>) -> anyhow::Result<()> {
    match missing(&Machine::this()) {
        Some(why) => {
            steps.skip("musl", &why);
            Ok(())
        }
        None => steps.command("musl", &mut command()),
    }
}

fn command() -> Command {
    let unoptimised = "profile.dev.package.libsqlite3-sys.opt-level=0";
    let mut check = cargo(["check", "--target", TARGET, "--config", unoptimised]);
    check.args(["-p", "gateway", "-p", "shake-agent", "-p", "client-sim", "-p", "certs"]);
    check.env("CC_x86_64_unknown_linux_musl", COMPILER);
    check
}

/// What of all that it takes is here.
struct Machine {
    is_x86_64: bool,
    has_target: bool,
    has_compiler: bool,
}

impl Machine {
    fn this() -> Self {
        let mut compiler = Command::new(COMPILER);
        let compiler = compiler.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        Self {
            is_x86_64: cfg!(all(target_arch = "x86_64", target_os = "linux")),
            has_target: has_target(),
            has_compiler: compiler.status().is_ok_and(|status| status.success()),
        }
    }
}

/// Whether the toolchain has the target's standard library.
fn has_target() -> bool {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // In the folder that says which toolchain it is.
    rustc
        .current_dir(root())
        .args(["--print", "target-libdir", "--target", TARGET]);
    let told = rustc.output().ok().filter(|output| output.status.success());
    told.is_some_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// What keeps the step from running, with the way out; nothing when it can.
fn missing(machine: &Machine) -> Option<String> {
    if !machine.is_x86_64 {
        return Some(format!("{TARGET} is checked on x86_64 Linux alone; run it there"));
    }
    let target = (!machine.has_target).then(|| format!("install the target by `rustup target add {TARGET}`"));
    let compiler =
        (!machine.has_compiler).then(|| format!("install {COMPILER}, in Debian by `apt-get install musl-tools`"));
    let ways: Vec<_> = target.into_iter().chain(compiler).collect();
    (!ways.is_empty()).then(|| ways.join(", and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_the_way_to_it() {
        let told = |is_x86_64, has_target, has_compiler| {
            missing(&Machine {
                is_x86_64,
                has_target,
                has_compiler,
            })
        };
        assert_eq!(told(true, true, true), None);
        for (told, words) in [
            (
                told(true, false, true),
                &["`rustup target add x86_64-unknown-linux-musl`"][..],
            ),
            (told(true, true, false), &["musl-gcc", "`apt-get install musl-tools`"]),
            (told(true, false, false), &["rustup target add", "and install musl-gcc"]),
            (told(false, true, true), &["x86_64 Linux alone"]),
        ] {
            let told = told.expect("something is missing");
            for word in words {
                assert!(told.contains(word), "{word} in {told}");
            }
        }
    }
}
