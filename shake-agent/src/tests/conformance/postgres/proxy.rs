//! A way to a server that breaks in a commit.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio_postgres::Config;

/// What becomes of the next COMMIT. The client's connection breaks in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server never gets it.
    Lost,
    /// It takes effect.
    AnswerLost,
    /// It takes effect so much later: the client may be back before.
    Late(Duration),
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::AnswerLost => "answer-lost",
            Self::Late(_) => "late",
        }
    }
}

/// Passes everything on, until it is armed. It ends with the test's process.
pub struct Proxy {
    config: Config,
    armed: Arc<Mutex<Option<Fault>>>,
    is_frozen: Arc<AtomicBool>,
}

impl Proxy {
    pub fn start(to: &Config) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = to.get_ports()[0];
        let mut config = Config::new();
        config.host("127.0.0.1").port(listener.local_addr().unwrap().port());
        config.user(to.get_user().unwrap()).dbname(to.get_dbname().unwrap());
        let armed = Arc::new(Mutex::new(None));
        let faults = Arc::clone(&armed);
        let is_frozen = Arc::new(AtomicBool::new(false));
        let frozen = Arc::clone(&is_frozen);
        thread::spawn(move || {
            for client in listener.incoming() {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                pass(client.unwrap(), server, &faults, &frozen);
            }
        });
        Self {
            config,
            armed,
            is_frozen,
        }
    }

    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// From now on nothing passes, until it is freed; or all does again.
    pub fn freeze(&self, is_frozen: bool) {
        self.is_frozen.store(is_frozen, Relaxed);
    }

    pub fn arm(&self, fault: Fault) {
        *self.armed.lock().unwrap() = Some(fault);
    }
}

fn pass(mut client: TcpStream, mut server: TcpStream, faults: &Arc<Mutex<Option<Fault>>>, frozen: &Arc<AtomicBool>) {
    let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (faults, frozen) = (Arc::clone(faults), Arc::clone(frozen));
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            while frozen.load(Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            let bytes = &buffer[..count];
            let is_commit = bytes.windows(6).any(|window| window == b"COMMIT");
            let fault = if is_commit { faults.lock().unwrap().take() } else { None };
            if let Some(fault) = fault {
                // Nothing more reaches the client, so its answer does not either.
                let _ = client.shutdown(Shutdown::Both);
                if let Fault::Late(by) = fault {
                    thread::sleep(by);
                }
                if fault != Fault::Lost {
                    let _ = server.write_all(bytes);
                }
                break;
            }
            if server.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            // What the client does not take is dropped: the server goes on.
            let _ = to_client.write_all(&buffer[..count]);
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
}
