//! What is read from the certificate directory and may be read anew while the gateway runs: the certificate and the secret
//! keys. Reading checks everything before anything is used.

use crate::config::{CERTS_KEY, Config};
use anyhow::{Context, Result, anyhow};
use data_encoding::HEXLOWER;
use enum_map::EnumMap;
use host::chain::{self, Usage};
use host::clock::moment;
use host::pem;
use quic_shard::tls::{Limits, ServerSide, Servers};
use ring::digest;
use shake_rules::UnixMillis;
use shake_rules::code::CodeKeys;
use shake_rules::cookie::CookieKeys;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::ticket::TicketKeys;
use shake_rules::token::TokenKeys;
use std::path::Path;
use strum::VariantArray as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// What every shard serves by. Never printed; [`Secrets::lines`] is what may be told of it.
pub struct Secrets {
    pub tokens: TokenKeys,
    pub tickets: TicketKeys,
    pub cookies: CookieKeys,
    pub codes: CodeKeys,
    pub servers: Servers,
    pub certificate: Certificate,
    /// The stateless reset key that phones were told tokens of.
    told_resets: Key,
    /// The key file has it no more.
    is_told_lost: bool,
    lines: Vec<String>,
}

impl Secrets {
    /// Reads everything. `before` is what runs, if something does: the address proofs that it gave out stay good, and its
    /// stateless reset key stays, because tokens that were told to clients cannot be told anew (RFC 9000, section 10.3).
    ///
    /// # Errors
    /// Everything that cannot be used, by the name of its file.
    pub fn read(config: &Config, before: Option<&Self>) -> Result<Self, Vec<anyhow::Error>> {
        let mut faults = Vec::new();
        let directory = &config.certs_directory;
        if !directory.exists() {
            // Said once, in place of once for each file.
            let directory = directory.display();
            return Err(vec![anyhow!(
                "{CERTS_KEY} {directory} is not there; name the one that `certs generate` made"
            )]);
        }
        let side = server_side(directory);
        let servers = match before {
            None => side.and_then(|side| Servers::new(side, &limits(config))),
            Some(before) => side.map(|side| before.servers.with(side)),
        };
        let servers = noted(servers, &mut faults);
        let certificate = noted(Certificate::read(directory), &mut faults);
        let [tokens, tickets, cookies, resets] =
            EnumMap::from_fn(|purpose| noted(key_ring(directory, purpose), &mut faults)).into_array();
        let (Some(servers), Some(certificate)) = (servers, certificate) else {
            return Err(faults);
        };
        let (Some(tokens), Some(tickets), Some(cookies), Some(resets)) = (tokens, tickets, cookies, resets) else {
            return Err(faults);
        };
        let mut lines = vec![certificate.line()];
        let rings = [&tokens, &tickets, &cookies, &resets];
        lines.extend(
            Purpose::VARIANTS
                .iter()
                .zip(rings)
                .map(|(&purpose, ring)| line(purpose, ring)),
        );
        let told_resets = before.map_or_else(|| resets.active().clone(), |before| before.told_resets.clone());
        Ok(Self {
            is_told_lost: resets.find(told_resets.id) != Some(&told_resets),
            told_resets,
            tokens: TokenKeys::new(&tokens),
            tickets: TicketKeys::new(&tickets),
            cookies: CookieKeys::new(&cookies),
            codes: CodeKeys::new(&tickets),
            servers,
            certificate,
            lines,
        })
    }

    /// The stateless reset key that phones were told tokens of and that the key file has no more, if so: after a crash they
    /// would not learn that they are to connect anew.
    pub fn lost_reset_key(&self) -> Option<u8> {
        self.is_told_lost.then_some(self.told_resets.id)
    }

    /// What holds, a line for each file, without a secret.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// Reads the key file of one purpose.
///
/// # Errors
/// When it cannot be read, or is no such file.
pub fn key_ring(directory: &Path, purpose: Purpose) -> Result<KeyRing> {
    let path = directory.join(purpose.file_name());
    let read = std::fs::read_to_string(&path);
    let text = read.with_context(|| format!("{CERTS_KEY}: cannot read {}", path.display()))?;
    KeyRing::parse(&text, purpose).with_context(|| path.display().to_string())
}

/// The server's side of TLS with the certificate of the directory.
/// What connections may take.
fn limits(config: &Config) -> Limits {
    Limits {
        handshakes_max: config.sessions.handshakes_max,
        idle_timeout: config.sessions.idle_timeout,
        requests_at_once: config.sessions.requests_at_once,
    }
}

fn server_side(directory: &Path) -> Result<ServerSide> {
    let certificate = directory.join("server.pem");
    let key = directory.join("server.key.pem");
    let chain = pem::certificates(&certificate).context(CERTS_KEY)?;
    let secret = pem::private_key(&key).context(CERTS_KEY)?;
    ServerSide::new(chain, secret, shake_proto::ALPN)
        .with_context(|| format!("{} and {} do not belong together", certificate.display(), key.display()))
}

fn noted<T>(read: Result<T>, faults: &mut Vec<anyhow::Error>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

fn line(purpose: Purpose, ring: &KeyRing) -> String {
    let accepted: Vec<_> = ring.iter().map(|key| key.id.to_string()).collect();
    let remark = match purpose {
        Purpose::StatelessReset => ", from the next start on",
        _ => "",
    };
    format!(
        "{} keys {}; {} makes{remark}",
        purpose.name(),
        accepted.join(", "),
        ring.active().id
    )
}

/// The gateway's certificate, as far as it is told.
pub struct Certificate {
    /// SHA-256 of the first certificate of the chain, in hex.
    pub sha256: String,
    starts_at: UnixMillis,
    /// When the first of the chain expires.
    pub expires_at: UnixMillis,
    /// It leads to an authority of `ca.pem`, which phones may trust or not.
    pub is_of_authority: bool,
}

impl Certificate {
    fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("server.pem");
        let chain = pem::certificates(&path).context(CERTS_KEY)?;
        let is_of_authority = pem::certificates(&directory.join("ca.pem"))
            .is_ok_and(|authorities| chain::verify(&authorities, &chain, Usage::Server, 0).is_ok());
        let (mut starts_at, mut expires_at) = (UnixMillis(0), UnixMillis(u64::MAX));
        for der in &chain {
            let (_, certificate) =
                X509Certificate::from_der(der).with_context(|| format!("{} is no certificate", path.display()))?;
            let validity = certificate.validity();
            let ms = |seconds: i64| UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
            starts_at = starts_at.max(ms(validity.not_before.timestamp()));
            expires_at = expires_at.min(ms(validity.not_after.timestamp()));
        }
        Ok(Self {
            sha256: HEXLOWER.encode(digest::digest(&digest::SHA256, &chain[0]).as_ref()),
            starts_at,
            expires_at,
            is_of_authority,
        })
    }

    /// Why phones do not take it at this moment, if they do not.
    pub fn fault_at(&self, now: UnixMillis) -> Option<String> {
        if now < self.starts_at {
            Some(format!(
                "the certificate is not valid before {}",
                moment(self.starts_at)
            ))
        } else if now >= self.expires_at {
            Some(format!("the certificate expired at {}", moment(self.expires_at)))
        } else {
            None
        }
    }

    /// Seconds until it expires; negative once it has.
    pub fn seconds_left(&self, now: UnixMillis) -> i64 {
        (self.expires_at.0 as i64).saturating_sub(now.0 as i64) / 1_000
    }

    fn line(&self) -> String {
        let until = moment(self.expires_at);
        format!("certificate {} until {until}", self.sha256)
    }
}
