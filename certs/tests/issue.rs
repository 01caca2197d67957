//! Certificates under the authority that is there: what is made, what stays as it was, and what is refused.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use certs::files::all_names;
use certs::generate::{Request, generate};
use certs::inspect::inspect;
use certs::issue::{IssueError, Issued, Subject, issue};
use certs::report::Severity;
use host::chain::{Usage, verify};
use jiff::{SignedDuration, Timestamp};
use shake_rules::keys::Purpose;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use strum::VariantArray as _;
use support::certs;
use tempfile::TempDir;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn made_at(now: Timestamp) -> TempDir {
    let place = TempDir::new().unwrap();
    let request = Request {
        names: vec!["gw1.example.com".into(), "*.gw.example.com".into()],
        addresses: vec!["192.0.2.7".parse().unwrap()],
        ..Request::default()
    };
    generate(place.path(), &request, now).unwrap();
    place
}

/// Everything in a directory and below it.
fn contents(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(place).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let below = contents(&entry.path()).into_iter();
            found.extend(below.map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// The files that differ, are new, or are gone.
fn changed(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut names: Vec<_> = before.keys().chain(after.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| before.get(name) != after.get(name));
    names
}

fn server(names: &[&str]) -> Subject {
    Subject::Server {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses: Vec::new(),
    }
}

fn operator(name: &str) -> Subject {
    Subject::Operator { name: name.to_owned() }
}

/// Whether a certificate of `place` holds for those who trust this `ca.pem`.
fn holds(place: &Path, authority: &Path, file: &str, usage: Usage, now: Timestamp) -> Result<(), String> {
    let read = |path: &Path| host::pem::certificates(path).unwrap();
    verify(&read(authority), &read(&place.join(file)), usage, now.as_second())
}

fn names(place: &Path, file: &str) -> (String, Vec<String>) {
    let chain = host::pem::certificates(&place.join(file)).unwrap();
    let (_, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
    let common = certificate.subject().iter_common_name().next().unwrap();
    let (names, addresses) = host::chain::alternative_names(&certificate);
    let all = names.into_iter().chain(addresses.iter().map(ToString::to_string));
    (common.as_str().unwrap().to_owned(), all.collect())
}

#[test]
fn the_servers_certificate_is_renewed_before_and_after_it_expires_and_no_key_file_changes() {
    let now = Timestamp::now();
    for later in [days(360), days(400)] {
        let place = made_at(now);
        let before = contents(place.path());
        let at = now + later;
        let issued = issue(place.path(), None, &server(&[]), None, at).unwrap();
        assert!(issued.before.is_some());
        assert_eq!(
            changed(&before, &contents(place.path())),
            ["server.key.pem", "server.pem"]
        );
        let (common, all) = names(place.path(), "server.pem");
        assert_eq!(common, "gw1.example.com");
        assert_eq!(
            all,
            ["gw1.example.com", "*.gw.example.com", "192.0.2.7"],
            "those of the one before"
        );
        let authority = place.path().join("ca.pem");
        assert_eq!(holds(place.path(), &authority, "server.pem", Usage::Server, at), Ok(()));
        let report = inspect(place.path(), 14, at);
        let server = report.certificates.iter().find(|one| one.file == "server.pem").unwrap();
        assert_eq!((server.days_left, &server.sha256), (365, &issued.sha256));
        let of_server = report.findings.iter().filter(|found| found.file.starts_with("server"));
        assert_eq!(of_server.count(), 0, "{report}");
    }
}

#[test]
fn each_operator_has_a_directory_of_their_own_and_a_name() {
    let now = Timestamp::now();
    let place = made_at(now);
    let before = contents(place.path());
    for name in ["ann", "ben@example.com"] {
        let Issued { files, before, .. } = issue(place.path(), None, &operator(name), None, now).unwrap();
        assert!(before.is_none());
        let own = place.path().join("operators").join(name);
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        let there = contents(&own);
        assert_eq!(
            there.keys().collect::<Vec<_>>(),
            ["ca.pem", "operator.key.pem", "operator.pem"]
        );
        assert!(files.iter().all(|file| file.starts_with(&own)) && files.len() == 3);
        let key = fs::metadata(own.join("operator.key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&own, "operator.pem").0, name);
        assert_eq!(
            holds(&own, &own.join("ca.pem"), "operator.pem", Usage::Client, now),
            Ok(())
        );
        assert!(holds(&own, &own.join("ca.pem"), "operator.pem", Usage::Server, now).is_err());
        let report = inspect(&own, 14, now);
        assert!(report.findings.is_empty(), "all that an operator needs: {report}");
    }
    let of_directory = changed(&before, &contents(place.path()));
    assert!(
        of_directory.iter().all(|name| name.starts_with("operators/")),
        "{of_directory:?}"
    );
    // Renewed: the one before is named, because it holds on.
    let own = place.path().join("operators/ann");
    let first = inspect(&own, 14, now).certificates.pop().unwrap();
    let again = issue(place.path(), None, &operator("ann"), Some(30), now).unwrap();
    let replaced = again.before.unwrap();
    assert_eq!((replaced.sha256, replaced.not_after), (first.sha256, first.not_after));
    assert_eq!(inspect(&own, 14, now).certificates.pop().unwrap().days_left, 30);
}

/// An authority that is kept apart signs for a gateway's directory.
#[test]
fn what_is_issued_lies_where_it_is_asked_for() {
    let now = Timestamp::now();
    let (place, gateway) = (made_at(now), TempDir::new().unwrap());
    let before = contents(place.path());
    issue(
        place.path(),
        Some(gateway.path()),
        &server(&["gw2.example.com"]),
        None,
        now,
    )
    .unwrap();
    assert_eq!(changed(&before, &contents(place.path())), [""; 0]);
    assert_eq!(
        contents(gateway.path()).keys().collect::<Vec<_>>(),
        ["server.key.pem", "server.pem"]
    );
    assert_eq!(names(gateway.path(), "server.pem").1, ["gw2.example.com"]);
}

#[test]
fn what_cannot_be_issued_is_refused_and_nothing_changes() {
    let now = Timestamp::now();
    let check = |spoil: &dyn Fn(&Path), subject: &Subject, days_: Option<u32>, at: Timestamp, word: &str| {
        let place = made_at(now);
        spoil(place.path());
        let before = contents(place.path());
        let error = issue(place.path(), None, subject, days_, at).unwrap_err();
        assert!(error.to_string().contains(word), "{word} in {error}");
        assert!(!error.to_string().contains("--force"), "{error}");
        assert_eq!(changed(&before, &contents(place.path())), [""; 0], "{error}");
        error
    };
    let none = |_: &Path| ();
    let foreign = |name: &'static str| {
        move |place: &Path| {
            fs::copy(made_at(now).path().join(name), place.join(name))
                .map(drop)
                .unwrap()
        }
    };
    let remove = |name: &'static str| move |place: &Path| fs::remove_file(place.join(name)).unwrap();
    check(&remove("ca.key.pem"), &server(&[]), None, now, "ca.key.pem");
    check(&remove("ca.pem"), &operator("ann"), None, now, "ca.pem");
    check(&foreign("ca.key.pem"), &server(&[]), None, now, "not the key of");
    check(&remove("server.pem"), &server(&[]), None, now, "--name or --address");
    // Phones trust an authority of somebody else: its certificate is not written over.
    for names in [&[][..], &["gw1.example.com"]] {
        let error = check(
            &foreign("server.pem"),
            &server(names),
            None,
            now,
            "not of the authority",
        );
        assert!(matches!(error, IssueError::OtherAuthority { .. }));
    }
    check(&none, &server(&["two words"]), None, now, "two words");
    check(&none, &server(&[]), Some(0), now, "--days 0");
    check(&none, &server(&[]), Some(3_651), now, "1 to 3650");
    check(&none, &operator("ann"), Some(100), now + days(3_600), "1 to 50");
    check(
        &none,
        &operator("ann"),
        None,
        now + days(3_651),
        "Make another authority",
    );
    for name in ["", "../ann", ".ann", "an n", "ann/x", "änn", &"a".repeat(65)] {
        check(&none, &operator(name), None, now, "--name");
    }
}

/// What a finding advises never makes refused what is out there.
#[test]
fn no_hint_destroys_what_was_made_before() {
    let now = Timestamp::now();
    let check = |spoil: &dyn Fn(&Path), at: Timestamp, file: &str, word: &str| {
        let place = made_at(now);
        spoil(place.path());
        let report = inspect(place.path(), 14, at);
        let found = report
            .findings
            .iter()
            .find(|found| found.file == file && found.severity == Severity::Error);
        let message = &found.unwrap_or_else(|| panic!("{report}")).message;
        assert!(message.contains(word) && !message.contains("--force"), "{message}");
        assert!(file == "ca.pem" || !message.contains("certs generate"), "{message}");
    };
    let remove = |name: &'static str| move |place: &Path| fs::remove_file(place.join(name)).unwrap();
    let none = |_: &Path| ();
    check(&none, now + days(366), "server.pem", "certs issue server");
    check(&none, now + days(366), "operator.pem", "certs issue operator");
    check(&none, now + days(3_651), "ca.pem", "but no *.key.toml");
    check(&remove("server.pem"), now, "server.pem", "certs issue server");
    for &purpose in Purpose::VARIANTS {
        check(&remove(purpose.file_name()), now, purpose.file_name(), "from a copy");
    }
    let place = made_at(now);
    let output = certs(&["generate", "--out", place.path().to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("certs issue") && !said.contains("--force"), "{said}");
}

/// As `deploy/systemd` has it: neither the authority's key nor an operator's lies on a gateway.
#[test]
fn a_gateways_part_alone_is_in_order() {
    let now = Timestamp::now();
    let place = made_at(now);
    for name in ["ca.key.pem", "operator.pem", "operator.key.pem"] {
        fs::remove_file(place.path().join(name)).unwrap();
    }
    let report = inspect(place.path(), 14, now);
    assert!(report.good && report.findings.is_empty(), "{report}");
    assert_eq!(report.keys.len(), Purpose::VARIANTS.len());
    // In part is not whole, and nothing at all is nothing.
    fs::remove_file(place.path().join("server.key.pem")).unwrap();
    assert!(!inspect(place.path(), 14, now).good);
    assert_eq!(
        inspect(TempDir::new().unwrap().path(), 14, now).findings.len(),
        all_names().len() - 1
    );
}

#[test]
fn the_program_says_what_to_do_next() {
    let place = made_at(Timestamp::now());
    let directory = place.path().to_str().unwrap();
    let said = |args: &[&str]| {
        let output = certs(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let server = said(&["issue", "server", directory]);
    assert!(
        server.contains("wrote") && server.contains("gateway reload"),
        "{server}"
    );
    said(&["issue", "operator", directory, "--name", "ann"]);
    let again = said(&["issue", "operator", directory, "--name", "ann"]);
    assert!(again.contains("refused-operators.txt"), "{again}");
    let json = said(&["issue", "operator", directory, "--name", "ben", "--days", "7", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["files"].as_array().unwrap().len(), 3);
    assert!(json["before"].is_null());
    assert_eq!(certs(&["issue", "operator", directory]).status.code(), Some(2));
    assert_eq!(
        certs(&["issue", "operator", directory, "--name", ".."]).status.code(),
        Some(1)
    );
}

#[test]
fn old_reset_keys_are_retired_only_by_name() {
    let place = made_at(Timestamp::now());
    let directory = place.path().to_str().unwrap();
    let rotate = |more: &[&str]| {
        let output = certs(&[&["rotate", directory][..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    rotate(&[]);
    rotate(&["--activate"]);
    let said = rotate(&["--retire", "--kept", "0", "--unchecked"]);
    assert!(
        said.contains("reload --dry-run") && !said.contains("stateless-reset"),
        "{said}"
    );
    // From what the key files know, without a gateway.
    for words in [
        "ticket           accepts 2; 2 makes, since 20",
        "1 made nothing since the reload after 20",
        "is good for the show's ticket_lifetime_s",
        "is good as long as its tokens were given for",
        "is good until the event ends",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(
        !rotate(&["--retire", "--kept", "0"]).contains("made nothing"),
        "none goes"
    );
    let ids = || {
        let report = inspect(place.path(), 14, Timestamp::now());
        report.keys.into_iter().map(|keys| keys.key_ids).collect::<Vec<_>>()
    };
    assert_eq!(ids(), [vec![2], vec![2], vec![2], vec![1, 2]]);
    rotate(&["--retire", "--kept", "0", "--keys", "stateless-reset"]);
    assert_eq!(ids(), [[2]; 4]);
}

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = host::help_check::wrapped_once(env!("CARGO_BIN_EXE_certs"));
    assert!(commands.contains("issue operator"), "{commands:?}");
}
