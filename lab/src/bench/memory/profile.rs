//! The file that a gateway with the feature `heap-profile` writes; its format stands in `quic-shard/src/memory/heap_profile.rs`.

use anyhow::{Context, bail};

/// Blocks of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub count: i64,
    /// Bytes that the program asked for.
    pub requested: i64,
    /// Bytes that the allocator set aside for them.
    pub reserved: i64,
}

impl Held {
    pub fn add(&mut self, other: Self, sign: i64) {
        self.count += sign * other.count;
        self.requested += sign * other.requested;
        self.reserved += sign * other.reserved;
    }
}

/// All that is live, counted twice: by size, exactly; and by the stack that allocated it, from a sample.
#[derive(Debug, Default)]
pub struct Profile {
    /// With a minus before it what was live at the beginning.
    pub classes: Vec<Held>,
    pub sites: Vec<(Held, String)>,
}

impl Profile {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When a line is not as the format says; it names the line.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut profile = Self::default();
        for (index, line) in text.lines().enumerate() {
            let parsed = profile.line(line);
            parsed.with_context(|| format!("line {} of the heap profile: {line:?}", index + 1))?;
        }
        Ok(profile)
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let mut words = line.splitn(5, ' ');
        let kind = words.next().unwrap_or_default();
        let mut number = || -> anyhow::Result<i64> { Ok(words.next().context("a number is missing")?.parse()?) };
        let held = Held {
            count: number()?,
            requested: number()?,
            reserved: number()?,
        };
        match kind {
            "class" => self.classes.push(held),
            "site" => self.sites.push((held, words.next().unwrap_or_default().to_owned())),
            _ => bail!("neither class nor site"),
        }
        Ok(())
    }

    /// What came since `before`: both together, the earlier with a minus.
    pub fn since(mut self, before: &Self) -> Self {
        for held in &before.classes {
            let mut minus = Held::default();
            minus.add(*held, -1);
            self.classes.push(minus);
        }
        for (held, stack) in &before.sites {
            let mut minus = Held::default();
            minus.add(*held, -1);
            self.sites.push((minus, stack.clone()));
        }
        self
    }

    /// All live blocks, exactly.
    pub fn total(&self) -> Held {
        let mut total = Held::default();
        for held in &self.classes {
            total.add(*held, 1);
        }
        total
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_gateway_writes() {
        let before = Profile::parse("class 1 10 16\nsite 16 160 256 a;b c;\n").unwrap();
        let after = Profile::parse("class 3 30 48\nclass 1 100 112\nsite 32 320 512 a;b c;\n").unwrap();
        let since = after.since(&before);
        let expected = Held {
            count: 3,
            requested: 120,
            reserved: 144,
        };
        assert_eq!(since.total(), expected);
        assert_eq!(since.sites[1].0.count, -16);
        assert_eq!(since.sites[0].1, "a;b c;");
    }

    #[test]
    fn names_a_line_that_is_none() {
        let error = Profile::parse("class 1 10 16\nclass 1 ten 16\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        assert!(Profile::parse("block 1 1 1\n").is_err());
    }
}
