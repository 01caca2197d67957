//! `Send`, `Grab`, `PacketView` and `Wallet`: what users do with packets among themselves. Codes and numbers that
//! cannot be right are refused here; the rest is the ledger's to answer.

use super::serving::{Answer, Serving};
use crate::in_flight::ReturnAddress;
use shake_proto::handoff::record::What;
use shake_proto::reply::Reason;
use shake_proto::request::{Grab, PacketView, Send};
use shake_proto::request_kind::RequestKind;
use shake_rules::UserId;
use shake_rules::code::CodeError;
use shake_rules::split::SHARES_MAX;

impl Serving {
    pub(super) fn send(&mut self, user: UserId, send: Send, to: ReturnAddress) -> Answer {
        if send.shares == 0 || send.shares > SHARES_MAX || send.total.0 < u64::from(send.shares) {
            return self.refused(RequestKind::Send, Reason::Amount);
        }
        self.note_code();
        self.ask(user, What::Send(send), to)
    }

    pub(super) fn grab(&mut self, user: UserId, grab: Grab, to: ReturnAddress) -> Answer {
        match self.refuse_code(RequestKind::Grab, &grab.code) {
            Some(refusal) => refusal,
            None => self.ask(user, What::Grab(grab), to),
        }
    }

    pub(super) fn packet_view(&mut self, user: UserId, view: PacketView, to: ReturnAddress) -> Answer {
        match self.refuse_code(RequestKind::PacketView, &view.code) {
            Some(refusal) => refusal,
            None => self.ask(user, What::PacketView(view), to),
        }
    }

    /// The answer to a code that need not be asked about: another ledger's opens nothing, and is no forgery.
    fn refuse_code(&mut self, kind: RequestKind, code: &[u8]) -> Option<Answer> {
        let Some(ledger) = self.ledger.id else {
            return Some(self.ledger_unknown(kind));
        };
        let error = self.secrets.codes.packet(&ledger, code).err()?;
        self.is_forged |= error == CodeError::Forged;
        Some(self.refused(kind, Reason::PacketUnknown))
    }

    pub(super) fn wallet(&mut self, user: UserId, to: ReturnAddress) -> Answer {
        self.ask(user, What::Wallet, to)
    }
}
