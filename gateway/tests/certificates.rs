//! A new certificate and a list of refused operators, while sessions go on and packets are won and opened.

mod support;

use certs::rotate::Step;
use data_encoding::HEXLOWER;
use nix::sys::signal::Signal;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use ring::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shake_proto::admin_v1::{self as admin, reply};
use shake_rules::keys::Purpose;
use std::path::Path;
use strum::VariantArray as _;
use support::authority::signed;
use support::operator::Operator;
use support::{GENEROUS_SHOW, Operated, Phone, Stand, wait};

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// Puts a server certificate of the stand's authority in place.
fn new_certificate(stand: &Stand, shape: impl FnOnce(&mut CertificateParams)) {
    let certs = stand.path("certs");
    let (certificate, key) = signed(&certs, ExtendedKeyUsagePurpose::ServerAuth, |params| {
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().expect("a name")),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        shape(params);
    });
    std::fs::write(certs.join("server.pem"), certificate).expect("written");
    std::fs::write(certs.join("server.key.pem"), key).expect("written");
}

fn on_disk(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

/// The certificate that the gateway showed on this connection.
fn shown(phone: &Phone) -> CertificateDer<'static> {
    let identity = phone.connection.peer_identity().expect("the handshake is over");
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().expect("a chain");
    chain[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_certificate_meets_new_handshakes_and_sessions_go_on() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(20_000, 200);
    stand.start_agent();
    let server = stand.path("certs/server.pem");
    let old = on_disk(&server);
    let phone = stand.user(1).await;
    assert_eq!(shown(&phone), old);
    let won = phone.win().await;
    let told = stand.operate(&["status"]);
    assert!(
        told.text.contains("WARNING: put a new one in place"),
        "it has one day: {told:?}"
    );
    assert!(stand.metric("gateway_certificate_expires_in_seconds") <= 86_400);
    wait("the log warns", || {
        stand.gateway_log().contains("the certificate expires soon")
    });

    new_certificate(&stand, |_| ());
    let new = on_disk(&server);
    assert_ne!(new, old);
    assert_eq!(shown(&stand.phone().await), old, "not before it is told");
    let told = stand.reload();
    assert_eq!(told.len(), 2, "one line gone, one new: {told:?}");
    let newcomer = stand.user(2).await;
    assert_eq!(shown(&newcomer), new);
    newcomer.opens(&newcomer.win().await).await;
    // The session from before: shakes by datagram, wins, and opens what it won before.
    assert_eq!(phone.shake_by_datagram(5).await.sequence, 5);
    phone.opens(&won).await;
    phone.opens(&phone.win().await).await;
    assert!(stand.metric("gateway_certificate_expires_in_seconds") > 14 * 86_400);
    let status = stand.operate(&["status"]);
    assert!(!status.text.contains("WARNING"), "{status:?}");
    assert_eq!(phone.connection.close_reason(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn files_that_cannot_be_used_are_refused_by_name_and_what_was_before_goes_on() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let certs = stand.path("certs");
    let keep = |name: &str| std::fs::read(certs.join(name)).expect("a file");
    let names = [
        "server.pem",
        "server.key.pem",
        "ca.pem",
        "ticket.key.toml",
        "stateless-reset.key.toml",
    ];
    let good = names.map(|name| (name, keep(name)));
    let phone = stand.user(1).await;
    let old = shown(&phone);
    let day = time::Duration::days(1);
    let now = time::OffsetDateTime::now_utc();
    let spoil: [(&str, &dyn Fn()); 7] = [
        ("server.pem", &|| {
            std::fs::write(certs.join("server.pem"), "no certificate").expect("written")
        }),
        ("server.key.pem", &|| {
            std::fs::write(certs.join("server.key.pem"), keep("ca.key.pem")).expect("written")
        }),
        ("the certificate expired at", &|| {
            new_certificate(&stand, |params| {
                (params.not_before, params.not_after) = (now - day * 2, now - day);
            })
        }),
        ("the certificate is not valid before", &|| {
            new_certificate(&stand, |params| params.not_before = now + day)
        }),
        ("ca.pem", &|| {
            std::fs::remove_file(certs.join("ca.pem")).expect("removed")
        }),
        ("ticket.key.toml", &|| {
            std::fs::write(certs.join("ticket.key.toml"), keep("cookie.key.toml")).expect("written")
        }),
        ("refused-operators.txt: line 1", &|| {
            std::fs::write(certs.join("refused-operators.txt"), "ann\n").expect("written");
        }),
    ];
    // The operator keeps a whole directory of their own.
    let operators = stand.path("operators");
    std::fs::create_dir(&operators).expect("made");
    for name in ["ca.pem", "operator.pem", "operator.key.pem"] {
        std::fs::copy(certs.join(name), operators.join(name)).expect("a copy");
    }
    let ask = || -> Operated { stand.operate_with(&operators, &["reload", "--json"]) };
    for (index, (name, spoil)) in spoil.iter().enumerate() {
        spoil();
        let refused = ask();
        assert!(!refused.is_good, "{name}");
        let refused = refused.json().remove(0);
        assert_eq!(refused["refusal"], "files", "{refused}");
        assert!(refused["problems"].to_string().contains(name), "{name} in {refused}");
        let (result, detail) = stand.reloads().pop().expect("a line");
        assert!(result == "files" && detail.contains(name), "{name} in {detail}");
        assert_eq!(
            stand.metric("gateway_admin_refused_total{refusal=\"files\"}"),
            index as u64 + 1
        );
        for (name, bytes) in &good {
            std::fs::write(certs.join(name), bytes).expect("written");
        }
    }
    // Several at once are all named; by SIGHUP the log and the audit log say so.
    std::fs::write(certs.join("ticket.key.toml"), "").expect("written");
    let lines = stand.reloads().len();
    stand.hang_up();
    wait("SIGHUP is answered", || stand.reloads().len() > lines);
    let (_, detail) = stand.reloads().pop().expect("a line");
    assert!(
        detail.contains("ticket.key.toml") && detail.contains("refused-operators.txt"),
        "{detail}"
    );
    assert!(stand.gateway_log().contains("ticket.key.toml"));
    std::fs::write(certs.join("ticket.key.toml"), &good[3].1).expect("written");
    std::fs::remove_file(certs.join("refused-operators.txt")).expect("removed");
    assert!(phone.shake(1).await.is_ok());
    assert_eq!(shown(&stand.user(2).await), old);
    assert!(ask().is_good);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refused_operator_is_out_at_once_and_sighup_does_what_reload_does() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let certs = stand.path("certs");
    let status = || admin::request::Kind::Status(admin::StatusRequest {});
    let operator = Operator::connect(stand.admin, &certs, false).await;
    assert!(matches!(operator.ask(status()).await, reply::Result::Status(_)));
    let fingerprint = HEXLOWER.encode(digest::digest(&digest::SHA256, &on_disk(&certs.join("operator.pem"))).as_ref());
    std::fs::write(
        certs.join("refused-operators.txt"),
        format!("{fingerprint} # a stolen laptop\n"),
    )
    .expect("written");
    assert!(
        matches!(operator.ask(status()).await, reply::Result::Status(_)),
        "not read yet"
    );
    stand.rotate(Purpose::VARIANTS, Step::Add);
    stand.hang_up();
    wait("SIGHUP is answered", || !stand.reloads().is_empty());
    let (result, detail) = stand.reloads().remove(0);
    assert_eq!(result, "done");
    assert!(
        detail.contains(&format!("+ refused operator {fingerprint}")),
        "{detail}"
    );
    assert!(detail.contains("+ user-token keys 1, 2; 1 makes"), "{detail}");
    assert_eq!(operator.exchange(&[0]).await, None, "the open connection ends");
    let refused = stand.operate(&["status"]);
    assert!(
        !refused.is_good && refused.text.contains("list of refused"),
        "{refused:?}"
    );
    wait("both are counted", || {
        stand.metric("gateway_admin_connections_refused_total{reason=\"certificate_refused\"}") == 2
    });
    // Taken off the list, it is let in again.
    std::fs::remove_file(certs.join("refused-operators.txt")).expect("removed");
    stand.hang_up();
    wait("SIGHUP is answered", || stand.reloads().len() == 2);
    assert!(stand.operate(&["status"]).is_good);
}

/// A chain to `ca.pem` is not given up by a reload, because phones may trust nothing else. One that never led there is nobody's
/// loss: phones trust another authority.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reload_does_not_take_a_certificate_that_phones_of_the_one_before_do_not_trust() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let certs = stand.path("certs");
    let old = on_disk(&certs.join("server.pem"));
    let foreign = |_: ()| {
        let place = tempfile::tempdir().expect("a temporary directory");
        let request = certs::generate::Request::default();
        certs::generate::generate(place.path(), &request, jiff::Timestamp::now()).expect("certificates");
        for name in ["server.pem", "server.key.pem"] {
            std::fs::copy(place.path().join(name), certs.join(name)).expect("a copy");
        }
    };
    foreign(());
    for arguments in [&["reload", "--dry-run"][..], &["reload"]] {
        let refused = stand.operate(arguments);
        assert!(
            !refused.is_good && refused.text.contains("certs issue server"),
            "{refused:?}"
        );
    }
    let (result, detail) = stand.reloads().pop().expect("a line");
    assert!(result == "files" && detail.contains("server.pem"), "{detail}");
    assert_eq!(shown(&stand.phone().await), old, "the one before goes on");
    // A start takes any: nobody knows what was before. From then on one of a third authority is as good.
    stand.stop_gateway(Signal::SIGTERM);
    stand.start_gateway();
    foreign(());
    let pid = stand.gateway_id().to_string();
    let config = stand.path("gateway.toml").display().to_string();
    let done = stand.run(&["reload", "--pid", &pid, "--config", &config]);
    assert!(done.is_good, "{done:?}");
}
