//! How the programs read their command line, and how their help is wrapped.

use clap::{Command, Parser};
use std::env;
use std::ffi::OsString;

/// Reads the command line; ends the process with what clap says when it is wrong or asks for help.
#[must_use]
pub fn parse<C: Parser>() -> C {
    parse_from(env::args_os())
}

/// The same with a line of one's own, the program's name first.
#[must_use]
pub fn parse_from<C: Parser>(line: impl IntoIterator<Item = OsString>) -> C {
    let mut matches = flowing(C::command()).get_matches_from(line);
    C::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut C::command()).exit())
}

/// The command with its longer helps as one line a paragraph. clap then wraps each once, at whatever width the reader has.
fn flowing(command: Command) -> Command {
    let help = command.get_after_long_help().map(|help| flow(&help.to_string()));
    let command = match help {
        Some(help) => command.after_long_help(help),
        None => command,
    };
    command.mut_subcommands(flowing)
}

/// Joins the lines of each paragraph. Indented lines are examples and tables, and stay as they are.
fn flow(text: &str) -> String {
    let mut flowed = String::with_capacity(text.len());
    let mut is_open = false;
    for line in text.lines() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if !flowed.is_empty() {
            flowed.push(if is_open && is_prose { ' ' } else { '\n' });
        }
        flowed.push_str(line);
        // What a line with a colon at its end introduces stands below it.
        is_open = is_prose && !line.ends_with(':');
    }
    flowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_flow_and_examples_stay() {
        for (text, flowed) in [
            ("one\ntwo\n\nthree\nfour", "one two\n\nthree four"),
            (
                "Examples:\n  a --b\n  c \\\n    --d\nafter\nthat",
                "Examples:\n  a --b\n  c \\\n    --d\nafter that",
            ),
            ("Exit codes:\n0 done", "Exit codes:\n0 done"),
            ("", ""),
        ] {
            assert_eq!(flow(text), flowed);
        }
    }

    #[test]
    fn help_of_each_subcommand_is_wrapped_once() {
        let inner = Command::new("inner").after_long_help("aaaa bbbb cccc\ndddd eeee\nffff");
        let outer = flowing(Command::new("outer").subcommand(inner).term_width(19));
        let inner = outer.find_subcommand("inner").expect("it is there").clone();
        let help = inner.term_width(19).render_long_help().to_string();
        assert!(help.contains("aaaa bbbb cccc dddd\neeee ffff"), "{help}");
    }
}
