//! New keys, while sessions go on and packets are won and opened.

mod support;

use certs::rotate::Step;
use nix::sys::signal::Signal;
use shake_proto::code::Code;
use shake_proto::wire::v1;
use shake_rules::keys::Purpose;
use std::time::Duration;
use strum::VariantArray as _;
use support::{GENEROUS_SHOW, Phone, Stand, wait};

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// The key that a ticket or cookie was sealed with.
fn key_id(sealed: &[u8]) -> u8 {
    sealed[1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keys_rotate_and_no_win_is_lost() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(20_000, 200);
    stand.start_agent();
    let phone = stand.user(1).await;
    let before = phone.win().await;
    assert_eq!((key_id(&before.ticket), key_id(&before.cookie)), (1, 1));
    let old_token = stand.token(3);

    stand.rotate(Purpose::VARIANTS, Step::Add);
    // A dry run tells, and changes nothing.
    let dry = stand.operate(&["reload", "--dry-run"]);
    assert!(
        dry.is_good && dry.text.contains("+ ticket keys 1, 2; 1 makes"),
        "{dry:?}"
    );
    let told = stand.reload();
    assert!(told.contains(&"- ticket keys 1; 1 makes".to_owned()), "{told:?}");
    assert!(told.contains(&"+ ticket keys 1, 2; 1 makes".to_owned()), "{told:?}");
    assert_eq!(stand.reload(), [""; 0], "the files say what holds already");
    let waiting = phone.win().await;
    assert_eq!(key_id(&waiting.ticket), 1, "the new key is not used yet");

    // No pause between the file and the gateway: the agent finds the key by itself, and claims wait for it.
    stand.rotate(Purpose::VARIANTS, Step::Activate);
    stand.reload();
    let after = phone.win().await;
    assert_eq!((key_id(&after.ticket), key_id(&after.cookie)), (2, 2));
    for packet in [&after, &before, &waiting] {
        phone.opens(packet).await;
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

    // What hangs on a key is told while it can still be put back.
    stand.rotate(Purpose::VARIANTS, Step::Retire { kept: 0 });
    let dry = stand.operate(&["reload", "--dry-run"]);
    for told in [
        "remark: user-token key 1 goes, TOO EARLY: ",
        "remark: ticket key 1 goes, TOO EARLY: 2 tickets were made with it here",
        "remark: cookie key 1 goes, TOO EARLY: 2 cookies were made with it here",
    ] {
        assert!(dry.text.contains(told), "{told} in {}", dry.text);
    }
    let status = stand.operate(&["status"]);
    assert!(
        status.text.contains("ticket key 2: 1 tickets were made with it here"),
        "{status:?}"
    );
    // What an old key made is refused once it is retired, by name.
    stand.reload();
    let late = stand.phone().await;
    assert_eq!(late.hello(old_token).await, Err(Some(Code::TokenExpired)));
    phone.opens(&phone.win().await).await;
    assert_eq!(stand.reloads().len(), 4, "a dry run is not written down");
    assert!(stand.reloads().iter().all(|(result, _)| result == "done"));
    assert!(stand.reloads()[0].1.contains("+ ticket keys 1, 2; 1 makes"));
    stand.stop_gateway(Signal::SIGTERM);
    stand.stop_agent();
    assert_eq!(stand.audit().total.opened.packets, 4);
}

/// A process keeps the stateless reset key that it started with, so that what its clients were told stays true.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_reset_key_holds_from_the_next_start_on() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    for step in [Step::Add, Step::Activate] {
        stand.rotate(&[Purpose::StatelessReset], step);
        let told = stand.reload();
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
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    for step in [Step::Add, Step::Activate] {
        stand.rotate(&[Purpose::StatelessReset], step);
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

/// What hangs on a key is told before it goes, and who shows it afterwards is no forger: neither is their network shut out.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_retired_key_is_counted_and_held_against_nobody() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(20_000, 200);
    // Three strangers would be enough.
    stand.start_agent_with("strangers = 3\nstrangers_ratio = 1\n");
    let old_token = stand.token(3);
    let _first = stand.user(1).await;
    for step in [Step::Add, Step::Activate] {
        stand.rotate(&[Purpose::UserToken], step);
        stand.reload();
    }
    let _second = stand.user(2).await;
    let status = stand.operate(&["status"]);
    for line in [
        "user-token key 1: 1 sessions hang on it",
        "user-token key 2: 1 sessions hang on it",
    ] {
        assert!(status.text.contains(line), "{line} in {status:?}");
    }
    // Whoever retires it at the desk hears the same from what the gateway said.
    let counts = stand.path("counts.json");
    std::fs::write(&counts, stand.operate(&["status", "--json"]).text).expect("written");
    let told = certs::counts::read(&counts).expect("the gateway's own words");
    let (lines, is_early) = certs::counts::judge(&[(Purpose::UserToken, 1)], &told);
    let line = format!(
        "user-token key 1 goes, TOO EARLY: {}: 1 sessions hang on it",
        stand.admin
    );
    assert!(is_early && lines.len() == 1 && lines[0].starts_with(&line), "{lines:?}");
    let (lines, is_early) = certs::counts::judge(&[(Purpose::Ticket, 1)], &told);
    assert!(!is_early && lines[0].contains("no ticket of it was made"), "{lines:?}");
    stand.rotate(&[Purpose::UserToken], Step::Retire { kept: 0 });
    let dry = stand.operate(&["reload", "--dry-run"]);
    assert!(
        dry.is_good
            && dry
                .text
                .contains("remark: user-token key 1 goes, TOO EARLY: 1 sessions hang on it"),
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
    let stand = Stand::new(GENEROUS_SHOW, "");
    for step in [Step::Add, Step::Activate, Step::Retire { kept: 0 }] {
        stand.rotate(&[Purpose::StatelessReset], step);
    }
    let told = stand.operate(&["reload", "--dry-run"]);
    assert!(
        told.is_good && told.text.contains("remark: stateless-reset key 1") && told.text.contains("put it back"),
        "{told:?}"
    );
}

/// The session drops its TLS state after the handshake and keeps what a key update needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn key_updates_of_the_client_are_followed() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    for sequence in 0..30 {
        phone.connection.force_key_update();
        assert_eq!(phone.shake_by_datagram(sequence).await.sequence, sequence);
        assert_eq!(phone.shake(sequence).await.expect("a shake").sequence, sequence);
    }
}
