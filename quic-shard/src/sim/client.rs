//! The clients of a world.

use lean_quic::{Connection, Event, Micros};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// The address of the first client; the others follow.
const FIRST: u32 = u32::from_be_bytes([10, 0, 0, 1]);
/// The port of a client that never moved.
const PORT: u16 = 5_000;

/// What the clients do and hear.
pub trait Script {
    /// A client may do something: when it begins, and at each moment that it asked for before. Gives the next.
    fn act(&mut self, client: usize, it: &mut Client, now: Micros) -> Option<Micros>;

    /// Something happened to a client. What it has to say to that it says now.
    fn hear(&mut self, client: usize, event: Event<'_>, now: Micros);

    /// Asked at the beginning, after all that happened, and at the moment that it gave last at the latest. The clients that it
    /// puts into `urged` act at once; one that had not begun begins, whatever its number.
    fn direct(&mut self, _now: Micros, _urged: &mut Vec<usize>) -> Option<Micros> {
        None
    }
}

/// One client.
pub struct Client {
    /// Its connection; none before it begins.
    pub connection: Connection,
    /// Raised by one whenever it moves to another address.
    pub moves: u16,
    /// The timer that is set for it.
    pub(super) armed: Option<Micros>,
}

/// Where a client is.
pub(super) fn address(client: usize, moves: u16) -> SocketAddr {
    let ip = Ipv4Addr::from(FIRST + client as u32);
    SocketAddrV4::new(ip, PORT.wrapping_add(moves)).into()
}

/// Which client is there.
pub(super) fn client_at(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    u32::from(*address.ip())
        .checked_sub(FIRST)
        .map(|client| client as usize)
}
