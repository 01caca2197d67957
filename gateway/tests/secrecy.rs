//! What the processes write down: with everything logged that can be, no key and no token.

mod support;

use data_encoding::HEXLOWER;
use nix::sys::signal::Signal;
use shake_rules::keys::Purpose;
use strum::VariantArray as _;
use support::{GENEROUS_SHOW, Stand};

/// Characters of a secret that give it away; a whole one has 64 (keys) or up to 64 a line (PEM).
const TELLING: usize = 16;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_log_holds_a_secret() {
    let mut stand = Stand::new(GENEROUS_SHOW, "[log]\nlevel = \"trace\"\n");
    stand.make_seed(20_000, 100);
    stand.start_agent();
    let phone = stand.user(1).await;
    let packet = phone.win().await;
    phone.claim_patiently(&packet.ticket).await;
    let mut forged = stand.token(1).to_vec();
    forged[30] ^= 1;
    phone.hello(forged.into()).await.expect_err("a forged token");
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));

    let read = |name: &str| std::fs::read_to_string(stand.path(name)).expect("a text file");
    let mut secrets = [&stand.token(1), &packet.ticket]
        .map(|secret| HEXLOWER.encode(secret))
        .to_vec();
    let keys = Purpose::VARIANTS.iter().map(|purpose| purpose.file_name());
    for name in keys.chain(["server.key.pem"]) {
        let text = read(&format!("certs/{name}"));
        // Key files: the hex digits. PEM: each line between the markers.
        let lines = text
            .lines()
            .filter(|line| line.len() >= 24 && !line.starts_with(['-', '#']));
        secrets.extend(lines.map(|line| line.trim_start_matches("secret = ").trim_matches('"').to_owned()));
    }
    assert!(secrets.len() > 2 + Purpose::VARIANTS.len());
    for log in ["gateway.log", "agent.log"] {
        let text = read(log);
        assert!(!text.is_empty(), "{log} is empty");
        for secret in &secrets {
            assert!(!text.contains(&secret[..TELLING]), "{log} holds {secret}");
        }
    }
    assert!(
        read("gateway.log").contains("TRACE") || read("gateway.log").contains("DEBUG"),
        "the log tells all"
    );
}
