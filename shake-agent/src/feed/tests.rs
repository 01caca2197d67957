//! What is released, and to whom.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::tests::support::Event;
use shake_rules::Cents;
use shake_rules::show::Show;

const SHOW: &str = r#"
[event]
id = 7
starts = "1970-01-01T00:00:00Z"
[[sponsors]]
id = 1
[[phases]]
start_s = 0
end_s = 10
releases_per_second = 7
weights = { red_packet = 1 }
[[phases]]
start_s = 20
end_s = 30
releases_per_second = 1e6
weights = { red_packet = 1 }
"#;

#[test]
fn grants_in_hand_last_for_so_long_and_none_are_wanted_after_the_show() {
    let event = Event::in_memory(10);
    let seed = SeedFile::open(&event.seed()).unwrap();
    let bound = Bound {
        header: *seed.header(),
        version: 0,
        identity: None,
        gift_budget: Cents(0),
        released: BTreeMap::new(),
    };
    let show = Show::parse(SHOW, UnixMillis(0)).unwrap();
    let feed = Feed::new(seed, &bound, show.phases, 8);
    let in_hand = |feed: &Feed, s: u64, shards| feed.in_hand(UnixMillis(s * 1_000), shards);
    assert_eq!([0, 15, 25, 30].map(|s| in_hand(&feed, s, 2)), [8, 8, 8, 0]);
    let feed = feed.lasting(Duration::from_secs(30));
    assert_eq!([0, 15, 25, 30].map(|s| in_hand(&feed, s, 2)), [105, 105, 4_096, 0]);
    assert_eq!(in_hand(&feed, 0, 64), 8, "at the least");
}

#[test]
fn lanes_take_turns() {
    assert_eq!(deal(&[2, 0, 3], 10, 1), [2, 0, 2, 0, 2]);
    assert_eq!(deal(&[2, 2], 3, 0), [0, 1, 0]);
    assert_eq!(deal(&[0, 0], 3, 0), [] as [usize; 0]);
}
