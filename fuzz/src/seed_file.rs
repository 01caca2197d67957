//! Seed files, as bytes and as files made of fields with some bytes altered. The first byte says which.
//!
//! What holds: a header or record that reads is written to the same bytes; a file made by the book is read as it was made.

use crate::input::Input;
use crate::scratch;
use shake_agent::seed_file::SeedFile;
use shake_rules::seed::{HEADER_BYTES, PacketKind, RECORD_BYTES, SeedHeader, SeedRecord, SeedSum};
use shake_rules::split::SHARES_MAX;
use shake_rules::{Cents, EventId, PacketId, SponsorId};
use std::fs;

const RECORDS_MAX: usize = 8;

/// Reads a header, a record, or a file.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 4 {
        0 => {
            let bytes = input.array::<HEADER_BYTES>();
            if let Ok(header) = SeedHeader::decode(&bytes) {
                assert_eq!(SeedHeader::decode(&header.encode()).as_ref(), Ok(&header));
            }
        }
        1 => {
            let bytes = input.array::<RECORD_BYTES>();
            if let Ok(record) = SeedRecord::decode(&bytes, 0) {
                assert_eq!(SeedRecord::decode(&record.encode(), 0), Ok(record));
            }
        }
        2 => read(input.rest(), None),
        _ => made(&mut input),
    }
}

fn made(input: &mut Input<'_>) {
    let mut sum = SeedSum::default();
    let count = usize::from(input.u8()) % (RECORDS_MAX + 1);
    // Within what a reader takes: no more shares than cents, and than one packet may have.
    let records: Vec<SeedRecord> = (0..count)
        .map(|_| {
            let (packet, cents, sponsor) = (input.u64(), input.u64(), input.u16());
            let kind = match u16::from(input.u8()) {
                shares @ 2..=SHARES_MAX => PacketKind::Split { shares },
                _ => PacketKind::Plain,
            };
            SeedRecord {
                packet: PacketId(packet),
                amount: Cents(cents.max(SHARES_MAX.into())),
                sponsor: SponsorId(sponsor),
                kind,
            }
        })
        .collect();
    for record in &records {
        sum.add(record);
    }
    let header = sum.header(EventId(input.u32()), input.u16(), input.u16());
    let mut file = header.encode().to_vec();
    for record in &records {
        file.extend_from_slice(&record.encode());
    }
    let intact = input.is_empty();
    while !input.is_empty() {
        let at = usize::from(input.u16()) % file.len();
        file[at] ^= input.u8();
    }
    read(&file, intact.then_some(&records));
}

fn read(bytes: &[u8], expected: Option<&Vec<SeedRecord>>) {
    let path = scratch::path("seed.bin");
    fs::write(&path, bytes).expect("room for a small file");
    let Ok(file) = SeedFile::open(&path) else {
        assert!(expected.is_none(), "a file made by the book does not open");
        return;
    };
    let records = file.read(0, u64::MAX);
    if let Some(expected) = expected {
        assert_eq!(records.as_ref().ok(), Some(expected));
    }
    let _ = file.survey();
}

/// A header, a record, and files, intact and altered.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let record = SeedRecord {
        packet: PacketId(5),
        amount: Cents(250),
        sponsor: SponsorId(2),
        kind: PacketKind::Split { shares: 4 },
    };
    let mut sum = SeedSum::default();
    sum.add(&record);
    let header = sum.header(EventId(1), 0, 1);
    let fields: [&[u8]; 8] = [
        &[3, 1],
        &5_u64.to_le_bytes(),
        &250_u64.to_le_bytes(),
        &2_u16.to_le_bytes(),
        &[4],
        &1_u32.to_le_bytes(),
        &0_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
    ];
    let fields = fields.concat();
    vec![
        ("header", [&[0][..], &header.encode()].concat()),
        ("record", [&[1][..], &record.encode()].concat()),
        ("file", [&[2][..], &header.encode(), &record.encode()].concat()),
        ("altered", [&fields[..], &[50, 0, 1]].concat()),
        ("made", fields),
    ]
}
