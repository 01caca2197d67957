//! Wins and claims: of sessions that slept between them, and of others' tickets.

use super::common::GENEROUS_SHOW;
use super::house::House;
use super::phone::{Phone, claim_of, claimed};
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind};
use shake_rules::UserId;
use v1::claim_reply::Result as Claimed;

/// In builds for tests a shard lets all sessions but some sleep as soon as they are quiet.
#[test]
fn sessions_that_slept_go_on_where_they_were() {
    const PHONES: u64 = 20;
    const ROUNDS: u32 = 3;
    let house = House::new(GENEROUS_SHOW, "").with_agent(200);
    house.play(|town| async move {
        let mut phones = Vec::new();
        for user in 1..=PHONES {
            phones.push(town.user(user).await);
        }
        let sleep = || {
            town.until("nearly all of them sleep", || {
                town.metric("gateway_sessions_asleep") >= PHONES - 6
            })
        };
        for round in 0..ROUNDS {
            sleep().await;
            for phone in &phones {
                let shaken = phone.shake_by_datagram(10 + round).await;
                assert_eq!(shaken.sequence, 10 + round);
            }
            sleep().await;
            let mut tickets = Vec::new();
            for phone in &phones {
                tickets.push(phone.win().await.ticket);
            }
            sleep().await;
            for (phone, ticket) in phones.iter().zip(tickets) {
                let claimed = phone.claim(ticket).await;
                assert!(
                    matches!(&claimed, Claimed::Opened(opened) if !opened.repeat),
                    "{claimed:?}"
                );
            }
        }
        sleep().await;
        assert_eq!(town.agent().opened.len(), (PHONES as u32 * ROUNDS) as usize);
        town.stop_gateway();
        for phone in &phones {
            assert_eq!(phone.closed().await.0, Code::GoingAway);
        }
    });
}

/// A code is refused before the ledger is asked.
async fn refuses_guessed_codes(thief: &Phone, number: u64) {
    let mut code = [0; 24];
    code[..8].copy_from_slice(&number.to_le_bytes());
    for length in [8, 16, 20, 24] {
        let code = Bytes::copy_from_slice(&code[..length]);
        let grabbed = thief.request(Kind::Grab(v1::Grab { code })).await;
        let refused = v1::Refused {
            reason: v1::Reason::PacketUnknown as i32,
        };
        let result = Some(v1::grab_reply::Result::Refused(refused));
        assert_eq!(grabbed, Ok(Reply::Grab(v1::GrabReply { result })));
    }
}

#[test]
fn nobody_is_paid_for_anothers_ticket() {
    const THIEF: u64 = 1_000;
    let house = House::new(GENEROUS_SHOW, "").with_agent(200);
    house.play(|town| async move {
        let thief = town.user(THIEF).await;
        for user in 1..=10 {
            // As many sessions as one user may have.
            let mut winners = Vec::new();
            for _ in 0..4 {
                winners.push(town.user(user).await);
            }
            let ticket = winners[0].win().await.ticket;
            let foreign = v1::Refused {
                reason: v1::Reason::TicketForeign as i32,
            };
            assert_eq!(thief.claim(ticket.clone()).await, Claimed::Refused(foreign));
            for at in 0..ticket.len() {
                let mut altered = ticket.to_vec();
                altered[at] ^= 1 << (at % 8);
                let answer = thief.claim(altered.into()).await;
                assert!(matches!(answer, Claimed::Refused(_)), "byte {at}: {answer:?}");
            }
            refuses_guessed_codes(&thief, user).await;
            // All at once: one opens it, and each hears the answer to its own question.
            let asked: Vec<_> = winners
                .iter()
                .map(|phone| phone.ask(claim_of(ticket.clone())))
                .collect();
            let mut repeats = Vec::new();
            for (phone, number) in winners.iter().zip(asked) {
                match claimed(phone.answer(number).await) {
                    Claimed::Opened(opened) => repeats.push(opened.repeat),
                    other => panic!("not opened: {other:?}"),
                }
            }
            assert_eq!(repeats.iter().filter(|repeat| !**repeat).count(), 1, "{repeats:?}");
            assert_eq!(town.agent().asked[&UserId(user)], 4);
        }
        assert_eq!(town.agent().opened.len(), 10);
        assert!(!town.agent().asked.contains_key(&UserId(THIEF)), "all refused at once");
        assert_eq!(town.metric("gateway_asks_refused_total{reason=\"ticket_foreign\"}"), 10);
    });
}
