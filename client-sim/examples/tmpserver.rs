#[path = "../tests/support/mod.rs"]
mod support;
use shake_proto::wire::v1;
use support::*;
struct S(std::sync::atomic::AtomicU64);
impl Script for S {
    fn shake(&self, _user: u64, sequence: u32) -> Vec<Back> {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        vec![Back::Reply(if n % 200 == 0 {
            win(sequence, n, 7)
        } else {
            reply(sequence, v1::Outcome::Nothing)
        })]
    }
    fn claim(&self, _u: u64, c: &v1::Claim) -> Answer {
        opened(packet_of(c), 10, 7, false)
    }
}
fn main() {
    let s = Server::start(S(0.into()));
    println!("{} {}", s.address, s.certs().display());
    std::thread::sleep(std::time::Duration::from_secs(1200));
}
