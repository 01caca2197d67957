//! Named steps at which a test can let its process die.
//!
//! In a normal build [`point`] is empty and disappears. In this crate's unit tests, a process started with
//! `SHAKE_AGENT_DIE_AT=<name>@<n>` aborts when it reaches the step of that name for the n-th time, and a thread that
//! was told to by [`unwind_at`] unwinds from it.

/// The environment variable that arms one step: `<name>@<n>`, n from 1.
#[cfg(test)]
pub(crate) const DIE_AT: &str = "SHAKE_AGENT_DIE_AT";

/// Every step of a turn, in the order in which it passes them.
#[cfg(test)]
pub(crate) const POINTS: &[&str] = &[
    "turn:read",
    "turn:before-commit",
    "turn:committed",
    "turn:cursor-moved",
    "turn:replied",
    "turn:granted",
];

/// Every step of settlement, in the order in which a batch passes them.
#[cfg(test)]
pub(crate) const SETTLEMENT_POINTS: &[&str] = &[
    "settlement:begun",
    "settlement:read",
    "settlement:written",
    "settlement:synced",
];

/// Every step of closing the books, in the order in which it passes them.
#[cfg(test)]
pub(crate) const CLOSE_POINTS: &[&str] = &[
    "close:proved",
    "close:emptied",
    "close:closed",
    "close:settled",
    "close:unmapped",
];

/// Passes the named step. Aborts the process there when a test asked for it.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}

/// Passes the named step. Aborts the process there when a test asked for it.
#[cfg(test)]
pub(crate) fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    debug_assert!(
        [POINTS, SETTLEMENT_POINTS, CLOSE_POINTS]
            .iter()
            .any(|points| points.contains(&name)),
        "the step {name} is not listed"
    );
    let armed = ARMED.get_or_init(|| {
        let value = std::env::var(DIE_AT).ok()?;
        let (name, nth) = value.split_once('@').expect("a test writes <name>@<n>");
        Some((name.to_owned(), nth.parse().expect("a test writes <name>@<n>")))
    });
    if UNWIND_AT.get() == Some(name) {
        UNWIND_AT.set(None);
        std::panic::resume_unwind(Box::new(Died));
    }
    if let Some((armed_name, nth)) = armed
        && armed_name == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        std::process::abort();
    }
}

/// What a thread unwinds with that "dies".
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Died;

#[cfg(test)]
thread_local! {
    static UNWIND_AT: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Has this thread unwind when it next passes the named step; `None` for not at all.
#[cfg(test)]
pub(crate) fn unwind_at(name: Option<&'static str>) {
    UNWIND_AT.set(name);
}
