//! Times: what operators write, and how far a gateway's clock is off theirs.

use std::fmt;
use std::time::Duration;

/// A gateway's clock against ours, in microseconds: positive when the gateway is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    pub us: i64,
    /// The truth lies so far to either side.
    pub uncertainty_us: u64,
}

impl Offset {
    pub const UNKNOWN: Self = Self {
        us: 0,
        uncertainty_us: u64::MAX,
    };
    /// An error that matters: phases would visibly not start together.
    const TOO_FAR_US: u64 = 250_000;

    /// From the four times of an exchange: sent and got by our clock, received and answered by the gateway's (RFC 5905,
    /// section 8: offset and half of the round trip).
    pub fn measured(sent: u64, received: u64, answered: u64, got: u64) -> Self {
        let [sent, received, answered, got] = [sent, received, answered, got].map(|us| us as i64);
        let there = received.saturating_sub(sent);
        let back = answered.saturating_sub(got);
        let round_trip = got
            .saturating_sub(sent)
            .saturating_sub(answered.saturating_sub(received));
        Self {
            us: there.saturating_add(back) / 2,
            uncertainty_us: round_trip.max(0) as u64 / 2,
        }
    }

    /// The surer of two.
    pub fn better(self, other: Self) -> Self {
        if other.uncertainty_us < self.uncertainty_us {
            other
        } else {
            self
        }
    }

    /// Whether the clocks are certainly too far apart.
    pub fn is_too_far(self) -> bool {
        self.us.unsigned_abs() > Self::TOO_FAR_US.saturating_add(self.uncertainty_us)
    }

    pub fn json(self) -> serde_json::Value {
        serde_json::json!({ "offset_us": self.us, "uncertainty_us": self.uncertainty_us })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: f64| us / 1e3;
        write!(
            f,
            "{:+.1} ± {:.1} ms",
            ms(self.us as f64),
            ms(self.uncertainty_us as f64)
        )?;
        if self.is_too_far() {
            f.write_str(" WARNING: set the clocks")?;
        }
        Ok(())
    }
}

/// `10s`, `1m30s`, `500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "a duration is written like 10s, 1m30s or 500ms".to_owned())
}

/// A time with its zone, as milliseconds since 1970.
pub fn timestamp(text: &str) -> Result<u64, String> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .ok_or_else(|| "a time is written like 2027-02-05T20:00:00+08:00".to_owned())
}

/// `host:port`.
pub fn host_and_port(text: &str) -> Result<String, String> {
    if shake_proto::admin::is_host_and_port(text) {
        Ok(text.to_owned())
    } else {
        Err("a gateway is written like gw2.example:4433".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_found_within_its_uncertainty() {
        // The gateway is 1,000 ahead; 30 there, 50 of work, 10 back.
        let offset = Offset::measured(0, 1_030, 1_080, 90);
        assert_eq!((offset.us, offset.uncertainty_us), (1_010, 20));
        assert!(offset.us.abs_diff(1_000) <= offset.uncertainty_us);
        assert_eq!(Offset::UNKNOWN.better(offset), offset);
        assert!(!offset.is_too_far());
        let far = Offset::measured(1_000_000, 400_000, 400_000, 1_001_000);
        assert!(
            far.is_too_far() && far.to_string().starts_with("-600.5 ± 0.5 ms"),
            "{far}"
        );
        // Whatever the gateway says, nothing overflows.
        let _ = Offset::measured(u64::MAX, 0, u64::MAX, 1).to_string();
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("-1s").is_err() && duration("soon").is_err());
        assert_eq!(timestamp("2027-02-05T20:00:00+08:00"), Ok(1_801_828_800_000));
        assert!(timestamp("20:00").is_err());
    }
}
