//! The queue of lines and the thread behind it. Nothing here knows what a line says.

use nix::sys::signal::{SigSet, SigmaskHow};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait at most. What comes then is lost, and counted.
pub const LINES_MAX: usize = 4_096;
/// A line is cut behind so many bytes, so that the queue has a size.
const LINE_BYTES_MAX: usize = 16 << 10;
/// How often the end of a full queue is asked for.
const FLUSH_EVERY: Duration = Duration::from_millis(5);

enum Entry {
    Line(Vec<u8>),
    /// Everything before it was written when it is answered.
    Flush(SyncSender<()>),
}

/// The end that lines are put into. Each write to it is a line.
#[derive(Clone)]
pub struct Queue {
    entries: SyncSender<Entry>,
    lost: &'static AtomicU64,
}

impl Queue {
    /// Starts the thread, which writes to `out` as long as there is an end to put lines into.
    pub fn start(out: impl Write + Send + 'static, lost: &'static AtomicU64) -> io::Result<Self> {
        let (entries, queued) = sync_channel(LINES_MAX);
        let write = move || write_lines(&queued, out, lost);
        // Signals are for other threads: one that waits for them blocks them, and this one would take them in its place.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let spawned = thread::Builder::new().name("log".into()).spawn(write);
        before.thread_set_mask()?;
        spawned?;
        Ok(Self { entries, lost })
    }

    /// Puts a line in. Never waits.
    pub fn line(&self, line: &[u8]) {
        let mut kept = line[..line.len().min(LINE_BYTES_MAX)].to_vec();
        if kept.len() < line.len() {
            kept.extend_from_slice(" (cut)\n".as_bytes());
        }
        if self.entries.try_send(Entry::Line(kept)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what is queued was written, or lost; `at_most` so long.
    pub fn flush(&self, at_most: Duration) {
        let begun = Instant::now();
        let (answer, answered) = sync_channel(1);
        let mut entry = Entry::Flush(answer);
        while let Err(TrySendError::Full(back)) = self.entries.try_send(entry) {
            if begun.elapsed() >= at_most {
                return;
            }
            entry = back;
            thread::sleep(FLUSH_EVERY);
        }
        let _ = answered.recv_timeout(at_most.saturating_sub(begun.elapsed()));
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(queued: &Receiver<Entry>, mut out: impl Write, lost: &AtomicU64) {
    let mut told = 0;
    while let Ok(entry) = queued.recv() {
        match entry {
            Entry::Line(line) => {
                let lost_now = lost.load(Ordering::Relaxed);
                if lost_now != told && writeln!(out, "{} lines of the log were lost here", lost_now - told).is_ok() {
                    told = lost_now;
                }
                if out.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Entry::Flush(answer) => {
                let _ = answer.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read};

    const LONG: Duration = Duration::from_secs(60);

    fn counter() -> &'static AtomicU64 {
        Box::leak(Box::default())
    }

    #[test]
    fn a_reader_that_stands_still_stops_nobody_and_what_is_lost_is_counted_and_told() {
        let (reader, pipe) = io::pipe().expect("a pipe");
        let lost = counter();
        let queue = Queue::start(pipe, lost).expect("a thread");
        // A pipe takes 64 KiB, the queue 4,096 lines, the thread one.
        let lines = LINES_MAX + 2_000;
        for number in 0..lines {
            queue.line(format!("{number:0>99}\n").as_bytes());
        }
        let lost_first = lost.load(Ordering::Relaxed);
        assert!(lost_first > 0, "{lines} lines of 100 bytes cannot all wait");
        queue.flush(Duration::from_millis(1)); // comes back, too

        let mut reader = BufReader::new(reader);
        let mut read = 0;
        let mut line = String::new();
        while read + lost_first < lines as u64 {
            line.clear();
            reader.read_line(&mut line).expect("the pipe is open");
            read += u64::from(!line.contains("lost"));
        }
        queue.flush(LONG);
        queue.line(b"the last\n");
        drop(queue);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("the pipe is open");
        assert!(rest.ends_with("the last\n"), "{rest:?}");
        assert_eq!(
            lost.load(Ordering::Relaxed),
            lost_first,
            "nothing was lost once it was read"
        );
    }

    #[test]
    fn a_full_disk_and_a_closed_pipe_lose_lines_and_nothing_else() {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let (reader, closed) = io::pipe().expect("a pipe");
        drop(reader);
        let outs: [Box<dyn Write + Send>; 2] = [Box::new(full), Box::new(closed)];
        for out in outs {
            let lost = counter();
            let mut queue = Queue::start(out, lost).expect("a thread");
            for _ in 0..10 {
                queue.write_all(b"said\n").expect("never fails");
            }
            Queue::flush(&queue, LONG);
            assert_eq!(lost.load(Ordering::Relaxed), 10);
        }
    }

    #[test]
    fn a_line_has_a_length() {
        let (mut reader, pipe) = io::pipe().expect("a pipe");
        let queue = Queue::start(pipe, counter()).expect("a thread");
        queue.line(&vec![b'x'; LINE_BYTES_MAX + 1]);
        drop(queue);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("the thread ends and closes it");
        assert_eq!((text.len(), &text[LINE_BYTES_MAX..]), (LINE_BYTES_MAX + 7, " (cut)\n"));
    }
}
