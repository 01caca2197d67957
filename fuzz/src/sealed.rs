//! What the gateway hands out and takes back: tokens, tickets, cookies, packet codes.
//!
//! An input is first taken as the sealed bytes themselves: what opens must be exactly what these keys make of its
//! content, so that nothing else ever opens. Then its fields are sealed, which must open to the same, and must be
//! refused once any one bit is altered.

use crate::input::Input;
use shake_rules::code::{CodeError, CodeKeys};
use shake_rules::cookie::{CookieError, CookieKeys};
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::ticket::{NonceBytes, Ticket, TicketError, TicketKeys};
use shake_rules::token::{TokenError, TokenKeys, UserToken};
use shake_rules::winnings::{PACKETS_PER_USER_MAX, Winnings, Won};
use shake_rules::{EventId, LedgerId, PacketId, SponsorId, UnixMillis, UserId};
use std::sync::LazyLock;

const EVENT: EventId = EventId(1);
const USER: UserId = UserId(7);
const LEDGER: LedgerId = LedgerId(*b"the fuzz ledger.");

/// An old key and the one in use.
static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let key = |id, hex: &str| format!("[[key]]\nid = {id}\nsecret = \"{}\"\n", hex.repeat(32));
    let text = format!(
        "purpose = \"{}\"\n{}{}",
        Purpose::Ticket.name(),
        key(1, "0a"),
        key(2, "0b")
    );
    KeyRing::parse(&text, Purpose::Ticket).expect("a valid key file")
});
static OLD: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::of(Key::new(1, [0x0a; 32])));

/// The bytes with one bit flipped that the input chooses, and where.
fn altered(sealed: &[u8], input: &mut Input<'_>) -> (Vec<u8>, usize) {
    let mut bytes = sealed.to_vec();
    let bit = usize::from(input.u16()) % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    (bytes, bit / 8)
}

/// The nonce of an envelope with so many bytes of a ledger in the clear (drawing in `shake-rules/src/sealed.rs`).
fn nonce_of(sealed: &[u8], clear: usize) -> NonceBytes {
    sealed[2 + clear..14 + clear]
        .try_into()
        .expect("what opens is longer than that")
}

/// User tokens.
pub fn tokens(bytes: &[u8]) {
    static KEYS: LazyLock<[TokenKeys; 2]> = LazyLock::new(|| [TokenKeys::new(&OLD), TokenKeys::new(&RING)]);
    let [old, keys] = &*KEYS;
    if let Ok(token) = keys.check(bytes, UnixMillis(0)) {
        let by = if bytes[1] == 1 { old } else { keys };
        assert_eq!(by.mint(token)[4..20], bytes[4..20]);
    }
    let mut input = Input::new(bytes);
    let token = UserToken {
        user: UserId(input.u64()),
        expires_at: UnixMillis(input.u64()),
    };
    let now = UnixMillis(input.u64());
    let expected = if now < token.expires_at {
        Ok(token)
    } else {
        Err(TokenError::Expired)
    };
    let minted = keys.mint(token);
    assert_eq!(keys.check(&minted, now), expected);
    let (altered, at) = altered(&minted, &mut input);
    match keys.check(&altered, now) {
        // Byte 1 names the key; there is none of most ids.
        Err(TokenError::Expired) => assert_eq!(at, 1),
        other => assert_eq!(other, Err(TokenError::Forged)),
    }
}

/// Tickets.
pub fn tickets(bytes: &[u8]) {
    static KEYS: LazyLock<[TicketKeys; 2]> = LazyLock::new(|| [TicketKeys::new(&OLD), TicketKeys::new(&RING)]);
    let [old, keys] = &*KEYS;
    let mut sealed = Vec::new();
    if let Ok(ticket) = keys.open(&LEDGER, bytes) {
        let by = if bytes[1] == 1 { old } else { keys };
        by.seal(&LEDGER, &ticket, nonce_of(bytes, LedgerId::CLEAR_BYTES), &mut sealed);
        assert_eq!(sealed, bytes);
        let _ = ticket.check(EVENT, USER);
    }
    let mut input = Input::new(bytes);
    let ticket = Ticket {
        event: EventId(input.u32()),
        packet: PacketId(input.u64()),
        user: UserId(input.u64()),
        sponsor: SponsorId(input.u16()),
        stage: input.u16(),
        issued_at: UnixMillis(input.u64()),
        expires_at: UnixMillis(input.u64()),
    };
    keys.seal(&LEDGER, &ticket, input.array(), &mut sealed);
    assert_eq!(keys.open(&LEDGER, &sealed), Ok(ticket));
    let (altered, at) = altered(&sealed, &mut input);
    match keys.open(&LEDGER, &altered) {
        // Key and ledger stand in the clear.
        Err(TicketError::OtherLedger) => assert!((1..6).contains(&at)),
        other => assert_eq!(other, Err(TicketError::Forged)),
    }
    // Whatever identity the input has, its ticket is nothing here.
    let other = LedgerId(input.array());
    if other != LEDGER {
        keys.seal(&other, &ticket, [1; 12], &mut sealed);
        assert!(keys.open(&LEDGER, &sealed).is_err());
    }
}

/// Limit cookies.
pub fn cookies(bytes: &[u8]) {
    static KEYS: LazyLock<[CookieKeys; 2]> = LazyLock::new(|| [CookieKeys::new(&OLD), CookieKeys::new(&RING)]);
    let [old, keys] = &*KEYS;
    let mut sealed = Vec::new();
    if let Ok(winnings) = keys.open(EVENT, USER, bytes) {
        let by = if bytes[1] == 1 { old } else { keys };
        by.seal(EVENT, USER, &winnings, nonce_of(bytes, 0), &mut sealed);
        assert_eq!(sealed, bytes);
    }
    let mut input = Input::new(bytes);
    let (event, user, nonce) = (EventId(input.u32()), UserId(input.u64()), input.array());
    let choice = input.bytes(2).to_vec();
    let mut winnings = Winnings::default();
    for _ in 0..=PACKETS_PER_USER_MAX {
        if input.is_empty() {
            break;
        }
        winnings.add(Won {
            packet: PacketId(input.u64()),
            sponsor: SponsorId(input.u16()),
        });
    }
    keys.seal(event, user, &winnings, nonce, &mut sealed);
    assert_eq!(keys.open(event, user, &sealed), Ok(winnings));
    let (altered, at) = altered(&sealed, &mut Input::new(&choice));
    match keys.open(event, user, &altered) {
        Err(CookieError::OtherEvent) => assert_eq!(at, 1),
        other => assert_eq!(other, Err(CookieError::Forged)),
    }
}

/// Packet codes.
pub fn codes(bytes: &[u8]) {
    static KEYS: LazyLock<[CodeKeys; 2]> = LazyLock::new(|| [CodeKeys::new(&OLD), CodeKeys::new(&RING)]);
    let [old, keys] = &*KEYS;
    if let Ok(packet) = keys.packet(&LEDGER, bytes) {
        let by = if bytes[0] == 1 { old } else { keys };
        assert_eq!(by.code(&LEDGER, packet)[..], *bytes);
    }
    let mut input = Input::new(bytes);
    let packet = PacketId(input.u64());
    let code = keys.code(&LEDGER, packet);
    assert_eq!(keys.packet(&LEDGER, &code), Ok(packet));
    let (altered, at) = altered(&code, &mut input);
    match keys.packet(&LEDGER, &altered) {
        Err(CodeError::OtherLedger) => assert!(at < 5),
        other => assert_eq!(other, Err(CodeError::Forged)),
    }
    let other = LedgerId(input.array());
    if other != LEDGER {
        assert!(keys.packet(&LEDGER, &keys.code(&other, packet)).is_err());
    }
}

fn by_both(make: impl Fn(&KeyRing) -> Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    vec![("old-key", make(&OLD)), ("new-key", make(&RING))]
}

/// Tokens by both keys.
pub fn token_seeds() -> Vec<(&'static str, Vec<u8>)> {
    by_both(|ring| {
        let token = UserToken {
            user: USER,
            expires_at: UnixMillis(u64::MAX),
        };
        TokenKeys::new(ring).mint(token).to_vec()
    })
}

/// Tickets by both keys.
pub fn ticket_seeds() -> Vec<(&'static str, Vec<u8>)> {
    by_both(|ring| {
        let ticket = Ticket {
            event: EVENT,
            packet: PacketId(2),
            user: USER,
            sponsor: SponsorId(4),
            stage: 5,
            issued_at: UnixMillis(1_789_999_000_000),
            expires_at: UnixMillis(1_790_000_000_000),
        };
        let mut sealed = Vec::new();
        TicketKeys::new(ring).seal(&LEDGER, &ticket, [9; 12], &mut sealed);
        sealed
    })
}

/// Cookies by both keys.
pub fn cookie_seeds() -> Vec<(&'static str, Vec<u8>)> {
    by_both(|ring| {
        let mut winnings = Winnings::default();
        for packet in [3, 5, 8] {
            winnings.add(Won {
                packet: PacketId(packet),
                sponsor: SponsorId(1),
            });
        }
        let mut sealed = Vec::new();
        CookieKeys::new(ring).seal(EVENT, USER, &winnings, [9; 12], &mut sealed);
        sealed
    })
}

/// Codes by both keys.
pub fn code_seeds() -> Vec<(&'static str, Vec<u8>)> {
    by_both(|ring| CodeKeys::new(ring).code(&LEDGER, PacketId(12)).to_vec())
}
