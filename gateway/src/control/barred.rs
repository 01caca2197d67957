//! Operators' certificates that are refused although the authority signed them: stolen ones, or of people who left. The
//! list is a file of the certificate directory, one SHA-256 of a certificate a line, as the audit log and `certs inspect`
//! show it. No file, no list.

use anyhow::{Context, Result, bail};
use ring::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shake_rules::hex;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

/// The list's name in the certificate directory.
pub const FILE: &str = "refused-operators.txt";

/// The list, and the authority of those who are not on it.
#[derive(Debug, Default)]
pub struct Barred {
    fingerprints: BTreeSet<String>,
    authority: String,
}

impl Barred {
    /// Reads list and authority.
    ///
    /// # Errors
    /// A line that is no SHA-256, by its number; a file that is there and cannot be read.
    pub fn read(certs: &Path) -> Result<Self> {
        let path = certs.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let ca = certs.join("ca.pem");
        let authority = CertificateDer::from_pem_file(&ca)
            .with_context(|| format!("cannot read the authority {}", ca.display()))?;
        Ok(Self {
            fingerprints: parse(&text).with_context(|| path.display().to_string())?,
            authority: hex::encode(digest::digest(&digest::SHA256, &authority).as_ref()),
        })
    }

    /// Whether the certificate of this SHA-256 is refused.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.fingerprints.contains(fingerprint)
    }

    /// What holds, for operators to read.
    pub fn lines(&self) -> Vec<String> {
        let refused = self.fingerprints.iter().map(|one| format!("refused operator {one}"));
        std::iter::once(format!("operators of authority {}", self.authority))
            .chain(refused)
            .collect()
    }
}

/// Colons between bytes, as other programs print them, are passed over; what follows a `#` is a remark.
fn parse(text: &str) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let said = line.split('#').next().unwrap_or("").trim();
        if said.is_empty() {
            continue;
        }
        let fingerprint = said.replace(':', "").to_ascii_lowercase();
        if hex::decode(&fingerprint).is_none_or(|bytes| bytes.len() != digest::SHA256_OUTPUT_LEN) {
            bail!(
                "line {}: {said:?} is not a SHA-256 of a certificate, 64 hex digits",
                index + 1
            );
        }
        all.insert(fingerprint);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_colons_and_remarks_and_a_bad_line_is_named() {
        let one = "0A:".repeat(31) + "0b";
        let list = parse(&format!("# who left\n\n{one}  # Ann, 2026\n{}\n", "cd".repeat(32))).expect("a good list");
        assert_eq!(list.len(), 2);
        assert!(list.contains(&("0a".repeat(31) + "0b")));
        for bad in ["ab".repeat(31), "xy".repeat(32), "ann".to_owned()] {
            let error = parse(&format!("{one}\n{bad}\n")).expect_err("no fingerprint");
            assert!(error.to_string().starts_with("line 2: "), "{error}");
        }
    }
}
