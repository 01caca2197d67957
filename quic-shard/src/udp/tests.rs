use super::*;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

fn receive_until(sockets: &mut [Socket], wanted: usize) -> Vec<(usize, SocketAddr, Option<IpAddr>, Vec<u8>)> {
    let (mut found, mut batch) = (Vec::new(), RecvBatch::new());
    let deadline = Instant::now() + Duration::from_secs(5);
    while found.len() < wanted && Instant::now() < deadline {
        for (index, socket) in sockets.iter_mut().enumerate() {
            socket.receive(&mut batch).expect("receive");
            found.extend(
                (0..batch.len())
                    .filter_map(|at| batch.packet(at))
                    .map(|p| (index, p.remote, p.local_ip, p.bytes.to_vec())),
            );
        }
    }
    found
}

#[test]
fn every_packet_reaches_the_shard_that_its_connection_id_names() {
    let (first, _) = Socket::bind("127.0.0.1:0".parse().expect("address"), 1 << 20).expect("bind");
    let address = first.local_address().expect("bound");
    let mut sockets = vec![first];
    sockets.extend((1..3).map(|_| Socket::bind(address, 1 << 20).expect("bind the same port").0));
    sockets[0].steer(3).expect("steer");
    for index in 0..200_u8 {
        // Another source port each time: without steering the kernel would go by its hash.
        let client = UdpSocket::bind("127.0.0.1:0").expect("client");
        let is_long = index % 2 == 0;
        let mut packet = [index; 20];
        packet[0] = if is_long { 0xc0 } else { 0x40 };
        packet[if is_long { 6 } else { 1 }] = index;
        client.send_to(&packet, address).expect("send");
    }
    let found = receive_until(&mut sockets, 200);
    assert_eq!(found.len(), 200);
    assert!(
        found
            .iter()
            .all(|(shard, .., bytes)| usize::from(bytes[19] % 3) == *shard)
    );
}

#[test]
fn a_batch_tells_when_its_first_packet_came() {
    let (mut server, _) = Socket::bind("127.0.0.1:0".parse().expect("address"), 1 << 20).expect("bind");
    let client = UdpSocket::bind("127.0.0.1:0").expect("client");
    let unix_ns = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
    let before_ns = unix_ns();
    client
        .send_to(b"ping", server.local_address().expect("bound"))
        .expect("send");
    let mut batch = RecvBatch::new();
    assert_eq!(batch.received_at_ns(), None);
    let deadline = Instant::now() + Duration::from_secs(5);
    while batch.len() == 0 && Instant::now() < deadline {
        server.receive(&mut batch).expect("receive");
    }
    let at_ns = batch.received_at_ns().expect("a timestamp");
    // The kernel's clock of packets may be a tick behind.
    assert!(at_ns + 10_000_000 >= before_ns && at_ns <= unix_ns() + 10_000_000);
}

/// Of either family, and of IPv4 on a socket of both.
#[test]
fn packets_tell_how_they_are_marked() {
    use quinn_proto::EcnCodepoint::{Ce, Ect0, Ect1};
    let mut families = 0;
    for (bound, asked, from) in [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1:0"),
        ("0.0.0.0:0", "127.0.0.1", "127.0.0.1:0"),
        ("[::]:0", "127.0.0.1", "127.0.0.1:0"),
        ("[::]:0", "::1", "[::1]:0"),
    ] {
        let Ok((mut server, _)) = Socket::bind(bound.parse().expect("address"), 1 << 20) else {
            continue;
        };
        let to = SocketAddr::new(
            asked.parse().expect("address"),
            server.local_address().expect("bound").port(),
        );
        let Ok(client) = UdpSocket::bind(from) else {
            continue;
        };
        families += 1;
        let mut client = Socket::of(client.into(), to.is_ipv6());
        let marks = [None, Some(Ect1), Some(Ect0), Some(Ce)];
        for bits in 0..marks.len() as i32 {
            // With a class of service in the upper bits, which is no mark.
            let (level, option) = if to.is_ipv6() {
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
            } else {
                (libc::IPPROTO_IP, libc::IP_TOS)
            };
            client.set(level, option, &(0x20 | bits)).expect("set");
            let mut batch = SendBatch::new();
            batch.buffer().push(bits as u8);
            batch.push(&quinn_proto::Transmit {
                destination: to,
                ecn: None,
                size: 1,
                segment_size: None,
                src_ip: None,
            });
            assert_eq!(client.send(&mut batch), 0);
        }
        let (mut found, mut batch) = (Vec::new(), RecvBatch::new());
        let deadline = Instant::now() + Duration::from_secs(5);
        while found.len() < marks.len() && Instant::now() < deadline {
            server.receive(&mut batch).expect("receive");
            found.extend(
                (0..batch.len())
                    .filter_map(|at| batch.packet(at))
                    .map(|packet| packet.mark),
            );
        }
        assert_eq!(found, marks, "{from} to {asked} at {bound}");
    }
    assert!(families >= 2);
}

/// A server bound to every address must answer from the one that was asked, on both families.
#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for (any, asked, from) in [("0.0.0.0:0", "127.0.0.5", "127.0.0.1:0"), ("[::]:0", "::1", "[::1]:0")] {
        let Ok((server, _)) = Socket::bind(any.parse().expect("address"), 1 << 20) else {
            continue;
        };
        let asked: IpAddr = asked.parse().expect("address");
        let port = server.local_address().expect("bound").port();
        let client = UdpSocket::bind(from).expect("client");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        client.send_to(b"ping", (asked, port)).expect("send");
        let mut servers = [server];
        let found = receive_until(&mut servers, 1);
        let (_, remote, local_ip, bytes) = found.first().expect("the packet");
        assert_eq!((*local_ip, &bytes[..]), (Some(asked), &b"ping"[..]));

        let mut batch = SendBatch::new();
        batch.buffer().extend_from_slice(b"pong");
        batch.push(&quinn_proto::Transmit {
            destination: *remote,
            ecn: None,
            size: 4,
            segment_size: None,
            src_ip: *local_ip,
        });
        assert_eq!(servers[0].send(&mut batch), 0);
        let mut bytes = [0; 10];
        let (len, sender) = client.recv_from(&mut bytes).expect("the answer");
        assert_eq!((&bytes[..len], sender.ip()), (&b"pong"[..], asked));
    }
}

#[test]
fn what_a_full_buffer_drops_is_counted() {
    let (mut server, _) = Socket::bind("127.0.0.1:0".parse().expect("address"), 1).expect("bind");
    let client = UdpSocket::bind("127.0.0.1:0").expect("client");
    assert_eq!(server.overflowed().expect("counted"), 0);
    // The kernel gives some kilobytes at the least.
    for _ in 0..100 {
        let _ = client.send_to(&[0; 1_000], server.local_address().expect("bound"));
    }
    let (mut taken, mut batch) = (0, RecvBatch::new());
    loop {
        server.receive(&mut batch).expect("receive");
        if batch.len() == 0 {
            break;
        }
        taken += batch.len();
    }
    let overflowed = server.overflowed().expect("counted") as usize;
    assert!(overflowed > 0 && taken > 0, "{taken} taken, {overflowed} dropped");
    assert_eq!(taken + overflowed, 100);
}

#[test]
fn the_filter_drops_what_it_names_and_nothing_else() {
    let (mut server, _) = Socket::bind("127.0.0.1:0".parse().expect("address"), 1 << 16).expect("bind");
    if let Err(error) = server.attach_filter() {
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        eprintln!("not looked at: without CAP_BPF there is no filter ({error})");
        return;
    }
    let client = UdpSocket::bind("127.0.0.1:0").expect("client");
    let address = server.local_address().expect("bound");
    let mut batch = RecvBatch::new();
    // What becomes of a packet: it comes, or it is counted as dropped.
    let mut comes = |server: &mut Socket, first: u8, cid: u64, length: usize| {
        let packet = [&[first][..], &cid.to_be_bytes(), &[7; 20]].concat();
        let before = server.filtered();
        client.send_to(&packet[..length], address).expect("sent");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            server.receive(&mut batch).expect("receive");
            if batch.len() == 1 {
                return true;
            }
            if server.filtered() > before {
                return false;
            }
        }
        panic!("a packet is neither here nor dropped");
    };
    let now_ns = || {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    };
    let at = |monotonic_ns| Now {
        instant: Instant::now(),
        elapsed_ns: 0,
        monotonic_ns,
        boot_ns: 0,
    };
    let (cid, hold_ns) = (0x0102_0304_0506_0708, 60_000_000_000);
    assert!(comes(&mut server, 0x40, cid, 29), "before it is named");
    let mut dropped = 0;
    while dropped < 3 {
        let named_at_ns = now_ns();
        server.filter_out(cid, hold_ns, &at(named_at_ns));
        let comes = comes(&mut server, 0x40, cid, 29);
        // Unless this thread stood still for as long as an entry holds.
        if now_ns() < named_at_ns + 900_000_000 {
            assert!(!comes);
        }
        dropped += u64::from(!comes);
    }
    let named_at_ns = now_ns();
    assert_eq!(server.filtered(), dropped);
    assert!(comes(&mut server, 0xc0, cid, 29), "a long header");
    assert!(comes(&mut server, 0x40, cid, 8), "too short for an ID");
    assert!(comes(&mut server, 0x40, cid ^ 1, 29), "another place in the table");
    assert!(
        comes(&mut server, 0x40, cid ^ 1 << 20, 29),
        "the same place, another ID"
    );
    // Too short a time is no entry; and an entry whose time is over lets packets through.
    server.filter_out(cid ^ 1, 1_000_000, &at(now_ns()));
    assert!(comes(&mut server, 0x40, cid ^ 1, 29));
    server.filter_out(cid ^ 2, hold_ns, &at(named_at_ns - 2_000_000_000));
    assert!(
        comes(&mut server, 0x40, cid ^ 2, 29),
        "no entry holds for more than a second"
    );
    // Time in the table comes round every 52 days: what was named 30 days ago is not to come in 22.
    const ROUND_NS: u64 = 1 << 52;
    const DAY_NS: u64 = 86_400_000_000_000;
    server.filter_out(cid ^ 3, hold_ns, &at(now_ns() + ROUND_NS - 30 * DAY_NS));
    assert!(comes(&mut server, 0x40, cid ^ 3, 29), "an entry of 30 days ago");
    while now_ns() < named_at_ns + 1_010_000_000 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(comes(&mut server, 0x40, cid, 29), "a second later");
    assert_eq!((server.filtered(), server.overflowed().expect("counted")), (dropped, 0));
}
