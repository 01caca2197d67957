//! Money while the show is steered: the agent follows what is pushed, and a drained gateway hands its sessions to another.

mod support;

use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::handoff::status::AgentStatus;
use shake_proto::request::capability;
use shake_proto::wire::v1;
use shake_rules::seed::PacketKind;
use shm_queue::{Mapping, Side};
use std::time::{Duration, Instant};
use support::{GENEROUS_SHOW, PATIENCE, Phone, Stand, wait};
use v1::claim_reply::Result as Claimed;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// A phone that takes notices.
async fn hello(stand: &Stand, user: u64, cookie: Bytes) -> Phone {
    let phone = stand.phone().await;
    let hello = v1::Hello {
        token: stand.token(user),
        cookie,
        capabilities: capability::NOTICES,
        ..Default::default()
    };
    phone.hello_with(hello).await.expect("a good Hello");
    phone
}

/// The next notice that says to go away.
async fn told_to_go(phone: &Phone) -> v1::GoAway {
    let read = async {
        loop {
            let mut stream = phone.connection.accept_uni().await.expect("an open connection");
            let bytes = stream.read_to_end(REPLY_BYTES_MAX).await.expect("a whole notice");
            let notice = frame::decode_stream::<v1::Notice>(bytes.into(), REPLY_BYTES_MAX).expect("a Notice");
            if let Some(v1::notice::Kind::GoAway(go_away)) = notice.kind {
                return go_away;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_agent_follows_a_pushed_show_and_stages_keep_their_names() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(60_000, 600);
    stand.start_agent();
    let claim = async |stand: &Stand, user| {
        let phone = stand.user(user).await;
        let packet = phone.win().await;
        assert!(matches!(
            phone.claim_patiently(&packet.ticket).await,
            Claimed::Opened(_)
        ));
    };
    claim(&stand, 1).await;
    // Another phase in place of the first, and tickets that are good for a second.
    let pushed = GENEROUS_SHOW
        .replace("\"all win\"", "\"others win\"")
        .replace("packets_per_user = 8", "packets_per_user = 8\nticket_lifetime_s = 1");
    std::fs::write(stand.path("pushed.toml"), pushed).expect("written");
    let file = stand.path("pushed.toml").display().to_string();
    let pushed = stand.operate(&["push", "show", &file, "--json"]);
    assert!(
        pushed.is_good && pushed.text.contains("instead of phase \\\"all win"),
        "{pushed:?}"
    );
    let version = pushed.json()[0]["version"].as_u64().expect("a number");
    claim(&stand, 2).await;
    let phone = stand.user(3).await;
    // Once the agent goes by the pushed show, what is won and not opened goes back after a second.
    wait("the agent follows", || {
        let log = std::fs::read_to_string(stand.path("agent.log")).expect("a log");
        log.contains("following the gateway's show") && log.contains(&format!("version={version}"))
    });
    let unopened = phone.win().await;
    wait("it goes back", || stand.audit().total.refunded.packets == 1);
    assert!(matches!(
        phone.claim_patiently(&unopened.ticket).await,
        Claimed::Refused(_)
    ));
    // Back to the first show.
    let file = stand.path("show.toml").display().to_string();
    assert!(stand.operate(&["push", "show", &file]).is_good);
    claim(&stand, 4).await;
    stand.stop_gateway(nix::sys::signal::Signal::SIGTERM);
    stand.stop_agent();
    let stages: Vec<_> = stand
        .audit()
        .phases
        .iter()
        .map(|row| (row.stage, row.credits.credits))
        .collect();
    assert_eq!(stages, [(Some(0), 2), (Some(1), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_gateway_hands_its_sessions_over_and_nothing_is_lost() {
    const USERS: u64 = 40;
    let mut from = Stand::new(GENEROUS_SHOW, "");
    from.make_seed_part(100_000, 1_000, 1, PacketKind::Plain, 0);
    from.start_agent();
    let mut to = from.beside(GENEROUS_SHOW);
    to.make_seed_part(100_000, 1_000, 1, PacketKind::Plain, 1);
    to.start_agent();

    let mut phones = Vec::new();
    for user in 1..=USERS {
        let phone = hello(&from, user, Bytes::new()).await;
        let packet = phone.win().await;
        phones.push((user, phone, packet));
    }

    let alternative = to.address.to_string();
    let drain = from.operate(&["drain", "--over", "6s", "--alternative", &alternative]);
    assert!(drain.is_good && drain.text.contains("40 sessions"), "{drain:?}");
    let again = from.operate(&["drain", "--yes"]);
    assert!(!again.is_good && again.text.contains("draining already"), "{again:?}");
    assert!(
        from.http("/ready")
            .is_some_and(|answer| answer.status == 503 && answer.text.contains("draining"))
    );
    from.cannot_connect().await;

    let mut opened = 0;
    for (user, phone, packet) in phones {
        let go_away = told_to_go(&phone).await;
        assert_eq!(go_away.alternatives, [alternative.as_str()]);
        let is_careless = user == USERS;
        if !is_careless {
            // What was won here is opened here, before leaving.
            assert!(matches!(
                phone.claim_patiently(&packet.ticket).await,
                Claimed::Opened(_)
            ));
            opened += 1;
        }
        phone.connection.close(Code::Done.number().into(), b"");
        let phone = hello(&to, user, packet.cookie).await;
        let more = phone.win().await;
        assert!(matches!(phone.claim_patiently(&more.ticket).await, Claimed::Opened(_)));
        if is_careless {
            // The keys are the fleet's, so the ticket is authentic there; but it is of another ledger.
            let other = v1::Refused {
                reason: v1::Reason::TicketOtherEvent as i32,
            };
            assert_eq!(phone.claim_patiently(&packet.ticket).await, Claimed::Refused(other));
        }
    }
    assert_eq!(from.gateway_ended(), Some(0));
    from.stop_agent();
    let (here, there) = (from.audit(), to.audit());
    let packets =
        |report: &shake_agent::audit::Report| report.phases.iter().map(|row| row.credits.credits).sum::<u64>();
    assert_eq!((packets(&here), packets(&there)), (opened, USERS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_drain_ends_as_soon_as_all_have_left() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let phone = hello(&stand, 1, Bytes::new()).await;
    let begun = Instant::now();
    assert!(stand.operate(&["drain", "--over", "10m", "--yes"]).is_good);
    phone.connection.close(Code::Done.number().into(), b"");
    assert_eq!(stand.gateway_ended(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(60), "it waited for nobody");
}

/// The agent here has lost its part: phones are told where else to go, nobody new is let in, and all goes on when an agent comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_part_is_lost_sends_its_phones_away() {
    let mut stand = Stand::new(GENEROUS_SHOW, "[leave]\nto = [\"gateway.example:4433\"]\nover_s = 2\n");
    stand.make_seed(60_000, 600);
    let phone = hello(&stand, 1, Bytes::new()).await;
    let mapping = Mapping::open(&stand.path("queue")).expect("the gateway's");
    let agent = mapping.attach(Side::Back, 1).expect("there is none");
    let lost = AgentStatus {
        part_lost: true,
        ..AgentStatus::default()
    };
    // Of a ledger that is halted it is the same everywhere.
    let halted = AgentStatus {
        ledger_halted: true,
        ..lost
    };
    agent.set_status(halted.encode());
    wait("the part is lost", || {
        stand.metric("gateway_degraded{mode=\"part_lost\"}") == 1
    });
    assert!(stand.is_ready());
    agent.set_status(lost.encode());
    assert_eq!(told_to_go(&phone).await.alternatives, ["gateway.example:4433"]);
    wait("it is not ready", || !stand.is_ready());
    stand.cannot_connect().await;
    phone.connection.closed().await;
    stand.cannot_connect().await;
    drop(agent);
    stand.start_agent();
    wait("it is ready again", || stand.is_ready());
    let won = stand.user(2).await.win().await;
    stand.user(2).await.opens(&won).await;
}
