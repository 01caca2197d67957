//! An agent that stands still with rows locked.

use super::parts::part;
use super::*;
use crate::support::proxy::Proxy;

/// Asks until the answer is not Busy.
fn asked(front: &mut Front, request: &Record) -> ClaimResult {
    let Record::Ask(ask) = request else {
        panic!("nobody answers that")
    };
    let begun = Instant::now();
    loop {
        front.push(0, request);
        let reply = loop {
            let reply = front.reply_one(0);
            if reply.reply_to == ask.reply_to {
                break reply;
            }
        };
        match claimed(&reply) {
            ClaimResult::Busy { .. } => assert!(begun.elapsed() < PATIENCE, "busy for too long"),
            result => return result,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// It has what a claim needs, and has not written: whoever wants something else waits for nothing, what it holds is free when the
/// server's patience is over, its part may go to another, and when it wakes nothing of what it meant to write is written.
#[test]
fn an_agent_that_stands_still_with_its_locks_holds_up_nobody_for_long() {
    for is_adopted in [false, true] {
        let fleet = Fleet::new();
        // Twice of what `ledger init` sets: the test looks at what is locked meanwhile.
        let patience = format!("ALTER ROLE {AGENT} SET idle_in_transaction_session_timeout = '4s'");
        fleet.server.run("event", &patience).unwrap();
        let [first, second] = &fleet.events;
        let proxy = Proxy::start(&fleet.server.agent_config("event"));
        let [port, proxys] = [fleet.server.port(), proxy.port()].map(|port| format!(":{port}/"));
        let config = std::fs::read_to_string(first.path("agent.toml")).unwrap();
        std::fs::write(first.path("agent.toml"), config.replace(&port, &proxys)).unwrap();
        let mut fronts = [Front::new(first, 1), Front::new(second, 1)];
        let mut agents = [Running::start(first), Running::start(second)];
        granted(&mut fronts[0]);
        let packets: Vec<PacketId> = (0..3).map(|_| granted(&mut fronts[1]).packet).collect();
        let sealed = |packet: usize, user| ticket(&fronts[1].keys, EVENT, packets[packet], UserId(user), FAR);
        let claims: Vec<Record> = [(0, 7), (1, 7), (2, 9)]
            .into_iter()
            .map(|(packet, user)| claim(packet as u64, UserId(user), sealed(packet, user), UnixMillis(1)))
            .collect();
        assert!(is_opened(&claim_at(&mut fronts[1], &claims[0]), false));

        proxy.hold_after_locks();
        fronts[0].push(0, &claims[1]);
        // What was held first may have been something else that was to do; then the next one is.
        let free = format!(
            "SELECT count(*) FROM (SELECT 1 FROM packets WHERE packet = {} FOR UPDATE SKIP LOCKED) AS free",
            packets[1].0.cast_signed()
        );
        until("it has its locks", || {
            let is_held = proxy.holds();
            let is_locked = is_held && fleet.server.number("event", &free).unwrap() == 0;
            if is_held && !is_locked {
                proxy.hold_after_locks();
                proxy.let_go();
            }
            is_locked
        });
        agents[0].signal(Signal::SIGSTOP);
        fronts[1].push(0, &claims[1]);
        fronts[1].push(0, &claims[2]);
        let reply = fronts[1].reply_one(0);
        assert_eq!(reply.reply_to.request_id, 2, "the other one is not waited for");
        assert!(is_opened(&claimed(&reply), false), "{reply:?}");

        let third = Event::new(1);
        if is_adopted {
            std::fs::copy(first.seed(), third.seed()).unwrap();
            third.put_on_server(&fleet.server.agent_url("event"));
            let adopt = ["adopt", "0", "--seed", "seed.bin", "--by", "agent.toml", "--force"];
            let (code, told) = part(&third, &adopt);
            assert_eq!(code, Some(0), "{told}");
        }
        // It waited at the ring for some of this time, and may have been told busy.
        let reply = fronts[1].reply_one(0);
        let result = match claimed(&reply) {
            ClaimResult::Busy { .. } => asked(&mut fronts[1], &claims[1]),
            result => result,
        };
        assert!(is_opened(&result, false), "{result:?}");

        proxy.let_go();
        agents[0].signal(Signal::SIGCONT);
        if is_adopted {
            assert_eq!(agents[0].wait().code(), Some(3), "the part is another one's");
            let mut front = Front::new(&third, 1);
            agents[0] = Running::start(&third);
            granted(&mut front);
        } else {
            let result = asked(&mut fronts[0], &claims[1]);
            assert!(is_opened(&result, true), "{result:?}");
        }
        for agent in &mut agents {
            agent.signal(Signal::SIGTERM);
            assert_eq!(agent.wait().code(), Some(0));
        }
        let lines = "SELECT count(*) FROM outbox WHERE usr = 7";
        assert_eq!(fleet.server.number("event", lines).unwrap(), 2);
        let seeds = fleet.seeds.path().join("seeds");
        let mut audit = agent(second);
        audit.args(["audit", "--config", "agent.toml", "--on-primary", "--fleet"]);
        let output = audit.arg(seeds).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("\nbalanced"), "{told}");
    }
}
