//! Who an operator is, by the certificate that their connection was made with.

use super::counters::Turned;
use data_encoding::HEXLOWER;
use ring::digest;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// An operator on a connection.
pub struct Operator {
    /// The common name in the certificate.
    pub name: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    pub address: String,
}

impl Operator {
    /// Whoever may signal this process.
    pub fn by_signal() -> Self {
        Self {
            name: "SIGHUP".to_owned(),
            fingerprint: String::new(),
            address: String::new(),
        }
    }

    /// The operator of a chain that TLS has verified. A certificate that names no use may be for anything, and so is none
    /// for operators.
    pub fn of(chain: &[CertificateDer<'_>], address: SocketAddr) -> Result<Self, Turned> {
        let der = chain.first().ok_or(Turned::NoCertificate)?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Turned::BadCertificate)?;
        let is_for_clients = matches!(certificate.extended_key_usage(), Ok(Some(usage)) if usage.value.client_auth);
        if !is_for_clients {
            return Err(Turned::NotOperator);
        }
        let name = certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .filter(|name| !name.is_empty())
            .ok_or(Turned::BadCertificate)?;
        Ok(Self {
            name: name.to_owned(),
            fingerprint: HEXLOWER.encode(digest::digest(&digest::SHA256, der).as_ref()),
            address: address.to_string(),
        })
    }
}

/// Why TLS turned a client away, by the alert that it sent (RFC 8446, section 6; QUIC carries it as 0x100 + alert).
pub fn turned(alert: u64) -> Turned {
    match alert {
        116 => Turned::NoCertificate,
        45 => Turned::Expired,
        // An authority of the same name, which all that `certs generate` makes are, differs by its signature.
        48 | 51 => Turned::OtherAuthority,
        43 => Turned::NotOperator,
        42 | 44 | 46 | 49 => Turned::BadCertificate,
        120 => Turned::OtherProtocol,
        _ => Turned::Handshake,
    }
}

/// The alert in a QUIC transport error code, if it is one of TLS.
pub fn alert(code: u64) -> Option<u64> {
    (0x100..0x200).contains(&code).then_some(code & 0xff)
}
