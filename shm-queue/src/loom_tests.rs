//! Every interleaving of the two ends of a small ring, and of falling asleep and waking, under the memory model.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release -p shm-queue --lib
//! ```
//!
//! loom runs each thread's loads in program order, so it cannot show what a weaker store of the head would allow (a
//! read of a slot that comes after the commit of it); SYNC POINT H stands on its argument there. Weakening SYNC POINT
//! T, or taking a fence out of SYNC POINT W, makes these tests fail.
//!
//! The kernel's part of a wake-up is modelled by a mutex and a condition variable: a lost wake-up is then a
//! deadlock, which loom reports.

use std::ops::Deref;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::fault::PushError;
use crate::handshake;
use crate::owner::{Owner, OwnerWords};
use crate::ring::{Rx, Shape, Tx};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Memory of a ring, shared as the mapping would be.
#[derive(Clone)]
struct Words(Arc<Vec<AtomicU64>>);

impl Words {
    fn new(shape: Shape) -> Words {
        Words(Arc::new((0..shape.region_words()).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        &self.0
    }
}

fn bytes(position: u64) -> [u8; 8] {
    (position ^ 0x5a5a).to_ne_bytes()
}

/// Reads until `until`, committing after each read; checks each record.
fn consume(rx: &mut Rx<Words>, until: u64, max: usize) {
    let mut expected = rx.committed();
    while expected < until {
        let count = rx
            .read_batch(max, |position, copy| {
                assert_eq!((position, copy), (expected, &bytes(position)[..]));
                expected += 1;
            })
            .expect("both ends behave");
        if count == 0 {
            thread::yield_now();
        }
        rx.commit(expected).expect("it was read");
    }
}

#[test]
fn single_records_arrive_whole_and_in_order() {
    loom::model(|| {
        let shape = Shape::new(1, 8);
        let words = Words::new(shape);
        let mut tx = Tx::resume(words.clone(), shape).expect("zero is sound");
        let producer = thread::spawn(move || {
            for position in 0..2 {
                let payload = bytes(position);
                while let Err(error) = tx.push(&payload) {
                    assert_eq!(error, PushError::Full(&payload));
                    thread::yield_now();
                }
            }
        });
        consume(&mut Rx::resume(words, shape).expect("zero is sound"), 2, 1);
        producer.join().expect("it ends");
    });
}

#[test]
fn a_batch_appears_at_once() {
    loom::model(|| {
        let shape = Shape::new(2, 8);
        let words = Words::new(shape);
        let mut tx = Tx::resume(words.clone(), shape).expect("zero is sound");
        let producer = thread::spawn(move || {
            let (first, second) = (bytes(0), bytes(1));
            assert_eq!(tx.push_batch([&first[..], &second[..]]), (2, None));
            let third = bytes(2);
            while tx.push_batch([&third[..]]).0 == 0 {
                thread::yield_now();
            }
        });
        let mut rx = Rx::resume(words, shape).expect("zero is sound");
        let seen = rx.refresh().expect("the producer behaves");
        assert!(seen == 0 || seen == 2, "half a batch");
        consume(&mut rx, 3, 2);
        producer.join().expect("it ends");
    });
}

#[test]
fn a_restarted_consumer_resumes_beside_a_running_producer() {
    loom::model(|| {
        let shape = Shape::new(2, 8);
        let words = Words::new(shape);
        let mut tx = Tx::resume(words.clone(), shape).expect("zero is sound");
        tx.push(&bytes(0)).expect("there is room");
        let producer = thread::spawn(move || {
            tx.push(&bytes(1)).expect("there is room");
        });
        {
            let mut first = Rx::resume(words.clone(), shape).expect("sound at every moment");
            first.read_batch(2, |_, _| ()).expect("the producer behaves");
        }
        consume(&mut Rx::resume(words, shape).expect("sound at every moment"), 2, 2);
        producer.join().expect("it ends");
    });
}

/// Whoever sees that an owner is named sees all of its name.
#[test]
fn an_owner_is_seen_whole_or_not_at_all() {
    loom::model(|| {
        let owner = Owner {
            identity: *b"sixteen bytes of",
            part: 3,
        };
        let words = Arc::new((
            [AtomicU64::new(0), AtomicU64::new(0)],
            AtomicU32::new(0),
            AtomicU32::new(0),
        ));
        let name = {
            let words = Arc::clone(&words);
            thread::spawn(move || owner_words(&words).publish(&owner))
        };
        let seen = owner_words(&words).read();
        assert!(seen.is_none_or(|seen| seen == owner), "half a name");
        name.join().expect("it ends");
        assert_eq!(owner_words(&words).read(), Some(owner));
    });
}

fn owner_words((identity, named, part): &([AtomicU64; 2], AtomicU32, AtomicU32)) -> OwnerWords<'_> {
    OwnerWords {
        identity: [&identity[0], &identity[1]],
        named,
        part,
    }
}

/// What a futex or a FIFO does, as far as the handshake depends on it.
#[derive(Default)]
struct Kernel {
    queue: Mutex<()>,
    wake: Condvar,
}

impl Kernel {
    /// Sleeps unless the flag has changed; comparing and falling asleep are one step, as in FUTEX_WAIT.
    fn wait(&self, flag: &AtomicU32) {
        let mut queue = self.queue.lock().expect("no thread panics");
        while flag.load(Ordering::Relaxed) == handshake::ASLEEP {
            queue = self.wake.wait(queue).expect("no thread panics");
        }
    }

    fn wake(&self) {
        let _queue = self.queue.lock().expect("no thread panics");
        self.wake.notify_all();
    }
}

#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let shared = Arc::new((AtomicU64::new(0), AtomicU32::new(0), Kernel::default()));
        let waker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (tail, flag, kernel) = &*shared;
                for published in 1..=2 {
                    tail.store(published, Ordering::Release);
                    if handshake::take(flag) {
                        kernel.wake();
                    }
                }
            })
        };
        let (tail, flag, kernel) = &*shared;
        while tail.load(Ordering::Acquire) < 2 {
            handshake::announce(flag);
            if tail.load(Ordering::Acquire) < 2 {
                kernel.wait(flag);
            }
            handshake::withdraw(flag);
        }
        waker.join().expect("it ends");
    });
}
