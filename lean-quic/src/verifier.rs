//! Verification of the gateway's certificate: rustls's own, done once a minute for each chain instead of a million times.
//!
//! What a connection proves by itself, that the gateway holds the certificate's key, is verified every time.

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::sync::{Arc, Mutex};

/// How long a verdict holds, in seconds. A certificate that expires in a run is noticed so much later at the most.
const HOLDS_S: u64 = 60;

/// Asks `inner` about each chain that is not the one it has just accepted.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    accepted: Mutex<Option<Accepted>>,
}

#[derive(Debug)]
struct Accepted {
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    at: UnixTime,
}

impl Verifier {
    pub(super) fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self {
            inner: inner.map_err(|error| Error::General(error.to_string()))?,
            accepted: Mutex::new(None),
        })
    }
}

impl Accepted {
    fn covers(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        at: UnixTime,
    ) -> bool {
        let age = at.as_secs().checked_sub(self.at.as_secs());
        age.is_some_and(|age| age < HOLDS_S)
            && self.name == *name
            && self.chain.first() == Some(leaf)
            && self.chain[1..] == *rest
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut accepted = self.accepted.lock().expect("nothing panics under this lock");
        if accepted.as_ref().is_some_and(|it| it.covers(leaf, rest, name, now)) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.inner.verify_server_cert(leaf, rest, name, ocsp, now)?;
        let chain = std::iter::once(leaf).chain(rest);
        *accepted = Some(Accepted {
            chain: chain.map(|certificate| certificate.clone().into_owned()).collect(),
            name: name.to_owned(),
            at: now,
        });
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;

    #[test]
    fn only_the_accepted_chain_for_the_same_name_is_spared_and_not_for_long() {
        let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a valid name");
        let (good, other) = (made("localhost"), made("localhost"));
        let mut roots = RootCertStore::empty();
        roots.add(good.cert.der().clone()).expect("a certificate");
        let verifier = Verifier::new(roots, Arc::new(default_provider())).expect("a root");
        let start = UnixTime::now();
        let at = |s: u64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(start.as_secs() + s));
        let check = |leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], name: &'static str, s: u64| {
            let name = ServerName::try_from(name).expect("a name");
            let is_good = verifier.verify_server_cert(leaf, rest, &name, &[], at(s)).is_ok();
            let accepted = verifier.accepted.lock().expect("nobody panics");
            (is_good, accepted.as_ref().map(|it| it.at.as_secs() - start.as_secs()))
        };
        let (leaf, stranger) = (good.cert.der(), other.cert.der());
        assert_eq!(check(stranger, &[], "localhost", 0), (false, None));
        assert_eq!(check(leaf, &[], "localhost", 0), (true, Some(0)));
        assert_eq!(check(leaf, &[], "localhost", HOLDS_S - 1), (true, Some(0)), "spared");
        assert_eq!(check(stranger, &[], "localhost", 1), (false, Some(0)));
        assert_eq!(check(leaf, &[], "example.com", 1), (false, Some(0)));
        assert_eq!(
            check(leaf, std::slice::from_ref(stranger), "localhost", 1),
            (true, Some(1)),
            "asked anew"
        );
        assert_eq!(
            check(leaf, std::slice::from_ref(stranger), "localhost", HOLDS_S + 1),
            (true, Some(HOLDS_S + 1))
        );
    }
}
