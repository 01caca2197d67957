//! What users do with packets among themselves, over real QUIC, two processes and a real ledger: split, send, grab,
//! view, wallet, gifts, notices.

mod support;

use bytes::Bytes;
use local_postgres::Server;
use nix::sys::signal::Signal;
use shake_agent::audit::fleet::audit_shared;
use shake_agent::ledger::{PRIMARY_MAX, Place};
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::request::capability;
use shake_proto::wire::v1;
use shake_rules::seed::PacketKind;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{GENEROUS_SHOW, PATIENCE, Phone, Stand, two_gateways};
use v1::claim_reply::Result as Claimed;
use v1::grab_reply::Result as Grabbed;
use v1::packet_view_reply::Result as Viewed;
use v1::reply::Kind as Reply;
use v1::request::Kind;
use v1::send_reply::Result as Sent;
use v1::wallet_reply::Result as Wallet;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

async fn open(phone: &Phone) -> v1::Opened {
    let packet = phone.win().await;
    match phone.claim_patiently(&packet.ticket).await {
        Claimed::Opened(opened) => opened,
        other => panic!("not opened: {other:?}"),
    }
}

async fn grab(phone: &Phone, code: &Bytes) -> Grabbed {
    match phone.request(Kind::Grab(v1::Grab { code: code.clone() })).await {
        Ok(Reply::Grab(reply)) => reply.result.expect("a result"),
        other => panic!("a grab was answered by {other:?}"),
    }
}

async fn view(phone: &Phone, code: &Bytes) -> v1::PacketState {
    match phone
        .request(Kind::PacketView(v1::PacketView { code: code.clone() }))
        .await
    {
        Ok(Reply::PacketView(v1::PacketViewReply {
            result: Some(Viewed::State(state)),
        })) => state,
        other => panic!("a view was answered by {other:?}"),
    }
}

async fn balance(phone: &Phone) -> u64 {
    match phone.request(Kind::Wallet(v1::Wallet {})).await {
        Ok(Reply::Wallet(v1::WalletReply {
            result: Some(Wallet::State(state)),
        })) => state.balance_cents,
        other => panic!("a wallet was answered by {other:?}"),
    }
}

async fn send(phone: &Phone, key: u8, total_cents: u64, shares: u32, recipients: Vec<u64>) -> Sent {
    let send = v1::Send {
        idempotency_key: vec![key; 16].into(),
        total_cents,
        shares,
        recipients,
    };
    match phone.request(Kind::Send(send)).await {
        Ok(Reply::Send(reply)) => reply.result.expect("a result"),
        other => panic!("a send was answered by {other:?}"),
    }
}

/// A phone that takes notices.
async fn listener(stand: &Stand, user: u64) -> Phone {
    let phone = stand.phone().await;
    let hello = v1::Hello {
        token: stand.token(user),
        capabilities: capability::NOTICES,
        ..Default::default()
    };
    phone.hello_with(hello).await.expect("a good Hello");
    phone
}

async fn offered(phone: &Phone) -> v1::PacketOffered {
    let notice = async {
        let mut stream = phone.connection.accept_uni().await.expect("an open connection");
        let bytes = stream.read_to_end(REPLY_BYTES_MAX).await.expect("a whole notice");
        frame::decode_stream::<v1::Notice>(bytes.into(), REPLY_BYTES_MAX).expect("a notice")
    };
    match tokio::time::timeout(PATIENCE, notice)
        .await
        .expect("a notice in time")
        .kind
    {
        Some(v1::notice::Kind::PacketOffered(offered)) => offered,
        other => panic!("not an offer: {other:?}"),
    }
}

fn end(mut stand: Stand) -> shake_agent::audit::Report {
    stand.stop_gateway(Signal::SIGTERM);
    stand.stop_agent();
    stand.audit()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_split_packet_is_shared_among_friends() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed_of(20_000, 100, 1, PacketKind::Split { shares: 4 });
    stand.start_agent();
    let winner = stand.user(1).await;
    let opened = open(&winner).await;
    assert!(!opened.code.is_empty() && opened.cents > 0);
    let mut shares = vec![opened.cents];
    for user in 2..=4 {
        let friend = stand.user(user).await;
        let Grabbed::Grabbed(first) = grab(&friend, &opened.code).await else {
            panic!("a share is left")
        };
        assert!(!first.repeat);
        assert_eq!(
            grab(&friend, &opened.code).await,
            Grabbed::Grabbed(v1::Grabbed { repeat: true, ..first })
        );
        assert_eq!(balance(&friend).await, first.cents);
        shares.push(first.cents);
    }
    assert!(matches!(
        grab(&stand.user(5).await, &opened.code).await,
        Grabbed::Empty(_)
    ));
    let state = view(&winner, &opened.code).await;
    assert_eq!((state.shares, state.shares_left, state.cents_left), (4, 0, 0));
    assert_eq!(state.total_cents, shares.iter().sum::<u64>());
    assert_eq!(state.taken.iter().map(|share| share.cents).collect::<Vec<_>>(), shares);
    let best: Vec<_> = state
        .taken
        .iter()
        .filter(|share| share.best)
        .map(|share| share.cents)
        .collect();
    assert_eq!(best, [shares.iter().copied().max().expect("four shares")]);
    assert_eq!(end(stand).total.opened.cents, shares.iter().sum::<u64>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sent_packet_reaches_its_recipients_online_or_later() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(20_000, 100);
    stand.start_agent();
    let sender = stand.user(1).await;
    let mut funds = 0;
    while funds < 100 {
        funds += open(&sender).await.cents;
    }
    let online = listener(&stand, 2).await;
    let Sent::Sent(sent) = send(&sender, 1, 100, 2, vec![2, 3]).await else {
        panic!("the balance covers it")
    };
    assert_eq!(balance(&sender).await, funds - 100);
    let offer = offered(&online).await;
    assert_eq!((offer.code.clone(), offer.from_user_id), (sent.code.clone(), 1));
    let late = listener(&stand, 3).await;
    assert_eq!(offered(&late).await.code, sent.code);

    let stranger = stand.user(4).await;
    let not_entitled = v1::Refused {
        reason: v1::Reason::NotEntitled as i32,
    };
    assert_eq!(grab(&stranger, &sent.code).await, Grabbed::Refused(not_entitled));
    let mut got = 0;
    for phone in [&online, &late] {
        let Grabbed::Grabbed(share) = grab(phone, &sent.code).await else {
            panic!("a share is left")
        };
        got += share.cents;
    }
    assert_eq!(got, 100);
    // The same key again gets the first answer; too much is refused.
    assert_eq!(
        send(&sender, 1, 100, 2, vec![2, 3]).await,
        Sent::Sent(v1::Sent { repeat: true, ..sent })
    );
    let no_funds = v1::Refused {
        reason: v1::Reason::Balance as i32,
    };
    assert_eq!(send(&sender, 2, funds, 2, vec![]).await, Sent::Refused(no_funds));
    end(stand);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fifty_connections_hammering_one_send_and_one_grab_get_it_once() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(20_000, 100);
    stand.start_agent();
    let sender = stand.user(1).await;
    let mut before = 0;
    while before < 60 {
        before += open(&sender).await.cents;
    }
    assert_eq!(balance(&sender).await, before);
    let answers = stand.hammer(1, |phone| async move { send(&phone, 9, 60, 3, vec![]).await });
    let mut codes = Vec::new();
    let mut firsts = 0;
    for answer in answers.await {
        let Sent::Sent(sent) = answer else { panic!("refused") };
        firsts += usize::from(!sent.repeat);
        codes.push(sent.code);
    }
    assert_eq!(firsts, 1);
    assert!(codes.iter().all(|code| *code == codes[0]));
    // From another session: the sender's was silent meanwhile, and may have given way.
    assert_eq!(balance(&stand.user(1).await).await, before - 60);

    let answers = stand.hammer(2, |phone| {
        let code = codes[0].clone();
        async move { grab(&phone, &code).await }
    });
    let mut shares = Vec::new();
    let mut firsts = 0;
    for answer in answers.await {
        let Grabbed::Grabbed(share) = answer else {
            panic!("refused")
        };
        firsts += usize::from(!share.repeat);
        shares.push(share.cents);
    }
    assert_eq!(firsts, 1);
    assert!(shares.iter().all(|share| *share == shares[0]));
    assert_eq!(balance(&stand.user(2).await).await, shares[0]);
    end(stand);
}

/// Asks until the answer is not Busy.
async fn patiently<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "busy for too long");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One user asks the same at both gateways, from 51 connections at each: it happens once, and each gets the same answer, which is
/// given here.
async fn once<T, F>(stands: &[Stand; 2], user: u64, ask: impl Fn(Arc<Phone>) -> F) -> T
where
    T: Debug + PartialEq + Send + 'static,
    F: Future<Output = (bool, T)> + Send + 'static,
{
    let [here, there] = stands;
    let (mut answers, more) = tokio::join!(here.hammer(user, &ask), there.hammer(user, &ask));
    answers.extend(more);
    let firsts = answers.iter().filter(|(is_repeat, _)| !is_repeat).count();
    assert_eq!(firsts, 1, "of {} answers", answers.len());
    let (_, first) = answers.remove(0);
    assert!(answers.iter().all(|(_, answer)| *answer == first), "{answers:?}");
    first
}

/// One claim, one send and one grab. Gives the packet that was opened, and the share.
async fn hammer_each_kind(stands: &[Stand; 2]) -> (u64, u64) {
    let won = {
        // What is won at either gateway opens at both.
        let phones = [stands[0].user(1).await, stands[1].user(1).await];
        let mut funds = 0;
        while funds < 60 {
            funds += open(&phones[1]).await.cents;
        }
        phones[0].win().await
    };
    let opened = once(stands, 1, |phone| {
        let ticket = won.ticket.clone();
        async move {
            match phone.claim_patiently(&ticket).await {
                Claimed::Opened(opened) => (opened.repeat, (opened.packet_id, opened.cents)),
                other => panic!("not opened: {other:?}"),
            }
        }
    });
    let (opened, _) = opened.await;

    let code = once(stands, 1, |phone| async move {
        let sent = || async {
            match send(&phone, 9, 60, 3, vec![]).await {
                Sent::Sent(sent) => Some((sent.repeat, sent.code)),
                Sent::Busy(_) => None,
                other => panic!("not sent: {other:?}"),
            }
        };
        patiently(sent).await
    });
    let code = code.await;

    let share = once(stands, 2, |phone| {
        let code = code.clone();
        async move {
            let grabbed = || async {
                match grab(&phone, &code).await {
                    Grabbed::Grabbed(share) => Some((share.repeat, share.cents)),
                    Grabbed::Busy(_) => None,
                    other => panic!("not grabbed: {other:?}"),
                }
            };
            patiently(grabbed).await
        }
    });
    (opened, share.await)
}

#[test]
fn connections_of_two_gateways_hammering_one_claim_one_send_and_one_grab_get_it_once() {
    let server = Server::start(&std::env::temp_dir(), &["fsync=off"]).expect("a PostgreSQL");
    let mut stands = two_gateways(&server);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let (opened, share) = runtime.expect("a runtime").block_on(hammer_each_kind(&stands));
    for stand in &mut stands {
        assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
        assert_eq!(stand.stop_agent(), Some(0));
    }
    let place = Place::Server {
        access: Box::new(server.config("event").into()),
        primary_max: Some(PRIMARY_MAX),
    };
    let report = audit_shared(&stands[0].path("seeds"), &place, None, |_, _, _| ()).expect("an audit");
    assert!(report.balanced, "{report:#?}");
    for (lines, number) in [
        ("kind = 1 AND packet = ", opened.cast_signed()),
        ("kind = 5 AND -cents = ", 60),
        ("kind = 2 AND cents = ", share.cast_signed()),
    ] {
        let question = format!("SELECT count(*) FROM outbox WHERE {lines}{number}");
        assert_eq!(server.number("event", &question).expect("a number"), 1, "{question}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn gifts_reach_random_users_who_are_online() {
    let show = format!(
        "[gifts]\nbudget_cents = 5000\n{}gifts = {{ per_second = 50, recipients = 2, min_cents = 10, max_cents = 30 }}\n",
        GENEROUS_SHOW.replace("red_packet = 1", "nothing = 1")
    );
    let mut stand = Stand::new(&show, "");
    stand.make_seed(2_000, 10);
    let phones = [
        listener(&stand, 1).await,
        listener(&stand, 2).await,
        listener(&stand, 3).await,
    ];
    stand.start_agent();
    let offer = offered(&phones[0]).await;
    assert_eq!(offer.from_user_id, 0, "from the event");
    let Grabbed::Grabbed(share) = grab(&phones[0], &offer.code).await else {
        panic!("the gift is for this user")
    };
    // Whose shard has nobody else gets all of it.
    assert!((1..=30).contains(&share.cents), "{share:?}");
    assert_eq!(balance(&phones[0]).await, share.cents);
    drop(phones);
    end(stand);
}
