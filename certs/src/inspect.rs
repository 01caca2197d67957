//! Looks through a certificate directory: reads every file, and checks modes, validity, that each key belongs to its
//! certificate, and (with the code that phones and gateways themselves use) that each certificate chains to the
//! authority.

use crate::files::Identity;
use crate::report::{Certificate, Keys, Report, Severity};
use data_encoding::HEXLOWER;
use host::chain::{self, Usage};
use host::pem;
use jiff::Timestamp;
use ring::digest;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use shake_rules::keys::{KeyRing, Purpose};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use strum::VariantArray as _;
use x509_parser::certificate::X509Certificate;
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
        let (has_gateways, has_operators) = inspection.parts();
        let authority = inspection.identity(Identity::Authority);
        let server = has_gateways.then(|| inspection.identity(Identity::Server)).flatten();
        let operator = has_operators.then(|| inspection.identity(Identity::Operator)).flatten();
        inspection.dates(Identity::Authority, authority.as_deref());
        inspection.dates(Identity::Server, server.as_deref());
        inspection.dates(Identity::Operator, operator.as_deref());
        inspection.chains(authority.as_deref(), Identity::Server, server.as_deref());
        inspection.chains(authority.as_deref(), Identity::Operator, operator.as_deref());
        if has_gateways {
            Purpose::VARIANTS.iter().for_each(|&purpose| inspection.keys(purpose));
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
                self.error("", format!("{error}; name the one that `certs generate` made"));
                false
            }
        }
    }

    /// Whether a gateway's files are here, and an operator's: each is kept without the other's. What is here in part is to be
    /// here whole.
    fn parts(&mut self) -> (bool, bool) {
        let pair = |identity: Identity| [identity.certificate_file(), identity.key_file()];
        let is_here = |name: &&str| self.directory.join(name).symlink_metadata().is_ok();
        let keys: Vec<_> = Purpose::VARIANTS.iter().map(|purpose| purpose.file_name()).collect();
        let has_gateways = pair(Identity::Server).iter().chain(&keys).any(is_here);
        let has_operators = pair(Identity::Operator).iter().any(is_here);
        // In an empty one all is missing.
        let is_empty = !has_gateways && !has_operators;
        (has_gateways || is_empty, has_operators || is_empty)
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
                let message = self.advice("missing; bring it back from a copy", file);
                self.error(file, message);
                None
            }
            Err(error) => {
                self.error(file, format!("cannot be read: {error}"));
                None
            }
        }
    }

    /// What is wrong, and how a certificate is had anew. Nothing makes a key file anew that keeps what the lost one made.
    fn advice(&self, what: &str, file: &str) -> String {
        let directory = self.directory.display();
        let is_of = |identity: Identity| file == identity.certificate_file() || file == identity.key_file();
        if is_of(Identity::Server) {
            format!("{what}; `certs issue server {directory}` makes another")
        } else if is_of(Identity::Operator) {
            format!("{what}; `certs issue operator {directory} --name NAME --out {directory}` makes another")
        } else if is_of(Identity::Authority) {
            what.to_owned()
        } else {
            format!("{what}: without it, all that it made is refused")
        }
    }

    fn identity(&mut self, identity: Identity) -> Option<Chain> {
        let file = identity.certificate_file();
        // The authority's key is needed to sign only, and is best kept elsewhere.
        let key = self.read(identity.key_file(), true, identity == Identity::Authority);
        let text = self.read(file, false, false)?;
        // As the gateway reads them, so that what it takes is no fault here.
        let chain: Chain = match pem::certificates_in(text.as_bytes(), Path::new(file)) {
            Ok(chain) => chain,
            Err(error) => {
                self.error(file, error.to_string());
                return None;
            }
        };
        for (at, der) in chain.iter().enumerate() {
            match X509Certificate::from_der(der) {
                Ok((_, certificate)) => {
                    self.certificate(file, der, &certificate);
                    // Each of the authority's file is one; of the others the first is what the file is for.
                    if identity == Identity::Authority {
                        self.signs(&certificate);
                    }
                }
                Err(error) => {
                    self.error(file, format!("certificate {} cannot be parsed: {error}", at + 1));
                    return None;
                }
            }
        }
        if let Some(key) = key {
            self.key_belongs(identity, &key, &chain);
        }
        Some(chain)
    }

    /// Holds a file's certificates against the clock. Of several authorities one must hold: an old one may stay in the file
    /// until what it signed is replaced.
    fn dates(&mut self, identity: Identity, chain: Option<&[CertificateDer<'static>]>) {
        let parsed: Vec<_> = chain
            .unwrap_or_default()
            .iter()
            .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1))
            .collect();
        let now = self.now.as_second();
        let holds = |one: &X509Certificate<'_>| {
            (one.validity().not_before.timestamp()..=one.validity().not_after.timestamp()).contains(&now)
        };
        let is_enough = identity == Identity::Authority && parsed.iter().any(holds);
        for certificate in &parsed {
            self.date(identity.certificate_file(), certificate, is_enough);
        }
    }

    fn date(&mut self, file: &str, certificate: &X509Certificate<'_>, is_enough: bool) {
        let validity = certificate.validity();
        let (starts, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let severity = if is_enough { Severity::Warning } else { Severity::Error };
        let now = self.now.as_second();
        let days_left = (ends - now).div_euclid(DAY_SECONDS);
        if now < starts {
            let message = format!("is valid only from {}; check this machine's clock", rfc3339(starts));
            self.report.add(severity, file, message);
        } else if now > ends {
            let message = self.expired(&rfc3339(ends), file);
            self.report.add(severity, file, message);
        } else if days_left < self.warn_days {
            let message = format!("expires in {days_left} days, on {}", rfc3339(ends));
            self.report.add(Severity::Warning, file, message);
        }
    }

    fn expired(&self, when: &str, file: &str) -> String {
        let what = format!("expired on {when}");
        if file != Identity::Authority.certificate_file() {
            return self.advice(&what, file);
        }
        format!(
            "{what}; make another authority with `certs generate --out OTHER`, and take ca.pem, ca.key.pem, server.pem and \
             server.key.pem of it, but no *.key.toml: those here stay good"
        )
    }

    fn certificate(&mut self, file: &str, der: &[u8], certificate: &X509Certificate<'_>) {
        let (names, addresses) = chain::alternative_names(certificate);
        let (starts, ends) = (
            certificate.validity().not_before.timestamp(),
            certificate.validity().not_after.timestamp(),
        );
        let days_left = (ends - self.now.as_second()).div_euclid(DAY_SECONDS);
        self.report.certificates.push(Certificate {
            file: file.to_owned(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            sha256: HEXLOWER.encode(digest::digest(&digest::SHA256, der).as_ref()),
            usage: usage(certificate),
            not_before: rfc3339(starts),
            not_after: rfc3339(ends),
            days_left,
        });
    }

    /// Holds a key against its certificate as TLS does at the gateway's start. The key in the authority's place may be that of
    /// any of its certificates.
    fn key_belongs(&mut self, identity: Identity, key: &str, chain: &[CertificateDer<'static>]) {
        let key = pem::private_key_in(key.as_bytes(), Path::new(identity.key_file()))
            .ok()
            .and_then(|key| any_supported_type(&key).ok());
        // The libraries' messages are left out: they must never carry a part of the key.
        let Some(key) = key else {
            let message = "is not a private key in PEM (PKCS #8, SEC 1 or PKCS #1) that TLS can use";
            return self.error(identity.key_file(), message);
        };
        let of = if identity == Identity::Authority {
            chain
        } else {
            &chain[..1]
        };
        let is_of = |der: &CertificateDer<'static>| {
            CertifiedKey::new(vec![der.clone()], Arc::clone(&key))
                .keys_match()
                .is_ok()
        };
        if !of.iter().any(is_of) {
            let message = format!("is not the key of {}", identity.certificate_file());
            self.error(identity.key_file(), message);
        }
    }

    fn signs(&mut self, certificate: &X509Certificate<'_>) {
        // Without the extension a key may be used for anything (RFC 5280, section 4.2.1.3).
        let may_sign = certificate
            .key_usage()
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
        if !certificate.is_ca() || !may_sign {
            self.error(
                Identity::Authority.certificate_file(),
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
        let (Some(authorities), Some(chain)) = (authority, chain) else {
            return;
        };
        let usage = match identity {
            Identity::Operator => Usage::Client,
            _ => Usage::Server,
        };
        if let Err(problem) = chain::verify(authorities, chain, usage, self.now.as_second()) {
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
