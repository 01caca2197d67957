//! How connections end.

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The application's error code (RFC 9000, section 20.2).
    pub code: u32,
    /// For who reads traces.
    pub reason: &'static str,
}
