//! The identifiers and units that every program shares. Newtypes, so that a user is never taken for a packet.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// One show. Tickets and cookies of another event are refused.
    EventId(u32)
}
id! {
    /// A user, as the token names them.
    UserId(u64)
}
id! {
    /// An installation of the app, as it names itself. Never zero.
    DeviceId(u64)
}
id! {
    /// A money packet, unique over all seed files of an event.
    PacketId(u64)
}
id! {
    /// Who funds a packet. Zero is the event itself.
    SponsorId(u16)
}
id! {
    /// Whole cents. Money is never a float.
    Cents(u64)
}
id! {
    /// Milliseconds since 1970-01-01 UTC.
    UnixMillis(u64)
}

/// One ledger: 16 random bytes, made when its seed is bound to it. It survives a restore from a backup, because what was
/// handed out (tickets, codes, lines for payment) names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerId(pub [u8; LedgerId::BYTES]);

impl LedgerId {
    /// Bytes of an identity.
    pub const BYTES: usize = 16;
    /// Bytes of it that stand in the clear in tickets and codes.
    pub const CLEAR_BYTES: usize = 4;

    /// What stands in the clear: it tells another ledger's from a forgery. It proves nothing.
    #[must_use]
    pub fn in_the_clear(&self) -> [u8; Self::CLEAR_BYTES] {
        let [a, b, c, d, ..] = self.0;
        [a, b, c, d]
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_written = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 32 && is_written)
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()
            .map(|number| Self(number.to_be_bytes()))
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LedgerId({self})")
    }
}

/// An id of 64 bits as text with a letter before it: programs that take 20 digits for a number change the last ones.
macro_rules! lettered {
    ($name:ident, $letter:literal) => {
        impl $name {
            #[doc = concat!("As text for files: `", $letter, "10023`.")]
            #[must_use]
            pub fn lettered(self) -> String {
                format!(concat!($letter, "{}"), self.0)
            }

            /// Reads a number, with its letter or without.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                text.strip_prefix($letter).unwrap_or(text).parse().ok().map(Self)
            }
        }

        /// As [`Self::lettered`].
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!(concat!($letter, "{}"), self.0))
            }
        }
    };
}

lettered!(UserId, "u");
lettered!(PacketId, "p");

impl DeviceId {
    /// The device of this number in a message, where 0 stands for none.
    #[must_use]
    pub fn from_wire(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// The number in a message.
    #[must_use]
    pub fn to_wire(device: Option<Self>) -> u64 {
        device.map_or(0, |device| device.0)
    }
}

impl UnixMillis {
    /// This time plus `ms`, or the end of time.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; zero when `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_letter_in_files_and_are_read_with_it_or_without() {
        assert_eq!(UserId(u64::MAX).lettered(), "u18446744073709551615");
        assert_eq!(UserId::parse("u18446744073709551615"), Some(UserId(u64::MAX)));
        assert_eq!(PacketId::parse("7"), Some(PacketId(7)));
        for other in ["", "u", "p7", "u-7", "u18446744073709551616"] {
            assert_eq!(UserId::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_ledger_is_named_in_hexadecimal() {
        let mut bytes = [0; 16];
        (bytes[0], bytes[15]) = (0x0a, 0xf0);
        let name = LedgerId(bytes).to_string();
        assert_eq!(name, "0a0000000000000000000000000000f0");
        assert_eq!(LedgerId::parse(&name), Some(LedgerId(bytes)));
        for other in ["", "0a", &name[1..], &name.to_uppercase(), &format!("+{}", &name[1..])] {
            assert_eq!(LedgerId::parse(other), None, "{other:?}");
        }
    }
}
