//! The keys are held to what rustls makes of the same secrets.

use super::*;
use proptest::prelude::*;
use rustls::Side;
use rustls::quic::{Keys, Version};

fn keys(suite: SupportedCipherSuite, side: Side) -> Keys {
    let suite = suite
        .tls13()
        .and_then(|suite| suite.quic_suite())
        .expect("a QUIC suite");
    suite.keys(b"connection", side, Version::V1)
}

proptest! {
    /// What the stock keys protect, the compact ones open, and the other way round, to the bit.
    #[test]
    fn agrees_with_the_stock_keys(payload in proptest::collection::vec(any::<u8>(), 4..300), number: u32, long: bool) {
        let stock = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let (compact, stock) = (keys(suite(), Side::Server), keys(stock, Side::Client));
        for (one, other) in [(&compact.local, &stock.remote), (&stock.local, &compact.remote)] {
            let mut sealed = payload.clone();
            let header = [if long { 0xc3 } else { 0x43 }, 1, 2, 3, 4];
            let tag = one.packet.encrypt_in_place(number.into(), &header, &mut sealed).expect("seals");
            sealed.extend_from_slice(tag.as_ref());
            let sample = sealed[..16].to_vec();
            let (mut first, mut digits) = (header[0], [9, 8, 7, 6]);
            one.header.encrypt_in_place(&sample, &mut first, &mut digits).expect("masks");
            other.header.decrypt_in_place(&sample, &mut first, &mut digits).expect("unmasks");
            prop_assert_eq!((first, digits), (header[0], [9, 8, 7, 6]));
            let opened = other.packet.decrypt_in_place(number.into(), &header, &mut sealed).expect("opens");
            prop_assert_eq!(opened, &payload[..]);
            sealed[0] ^= 1;
            prop_assert!(other.packet.decrypt_in_place(number.into(), &header, &mut sealed).is_err());
        }
    }
}

/// rustls's boxes come out as quinn-proto's, and those protect and open as rustls's do.
#[test]
fn the_keys_themselves_agree_with_their_boxes() {
    let (ours, theirs) = (keys(suite(), Side::Server), keys(suite(), Side::Client));
    let (packet, header) = (packet_key(ours.local.packet), header_key(ours.local.header));
    assert_eq!(
        (size_of_val(&*packet), size_of_val(&*header)),
        (32, 32),
        "no box in a box"
    );
    for packet_number in [0, 7, 1 << 31] {
        let clear = *b"\x43\x01\x02\x03\x04 what is sealed, and the tag: ................";
        let mut bytes = clear;
        packet.encrypt(packet_number, &mut bytes, 5);
        header.encrypt(1, &mut bytes);
        let (head, body) = bytes.split_at_mut(5);
        let (first, number) = head.split_at_mut(1);
        theirs
            .remote
            .header
            .decrypt_in_place(&body[..16], &mut first[0], number)
            .expect("unmasks");
        assert_eq!(head, &clear[..5]);
        let opened = theirs
            .remote
            .packet
            .decrypt_in_place(packet_number, head, body)
            .expect("opens");
        assert_eq!(opened, &clear[5..clear.len() - 16]);
    }
    let (sealing, opening) = (theirs.local.packet, packet_key(ours.remote.packet));
    let mut bytes = BytesMut::from(&b"what comes in"[..]);
    let tag = sealing.encrypt_in_place(9, b"head", &mut bytes).expect("seals");
    bytes.extend_from_slice(tag.as_ref());
    let mut altered = bytes.clone();
    altered[0] ^= 1;
    assert!(opening.decrypt(9, b"head", &mut altered).is_err());
    opening.decrypt(9, b"head", &mut bytes).expect("opens");
    assert_eq!(&bytes[..], b"what comes in");
}

#[test]
fn the_newest_keys_are_told_of_once() {
    let made = keys(suite(), Side::Server);
    let keys = crypto::Keys {
        header: crypto::KeyPair {
            local: header_key(made.local.header),
            remote: header_key(made.remote.header),
        },
        packet: crypto::KeyPair {
            local: packet_key(made.local.packet),
            remote: packet_key(made.remote.packet),
        },
    };
    note_newest_keys(&keys);
    let addresses = take_newest_keys().expect("some were made");
    assert_eq!(
        addresses,
        [
            address(&*keys.header.local),
            address(&*keys.header.remote),
            address(&*keys.packet.local),
            address(&*keys.packet.remote)
        ]
    );
    assert!(take_newest_keys().is_none());
}
