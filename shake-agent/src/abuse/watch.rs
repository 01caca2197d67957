//! The thread of the analysis: ten times a second it takes what the shards told, has it judged, and tells every shard of
//! the blocks that it has not heard of. A gateway that was restarted has forgotten them, and hears of all again.

use super::analysis::{Analysis, Verdict};
use super::blocks::Blocks;
use super::keep::Keeper;
use super::rules::Rules;
use crate::burst::Burst;
use crate::counters::Counters;
use host::clock::Clock;
use shake_proto::handoff::abuse::Event;
use shake_proto::handoff::topology::{Ring, shards_of};
use shake_rules::UnixMillis;
use shm_queue::{Attachment, Bell, Consumer, Producer, ReadError, Side};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::{info, warn};

/// Time between two looks at the rings.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Records that one look takes from a ring at the most: half of what it holds.
const EVENTS_AT_ONCE: usize = Ring::Event.slots() as usize / 2;
/// How often the files are looked at and written, in milliseconds.
const FILES_EVERY_MS: u64 = 1_000;

/// The analysis with its files. It outlives the mappings that it serves.
#[derive(Debug)]
pub struct Abuse {
    analysis: Analysis,
    keeper: Option<Keeper>,
    counters: Arc<Counters>,
    has_changed: bool,
    filed: UnixMillis,
    held_back: Burst,
    file_faults: Burst,
}

impl Abuse {
    /// Begins with the blocks that an earlier agent left in `file`, if there is one.
    #[must_use]
    pub fn open(rules: Rules, file: Option<PathBuf>, counters: Arc<Counters>, now: UnixMillis) -> Self {
        let (keeper, blocks) = match file {
            None => (None, Blocks::default()),
            Some(path) => {
                let (keeper, blocks, read) = Keeper::open(path.clone(), now);
                if let Err(fault) = read {
                    warn!(file = %path.display(), %fault, "earlier blocks cannot be read; none of them holds");
                }
                (Some(keeper), blocks)
            }
        };
        Self {
            analysis: Analysis::new(rules, blocks),
            keeper,
            counters,
            has_changed: true,
            filed: UnixMillis(0),
            held_back: Burst::default(),
            file_faults: Burst::default(),
        }
    }

    fn take(&mut self, event: &Event, now: UnixMillis) {
        let Self {
            analysis,
            keeper,
            counters,
            has_changed,
            held_back,
            ..
        } = self;
        analysis.take(event, now, |verdict| {
            *has_changed = true;
            let sums = keeper.as_mut().map(Keeper::sums);
            match verdict {
                Verdict::Blocked(held) => {
                    counters.blocks_made.add(1);
                    if let Some(sums) = sums {
                        *sums.made.entry(held.rule.name().to_owned()).or_default() += 1;
                    }
                    let for_s = held.until.since_ms(held.since) / 1_000;
                    info!(subject = %held.subject, rule = held.rule.name(), value = held.value, earlier = held.earlier, for_s, "blocked");
                }
                Verdict::DryRun(held) => {
                    counters.blocks_dry_run.add(1);
                    if let Some(sums) = sums {
                        *sums.dry_run.entry(held.rule.name().to_owned()).or_default() += 1;
                    }
                    info!(subject = %held.subject, rule = held.rule.name(), value = held.value, "would be blocked ([abuse] dry_run)");
                }
                Verdict::HeldBack(held) => {
                    counters.blocks_held_back.add(1);
                    if let Some(sums) = sums {
                        sums.held_back += 1;
                    }
                    if held_back.begins(now.0) {
                        warn!(
                            subject = %held.subject, rule = held.rule.name(), value = held.value,
                            "not blocked, because so many are already; is an [abuse] rule too strict for this event?"
                        );
                    }
                }
            }
        });
    }

    /// What is due by the clock: forgetting, lifting, writing.
    fn tend(&mut self, now: UnixMillis) {
        self.has_changed |= self.analysis.sweep(now);
        let is_time = now < self.filed || now.since_ms(self.filed) >= FILES_EVERY_MS;
        if is_time {
            self.filed = now;
            self.lift(now);
            self.write(now);
        }
    }

    fn lift(&mut self, now: UnixMillis) {
        let wishes = match self.keeper.as_ref().map(Keeper::take_lifts) {
            None => return,
            Some(Ok(wishes)) => wishes,
            Some(Err(fault)) => return self.complain(&fault, now),
        };
        for wish in wishes {
            let subjects: Vec<_> = match wish {
                Some(subject) => vec![subject],
                None => self.analysis.blocks.holding(now).map(|held| held.subject).collect(),
            };
            for subject in subjects {
                if self.analysis.lift(subject, now) {
                    self.counters.blocks_lifted.add(1);
                    self.has_changed = true;
                    info!(%subject, "lifted by an operator");
                }
            }
        }
    }

    fn write(&mut self, now: UnixMillis) {
        if !std::mem::take(&mut self.has_changed) {
            return;
        }
        let written = self
            .keeper
            .as_mut()
            .map_or(Ok(()), |keeper| keeper.write(&self.analysis.blocks, now));
        if let Err(fault) = written {
            self.has_changed = true;
            self.complain(&fault, now);
        }
    }

    fn complain(&mut self, fault: &io::Error, now: UnixMillis) {
        if self.file_faults.begins(now.0) {
            warn!(%fault, "the file of blocks cannot be read or written; the blocks hold all the same");
        }
    }
}

/// One shard's event and block rings.
struct Lane {
    events: Consumer,
    blocks: Producer,
    bell: Bell,
    /// The shard has heard of everything up to this version.
    told: u64,
    /// The cursors of the event ring are impossible; it is not read any more.
    is_broken: bool,
}

impl Lane {
    fn open(attachment: &Attachment, shard: u16) -> Result<Self, shm_queue::Error> {
        Ok(Self {
            events: attachment.consumer(Ring::Event.index(shard))?,
            blocks: attachment.producer(Ring::Block.index(shard))?,
            bell: attachment.bell(shard.into())?,
            told: 0,
            is_broken: false,
        })
    }

    /// Takes what the shard told. What makes no sense is counted and passed over.
    fn take(&mut self, abuse: &mut Abuse, now: UnixMillis) {
        if self.is_broken {
            return;
        }
        let read = self.events.read_batch(EVENTS_AT_ONCE, |_, bytes| {
            match Event::decode(bytes) {
                Ok(event) => abuse.take(&event, now),
                Err(_) => abuse.counters.records_bad.add(1),
            }
            abuse.counters.events_read.add(1);
        });
        match read {
            Ok(_) => {}
            Err(ReadError::Slot(_)) => {
                abuse.counters.slots_corrupt.add(1);
                // The read just said that the next slot is corrupt; when it no longer is, it is read the next time.
                let _ = self.events.skip_corrupt();
            }
            Err(ReadError::Cursors(_)) => self.is_broken = true,
        }
        let read_position = self.events.read_position();
        if read_position != self.events.position() && self.events.commit(read_position).is_err() {
            self.is_broken = true;
        }
        if self.is_broken {
            abuse.counters.rings_broken.add(1);
            warn!("an event ring is broken and not read any more; no money hangs on it");
        }
    }

    /// Tells the shard of the blocks that it has not heard of, as far as there is room.
    fn tell(&mut self, blocks: &Blocks, scratch: &mut Vec<u8>) {
        if self.told == blocks.newest() {
            return;
        }
        for (version, held) in blocks.after(self.told) {
            scratch.clear();
            held.to_record().encode(scratch);
            if self.blocks.push(scratch).is_err() {
                self.bell.ring();
                return;
            }
            self.told = version;
        }
        self.told = blocks.newest();
        self.bell.ring();
    }
}

/// Watches one mapping until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread. The attachment is held until this is dropped.
    ///
    /// # Errors
    /// When the rings cannot be taken or the thread cannot be started.
    pub fn spawn(attachment: &Attachment, abuse: Arc<Mutex<Abuse>>, clock: Clock) -> Result<Self, io::Error> {
        let rings = attachment.mapping().geometry().rings.len();
        let shards = shards_of(rings).ok_or_else(|| io::Error::other("no whole number of lanes"))?;
        let lanes: Result<Vec<_>, _> = (0..shards).map(|shard| Lane::open(attachment, shard)).collect();
        let lanes = lanes.map_err(io::Error::other)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, attachment) = (Arc::clone(&stop), attachment.clone());
        let thread = thread::Builder::new()
            .name("abuse".into())
            .spawn(move || watch(&attachment, lanes, &abuse, &clock, &theirs))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn watch(attachment: &Attachment, mut lanes: Vec<Lane>, abuse: &Mutex<Abuse>, clock: &Clock, stop: &AtomicBool) {
    // One thread at a time has it: the next mapping's begins when this one has ended.
    let mut abuse = abuse.lock().unwrap_or_else(PoisonError::into_inner);
    let mut scratch = Vec::with_capacity(Ring::Block.record_bytes_max() as usize);
    let mut gateway = 0;
    loop {
        let is_last = stop.load(Ordering::Relaxed);
        let now = clock.now();
        let epoch = attachment.mapping().peer(Side::Front).epoch;
        if epoch != gateway {
            gateway = epoch;
            lanes.iter_mut().for_each(|lane| lane.told = 0);
        }
        for lane in &mut lanes {
            lane.take(&mut abuse, now);
        }
        abuse.tend(now);
        for lane in &mut lanes {
            lane.tell(&abuse.analysis.blocks, &mut scratch);
        }
        if is_last {
            abuse.write(now);
            return;
        }
        thread::park_timeout(LOOK_EVERY);
    }
}
