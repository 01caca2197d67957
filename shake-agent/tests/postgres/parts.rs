//! A machine that is gone.

use super::*;

/// What a command about parts says, and how it ends.
pub fn part(event: &Event, arguments: &[&str]) -> (Option<i32>, String) {
    let output = agent(event).arg("part").args(arguments).output().unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), told.concat())
}

/// A machine is gone, or seems to be: its agent ends and stays down, what was won there opens elsewhere, and another agent hands out
/// what was left.
#[test]
fn a_part_is_retired_and_adopted() {
    let fleet = Fleet::new();
    let [first, second] = &fleet.events;
    let mut fronts = [Front::new(first, 1), Front::new(second, 1)];
    let mut agents = [Running::start(first), Running::start(second)];
    // It stays in the ring, or another one would be released.
    let won = offered(&mut fronts[0]).packet;
    granted(&mut fronts[1]);
    let asks = ["retire", "0", "--config", "agent.toml"];
    let (code, told) = part(second, &asks);
    assert!(code == Some(1) && told.contains("--force"), "{told}");
    let (code, told) = part(second, &[&asks[..], &["--force"]].concat());
    assert!(code == Some(0) && told.contains("8 packets are lost"), "{told}");
    assert_eq!(agents[0].wait().code(), Some(3));
    agents[0] = Running::start(first);
    assert_eq!(agents[0].wait().code(), Some(3), "it is started in vain");
    let sealed = ticket(&fronts[1].keys, EVENT, won, UserId(7), FAR);
    let result = claim_at(&mut fronts[1], &claim(1, UserId(7), sealed, UnixMillis(1)));
    assert!(is_opened(&result, false), "{result:?}");

    let third = Event::new(1);
    std::fs::copy(first.seed(), third.seed()).unwrap();
    third.put_on_server(&fleet.server.agent_url("event"));
    let (code, told) = part(&third, &["adopt", "1", "--seed", "seed.bin", "--by", "agent.toml"]);
    assert!(code == Some(1) && told.contains("part 0"), "{told}");
    let (code, told) = part(&third, &["adopt", "0", "--seed", "seed.bin", "--by", "agent.toml"]);
    assert_eq!(code, Some(0), "{told}");
    let (_, told) = part(&third, &["status", "--config", "agent.toml", "--json"]);
    let parts: Vec<serde_json::Value> = serde_json::from_str(&told).unwrap();
    let installation = std::fs::read_to_string(third.path("state/ledger-installation")).unwrap();
    assert_eq!(parts[0]["installation"], installation.trim());
    assert_eq!((&parts[0]["lost"], &parts[0]["released"]), (&7.into(), &8.into()));
    let mut front = Front::new(&third, 1);
    agents[0] = Running::start(&third);
    assert_eq!(
        offered(&mut front).packet,
        third.records()[8].packet,
        "the next of the seed"
    );
    for agent in &mut agents {
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.wait().code(), Some(0));
    }
    let (code, told) = part(&third, &["status", "--config", "agent.toml"]);
    assert!(code == Some(0) && told.contains(installation.trim()), "{told}");
}

/// It waits for a gateway when its server comes back without its last commits: it ends by name, and does not wait for ever.
#[test]
fn an_older_server_is_refused_without_a_gateway_too() {
    let mut fleet = Fleet::new();
    fleet.server.shut_down();
    fleet.server.keep_copy().unwrap();
    fleet.server.start_again().unwrap();
    let event = &fleet.events[0];
    let mut running = Running::start(event);
    let commits = || {
        let stamp = "SELECT stamp FROM parts WHERE part = 0";
        fleet.server.number("event", stamp).unwrap()
    };
    until("the agent has its part", || commits() > 1);
    fleet.server.crash();
    fleet.server.exchange_with_copy().unwrap();
    fleet.server.start_again().unwrap();
    let _front = Front::new(event, 1);
    assert_eq!(running.wait().code(), Some(3));
}
