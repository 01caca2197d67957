//! Certificates and private keys in PEM (RFC 7468), as every program here reads them: what one of them takes, all take.
//!
//! Whatever stands outside of the blocks is passed over, lines may end as on any system, and a byte order mark, which
//! some editors put first, is no part of the text.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// No chain and no key is longer, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Why a file gives no certificate or no key. Never carries a part of a key.
#[derive(Debug, Error)]
pub enum PemError {
    /// The file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is larger than any such file.
    #[error("{} has more than {BYTES_MAX} bytes; it is no file of certificates or keys", .0.display())]
    TooLong(PathBuf),
    /// A block of it is broken.
    #[error("{} is broken PEM: {reason}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no block of the right kind.
    #[error("{} holds no certificate (a block BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// Likewise.
    #[error("{} holds no private key (a block BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or BEGIN RSA PRIVATE KEY)", .0.display())]
    NoKey(PathBuf),
}

/// The certificates of a file, in its order; at least one.
///
/// # Errors
/// [`PemError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    certificates_in(&read(path)?, path)
}

/// The same of a text that was read already; `path` is for the error.
///
/// # Errors
/// [`PemError`].
pub fn certificates_in(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bare(text)).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(PemError::NoCertificate(path.to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(PemError::Broken {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// The first private key of a file: PKCS #8, SEC 1 or PKCS #1.
///
/// # Errors
/// [`PemError`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    private_key_in(&read(path)?, path)
}

/// The same of a text that was read already; `path` is for the error.
///
/// # Errors
/// [`PemError`].
pub fn private_key_in(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    // The library's message is left out: it must never carry a part of the key.
    PrivateKeyDer::from_pem_slice(bare(text)).map_err(|_| PemError::NoKey(path.to_owned()))
}

fn bare(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > BYTES_MAX => Err(PemError::TooLong(path.to_owned())),
        Ok(_) => Ok(bytes),
        Err(source) => Err(PemError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const SEC_1: &str = "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n";

    #[test]
    fn a_file_is_read_however_it_was_saved() {
        let path = Path::new("server.pem");
        let two = format!("subject=CN = one\n{CERTIFICATE}\nsubject=CN = two\n{CERTIFICATE}");
        for text in [
            two.clone(),
            format!("\u{feff}{two}"),
            two.replace('\n', "\r\n"),
            format!("\u{feff}{}", CERTIFICATE.repeat(2).replace('\n', "\r\n")),
        ] {
            assert_eq!(
                certificates_in(text.as_bytes(), path).expect(&text).len(),
                2,
                "{text:?}"
            );
        }
        // openssl ecparam writes the curve before the key.
        let key = format!("\u{feff}-----BEGIN EC PARAMETERS-----\nBgg=\n-----END EC PARAMETERS-----\n{SEC_1}");
        assert!(matches!(
            private_key_in(key.as_bytes(), path),
            Ok(PrivateKeyDer::Sec1(_))
        ));
    }

    #[test]
    fn what_is_no_such_file_is_refused_by_name() {
        let path = Path::new("server.pem");
        let error = |found: Result<Vec<_>, PemError>| found.expect_err("no certificate").to_string();
        assert!(error(certificates_in(b"", path)).starts_with("server.pem holds no certificate"));
        assert!(error(certificates_in(SEC_1.as_bytes(), path)).starts_with("server.pem holds no certificate"));
        assert!(error(certificates_in(&CERTIFICATE.as_bytes()[..40], path)).starts_with("server.pem is broken PEM"));
        let secret = "-----BEGIN PRIVATE KEY-----\nSECRET!\n-----END PRIVATE KEY-----\n";
        let error = private_key_in(secret.as_bytes(), path)
            .expect_err("no base64")
            .to_string();
        assert!(
            error.starts_with("server.pem holds no private key") && !error.contains("SECRET"),
            "{error}"
        );
        assert!(matches!(
            certificates(Path::new("/nowhere")),
            Err(PemError::Read { .. })
        ));
        assert!(matches!(
            certificates(Path::new("/dev/zero")),
            Err(PemError::TooLong(_))
        ));
    }
}
