//! What a phone meets that shakes too often: a named refusal with a time to retry, then silence.

use super::common::GENEROUS_SHOW;
use super::house::House;
use shake_rules::grade::Grade;
use std::time::Duration;

#[test]
fn who_shakes_too_often_is_told_once_and_then_not_answered() {
    let rules = "user = { per_second = 0.5, burst = 5 }\nretry_ms = [60000, 60000]\npace_ms = [2000, 2000]\n";
    let higher = format!("[[grades]]\nenter = {{}}\nleave = {{}}\n{rules}").repeat(4);
    let house = House::new(GENEROUS_SHOW, "").with_throttle(format!("[[grades]]\n{rules}{higher}"));
    house.play(|town| async move {
        town.shared.board.set_grade(Grade::new(4));
        let phone = town.user(1).await;
        let mut told = Vec::new();
        for sequence in 0..60 {
            phone.send_shake(sequence);
            town.sleep(Duration::from_millis(10)).await;
            told.extend(phone.shaken().and_then(|reply| reply.slow_down));
        }
        let [slow_down] = &told[..] else {
            panic!("told {} times", told.len());
        };
        assert_eq!((slow_down.grade, slow_down.retry_after_ms), (4, 60_000));
        // Most are dropped unread, the rest unanswered.
        let mut sequences = 60..;
        town.until("they are dropped", || {
            phone.send_shake(sequences.next().expect("without end"));
            let shed = town.metric("gateway_packets_shed_total{reason=\"over_rate\"}");
            shed >= 10 && town.metric("gateway_datagrams_dropped_total{reason=\"told_before\"}") >= 1
        })
        .await;
        assert_eq!(
            town.metric("gateway_shakes_refused_total{reason=\"user_rate\"}"),
            1,
            "told once"
        );
        // A request on a stream arrives all the same, by QUIC's retransmission; when it does, the cell may allow a shake again.
        assert_eq!(phone.shake(7).await.sequence, 7);
    });
}

/// Users behind one prefix have what it has, not what each may; they are refused by name.
#[test]
fn the_shakes_of_a_prefix_can_be_limited() {
    let limit = "prefix_shakes = { per_second = 0.001, burst = 6 }\nretry_ms = [60000, 60000]\n";
    let higher = "[[grades]]\nenter = {}\nleave = {}\n".repeat(4);
    let house = House::new(GENEROUS_SHOW, "").with_throttle(format!("[[grades]]\n{limit}{higher}"));
    house.play(|town| async move {
        let mut served = Vec::new();
        for user in 1..=2 {
            let phone = town.user(user).await;
            for sequence in 0..6 {
                served.push(phone.shake(sequence).await.slow_down.is_none());
            }
        }
        let (first, second) = served.split_at(6);
        assert!(first.iter().all(|served| *served), "{served:?}");
        assert!(!second.iter().any(|served| *served), "{served:?}");
        assert!(town.metric("gateway_shakes_refused_total{reason=\"prefix_rate\"}") >= 1);
        assert_eq!(town.metric("gateway_shakes_refused_total{reason=\"user_rate\"}"), 0);
        // The next prefix has its own.
        let stranger = town.phone_of(1).await.expect("a connection");
        stranger.hello(town.token(3)).await.expect("a good Hello");
        assert!(stranger.is_served().await);
    });
}
