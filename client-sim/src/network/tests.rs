use super::*;
use proptest::prelude::*;

const DATAGRAMS_MAX: usize = 1 << 16;

/// A path of 40 to 80 ms without faults.
fn profile(name: &str, share: f64) -> Profile {
    Profile {
        name: name.into(),
        share,
        round_trip: [Micros::from_ms(40), Micros::from_ms(80)],
        jitter: Micros::ZERO,
        loss: 0.0,
        reordering: 0.0,
        reordered_by: [Micros::ZERO; 2],
        duplication: 0.0,
        rebinds_every: Micros::ZERO,
        dies_every: Micros::ZERO,
        dead_for: [Micros::ZERO; 2],
    }
}

fn networks(profiles: Vec<Profile>, seed: u64) -> Arc<Networks> {
    Arc::new(Networks { profiles, seed })
}

/// The network of one phone that has this profile.
fn network(profile: Profile, seed: u64) -> Network<()> {
    Network::new(networks(vec![profile], seed), 7..8, DATAGRAMS_MAX)
}

/// Sends numbered datagrams a millisecond apart; gives the numbers as they arrive, with their times.
fn arrivals(network: &mut Network<()>, way: Way, count: u32) -> Vec<(u32, Micros)> {
    (0..count).for_each(|number| {
        let now = Micros::from_ms(number.into());
        network.send(now, 7, way, &number.to_be_bytes(), ());
    });
    let next = || {
        let at = network.next_at()?;
        assert_eq!(network.take(Micros(at.0 - 1)), None, "nothing arrives before its time");
        let arrival = network.take(at)?;
        let number = u32::from_be_bytes(arrival.datagram[..].try_into().expect("four bytes"));
        Some((number, at))
    };
    std::iter::from_fn(next).collect()
}

fn numbers(arrived: &[(u32, Micros)]) -> Vec<u32> {
    arrived.iter().map(|(number, _)| *number).collect()
}

proptest! {
    /// Half of the phone's round trip, never more than the jitter on top, and in order.
    #[test]
    fn delays_lie_within_their_bounds_and_jitter_keeps_the_order(jitter_ms in 0_u64..50, seed: u64) {
        let jittery = Profile { jitter: Micros::from_ms(jitter_ms), ..profile("jittery", 1.0) };
        let arrived = arrivals(&mut network(jittery, seed), Way::In, 300);
        prop_assert_eq!(numbers(&arrived), (0..300).collect::<Vec<_>>());
        for (number, at) in arrived {
            let took = at.since(Micros::from_ms(number.into()));
            // What waits for an earlier one is late by that one's jitter at the most.
            prop_assert!(took >= Micros::from_ms(20) && took <= Micros::from_ms(40 + jitter_ms), "{:?}", took);
        }
    }

    /// Whatever is drawn, the counts add up and nothing is made up.
    #[test]
    fn what_enters_is_lost_or_arrives(
        shares in (0.0_f64..1.0, 0.0_f64..1.0, 0.0_f64..1.0), dies_every_ms in 0_u64..200, seed: u64,
    ) {
        let (loss, reordering, duplication) = shares;
        let mut bad = Profile { loss, reordering, duplication, ..profile("bad", 1.0) };
        bad.jitter = Micros::from_ms(5);
        bad.reordered_by = [Micros::from_ms(2), Micros::from_ms(9)];
        bad.dies_every = Micros::from_ms(dies_every_ms);
        bad.dead_for = [Micros::from_ms(1), Micros::from_ms(50)];
        let mut network = network(bad, seed);
        let arrived = arrivals(&mut network, Way::Out, 200);
        let counts = network.counts()[0];
        prop_assert_eq!(counts.datagrams, 200);
        prop_assert_eq!(arrived.len() as u64, 200 - counts.lost - counts.dead + counts.duplicated);
        prop_assert_eq!(counts.overflowed, 0);
        prop_assert_eq!(counts.deaths > 0, counts.deaths > 0 && dies_every_ms > 0);
    }

    /// Each draw has its own place: what is under way in the other direction, and when it is asked for, changes nothing.
    #[test]
    fn a_seed_gives_the_same_run_again(seed: u64) {
        let mut bad = Profile { loss: 0.3, reordering: 0.2, duplication: 0.2, ..profile("bad", 1.0) };
        bad.jitter = Micros::from_ms(9);
        bad.reordered_by = [Micros::from_ms(1), Micros::from_ms(20)];
        bad.rebinds_every = Micros::from_ms(100);
        bad.dies_every = Micros::from_ms(200);
        bad.dead_for = [Micros::from_ms(10), Micros::from_ms(30)];
        let alone = arrivals(&mut network(bad.clone(), seed), Way::Out, 300);
        let mut busy = network(bad.clone(), seed);
        for ms in 0..300 {
            busy.send(Micros::from_ms(ms), 7, Way::In, b"something", ());
            busy.binding(Micros::from_ms(ms), 7);
            while busy.take(Micros::from_ms(ms)).is_some() {}
            busy.send(Micros::from_ms(ms), 7, Way::Out, &(ms as u32).to_be_bytes(), ());
        }
        let mut came = Vec::new();
        while let Some(at) = busy.next_at() {
            let arrival = busy.take(at).expect("its time has come");
            if arrival.way == Way::Out {
                came.push(u32::from_be_bytes(arrival.datagram[..].try_into().expect("four bytes")));
            }
        }
        // Of what was taken meanwhile nothing is known here, so the rest is compared.
        let rest: Vec<u32> = numbers(&alone).into_iter().rev().take(came.len()).collect();
        prop_assert_eq!(rest, came.into_iter().rev().collect::<Vec<_>>());
        let other = arrivals(&mut network(bad, !seed), Way::Out, 300);
        prop_assert_ne!(other, alone);
    }

    /// Whichever stretch of phones is looked at, each network has its share, to within a few.
    #[test]
    fn every_stretch_of_phones_has_each_network_in_its_share(first in 0_u32..1_000_000, seed: u64) {
        let networks = networks(vec![profile("a", 0.5), profile("b", 0.3), profile("c", 0.1)], seed);
        let mut phones = [0_i32; 4];
        (first..first + 1_000).for_each(|phone| phones[networks.of(phone).expect("there are networks")] += 1);
        for (found, wanted) in phones.into_iter().zip([500, 300, 100, 100]) {
            prop_assert!((found - wanted).abs() <= 5, "{:?}", phones);
        }
    }
}

#[test]
fn a_path_has_lived_since_it_was_last_dead() {
    let mut mortal = profile("mortal", 1.0);
    mortal.dies_every = Micros::from_ms(100);
    mortal.dead_for = [Micros::from_ms(10), Micros::from_ms(30)];
    let mut network = network(mortal, 5);
    let mut last_dead = None;
    for ms in 0..2_000 {
        let (now, before) = (Micros::from_ms(ms), network.counts()[0].dead);
        network.send(now, 7, Way::Out, b"something", ());
        if network.counts()[0].dead > before {
            last_dead = Some(ms);
        }
        for since in [0, ms / 2, ms.saturating_sub(20), ms] {
            let has_lived = last_dead.is_none_or(|dead| dead < since);
            assert_eq!(
                network.has_lived_since(now, 7, Micros::from_ms(since)),
                has_lived,
                "{since} to {ms}"
            );
        }
    }
    assert!(last_dead.is_some());
}

#[test]
fn losses_and_doubles_have_their_shares_in_both_directions() {
    for way in [Way::Out, Way::In] {
        let lossy = Profile {
            loss: 0.1,
            duplication: 0.05,
            ..profile("lossy", 1.0)
        };
        let mut network = network(lossy, 3);
        let arrived = arrivals(&mut network, way, 20_000);
        let counts = network.counts()[0];
        // Four standard deviations of the binomial counts: 42 and 30.
        assert!(counts.lost.abs_diff(2_000) < 170, "{counts:?}");
        assert!(counts.duplicated.abs_diff(900) < 120, "{counts:?}");
        assert_eq!(arrived.len() as u64, 20_000 - counts.lost + counts.duplicated);
    }
}

#[test]
fn later_datagrams_overtake_those_that_are_held_up() {
    let crossed = Profile {
        reordering: 0.2,
        reordered_by: [Micros::from_ms(5), Micros::from_ms(5)],
        ..profile("crossed", 1.0)
    };
    let mut network = network(crossed, 3);
    let arrived = arrivals(&mut network, Way::Out, 1_000);
    let came = numbers(&arrived);
    let overtaken = (0..came.len()).filter(|&at| came[at + 1..].iter().any(|later| *later < came[at]));
    let reordered = network.counts()[0].reordered;
    assert!(overtaken.count() > 300, "each is overtaken by several");
    assert!(reordered.abs_diff(200) < 51, "{reordered}");
    let late = arrived.iter().filter(|(number, at)| {
        let least = arrived
            .iter()
            .map(|(number, at)| at.since(Micros::from_ms((*number).into())))
            .min();
        at.since(Micros::from_ms((*number).into())) > least.expect("some arrived")
    });
    assert_eq!(late.count() as u64, reordered, "nothing else comes late");
}

#[test]
fn a_nat_gives_another_address_now_and_then() {
    let moving = Profile {
        rebinds_every: Micros::from_s(10),
        ..profile("moving", 1.0)
    };
    let mut network = network(moving, 3);
    let bindings: Vec<u32> = (0..1_000).map(|s| network.binding(Micros::from_s(s), 7)).collect();
    assert!(bindings.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(bindings[999].abs_diff(100) < 15, "{}", bindings[999]);
    assert_eq!(u64::from(bindings[999]), network.counts()[0].rebinds);
    network.stray(7);
    assert_eq!(network.counts()[0].strayed, 1);
}

#[test]
fn a_dead_path_carries_nothing_and_the_next_has_another_address() {
    let dying = Profile {
        dies_every: Micros::from_s(60),
        dead_for: [Micros::from_s(5), Micros::from_s(9)],
        ..profile("dying", 1.0)
    };
    let mut network = network(dying, 3);
    let mut passed = Vec::new();
    for s in 0..600 {
        network.send(Micros::from_s(s), 7, Way::Out, b"are you there", ());
        passed.push(network.take(Micros::from_s(s + 1)).is_some());
    }
    let counts = network.counts()[0];
    assert!((6..15).contains(&counts.deaths), "{counts:?}");
    assert_eq!(
        counts.dead,
        passed.iter().filter(|has_passed| !**has_passed).count() as u64
    );
    assert!((5..=9).contains(&(counts.dead / counts.deaths)), "{counts:?}");
    // As often as it came back from the dead, it has another address.
    let binding = network.binding(Micros::from_s(600), 7);
    assert!(u64::from(binding).abs_diff(counts.deaths) <= 1, "{binding}");
    assert_eq!(counts.rebinds, 0, "that was no NAT");
}

#[test]
fn what_does_not_fit_is_lost_and_counted() {
    let mut network = Network::new(networks(vec![profile("full", 1.0)], 1), 0..1, 3);
    (0..5).for_each(|number: u8| network.send(Micros::ZERO, 0, Way::Out, &[number], number));
    assert_eq!(network.counts()[0].overflowed, 2);
    let late = Micros::from_s(1);
    let came: Vec<u8> = std::iter::from_fn(|| network.take(late))
        .map(|arrival| arrival.note)
        .collect();
    assert_eq!((came, network.next_at()), (vec![0, 1, 2], None));
}

#[test]
fn phones_outside_of_every_share_are_connected_directly() {
    let networks = networks(vec![profile("none", 0.0)], 1);
    assert_eq!(networks.names().collect::<Vec<_>>(), ["none", DIRECT]);
    let mut network = Network::new(networks, 0..1, 3);
    network.send(Micros(5), 0, Way::In, b"at once", ());
    assert_eq!(network.next_at(), Some(Micros(5)));
    assert_eq!(network.counts()[1].datagrams, 1);
    assert_eq!(Networks::default().of(0), None);
}
