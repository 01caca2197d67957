//! The ring against a `VecDeque`: random pushes, batches, reads, commits, rewinds and restarts of either side.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;

use common::{Place, geometry, payload};
use proptest::prelude::*;
use shm_queue::{Attachment, CommitError, Consumer, Producer, PushError, Side};

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Batch(Vec<usize>),
    Read(usize),
    Peek,
    /// Commits so many past the committed position: behind, at or past the read cursor, or too far.
    Commit(u64),
    Rewind,
    ReopenFront,
    ReopenBack,
}

const LENGTH_MAX: usize = 37;

fn step() -> impl Strategy<Value = Step> {
    // One too long now and then.
    let length = 0..=LENGTH_MAX + 1;
    prop_oneof![
        4 => length.clone().prop_map(Step::Push),
        3 => prop::collection::vec(length, 0..12).prop_map(Step::Batch),
        4 => (0..12_usize).prop_map(Step::Read),
        1 => Just(Step::Peek),
        4 => (0..10_u64).prop_map(Step::Commit),
        1 => Just(Step::Rewind),
        1 => Just(Step::ReopenFront),
        1 => Just(Step::ReopenBack),
    ]
}

/// The oracle: what is published and not committed, and where the cursors stand.
struct Model {
    slots: usize,
    uncommitted: VecDeque<Vec<u8>>,
    committed: u64,
    read: usize,
}

impl Model {
    fn tail(&self) -> u64 {
        self.committed + self.uncommitted.len() as u64
    }

    /// What a push of this payload must answer.
    fn accepts(&self, bytes: &[u8]) -> Result<(), &'static str> {
        if bytes.len() > LENGTH_MAX {
            Err("too long")
        } else if self.uncommitted.len() == self.slots {
            Err("full")
        } else {
            Ok(())
        }
    }
}

struct Real {
    place: Place,
    front: Option<(Attachment, Producer)>,
    back: Option<(Attachment, Consumer)>,
}

impl Real {
    fn new(slots: u32) -> Real {
        let place = Place::new();
        place.create(&geometry(slots, LENGTH_MAX as u32));
        let mut real = Real {
            place,
            front: None,
            back: None,
        };
        real.reopen_front();
        real.reopen_back();
        real
    }

    fn reopen_front(&mut self) {
        self.front = None;
        let attachment = self.place.open().attach(Side::Front, 1).unwrap();
        let producer = attachment.producer(0).unwrap();
        self.front = Some((attachment, producer));
    }

    fn reopen_back(&mut self) {
        self.back = None;
        let attachment = self.place.open().attach(Side::Back, 1).unwrap();
        let consumer = attachment.consumer(0).unwrap();
        self.back = Some((attachment, consumer));
    }

    fn producer(&mut self) -> &mut Producer {
        &mut self.front.as_mut().unwrap().1
    }

    fn consumer(&mut self) -> &mut Consumer {
        &mut self.back.as_mut().unwrap().1
    }
}

fn refusal(error: PushError<'_>, expected: &[u8]) -> &'static str {
    assert_eq!(error.payload(), expected, "the value comes back");
    match error {
        PushError::Full(_) => "full",
        PushError::TooLong { .. } => "too long",
        PushError::Corrupt { .. } => "corrupt",
    }
}

fn push(real: &mut Real, model: &mut Model, length: usize) {
    let bytes = payload(model.tail(), length);
    match real.producer().push(&bytes) {
        Ok(position) => {
            assert_eq!(model.accepts(&bytes), Ok(()));
            assert_eq!(position, model.tail());
            model.uncommitted.push_back(bytes);
        }
        Err(error) => assert_eq!(model.accepts(&bytes), Err(refusal(error, &bytes))),
    }
}

fn batch(real: &mut Real, model: &mut Model, lengths: &[usize]) {
    let records: Vec<_> = (model.tail()..)
        .zip(lengths)
        .map(|(at, length)| payload(at, *length))
        .collect();
    let first = model.tail();
    let pushed = real.producer().push_batch(records.iter().map(Vec::as_slice));
    assert_eq!(pushed.first, first);
    for record in &records[..pushed.count] {
        assert_eq!(model.accepts(record), Ok(()));
        model.uncommitted.push_back(record.clone());
    }
    match pushed.refused {
        None => assert_eq!(pushed.count, records.len()),
        Some(error) => {
            let record = &records[pushed.count];
            assert_eq!(model.accepts(record), Err(refusal(error, record)));
        }
    }
}

fn apply(real: &mut Real, model: &mut Model, step: &Step) {
    match step {
        Step::Push(length) => push(real, model, *length),
        Step::Batch(lengths) => batch(real, model, lengths),
        Step::Read(max) => {
            let mut at = model.committed + model.read as u64;
            let mut expected = model.uncommitted.iter().skip(model.read);
            let count = real
                .consumer()
                .read_batch(*max, |position, bytes| {
                    assert_eq!((position, Some(bytes)), (at, expected.next().map(Vec::as_slice)));
                    at += 1;
                })
                .unwrap();
            assert_eq!(count, (*max).min(model.uncommitted.len() - model.read));
            model.read += count;
        }
        Step::Peek => {
            let expected = model
                .uncommitted
                .get(model.read)
                .map(|bytes| (model.committed + model.read as u64, bytes.as_slice()));
            assert_eq!(real.consumer().peek().unwrap(), expected);
        }
        Step::Commit(further) => {
            let up_to = model.committed + further;
            let outcome = real.consumer().commit(up_to);
            if up_to > model.tail() {
                let expected = CommitError {
                    up_to,
                    committed: model.committed,
                    published: model.tail(),
                };
                assert_eq!(outcome, Err(expected));
            } else {
                outcome.unwrap();
                model.uncommitted.drain(..*further as usize);
                model.committed = up_to;
                model.read = model.read.saturating_sub(*further as usize);
            }
        }
        Step::Rewind => {
            real.consumer().rewind();
            model.read = 0;
        }
        Step::ReopenFront => real.reopen_front(),
        Step::ReopenBack => {
            real.reopen_back();
            model.read = 0;
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_a_deque(log2_slots in 0..4_u32, steps in prop::collection::vec(step(), 1..80)) {
        let slots = 1 << log2_slots;
        let mut real = Real::new(slots);
        let mut model = Model { slots: slots as usize, uncommitted: VecDeque::new(), committed: 0, read: 0 };
        for step in &steps {
            apply(&mut real, &mut model, step);
            let (tail, committed, read) = (model.tail(), model.committed, model.read);
            prop_assert_eq!(real.producer().position(), tail);
            prop_assert_eq!(real.producer().consumed(), committed);
            prop_assert_eq!(real.producer().free(), model.slots - model.uncommitted.len());
            prop_assert_eq!(real.consumer().position(), committed);
            prop_assert_eq!(real.consumer().read_position(), committed + read as u64);
            prop_assert_eq!(real.consumer().available(), model.uncommitted.len() - read);
        }
    }
}
