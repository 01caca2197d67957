//! What the demo's event looks like for the sizes asked for: its show, its seed, and the programs' configurations as
//! text. Pure: opens and binds nothing.

use super::Options;
use crate::testbed::{Place, Programs, files};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::Path;

/// Amounts of the packets, in cents.
pub const AMOUNT_CENTS: (u64, u64) = (100, 20_000);
/// The number that show and seed share.
pub const EVENT: u32 = 1;
/// Sponsors of the show, by number from 1.
pub const SPONSORS: u16 = 3;
/// Connections that phones begin.
pub const CONNECTS_PER_SECOND: u32 = 2_000;
/// What a named show needs: its files are `deploy/shows/NAME.toml` and `deploy/scenarios/NAME.toml`.
pub mod named {
    use anyhow::Context;

    /// Packets of the seed: more than all phases together release.
    pub const PACKETS: u64 = 9_000;
    /// Every second packet is split, among two to five.
    pub const SPLIT_FLAGS: [&str; 4] = ["--split-share", "0.5", "--shares", "2..5"];

    /// Sessions, shakes per second and seconds of a scenario.
    ///
    /// # Errors
    /// When the scenario does not say them.
    pub fn size(scenario: &str) -> anyhow::Result<(u32, u32, u32)> {
        let table: toml::Table = scenario.parse().context("the scenario is no TOML")?;
        let load = table
            .get("load")
            .and_then(toml::Value::as_table)
            .context("the scenario has no [load]")?;
        let number = |key: &str| {
            let value = load.get(key).and_then(toml::Value::as_integer);
            value
                .and_then(|value| u32::try_from(value).ok())
                .with_context(|| format!("[load] has no {key}"))
        };
        Ok((number("sessions")?, number("shakes_per_second")?, number("seconds")?))
    }
}

/// Packets that the gateway gives out per second: enough that half of the most that these users may win goes out
/// while they shake.
pub fn releases_per_second(options: &Options) -> u32 {
    let possible = u64::from(options.sessions) * u64::from(SPONSORS);
    let half_spread = possible / 2 / u64::from(options.seconds);
    u32::try_from(half_spread.clamp(10, 2_000)).expect("at most 2,000")
}

/// Packets in the seed: a few more than can go out, so that the audit meets every state a packet can be in.
pub fn packets(options: &Options) -> u64 {
    if options.show.is_some() {
        return named::PACKETS;
    }
    u64::from(releases_per_second(options)) * u64::from(options.seconds) * 5 / 4 + 100
}

/// Their sum in cents: a tenth of the way from the least to the most that so many can sum to.
pub fn budget_cents(options: &Options) -> u64 {
    let (least, most) = AMOUNT_CENTS;
    packets(options) * (least + (most - least) / 10)
}

/// What `shake-agent seed generate` is told, without the file's name.
pub fn seed_flags(options: &Options) -> Vec<String> {
    let mut flags = seed_flags_of(packets(options), budget_cents(options));
    if options.show.is_some() {
        flags.extend(named::SPLIT_FLAGS.map(str::to_owned));
    }
    flags
}

/// The same for a seed of so many packets that sum to so much.
pub fn seed_flags_of(packets: u64, budget_cents: u64) -> Vec<String> {
    let mut flags: Vec<String> = [
        ("--event", u64::from(EVENT)),
        ("--count", packets),
        ("--budget", budget_cents),
        ("--min", AMOUNT_CENTS.0),
        ("--max", AMOUNT_CENTS.1),
    ]
    .iter()
    .flat_map(|(flag, value)| [(*flag).to_owned(), value.to_string()])
    .collect();
    for sponsor in 1..=SPONSORS {
        flags.extend(["--sponsor".to_owned(), sponsor.to_string()]);
    }
    flags
}

/// The show: one phase that outlasts the run.
pub fn show(options: &Options) -> String {
    // Phones shake as fast as it takes to reach the asked rate; the pace that they are told allows a little more.
    let between_shakes_ms = u64::from(options.sessions) * 1000 / u64::from(options.shakes_per_second);
    let pace_ms = (between_shakes_ms * 9 / 10).max(1);
    let mut text = format!(
        r#"# Made by `cargo xtask demo`. Every key is explained in deploy/show.toml.
[event]
id = {EVENT}
name = "demo"
starts = "now"
rest_pace_ms = 5000

[limits]
packets_per_user = {SPONSORS}
packets_per_sponsor = 1
ticket_lifetime_s = 86400

[[phases]]
name = "shake"
start_s = 0
end_s = 86400
pace_ms = {pace_ms}
releases_per_second = {}
without_packet = "greeting"
weights = {{ nothing = 30, greeting = 30, family_photo = 10, friend_card = 10, server_hang = 5, red_packet = 15 }}
resources = {{ greeting = 10, family_photo = 11, friend_card = 12, server_hang = 13 }}
"#,
        releases_per_second(options)
    );
    for sponsor in 1..=SPONSORS {
        text.push_str(&format!(
            "\n[[sponsors]]\nid = {sponsor}\nname = \"Sponsor {sponsor}\"\nresource = {sponsor}\n"
        ));
    }
    text
}

/// A show that begins with its gateway, for several of them: it begins now, at the same moment for all.
pub fn begins_now(show: &str) -> String {
    let at = Timestamp::from_second(Timestamp::now().as_second()).expect("it is a time in our days");
    show.replacen("starts = \"now\"", &format!("starts = \"{at}\""), 1)
}

/// The gateway's configuration.
pub fn gateway(place: &Place) -> String {
    let (listen, metrics, admin) = (place.gateway, place.metrics, place.admin);
    format!(
        r#"# Made by `cargo xtask`. Every key is explained in deploy/gateway.toml.
[listen]
address = "{listen}"

[certs]
directory = "{}"

[show]
file = "{}"

[queue]
path = {:?}

[metrics]
address = "{metrics}"

[admin]
address = "{admin}"
"#,
        files::CERTS,
        files::SHOW,
        place.queue(),
    )
}

/// Who gives the cues of a scenario that has some: the gateways' own program, at their operators' addresses.
pub fn operator(addresses: &[SocketAddr], certs: &Path, programs: &Programs) -> String {
    let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    format!(
        "\n[operator]\nprogram = {:?}\naddress = {addresses:?}\ncerts = {certs:?}\n",
        programs.path("gateway"),
    )
}

/// The agent's configuration. `directory` is the demo's, absolute.
pub fn agent(queue: &Path, directory: &Path) -> String {
    let ledger = format!("path = {:?}", directory.join(files::LEDGER));
    agent_on(
        &ledger,
        &format!("{:?}", directory.join(files::SETTLEMENT)),
        queue,
        directory,
    )
}

/// That of an agent of a fleet, whose ledger is at this address, and which audits know by this name.
pub fn agent_of_fleet(url: &str, machine: &str, queue: &Path, directory: &Path) -> String {
    agent_on(
        &format!("url = {url:?}\nmachine = {machine:?}"),
        "\"\"",
        queue,
        directory,
    )
}

fn agent_on(ledger: &str, settlement: &str, queue: &Path, directory: &Path) -> String {
    format!(
        r#"# Made by `cargo xtask demo`. Every key is explained in deploy/agent.toml.
[queue]
path = {queue:?}

[ledger]
{ledger}

[seed]
file = {:?}

[certs]
directory = {:?}

[show]
file = {:?}

[settlement]
file = {settlement}

[abuse]
file = {:?}
"#,
        directory.join(files::SEED),
        directory.join(files::CERTS),
        directory.join(files::SHOW),
        directory.join(files::BLOCKS),
    )
}

/// What the phones do. `certs` is absolute, because the simulator takes paths from its working directory.
pub fn scenario(options: &Options, gateway: SocketAddr, certs: &Path) -> String {
    format!(
        r#"# Made by `cargo xtask demo`. Every key is explained in deploy/scenarios/default.toml.
[target]
address = "{gateway}"
server_name = "localhost"
ca = {:?}

[users]
token_key = {:?}

[load]
sessions = {}
connects_per_second = {CONNECTS_PER_SECOND}
connects_at_once = 128
shakes_per_second = {}
seconds = {}

[engine]
kind = "{}"
"#,
        certs.join("ca.pem"),
        certs.join("user-token.key.toml"),
        options.sessions,
        options.shakes_per_second,
        options.seconds,
        options.engine().name(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gives_a_possible_seed() {
        for (sessions, shakes_per_second, seconds) in [
            (1, 1, 1),
            (200, 400, 5),
            (2_000, 5_000, 20),
            (20_000, 20_000, 30),
            (1_000_000, 1_000_000, 86_400),
        ] {
            let options = Options::of_size(sessions, shakes_per_second, seconds);
            let (packets, budget) = (packets(&options), budget_cents(&options));
            assert!(packets >= 100);
            assert!(
                (packets * AMOUNT_CENTS.0..=packets * AMOUNT_CENTS.1).contains(&budget),
                "{options:?}"
            );
            assert!(!show(&options).contains("pace_ms = 0\n"), "{options:?}");
        }
    }
}
