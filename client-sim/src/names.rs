//! Which address of the gateway's name is played to: the first that answers a handshake, when there are several.

use crate::run::RunError;
use host::dial;
use lean_quic::tls;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, VarInt};
use rustls::RootCertStore;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// The longest that one address is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The address of `target`, which is host:port.
///
/// # Errors
/// When the name has no address, or none of several answers: each is named.
pub(crate) fn resolve(target: &str, server_name: &str, roots: &RootCertStore) -> Result<SocketAddr, RunError> {
    let fail = |reason: String| RunError::Address {
        address: target.to_owned(),
        reason,
    };
    let addresses = target.to_socket_addrs().map_err(|error| fail(error.to_string()))?;
    let addresses = dial::in_turns(addresses);
    // Whether the only one answers the run itself tells.
    if let [only] = addresses[..] {
        return Ok(only);
    }
    first_that_answers(&addresses, server_name, roots).map_err(fail)
}

fn first_that_answers(
    addresses: &[SocketAddr],
    server_name: &str,
    roots: &RootCertStore,
) -> Result<SocketAddr, String> {
    let tls = tls(roots.clone(), shake_proto::ALPN).map_err(|error| error.to_string())?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let client = ClientConfig::new(Arc::new(crypto));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let reached = dial::first(addresses, |address| {
            answers(client.clone(), address, server_name.to_owned())
        });
        reached.await.map_err(|faults| dial::told(&faults))
    })
}

/// Holds that somebody answers there. What a handshake then says is for the run to find.
async fn answers(client: ClientConfig, address: SocketAddr, server_name: String) -> Result<SocketAddr, String> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any).map_err(|error| error.to_string())?;
    let connecting = endpoint
        .connect_with(client, address, &server_name)
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => {
            connection.close(VarInt::from_u32(0), b"");
            let _ = tokio::time::timeout(PATIENCE, endpoint.wait_idle()).await;
            Ok(address)
        }
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => Err("no answer".to_owned()),
        Ok(Err(_)) => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_address_that_answers_is_found_among_those_that_do_not() {
        // Who answers anything at all is taken for a server: here with a version negotiation.
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let live = server.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut packet = [0; 1_500];
            while let Ok((length, from)) = server.recv_from(&mut packet) {
                // RFC 9000, section 17.2.1: IDs the other way round, and a version that nobody has.
                let (to, by) = connection_ids(&packet[..length]);
                let reply = [&[0x80, 0, 0, 0, 0][..], by, to, &[0x1a, 0x2a, 0x3a, 0x4a]].concat();
                let _ = server.send_to(&reply, from);
            }
        });
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let dead = silent.local_addr().expect("bound");
        let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(authority.cert.der().clone()).expect("an authority");
        let found = first_that_answers(&[dead, live], "localhost", &roots);
        assert_eq!(found, Ok(live));
        let error = first_that_answers(&[dead, dead], "localhost", &roots).expect_err("nobody answers");
        assert_eq!(
            error,
            format!("none of 2 addresses: {dead}: no answer; {dead}: no answer")
        );
        assert_eq!(
            resolve(&live.to_string(), "localhost", &roots).ok(),
            Some(live),
            "one is taken as it is"
        );
    }

    /// Destination and source of a long header, each with its length.
    fn connection_ids(packet: &[u8]) -> (&[u8], &[u8]) {
        let to_ends = 6 + usize::from(packet[5]);
        let by_ends = to_ends + 1 + usize::from(packet[to_ends]);
        (&packet[5..to_ends], &packet[to_ends..by_ends])
    }
}
