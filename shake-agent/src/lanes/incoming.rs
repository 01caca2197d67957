//! What comes in: read from the rings, fairly over the shards; and put back, when it waits for another writer of the ledger.

use super::Lanes;
use super::shape::fair_shares;
use bytes::Bytes;
use shake_proto::handoff::record::Request;
use shake_rules::UnixMillis;
use shm_queue::ReadError;
use tracing::warn;

/// The lane of a request, and its place in the lane's ring.
pub(crate) type Place = (usize, u64);

/// A request and the lane it came from.
#[derive(Debug)]
pub struct Incoming {
    /// Index of the lane, which is the shard's number.
    pub lane: usize,
    /// The request.
    pub request: Request,
    /// It was read and answered before, while the ledger could not be written.
    pub is_answered: bool,
    /// Its place in the lane's ring.
    pub(crate) position: u64,
    /// Since when it waits for what another writer of the ledger has; `None` when it does not.
    waits_since: Option<UnixMillis>,
}

impl Incoming {
    pub(crate) fn place(&self) -> Place {
        (self.lane, self.position)
    }

    /// How long it has waited for what another writer of the ledger has, in milliseconds.
    #[must_use]
    pub fn waited_ms(&self, now: UnixMillis) -> u64 {
        self.waits_since.map_or(0, |since| now.since_ms(since))
    }
}

impl Lanes {
    /// Takes what was put back, and up to `max` requests with it, fairly over the lanes. What does not decode is counted and passed
    /// over.
    pub fn read(&mut self, max: usize, now: UnixMillis, inbox: &mut Vec<Incoming>) {
        self.take_back(inbox);
        let max = max.saturating_sub(inbox.len());
        let waiting: Vec<usize> = self
            .lanes
            .iter_mut()
            .enumerate()
            .map(|(shard, lane)| lane.waiting(shard, &self.counters))
            .collect();
        let shares = fair_shares(&waiting, max, self.first);
        self.first = (self.first + 1) % self.lanes.len();
        for (index, share) in shares.into_iter().enumerate() {
            self.read_lane(index, share, now, inbox);
        }
    }

    fn read_lane(&mut self, index: usize, share: usize, now: UnixMillis, inbox: &mut Vec<Incoming>) {
        let lane = &mut self.lanes[index];
        let mut left = share;
        while left > 0 {
            let mut bad = 0;
            let answered_up_to = lane.answered_up_to;
            let outcome = lane.requests.read_batch(left, |position, bytes| {
                // One copy, of which ticket and cookie are then parts.
                match Request::decode(Bytes::copy_from_slice(bytes)) {
                    Ok(request) => inbox.push(Incoming {
                        lane: index,
                        request,
                        is_answered: position < answered_up_to,
                        position,
                        waits_since: None,
                    }),
                    Err(_) => bad += 1,
                }
            });
            if bad > 0 {
                lane.has_holes = true;
                self.counters.records_bad.add(bad);
                if self.bad_records.begins(now.0) {
                    warn!(
                        shard = index,
                        "request records that do not decode are passed over; are gateway and agent of one version?"
                    );
                }
            }
            match outcome {
                Ok(0) => return,
                Ok(count) => {
                    self.counters.requests_read.add(count as u64);
                    left -= count;
                }
                Err(ReadError::Slot(fault)) => {
                    // The read just said that the next slot is corrupt; when it no longer is, it is read the next time.
                    let _ = lane.requests.skip_corrupt();
                    lane.has_holes = true;
                    self.counters.slots_corrupt.add(1);
                    if self.corrupt_slots.begins(now.0) {
                        warn!(shard = index, %fault, "corrupt slots of the request ring are passed over");
                    }
                    left -= 1;
                }
                Err(ReadError::Cursors(_)) => return,
            }
        }
    }

    /// Puts a request back, which the next [`Lanes::read`] gives again; until then, and after a restart, the ring has it.
    pub fn put_back(&mut self, mut incoming: Incoming, now: UnixMillis) {
        incoming.waits_since.get_or_insert(now);
        self.lanes[incoming.lane].put_back.push(incoming);
    }

    /// Whether anything that was read waits to be taken again.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.put_back.is_empty())
    }

    /// Takes these of what was put back, by lane and place in its ring.
    pub(crate) fn take_out(&mut self, which: &[Place], inbox: &mut Vec<Incoming>) {
        for lane in &mut self.lanes {
            let put_back = std::mem::take(&mut lane.put_back);
            let (taken, left) = put_back
                .into_iter()
                .partition(|incoming| which.contains(&incoming.place()));
            lane.put_back = left;
            inbox.extend::<Vec<Incoming>>(taken);
        }
    }

    /// Takes what was put back.
    pub fn take_back(&mut self, inbox: &mut Vec<Incoming>) {
        self.lanes.iter_mut().for_each(|lane| inbox.append(&mut lane.put_back));
    }
}
