//! The command lines of `client-sim run`.

use super::{Place, Programs, files};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::process::Command;

/// The phones of the place's scenario before this address, with their report as JSON on stdout.
pub fn phones(place: &Place, programs: &Programs, target: SocketAddr) -> Command {
    let mut phones = programs.command("client-sim");
    phones
        .arg("run")
        .arg(place.file(files::SCENARIO))
        .args(["--json", "--target", &target.to_string(), "--certs"])
        .arg(place.file(files::CERTS));
    phones
}

/// The same before the place's own gateway, where they write down what they were credited.
pub fn phones_with_credits(place: &Place, programs: &Programs) -> Command {
    let mut phones = phones(place, programs, place.gateway);
    phones.arg("--credits").arg(place.file(files::CREDITS));
    phones
}

/// Has them write a page of their run as well, with the gateway's metrics and these processes.
pub fn with_page(phones: &mut Command, place: &Place, processes: &[(&str, Pid)]) {
    phones
        .arg("--html")
        .arg(place.file("report.html"))
        .args(["--metrics", &format!("http://{}/metrics", place.metrics)]);
    for (name, pid) in processes {
        phones.args(["--watch-pid", &format!("{name}={pid}")]);
    }
}
