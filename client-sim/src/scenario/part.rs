//! What one process of several plays: which users, and from when on. Flags tell it, because the file is the same for all.

use shake_rules::UnixMillis;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// When the first step begins, after the ramp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At once.
    #[default]
    Soon,
    /// At the first full minute of the wall clock.
    NextMinute,
    /// At this time of the wall clock, or at once when it has passed.
    At(UnixMillis),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "next-minute" {
            return Ok(Self::NextMinute);
        }
        let seconds: Option<u64> = text.parse().ok();
        seconds
            .and_then(|seconds| seconds.checked_mul(1_000))
            .map(|ms| Self::At(UnixMillis(ms)))
            .ok_or_else(|| {
                format!(
                    "{text:?} must be a Unix time in whole seconds (such as `date -d 20:00 +%s` gives), or next-minute"
                )
            })
    }
}

/// Ids of users, the first and the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users(pub RangeInclusive<u64>);

impl FromStr for Users {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text
            .split_once("..")
            .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        ends.filter(|(first, last)| first <= last)
            .map(|(first, last)| Self(first..=last))
            .ok_or_else(|| format!("{text:?} must be FIRST..LAST, two ids that are both included, such as 1..500000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_a_time_or_the_next_minute() {
        assert_eq!("next-minute".parse(), Ok(Start::NextMinute));
        assert_eq!("1700000000".parse(), Ok(Start::At(UnixMillis(1_700_000_000_000))));
        assert!("soonish".parse::<Start>().is_err());
    }

    #[test]
    fn users_are_two_ids_in_order() {
        assert_eq!("5..5".parse(), Ok(Users(5..=5)));
        for bad in ["", "5", "7..6", "a..b"] {
            assert!(bad.parse::<Users>().is_err(), "{bad}");
        }
    }
}
