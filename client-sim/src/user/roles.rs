//! Who does what: the habits of a run, and what each user is by them. A role is drawn from the seed and the user's
//! index, so the same run has the same cast.

use super::Habits;
use crate::backoff::Jitter;
use crate::schedule::Micros;

/// What users do with packets among themselves. Shares run from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketHabits {
    /// The share of winners of split packets who tell friends of the code.
    pub share_split: f64,
    /// How many random users hear of a code.
    pub friends_told: u32,
    /// The share of users who send a packet, once.
    pub send_share: f64,
    /// The balance that such a user waits for, in cents.
    pub send_min_cents: u64,
    /// The share of users who look at a packet that they had a part in.
    pub view_share: f64,
    /// The share of users who ask for their wallet at the end.
    pub wallet_share: f64,
    /// The share of users who never claim what they win.
    pub hoard_share: f64,
    /// The share of users who grab what they are offered or told of.
    pub grab_share: f64,
    /// The share of users who grab once more what they have grabbed.
    pub repeat_share: f64,
    /// How long a user takes before each of these, in milliseconds: least and most.
    pub delay_ms: [u32; 2],
}

/// What users fetch.
#[derive(Clone, Debug, PartialEq)]
pub struct PackageHabits {
    /// The share of users who fetch the packages of the manifest, 0 to 1.
    pub fetch_share: f64,
    /// The most users who do.
    pub sample: u32,
    /// Fetches are begun within this time after the Hello.
    pub within: Micros,
}

/// What one user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) obeys: bool,
    pub(super) is_on_streams: bool,
    pub(super) shares_codes: bool,
    pub(super) sends: bool,
    pub(super) looks: bool,
    pub(super) asks_wallet: bool,
    pub(super) hoards: bool,
    pub(super) grabs: bool,
    pub(super) repeats: bool,
    pub(super) fetches: bool,
}

impl Roles {
    pub(super) fn of(index: u32, habits: &Habits) -> Self {
        let packets = &habits.packets;
        // Drawn one by one, so that those who send are not always those who look.
        let mut cast = Jitter::new(habits.seed ^ CAST, index.into());
        // 53 bits are what a float holds exactly, so that a share of 1 is everybody.
        let mut drawn = |share: f64| ((cast.next_u64() >> 11) as f64) < share * 2_f64.powi(53);
        Self {
            obeys: is_among(index, habits.obey_pace),
            is_on_streams: is_among(index, habits.use_streams),
            shares_codes: drawn(packets.share_split),
            sends: drawn(packets.send_share),
            looks: drawn(packets.view_share),
            asks_wallet: drawn(packets.wallet_share),
            hoards: drawn(packets.hoard_share),
            grabs: drawn(packets.grab_share),
            repeats: drawn(packets.repeat_share),
            fetches: is_among(index, habits.packages.fetch_share)
                && among_before(index, habits.packages.fetch_share) < f64::from(habits.packages.sample),
        }
    }
}

/// Keeps the draws of the cast apart from those of the play.
const CAST: u64 = 0x6361_7374;

/// Whether the index is among the share; of any `n` indices in a row, `n * share` are, to within one.
pub(super) fn is_among(index: u32, share: f64) -> bool {
    ((f64::from(index) + 1.0) * share).floor() > among_before(index, share)
}

/// How many smaller indices are among the share.
fn among_before(index: u32, share: f64) -> f64 {
    (f64::from(index) * share).floor()
}
