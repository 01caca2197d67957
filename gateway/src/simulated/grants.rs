//! What becomes of the packets in hand when they are not wanted any more.

use super::house::House;
use super::phone::Phone;
use super::town::Town;
use shake_proto::handoff::record::Grant;
use shake_rules::{PacketId, SponsorId};
use std::collections::BTreeSet;
use std::time::Duration;

/// Two phases of a sponsor each, with a pause between; every shake wins.
const SHOW: &str = r#"
[limits]
packets_per_user = 8
packets_per_sponsor = 8
[[sponsors]]
id = 1
name = "one"
[[sponsors]]
id = 2
name = "two"
[[phases]]
start_s = 0
end_s = 30
releases_per_second = 1e6
weights = { red_packet = 1 }
sponsors = { 1 = 1 }
[[phases]]
start_s = 60
end_s = 120
releases_per_second = 1e6
weights = { red_packet = 1 }
sponsors = { 2 = 1 }
"#;
/// Packets that the agent has the shard hold.
const IN_HAND: usize = 32;

const ONE: SponsorId = SponsorId(1);
const TWO: SponsorId = SponsorId(2);

async fn until_s(town: &Town, s: u64) {
    town.sleep(Duration::from_secs(s).saturating_sub(town.now())).await;
}

async fn win(phone: &Phone) -> u32 {
    phone.win().await.sponsor_id
}

/// What came back, each where it stood, and each of it once.
fn returned(town: &Town) -> Vec<Grant> {
    let agent = town.agent();
    let grants: Vec<Grant> = agent
        .returned
        .iter()
        .map(|returned| agent.given[returned.position as usize])
        .collect();
    let packets: BTreeSet<PacketId> = agent.returned.iter().map(|returned| returned.packet).collect();
    assert!(
        grants
            .iter()
            .map(|grant| grant.packet)
            .eq(agent.returned.iter().map(|it| it.packet))
    );
    assert_eq!(packets.len(), grants.len(), "one came back twice");
    grants
}

#[test]
fn what_a_phase_does_not_want_goes_back_and_at_a_drain_all_does() {
    let house = House::new(SHOW, "").with_lasting_phones().with_agent(0);
    house.play(|town| async move {
        let give = |sponsors: &[SponsorId], packets| {
            let mut agent = town.agent();
            agent.sponsors = sponsors.to_vec();
            agent.packets = packets;
        };
        give(&[ONE], 64);
        let phone = town.user(1).await;
        assert_eq!(win(&phone).await, 1);
        // In the pause nothing goes back: what comes next is not released yet.
        until_s(&town, 40).await;
        assert_eq!(returned(&town), []);
        // The agent goes by the same show; and here also gives some that nobody wants.
        give(&[TWO, ONE], 20);
        until_s(&town, 61).await;
        let first = returned(&town);
        assert_eq!(first.iter().filter(|grant| grant.sponsor == ONE).count(), first.len());
        assert!(first.len() >= IN_HAND, "{}", first.len());
        for _ in 0..3 {
            assert_eq!(win(&phone).await, 2);
        }
        let given = town.agent().given.len();
        let now = town.instant();
        let current = &town.shared.current;
        current.begin_drain(now, now + Duration::from_secs(6), Vec::new());
        let all_is_back = || returned(&town).len() + 4 == given;
        town.until("all came back that was not won", all_is_back).await;
        town.sleep(Duration::from_secs(1)).await;
        assert_eq!(
            town.agent().given.len(),
            given,
            "nothing is given to a gateway that drains"
        );
        assert_eq!(
            town.metric("gateway_grants_returned_total"),
            returned(&town).len() as u64
        );
        assert_eq!(town.metric("gateway_wins_total"), 4);
    });
}

#[test]
fn after_the_last_phase_all_goes_back() {
    House::new(SHOW, "").with_agent(0).play(|town| async move {
        town.agent().packets = IN_HAND as u64;
        town.agent().sponsors = vec![TWO];
        until_s(&town, 119).await;
        assert_eq!(returned(&town).len(), IN_HAND, "of the phase before");
        town.agent().packets = IN_HAND as u64 + 1;
        let phone = town.user(1).await;
        assert_eq!(win(&phone).await, 2);
        assert_eq!(returned(&town).len(), IN_HAND);
        until_s(&town, 121).await;
        assert_eq!(returned(&town).len(), 2 * IN_HAND);
    });
}
