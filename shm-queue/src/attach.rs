//! One side of a mapping, held by one live process: the lock, the epoch, the heartbeat, and the handles of the side.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::consumer::Consumer;
use crate::crash;
use crate::error::Error;
use crate::layout::{self, RingGeometry, Side};
use crate::mapping::{self, Mapping};
use crate::memory::Region;
use crate::owner::Owner;
use crate::producer::Producer;
use crate::ring::{Rx, Tx};
use crate::sync::Ordering;
use crate::wake::{Bell, Sleeper};

/// One side of a mapping. Clones share it; the side is free again when the last clone and the last handle made from it
/// are dropped, or the process dies.
#[derive(Debug, Clone)]
pub struct Attachment(Arc<Held>);

#[derive(Debug)]
struct Held {
    mapping: Mapping,
    side: Side,
    epoch: u32,
    /// Per ring: whether a handle of this side's end is alive.
    in_use: Box<[AtomicBool]>,
}

/// The right to be this side's one handle of a ring, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Claim {
    held: Arc<Held>,
    ring: usize,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Release and acquire (in `claim`) hand the ring's private state over between threads of this process.
        self.held.in_use[self.ring].store(false, Ordering::Release);
    }
}

impl Attachment {
    pub(crate) fn take(mapping: &Mapping, side: Side, now_ms: u64) -> Result<Attachment, Error> {
        let inner = &mapping.0;
        // The file lock belongs to the open file description, which clones of the mapping share.
        if inner.attached_here[side.index()].swap(true, Ordering::AcqRel) {
            return Err(lock_error(&inner.path, side, Errno::EAGAIN));
        }
        if let Err(errno) = lock(&inner.file, side, libc::F_WRLCK) {
            inner.attached_here[side.index()].store(false, Ordering::Release);
            return Err(lock_error(&inner.path, side, errno));
        }
        crash::point("attach:locked");
        let line = inner.layout.side(side);
        inner
            .memory
            .word(line + layout::SIDE_HEARTBEAT)
            .store(now_ms, Ordering::Relaxed);
        // What a predecessor said does not hold for this one.
        inner
            .memory
            .word(line + layout::SIDE_STATUS)
            .store(0, Ordering::Relaxed);
        inner.memory.word(line + layout::SIDE_CLOCK).store(0, Ordering::Relaxed);
        crash::point("attach:heartbeat-stored");
        // SYNC POINT E: pairs with the acquire in `Mapping::peer`.
        let before = inner
            .memory
            .half_word(line + layout::SIDE_EPOCH)
            .fetch_add(1, Ordering::Release);
        crash::point("attach:epoch-stored");
        let in_use = inner
            .layout
            .geometry
            .rings
            .iter()
            .map(|_| AtomicBool::new(false))
            .collect();
        Ok(Attachment(Arc::new(Held {
            mapping: mapping.clone(),
            side,
            epoch: before.wrapping_add(1),
            in_use,
        })))
    }

    /// The side that is held.
    #[must_use]
    pub fn side(&self) -> Side {
        self.0.side
    }

    /// How often this side has been attached, this time included.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.0.epoch
    }

    /// The mapping that it is a side of.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.0.mapping
    }

    /// Stores this side's heartbeat for the other to see: CLOCK_MONOTONIC in milliseconds.
    pub fn beat(&self, now_ms: u64) {
        let inner = &self.0.mapping.0;
        let line = inner.layout.side(self.0.side);
        inner
            .memory
            .word(line + layout::SIDE_HEARTBEAT)
            .store(now_ms, Ordering::Relaxed);
    }

    /// Stores this side's status for the other to see in [`crate::Peer`]: one word whose meaning is the application's. It is
    /// one value by itself: nothing else that this side wrote is ordered by it.
    pub fn set_status(&self, status: u64) {
        let inner = &self.0.mapping.0;
        let line = inner.layout.side(self.0.side);
        inner
            .memory
            .word(line + layout::SIDE_STATUS)
            .store(status, Ordering::Relaxed);
    }

    /// Stores the offset of this side's clock for the other to see in [`crate::Peer`], in milliseconds from a clock of the
    /// machine. Ordered before everything that this side pushes after it: who has read a record sees this offset or a later
    /// one.
    pub fn set_clock(&self, offset_ms: i64) {
        let inner = &self.0.mapping.0;
        let line = inner.layout.side(self.0.side);
        inner
            .memory
            .word(line + layout::SIDE_CLOCK)
            .store(offset_ms.cast_unsigned(), Ordering::Relaxed);
    }

    /// Names whose mapping this is, for Front to see in [`Mapping::owner`]; for good. The same owner again changes nothing.
    ///
    /// # Errors
    /// [`Error::OtherOwner`] when it is another's; [`Error::NotBack`] for Front.
    pub fn name_owner(&self, owner: &Owner) -> Result<(), Error> {
        let inner = &self.0.mapping.0;
        if self.0.side != Side::Back {
            return Err(Error::NotBack);
        }
        match self.0.mapping.owner() {
            Some(found) if found == *owner => {}
            Some(found) => {
                return Err(Error::OtherOwner {
                    path: inner.path.clone(),
                    found,
                    ours: *owner,
                });
            }
            None => {
                inner.owner_words().publish(owner);
                crash::point("owner:named");
            }
        }
        Ok(())
    }

    /// Stores Back's stamp: a number that grows with whatever Back has made durable. Only Back has one.
    ///
    /// # Errors
    /// [`Error::NotBack`] for Front.
    pub fn set_stamp(&self, stamp: u64) -> Result<(), Error> {
        if self.0.side != Side::Back {
            return Err(Error::NotBack);
        }
        let inner = &self.0.mapping.0;
        let line = inner.layout.side(Side::Back);
        inner
            .memory
            .word(line + layout::SIDE_STAMP)
            .store(stamp, Ordering::Relaxed);
        Ok(())
    }

    /// The end that pushes into a ring, continuing at the published position.
    ///
    /// # Errors
    /// [`Error::NoSuchRing`], [`Error::WrongSide`], [`Error::RingTaken`], or [`Error::Corrupt`].
    pub fn producer(&self, ring: usize) -> Result<Producer, Error> {
        let (geometry, claim, region) = self.claim(ring, self.0.side)?;
        let tx = Tx::resume(region, geometry.shape()).map_err(|source| Error::Corrupt { ring, source })?;
        Ok(Producer::new(tx, claim))
    }

    /// The end that reads a ring, continuing at the committed position.
    ///
    /// # Errors
    /// As [`Attachment::producer`].
    pub fn consumer(&self, ring: usize) -> Result<Consumer, Error> {
        let (geometry, claim, region) = self.claim(ring, self.0.side.other())?;
        let rx = Rx::resume(region, geometry.shape()).map_err(|source| Error::Corrupt { ring, source })?;
        Ok(Consumer::new(rx, claim))
    }

    fn claim(&self, ring: usize, producer: Side) -> Result<(RingGeometry, Claim, Region), Error> {
        let inner = &self.0.mapping.0;
        let rings = &inner.layout.geometry.rings;
        let geometry = *rings.get(ring).ok_or(Error::NoSuchRing {
            ring,
            rings: rings.len(),
        })?;
        if geometry.producer != producer {
            return Err(Error::WrongSide {
                ring,
                producer: geometry.producer,
                side: self.0.side,
            });
        }
        if self.0.in_use[ring].swap(true, Ordering::Acquire) {
            return Err(Error::RingTaken(ring));
        }
        let claim = Claim {
            held: Arc::clone(&self.0),
            ring,
        };
        let region = inner
            .memory
            .words(inner.layout.ring(ring), geometry.shape().region_words());
        Ok((geometry, claim, region))
    }

    /// The doorbell `bell`: Front listens to it, Back rings it. When Back takes it, it rings once at once, because a
    /// predecessor may have died after clearing the flag and before ringing.
    ///
    /// # Errors
    /// [`Error::NoSuchBell`], [`Error::NotAFifo`], or [`Error::Io`] when its FIFO cannot be opened.
    pub fn bell(&self, bell: usize) -> Result<Bell, Error> {
        let inner = &self.0.mapping.0;
        let bells = usize::from(inner.layout.geometry.bells);
        if bell >= bells {
            return Err(Error::NoSuchBell { bell, bells });
        }
        let path = mapping::bell_path(&inner.path, bell);
        let bell = Bell::open(self.clone(), inner.memory.clone(), inner.layout.bell(bell), path)?;
        if self.0.side == Side::Back {
            bell.ring_always();
        }
        Ok(bell)
    }

    /// The futex word `sleeper`: one thread of Back sleeps on it, Front wakes it. When Front takes it, it wakes once at
    /// once, for the same reason as in [`Attachment::bell`].
    ///
    /// # Errors
    /// [`Error::NoSuchSleeper`].
    pub fn sleeper(&self, sleeper: usize) -> Result<Sleeper, Error> {
        let inner = &self.0.mapping.0;
        let sleepers = usize::from(inner.layout.geometry.sleepers);
        if sleeper >= sleepers {
            return Err(Error::NoSuchSleeper { sleeper, sleepers });
        }
        let sleeper = Sleeper::new(self.clone(), inner.memory.clone(), inner.layout.sleeper(sleeper));
        if self.0.side == Side::Front {
            sleeper.wake_always();
        }
        Ok(sleeper)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let inner = &self.mapping.0;
        inner
            .memory
            .word(inner.layout.side(self.side) + layout::SIDE_HEARTBEAT)
            .store(0, Ordering::Relaxed);
        // Unlocking a range of a file that is open cannot fail; if it did, closing the file would still free it.
        let _ = lock(&self.mapping.0.file, self.side, libc::F_UNLCK);
        inner.attached_here[self.side.index()].store(false, Ordering::Release);
    }
}

/// Takes a side of a file that is no mapping of this version, for as long as it is open.
pub(crate) fn lock_side(file: &File, side: Side) -> Result<(), Errno> {
    lock(file, side, libc::F_WRLCK)
}

/// Why a side could not be locked.
pub(crate) fn lock_error(path: &Path, side: Side, errno: Errno) -> Error {
    let path = path.to_owned();
    match errno {
        Errno::EAGAIN | Errno::EACCES => Error::SideTaken { path, side },
        _ => Error::Io {
            action: "lock",
            path,
            source: errno.into(),
        },
    }
}

/// Locks or unlocks the byte of the file that stands for a side. The lock belongs to the open file description: closing
/// it, and so the death of its process, frees it.
fn lock(file: &File, side: Side, kind: libc::c_int) -> Result<(), Errno> {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: side.index() as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range)).map(drop)
}
