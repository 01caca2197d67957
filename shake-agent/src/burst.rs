//! Logging once per burst: what others can cause at any rate must not fill the disk with log lines.

/// A kind of event that is logged when it begins, and not again before it was away for a while.
#[derive(Debug, Default)]
pub struct Burst {
    last_ms: Option<u64>,
}

/// A burst is over when nothing came for so long.
const QUIET_MS: u64 = 10_000;

impl Burst {
    /// Notes one event at `now_ms`; true when it begins a burst, and should be logged.
    pub fn begins(&mut self, now_ms: u64) -> bool {
        let begins = self.last_ms.is_none_or(|last| now_ms.saturating_sub(last) >= QUIET_MS);
        self.last_ms = Some(now_ms);
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_a_burst() {
        let mut burst = Burst::default();
        assert!(burst.begins(5));
        assert!(!burst.begins(9_000));
        assert!(!burst.begins(18_000));
        assert!(burst.begins(28_000));
    }
}
