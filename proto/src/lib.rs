//! The contracts: between phones and gateway ([`wire`], `shake.proto`), between gateway and agent over shared
//! memory ([`handoff`], `handoff.proto`), and between operators and gateway ([`admin`], `admin.proto`).
//!
//! Invariant: the generated types ([`wire::v1`], [`handoff::v1`], [`admin_v1`]) are for the border only. Behind it stand
//! the checked types of [`request`], [`reply`], [`handoff`] and [`admin`], made by `TryFrom`.

#![forbid(unsafe_code)]

pub mod code;
pub mod frame;
mod manifest;
pub mod reply;
pub mod request;
pub mod request_kind;

pub mod handoff;

pub mod admin;

pub mod admin_v1 {
    //! Types generated from `admin.proto`.
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/shake.admin.v1.rs"));
}

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
