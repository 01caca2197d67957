//! The event's certificates and secret keys: made once per installation, looked at often, and the user tokens
//! that one of the keys signs.
//!
//! The modules stand in the order in which an operator needs them. Invariants: no function reads a clock (`now` is
//! an argument), and no secret is ever printed, logged or part of an error.

#![forbid(unsafe_code)]

pub mod counts;
pub mod files;
pub mod generate;
pub mod inspect;
pub mod issue;
pub mod keys;
pub mod report;
pub mod rotate;
pub mod token;
