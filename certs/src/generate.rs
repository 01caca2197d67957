//! Makes a whole certificate directory: authority, server and operator certificates, and one secret key per purpose.
//!
//! Keys are ECDSA P-256: the cheapest handshake that every phone's TLS library supports.

use crate::files::{self, Access, FilesError, Identity, NewFile};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SigningKey,
};
use ring::rand::{SecureRandom, SystemRandom};
use shake_rules::keys::{Key, KeyRing, Purpose};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use strum::VariantArray as _;
use thiserror::Error;
use time::OffsetDateTime;

/// How long the authority is valid, and so the longest that anything it signs can be.
pub const AUTHORITY_DAYS: u32 = 3650;
/// The id that new secret keys get.
pub const FIRST_KEY_ID: u8 = 1;
/// Certificates start this long before they are made, for phones whose clock is behind.
const BACKDATED_SECONDS: i64 = 3600;
pub(crate) const DAY_SECONDS: i64 = 86_400;
/// The name in the operator's certificate that comes with a new authority.
const OPERATOR: &str = "shake operator";

/// What to make.
#[derive(Clone, Debug)]
pub struct Request {
    /// The server's DNS names; `*.` may lead one.
    pub names: Vec<String>,
    /// The server's addresses.
    pub addresses: Vec<IpAddr>,
    /// How long the server and operator certificates are valid, 1 to [`AUTHORITY_DAYS`].
    pub days: u32,
    /// Replace a directory's files.
    pub replace: bool,
}

impl Default for Request {
    /// For a gateway that is reached on its own machine: localhost, both loopback addresses, one year.
    fn default() -> Self {
        Self {
            names: vec!["localhost".to_owned()],
            addresses: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
            days: 365,
            replace: false,
        }
    }
}

/// Why nothing was made.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// Nobody could connect to such a server.
    #[error("the server certificate needs at least one --name or --address")]
    NoNames,
    /// Not a DNS name.
    #[error("--name {0:?} is not a DNS name; addresses go into --address")]
    Name(String),
    /// Outlives its signer, or is over at once.
    #[error("--days {0} is not in 1 to {AUTHORITY_DAYS}, the authority's own validity")]
    Days(u32),
    /// The system's random source failed.
    #[error("the system gave no random bytes")]
    Random,
    /// The certificate library refused.
    #[error("cannot make the certificate for {}: {source}", identity.certificate_file())]
    Certificate {
        /// Whose.
        identity: Identity,
        /// What the library said.
        source: rcgen::Error,
    },
    /// Files are in the way, or cannot be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Makes everything and writes it to the directory; gives the paths written.
///
/// # Errors
/// When the request is not possible or the files cannot be put in place; the directory is then as it was.
pub fn generate(directory: &Path, request: &Request, now: Timestamp) -> Result<Vec<PathBuf>, GenerateError> {
    check(request)?;
    let taken = files::existing(directory, &files::all_names());
    if !request.replace && !taken.is_empty() {
        return Err(FilesError::Exists(taken).into());
    }
    let mut new = certificates(request, now)?;
    for &purpose in Purpose::VARIANTS {
        let content = secret_key(FIRST_KEY_ID)?.to_file(purpose);
        new.push(NewFile {
            name: purpose.file_name(),
            access: Access::Private,
            content,
        });
    }
    files::install(directory, &new, request.replace)?;
    Ok(new.iter().map(|file| directory.join(file.name)).collect())
}

fn check(request: &Request) -> Result<(), GenerateError> {
    check_names(&request.names, &request.addresses)?;
    if request.days == 0 || request.days > AUTHORITY_DAYS {
        return Err(GenerateError::Days(request.days));
    }
    Ok(())
}

/// Whether a server can have these names.
pub(crate) fn check_names(names: &[String], addresses: &[IpAddr]) -> Result<(), GenerateError> {
    if names.is_empty() && addresses.is_empty() {
        return Err(GenerateError::NoNames);
    }
    match names.iter().find(|name| !is_dns_name(name)) {
        Some(bad) => Err(GenerateError::Name(bad.clone())),
        None => Ok(()),
    }
}

fn is_dns_name(name: &str) -> bool {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    rustls_pki_types::DnsName::try_from(plain).is_ok() && plain.parse::<IpAddr>().is_err()
}

fn certificates(request: &Request, now: Timestamp) -> Result<Vec<NewFile>, GenerateError> {
    let failed = |source| GenerateError::Certificate {
        identity: Identity::Authority,
        source,
    };
    let authority_params = authority(now);
    let authority_key = KeyPair::generate().map_err(failed)?;
    let certificate = authority_params.self_signed(&authority_key).map_err(failed)?;
    let mut new = pair(Identity::Authority, &authority_key, certificate.pem());

    let issuer = Issuer::from_params(&authority_params, &authority_key);
    let until = now.as_second() + i64::from(request.days) * DAY_SECONDS;
    let server = server(&request.names, &request.addresses, now, until);
    new.extend(signed(Identity::Server, server, &issuer)?);
    new.extend(signed(Identity::Operator, Ok(operator(OPERATOR, now, until)), &issuer)?);
    Ok(new)
}

/// A certificate of this issuer and its new key.
pub(crate) fn signed(
    identity: Identity,
    params: Result<CertificateParams, rcgen::Error>,
    issuer: &Issuer<'_, impl SigningKey>,
) -> Result<Vec<NewFile>, GenerateError> {
    let failed = |source| GenerateError::Certificate { identity, source };
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.and_then(|params| params.signed_by(&key, issuer));
    Ok(pair(identity, &key, certificate.map_err(failed)?.pem()))
}

fn pair(identity: Identity, key: &KeyPair, certificate: String) -> Vec<NewFile> {
    vec![
        NewFile {
            name: identity.key_file(),
            access: Access::Private,
            content: key.serialize_pem(),
        },
        NewFile {
            name: identity.certificate_file(),
            access: Access::Public,
            content: certificate,
        },
    ]
}

fn authority(now: Timestamp) -> CertificateParams {
    let mut params = valid_until(now, now.as_second() + i64::from(AUTHORITY_DAYS) * DAY_SECONDS);
    params.distinguished_name = common_name("shake event authority");
    // Signs end certificates only: nothing that it signs can sign in turn (RFC 5280, section 4.2.1.9).
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A server's certificate, for names that `check_names` found good. `until_s` is in seconds since 1970.
pub(crate) fn server(
    names: &[String],
    addresses: &[IpAddr],
    now: Timestamp,
    until_s: i64,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = end_certificate(now, until_s, ExtendedKeyUsagePurpose::ServerAuth);
    let first_address = || addresses.first().map(ToString::to_string);
    let title = names
        .first()
        .cloned()
        .or_else(first_address)
        .expect("`check_names` saw a name or an address");
    params.distinguished_name = common_name(&title);
    for name in names {
        let name = SanType::DnsName(name.as_str().try_into()?);
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    for address in addresses {
        let address = SanType::IpAddress(*address);
        if !params.subject_alt_names.contains(&address) {
            params.subject_alt_names.push(address);
        }
    }
    Ok(params)
}

/// An operator's certificate, whose common name the audit log shows.
pub(crate) fn operator(name: &str, now: Timestamp, until_s: i64) -> CertificateParams {
    let mut params = end_certificate(now, until_s, ExtendedKeyUsagePurpose::ClientAuth);
    params.distinguished_name = common_name(name);
    params
}

fn end_certificate(now: Timestamp, until_s: i64, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = valid_until(now, until_s);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn valid_until(now: Timestamp, until_s: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("within 10 years of any clock's time");
    params.not_before = at(now.as_second() - BACKDATED_SECONDS);
    params.not_after = at(until_s);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn secret_key(id: u8) -> Result<KeyRing, GenerateError> {
    let secret = secret().ok_or(GenerateError::Random)?;
    Ok(KeyRing::of(Key::new(id, secret)))
}

/// 32 random bytes; `None` when the system gives none.
pub(crate) fn secret() -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(secret)
}
