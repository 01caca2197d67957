//! What a gateway begins with: what ran before, the configured files, or nothing at all.

mod support;

use nix::sys::signal::Signal;
use support::{Stand, wait};

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// One phase whose pace is this number.
fn show(number: u64) -> String {
    format!(
        "[event]\nname = \"show {number}\"\n[[phases]]\nname = \"on\"\nend_s = 3600\npace_ms = {number}\nweights = {{ greeting = 1 }}\n"
    )
}

fn write(stand: &Stand, name: &str, text: &str) -> String {
    let path = stand.path(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn status(stand: &Stand) -> serde_json::Value {
    let status = stand.operate(&["status", "--json"]);
    assert!(status.is_good, "{status:?}");
    status.json().remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restart_holds_what_was_pushed_until_the_configured_file_is_edited() {
    let mut stand = Stand::new(&show(1_000), "");
    let file = write(&stand, "next.toml", &show(1_001));
    assert!(stand.operate(&["push", "show", &file, "--version", "2"]).is_good);
    let restart = |stand: &mut Stand, arguments: &[&str]| {
        stand.stop_gateway(Signal::SIGKILL);
        stand.start_gateway_with(arguments);
        let status = status(stand);
        (
            status["version"].as_u64().expect("a number"),
            status["show"].as_str().expect("a name").to_owned(),
        )
    };
    assert_eq!(restart(&mut stand, &[]), (2, "show 1001".into()));
    assert_eq!(restart(&mut stand, &["--forget-pushed"]), (3, "show 1000".into()));
    assert!(stand.operate(&["push", "show", &file, "--version", "4"]).is_good);
    // In the middle of a show a gateway comes up, whatever somebody has begun to write into its files.
    write(&stand, "show.toml", "[[phases]]\nname = \"");
    assert_eq!(restart(&mut stand, &[]), (4, "show 1001".into()));
    wait("it says so", || {
        stand.metric("gateway_degraded{mode=\"config_stale\"}") == 1
    });
    write(&stand, "show.toml", &show(1_002));
    assert_eq!(restart(&mut stand, &[]), (5, "show 1002".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_damaged_copy_of_what_was_pushed_is_no_loss_and_two_are_no_first_start() {
    let mut stand = Stand::new(&show(1_000), "");
    let file = write(&stand, "next.toml", &show(1_001));
    assert!(stand.operate(&["push", "show", &file, "--version", "7"]).is_good);
    let stages = status(&stand)["current_phase"]["stage"].clone();
    let (live, copy) = (stand.path("state/live.toml"), stand.path("state/live.copy.toml"));
    let good = std::fs::read_to_string(&live).expect("kept");
    for damaged in [&live, &copy] {
        stand.stop_gateway(Signal::SIGKILL);
        std::fs::write(damaged, &good[..good.len() - 40]).expect("written");
        stand.start_gateway();
        assert_eq!(
            (&status(&stand)["version"], &status(&stand)["show"]),
            (&7.into(), &"show 1001".into())
        );
    }
    // None is whole: the configured files would begin the evening anew, so the way out is a person's to take.
    stand.stop_gateway(Signal::SIGKILL);
    for damaged in [&live, &copy] {
        std::fs::write(damaged, good.replace("show 1001", "show 9999")).expect("written");
    }
    let refused = stand.gateway_that_does_not_start(&[]);
    for word in ["live.toml", "live.copy.toml", "checksum", "--forget-pushed"] {
        assert!(refused.contains(word), "{word} in {refused}");
    }
    stand.start_gateway_with(&["--forget-pushed"]);
    let found = status(&stand);
    assert_eq!(
        (&found["show"], &found["version"]),
        (&"show 1000".into(), &8.into()),
        "versions go on"
    );
    assert_eq!(found["current_phase"]["stage"], stages);
}

/// A version near the end of its range is not there any more after a start with the configured files, if one ever came there.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_version_that_left_nothing_behind_it_is_got_rid_of() {
    use shake_rules::kept::Kept;
    let mut stand = Stand::new(&show(1_000), "");
    stand.stop_gateway(Signal::SIGKILL);
    let live = stand.path("state/live.toml");
    let mut kept = Kept::parse(&std::fs::read_to_string(&live).expect("kept")).expect("whole");
    (kept.version, kept.is_pushed) = (i64::MAX as u64, true);
    std::fs::write(&live, kept.to_text()).expect("written");
    stand.start_gateway_with(&["--forget-pushed"]);
    let file = write(&stand, "next.toml", &show(1_001));
    let pushed = stand.operate(&["push", "show", &file]);
    assert!(pushed.is_good, "{pushed:?}");
    assert_eq!(status(&stand)["show"], "show 1001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_start_that_fails_names_what_is_taken_and_leaves_nothing_behind() {
    let stand = Stand::new(&show(1_000), "");
    let kept = std::fs::read(stand.path("state/live.toml")).expect("kept");
    let config = std::fs::read_to_string(stand.path("gateway.toml")).expect("a file");
    let (other_queue, other_state) = ("path = \"queue2\"", "\n[state]\ndirectory = \"state2\"\n");
    let free = || {
        std::net::UdpSocket::bind("127.0.0.1:0")
            .and_then(|s| s.local_addr())
            .expect("a free port")
            .to_string()
    };
    let (phones, admin, metrics) = (
        stand.address.to_string(),
        stand.admin.to_string(),
        stand.metrics.to_string(),
    );
    let beside = format!("{config}{other_state}").replace("path = \"queue\"", other_queue);
    for (text, words) in [
        (config, ["state", "is in use"]),
        (
            beside.replace(&metrics, "127.0.0.1:0").replace(&admin, &free()),
            [phones.as_str(), "UDP port"],
        ),
        (
            beside.replace(&metrics, "127.0.0.1:0").replace(&phones, &free()),
            [admin.as_str(), "UDP port"],
        ),
        (
            beside.replace(&admin, &free()).replace(&phones, &free()),
            [metrics.as_str(), "TCP port"],
        ),
    ] {
        std::fs::write(stand.path("second.toml"), &text).expect("written");
        let refused = stand.run_to_its_end(&["run", "--config", "second.toml"]);
        for word in words.into_iter().chain(["another gateway"]) {
            assert!(refused.contains(word), "{word} in {refused}");
        }
        for name in ["queue2", "queue2.bell-0", "state2"] {
            assert!(!stand.path(name).exists(), "{name} after {refused}");
        }
    }
    assert_eq!(std::fs::read(stand.path("state/live.toml")).expect("kept"), kept);
    let reply = stand.user(1).await.shake(1).await.expect("a shake");
    assert_eq!(reply.pace_ms, 1_000, "the first one serves on");
}

/// The mapping alone is the other's: the show that it plays, and what its agent follows, stay what they are, and a push to it
/// finds what it always found.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_start_on_a_gateways_mapping_changes_nothing_of_its_show() {
    let mut stand = Stand::new(&show(1_000), "");
    stand.make_seed(20_000, 200);
    stand.start_agent();
    let next = write(&stand, "next.toml", &show(1_001));
    assert!(stand.operate(&["push", "show", &next, "--version", "2"]).is_good);
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(stand.path(""))
            .expect("there")
            .map(|entry| entry.expect("a file").file_name())
            .collect();
        names.sort();
        names
    };
    let config = std::fs::read_to_string(stand.path("gateway.toml")).expect("a file");
    let free = || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        socket.expect("a free port").to_string()
    };
    let mut second = config.replace(&stand.metrics.to_string(), "127.0.0.1:0");
    for taken in [stand.address, stand.admin] {
        second = second.replace(&taken.to_string(), &free());
    }
    std::fs::write(stand.path("second.toml"), second + "[state]\ndirectory = \"state2\"\n").expect("written");
    let (before, live) = (names(), std::fs::read(stand.path("state/live.toml")).expect("kept"));
    let refused = stand.run(&["run", "--config", "second.toml"]);
    assert!(
        !refused.is_good && refused.text.contains("attached already by a live process"),
        "{refused:?}"
    );
    assert_eq!(names(), before, "no state directory, no mapping, no bell");
    assert_eq!(std::fs::read(stand.path("state/live.toml")).expect("kept"), live);
    let again = stand.operate(&["push", "show", &next, "--version", "2", "--json"]);
    assert_eq!(again.json()[0]["result"], "already_there");
    assert_eq!(status(&stand)["show"], "show 1001");
    assert_eq!(
        stand.metric("gateway_degraded{mode=\"show_differs\"}"),
        0,
        "the agent follows what it followed"
    );
    let third = write(&stand, "third.toml", &show(1_002));
    assert!(stand.operate(&["push", "show", &third, "--version", "3"]).is_good);
    wait("a push is followed as ever", || {
        let reply = stand.operate(&["status", "--json"]).json().remove(0);
        reply["show"] == "show 1002" && reply["modes"].as_array().is_some_and(Vec::is_empty)
    });
}

/// For root, whom `cargo test` in a container often is. Whatever root made, the mapping above all, the service's user could
/// not open.
#[test]
fn root_makes_nothing_beside_the_state_of_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut stand = Stand::new(&show(1_000), "");
    stand.stop_gateway(Signal::SIGTERM);
    std::fs::remove_file(stand.path("queue")).expect("the mapping");
    std::os::unix::fs::chown(stand.path("state"), Some(12_345), Some(12_346)).expect("root may");
    let before = std::fs::read(stand.path("state/live.toml")).expect("kept");
    for command in ["run", "check-config"] {
        let refused = stand.run_to_its_end(&[command, "--config", "gateway.toml"]);
        for word in [
            "[state] directory",
            "belongs to user 12345",
            "--reuid 12345 --regid 12346",
        ] {
            assert!(refused.contains(word), "{word} in {refused}");
        }
    }
    assert!(!stand.path("queue").exists());
    assert_eq!(std::fs::read(stand.path("state/live.toml")).expect("kept"), before);
}

#[test]
fn an_unknown_config_key_stops_the_start_and_names_file_and_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("gateway.toml");
    std::fs::write(&config, "[listen]\nshards = 1\nshard = 2\n[show]\nfile = 3\n").expect("gateway.toml");
    for command in ["run", "check-config"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args([command, "--config"])
            .arg(&config)
            .output()
            .expect("the gateway runs");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{text}");
        for place in ["gateway.toml:3: ", "gateway.toml:5: "] {
            assert!(text.contains(place), "{place} in {text}");
        }
        assert!(text.contains("shard"), "{text}");
    }
}
