//! The event that is played under faults, as text: its show, its seed, the programs' configurations, the phones. Pure.

use super::cast::directories;
use crate::demo::plan;
use crate::testbed::{Place, files};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Phones of a round, one session and one user each.
pub const PHONES: u64 = 800;
/// What they try to shake, over all.
const SHAKES_PER_SECOND: u32 = 1_200;
/// Packets released per second: fewer than phones would win, so that the most is won whenever somebody shakes.
const RELEASES_PER_SECOND: u64 = 60;
/// Packets that a gateway holds per shard, and loses when it is killed.
const GRANTS_IN_HAND: u32 = 16;
/// The throttle's signal of a whole control group.
const CGROUP_CPU: &str = "cgroup_cpu";

/// What `shake-agent seed generate` is told: packets for so many minutes of so many gateways, and for what is void or released
/// while others audit.
pub fn seed_flags(minutes: f64, gateways: u64) -> Vec<String> {
    let packets = ((minutes * 60.0) as u64 * RELEASES_PER_SECOND * 2 + 20_000) * gateways;
    let (least, most) = plan::AMOUNT_CENTS;
    let mut flags = plan::seed_flags_of(packets, packets * (least + (most - least) / 10));
    flags.extend(plan::named::SPLIT_FLAGS.map(str::to_owned));
    flags
}

/// A show that began long ago and outlasts all clock steps, with packets and splits all the time. Tickets and shares go
/// back while the campaign goes on. With gifts while faults strike, and without when phones are to come to an end.
pub fn show(has_gifts: bool) -> String {
    const GIFTS: &str = "gifts = { per_second = 8, recipients = 3, min_cents = 10, max_cents = 309 }\n";
    let mut text = format!(
        r#"# Made by `cargo xtask chaos`. Every key is explained in deploy/show.toml.
[event]
id = {event}
name = "chaos"
starts = "2020-01-01T00:00:00Z"
rest_pace_ms = 1000

[limits]
packets_per_user = 8
packets_per_sponsor = 8
ticket_lifetime_s = 2400
share_lifetime_s = 90

[gifts]
budget_cents = 1000000000

[[phases]]
name = "storm"
start_s = 0
end_s = 900000000
pace_ms = 500
releases_per_second = {RELEASES_PER_SECOND}
without_packet = "greeting"
weights = {{ red_packet = 40, greeting = 40, nothing = 20 }}
{gifts}"#,
        event = plan::EVENT,
        gifts = if has_gifts { GIFTS } else { "" }
    );
    for sponsor in 1..=plan::SPONSORS {
        text.push_str(&format!(
            "\n[[sponsors]]\nid = {sponsor}\nname = \"Sponsor {sponsor}\"\nresource = {sponsor}\n"
        ));
    }
    text
}

/// The gateway's configuration: the demo's, with a state directory that can run full, and its throttle in a file.
pub fn gateway(place: &Place) -> String {
    format!(
        "{}\n[state]\ndirectory = \"{}\"\n\n[throttle]\nfile = \"{}\"\n",
        plan::gateway(place),
        files::STATE,
        files::THROTTLE
    )
}

/// A throttle without the load of the control group. In it is whatever runs beside this on the machine: a build would switch off
/// views and wallets, and the phones would wait for them to the end of their patience.
///
/// # Errors
/// When it is no throttle.
pub fn throttle(deployed: &str) -> anyhow::Result<String> {
    let mut table: toml::Table = deployed.parse().context("the throttle is no TOML")?;
    let grades = table.get_mut("grades").and_then(toml::Value::as_array_mut);
    for grade in grades.context("the throttle has no grades")? {
        for signals in ["enter", "leave"] {
            if let Some(signals) = grade.get_mut(signals).and_then(toml::Value::as_table_mut) {
                signals.remove(CGROUP_CPU);
            }
        }
    }
    Ok(toml::to_string(&table)?)
}

/// Where the agent's settlement file lies.
pub fn settlement(place: &Place) -> PathBuf {
    place.file(directories::SETTLEMENT).join(files::SETTLEMENT)
}

/// The agent's: ledger and settlement lie in directories of their own, whose disks fail one by one.
pub fn agent(place: &Place) -> String {
    let file = |directory: &str, name: &str| place.file(directory).join(name);
    let quoted = |path: &Path| format!("{path:?}");
    let from = |name: &str| quoted(&place.file(name));
    let mut text = plan::agent(place.queue(), &place.directory);
    for (directory, name) in [
        (directories::LEDGER, files::LEDGER),
        (directories::SETTLEMENT, files::SETTLEMENT),
    ] {
        text = text.replace(&from(name), &quoted(&file(directory, name)));
    }
    text + &rest_of_agent(&place.directory)
}

/// That of an agent of a fleet, in this directory, which reaches its ledger at this address. It has more grants in hand than it is
/// told: what lasts for half a minute.
pub fn agent_of_fleet(url: &str, machine: &str, queue: &Path, directory: &Path) -> String {
    plan::agent_of_fleet(url, machine, queue, directory) + &rest_of_agent(directory)
}

fn rest_of_agent(directory: &Path) -> String {
    format!(
        "\n[state]\ndirectory = {:?}\n\n[feed]\ngrants_in_hand = {GRANTS_IN_HAND}\n",
        directory.join(files::STATE)
    )
}

/// First user of a round. Rounds count from 1.
pub fn first_user(round: u32) -> u64 {
    u64::from(round - 1) * PHONES + 1
}

/// The phones of a round, before these gateways. They never give up, and come back sooner than patient ones would, because it is the service
/// whose return is to be seen. Wallets are compared only by users who know all that they have.
pub fn scenario(round: u32, seed: u64, knows_all: bool, gateways: &[SocketAddr]) -> String {
    let wallets = if knows_all { 0.3 } else { 0.0 };
    let mut text = format!(
        r#"# Made by `cargo xtask chaos`. Every key is explained in deploy/scenarios/default.toml.
[users]
first_id = {first_id}

[load]
sessions = {PHONES}
connects_per_second = 2000
connects_at_once = 64
shakes_per_second = {SHAKES_PER_SECOND}
seconds = 3600
settle_s = 90
seed = {seed}

[behaviour]
obey_pace = 0.8
use_streams_for_shakes = 0.1
claim_delay_ms = [50, 600]

[phones]
silence_backoff_ms = [500, 2000]

[packets]
share_split = 0.8
friends_told = 3
send_share = 0.2
send_min_cents = 100
view_share = 0.1
wallet_share = {wallets:.1}
hoard_share = 0.05
grab_share = 0.9
repeat_share = 0.1
delay_ms = [50, 800]

[engine]
kind = "lean"
sockets = 8

[limits]
shake_timeout_ms = 2000
request_timeout_ms = 2000
connect_timeout_ms = 2000
connect_tries_max = 1000
claim_tries_max = 1000
backoff_ms = [250, 2000]
"#,
        first_id = first_user(round),
    );
    for gateway in gateways {
        text.push_str(&format!("\n[[targets]]\naddress = \"{gateway}\"\n"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::testbed::deployed;

    #[test]
    fn what_else_runs_on_the_machine_is_no_load_and_all_else_is_as_deployed() {
        let deployed = deployed(".", "throttle").unwrap();
        let mut expected: toml::Table = deployed.parse().unwrap();
        let first = &mut expected["grades"].as_array_mut().unwrap()[1];
        for signals in ["enter", "leave"] {
            let signals = first[signals].as_table_mut().unwrap();
            assert!(signals.remove(CGROUP_CPU).is_some() && !signals.is_empty());
        }
        let made = throttle(&deployed).unwrap();
        assert_eq!(made.parse::<toml::Table>().unwrap(), expected);
        assert!(!made.contains(CGROUP_CPU));
    }
}
