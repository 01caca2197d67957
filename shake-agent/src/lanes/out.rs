//! What goes out: grants, replies with their backlog, notices, and the bells.

use super::{BACKLOG_MAX, Lanes};
use crate::requests::{Answer, Audience};
use shake_proto::handoff::record::{Grant, Notice, Reply};
use shm_queue::PushError;
use tracing::error;

impl Lanes {
    /// Puts a released packet into a lane's grant ring, at the position that the ledger has for it.
    pub fn push_grant(&mut self, index: usize, position: u64, grant: &Grant) {
        let lane = &mut self.lanes[index];
        if lane.grants_stopped {
            return;
        }
        self.scratch.clear();
        grant.encode(&mut self.scratch);
        let pushed = match lane.grants.position() {
            next if next == position => lane.grants.push(&self.scratch).map_err(|fault| fault.to_string()),
            next => Err(format!("the ring stands at {next}")),
        };
        match pushed {
            Ok(_) => {
                lane.pushed = true;
                self.counters.grants_pushed.add(1);
            }
            Err(fault) => {
                lane.grants_stopped = true;
                error!(
                    shard = index,
                    position, fault, "a grant was not taken; this shard gets no more before a restart"
                );
            }
        }
    }

    /// Puts out all that comes of a request of this lane.
    pub fn push_answer(&mut self, index: usize, answer: &Answer) {
        if let Some(reply) = &answer.reply {
            self.push_reply(index, reply);
        }
        for notice in &answer.notices {
            self.push_notice((answer.audience == Audience::Asker).then_some(index), notice);
        }
    }

    /// Puts a reply into a lane's reply ring, or behind those that wait for room. Beyond the backlog it is dropped: the
    /// phone asks again.
    pub fn push_reply(&mut self, index: usize, reply: &Reply) {
        let lane = &mut self.lanes[index];
        self.scratch.clear();
        reply.encode(&mut self.scratch);
        if lane.backlog.is_empty() {
            match lane.replies.push(&self.scratch) {
                Ok(_) => {
                    lane.pushed = true;
                    self.counters.replies_pushed.add(1);
                    return;
                }
                Err(PushError::Full(_)) => {}
                Err(PushError::TooLong { .. } | PushError::Corrupt { .. }) => {
                    self.counters.replies_dropped.add(1);
                    return;
                }
            }
        }
        if lane.backlog.len() < BACKLOG_MAX {
            lane.backlog.push_back(self.scratch.clone());
        } else {
            self.counters.replies_dropped.add(1);
        }
    }

    /// Puts a notice into the notice ring of one lane, or of all. A full ring loses it, which is harmless: the packet is
    /// found at the user's next Hello.
    pub fn push_notice(&mut self, index: Option<usize>, notice: &Notice) {
        self.scratch.clear();
        notice.encode(&mut self.scratch);
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if index.is_some_and(|index| index != at) {
                continue;
            }
            if lane.notices.push(&self.scratch).is_ok() {
                lane.pushed = true;
                self.counters.notices_pushed.add(1);
            } else {
                self.counters.notices_dropped.add(1);
            }
        }
    }

    /// Pushes what waits for room; true when some of it still does.
    pub fn push_backlog(&mut self) -> bool {
        let mut left = false;
        for lane in &mut self.lanes {
            while let Some(bytes) = lane.backlog.front() {
                if lane.replies.push(bytes).is_err() {
                    left = true;
                    break;
                }
                lane.backlog.pop_front();
                lane.pushed = true;
                self.counters.replies_pushed.add(1);
            }
        }
        left
    }

    /// Rings the bell of each shard that got something.
    pub fn ring(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.pushed) {
            lane.bell.ring();
            lane.pushed = false;
        }
    }
}
