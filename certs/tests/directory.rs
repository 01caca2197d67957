//! A generated directory as its users find it, and an inspection of what is wrong with it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use certs::files::{Identity, all_names};
use certs::generate::{GenerateError, Request, generate};
use certs::inspect::inspect;
use certs::report::Severity;
use jiff::{SignedDuration, Timestamp};
use shake_rules::keys::Purpose;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use strum::VariantArray as _;
use support::{findings, made, made_at};
use tempfile::TempDir;

#[test]
fn modes_are_private() {
    let parent = TempDir::new().unwrap();
    let place = parent.path().join("a/certs");
    let written = generate(&place, &Request::default(), Timestamp::now()).unwrap();
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o700);
    assert_eq!(written.len(), all_names().len());
    for path in &written {
        let public = Identity::VARIANTS
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
    assert_eq!(report.keys.len(), Purpose::VARIANTS.len());
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
