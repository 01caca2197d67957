//! Named steps at which a test can let its process die.
//!
//! In a normal build [`point`] is empty and disappears. In this crate's unit tests, a process started with
//! `SHM_QUEUE_DIE_AT=<name>@<n>` aborts when it reaches the step of that name for the n-th time.

/// The environment variable that arms one step: `<name>@<n>`, n from 1.
#[cfg(all(test, not(loom)))]
pub(crate) const DIE_AT: &str = "SHM_QUEUE_DIE_AT";

/// Every step there is, in the order in which an operation passes them.
#[cfg(all(test, not(loom)))]
pub(crate) const POINTS: &[&str] = &[
    "create:temporary-made",
    "create:temporary-complete",
    "create:linked",
    "attach:locked",
    "attach:heartbeat-stored",
    "attach:epoch-stored",
    "owner:words-stored",
    "owner:named",
    "push:slot-header",
    "push:slot-written",
    "push:published",
    "batch:before-publish",
    "batch:published",
    "read:copied",
    "commit:before-store",
    "commit:stored",
    "notify:flag-cleared",
    "ring:flag-cleared",
];

/// Passes the named step. Aborts the process there when a test asked for it.
#[cfg(not(all(test, not(loom))))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}

/// Passes the named step. Aborts the process there when a test asked for it.
#[cfg(all(test, not(loom)))]
pub(crate) fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    debug_assert!(POINTS.contains(&name), "the step {name} is not listed");
    let armed = ARMED.get_or_init(|| {
        let value = std::env::var(DIE_AT).ok()?;
        let (name, nth) = value.split_once('@').expect("a test writes <name>@<n>");
        Some((name.to_owned(), nth.parse().expect("a test writes <name>@<n>")))
    });
    if let Some((armed_name, nth)) = armed
        && armed_name == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        std::process::abort();
    }
}
