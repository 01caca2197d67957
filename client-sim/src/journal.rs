//! The journal of a run: what the phones were told about money, written down in the turn in which they were told, so
//! that whoever kills the simulator loses none of it. Beside it a beat of the shakes served, for who wants to know
//! when service was there: answered in time, and not by "slow down".
//!
//! ```text
//! at_ms,kind,packet,user,cents,served
//! 1800000000123,open,7,21,300,4711        the phone of user 21 was told that packet 7 gave it 300 cents
//! 1800000000200,shakes,,,,4790            so many shakes had been served by then
//! ```
//! Kinds are those of `--credits`: `open` and `grab` (gained), `send` (spent); and `shakes`. A line that does not end in a
//! line break was being written when the simulator died, and counts for nothing.

use crate::schedule::Micros;
use crate::tally::{Moved, Tally};
use shake_rules::UnixMillis;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

const HEADER: &str = "at_ms,kind,packet,user,cents,served\n";
/// Time between two beats while shakes are served.
const BEAT: Micros = Micros::from_ms(50);

/// Writes what is new in a tally that only grows.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    opened: usize,
    grabbed: usize,
    sent: usize,
    served: u64,
    beat_at: Micros,
    text: String,
}

impl Journal {
    /// An empty journal in a new file, or in place of an old one.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        file.write_all(HEADER.as_bytes())?;
        Ok(Self {
            file,
            opened: 0,
            grabbed: 0,
            sent: 0,
            served: 0,
            beat_at: Micros::ZERO,
            text: String::new(),
        })
    }

    /// Writes what came since the last look, in one write. `clock` is asked for the time only when there is something.
    pub(crate) fn look(&mut self, now: Micros, clock: impl FnOnce() -> UnixMillis, tally: &Tally) -> io::Result<()> {
        let served = tally.shakes.answered.saturating_sub(tally.slow_downs.iter().sum());
        let has_money =
            (tally.opened.len(), tally.grabbed.len(), tally.sent.len()) != (self.opened, self.grabbed, self.sent);
        let beats = served != self.served && now >= self.beat_at;
        if !has_money && !beats {
            return Ok(());
        }
        let at_ms = clock().0;
        let mut line = |kind: &str, moved: Moved| {
            let Moved { packet, user, cents } = moved;
            writeln!(self.text, "{at_ms},{kind},{packet},{user},{cents},{served}").expect("a String takes it");
        };
        for opened in &tally.opened[self.opened..] {
            let (packet, user, cents) = (opened.packet, opened.user, opened.cents);
            line("open", Moved { packet, user, cents });
        }
        tally.grabbed[self.grabbed..]
            .iter()
            .for_each(|moved| line("grab", *moved));
        tally.sent[self.sent..].iter().for_each(|moved| line("send", *moved));
        if beats {
            writeln!(self.text, "{at_ms},shakes,,,,{served}").expect("a String takes it");
            self.served = served;
            self.beat_at = now.plus(BEAT);
        }
        (self.opened, self.grabbed, self.sent) = (tally.opened.len(), tally.grabbed.len(), tally.sent.len());
        let written = self.file.write_all(self.text.as_bytes());
        self.text.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Opened;

    #[test]
    fn each_is_written_once_and_at_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.csv");
        let mut journal = Journal::create(&path).expect("made");
        let mut tally = Tally::default();
        let mut look = |ms: u64, tally: &Tally| {
            let clock = || UnixMillis(1_000 + ms);
            journal.look(Micros::from_ms(ms), clock, tally).expect("written");
            std::fs::read_to_string(&path).expect("readable").replace(HEADER, "")
        };
        assert_eq!(look(0, &tally), "");
        tally.opened.push(Opened {
            packet: 7,
            user: 21,
            sponsor: 1,
            cents: 300,
        });
        assert_eq!(look(1, &tally), "1001,open,7,21,300,0\n");
        assert_eq!(look(2, &tally), "1001,open,7,21,300,0\n", "nothing new");
        let moved = |packet| Moved {
            packet,
            user: 4,
            cents: 5,
        };
        tally.grabbed.push(moved(8));
        tally.sent.push(moved(9));
        tally.shakes.answered = 2;
        let all = "1001,open,7,21,300,0\n1003,grab,8,4,5,2\n1003,send,9,4,5,2\n1003,shakes,,,,2\n";
        assert_eq!(look(3, &tally), all);
        tally.shakes.answered = 4;
        tally.slow_downs[4] = 1;
        assert_eq!(look(4, &tally), all, "the beat waits");
        assert_eq!(look(60, &tally), format!("{all}1060,shakes,,,,3\n"));
    }
}
