//! The server's connection IDs: the one in use, spares, and those to be given back (RFC 9000, section 5.1).

use super::cid::Cid;
use super::error::{Code, TransportError};

/// IDs that we keep at one time: the least that may be offered, and the default, so the parameter is not sent.
const ACTIVE_MAX: usize = 2;
/// Retirements that the server may leave unacknowledged (RFC 9000, section 5.1.2, asks for twice the above at least).
const RETIRING_MAX: usize = 4 * ACTIVE_MAX;

/// One ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Issued {
    sequence: u64,
    id: Cid,
    /// The first has one only when it came as a transport parameter.
    token: Option<[u8; 16]>,
}

#[derive(Debug)]
pub(super) struct ServerCids {
    current: Issued,
    spare: Option<Issued>,
    retire_prior_to: u64,
    /// Sequence numbers whose retirement is not acknowledged, and whether the frame is to be sent (again).
    retiring: Vec<(u64, bool)>,
}

impl ServerCids {
    /// Before the server has chosen, its ID is the random one of our first packet.
    pub(super) fn new(first: Cid) -> Self {
        Self {
            current: Issued {
                sequence: 0,
                id: first,
                token: None,
            },
            spare: None,
            retire_prior_to: 0,
            retiring: Vec::new(),
        }
    }

    pub(super) fn current(&self) -> &Cid {
        &self.current.id
    }

    /// The server's choice in the handshake (RFC 9000, section 7.2).
    pub(super) fn replace_first(&mut self, id: Cid) {
        self.current.id = id;
    }

    pub(super) fn set_first_token(&mut self, token: [u8; 16]) {
        self.current.token = Some(token);
    }

    /// The token that a stateless reset would carry now.
    pub(super) fn reset_token(&self) -> Option<&[u8; 16]> {
        self.current.token.as_ref()
    }

    /// Whether the last bytes of a datagram are our token (RFC 9000, section 10.3.1), in constant time.
    pub(super) fn is_reset(&self, last: &[u8; 16]) -> bool {
        self.current.token.is_some_and(|token| {
            let differing = token.iter().zip(last).fold(0, |bits, (a, b)| bits | (a ^ b));
            std::hint::black_box(differing) == 0
        })
    }

    /// NEW_CONNECTION_ID (RFC 9000, section 19.15). Says whether another ID is in use from now on.
    ///
    /// # Errors
    /// The server contradicts itself, or gives or takes more than it may.
    pub(super) fn on_new(
        &mut self,
        sequence: u64,
        retire_prior_to: u64,
        id: Cid,
        token: [u8; 16],
    ) -> Result<bool, TransportError> {
        if self.current.id.len() == 0 {
            return Err(TransportError::violation(
                "NEW_CONNECTION_ID from a server without connection IDs",
            ));
        }
        let new = Issued {
            sequence,
            id,
            token: Some(token),
        };
        let mut known = false;
        for held in [Some(&self.current), self.spare.as_ref()].into_iter().flatten() {
            let same_token = held.token.is_none() || held.token == new.token;
            let (same, partly) = (held.id == id && same_token, held.id == id);
            if (held.sequence == sequence && !same) || (held.sequence != sequence && partly) {
                return Err(TransportError::violation("a connection ID was issued twice"));
            }
            known |= held.sequence == sequence;
        }
        if known {
            return Ok(false);
        }
        if sequence < self.retire_prior_to {
            self.retire(sequence)?; // given back as soon as it comes
            return Ok(false);
        }
        self.retire_prior_to = self.retire_prior_to.max(retire_prior_to);
        if self.spare.is_some_and(|spare| spare.sequence < self.retire_prior_to) {
            let spare = self.spare.take().expect("it was there");
            self.retire(spare.sequence)?;
        }
        let mut moved = false;
        if self.current.sequence < self.retire_prior_to {
            self.retire(self.current.sequence)?;
            // The spare, if any, is as young as it must be; else the new one is, as it does not retire itself.
            self.current = self.spare.take().unwrap_or(new);
            moved = true;
        }
        if self.current.sequence != sequence && self.spare.replace(new).is_some() {
            return Err(TransportError::new(
                Code::CONNECTION_ID_LIMIT_ERROR,
                "more connection IDs than we hold",
            ));
        }
        Ok(moved)
    }

    fn retire(&mut self, sequence: u64) -> Result<(), TransportError> {
        if self.retiring.iter().any(|(retiring, _)| *retiring == sequence) {
            return Ok(());
        }
        if self.retiring.len() == RETIRING_MAX {
            return Err(TransportError::new(
                Code::CONNECTION_ID_LIMIT_ERROR,
                "more connection IDs retired than acknowledged",
            ));
        }
        self.retiring.push((sequence, true));
        Ok(())
    }

    /// A sequence number whose RETIRE_CONNECTION_ID is to be sent.
    pub(super) fn next_retirement(&self) -> Option<u64> {
        self.retiring
            .iter()
            .find(|(_, to_send)| *to_send)
            .map(|(sequence, _)| *sequence)
    }

    pub(super) fn on_retirement_sent(&mut self, sequence: u64) {
        self.mark(sequence, false);
    }

    pub(super) fn on_retirement_lost(&mut self, sequence: u64) {
        self.mark(sequence, true);
    }

    pub(super) fn on_retirement_acknowledged(&mut self, sequence: u64) {
        self.retiring.retain(|(retiring, _)| *retiring != sequence);
        if self.retiring.is_empty() {
            self.retiring = Vec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn has_heap(&self) -> bool {
        self.retiring.capacity() > 0
    }

    fn mark(&mut self, sequence: u64, to_send: bool) {
        for retiring in self.retiring.iter_mut().filter(|retiring| retiring.0 == sequence) {
            retiring.1 = to_send;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cid(byte: u8) -> Cid {
        Cid::from([byte; 8])
    }

    #[test]
    fn ids_are_taken_replaced_and_given_back() {
        let mut cids = ServerCids::new(cid(0));
        assert_eq!(cids.on_new(1, 0, cid(1), [1; 16]), Ok(false));
        assert_eq!(cids.on_new(1, 0, cid(1), [1; 16]), Ok(false), "a repetition");
        assert_eq!(cids.on_new(2, 1, cid(2), [2; 16]), Ok(true));
        assert_eq!(*cids.current(), cid(1));
        assert!(cids.is_reset(&[1; 16]) && !cids.is_reset(&[2; 16]));
        assert_eq!(cids.next_retirement(), Some(0));
        cids.on_retirement_sent(0);
        assert_eq!(cids.next_retirement(), None);
        cids.on_retirement_lost(0);
        assert_eq!(cids.next_retirement(), Some(0));
        cids.on_retirement_acknowledged(0);
        assert_eq!(cids.on_new(9, 9, cid(9), [9; 16]), Ok(true));
        assert_eq!((*cids.current(), cids.retiring.len()), (cid(9), 2));
        assert_eq!(
            cids.on_new(5, 0, cid(5), [5; 16]),
            Ok(false),
            "older than what was retired"
        );
        assert_eq!(cids.retiring.len(), 3);
    }

    #[test]
    fn contradictions_and_excess_are_errors() {
        let fresh = || {
            let mut cids = ServerCids::new(cid(0));
            cids.on_new(1, 0, cid(1), [1; 16]).expect("it fits");
            cids
        };
        let code = |result: Result<bool, TransportError>| result.expect_err("refused").code;
        assert_eq!(
            code(fresh().on_new(2, 0, cid(2), [2; 16])),
            Code::CONNECTION_ID_LIMIT_ERROR
        );
        assert_eq!(code(fresh().on_new(1, 0, cid(2), [1; 16])), Code::PROTOCOL_VIOLATION);
        assert_eq!(code(fresh().on_new(2, 1, cid(1), [2; 16])), Code::PROTOCOL_VIOLATION);
        let mut none = ServerCids::new(Cid::new(&[]).expect("short"));
        assert_eq!(code(none.on_new(1, 0, cid(1), [1; 16])), Code::PROTOCOL_VIOLATION);
        let mut cids = fresh();
        let storm = (2..40).try_fold(false, |_, n| cids.on_new(n, n, cid(n as u8), [n as u8; 16]));
        assert_eq!(code(storm), Code::CONNECTION_ID_LIMIT_ERROR);
    }
}
