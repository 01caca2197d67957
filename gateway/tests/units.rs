//! The very command lines of the service unit, run as its manager runs them: in the middle of a show, and on the morning
//! after.

mod support;

use nix::sys::signal::Signal;
use support::Stand;

const UNIT: &str = include_str!("../../deploy/systemd/gateway.service");

/// The arguments of the unit's commands whose key this is, with the stand's configuration.
fn commands(stand: &Stand, key: &str) -> Vec<Vec<String>> {
    let config = stand.path("gateway.toml").display().to_string();
    let arguments = |line: &str| {
        let words = line.replace("/etc/shake/gateway.toml", &config);
        let mut words = words.split_whitespace().map(str::to_owned);
        let program = words.next().expect("a program");
        assert_eq!(program, "/usr/bin/gateway", "{line}");
        words.collect()
    };
    let value = |line: &'static str| line.strip_prefix(key)?.strip_prefix('=');
    UNIT.lines().filter_map(value).map(arguments).collect()
}

/// Starts the gateway as the unit does.
fn start_by_unit(stand: &mut Stand) {
    for before in commands(stand, "ExecStartPre") {
        let before: Vec<_> = before.iter().map(String::as_str).collect();
        let done = stand.run(&before);
        assert!(done.is_good, "{before:?}: {done:?}");
    }
    let [start] = commands(stand, "ExecStart").try_into().expect("one");
    let start: Vec<_> = start.iter().map(String::as_str).collect();
    stand.start_gateway_as(&start);
}

/// A show of two phases of an hour each, the first of which began so many seconds ago.
fn show(name: &str, began_s_ago: i64) -> String {
    let began = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(began_s_ago);
    format!(
        "[event]\nname = {name:?}\nstarts = \"{began}\"\n[[phases]]\nname = \"first of {name}\"\nend_s = 3600\nweights = {{ nothing = 1 }}\n\
         [[phases]]\nname = \"second of {name}\"\nstart_s = 3600\nend_s = 7200\nweights = {{ greeting = 1 }}\n"
    )
}

fn status(stand: &Stand) -> (String, String) {
    let status = stand.operate(&["status", "--json"]);
    assert!(status.is_good, "{status:?}");
    let status = status.json().remove(0);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&status["show"]), text(&status["current_phase"]["name"]))
}

#[test]
fn a_restart_in_the_middle_of_a_show_comes_up() {
    let mut stand = Stand::new(&show("tonight", 5_000), "");
    stand.stop_gateway(Signal::SIGKILL);
    start_by_unit(&mut stand);
    assert_eq!(status(&stand), ("tonight".to_owned(), "second of tonight".to_owned()));
}

#[test]
fn a_restart_with_last_nights_file_and_tonights_show_pushed_comes_up() {
    let mut stand = Stand::new(&show("last night", 80_000), "");
    let tonight = stand.path("tonight.toml");
    std::fs::write(&tonight, show("tonight", 5_000)).expect("written");
    let push = ["push", "show", tonight.to_str().expect("a plain path")];
    // A phase that is over and was never played is an error in a push.
    assert!(!stand.operate(&push).is_good);
    std::fs::write(&tonight, show("tonight", 60)).expect("written");
    let pushed = stand.operate(&push);
    assert!(pushed.is_good, "{pushed:?}");
    stand.stop_gateway(Signal::SIGKILL);
    start_by_unit(&mut stand);
    assert_eq!(status(&stand), ("tonight".to_owned(), "first of tonight".to_owned()));
}

#[test]
fn a_restart_on_the_morning_after_comes_up() {
    let mut stand = Stand::new(&show("last night", 80_000), "");
    stand.stop_gateway(Signal::SIGKILL);
    start_by_unit(&mut stand);
    assert_eq!(status(&stand), ("last night".to_owned(), String::new()));
}
