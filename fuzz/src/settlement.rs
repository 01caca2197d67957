//! The settlement file, read back at the agent's start. The first byte says whether the bytes are the file, or lines to
//! each of which a sound checksum is added.
//!
//! What holds: reading never fails otherwise than by a named error, and a file that is in order takes the next line.

use crate::scratch;
use shake_agent::ledger::{Incarnation, LineKind};
use shake_agent::settlement::{FileTarget, Identity, Line, Settlement};
use shake_rules::{Cents, LedgerId, PacketId, UnixMillis, UserId};
use std::fs;
use std::io::Write;

const IDENTITY: Identity = Identity {
    ledger: Some(LedgerId([0xab; 16])),
    event: 7,
    part: 0,
    parts: 1,
    records_crc: 0x89ab_cdef,
    begun_ms: 1_790_000_000_000,
};

fn line(seq: u64) -> Line {
    Line {
        seq,
        incarnation: Incarnation(0x1f2e_3d4c),
        user: UserId(10_023),
        number: seq,
        cents: 250,
        balance: Cents(seq.saturating_mul(250)),
        kind: LineKind::Open,
        packet: PacketId(1_970_324_836_974_592),
        at: UnixMillis(1_790_000_004_711),
    }
}

/// Reads one file.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let path = scratch::path("settlement.csv");
    let file = if kind % 2 == 0 {
        rest.to_vec()
    } else {
        with_checksums(rest)
    };
    fs::write(&path, file).expect("room for a small file");
    let mut target = FileTarget::new(path.clone(), IDENTITY);
    let Ok(last) = target.last() else {
        return;
    };
    let next = last.map_or(1, |line| line.seq.saturating_add(1));
    if next < u64::MAX {
        target.append(&[line(next)]).expect("it follows the last one");
        drop(target);
        let again = FileTarget::new(path, IDENTITY).last().expect("it was in order");
        assert_eq!(again, Some(line(next)));
    }
}

fn with_checksums(text: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(text.len() + 64);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let (line, end) = match line.split_last() {
            Some((b'\n', line)) => (line, &b"\n"[..]),
            _ => (line, &b""[..]),
        };
        file.extend_from_slice(line);
        write!(file, ",{:08x}", crc32fast::hash(line)).expect("a Vec grows");
        file.extend_from_slice(end);
    }
    file
}

/// A file of two lines as it is written, torn, and its lines without their checksums.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("settlement.csv");
    let mut target = FileTarget::new(path.clone(), IDENTITY);
    target.begin().expect("a new file");
    target.append(&[line(1), line(2)]).expect("a new file");
    let file = fs::read(path).expect("it was written");
    let lines: Vec<u8> = file
        .split_inclusive(|&byte| byte == b'\n')
        .flat_map(|line| [&line[..line.len() - 10], b"\n"].concat())
        .collect();
    vec![
        ("file", [&[0][..], &file].concat()),
        ("torn", [&[0][..], &file[..file.len() - 5]].concat()),
        ("lines", [&[1][..], &lines].concat()),
    ]
}
