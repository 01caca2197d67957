//! `Shake`: draws the outcome, and on a win issues a packet; or says "slow down".

use crate::conditions::Conditions;
use crate::cookies::Seals;
use crate::counters::Missed;
use crate::in_flight::Ledger;
use crate::in_hand::InHand;
use crate::winners::{Refusal, Winners};
use rand::Rng;
use rate_limit::Shared;
use shake_proto::handoff::record::Issued;
use shake_proto::reply::outcome_to_wire;
use shake_proto::request::Shake;
use shake_proto::wire::v1;
use shake_rules::grade::Grade;
use shake_rules::outcome::Outcome;
use shake_rules::ticket::Ticket;
use shake_rules::winnings::Won;
use shake_rules::{SponsorId, UserId};

/// What came of a shake that was served.
pub struct Shaken {
    pub reply: v1::ShakeReply,
    pub outcome: Outcome,
    /// Why a packet that was drawn was not given.
    pub missed: Option<Missed>,
}

/// What a shake may win, and how.
pub struct Prizes<'a> {
    pub winners: &'a Winners,
    /// The release rate of the phase.
    pub release: &'a mut Shared,
    pub ledger: &'a mut Ledger,
    pub in_hand: &'a InHand,
    pub seals: &'a mut Seals,
}

/// Draws the outcome of a shake. Who cannot be told of a win wins nothing. `pace_ms` is what the user is told.
pub fn shake(
    conditions: &Conditions,
    prizes: &mut Prizes<'_>,
    user: UserId,
    shake: Shake,
    pace_ms: u32,
    can_be_told: bool,
) -> Shaken {
    let drawn = match conditions.phase {
        Some(index) => draw(conditions, prizes, user, index, can_be_told),
        None => Drawn::plain(Outcome::RestPage, 0),
    };
    Shaken {
        reply: v1::ShakeReply {
            sequence: shake.sequence,
            outcome: outcome_to_wire(drawn.outcome) as i32,
            resource_id: drawn.resource,
            pace_ms,
            config_version: conditions.live.version,
            red_packet: drawn.packet,
            slow_down: None,
        },
        outcome: drawn.outcome,
        missed: drawn.missed,
    }
}

/// The reply to a shake that is not served.
pub fn slow_down(
    conditions: &Conditions,
    grade: Grade,
    shake: Shake,
    retry_after_ms: u32,
    blocked: bool,
) -> v1::ShakeReply {
    v1::ShakeReply {
        sequence: shake.sequence,
        outcome: v1::Outcome::SlowDown as i32,
        resource_id: 0,
        pace_ms: retry_after_ms.max(conditions.show_pace_ms()),
        config_version: conditions.live.version,
        red_packet: None,
        slow_down: Some(v1::SlowDown {
            grade: grade.number().into(),
            retry_after_ms,
            blocked,
        }),
    }
}

struct Drawn {
    outcome: Outcome,
    resource: u32,
    packet: Option<v1::RedPacket>,
    missed: Option<Missed>,
}

impl Drawn {
    fn plain(outcome: Outcome, resource: u32) -> Self {
        Self {
            outcome,
            resource,
            packet: None,
            missed: None,
        }
    }
}

fn draw(conditions: &Conditions, prizes: &mut Prizes<'_>, user: UserId, index: usize, can_be_told: bool) -> Drawn {
    let random = prizes.seals.rng.next_u64();
    let show = &conditions.live.show;
    let phase = &show.phases[index];
    let outcome = phase.weights.draw(random);
    if outcome != Outcome::RedPacket {
        return Drawn::plain(outcome, phase.resources[outcome]);
    }
    let won = if can_be_told {
        win(conditions, prizes, user, index)
    } else {
        Err(Missed::Untold)
    };
    match won {
        Ok((sponsor, packet)) => Drawn {
            outcome,
            resource: show.sponsors.get(&sponsor).map_or(0, |sponsor| sponsor.resource),
            packet: Some(packet),
            missed: None,
        },
        Err(missed) => Drawn {
            missed: Some(missed),
            ..Drawn::plain(phase.without_packet, phase.resources[phase.without_packet])
        },
    }
}

/// Gives the next packet to `user`, in this order: check that the issue can be recorded, count the win into the
/// user's limits, move the grant ring's cursor, record the issue, make the ticket. A failure or a crash between
/// two steps costs a packet at worst, and never gives one twice.
fn win(
    conditions: &Conditions,
    prizes: &mut Prizes<'_>,
    user: UserId,
    phase: usize,
) -> Result<(SponsorId, v1::RedPacket), Missed> {
    let Prizes {
        winners,
        release,
        ledger,
        in_hand,
        seals,
    } = prizes;
    let now_ns = conditions.now.elapsed_ns;
    if release.wait_ns(now_ns) > 0 {
        return Err(Missed::NotDue);
    }
    let show = &conditions.live.show;
    if winners.is_at_limit(user, show.limits) {
        return Err(Missed::UserLimit);
    }
    let ledger_id = ledger.id.ok_or(Missed::LedgerUnknown)?;
    if ledger.link.is_part_lost() {
        return Err(Missed::PartLost);
    }
    if !ledger.link.can_issue() {
        return Err(Missed::RingFull);
    }
    let grant = in_hand.next(conditions, &mut ledger.link).ok_or(Missed::NoGrant)?;
    if grant.event != show.event {
        return Err(Missed::OtherEvent);
    }
    let won = Won {
        packet: grant.packet,
        sponsor: grant.sponsor,
    };
    let winnings = winners
        .reserve(user, won, show.limits)
        .map_err(|refusal| match refusal {
            Refusal::Limit => Missed::UserLimit,
            Refusal::Full => Missed::WinnersFull,
        })?;
    let stage = conditions.stage(phase);
    let issued_at = conditions.unix;
    let expires_at = issued_at.plus_ms(show.ticket_lifetime_ms);
    let issued = Issued {
        packet: grant.packet,
        user,
        stage,
        at: issued_at,
        ends: Some(expires_at),
    };
    ledger.link.issue(&issued).map_err(|_| Missed::RingFull)?;
    let released = release.take(now_ns);
    debug_assert!(released.is_ok(), "it was due, and it is the same moment");
    let ticket = Ticket {
        event: grant.event,
        packet: grant.packet,
        user,
        sponsor: grant.sponsor,
        stage,
        issued_at,
        expires_at,
    };
    let packet = v1::RedPacket {
        ticket: seals.ticket(conditions, &ledger_id, &ticket),
        sponsor_id: grant.sponsor.0.into(),
        cookie: seals.cookie(conditions, user, &winnings),
    };
    Ok((grant.sponsor, packet))
}
