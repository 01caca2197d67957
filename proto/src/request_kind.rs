//! The kinds of request, in one table. What differs from kind to kind, apart from what a request carries and how it is
//! handled, is here: its name, whether the ledger answers it, what switches it off, its "ask again" and its refusal.

use crate::reply::Reason;
use crate::wire::v1::{self, reply::Kind};
use crate::wire::v1::{claim_reply, grab_reply, packet_view_reply, send_reply, wallet_reply};
use enum_map::Enum;
use shake_rules::throttle::Service;
use strum::{IntoStaticStr, VariantArray};

/// How the ledger answers a kind of request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Nothing changes by it.
    Reads,
    /// Money moves.
    Writes,
}

/// Makes the enum, and each of its tables from what the kinds' entries say.
macro_rules! request_kinds {
    ($(
        $(#[$about:meta])*
        $kind:ident {
            $(ledger: $access:ident,)?
            $(service: $service:ident,)?
            $(reply: $reply:ident of $results:ident, $(refusal: $refused:ident,)?)?
        }
    )+) => {
        /// A kind of request: what a phone asks, or the gateway for its user.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
        #[strum(serialize_all = "snake_case")]
        pub enum RequestKind {
            $($(#[$about])* $kind,)+
        }

        impl RequestKind {
            const fn access(self) -> Option<Access> {
                match self {
                    $($(Self::$kind => Some(Access::$access),)?)+
                    _ => None,
                }
            }

            /// The service that a grade switches off, if it may.
            #[must_use]
            pub const fn service(self) -> Option<Service> {
                match self {
                    $($(Self::$kind => Some(Service::$service),)?)+
                    _ => None,
                }
            }

            /// The reply "ask again"; none where nobody waits for a reply, and for a kind that has an answer of its own.
            #[must_use]
            pub fn busy(self, busy: v1::Busy) -> Option<Kind> {
                Some(match self {
                    $($(Self::$kind => Kind::$kind(v1::$reply {
                        result: Some($results::Result::Busy(busy)),
                    }),)?)+
                    _ => return None,
                })
            }

            /// The reply that refuses for good; none for a kind that is never refused so.
            #[must_use]
            pub fn refused(self, reason: Reason) -> Option<Kind> {
                Some(match self {
                    $($($(Self::$kind => Kind::$kind(v1::$reply {
                        result: Some($results::Result::$refused(reason.into())),
                    }),)?)?)+
                    _ => return None,
                })
            }
        }
    };
}

request_kinds! {
    /// Who the client is.
    Hello {}
    /// A shake.
    Shake {}
    /// Open a packet. Never switched off.
    Claim {
        ledger: Writes,
        reply: ClaimReply of claim_reply, refusal: Refused,
    }
    /// Fund a packet for others.
    Send {
        ledger: Writes,
        service: Send,
        reply: SendReply of send_reply, refusal: Refused,
    }
    /// Take a share of a packet.
    Grab {
        ledger: Writes,
        service: Grab,
        reply: GrabReply of grab_reply, refusal: Refused,
    }
    /// Who got how much of a packet.
    PacketView {
        ledger: Reads,
        service: PacketView,
        reply: PacketViewReply of packet_view_reply, refusal: Refused,
    }
    /// The user's balance and last transfers.
    Wallet {
        ledger: Reads,
        service: Wallet,
        reply: WalletReply of wallet_reply,
    }
    /// Which packets wait for the user: the gateway asks it after a Hello, and the answer comes as notices.
    Offers {
        ledger: Reads,
        service: Offers,
    }
    /// What the user has won at all gateways of the ledger: the gateway asks it after the first Hello of a session.
    Winnings {
        ledger: Reads,
        service: Offers,
    }
}

impl RequestKind {
    /// The name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the ledger answers it.
    #[must_use]
    pub const fn is_of_ledger(self) -> bool {
        self.access().is_some()
    }

    /// Whether the ledger is only looked at for it, so that it can be answered while nothing can be written.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        matches!(self.access(), Some(Access::Reads))
    }

    /// The kind of request that a reply answers.
    #[must_use]
    pub const fn of_reply(reply: &Kind) -> Self {
        match reply {
            Kind::Hello(_) => Self::Hello,
            Kind::Shake(_) => Self::Shake,
            Kind::Claim(_) => Self::Claim,
            Kind::Send(_) => Self::Send,
            Kind::Grab(_) => Self::Grab,
            Kind::PacketView(_) => Self::PacketView,
            Kind::Wallet(_) => Self::Wallet,
        }
    }
}

/// How the ledger answered, whatever it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerAnswer {
    /// It did what was asked, or said what it knows.
    Answered {
        /// The answer to the same request before, again.
        is_repeat: bool,
    },
    /// It refused for good.
    Refused(Reason),
    /// It said "ask again".
    Busy,
}

impl LedgerAnswer {
    /// What a reply says; none for a reply that has no result, is none of the ledger's, or refuses for an unknown reason.
    #[must_use]
    pub fn of(reply: &Kind) -> Option<Self> {
        use claim_reply::Result as Claim;
        use grab_reply::Result as Grab;
        use packet_view_reply::Result as View;
        use send_reply::Result as Send;
        use wallet_reply::Result as Wallet;
        let refused = |refused: &v1::Refused| Reason::from_wire(refused.reason).map(Self::Refused);
        let answered = |is_repeat| Some(Self::Answered { is_repeat });
        match reply {
            Kind::Hello(_) | Kind::Shake(_) => None,
            Kind::Claim(reply) => match reply.result.as_ref()? {
                Claim::Opened(opened) => answered(opened.repeat),
                Claim::Refused(reason) => refused(reason),
                Claim::Busy(_) => Some(Self::Busy),
            },
            Kind::Send(reply) => match reply.result.as_ref()? {
                Send::Sent(sent) => answered(sent.repeat),
                Send::Refused(reason) => refused(reason),
                Send::Busy(_) => Some(Self::Busy),
            },
            Kind::Grab(reply) => match reply.result.as_ref()? {
                Grab::Grabbed(grabbed) => answered(grabbed.repeat),
                Grab::Empty(_) => answered(false),
                Grab::Refused(reason) => refused(reason),
                Grab::Busy(_) => Some(Self::Busy),
            },
            Kind::PacketView(reply) => match reply.result.as_ref()? {
                View::State(_) => answered(false),
                View::Refused(reason) => refused(reason),
                View::Busy(_) => Some(Self::Busy),
            },
            Kind::Wallet(reply) => match reply.result.as_ref()? {
                Wallet::State(_) => answered(false),
                Wallet::Busy(_) => Some(Self::Busy),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: v1::Busy = v1::Busy {
        retry_after_ms: 7,
        blocked: false,
    };

    #[test]
    fn replies_are_of_their_kind_and_say_what_they_are() {
        for &kind in RequestKind::VARIANTS {
            let replies = [
                (kind.busy(BUSY), LedgerAnswer::Busy),
                (kind.refused(Reason::Balance), LedgerAnswer::Refused(Reason::Balance)),
            ];
            for (reply, answer) in replies {
                let Some(reply) = reply else { continue };
                assert_eq!(RequestKind::of_reply(&reply), kind);
                assert_eq!(LedgerAnswer::of(&reply), Some(answer), "{kind:?}");
            }
        }
    }

    #[test]
    fn what_can_be_said_of_a_kind() {
        use RequestKind::{Claim, Grab, Hello, Offers, PacketView, Send, Shake, Wallet, Winnings};
        let those = |is: fn(RequestKind) -> bool| RequestKind::VARIANTS.iter().copied().filter(move |kind| is(*kind));
        assert!(those(RequestKind::is_of_ledger).eq([Claim, Send, Grab, PacketView, Wallet, Offers, Winnings]));
        assert!(those(RequestKind::only_reads).eq([PacketView, Wallet, Offers, Winnings]));
        assert!(those(|kind| kind.busy(BUSY).is_none()).eq([Hello, Shake, Offers, Winnings]));
        assert!(those(|kind| kind.refused(Reason::Amount).is_none()).eq([Hello, Shake, Wallet, Offers, Winnings]));
        assert!(those(|kind| kind.service().is_none()).eq([Hello, Shake, Claim]));
        assert_eq!(Grab.service(), Some(Service::Grab));
        assert_eq!(PacketView.name(), "packet_view");
    }

    #[test]
    fn a_reply_without_a_result_says_nothing() {
        assert_eq!(LedgerAnswer::of(&Kind::Wallet(v1::WalletReply { result: None })), None);
        let unknown = claim_reply::Result::Refused(v1::Refused { reason: 0 });
        assert_eq!(
            LedgerAnswer::of(&Kind::Claim(v1::ClaimReply { result: Some(unknown) })),
            None
        );
        assert_eq!(LedgerAnswer::of(&Kind::Hello(v1::HelloReply::default())), None);
    }
}
