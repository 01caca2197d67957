//! A way to a server that breaks in a commit, or stands still.

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

/// What is to happen on the way.
#[derive(Default)]
struct Plan {
    fault: Mutex<Option<Fault>>,
    is_frozen: AtomicBool,
    is_to_hold: AtomicBool,
    is_held: AtomicBool,
}

/// Passes everything on, until it is armed. It ends with the test's process.
pub struct Proxy {
    config: Config,
    plan: Arc<Plan>,
}

impl Proxy {
    pub fn start(to: &Config) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = to.get_ports()[0];
        let mut config = Config::new();
        config.host("127.0.0.1").port(listener.local_addr().unwrap().port());
        config.user(to.get_user().unwrap()).dbname(to.get_dbname().unwrap());
        let plan = Arc::new(Plan::default());
        let of_all = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming() {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                pass(client.unwrap(), server, &of_all);
            }
        });
        Self { config, plan }
    }

    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Where it listens, on loopback.
    pub fn port(&self) -> u16 {
        self.config.get_ports()[0]
    }

    /// From now on nothing passes, until it is freed; or all does again.
    pub fn freeze(&self, is_frozen: bool) {
        self.plan.is_frozen.store(is_frozen, Relaxed);
    }

    pub fn arm(&self, fault: Fault) {
        *self.plan.fault.lock().unwrap() = Some(fault);
    }

    /// The next transaction that locks rows gets no further than that, until [`Proxy::let_go`].
    pub fn hold_after_locks(&self) {
        self.plan.is_to_hold.store(true, Relaxed);
    }

    /// Whether one is held.
    pub fn holds(&self) -> bool {
        self.plan.is_held.load(Relaxed)
    }

    pub fn let_go(&self) {
        self.plan.is_held.store(false, Relaxed);
    }
}

fn stand_still_while(whether: &AtomicBool) {
    while whether.load(Relaxed) {
        thread::sleep(Duration::from_millis(5));
    }
}

fn pass(mut client: TcpStream, mut server: TcpStream, plan: &Arc<Plan>) {
    let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let plan = Arc::clone(plan);
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        // What was said since BEGIN, in pieces that travel together: the part's row, the locks, and so on.
        let mut said = 0;
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            stand_still_while(&plan.is_frozen);
            let bytes = &buffer[..count];
            let says = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
            let is_commit = says(b"COMMIT");
            said = match (says(b"BEGIN"), is_commit, said) {
                (true, _, _) => 1,
                (_, true, _) | (_, _, 0) => 0,
                _ => said + 1,
            };
            if said > 2 && plan.is_to_hold.swap(false, Relaxed) {
                plan.is_held.store(true, Relaxed);
                stand_still_while(&plan.is_held);
            }
            let fault = if is_commit {
                plan.fault.lock().unwrap().take()
            } else {
                None
            };
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
