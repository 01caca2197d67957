//! Credits by day, in a time zone.

use super::report::{CreditTally, DayRow};
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use std::collections::BTreeMap;
use std::ops::Range;

/// A time zone by its IANA name (`Asia/Shanghai`), or by its offset from UTC (`+08:00`, `-3`). The error says what is wrong.
///
/// # Errors
/// When there is no such zone.
pub fn time_zone(text: &str) -> Result<TimeZone, String> {
    if let Some(offset) = offset(text) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(text).map_err(|_| {
        format!(
            "{text:?} is no time zone: give an IANA name, such as Asia/Shanghai, or an offset from UTC, such as +08:00"
        )
    })
}

fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let number = |text: &str, max: i32| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| is_number && *number <= max)
    };
    Offset::from_seconds(sign * (number(hours, 23)? * 3_600 + number(minutes, 59)? * 60)).ok()
}

/// What was credited on each day.
#[derive(Debug)]
pub(super) struct Days {
    zone: TimeZone,
    credits: BTreeMap<Date, CreditTally>,
    /// The last day that was asked for, and its milliseconds: the next credit is often of it too.
    last: Option<(Range<i64>, Date)>,
    /// Times that no calendar has.
    beyond: CreditTally,
}

impl Days {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            credits: BTreeMap::new(),
            last: None,
            beyond: CreditTally::default(),
        }
    }

    /// Credits `cents` at a time in milliseconds since 1970 UTC.
    pub(super) fn add(&mut self, at_ms: i64, cents: u64) {
        let day = match &self.last {
            Some((range, day)) if range.contains(&at_ms) => Some(*day),
            _ => self.find(at_ms),
        };
        match day {
            Some(day) => self.credits.entry(day).or_default().add(cents),
            None => self.beyond.add(cents),
        }
    }

    fn find(&mut self, at_ms: i64) -> Option<Date> {
        let at = Timestamp::from_millisecond(at_ms).ok()?.to_zoned(self.zone.clone());
        let day = at.date();
        // A day has 23 to 25 hours where clocks are changed.
        let begin = at.start_of_day().ok()?;
        let end = begin.checked_add(1.day()).ok()?.start_of_day().ok()?;
        let range = begin.timestamp().as_millisecond()..end.timestamp().as_millisecond();
        self.last = Some((range, day));
        Some(day)
    }

    /// The zone's name.
    pub(super) fn zone_name(&self) -> String {
        match self.zone.iana_name() {
            Some(name) => name.to_owned(),
            None => self
                .zone
                .to_fixed_offset()
                .map_or("unknown".to_owned(), |offset| offset.to_string()),
        }
    }

    pub(super) fn rows(&self) -> Vec<DayRow> {
        let row = |(day, &credits): (&Date, &CreditTally)| DayRow {
            day: day.to_string(),
            credits,
        };
        let beyond = (self.beyond.credits > 0).then(|| DayRow {
            day: "unknown".to_owned(),
            credits: self.beyond,
        });
        self.credits.iter().map(row).chain(beyond).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_where_the_zone_says() {
        // 2027-02-05T15:59:59.999Z and a millisecond later; the last hour before New York's clocks go back.
        let eve = 1_801_843_199_999;
        let check = |zone: &str, times: &[i64], expected: &[(&str, u64)]| {
            let mut days = Days::new(time_zone(zone).expect(zone));
            times.iter().for_each(|&at| days.add(at, 1));
            let rows = days.rows();
            let found: Vec<_> = rows.iter().map(|row| (row.day.as_str(), row.credits.credits)).collect();
            assert_eq!(found, expected, "{zone}");
        };
        check("UTC", &[eve, eve + 1], &[("2027-02-05", 2)]);
        for zone in ["Asia/Shanghai", "+08:00", "+8"] {
            check(zone, &[eve, eve + 1, eve], &[("2027-02-05", 2), ("2027-02-06", 1)]);
        }
        check("-08:00", &[eve, 0, -1], &[("1969-12-31", 2), ("2027-02-05", 1)]);
        // 2026-11-01 has 25 hours there: from 04:00Z to 05:00Z of the next day.
        let begin = 1_793_505_600_000;
        check(
            "America/New_York",
            &[begin - 1, begin, begin + 25 * 3_600_000 - 1, begin + 25 * 3_600_000],
            &[("2026-10-31", 1), ("2026-11-01", 2), ("2026-11-02", 1)],
        );
        check("UTC", &[i64::MAX], &[("unknown", 1)]);
    }

    #[test]
    fn what_is_no_zone_says_what_is_one() {
        for text in ["", "Mars/Base", "+24", "+8:60", "+8:", "8", "+-8", "+080000"] {
            let error = time_zone(text).expect_err(text);
            assert!(error.contains("Asia/Shanghai") && error.contains("+08:00"), "{error}");
        }
    }
}
