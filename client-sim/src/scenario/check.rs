//! From the tables of a file to a [`Scenario`]: every value within its bounds, and no two that contradict each other.

use super::file::{self, At, File, Share, is_placed};
use super::{EngineKind, Scenario, Start, Users};
use super::{FRIENDS_MAX, SAMPLE_MAX, SECONDS_MAX, SESSIONS_MAX, SHAKES_PER_SECOND_MAX, STEPS_MAX};
use crate::backoff::Backoff;
use crate::schedule::{Micros, Step};
use crate::user::{Habits, PackageHabits, PacketHabits, SEND_SHARES};
use rustls_pki_types::ServerName;
use shake_rules::document::Problems;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use strum::VariantArray as _;

/// Checks the parts of a scenario, and gathers what is wrong.
pub(super) struct Check<'a> {
    pub(super) text: &'a str,
    pub(super) problems: Problems,
}

impl Check<'_> {
    pub(super) fn scenario(&mut self, file: File) -> Scenario {
        let File {
            target,
            targets,
            users,
            load,
            steps,
            behaviour,
            phones,
            operator,
            cues,
            packets,
            resources,
            network,
            engine,
            limits,
        } = file;
        let targets = self.targets(&target.address, targets);
        self.server_name(&target.server_name);
        let timeout = 1..=600_000;
        let steps = self.steps(&load, steps);
        let seconds = steps.iter().map(|step| u64::from(step.seconds)).sum();
        let claim_delay_ms = self.range("claim_delay_ms", &behaviour.claim_delay_ms, 0);
        let backoff_ms = self.range("backoff_ms", &limits.backoff_ms, 1);
        let silence_ms = self.range("silence_backoff_ms", &phones.silence_backoff_ms, 1);
        let silences_max = self.number("silences_max", &phones.silences_max, 1..=100);
        Scenario {
            ca: self.path("ca", target.ca),
            server_name: target.server_name.into_inner(),
            first_id: self.first_id(&users.first_id, *load.sessions.as_ref()),
            token_key: self.path("token_key", users.token_key),
            token_lifetime_s: self.number("token_lifetime_s", &users.token_lifetime_s, 1..=u32::MAX),
            sessions: self.number("sessions", &load.sessions, 1..=SESSIONS_MAX),
            connects_per_second: self.number("connects_per_second", &load.connects_per_second, 1..=1_000_000),
            connects_at_once: self.number("connects_at_once", &load.connects_at_once, 1..=10_000),
            steps,
            start: Start::Soon,
            control: None,
            journal: None,
            settle_s: self.number("settle_s", &load.settle_s, 0..=SECONDS_MAX),
            seed: load.seed,
            engine: self.kind(&engine.kind),
            sockets: self.number("sockets", &engine.sockets, 1..=256),
            threads: self.number("threads", &engine.threads, 1..=64),
            idle_timeout_s: self.number("idle_timeout_s", &engine.idle_timeout_s, 1..=SECONDS_MAX),
            keep_alive_s: self.number("keep_alive_s", &engine.keep_alive_s, 0..=SECONDS_MAX),
            request_timeout_ms: self.number("request_timeout_ms", &limits.request_timeout_ms, timeout.clone()),
            connect_timeout_ms: self.number("connect_timeout_ms", &limits.connect_timeout_ms, timeout.clone()),
            habits: Habits {
                seed: load.seed,
                run: 0,
                sessions: *load.sessions.as_ref(),
                obey_pace: self.share("obey_pace", &behaviour.obey_pace),
                use_streams: self.share("use_streams_for_shakes", &behaviour.use_streams_for_shakes),
                claim_delay_ms,
                shake_timeout: Micros::from_ms(
                    self.number("shake_timeout_ms", &limits.shake_timeout_ms, timeout)
                        .into(),
                ),
                connect_tries_max: self.number("connect_tries_max", &limits.connect_tries_max, 1..=1_000),
                claim_tries_max: self.number("claim_tries_max", &limits.claim_tries_max, 1..=10_000),
                backoff: Backoff {
                    first_ms: backoff_ms[0],
                    max_ms: backoff_ms[1],
                },
                silence: Backoff {
                    first_ms: silence_ms[0],
                    max_ms: silence_ms[1],
                },
                silences_max: if targets.len() > 1 { silences_max } else { 0 },
                hello_delay_ms: self.range("hello_delay_ms", &phones.hello_delay_ms, 0),
                packets: self.packets(&packets),
                networks: self.networks(&network, load.seed),
                packages: PackageHabits {
                    fetch_share: self.share("fetch_share", &resources.fetch_share),
                    sample: self.number("sample", &resources.sample, 1..=SAMPLE_MAX),
                    within: Micros::from_s(seconds),
                },
            },
            cues: self.cues(&operator, cues, seconds),
            targets,
        }
    }

    /// The steps of the file, or the one that `[load]` tells.
    fn steps(&mut self, load: &file::Load, steps: Vec<file::Step>) -> Vec<Step> {
        if steps.is_empty() {
            let rate = self.number("shakes_per_second", &load.shakes_per_second, 0..=SHAKES_PER_SECOND_MAX);
            return vec![Step {
                name: format!("{rate}/s"),
                shakes_per_second: rate,
                seconds: self.number("seconds", &load.seconds, 1..=SECONDS_MAX),
            }];
        }
        for (name, place) in [
            ("shakes_per_second", &load.shakes_per_second),
            ("seconds", &load.seconds),
        ] {
            if is_placed(&place.span()) {
                let message =
                    format!("{name} stands beside [[steps]], which tell it for each step; take it out of [load]");
                self.wrong(place.span(), message);
            }
        }
        let steps = steps.into_iter().map(|step| {
            let rate = self.number("shakes_per_second", &step.shakes_per_second, 0..=SHAKES_PER_SECOND_MAX);
            Step {
                name: step.name.unwrap_or_else(|| format!("{rate}/s")),
                shakes_per_second: rate,
                seconds: self.number("seconds", &step.seconds, 1..=SECONDS_MAX),
            }
        });
        let steps: Vec<Step> = steps.collect();
        let seconds: u64 = steps.iter().map(|step| u64::from(step.seconds)).sum();
        if steps.len() > STEPS_MAX || seconds > SECONDS_MAX.into() {
            self.problems.add_whole(format!(
                "{} steps of {seconds} s together; at most {STEPS_MAX} steps and {SECONDS_MAX} s",
                steps.len()
            ));
        }
        steps
    }

    /// Leaves only these users, both included, with their share of every rate.
    pub(super) fn part(&mut self, scenario: &mut Scenario, users: &Users) {
        let (first, last) = (*users.0.start(), *users.0.end());
        let whole = u64::from(scenario.sessions);
        let end = scenario.first_id + whole - 1;
        if first < scenario.first_id || last > end || first > last {
            let message = format!(
                "--users {first}..{last} must lie within the scenario's users {}..{end}",
                scenario.first_id
            );
            self.problems.add_whole(message);
            return;
        }
        // Rounded so that the parts of a whole add up to it.
        let (from, to) = (first - scenario.first_id, last + 1 - scenario.first_id);
        let share = |rate: u32| (u64::from(rate) * to / whole - u64::from(rate) * from / whole) as u32;
        for step in &mut scenario.steps {
            step.shakes_per_second = share(step.shakes_per_second);
        }
        scenario.connects_per_second = share(scenario.connects_per_second).max(1);
        scenario.connects_at_once = share(scenario.connects_at_once).max(1);
        scenario.first_id = first;
        scenario.sessions = (to - from) as u32;
        scenario.habits.sessions = scenario.sessions;
        if from > 0 {
            scenario.cues.clear(); // whoever plays the first users gives them, once for all
        }
    }

    fn packets(&mut self, packets: &file::Packets) -> PacketHabits {
        let [_, most_shares] = SEND_SHARES;
        let send_min = self.number("send_min_cents", &packets.send_min_cents, most_shares as u32..=u32::MAX);
        PacketHabits {
            share_split: self.share("share_split", &packets.share_split),
            friends_told: self.number("friends_told", &packets.friends_told, 1..=FRIENDS_MAX),
            send_share: self.share("send_share", &packets.send_share),
            send_min_cents: send_min.into(),
            view_share: self.share("view_share", &packets.view_share),
            wallet_share: self.share("wallet_share", &packets.wallet_share),
            hoard_share: self.share("hoard_share", &packets.hoard_share),
            grab_share: self.share("grab_share", &packets.grab_share),
            repeat_share: self.share("repeat_share", &packets.repeat_share),
            delay_ms: self.range("delay_ms", &packets.delay_ms, 0),
        }
    }

    /// What is wrong between values that are each within their bounds.
    pub(super) fn contradictions(&mut self, scenario: &Scenario) {
        let shake_timeout_s = scenario.habits.shake_timeout.as_seconds();
        if f64::from(scenario.settle_s) < shake_timeout_s {
            self.problems.add_whole(format!(
                "settle_s = {} is shorter than shake_timeout_ms = {}: the last shakes would be called lost before their time; raise settle_s",
                scenario.settle_s,
                shake_timeout_s * 1e3
            ));
        }
        let ramp_s = scenario.sessions / scenario.connects_per_second.max(1);
        let run_s = u64::from(ramp_s) + u64::from(scenario.seconds()) + u64::from(scenario.settle_s);
        if u64::from(scenario.token_lifetime_s) <= run_s {
            self.problems.add_whole(format!(
                "token_lifetime_s = {} ends before the run does, which takes about {run_s} s; raise it",
                scenario.token_lifetime_s
            ));
        }
        if scenario.keep_alive_s >= scenario.idle_timeout_s {
            self.problems.add_whole(format!(
                "keep_alive_s = {} must be shorter than idle_timeout_s = {}, or it comes too late",
                scenario.keep_alive_s, scenario.idle_timeout_s
            ));
        }
        if scenario.keep_alive_s == 0 && u64::from(scenario.idle_timeout_s) < run_s {
            self.problems.add_whole(format!(
                "keep_alive_s = 0 and idle_timeout_s = {} may end idle sessions within the run of about {run_s} s; set keep_alive_s or a longer timeout",
                scenario.idle_timeout_s
            ));
        }
        if scenario.habits.networks.moves_phones() && scenario.sockets < 2 && scenario.engine == EngineKind::Lean {
            self.problems.add_whole(
                "sockets = 1 leaves no other address to phones whose network rebinds or dies; set engine.sockets = 2 or more",
            );
        }
        if scenario.journal.is_some() && scenario.engine != EngineKind::Lean {
            self.problems
                .add_whole("--journal needs engine.kind = \"lean\": the other engine counts in several threads");
        }
        if scenario.schedule().total() / u64::from(scenario.sessions.max(1)) > u64::from(u32::MAX) {
            self.problems
                .add_whole("more shakes for one session than the 32-bit sequence counts; add sessions");
        }
    }

    pub(super) fn wrong(&mut self, span: Range<usize>, message: String) {
        if is_placed(&span) {
            self.problems.add(self.text, span, message);
        } else {
            self.problems.add_whole(message);
        }
    }

    pub(super) fn number(&mut self, name: &str, value: &At<u32>, bounds: RangeInclusive<u32>) -> u32 {
        let found = *value.as_ref();
        if !bounds.contains(&found) {
            let message = format!("{name} = {found} must be {} to {}", bounds.start(), bounds.end());
            self.wrong(value.span(), message);
        }
        found
    }

    fn first_id(&mut self, value: &At<u64>, sessions: u32) -> u64 {
        let found = *value.as_ref();
        if found == 0 || found.checked_add(sessions.into()).is_none() {
            let message = format!("first_id = {found} must be 1 or more, with room for {sessions} users after it");
            self.wrong(value.span(), message);
        }
        found
    }

    pub(super) fn share(&mut self, name: &str, value: &At<Share>) -> f64 {
        match *value.as_ref() {
            Share::All(all) => f64::from(u8::from(all)),
            Share::Some(share) => {
                if !(0.0..=1.0).contains(&share) {
                    let message = format!("{name} = {share} must be true, false or a share from 0.0 to 1.0");
                    self.wrong(value.span(), message);
                }
                share
            }
        }
    }

    fn range(&mut self, name: &str, value: &At<[u32; 2]>, least: u32) -> [u32; 2] {
        let [low, high] = *value.as_ref();
        if low > high || low < least || high > 3_600_000 {
            let message = format!("{name} = [{low}, {high}] must be [least, most] between {least} and 3600000");
            self.wrong(value.span(), message);
        }
        [low, high]
    }

    pub(super) fn address(&mut self, address: &str, span: Range<usize>) {
        let good = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !good {
            let message = format!("address = {address:?} must be host:port, such as \"127.0.0.1:4433\"");
            self.wrong(span, message);
        }
    }

    fn server_name(&mut self, value: &At<String>) {
        let name = value.as_ref();
        if ServerName::try_from(name.as_str()).is_err() {
            let message = format!("server_name = {name:?} must be a DNS name or an IP address of the certificate");
            self.wrong(value.span(), message);
        }
    }

    fn kind(&mut self, value: &At<String>) -> EngineKind {
        let kind = value.as_ref();
        kind.parse().unwrap_or_else(|_| {
            let quoted = |engine: &EngineKind| format!("{:?}", engine.name());
            let names: Vec<_> = EngineKind::VARIANTS.iter().map(quoted).collect();
            let message = format!("kind = {kind:?} is no engine; it must be {}", names.join(" or "));
            self.wrong(value.span(), message);
            EngineKind::Quinn
        })
    }

    fn path(&mut self, name: &str, value: At<String>) -> PathBuf {
        if value.as_ref().is_empty() {
            self.wrong(
                value.span(),
                format!("{name} is empty; it must name a file that `certs generate` made"),
            );
        }
        value.into_inner().into()
    }
}
