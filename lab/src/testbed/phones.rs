//! The command lines of `client-sim run`.

use super::{Place, Programs, files};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::process::Command;

/// The phones of the place's scenario before the gateways that it names, with their report as JSON on stdout.
pub fn phones_of_scenario(place: &Place, programs: &Programs) -> Command {
    let mut phones = programs.command("client-sim");
    phones
        .arg("run")
        .arg(place.file(files::SCENARIO))
        .args(["--json", "--certs"])
        .arg(place.file(files::CERTS));
    phones
}

/// The same before this address.
pub fn phones(place: &Place, programs: &Programs, target: SocketAddr) -> Command {
    let mut phones = phones_of_scenario(place, programs);
    phones.args(["--target", &target.to_string()]);
    phones
}

/// The same before the place's own gateway, where they write down what they were credited.
pub fn phones_with_credits(place: &Place, programs: &Programs) -> Command {
    let mut phones = phones(place, programs, place.gateway);
    with_credits(&mut phones, place);
    phones
}

/// Has them write down what they were credited.
pub fn with_credits(phones: &mut Command, place: &Place) {
    phones.arg("--credits").arg(place.file(files::CREDITS));
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
