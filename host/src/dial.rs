//! Reaching a name that has several addresses: all are tried, a little apart, and the first that answers is taken (RFC 8305,
//! "Happy Eyeballs"). So `localhost` is reached on ::1 and on 127.0.0.1, and a name whose IPv6 leads nowhere by IPv4.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// Between two attempts, while no answer has come (RFC 8305, section 8, Connection Attempt Delay).
const APART: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried at the most.
const ADDRESSES_MAX: usize = 16;

/// The order in which addresses are tried: that of the resolver, but the families in turns (RFC 8305, section 4).
#[must_use]
pub fn in_turns(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let begins_with_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.is_ipv6() == begins_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            turns.truncate(ADDRESSES_MAX);
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// Tries the addresses in this order, and gives what the first that succeeds does; the attempts that are under way then are
/// dropped. A failure lets the next begin at once.
///
/// # Errors
/// Each address with what its attempt said, in the order in which they failed.
pub async fn first<T, E, F>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, E)>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let mut waiting = addresses.iter().copied();
    let mut under_way = JoinSet::new();
    let mut faults = Vec::new();
    loop {
        let next = waiting.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            let attempt = attempt(address);
            under_way.spawn(async move { (address, attempt.await) });
        }
        let ended = tokio::select! {
            ended = under_way.join_next() => ended,
            () = tokio::time::sleep(APART), if !is_last => continue,
        };
        match ended {
            Some(Ok((_, Ok(value)))) => return Ok(value),
            Some(Ok((address, Err(fault)))) => faults.push((address, fault)),
            // Only if it panicked, and then this program does, too.
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            None => return Err(faults),
        }
    }
}

/// The faults of all addresses in one line.
#[must_use]
pub fn told<E: Display>(faults: &[(SocketAddr, E)]) -> String {
    match faults {
        [] => "the name has no address".to_owned(),
        [(_, fault)] => fault.to_string(),
        all => {
            let each: Vec<_> = all
                .iter()
                .map(|(address, fault)| format!("{address}: {fault}"))
                .collect();
            format!("none of {} addresses: {}", all.len(), each.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V6: &str = "[2001:db8::1]:1";
    const V6_TOO: &str = "[2001:db8::2]:1";
    const V4: &str = "192.0.2.1:1";
    const V4_TOO: &str = "192.0.2.2:1";

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|one| one.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_and_nothing_is_tried_twice() {
        let turns = |all: &[&str]| in_turns(addresses(all));
        assert_eq!(
            turns(&[V6, V6_TOO, V6, V4, V4_TOO]),
            addresses(&[V6, V4, V6_TOO, V4_TOO])
        );
        assert_eq!(turns(&[V4, V4_TOO, V6]), addresses(&[V4, V6, V4_TOO]));
        assert_eq!(turns(&[V4]), addresses(&[V4]));
        assert_eq!(turns(&[]), addresses(&[]));
    }

    /// Tries V6, V4 and V6_TOO, of which those in `silent` never answer and those in `bad` fail at once.
    fn dial(silent: &[&str], bad: &[&str]) -> (Result<SocketAddr, String>, Duration) {
        let (silent, bad) = (addresses(silent), addresses(bad));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(async {
            let began = tokio::time::Instant::now();
            let all = addresses(&[V6, V4, V6_TOO]);
            let reached = first(&all, |address| {
                let (is_silent, is_bad) = (silent.contains(&address), bad.contains(&address));
                async move {
                    if is_silent {
                        tokio::time::sleep(Duration::from_secs(10)).await;
                        return Err("silent");
                    }
                    if is_bad { Err("refused") } else { Ok(address) }
                }
            });
            (reached.await.map_err(|faults| told(&faults)), began.elapsed())
        })
    }

    #[test]
    fn the_first_that_answers_is_taken_and_each_that_fails_is_named() {
        let at = |address: &str| Ok(address.parse().expect("an address"));
        assert_eq!(dial(&[], &[]), (at(V6), Duration::ZERO));
        assert_eq!(dial(&[], &[V6]), (at(V4), Duration::ZERO), "the next begins at once");
        let (reached, took) = dial(&[V6], &[]);
        assert_eq!(reached, at(V4));
        assert!(
            took >= APART && took < APART * 2,
            "{took:?}: the next begins a little later"
        );
        assert_eq!(dial(&[V6, V4], &[]).0, at(V6_TOO));
        let (reached, _) = dial(&[V4], &[V6, V6_TOO]);
        let text = reached.expect_err("none answers");
        assert_eq!(
            text,
            format!("none of 3 addresses: {V6}: refused; {V6_TOO}: refused; {V4}: silent")
        );
        assert_eq!(told::<&str>(&[]), "the name has no address");
    }
}
