//! AES-128-GCM packet protection that stores raw keys. The stock keys hold expanded AES schedules and GHASH tables,
//! some 700 bytes each, and a session has six of them; here each is 16 bytes and a nonce, expanded for each packet.
//! Correct by RFC 9001, section 5; the primitives are ring's.
//!
//! rustls gives keys out as trait objects, and quinn-proto takes others: a box in a box, and with many sessions each box
//! is a miss of the caches. [`packet_key`] and [`header_key`] give quinn-proto the keys themselves.

use bytes::BytesMut;
use quinn_proto::crypto::{self, CryptoError};
use ring::aead::{self, AES_128_GCM, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{AeadKey, Iv, NONCE_LEN};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};
use rustls::{Error, SupportedCipherSuite, Tls13CipherSuite};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::OnceLock;

const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// RFC 9001, section 5.4.3.
const SAMPLE_BYTES: usize = 16;
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
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(iv.as_ref());
        let key = CompactPacketKey {
            key: raw(&key),
            iv: nonce,
        };
        let boxed = Box::new(key);
        remember(address(&*boxed), Made::Packet(key));
        boxed
    }

    fn header_protection_key(&self, key: AeadKey) -> Box<dyn HeaderProtectionKey> {
        let key = CompactHeaderKey { key: raw(&key) };
        let boxed = Box::new(key);
        remember(address(&*boxed), Made::Header(key));
        boxed
    }

    fn aead_key_len(&self) -> usize {
        KEY_BYTES
    }
}

/// A key that was made a moment ago, to be found again by where its box lies.
enum Made {
    Packet(CompactPacketKey),
    Header(CompactHeaderKey),
}

/// Keys are asked for right after they are made, at the most eight at a time; those of Initial packets never are.
const MADE_MAX: usize = 8;

thread_local! {
    static MADE: RefCell<VecDeque<(usize, Made)>> = const { RefCell::new(VecDeque::new()) };
}

fn address<T: ?Sized>(key: &T) -> usize {
    std::ptr::from_ref(key).addr()
}

fn remember(address: usize, key: Made) {
    MADE.with_borrow_mut(|made| {
        if made.len() == MADE_MAX {
            made.pop_front();
        }
        made.push_back((address, key));
    });
}

/// The key whose box lies there: of several, the one made last, because the others' boxes are gone.
fn recall(address: usize) -> Option<Made> {
    MADE.with_borrow_mut(|made| {
        let at = made.iter().rposition(|(of, _)| *of == address)?;
        made.remove(at).map(|(_, key)| key)
    })
}

/// What rustls made, as quinn-proto takes it.
pub fn packet_key(boxed: Box<dyn PacketKey>) -> Box<dyn crypto::PacketKey> {
    match recall(address(&*boxed)) {
        Some(Made::Packet(key)) => Box::new(key),
        _ => Box::new(boxed),
    }
}

/// What rustls made, as quinn-proto takes it.
pub fn header_key(boxed: Box<dyn HeaderProtectionKey>) -> Box<dyn crypto::HeaderKey> {
    match recall(address(&*boxed)) {
        Some(Made::Header(key)) => Box::new(key),
        _ => Box::new(boxed),
    }
}

thread_local! {
    static NEWEST: Cell<Option<[usize; 4]>> = const { Cell::new(None) };
}

/// Notes that these are the newest keys on this thread.
pub(super) fn note_newest_keys(keys: &crypto::Keys) {
    NEWEST.set(Some([
        address(&*keys.header.local),
        address(&*keys.header.remote),
        address(&*keys.packet.local),
        address(&*keys.packet.remote),
    ]));
}

/// Where the four keys lie of the connection whose keys were made last on this thread, once. They are in boxes of their own, and
/// with many connections each box is a miss of the caches; who knows where they are can ask for them beforehand. An address
/// stays good for asking also when a key update has put the keys elsewhere: it is never read.
pub fn take_newest_keys() -> Option<[usize; 4]> {
    NEWEST.take()
}

fn raw(key: &AeadKey) -> [u8; KEY_BYTES] {
    key.as_ref()
        .try_into()
        .expect("rustls gives keys of `aead_key_len` bytes")
}

/// Aligned, as the header key is, so that a connection's four keys come from one class of blocks and lie side by side.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct CompactPacketKey {
    key: [u8; KEY_BYTES],
    iv: [u8; NONCE_LEN],
}

impl CompactPacketKey {
    fn expand(&self, packet_number: u64) -> (LessSafeKey, aead::Nonce) {
        let key = UnboundKey::new(&AES_128_GCM, &self.key).expect("AES-128 takes 16 bytes");
        // RFC 9001, section 5.3.
        let mut nonce = self.iv;
        let number = packet_number.to_be_bytes();
        nonce[NONCE_LEN - number.len()..]
            .iter_mut()
            .zip(number)
            .for_each(|(byte, number)| *byte ^= number);
        (LessSafeKey::new(key), aead::Nonce::assume_unique_for_key(nonce))
    }
}

impl crypto::PacketKey for CompactPacketKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let (header, rest) = buf.split_at_mut(header_len);
        let (payload, tag_at) = rest.split_at_mut(rest.len() - TAG_BYTES);
        let tag = PacketKey::encrypt_in_place(self, packet, header, payload);
        tag_at.copy_from_slice(tag.expect("a packet is shorter than AES-GCM's limit").as_ref());
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        let opened = PacketKey::decrypt_in_place(self, packet, header, payload).map_err(|_| CryptoError)?;
        let length = opened.len();
        payload.truncate(length);
        Ok(())
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

#[derive(Clone, Copy)]
#[repr(align(32))]
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

impl CompactHeaderKey {
    /// Applies or removes the protection of a packet whose number begins at `pn_offset`.
    fn mask_packet(&self, pn_offset: usize, packet: &mut [u8], is_masked: bool) {
        // The sample begins where it would if the number had its greatest length, four bytes.
        let (header, sample) = packet.split_at_mut(pn_offset + 4);
        let (first, rest) = header.split_at_mut(1);
        let masked = self.mask(
            &sample[..SAMPLE_BYTES],
            &mut first[0],
            &mut rest[pn_offset - 1..],
            is_masked,
        );
        masked.expect("the sample and the number have their lengths");
    }
}

impl crypto::HeaderKey for CompactHeaderKey {
    fn decrypt(&self, pn_offset: usize, packet: &mut [u8]) {
        self.mask_packet(pn_offset, packet, true);
    }

    fn encrypt(&self, pn_offset: usize, packet: &mut [u8]) {
        self.mask_packet(pn_offset, packet, false);
    }

    fn sample_size(&self) -> usize {
        SAMPLE_BYTES
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
        SAMPLE_BYTES
    }
}

#[cfg(test)]
mod tests;
