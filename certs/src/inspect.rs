//! Looks through a certificate directory: reads every file, and checks modes, validity, that each key belongs to its
//! certificate, and (with the code that phones and gateways themselves use) that each certificate chains to the
//! authority.

mod chain;

use crate::files::Identity;
use crate::report::{Certificate, Keys, Report, Severity};
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shake_rules::keys::{KeyRing, Purpose};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

const DAY_SECONDS: i64 = 86_400;

/// Inspects a directory at `now`; what ends within `warn_days` is a warning.
#[must_use]
pub fn inspect(directory: &Path, warn_days: u32, now: Timestamp) -> Report {
    let mut inspection = Inspection {
        directory,
        now,
        warn_days: i64::from(warn_days),
        report: Report {
            directory: directory.display().to_string(),
            inspected_at: Timestamp::from_second(now.as_second()).unwrap_or(now).to_string(),
            good: true,
            certificates: Vec::new(),
            keys: Vec::new(),
            findings: Vec::new(),
        },
    };
    if inspection.directory_is_there() {
        let [authority, server, operator] = Identity::ALL.map(|identity| inspection.identity(identity));
        inspection.chains(authority.as_deref(), Identity::Server, server.as_deref());
        inspection.chains(authority.as_deref(), Identity::Operator, operator.as_deref());
        for purpose in Purpose::ALL {
            inspection.keys(purpose);
        }
    }
    inspection.report
}

struct Inspection<'a> {
    directory: &'a Path,
    now: Timestamp,
    warn_days: i64,
    report: Report,
}

/// A PEM file's certificates, in its order: the one it is for, then those between it and the authority.
type Chain = Vec<CertificateDer<'static>>;

impl Inspection<'_> {
    fn error(&mut self, file: &str, message: impl Into<String>) {
        self.report.add(Severity::Error, file, message);
    }

    fn directory_is_there(&mut self) -> bool {
        match fs::metadata(self.directory) {
            Ok(found) if found.is_dir() => {
                if found.mode() & 0o022 != 0 {
                    let mode = found.mode() & 0o777;
                    self.error(
                        "",
                        format!("others may replace files in it (mode {mode:04o}); run chmod 700 on it"),
                    );
                }
                true
            }
            Ok(_) => {
                self.error("", "is not a directory");
                false
            }
            Err(error) => {
                self.error("", format!("{error}; make one with `certs generate`"));
                false
            }
        }
    }

    /// The text of a file, or a finding. `None` without a finding when it is absent and may be.
    fn read(&mut self, file: &str, private: bool, optional: bool) -> Option<String> {
        let path = self.directory.join(file);
        let read = fs::metadata(&path).and_then(|metadata| Ok((metadata.mode() & 0o777, fs::read_to_string(&path)?)));
        match read {
            Ok((mode, text)) => {
                if private && mode & 0o077 != 0 {
                    let path = path.display();
                    self.error(
                        file,
                        format!("a secret that others may read (mode {mode:04o}); run chmod 600 {path}"),
                    );
                }
                Some(text)
            }
            Err(error) if optional && error.kind() == ErrorKind::NotFound => None,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.error(
                    file,
                    "missing; bring it back from a copy, or make all anew with `certs generate --force`",
                );
                None
            }
            Err(error) => {
                self.error(file, format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn identity(&mut self, identity: Identity) -> Option<Chain> {
        let file = identity.certificate_file();
        // The authority's key is needed to sign only, and is best kept elsewhere.
        let key = self.read(identity.key_file(), true, identity == Identity::Authority);
        let text = self.read(file, false, false)?;
        let chain: Chain = match CertificateDer::pem_slice_iter(text.as_bytes()).collect() {
            Ok(chain) => chain,
            Err(error) => {
                self.error(file, format!("is not PEM: {error}"));
                return None;
            }
        };
        if chain.is_empty() {
            self.error(file, "holds no certificate");
            return None;
        }
        for (at, der) in chain.iter().enumerate() {
            match X509Certificate::from_der(der) {
                Ok((_, certificate)) => {
                    self.certificate(file, &certificate);
                    if at == 0 {
                        self.key_belongs(identity, key.as_deref(), &certificate);
                        self.is_for(identity, &certificate);
                    }
                }
                Err(error) => {
                    self.error(file, format!("certificate {} cannot be parsed: {error}", at + 1));
                    return None;
                }
            }
        }
        Some(chain)
    }

    fn certificate(&mut self, file: &str, certificate: &X509Certificate<'_>) {
        let (names, addresses) = alternative_names(certificate);
        let (starts, ends) = (
            certificate.validity().not_before.timestamp(),
            certificate.validity().not_after.timestamp(),
        );
        let days_left = (ends - self.now.as_second()).div_euclid(DAY_SECONDS);
        if self.now.as_second() < starts {
            self.error(
                file,
                format!("is valid only from {}; check this machine's clock", rfc3339(starts)),
            );
        } else if self.now.as_second() > ends {
            self.error(
                file,
                format!(
                    "expired on {}; make new ones with `certs generate --force`",
                    rfc3339(ends)
                ),
            );
        } else if days_left < self.warn_days {
            self.report.add(
                Severity::Warning,
                file,
                format!("expires in {days_left} days, on {}", rfc3339(ends)),
            );
        }
        self.report.certificates.push(Certificate {
            file: file.to_owned(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            addresses,
            usage: usage(certificate),
            not_before: rfc3339(starts),
            not_after: rfc3339(ends),
            days_left,
        });
    }

    fn key_belongs(&mut self, identity: Identity, key: Option<&str>, certificate: &X509Certificate<'_>) {
        let Some(key) = key else { return };
        match KeyPair::from_pem(key) {
            Ok(key) if key.subject_public_key_info() == certificate.public_key().raw => {}
            Ok(_) => {
                let message = format!("is not the key of {}", identity.certificate_file());
                self.error(identity.key_file(), message);
            }
            // The library's message is left out: it must never carry a part of the key.
            Err(_) => self.error(identity.key_file(), "is not a private key in PEM (PKCS #8)"),
        }
    }

    fn is_for(&mut self, identity: Identity, certificate: &X509Certificate<'_>) {
        let signs =
            certificate.is_ca() && matches!(certificate.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign());
        if identity == Identity::Authority && !signs {
            self.error(
                identity.certificate_file(),
                "is not an authority: it may not sign certificates",
            );
        }
    }

    fn chains(
        &mut self,
        authority: Option<&[CertificateDer<'static>]>,
        identity: Identity,
        chain: Option<&[CertificateDer<'static>]>,
    ) {
        let (Some([authority, ..]), Some(chain)) = (authority, chain) else {
            return;
        };
        if let Err(problem) = chain::verify(authority, identity, chain, self.now) {
            let authority = Identity::Authority.certificate_file();
            self.error(
                identity.certificate_file(),
                format!("does not hold against {authority}: {problem}"),
            );
        }
    }

    fn keys(&mut self, purpose: Purpose) {
        let file = purpose.file_name();
        let Some(text) = self.read(file, true, false) else {
            return;
        };
        match KeyRing::parse(&text, purpose) {
            Ok(ring) => self.report.keys.push(Keys {
                file: file.to_owned(),
                purpose: purpose.name().to_owned(),
                key_ids: ring.iter().map(|key| key.id).collect(),
                active: ring.active().id,
                waiting: ring.waiting().map(|key| key.id),
            }),
            Err(problems) => {
                for problem in problems.0 {
                    self.error(file, problem.to_string());
                }
            }
        }
    }
}

fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
}

fn alternative_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<String>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (names, addresses);
    };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes).map(|address| address.to_string())),
            other => names.push(other.to_string()),
        }
    }
    (names, addresses)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn usage(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |set: bool, word: &str| {
        if set {
            words.push(word.to_owned());
        }
    };
    add(certificate.is_ca(), "authority");
    if let Ok(Some(usage)) = certificate.key_usage() {
        add(usage.value.key_cert_sign(), "signs certificates");
        add(usage.value.crl_sign(), "signs revocation lists");
        add(usage.value.digital_signature(), "digital signature");
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage() {
        add(usage.value.server_auth, "server authentication");
        add(usage.value.client_auth, "client authentication");
    }
    words
}
