//! The configuration file as it is written, with its defaults.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) queue: QueueTable,
    pub(super) ledger: LedgerTable,
    pub(super) seed: SeedTable,
    pub(super) certs: CertsTable,
    pub(super) settlement: SettlementTable,
    pub(super) show: ShowTable,
    pub(super) state: StateTable,
    pub(super) commit: CommitTable,
    pub(super) feed: FeedTable,
    pub(super) abuse: AbuseTable,
    pub(super) log: LogTable,
}

/// A table whose keys have these defaults.
macro_rules! table {
    ($name:ident { $($key:ident: $type:ty = $default:expr),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $key: Spanned<$type>,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: Spanned::new(0..0, $default.into()),)* }
            }
        }
    };
}

table!(QueueTable {
    path: String = "/dev/shm/shake-gateway",
});
table!(LedgerTable {
    path: String = "ledger.db",
    url: String = "",
    password_file: String = "",
    ca_file: String = "",
    machine: String = "",
});
table!(SeedTable {
    file: String = "seed.bin",
});
table!(CertsTable {
    directory: String = "certs",
});
table!(ShowTable { file: String = "" });
table!(StateTable {
    directory: String = "state"
});
table!(SettlementTable {
    file: String = "settlement.log",
});
table!(CommitTable {
    batch_max: u32 = 512_u32,
    every_ms: u32 = 10_u32,
});
table!(FeedTable {
    grants_in_hand: u32 = 64_u32,
});
table!(AbuseTable {
    file: String = "blocks.json",
    dry_run: bool = false,
    window_s: u32 = 60_u32,
    memory_s: u32 = 3_600_u32,
    block_s: u32 = 60_u32,
    block_s_max: u32 = 3_600_u32,
    subjects_max: u32 = 262_144_u32,
    blocked_percent_max: u32 = 2_u32,
    blocked_free: u32 = 100_u32,
    exempt: Vec<Spanned<String>> = Vec::new(),
    flood: u32 = 600_u32,
    requests: u32 = 3_000_u32,
    forgery: u32 = 20_u32,
    theft: u32 = 20_u32,
    malformed: u32 = 100_u32,
    churn: u32 = 120_u32,
    moves: u32 = 0_u32,
    farm: u32 = 20_u32,
    harvest: u32 = 40_u32,
    strangers: u32 = 200_u32,
    strangers_ratio: u32 = 10_u32,
});
table!(LogTable {
    level: String = "info",
    status_every_s: u32 = 10_u32,
});
