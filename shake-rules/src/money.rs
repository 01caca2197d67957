//! Money as people read it. Programs read whole cents.

/// Cents as money: 1,234.05.
#[must_use]
pub fn money(cents: u64) -> String {
    format!("{}.{:02}", grouped(cents / 100), cents % 100)
}

/// A movement or a balance, with its sign where it is below zero: -1,234.05.
#[must_use]
pub fn signed(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}", money(cents.unsigned_abs()))
}

/// Digits in groups of three: 1,234,567.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_read_as_money() {
        for (cents, text) in [
            (0, "0.00"),
            (5, "0.05"),
            (99_999, "999.99"),
            (100_000, "1,000.00"),
            (12_345_607, "123,456.07"),
            (u64::MAX, "184,467,440,737,095,516.15"),
        ] {
            assert_eq!(money(cents), text);
        }
        for (cents, text) in [(-5, "-0.05"), (0, "0.00"), (123_456, "1,234.56")] {
            assert_eq!(signed(cents), text);
        }
        assert_eq!(signed(i64::MIN), "-92,233,720,368,547,758.08");
    }

    #[test]
    fn digits_stand_in_groups() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
