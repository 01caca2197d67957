//! Sixteen random bytes that are this gateway's own, kept in its state directory, so that they are the same in its next life:
//! what tells gateways of a fleet apart that have the same keys.

use anyhow::{Context, Result};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand::Rng;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tracing::warn;

/// Sixteen random bytes.
pub type Id = [u8; 16];

/// The file's name in the state directory.
pub const FILE: &str = "gateway-id";

/// The id of the gateway with this state directory. Without one, or with one that cannot be used, it is of this life alone,
/// and phones of an earlier one are not reset: no reason not to serve.
pub fn of(state: Option<&Path>) -> Id {
    let Some(state) = state else {
        return random();
    };
    kept(state).unwrap_or_else(|fault| {
        warn!(
            fault = format!("{fault:#}"),
            "phones of an earlier life notice by their timeouts that it is over; repair the file or put it aside, and start again"
        );
        random()
    })
}

fn random() -> Id {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    id
}

fn kept(state: &Path) -> Result<Id> {
    let path = state.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => HEXLOWER_PERMISSIVE
            .decode(text.trim_end().as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .with_context(|| format!("{}: {text:?} is not 32 hex digits", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(state).with_context(|| format!("cannot write {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Written under another name first, so that it is never there in part.
fn make(state: &Path) -> Result<Id> {
    let (id, new) = (random(), state.join("gateway-id.new"));
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{}", HEXLOWER.encode(&id))?;
    file.sync_all()?;
    fs::rename(&new, state.join(FILE))?;
    File::open(state)?.sync_all()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_and_what_cannot_be_read_is_no_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = of(Some(directory.path()));
        assert_eq!(of(Some(directory.path())), first);
        let other = tempfile::tempdir().expect("another");
        assert_ne!(of(Some(other.path())), first);
        for damaged in ["", "00", "zz000000000000000000000000000000"] {
            fs::write(directory.path().join(FILE), damaged).expect("written");
            assert_ne!(of(Some(directory.path())), first);
            let kept = fs::read_to_string(directory.path().join(FILE)).expect("there");
            assert_eq!(kept, damaged, "not written over");
        }
        assert_ne!(of(None), of(None));
        assert_ne!(of(Some(&directory.path().join("missing"))), first);
    }
}
