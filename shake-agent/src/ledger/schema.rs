//! The tables of a ledger, and how numbers stand in them.
//!
//! ```text
//! seed       the one seed file of this ledger, the ledger's identity, and the event's budget for gifts
//! commits    one row: the stamp, which is one more with each commit, and when the last one was
//! incarnations  each opening for writing, by 64 random bits: what keys of lines differ in, after a restore that nobody noticed.
//!            And the machine that it was on
//! spans      times in which the ledger could not be written
//! sponsors   per sponsor of the seed: how many of its packets are released
//! house      accounts of bank, void, sponsors and what came back to them: few rows, written once a commit
//! users      accounts of users, what they opened, and where the list of their transfers begins
//! packets    every packet released, sent or given so far: its account, its state, who has it
//! sends      packets that users or the event made, by the key that makes the request idempotent
//! offers     for whom a packet is, when it is not for anyone with its code
//! shares     every share taken of a packet that is shared; its key is the transfer that paid it
//! transfers  every movement of money, in order: from the debit account to the credit account
//! outbox     every movement of a user's balance, in order, for settlement: rows are only ever appended, without a gap. The last
//!            row of a closed ledger is the closing line: user, packet and transfer are 0, `number` counts the users that are owed
//!            something, `balance_cents` is the sum of what they are owed
//! lanes      per mapping and shard: how far its request ring is done, how many grants it was given
//! ```
//! SQLite knows signed 64-bit integers only. Identifiers of 64 bits are stored bit by bit ([`to_sql`]), so ids from
//! 2^63 on show as negative numbers in the `sqlite3` tool. Amounts are whole cents and stay below 2^63, because the sum
//! of the seed does. All keys are rowids: `WITHOUT ROWID` tables were slower in measurements.
//!
//! A user's transfers form a list: `users.last_transfer` is its head, `transfers.previous` leads on. A transfer moves the
//! money of one user at most, so one such column is enough, and no index grows with each claim.
//!
//! Ids of packets that are sent or given:
//!
//! ```text
//! bit 63   62         47                                    0
//!     │ 1 │  part     │ number within the ledger, from 1     │
//! ```
//! The packets of a seed have bit 63 clear (a seed that has not is refused), so the two never meet.

/// The version that this program writes, in SQLite's `user_version`.
pub const VERSION: i64 = 4;

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
    gift_budget_cents INTEGER NOT NULL,  -- what the bank funded the event (sponsor 0) with, over all runs
    identity BLOB NOT NULL,              -- 16 random bytes, made with this row
    settlement_ms INTEGER,               -- when the first settlement file was begun; then one must be there
    made_before INTEGER NOT NULL DEFAULT 0   -- packets up to this number were made by commits that are lost
);
CREATE TABLE commits (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    stamp INTEGER NOT NULL,              -- one more with each commit
    at_ms INTEGER NOT NULL               -- when the last one was
);
INSERT INTO commits VALUES (1, 0, 0);
CREATE TABLE incarnations (
    incarnation INTEGER PRIMARY KEY,     -- 1, 2, 3, ...
    bits INTEGER NOT NULL UNIQUE,        -- 64 random ones
    begun_ms INTEGER NOT NULL,           -- when it made its first commit
    machine TEXT NOT NULL                -- what the machine was called
);
CREATE TABLE spans (
    span INTEGER PRIMARY KEY,
    begin_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL
);
CREATE TABLE sponsors (
    sponsor INTEGER PRIMARY KEY,
    packets INTEGER NOT NULL,            -- in the seed
    released INTEGER NOT NULL            -- so many of them, in the order of the seed
);
CREATE TABLE house (
    kind INTEGER NOT NULL,               -- 0 bank, 1 void, 2 sponsor, 5 refunded to a sponsor
    id INTEGER NOT NULL,                 -- the sponsor's number (0 is the event); 0 for bank and void
    balance_cents INTEGER NOT NULL,
    UNIQUE (kind, id)
);
CREATE TABLE users (
    user INTEGER PRIMARY KEY,
    balance_cents INTEGER NOT NULL,
    packets_opened INTEGER NOT NULL,     -- packets of the seed that the user won and opened
    sponsors_opened BLOB NOT NULL,       -- their sponsors, two bytes each, most significant first
    last_transfer INTEGER,               -- the last one that moved this user's money
    lines INTEGER NOT NULL               -- how many rows of the outbox are this user's
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
    origin INTEGER NOT NULL,             -- 1 seed, 2 sent by a user, 3 given by the event
    sponsor INTEGER,                     -- who funded it: a sponsor (0 is the event), or ...
    sender INTEGER,                      -- ... a user, when origin = 2
    cents INTEGER NOT NULL,
    shares INTEGER NOT NULL,             -- 1 when it is not shared
    balance_cents INTEGER NOT NULL,
    shares_left INTEGER NOT NULL,
    recipients INTEGER NOT NULL,         -- how many offers it has; 0 when anyone with the code may grab
    state INTEGER NOT NULL,              -- 1 released, 2 issued, 3 opened, 4 void, 5 open to grab, 6 refunded, 7 lost, 8 paid
    seed_index INTEGER,                  -- of origin 1 only, as lane and grant_position
    lane INTEGER,
    grant_position INTEGER,
    user INTEGER,                        -- who it was issued to
    stage INTEGER,                       -- index of the phase
    made_ms INTEGER NOT NULL,            -- released, sent or given; milliseconds since 1970 UTC, as all times
    issued_ms INTEGER,
    opened_ms INTEGER,                   -- opened by the user it was issued to
    due_ms INTEGER,                      -- when what is left goes back at the earliest, while something can
    ends_ms INTEGER,                     -- the end that was promised with the ticket or the shares
    closed_ms INTEGER                    -- nothing is left in it since then
);
-- Only what is released and not issued yet: a few hundred rows, whatever the ledger's size.
CREATE INDEX packets_released ON packets (lane, grant_position) WHERE state = 1;
-- Only what can still go back: issued or open to grab.
CREATE INDEX packets_due ON packets (due_ms) WHERE due_ms IS NOT NULL;
-- Only what was lost: as many as were in hand when a mapping went.
CREATE INDEX packets_lost ON packets (packet) WHERE state = 7;
-- Only what is void, which goes back when the ledger is closed.
CREATE INDEX packets_void ON packets (packet) WHERE state = 4;
CREATE TABLE sends (
    packet INTEGER PRIMARY KEY,
    origin INTEGER NOT NULL,             -- as in packets
    sender INTEGER NOT NULL,             -- 0 when the event gave it
    key BLOB NOT NULL,                   -- 16 bytes
    hash BLOB NOT NULL,                  -- SHA-256 of what was asked for with the key
    UNIQUE (origin, sender, key)
);
CREATE TABLE offers (
    offer INTEGER PRIMARY KEY,
    packet INTEGER NOT NULL,
    user INTEGER NOT NULL,
    waits INTEGER NOT NULL,              -- 1, or 2 for a gift, until the user grabbed, or nothing is left in the packet
    UNIQUE (packet, user)
);
-- Gifts apart from the rest, so that they are found however many others wait.
CREATE INDEX offers_waiting ON offers (user, waits) WHERE waits > 0;
CREATE TABLE shares (
    transfer INTEGER PRIMARY KEY,        -- what paid it
    packet INTEGER NOT NULL,
    user INTEGER NOT NULL,
    cents INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    UNIQUE (packet, user)
);
CREATE TABLE transfers (
    transfer INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    debit_kind INTEGER NOT NULL,         -- 0 bank, 1 void, 2 sponsor, 3 packet, 4 user, 5 refunded to a sponsor
    debit INTEGER NOT NULL,
    credit_kind INTEGER NOT NULL,
    credit INTEGER NOT NULL,
    cents INTEGER NOT NULL CHECK (cents > 0),
    previous INTEGER                     -- the transfer before, of the user whose money it moves
);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,             -- 1, 2, 3, ... in the order of the commits
    at_ms INTEGER NOT NULL,
    user INTEGER NOT NULL,               -- whose balance it is
    cents INTEGER NOT NULL,              -- what came in; negative when it went out
    kind INTEGER NOT NULL,               -- 1 open, 2 grab, 3 gift, 4 refund, 5 send, 7 close; 6 is reserved (payout)
    packet INTEGER NOT NULL,             -- where the money comes from, or goes to
    transfer INTEGER NOT NULL,           -- ascending with seq
    number INTEGER NOT NULL,             -- 1, 2, 3, ... of this user
    balance_cents INTEGER NOT NULL,      -- of this user, after it
    incarnation INTEGER NOT NULL         -- the row of the opening that wrote it
);
";

/// The versions before, which this program reads and never continues: an event ends with the program that began it. Each with
/// what makes a ledger of it look like one of [`VERSION`] to whoever reads through this connection: views that stand before the
/// tables. What the version does not have is empty or zero.
pub const AS_IF_CURRENT: [(i64, &str); 2] = [
    // Its void packets may be paid ones: it knows no such state.
    (
        3,
        "CREATE TEMP VIEW incarnations AS SELECT *, NULL AS machine FROM main.incarnations;",
    ),
    (
        2,
        "
CREATE TEMP VIEW seed AS SELECT *, NULL AS identity, NULL AS settlement_ms, 0 AS made_before FROM main.seed;
CREATE TEMP VIEW commits AS SELECT 1 AS id, 0 AS stamp, 0 AS at_ms;
CREATE TEMP VIEW incarnations AS SELECT 0 AS incarnation, 0 AS bits, 0 AS begun_ms, NULL AS machine WHERE 0;
CREATE TEMP VIEW spans AS SELECT 0 AS span, 0 AS begin_ms, 0 AS end_ms WHERE 0;
CREATE TEMP VIEW users AS SELECT *, 0 AS lines FROM main.users;
CREATE TEMP VIEW packets AS SELECT *, due_ms AS ends_ms FROM main.packets;
CREATE TEMP VIEW sends AS SELECT *, NULL AS hash FROM main.sends;
CREATE TEMP VIEW outbox AS SELECT *, 0 AS number, 0 AS balance_cents, 0 AS incarnation FROM main.outbox;
",
    ),
];

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
