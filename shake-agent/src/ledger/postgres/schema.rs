//! The tables of a ledger in PostgreSQL: those of SQLite ([`crate::ledger::schema`]), for all parts of an event.
//!
//! A *part* is one seed file. What was one row or one number of a SQLite file is here one of a part: its stamp, the last
//! numbers that were given, its rings, its house accounts. Packets, users, shares, offers and keys are the event's: any agent
//! may change them, under the lock of the packet's or the user's row. Each child belongs to one lock: share and offer to the
//! packet, send key and line to the user.
//!
//! No foreign keys (each insert of a child would lock its parent), no sequences (they are in no order of commits), no session
//! state (so that a pooler may stand between). Identifiers of 64 bits are stored bit by bit, as in SQLite, so those from 2^63
//! on are negative: only the server sorts. Room is left in the pages of rows that are updated often, so that an update stays
//! in its page and touches no index.
//!
//! Money for gifts is the event's: who sees a larger budget first funds it, in its books, and parts draw from the pot in the
//! ledger's row what they are about to give. So the account of sponsor 0 over all parts is the pot and what they have drawn.
//!
//! The list of a user's movements is the outbox itself, by the user's own number; a second line of the same number cannot be
//! written, whatever a lock failed to keep apart.

/// The version of these tables, in `ledger.version`.
pub(super) const VERSION: i64 = 1;

/// Makes all tables of [`VERSION`].
pub(super) const CREATE: &str = "
CREATE TABLE ledger (
    id smallint PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL,
    identity bytea NOT NULL CHECK (length(identity) = 16),
    event integer NOT NULL,
    gift_budget_cents bigint NOT NULL DEFAULT 0,  -- what the event was funded with for gifts, by whichever parts
    gift_pot_cents bigint NOT NULL DEFAULT 0 CHECK (gift_pot_cents >= 0),  -- what no part has drawn of it
    losses integer NOT NULL DEFAULT 0,    -- how often it came back older, and somebody accepted that
    halted_ms bigint,                     -- since when it is seen to be older, and no agent writes
    halted_part integer,                  -- whose agent saw it,
    halted_known bigint,                  -- of which commit of its part that knew,
    halted_found bigint                   -- and which one was the last here
) WITH (fillfactor = 20);
CREATE TABLE parts (
    part integer PRIMARY KEY,
    parts integer NOT NULL,
    count bigint NOT NULL,                -- of packets in the seed file
    total_cents bigint NOT NULL,
    records_crc bigint NOT NULL,
    installation bytea,                   -- whose part it is: 16 random bytes of a state directory
    epoch bigint NOT NULL DEFAULT 0,      -- how often an agent took it over
    stamp bigint NOT NULL DEFAULT 0,      -- one more with each commit
    at_ms bigint NOT NULL DEFAULT 0,      -- when the last one was
    seen_ms bigint,                       -- the same, by the server's clock
    answered_ms bigint NOT NULL DEFAULT 0,  -- all that its gateway was asked before is answered
    retired_ms bigint,                    -- since when no agent has it: then installation is null
    lost_stamp bigint NOT NULL DEFAULT 0,  -- commits up to this one that nobody knows here were lost, and somebody accepted that
    is_bound boolean NOT NULL DEFAULT false,
    gift_budget_cents bigint NOT NULL DEFAULT 0,  -- what its books funded the event with
    gifts_cents bigint NOT NULL DEFAULT 0 CHECK (gifts_cents >= 0),  -- drawn from the pot, and not given
    settlement_ms bigint,                 -- when the first settlement file was begun
    closed_ms bigint,
    transfer bigint NOT NULL DEFAULT 0,   -- the last numbers that were given
    outbox bigint NOT NULL DEFAULT 0,
    made bigint NOT NULL DEFAULT 0,
    lane bigint NOT NULL DEFAULT 0,
    opening bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
CREATE TABLE openings (
    part integer NOT NULL,
    opening bigint NOT NULL,              -- 1, 2, 3, ... of the part
    bits bigint NOT NULL UNIQUE,          -- 64 random ones
    begun_ms bigint NOT NULL,
    machine text NOT NULL,
    PRIMARY KEY (part, opening)
);
CREATE TABLE spans (
    part integer NOT NULL,
    begin_ms bigint NOT NULL,
    end_ms bigint NOT NULL
);
CREATE TABLE told (                       -- what agents knew of their parts while the ledger was halted
    loss integer NOT NULL,                -- how many losses were accepted before
    part integer NOT NULL,
    stamp bigint NOT NULL,                -- the last commit
    sponsors integer[] NOT NULL,
    released bigint[] NOT NULL,           -- packets of each of these sponsors
    PRIMARY KEY (loss, part)
);
CREATE TABLE losses (                     -- the last numbers that a part had when a loss was accepted; it went on 2^32 after each
    loss integer NOT NULL,
    part integer NOT NULL,
    at_ms bigint NOT NULL,
    known bigint NOT NULL,                -- the last commit that was told
    stamp bigint NOT NULL,
    transfer bigint NOT NULL,
    outbox bigint NOT NULL,
    made bigint NOT NULL,
    opening bigint NOT NULL,
    PRIMARY KEY (loss, part)
);
CREATE TABLE sponsors (
    part integer NOT NULL,
    sponsor integer NOT NULL,
    packets bigint NOT NULL,
    released bigint NOT NULL,
    PRIMARY KEY (part, sponsor)
) WITH (fillfactor = 50);
CREATE TABLE house (
    part integer NOT NULL,
    kind smallint NOT NULL,               -- 0 bank, 1 void, 2 sponsor, 5 refunded to a sponsor
    id integer NOT NULL,
    balance_cents bigint NOT NULL,        -- of one part alone it may be negative; the sum over parts is not
    PRIMARY KEY (part, kind, id)
) WITH (fillfactor = 50);
CREATE TABLE lanes (
    part integer NOT NULL,
    lane bigint NOT NULL,                 -- 1, 2, 3, ... of the part
    mapping bigint NOT NULL,
    shard integer NOT NULL,
    requests_done bigint NOT NULL,
    grants_released bigint NOT NULL,
    PRIMARY KEY (part, lane),
    UNIQUE (part, mapping, shard)
) WITH (fillfactor = 50);
CREATE TABLE users (
    usr bigint PRIMARY KEY,
    balance_cents bigint NOT NULL CHECK (balance_cents >= 0),
    packets_opened integer NOT NULL,
    sponsors_opened bytea NOT NULL,
    lines bigint NOT NULL                 -- 0 of a user who never got anything, and was locked by a request
) WITH (fillfactor = 85);
CREATE TABLE packets (
    packet bigint PRIMARY KEY,
    part integer NOT NULL,                -- who released, sent or gave it
    origin smallint NOT NULL,             -- 1 seed, 2 sent by a user, 3 given by the event
    sponsor integer,
    sender bigint,
    cents bigint NOT NULL,
    shares integer NOT NULL,
    balance_cents bigint NOT NULL CHECK (balance_cents >= 0),
    shares_left integer NOT NULL CHECK (shares_left >= 0),
    recipients integer NOT NULL,
    state smallint NOT NULL,              -- 1 released, 2 issued, 3 opened, 4 void, 5 open to grab, 6 refunded, 7 lost, 8 paid
    seed_index bigint,
    lane bigint,
    grant_position bigint,
    usr bigint,
    stage integer,
    made_ms bigint NOT NULL,
    issued_ms bigint,
    opened_ms bigint,
    due_ms bigint,
    ends_ms bigint,
    closed_ms bigint
) WITH (fillfactor = 80);
CREATE INDEX packets_released ON packets (part, lane, grant_position) WHERE state = 1;
CREATE INDEX packets_due ON packets (part, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX packets_of_user ON packets (usr) WHERE usr IS NOT NULL;
CREATE INDEX packets_lost ON packets (part, packet) WHERE state = 7;
CREATE INDEX packets_void ON packets (part, packet) WHERE state = 4;
CREATE TABLE sends (
    packet bigint PRIMARY KEY,
    origin smallint NOT NULL,
    sender bigint NOT NULL,               -- 0 when the event gave it
    key bytea NOT NULL CHECK (length(key) = 16),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    UNIQUE (sender, key, origin)
);
CREATE TABLE offers (
    packet bigint NOT NULL,
    usr bigint NOT NULL,
    waits smallint NOT NULL,              -- 1, or 2 for a gift, until the user grabbed, or nothing is left in the packet
    at_ms bigint NOT NULL,
    PRIMARY KEY (packet, usr)
);
CREATE INDEX offers_waiting ON offers (usr, waits, at_ms, packet) WHERE waits > 0;
CREATE TABLE shares (
    packet bigint NOT NULL,
    usr bigint NOT NULL,
    cents bigint NOT NULL,
    at_ms bigint NOT NULL,
    part integer NOT NULL,                -- with transfer: what paid it
    transfer bigint NOT NULL,
    PRIMARY KEY (packet, usr)
);
CREATE TABLE transfers (
    part integer NOT NULL,
    transfer bigint NOT NULL,             -- 1, 2, 3, ... of the part
    at_ms bigint NOT NULL,
    debit_kind smallint NOT NULL,         -- 0 bank, 1 void, 2 sponsor, 3 packet, 4 user, 5 refunded to a sponsor
    debit bigint NOT NULL,
    credit_kind smallint NOT NULL,
    credit bigint NOT NULL,
    cents bigint NOT NULL CHECK (cents > 0),
    PRIMARY KEY (part, transfer)
);
CREATE TABLE outbox (
    part integer NOT NULL,
    seq bigint NOT NULL,                  -- 1, 2, 3, ... of the part, in the order of its commits
    at_ms bigint NOT NULL,
    usr bigint NOT NULL,
    cents bigint NOT NULL,
    kind smallint NOT NULL,               -- 1 open, 2 grab, 3 gift, 4 refund, 5 send, 7 close
    packet bigint NOT NULL,
    transfer bigint NOT NULL,
    number bigint NOT NULL,               -- 1, 2, 3, ... of this user, over all parts
    balance_cents bigint NOT NULL,        -- of this user, after it
    opening bigint NOT NULL,
    PRIMARY KEY (part, seq)
);
CREATE UNIQUE INDEX outbox_of_user ON outbox (usr, number) WHERE kind <> 7;
CREATE TABLE refused (                    -- records of which nothing came, because these tables refused what they would write
    part integer NOT NULL,
    mapping bigint NOT NULL,
    shard integer NOT NULL,
    position bigint NOT NULL,             -- in the ring of the shard's requests
    at_ms bigint NOT NULL,
    record bytea NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (part, mapping, shard, position)
);
";
