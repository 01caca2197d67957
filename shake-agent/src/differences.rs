//! What a verification found: differences between what ought to be and what is, named up to a limit
//! and counted beyond it.

use serde::Serialize;
use std::fmt;

/// Most differences of one kind that are named; the others are only counted, and crowd out no other kind.
pub const NAMED_MAX: usize = 20;

/// Something that is not as it ought to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind of difference, one word for programs.
    pub kind: &'static str,
    /// What it is about: a file, a record, a line.
    pub subject: String,
    /// What ought to be.
    pub expected: String,
    /// What is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: expected {}, found {}",
            self.kind, self.subject, self.expected, self.found
        )
    }
}

/// The differences found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// How many there are.
    pub count: u64,
    /// The first of each kind, at most [`NAMED_MAX`].
    pub named: Vec<Difference>,
}

impl Differences {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Notes a difference.
    pub fn add(
        &mut self,
        kind: &'static str,
        subject: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) {
        self.count += 1;
        let of_kind = self.named.iter().filter(|difference| difference.kind == kind).count();
        if of_kind < NAMED_MAX {
            self.named.push(Difference {
                kind,
                subject: subject.to_string(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }

    /// Notes a difference when the two are not equal.
    pub fn compare<T: PartialEq + fmt::Display>(
        &mut self,
        kind: &'static str,
        subject: impl fmt::Display,
        expected: T,
        found: T,
    ) {
        if expected != found {
            self.add(kind, subject, expected, found);
        }
    }
}

/// One line each.
impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.named {
            writeln!(f, "  {difference}")?;
        }
        match self.count - self.named.len() as u64 {
            0 => Ok(()),
            unnamed => writeln!(f, "  and {unnamed} more"),
        }
    }
}
