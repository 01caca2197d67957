//! What the ring's own instructions cost: criterion, one process, two mappings of one file, 64-byte payloads. A message
//! is pushed, read (copied out and checked) and committed. What it costs between two processes, and beside iceoryx2, is
//! measured by `bench-iceoryx2`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use shm_queue::{Attachment, Consumer, Geometry, Mapping, RingGeometry, Side};
use tempfile::TempDir;

/// Bytes of one message.
const PAYLOAD_BYTES: usize = 64;
/// Messages of one batch.
const BATCH: usize = 64;
const SLOTS: u32 = 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

struct Pair {
    front: Attachment,
    back: Attachment,
    _directory: TempDir,
}

fn pair() -> Pair {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    let directory = if memory.is_dir() {
        builder.tempdir_in(memory)
    } else {
        builder.tempdir()
    }
    .expect("a directory");
    let path = directory.path().join("rings");
    let ring = |producer| RingGeometry {
        slots: SLOTS,
        payload_bytes_max: PAYLOAD_BYTES as u32,
        producer,
    };
    let geometry = Geometry {
        records: 1,
        rings: vec![ring(Side::Front), ring(Side::Back)],
        bells: 1,
        sleepers: 1,
    };
    let front = Mapping::create(&path, &geometry).expect("a new mapping");
    let back = Mapping::open(&path).expect("the same file mapped again");
    Pair {
        front: front.attach(Side::Front, 0).expect("a free side"),
        back: back.attach(Side::Back, 0).expect("a free side"),
        _directory: directory,
    }
}

/// Messages that differ.
fn payloads() -> Vec<[u8; PAYLOAD_BYTES]> {
    (0..BATCH).map(|at| [at as u8; PAYLOAD_BYTES]).collect()
}

fn look(bytes: &[u8]) {
    black_box(bytes[0]);
}

/// One message at a time: push, read, commit.
fn one_message(c: &mut Criterion) {
    let pair = pair();
    let (mut producer, mut consumer) = (
        pair.front.producer(0).expect("free"),
        pair.back.consumer(0).expect("free"),
    );
    let payload = payloads()[7];
    let mut group = c.benchmark_group("one message");
    group.throughput(Throughput::Elements(1));
    group.bench_function("shm-queue", |b| {
        b.iter(|| {
            let position = producer.push(black_box(&payload)).expect("room");
            consumer.read_batch(1, |_, bytes| look(bytes)).expect("sound");
            consumer.commit(position + 1).expect("read");
        });
    });
}

/// Sixty-four messages at a time: one publication, one commit.
fn batches(c: &mut Criterion) {
    let pair = pair();
    let (mut producer, mut consumer) = (
        pair.front.producer(0).expect("free"),
        pair.back.consumer(0).expect("free"),
    );
    let payloads = payloads();
    let mut group = c.benchmark_group("batch of 64");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("shm-queue", |b| {
        b.iter(|| {
            let pushed = producer.push_batch(black_box(&payloads).iter().map(|payload| &payload[..]));
            assert_eq!(pushed.count, BATCH);
            consumer.read_batch(BATCH, |_, bytes| look(bytes)).expect("sound");
            consumer.commit(consumer.read_position()).expect("read");
        });
    });
}

/// A request to a thread that sleeps on its futex, and its reply to one that polls its doorbell.
fn wake_up_round_trip(c: &mut Criterion) {
    for (group, cpus) in placements() {
        let pair = pair();
        let stop = AtomicBool::new(false);
        let (mut requests, mut replies) = (
            pair.front.producer(0).expect("free"),
            pair.front.consumer(1).expect("free"),
        );
        let (sleeper, bell) = (
            pair.front.sleeper(0).expect("exists"),
            pair.front.bell(0).expect("exists"),
        );
        let payload = payloads()[7];
        thread::scope(|scope| {
            scope.spawn(|| {
                run_on(&cpus[1..]);
                echo(&pair.back, &stop);
            });
            run_on(&cpus[..1]);
            c.benchmark_group(group).bench_function("shm-queue", |b| {
                b.iter(|| {
                    requests.push(black_box(&payload)).expect("room");
                    sleeper.notify();
                    loop {
                        bell.arm();
                        if replies.available() == 0 {
                            wait_readable(bell.as_fd());
                        }
                        bell.disarm_and_drain();
                        if replies.read_batch(1, |_, bytes| look(bytes)).expect("sound") == 1 {
                            break;
                        }
                    }
                    replies.commit(replies.read_position()).expect("read");
                });
            });
            stop.store(true, Ordering::SeqCst);
            sleeper.notify();
        });
        run_on(&allowed_cpus());
    }
}

/// Where the two threads of a wake-up run: on one CPU, and on two if there are two. What a wake-up costs depends on
/// that more than on anything else, because an idle CPU has to be woken too.
fn placements() -> Vec<(&'static str, [usize; 2])> {
    let allowed = allowed_cpus();
    let mut placements = vec![("wake-up round trip, one CPU", [allowed[0]; 2])];
    if allowed.len() > 1 {
        placements.push(("wake-up round trip, two CPUs", [allowed[0], allowed[1]]));
    }
    placements
}

/// The CPUs that this process may use; asked before any thread is bound to one.
fn allowed_cpus() -> Vec<usize> {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED
        .get_or_init(|| {
            let set = sched_getaffinity(Pid::from_raw(0)).expect("the calling thread exists");
            (0..CpuSet::count())
                .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
                .collect()
        })
        .clone()
}

/// Binds the calling thread to these CPUs.
fn run_on(cpus: &[usize]) {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).expect("an allowed CPU");
    }
    sched_setaffinity(Pid::from_raw(0), &set).expect("allowed CPUs");
}

fn echo(back: &Attachment, stop: &AtomicBool) {
    let (mut requests, mut replies) = (back.consumer(0).expect("free"), back.producer(1).expect("free"));
    let (sleeper, bell) = (back.sleeper(0).expect("exists"), back.bell(0).expect("exists"));
    let mut copy = [0; PAYLOAD_BYTES];
    loop {
        while read_one(&mut requests, &mut copy) {
            replies.push(&copy).expect("room");
            bell.ring();
        }
        sleeper.prepare();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        if requests.available() > 0 {
            sleeper.cancel();
        } else {
            sleeper.wait(TIMEOUT);
        }
    }
}

fn read_one(consumer: &mut Consumer, copy: &mut [u8; PAYLOAD_BYTES]) -> bool {
    let count = consumer
        .read_batch(1, |_, bytes| copy.copy_from_slice(bytes))
        .expect("sound");
    consumer.commit(consumer.read_position()).expect("read");
    count == 1
}

fn wait_readable(fd: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let deadline = Instant::now() + TIMEOUT;
    while let Err(nix::errno::Errno::EINTR) = poll(&mut fds, PollTimeout::from(5000_u16)) {
        assert!(Instant::now() < deadline, "a poll that never ends");
    }
}

/// Short enough to run often, long enough to settle.
fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
}

criterion_group! {
    name = ring;
    config = config();
    targets = one_message, batches, wake_up_round_trip
}
criterion_main!(ring);
