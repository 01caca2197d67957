//! Real handshakes against the certificates of a generated directory.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use certs::files::{Identity, all_names};
use certs::generate::{Request, generate};
use certs::inspect::inspect;
use certs::report::Severity;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use strum::VariantArray as _;
use support::{findings, made, made_at};
use tempfile::TempDir;

fn chain(place: &Path, identity: Identity) -> Vec<CertificateDer<'static>> {
    host::pem::certificates(&place.join(identity.certificate_file())).unwrap()
}

fn key(place: &Path, identity: Identity) -> PrivateKeyDer<'static> {
    host::pem::private_key(&place.join(identity.key_file())).unwrap()
}

fn roots(place: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(place, Identity::Authority) {
        roots.add(certificate).unwrap();
    }
    Arc::new(roots)
}

/// A TLS 1.3 handshake in memory between a client that trusts `trusts` and the server of `server`, which asks for a
/// client certificate when `operator` is given.
fn handshake(trusts: &Path, server: &Path, name: &str, operator: Option<Identity>) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(trusts));
    let client = match operator {
        Some(identity) => client.with_client_auth_cert(chain(trusts, identity), key(trusts, identity))?,
        None => client.with_no_client_auth(),
    };
    let serving =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let serving = match operator {
        Some(_) => serving.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots(server), provider)
                .build()
                .unwrap(),
        ),
        None => serving.with_no_client_auth(),
    };
    let serving = serving.with_single_cert(chain(server, Identity::Server), key(server, Identity::Server))?;
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(name.to_owned()).unwrap())?;
    let mut server = ServerConnection::new(Arc::new(serving))?;
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            client.read_tls(&mut sent).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

#[test]
fn handshakes_hold_for_the_given_names_only() {
    let place = TempDir::new().unwrap();
    let request = Request {
        names: vec![
            "gw1.example.com".into(),
            "*.gw.example.com".into(),
            "gw1.example.com".into(),
        ],
        addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        ..Request::default()
    };
    generate(place.path(), &request, Timestamp::now()).unwrap();
    let at = |name| handshake(place.path(), place.path(), name, None);
    for name in ["gw1.example.com", "a.gw.example.com", "192.0.2.7", "2001:db8::7"] {
        assert_eq!(at(name), Ok(()), "{name}");
    }
    for name in [
        "localhost",
        "gw.example.com",
        "a.b.gw.example.com",
        "192.0.2.8",
        "127.0.0.1",
    ] {
        assert!(at(name).is_err(), "{name}");
    }
}

#[test]
fn another_authority_is_not_trusted() {
    let (place, other) = (made(), made());
    assert_eq!(handshake(place.path(), place.path(), "localhost", None), Ok(()));
    assert!(handshake(other.path(), place.path(), "localhost", None).is_err());
}

#[test]
fn only_the_operators_certificate_is_a_clients() {
    let (place, other) = (made(), made());
    assert_eq!(
        handshake(place.path(), place.path(), "::1", Some(Identity::Operator)),
        Ok(())
    );
    assert!(handshake(place.path(), place.path(), "::1", Some(Identity::Server)).is_err());
    // The operator of another authority, who trusts this one.
    for name in [Identity::Operator.certificate_file(), Identity::Operator.key_file()] {
        fs::copy(other.path().join(name), place.path().join(name)).unwrap();
    }
    let other_operator = TempDir::new().unwrap();
    for name in all_names() {
        fs::copy(place.path().join(name), other_operator.path().join(name)).unwrap();
    }
    assert!(handshake(other_operator.path(), place.path(), "::1", Some(Identity::Operator)).is_err());
}

/// A PEM block of these bytes.
fn pem(label: &str, der: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        let letter = |at: usize| {
            if at <= three.len() {
                LETTERS[bits as usize >> (18 - 6 * at) & 63]
            } else {
                b'='
            }
        };
        text.extend((0..4).map(|at| char::from(letter(at))));
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn what_the_gateway_takes_is_no_fault() {
    let now = Timestamp::now();
    let check = |what: &str, change: &dyn Fn(&Path)| {
        let place = made_at(now);
        change(place.path());
        let report = inspect(place.path(), 14, now);
        assert!(report.good && report.findings.is_empty(), "{what}: {report}");
        // And it does take it.
        handshake(place.path(), place.path(), "localhost", None).unwrap_or_else(|error| panic!("{what}: {error}"));
    };
    check("keys as `openssl ecparam -genkey` writes them", &|place| {
        for &identity in Identity::VARIANTS {
            let PrivateKeyDer::Pkcs8(pkcs8) = key(place, identity) else {
                panic!("certs generate writes PKCS #8");
            };
            // Behind version, algorithm and curve stands the key of SEC 1 (RFC 5958, section 2; RFC 5915).
            let sec1 = &pkcs8.secret_pkcs8_der()[29..];
            let text = pem("EC PARAMETERS", &[6, 8, 42, 134, 72, 206, 61, 3, 1, 7]) + &pem("EC PRIVATE KEY", sec1);
            fs::write(place.join(identity.key_file()), text).unwrap();
        }
    });
    for first in [true, false] {
        check("a file of two authorities", &|place| {
            let own = fs::read_to_string(place.join("ca.pem")).unwrap();
            let other = fs::read_to_string(made().path().join("ca.pem")).unwrap();
            let both = if first { own + &other } else { other + &own };
            fs::write(place.join("ca.pem"), both).unwrap();
        });
    }
    check("files with a byte order mark and other line ends", &|place| {
        for name in all_names() {
            let text = fs::read_to_string(place.join(name)).unwrap();
            fs::write(place.join(name), format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
        }
    });
    // An old authority may stay beside the one that holds.
    let place = made_at(now);
    let old = made_at(now - SignedDuration::from_hours(24 * 4_000));
    let both = [old.path(), place.path()].map(|place| fs::read_to_string(place.join("ca.pem")).unwrap());
    fs::write(place.path().join("ca.pem"), both.concat()).unwrap();
    let report = inspect(place.path(), 14, now);
    assert!(
        report.good && matches!(findings(&report)[..], [(Severity::Warning, "ca.pem", _)]),
        "{report}"
    );
}
