//! A PostgreSQL server of one's own, for tests, benches and rehearsals: on loopback, in a directory that goes with it, for as
//! long as its value lives. It uses the machine's PostgreSQL (15 or newer), or else fetches one that needs no installation.

#![forbid(unsafe_code)]

mod processes;
mod programs;

pub use programs::VARIABLE;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thiserror::Error;
use tokio_postgres::{Client, Config, NoTls};

/// The superuser of each server.
const SUPERUSER: &str = "shake";
/// A role of each server that may log in and has no rights yet, for `ledger init` to give it some.
pub const AGENT: &str = "agent";
/// How long a server may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// The copy of what a server holds, beside it.
const COPY: &str = "copy";

/// Why there is no server.
#[derive(Debug, Error)]
pub enum Error {
    /// The named directory has no PostgreSQL.
    #[error("{} has no postgres and initdb; let {VARIABLE} name a directory that has", .0.display())]
    NotThere(PathBuf),
    /// There is none on the machine, and none could be fetched.
    #[error(
        "no PostgreSQL of version 15 or newer is installed in /usr/lib/postgresql, and none could be fetched: `{command}`: {reason}. \
         Install one (Debian: apt-get install postgresql), or let {VARIABLE} name the directory of postgres and initdb"
    )]
    NoPrograms {
        /// What was tried.
        command: String,
        /// What it said.
        reason: String,
    },
    /// A file operation failed. `action` reads after "cannot".
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A program of PostgreSQL's ended, or does not answer.
    #[error("{program} {what}; it says:\n{log}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it did.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// The server did not do what it was asked.
    #[error("the server refused: {0}")]
    Refused(#[from] tokio_postgres::Error),
}

impl Error {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// A running server. It ends, and its directory goes, when this is dropped; also when the thread that started it ends.
#[derive(Debug)]
pub struct Server {
    /// `None` while it is down.
    process: Option<Child>,
    port: u16,
    directory: TempDir,
    programs: PathBuf,
    settings: Vec<String>,
}

impl Server {
    /// Starts a server in a directory below `place`, with settings as on its command line (`fsync=off`).
    ///
    /// # Errors
    /// When there are no programs, or the server does not come up.
    pub fn start(place: &Path, settings: &[&str]) -> Result<Self, Error> {
        let programs = programs::find()?;
        let directory = tempfile::Builder::new().prefix("postgres-").tempdir_in(place);
        let directory = directory.map_err(Error::io("make a directory in", place))?;
        let owner = owner();
        if let Some(owner) = &owner {
            let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
            chown(directory.path(), Some(uid), Some(gid)).map_err(Error::io("give away", directory.path()))?;
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
                .map_err(Error::io("open", directory.path()))?;
        }
        let (data, log) = (directory.path().join("data"), directory.path().join("log"));
        let made = as_owner(owner.as_ref(), programs.join("initdb"), &log)?
            .arg("--pgdata")
            .arg(&data)
            .args([
                "--username",
                SUPERUSER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
            ])
            .args(["--no-sync", "--no-instructions"])
            .status()
            .map_err(Error::io("run", programs.join("initdb")))?;
        if !made.success() {
            return Err(failed("initdb", made.to_string(), &log));
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self {
            process: None,
            port: free_port()?,
            directory,
            programs,
            settings,
        };
        server.start_again()?;
        server.run("postgres", &format!("CREATE ROLE {AGENT} LOGIN"))?;
        Ok(server)
    }

    /// Starts it where it stood, on the same port.
    ///
    /// # Errors
    /// When it does not come up.
    ///
    /// # Panics
    /// When it runs.
    pub fn start_again(&mut self) -> Result<(), Error> {
        assert!(self.process.is_none(), "it runs");
        let (data, log) = (self.directory.path().join("data"), self.directory.path().join("log"));
        let mut postgres = as_owner(owner().as_ref(), "setpriv".into(), &log)?;
        // An immediate shutdown is what it makes of SIGQUIT.
        postgres
            .args(["--pdeathsig", "QUIT", "--"])
            .arg(self.programs.join("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(self.directory.path());
        postgres.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        self.settings.iter().for_each(|setting| {
            postgres.args(["-c", setting]);
        });
        self.process = Some(postgres.spawn().map_err(Error::io("run", "setpriv"))?);
        self.wait()
    }

    /// Ends it at once, as a crash does: it recovers from its log at the next start.
    pub fn crash(&mut self) {
        self.end(Signal::SIGQUIT);
    }

    /// Ends it in good order: whoever is connected is cut off, and nothing is left to recover.
    pub fn shut_down(&mut self) {
        self.end(Signal::SIGINT);
    }

    fn end(&mut self, signal: Signal) {
        // One that stands still ends never.
        self.thaw();
        let Some(mut process) = self.process.take() else { return };
        let _ = kill(pid_of(&process), signal);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = process.kill();
        let _ = process.wait();
    }

    /// Has all of its processes stand still, until it is thawed or ended. Its port still takes connections, and nobody answers. Gives
    /// whether the kernel says that all stand.
    ///
    /// # Errors
    /// When they cannot be found.
    pub fn freeze(&self) -> Result<bool, Error> {
        let Some(process) = &self.process else { return Ok(false) };
        processes::freeze(pid_of(process)).map_err(Error::io("read", "/proc"))
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        if let Some(process) = &self.process {
            processes::thaw(pid_of(process));
        }
    }

    /// Keeps a copy of all that it holds, in place of the one before.
    ///
    /// # Errors
    /// When it cannot be copied.
    ///
    /// # Panics
    /// When it runs.
    pub fn keep_copy(&self) -> Result<(), Error> {
        assert!(self.process.is_none(), "it runs");
        let (data, copy) = (self.directory.path().join("data"), self.directory.path().join(COPY));
        match fs::remove_dir_all(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", copy)(error)),
            _ => {}
        }
        let copied = Command::new("cp").arg("-a").arg(&data).arg(&copy).status();
        match copied.map_err(Error::io("run", "cp"))? {
            status if status.success() => Ok(()),
            status => Err(Error::io("copy", data)(io::Error::other(status.to_string()))),
        }
    }

    /// Puts the copy in the place of what it holds, and that in the place of the copy.
    ///
    /// # Errors
    /// When they cannot be moved, or there is no copy.
    ///
    /// # Panics
    /// When it runs.
    pub fn exchange_with_copy(&self) -> Result<(), Error> {
        assert!(self.process.is_none(), "it runs");
        let [data, copy, between] = ["data", COPY, "between"].map(|name| self.directory.path().join(name));
        for (from, to) in [(&copy, &between), (&data, &copy), (&between, &data)] {
            fs::rename(from, to).map_err(Error::io("move", from))?;
        }
        Ok(())
    }

    /// Where it listens, on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to reach one of its databases.
    #[must_use]
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(SUPERUSER)
            .dbname(database);
        config
    }

    /// The same, as a URL.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// How [`AGENT`] reaches one of its databases.
    #[must_use]
    pub fn agent_config(&self, database: &str) -> Config {
        let mut config = self.config(database);
        config.user(AGENT);
        config
    }

    /// The same, as a URL.
    #[must_use]
    pub fn agent_url(&self, database: &str) -> String {
        format!("postgres://{AGENT}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database, and tells how to reach it.
    ///
    /// # Errors
    /// When the server refuses, which it also does when the database is there.
    pub fn database(&self, name: &str) -> Result<Config, Error> {
        self.run("postgres", &format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.config(name))
    }

    /// Runs statements in one of its databases.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn run(&self, database: &str, statements: &str) -> Result<(), Error> {
        self.on(database, async |client| client.batch_execute(statements).await)
    }

    /// The one number, of 64 bits, that a statement gives.
    ///
    /// # Errors
    /// When the server refuses, or the statement gives something else.
    pub fn number(&self, database: &str, question: &str) -> Result<i64, Error> {
        self.on(database, async |client| {
            client.query_one(question, &[]).await?.try_get(0)
        })
    }

    fn on<T>(
        &self,
        database: &str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("make an event loop for", database))?;
        runtime.block_on(async {
            let (client, connection) = self.config(database).connect(NoTls).await?;
            tokio::spawn(connection);
            Ok(work(&client).await?)
        })
    }

    fn wait(&mut self) -> Result<(), Error> {
        let log = self.directory.path().join("log");
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(Ok(Some(status))) = self.process.as_mut().map(Child::try_wait) {
                return Err(failed("postgres", format!("ended with {status}"), &log));
            }
            match self.run("postgres", "SELECT") {
                Ok(()) => return Ok(()),
                Err(fault) if Instant::now() > until => {
                    return Err(failed("postgres", format!("does not answer ({fault})"), &log));
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Who runs the server, when this process may not: it is no program for root.
fn owner() -> Option<User> {
    let named = |name| User::from_name(name).ok().flatten();
    geteuid()
        .is_root()
        .then(|| named("postgres").or_else(|| named("nobody")))
        .flatten()
}

fn as_owner(owner: Option<&User>, program: PathBuf, log: &Path) -> Result<Command, Error> {
    let mut command = Command::new(program);
    if let Some(owner) = owner {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    let open = || {
        File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::io("write", log))
    };
    command
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        .current_dir("/");
    Ok(command)
}

fn pid_of(process: &Child) -> Pid {
    Pid::from_raw(process.id().cast_signed())
}

/// Free at this moment.
fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("bind", "127.0.0.1"))?;
    Ok(listener.local_addr().map_err(Error::io("name", "a port"))?.port())
}

fn failed(program: &'static str, what: String, log: &Path) -> Error {
    const LINES: usize = 20;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let log = lines[lines.len().saturating_sub(LINES)..].join("\n");
    Error::Program { program, what, log }
}
