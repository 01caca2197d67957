//! How a database is reached: where, as whom, and whose word it is that its server is the one.

use super::server_name;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// A way to a database.
#[derive(Clone)]
pub struct Access {
    pub(super) config: Config,
    /// Over TLS, and never without; `None` for never with it.
    pub(super) tls: Option<MakeRustlsConnect>,
}

impl Access {
    /// Over TLS alone, to a server whose certificate is of one of these authorities (PEM), and in the name that it is asked for by.
    ///
    /// # Errors
    /// When there is no certificate of an authority in it.
    pub fn over_tls(mut config: Config, authorities: &[u8]) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            roots
                .add(certificate.map_err(io::Error::other)?)
                .map_err(io::Error::other)?;
        }
        if roots.is_empty() {
            return Err(io::Error::other("there is no certificate in it (PEM)"));
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.ssl_mode(SslMode::Require);
        let tls = Some(MakeRustlsConnect::new(client));
        Ok(Self { config, tls })
    }
}

/// Without TLS: to a server of this machine.
impl From<Config> for Access {
    fn from(mut config: Config) -> Self {
        config.ssl_mode(SslMode::Disable);
        Self { config, tls: None }
    }
}

impl From<&Config> for Access {
    fn from(config: &Config) -> Self {
        config.clone().into()
    }
}

impl From<&Self> for Access {
    fn from(access: &Self) -> Self {
        access.clone()
    }
}

/// The server and its database, without user and password.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&server_name(&self.config))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("config", &self.config)
            .field("is_over_tls", &self.tls.is_some())
            .finish()
    }
}
