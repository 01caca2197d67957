//! Packet protection with AEAD_AES_128_GCM (RFC 9001, section 5), from keys kept in their raw form.
//!
//! rustls and ring keep the expanded AES schedules, some 700 bytes for each key. A million sessions keep 16 raw bytes
//! instead and expand them for every packet.
//!
//! The secrets come through rustls's key log, which is an object of this very connection: nothing is written anywhere.

use super::header::{KEY_PHASE, LONG, RETRY_TAG_BYTES};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey, quic as header_protection};
use ring::hkdf;
use std::fmt;
use std::sync::Mutex;

/// Bytes that protection adds to each packet.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes from the start of the packet number to the end of the sample (RFC 9001, section 5.4.2).
pub(super) const SAMPLE_END: usize = 4 + 16;
/// Packets that one key may protect (RFC 9001, section 6.6 and appendix B.1.1).
pub(super) const CONFIDENTIALITY_LIMIT: u64 = 1 << 23;

const SECRET_BYTES: usize = 32;
/// A traffic secret of TLS_AES_128_GCM_SHA256.
pub(super) type Secret = [u8; SECRET_BYTES];

/// RFC 9001, section 5.2.
const INITIAL_SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];
/// RFC 9001, section 5.8.
const RETRY_KEY: [u8; 16] = [
    0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e,
];
/// RFC 9001, section 5.8.
const RETRY_NONCE: [u8; 12] = [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb];

/// Protects the payloads of one direction.
#[derive(Clone, Copy)]
pub(super) struct PacketKey {
    key: [u8; 16],
    iv: [u8; 12],
}

/// Protects the headers of one direction; key updates leave it as it is (RFC 9001, section 6.1).
#[derive(Clone, Copy)]
pub(super) struct HeaderKey([u8; 16]);

/// Both of one direction.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) packet: PacketKey,
    pub(super) header: HeaderKey,
}

/// Both directions.
#[derive(Clone, Copy)]
pub(super) struct KeyPair {
    pub(super) local: Keys,
    pub(super) remote: Keys,
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of TLS 1.3 (RFC 8446, section 7.1) with an empty context.
fn expand_label<const N: usize>(secret: &hkdf::Prk, label: &[u8]) -> [u8; N] {
    const PREFIX: &[u8] = b"tls13 ";
    let length = (N as u16).to_be_bytes();
    let label_length = [(PREFIX.len() + label.len()) as u8];
    let mut output = [0; N];
    secret
        .expand(&[&length, &label_length, PREFIX, label, &[0]], Length(N))
        .and_then(|expanded| expanded.fill(&mut output))
        .expect("at most 32 bytes are asked for, and SHA-256 gives up to 8,160");
    output
}

fn prk(secret: &Secret) -> hkdf::Prk {
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret)
}

impl PacketKey {
    /// RFC 9001, section 5.1.
    pub(super) fn new(secret: &Secret) -> Self {
        let secret = prk(secret);
        Self {
            key: expand_label(&secret, b"quic key"),
            iv: expand_label(&secret, b"quic iv"),
        }
    }

    fn expanded(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&aead::AES_128_GCM, &self.key).expect("AES-128 takes 16 bytes"))
    }

    /// RFC 9001, section 5.3: the packet number, XORed into the end of the IV.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, low) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= low;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Opens the payload in place and gives its length, or `None` when it is not what the server sealed.
    pub(super) fn open(&self, number: u64, header: &[u8], payload: &mut [u8]) -> Option<usize> {
        let opened = self
            .expanded()
            .open_in_place(self.nonce(number), Aad::from(header), payload);
        opened.ok().map(|plain| plain.len())
    }

    /// Seals `payload` in place, whose last [`TAG_BYTES`] are room for the tag.
    fn seal(&self, number: u64, header: &[u8], payload: &mut [u8]) {
        let (plain, room) = payload.split_at_mut(payload.len() - TAG_BYTES);
        let tag = self
            .expanded()
            .seal_in_place_separate_tag(self.nonce(number), Aad::from(header), plain)
            .expect("a packet is far shorter than the 64 GiB that AES-GCM takes");
        room.copy_from_slice(tag.as_ref());
    }
}

impl HeaderKey {
    fn new(secret: &Secret) -> Self {
        Self(expand_label(&prk(secret), b"quic hp"))
    }

    /// The mask for the packet whose number stands at `number_at` (RFC 9001, section 5.4.2), or `None` when the
    /// packet is too short to be sampled and so must be dropped.
    fn mask(&self, packet: &[u8], number_at: usize) -> Option<[u8; 5]> {
        let sample = packet.get(number_at + 4..number_at + SAMPLE_END)?;
        let key = header_protection::HeaderProtectionKey::new(&header_protection::AES_128, &self.0).ok()?;
        key.new_mask(sample).ok()
    }

    /// Unmasks the first byte and the packet number (RFC 9001, section 5.4.1). Gives the number's length in bytes.
    pub(super) fn unmask(&self, packet: &mut [u8], number_at: usize) -> Option<usize> {
        let mask = self.mask(packet, number_at)?;
        packet[0] ^= mask[0] & first_byte_bits(packet[0]);
        let length = usize::from(packet[0] & 0b11) + 1;
        apply(&mut packet[number_at..number_at + length], &mask);
        Some(length)
    }
}

fn first_byte_bits(first: u8) -> u8 {
    if first & LONG == 0 { 0x1f } else { 0x0f }
}

fn apply(number: &mut [u8], mask: &[u8; 5]) {
    for (byte, mask) in number.iter_mut().zip(&mask[1..]) {
        *byte ^= mask;
    }
}

impl Keys {
    pub(super) fn new(secret: &Secret) -> Self {
        Self {
            packet: PacketKey::new(secret),
            header: HeaderKey::new(secret),
        }
    }

    /// Seals and masks the whole of `packet`: a header with its number from `number_at` to `payload_at`, the payload,
    /// and room for the tag. The number has four bytes, so that the tag alone is enough of a sample.
    pub(super) fn protect(&self, packet: &mut [u8], number_at: usize, payload_at: usize, number: u64) {
        let (header, payload) = packet.split_at_mut(payload_at);
        self.packet.seal(number, header, payload);
        let mask = self
            .header
            .mask(packet, number_at)
            .expect("four bytes of number and a tag hold a sample");
        packet[0] ^= mask[0] & first_byte_bits(packet[0]);
        apply(&mut packet[number_at..payload_at], &mask);
    }
}

/// The keys of Initial packets, which the client's first destination ID gives (RFC 9001, section 5.2).
pub(super) fn initial(destination: &[u8]) -> KeyPair {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &INITIAL_SALT).extract(destination);
    KeyPair {
        local: Keys::new(&expand_label(&secret, b"client in")),
        remote: Keys::new(&expand_label(&secret, b"server in")),
    }
}

/// Whether a Retry packet is from someone who saw our Initial (RFC 9001, section 5.8).
pub(super) fn is_retry_genuine(original_destination: &[u8], retry: &[u8]) -> bool {
    let Some((packet, tag)) = retry.split_last_chunk::<RETRY_TAG_BYTES>() else {
        return false;
    };
    let pseudo = [&[original_destination.len() as u8], original_destination, packet].concat();
    let key = PacketKey {
        key: RETRY_KEY,
        iv: RETRY_NONCE,
    };
    key.open(0, &pseudo, &mut tag.to_owned()).is_some()
}

/// The keys after the handshake, and what is needed to follow a key update (RFC 9001, section 6).
pub(super) struct DataKeys {
    pub(super) local: Keys,
    pub(super) remote: Keys,
    secrets: [Secret; 2],
    pub(super) phase: bool,
}

impl DataKeys {
    pub(super) fn new(client: Secret, server: Secret) -> Self {
        Self {
            local: Keys::new(&client),
            remote: Keys::new(&server),
            secrets: [client, server],
            phase: false,
        }
    }

    /// The server's packet key after the next update. It is not kept ready, as section 6.3 would have it against
    /// those who measure time: a simulated phone has no secret that is worth 28 bytes a session.
    pub(super) fn next_remote(&self) -> PacketKey {
        PacketKey::new(&next_secret(&self.secrets[1]))
    }

    /// Takes both directions into the next phase; gives the server's key of the one that ends.
    pub(super) fn update(&mut self) -> PacketKey {
        self.secrets = self.secrets.each_ref().map(next_secret);
        self.local.packet = PacketKey::new(&self.secrets[0]);
        self.phase = !self.phase;
        std::mem::replace(&mut self.remote.packet, PacketKey::new(&self.secrets[1]))
    }
}

/// RFC 9001, section 6.1.
fn next_secret(secret: &Secret) -> Secret {
    expand_label(&prk(secret), b"quic ku")
}

/// Whether the key phase bit of an unmasked short header says what `phase` says.
pub(super) fn is_phase(first: u8, phase: bool) -> bool {
    (first & KEY_PHASE != 0) == phase
}

/// Catches the traffic secrets of one connection.
#[derive(Default)]
pub(super) struct Secrets(Mutex<Caught>);

#[derive(Default, Clone, Copy)]
struct Caught {
    handshake: [Option<Secret>; 2],
    data: [Option<Secret>; 2],
}

impl Secrets {
    pub(super) fn handshake_keys(&self) -> Option<KeyPair> {
        let [Some(client), Some(server)] = self.caught().handshake else {
            return None;
        };
        Some(KeyPair {
            local: Keys::new(&client),
            remote: Keys::new(&server),
        })
    }

    pub(super) fn data_keys(&self) -> Option<DataKeys> {
        let [Some(client), Some(server)] = self.caught().data else {
            return None;
        };
        Some(DataKeys::new(client, server))
    }

    fn caught(&self) -> Caught {
        *self.0.lock().expect("nothing panics under this lock")
    }
}

impl rustls::KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut caught = self.0.lock().expect("nothing panics under this lock");
        let place = match label {
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => &mut caught.handshake[0],
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => &mut caught.handshake[1],
            "CLIENT_TRAFFIC_SECRET_0" => &mut caught.data[0],
            "SERVER_TRAFFIC_SECRET_0" => &mut caught.data[1],
            _ => return,
        };
        // Only one cipher suite is offered, whose hash gives 32 bytes; anything else would leave us without keys.
        *place = secret.try_into().ok();
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKeys(phase {})", u8::from(self.phase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal"))
    }

    /// RFC 9001, appendix A.1.
    #[test]
    fn initial_keys_are_those_of_the_rfc() {
        let keys = initial(&hex::<8>("8394c8f03e515708"));
        assert_eq!(keys.local.packet.key, hex("1f369613dd76d5467730efcbe3b1a22d"));
        assert_eq!(keys.local.packet.iv, hex("fa044b2f42a3fd3b46fb255c"));
        assert_eq!(keys.local.header.0, hex("9f50449e04a0e810283a1e9933adedd2"));
        assert_eq!(keys.remote.packet.key, hex("cf3a5331653c364c88f0f379b6067e37"));
        assert_eq!(keys.remote.packet.iv, hex("0ac1493ca1905853b0bba03e"));
        assert_eq!(keys.remote.header.0, hex("c206b8d9b9f0f37644430b490eeaa314"));
    }

    /// RFC 9001, appendix A.3.
    #[test]
    fn a_servers_initial_of_the_rfc_opens() {
        let mut packet: [u8; 135] = hex(concat!(
            "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a",
            "5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3",
            "dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84",
            "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4",
            "2158407dd074ee"
        ));
        let keys = initial(&hex::<8>("8394c8f03e515708")).remote;
        assert_eq!(keys.header.unmask(&mut packet, 18), Some(2));
        assert_eq!(packet[..20], hex::<20>("c1000000010008f067a5502a4262b50040750001"));
        let (header, payload) = packet.split_at_mut(20);
        assert_eq!(keys.packet.open(1, header, payload), Some(135 - 20 - TAG_BYTES));
        assert_eq!(payload[..10], hex::<10>("02000000000600405a02"));
    }

    /// RFC 9001, appendix A.4.
    #[test]
    fn a_retry_is_genuine_only_for_the_id_it_answers() {
        let retry: [u8; 36] = hex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba");
        assert!(is_retry_genuine(&hex::<8>("8394c8f03e515708"), &retry));
        assert!(!is_retry_genuine(&hex::<8>("8394c8f03e515709"), &retry));
    }

    #[test]
    fn what_is_protected_opens() {
        let keys = Keys::new(&[7; 32]);
        for first in [0x43, 0xc3] {
            let mut packet = [&[first, 1, 2, 0, 0, 0, 9][..], b"some frames", &[0; TAG_BYTES]].concat();
            keys.protect(&mut packet, 3, 7, 9);
            assert_eq!(keys.header.unmask(&mut packet, 3), Some(4));
            let (header, payload) = packet.split_at_mut(7);
            assert_eq!(keys.packet.open(9, header, payload), Some(11));
            assert_eq!(&payload[..11], b"some frames");
        }
    }
}
