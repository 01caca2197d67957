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
}

impl Attack {
    /// How much the gateway's resident memory may grow: 32 KiB for each session or handshake held, and 16 MiB for
    /// batches, tables and what the allocator keeps.
    pub fn growth_bytes_max(&self) -> u64 {
        (16 << 20) + self.held * (32 << 10)
    }
}

const fn attack(name: &'static str, rate: u32, size: u32, held: u64) -> Attack {
    Attack {
        name,
        rate,
        size,
        held,
        success_min: 0.999,
    }
}

/// Unfinished handshakes that the gateway holds of clients that do not prove their address: half of its `handshakes_max`.
const HALF_OPEN: u64 = 1_000;

/// All of them. Rates leave about half of a machine with two cores to the honest phones and their gateway.
pub const ALL: [Attack; 17] = [
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
    attack("early-data", 2_000, 50, 50),
    attack("corruption", 4_000, 50, 50),
];

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
pub fn gateway(listen: SocketAddr, metrics: SocketAddr, queue: &Path) -> String {
    format!(
        "# Made by `cargo xtask bench hostile`. Every key is explained in deploy/gateway.toml.\n\
         [listen]\naddress = \"{listen}\"\n[sessions]\nhandshakes_max = 2000\nhello_timeout_s = 5\n\
         [certs]\ndirectory = \"certs\"\n[show]\nfile = \"show.toml\"\n[queue]\npath = {queue:?}\n\
         [metrics]\naddress = \"{metrics}\"\n"
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
            gateway(address, address, path),
            agent(path),
            scenario(address, path, 1),
        ] {
            text.parse::<toml::Table>().expect("TOML");
        }
    }
}
