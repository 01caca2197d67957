//! What gateway and agent say to each other: the rings ([`topology`]), the records in them ([`record`], and [`abuse`] for those of behaviour
//! and blocks), and the word that
//! each side keeps about itself ([`status`]).

pub mod abuse;
pub mod record;
pub mod status;
pub mod topology;

/// Types generated from `handoff.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/shake.handoff.v1.rs"));
}
