//! What a phone asks for, checked: a value of these types is within all its bounds.

use crate::code::Code;
use crate::wire::v1;
use bytes::Bytes;
use shake_rules::cookie::COOKIE_BYTES_MAX;
use shake_rules::ticket::TICKET_BYTES;
use shake_rules::token::TOKEN_BYTES;

/// A request that the gateway serves.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Who the client is.
    Hello(Hello),
    /// A shake, on a stream because the client has no datagrams.
    Shake(Shake),
    /// Open a packet.
    Claim(Claim),
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
            Kind::Send(_) | Kind::Grab(_) | Kind::PacketView(_) | Kind::Wallet(_) => Err(Code::Unsupported),
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
        let cases = [
            (None, Some(Code::Unknown)),
            (Some(hello(TOKEN_BYTES, 0)), None),
            (Some(hello(TOKEN_BYTES - 1, 0)), Some(Code::TokenForged)),
            (Some(hello(TOKEN_BYTES, COOKIE_BYTES_MAX + 1)), Some(Code::Malformed)),
            (Some(claim(TICKET_BYTES)), None),
            (Some(claim(TICKET_BYTES + 1)), Some(Code::Malformed)),
            (Some(Kind::Wallet(v1::Wallet {})), Some(Code::Unsupported)),
            (Some(Kind::Grab(v1::Grab::default())), Some(Code::Unsupported)),
        ];
        for (kind, code) in cases {
            let found = Request::try_from(v1::Request { kind: kind.clone() }).err();
            assert_eq!(found, code, "{kind:?}");
        }
    }
}
