//! Wake-ups across the two processes: a futex word for a thread of Back, a FIFO for a poll loop of Front. The protocol
//! that loses none of them is in `handshake.rs`; here are only the system calls. Nothing here spins.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use crate::attach::Attachment;
use crate::crash;
use crate::error::Error;
use crate::handshake;
use crate::mapping;
use crate::memory::Memory;
use crate::sync::AtomicU32;

/// A futex word on which one thread of Back sleeps.
///
/// ```text
/// loop {
///     work until nothing is left;
///     sleeper.prepare();
///     if any ring has something { sleeper.cancel(); continue }
///     sleeper.wait(timeout);
/// }
/// ```
#[derive(Debug)]
pub struct Sleeper {
    _attachment: Attachment,
    memory: Memory,
    at: usize,
}

impl Sleeper {
    pub(crate) fn new(attachment: Attachment, memory: Memory, at: usize) -> Sleeper {
        Sleeper {
            _attachment: attachment,
            memory,
            at,
        }
    }

    fn flag(&self) -> &AtomicU32 {
        self.memory.half_word(self.at)
    }

    /// Back: announces that the caller is about to sleep. It must look at its rings once more before [`Sleeper::wait`].
    pub fn prepare(&self) {
        handshake::announce(self.flag());
    }

    /// Back: the caller found work after [`Sleeper::prepare`] and does not sleep.
    pub fn cancel(&self) {
        handshake::withdraw(self.flag());
    }

    /// Back: sleeps until notified, at most `timeout`. Returns at once when a notification came since
    /// [`Sleeper::prepare`]. True unless the time ran out; a signal may end it early too, so look at the rings either way.
    pub fn wait(&self, timeout: Duration) -> bool {
        let woken = futex_wait(self.flag(), handshake::ASLEEP, timeout);
        handshake::withdraw(self.flag());
        woken
    }

    /// Front, after a push: wakes the thread if it sleeps or is about to. Costs a fence and a load when it does not. True
    /// when it had to be woken.
    pub fn notify(&self) -> bool {
        let asleep = handshake::take(self.flag());
        if asleep {
            crash::point("notify:flag-cleared");
            futex_wake(self.flag());
        }
        asleep
    }

    /// Wakes the thread whatever the flag says.
    pub(crate) fn wake_always(&self) {
        handshake::withdraw(self.flag());
        futex_wake(self.flag());
    }
}

/// Most bytes that one drain takes out of a FIFO, in reads of this many; the other side cannot hold a loop up.
const DRAIN_BYTES: usize = 4096;
const DRAIN_READS: usize = 16;

/// A FIFO that a poll loop of Front listens to (readable means: look at the rings), with a flag that spares Back the
/// write while nobody is polling.
///
/// ```text
/// loop {
///     work until nothing is left;
///     bell.arm();
///     timeout = if any ring has something { 0 } else { as long as wished };
///     poll(bell.as_fd() and the sockets, timeout);
///     bell.disarm_and_drain();
/// }
/// ```
#[derive(Debug)]
pub struct Bell {
    _attachment: Attachment,
    memory: Memory,
    at: usize,
    fifo: File,
}

impl Bell {
    pub(crate) fn open(attachment: Attachment, memory: Memory, at: usize, path: PathBuf) -> Result<Bell, Error> {
        let io = |action, source| Error::Io {
            action,
            path: path.clone(),
            source,
        };
        let fifo = OpenOptions::new()
            // Both, so that neither side ever sees the end of the stream or waits for the other to open it.
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|source| match source.raw_os_error() {
                Some(libc::ELOOP) => Error::NotAFifo(path.clone()),
                _ => io("open", source),
            })?;
        mapping::check_fifo(&path, &fifo.metadata().map_err(|source| io("inspect", source))?)?;
        Ok(Bell {
            _attachment: attachment,
            memory,
            at,
            fifo,
        })
    }

    fn flag(&self) -> &AtomicU32 {
        self.memory.half_word(self.at)
    }

    /// Front: the descriptor to poll for reading.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }

    /// Front: announces that the caller is about to poll. It must look at its rings once more before it does.
    pub fn arm(&self) {
        handshake::announce(self.flag());
    }

    /// Front, after polling, or instead of it: takes the announcement back and empties the FIFO. True when the bell had
    /// been rung.
    pub fn disarm_and_drain(&self) -> bool {
        // The flag first: a ring that saw it set is then in the FIFO or on its way, and at worst is one poll too many.
        handshake::withdraw(self.flag());
        let mut bytes = [0; DRAIN_BYTES];
        let mut rung = false;
        for _ in 0..DRAIN_READS {
            match (&self.fifo).read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    rung = true;
                    if count < DRAIN_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Empty, as a rule. Whatever else it is, the loop polls again.
                Err(_) => break,
            }
        }
        rung
    }

    /// Back, after a push: rings if the listener announced that it polls. Costs a fence and a load when it did not. True
    /// when it rang.
    pub fn ring(&self) -> bool {
        let armed = handshake::take(self.flag());
        if armed {
            crash::point("ring:flag-cleared");
            self.ring_always();
        }
        armed
    }

    /// Rings whatever the flag says.
    pub(crate) fn ring_always(&self) {
        // A full FIFO (EAGAIN) is readable, which is all that a ring is for.
        while let Err(error) = (&self.fifo).write(&[1]) {
            if error.kind() != ErrorKind::Interrupted {
                break;
            }
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }
}

/// Sleeps while `word` holds `expected`, at most `timeout`. False when the time ran out.
fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) -> bool {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    };
    // Not the private futex: the word is shared by two processes, so the kernel must find it by file and offset.
    // SAFETY: the pointer is to a live, aligned 32-bit word, `timeout` lives across the call, and the kernel writes to
    // neither.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
            ptr::null::<u32>(),
            0,
        )
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

/// Wakes whoever sleeps on the word. There is one sleeper per word, but a stale one may linger beside it: wake all.
fn futex_wake(word: &AtomicU32) {
    // SAFETY: the pointer is to a live, aligned 32-bit word; the kernel only uses it as a key.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            i32::MAX,
            ptr::null::<libc::timespec>(),
            ptr::null::<u32>(),
            0,
        );
    }
}
