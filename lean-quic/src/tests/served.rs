//! The server's side of a connection, with a small application on it.

use quinn_proto::{Dir, StreamEvent, VarInt};
use std::collections::BTreeMap;

/// What the server answers.
pub(super) struct Served {
    pub(super) connection: quinn_proto::Connection,
    /// Bytes that wait for the client's credit.
    pub(super) unsent: Vec<(quinn_proto::StreamId, Vec<u8>)>,
    pub(super) requests: BTreeMap<quinn_proto::StreamId, Vec<u8>>,
}

impl Served {
    /// Answers requests by their first byte: `e` echo, `b` 20,000 bytes, `o` 40,000 bytes, `r` reset with 9, `s` stop
    /// with 5 and reset with 8. Echoes datagrams.
    pub(super) fn work(&mut self) {
        while let Some(event) = self.connection.poll() {
            match event {
                quinn_proto::Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    while let Some(id) = self.connection.streams().accept(Dir::Bi) {
                        self.requests.insert(id, Vec::new());
                    }
                }
                quinn_proto::Event::Stream(StreamEvent::Stopped { id, error_code }) => {
                    let _ = self.connection.send_stream(id).reset(error_code);
                }
                _ => {}
            }
        }
        while let Some(datagram) = self.connection.datagrams().recv() {
            let _ = self.connection.datagrams().send(datagram, true);
        }
        let open: Vec<_> = self.requests.keys().copied().collect();
        open.into_iter().for_each(|id| self.read(id));
        self.write();
    }

    fn read(&mut self, id: quinn_proto::StreamId) {
        let mut whole = self.requests.remove(&id).expect("it is open");
        let mut stream = self.connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else {
            return;
        };
        let ended = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => whole.extend_from_slice(&chunk.bytes),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let _ = chunks.finalize();
        match whole.first() {
            Some(b's') => {
                let _ = self.connection.recv_stream(id).stop(VarInt::from_u32(5));
                let _ = self.connection.send_stream(id).reset(VarInt::from_u32(8));
            }
            Some(b'r') if ended => {
                let _ = self.connection.send_stream(id).reset(VarInt::from_u32(9));
            }
            Some(b'b') if ended => self.unsent.push((id, vec![b'b'; 20_000])),
            Some(b'o') if ended => self.unsent.push((id, vec![b'o'; 40_000])),
            _ if ended => self.unsent.push((id, whole)),
            _ => {
                self.requests.insert(id, whole);
            }
        }
    }

    pub(super) fn write(&mut self) {
        let connection = &mut self.connection;
        self.unsent.retain_mut(|(id, bytes)| {
            let mut stream = connection.send_stream(*id);
            while !bytes.is_empty() {
                match stream.write(bytes) {
                    Ok(written) => drop(bytes.drain(..written)),
                    Err(quinn_proto::WriteError::Blocked) => return true,
                    Err(_) => return false,
                }
            }
            let _ = stream.finish();
            false
        });
    }
}
