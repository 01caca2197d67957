//! What the lean client reads off the network before and after a packet is opened: headers, frames, transport
//! parameters. The first byte says which; what must hold stands in `lean-quic`, which keeps these parsers to itself.

use lean_quic::fuzzing;

/// Reads one datagram, packet or set of parameters.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 5 {
        0 => fuzzing::headers(rest),
        1 => fuzzing::transport_parameters(rest),
        level => fuzzing::frames(level - 2, rest),
    }
}

/// A datagram of two packets, frames of 1-RTT and of the handshake, a server's parameters.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let long = |kind: u8, body: &[u8]| [&[0, 0xc0 | kind << 4, 0, 0, 0, 1, 2, 1, 2, 3, 4, 5, 6][..], body].concat();
    vec![
        (
            "initial",
            long(0, &[0, 5, 0, 0, 0, 0, 0, 0x40, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]),
        ),
        ("handshake", long(2, &[3, 0, 0, 0])),
        ("retry", long(3, &[9; 24])),
        ("short", [&[0, 0x40][..], &[3; 20]].concat()),
        (
            "versions",
            vec![0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1a, 0x2a, 0x3a, 0x4a],
        ),
        (
            "parameters",
            vec![
                1, 0, 2, 1, 2, 1, 2, 0x44, 0, 4, 2, 0x50, 0, 8, 1, 16, 0x0a, 1, 3, 0x0f, 1, 9, 0x20, 2, 0x45, 0,
            ],
        ),
        ("crypto", vec![2, 6, 0, 3, 1, 2, 3, 1, 0, 0]),
        (
            "data",
            vec![
                4, 2, 20, 0, 2, 1, 3, 2, 0, 5, 0x0b, 4, 2, 5, 6, 0x31, 1, 8, 0x10, 0x44, 0, 0x12, 5, 0x1e, 1,
            ],
        ),
        (
            "new-id",
            [&[4, 0x18, 1, 0, 8][..], &[7; 8], &[8; 16], &[0x1c, 1, 0, 2, b'n', b'o']].concat(),
        ),
    ]
}
