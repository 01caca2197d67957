//! What is followed: the sections of the pages, in an order in which one can follow the other. Pure.

use super::page::{Part, Typed};
use std::collections::BTreeSet;

/// The pages, from the root of the project.
pub const EVENING: &str = "docs/evening.md";
pub const OPERATOR: &str = "docs/operator.md";

/// A whole way from an empty directory to closed books, with machines and an audience of its own.
pub struct Act {
    /// The directory of its desk, in `target`.
    pub desk: &'static str,
    /// Of these every command is followed; whatever else it takes stands on the other.
    pub page: &'static str,
    /// Sections, by page and heading, in their order.
    pub sections: &'static [(&'static str, &'static str)],
    /// The section of its page from which on there is an audience, once both machines are up.
    pub audience_from: &'static str,
    /// How long the audience shakes, in seconds.
    pub audience_s: u32,
}

/// The evening in its own order; and the operator's guide, whose sections stand by subject: what tries and steers a gateway
/// goes before the drain with which one of them ends, and the machines are set up as the evening does it.
pub const ACTS: [Act; 2] = [
    Act {
        desk: "guide",
        page: EVENING,
        sections: &[
            (EVENING, "Weeks before"),
            (EVENING, "Days before"),
            (EVENING, "A rehearsal"),
            (EVENING, "On the night"),
            (EVENING, "The books"),
        ],
        audience_from: "On the night",
        audience_s: 30,
    },
    Act {
        desk: "guide-operator",
        page: OPERATOR,
        sections: &[
            (OPERATOR, "Weeks before"),
            (OPERATOR, "The machine"),
            (EVENING, "Days before"),
            (OPERATOR, "On the night"),
            (OPERATOR, "Keys and certificates"),
            (OPERATOR, "Overload and the throttle"),
            (OPERATOR, "Abuse"),
            (OPERATOR, "Steering a live show"),
            (OPERATOR, "Afterwards"),
        ],
        audience_from: "Steering a live show",
        audience_s: 8,
    },
];

/// A command of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub page: &'static str,
    pub section: &'static str,
    /// From 1.
    pub number: usize,
    pub text: &'a str,
    pub typed: Typed,
}

impl Act {
    /// Its commands in their order. `parts` gives those of a page.
    ///
    /// # Errors
    /// When a section is not there, has no command, or one of its page is left out that has some.
    pub fn lines<'a>(&self, parts: impl Fn(&str) -> &'a [Part]) -> Result<Vec<Line<'a>>, String> {
        let mut lines = Vec::new();
        for &(page, section) in self.sections {
            let before = lines.len();
            let mut heading = "";
            for part in parts(page) {
                match part {
                    Part::Section(title) => heading = title,
                    Part::Command { line, text, typed } if heading == section => lines.push(Line {
                        page,
                        section,
                        number: *line,
                        text,
                        typed: *typed,
                    }),
                    Part::Command { .. } => {}
                }
            }
            if lines.len() == before {
                return Err(format!("{page} has no command under \"{section}\""));
            }
        }
        let followed: BTreeSet<_> = lines.iter().map(|line| (line.page, line.number)).collect();
        for part in parts(self.page) {
            if let Part::Command { line, text, .. } = part
                && !followed.contains(&(self.page, *line))
            {
                return Err(format!("{}:{line}: no act has this section: {text}", self.page));
            }
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::page;

    const ACT: Act = Act {
        desk: "desk",
        page: OPERATOR,
        sections: &[(OPERATOR, "Two"), (EVENING, "One"), (OPERATOR, "One")],
        audience_from: "One",
        audience_s: 1,
    };

    fn numbers(operator: &str, evening: &str) -> Result<Vec<usize>, String> {
        let (operator, evening) = (page::parts(operator)?, page::parts(evening)?);
        let of = |page: &str| if page == OPERATOR { &operator[..] } else { &evening[..] };
        let lines = ACT.lines(of)?;
        Ok(lines.iter().map(|line| line.number).collect())
    }

    #[test]
    fn sections_come_in_the_order_of_the_act_and_none_of_its_page_is_left_out() {
        let operator = "## One\n```sh\none\nmore\n```\n## Two\n```sh\ntwo\n```\n";
        let evening = "## One\n```sh\nits\n```\n## Other\n```sh\nnot of this act\n```\n";
        assert_eq!(numbers(operator, evening), Ok(vec![8, 3, 3, 4]));
        for (operator, evening, words) in [
            (operator, "## Other\n", "docs/evening.md has no command under \"One\""),
            (
                &operator[..30],
                evening,
                "docs/operator.md has no command under \"Two\"",
            ),
            (
                &format!("{operator}## Three\n```sh\nthree\n```\n"),
                evening,
                "docs/operator.md:12: no act has this section: three",
            ),
        ] {
            let error = numbers(operator, evening).expect_err("not whole");
            assert_eq!(error, words);
        }
    }

    #[test]
    fn the_pages_are_whole_and_next_to_nothing_of_them_is_not_run() {
        let read = |page: &str| {
            let text = std::fs::read_to_string(xtask::workspace::root().join(page)).expect("it is there");
            page::parts(&text).expect("a good page")
        };
        let (operator, evening) = (read(OPERATOR), read(EVENING));
        let of = |page: &str| if page == OPERATOR { &operator[..] } else { &evening[..] };
        for act in &ACTS {
            let lines = act.lines(of).expect("every section has its place");
            let not_run = lines.iter().filter(|line| line.typed == Typed::Nowhere).count();
            assert!(
                not_run <= lines.len() / 20,
                "{not_run} commands of {} are not run",
                act.page
            );
        }
    }
}
