//! Issues one certificate under the authority that is there: the server's anew, before or after it has expired, or an
//! operator's own. The four key files are never touched, so that all tokens, tickets and cookies that are out there stay good.

use crate::files::{self, Access, FilesError, Identity, NewFile};
use crate::generate::{self, DAY_SECONDS, GenerateError};
use data_encoding::HEXLOWER;
use host::chain::{self, Usage};
use host::pem::{self, PemError};
use jiff::Timestamp;
use rcgen::{Issuer, KeyPair, PublicKeyData};
use ring::digest;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// How long a certificate is valid where nobody said, in days, unless its authority ends before.
pub const DAYS: u32 = 365;
/// The longest name of an operator (RFC 5280, appendix A.1, `ub-common-name`).
const NAME_MAX: usize = 64;

/// Whose certificate.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The gateway's. Without names and addresses it gets those of the one that is there.
    Server {
        /// DNS names; `*.` may lead one.
        names: Vec<String>,
        /// Addresses.
        addresses: Vec<IpAddr>,
    },
    /// An operator's, by the name that the audit log is to show.
    Operator {
        /// Letters, digits, and any of `.-_@`.
        name: String,
    },
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct Issued {
    /// The files, in the order in which they were written.
    pub files: Vec<PathBuf>,
    /// SHA-256 of the certificate, as a list of refused operators has it.
    pub sha256: String,
    /// When it ends, RFC 3339, UTC.
    pub not_after: String,
    /// The certificate that stood there before, if one did: it is good for as long as it ever was.
    pub before: Option<Before>,
}

/// A certificate that was replaced.
#[derive(Debug, Serialize)]
pub struct Before {
    /// Its SHA-256.
    pub sha256: String,
    /// When it ends, RFC 3339, UTC.
    pub not_after: String,
}

/// Why nothing was made.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The authority's certificate or key is not here.
    #[error(
        "{0}. The authority signs with ca.pem and ca.key.pem: name the directory that has both, and give --out to write elsewhere"
    )]
    Authority(PemError),
    /// The key cannot sign for what is in `ca.pem`.
    #[error("{}: {reason}", path.display())]
    AuthorityKey {
        /// The key's file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Nothing that it signs would be trusted.
    #[error(
        "{} expired on {not_after}, and so is all that it signs. Make another authority with `certs generate --out OTHER`, and take \
         ca.pem, ca.key.pem, server.pem and server.key.pem of it, but no *.key.toml: those here stay good. Phones have to trust the new ca.pem",
        path.display()
    )]
    AuthorityOver {
        /// The authority's certificate.
        path: PathBuf,
        /// When it ended, RFC 3339.
        not_after: String,
    },
    /// It would outlive its authority, or be over at once.
    #[error("--days {asked} is not in 1 to {left}, what is left of the authority's own validity")]
    Days {
        /// What was asked for.
        asked: u32,
        /// The most that can be.
        left: i64,
    },
    /// There is no certificate to take the names of.
    #[error("{0}; give the server's --name or --address")]
    NoServer(PemError),
    /// Another authority's certificate is not to be lost.
    #[error(
        "{}: it is not of the authority in {}: {problem}. Phones may trust that other one; renew it where it is from, or give another --out",
        path.display(), authority.display()
    )]
    OtherAuthority {
        /// The certificate that is there.
        path: PathBuf,
        /// The authority's.
        authority: PathBuf,
        /// What does not hold.
        problem: String,
    },
    /// No name for an operator.
    #[error(
        "--name {0:?}: an operator's name has 1 to {NAME_MAX} letters, digits, or any of .-_@, and begins with a letter or digit"
    )]
    Name(String),
    /// The certificate cannot be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The files cannot be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Issues a certificate with a new key by the authority in `directory`, and writes both to `out`: without one, a server's
/// to `directory`, and an operator's with `ca.pem` to `operators/NAME` in it, which is all that an operator needs. `days` is
/// its validity; without it, [`DAYS`], or to the authority's end.
///
/// # Errors
/// [`IssueError`]; nothing was changed then.
pub fn issue(
    directory: &Path,
    out: Option<&Path>,
    subject: &Subject,
    days: Option<u32>,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    let authority = Authority::read(directory)?;
    let until_s = authority.until(days, now)?;
    let (new, out) = match subject {
        Subject::Server { names, addresses } => {
            let out = out.unwrap_or(directory).to_owned();
            let (names, addresses) = authority.names(&out, names, addresses, now)?;
            let params = generate::server(&names, &addresses, now, until_s);
            (generate::signed(Identity::Server, params, &authority.issuer)?, out)
        }
        Subject::Operator { name } => {
            check_name(name)?;
            let out = out.map_or_else(|| directory.join("operators").join(name), Path::to_owned);
            let params = generate::operator(name, now, until_s);
            let mut new = generate::signed(Identity::Operator, Ok(params), &authority.issuer)?;
            if out != directory {
                new.push(NewFile {
                    name: Identity::Authority.certificate_file(),
                    access: Access::Public,
                    content: authority.text,
                });
            }
            (new, out)
        }
    };
    let identity = match subject {
        Subject::Server { .. } => Identity::Server,
        Subject::Operator { .. } => Identity::Operator,
    };
    let file = out.join(identity.certificate_file());
    let before = pem::certificates(&file).ok().and_then(|chain| {
        let (sha256, not_after) = (sha256(&chain[0]), not_after_s(&chain[0])?);
        let not_after = rfc3339(not_after);
        Some(Before { sha256, not_after })
    });
    // `rotate` writes to the same directory.
    let _locked = files::lock(directory)?;
    files::install(&out, &new, true)?;
    let made = pem::certificates(&file).map_err(IssueError::NoServer)?;
    Ok(Issued {
        files: new.iter().map(|file| out.join(file.name)).collect(),
        sha256: sha256(&made[0]),
        not_after: rfc3339(until_s),
        before,
    })
}

struct Authority {
    path: PathBuf,
    text: String,
    chain: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
    /// Seconds since 1970.
    not_after_s: i64,
}

impl Authority {
    fn read(directory: &Path) -> Result<Self, IssueError> {
        let path = directory.join(Identity::Authority.certificate_file());
        let key_path = directory.join(Identity::Authority.key_file());
        let chain = pem::certificates(&path).map_err(IssueError::Authority)?;
        let key = pem::private_key(&key_path).map_err(IssueError::Authority)?;
        let wrong = |reason| IssueError::AuthorityKey {
            path: key_path.clone(),
            reason,
        };
        // The library's message is left out: it must never carry a part of the key.
        let key = KeyPair::try_from(&key)
            .map_err(|_| wrong("it must be in PKCS #8 to sign; `openssl pkcs8 -topk8 -nocrypt` makes it so"))?;
        let own = key.subject_public_key_info();
        let of_key = |der: &&CertificateDer<'static>| {
            X509Certificate::from_der(der).is_ok_and(|(_, one)| one.public_key().raw == own.as_slice())
        };
        let Some(certificate) = chain.iter().find(of_key) else {
            return Err(wrong("is not the key of a certificate in ca.pem"));
        };
        let not_after_s = not_after_s(certificate).unwrap_or(0);
        let issuer = Issuer::from_ca_cert_der(certificate, key)
            .map_err(|_| wrong("ca.pem has a certificate that cannot sign"))?;
        let text = std::fs::read_to_string(&path).map_err(|source| {
            IssueError::Authority(PemError::Read {
                path: path.clone(),
                source,
            })
        })?;
        Ok(Self {
            path,
            text,
            chain,
            issuer,
            not_after_s,
        })
    }

    /// When a certificate ends that is made now, in seconds since 1970.
    fn until(&self, days: Option<u32>, now: Timestamp) -> Result<i64, IssueError> {
        let left_s = self.not_after_s - now.as_second();
        if left_s <= 0 {
            return Err(IssueError::AuthorityOver {
                path: self.path.clone(),
                not_after: rfc3339(self.not_after_s),
            });
        }
        let left = left_s / DAY_SECONDS;
        match days {
            Some(asked) if asked == 0 || i64::from(asked) > left => Err(IssueError::Days { asked, left }),
            Some(days) => Ok(now.as_second() + i64::from(days) * DAY_SECONDS),
            None => Ok((now.as_second() + i64::from(DAYS) * DAY_SECONDS).min(self.not_after_s)),
        }
    }

    /// What the server's certificate is for: what was asked for, else what the one that is there is for.
    fn names(
        &self,
        out: &Path,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<(Vec<String>, Vec<IpAddr>), IssueError> {
        let path = out.join(Identity::Server.certificate_file());
        let there = pem::certificates(&path);
        if let Ok(there) = &there {
            chain::verify(&self.chain, there, Usage::Server, now.as_second()).map_err(|problem| {
                IssueError::OtherAuthority {
                    path,
                    authority: self.path.clone(),
                    problem,
                }
            })?;
        }
        let wanted = if names.is_empty() && addresses.is_empty() {
            let there = there.map_err(IssueError::NoServer)?;
            X509Certificate::from_der(&there[0]).map_or_else(
                |_| (Vec::new(), Vec::new()),
                |(_, certificate)| chain::alternative_names(&certificate),
            )
        } else {
            (names.to_vec(), addresses.to_vec())
        };
        generate::check_names(&wanted.0, &wanted.1)?;
        Ok(wanted)
    }
}

/// The name stands in the audit log, in file names and on command lines.
fn check_name(name: &str) -> Result<(), IssueError> {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || ".-_@".contains(one);
    let is_good = name.len() <= NAME_MAX
        && name.starts_with(|one: char| one.is_ascii_alphanumeric())
        && name.chars().all(is_plain);
    if is_good {
        Ok(())
    } else {
        Err(IssueError::Name(name.to_owned()))
    }
}

fn sha256(der: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, der).as_ref())
}

fn not_after_s(der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
}
