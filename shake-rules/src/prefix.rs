//! Address prefixes: the addresses that are taken for one neighbourhood. A /24 of IPv4 or a /56 of IPv6 is about what one
//! household, office or carrier's NAT has.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Above the 56 bits of an IPv6 prefix: it is one of IPv4.
const IS_V4: u64 = 1 << 56;

/// The prefix of an address.
///
/// ```text
/// bit 63        56 55                                          0
///     │ 0        0 │ the first 56 bits of an IPv6 address      │
///     │ 0        1 │ 0 … 0 │ the first 24 bits of an IPv4 one  │
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u64);

impl Prefix {
    /// The prefix of an address; an IPv4 address in an IPv6 one counts as what it is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(IS_V4 | u64::from(v4.to_bits() >> 8)),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 72) as u64),
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The prefix of this number, if it is one's.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let is_v4 = number & !0xff_ffff == IS_V4;
        (is_v4 || number < IS_V4).then_some(Self(number))
    }

    /// Its first address.
    #[must_use]
    pub fn first_address(self) -> IpAddr {
        if self.0 & IS_V4 != 0 {
            Ipv4Addr::from_bits((self.0 as u32) << 8).into()
        } else {
            Ipv6Addr::from_bits(u128::from(self.0) << 72).into()
        }
    }

    /// Reads what [`fmt::Display`] writes, or any address in it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let prefix = Self::of(address.parse().ok()?);
        (bits.is_empty() || bits == prefix.bits()).then_some(prefix)
    }

    fn bits(self) -> &'static str {
        if self.0 & IS_V4 != 0 { "24" } else { "56" }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first_address(), self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_share_one_and_others_do_not() {
        for (a, b, same) in [
            ("10.0.0.1", "10.0.0.254", true),
            ("10.0.0.1", "::ffff:10.0.0.9", true),
            ("10.0.0.1", "10.0.1.1", false),
            ("2001:db8:0:1::1", "2001:db8:0:ff::1", true),
            ("2001:db8:0:1::1", "2001:db8:0:100::1", false),
            ("::1", "0.0.0.1", false),
        ] {
            let prefix = |text: &str| Prefix::of(text.parse().expect("an address"));
            assert_eq!(prefix(a) == prefix(b), same, "{a} {b}");
        }
        assert_eq!(
            Prefix::parse("10.0.0.7").map(|p| p.to_string()).as_deref(),
            Some("10.0.0.0/24")
        );
        assert_eq!(Prefix::parse("10.0.0.0/16"), None);
        assert_eq!(Prefix::parse("here"), None);
    }

    proptest! {
        #[test]
        fn text_and_number_round_trip(bits: u128, is_v4: bool) {
            let address = if is_v4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() };
            let prefix = Prefix::of(address);
            prop_assert_eq!(Prefix::parse(&prefix.to_string()), Some(prefix));
            prop_assert_eq!(Prefix::from_number(prefix.number()), Some(prefix));
            prop_assert_eq!(Prefix::of(prefix.first_address()), prefix);
        }

        #[test]
        fn any_number_is_a_prefix_or_none(number: u64) {
            if let Some(prefix) = Prefix::from_number(number) {
                prop_assert_eq!(Prefix::of(prefix.first_address()), prefix);
            }
        }
    }
}
