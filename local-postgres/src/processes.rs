//! A server's processes, all of which stand still or go on together.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// How long a signal may take to show.
const STANDS: Duration = Duration::from_secs(2);

/// Stops the first process and those that it has made; gives whether the kernel says that all stand.
pub fn freeze(first: Pid) -> io::Result<bool> {
    let _ = kill(first, Signal::SIGSTOP);
    let until = Instant::now() + STANDS;
    while Instant::now() < until {
        // It alone makes others, so none is missed once it stands.
        let others = children(first)?;
        let (at_rest, moving): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, state)| matches!(state, 'T' | 'Z'));
        if !at_rest.is_empty() && moving.is_empty() {
            return Ok(true);
        }
        for (other, _) in moving {
            let _ = kill(other, Signal::SIGSTOP);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

/// Lets them go on.
pub fn thaw(first: Pid) {
    for (other, _) in children(first).unwrap_or_default() {
        let _ = kill(other, Signal::SIGCONT);
    }
    let _ = kill(first, Signal::SIGCONT);
}

/// The processes that this one has made, each with the letter of its state: proc_pid_stat(5).
fn children(parent: Pid) -> io::Result<Vec<(Pid, char)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile. Its name, in brackets, may hold anything.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next().and_then(|field| field.chars().next());
        let of: Option<i32> = fields.next().and_then(|field| field.parse().ok());
        if let (Some(state), Some(of)) = (state, of)
            && of == parent.as_raw()
        {
            found.push((Pid::from_raw(pid), state));
        }
    }
    Ok(found)
}
