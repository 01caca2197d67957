//! The resource packages of the manifest.

use super::errands::answer;
use super::*;

#[test]
fn packages_are_fetched_within_their_window_and_the_run() {
    let mut habits = habits();
    habits.packages.fetch_share = 1.0;
    let package = |id, fetch_after_ms, fetch_before_ms| v1::Resource {
        id,
        address: "http://127.0.0.1:1/a".into(),
        size_bytes: 1,
        sha256: Bytes::from_static(&[0; 32]),
        fetch_after_ms,
        fetch_before_ms,
    };
    let hello = v1::HelloReply {
        server_time_ms: 1_000_000,
        manifest: Some(v1::ResourceManifest {
            version: 4,
            // Under way, to come, over, and after the run.
            resources: vec![
                package(1, 0, 1_005_000),
                package(2, 1_050_000, 9_000_000),
                package(3, 0, 1_000_000),
                package(4, 1_060_000, 9_000_000),
            ],
        }),
        ..Default::default()
    };
    let mut tally = Tally::default();
    let mut user = User::new(0, 77, &habits);
    let actions = user.on_hello(
        ms(500),
        answer(v1::reply::Kind::Hello(hello.clone())),
        &habits,
        &mut tally,
    );
    let planned: Vec<_> = actions
        .expect("welcome")
        .into_iter()
        .map(|action| match action {
            Action::Fetch(fetch) => (fetch.id, fetch.at),
            other => panic!("a fetch, not {other:?}"),
        })
        .collect();
    assert_eq!(planned.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    assert!(planned[0].1 <= ms(5_500) && planned[1].1 >= ms(50_500) && planned[1].1 <= ms(60_500));
    assert_eq!((tally.packages.begun, tally.packages.outside_window), (2, 2));
    assert_eq!(user.hello(Bytes::new()).resource_version, 4);
    for (id, unknown) in [(0, 0), (2, 0), (5, 1)] {
        tally.resource(id);
        assert_eq!(tally.packages.unknown_ids, unknown);
    }
    // The sixth of all is beyond the sample.
    let mut beyond = User::new(5, 82, &habits);
    let actions = beyond.on_hello(ms(0), answer(v1::reply::Kind::Hello(hello)), &habits, &mut tally);
    assert_eq!(actions, Ok(Vec::new()));
}
