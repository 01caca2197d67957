//! What all sessions are told: a new phase, and to go away, each at a time of its own, and then the close.

use super::common::GENEROUS_SHOW;
use super::house::House;
use crate::config_store::Live;
use shake_proto::code::Code;
use shake_proto::wire::v1::notice::Kind as Notice;
use shake_rules::show::Show;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Nothing until the cue.
const CUED: &str =
    "[cues]\ngo = \"\"\n[[phases]]\nname = \"cued\"\ncue = \"go\"\nend_s = 60\nweights = { greeting = 1 }\n";

#[test]
fn phones_that_take_notices_are_told_of_a_new_phase() {
    let house = House::new(CUED, "");
    house.play(|town| async move {
        let (phone, deaf) = (town.phone().await, town.user(2).await);
        phone.hello_and_listen(town.token(1)).await.expect("a good Hello");
        let cued = CUED.replace("go = \"\"", "go = \"2027-01-15T08:00:30Z\"");
        let live = town.shared.current.load();
        town.shared.current.store(Live {
            version: 2,
            show: Arc::new(Show::parse(&cued, town.unix()).expect("a good show")),
            stages: live.stages.clone(),
            throttle: Arc::clone(&live.throttle),
        });
        let mut told = Vec::new();
        for _ in 0..2 {
            let Notice::PhaseChanged(changed) = phone.notice().await else {
                panic!("another notice");
            };
            assert_eq!(changed.config_version, 2);
            told.push((
                town.now().as_secs(),
                changed.current_phase.map(|phase| phase.name),
                changed.next_phase.map(|phase| phase.name),
            ));
        }
        let cued = || Some("cued".to_owned());
        assert_eq!(told, [(0, None, cued()), (30, cued(), None)]);
        assert_eq!(town.metric("gateway_notices_total"), 2, "who takes none is told none");
        assert!(deaf.is_served().await);
    });
}

#[test]
fn a_drain_tells_each_phone_a_time_of_its_own_and_closes_who_stays() {
    const USERS: u64 = 40;
    let house = House::new(GENEROUS_SHOW, "").with_agent(200);
    house.play(|town| async move {
        let mut phones = Vec::new();
        for user in 1..=USERS {
            let phone = town.phone().await;
            phone.hello_and_listen(town.token(user)).await.expect("a good Hello");
            phone.win().await;
            phones.push(phone);
        }
        // Takes no notices, and stays until it is closed.
        let deaf = town.user(1_000).await;
        let (begun, window) = (town.instant(), Duration::from_secs(6));
        let alternative = "gateway.example:4433".to_owned();
        let current = &town.shared.current;
        current.begin_drain(begun, begun + window, vec![alternative.clone()]);
        town.cannot_connect(0).await;
        assert_eq!(town.metric("gateway_connections_refused_total{reason=\"going\"}"), 1);
        // Served still, but nothing more is given out.
        assert!(deaf.shake(1).await.red_packet.is_none());
        let mut waits = BTreeSet::new();
        for phone in &phones {
            let Notice::GoAway(go_away) = phone.notice().await else {
                panic!("another notice");
            };
            assert_eq!(go_away.alternatives, [alternative.as_str()]);
            assert!(go_away.reconnect_after_ms <= 4_500, "{}", go_away.reconnect_after_ms);
            waits.insert(go_away.reconnect_after_ms);
        }
        assert!(waits.len() > USERS as usize / 2, "not spread: {waits:?}");
        let told_after = town.instant() - begun;
        assert!(told_after <= window / 2 + Duration::from_millis(100), "{told_after:?}");
        for phone in phones {
            phone.close();
        }
        let (code, at) = deaf.closed().await;
        assert_eq!(code, Code::GoingAway);
        let after = town.began + at - begun;
        assert!((window.mul_f64(0.75)..window).contains(&after), "{after:?}");
    });
}
