//! Who may steer a gateway, and what is no request.

mod support;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose};
use shake_proto::admin::{REQUEST_BYTES_MAX, Refusal};
use shake_proto::admin_v1::{self as admin, reply};
use shake_proto::frame;
use std::path::{Path, PathBuf};
use support::authority::signed;
use support::operator::Operator;
use support::{Stand, wait};

/// One phase, of an hour.
const SHOW: &str =
    "[event]\nname = \"show 1000\"\n[[phases]]\nname = \"on\"\nend_s = 3600\nweights = { greeting = 1 }\n";

/// A certificate directory of the stand's authority whose operator is made by `shape`.
fn operator_made(stand: &Stand, name: &str, shape: impl FnOnce(&mut CertificateParams)) -> PathBuf {
    let (certs, made) = (stand.path("certs"), stand.path(name));
    let (certificate, key) = signed(&certs, ExtendedKeyUsagePurpose::ClientAuth, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "eve");
        shape(params);
    });
    place(&certs, &made, &certificate, &key);
    made
}

fn place(certs: &Path, made: &Path, certificate: &str, key: &str) {
    std::fs::create_dir(made).expect("a new directory");
    std::fs::copy(certs.join("ca.pem"), made.join("ca.pem")).expect("a copy");
    std::fs::write(made.join("operator.pem"), certificate).expect("written");
    std::fs::write(made.join("operator.key.pem"), key).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_has_no_good_operator_certificate_gets_nowhere_and_is_written_down() {
    let stand = Stand::new(SHOW, "");
    let certs = stand.path("certs");
    let read = |directory: &Path, name: &str| std::fs::read_to_string(directory.join(name)).expect("a file");
    let expired = operator_made(&stand, "expired", |params| {
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(3);
        params.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    });
    let aimless = operator_made(&stand, "aimless", |params| params.extended_key_usages.clear());
    let good = operator_made(&stand, "good", |_| ());
    let (others, other) = (stand.path("others"), stand.path("other"));
    certs::generate::generate(&others, &certs::generate::Request::default(), jiff::Timestamp::now()).expect("certs");
    place(
        &certs,
        &other,
        &read(&others, "operator.pem"),
        &read(&others, "operator.key.pem"),
    );
    let server = stand.path("server");
    place(
        &certs,
        &server,
        &read(&certs, "server.pem"),
        &read(&certs, "server.key.pem"),
    );

    for (directory, reason, advice) in [
        (&expired, "certificate_expired", "certs issue operator DIR --name NAME"),
        (&other, "other_authority", "another authority"),
        (&server, "not_operator", "not one for operators"),
        (&aimless, "not_operator", "not one for operators"),
    ] {
        let name = format!("gateway_admin_connections_refused_total{{reason=\"{reason}\"}}");
        let before = stand.metric(&name);
        let refused = stand.operate_with(directory, &["drain"]);
        assert!(
            !refused.is_good && refused.text.contains(advice),
            "{reason}: {refused:?}"
        );
        wait("it is counted", || stand.metric(&name) == before + 1);
    }
    let nobody = Operator::connect(stand.admin, &certs, true).await;
    assert_eq!(nobody.exchange(&[0]).await, None);
    wait("it is counted", || {
        stand.metric("gateway_admin_connections_refused_total{reason=\"no_certificate\"}") == 1
    });
    // Nothing was done for any of them, and each is in the audit log with address and reason.
    assert_eq!(stand.metric("gateway_admin_connections_total"), 0);
    let turned_away = || {
        stand
            .audit_log()
            .iter()
            .filter(|line| line["what"] == "connect")
            .count()
    };
    wait("the last is in the audit log too", || turned_away() == 5);
    let reasons: Vec<_> = stand
        .audit_log()
        .into_iter()
        .filter(|line| line["what"] == "connect")
        .map(|line| {
            assert!(
                line["address"]
                    .as_str()
                    .is_some_and(|address| address.starts_with("127.0.0.1:")),
                "{line}"
            );
            line["result"].as_str().expect("a reason").to_owned()
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "certificate_expired",
            "other_authority",
            "not_operator",
            "not_operator",
            "no_certificate"
        ]
    );
    let log = std::fs::read_to_string(stand.path("gateway.log")).expect("a log");
    assert!(log.contains("certificate_expired") && log.contains("other_authority"));
    for directory in [&good, &certs] {
        let status = stand.operate_with(directory, &["status"]);
        assert!(status.is_good && status.text.contains("show 1000"), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_request_is_refused_by_name() {
    let stand = Stand::new(SHOW, "");
    let operator = Operator::connect(stand.admin, &stand.path("certs"), false).await;
    let mut empty = bytes::BytesMut::new();
    frame::encode_stream(&admin::Request { kind: None }, &mut empty);
    let oversized = vec![0; REQUEST_BYTES_MAX + 9];
    for (bytes, refusal) in [
        (&[][..], Refusal::Malformed),
        (&[5, 1], Refusal::Malformed),
        (&empty, Refusal::Unknown),
        (&oversized, Refusal::Oversized),
    ] {
        let Some(reply::Result::Refused(refused)) = operator.exchange(bytes).await else {
            panic!("{refusal:?} wanted");
        };
        assert_eq!(Refusal::from_wire(refused.refusal), Some(refusal));
        let name = format!("gateway_admin_refused_total{{refusal=\"{}\"}}", refusal.name());
        assert!(stand.metric(&name) > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn operators_get_in_whatever_strangers_and_their_own_commands_leave_behind() {
    let stand = Stand::new(SHOW, "");
    let certs = stand.path("certs");
    for _ in 0..25 {
        let status = stand.operate(&["status"]);
        assert!(status.is_good, "{status:?}");
    }
    wait("each has been heard to end", || {
        stand.metric("gateway_admin_operators") == 0
    });
    // Handshakes that never go on: first packets, with a key that nobody has, whose address is proved by the Retry.
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(support::operator::Stalled::begin(stand.admin).await);
    }
    let status = stand.operate(&["status"]);
    assert!(status.is_good, "{status:?}");
    // Certificates that are none hold no place either, and operators are counted for themselves.
    let mut nobodies = Vec::new();
    for _ in 0..20 {
        nobodies.push(Operator::connect(stand.admin, &certs, true).await);
    }
    let mut operators = Vec::new();
    for _ in 0..17 {
        operators.push(Operator::connect(stand.admin, &certs, false).await);
    }
    wait("all are there", || stand.metric("gateway_admin_operators") == 17);
    let status = stand.operate(&["status"]);
    assert!(
        status.is_good,
        "the last of the two places for this machine: {status:?}"
    );
    operators.push(Operator::connect(stand.admin, &certs, false).await);
    wait("the last is there", || stand.metric("gateway_admin_operators") == 18);
    let refused = stand.operate(&["status"]);
    assert!(
        !refused.is_good && refused.text.contains("as many operators as it may"),
        "{refused:?}"
    );
    assert!(stand.metric("gateway_admin_connections_refused_total{reason=\"full\"}") > 0);
}
