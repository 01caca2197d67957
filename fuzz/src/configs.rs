//! The files that people write: TOML with every error told at its line.
//!
//! What holds: reading ends, and the errors can be shown. For key files also: what reads is written to what reads the same.

use shake_rules::UnixMillis;
use shake_rules::document::Problems;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::show::Show;
use std::borrow::Cow;
use std::path::Path;

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn shown<T>(read: Result<T, Problems>) -> Option<T> {
    read.map_err(|problems| {
        assert!(!problems.0.is_empty(), "refused without a reason");
        problems.to_string()
    })
    .ok()
}

/// `gateway.toml`.
pub fn gateway_config(bytes: &[u8]) {
    shown(gateway::config::Config::parse(&text(bytes), Path::new("/etc/shake")));
}

/// `agent.toml`.
pub fn agent_config(bytes: &[u8]) {
    shown(shake_agent::config::Config::parse(
        &text(bytes),
        Path::new("/etc/shake"),
    ));
}

/// Show files.
pub fn show(bytes: &[u8]) {
    let now = UnixMillis(1_790_000_000_000);
    if let Some(show) = shown(Show::parse(&text(bytes), now)) {
        let _ = (show.past_phases(now).count(), show.phase_at(now), show.phase_after(now));
    }
}

/// The simulator's scenarios.
pub fn scenario(bytes: &[u8]) {
    use client_sim::scenario::{Overrides, Scenario};
    if let Some(scenario) = shown(Scenario::parse(&text(bytes), &Overrides::default())) {
        let _ = scenario.schedule();
    }
}

/// Key files.
pub fn keys(bytes: &[u8]) {
    if let Some(ring) = shown(KeyRing::parse(&text(bytes), Purpose::Ticket)) {
        let again = KeyRing::parse(&ring.to_file(Purpose::Ticket), Purpose::Ticket).expect("a file as it is written");
        assert!(ring.iter().eq(again.iter()));
    }
}

fn default(file: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![("default", file.as_bytes().to_vec())]
}

/// The default file.
pub fn gateway_config_seeds() -> Vec<(&'static str, Vec<u8>)> {
    default(gateway::config::DEFAULT)
}

/// The default file.
pub fn agent_config_seeds() -> Vec<(&'static str, Vec<u8>)> {
    default(shake_agent::config::DEFAULT)
}

/// The default show.
pub fn show_seeds() -> Vec<(&'static str, Vec<u8>)> {
    default(gateway::config::DEFAULT_SHOW)
}

/// The default scenario.
pub fn scenario_seeds() -> Vec<(&'static str, Vec<u8>)> {
    default(client_sim::scenario::DEFAULT)
}

/// A key file.
pub fn key_seeds() -> Vec<(&'static str, Vec<u8>)> {
    default(&KeyRing::of(Key::new(3, [0x5a; 32])).to_file(Purpose::Ticket))
}
