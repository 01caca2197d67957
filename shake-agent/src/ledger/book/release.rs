//! Where packets of the seed stand before they are issued: in a shard's ring, or in none.

use super::Book;
use crate::ledger::accounts::Account;
use crate::ledger::packet::{Granted, NO_LANE, Packet, Release};
use shake_rules::PacketId;

impl Book {
    /// Releases packets: the sponsor's money goes into them. Each is the next one of its sponsor, in the order of the
    /// seed.
    pub fn release<'r>(&mut self, releases: impl IntoIterator<Item = &'r Release>) {
        for release in releases {
            let record = release.record;
            self.view.add_packet(record.packet, Packet::released(release, self.now));
            self.pay(
                Account::Sponsor(record.sponsor),
                Account::Packet(record.packet),
                record.amount,
            );
            let bound = self.standing.bound.as_mut();
            let released = &mut bound.expect("what is released is of the seed").released;
            *released.entry(record.sponsor).or_default() += 1;
            self.released_changed.insert(record.sponsor);
        }
    }

    /// Releases packets once more that stand in no ring: their money lies in them since the first time.
    pub fn release_again<'r>(&mut self, releases: impl IntoIterator<Item = &'r Release>) {
        for release in releases {
            let granted = Granted {
                seed_index: release.seed_index,
                lane: release.lane,
                position: release.grant_position,
            };
            self.grant(release.record.packet, granted);
        }
    }

    /// A shard gave the packet back: it stands in no ring until it is released again. The caller has found it released.
    pub fn take_back(&mut self, id: PacketId, seed_index: u64) {
        let granted = Granted {
            seed_index,
            lane: NO_LANE,
            position: seed_index,
        };
        self.grant(id, granted);
    }

    fn grant(&mut self, id: PacketId, granted: Granted) {
        self.view.change_packet(id).grant(granted);
        self.differences.grants.push((id, granted));
    }
}
