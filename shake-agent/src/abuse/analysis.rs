//! The judgement: what was seen of each user, device and address prefix, against the rules. Pure: events and time come in,
//! verdicts come out. Tables are capped and swept; who finds no room in one is not judged.

use super::blocks::{Blocks, Held};
use super::faded::Faded;
use super::rules::Rules;
use shake_proto::handoff::abuse::{Conduct, Counts, Event, Rule, Strangers, Subject};
use shake_rules::prefix::Prefix;
use shake_rules::{DeviceId, UnixMillis, UserId};
use std::collections::HashMap;
use std::hash::Hash;

/// How often the tables are swept, in milliseconds.
const SWEEP_EVERY_MS: u64 = 1_000;

/// What is counted of a user or device. The discriminants are the places in [`Faded`].
const MISDEEDS: [Rule; 7] = [
    Rule::Forgery,
    Rule::Theft,
    Rule::Flood,
    Rule::Malformed,
    Rule::Churn,
    Rule::Requests,
    Rule::Moves,
];

/// Earlier blocks of a subject.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    blocks: u32,
    last: UnixMillis,
}

/// What was seen of a user.
#[derive(Clone, Copy, Debug, Default)]
struct OfUser {
    misdeeds: Faded<{ MISDEEDS.len() }>,
    past: Past,
}

/// What was seen of a device.
#[derive(Clone, Debug, Default)]
struct OfDevice {
    misdeeds: Faded<{ MISDEEDS.len() }>,
    wins: Faded<1>,
    /// Its users since `since`, no more than matter.
    users: Vec<UserId>,
    since: UnixMillis,
    past: Past,
}

/// What was seen of a prefix.
#[derive(Clone, Copy, Debug, Default)]
struct OfPrefix {
    failures: Faded<1>,
    good_hellos: Faded<1>,
    past: Past,
}

/// What becomes of somebody who broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Blocked.
    Blocked(Held),
    /// Would be, were this not a dry run.
    DryRun(Held),
    /// Would be, but too large a part of all is blocked already: it is likelier that the rules are wrong than that so many
    /// are.
    HeldBack(Held),
}

/// The state of the analysis.
#[derive(Debug)]
pub struct Analysis {
    rules: Rules,
    users: HashMap<UserId, OfUser>,
    devices: HashMap<DeviceId, OfDevice>,
    prefixes: HashMap<Prefix, OfPrefix>,
    /// The blocks.
    pub blocks: Blocks,
    swept: UnixMillis,
    untracked: u64,
}

impl Analysis {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(rules: Rules, blocks: Blocks) -> Self {
        Self {
            rules,
            users: HashMap::new(),
            devices: HashMap::new(),
            prefixes: HashMap::new(),
            blocks,
            swept: UnixMillis(0),
            untracked: 0,
        }
    }

    /// Takes one record of a shard. Gives what follows for its user, its device, its prefix.
    pub fn take(&mut self, event: &Event, now: UnixMillis, mut verdict: impl FnMut(Verdict)) {
        match event {
            Event::Conduct(conduct) => {
                self.take_user(conduct, now, &mut verdict);
                self.take_device(conduct, now, &mut verdict);
                if conduct.opened {
                    let memory_ms = self.rules.memory_ms;
                    if let Some(seen) = self.place(conduct.prefix) {
                        seen.good_hellos.add([1], now, memory_ms);
                    }
                }
            }
            Event::Strangers(strangers) => self.take_strangers(strangers, now, &mut verdict),
        }
    }

    fn take_user(&mut self, conduct: &Conduct, now: UnixMillis, verdict: &mut impl FnMut(Verdict)) {
        let Some(seen) = enter(&mut self.users, conduct.user, self.rules.subjects_max) else {
            self.untracked += 1;
            return;
        };
        seen.misdeeds.add(misdeeds(conduct), now, self.rules.window_ms);
        let subject = Subject::User(conduct.user);
        if let Some((rule, value)) = broken(&self.rules, &seen.misdeeds, now) {
            seen.misdeeds.clear();
            if self.blocks.is_fresh(subject, now) {
                return;
            }
            let past = remember(&mut seen.past, &self.rules, now);
            verdict(self.judge(subject, rule, value, past, now));
        }
    }

    /// A device is judged by what was done under it once it has had several users; with one, the user is judged.
    fn take_device(&mut self, conduct: &Conduct, now: UnixMillis, verdict: &mut impl FnMut(Verdict)) {
        let Some(device) = conduct.device else {
            return;
        };
        let rules = &self.rules;
        let Some(seen) = enter(&mut self.devices, device, rules.subjects_max) else {
            self.untracked += 1;
            return;
        };
        if now.since_ms(seen.since) > rules.memory_ms {
            seen.users.clear();
            seen.since = now;
        }
        if !seen.users.contains(&conduct.user) && seen.users.len() < rules.farm.max(2) as usize {
            seen.users.push(conduct.user);
        }
        seen.misdeeds.add(misdeeds(conduct), now, rules.window_ms);
        seen.wins.add([conduct.counts.wins], now, rules.memory_ms);
        let [wins] = seen.wins.now(now, rules.memory_ms);
        let users = seen.users.len() as f32;
        let found = if rules.is_broken(Rule::Farm, users) {
            Some((Rule::Farm, users))
        } else if rules.is_broken(Rule::Harvest, wins) {
            Some((Rule::Harvest, wins))
        } else if seen.users.len() >= 2 {
            broken(rules, &seen.misdeeds, now)
        } else {
            None
        };
        if let Some((rule, value)) = found {
            seen.misdeeds.clear();
            seen.wins.clear();
            seen.users.clear();
            let subject = Subject::Device(device);
            if self.blocks.is_fresh(subject, now) {
                return;
            }
            let past = remember(&mut seen.past, rules, now);
            verdict(self.judge(subject, rule, value, past, now));
        }
    }

    /// A prefix may be the NAT of a city, so its failures are held against its good Hellos.
    fn take_strangers(&mut self, strangers: &Strangers, now: UnixMillis, verdict: &mut impl FnMut(Verdict)) {
        let (window_ms, memory_ms) = (self.rules.window_ms, self.rules.memory_ms);
        let subject = Subject::Prefix(strangers.prefix);
        if self.rules.is_exempt(subject) {
            return;
        }
        let ratio = self.rules.strangers_ratio as f32;
        let Some(seen) = self.place(strangers.prefix) else {
            return;
        };
        let more = strangers.failures.saturating_add(strangers.silent);
        seen.failures.add([more], now, window_ms);
        let [failures] = seen.failures.now(now, window_ms);
        let [good] = seen.good_hellos.now(now, memory_ms);
        let mut seen = *seen;
        let is_broken = self.rules.is_broken(Rule::Strangers, failures) && failures >= ratio * good;
        if is_broken && !self.blocks.is_fresh(subject, now) {
            seen.failures.clear();
            let past = remember(&mut seen.past, &self.rules, now);
            self.prefixes.insert(strangers.prefix, seen);
            verdict(self.judge(subject, Rule::Strangers, failures, past, now));
        }
    }

    fn place(&mut self, prefix: Prefix) -> Option<&mut OfPrefix> {
        let seen = enter(&mut self.prefixes, prefix, self.rules.subjects_max);
        if seen.is_none() {
            self.untracked += 1;
        }
        seen
    }

    fn judge(&mut self, subject: Subject, rule: Rule, value: f32, earlier: u32, now: UnixMillis) -> Verdict {
        let held = Held {
            subject,
            rule,
            value: value as u32,
            earlier,
            since: now,
            until: now.plus_ms(self.rules.block_ms(earlier)),
            is_lifted: false,
        };
        if self.rules.dry_run {
            return Verdict::DryRun(held);
        }
        // Who is blocked already is no further one.
        let is_new = self.blocks.of(subject, now).is_none();
        if (is_new && self.is_too_many(subject, now)) || !self.blocks.put(held) {
            return Verdict::HeldBack(held);
        }
        Verdict::Blocked(held)
    }

    fn is_too_many(&self, subject: Subject, now: UnixMillis) -> bool {
        let seen = match subject {
            Subject::User(_) => self.users.len(),
            Subject::Device(_) => self.devices.len(),
            Subject::Prefix(_) => self.prefixes.len(),
        };
        let most = (seen * self.rules.blocked_percent_max as usize / 100).max(self.rules.blocked_free as usize);
        let kind = subject.kind();
        let blocked = self.blocks.holding(now).filter(|held| held.subject.kind() == kind);
        blocked.take(most).count() >= most
    }

    /// Lifts a block, and forgets what the subject did: an operator knows better. False when there is none.
    pub fn lift(&mut self, subject: Subject, now: UnixMillis) -> bool {
        match subject {
            Subject::User(user) => drop(self.users.remove(&user)),
            Subject::Device(device) => drop(self.devices.remove(&device)),
            Subject::Prefix(prefix) => drop(self.prefixes.remove(&prefix)),
        }
        self.blocks.lift(subject, now)
    }

    /// Forgets who has faded and which blocks are over, once a second. Says whether a block was.
    pub fn sweep(&mut self, now: UnixMillis) -> bool {
        let is_time = now < self.swept || now.since_ms(self.swept) >= SWEEP_EVERY_MS;
        if !is_time {
            return false;
        }
        self.swept = now;
        let Rules {
            window_ms, memory_ms, ..
        } = self.rules;
        let is_past = |past: &Past| past.blocks == 0 || now.since_ms(past.last) > memory_ms;
        self.users
            .retain(|_, seen| !(seen.misdeeds.is_faint(now, window_ms) && is_past(&seen.past)));
        self.devices.retain(|_, seen| {
            let is_idle = seen.misdeeds.is_faint(now, window_ms) && seen.wins.is_faint(now, memory_ms);
            // A device with one user is as good as new.
            let is_known = seen.users.len() > 1 && now.since_ms(seen.since) <= memory_ms;
            !(is_idle && is_past(&seen.past) && !is_known)
        });
        self.prefixes.retain(|_, seen| {
            let is_idle = seen.failures.is_faint(now, window_ms) && seen.good_hellos.is_faint(now, memory_ms);
            !(is_idle && is_past(&seen.past))
        });
        self.blocks.expire(now)
    }

    /// Users, devices and prefixes that are remembered.
    #[must_use]
    pub fn remembered(&self) -> [usize; 3] {
        [self.users.len(), self.devices.len(), self.prefixes.len()]
    }

    /// How often somebody found no room in a table.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.untracked
    }
}

/// The entry of a key, which is made if there is room.
fn enter<K: Hash + Eq, V: Default>(table: &mut HashMap<K, V>, key: K, max: usize) -> Option<&mut V> {
    if table.len() >= max && !table.contains_key(&key) {
        return None;
    }
    Some(table.entry(key).or_default())
}

/// What a record has of each of [`MISDEEDS`].
fn misdeeds(conduct: &Conduct) -> [u32; MISDEEDS.len()] {
    let Counts {
        refused,
        requests,
        forged,
        foreign,
        malformed,
        moves,
        ..
    } = conduct.counts;
    [
        forged,
        foreign,
        refused,
        malformed,
        conduct.opened.into(),
        requests,
        moves,
    ]
}

/// The first rule that so much breaks, and how much it is.
fn broken(rules: &Rules, misdeeds: &Faded<{ MISDEEDS.len() }>, now: UnixMillis) -> Option<(Rule, f32)> {
    let values = misdeeds.now(now, rules.window_ms);
    MISDEEDS
        .into_iter()
        .zip(values)
        .find(|(rule, value)| rules.is_broken(*rule, *value))
}

/// Notes one more block, and gives how many went before it.
fn remember(past: &mut Past, rules: &Rules, now: UnixMillis) -> u32 {
    if now.since_ms(past.last) > rules.memory_ms {
        past.blocks = 0;
    }
    let earlier = past.blocks;
    past.blocks = past.blocks.saturating_add(1);
    past.last = now;
    earlier
}
