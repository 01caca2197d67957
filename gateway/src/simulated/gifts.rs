//! Gifts to random users, by users and not by sessions, with an agent that reads or not; and what waits for a user.

use super::common::GENEROUS_SHOW;
use super::house::House;
use crate::load::modes::{Facts, Judge, Mode};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A show in which nothing is won but gifts.
fn show(gifts: &str) -> String {
    let show = GENEROUS_SHOW.replace("red_packet = 1", "nothing = 1");
    format!("[gifts]\nbudget_cents = 5000\n{show}gifts = {{ {gifts}, recipients = 1, min_cents = 1, max_cents = 1 }}\n")
}

#[test]
fn gifts_go_by_users_and_not_by_sessions() {
    const GIFTS: usize = 600;
    let house = House::new(&show("per_second = 200"), "");
    let given = house.play(|town| async move {
        // One user with ninety sessions beside ten with one each, who come first: gifts go out from the beginning.
        for user in 2..=11 {
            town.user(user).await;
        }
        for _ in 0..90 {
            town.user(1).await;
        }
        town.agent().come();
        town.until("so many are given", || town.agent().gifts.len() >= GIFTS)
            .await;
        let mut given = BTreeMap::new();
        for gift in &town.agent().gifts[..GIFTS] {
            *given.entry(gift.recipients[0]).or_insert(0) += 1;
        }
        given
    });
    // Each of eleven expects 54.5, with a deviation of seven: six of those either way.
    assert_eq!(given.len(), 11, "{given:?}");
    assert!(given.values().all(|count| (12..98).contains(count)), "{given:?}");
}

#[test]
fn ring_full() {
    let house = House::new(&show("per_second = 3000"), "");
    house.play(|town| async move {
        for user in 1..=8 {
            town.user(user).await;
        }
        town.agent().name_ledger();
        let mut judge = Judge::default();
        let mut is_degraded = || {
            let facts = Facts {
                monotonic_ms: town.now().as_millis() as u64,
                was_ring_full: town.shared.board.shards[0].was_ring_full.swap(false, Relaxed),
                ..Facts::default()
            };
            let live = town.shared.current.load();
            judge.look(&facts, &live.throttle.modes).has(Mode::RingFull)
        };
        assert!(!is_degraded(), "there is room at first");
        // Nobody reads the ring of requests, and each gift stands in it.
        town.until("the ring is full", &mut is_degraded).await;
        town.sleep(Duration::from_millis(100)).await;
        assert!(town.metric("gateway_gifts_missed_total") > 0);
        town.agent().come();
        town.until("there is room again", || !is_degraded()).await;
    });
}

/// What waits for a user is asked for at most once in ten seconds for each session; a Hello in between is not forgotten.
#[test]
fn offers_are_told_again_later_and_not_lost() {
    let house = House::new(GENEROUS_SHOW, "").with_agent(0);
    house.play(|town| async move {
        let offers = || town.metric("gateway_asks_total{kind=\"offers\"}");
        let phone = town.phone().await;
        for _ in 0..4 {
            phone.hello_and_listen(town.token(1)).await.expect("a good Hello");
            assert_eq!(offers(), 1, "the others are put off");
        }
        town.until("what was put off is asked", || offers() == 2).await;
        phone.shake(1).await;
        assert_eq!(offers(), 2, "for three Hellos once");
        // While the agent is away it is put off as well.
        town.agent().is_here = false;
        town.sleep(Duration::from_secs(2)).await;
        let late = town.phone().await;
        late.hello_and_listen(town.token(1)).await.expect("a good Hello");
        town.sleep(Duration::from_secs(15)).await;
        assert_eq!(offers(), 2, "nobody is there to be asked");
        town.agent().come();
        town.until("it is asked once the agent is back", || offers() == 3).await;
    });
}
