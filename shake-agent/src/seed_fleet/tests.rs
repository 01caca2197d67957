//! Fleets made and verified, and every way of being wrong planted by hand.
#![allow(clippy::unwrap_used)]

use super::manifest::{Origin, Proof};
use super::verify::{VerifyError, verify};
use super::*;
use crate::seed_draw::Splits;
use proptest::prelude::*;
use shake_rules::keys::{Key, KeyRing};
use shake_rules::seed::{HEADER_BYTES, RECORD_BYTES, SeedHeader, SeedRecord, SeedSum};
use shake_rules::{Cents, EventId, PacketId, SponsorId};
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn keys(secret: u8) -> ManifestKeys {
    ManifestKeys::new(&KeyRing::of(Key::new(4, [secret; 32])))
}

fn request(count: u64) -> Request {
    Request {
        event: EventId(7),
        budget: Cents(count * 50),
        count,
        sponsors: [(SponsorId(1), 3), (SponsorId(2), 1)].into(),
        min: Cents(10),
        max: Cents(200),
        splits: Splits {
            packets: count / 5,
            shares: 2..=10,
        },
    }
}

fn make(directory: &Path, parts: u16, force: bool) -> Result<Manifest, GenerateError> {
    let mut state = 1;
    generate(
        &request(1_000),
        parts,
        directory,
        force,
        Some(&keys(1)),
        || splitmix(&mut state),
        |_| {},
    )
}

fn fleet() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path(), 3, false).unwrap();
    directory
}

fn verified(directory: &Path) -> Report {
    verify(directory, Some(&keys(1)), |_| {}).unwrap()
}

#[test]
fn a_fleet_is_whole_and_never_replaced_unasked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet");
    let manifest = make(&path, 3, false).unwrap();
    let counts: Vec<_> = manifest.fleet.files.iter().map(|file| file.packets).collect();
    assert_eq!(counts, [334, 333, 333]);
    let report = verified(&path);
    assert!(report.whole, "{report}");
    assert_eq!(
        (report.packets, report.split_packets, report.cents),
        (1_000, 200, 50_000)
    );
    assert_eq!(report.origin, Origin::Authentic { key_id: 4 });
    assert!(matches!(make(&path, 3, false), Err(GenerateError::Exists(_))));
    // A smaller fleet leaves nothing of the larger one behind.
    make(&path, 2, true).unwrap();
    let report = verified(&path);
    assert!(report.whole && report.files.len() == 2, "{report}");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);
    assert!(matches!(make(&path, 0, true), Err(GenerateError::Parts { .. })));
    assert!(matches!(make(&path, 1_001, true), Err(GenerateError::Parts { .. })));
}

#[test]
fn the_origin_is_told() {
    let directory = fleet();
    let origin = |keys: Option<&ManifestKeys>| {
        let report = verify(directory.path(), keys, |_| {}).unwrap();
        (report.origin, report.whole)
    };
    assert_eq!(origin(None), (Origin::NotChecked, true));
    assert_eq!(origin(Some(&keys(2))), (Origin::Forged, false));
    let other = ManifestKeys::new(&KeyRing::of(Key::new(5, [1; 32])));
    // The key was retired since: nobody can tell any more, and that is said first.
    assert_eq!(origin(Some(&other)), (Origin::UnknownKey { key_id: 4 }, true));
    let report = verify(directory.path(), Some(&other), |_| {}).unwrap();
    assert_eq!(report.proof, Proof::Unknown);
    assert!(report.to_string().starts_with("origin UNKNOWN: "), "{report}");
    let path = directory.path().join(MANIFEST);
    let mut manifest: Manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest.authentication = None;
    std::fs::write(&path, manifest.to_text()).unwrap();
    assert_eq!(origin(None), (Origin::NotAuthenticated, true));
    assert_eq!(origin(Some(&keys(1))), (Origin::NotAuthenticated, false));
}

/// Changes records of a file and makes header and checksums fit again.
fn rewrite(path: &Path, change: impl Fn(&mut Vec<SeedRecord>)) {
    let bytes = std::fs::read(path).unwrap();
    let header = SeedHeader::decode(bytes[..HEADER_BYTES].try_into().unwrap()).unwrap();
    let chunks = bytes[HEADER_BYTES..].as_chunks::<RECORD_BYTES>().0;
    let mut records: Vec<_> = chunks
        .iter()
        .map(|bytes| SeedRecord::decode(bytes, 0).unwrap())
        .collect();
    change(&mut records);
    let mut sum = SeedSum::default();
    records.iter().for_each(|record| sum.add(record));
    let mut bytes = sum.header(header.event, header.part, header.parts).encode().to_vec();
    records.iter().for_each(|record| bytes.extend(record.encode()));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_difference_is_named() {
    let check = |plant: &dyn Fn(&Path), kinds: &[&str]| {
        let directory = fleet();
        plant(directory.path());
        let report = verified(directory.path());
        assert!(!report.whole);
        for kind in kinds {
            let named = report
                .differences
                .named
                .iter()
                .any(|difference| difference.kind == *kind);
            assert!(named, "no {kind} in:\n{report}");
        }
    };
    let second = |directory: &Path| directory.join(file_name(1));
    let foreign = PacketId(u64::MAX);
    let copy = |from: &Path, to: &Path| assert!(std::fs::copy(from, to).unwrap() > 0);
    check(
        &|d| std::fs::remove_file(second(d)).unwrap(),
        &["file_unreadable", "budget", "packets"],
    );
    check(
        &|d| copy(&second(d), &d.join(file_name(2))),
        &["packet_twice", "file_part", "file_sha256"],
    );
    check(&|d| copy(&second(d), &d.join(file_name(3))), &["file_extra"]);
    check(
        &|d| rewrite(&second(d), |records| records[5].packet = records[4].packet),
        &["packet_twice"],
    );
    check(
        &|d| rewrite(&second(d), |records| records[5].packet = PacketId(7 << 48 | 9)),
        &["packet_twice"],
    );
    check(
        &|d| {
            rewrite(&second(d), |records| {
                (records[5].packet, records[8].packet) = (foreign, foreign)
            })
        },
        &["packet_twice"],
    );
    check(
        &|d| rewrite(&second(d), |records| records[5].amount.0 += 1),
        &["budget", "file_cents", "file_sponsors", "file_total"],
    );
    check(
        &|d| rewrite(&second(d), |records| records.truncate(300)),
        &["packets", "file_packets", "file_count"],
    );
    let flip = |at: u64| {
        move |d: &Path| {
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(d.join(file_name(1)))
                .unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        }
    };
    check(&flip(3), &["file_header", "file_sha256"]);
    check(
        &flip(HEADER_BYTES as u64 + 100),
        &["file_record", "file_records", "packets"],
    );
    let edit = |from: &'static str, to: &'static str| {
        move |d: &Path| {
            let path = d.join(MANIFEST);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from));
            std::fs::write(path, text.replacen(from, to, 1)).unwrap();
        }
    };
    check(
        &edit("50000", "50001"),
        &["manifest_origin", "manifest_cents", "budget"],
    );
    check(&edit("seed-1.bin", "../seed-1.bin"), &["manifest_file", "file_extra"]);
    check(&edit("\"part\": 1", "\"part\": 0"), &["manifest_file"]);
}

#[test]
fn what_is_no_manifest_is_an_error() {
    let directory = fleet();
    let path = directory.path().join(MANIFEST);
    let error = |text: &str| {
        std::fs::write(&path, text).unwrap();
        verify(directory.path(), None, |_| {}).unwrap_err()
    };
    assert!(matches!(error("{"), VerifyError::Damaged { .. }));
    let good = make(directory.path(), 3, true).unwrap().to_text();
    assert!(matches!(
        error(&good.replace("manifest-1", "manifest-2")),
        VerifyError::Format { .. }
    ));
    assert!(matches!(
        error(&good.replace("\"event\"", "\"evnet\"")),
        VerifyError::Damaged { .. }
    ));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        verify(directory.path(), None, |_| {}),
        Err(VerifyError::Io { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn parts_sum_to_the_budget_exactly(count in 1_u64..400, parts in 1_u16..9, min in 2_u64..50, width in 0_u64..500, share in 0.0_f64..=1.0, split in 0.0_f64..=1.0, seed: u64) {
        let parts = parts.min(count as u16);
        let request = Request {
            event: EventId(70_000),
            budget: Cents(min * count + ((width * count) as f64 * share) as u64),
            count,
            sponsors: [(SponsorId(3), 2), (SponsorId(9), 5)].into(),
            min: Cents(min),
            max: Cents(min + width),
            splits: Splits { packets: (count as f64 * split) as u64, shares: 2..=7 },
        };
        let directory = tempfile::tempdir().unwrap();
        let mut state = seed;
        let manifest = generate(&request, parts, directory.path(), false, None, || splitmix(&mut state), |_| {}).unwrap();
        let files = &manifest.fleet.files;
        prop_assert_eq!(files.len(), usize::from(parts));
        prop_assert_eq!(files.iter().map(|file| file.cents).sum::<u64>(), request.budget.0);
        prop_assert_eq!(files.iter().map(|file| file.packets).sum::<u64>(), count);
        prop_assert_eq!(manifest.fleet.split_packets, request.splits.packets);
        let report = verify(directory.path(), None, |_| {}).unwrap();
        prop_assert!(report.whole, "{}", report);
    }
}
