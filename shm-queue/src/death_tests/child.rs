//! What the child processes do, and what parent and child must agree on.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Consumer, Geometry, Mapping, Owner, Producer, RingGeometry, Side};

pub(super) const ROLE: &str = "SHM_QUEUE_TEST_ROLE";
pub(super) const PLACE: &str = "SHM_QUEUE_TEST_PATH";
pub(super) const SLOTS: u64 = 8;
const PAYLOAD: u32 = 40;
pub(super) const BATCH: u64 = 3;
/// How many operations a child does, if nothing stops it.
pub(super) const OPERATIONS: u32 = 4;

const LIFE_MAX: Duration = Duration::from_secs(60);

/// Whose mapping it is.
pub(super) const OWNER: Owner = Owner {
    identity: *b"sixteen bytes of",
    part: 3,
};

pub(super) fn geometry() -> Geometry {
    let ring = |producer| RingGeometry {
        slots: SLOTS as u32,
        payload_bytes_max: PAYLOAD,
        producer,
    };
    Geometry {
        records: 1,
        rings: vec![ring(Side::Front), ring(Side::Back)],
        bells: 1,
        sleepers: 1,
    }
}

pub(super) fn payload(position: u64) -> Vec<u8> {
    let byte = |at: u64| (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 8 * 8)) as u8 ^ at as u8;
    (0..position % u64::from(PAYLOAD + 1)).map(byte).collect()
}

fn report(what: &str, position: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{what}={position}")
        .and_then(|()| out.flush())
        .expect("the parent reads");
}

/// Not a test of its own: the body of the child processes.
#[test]
fn body() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // Whatever becomes of the parent, a child does not stay.
    std::thread::spawn(|| {
        std::thread::sleep(LIFE_MAX);
        std::process::abort();
    });
    let path = PathBuf::from(std::env::var_os(PLACE).expect("set with the role"));
    let attach = |side| {
        Mapping::open_or_create(&path, &geometry())
            .unwrap()
            .attach(side, 7)
            .unwrap()
    };
    match role.as_str() {
        "push" => {
            let mut producer = attach(Side::Front).producer(0).unwrap();
            for _ in 0..OPERATIONS {
                report("done", push_one(&mut producer));
            }
        }
        "batch" => {
            let mut producer = attach(Side::Front).producer(0).unwrap();
            for _ in 0..OPERATIONS / 2 {
                report("done", push_three(&mut producer));
            }
        }
        "commit" => {
            let mut consumer = attach(Side::Back).consumer(0).unwrap();
            for _ in 0..OPERATIONS {
                consume_two(&mut consumer);
            }
        }
        "attach" => report("done", u64::from(attach(Side::Front).epoch())),
        "name owner" => {
            attach(Side::Back).name_owner(&OWNER).unwrap();
        }
        "notify" => {
            let sleeper = attach(Side::Front).sleeper(0).unwrap();
            while !sleeper.notify() {
                std::thread::yield_now();
            }
        }
        "ring" => {
            let bell = attach(Side::Back).bell(0).unwrap();
            // The ring that taking it makes is the successor's to test, not this one's.
            bell.disarm_and_drain();
            bell.arm();
            bell.ring();
        }
        "push forever" => {
            let mut producer = attach(Side::Front).producer(0).unwrap();
            loop {
                report(
                    "done",
                    if producer.position() % 2 == 0 {
                        push_one(&mut producer)
                    } else {
                        push_three(&mut producer)
                    },
                );
            }
        }
        "commit forever" => {
            let mut consumer = attach(Side::Back).consumer(0).unwrap();
            loop {
                consume_two(&mut consumer);
            }
        }
        other => panic!("no role {other}"),
    }
}

/// Pushes when there is room; gives the position after it.
pub(super) fn push_one(producer: &mut Producer) -> u64 {
    let record = payload(producer.position());
    while producer.push(&record).is_err() {
        std::thread::yield_now();
    }
    producer.position()
}

fn push_three(producer: &mut Producer) -> u64 {
    while (producer.free() as u64) < BATCH {
        std::thread::yield_now();
    }
    let records: Vec<_> = (producer.position()..).take(BATCH as usize).map(payload).collect();
    let pushed = producer.push_batch(records.iter().map(Vec::as_slice));
    assert_eq!((pushed.count as u64, pushed.refused), (BATCH, None));
    producer.position()
}

/// Reads up to two records, "makes them durable" by reporting them, and commits.
fn consume_two(consumer: &mut Consumer) {
    consumer
        .read_batch(2, |position, bytes| {
            assert_eq!(bytes, payload(position));
        })
        .unwrap();
    if consumer.read_position() == consumer.position() {
        std::thread::yield_now();
        return;
    }
    report("read", consumer.read_position());
    consumer.commit(consumer.read_position()).unwrap();
    report("committed", consumer.position());
}
