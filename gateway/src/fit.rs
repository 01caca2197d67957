//! What the machine lets a configuration be: how many sessions its memory holds.

use crate::config::Config;
use host::groups::{Bound, Groups};
use host::memory::Memory;

/// What a session takes that is awake, in bytes, its part of the tables included (docs/decisions/0009-memory-of-a-session.md).
const SESSION_BYTES: u64 = 15_200;
/// What is not for sessions: the agent, winners, sockets, the kernel.
const REST_BYTES: u64 = 512_000_000;
/// Of the memory, in percent, the most that is counted on. What else runs needs the rest, and so does a spell of handshakes.
const PERCENT: u64 = 80;
/// However small the machine, so many are tried; newcomers are refused once its memory is nearly full.
const SESSIONS_MIN: u64 = 1_000;

/// Sessions that so much memory holds.
pub fn sessions(memory_bytes: u64) -> u64 {
    let usable = memory_bytes / 100 * PERCENT;
    (usable.saturating_sub(REST_BYTES) / SESSION_BYTES).max(SESSIONS_MIN)
}

/// Has a configuration that leaves it to the memory take as many sessions as that holds. Gives a remark where it says more.
pub fn fit(config: &mut Config) -> Option<String> {
    let memory = Memory::look(&Groups::of_this_process());
    fit_into(config, memory.least())
}

fn fit_into(config: &mut Config, least: Option<&Bound>) -> Option<String> {
    let held = least.map(|least| sessions(least.limit));
    match (config.sessions_in_all, least, held) {
        (0, _, held) => {
            config.set_sessions(held.unwrap_or(SESSIONS_MIN));
            None
        }
        (wanted, Some(least), Some(held)) if wanted > held => Some(format!(
            "[sessions] max = {wanted} is more than {held}, which {} MB of {} hold; newcomers are refused once that is nearly \
             full (max = 0 takes what it holds)",
            least.limit / 1_000_000,
            least.by
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn fitted(max: u64, limit: Option<u64>) -> (u64, usize, Option<String>) {
        let text = format!("[listen]\nshards = 4\n[sessions]\nmax = {max}\n");
        let mut config = Config::parse(&text, Path::new("")).expect("a good file");
        let least = limit.map(|limit| Bound {
            by: "memory.max".to_owned(),
            limit,
            used: 0,
        });
        let remark = fit_into(&mut config, least.as_ref());
        (config.sessions_in_all, config.sessions.max, remark)
    }

    #[test]
    fn memory_bounds_the_sessions() {
        assert_eq!(sessions(24 << 30), 1_322_621, "24 GiB hold 1.3 million");
        assert_eq!(sessions(4 << 30), 192_366);
        assert_eq!(sessions(512 << 20), SESSIONS_MIN, "less than what all else takes");
        assert_eq!(sessions(0), SESSIONS_MIN);
    }

    #[test]
    fn zero_takes_what_memory_holds_and_more_is_remarked() {
        assert_eq!(fitted(0, Some(4 << 30)), (192_366, 48_092, None));
        assert_eq!(fitted(0, None), (SESSIONS_MIN, 250, None));
        assert_eq!(fitted(192_366, Some(4 << 30)), (192_366, 48_092, None));
        let (sessions, per_shard, remark) = fitted(1_100_000, Some(4 << 30));
        assert_eq!((sessions, per_shard), (1_100_000, 275_000), "it is the operator's word");
        let remark = remark.expect("more than memory holds");
        assert!(remark.contains("192366") && remark.contains("memory.max"), "{remark}");
    }
}
