//! What the gateway begins with: what was pushed before, as long as the configured files are those that it replaced, and
//! else the configured files.

use super::audit::{self, Audit, Entry};
use super::barred::Barred;
use super::disk::{Disk, DiskError};
use super::pairs::{self, Served};
use super::{Control, now};
use crate::config::Config;
use crate::config_store::Live;
use crate::counters::Counters;
use crate::state::Shared;
use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use shake_rules::UnixMillis;
use shake_rules::kept::{self, Configured, Kept};
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use shm_queue::{Attachment, Bell};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};
use tracing::{error, info, warn};

/// What the gateway begins with, and where it keeps what comes after.
pub struct Start {
    kept: Kept,
    /// What runs is not what it should be, or is not kept.
    is_unkept: bool,
    disk: Option<Disk>,
    audit: Audit,
}

/// Decides what holds at the start. Takes the state directory, and writes nothing yet.
///
/// # Errors
/// When the state directory cannot be had; when something was kept there that cannot be used, because then the configured
/// files may not be what the evening has come to; and when nothing was kept and a configured file is wrong.
pub fn begin(config: &Config, forget_pushed: bool, now: UnixMillis) -> Result<(Start, Live)> {
    let disk = config.state_directory.as_deref().map(Disk::open).transpose();
    let disk = disk.context("give [state] directory a place that this user may write, or leave it empty")?;
    let before = match disk.as_ref().map_or(Ok(None), Disk::read) {
        Err(DiskError::Damaged { faults, rest }) if forget_pushed => {
            warn!(?faults, "what ran before cannot be read, and is forgotten");
            rest.map(|rest| *rest)
        }
        before => before?,
    };
    let (mut kept, is_unkept) = what_holds(config, before, forget_pushed, now)?;
    let (show, throttle) = kept
        .parse_show()
        .and_then(|show| Ok((show, Throttle::parse(&kept.throttle)?)))
        .context("what was pushed cannot be used; begin with the configured files by `gateway run --forget-pushed`")?;
    if kept.is_pushed {
        info!(version = kept.version, by = kept.by, "what was pushed holds");
    }
    for phase in show.past_phases(now) {
        warn!(phase = phase.name, "a phase of the show is over already");
    }
    let live = Live {
        version: kept.version,
        stages: kept.number_stages(&show)?,
        show: Arc::new(show),
        throttle: Arc::new(throttle),
    };
    let start = Start {
        kept,
        is_unkept,
        disk,
        audit: Audit::open(None, config.audit)?,
    };
    Ok((start, live))
}

/// What holds of what ran before and what is configured; and whether it is not what it should be.
fn what_holds(config: &Config, before: Option<Kept>, forget_pushed: bool, now: UnixMillis) -> Result<(Kept, bool)> {
    let (fault, before) = match (configured(config, forget_pushed, now), before) {
        (Ok(configured), before) => {
            let (kept, why) = Kept::at_start(before, configured);
            if let Some(why) = why {
                let version = kept.version;
                warn!(why, version, "what was pushed holds no more; the configured files do");
            }
            return Ok((kept, false));
        }
        // In the middle of a show a gateway must come up again, whatever somebody has begun to write into its files.
        (Err(fault), Some(before)) if !forget_pushed => (fault, before),
        (Err(fault), _) => return Err(fault),
    };
    error!(
        fault = format!("{fault:#}"),
        version = before.version,
        "the configured files cannot be used; what ran before goes on"
    );
    Ok((before, true))
}

/// The configured files, checked.
fn configured(config: &Config, forget_pushed: bool, now: UnixMillis) -> Result<Configured> {
    let text = config.show_text()?;
    let show = Show::parse(&text, now).with_context(|| config.show_name())?;
    pairs::check(&text, &show, Served::of(config)).with_context(|| config.show_name())?;
    let throttle = config.throttle_text()?;
    Throttle::parse(&throttle).with_context(|| config.throttle_name())?;
    Ok(Configured {
        show: text,
        throttle,
        event: show.event,
        now,
        forget_pushed,
    })
}

/// What a control plane works with, beside its [`Start`].
pub struct Parts {
    pub shared: Arc<Shared>,
    pub bells: Vec<Bell>,
    pub shards: Arc<[Arc<Counters>]>,
    /// The control port and the list of who is refused there.
    pub port: Option<(quinn::Endpoint, Barred)>,
}

impl Start {
    /// Keeps what holds, for the next start and for the agent, which follows what names its mapping; and writes it down.
    /// Nothing here keeps a gateway from serving.
    pub fn keep(&mut self, config: &Config, attachment: &Attachment) {
        self.kept.mapping_instance = kept::instance_name(attachment.mapping().instance());
        self.kept.mapping_epoch = attachment.epoch();
        if let Some(disk) = &self.disk
            && let Err(fault) = disk.write(&self.kept)
        {
            self.is_unkept = true;
            error!(%fault, "what runs cannot be kept; pushed changes will not outlive a restart, and the agent does not see them");
        }
        match Audit::open(config.state_directory.as_deref(), config.audit) {
            Ok(audit) => self.audit = audit,
            Err(fault) => error!(%fault, file = audit::FILE, "the audit log cannot be opened"),
        }
        let entry = Entry {
            at_ms: now().0,
            what: "start",
            version: self.kept.version,
            result: if self.kept.is_pushed { "pushed" } else { "configured" },
            ..Entry::default()
        };
        if let Err(fault) = self.audit.append(&entry) {
            error!(%fault, "the audit log cannot be written");
        }
    }

    /// The control plane of a gateway whose shards run.
    pub fn control(self, config: &Config, parts: Parts) -> Arc<Control> {
        let board = &parts.shared.board;
        board.set_config_unkept(self.is_unkept);
        board.set_show_followed(self.disk.is_some() || self.kept.is_pushed);
        let (endpoint, barred) = parts.port.unzip();
        Arc::new(Control {
            shared: parts.shared,
            kept: ArcSwap::from_pointee(self.kept),
            changing: Mutex::new(()),
            disk: self.disk,
            audit: self.audit,
            bells: parts.bells,
            shards: parts.shards,
            counters: Arc::default(),
            drain_told: Notify::new(),
            config: config.clone(),
            endpoint,
            barred: ArcSwap::from_pointee(barred.unwrap_or_default()),
        })
    }
}
