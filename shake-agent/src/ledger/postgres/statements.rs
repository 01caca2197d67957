//! Everything that is said to PostgreSQL in a transaction: sets in, one row a key.

use tokio_postgres::{Client, Error, Statement};

macro_rules! statements {
    ($($name:ident: $sql:expr,)*) => {
        /// Prepared on one connection.
        pub(super) struct Statements {
            $(pub(super) $name: Statement,)*
        }

        impl Statements {
            /// Prepares all, which needs their tables.
            pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
                let ($($name,)*) = tokio::try_join!($(client.prepare($sql),)*)?;
                Ok(Self { $($name,)* })
            }
        }
    };
}

/// The server's clock, in milliseconds.
macro_rules! now_ms {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// An agent that was seen so long ago is gone, in milliseconds.
macro_rules! silent_ms {
    () => {
        "600000"
    };
}

/// `SKIPPED` of the module `halt`.
macro_rules! skipped {
    () => {
        "4294967296"
    };
}

/// What is read of a packet.
macro_rules! packet {
    ($rest:expr) => {
        concat!(
            "SELECT packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, recipients, state, usr, stage,
             made_ms, issued_ms, opened_ms, due_ms, ends_ms, closed_ms, seed_index, lane, grant_position FROM packets ",
            $rest
        )
    };
}

statements! {
    // The frame.
    ledger: "SELECT version, identity, event, halted_ms, halted_part, halted_known, halted_found FROM ledger",
    part: "SELECT parts, count, total_cents, records_crc, stamp, at_ms, is_bound, gift_budget_cents, closed_ms, transfer, outbox,
           made, lane, opening, gifts_cents, lost_stamp FROM parts WHERE part = $1",
    owner: concat!("SELECT installation, retired_ms IS NOT NULL, ", now_ms!(), " - seen_ms FROM parts WHERE part = $1"),
    parts: concat!(
        "SELECT part, count, (SELECT coalesce(sum(released), 0)::bigint FROM sponsors WHERE sponsors.part = parts.part),
             (SELECT count(*) FROM packets WHERE state = 1 AND packets.part = parts.part),
             (SELECT count(*) FROM packets WHERE state = 7 AND packets.part = parts.part),
             epoch, stamp, installation, seen_ms, ", now_ms!(), " - seen_ms, retired_ms, closed_ms,
             (SELECT machine FROM openings WHERE openings.part = parts.part ORDER BY opening DESC LIMIT 1)
         FROM parts ORDER BY part"
    ),
    lock_part: concat!(
        "SELECT epoch, stamp, ", now_ms!(), ", (SELECT count(*) FROM spans), halted_ms, halted_part, halted_known, halted_found
         FROM parts CROSS JOIN ledger WHERE part = $1 FOR NO KEY UPDATE OF parts"
    ),
    take_part: concat!(
        "UPDATE parts SET epoch = epoch + 1, installation = $2::bytea, retired_ms = CASE WHEN $2::bytea IS NULL THEN ", now_ms!(), " END
         WHERE part = $1 RETURNING epoch, stamp"
    ),
    raise_stamp: concat!("UPDATE parts SET stamp = stamp + 1, seen_ms = ", now_ms!(), " WHERE part = $1 RETURNING stamp"),
    // A server that came back older.
    halt: concat!(
        "UPDATE ledger SET halted_ms = coalesce(halted_ms, ", now_ms!(), "), halted_part = coalesce(halted_part, $1),
             halted_known = coalesce(halted_known, $2), halted_found = coalesce(halted_found, $3)
         WHERE identity = $4 RETURNING halted_ms, halted_part, halted_known, halted_found"
    ),
    tell: "INSERT INTO told (loss, part, stamp, sponsors, released)
           SELECT losses, $1::integer, $2::bigint, $3::integer[], $4::bigint[] FROM ledger
           WHERE identity = $5 AND halted_ms IS NOT NULL
           ON CONFLICT (loss, part) DO UPDATE SET stamp = excluded.stamp, sponsors = excluded.sponsors, released = excluded.released
           WHERE told.stamp < excluded.stamp",
    told: "SELECT part, stamp, sponsors, told.released FROM told JOIN ledger ON told.loss = ledger.losses ORDER BY part",
    note_loss: concat!(
        "INSERT INTO losses (loss, part, at_ms, known, stamp, transfer, outbox, made, opening)
         SELECT losses, part, ", now_ms!(), ", $2::bigint, stamp, transfer, outbox, made, opening FROM parts CROSS JOIN ledger
         WHERE part = $1 ON CONFLICT DO NOTHING"
    ),
    skip_numbers: concat!(
        "UPDATE parts SET epoch = epoch + ", skipped!(), ", stamp = greatest(stamp, $2) + ", skipped!(), ",
             lost_stamp = greatest(stamp, $2) + ", skipped!(), ", transfer = transfer + ", skipped!(), ",
             outbox = outbox + ", skipped!(), ", made = made + ", skipped!(), ", opening = opening + ", skipped!(), "
         WHERE part = $1"
    ),
    take_lost: concat!(
        "UPDATE parts SET epoch = epoch + 1, installation = CASE WHEN $2 THEN NULL ELSE installation END,
             retired_ms = CASE WHEN $2 THEN coalesce(retired_ms, ", now_ms!(), ") ELSE retired_ms END
         WHERE part = $1 RETURNING epoch, stamp"
    ),
    end_halt: "UPDATE ledger SET losses = losses + 1, halted_ms = NULL, halted_part = NULL, halted_known = NULL, halted_found = NULL
               WHERE halted_ms IS NOT NULL",

    lock_gifts: "SELECT gift_budget_cents, gift_pot_cents FROM ledger FOR NO KEY UPDATE",
    set_gifts: "UPDATE ledger SET gift_budget_cents = $1, gift_pot_cents = $2",
    spans: "SELECT begin_ms, end_ms FROM spans",
    sponsors: "SELECT sponsor, released FROM sponsors WHERE part = $1",
    house: "SELECT kind, id, balance_cents FROM house WHERE part = $1",
    opening: "SELECT opening FROM openings WHERE part = $1 AND bits = $2",

    // What is needed. A user that is not there is made, because only a row can be locked; one that is being made is waited for.
    make_users: "INSERT INTO users (usr, balance_cents, packets_opened, sponsors_opened, lines)
                 SELECT usr, 0, 0, '', 0 FROM unnest($1::bigint[]) AS wanted(usr) ORDER BY usr ON CONFLICT DO NOTHING",
    packets: packet!("WHERE packet = ANY($1::bigint[]) ORDER BY packet FOR NO KEY UPDATE"),
    claimed: packet!("WHERE packet = ANY($1::bigint[]) AND state IN (1, 2, 7) ORDER BY packet FOR NO KEY UPDATE SKIP LOCKED"),
    grabbed: packet!(
        "WHERE packet = ANY($1::bigint[]) AND state = 5 AND EXISTS (
             SELECT FROM unnest($1::bigint[], $2::bigint[]) AS wanted(id, grabber) WHERE wanted.id = packets.packet
             AND (recipients = 0 OR EXISTS (SELECT FROM offers WHERE offers.packet = wanted.id AND offers.usr = wanted.grabber))
             AND NOT EXISTS (SELECT FROM shares WHERE shares.packet = wanted.id AND shares.usr = wanted.grabber))
         ORDER BY packet FOR NO KEY UPDATE SKIP LOCKED"
    ),
    users: "SELECT usr, balance_cents, packets_opened, sponsors_opened, lines FROM users
            WHERE usr = ANY($1::bigint[]) ORDER BY usr FOR NO KEY UPDATE SKIP LOCKED",
    others_packets: packet!("WHERE packet = ANY($1::bigint[])"),
    others_users: "SELECT usr, balance_cents, packets_opened, sponsors_opened, lines FROM users WHERE usr = ANY($1::bigint[])",
    shares: "SELECT packet, usr, cents FROM unnest($1::bigint[], $2::bigint[]) AS wanted(packet, usr)
             JOIN shares USING (packet, usr)",
    offers: "SELECT packet, usr FROM unnest($1::bigint[], $2::bigint[]) AS wanted(packet, usr) JOIN offers USING (packet, usr)",
    sends: "SELECT origin, sender, key, packet, hash
            FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS wanted(origin, sender, key)
            JOIN sends USING (origin, sender, key)",
    lanes: "SELECT mapping, shard, lane, requests_done, grants_released
            FROM unnest($2::bigint[], $3::integer[]) AS wanted(mapping, shard) JOIN lanes USING (mapping, shard) WHERE part = $1",

    // Listings, of one's own part.
    due: packet!("WHERE part = $1 AND due_ms <= $2 ORDER BY due_ms, packet LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED"),
    gone: concat!(
        "SELECT part FROM parts WHERE part <> $1 AND epoch > 0
         AND (retired_ms IS NOT NULL OR ($2 AND seen_ms < ", now_ms!(), " - ", silent_ms!(), "))"
    ),
    due_of: packet!("WHERE part = ANY($1::integer[]) AND due_ms <= $2 ORDER BY due_ms, packet LIMIT $3
                     FOR NO KEY UPDATE SKIP LOCKED"),
    least_answered: concat!(
        "SELECT min(answered_ms) FROM parts WHERE epoch > 0 AND retired_ms IS NULL AND closed_ms IS NULL
         AND NOT ($1 AND seen_ms < ", now_ms!(), " - ", silent_ms!(), ")"
    ),
    held_of_lane: packet!(
        "WHERE state = 1 AND part = $1 AND lane = $2 AND grant_position >= $3 AND grant_position < $4
         ORDER BY grant_position FOR NO KEY UPDATE"
    ),
    held_of_other_mappings: packet!(
        "WHERE state = 1 AND part = $1 AND lane IN (SELECT lane FROM lanes WHERE part = $1 AND mapping <> $2)
         ORDER BY lane, grant_position FOR NO KEY UPDATE"
    ),
    see_held: "SELECT packet FROM packets WHERE state = 1 AND part = $1 ORDER BY packet",
    released: packet!("WHERE state = 1 AND part = $1 ORDER BY lane, grant_position FOR NO KEY UPDATE"),
    lost: packet!("WHERE state = 7 AND part = $1 ORDER BY packet FOR NO KEY UPDATE"),
    void: packet!("WHERE state = 4 AND part = $1 ORDER BY packet FOR NO KEY UPDATE"),
    are_out: "SELECT EXISTS (SELECT FROM packets WHERE due_ms IS NOT NULL)
              OR EXISTS (SELECT FROM packets WHERE state = 1)
              OR EXISTS (SELECT FROM packets WHERE state = 7)",
    first_due: "SELECT min(due_ms) FROM packets WHERE part = $1 AND due_ms IS NOT NULL",
    last_lost: "SELECT max(closed_ms) FROM packets WHERE part = $1 AND state = 7",

    // What is committed, for whoever only looks.
    // One statement each, because two would see two moments.
    see_packet: concat!(
        "SELECT found.*, share.users, share.cents, share.times FROM (",
        packet!("WHERE packet = $1"),
        ") AS found CROSS JOIN
             (SELECT array_agg(usr ORDER BY at_ms, part, transfer) AS users, array_agg(cents ORDER BY at_ms, part, transfer) AS cents,
                  array_agg(at_ms ORDER BY at_ms, part, transfer) AS times FROM shares WHERE packet = $1) AS share"
    ),
    see_wallet: "SELECT balance_cents, movement.cents, movement.packet, movement.at_ms FROM users LEFT JOIN LATERAL
                     (SELECT cents, packet, at_ms, number FROM outbox WHERE outbox.usr = $1 AND kind <> 7
                      ORDER BY number DESC LIMIT $2) AS movement ON true
                 WHERE users.usr = $1 AND lines > 0 ORDER BY movement.number DESC",
    see_offers: "SELECT packet, sender FROM
                     (SELECT packet, waits, at_ms FROM offers WHERE usr = $1 AND waits > 0
                      ORDER BY waits DESC, at_ms DESC, packet DESC LIMIT $3) AS waiting
                 JOIN packets USING (packet) WHERE due_ms > $2 ORDER BY waits DESC, at_ms DESC, packet DESC",

    see_winnings: "SELECT packet, sponsor FROM packets WHERE usr = $1 AND origin = 1 AND (state = 2 OR opened_ms IS NOT NULL)
                   ORDER BY packet LIMIT $2",

    // Differences.
    add_opening: "INSERT INTO openings (part, opening, bits, begun_ms, machine) VALUES ($1, $2, $3, $4, $5)",
    add_span: "INSERT INTO spans (part, begin_ms, end_ms) VALUES ($1, $2, $3)",
    add_sponsors: "INSERT INTO sponsors (part, sponsor, packets, released)
                   SELECT $1, sponsor, packets, 0 FROM unnest($2::integer[], $3::bigint[]) AS new(sponsor, packets)",
    add_packets: "INSERT INTO packets (part, packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, recipients,
                      state, usr, stage, made_ms, issued_ms, opened_ms, due_ms, ends_ms, closed_ms, seed_index, lane, grant_position)
                  SELECT $1, new.* FROM unnest($2::bigint[], $3::smallint[], $4::integer[], $5::bigint[], $6::bigint[],
                      $7::integer[], $8::bigint[], $9::integer[], $10::integer[], $11::smallint[], $12::bigint[], $13::integer[],
                      $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[],
                      $21::bigint[], $22::bigint[]) AS new",
    change_packets: "UPDATE packets SET state = new.state, balance_cents = new.balance_cents, shares_left = new.shares_left,
                         usr = new.usr, stage = new.stage, issued_ms = new.issued_ms, opened_ms = new.opened_ms,
                         due_ms = new.due_ms, ends_ms = new.ends_ms, closed_ms = new.closed_ms
                     FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::integer[], $5::bigint[], $6::integer[],
                         $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
                         AS new(packet, state, balance_cents, shares_left, usr, stage, issued_ms, opened_ms, due_ms, ends_ms,
                             closed_ms)
                     WHERE packets.packet = new.packet",
    change_grants: "UPDATE packets SET lane = new.lane, grant_position = new.grant_position
                    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS new(packet, lane, grant_position)
                    WHERE packets.packet = new.packet",
    change_users: "UPDATE users SET balance_cents = new.balance_cents, packets_opened = new.packets_opened,
                       sponsors_opened = new.sponsors_opened, lines = new.lines
                   FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bytea[], $5::bigint[])
                       AS new(usr, balance_cents, packets_opened, sponsors_opened, lines)
                   WHERE users.usr = new.usr",
    add_transfers: "INSERT INTO transfers (part, transfer, at_ms, debit_kind, debit, credit_kind, credit, cents)
                    SELECT $1, new.* FROM unnest($2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::smallint[],
                        $7::bigint[], $8::bigint[]) AS new",
    add_lines: "INSERT INTO outbox (part, seq, at_ms, usr, cents, kind, packet, transfer, number, balance_cents, opening)
                SELECT $1, new.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[], $7::bigint[],
                    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]) AS new",
    add_shares: "INSERT INTO shares (part, packet, usr, cents, at_ms, transfer)
                 SELECT $1, new.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS new",
    add_sends: "INSERT INTO sends (packet, origin, sender, key, hash)
                SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[])",
    add_offers: "INSERT INTO offers (packet, usr, waits, at_ms)
                 SELECT packet, usr, waits, $4 FROM unnest($1::bigint[], $2::bigint[], $3::smallint[]) AS new(packet, usr, waits)",
    settle_offers: "UPDATE offers SET waits = 0 FROM unnest($1::bigint[], $2::bigint[]) AS done(packet, usr)
                    WHERE offers.packet = done.packet AND (done.usr IS NULL OR offers.usr = done.usr) AND waits > 0",
    add_lanes: "INSERT INTO lanes (part, lane, mapping, shard, requests_done, grants_released)
                SELECT $1, new.* FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[]) AS new",
    change_lanes: "UPDATE lanes SET requests_done = new.requests_done, grants_released = new.grants_released
                   FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS new(lane, requests_done, grants_released)
                   WHERE lanes.part = $1 AND lanes.lane = new.lane",
    add_refused: "INSERT INTO refused (part, mapping, shard, position, at_ms, record, reason)
                  VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    set_house: "INSERT INTO house (part, kind, id, balance_cents)
                SELECT $1, new.* FROM unnest($2::smallint[], $3::integer[], $4::bigint[]) AS new
                ON CONFLICT (part, kind, id) DO UPDATE SET balance_cents = excluded.balance_cents",
    set_released: "UPDATE sponsors SET released = new.released FROM unnest($2::integer[], $3::bigint[]) AS new(sponsor, released)
                   WHERE sponsors.part = $1 AND sponsors.sponsor = new.sponsor",
    add_closing: "INSERT INTO outbox (part, seq, at_ms, usr, cents, kind, packet, transfer, number, balance_cents, opening)
                  SELECT $1, $2, $3, 0, 0, 7, 0, 0, count(*), coalesce(sum(balance_cents), 0)::bigint, $4 FROM users
                  WHERE balance_cents > 0",
    set_part: concat!("UPDATE parts SET stamp = $2, at_ms = $3, transfer = $4, outbox = $5, made = $6, lane = $7, opening = $8,
                   is_bound = is_bound OR $9, gift_budget_cents = coalesce($10, gift_budget_cents),
                   settlement_ms = coalesce(settlement_ms, $11), closed_ms = coalesce(closed_ms, $12),
                   gifts_cents = coalesce($13, gifts_cents),
                   answered_ms = greatest(answered_ms, $14), seen_ms = ", now_ms!(), "
               WHERE part = $1"),
}
