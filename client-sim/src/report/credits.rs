//! The lists of money that moved, as CSV with a header line: what the ledger must agree with. Ids have a letter before them,
//! as in the ledger's exports, so that spreadsheets leave their digits alone.

use crate::tally::{Moved, Opened};
use shake_rules::{PacketId, UserId};
use std::io::Write;

/// What moved besides the packets opened.
#[derive(Clone, Debug, Default)]
pub struct Credits {
    /// Every share grabbed, once.
    pub grabbed: Vec<Moved>,
    /// Every packet sent: a debit of its sender.
    pub sent: Vec<Moved>,
}

/// Writes the packets opened as CSV, `packet,user,sponsor,cents` with a header line, by packet number: what the
/// ledger must agree with.
///
/// # Errors
/// When writing fails.
pub fn write_opened(opened: &[Opened], out: impl Write) -> csv::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["packet", "user", "sponsor", "cents"])?;
    for opened in in_order(opened) {
        csv.serialize((ids(opened.packet, opened.user), opened.sponsor, opened.cents))?;
    }
    Ok(csv.flush()?)
}

/// Writes all money that moved as CSV, `kind,packet,user,sponsor,cents` with a header line. Kinds are `open` and `grab`,
/// which the user gained, and `send`, which the user spent; each kind is in the order of its packets. The sponsor is 0
/// where a user does not learn of it.
///
/// # Errors
/// When writing fails.
pub fn write_credits(opened: &[Opened], credits: &Credits, out: impl Write) -> csv::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["kind", "packet", "user", "sponsor", "cents"])?;
    for opened in in_order(opened) {
        csv.serialize(("open", ids(opened.packet, opened.user), opened.sponsor, opened.cents))?;
    }
    for (kind, moved) in [("grab", &credits.grabbed), ("send", &credits.sent)] {
        for moved in in_order(moved) {
            csv.serialize((kind, ids(moved.packet, moved.user), 0, moved.cents))?;
        }
    }
    Ok(csv.flush()?)
}

/// Two columns: packet and user.
fn ids(packet: u64, user: u64) -> (String, String) {
    (PacketId(packet).lettered(), UserId(user).lettered())
}

fn in_order<T: Copy + Ord>(rows: &[T]) -> Vec<T> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_order() {
        let opened = [5, 4].map(|packet| Opened {
            packet,
            user: 1,
            sponsor: 2,
            cents: 3,
        });
        let moved = |packet| Moved {
            packet,
            user: 6,
            cents: 7,
        };
        let credits = Credits {
            grabbed: vec![moved(9), moved(8)],
            sent: vec![moved(8)],
        };
        let text = |write: &dyn Fn(&mut Vec<u8>) -> csv::Result<()>| {
            let mut out = Vec::new();
            write(&mut out).expect("memory takes it");
            String::from_utf8(out).expect("digits")
        };
        assert_eq!(
            text(&|out| write_opened(&opened, out)),
            "packet,user,sponsor,cents\np4,u1,2,3\np5,u1,2,3\n"
        );
        assert_eq!(
            text(&|out| write_credits(&opened, &credits, out)),
            "kind,packet,user,sponsor,cents\nopen,p4,u1,2,3\nopen,p5,u1,2,3\ngrab,p8,u6,0,7\ngrab,p9,u6,0,7\nsend,p8,u6,0,7\n"
        );
    }
}
