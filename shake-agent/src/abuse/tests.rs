//! The analysis against users of all sorts, on simulated time; and its files.

use super::keep::{Keeper, KeptFile, request_lift};
use super::{Analysis, Blocks, Held, Rules, Verdict};
use crate::config::Config;
use proptest::prelude::*;
use shake_proto::handoff::abuse::{Conduct, Counts, Event, Rule, Strangers, Subject};
use shake_rules::prefix::Prefix;
use shake_rules::{DeviceId, UnixMillis, UserId};
use std::collections::BTreeMap;
use std::path::Path;

mod honest;

const START: UnixMillis = UnixMillis(1_790_000_000_000);

/// The rules of the shipped file.
fn rules() -> Rules {
    Config::parse(crate::config::DEFAULT, Path::new(""))
        .expect("deploy/agent.toml")
        .abuse
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).expect("a prefix")
}

fn conduct(user: u64, device: u64, opened: bool, counts: Counts) -> Event {
    Event::Conduct(Conduct {
        user: UserId(user),
        device: DeviceId::from_wire(device),
        prefix: prefix("10.0.0.0/24"),
        opened,
        counts,
    })
}

fn strangers(text: &str, failures: u32, silent: u32) -> Event {
    Event::Strangers(Strangers {
        prefix: prefix(text),
        failures,
        silent,
    })
}

/// An analysis and its clock.
struct Play {
    analysis: Analysis,
    now: UnixMillis,
}

impl Play {
    fn new(rules: Rules) -> Self {
        Self {
            analysis: Analysis::new(rules, Blocks::default()),
            now: START,
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.analysis.sweep(self.now);
    }

    fn take(&mut self, event: &Event) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        self.analysis.take(event, self.now, |verdict| verdicts.push(verdict));
        verdicts
    }

    /// The same event `times` times within a second. Gives what was blocked.
    fn blocked(&mut self, event: &Event, times: u32) -> Vec<(Subject, Rule)> {
        let mut found = Vec::new();
        for _ in 0..times {
            for verdict in self.take(event) {
                match verdict {
                    Verdict::Blocked(held) => found.push((held.subject, held.rule)),
                    other => panic!("{other:?}"),
                }
            }
        }
        found
    }
}

#[test]
fn each_rule_of_a_user_is_broken_at_its_threshold_and_not_below() {
    let counts = |set: fn(&mut Counts)| {
        let mut counts = Counts::default();
        set(&mut counts);
        conduct(1, 7, false, counts)
    };
    for (rule, event, threshold) in [
        (Rule::Flood, counts(|counts| counts.refused = 1), 600),
        (Rule::Requests, counts(|counts| counts.requests = 1), 3_000),
        (Rule::Forgery, counts(|counts| counts.forged = 1), 20),
        (Rule::Theft, counts(|counts| counts.foreign = 1), 20),
        (Rule::Malformed, counts(|counts| counts.malformed = 1), 100),
        (Rule::Churn, conduct(1, 7, true, Counts::default()), 120),
    ] {
        let mut play = Play::new(rules());
        assert_eq!(play.blocked(&event, threshold - 1), [], "{rule:?}");
        let user = Subject::User(UserId(1));
        assert_eq!(
            play.blocked(&event, 1),
            [(user, rule)],
            "the device has one user, who is judged"
        );
        // Spread over ten minutes, the same is nothing.
        let mut play = Play::new(rules());
        for _ in 0..threshold {
            play.pass(600_000 / u64::from(threshold));
            assert_eq!(play.take(&event), [], "{rule:?}");
        }
    }
    let moves = counts(|counts| counts.moves = 1_000);
    assert_eq!(Play::new(rules()).blocked(&moves, 10), [], "off");
}

#[test]
fn a_device_is_judged_by_all_its_users() {
    let forged = |user, device| {
        let counts = Counts {
            forged: 5,
            ..Counts::default()
        };
        conduct(user, device, false, counts)
    };
    let mut play = Play::new(rules());
    let device = Subject::Device(DeviceId(7));
    // Ten forgeries of each: no user breaks the rule, the device does.
    assert_eq!(play.blocked(&forged(1, 7), 2), []);
    assert_eq!(play.blocked(&forged(2, 7), 2), [(device, Rule::Forgery)]);
    // Users without a device are not thrown together.
    for user in 10..40 {
        assert_eq!(play.blocked(&forged(user, 0), 1), []);
    }
}

#[test]
fn a_farm_is_many_users_or_many_wins_on_one_device() {
    let hello = |user, device| conduct(user, device, true, Counts::default());
    let mut play = Play::new(rules());
    for user in 1..20 {
        assert_eq!(play.blocked(&hello(user, 7), 1), []);
    }
    assert_eq!(
        play.blocked(&hello(20, 7), 1),
        [(Subject::Device(DeviceId(7)), Rule::Farm)]
    );
    let mut play = Play::new(rules());
    let win = |user, device| {
        let counts = Counts {
            wins: 3,
            ..Counts::default()
        };
        conduct(user, device, false, counts)
    };
    for user in 1..=13 {
        assert_eq!(play.blocked(&win(user, 7), 1), []);
    }
    assert_eq!(
        play.blocked(&win(14, 7), 1),
        [(Subject::Device(DeviceId(7)), Rule::Harvest)]
    );
    let mut play = Play::new(rules());
    for user in 1..100 {
        assert_eq!(play.blocked(&win(user, user), 1), [], "as many on phones of their own");
    }
}

#[test]
fn a_prefix_is_judged_by_failures_against_good_hellos() {
    let mut play = Play::new(rules());
    let strange = prefix("10.9.9.0/24");
    assert_eq!(play.blocked(&strangers("10.9.9.0/24", 150, 49), 1), []);
    assert_eq!(
        play.blocked(&strangers("10.9.9.0/24", 0, 1), 1),
        [(Subject::Prefix(strange), Rule::Strangers)]
    );
    // A NAT with a hundred honest users, and a guest in it who fails two hundred times a minute for an hour.
    for user in 0..100 {
        assert_eq!(
            play.blocked(&conduct(user, user, true, Counts::default()), 1),
            [],
            "10.0.0.0/24"
        );
    }
    for _ in 0..60 {
        play.pass(60_000);
        assert_eq!(play.blocked(&strangers("10.0.0.0/24", 200, 0), 1), []);
    }
    let mut exempt = rules();
    exempt.exempt = vec!["10.9.0.0/16".parse().expect("a network")];
    let mut play = Play::new(exempt);
    assert_eq!(play.blocked(&strangers("10.9.9.0/24", 9_999, 0), 9), []);
}

#[test]
fn blocks_get_longer_up_to_a_bound_and_the_past_is_forgotten() {
    let mut play = Play::new(rules());
    let forgery = conduct(
        1,
        0,
        false,
        Counts {
            forged: 20,
            ..Counts::default()
        },
    );
    let mut times = Vec::new();
    for _ in 0..9 {
        let Some(Verdict::Blocked(held)) = play.take(&forgery).pop() else {
            panic!("no block");
        };
        times.push(held.until.since_ms(held.since) / 1_000);
        play.pass(held.until.since_ms(held.since) + 1_000);
        assert_eq!(play.analysis.blocks.of(held.subject, play.now), None, "it is over");
    }
    let user = Subject::User(UserId(1));
    play.take(&forgery);
    assert!(play.analysis.lift(user, play.now) && !play.analysis.lift(user, play.now));
    let Some(Verdict::Blocked(held)) = play.take(&forgery).pop() else {
        panic!("no block");
    };
    assert_eq!(held.earlier, 0, "what was lifted is forgotten");
    // The last comes an hour and a second after the one before, which is forgotten by then.
    assert_eq!(times, [60, 120, 240, 480, 960, 1_920, 3_600, 60, 120]);
}

#[test]
fn when_too_many_would_be_blocked_the_rules_are_doubted() {
    let mut play = Play::new(rules());
    let bad = |user| {
        let counts = Counts {
            forged: 20,
            ..Counts::default()
        };
        conduct(user, 0, false, counts)
    };
    let (mut blocked, mut held_back) = (0, 0);
    for user in 0..1_000 {
        match play.take(&bad(user))[..] {
            [Verdict::Blocked(_)] => blocked += 1,
            [Verdict::HeldBack(_)] => held_back += 1,
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!((blocked, held_back), (100, 900));
    // Who is blocked already is blocked for longer all the same.
    assert_eq!(play.take(&bad(5)), [], "but not at once");
    play.pass(31_000);
    assert!(matches!(
        play.take(&bad(5))[..],
        [Verdict::Blocked(Held { earlier: 1, .. })]
    ));
    let mut dry = rules();
    dry.dry_run = true;
    let mut play = Play::new(dry);
    assert!(matches!(play.take(&bad(5))[..], [Verdict::DryRun(_)]));
    assert_eq!(play.analysis.blocks.holding(play.now).count(), 0);
}

#[test]
fn tables_are_capped_and_swept() {
    let mut small = rules();
    small.subjects_max = 50;
    let mut play = Play::new(small);
    for user in 1..=200 {
        assert_eq!(play.take(&conduct(user, user, true, Counts::default())), []);
    }
    assert_eq!(play.analysis.remembered(), [50, 50, 1]);
    assert_eq!(play.analysis.untracked(), 300);
    play.pass(600_000);
    assert_eq!(
        play.analysis.remembered(),
        [0, 0, 1],
        "the prefix's good Hellos are remembered longer"
    );
    play.pass(60_000_000);
    assert_eq!(play.analysis.remembered(), [0, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A shard that hears of everything after what it heard of, at any times, knows what holds.
    #[test]
    fn who_asks_for_what_is_new_knows_what_holds(
        steps in proptest::collection::vec((0_u64..6, 0_u8..4, 1_u64..50), 1..200),
        looks in 1_usize..20,
    ) {
        let (mut blocks, mut now, mut told) = (Blocks::default(), START, 0);
        let mut shard: BTreeMap<Subject, UnixMillis> = BTreeMap::new();
        let mut truth: BTreeMap<Subject, UnixMillis> = BTreeMap::new();
        for (index, (user, what, ms)) in steps.into_iter().enumerate() {
            let subject = Subject::User(UserId(user));
            now = now.plus_ms(ms);
            match what {
                0 => {
                    blocks.lift(subject, now);
                    truth.remove(&subject);
                }
                1 => {
                    blocks.expire(now);
                }
                _ => {
                    let until = now.plus_ms(100);
                    let held = Held { subject, rule: Rule::Flood, value: 1, earlier: 0, since: now, until, is_lifted: false };
                    prop_assert!(blocks.put(held));
                    truth.insert(subject, until);
                }
            }
            truth.retain(|_, until| *until > now);
            let holding: BTreeMap<_, _> = blocks.holding(now).map(|held| (held.subject, held.until)).collect();
            prop_assert_eq!(&holding, &truth);
            if index % looks == 0 {
                for (version, held) in blocks.after(told) {
                    told = version;
                    let record = held.to_record();
                    shard.insert(record.subject, record.until);
                }
                told = told.max(blocks.newest());
                shard.retain(|_, until| *until > now);
                prop_assert_eq!(&shard, &truth);
            }
        }
    }
}

#[test]
fn blocks_survive_in_their_file_and_lifts_are_taken_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("blocks.json");
    let held = |subject, for_ms| Held {
        subject,
        rule: Rule::Churn,
        value: 130,
        earlier: 2,
        since: START,
        until: START.plus_ms(for_ms),
        is_lifted: false,
    };
    let (user, device) = (Subject::User(UserId(1)), Subject::Device(DeviceId(0xc0ffee)));
    let net = Subject::Prefix(prefix("10.0.0.0/24"));
    let (mut keeper, mut blocks, read) = Keeper::open(path.clone(), START);
    assert!(read.is_ok(), "there is none yet");
    for (subject, for_ms) in [(user, 1_000), (device, 5_000), (net, 5_000)] {
        assert!(blocks.put(held(subject, for_ms)));
    }
    keeper.write(&blocks, START).expect("written");
    let (keeper, blocks, read) = Keeper::open(path.clone(), START.plus_ms(2_000));
    assert!(read.is_ok());
    let found: Vec<_> = blocks.holding(START.plus_ms(2_000)).copied().collect();
    assert_eq!(found, [held(device, 5_000), held(net, 5_000)], "the first is over");
    assert!(keeper.take_lifts().expect("no file").is_empty());
    request_lift(&path, Some(net)).expect("asked");
    request_lift(&path, None).expect("asked");
    assert_eq!(keeper.take_lifts().expect("read"), [Some(net), None]);
    assert!(keeper.take_lifts().expect("read").is_empty(), "taken once");
    std::fs::write(&path, "{").expect("spoilt");
    let (_, blocks, read) = Keeper::open(path.clone(), START);
    assert!(read.is_err() && blocks.newest() == 0);
    assert!(KeptFile::read(&path).is_err());
}
