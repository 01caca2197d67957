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

/// The commands of the unit's own text that bring files to their places.
fn installs() -> Vec<&'static str> {
    let command = |line: &'static str| line.strip_prefix("#   ").filter(|line| line.starts_with("install "));
    UNIT.lines().filter_map(command).collect()
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

/// Installed by the unit's own commands, in a place of its own: neither the authority's key nor an operator's is there, both
/// programs find nothing wrong, the gateway runs, and an operator steers it from elsewhere.
#[test]
fn what_the_unit_installs_is_all_that_it_needs() {
    let mut stand = Stand::new(&show("tonight", 60), "");
    stand.make_seed(20_000, 200);
    stand.stop_gateway(Signal::SIGTERM);
    let root = stand.path("root");
    std::fs::create_dir(&root).expect("made");
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/");
    // Ports of this test, and a mapping of its own; the directories are the installed ones.
    let ports = std::fs::read_to_string(stand.path("gateway.toml")).expect("a file");
    let ports = ports.replace("\"queue\"", &format!("{:?}", stand.path("queue")));
    let ports = ports.replace("[show]\nfile = \"show.toml\"\n", "");
    let place = |text: String| text.replace("\"/", &format!("\"{}/", root.display()));
    for (name, more) in [
        ("gateway.toml", ports),
        ("agent.toml", format!("[queue]\npath = {:?}\n", stand.path("queue"))),
    ] {
        let text = place(std::fs::read_to_string(format!("{units}{name}")).expect("a file"));
        std::fs::write(stand.path(name), text + &more).expect("written");
    }
    for command in installs() {
        let command = command
            .replace("-o shake -g shake ", "")
            .replace(" /etc/", &format!(" {}/etc/", root.display()));
        let command = command.replace(" /var/", &format!(" {}/var/", root.display()));
        let done = std::process::Command::new("sh")
            .args(["-ec", &command])
            .current_dir(stand.path(""))
            .output();
        let done = done.expect("a shell");
        assert!(done.status.success(), "{command}: {done:?}");
    }
    let certs = root.join("etc/shake/certs");
    let mut names: Vec<_> = std::fs::read_dir(&certs)
        .expect("installed")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ca.pem",
            "cookie.key.toml",
            "server.key.pem",
            "server.pem",
            "stateless-reset.key.toml",
            "ticket.key.toml",
            "user-token.key.toml"
        ]
    );
    assert!(certs::inspect::inspect(&certs, 0, jiff::Timestamp::now()).good);
    let config = root.join("etc/shake/gateway.toml").display().to_string();
    let checked = stand.run(&["check-config", "--config", &config]);
    assert!(checked.is_good && !checked.text.contains("remark"), "{checked:?}");
    let agent = root.join("etc/shake/agent.toml");
    let text = std::fs::read_to_string(&agent).expect("installed");
    let found = shake_agent::check::check("agent.toml", &text, &agent, shake_rules::UnixMillis(1_800_000_000_000));
    assert_eq!(found, [""; 0]);
    stand.start_gateway_as(&["run", "--config", &config]);
    assert!(
        stand.operate(&["status"]).is_good,
        "with the operator's directory of another machine"
    );
    assert!(root.join("var/lib/shake-gateway/live.toml").exists());
}

/// A machine that has more of something than `sysctl.conf` asks for keeps it, also when the settings are installed again.
#[test]
fn kernel_settings_are_raised_and_never_lowered() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let has = |key: &str, value: &str| {
        let path = directory.path().join(key.replace('.', "/"));
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, format!("{value}\n")).expect("written");
    };
    has("net.core.rmem_max", "212992");
    has("net.core.wmem_max", "4294967296");
    has("net.ipv4.udp_mem", "100\t600000\t2000000");
    has("vm.min_free_kbytes", "67584");
    has("vm.swappiness", "60");
    let printed = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/sysctl.sh");
        let output = std::process::Command::new("sh")
            .arg(script)
            .env("SYSCTL_ROOT", directory.path())
            .output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let first = printed();
    for line in [
        "net.core.rmem_max = 67108864",
        "net.core.wmem_max = 4294967296",
        "net.ipv4.udp_mem = 262144 600000 2000000",
        "vm.min_free_kbytes = 262144",
        "vm.swappiness = 1",
        "# fs.suid_dumpable: this kernel has no such setting",
    ] {
        assert!(first.lines().any(|found| found == line), "{line} in {first}");
    }
    for line in first.lines().filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(" = ").expect("a setting");
        has(key, value);
    }
    assert_eq!(printed(), first);
}
