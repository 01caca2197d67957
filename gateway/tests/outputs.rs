//! What becomes of the programs when nobody takes what they write: a full disk, a closed pipe, a reader that stands still.

mod support;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use support::{GENEROUS_SHOW, Stand, wait};

const LOST: &str = "gateway_log_lines_lost_total";

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

/// A pipe that nobody will ever read.
fn closed_pipe() -> io::PipeWriter {
    let (reader, pipe) = io::pipe().expect("a pipe");
    drop(reader);
    pipe
}

/// Serves a phone, and ends in good order.
async fn serves_and_ends(stand: &mut Stand) {
    let phone = stand.user(1).await;
    assert_eq!(phone.shake(9).await.expect("a shake").sequence, 9);
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_nobody_takes_ends_no_gateway_and_what_is_lost_is_counted() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let outs: [Stdio; 2] = [full_disk().into(), closed_pipe().into()];
    for out in outs {
        stand.stop_gateway(Signal::SIGTERM);
        stand.start_gateway_to(out, "");
        wait("lost lines are counted", || stand.metric(LOST) > 0);
        serves_and_ends(&mut stand).await;
        stand.start_gateway();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reader_of_the_log_that_stands_still_stops_no_gateway() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.stop_gateway(Signal::SIGTERM);
    let (reader, pipe) = io::pipe().expect("a pipe");
    // Full from the beginning: whatever is written to it waits for ever.
    let flags = |flags| fcntl(&pipe, FcntlArg::F_SETFL(flags)).expect("a pipe has flags");
    flags(OFlag::O_NONBLOCK);
    while (&pipe).write(&[b'x'; 4_096]).is_ok() {}
    flags(OFlag::empty());
    stand.start_gateway_to(pipe, "trace");
    serves_and_ends(&mut stand).await;
    drop(reader);
}

#[test]
fn an_empty_rust_log_silences_nothing() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.stop_gateway(Signal::SIGTERM);
    for (rust_log, wanted) in [("", "ready"), ("gateway=loud", "is no log filter")] {
        let path = stand.path("stderr");
        stand.start_gateway_to(File::create(&path).expect("a file"), rust_log);
        stand.stop_gateway(Signal::SIGTERM);
        let text = std::fs::read_to_string(&path).expect("the log");
        assert!(text.contains(wanted) && text.contains("stopped"), "{text}");
    }
}

fn run(program: &str, arguments: &[&str], out: impl Into<Stdio>) -> Output {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdout(out).stderr(Stdio::piped()).output();
    output.expect("the program runs")
}

#[test]
fn commands_end_quietly_when_their_reader_goes_and_say_so_when_the_disk_is_full() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let (admin, certs) = (stand.admin.to_string(), stand.path("certs").display().to_string());
    let config = stand.path("gateway.toml").display().to_string();
    let steering = ["--target", &admin, "--certs", &certs];
    let commands: &[&[&str]] = &[
        &["print-config"],
        &["check-config", "--config", &config],
        &[&["status"], &steering[..]].concat(),
        &[&["status", "--json"], &steering[..]].concat(),
        &[&["status", "--watch"], &steering[..]].concat(),
        &[&["reload", "--dry-run"], &steering[..]].concat(),
    ];
    for arguments in commands {
        let output = run(env!("CARGO_BIN_EXE_gateway"), arguments, closed_pipe());
        let text = String::from_utf8_lossy(&output.stderr);
        let mut complaints = text.lines().filter(|line| !line.starts_with("remark: "));
        assert_eq!(
            (output.status.code(), complaints.next()),
            (Some(0), None),
            "{arguments:?}"
        );
        let output = run(env!("CARGO_BIN_EXE_gateway"), arguments, full_disk());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains("cannot write the output"), "{arguments:?}: {text}");
    }
}

#[test]
fn an_error_that_nobody_takes_still_has_its_exit_code() {
    for out in [Stdio::from(full_disk()), closed_pipe().into()] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        let status = command
            .args(["check-config", "--config", "/nowhere"])
            .stderr(out)
            .status();
        assert_eq!(status.expect("it runs").code(), Some(1));
    }
}

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = host::help_check::wrapped_once(env!("CARGO_BIN_EXE_gateway"));
    assert!(commands.contains("push show"), "{commands:?}");
}
