//! Services that obey, ignore, fail and are slow.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::io::{BufRead as _, BufReader};

const LONG: Duration = Duration::from_secs(20);

/// A shell script as a service, and its log, which goes away with the test.
fn shell(name: &'static str, script: &str) -> (Service, RemovedLater) {
    let log = std::env::temp_dir().join(format!("xtask-test-{}-{name}.log", std::process::id()));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    let service = Service::start(name, command, log.clone()).unwrap();
    (service, RemovedLater(log))
}

struct RemovedLater(PathBuf);

impl Drop for RemovedLater {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Waits until the script has said that its trap stands.
fn wait_for_log(service: &Service, word: &str) {
    let deadline = Instant::now() + LONG;
    while !service.log_end().contains(word) {
        assert!(Instant::now() < deadline, "{}", service.log_end());
        thread::sleep(TICK);
    }
}

#[test]
fn ends_when_asked() {
    // As the real runs do: whatever is done here about signals, the program must still hear of its own.
    let _interrupt = Interrupt::watch().unwrap();
    let (service, _log) = shell("obeys", "trap 'exit 0' TERM; echo set; while :; do sleep 0.01; done");
    wait_for_log(&service, "set");
    let pid = service.pid();
    service.end(LONG).unwrap();
    assert!(kill(pid, None).is_err(), "it is gone");
}

#[test]
fn is_killed_when_it_does_not_end() {
    let (service, _log) = shell("ignores", "trap '' TERM; echo set; while :; do sleep 0.01; done");
    wait_for_log(&service, "set");
    let pid = service.pid();
    let error = service.end(Duration::from_millis(100)).unwrap_err().to_string();
    assert!(error.contains("did not end") && error.contains("set"), "{error}");
    assert!(kill(pid, None).is_err(), "it is gone");
}

#[test]
fn an_early_end_is_told_with_the_log() {
    let (mut service, _log) = shell("fails", "echo 'no such file' >&2; exit 3");
    let error = service
        .wait_ready(&Patience {
            at_most: LONG,
            interrupt: &Interrupt::default(),
        })
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("exit status: 3") && error.contains("no such file"),
        "{error}"
    );
}

#[test]
fn ready_is_what_the_program_says() {
    let (mut service, _log) = shell("slow", "echo \"$NOTIFY_SOCKET\"; exec sleep 600");
    wait_for_log(&service, ".socket");
    let program = UnixDatagram::unbound().unwrap();
    program.connect(&service.notices.path).unwrap();
    program.send(b"STATUS=reading the seed\n").unwrap();
    let short = Patience {
        at_most: Duration::from_millis(60),
        interrupt: &Interrupt::default(),
    };
    assert!(service.wait_ready(&short).is_err());
    program.send(b"STATUS=serving\nREADY=1\n").unwrap();
    service
        .wait_ready(&Patience {
            at_most: LONG,
            interrupt: &Interrupt::default(),
        })
        .unwrap();
}

#[test]
fn the_first_line_is_what_was_printed_first() {
    let (mut service, _log) = shell("prints", "sleep 0.1; echo 127.0.0.1:7; echo more; exec sleep 600");
    let interrupt = &Interrupt::default();
    let patience = Patience {
        at_most: LONG,
        interrupt,
    };
    assert_eq!(service.wait_line(&patience).unwrap(), "127.0.0.1:7");
    let (mut silent, _log) = shell("silent", "exit 0");
    let error = silent.wait_line(&patience).unwrap_err().to_string();
    assert!(error.contains("ended too early"), "{error}");
}

#[test]
fn a_wait_ends_with_an_answer_an_error_or_the_time() {
    let interrupt = &Interrupt::default();
    let mut asked = 0;
    let third = Patience {
        at_most: LONG,
        interrupt,
    }
    .wait(|| {
        asked += 1;
        Ok((asked == 3).then_some(asked))
    });
    assert_eq!(third.unwrap(), Some(3));
    let at_most = Duration::ZERO;
    let none = Patience { at_most, interrupt }.wait(|| Ok(None::<()>));
    assert_eq!(none.unwrap(), None);
    let failed = Patience {
        at_most: LONG,
        interrupt,
    }
    .wait(|| -> anyhow::Result<Option<()>> { bail!("gone") });
    assert_eq!(failed.unwrap_err().to_string(), "gone");
}

/// A lab for the next test: it has a service, names it, and waits for signals.
#[test]
#[ignore = "a process of the test `no_service_outlives_the_lab`"]
fn a_lab_with_a_service() {
    let interrupt = &Interrupt::watch().unwrap();
    let (service, _log) = shell("outlives", "exec sleep 600");
    host::console::line(&format!("\nservice {}", service.pid())).unwrap();
    let patience = Patience {
        at_most: LONG * 2,
        interrupt,
    };
    let waited = patience.wait(|| Ok(None::<()>));
    assert_eq!(waited.unwrap_err().to_string(), "interrupted");
}

#[test]
fn no_service_outlives_the_lab() {
    const LAB: [&str; 4] = [
        "--exact",
        "testbed::service::tests::a_lab_with_a_service",
        "--ignored",
        "--nocapture",
    ];
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL] {
        let mut lab = Command::new(std::env::current_exe().unwrap());
        let mut lab = lab.args(LAB).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let mut said = BufReader::new(lab.stdout.take().unwrap()).lines().map_while(Result::ok);
        let service = said.find_map(|line| line.strip_prefix("service ")?.parse().ok());
        let service: i32 = service.expect("the lab names its service");
        let stat = || Process::new(service).and_then(|process| process.stat());
        // Until setpriv has become it, nobody has asked for the signal.
        let deadline = Instant::now() + LONG;
        while !stat().is_ok_and(|stat| stat.comm == "sleep") {
            assert!(Instant::now() < deadline, "the service does not begin");
            thread::sleep(TICK);
        }
        kill(Pid::from_raw(lab.id().try_into().unwrap()), signal).unwrap();
        lab.wait().unwrap();
        // Who reaps it now is not said: a dead one may still have its number.
        let is_alive = || stat().is_ok_and(|stat| stat.state != 'Z');
        let deadline = Instant::now() + LONG;
        while is_alive() {
            assert!(Instant::now() < deadline, "it outlives a lab that ended by {signal}");
            thread::sleep(TICK);
        }
    }
}
