//! The manifest of a fleet's seed.
//!
//! What holds: what reads is written to what reads the same, and its origin can be told.

use shake_agent::seed_fleet::{Manifest, ManifestKeys};
use shake_rules::keys::{Key, KeyRing};
use std::sync::LazyLock;

static KEYS: LazyLock<ManifestKeys> = LazyLock::new(|| ManifestKeys::new(&KeyRing::of(Key::new(3, [9; 32]))));

/// Reads one manifest.
pub fn run(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let _ = KEYS.check(&manifest);
        assert_eq!(
            serde_json::from_str::<Manifest>(&manifest.to_text()).ok(),
            Some(manifest)
        );
    }
}

/// A manifest as it is written, but for white space and its code.
const PLAIN: &str = r#"{"fleet":{"format":"shake-seed-manifest-1","event":7,"budget_cents":300,"packets":2,"split_packets":1,
"sponsors":[{"sponsor":1,"packets":2,"cents":300}],
"files":[{"name":"seed-0.bin","part":0,"packets":2,"split_packets":1,"cents":300,
"sha256":"abababababababababababababababababababababababababababababababab","records_crc":"0123abcd",
"sponsors":[{"sponsor":1,"packets":2,"cents":300}]}]},"authentication":null}"#;

/// With an authentic code, with a wrong one, and without.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let plain: Manifest = serde_json::from_str(PLAIN).expect("a valid manifest");
    let authentic = Manifest::new(plain.fleet.clone(), Some(&KEYS)).to_text();
    let forged = authentic.replace("\"event\": 7", "\"event\": 8");
    vec![
        ("authentic", authentic.into_bytes()),
        ("plain", plain.to_text().into_bytes()),
        ("forged", forged.into_bytes()),
    ]
}
