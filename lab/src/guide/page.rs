//! The commands of a page: the lines of its `sh` blocks, with those that a backslash continues. Pure.

/// A part of the page, in its order.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A heading of the second level.
    Section(String),
    /// A command, and the line of the page where it begins, from 1.
    Command { line: usize, text: String, typed: Typed },
}

/// Where a command is typed. The block says so behind its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// `sh`: at the desk.
    AtDesk,
    /// `sh on-each-machine`: by the service's user of each, in the agent's state directory.
    OnEachMachine,
    /// `sh not-run`: needs what no test may take, such as another toolchain.
    Nowhere,
}

impl Typed {
    /// Of the words behind the language of a block.
    fn of(words: &str) -> Option<Self> {
        match words.trim() {
            "" => Some(Self::AtDesk),
            "on-each-machine" => Some(Self::OnEachMachine),
            "not-run" => Some(Self::Nowhere),
            _ => None,
        }
    }
}

/// Where a line of the page stands.
#[derive(Clone, Copy)]
enum Block {
    None,
    /// In a block of commands, which began at this line.
    Commands(usize, Typed),
    /// In one of something else.
    Other(usize),
}

impl Block {
    /// The one that begins with this fence.
    fn begin(line: usize, fence: &str) -> Result<Self, String> {
        let words = match fence.strip_prefix("sh") {
            Some(words) if words.is_empty() || words.starts_with(' ') => words,
            _ => return Ok(Self::Other(line)),
        };
        let typed = Typed::of(words).ok_or_else(|| format!("line {line}: no place is called{words}"))?;
        Ok(Self::Commands(line, typed))
    }
}

/// All sections and commands of a page.
///
/// # Errors
/// When a block or a continued line has no end, and when a block names no place where it could be typed.
pub fn parts(page: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut block = Block::None;
    let mut continued: Option<(usize, String)> = None;
    for (line, text) in (1..).zip(page.lines()) {
        let text = text.trim();
        if let Some(fence) = text.strip_prefix("```") {
            if let Some((line, _)) = continued {
                return Err(format!("line {line}: the command goes on past its block"));
            }
            block = match block {
                Block::None => Block::begin(line, fence)?,
                Block::Commands(..) | Block::Other(_) => Block::None,
            };
            continue;
        }
        match block {
            Block::None => {
                if let Some(heading) = text.strip_prefix("## ") {
                    parts.push(Part::Section(heading.to_owned()));
                }
            }
            Block::Commands(_, typed) => {
                if continued.is_none() && (text.is_empty() || text.starts_with('#')) {
                    continue;
                }
                let (begun, mut command) = continued.take().unwrap_or((line, String::new()));
                let more = text.strip_suffix('\\');
                command.push_str(more.unwrap_or(text));
                if more.is_some() {
                    continued = Some((begun, command));
                } else {
                    parts.push(Part::Command {
                        line: begun,
                        text: command,
                        typed,
                    });
                }
            }
            Block::Other(_) => {}
        }
    }
    match block {
        Block::Commands(line, _) | Block::Other(line) => Err(format!("line {line}: the block has no end")),
        Block::None => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_with_their_lines_and_nothing_else_is() {
        let page = "# Page\n\n## One\n```sh\n# a remark\nfirst \\\n    --more\n\nsecond\n```\n```toml\nkey = 1\n```\n## Two\n`third`\n\
                    ```sh on-each-machine\nfourth\n```\n1. In a list\n   ```sh not-run\n   fifth\n   ```\n```shell\nsixth\n```\n";
        let command = |line, text: &str, typed| Part::Command {
            line,
            text: text.into(),
            typed,
        };
        assert_eq!(
            parts(page).expect("a good page"),
            [
                Part::Section("One".into()),
                command(6, "first --more", Typed::AtDesk),
                command(9, "second", Typed::AtDesk),
                Part::Section("Two".into()),
                command(17, "fourth", Typed::OnEachMachine),
                command(21, "fifth", Typed::Nowhere),
            ]
        );
    }

    #[test]
    fn what_has_no_end_or_no_place_is_told_with_its_line() {
        for (page, words) in [
            ("```sh\ncommand\n", "line 1: the block has no end"),
            ("\n```sh\ncommand \\\n```\n", "line 3: the command goes on"),
            (
                "\n```sh somewhere\ncommand\n```\n",
                "line 2: no place is called somewhere",
            ),
        ] {
            let error = parts(page).expect_err("no good page");
            assert!(error.starts_with(words), "{error}");
        }
    }
}
