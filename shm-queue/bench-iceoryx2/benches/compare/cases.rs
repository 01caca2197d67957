//! What is measured, and what each figure must be.

/// How a case is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Both ends at once, first send to last receipt.
    Stream,
    /// The near end alone, into an empty ring.
    PushAlone,
    /// The far end alone, from a full ring.
    ReadAlone,
    /// A wake-up there and back.
    RoundTrip,
}

/// One row of the table.
pub struct Case {
    pub name: &'static str,
    pub timing: Timing,
    /// Whether messages go in batches of 64.
    pub batched: bool,
    /// Whether the ends run on two CPUs or share one.
    pub two_cpus: bool,
    /// The figure must be below, in nanoseconds for each message or round trip.
    pub below_ns: Option<f64>,
}

const fn case(name: &'static str, timing: Timing, batched: bool, two_cpus: bool, below_ns: Option<f64>) -> Case {
    Case {
        name,
        timing,
        batched,
        two_cpus,
        below_ns,
    }
}

/// Every row, in the order of the table.
pub const CASES: [Case; 8] = [
    case("one message: stream", Timing::Stream, false, true, Some(100.0)),
    case("one message: push alone", Timing::PushAlone, false, true, None),
    case("one message: read alone", Timing::ReadAlone, false, true, None),
    case("batches of 64: stream", Timing::Stream, true, true, Some(20.0)),
    case("batches of 64: push alone", Timing::PushAlone, true, true, None),
    case("batches of 64: read alone", Timing::ReadAlone, true, true, None),
    case("wake-up round trip, one CPU", Timing::RoundTrip, false, false, None),
    case("wake-up round trip, two CPUs", Timing::RoundTrip, false, true, None),
];
