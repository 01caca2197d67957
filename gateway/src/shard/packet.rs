//! `Send`, `Grab`, `PacketView` and `Wallet`: what users do with packets among themselves. Codes and numbers that
//! cannot be right are refused here; the rest is the ledger's to answer.

use super::serving::{Answer, Asker, Serving};
use crate::counters::AskKind;
use shake_proto::handoff::record::What;
use shake_proto::reply::Reason;
use shake_proto::request::{Grab, PacketView, Send};
use shake_rules::UserId;
use shake_rules::split::SHARES_MAX;

impl Serving {
    pub(super) fn send(&mut self, user: UserId, send: Send, asker: Asker) -> Answer {
        if send.shares == 0 || send.shares > SHARES_MAX || send.total.0 < u64::from(send.shares) {
            return self.refused(AskKind::Send, Reason::Amount);
        }
        self.ask(user, What::Send(send), asker)
    }

    pub(super) fn grab(&mut self, user: UserId, grab: Grab, asker: Asker) -> Answer {
        if self.secrets.codes.packet(&grab.code).is_none() {
            return self.refused(AskKind::Grab, Reason::PacketUnknown);
        }
        self.ask(user, What::Grab(grab), asker)
    }

    pub(super) fn packet_view(&mut self, user: UserId, view: PacketView, asker: Asker) -> Answer {
        if self.secrets.codes.packet(&view.code).is_none() {
            return self.refused(AskKind::PacketView, Reason::PacketUnknown);
        }
        self.ask(user, What::PacketView(view), asker)
    }

    pub(super) fn wallet(&mut self, user: UserId, asker: Asker) -> Answer {
        self.ask(user, What::Wallet, asker)
    }
}
