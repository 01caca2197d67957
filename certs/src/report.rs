//! What an inspection found, for people (`Display`) and for programs (`Serialize`). Never holds a secret.

use serde::Serialize;
use std::fmt;

/// Everything that was seen in one certificate directory.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The directory, as it was named.
    pub directory: String,
    /// When it was inspected, RFC 3339, UTC.
    pub inspected_at: String,
    /// No finding is an error.
    pub good: bool,
    /// Every certificate that could be read; a chain has one entry per certificate.
    pub certificates: Vec<Certificate>,
    /// Every key file that could be read.
    pub keys: Vec<Keys>,
    /// What is wrong, or will be soon.
    pub findings: Vec<Finding>,
}

/// One certificate.
#[derive(Debug, Serialize)]
pub struct Certificate {
    /// File name within the directory.
    pub file: String,
    /// Distinguished name.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// DNS names.
    pub names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<String>,
    /// SHA-256 of the certificate, in hex.
    pub sha256: String,
    /// What it may be used for, in words.
    pub usage: Vec<String>,
    /// RFC 3339, UTC.
    pub not_before: String,
    /// RFC 3339, UTC.
    pub not_after: String,
    /// Whole days until `not_after`; negative once it is over.
    pub days_left: i64,
}

/// The secret keys of one purpose, by id only.
#[derive(Debug, Serialize)]
pub struct Keys {
    /// File name within the directory.
    pub file: String,
    /// What they are for.
    pub purpose: String,
    /// Oldest first.
    pub key_ids: Vec<u8>,
    /// The one that makes new things.
    pub active: u8,
    /// The one that is to make new things next.
    pub waiting: Option<u8>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or a secret lies open.
    Error,
    /// It works, and will stop soon.
    Warning,
}

/// One thing that is wrong, and how to mend it.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// File name within the directory; empty for the directory itself.
    pub file: String,
    /// What is wrong, and the fix.
    pub message: String,
}

impl Report {
    /// Adds a finding.
    pub(crate) fn add(&mut self, severity: Severity, file: &str, message: impl Into<String>) {
        self.good &= severity != Severity::Error;
        self.findings.push(Finding {
            severity,
            file: file.to_owned(),
            message: message.into(),
        });
    }

    /// Some finding is a warning.
    #[must_use]
    pub fn has_warnings(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Warning)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {}", self.directory, self.inspected_at)?;
        for certificate in &self.certificates {
            write!(f, "\n{certificate}")?;
        }
        if !self.keys.is_empty() {
            writeln!(f, "\nsecret keys")?;
        }
        for keys in &self.keys {
            let ids = keys.key_ids.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            write!(f, "  {:<16} ids {ids}; {} makes new ones", keys.purpose, keys.active)?;
            match keys.waiting {
                Some(waiting) => writeln!(f, ", {waiting} waits")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f)?;
        for finding in &self.findings {
            let word = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let file = if finding.file.is_empty() {
                &self.directory
            } else {
                &finding.file
            };
            writeln!(f, "{word}: {file}: {}", finding.message)?;
        }
        if self.findings.is_empty() {
            writeln!(f, "all in order")?;
        }
        Ok(())
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.file)?;
        writeln!(f, "  subject    {}", self.subject)?;
        writeln!(f, "  issuer     {}", self.issuer)?;
        writeln!(f, "  sha256     {}", self.sha256)?;
        for (word, values) in [
            ("names", &self.names),
            ("addresses", &self.addresses),
            ("usage", &self.usage),
        ] {
            if !values.is_empty() {
                writeln!(f, "  {word:<9}  {}", values.join(", "))?;
            }
        }
        writeln!(
            f,
            "  valid      {} to {}, {} days left",
            self.not_before, self.not_after, self.days_left
        )
    }
}
