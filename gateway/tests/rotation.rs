//! New keys, a new certificate and a list of refused operators, while sessions go on and packets are won and opened.

mod support;

use nix::sys::signal::Signal;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use ring::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shake_proto::admin_v1::{self as admin, reply};
use shake_proto::code::Code;
use shake_proto::wire::v1;
use shake_rules::hex;
use shake_rules::keys::Purpose;
use std::path::Path;
use std::time::Duration;
use support::authority::signed;
use support::operator::Operator;
use support::{GENEROUS_SHOW, Operated, Phone, Stand, wait};
use v1::claim_reply::Result as Claimed;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// The lines of the audit log about a reload: result and detail.
fn reloads(stand: &Stand) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(stand.path("state/audit.log")).expect("an audit log");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"));
    let word = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    lines
        .filter(|line: &serde_json::Value| line["what"] == "reload")
        .map(|line| (word(&line["result"]), word(&line["detail"])))
        .collect()
}

/// Reloads, and gives the lines of the difference.
fn reload(stand: &Stand) -> Vec<String> {
    let done = stand.operate(&["reload", "--json"]);
    assert!(done.is_good, "{done:?}");
    let done = done.json().remove(0);
    assert_eq!(
        (&done["shards"], &done["shards_applied"]),
        (&2.into(), &2.into()),
        "{done}"
    );
    let lines = done["differences"].as_array().expect("lines").iter();
    lines.map(|line| line.as_str().expect("a line").to_owned()).collect()
}

fn rotate(stand: &Stand, step: certs::rotate::Step) {
    certs::rotate::rotate(&stand.path("certs"), &Purpose::ALL, step).expect("a step");
}

async fn opens(phone: &Phone, packet: &v1::RedPacket) {
    let result = phone.claim_patiently(&packet.ticket).await;
    assert!(matches!(result, Claimed::Opened(_)), "{result:?}");
}

/// The key that a ticket or cookie was sealed with.
fn key_id(sealed: &[u8]) -> u8 {
    sealed[1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keys_rotate_and_no_win_is_lost() {
    use certs::rotate::Step;
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(20_000, 200);
    stand.start_agent();
    let phone = stand.user(1).await;
    let before = phone.win().await;
    assert_eq!((key_id(&before.ticket), key_id(&before.cookie)), (1, 1));
    let old_token = stand.token(3);

    rotate(&stand, Step::Add);
    // A dry run tells, and changes nothing.
    let dry = stand.operate(&["reload", "--dry-run"]);
    assert!(
        dry.is_good && dry.text.contains("+ ticket keys 1, 2; 1 makes"),
        "{dry:?}"
    );
    let told = reload(&stand);
    assert!(told.contains(&"- ticket keys 1; 1 makes".to_owned()), "{told:?}");
    assert!(told.contains(&"+ ticket keys 1, 2; 1 makes".to_owned()), "{told:?}");
    assert_eq!(reload(&stand), [""; 0], "the files say what holds already");
    let waiting = phone.win().await;
    assert_eq!(key_id(&waiting.ticket), 1, "the new key is not used yet");

    // No pause between the file and the gateway: the agent finds the key by itself, and claims wait for it.
    rotate(&stand, Step::Activate);
    reload(&stand);
    let after = phone.win().await;
    assert_eq!((key_id(&after.ticket), key_id(&after.cookie)), (2, 2));
    for packet in [&after, &before, &waiting] {
        opens(&phone, packet).await;
    }
    // Tokens and cookies of the old key still count, and those of the new one do.
    let old = stand.phone().await;
    assert!(old.hello(old_token.clone()).await.is_ok());
    assert_eq!(stand.token(4)[1], 2);
    stand.user(4).await;
    let cookied = stand.phone().await;
    let hello = v1::Hello {
        token: stand.token(1),
        cookie: before.cookie.clone(),
        ..Default::default()
    };
    cookied.hello_with(hello).await.expect("a good Hello");
    assert_eq!(stand.metric("gateway_cookies_refused_total"), 0);

    // What an old key made is refused once it is retired, by name.
    rotate(&stand, Step::Retire { kept: 0 });
    reload(&stand);
    let late = stand.phone().await;
    assert_eq!(late.hello(old_token).await, Err(Some(Code::TokenExpired)));
    opens(&phone, &phone.win().await).await;
    assert_eq!(reloads(&stand).len(), 4, "a dry run is not written down");
    assert!(reloads(&stand).iter().all(|(result, _)| result == "done"));
    assert!(reloads(&stand)[0].1.contains("+ ticket keys 1, 2; 1 makes"));
    stand.stop_gateway(Signal::SIGTERM);
    stand.stop_agent();
    assert_eq!(stand.audit().total.opened.packets, 4);
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
    wait("the log warns", || log(&stand).contains("the certificate expires soon"));

    new_certificate(&stand, |_| ());
    let new = on_disk(&server);
    assert_ne!(new, old);
    assert_eq!(shown(&stand.phone().await), old, "not before it is told");
    let told = reload(&stand);
    assert_eq!(told.len(), 2, "one line gone, one new: {told:?}");
    let newcomer = stand.user(2).await;
    assert_eq!(shown(&newcomer), new);
    opens(&newcomer, &newcomer.win().await).await;
    // The session from before: shakes by datagram, wins, and opens what it won before.
    assert_eq!(phone.shake_by_datagram(5).await.sequence, 5);
    opens(&phone, &won).await;
    opens(&phone, &phone.win().await).await;
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
        let (result, detail) = reloads(&stand).pop().expect("a line");
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
    let lines = reloads(&stand).len();
    hang_up(&stand);
    wait("SIGHUP is answered", || reloads(&stand).len() > lines);
    let (_, detail) = reloads(&stand).pop().expect("a line");
    assert!(
        detail.contains("ticket.key.toml") && detail.contains("refused-operators.txt"),
        "{detail}"
    );
    assert!(log(&stand).contains("ticket.key.toml"));
    std::fs::write(certs.join("ticket.key.toml"), &good[3].1).expect("written");
    std::fs::remove_file(certs.join("refused-operators.txt")).expect("removed");
    assert!(phone.shake(1).await.is_ok());
    assert_eq!(shown(&stand.user(2).await), old);
    assert!(ask().is_good);
}

fn log(stand: &Stand) -> String {
    std::fs::read_to_string(stand.path("gateway.log")).expect("a log")
}

fn hang_up(stand: &Stand) {
    let id = nix::unistd::Pid::from_raw(stand.gateway_id() as i32);
    nix::sys::signal::kill(id, Signal::SIGHUP).expect("the gateway is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refused_operator_is_out_at_once_and_sighup_does_what_reload_does() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let certs = stand.path("certs");
    let status = || admin::request::Kind::Status(admin::StatusRequest {});
    let operator = Operator::connect(stand.admin, &certs, false).await;
    assert!(matches!(operator.ask(status()).await, reply::Result::Status(_)));
    let fingerprint = hex::encode(digest::digest(&digest::SHA256, &on_disk(&certs.join("operator.pem"))).as_ref());
    std::fs::write(
        certs.join("refused-operators.txt"),
        format!("{fingerprint} # a stolen laptop\n"),
    )
    .expect("written");
    assert!(
        matches!(operator.ask(status()).await, reply::Result::Status(_)),
        "not read yet"
    );
    rotate(&stand, certs::rotate::Step::Add);
    hang_up(&stand);
    wait("SIGHUP is answered", || !reloads(&stand).is_empty());
    let (result, detail) = reloads(&stand).remove(0);
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
    hang_up(&stand);
    wait("SIGHUP is answered", || reloads(&stand).len() == 2);
    assert!(stand.operate(&["status"]).is_good);
}

/// A process keeps the stateless reset key that it started with, so that what its clients were told stays true.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_reset_key_holds_from_the_next_start_on() {
    use certs::rotate::Step;
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    for step in [Step::Add, Step::Activate] {
        certs::rotate::rotate(&stand.path("certs"), &[Purpose::StatelessReset], step).expect("a step");
        let told = reload(&stand);
        assert!(told[1].ends_with("from the next start on"), "{told:?}");
    }
    // Two lives with the new key: a phone of the first learns from the second that its connection is gone.
    stand.stop_gateway(Signal::SIGKILL);
    stand.start_gateway();
    let phone = stand.user(1).await;
    stand.stop_gateway(Signal::SIGKILL);
    stand.start_gateway();
    assert_eq!(end_of(&phone).await, quinn::ConnectionError::Reset);
}

/// How the connection of a phone ends that goes on sending.
async fn end_of(phone: &Phone) -> quinn::ConnectionError {
    let ended = async {
        loop {
            if let Some(reason) = phone.connection.close_reason() {
                return reason;
            }
            let _ = phone.connection.send_datagram(vec![0; 40].into());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, ended).await.expect("in time")
}

/// The next life makes tokens with the new key, and gives those of the old one too: phones try again, and one of their tries
/// meets theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn phones_from_before_a_rotation_of_the_reset_key_learn_of_the_end_as_well() {
    use certs::rotate::Step;
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    for step in [Step::Add, Step::Activate] {
        certs::rotate::rotate(&stand.path("certs"), &[Purpose::StatelessReset], step).expect("a step");
    }
    stand.stop_gateway(Signal::SIGKILL);
    stand.start_gateway();
    assert_eq!(end_of(&phone).await, quinn::ConnectionError::Reset);
}

/// Two gateways of a fleet have one key file. What one of them says of a connection ID of the other's ends nobody's
/// connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_gateway_gives_away_the_reset_tokens_of_another() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    // The other gateway is the same one with another id, so that the phone's packets reach it.
    stand.stop_gateway(Signal::SIGKILL);
    let id = stand.path("state/gateway-id");
    let before = std::fs::read(&id).expect("an id");
    std::fs::write(&id, "00112233445566778899aabbccddeeff\n").expect("written");
    stand.start_gateway();
    let made = async {
        while stand.metric("gateway_resets_total") < 5 {
            let _ = phone.connection.send_datagram(vec![0; 40].into());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, made).await.expect("in time");
    assert_eq!(phone.connection.close_reason(), None, "five resets ended nothing");
    stand.stop_gateway(Signal::SIGKILL);
    std::fs::write(&id, before).expect("written");
    stand.start_gateway();
    assert_eq!(end_of(&phone).await, quinn::ConnectionError::Reset);
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
    let (result, detail) = reloads(&stand).pop().expect("a line");
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

/// What hangs on a key is told before it goes, and who shows it afterwards is no forger: neither is their network shut out.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_retired_key_is_counted_and_held_against_nobody() {
    use certs::rotate::{Step, rotate};
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(20_000, 200);
    // Three strangers would be enough.
    stand.start_agent_with("strangers = 3\nstrangers_ratio = 1\n");
    let certs = stand.path("certs");
    let old_token = stand.token(3);
    let _first = stand.user(1).await;
    for step in [Step::Add, Step::Activate] {
        rotate(&certs, &[Purpose::UserToken], step).expect("a step");
        reload(&stand);
    }
    let _second = stand.user(2).await;
    let status = stand.operate(&["status"]);
    for line in [
        "user-token key 1: 1 sessions hang on it",
        "user-token key 2: 1 sessions hang on it",
    ] {
        assert!(status.text.contains(line), "{line} in {status:?}");
    }
    rotate(&certs, &[Purpose::UserToken], Step::Retire { kept: 0 }).expect("a step");
    let dry = stand.operate(&["reload", "--dry-run"]);
    assert!(
        dry.is_good
            && dry
                .text
                .contains("remark: user-token key 1 goes, and 1 sessions hang on it"),
        "{dry:?}"
    );
    let done = stand.operate(&["reload", "--json"]).json().remove(0);
    assert!(
        done["remarks"][0]
            .as_str()
            .is_some_and(|text| text.contains("good until")),
        "{done}"
    );
    // Phones with tokens of the key that is gone come, hear that they need others, and go; of one network, over and over.
    let strange = std::net::Ipv4Addr::new(127, 0, 7, 1);
    for _ in 0..12 {
        let phone = stand.phone_at(strange).await.expect("not shut out");
        assert_eq!(phone.hello(old_token.clone()).await, Err(Some(Code::TokenExpired)));
        phone.connection.close(0_u32.into(), b"");
    }
    // Somebody of another network says nothing, over and over. What is told of the first was told before.
    let silent = std::net::Ipv4Addr::new(127, 0, 8, 1);
    for _ in 0..12 {
        if let Ok(phone) = stand.phone_at(silent).await {
            phone.connection.close(0_u32.into(), b"");
        }
    }
    wait("silence is held against its network", || {
        stand.metric("gateway_blocks_total{rule=\"strangers\"}") > 0
    });
    let phone = stand.phone_at(strange).await.expect("not shut out");
    phone.hello(stand.token(3)).await.expect("a good token");
}

/// A process goes on telling its phones resets of the key that it began with: one that is gone from the file is missed.
#[test]
fn a_reset_key_that_goes_too_early_is_told() {
    use certs::rotate::{Step, rotate};
    let stand = Stand::new(GENEROUS_SHOW, "");
    for step in [Step::Add, Step::Activate, Step::Retire { kept: 0 }] {
        rotate(&stand.path("certs"), &[Purpose::StatelessReset], step).expect("a step");
    }
    let told = stand.operate(&["reload", "--dry-run"]);
    assert!(
        told.is_good && told.text.contains("remark: stateless-reset key 1") && told.text.contains("put it back"),
        "{told:?}"
    );
}
