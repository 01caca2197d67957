//! Named error codes, as they stand in RESET_STREAM, STOP_SENDING and CONNECTION_CLOSE frames.

use enum_map::Enum;
use std::fmt;
use strum::{FromRepr, IntoStaticStr, VariantArray};

/// Why a stream or a connection was ended. The numbers are part of the wire contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, FromRepr, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[repr(u32)]
pub enum Code {
    /// No error: an orderly end.
    Done = 0x100,
    /// The bytes are not one length-delimited message followed by FIN, or a field is out of its bounds.
    Malformed = 0x101,
    /// The message is longer than its limit.
    Oversized = 0x102,
    /// A message of a kind that this server does not know.
    Unknown = 0x103,
    /// A request before the connection said Hello.
    BeforeHello = 0x104,
    /// A kind that the contract has and this server does not serve yet.
    Unsupported = 0x105,
    /// The user token is not authentic.
    TokenForged = 0x106,
    /// The user token has expired. As the code of a closed connection: the token of its last Hello has, up to a minute or two
    /// ago, or the key that signed it is no longer accepted. Connect anew with a new token. Who says Hello with a newer one in
    /// time is not closed.
    TokenExpired = 0x107,
    /// Hello for another user than the connection's.
    UserChanged = 0x108,
    /// No Hello in time.
    HelloTimeout = 0x109,
    /// The server is about to stop; connect anew elsewhere or later.
    GoingAway = 0x10a,
    /// More than there may be of one client. As the code of a stream: more requests under way than one connection may have, or
    /// more Hellos than it may say (four at once, one in five seconds); nothing is wrong with the connection, ask again some
    /// seconds later. As the code of a closed connection: the user has more than four sessions, of which this one was silent for
    /// the longest; or the user or device is blocked, and a newcomer needed the place. An app does not connect anew by itself
    /// then, only when its user acts: or two apps would take each other's place for ever.
    TooMany = 0x10b,
    /// The peer broke the protocol on purpose or by a bug; the connection is closed.
    Abuse = 0x10c,
}

impl Code {
    /// The code of this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::from_repr(number.try_into().ok()?)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Code {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::ErrorCode;

    #[test]
    fn the_contract_lists_the_same_codes() {
        for &code in Code::VARIANTS {
            let listed = ErrorCode::try_from(code.number() as i32).map(|listed| listed.as_str_name().to_lowercase());
            assert_eq!(listed, Ok(format!("error_code_{}", code.name())));
        }
        let listed = (1..0x1000).filter(|number| ErrorCode::try_from(*number).is_ok());
        assert_eq!(listed.count(), Code::VARIANTS.len());
    }

    #[test]
    fn numbers_round_trip() {
        for &code in Code::VARIANTS {
            assert_eq!(Code::from_number(code.number().into()), Some(code));
        }
        assert_eq!(Code::from_number(0), None);
        assert_eq!(Code::from_number(1 << 32 | u64::from(Code::Done.number())), None);
    }
}
