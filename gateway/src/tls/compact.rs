//! AES-128-GCM packet protection that stores raw keys. The stock keys hold expanded AES schedules and GHASH tables,
//! some 700 bytes each, and a session has six of them; here each is 16 bytes and a nonce, expanded for each packet.
//! Correct by RFC 9001, section 5; the primitives are ring's.

use ring::aead::{self, AES_128_GCM, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{AeadKey, Iv, Nonce};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};
use rustls::{Error, SupportedCipherSuite, Tls13CipherSuite};
use std::sync::OnceLock;

const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// RFC 9001, appendix B.1.1.
const CONFIDENTIALITY_LIMIT: u64 = 1 << 23;
/// RFC 9001, appendix B.1.2.
const INTEGRITY_LIMIT: u64 = 1 << 52;
/// The first byte's bit of a long header (RFC 9000, section 17.2).
const LONG_HEADER: u8 = 0x80;

/// The only cipher suite of the gateway's connections, with compact keys. Every TLS 1.3 client has it (RFC 8446,
/// section 9.1).
pub fn suite() -> SupportedCipherSuite {
    static SUITE: OnceLock<Tls13CipherSuite> = OnceLock::new();
    let stock = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let stock = stock.tls13().expect("the name says that it is a TLS 1.3 suite");
    SupportedCipherSuite::Tls13(SUITE.get_or_init(|| Tls13CipherSuite {
        common: rustls::CipherSuiteCommon {
            suite: stock.common.suite,
            hash_provider: stock.common.hash_provider,
            confidentiality_limit: stock.common.confidentiality_limit,
        },
        hkdf_provider: stock.hkdf_provider,
        aead_alg: stock.aead_alg,
        quic: Some(&Compact),
    }))
}

struct Compact;

impl Algorithm for Compact {
    fn packet_key(&self, key: AeadKey, iv: Iv) -> Box<dyn PacketKey> {
        Box::new(CompactPacketKey { key: raw(&key), iv })
    }

    fn header_protection_key(&self, key: AeadKey) -> Box<dyn HeaderProtectionKey> {
        Box::new(CompactHeaderKey { key: raw(&key) })
    }

    fn aead_key_len(&self) -> usize {
        KEY_BYTES
    }
}

fn raw(key: &AeadKey) -> [u8; KEY_BYTES] {
    key.as_ref()
        .try_into()
        .expect("rustls gives keys of `aead_key_len` bytes")
}

struct CompactPacketKey {
    key: [u8; KEY_BYTES],
    iv: Iv,
}

impl CompactPacketKey {
    fn expand(&self, packet_number: u64) -> (LessSafeKey, aead::Nonce) {
        let key = UnboundKey::new(&AES_128_GCM, &self.key).expect("AES-128 takes 16 bytes");
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, packet_number).0);
        (LessSafeKey::new(key), nonce)
    }
}

impl PacketKey for CompactPacketKey {
    fn encrypt_in_place(&self, packet_number: u64, header: &[u8], payload: &mut [u8]) -> Result<Tag, Error> {
        let (key, nonce) = self.expand(packet_number);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), payload);
        tag.map(|tag| Tag::from(tag.as_ref())).map_err(|_| Error::EncryptError)
    }

    fn decrypt_in_place<'a>(
        &self,
        packet_number: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        let (key, nonce) = self.expand(packet_number);
        match key.open_in_place(nonce, Aad::from(header), payload) {
            Ok(plain) => Ok(plain),
            Err(_) => Err(Error::DecryptError),
        }
    }

    fn tag_len(&self) -> usize {
        TAG_BYTES
    }

    fn confidentiality_limit(&self) -> u64 {
        CONFIDENTIALITY_LIMIT
    }

    fn integrity_limit(&self) -> u64 {
        INTEGRITY_LIMIT
    }
}

struct CompactHeaderKey {
    key: [u8; KEY_BYTES],
}

impl CompactHeaderKey {
    /// Applies or removes header protection (RFC 9001, section 5.4.1).
    fn mask(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8], is_masked: bool) -> Result<(), Error> {
        let key = aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &self.key);
        let key = key.expect("AES-128 takes 16 bytes");
        let mask = key
            .new_mask(sample)
            .map_err(|_| Error::General("sample of invalid length".into()))?;
        let (first_mask, number_mask) = mask.split_first().expect("a mask has five bytes");
        if packet_number.len() > number_mask.len() {
            return Err(Error::General("packet number too long".into()));
        }
        let bits = if *first & LONG_HEADER == 0 { 0x1f } else { 0x0f };
        // The length of the packet number is in the clear byte.
        let clear = if is_masked {
            *first ^ (first_mask & bits)
        } else {
            *first
        };
        let length = usize::from(clear & 0x03) + 1;
        *first ^= first_mask & bits;
        packet_number
            .iter_mut()
            .zip(number_mask)
            .take(length)
            .for_each(|(byte, mask)| *byte ^= mask);
        Ok(())
    }
}

impl HeaderProtectionKey for CompactHeaderKey {
    fn encrypt_in_place(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) -> Result<(), Error> {
        self.mask(sample, first, packet_number, false)
    }

    fn decrypt_in_place(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) -> Result<(), Error> {
        self.mask(sample, first, packet_number, true)
    }

    fn sample_len(&self) -> usize {
        aead::quic::AES_128.sample_len()
    }
}

#[cfg(test)]
mod tests {
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
}
