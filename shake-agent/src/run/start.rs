//! What is asked before a ledger is served: whether anybody has seen more of it than it knows. Then it was restored from a
//! backup, and would pay again what was paid.

use super::kind::Kind;
use super::{NotifyState, RunError, SAY_EVERY, STILL_AT_EVERY, notify};
use crate::config::Config;
use crate::lanes::LanesError;
use crate::ledger::{Commits, Known, Ledger, LedgerError, Store};
use crate::settlement::{self, SettlementError, Standing};
use crate::signals::Stop;
use crate::witness::{self, Keeper, Witness, WitnessError};
use shake_rules::seed::SeedHeader;
use shake_rules::{LedgerId, UnixMillis};
use shm_queue::Mapping;
use std::path::Path;
use std::thread;
use std::time::Instant;
use tracing::{error, info, warn};

/// How the settlement target stands to the ledger, as far as it is known.
pub(super) enum Target {
    /// There is none, or it gave no answer and the witness vouches for the ledger.
    Unasked,
    /// It has answered.
    Answered(Standing),
}

/// Asks the witness in the state directory, the stamp in the mapping, and the settlement target. Writes nothing. A target that
/// gives no answer is waited for, unless one of the others vouches; `None` when the agent is asked to end meanwhile.
pub(super) fn ask_witnesses<S: Store>(
    config: &Config,
    ledger: &Ledger<S>,
    header: &SeedHeader,
    stop: &Stop,
) -> Result<Option<Target>, RunError> {
    let vouches = witness_vouches(config.state.as_deref(), ledger, header)? | mapping_vouches(&config.queue, ledger)?;
    let Some(file) = &config.settlement else {
        return Ok(Some(Target::Unasked));
    };
    let mut said: Option<Instant> = None;
    while !stop.is_asked() {
        let fault = match settlement::ask(file, ledger.path()) {
            Ok(standing) => return Ok(Some(Target::Answered(standing))),
            Err(fault) => fault,
        };
        let is_silent = fault.is_silence() || matches!(fault, SettlementError::Gone { .. });
        if is_silent && vouches {
            error!(
                %fault,
                "the settlement target gives no answer; state directory or mapping know the ledger, so it is served, and lines wait"
            );
            return Ok(Some(Target::Unasked));
        }
        if !fault.is_silence() {
            return Err(fault.into());
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            if said.is_none() {
                // Waiting is no failure to start.
                notify(NotifyState::Ready);
            }
            said = Some(Instant::now());
            warn!(%fault, "waiting for the settlement target: only it can say whether the ledger is the newest");
        }
        thread::sleep(STILL_AT_EVERY);
    }
    Ok(None)
}

/// Whether the witness in the state directory has seen this ledger, and nothing that it does not know.
pub(crate) fn witness_vouches(
    state: Option<&Path>,
    ledger: &impl Commits,
    header: &SeedHeader,
) -> Result<bool, WitnessError> {
    let Some(path) = state.map(|state| state.join(witness::FILE)) else {
        return Ok(false);
    };
    match Witness::read(&path)? {
        Some(witness) => witness.vouches(&path, ledger, header),
        None => Ok(false),
    }
}

/// The mapping, where there is one, shows the stamp of the ledger that was served in it. One of another ledger says nothing
/// here; it is refused when it is attached to.
pub(crate) fn mapping_vouches(path: &Path, ledger: &impl Commits) -> Result<bool, WitnessError> {
    let Ok(mapping) = Mapping::open(path) else {
        return Ok(false);
    };
    let owner = mapping.owner().map(|owner| LedgerId(owner.identity));
    if owner.is_none() || owner != ledger.identity()? {
        return Ok(false);
    }
    let seen = mapping.stamp();
    let stamp = ledger.stamp()?;
    if seen <= stamp {
        return Ok(seen > 0);
    }
    Err(WitnessError::Behind {
        ledger: ledger.path().to_owned(),
        path: path.to_owned(),
        seen,
        is_known: true,
        stamp,
    })
}

/// What the witness in the state directory knows of the part of this seed, and of which ledger; `None` unless it knows all.
pub(super) fn known(config: &Config, header: &SeedHeader) -> Option<(LedgerId, Known)> {
    let path = config.state.as_ref()?.join(witness::FILE);
    // What cannot be read says nothing.
    let witness = Witness::read(&path).ok()??;
    witness.known(header, |identity| {
        let mapping = Mapping::open(&config.queue).ok()?;
        let owner = mapping.owner()?;
        (owner.identity == identity.0).then(|| mapping.stamp())
    })
}

/// Why the ledger is not served. Where it lost commits, whoever writes it besides hears of it.
pub(super) fn halt<K: Kind>(config: &Config, ledger: &Ledger<K>, header: &SeedHeader, fault: RunError) -> RunError {
    let seen = match &fault {
        RunError::Witness(WitnessError::Behind { seen, .. }) => *seen,
        RunError::Lanes(LanesError::Ledger(LedgerError::Behind { .. })) => {
            Mapping::open(&config.queue).map_or(0, |mapping| mapping.stamp())
        }
        _ => return fault,
    };
    let known = known(config, header).filter(|(identity, _)| ledger.store().identity() == Some(*identity));
    let known = known.map(|(_, known)| known);
    match ledger.store().halt(seen, known.as_ref()) {
        Ok(()) => fault,
        Err(failure) => failure.into(),
    }
}

/// The first commit of this opening: whoever sees its incarnation from now on, sees one that the ledger knows. Begins the
/// settlement file of a ledger that never had one.
pub(super) fn begin<S: Store>(
    config: &Config,
    ledger: &mut Ledger<S>,
    target: Target,
    now: UnixMillis,
) -> Result<(), RunError> {
    if let (Target::Answered(Standing::New), Some(file)) = (&target, &config.settlement) {
        settlement::begin(file, ledger.path())?;
    }
    ledger.transaction(now, |batch| {
        if let Target::Answered(_) = target {
            batch.note_settlement();
        }
        Ok(())
    })?;
    info!(
        identity = Ledger::identity(ledger).map(|identity| identity.to_string()),
        incarnation = %ledger.incarnation(),
        stamp = Ledger::stamp(ledger),
        "the ledger is served"
    );
    Ok(())
}

/// Starts to keep the witness, where there is a state directory.
pub(super) fn keep_witness<S: Store>(
    config: &Config,
    ledger: &Ledger<S>,
    header: &SeedHeader,
) -> Result<Option<Keeper>, RunError> {
    let (Some(state), Some(witness)) = (&config.state, Witness::of(ledger, header)) else {
        return Ok(None);
    };
    Keeper::spawn(state.join(witness::FILE), witness)
        .map(Some)
        .map_err(RunError::Thread)
}
