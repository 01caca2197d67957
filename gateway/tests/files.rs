//! Files that a start and a reload need: what is wrong with them is told before it hurts, and whom it does not concern is
//! served all the same.

mod support;

use nix::sys::signal::Signal;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use std::process::Command;
use support::authority::signed;
use support::{Ended, GENEROUS_SHOW, Stand, wait};
use time::{Duration, OffsetDateTime};

/// Runs the gateway's program with its configuration. Gives exit code and text.
fn gateway(stand: &Stand, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let output = command
        .args(arguments)
        .arg("--config")
        .arg(stand.path("gateway.toml"))
        .output();
    let output = output.expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Puts a server's certificate in place that is valid from then until then, in days from now.
fn put_certificate(stand: &Stand, from: i64, until: i64) {
    let now = OffsetDateTime::now_utc();
    put_certificate_of(stand, now + Duration::days(from), now + Duration::days(until));
}

fn put_certificate_of(stand: &Stand, from: OffsetDateTime, until: OffsetDateTime) {
    let certs = stand.path("certs");
    let (certificate, key) = signed(&certs, ExtendedKeyUsagePurpose::ServerAuth, |params| {
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().expect("a name")),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        (params.not_before, params.not_after) = (from, until);
    });
    std::fs::write(certs.join("server.pem"), certificate).expect("written");
    std::fs::write(certs.join("server.key.pem"), key).expect("written");
}

#[test]
fn a_certificate_that_does_not_hold_now_is_told_by_ready_and_refused_by_reload() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    for (from, until, word) in [(1, 9, "not valid before"), (-9, -1, "expired at")] {
        put_certificate(&stand, from, until);
        let (code, text) = gateway(&stand, &["check-config"]);
        assert!(
            code == Some(1) && text.contains(word) && text.contains("server.pem"),
            "{text}"
        );
        let done = stand.operate(&["reload"]);
        assert!(!done.is_good && done.text.contains(word), "{done:?}");
        assert!(stand.is_ready(), "the one before goes on");

        // A start goes on, because the clock may be set meanwhile; but nobody is sent to this gateway.
        stand.stop_gateway(Signal::SIGTERM);
        stand.start_gateway_unready();
        let ready = stand.http("/ready").expect("an answer");
        assert!(ready.status == 503 && ready.text.contains(word), "{ready:?}");
        put_certificate(&stand, -1, 9);
        let pid = stand.gateway_id().to_string();
        let (code, text) = gateway(&stand, &["reload", "--pid", &pid]);
        assert_eq!(code, Some(0), "{text}");
        assert!(stand.is_ready());
    }
}

#[test]
fn what_a_start_needs_is_checked_and_each_fault_is_named() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    assert_eq!(gateway(&stand, &["check-config"]).0, Some(0));
    let spoil = |name: &str, text: &str| std::fs::write(stand.path("certs").join(name), text).expect("written");
    spoil("cookie.key.toml", "[[key]]\nid = 1\n");
    spoil("refused-operators.txt", "Ann\n");
    let (code, text) = gateway(&stand, &["check-config"]);
    assert_eq!(code, Some(1), "{text}");
    for word in ["cookie.key.toml", "refused-operators.txt", "line 1: "] {
        assert!(text.contains(word), "{word} in {text}");
    }
    for name in ["server.pem", "ticket.key.toml", "ca.pem"] {
        std::fs::remove_file(stand.path("certs").join(name)).expect("removed");
    }
    let (code, text) = gateway(&stand, &["check-config"]);
    assert_eq!(code, Some(1), "{text}");
    for name in [
        "[certs] directory: cannot read",
        "server.pem",
        "ticket.key.toml",
        "ca.pem",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    std::fs::remove_dir_all(stand.path("certs")).expect("removed");
    let (code, text) = gateway(&stand, &["check-config"]);
    assert!(
        code == Some(1) && text.contains("1 error(s)\n[certs] directory"),
        "{text}"
    );
}

/// One pass: whoever mends all of it can start.
#[test]
fn everything_that_keeps_a_start_from_working_is_told_at_once() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.stop_gateway(Signal::SIGTERM);
    let config = std::fs::read_to_string(stand.path("gateway.toml")).expect("a file");
    let metrics = stand.metrics.to_string();
    // An address for documentation (RFC 5737): no machine has it.
    let spoilt = config.replace(&metrics, "192.0.2.1:9433")
        + "[throttle]\nfile = \"none.toml\"\n[claims]\ntimeout = 3\n[sessions]\nmax = -1\n[users]\nwinners_max = 0\n";
    std::fs::write(stand.path("gateway.toml"), spoilt).expect("written");
    std::fs::write(stand.path("queue"), "no mapping").expect("written");
    let kept = std::fs::read_to_string(stand.path("state/live.toml")).expect("kept");
    for name in ["state/live.toml", "state/live.copy.toml"] {
        std::fs::write(stand.path(name), &kept[..kept.len() - 40]).expect("written");
    }
    std::fs::write(stand.path("certs/refused-operators.txt"), "Ann\n").expect("written");
    let (code, text) = gateway(&stand, &["check-config"]);
    assert_eq!(code, Some(1), "{text}");
    for word in [
        "unknown field `timeout`",
        "winners_max = 0",
        "[throttle] file: cannot read",
        "[queue] path",
        "[state] directory: what ran before",
        "[metrics] address = \"192.0.2.1:9433\"",
        "refused-operators.txt",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
    for word in ["--force", "certs generate"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

/// Of a file of another kind every key is unknown, and only one thing is worth telling.
#[test]
fn a_file_that_is_no_configuration_is_called_what_it_is() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let files = [
        ("show.toml", GENEROUS_SHOW, "a show"),
        (
            "throttle.toml",
            include_str!("../../deploy/throttle.toml"),
            "a throttle",
        ),
        (
            "agent.toml",
            include_str!("../../deploy/agent.toml"),
            "an agent's configuration",
        ),
    ];
    for (name, text, kind) in files {
        std::fs::write(stand.path(name), text).expect("written");
        for command in ["run", "check-config"] {
            let said = stand.run_to_its_end(&[command, "--config", name]);
            let told = format!("1 error(s)\n{name}: this is {kind}, and a gateway's configuration is wanted here\n");
            assert!(
                said.replace(" in the configuration", "").ends_with(&told),
                "{command}: {said}"
            );
        }
    }
}

/// It starts a gateway, and somebody should know of it all the same.
#[test]
fn what_keeps_nothing_from_starting_is_remarked() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let (code, text) = gateway(&stand, &["check-config"]);
    assert_eq!(code, Some(0), "{text}");
    for name in ["ca.key.pem", "operator.key.pem"] {
        assert!(
            text.contains(&format!("remark: {}", stand.path("certs").join(name).display())),
            "{text}"
        );
        std::fs::remove_file(stand.path("certs").join(name)).expect("removed");
    }
    let (code, text) = gateway(&stand, &["check-config"]);
    assert!(code == Some(0) && !text.contains("remark"), "{text}");
}

/// An operator whose gateway's certificate is over learns what to do, from `status` as from `/ready`.
#[test]
fn an_expired_certificate_is_told_to_operators_with_the_way_out() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    put_certificate(&stand, -9, -1);
    stand.stop_gateway(Signal::SIGTERM);
    stand.start_gateway_unready();
    let status = stand.operate(&["status"]);
    assert!(
        !status.is_good
            && status.text.contains("gateway's certificate is expired")
            && status.text.contains("certs issue server"),
        "{status:?}"
    );
    let ready = stand.http("/ready").expect("an answer");
    assert!(
        ready.text.contains("expired at") && ready.text.contains("certs issue server"),
        "{ready:?}"
    );
    // The way out, as it is told.
    let subject = certs::issue::Subject::Server {
        names: Vec::new(),
        addresses: Vec::new(),
    };
    certs::issue::issue(&stand.path("certs"), None, &subject, None, jiff::Timestamp::now()).expect("issued");
    let pid = stand.gateway_id().to_string();
    assert_eq!(gateway(&stand, &["reload", "--pid", &pid]).0, Some(0));
    assert!(stand.operate(&["status"]).is_good);
    assert!(stand.is_ready());
}

/// Whoever watches is connected already, and would not notice before the next command.
#[test]
fn a_watch_says_that_the_certificate_is_about_to_end_and_that_it_has() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    put_certificate(&stand, -1, 9);
    assert!(stand.operate(&["reload"]).is_good);
    let seen = stand.path("seen");
    let mut command = stand.operator(&stand.path("certs"), &["status", "--watch"]);
    command.stdout(std::fs::File::create(&seen).expect("a file"));
    let _watch = Ended(command.spawn().expect("it runs"));
    let text = || std::fs::read_to_string(&seen).expect("its output");
    wait("it is seen", || text().contains("all win"));
    assert!(!text().contains("EXPIRE"), "{}", text());
    // It is good for as long as a reload may take, and ends before this test's patience does.
    let now = OffsetDateTime::now_utc();
    put_certificate_of(&stand, now - Duration::days(1), now + Duration::seconds(6));
    let reloaded = stand.operate(&["reload"]);
    assert!(reloaded.is_good, "{reloaded:?}");
    for word in ["EXPIRES at", "EXPIRED at"] {
        wait(word, || text().contains(&format!("{}  {word}", stand.admin)));
    }
    assert!(text().contains("certs issue server"), "{}", text());
}

/// What `systemctl reload` runs.
#[test]
fn a_reload_by_signal_says_whether_the_files_were_taken() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let pid = stand.gateway_id().to_string();
    let reload = || gateway(&stand, &["reload", "--pid", &pid]);
    let (code, text) = reload();
    assert_eq!(code, Some(0), "{text}");
    let file = stand.path("certs/ticket.key.toml");
    let good = std::fs::read(&file).expect("a key file");
    std::fs::write(&file, "no key\n").expect("written");
    let (code, text) = reload();
    assert!(
        code == Some(1) && text.contains("REFUSED") && text.contains("ticket.key.toml"),
        "{text}"
    );
    std::fs::write(&file, good).expect("written");
    assert_eq!(reload().0, Some(0));
    let (code, text) = gateway(&stand, &["reload", "--pid", "2147483646"]);
    assert!(code == Some(1) && text.contains("cannot signal"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_list_of_refused_operators_that_cannot_be_read_lets_no_operator_in_and_serves_phones() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let list = stand.path("certs/refused-operators.txt");
    std::fs::write(&list, "Ann\n").expect("written");
    let refused = stand.operate(&["reload"]);
    assert!(!refused.is_good && refused.text.contains("line 1: "), "{refused:?}");
    assert!(stand.operate(&["status"]).is_good, "the list before goes on");

    stand.stop_gateway(Signal::SIGTERM);
    stand.start_gateway();
    let phone = stand.user(1).await;
    assert_eq!(phone.shake(9).await.expect("a shake").sequence, 9);
    let status = stand.operate(&["status"]);
    assert!(
        !status.is_good && status.text.contains("refused-operators.txt cannot be read"),
        "{status:?}"
    );

    // As people paste it, from a system with other line ends. The operator of this test is another.
    let other = ["AB"; 32].join(":");
    std::fs::write(&list, format!("\u{feff}sha256 Fingerprint={other}\r\n")).expect("written");
    let pid = stand.gateway_id().to_string();
    assert_eq!(gateway(&stand, &["reload", "--pid", &pid]).0, Some(0));
    let status = stand.operate(&["status"]);
    assert!(status.is_good && status.text.contains(&"ab".repeat(32)), "{status:?}");
}

#[test]
fn only_version_1_is_offered() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    for port in [stand.address, stand.admin] {
        let phone = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        phone.set_read_timeout(Some(support::PATIENCE)).expect("a time-out");
        phone.connect(port).expect("an address");
        // Draft 29, as in RFC 9000, section 17.2: IDs of eight bytes, and as long as a first packet must be.
        let mut packet = [&[0xc0, 0xff, 0, 0, 29, 8][..], &[1; 8], &[8], &[2; 8]].concat();
        packet.resize(1_200, 0);
        phone.send(&packet).expect("sent");
        let mut reply = [0; 1_500];
        let length = phone.recv(&mut reply).expect("a version negotiation");
        assert_eq!(reply[1..5], [0; 4], "a version negotiation (RFC 9000, section 17.2.1)");
        let versions = reply[23..length]
            .chunks(4)
            .map(|one| u32::from_be_bytes(one.try_into().expect("four")));
        // Versions of this form are there to be passed over (section 15).
        let offered: Vec<_> = versions
            .filter(|version| version & 0x0f0f_0f0f != 0x0a0a_0a0a)
            .collect();
        assert_eq!(offered, [1], "{port}");
    }
    wait("the gateway is ready still", || stand.metrics_answer());
}
