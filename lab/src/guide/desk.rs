//! The desk: the directory where commands are typed, what stands in for the tools that reach the machines, and what names
//! and times are here.

use super::machine::Machine;
use crate::testbed::{END, Patience, Place, Programs, run_to_file};
use anyhow::Context;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::interrupt::Interrupt;
use xtask::workspace;

/// Runs a command on a machine, which is a directory here: its paths, and its root's home.
const SSH: &str = r#"#!/bin/sh
host=${1#*@}; shift
disk=@DESK@-${host%%.*}
cd "$disk/root" || exit 255
exec sh -c "$(printf '%s' "$*" | sed -e "s|/etc/shake|$disk/etc/shake|g" -e "s|/var/lib/shake|$disk/var/lib/shake|g")"
"#;
/// Copies from and to the machines, where a path without a slash before it starts at the home of root.
const SCP: &str = r#"#!/bin/sh
words=$#
while [ "$words" -gt 0 ]; do
    word=$1; shift; words=$((words - 1))
    case $word in
        *@*:/*) host=${word#*@}; word=@DESK@-${host%%.*}${word#*:} ;;
        *@*:*) host=${word#*@}; word=@DESK@-${host%%.*}/root/${word#*:} ;;
    esac
    set -- "$@" "$word"
done
exec cp -r "$@"
"#;
/// All belongs to whoever runs this.
const INSTALL: &str = r#"#!/bin/sh
words=$#
while [ "$words" -gt 0 ]; do
    word=$1; shift; words=$((words - 1))
    case $word in
        -o | -g) shift; words=$((words - 1)) ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec @INSTALL@ "$@"
"#;
const SETPRIV: &str = r#"#!/bin/sh
while [ "$1" != --clear-groups ]; do shift; done
shift
exec "$@"
"#;
const USERADD: &str = "#!/bin/sh\nexit 0\n";

/// An hour is too long to wait for.
const LIFETIMES: [(&str, &str); 2] = [
    ("ticket_lifetime_s = 3600", "ticket_lifetime_s = 12"),
    ("share_lifetime_s = 600", "share_lifetime_s = 8"),
];

/// Where the commands of the page are typed.
pub struct Desk {
    place: Place,
    path: String,
    /// What stands on the page, and what it is here.
    replaced: Vec<(String, String)>,
}

impl Desk {
    /// An empty directory of this name with `deploy` in it.
    pub fn fresh(name: &str, machines: &[Machine], programs: &Programs) -> anyhow::Result<Self> {
        let place = Place::fresh(name)?;
        let mut replaced = Vec::new();
        for (number, machine) in (1..).zip(machines) {
            let (name, place) = (machine.name, &machine.place);
            replaced.extend([
                (format!("{name}.example:4434"), place.admin.to_string()),
                (format!("{name}.example:4433"), place.gateway.to_string()),
                (format!("10.0.0.{number}:4434"), place.admin.to_string()),
                (format!("192.0.2.{}", 9 + number), format!("127.0.0.{number}")),
            ]);
        }
        copy(&workspace::root().join("deploy"), &place.file("deploy"))?;
        let stand_ins = place.file("bin");
        fs::create_dir(&stand_ins).with_context(|| format!("cannot make {}", stand_ins.display()))?;
        let install = find("install").context("there is no program install in PATH")?;
        for (name, script) in [
            ("ssh", SSH),
            ("scp", SCP),
            ("install", INSTALL),
            ("setpriv", SETPRIV),
            ("useradd", USERADD),
        ] {
            let script = script
                .replace("@DESK@", &place.directory.display().to_string())
                .replace("@INSTALL@", &install.display().to_string());
            let path = stand_ins.join(name);
            let make = || {
                fs::write(&path, &script)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            };
            make().with_context(|| format!("cannot write {}", path.display()))?;
        }
        let programs = programs.path("gateway");
        let programs = programs.parent().context("the programs lie in a directory")?;
        let path = env::var("PATH").unwrap_or_default();
        Ok(Self {
            path: format!("{}:{}:{path}", stand_ins.display(), programs.display()),
            place,
            replaced,
        })
    }

    /// A file of the desk.
    pub fn file(&self, name: &str) -> PathBuf {
        self.place.file(name)
    }

    /// Runs a command as it stands, but for what is replaced.
    ///
    /// # Errors
    /// When it does not exit with 0; with the end of what it printed.
    pub fn run(&self, command: &str, interrupt: &Interrupt) -> anyhow::Result<()> {
        self.run_in(&self.place.directory, command, interrupt)
    }

    /// Runs a command on a machine, as its service's user would.
    ///
    /// # Errors
    /// When it does not exit with 0; with the end of what it printed.
    pub fn run_on(&self, machine: &Machine, command: &str, interrupt: &Interrupt) -> anyhow::Result<()> {
        let directory = machine.place.file("var/lib/shake-agent");
        self.run_in(&directory, &machine.line(command), interrupt)
    }

    fn run_in(&self, directory: &Path, command: &str, interrupt: &Interrupt) -> anyhow::Result<()> {
        let command = self
            .replaced
            .iter()
            .fold(command.to_owned(), |text, (from, to)| text.replace(from, to));
        let mut shell = Command::new("sh");
        shell.args(["-euc", &command]).env("PATH", &self.path);
        // For the socket by which a run of `client-sim` is steered.
        shell.env("XDG_RUNTIME_DIR", &self.place.directory);
        shell.current_dir(directory);
        let patience = Patience {
            at_most: END * 2,
            interrupt,
        };
        run_to_file("sh", shell, &self.file("output.log"), &patience, || Ok(()))?.success()
    }
}

/// The host and the words of a command that `ssh` runs there.
pub fn remote(command: &str) -> Option<(&str, Vec<&str>)> {
    let mut words = command.split_whitespace();
    let (ssh, host) = (words.next()?, words.next()?);
    (ssh == "ssh").then(|| (host, words.collect()))
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Copies a directory of the project, with shorter lifetimes.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let list = || {
        fs::create_dir(to)?;
        fs::read_dir(from)?.collect::<Result<Vec<_>, _>>()
    };
    for entry in list().with_context(|| format!("cannot copy {}", from.display()))? {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            let text = fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
            let text = LIFETIMES
                .iter()
                .fold(text, |text, (long, short)| text.replace(long, short));
            fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}
