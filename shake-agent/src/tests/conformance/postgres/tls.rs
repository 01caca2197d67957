//! A server that takes nobody without TLS, and the certificates by which it is known.

use super::{INSTALLATION, OnPostgres, server};
use crate::ledger::{Access, Ledger, PRIMARY_MAX, Place, Postgres, Reader};
use data_encoding::BASE64;
use local_postgres::Server;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use shake_rules::UnixMillis;
use std::time::{Duration, Instant};
use tokio_postgres::Config;

/// An authority, and what it says of a server by the name `localhost`.
struct Authority {
    certificate: String,
    of_server: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (own_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&own_key).unwrap();
        let of_server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let of_server = of_server
            .signed_by(&key, &Issuer::from_params(&params, &own_key))
            .unwrap();
        Self {
            certificate: certificate.pem(),
            of_server: of_server.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The way to a server by this authority, and by the name that it is asked for.
    fn access(&self, config: &Config, host: &str) -> Access {
        let mut named = Config::new();
        named.host(host).port(config.get_ports()[0]);
        named
            .user(config.get_user().unwrap())
            .dbname(config.get_dbname().unwrap());
        Access::over_tls(named, self.certificate.as_bytes()).unwrap()
    }
}

/// Puts a file beside the server's data, which is where it works.
fn put(server: &Server, name: &str, text: &str) {
    let encoded = BASE64.encode(text.as_bytes());
    let write = format!("COPY (SELECT '{encoded}') TO PROGRAM 'umask 077; base64 -d > {name}'");
    server.run("postgres", &write).unwrap();
}

#[test]
fn a_server_with_a_certificate_is_reached_over_tls_in_its_name_alone() {
    let server = server();
    let kind = OnPostgres::new(&server, "tls");
    let [authority, other] = [Authority::new(), Authority::new()];
    put(&server, "server.crt", &authority.of_server);
    put(&server, "server.key", &authority.key);
    server.run("postgres", "ALTER SYSTEM SET ssl = on").unwrap();
    put(
        &server,
        "pg_hba.conf",
        "hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n",
    );
    server.run("postgres", "SELECT pg_reload_conf()").unwrap();
    let open = |access: Access| Postgres::open(access, 0, INSTALLATION).and_then(Ledger::on);

    // The settings are read anew within a moment.
    let begun = Instant::now();
    let mut ledger = loop {
        match open(authority.access(&kind.config, "localhost")) {
            Ok(ledger) => break ledger,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let refused = |access: Access, word: &str| {
        let error = format!("{:?}", open(access).expect_err(word));
        assert!(error.contains(word), "{error}");
    };
    refused(Access::from(&kind.config), "no encryption");
    refused(
        other.access(&kind.config, "localhost"),
        "InvalidCertificate(BadSignature)",
    );
    refused(authority.access(&kind.config, "127.0.0.1"), "NotValidForName");

    // Commits, connections anew, and what only reads, go the same way.
    ledger.transaction(UnixMillis(1), |_| Ok(())).unwrap();
    ledger.refuse_writes("the connection broke".to_owned());
    while let Err(error) = ledger.recover() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let place = Place::Server {
        access: Box::new(authority.access(&kind.config, "localhost")),
        primary_max: Some(PRIMARY_MAX),
    };
    assert_eq!(Reader::open(&place).unwrap().parts().unwrap().len(), 2);
}
