//! Time, which is handed in: eight bytes a value, because a connection holds several.

/// Microseconds since an origin that the user of the value names: the start of a run, the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// The start.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_s(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// This time plus a span, or the end of time.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this time; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// The span in seconds, for reports.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<Micros> for std::time::Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(span.0)
    }
}
