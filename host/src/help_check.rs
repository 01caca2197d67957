//! For tests: whether the help of a program, as a reader sees it, is wrapped once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Command;

/// Wide enough that a list of subcommands has a line for each.
const WIDE: usize = 200;
/// The widths that are looked at.
const WIDTHS: [usize; 4] = [60, 80, 120, WIDE];

/// Holds that paragraphs of the program's help, and of that of each of its subcommands, are wrapped at the reader's width and
/// nowhere else: no line of one has room for the first word of the next. Gives the subcommands that were looked at.
///
/// # Panics
/// When one is not, or the program does not run.
#[must_use]
pub fn wrapped_once(program: impl AsRef<OsStr>) -> BTreeSet<String> {
    wrapped_once_but(program, &[])
}

/// The same without these subcommands, which another program answers.
///
/// # Panics
/// Also when the program has one of them no more.
#[must_use]
pub fn wrapped_once_but(program: impl AsRef<OsStr>, others: &[&str]) -> BTreeSet<String> {
    let mut others: BTreeSet<&str> = others.iter().copied().collect();
    let program = program.as_ref();
    let (mut found, mut left) = (BTreeSet::new(), vec![Vec::new()]);
    while let Some(command) = left.pop() {
        for width in WIDTHS {
            let text = help(program, &command, width);
            if let Some((line, next)) = broken(&text, width) {
                panic!("{command:?} at {width}:\n{line}\n{next}");
            }
        }
        for name in subcommands(&help(program, &command, WIDE)) {
            let inner = [command.clone(), vec![name.to_owned()]].concat();
            let typed = inner.join(" ");
            if others.remove(typed.as_str()) {
                continue;
            }
            found.insert(typed);
            left.push(inner);
        }
    }
    assert!(others.is_empty(), "there is no {others:?}");
    found
}

fn help(program: &OsStr, command: &[String], width: usize) -> String {
    let mut process = Command::new(program);
    process.args(command).arg("--help").env("COLUMNS", width.to_string());
    let output = process.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("help is text")
}

/// The first line of prose that was ended too early, and the next one.
fn broken(text: &str, width: usize) -> Option<(&str, &str)> {
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let lines: Vec<_> = text.lines().collect();
    let found = lines.windows(2).find(|pair| {
        // What a line with a colon at its end introduces stands below it.
        if !is_prose(pair[0]) || !is_prose(pair[1]) || pair[0].ends_with(':') {
            return false;
        }
        let next = pair[1].split(' ').next().unwrap_or_default();
        pair[0].chars().count() + 1 + next.chars().count() <= width
    });
    found.map(|pair| (pair[0], pair[1]))
}

/// The names under `Commands:`.
fn subcommands(text: &str) -> impl Iterator<Item = &str> {
    let list = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = list.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?;
        name.split(' ').next().filter(|name| !name.is_empty())
    });
    names.filter(|name| *name != "help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_ended_too_early_is_found() {
        let text = "Does this.\n\nCommands:\n  run   Runs\n        it\n  stop  Ends it\n  help  Tells\n\nA long line\nthat goes on\n";
        assert_eq!(subcommands(text).collect::<Vec<_>>(), ["run", "stop"]);
        assert_eq!(broken(text, 15), None);
        assert_eq!(broken(text, 16), Some(("A long line", "that goes on")));
    }
}
