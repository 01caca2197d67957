//! Keeps what this process knows from the other users of the host: its memory and the files that it makes.

use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};

/// From now on no core dump is written, only root reads `/proc/PID/mem` and the like (prctl(2), PR_SET_DUMPABLE), and new
/// files are the owner's alone. To be called before a key is read.
///
/// # Errors
/// What the system said.
pub fn keep() -> nix::Result<()> {
    prctl::set_dumpable(false)?;
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_dump_is_made_and_new_files_are_private() {
        keep().expect("nothing forbids it");
        assert_eq!(prctl::get_dumpable(), Ok(false));
        assert_eq!(umask(Mode::empty()), Mode::from_bits_truncate(0o077));
        keep().expect("nothing forbids it");
    }
}
