//! The attacks with their sizes and bounds, and the event that they meet, as text. Opens nothing.

use std::net::SocketAddr;
use std::path::Path;

/// An attack of `client-sim hostile`.
#[derive(Debug)]
pub struct Attack {
    pub name: &'static str,
    /// Packets, requests or connections per second, as the attack counts.
    pub rate: u32,
    pub size: u32,
    /// Sessions and unfinished handshakes that it holds open at one time, at the most.
    pub held: u64,
    /// The least share of the honest phones' shakes that is answered in time.
    pub success_min: f64,
    /// What the gateway may count at the most meanwhile, by name, honest phones included.
    pub counted_max: &'static [(&'static str, u64)],
    /// The throttle, where it is not the default.
    pub throttle: Option<fn() -> String>,
}

impl Attack {
    /// How much the gateway's resident memory may grow: 32 KiB for each session or handshake held, and 16 MiB for
    /// batches, tables and what the allocator keeps.
    pub fn growth_bytes_max(&self) -> u64 {
        (16 << 20) + self.held * (32 << 10)
    }

    /// The same where the gateway may count no more than this.
    const fn counting(mut self, counted_max: &'static [(&'static str, u64)]) -> Self {
        self.counted_max = counted_max;
        self
    }

    /// The same with another throttle.
    const fn under(mut self, throttle: fn() -> String) -> Self {
        self.throttle = Some(throttle);
        self
    }
}

const fn attack(name: &'static str, rate: u32, size: u32, held: u64) -> Attack {
    Attack {
        name,
        rate,
        size,
        held,
        success_min: 0.999,
        counted_max: &[],
        throttle: None,
    }
}

/// Unfinished handshakes that the gateway holds of clients that do not prove their address: half of its `handshakes_max`.
const HALF_OPEN: u64 = 1_000;

/// All of them. Rates leave about half of a machine with two cores to the honest phones and their gateway.
pub const ALL: [Attack; 22] = [
    attack("forged-tokens", 1_000, 50, 1),
    attack("foreign-claims", 200, 50, 10),
    attack("cookies", 100, 50, 1),
    attack("one-user", 2_000, 50, 2_000),
    attack("shake-flood", 60_000, 50, 50),
    attack("silent", 300, 50, 1_500), // hello_timeout_s = 5
    attack("slow-readers", 2_000, 50, 500),
    attack("slow-writers", 2_000, 50, 1_000), // 500 with up to 32 KiB of requests each
    attack("stream-stuffing", 2_000, 50, 50),
    attack("cid-stuffing", 2_000, 50, 50),
    attack("optimistic-acks", 500, 50, 50),
    attack("path-challenges", 1_000, 50, 50),
    attack("cid-collisions", 5_000, 50, HALF_OPEN),
    attack("transport-parameters", 200, 50, HALF_OPEN + 500),
    attack("initial-flood", 5_000, 50, HALF_OPEN),
    attack("network-name", 5_000, 50, HALF_OPEN).under(network_throttle),
    // Each session is closed with its 65th datagram, and forgotten a second later.
    attack("garbage-before-hello", 20_000, 50, 600),
    // Half of it is no message: of each session's budget, until it is blocked, and some seconds of four a second.
    attack("garbage-after-block", 20_000, 50, 50).counting(&[(MALFORMED, 50 * 250)]),
    // Four at once, three of eleven seconds; and the first and second of the honest.
    attack("hello-flood", 2_000, 50, 50).counting(&[(HELLOS, 50 * 7 + 2 * 500)]),
    // Of one shard, for eleven seconds and a little more.
    attack("reset-flood", 20_000, 50, 1).counting(&[(RESETS, 26_000)]),
    attack("early-data", 2_000, 50, 50),
    attack("corruption", 4_000, 50, 50),
];

const MALFORMED: &str = "gateway_datagrams_dropped_total{reason=\"malformed\"}";
const HELLOS: &str = "gateway_hellos_total";
const RESETS: &str = "gateway_resets_total";

/// Loopback is a network like any other, and what it may connect leaves room for the honest phones and few more. Grades
/// begin and end at the usual waits.
fn network_throttle() -> String {
    let grade = |load: String| format!("[[grades]]\n{load}prefix = {{ per_second = 100, burst = 1200 }}\n");
    let loads = [(8, 4), (25, 6), (60, 15), (120, 40)].map(|(enter_ms, leave_ms)| {
        grade(format!(
            "enter = {{ queue_wait_ms = {enter_ms} }}\nleave = {{ queue_wait_ms = {leave_ms} }}\npace_ms = [1000, 10000]\n"
        ))
    });
    let title = "# Made by `cargo xtask bench hostile`. Every key is explained in deploy/throttle.toml.\n";
    title.to_owned() + &grade(String::new()) + &loads.concat()
}

/// The most that one user may win.
pub const PACKETS_PER_USER: u32 = 3;
/// Packets of the seed.
pub const PACKETS: u64 = 20_000;
/// Their sum in cents.
pub const BUDGET_CENTS: u64 = 20_000_000;

/// One phase that outlasts the run, with many wins.
pub const SHOW: &str = r#"# Made by `cargo xtask bench hostile`. Every key is explained in deploy/show.toml.
[event]
id = 1
name = "hostile"
starts = "now"
rest_pace_ms = 5000

[limits]
packets_per_user = 3
packets_per_sponsor = 1
ticket_lifetime_s = 86400

[[phases]]
name = "shake"
start_s = 0
end_s = 86400
pace_ms = 500
releases_per_second = 200
without_packet = "greeting"
weights = { nothing = 40, greeting = 40, red_packet = 20 }
resources = { greeting = 10 }

[[sponsors]]
id = 1
name = "Sponsor 1"
resource = 1
[[sponsors]]
id = 2
name = "Sponsor 2"
resource = 2
[[sponsors]]
id = 3
name = "Sponsor 3"
resource = 3
"#;

/// The gateway, with limits that an attack of some seconds can reach.
pub fn gateway(listen: SocketAddr, metrics: SocketAddr, queue: &Path, throttle: Option<&Path>) -> String {
    let throttle = throttle.map_or_else(String::new, |path| format!("[throttle]\nfile = {path:?}\n"));
    format!(
        "# Made by `cargo xtask bench hostile`. Every key is explained in deploy/gateway.toml.\n\
         [listen]\naddress = \"{listen}\"\n[sessions]\nhandshakes_max = 2000\nhello_timeout_s = 5\n\
         [certs]\ndirectory = \"certs\"\n[show]\nfile = \"show.toml\"\n[queue]\npath = {queue:?}\n\
         [metrics]\naddress = \"{metrics}\"\n{throttle}"
    )
}

pub fn agent(queue: &Path) -> String {
    format!(
        "# Made by `cargo xtask bench hostile`. Every key is explained in deploy/agent.toml.\n\
         [queue]\npath = {queue:?}\n[ledger]\npath = \"ledger.db\"\n[seed]\nfile = \"seed.bin\"\n\
         [certs]\ndirectory = \"certs\"\n[show]\nfile = \"show.toml\"\n[settlement]\nfile = \"settlement.log\"\n"
    )
}

/// Honest phones: 500, each shaking once a second.
pub fn scenario(gateway: SocketAddr, certs: &Path, first_user: u64) -> String {
    let (ca, token_key) = (certs.join("ca.pem"), certs.join("user-token.key.toml"));
    format!(
        "# Made by `cargo xtask bench hostile`. Every key is explained in deploy/scenarios/default.toml.\n\
         [target]\naddress = \"{gateway}\"\nca = {ca:?}\n[users]\nfirst_id = {first_user}\ntoken_key = {token_key:?}\n\
         [load]\nsessions = 500\nconnects_per_second = 500\nshakes_per_second = 500\nseconds = {}\n\
         [engine]\nkind = \"lean\"\n",
        super::HONEST_SECONDS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own_and_what_is_written_is_toml() {
        for (index, attack) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != attack.name));
        }
        let address = "127.0.0.1:1".parse().expect("an address");
        let path = Path::new("/p");
        for text in [
            SHOW.to_owned(),
            gateway(address, address, path, None),
            gateway(address, address, path, Some(path)),
            network_throttle(),
            agent(path),
            scenario(address, path, 1),
        ] {
            text.parse::<toml::Table>().expect("TOML");
        }
    }
}
