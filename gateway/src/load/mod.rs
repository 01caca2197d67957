//! Load: how it is measured, which grade it makes, and which degraded modes hold. The grade's rules are pure
//! (`shake_rules::grade`, `shake_rules::throttle`); here are the measuring and what all threads see of it.

pub mod board;
pub mod modes;
