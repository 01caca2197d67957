//! The shared mapping, whose other side may write anything at any time.
//!
//! [`mapping`] opens files of arbitrary bytes; the first byte says whether the header's checksum is made sound first.
//! What holds: what opens can be attached and used. [`ring`] plays both ends of a small ring while bytes of the file
//! change under them. What holds: without damage it is a queue; with damage a reader gives at most what a ring can hold,
//! at positions that only grow, and every refusal is a value.

use crate::input::Input;
use crate::scratch;
use shm_queue::{Consumer, Geometry, Mapping, Owner, Producer, PushError, ReadError, RingGeometry, Side};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

const CHECKSUM_AT: usize = 60;
const HEADER_BYTES: usize = 64;
const BLOCK_BYTES: usize = 4_096;
const FILE_BYTES_MAX: usize = 64 * 1_024;

/// Opens a mapping of these bytes, and uses whatever it has.
pub fn mapping(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (kind, pages) = (input.u8(), usize::from(input.u8()) % (FILE_BYTES_MAX / BLOCK_BYTES + 1));
    let mut file = input.rest().to_vec();
    if kind & 1 != 0 {
        file.resize((pages * BLOCK_BYTES).max(BLOCK_BYTES), 0);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&file[..CHECKSUM_AT]);
        crc.update(&file[HEADER_BYTES..header_bytes(&file).min(file.len())]);
        let crc = crc.finalize().to_ne_bytes();
        file[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&crc);
    }
    let path = scratch::path("mapping");
    // Written anew and not over the old one: that one may still be mapped.
    let _ = fs::remove_file(&path);
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
    let out = options.open(&path).expect("a new file");
    out.write_all_at(&file, 0).expect("room for a small file");
    drop(out);
    if let Ok(mapping) = Mapping::open(&path) {
        use_all(&mapping);
    }
    let _ = Mapping::retire_old(&path, |_| true);
}

/// Length of the header block, as far as the header says it: see the drawing in `shm-queue/src/layout.rs`.
fn header_bytes(file: &[u8]) -> usize {
    let rings = u32::from_ne_bytes(file[12..16].try_into().expect("four bytes")) as usize;
    (HEADER_BYTES + rings.min(4_096) * 16).next_multiple_of(BLOCK_BYTES)
}

fn use_all(mapping: &Mapping) {
    let (Ok(front), Ok(back)) = (mapping.attach(Side::Front, 1), mapping.attach(Side::Back, 1)) else {
        panic!("both sides are free");
    };
    for (number, ring) in mapping.geometry().rings.iter().enumerate().take(8) {
        let (from, to) = if ring.producer == Side::Front {
            (&front, &back)
        } else {
            (&back, &front)
        };
        let (Ok(mut producer), Ok(mut consumer)) = (from.producer(number), to.consumer(number)) else {
            continue;
        };
        let _ = producer.push(&[7]);
        drain(&mut consumer);
    }
    for sleeper in 0..mapping.geometry().sleepers.min(4) {
        back.sleeper(sleeper.into()).expect("it exists").prepare();
        front.sleeper(sleeper.into()).expect("it exists").notify();
    }
    let _ = (mapping.peer(Side::Front), mapping.peer(Side::Back), mapping.stamp());
    let ours = Owner {
        identity: [7; 16],
        part: 1,
    };
    match mapping.owner() {
        Some(owner) if owner != ours => assert!(back.name_owner(&ours).is_err()),
        _ => back.name_owner(&ours).expect("nobody's yet, or ours"),
    }
}

fn drain(consumer: &mut Consumer) {
    loop {
        match consumer.read_batch(64, |_, _| ()) {
            Ok(0) | Err(ReadError::Cursors(_)) => return,
            Ok(_) => consumer.commit(consumer.read_position()).expect("it was read"),
            Err(ReadError::Slot(_)) => {
                let skipped = consumer.skip_corrupt().expect("only the slot is corrupt");
                assert!(skipped.is_some());
            }
        }
    }
}

const SLOTS: u32 = 4;
const PAYLOAD_BYTES: u32 = 24;
/// Where the ring lies, with no bell and no sleeper: control lines at 4096, both sides' lines, then the ring.
const RING_AT: u64 = 4_096 + 2 * 128;
const RING_BYTES: usize = 2 * 128 + SLOTS as usize * (16 + PAYLOAD_BYTES as usize);

/// One mapping for all inputs of a thread; each begins with an empty ring.
struct Bench {
    front: shm_queue::Attachment,
    back: shm_queue::Attachment,
    file: File,
}

impl Bench {
    fn new() -> Bench {
        let path = scratch::path("ring");
        let ring = RingGeometry {
            slots: SLOTS,
            payload_bytes_max: PAYLOAD_BYTES,
            producer: Side::Front,
        };
        let geometry = Geometry {
            records: 1,
            rings: vec![ring],
            bells: 0,
            sleepers: 0,
        };
        let mapping = Mapping::create(&path, &geometry).expect("a new mapping");
        Bench {
            front: mapping.attach(Side::Front, 1).expect("free"),
            back: Mapping::open(&path)
                .expect("there")
                .attach(Side::Back, 1)
                .expect("free"),
            file: OpenOptions::new().read(true).write(true).open(path).expect("there"),
        }
    }
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

/// Plays one sequence of operations.
pub fn ring(bytes: &[u8]) {
    BENCH.with(|bench| play(&bench.borrow(), &mut Input::new(bytes)));
}

fn play(bench: &Bench, input: &mut Input<'_>) {
    bench.file.write_all_at(&[0; RING_BYTES], RING_AT).expect("it is there");
    let (mut producer, mut consumer) = (
        bench.front.producer(0).expect("an empty ring"),
        bench.back.consumer(0).expect("an empty ring"),
    );
    let mut expected: VecDeque<Vec<u8>> = VecDeque::new();
    let mut damaged = false;
    for _ in 0..64 {
        if input.is_empty() {
            return;
        }
        match input.u8() % 8 {
            0 | 1 => push(&mut producer, input, &mut expected, damaged),
            2 | 3 => {
                if !read(&mut consumer, usize::from(input.u8()), &mut expected, damaged) {
                    return;
                }
            }
            4 => {
                let _ = consumer.skip_corrupt();
            }
            5 => {
                let up_to = consumer.position().wrapping_add(u64::from(input.u8()));
                if consumer.commit(up_to).is_err() {
                    assert!(up_to > consumer.position());
                } else if !damaged {
                    // A commit past the read cursor passes over what was not read.
                    while expected.len() as u64 > producer.position() - consumer.read_position() {
                        expected.pop_front();
                    }
                }
            }
            6 => {
                let _ = (producer.free(), producer.consumed(), consumer.available());
            }
            _ => {
                let at = RING_AT + u64::from(input.u16()) % RING_BYTES as u64;
                let bytes = input.bytes(8);
                let room = (RING_AT + RING_BYTES as u64 - at) as usize;
                bench
                    .file
                    .write_all_at(&bytes[..bytes.len().min(room)], at)
                    .expect("inside");
                damaged = true;
            }
        }
    }
}

fn push(producer: &mut Producer, input: &mut Input<'_>, expected: &mut VecDeque<Vec<u8>>, damaged: bool) {
    let length = usize::from(input.u8()) % (PAYLOAD_BYTES as usize + 2);
    let payload: Vec<u8> = (0..length).map(|at| input.u8() ^ at as u8).collect();
    let position = producer.position();
    match producer.push(&payload) {
        Ok(at) => {
            assert_eq!((at, producer.position()), (position, position + 1));
            expected.push_back(payload);
        }
        Err(error) => {
            assert_eq!((error.payload(), producer.position()), (&payload[..], position));
            let corrupt = matches!(error, PushError::Corrupt { .. });
            assert!(damaged || !corrupt, "{error}");
        }
    }
}

/// False when the ring is done for.
fn read(consumer: &mut Consumer, max: usize, expected: &mut VecDeque<Vec<u8>>, damaged: bool) -> bool {
    let begin = consumer.read_position();
    let mut next = begin;
    let outcome = consumer.read_batch(max, |position, bytes| {
        assert_eq!(position, next);
        assert!(bytes.len() <= PAYLOAD_BYTES as usize);
        if !damaged {
            assert_eq!(expected.pop_front().as_deref(), Some(bytes));
        }
        next += 1;
    });
    assert_eq!(consumer.read_position(), next);
    match outcome {
        Ok(count) => {
            assert_eq!(count as u64, next - begin);
            assert!(count <= SLOTS as usize);
            true
        }
        Err(error) => {
            assert!(damaged && next == begin, "{error}");
            matches!(error, ReadError::Slot(_))
        }
    }
}

/// A new mapping's header, and one with fields that are almost right.
pub fn mapping_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("rings");
    let ring = |producer, slots| RingGeometry {
        slots,
        payload_bytes_max: 16,
        producer,
    };
    let geometry = Geometry {
        records: 1,
        rings: vec![ring(Side::Front, 4), ring(Side::Back, 8)],
        bells: 0,
        sleepers: 1,
    };
    Mapping::create(&path, &geometry).expect("a new mapping");
    let mut file = fs::read(&path).expect("it was made");
    // The instance is random, and a seed is the same each time; the checksum is made anew by the target.
    file[24..32].copy_from_slice(&[0x11; 8]);
    let pages = (file.len() / BLOCK_BYTES) as u8;
    let header = &file[..96];
    vec![
        ("sound", [&[1, pages][..], header].concat()),
        ("too-short", [&[1, 1][..], header].concat()),
        ("bare", [&[0, 0][..], header].concat()),
    ]
}

/// Pushes, reads and commits; and damage between them.
pub fn ring_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let tail = 128_u16.to_le_bytes();
    let slot = 256_u16.to_le_bytes();
    vec![
        ("queue", vec![0, 3, 9, 8, 7, 0, 1, 5, 2, 9, 5, 2, 0, 0, 6, 2, 1, 5, 1]),
        (
            "slot",
            vec![0, 2, 1, 1, 7, slot[0], slot[1], 9, 9, 9, 9, 9, 9, 9, 9, 2, 4, 4, 2, 4],
        ),
        (
            "tail",
            vec![0, 2, 1, 1, 7, tail[0], tail[1], 9, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0, 1, 1],
        ),
    ]
}
