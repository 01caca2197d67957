//! Verifies a chain of certificates as the other end of the connection will: the same rustls verifiers, for every name.

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What a chain is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A server's, to its clients.
    Server,
    /// A client's, to a server.
    Client,
}

/// Checks that a chain (the certificate, then those between it and the authority) leads to one of `authorities`, and serves
/// this usage. `now_s` is in seconds since 1970.
///
/// # Errors
/// What does not hold. Time is not part of it: the chain is checked at the moment nearest to `now_s` at which its first
/// certificate is valid.
pub fn verify(
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    usage: Usage,
    now_s: i64,
) -> Result<(), String> {
    let (end, between) = chain.split_first().ok_or("there is no certificate")?;
    let (_, parsed) = X509Certificate::from_der(end).map_err(|error| error.to_string())?;
    let validity = parsed.validity();
    let moment = now_s
        .min(validity.not_after.timestamp())
        .max(validity.not_before.timestamp());
    let moment = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(moment).unwrap_or(0)));

    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
    if usage == Usage::Client {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        return verifier
            .verify_client_cert(end, between, moment)
            .map(drop)
            .map_err(|error| error.to_string());
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let (names, addresses) = alternative_names(&parsed);
    if names.is_empty() && addresses.is_empty() {
        return Err("it names no server".to_owned());
    }
    for name in names.into_iter().chain(addresses.iter().map(ToString::to_string)) {
        // Any label stands for the star.
        let asked = name.replacen('*', "any", 1);
        let server = ServerName::try_from(asked.as_str()).map_err(|error| format!("{name}: {error}"))?;
        verifier
            .verify_server_cert(end, between, &server, &[], moment)
            .map_err(|error| format!("for {name}: {error}"))?;
    }
    Ok(())
}

/// The names and the addresses that a certificate is for (RFC 5280, section 4.2.1.6).
#[must_use]
pub fn alternative_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (names, addresses);
    };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
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
