//! Certificates that the authority of a stand signs, in shapes that `certs` never makes.
#![allow(dead_code)]

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use std::path::Path;

/// A certificate for this use, shaped by `shape`, and its key, both in PEM.
pub fn signed(
    certs: &Path,
    usage: ExtendedKeyUsagePurpose,
    shape: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let key = std::fs::read_to_string(certs.join("ca.key.pem")).expect("the authority's key");
    let mut authority = CertificateParams::default();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority
        .distinguished_name
        .push(DnType::CommonName, "shake event authority");
    let issuer = Issuer::from_params(&authority, KeyPair::from_pem(&key).expect("a key"));
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    shape(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}
