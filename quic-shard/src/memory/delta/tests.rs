use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A base of these values, which share what they share for as long as the test uses it.
fn base<T>(values: &[MaybeUninit<T>]) -> DeltaBase<T> {
    let all: Vec<&MaybeUninit<T>> = values.iter().collect();
    // SAFETY: each is initialised; the tests keep what they share.
    unsafe { DeltaBase::choose(&all, &(0..size_of::<T>())) }.expect("several values")
}

/// The same, of values that are over then.
fn base_of<T>(values: impl IntoIterator<Item = T>) -> DeltaBase<T> {
    let mut values: Vec<MaybeUninit<T>> = values.into_iter().map(MaybeUninit::new).collect();
    let base = base(&values);
    for value in &mut values {
        // SAFETY: it is initialised, and not used again.
        unsafe { value.assume_init_drop() };
    }
    base
}

/// Moves a value by way of its packed words into another place.
fn moved<T>(base: &DeltaBase<T>, value: T) -> T {
    let place = MaybeUninit::new(value);
    let mut back = MaybeUninit::uninit();
    // SAFETY: it is moved out of the one place and into the other.
    unsafe {
        let packed = base.pack_boxed(&place);
        base.unpack(&packed, &mut back);
        back.assume_init()
    }
}

/// Something of all that a session has: padding, pointers, enums, what is shared.
#[derive(Debug, Clone, PartialEq)]
struct Value {
    small: u8,
    large: u64,
    text: String,
    shared: Arc<str>,
    map: BTreeMap<u16, String>,
    choice: Option<(u8, u64)>,
    many: [u64; 100],
}

fn values() -> impl Strategy<Value = Value> {
    let map = proptest::collection::btree_map(any::<u16>(), ".*", 0..20);
    let many = proptest::collection::vec((0..100_usize, 0..3_u64), 0..100);
    (any::<u8>(), 0..3_u64, ".*", map, any::<Option<(u8, u64)>>(), many).prop_map(
        |(small, large, text, map, choice, different)| {
            let mut many = [0; 100];
            different.into_iter().for_each(|(at, number)| many[at] = number);
            let shared = text.as_str().into();
            Value {
                small,
                large,
                text,
                shared,
                map,
                choice,
                many,
            }
        },
    )
}

proptest! {
    /// Each comes back as it was, can be changed and packed again, and is dropped once.
    #[test]
    #[cfg_attr(miri, ignore = "has padding")]
    fn what_is_unpacked_is_what_was_packed(values in proptest::collection::vec(values(), 1..10)) {
        let base = base_of([values[0].clone(), values[0].clone()]);
        for value in &values {
            let (mut expected, mut back) = (value.clone(), value.clone());
            for _ in 0..3 {
                back = moved(&base, back);
                prop_assert_eq!(&back, &expected);
                for value in [&mut back, &mut expected] {
                    value.large += 1;
                    value.text.push('x');
                }
            }
            prop_assert_eq!(Arc::strong_count(&value.shared), 3);
            drop(back);
            prop_assert_eq!(Arc::strong_count(&value.shared), 2);
        }
    }
}

#[test]
fn only_what_differs_takes_room() {
    let base = base_of([[7_usize; 100]; 2]);
    let mut value = [7; 100];
    value[3] = 1;
    value[64] = 2;
    value[99] = 3;
    let place = MaybeUninit::new(value);
    let mut room = [Word::uninit(); 5];
    // SAFETY: the value can be moved as often as one likes.
    unsafe {
        assert_eq!(
            base.pack(&place, &mut room[..4]),
            None,
            "two for the bitmap, three that differ"
        );
        assert_eq!(base.pack(&place, &mut room), Some(5));
        let mut place = MaybeUninit::uninit();
        base.unpack(&room, &mut place);
        assert_eq!(place.assume_init(), value);
    }
}

/// Shared by most; of each its own; small numbers, of which one is the most frequent.
#[test]
fn a_word_that_may_be_ones_own_address_is_packed_though_it_is_the_same() {
    const ADDRESS: usize = 1 << 40;
    const BITMAP: usize = 1;
    let packed = |base: &DeltaBase<[usize; 3]>, value: [usize; 3]| {
        // SAFETY: the value can be moved as often as one likes.
        unsafe { base.pack_boxed(&MaybeUninit::new(value)) }.len() - BITMAP
    };
    let values = [
        [ADDRESS, ADDRESS + 1, 5],
        [ADDRESS, ADDRESS + 2, 6],
        [0, ADDRESS + 3, 6],
    ]
    .map(MaybeUninit::new);
    let [first, second, third] = &values;
    // SAFETY: they are initialised, and have no addresses of anything.
    let choose = |values: &[&MaybeUninit<[usize; 3]>], shared| unsafe { DeltaBase::choose(values, &shared) };
    let most = choose(&[first, second, third], 0..24).expect("several values");
    assert_eq!(packed(&most, [ADDRESS, ADDRESS + 1, 6]), 1, "made where another was");
    assert_eq!(packed(&most, [ADDRESS, ADDRESS + 2, 5]), 2);
    assert_eq!(packed(&most, [ADDRESS + 8, ADDRESS + 1, 6]), 2);
    for not_all_of_it in [8..24, 4..24] {
        let base = choose(&[first, second, third], not_all_of_it).expect("several values");
        assert_eq!(packed(&base, [ADDRESS, ADDRESS + 1, 6]), 2);
    }
    let half = choose(&[first, third], 0..24).expect("two values");
    assert_eq!(packed(&half, [ADDRESS, ADDRESS + 1, 5]), 2, "no more than one has it");
    assert!(choose(&[first], 0..24).is_none());
}

/// A model of a session without padding, for Miri, which watches where each pointer comes from: what is shared, what is its
/// own, numbers. What was made of blocks that are freed would be found out with the first that comes to lie where they were.
#[test]
fn pointers_come_back_as_the_values_own() {
    struct Model {
        shared: Arc<u64>,
        own: Box<u64>,
        text: String,
        dynamic: Box<dyn Fn() -> u64>,
        number: u64,
    }
    let shared = Arc::new(77);
    let model = |number: u64| Model {
        shared: Arc::clone(&shared),
        own: Box::new(number),
        text: number.to_string(),
        dynamic: Box::new(move || number),
        number,
    };
    let base = base_of([model(1), model(2), model(3)]);
    for number in (1..20).chain(1..4) {
        let mut model = moved(&base, model(number));
        *model.own += 1;
        model.text.push('x');
        let numbers = (*model.shared, *model.own, (model.dynamic)(), model.number);
        assert_eq!(numbers, (77, number + 1, number, number));
        assert_eq!(model.text, format!("{number}x"));
    }
    assert_eq!(Arc::strong_count(&shared), 1);
}
