//! The commands of a page: the lines of its `sh` blocks, with those that a backslash continues. Pure.

/// A part of the page, in its order.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A heading of the second level.
    Section(String),
    /// A command, and the line of the page where it begins, from 1.
    Command { line: usize, text: String },
}

/// Where a line of the page stands.
#[derive(Clone, Copy)]
enum Block {
    None,
    /// In a block of commands, which began at this line.
    Commands(usize),
    /// In one of something else.
    Other(usize),
}

/// All sections and commands of a page.
///
/// # Errors
/// When a block or a continued line has no end.
pub fn parts(page: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut block = Block::None;
    let mut continued: Option<(usize, String)> = None;
    for (line, text) in (1..).zip(page.lines()) {
        let text = text.trim();
        if let Some(language) = text.strip_prefix("```") {
            if let Some((line, _)) = continued {
                return Err(format!("line {line}: the command goes on past its block"));
            }
            block = match block {
                Block::None if language == "sh" => Block::Commands(line),
                Block::None => Block::Other(line),
                Block::Commands(_) | Block::Other(_) => Block::None,
            };
            continue;
        }
        match block {
            Block::None => {
                if let Some(heading) = text.strip_prefix("## ") {
                    parts.push(Part::Section(heading.to_owned()));
                }
            }
            Block::Commands(_) => {
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
                    });
                }
            }
            Block::Other(_) => {}
        }
    }
    match block {
        Block::Commands(line) | Block::Other(line) => Err(format!("line {line}: the block has no end")),
        Block::None => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_with_their_lines_and_nothing_else_is() {
        let page = "# Page\n\n## One\n```sh\n# a remark\nfirst \\\n    --more\n\nsecond\n```\n```toml\nkey = 1\n```\n## Two\n`third`\n";
        let command = |line, text: &str| Part::Command {
            line,
            text: text.into(),
        };
        assert_eq!(
            parts(page).expect("a good page"),
            [
                Part::Section("One".into()),
                command(6, "first --more"),
                command(9, "second"),
                Part::Section("Two".into()),
            ]
        );
    }

    #[test]
    fn what_has_no_end_is_told_with_its_line() {
        assert!(parts("```sh\ncommand\n").expect_err("open").contains("line 1"));
        assert!(
            parts("\n```sh\ncommand \\\n```\n")
                .expect_err("continued")
                .contains("line 3")
        );
    }
}
