//! The tables of a configuration as they are read, before any check.

use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: ListenTable,
    pub(super) sessions: SessionsTable,
    pub(super) claims: ClaimsTable,
    pub(super) users: UsersTable,
    pub(super) certs: CertsTable,
    pub(super) show: ShowTable,
    pub(super) throttle: ThrottleTable,
    pub(super) queue: QueueTable,
    pub(super) metrics: MetricsTable,
    pub(super) admin: AdminTable,
    pub(super) leave: LeaveTable,
    pub(super) state: StateTable,
    pub(super) log: LogTable,
}

/// A table whose defaults stand here; a test holds them against `deploy/gateway.toml`.
macro_rules! table {
    ($name:ident { $($key:ident: $type:ty = $default:expr),+ $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $key: $type),+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),+ }
            }
        }
    };
}

fn plain<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

table!(ListenTable {
    address: Spanned<String> = plain("0.0.0.0:4433".into()),
    shards: Spanned<u64> = plain(0),
    buffer_bytes: Spanned<u64> = plain(4 << 20),
});
table!(SessionsTable {
    max: Spanned<u64> = plain(0),
    handshakes_max: Spanned<u64> = plain(20_000),
    idle_timeout_s: Spanned<u64> = plain(120),
    hello_timeout_s: Spanned<u64> = plain(10),
    requests_at_once: Spanned<u64> = plain(3),
});
table!(ClaimsTable {
    under_way_max: Spanned<u64> = plain(4_096),
    timeout_ms: Spanned<u64> = plain(3_000),
    busy_retry_ms: Spanned<u64> = plain(1_000),
});
table!(UsersTable { winners_max: Spanned<u64> = plain(4_000_000) });
table!(CertsTable {
    directory: PathBuf = "certs".into()
});
table!(ShowTable {
    file: PathBuf = "".into()
});
table!(ThrottleTable {
    file: PathBuf = "".into()
});
table!(QueueTable { path: Spanned<String> = plain("/dev/shm/shake-gateway".into()) });
table!(MetricsTable { address: Spanned<String> = plain("127.0.0.1:9433".into()) });
table!(AdminTable { address: Spanned<String> = plain("127.0.0.1:4434".into()) });
table!(LeaveTable {
    to: Spanned<Vec<String>> = plain(Vec::new()),
    over_s: Spanned<u64> = plain(60),
    ledger_away_s: Spanned<u64> = plain(15),
});
table!(StateTable {
    directory: PathBuf = "state".into(),
    audit_file_bytes: Spanned<u64> = plain(16 << 20),
    audit_files: Spanned<u64> = plain(8),
});
table!(LogTable { level: Spanned<String> = plain("info".into()) });
