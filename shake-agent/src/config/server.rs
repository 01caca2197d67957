//! The PostgreSQL server that a ledger is on.

use crate::ledger::{self, Access};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};
use thiserror::Error;
use tokio_postgres::config::{Host, SslMode};

/// A PostgreSQL server, and how to reach the ledger's database there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    config: tokio_postgres::Config,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// A file that is needed to reach a server cannot be read, or is not what it ought to be.
#[derive(Debug, Error)]
#[error("{name}: cannot read {}: {source}", path.display())]
pub struct ServerFileError {
    /// The key that names it.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub source: io::Error,
}

impl Server {
    /// The server of a URL, `postgres://user@host/database`. The password stands in a file of its own, so that the URL can be shown.
    /// With `ca_file`, the certificates of authorities (PEM), it is reached over TLS alone, and must have a certificate of theirs in
    /// its host's name; a server on another machine is reached in no other way.
    ///
    /// # Errors
    /// What is wrong with it, and what to give instead.
    pub fn parse(url: &str, password_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> Result<Self, String> {
        let wrong = |error| format!("this is no postgres://user@host/database: {error}");
        let mut config: tokio_postgres::Config = url.parse().map_err(wrong)?;
        if config.get_password().is_some() {
            return Err("it has a password: put that into a file, and give password_file its path".to_owned());
        }
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            return Err("it names no host, or no database: postgres://user@host/database".to_owned());
        }
        let hosts = config.get_hosts().iter();
        let is_elsewhere = |host: &&Host| matches!(host, Host::Tcp(name) if !is_loopback(name));
        match (hosts.clone().find(is_elsewhere), &ca_file) {
            (Some(Host::Tcp(name)), None) => {
                return Err(format!(
                    "{name} is another machine, which is reached over TLS: give ca_file the certificate of the authority that its own is of"
                ));
            }
            (_, Some(_)) if hosts.clone().any(|host| matches!(host, Host::Unix(_))) => {
                return Err("it names a socket of this machine, which knows no TLS: leave ca_file out".to_owned());
            }
            (_, Some(_)) if config.get_ssl_mode() == SslMode::Disable => {
                return Err("it says sslmode=disable, and ca_file is for TLS: leave one of them out".to_owned());
            }
            (_, None) if config.get_ssl_mode() == SslMode::Require => {
                return Err(
                    "it says sslmode=require: give ca_file the certificate of the server's authority".to_owned(),
                );
            }
            _ => {}
        }
        if !config.get_hostaddrs().iter().all(IpAddr::is_loopback) && ca_file.is_none() {
            return Err("its hostaddr is another machine, which is reached over TLS: give ca_file".to_owned());
        }
        config.application_name("shake-agent");
        Ok(Self {
            config,
            password_file,
            ca_file,
        })
    }

    /// How to connect, with the password.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn access(&self) -> Result<Access, ServerFileError> {
        let failed = |name, path: &Path| {
            let path = path.to_owned();
            move |source| ServerFileError { name, path, source }
        };
        let mut config = self.config.clone();
        if let Some(file) = &self.password_file {
            let password = fs::read_to_string(file).map_err(failed("password_file", file))?;
            config.password(password.trim_end_matches(['\r', '\n']));
        }
        let Some(file) = &self.ca_file else {
            return Ok(config.into());
        };
        let authorities = fs::read(file).map_err(failed("ca_file", file))?;
        Access::over_tls(config, &authorities).map_err(failed("ca_file", file))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ledger::server_name(&self.config))
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_reached_over_tls_alone() {
        let check = |url: &str, ca_file: Option<&str>, expected: Result<(), &str>| {
            let found = Server::parse(url, None, ca_file.map(PathBuf::from)).map(drop);
            match (found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err(expected)) if found.contains(expected) => {}
                (found, expected) => panic!("{url}: {found:?} where {expected:?} ought to be"),
            }
        };
        for url in [
            "postgres://a@localhost/e",
            "postgres://a@127.0.0.1/e",
            "postgres://a@[::1]/e?sslmode=disable",
        ] {
            check(url, None, Ok(()));
        }
        check("postgres://a@db.example/e", None, Err("db.example is another machine"));
        check(
            "postgres://a@localhost,10.0.0.7/e",
            None,
            Err("10.0.0.7 is another machine"),
        );
        check("postgres://a@localhost/e?hostaddr=10.0.0.7", None, Err("hostaddr"));
        check("postgres://a@localhost/e?sslmode=require", None, Err("ca_file"));
        check("postgres://a@db.example/e", Some("ca.pem"), Ok(()));
        check("postgres://a@db.example/e?sslmode=require", Some("ca.pem"), Ok(()));
        check(
            "postgres://a@db.example/e?sslmode=disable",
            Some("ca.pem"),
            Err("sslmode=disable"),
        );
        check("postgres://a@%2Frun%2Fpostgresql/e", Some("ca.pem"), Err("socket"));
        check("postgres://a:secret@localhost/e", None, Err("password"));
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let directory = tempfile::tempdir().expect("it can be");
        let file = directory.path().join("ca.pem");
        let server = Server::parse("postgres://a@db.example/e", None, Some(file.clone())).expect("it can be");
        let error = server.access().expect_err("it is no use").to_string();
        assert!(
            error.contains("ca_file: cannot read") && error.contains("ca.pem"),
            "{error}"
        );
        fs::write(&file, "nothing").expect("it can be");
        let error = server.access().expect_err("it is no use").to_string();
        assert!(error.contains("no certificate"), "{error}");
    }
}
