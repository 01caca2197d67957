//! What is logged: RUST_LOG, or the configured level.

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter for what RUST_LOG says, and a remark where it is not what its writer can have meant.
pub fn filter(rust_log: Option<&str>, level: &str) -> (EnvFilter, Option<String>) {
    let Some(wanted) = rust_log.map(str::trim).filter(|wanted| !wanted.is_empty()) else {
        return (EnvFilter::new(level), None);
    };
    match EnvFilter::try_new(wanted) {
        Err(error) => {
            let remark = format!("RUST_LOG={wanted:?} is no log filter ({error}); level {level:?} holds");
            (EnvFilter::new(level), Some(remark))
        }
        Ok(filter) => {
            let remark = only_targets(wanted).then(|| {
                format!("RUST_LOG={wanted:?} names no level: nothing is logged but by the targets of that name")
            });
            (filter, remark)
        }
    }
}

/// Whether all of it are bare names that are no levels, such as `warning`.
fn only_targets(wanted: &str) -> bool {
    wanted.split(',').map(str::trim).all(|directive| {
        !directive.contains(['=', '[']) && !LEVELS.iter().any(|level| directive.eq_ignore_ascii_case(level))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::level_filters::LevelFilter;

    fn check(rust_log: Option<&str>, level: &str, max: LevelFilter, is_remarked: bool) {
        let (filter, remark) = filter(rust_log, level);
        assert_eq!(filter.max_level_hint(), Some(max), "RUST_LOG={rust_log:?}");
        assert_eq!(remark.is_some(), is_remarked, "RUST_LOG={rust_log:?}: {remark:?}");
    }

    #[test]
    fn an_empty_one_counts_as_unset_and_a_faulty_one_is_told() {
        check(None, "info", LevelFilter::INFO, false);
        check(Some(""), "info", LevelFilter::INFO, false);
        check(Some("  "), "warn", LevelFilter::WARN, false);
        check(Some("debug"), "info", LevelFilter::DEBUG, false);
        check(Some("off"), "info", LevelFilter::OFF, false);
        check(Some("warn,gateway=debug"), "info", LevelFilter::DEBUG, false);
        check(Some("gateway=loud"), "info", LevelFilter::INFO, true);
        check(Some("[["), "info", LevelFilter::INFO, true);
        check(Some("warning"), "info", LevelFilter::TRACE, true);
    }
}
