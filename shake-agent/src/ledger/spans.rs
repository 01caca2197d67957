//! Spans: times in which the ledger could not be written. They count against nobody's end.
//!
//! ```text
//!   promised   began ├───────────────┤ ends
//!   spans                  ▒▒▒▒▒          ▒▒          ▒▒▒
//!   counted    began ├─────┤    ├─────────┤ ├────────────┤      as long as was promised
//!                                                 end ──▶│
//! ```
//! An end is always reckoned from what was promised, so that nothing is added twice, whatever restarts in between.

use super::packet::Term;
use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, params};
use shake_rules::UnixMillis;
use std::sync::Arc;

/// So long may lie between two commits without being a time in which nothing could be written, in milliseconds.
pub const SPAN_OVER_MS: u64 = 1_000;

/// A time in which the ledger could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The last commit before it.
    pub begin: UnixMillis,
    /// The first one after it.
    pub end: UnixMillis,
}

impl Span {
    /// What lies between two commits, when it is longer than it should be. A clock that was set back makes none.
    #[must_use]
    pub fn between(last_commit: UnixMillis, now: UnixMillis) -> Option<Self> {
        (now.since_ms(last_commit) > SPAN_OVER_MS).then_some(Self {
            begin: last_commit,
            end: now,
        })
    }
}

/// All spans of a ledger: in order of time, and none touches the next. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Arc<[Span]>);

impl Spans {
    /// These and one more.
    #[must_use]
    pub fn with(&self, span: Span) -> Self {
        self.0.iter().copied().chain([span]).collect()
    }

    /// When something ends that was promised so: as long after its beginning as was promised, spans left out.
    #[must_use]
    pub fn end(&self, term: Term) -> UnixMillis {
        let mut left_ms = term.ends.since_ms(term.began);
        let mut at = term.began;
        let first = self.0.partition_point(|span| span.end <= at);
        for span in &self.0[first..] {
            let counted_ms = span.begin.since_ms(at);
            if counted_ms >= left_ms {
                break;
            }
            left_ms -= counted_ms;
            at = span.end;
        }
        at.plus_ms(left_ms)
    }
}

impl Spans {
    /// What was promised so, and is heard of at `now` for the first time. What says that it began before the last span was
    /// heard of by nobody until that was over: it began in it, by a clock that was behind.
    #[must_use]
    pub fn first_heard(&self, term: Term, now: UnixMillis) -> Term {
        let over = self.0.partition_point(|span| span.end <= now);
        let late_ms = self.0[..over].last().map_or(0, |span| span.begin.since_ms(term.began));
        Term {
            began: term.began.plus_ms(late_ms),
            ends: term.ends.plus_ms(late_ms),
        }
    }
}

/// A clock that was set back may have made spans that overlap, or come later and lie earlier.
impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut sorted: Vec<Span> = spans.into_iter().collect();
        sorted.sort_unstable_by_key(|span| span.begin);
        let mut apart: Vec<Span> = Vec::with_capacity(sorted.len());
        for span in sorted {
            match apart.last_mut() {
                Some(last) if span.begin <= last.end => last.end = last.end.max(span.end),
                _ => apart.push(span),
            }
        }
        Self(apart.into())
    }
}

pub(super) fn append(connection: &Connection, span: Span) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO spans (begin_ms, end_ms) VALUES (?1, ?2)")?
        .execute(params![to_sql(span.begin.0), to_sql(span.end.0)])
        .map(drop)
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Spans> {
    connection
        .prepare_cached("SELECT begin_ms, end_ms FROM spans")?
        .query_map([], |row| {
            Ok(Span {
                begin: UnixMillis(from_sql(row.get(0)?)),
                end: UnixMillis(from_sql(row.get(1)?)),
            })
        })?
        .collect()
}

/// When the last commit was; zero before the first.
pub(super) fn last_commit(connection: &Connection) -> rusqlite::Result<UnixMillis> {
    connection
        .prepare_cached("SELECT at_ms FROM commits")?
        .query_row([], |row| row.get(0).map(from_sql).map(UnixMillis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(begin: u64, end: u64) -> Span {
        Span {
            begin: UnixMillis(begin),
            end: UnixMillis(end),
        }
    }

    fn end(spans: &[(u64, u64)], began: u64, ends: u64) -> u64 {
        let spans: Spans = spans.iter().map(|&(begin, end)| span(begin, end)).collect();
        let (began, ends) = (UnixMillis(began), UnixMillis(ends));
        spans.end(Term { began, ends }).0
    }

    #[test]
    fn what_was_promised_is_what_is_had() {
        assert_eq!(end(&[], 100, 150), 150);
        assert_eq!(end(&[(10, 90)], 100, 150), 150, "before it began");
        assert_eq!(end(&[(110, 130)], 100, 150), 170);
        assert_eq!(end(&[(90, 130)], 100, 150), 180, "it began in an outage");
        assert_eq!(
            end(&[(110, 130), (160, 1_000)], 100, 150),
            1_010,
            "what ends in one goes on after it"
        );
        assert_eq!(end(&[(110, 130), (170, 1_000)], 100, 150), 170, "it was over by then");
        assert_eq!(
            end(&[(110, 130), (120, 140), (105, 115)], 100, 150),
            185,
            "overlaps count once"
        );
        assert_eq!(end(&[(0, 200)], 100, u64::MAX), u64::MAX);
        assert_eq!(end(&[(100, 200)], 100, 100), 100, "nothing was promised");
    }

    #[test]
    fn what_a_clock_that_was_behind_promised_begins_in_the_span() {
        let spans: Spans = [span(100, 200), span(300, 400)].into_iter().collect();
        let heard = |began, now| {
            let (began, ends) = (UnixMillis(began), UnixMillis(began + 50));
            let term = spans.first_heard(Term { began, ends }, UnixMillis(now));
            (term.began.0, term.ends.0)
        };
        assert_eq!(heard(10, 400), (300, 350), "nobody heard of it before 400");
        assert_eq!(heard(350, 400), (350, 400), "it began in the span");
        assert_eq!(heard(450, 460), (450, 500), "it began after it");
        assert_eq!(
            heard(10, 250),
            (100, 150),
            "the second is yet to come: the clock is still behind"
        );
        assert_eq!(heard(10, 50), (10, 60));
    }

    #[test]
    fn only_what_is_longer_than_a_second_is_a_span() {
        let between = |last, now| Span::between(UnixMillis(last), UnixMillis(now));
        assert_eq!(between(5_000, 6_000), None);
        assert_eq!(between(5_000, 6_001), Some(span(5_000, 6_001)));
        assert_eq!(between(5_000, 1), None, "the clock was set back");
    }

    proptest! {
        /// Against counting millisecond by millisecond.
        #[test]
        fn each_millisecond_outside_of_spans_counts_once(
            spans in prop::collection::vec((0_u64..400, 0_u64..60), 0..8),
            began in 0_u64..300,
            lifetime in 0_u64..200,
        ) {
            let spans: Vec<_> = spans.into_iter().map(|(begin, long)| (begin, begin + long)).collect();
            let is_out = |at: u64| spans.iter().any(|&(begin, end)| begin <= at && at < end);
            let (mut at, mut left) = (began, lifetime);
            while left > 0 {
                left -= u64::from(!is_out(at));
                at += 1;
            }
            prop_assert_eq!(end(&spans, began, began + lifetime), at);
        }
    }
}
