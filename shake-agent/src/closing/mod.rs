//! What people read when the books are closed: the outlook before it (`shake-agent close --dry-run`), and the closing statement
//! after it, as text, JSON and a page to print. Both read one snapshot of the ledger, and write nothing to it.
//!
//! The closing itself is [`run::close`](crate::run::close).

mod names;
mod outlook;
mod page;
mod statement;
mod text;

pub use names::Names;
pub use outlook::{Outlook, Returned, outlook};
pub use statement::{PhaseLine, SponsorLine, Statement, StatementError, prove, statement};

/// Cents as money: 1,234.05.
#[must_use]
pub fn money(cents: u64) -> String {
    let whole = (cents / 100).to_string();
    let mut grouped = String::with_capacity(whole.len() + whole.len() / 3 + 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{:02}", cents % 100)
}

#[cfg(test)]
mod tests {
    use super::money;

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
    }
}
