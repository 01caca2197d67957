//! The tables of a ledger, and how numbers stand in them.
//!
//! ```text
//! seed       the one seed file of this ledger, and how far it is released
//! house      accounts of the bank, the void and each sponsor: few rows, written once a commit
//! users      accounts of users
//! packets    every packet released so far: its account, its state, who has it
//! transfers  every movement of money, in order: from the debit account to the credit account
//! lanes      per mapping and shard: how far its request ring is done, how many grants it was given
//! ```
//! SQLite knows signed 64-bit integers only. Identifiers of 64 bits are stored bit by bit ([`to_sql`]), so ids from
//! 2^63 on show as negative numbers in the `sqlite3` tool. Amounts are whole cents and stay below 2^63, because the sum
//! of the seed does. All keys are rowids: `WITHOUT ROWID` tables were slower in measurements.

/// The version that this program reads and writes, in SQLite's `user_version`.
pub const VERSION: i64 = 1;

/// In SQLite's `application_id`: "SHKL".
pub const APPLICATION_ID: i64 = 0x5348_4b4c;

/// Makes all tables of [`VERSION`].
pub const CREATE: &str = "
CREATE TABLE seed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    event INTEGER NOT NULL,
    part INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_cents INTEGER NOT NULL,
    records_crc INTEGER NOT NULL,
    next_index INTEGER NOT NULL          -- records before it are released
);
CREATE TABLE house (
    kind INTEGER NOT NULL,               -- 0 bank, 1 void, 2 sponsor
    id INTEGER NOT NULL,                 -- the sponsor's number; 0 for bank and void
    balance_cents INTEGER NOT NULL,
    UNIQUE (kind, id)
);
CREATE TABLE users (
    user INTEGER PRIMARY KEY,
    balance_cents INTEGER NOT NULL,
    packets_opened INTEGER NOT NULL
);
CREATE TABLE lanes (
    lane INTEGER PRIMARY KEY,
    mapping INTEGER NOT NULL,            -- the mapping's instance number
    shard INTEGER NOT NULL,
    requests_done INTEGER NOT NULL,      -- position in the request ring
    grants_released INTEGER NOT NULL,    -- position in the grant ring
    UNIQUE (mapping, shard)
);
CREATE TABLE packets (
    packet INTEGER PRIMARY KEY,
    seed_index INTEGER NOT NULL,
    sponsor INTEGER NOT NULL,
    cents INTEGER NOT NULL,
    balance_cents INTEGER NOT NULL,
    state INTEGER NOT NULL,              -- 1 released, 2 issued, 3 opened, 4 void
    lane INTEGER NOT NULL,
    grant_position INTEGER NOT NULL,
    user INTEGER,                        -- who it was issued to
    stage INTEGER,                       -- index of the phase
    released_ms INTEGER NOT NULL,        -- milliseconds since 1970 UTC, as all times
    issued_ms INTEGER,
    closed_ms INTEGER                    -- opened or voided
);
-- Only what is released and not issued yet: a few hundred rows, whatever the ledger's size.
CREATE INDEX packets_released ON packets (lane, grant_position) WHERE state = 1;
CREATE TABLE transfers (
    transfer INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    debit_kind INTEGER NOT NULL,         -- 0 bank, 1 void, 2 sponsor, 3 packet, 4 user
    debit INTEGER NOT NULL,
    credit_kind INTEGER NOT NULL,
    credit INTEGER NOT NULL,
    cents INTEGER NOT NULL CHECK (cents > 0)
);
";

/// A 64-bit identifier or position as SQLite stores it: the same bits.
#[must_use]
pub const fn to_sql(value: u64) -> i64 {
    value.cast_signed()
}

/// The reverse of [`to_sql`].
#[must_use]
pub const fn from_sql(value: i64) -> u64 {
    value.cast_unsigned()
}
