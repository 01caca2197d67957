//! The codec: one length-delimited message a stream, one bare message a datagram, each within its size limit.
//!
//! Decoding is bounded by the limits below and never allocates more than the bytes at hand.

use crate::code::Code;
use crate::wire::v1;
use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

/// The most bytes of a `Request`, without its length.
pub const REQUEST_BYTES_MAX: usize = 4_096;
/// The most bytes of a `Reply` or `Notice`, without its length.
pub const REPLY_BYTES_MAX: usize = 65_536;
/// The most bytes of a `Shake` in a datagram.
pub const SHAKE_BYTES_MAX: usize = 64;
/// The most bytes that the length before a message has; 65,536 fits in three.
pub const LENGTH_BYTES_MAX: usize = 3;

/// Decodes what a whole stream carried: one message of at most `limit` bytes, and nothing after it.
///
/// # Errors
/// [`Code::Oversized`] or [`Code::Malformed`].
pub fn decode_stream<M: Message + Default>(mut stream: Bytes, limit: usize) -> Result<M, Code> {
    let length = stream_length(&mut stream)?;
    if length > limit {
        return Err(Code::Oversized);
    }
    if length != stream.remaining() {
        return Err(Code::Malformed);
    }
    M::decode(stream).map_err(|_| Code::Malformed)
}

/// Appends one length-delimited message.
pub fn encode_stream<M: Message>(message: &M, out: &mut BytesMut) {
    out.reserve(message.encoded_len() + LENGTH_BYTES_MAX);
    message
        .encode_length_delimited(out)
        .expect("the buffer grows as needed");
}

/// Decodes the `Shake` of a datagram.
///
/// # Errors
/// [`Code::Oversized`] or [`Code::Malformed`].
pub fn decode_shake(datagram: Bytes) -> Result<v1::Shake, Code> {
    if datagram.len() > SHAKE_BYTES_MAX {
        return Err(Code::Oversized);
    }
    v1::Shake::decode(datagram).map_err(|_| Code::Malformed)
}

/// Takes one encoded message off the end of a shared buffer, without an allocation of its own as long as the
/// buffer has room (it is refilled by `chunk_bytes` at a time).
pub fn encode_datagram<M: Message>(message: &M, arena: &mut BytesMut, chunk_bytes: usize) -> Bytes {
    let length = message.encoded_len();
    if arena.capacity() < length {
        *arena = BytesMut::with_capacity(chunk_bytes.max(length));
    }
    message.encode(arena).expect("the arena was given enough room");
    arena.split().freeze()
}

fn stream_length(stream: &mut Bytes) -> Result<usize, Code> {
    let mut length = 0;
    for index in 0..LENGTH_BYTES_MAX {
        if !stream.has_remaining() {
            return Err(Code::Malformed);
        }
        let byte = stream.get_u8();
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Code::Oversized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(cookie: usize) -> v1::Request {
        let claim = v1::Claim {
            ticket: Bytes::from_static(&[1; 74]),
            cookie: vec![2; cookie].into(),
        };
        v1::Request {
            kind: Some(v1::request::Kind::Claim(claim)),
        }
    }

    #[test]
    fn limits_and_shapes_have_names() {
        let mut out = BytesMut::new();
        encode_stream(&request(30), &mut out);
        let good = out.freeze();
        let decode = |bytes: Bytes| decode_stream::<v1::Request>(bytes, REQUEST_BYTES_MAX);
        assert_eq!(decode(good.clone()), Ok(request(30)));
        assert_eq!(decode(good.slice(..good.len() - 1)), Err(Code::Malformed));
        assert_eq!(decode([&good[..], &[0]].concat().into()), Err(Code::Malformed));
        assert_eq!(decode(Bytes::new()), Err(Code::Malformed));
        assert_eq!(decode(Bytes::from_static(&[0xff; 8])), Err(Code::Oversized));
        let mut out = BytesMut::new();
        encode_stream(&request(5_000), &mut out);
        assert_eq!(decode(out.freeze()), Err(Code::Oversized));
        assert_eq!(decode_shake(Bytes::from_static(&[8; 65])), Err(Code::Oversized));
    }

    /// A show is refused whose packages need more than a reply may have; this is the other side of that rule.
    #[test]
    fn the_longest_hello_reply_that_a_show_may_cause_fits() {
        use shake_rules::UnixMillis;
        use shake_rules::cookie::COOKIE_BYTES_MAX;
        use shake_rules::show::{MANIFEST_BYTES_MAX, NAME_BYTES_MAX, Show};
        let show = |count: u32| {
            let mut text = "[[phases]]\nname = \"p\"\nend_s = 1\nweights = { nothing = 1 }\n[resources]\nversion = 9223372036854775807\n".to_owned();
            for id in 1..=count {
                text.push_str(&format!(
                    "[[resources.packages]]\nid = {id}\naddress = \"http://cdn/{}\"\nsize_bytes = 9223372036854775807\nsha256 = \"{}\"\n\
                     fetch_after = \"2027-02-01T00:00:00Z\"\nfetch_before = \"2027-02-02T00:00:00Z\"\n",
                    "x".repeat(id as usize % 150),
                    "ab".repeat(32)
                ));
            }
            Show::parse(&text, UnixMillis(0)).ok()
        };
        let counts: Vec<u32> = (0..2_000).collect();
        let most = counts.partition_point(|count| show(*count).is_some()) as u32 - 1;
        let manifest = v1::ResourceManifest::from(&show(most).expect("it fits").manifest);
        let version_bytes = 10;
        assert!(manifest.encoded_len() <= MANIFEST_BYTES_MAX + version_bytes);
        assert!(
            manifest.encoded_len() > MANIFEST_BYTES_MAX - 300,
            "hardly anything is given away"
        );
        let phase = || v1::Phase {
            name: "n".repeat(NAME_BYTES_MAX),
            starts_in_ms: u64::MAX,
            ends_in_ms: u64::MAX,
        };
        let hello = v1::HelloReply {
            server_time_ms: u64::MAX,
            config_version: u64::MAX,
            pace_ms: u32::MAX,
            current_phase: Some(phase()),
            next_phase: Some(phase()),
            manifest: Some(manifest),
            cookie: vec![1; COOKIE_BYTES_MAX].into(),
            blocked: Some(v1::Blocked {
                retry_after_ms: u32::MAX,
            }),
        };
        let reply = v1::Reply {
            kind: Some(v1::reply::Kind::Hello(hello)),
        };
        let mut out = BytesMut::new();
        encode_stream(&reply, &mut out);
        assert_eq!(decode_stream::<v1::Reply>(out.freeze(), REPLY_BYTES_MAX), Ok(reply));
    }

    #[test]
    fn the_arena_is_refilled_and_frames_stay_apart() {
        let mut arena = BytesMut::new();
        let shake = |sequence| v1::ShakeReply {
            sequence,
            ..Default::default()
        };
        let frames: Vec<_> = (0..1_000).map(|i| encode_datagram(&shake(i), &mut arena, 64)).collect();
        for (index, frame) in frames.into_iter().enumerate() {
            assert_eq!(v1::ShakeReply::decode(frame).map(|r| r.sequence), Ok(index as u32));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_have_a_code(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_stream::<v1::Request>(bytes.clone().into(), REQUEST_BYTES_MAX);
            let _ = decode_shake(bytes.into());
        }
    }
}
