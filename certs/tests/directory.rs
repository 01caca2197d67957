//! A generated directory as its users see it: real handshakes against its certificates, an inspection of what is
//! wrong with it, and the program's own output.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use certs::files::{Identity, all_names};
use certs::generate::{GenerateError, Request, generate};
use certs::inspect::inspect;
use certs::report::{Report, Severity};
use certs::token;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::token::{TokenError, TokenKeys};
use shake_rules::{UnixMillis, UserId, hex};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;

fn made() -> TempDir {
    made_at(Timestamp::now())
}

fn made_at(now: Timestamp) -> TempDir {
    let place = TempDir::new().unwrap();
    generate(place.path(), &Request::default(), now).unwrap();
    place
}

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

#[test]
fn modes_are_private() {
    let parent = TempDir::new().unwrap();
    let place = parent.path().join("a/certs");
    let written = generate(&place, &Request::default(), Timestamp::now()).unwrap();
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o700);
    assert_eq!(written.len(), all_names().len());
    for path in &written {
        let public = Identity::ALL
            .iter()
            .any(|identity| path.ends_with(identity.certificate_file()));
        let mode = fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode, if public { 0o644 } else { 0o600 }, "{}", path.display());
    }
    assert_eq!(
        fs::read_dir(&place).unwrap().count(),
        written.len(),
        "no temporary file is left"
    );
}

#[test]
fn refuses_to_overwrite_unless_forced() {
    let place = made();
    let read = |name: &str| fs::read(place.path().join(name)).unwrap();
    let before: Vec<_> = all_names().into_iter().map(read).collect();
    for name in all_names().into_iter().skip(1) {
        fs::remove_file(place.path().join(name)).unwrap();
    }
    let error = generate(place.path(), &Request::default(), Timestamp::now()).unwrap_err();
    assert!(error.to_string().contains("/ca.key.pem"), "{error}");
    assert_eq!(
        fs::read_dir(place.path()).unwrap().count(),
        1,
        "what is there in part stays as it is"
    );
    let forced = Request {
        replace: true,
        ..Request::default()
    };
    generate(place.path(), &forced, Timestamp::now()).unwrap();
    let after: Vec<_> = all_names().into_iter().map(read).collect();
    assert!(
        before.iter().zip(&after).all(|(old, new)| old != new),
        "everything is new"
    );
    assert!(inspect(place.path(), 14, Timestamp::now()).findings.is_empty());
}

#[test]
fn impossible_requests_are_refused() {
    let check = |change: fn(&mut Request), expected: &str| {
        let place = TempDir::new().unwrap();
        let mut request = Request::default();
        change(&mut request);
        let error: GenerateError = generate(place.path(), &request, Timestamp::now()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    };
    check(|request| request.days = 0, "--days 0");
    check(|request| request.days = 3651, "--days 3651");
    check(|request| request.names.push("two words".into()), "\"two words\"");
    check(|request| request.names.push("192.0.2.7".into()), "--address");
    check(|request| request.names.push("a.*.b".into()), "\"a.*.b\"");
    check(
        |request| (request.names, request.addresses) = (vec![], vec![]),
        "at least one",
    );
}

fn findings(report: &Report) -> Vec<(Severity, &str, &str)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.severity, &*finding.file, &*finding.message))
        .collect()
}

/// One thing is done to a fresh directory; the inspection says exactly one thing about it.
fn check_finding(spoil: impl Fn(&Path), days_later: i64, severity: Severity, file: &str, expected: &str) {
    let now = Timestamp::now();
    let place = made_at(now);
    spoil(place.path());
    let now = now + SignedDuration::from_hours(24 * days_later);
    let report = inspect(place.path(), 14, now);
    let found: Vec<_> = findings(&report).into_iter().filter(|found| found.1 == file).collect();
    assert!(
        matches!(found[..], [(s, _, message)] if s == severity && message.contains(expected)),
        "{report}"
    );
    assert_eq!(report.good, severity != Severity::Error);
}

#[test]
fn inspection_finds_what_is_wrong() {
    use Severity::{Error, Warning};
    let mode = |name: &'static str, mode| {
        move |place: &Path| fs::set_permissions(place.join(name), Permissions::from_mode(mode)).unwrap()
    };
    let write = |name: &'static str, text: &'static str| move |place: &Path| fs::write(place.join(name), text).unwrap();
    let remove = |name: &'static str| move |place: &Path| fs::remove_file(place.join(name)).unwrap();
    let foreign = |name: &'static str| {
        move |place: &Path| fs::copy(made().path().join(name), place.join(name)).map(drop).unwrap()
    };
    let copy = |from: &'static str, to: &'static str| {
        move |place: &Path| fs::copy(place.join(from), place.join(to)).map(drop).unwrap()
    };
    check_finding(mode("", 0o770), 0, Error, "", "mode 0770");
    check_finding(mode("ticket.key.toml", 0o640), 0, Error, "ticket.key.toml", "mode 0640");
    let told = "this is a show, and a key file is wanted here";
    check_finding(
        write("ticket.key.toml", "[[phases]]\n"),
        0,
        Error,
        "ticket.key.toml",
        told,
    );
    check_finding(mode("server.key.pem", 0o604), 0, Error, "server.key.pem", "chmod 600");
    check_finding(remove("cookie.key.toml"), 0, Error, "cookie.key.toml", "missing");
    check_finding(remove("ca.pem"), 0, Error, "ca.pem", "missing");
    check_finding(remove("operator.key.pem"), 0, Error, "operator.key.pem", "missing");
    check_finding(write("server.pem", ""), 0, Error, "server.pem", "holds no certificate");
    check_finding(
        write("server.key.pem", "secret"),
        0,
        Error,
        "server.key.pem",
        "not a private key",
    );
    check_finding(
        write("ticket.key.toml", "[[key]]\nid = 1\n"),
        0,
        Error,
        "ticket.key.toml",
        "64 hex digits",
    );
    check_finding(
        foreign("server.pem"),
        0,
        Error,
        "server.pem",
        "does not hold against ca.pem",
    );
    check_finding(
        foreign("operator.key.pem"),
        0,
        Error,
        "operator.key.pem",
        "not the key of operator.pem",
    );
    check_finding(
        copy("operator.pem", "server.pem"),
        0,
        Error,
        "server.pem",
        "names no server",
    );
    check_finding(
        copy("server.pem", "operator.pem"),
        0,
        Error,
        "operator.pem",
        "does not hold against ca.pem",
    );
    check_finding(copy("server.pem", "ca.pem"), 0, Error, "ca.pem", "not an authority");
    check_finding(|_| (), 366, Error, "server.pem", "expired on");
    check_finding(|_| (), 3651, Error, "ca.pem", "expired on");
    check_finding(|_| (), -2, Error, "operator.pem", "valid only from");
    check_finding(|_| (), 352, Warning, "operator.pem", "expires in 13 days");
}

#[test]
fn inspection_of_a_good_directory_finds_nothing() {
    let now = Timestamp::now();
    let place = made_at(now);
    fs::remove_file(place.path().join("ca.key.pem")).unwrap();
    let report = inspect(place.path(), 14, now);
    assert!(
        report.findings.is_empty() && report.good && !report.has_warnings(),
        "{report}"
    );
    assert_eq!(report.keys.len(), Purpose::ALL.len());
    let [authority, server, operator] = &report.certificates[..] else {
        panic!("{report}")
    };
    assert_eq!(
        authority.usage,
        ["authority", "signs certificates", "signs revocation lists"]
    );
    assert_eq!((authority.days_left, server.days_left), (3650, 365));
    assert_eq!(server.names, ["localhost"]);
    assert_eq!(server.addresses, ["127.0.0.1", "::1"]);
    assert_eq!(server.usage, ["digital signature", "server authentication"]);
    assert_eq!(operator.usage, ["digital signature", "client authentication"]);
    assert!(!inspect(&place.path().join("none"), 14, now).good);
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
        for identity in Identity::ALL {
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

fn certs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_certs")).args(args).output().unwrap()
}

#[test]
fn tokens_are_checked_by_the_keys_of_the_directory() {
    let place = made();
    let directory = place.path().to_str().unwrap();
    let text = fs::read_to_string(place.path().join(Purpose::UserToken.file_name())).unwrap();
    let keys = TokenKeys::new(&KeyRing::parse(&text, Purpose::UserToken).unwrap());

    let printed = certs(&[
        "token",
        "--dir",
        directory,
        "--user",
        "7",
        "--expires-at",
        "2100-01-01T08:00:00+08:00",
    ]);
    assert!(printed.status.success(), "{printed:?}");
    let bytes = hex::decode(String::from_utf8(printed.stdout).unwrap().trim()).unwrap();
    let expires = UnixMillis(4_102_444_800_000);
    let checked = keys.check(&bytes, UnixMillis(expires.0 - 1)).unwrap();
    assert_eq!((checked.user, checked.expires_at), (UserId(7), expires));
    assert_eq!(keys.check(&bytes, expires), Err(TokenError::Expired));

    let printed = certs(&["token", "--dir", directory, "--user", "7", "--days", "1", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!((&json["user"], &json["key_id"]), (&7.into(), &1.into()));
    assert!(
        keys.check(&hex::decode(json["token"].as_str().unwrap()).unwrap(), UnixMillis(0))
            .is_ok()
    );

    let now = Timestamp::now();
    assert!(matches!(
        token::mint(place.path(), UserId(7), now, now),
        Err(token::TokenFailure::Over { .. })
    ));
    let later = now + SignedDuration::from_secs(1);
    fs::remove_file(place.path().join(Purpose::UserToken.file_name())).unwrap();
    let error = token::mint(place.path(), UserId(7), later, now).unwrap_err();
    assert!(error.to_string().contains("user-token.key.toml"), "{error}");
}

#[test]
fn keys_rotate_in_three_steps_all_files_or_none() {
    let place = made();
    let directory = place.path().to_str().unwrap();
    let ring = |purpose: Purpose| {
        let text = fs::read_to_string(place.path().join(purpose.file_name())).unwrap();
        KeyRing::parse(&text, purpose).unwrap()
    };
    let ids = |purpose| {
        let ring = ring(purpose);
        let accepted: Vec<u8> = ring.iter().map(|key| key.id).collect();
        (accepted, ring.active().id)
    };
    let run = |more: &[&str]| certs(&[&["rotate", directory], more].concat());
    let first = ring(Purpose::Ticket);
    assert!(run(&[]).status.success());
    for purpose in Purpose::ALL {
        assert_eq!(ids(purpose), (vec![1, 2], 1));
        let mode = fs::metadata(place.path().join(purpose.file_name()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // One that waits already stops all of them.
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("user-token.key.toml") && said.contains("activate"),
        "{said}"
    );
    assert!(run(&["--keys", "ticket,cookie", "--activate"]).status.success());
    assert_eq!(
        (ids(Purpose::Ticket), ids(Purpose::UserToken)),
        ((vec![1, 2], 2), (vec![1, 2], 1))
    );
    assert!(
        !run(&["--activate"]).status.success(),
        "ticket and cookie have none that waits"
    );
    assert_eq!(ids(Purpose::UserToken), (vec![1, 2], 1), "and so nothing changed");
    assert_eq!(ring(Purpose::Ticket).find(1), first.find(1), "the old key is the same");
    assert_ne!(ring(Purpose::Ticket).active().secret(), first.active().secret());
    let done = run(&["--keys", "ticket", "--retire", "--kept", "0", "--unchecked", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(json[0]["accepted"], serde_json::json!([2]));
    assert_eq!(ids(Purpose::Ticket), (vec![2], 2));
    assert!(inspect(place.path(), 14, Timestamp::now()).good);
    let left = fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, all_names().len(), "nothing temporary stays");
}

#[test]
fn exit_codes_and_no_secret_in_any_output() {
    let place = TempDir::new().unwrap();
    let directory = place.path().to_str().unwrap();
    let run = |args: &[&str], code: i32| {
        let output = certs(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        [output.stdout, output.stderr].concat()
    };
    let mut outputs = vec![
        run(&["generate", "--out", directory], 0),
        run(&["generate", "--out", directory], 1),
        run(&["generate", "--out", directory, "--days", "x"], 2),
        run(&["inspect", directory], 0),
        run(&["inspect", directory, "--json"], 0),
        run(&["inspect", directory, "--warn-days", "400"], 3),
        run(&["token", "--dir", directory, "--user", "1"], 0),
        run(&["rotate", directory], 0),
        run(&["rotate", directory], 1),
        run(&["rotate", directory, "--keys", "tickets"], 2),
        run(&["rotate", directory, "--activate", "--json"], 0),
        run(
            &[
                "token",
                "--dir",
                directory,
                "--user",
                "1",
                "--expires-at",
                "2000-01-01T00:00:00Z",
            ],
            1,
        ),
    ];
    let mut secrets = Vec::new();
    for name in all_names() {
        let text = fs::read_to_string(place.path().join(name)).unwrap();
        // Key files: the hex digits; PEM files: each line between the markers.
        let lines = text
            .lines()
            .filter(|line| line.len() >= 24 && !line.starts_with(['-', '#']));
        secrets.extend(lines.map(|line| line.trim_start_matches("secret = ").trim_matches('"').to_owned()));
    }
    assert!(secrets.len() > Purpose::ALL.len() + Identity::ALL.len());
    // Swapped key files: each is read as what it is not.
    let path = |name| place.path().join(name);
    fs::copy(path("ticket.key.toml"), path("server.key.pem")).unwrap();
    fs::copy(path("server.key.pem"), path("server.pem")).unwrap();
    fs::copy(path("operator.key.pem"), path("user-token.key.toml")).unwrap();
    outputs.push(run(&["inspect", directory], 1));
    outputs.push(run(&["token", "--dir", directory, "--user", "1"], 1));
    for output in outputs {
        let output = String::from_utf8(output).unwrap();
        for secret in &secrets {
            assert!(!output.contains(&secret[..24]), "{output}");
        }
    }
}

#[test]
fn it_ends_quietly_when_its_reader_goes_and_says_so_when_the_disk_is_full() {
    use std::process::Stdio;
    let place = made();
    let full_disk = || fs::File::options().write(true).open("/dev/full").unwrap();
    let inspect = |out: Stdio, err: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certs"));
        command
            .arg("inspect")
            .arg(place.path())
            .stdout(out)
            .stderr(err)
            .output()
            .unwrap()
    };
    let whole = inspect(Stdio::piped(), Stdio::piped()).status.code();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let output = inspect(closed.into(), Stdio::piped());
    assert_eq!(
        (output.status.code(), output.stderr.len()),
        (whole, 0),
        "what was found is said by the code"
    );
    let output = inspect(full_disk().into(), Stdio::piped());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the output"));
    assert_eq!(inspect(full_disk().into(), full_disk().into()).status.code(), Some(1));
}
