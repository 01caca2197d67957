//! Verifies a chain as the other end of the connection will: the same rustls verifiers, for every name.

use crate::files::Identity;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Checks that `chain` leads to one of `authorities` and serves what `identity` does.
///
/// # Errors
/// What does not hold. Time is not part of it: dates are findings of their own, so each chain is checked at a moment
/// when its first certificate is valid.
pub(super) fn verify(
    authorities: &[CertificateDer<'static>],
    identity: Identity,
    chain: &[CertificateDer<'static>],
    now: Timestamp,
) -> Result<(), String> {
    let (end, between) = chain.split_first().expect("the caller keeps no empty chain");
    let (_, parsed) = X509Certificate::from_der(end).map_err(|error| error.to_string())?;
    let validity = parsed.validity();
    let moment = now
        .as_second()
        .min(validity.not_after.timestamp())
        .max(validity.not_before.timestamp());
    let moment = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(moment).unwrap_or(0)));

    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
    if identity == Identity::Operator {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        return verifier
            .verify_client_cert(end, between, moment)
            .map(drop)
            .map_err(|error| error.to_string());
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let (names, addresses) = super::alternative_names(&parsed);
    if names.is_empty() && addresses.is_empty() {
        return Err("it names no server".to_owned());
    }
    for name in names.iter().chain(&addresses) {
        // Any label stands for the star.
        let asked = name.replacen('*', "any", 1);
        let server = ServerName::try_from(asked.as_str()).map_err(|error| format!("{name}: {error}"))?;
        verifier
            .verify_server_cert(end, between, &server, &[], moment)
            .map_err(|error| format!("for {name}: {error}"))?;
    }
    Ok(())
}
