//! What threads of the gateway share.

use crate::config::Claims;
use crate::config_store::ConfigStore;
use crate::key_use::KeyUses;
use crate::load::state::LoadState;
use crate::presence::Presence;
use crate::winners::Winners;
use host::clock::Clock;

/// What all shards share; nothing in it is written to but the tables of winners and of users, the load, and, by
/// operators, what is live.
pub struct Shared {
    pub current: ConfigStore,
    pub board: LoadState,
    pub winners: Winners,
    pub presence: Presence,
    pub key_uses: KeyUses,
    pub claims: Claims,
    pub shards: u16,
    /// What every time goes by that users and the agent are told.
    pub clock: Clock,
}
