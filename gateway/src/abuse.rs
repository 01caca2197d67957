//! What sessions do, as the agent's analysis hears of it: counted in the session, and told in one record when it has
//! said Hello, when it ends, and in between for each thousand shakes or each handful of misdeeds. So a shake costs an
//! addition and a comparison, and the event ring sees hardly anything of honest phones. Nothing here waits: what finds no room in the ring
//! is counted and dropped.
//!
//! Only what proved authentic is counted of a user, and only connections that completed their handshake of a prefix, or
//! others could have somebody blocked by sending packets in their name.

mod conduct;
mod reports;

pub use conduct::AbuseCounters;
pub use reports::Reports;
