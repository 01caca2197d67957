//! Sessions that must go: whose turn came in a round, who was displaced by a newer session of the same user, and who makes room.

use crate::counters::Ended;
use crate::credentials::Credential;
use crate::gateway::Gateway;
use crate::phone::Phones;
use quic_shard::Close;
use quic_shard::session_id::SessionId;
use shake_proto::code::Code;

/// How a connection is closed with a code.
pub fn close_with(code: Code) -> Close {
    Close {
        code: code.number(),
        reason: code.name(),
    }
}

/// Goes on with the round, and closes those that were displaced meanwhile.
pub fn go_round(app: &mut Gateway, phones: &mut Phones<'_>) {
    let now_ns = app.conditions.now.elapsed_ns;
    for index in app.rounds.due(app.credentials.capacity(), now_ns) {
        if let Some(why) = must_go(app, phones, index) {
            end(app, phones, index, why);
        }
    }
    let mut displaced = std::mem::take(&mut app.displaced);
    app.shared.presence.take_displaced(app.shard, &mut displaced);
    for session in displaced.drain(..) {
        let index = session.index as usize;
        if app.credentials.of(index, session.serial).is_some() {
            end(app, phones, index, Ended::Displaced);
        }
    }
    app.displaced = displaced;
}

fn must_go(app: &Gateway, phones: &Phones<'_>, index: usize) -> Option<Ended> {
    let (user, session) = app.credentials.session(index)?;
    let credential = app.credentials.get(index)?;
    let conditions = &app.conditions;
    let (unix, now_ns) = (conditions.unix, conditions.now.elapsed_ns);
    let why = app.rounds.ended(credential, &conditions.secrets.tokens, unix, now_ns);
    match why {
        // Who has just won opens the packet first; the next round comes soon enough.
        Some(_) if has_won(app, phones, index) => None,
        Some(why) => Some(why),
        None => (!app.shared.presence.is_present(user, session)).then_some(Ended::Displaced),
    }
}

fn has_won(app: &Gateway, phones: &Phones<'_>, index: usize) -> bool {
    phones
        .hot(index)
        .is_some_and(|limits| limits.has_won(&app.limits.present))
}

/// Closes a session, saying why. False when it was closed already.
fn end(app: &Gateway, phones: &mut Phones<'_>, index: usize, why: Ended) -> bool {
    let Some(serial) = app.credentials.get(index).map(Credential::serial) else {
        return false;
    };
    let id = SessionId {
        index: index as u32,
        serial,
    };
    let Some(mut cx) = phones.get(id).filter(|cx| !cx.is_closed()) else {
        return false;
    };
    cx.close(close_with(match why {
        Ended::TokenOver | Ended::KeyRetired => Code::TokenExpired,
        Ended::Displaced | Ended::Blocked => Code::TooMany,
        Ended::Nameless => Code::HelloTimeout,
    }));
    app.counters.ended[why].inc();
    true
}

/// Closes somebody who must go first. False when there is nobody, as far as it was looked.
pub fn make_place(app: &mut Gateway, phones: &mut Phones<'_>) -> bool {
    let now = app.conditions.now.instant;
    if !app.room.may_make(now, app.sessions.max) {
        return false;
    }
    if app.blocklist.are_some() {
        for index in app.room.looks(app.credentials.capacity(), now) {
            if is_blocked(app, phones, index) && end(app, phones, index, Ended::Blocked) {
                app.room.made(now);
                app.room.go_on_from(index);
                return true;
            }
        }
    }
    while let Some(index) = app.room.take_nameless(now, &app.credentials) {
        if end(app, phones, index, Ended::Nameless) {
            app.room.made(now);
            return true;
        }
    }
    false
}

/// Whether a session's user or device is blocked. Not who has just won: that packet is the user's, and is opened here.
fn is_blocked(app: &Gateway, phones: &mut Phones<'_>, index: usize) -> bool {
    let Some(user) = app.credentials.get(index).and_then(Credential::user) else {
        return false;
    };
    if has_won(app, phones, index) {
        return false;
    }
    // To ask a session for its device is to wake it.
    let phone = if app.blocklist.are_of_devices() {
        phones.at(index)
    } else {
        None
    };
    let device = phone.and_then(|phone| phone.behaviour.device());
    app.blocked_ms(user, device).is_some()
}
