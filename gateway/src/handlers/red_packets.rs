//! `Send`, `Grab`, `PacketView` and `Wallet`: what users do with packets among themselves. Codes and numbers that
//! cannot be right are refused here; the rest is the ledger's to answer.

use super::ask::{NotAsked, ask};
use crate::conditions::Conditions;
use crate::cookies::Seals;
use crate::in_flight::{Ledger, ReturnAddress};
use shake_proto::handoff::record::What;
use shake_proto::reply::Reason;
use shake_proto::request::{Grab, PacketView, Send};
use shake_rules::UserId;
use shake_rules::code::CodeError;
use shake_rules::split::SHARES_MAX;

/// Asks the ledger to fund a packet.
pub fn send(
    conditions: &Conditions,
    ledger: &mut Ledger,
    seals: &Seals,
    user: UserId,
    send: Send,
    to: ReturnAddress,
) -> Result<(), NotAsked> {
    if send.shares == 0 || send.shares > SHARES_MAX || send.total.0 < u64::from(send.shares) {
        return Err(NotAsked::Refused {
            reason: Reason::Amount,
            is_forged: false,
        });
    }
    seals.expect_code(conditions);
    ask(conditions, ledger, user, What::Send(send), to)
}

/// Asks the ledger for a share of a packet.
pub fn grab(
    conditions: &Conditions,
    ledger: &mut Ledger,
    user: UserId,
    grab: Grab,
    to: ReturnAddress,
) -> Result<(), NotAsked> {
    check_code(conditions, ledger, &grab.code)?;
    ask(conditions, ledger, user, What::Grab(grab), to)
}

/// Asks the ledger who got how much.
pub fn packet_view(
    conditions: &Conditions,
    ledger: &mut Ledger,
    user: UserId,
    view: PacketView,
    to: ReturnAddress,
) -> Result<(), NotAsked> {
    check_code(conditions, ledger, &view.code)?;
    ask(conditions, ledger, user, What::PacketView(view), to)
}

/// Asks the ledger for the user's balance.
pub fn wallet(conditions: &Conditions, ledger: &mut Ledger, user: UserId, to: ReturnAddress) -> Result<(), NotAsked> {
    ask(conditions, ledger, user, What::Wallet, to)
}

/// Refuses a code that need not be asked about: another ledger's opens nothing, and is no forgery.
fn check_code(conditions: &Conditions, ledger: &Ledger, code: &[u8]) -> Result<(), NotAsked> {
    let id = ledger.id.ok_or(NotAsked::LEDGER_UNKNOWN)?;
    let found = conditions.secrets.codes.packet(&id, code);
    found.map(drop).map_err(|error| NotAsked::Refused {
        reason: Reason::PacketUnknown,
        is_forged: error == CodeError::Forged,
    })
}
