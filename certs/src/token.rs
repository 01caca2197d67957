//! Mints user tokens with the active user-token key of a certificate directory. In an event the account service does
//! this; here it is for tests, for operators and for a first try by hand.

use crate::keys::{self, KeyFileError};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::Serialize;
use shake_rules::keys::Purpose;
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};
use std::path::Path;
use thiserror::Error;

/// A token and what it says. The token itself is a credential: whoever has it is that user.
#[derive(Debug, Serialize)]
pub struct Minted {
    /// The user.
    pub user: u64,
    /// RFC 3339, UTC; the token is valid before this time.
    pub expires_at: String,
    /// The key that signed it.
    pub key_id: u8,
    /// The token in lower-case hex.
    pub token: String,
}

/// Why no token was made.
#[derive(Debug, Error)]
pub enum TokenFailure {
    /// There is no key to sign with.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// It would be refused at once.
    #[error("a token that expires at {expires_at} is over already: it is {now}. Choose a later --expires-at")]
    Over {
        /// When it would expire.
        expires_at: Timestamp,
        /// The time of the request.
        now: Timestamp,
    },
}

/// Mints a token for this user.
///
/// # Errors
/// When the directory has no readable user-token key file, or the time is over.
pub fn mint(directory: &Path, user: UserId, expires_at: Timestamp, now: Timestamp) -> Result<Minted, TokenFailure> {
    let over = || TokenFailure::Over { expires_at, now };
    if expires_at <= now {
        return Err(over());
    }
    let expires_ms = u64::try_from(expires_at.as_millisecond()).map_err(|_| over())?;
    let ring = keys::read(directory, Purpose::UserToken)?;
    let token = TokenKeys::new(&ring).mint(UserToken {
        user,
        expires_at: UnixMillis(expires_ms),
    });
    let expires_at = Timestamp::from_millisecond(expires_at.as_millisecond()).unwrap_or(expires_at);
    Ok(Minted {
        user: user.0,
        expires_at: expires_at.to_string(),
        key_id: ring.active().id,
        token: HEXLOWER.encode(&token),
    })
}
