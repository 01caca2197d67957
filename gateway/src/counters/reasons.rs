//! Why things are refused, dropped or put off: enums whose variants have the names that the metrics show.

/// An enum, with all of its variants in order and a name for each.
macro_rules! named {
    ($($(#[$about:meta])* enum $name:ident { $($(#[$what:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$what])* $variant,)+
        }

        impl $name {
            pub(super) const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    )+};
}

named! {
    /// Why a drawn red packet was not given.
    enum Missed {
        /// The phase's release rate allows none yet.
        NotDue = "not_due",
        /// The user has won as much as one user may, in all or of this sponsor.
        UserLimit = "user_limit",
        /// No packet in hand.
        NoGrant = "no_grant",
        /// The packets in hand are of another event than the show's.
        OtherEvent = "other_event",
        /// The request ring is full, or the agent has not been told of this shard's start yet.
        RingFull = "ring_full",
        /// The table of winners is full.
        WinnersFull = "winners_full",
        /// The agent has not said yet which ledger this is.
        LedgerUnknown = "ledger_unknown",
        /// The client gives no room for the reply that would tell it.
        Untold = "untold",
    }

    /// Why a datagram got no answer.
    enum Dropped {
        /// Not a `Shake`.
        Malformed = "malformed",
        /// Longer than a `Shake` may be.
        Oversized = "oversized",
        /// Before the connection said Hello.
        BeforeHello = "before_hello",
        /// The client takes no datagrams, so its shakes must come on streams.
        NoReturn = "no_return",
        /// The user was told to slow down a moment ago, and did not.
        ToldBefore = "told_before",
        /// So many answers wait for the client's connection to take them that there is no room for this one.
        NoRoom = "no_room",
    }

    /// Why a session's packet was dropped unread.
    enum Shed {
        /// Its user has used up what one user may shake.
        OverRate = "over_rate",
        /// It waited in the socket for longer than the grade lets pass.
        TooLate = "too_late",
        /// Its user or device is blocked, and sends more than the blocked may.
        Blocked = "blocked",
        /// Its session sends more packets than one may.
        OverBudget = "over_budget",
        /// Its session sent more than one may before Hello, and is closed.
        BeforeHello = "before_hello",
    }

    /// Why a shake was answered "slow down".
    enum SlowDown {
        /// The user shook more often than one user may in this grade.
        UserRate = "user_rate",
        /// More shakes come from the user's address prefix than may in this grade.
        PrefixRate = "prefix_rate",
        /// So many address prefixes shake that no more are remembered.
        PrefixesFull = "prefixes_full",
        /// The grade admits no more shakes in all.
        GradeRate = "grade_rate",
        /// The user or device is blocked.
        Blocked = "blocked",
    }

    /// Why a new connection was refused.
    enum RejectReason {
        /// The gateway is going away.
        Going = "going",
        /// There are as many sessions as there may be.
        SessionsFull = "sessions_full",
        /// There is no memory for it.
        MemoryFull = "memory_full",
        /// There are as many handshakes as there may be in this grade.
        HandshakesFull = "handshakes_full",
        /// Too many of its address prefix.
        PrefixRate = "prefix_rate",
        /// Its address prefix is blocked.
        Blocked = "blocked",
        /// Too many address prefixes to remember.
        PrefixesFull = "prefixes_full",
        /// The grade admits no more new connections.
        GradeRate = "grade_rate",
    }

    /// Why the gateway closed a session, apart from its own end, protocol errors and idle time.
    enum Ended {
        /// The user's token is over.
        TokenOver = "token_over",
        /// The key that signed the user's token was retired.
        KeyRetired = "key_retired",
        /// A newer session of the user took its place, because it was silent for the longest.
        Displaced = "displaced",
        /// Blocked, when a newcomer needed the place.
        Blocked = "blocked",
        /// Without a Hello, when a newcomer needed the place.
        Nameless = "nameless",
    }

    /// Why a request was answered "ask again".
    enum Busy {
        /// The agent is away.
        AgentAway = "agent_away",
        /// The request ring is full, or too many requests are under way.
        RingFull = "ring_full",
        /// The agent did not answer in time.
        Timeout = "timeout",
        /// The agent said busy.
        Agent = "agent",
        /// The grade switches this service off.
        SwitchedOff = "switched_off",
        /// The grade admits no more of this.
        GradeRate = "grade_rate",
        /// The user asks more often than one user may in this grade.
        UserRate = "user_rate",
        /// The user or device is blocked.
        Blocked = "blocked",
        /// The agent has not said yet which ledger this is: nothing can be checked, and nothing is refused.
        LedgerUnknown = "ledger_unknown",
    }
}
