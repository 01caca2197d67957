//! Every target over its corpus and over mutations of it, the same ones on every machine. Needs no libFuzzer.

use fuzz::TARGETS;
use fuzz::mutate::{Random, mutate};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Mutated inputs for each target.
const MUTATIONS: usize = 3_000;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

fn here(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(part)
}

fn names(paths: Vec<PathBuf>) -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_stem().expect("a file's name").to_string_lossy().into_owned();
    paths.into_iter().map(name).collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(files(&here("fuzz_targets"))), targets);
    assert_eq!(names(files(&here("corpus"))), targets);
    for target in TARGETS {
        let stored = names(files(&here("corpus").join(target.name)));
        for (name, _) in (target.seeds)() {
            assert!(
                stored.contains(name),
                "{}/{name}: write it with `cargo run -p fuzz --example seeds`",
                target.name
            );
        }
    }
}

#[test]
fn corpus_and_mutations_are_taken() {
    for (number, target) in TARGETS.into_iter().enumerate() {
        let read = |path| fs::read(path).expect("a readable corpus");
        let stored = files(&here("corpus").join(target.name)).into_iter().map(read);
        // The seeds as they are made today, too: a stored one may be of an older layout.
        let inputs: Vec<Vec<u8>> = stored
            .chain((target.seeds)().into_iter().map(|(_, bytes)| bytes))
            .collect();
        let mut random = Random::new(number as u64);
        for input in &inputs {
            (target.run)(input);
        }
        for _ in 0..MUTATIONS {
            let input = mutate(&inputs, &mut random);
            let run = std::panic::AssertUnwindSafe(|| (target.run)(&input));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("{}: {:02x?}", target.name, input);
                std::panic::resume_unwind(panic);
            }
        }
    }
}
