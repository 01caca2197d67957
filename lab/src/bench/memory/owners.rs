//! Whose the live heap is: each allocating stack has an owner, found by the innermost function that one is known by.

use super::profile::{Held, Profile};
use crate::report::Table;
use std::collections::BTreeMap;

/// Owner, and a part of the names of functions that allocate for it: most name the type that they make room for. The
/// innermost function that matches any line decides; of several lines that match it, the first.
const OWNERS: [(&str, &str); 32] = [
    ("session, packed", "quic_shard::memory::packing_table::Slot>"),
    (
        "sessions not packed, their connections inline",
        "quic_shard::session::Session<",
    ),
    ("sent packets", "connection::spaces::SentPacket"),
    ("reassembly of crypto and streams", "connection::assembler::Buffer"),
    ("crypto frames to send", "quinn_proto::frame::Crypto"),
    ("events for the gateway", "quinn_proto::connection::Event"),
    ("events for the endpoint", "EndpointEventInner"),
    ("connection ids, in the connection", "shared::IssuedCid"),
    ("connection ids, in the connection", "(u64, ())"),
    (
        "connection ids, in the endpoint",
        "(u64, quinn_proto::shared::ConnectionId)",
    ),
    ("connection ids, in the endpoint", "ConnectionHandle"),
    ("connection ids, in the endpoint", "RouteDatagramTo"),
    ("table of connections (endpoint)", "ConnectionMeta"),
    ("streams", "quinn_proto::connection::streams"),
    ("streams", "quinn_proto::frame::StopSending"),
    ("datagrams", "connection::datagrams"),
    ("secrets of the next key update", "rustls::quic::Secrets"),
    ("secrets of the next key update", "tls::lean"),
    ("packet and header keys", "PacketKey"),
    ("packet and header keys", "HeaderProtectionKey"),
    ("packet and header keys", "CompactHeaderKey"),
    ("congestion controller", "congestion::"),
    ("timer wheel", "quic_shard::wheel::"),
    ("online users", "gateway::presence::"),
    ("online users", "shake_rules::UserId"),
    ("partial requests", "bytes::bytes_mut::BytesMut)"),
    ("tls: rustls", "rustls::"),
    ("connection, other", "quinn_proto::connection"),
    ("endpoint, other", "quinn_proto::endpoint"),
    ("batches of packets", "quic_shard::udp::"),
    ("replies", "gateway::deliveries::"),
    ("replies", "shake_proto::"),
];
/// Generic code that growing vectors of types of one size share is named for any one of the types.
const SHARED_CODE: [&str; 2] = ["grow_one<", "finish_grow<"];
/// Stacks shown, and characters of each.
const STACKS: (usize, usize) = (30, 120);

/// The functions of a stack that tell something, innermost first.
fn telling(stack: &str) -> impl Iterator<Item = &str> {
    stack
        .split(';')
        .filter(|function| !SHARED_CODE.iter().any(|shared| function.starts_with(shared)))
}

fn owner(stack: &str) -> &'static str {
    let find = |function: &str| OWNERS.iter().find(|(_, part)| function.contains(part));
    telling(stack).find_map(find).map_or("the rest", |(owner, _)| owner)
}

/// What each owner holds; the most first.
fn by_owner(profile: &Profile) -> Vec<(&'static str, Held)> {
    let mut owners: BTreeMap<&'static str, Held> = BTreeMap::new();
    for (held, stack) in &profile.sites {
        owners.entry(owner(stack)).or_default().add(*held, 1);
    }
    let mut owners: Vec<_> = owners.into_iter().collect();
    owners.sort_by_key(|(_, held)| -held.reserved);
    owners
}

/// The owners with the allocator's own share, the sizes of blocks, and the stacks that hold most.
pub fn tables(profile: &Profile, sessions: u32, resident_bytes: i64) -> [Table; 3] {
    let per_session = |number: i64| number as f64 / f64::from(sessions);
    let head = |first: &str| [first, "blocks", "requested bytes", "reserved bytes"].map(str::to_owned);
    let cells = |name: String, held: Held| {
        let bytes = [held.requested, held.reserved].map(|bytes| format!("{:.0}", per_session(bytes)));
        [name, format!("{:.2}", per_session(held.count))]
            .into_iter()
            .chain(bytes)
    };
    let mut owners = Table::new("Live heap by owner, of a sample; the sum is exact", head("owner"));
    let shown = |held: &Held| per_session(held.requested).abs() >= 1.0;
    for (name, held) in by_owner(profile).into_iter().filter(|(_, held)| shown(held)) {
        owners.row(cells(name.to_owned(), held));
    }
    let total = profile.total();
    owners.row(cells("all".to_owned(), total));
    let slack = format!("{:.0}", per_session(resident_bytes - total.reserved));
    let nobody = [
        "resident, but no live block's".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
        slack,
    ];
    owners.row(nobody);
    let mut sizes = Table::new("Blocks by size", head("about bytes"));
    for (bytes, held) in by_size(profile) {
        if per_session(held.reserved) >= 8.0 {
            sizes.row(cells(bytes.to_string(), held));
        }
    }
    let mut stacks = Table::new("Stacks that hold most", head("innermost function"));
    for (held, stack) in by_stack(profile).into_iter().take(STACKS.0) {
        stacks.row(cells(format!("`{stack}`"), held));
    }
    [owners, sizes, stacks]
}

/// The blocks by about their size.
fn by_size(profile: &Profile) -> BTreeMap<i64, Held> {
    let mut sizes: BTreeMap<i64, Held> = BTreeMap::new();
    for held in &profile.classes {
        // A range of sizes is known by its mean; eighths of a power of two, as the gateway counts them.
        let mean = (held.reserved / held.count).max(8);
        let step = 1 << (mean.ilog2().saturating_sub(3));
        sizes.entry(mean / step * step).or_default().add(*held, 1);
    }
    sizes
}

/// The innermost function of this workspace or of its transport, with what it holds; the most first.
fn by_stack(profile: &Profile) -> Vec<(Held, String)> {
    let mut stacks: BTreeMap<String, Held> = BTreeMap::new();
    for (held, stack) in &profile.sites {
        let is_ours = |name: &&str| {
            ["gateway::", "quic_shard::", "quinn_proto::", "rustls::"]
                .iter()
                .any(|part| name.contains(part))
        };
        let name = telling(stack)
            .filter(|name| !name.contains("heap_profile::"))
            .find(is_ours)
            .unwrap_or("?");
        let name: String = name.chars().take(STACKS.1).collect();
        stacks.entry(name).or_default().add(*held, 1);
    }
    let mut stacks: Vec<_> = stacks.into_iter().map(|(stack, held)| (held, stack)).collect();
    stacks.sort_by_key(|(held, _)| -held.requested);
    stacks
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_known_function_decides() {
        for (stack, expected) in [
            (
                "grow_one<quinn_proto::connection::Event>;new_leaf<quinn_proto::connection::spaces::SentPacket>;gateway::deliveries::reply;",
                "sent packets",
            ),
            (
                "alloc::alloc;gateway::deliveries::reply;quic_shard::shard::Shard::turn;",
                "replies",
            ),
            ("alloc::alloc;main;", "the rest"),
        ] {
            assert_eq!(owner(stack), expected);
        }
    }

    #[test]
    fn a_table_has_all_owners_and_what_nobody_owns() {
        let text = "class 200 2000 3200\nsite 200 2000 3200 a;quic_shard::wheel::Wheel::arm;\n";
        let [owners, sizes, stacks] = tables(&Profile::parse(text).unwrap(), 100, 5_000).map(|table| table.to_string());
        for (table, part) in [
            (&owners, "| timer wheel "),
            (&owners, "resident, but no live block's"),
            (&sizes, "|          16 |   2.00 |              20 |             32 |"),
            (&stacks, "`quic_shard::wheel::Wheel::arm`"),
        ] {
            assert!(table.contains(part), "{part} in {table}");
        }
    }
}
