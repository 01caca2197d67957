//! What is said of a port that cannot be bound: which one, who may hold it, and the way out.

use anyhow::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// What kind of port it is.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    Udp,
    Tcp,
}

/// The error of a start that could not bind the `address` of this table of the configuration.
pub fn cannot_bind(table: &str, address: SocketAddr, port: Port, error: io::Error) -> Error {
    let (number, ip) = (address.port(), address.ip());
    let (name, list) = match port {
        Port::Udp => ("UDP", "ss -lunp"),
        Port::Tcp => ("TCP", "ss -ltnp"),
    };
    let advice = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{name} port {number} is taken, perhaps by another gateway; `{list} 'sport = :{number}'`, as root, names who has it: \
             end that, or give {table} address another port"
        ),
        ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {ip}; `ip address` lists those that it has")
        }
        ErrorKind::PermissionDenied => {
            format!("this user may not take {name} port {number}; give {table} address one of 1024 or higher")
        }
        _ => String::new(),
    };
    let because = if advice.is_empty() { "" } else { ": " };
    Error::new(error).context(format!("cannot bind {table} address = {address}{because}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_way_out() {
        let address: SocketAddr = "192.0.2.7:443".parse().expect("an address");
        for (kind, port, words) in [
            (
                ErrorKind::AddrInUse,
                Port::Udp,
                &[
                    "UDP port 443 is taken",
                    "another gateway",
                    "`ss -lunp 'sport = :443'`",
                    "give [x] address",
                ][..],
            ),
            (
                ErrorKind::AddrInUse,
                Port::Tcp,
                &["TCP port 443 is taken", "`ss -ltnp 'sport = :443'`"],
            ),
            (
                ErrorKind::AddrNotAvailable,
                Port::Udp,
                &["no address 192.0.2.7", "`ip address`"],
            ),
            (
                ErrorKind::PermissionDenied,
                Port::Tcp,
                &["may not take TCP port 443", "1024"],
            ),
            (
                ErrorKind::OutOfMemory,
                Port::Udp,
                &["cannot bind [x] address = 192.0.2.7:443: out of memory"],
            ),
        ] {
            let text = format!("{:#}", cannot_bind("[x]", address, port, kind.into()));
            assert!(text.starts_with("cannot bind [x] address = 192.0.2.7:443: "), "{text}");
            for word in words {
                assert!(text.contains(word), "{word} in {text}");
            }
        }
    }
}
