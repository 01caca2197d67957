//! The resource manifest as a phone takes it: what to fetch, and at which moment of the window told.

use super::{Action, Habits, User};
use crate::schedule::Micros;
use crate::tally::Tally;
use shake_proto::wire::v1;

/// One package to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// When.
    pub at: Micros,
    /// The id in the manifest.
    pub id: u32,
    /// Where it is.
    pub address: String,
    /// What its size must be, in bytes.
    pub size_bytes: u64,
    /// What its SHA-256 must be.
    pub sha256: [u8; 32],
}

impl User {
    /// Takes the manifest, and picks a moment within each package's window. A window that does not meet the run is
    /// left alone, and counted.
    pub(super) fn take_manifest(
        &mut self,
        now: Micros,
        manifest: v1::ResourceManifest,
        server_time_ms: u64,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Vec<Action> {
        self.resource_version = manifest.version;
        tally.packages.manifests += 1;
        tally
            .packages
            .ids
            .extend(manifest.resources.iter().map(|package| package.id));
        if !self.roles.fetches {
            return Vec::new();
        }
        let run_ends_ms = server_time_ms.saturating_add(habits.packages.within.0 / 1_000);
        let mut actions = Vec::new();
        for package in manifest.resources {
            let Ok(sha256) = package.sha256[..].try_into() else {
                tally.violations.malformed_replies += 1;
                continue;
            };
            let from = package.fetch_after_ms.max(server_time_ms);
            let to = package.fetch_before_ms.min(run_ends_ms);
            if from >= to {
                tally.packages.outside_window += 1;
                continue;
            }
            let wait_ms = self.jitter.between(from, to) - server_time_ms;
            tally.packages.begun += 1;
            actions.push(Action::Fetch(Fetch {
                at: now.plus(Micros::from_ms(wait_ms)),
                id: package.id,
                address: package.address,
                size_bytes: package.size_bytes,
                sha256,
            }));
        }
        actions
    }
}
