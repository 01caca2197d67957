use super::*;
use crate::memory::delta::ByteRange;
use proptest::prelude::*;
use std::time::Duration;

/// A model of a session without padding, for Miri: what it shares, what is its own, when it is needed, and numbers, which in
/// some values are too many for a slot.
struct Model {
    shared: Arc<u64>,
    own: Box<u64>,
    text: String,
    /// Zero while something is under way.
    idle_ms: u64,
    numbers: [u64; 320],
}

// SAFETY: all share what they were put in with, and nothing else.
unsafe impl Packable for Model {
    type Shared = u64;
    const SHARING: ByteRange = 0..size_of::<Self>();

    fn idle_until(&mut self, now: Instant) -> Option<Instant> {
        (self.idle_ms > 0).then(|| now + Duration::from_millis(self.idle_ms))
    }
}

impl Model {
    /// One of this number; every third one differs from others in all of its words.
    fn new(number: u64, shared: &Arc<u64>) -> Self {
        let spread = if number.is_multiple_of(3) { number } else { 0 };
        Self {
            shared: Arc::clone(shared),
            own: Box::new(number),
            text: number.to_string(),
            idle_ms: 1 + number % 5,
            numbers: std::array::from_fn(|at| spread * at as u64),
        }
    }

    fn change(&mut self) {
        *self.own += 1;
        self.text.push('x');
        self.numbers[usize::from(self.own.trailing_zeros() as u16)] += 1;
        self.idle_ms ^= 1;
    }

    fn look(&self) -> (u64, u64, String, u64, [u64; 320]) {
        let Self { idle_ms, numbers, .. } = self;
        (*self.shared, *self.own, self.text.clone(), *idle_ms, *numbers)
    }
}

/// Two of the least tables that can differ: one plain, one that packs from its second value on.
fn tables() -> [SessionTable<Model>; 2] {
    let (prefaulter, _) = Prefaulter::new();
    let rules = Rules {
        above: 1,
        candidates: 2,
    };
    [
        SessionTable::Plain(PagedSlab::new(prefaulter.clone())),
        SessionTable::Packing(PackingTable::new(&prefaulter, rules)),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert,
    Remove(usize),
    Change(usize),
    Mark(usize),
    MarkAll,
    Pack,
    /// From now on what is put in shares something else.
    Renew,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = || 0..20_usize;
    let step = prop_oneof![
        4 => Just(Step::Insert),
        2 => index().prop_map(Step::Remove),
        4 => index().prop_map(Step::Change),
        1 => index().prop_map(Step::Mark),
        2 => Just(Step::MarkAll),
        4 => Just(Step::Pack),
        1 => Just(Step::Renew),
    ];
    proptest::collection::vec(step, 0..if cfg!(miri) { 40 } else { 120 })
}

fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    if cfg!(miri) {
        // Each takes seconds there, and there are no files.
        ProptestConfig {
            cases: 3,
            failure_persistence: None,
            ..usual
        }
    } else {
        usual
    }
}

proptest! {
    #![proptest_config(config())]

    /// Both give the same for the same calls, and drop each value once.
    #[test]
    fn a_table_that_packs_behaves_as_a_plain_one(steps in steps()) {
        let now = Instant::now();
        let (mut tables, mut shared) = (tables(), vec![Arc::new(0)]);
        for (number, step) in (1..).zip(steps) {
            let newest = shared.last().expect("there is one");
            if let Step::Renew = step {
                shared.push(Arc::new(number));
                continue;
            }
            let [plain, packing] = tables.each_mut().map(|table| match step {
                Step::Insert => (Some(table.insert(Model::new(number, newest), newest)), None),
                Step::Remove(index) => (None, table.remove(index).map(|value| value.look())),
                Step::Change(index) => (None, table.get_mut(index).map(|value| {
                    value.change();
                    value.look()
                })),
                Step::Mark(index) => {
                    table.mark_idle(index);
                    (None, None)
                }
                Step::MarkAll => {
                    table.indices().into_iter().for_each(|index| table.mark_idle(index));
                    (None, None)
                }
                Step::Pack => {
                    table.pack_idle(now);
                    (None, None)
                }
                Step::Renew => unreachable!(),
            });
            prop_assert_eq!(plain, packing);
            let [plain, packing] = &tables;
            prop_assert_eq!(plain.len(), packing.len());
            prop_assert_eq!(plain.capacity(), packing.capacity());
            prop_assert_eq!(plain.indices(), packing.indices());
            let packed = packing.indices().into_iter().filter(|index| packing.packed_until(*index).is_some());
            prop_assert_eq!(packed.count(), packing.packed());
        }
        let [plain, packing] = &mut tables;
        for index in plain.indices() {
            let looks = [plain.get_mut(index), packing.get_mut(index)].map(|value| value.map(|value| value.look()));
            prop_assert!(looks[0].is_some() && looks[0] == looks[1], "{}", index);
        }
        prop_assert_eq!(packing.packed(), 0, "all were looked at");
        for index in packing.indices() {
            packing.mark_idle(index);
        }
        packing.pack_idle(now);
        drop(tables);
        prop_assert!(shared.iter().all(|shared| Arc::strong_count(shared) == 1));
    }
}

#[test]
fn what_is_idle_is_packed_and_comes_back_when_it_is_asked_for() {
    let (now, shared) = (Instant::now(), Arc::new(7));
    let [_, mut table] = tables();
    let indices: Vec<usize> = (1..=8)
        .map(|number| table.insert(Model::new(number, &shared), &shared))
        .collect();
    if let Some(busy) = table.get_mut(indices[4]) {
        busy.idle_ms = 0;
    }
    for &index in &indices {
        table.mark_idle(index);
    }
    assert_eq!(table.packed(), 0, "not before it is told to");
    table.pack_idle(now);
    assert_eq!((table.packed(), table.len()), (7, 8), "all but the one that is busy");
    let until = |number: u64| Some(now + Duration::from_millis(1 + number % 5));
    for number in (1..=8).filter(|number| *number != 5) {
        assert_eq!(table.packed_until(indices[number as usize - 1]), until(number));
    }
    assert_eq!(table.packed_until(indices[4]), None);
    // Of those in a slot and of those that do not fit in, one is looked at, one taken out, and the others go with the table.
    assert_eq!(table.get_mut(indices[0]).map(|value| *value.own), Some(1));
    assert_eq!(table.get_mut(indices[2]).map(|value| value.numbers[319]), Some(3 * 319));
    assert_eq!(table.remove(indices[1]).map(|value| value.text), Some("2".to_owned()));
    assert_eq!(table.remove(indices[5]).map(|value| value.numbers[319]), Some(6 * 319));
    assert_eq!((table.packed(), table.len()), (3, 6));
    drop(table);
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn what_packed_values_share_outlives_whoever_made_it() {
    let [_, mut table] = tables();
    let now = Instant::now();
    let first = Arc::new(1);
    let gone: Vec<usize> = (1..=3)
        .map(|number| table.insert(Model::new(number, &first), &first))
        .collect();
    for &index in &gone {
        table.mark_idle(index);
    }
    table.pack_idle(now);
    let witness = Arc::downgrade(&first);
    drop(first);
    for index in gone {
        table.remove(index);
    }
    assert!(witness.upgrade().is_some(), "the base has its address");
    // Perhaps it would come to lie there.
    let second = Arc::new(2);
    let index = table.insert(Model::new(4, &second), &second);
    table.insert(Model::new(5, &second), &second);
    table.mark_idle(index);
    table.pack_idle(now);
    assert!(table.packed_until(index).is_some());
    assert_eq!(table.get_mut(index).map(|value| *value.shared), Some(2));
}

#[test]
fn one_value_alone_makes_no_base() {
    let (now, shared) = (Instant::now(), Arc::new(7));
    let (prefaulter, _) = Prefaulter::new();
    let rules = Rules {
        above: 0,
        candidates: 2,
    };
    let mut table = PackingTable::new(&prefaulter, rules);
    let index = table.insert(Model::new(1, &shared), &shared);
    for _ in 0..5 {
        table.mark_idle(index);
        table.pack_idle(now);
    }
    assert_eq!(table.packed(), 0, "it is there five times and agrees with itself");
    let other = table.insert(Model::new(2, &shared), &shared);
    table.mark_idle(other);
    table.pack_idle(now);
    assert_eq!(table.packed(), 2);
}

#[test]
fn few_sessions_have_a_plain_table() {
    let (prefaulter, _) = Prefaulter::new();
    let few = SessionTable::<Model>::new(&prefaulter, PACK_ABOVE);
    assert!(matches!(few, SessionTable::Plain(_)));
    let many = SessionTable::<Model>::new(&prefaulter, PACK_ABOVE + 1);
    assert_eq!(matches!(many, SessionTable::Packing(_)), CAN_PACK);
}
