//! Operators' certificates that are refused although the authority signed them: stolen ones, or of people who left. The
//! list is a file of the certificate directory, one SHA-256 of a certificate a line, as the audit log, `certs inspect` and
//! `openssl x509 -noout -fingerprint -sha256` show it. No file, no list. A list that cannot be read lets no operator in,
//! because nobody knows who is on it; phones are served all the same.

use super::counters::Turned;
use crate::config::CERTS_KEY;
use anyhow::{Context, Result, bail, ensure};
use data_encoding::HEXLOWER;
use ring::digest;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The list's name in the certificate directory.
pub const FILE: &str = "refused-operators.txt";
/// No list is longer, in bytes: some fifteen thousand certificates.
const BYTES_MAX: u64 = 1 << 20;

/// The list, and the authorities of those who are not on it.
#[derive(Debug, Default)]
pub struct Barred {
    /// `None`: it could not be read, and nobody is let in.
    fingerprints: Option<BTreeSet<String>>,
    authorities: Vec<String>,
}

impl Barred {
    /// Reads list and authorities.
    ///
    /// # Errors
    /// A line that is no SHA-256, by its number; a file that is there and cannot be read.
    pub fn read(certs: &Path) -> Result<Self> {
        Ok(Self {
            fingerprints: Some(read_list(&certs.join(FILE))?),
            authorities: read_authorities(certs)?,
        })
    }

    /// The same for a start: a list that cannot be read bars everybody. Gives what is wrong with it, too.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn read_at_start(certs: &Path) -> Result<(Self, Option<anyhow::Error>)> {
        let list = read_list(&certs.join(FILE));
        let authorities = read_authorities(certs)?;
        let (fingerprints, fault) = match list {
            Ok(list) => (Some(list), None),
            Err(fault) => (None, Some(fault)),
        };
        let barred = Self {
            fingerprints,
            authorities,
        };
        Ok((barred, fault))
    }

    /// Why the certificate of this SHA-256 is refused, if it is.
    pub fn refuses(&self, fingerprint: &str) -> Option<Turned> {
        match &self.fingerprints {
            None => Some(Turned::ListUnreadable),
            Some(all) if all.contains(fingerprint) => Some(Turned::Barred),
            Some(_) => None,
        }
    }

    /// What holds, for operators to read.
    pub fn lines(&self) -> Vec<String> {
        let authorities = self.authorities.iter();
        let authorities = authorities.map(|authority| format!("operators of authority {authority}"));
        let refused: Vec<_> = match &self.fingerprints {
            None => vec![format!("no operator: {FILE} cannot be read")],
            Some(all) => all.iter().map(|one| format!("refused operator {one}")).collect(),
        };
        authorities.chain(refused).collect()
    }
}

fn read_authorities(certs: &Path) -> Result<Vec<String>> {
    let authorities = host::pem::certificates(&certs.join("ca.pem")).context(CERTS_KEY)?;
    let sha256 = |der: &[u8]| HEXLOWER.encode(digest::digest(&digest::SHA256, der).as_ref());
    Ok(authorities.iter().map(|der| sha256(der)).collect())
}

fn read_list(path: &Path) -> Result<BTreeSet<String>> {
    let cannot_read = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        opened => opened.and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes)),
    }
    .with_context(cannot_read)?;
    let length = bytes.len() as u64;
    ensure!(
        length <= BYTES_MAX,
        "{} has more than {BYTES_MAX} bytes",
        path.display()
    );
    // Names in remarks may be in any encoding; what counts is ASCII.
    parse(&String::from_utf8_lossy(&bytes)).with_context(|| path.display().to_string())
}

/// What follows a `#` is a remark; a byte order mark is nothing.
fn parse(text: &str) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let said = line.split('#').next().unwrap_or("").trim();
        if said.is_empty() {
            continue;
        }
        let Some(fingerprint) = fingerprint(said) else {
            bail!(
                "line {}: {said:?} is not a SHA-256 of a certificate: 64 hex digits, or the line that `openssl x509 -noout \
                 -fingerprint -sha256` prints",
                index + 1
            );
        };
        all.insert(fingerprint);
    }
    Ok(all)
}

/// The digits of a line such as `sha256 Fingerprint=AA:BB:…`, `SHA256: aabb…` or `aa bb …`, in small letters.
fn fingerprint(said: &str) -> Option<String> {
    let lower = said.to_ascii_lowercase();
    let labelled = lower.split_once('=').or_else(|| {
        // Colons stand between bytes, too.
        lower.split_once(':').filter(|(label, _)| label.contains("sha"))
    });
    let digits = match labelled {
        Some((label, digits)) => {
            let label: Vec<&str> = label.split_whitespace().collect();
            let is_sha256 = matches!(
                label[..],
                ["sha256" | "sha-256"] | ["sha256" | "sha-256", "fingerprint"]
            );
            is_sha256.then_some(digits)?
        }
        None => &lower,
    };
    let digits: String = digits
        .chars()
        .filter(|one| !one.is_whitespace() && !matches!(one, ':' | '-'))
        .collect();
    let bytes = HEXLOWER.decode(digits.as_bytes()).ok()?;
    (bytes.len() == digest::SHA256_OUTPUT_LEN).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_people_paste_it() {
        let colons = ["0A"; 32].join(":");
        let digits = "0a".repeat(32);
        for line in [
            colons.clone(),
            digits.clone(),
            ["0a"; 32].join(" "),
            ["0A"; 32].join("-"),
            format!("sha256 Fingerprint={colons}"),
            format!("SHA256 Fingerprint={colons}"),
            format!("  Sha256  fingerprint = {colons}  # Ann, 2026"),
            format!("SHA-256:{digits}"),
            format!("sha256={digits}\t"),
        ] {
            for text in [
                format!("{line}\n"),
                format!("\u{feff}{line}\r\n\r\n"),
                format!("\u{feff}# who left\r\n{line}\r\n"),
                format!("# J\u{fffd}rg\n\n{line}"),
            ] {
                let list = parse(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
                assert_eq!(list.into_iter().collect::<Vec<_>>(), [digits.as_str()], "{text:?}");
            }
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let one = "0a".repeat(32);
        for bad in [
            "ab".repeat(31),
            "xy".repeat(32),
            "ann".to_owned(),
            format!("sha1 Fingerprint={}", ["0A"; 20].join(":")),
            format!("md5 Fingerprint={one}"),
            format!("{one} {one}"),
        ] {
            let error = parse(&format!("{one}\n{bad}\n")).expect_err("no fingerprint");
            assert!(error.to_string().starts_with("line 2: "), "{error}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_lets_nobody_in() {
        let barred = Barred::default();
        assert_eq!(barred.refuses("any"), Some(Turned::ListUnreadable));
        let list = Barred {
            fingerprints: Some(["one".to_owned()].into()),
            authorities: Vec::new(),
        };
        assert_eq!(list.refuses("one"), Some(Turned::Barred));
        assert_eq!(list.refuses("two"), None);
    }
}
