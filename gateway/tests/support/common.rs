//! What tests over real QUIC and tests in simulated time have in common: two shows, and what a phone of either kind is asked
//! to do.

use bytes::Bytes;
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind};

/// Every shake wins while there is a packet.
pub const GENEROUS_SHOW: &str = r#"
[limits]
packets_per_user = 8
packets_per_sponsor = 8
[[sponsors]]
id = 1
name = "Acme"
resource = 7
[[phases]]
name = "all win"
start_s = 0
end_s = 3600
releases_per_second = 1e6
weights = { red_packet = 1 }
resources = { nothing = 3 }
"#;

/// Two packets per user, one per sponsor; every shake wins while both allow it.
pub const TWO_EACH_SHOW: &str = r#"
[limits]
packets_per_user = 2
packets_per_sponsor = 1
[[sponsors]]
id = 1
[[sponsors]]
id = 2
[[sponsors]]
id = 3
[[phases]]
start_s = 0
end_s = 3600
releases_per_second = 1e6
weights = { red_packet = 1 }
"#;

/// Who misbehaves.
pub const BAD: u64 = 666;
/// Who is served all along.
pub const HONEST: u64 = 1;

/// A phone of either kind.
pub trait Client {
    /// Asks on a stream, and is answered.
    async fn reply_to(&self, kind: Kind) -> Reply;
    /// Shakes until it wins.
    async fn win(&self) -> v1::RedPacket;
}

async fn shake(client: &impl Client, sequence: u32) -> v1::ShakeReply {
    match client.reply_to(Kind::Shake(v1::Shake { sequence })).await {
        Reply::Shake(reply) => reply,
        other => panic!("a shake was answered by {other:?}"),
    }
}

/// Shakes until the limits of [`TWO_EACH_SHOW`] allow nothing more; gives what was won.
pub async fn win_all(client: &impl Client) -> Vec<v1::RedPacket> {
    let mut won = vec![client.win().await];
    for sequence in 0..60 {
        won.extend(shake(client, sequence).await.red_packet);
    }
    won
}

/// Claims by tickets that nobody made, often enough to be blocked.
pub async fn forge(client: &impl Client) {
    for _ in 0..25 {
        let claim = v1::Claim {
            ticket: Bytes::from_static(&[7; 62]),
            cookie: Bytes::new(),
        };
        client.reply_to(Kind::Claim(claim)).await;
    }
}

/// What a wallet is answered by.
pub async fn wallet(client: &impl Client) -> v1::wallet_reply::Result {
    match client.reply_to(Kind::Wallet(v1::Wallet {})).await {
        Reply::Wallet(reply) => reply.result.expect("a result"),
        other => panic!("a wallet was answered by {other:?}"),
    }
}

/// Whether a shake was refused by name, for a while.
pub fn is_blocked(reply: &v1::ShakeReply) -> bool {
    reply
        .slow_down
        .is_some_and(|slow_down| slow_down.blocked && slow_down.retry_after_ms > 0)
}

/// Holds that neither the gateway nor the ledger refuses it anything.
pub async fn assert_served(client: &impl Client) {
    let reply = shake(client, 3).await;
    assert!(reply.slow_down.is_none(), "{reply:?}");
    let shown = wallet(client).await;
    assert!(matches!(shown, v1::wallet_reply::Result::State(_)), "{shown:?}");
}
