//! The contracts: between phones and gateway ([`wire`], `shake.proto`) and between gateway and agent over shared
//! memory ([`handoff`], `handoff.proto`).
//!
//! Invariant: the generated types ([`wire::v1`], [`handoff::v1`]) are for the border only. Behind it stand the
//! checked types of [`request`], [`reply`] and [`handoff`], made by `TryFrom`.

pub mod code;
pub mod frame;
pub mod reply;
pub mod request;

pub mod handoff;

pub mod wire {
    //! Types generated from `shake.proto`.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/shake.v1.rs"));
    }
}

/// The ALPN protocol name of the phones' connections.
pub const ALPN: &[u8] = b"shake/1";
/// The ALPN protocol name of the operators' connections.
pub const ALPN_ADMIN: &[u8] = b"shake-admin/1";
/// The UDP port when none is set.
pub const PORT: u16 = 4433;
