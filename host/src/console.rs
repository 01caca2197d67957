//! What a command says. Nothing here panics or aborts: `println!` and `eprintln!` do when nobody takes what they write, and
//! lints keep them out of the programs.

use std::io::{self, ErrorKind, Write};

/// Whether somebody still reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as can be told.
    Stays,
    /// The pipe was closed, as by `| head`. That is no failure: the reader has seen enough.
    Gone,
}

/// Writes to standard output, and has it written when it returns.
///
/// # Errors
/// What was said is lost, as on a full disk. A closed pipe is no error.
pub fn print(text: &str) -> io::Result<Reader> {
    write(&mut io::stdout().lock(), text)
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`print`].
pub fn line(text: &str) -> io::Result<Reader> {
    print(&format!("{text}\n"))
}

/// Writes a line to standard error, if anybody takes it. There is nobody else to tell when not.
pub fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Like [`tell`], for a line that the next one replaces: the text as it is.
pub fn tell_bare(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn write(out: &mut impl Write, text: &str) -> io::Result<Reader> {
    gone_is_good(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What became of something written to standard output, where a closed pipe is no failure.
///
/// # Errors
/// Any other error of `written`.
pub fn gone_is_good(written: io::Result<()>) -> io::Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::Stays),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("cannot write the output: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
        assert_eq!(write(&mut Vec::new(), "said\n").expect("memory"), Reader::Stays);
        let (reader, mut pipe) = io::pipe().expect("a pipe");
        drop(reader);
        assert_eq!(write(&mut pipe, "said\n").expect("no failure"), Reader::Gone);
        let mut full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let error = write(&mut full, "said\n").expect_err("no space left");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("cannot write the output: "), "{error}");
    }
}
