//! The beginning of a ledger for many machines: tables, the ledger's identity, and a row for each part. Done once, by a person;
//! agents have no right to make tables.

use super::access::Access;
use super::link::{self, Failure};
use super::{LedgerError, place, schema};
use crate::ledger::schema::to_sql;
use data_encoding::HEXLOWER;
use shake_rules::LedgerId;
use shake_rules::seed::SeedHeader;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use tempfile::NamedTempFile;

/// Who owns a part: 16 random bytes that a state directory keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation(pub [u8; 16]);

impl Installation {
    /// Its file in the state directory.
    const FILE: &str = "ledger-installation";

    /// That of a state directory; made when there is none, as is the directory.
    ///
    /// # Errors
    /// When its file cannot be read or written, or is none.
    pub fn of(state: &Path) -> io::Result<Self> {
        // As the gateway makes it, who may come later.
        DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        if let Some(there) = Self::there(state)? {
            return Ok(there);
        }
        let made = Self(rand::random());
        let mut file = NamedTempFile::new_in(state)?;
        writeln!(file, "{made}")?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(state.join(Self::FILE)) {
            Ok(_) => Ok(made),
            // Another agent was faster; then its file is the one.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Self::of(state),
            Err(error) => Err(error.error),
        }
    }

    /// That of a state directory; `None` when there is none.
    ///
    /// # Errors
    /// When its file cannot be read, or is none.
    pub fn there(state: &Path) -> io::Result<Option<Self>> {
        let path = state.join(Self::FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let strange = || io::Error::other(format!("{} is no installation's file", path.display()));
        Self::parse(text.trim()).ok_or_else(strange).map(Some)
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Makes the tables in an empty database, and one part for each of these seeds. `agents` is the role that agents connect as: it gets
/// the rights that they need, and settings.
///
/// # Errors
/// [`LedgerError::Postgres`] when the server does not do it: also when the tables are there.
///
/// # Panics
/// When there is no seed.
pub fn init(
    access: impl Into<Access>,
    identity: LedgerId,
    seeds: &[SeedHeader],
    agents: &str,
) -> Result<(), LedgerError> {
    let first = seeds.first().expect("a ledger has a part at least");
    let access = access.into();
    let made = link::run_once(&access, async |client| {
        client.batch_execute(schema::CREATE).await?;
        let event = i32::try_from(first.event.0).map_err(|_| Failure::strange("ledger", "the event's number"))?;
        let insert = "INSERT INTO ledger (id, version, identity, event) VALUES (1, $1, $2, $3)";
        client
            .execute(insert, &[&schema::VERSION, &identity.0.as_slice(), &event])
            .await?;
        for seed in seeds {
            let (part, parts) = (i32::from(seed.part), i32::from(seed.parts));
            let (count, total, crc) = (to_sql(seed.count), to_sql(seed.total.0), i64::from(seed.records_crc));
            let insert = "INSERT INTO parts (part, parts, count, total_cents, records_crc) VALUES ($1, $2, $3, $4, $5)";
            client.execute(insert, &[&part, &parts, &count, &total, &crc]).await?;
        }
        client.batch_execute(&rights(agents)).await?;
        Ok(())
    });
    made.map_err(|source| LedgerError::Postgres {
        action: "make the tables of",
        place: place(&access.config, first.part),
        source,
    })
}

/// What agents may do: never to take anything away.
///
/// The settings: an agent that is frozen between a lock and its commit holds up nobody for long. And statements are planned once for
/// sets of rows that are found by their keys, whatever the tables hold at that moment: the plan for one that is empty reads all of
/// it, and would be kept while it grows.
fn rights(role: &str) -> String {
    const SETTINGS: [(&str, &str); 9] = [
        ("idle_in_transaction_session_timeout", "2s"),
        ("lock_timeout", "5s"),
        ("client_connection_check_interval", "2s"),
        ("tcp_user_timeout", "5s"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ];
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let settings = SETTINGS.map(|(name, value)| format!("ALTER ROLE {role} SET {name} = '{value}';"));
    format!(
        "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role};{}",
        settings.concat()
    )
}
