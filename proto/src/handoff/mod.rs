//! What gateway and agent say to each other: the rings ([`topology`]) and the records in them ([`record`]).

pub mod record;
pub mod topology;

/// Types generated from `handoff.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/shake.handoff.v1.rs"));
}
