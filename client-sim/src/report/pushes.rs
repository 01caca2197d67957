//! How changes of the gateway's configuration reached the sessions.

use crate::cues::CueGiven;
use crate::tally::Versions;
use serde::{Deserialize, Serialize};

/// One version of the gateway's configuration, as the sessions saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Push {
    /// The version.
    pub version: u64,
    /// Sessions that knew this version and no later one when the run ended.
    pub sessions: u64,
    /// Sessions that came to it from an older version; the percentiles are over these.
    pub reached: u64,
    /// The first sight by any session, since the start of the run.
    pub first_seen_s: f64,
    /// From the first sight by any session until half of those reached had seen it.
    pub p50_ms: u64,
    /// Until 99 of 100 had.
    pub p99_ms: u64,
    /// Until all had.
    pub max_ms: u64,
    /// The cue of this run that is taken to have pushed it: the last one given before the first sight, when no other
    /// version came in between.
    pub cue: Option<String>,
    /// From the start of that cue's program until half of those reached had seen it.
    pub from_cue_p50_ms: Option<u64>,
    /// Until 99 of 100 had.
    pub from_cue_p99_ms: Option<u64>,
    /// Until all had.
    pub from_cue_max_ms: Option<u64>,
}

impl Push {
    /// All versions, oldest first. `cues` stand in the order of time.
    pub(super) fn all(versions: &Versions, cues: &[CueGiven]) -> Vec<Self> {
        let mut cues = cues.iter().peekable();
        let mut pushes = Vec::new();
        for (number, version) in versions.iter() {
            let mut cue = None;
            while let Some(given) = cues.next_if(|cue| cue.started_ms() <= version.first_ms) {
                cue = Some(given);
            }
            let cue = cue.filter(|_| version.reached() > 0);
            let since_first = |share| version.within_ms(share, version.first_ms);
            let since_cue = |share| cue.map(|cue| version.within_ms(share, cue.started_ms()));
            pushes.push(Self {
                version: number,
                sessions: version.sessions,
                reached: version.reached(),
                first_seen_s: version.first_ms as f64 / 1e3,
                p50_ms: since_first(0.5),
                p99_ms: since_first(0.99),
                max_ms: since_first(1.0),
                cue: cue.map(|cue| cue.name.clone()),
                from_cue_p50_ms: since_cue(0.5),
                from_cue_p99_ms: since_cue(0.99),
                from_cue_max_ms: since_cue(1.0),
            });
        }
        pushes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Micros;

    #[test]
    fn a_version_is_put_down_to_the_cue_before_it() {
        let mut versions = Versions::default();
        let see = |versions: &mut Versions, known, seen, ms| versions.see(known, seen, Micros::from_ms(ms));
        (0..2).for_each(|_| see(&mut versions, 0, 1, 10));
        see(&mut versions, 1, 2, 1_030);
        see(&mut versions, 1, 2, 1_090);
        see(&mut versions, 2, 3, 4_000);
        let cue = |name: &str, started_s| CueGiven {
            name: name.into(),
            started_s,
            ..CueGiven::default()
        };
        let pushes = Push::all(&versions, &[cue("main", 1.0), cue("rest", 9.0)]);
        let summary: Vec<_> = pushes
            .iter()
            .map(|push| (push.version, push.cue.as_deref(), push.max_ms, push.from_cue_max_ms))
            .collect();
        assert_eq!(
            summary,
            [(1, None, 0, None), (2, Some("main"), 60, Some(90)), (3, None, 0, None)]
        );
    }
}
