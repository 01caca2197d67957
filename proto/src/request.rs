//! What a phone asks for, checked: a value of these types is within all its bounds.

use crate::code::Code;
use crate::request_kind::RequestKind;
use crate::wire::v1;
use bytes::Bytes;
use shake_rules::code::CODE_BYTES;
use shake_rules::cookie::COOKIE_BYTES_MAX;
use shake_rules::split::SHARES_MAX;
use shake_rules::ticket::TICKET_BYTES;
use shake_rules::token::TOKEN_BYTES;
use shake_rules::{Cents, DeviceId, UserId};

/// A request that the gateway serves.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Who the client is.
    Hello(Hello),
    /// A shake, on a stream because the client has no datagrams.
    Shake(Shake),
    /// Open a packet.
    Claim(Claim),
    /// Fund a packet for others.
    Send(Send),
    /// Take a share of a packet.
    Grab(Grab),
    /// Who got how much of a packet.
    PacketView(PacketView),
    /// The user's balance and last transfers.
    Wallet,
}

impl Request {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Hello(_) => RequestKind::Hello,
            Self::Shake(_) => RequestKind::Shake,
            Self::Claim(_) => RequestKind::Claim,
            Self::Send(_) => RequestKind::Send,
            Self::Grab(_) => RequestKind::Grab,
            Self::PacketView(_) => RequestKind::PacketView,
            Self::Wallet => RequestKind::Wallet,
        }
    }
}

/// Who the client is.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// The user token, unchecked.
    pub token: [u8; TOKEN_BYTES],
    /// The limit cookie, unchecked; may be empty.
    pub cookie: Bytes,
    /// Version of the resource manifest that the client holds.
    pub resource_version: u64,
    /// Whether the client takes notices on server-opened streams.
    pub takes_notices: bool,
    /// The app's installation, if it names one.
    pub device: Option<DeviceId>,
}

/// Bits of `Hello.capabilities`.
pub mod capability {
    /// The client takes notices.
    pub const NOTICES: u64 = 1;
}

/// One shake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shake {
    /// Chosen by the client.
    pub sequence: u32,
}

/// Open a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The ticket, unchecked; no longer than a ticket is.
    pub ticket: Bytes,
    /// The limit cookie, unchecked; may be empty.
    pub cookie: Bytes,
}

/// Fund a packet from the user's balance.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    /// The same key again gets the first answer.
    pub key: [u8; 16],
    /// The whole packet.
    pub total: Cents,
    /// How many shares; 1 to 100.
    pub shares: u16,
    /// Who may grab; empty for anyone with the code. At most [`RECIPIENTS_MAX`].
    pub recipients: Vec<UserId>,
}

/// Take a share of a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Grab {
    /// The code, unchecked; no longer than a code is.
    pub code: Bytes,
}

/// Ask who got how much.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketView {
    /// The code, unchecked; no longer than a code is.
    pub code: Bytes,
}

/// The most users that a packet may name.
pub const RECIPIENTS_MAX: usize = SHARES_MAX as usize;

impl From<v1::Shake> for Shake {
    fn from(shake: v1::Shake) -> Self {
        Self {
            sequence: shake.sequence,
        }
    }
}

impl TryFrom<v1::Request> for Request {
    type Error = Code;

    fn try_from(request: v1::Request) -> Result<Self, Code> {
        use v1::request::Kind;
        match request.kind.ok_or(Code::Unknown)? {
            Kind::Hello(hello) => hello.try_into().map(Self::Hello),
            Kind::Shake(shake) => Ok(Self::Shake(shake.into())),
            Kind::Claim(claim) => claim.try_into().map(Self::Claim),
            Kind::Send(send) => send.try_into().map(Self::Send),
            Kind::Grab(grab) => grab.try_into().map(Self::Grab),
            Kind::PacketView(view) => view.try_into().map(Self::PacketView),
            Kind::Wallet(_) => Ok(Self::Wallet),
        }
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = Code;

    fn try_from(hello: v1::Hello) -> Result<Self, Code> {
        Ok(Self {
            // A token of another length is no token of ours; that is a forged token rather than a broken frame.
            token: hello.token[..].try_into().map_err(|_| Code::TokenForged)?,
            cookie: at_most(hello.cookie, COOKIE_BYTES_MAX)?,
            resource_version: hello.resource_version,
            takes_notices: hello.capabilities & capability::NOTICES != 0,
            device: DeviceId::from_wire(hello.device),
        })
    }
}

impl TryFrom<v1::Claim> for Claim {
    type Error = Code;

    fn try_from(claim: v1::Claim) -> Result<Self, Code> {
        Ok(Self {
            ticket: at_most(claim.ticket, TICKET_BYTES)?,
            cookie: at_most(claim.cookie, COOKIE_BYTES_MAX)?,
        })
    }
}

impl TryFrom<v1::Send> for Send {
    type Error = Code;

    fn try_from(send: v1::Send) -> Result<Self, Code> {
        if send.recipients.len() > RECIPIENTS_MAX {
            return Err(Code::Malformed);
        }
        Ok(Self {
            key: send.idempotency_key[..].try_into().map_err(|_| Code::Malformed)?,
            total: Cents(send.total_cents),
            // A number of shares past the limit is refused as an amount, by name; here it need only fit.
            shares: u16::try_from(send.shares).unwrap_or(u16::MAX),
            recipients: send.recipients.into_iter().map(UserId).collect(),
        })
    }
}

impl TryFrom<v1::Grab> for Grab {
    type Error = Code;

    fn try_from(grab: v1::Grab) -> Result<Self, Code> {
        at_most(grab.code, CODE_BYTES).map(|code| Self { code })
    }
}

impl TryFrom<v1::PacketView> for PacketView {
    type Error = Code;

    fn try_from(view: v1::PacketView) -> Result<Self, Code> {
        at_most(view.code, CODE_BYTES).map(|code| Self { code })
    }
}

fn at_most(bytes: Bytes, max: usize) -> Result<Bytes, Code> {
    if bytes.len() > max {
        Err(Code::Malformed)
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::request::Kind;

    #[test]
    fn each_bad_request_has_its_code() {
        let hello = |token: usize, cookie: usize| {
            Kind::Hello(v1::Hello {
                token: vec![0; token].into(),
                cookie: vec![0; cookie].into(),
                ..Default::default()
            })
        };
        let claim = |ticket: usize| {
            Kind::Claim(v1::Claim {
                ticket: vec![0; ticket].into(),
                ..Default::default()
            })
        };
        let send = |recipients: usize| {
            Kind::Send(v1::Send {
                idempotency_key: vec![0; 16].into(),
                recipients: vec![1; recipients],
                ..Default::default()
            })
        };
        let cases = [
            (None, Some(Code::Unknown)),
            (Some(hello(TOKEN_BYTES, 0)), None),
            (Some(hello(TOKEN_BYTES - 1, 0)), Some(Code::TokenForged)),
            (Some(hello(TOKEN_BYTES, COOKIE_BYTES_MAX + 1)), Some(Code::Malformed)),
            (Some(claim(TICKET_BYTES)), None),
            (Some(claim(TICKET_BYTES + 1)), Some(Code::Malformed)),
            (Some(Kind::Wallet(v1::Wallet {})), None),
            (
                Some(Kind::Grab(v1::Grab {
                    code: vec![0; CODE_BYTES].into(),
                })),
                None,
            ),
            (
                Some(Kind::Grab(v1::Grab {
                    code: vec![0; CODE_BYTES + 1].into(),
                })),
                Some(Code::Malformed),
            ),
            (
                Some(Kind::PacketView(v1::PacketView {
                    code: vec![0; 99].into(),
                })),
                Some(Code::Malformed),
            ),
            (Some(Kind::Send(v1::Send::default())), Some(Code::Malformed)),
            (Some(send(RECIPIENTS_MAX)), None),
            (Some(send(RECIPIENTS_MAX + 1)), Some(Code::Malformed)),
        ];
        for (kind, code) in cases {
            let found = Request::try_from(v1::Request { kind: kind.clone() }).err();
            assert_eq!(found, code, "{kind:?}");
        }
    }
}
