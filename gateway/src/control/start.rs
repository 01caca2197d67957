//! What the gateway begins with: what was pushed before, as long as the configured files are those that it replaced, and
//! else the configured files.

use super::audit::{self, Audit, Entry};
use super::disk::Disk;
use super::{Control, now};
use crate::config::Config;
use crate::counters::Counters;
use crate::live::Live;
use crate::shard::serving::Shared;
use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use shake_rules::UnixMillis;
use shake_rules::kept::{Configured, Kept};
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use shm_queue::Bell;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, Notify};
use tracing::{error, info, warn};

/// What the gateway begins with, and where it keeps what comes after.
pub struct Start {
    kept: Kept,
    is_unkept: bool,
    disk: Option<Disk>,
    audit: Audit,
}

/// Decides what holds at the start, and keeps it. The agent follows what is kept.
///
/// # Errors
/// When the configured show is wrong, or the state directory cannot be had. What was pushed and cannot be read is told,
/// and the configured files hold: a damaged file must not keep a gateway from serving.
pub fn begin(config: &Config, forget_pushed: bool, now: UnixMillis) -> Result<(Start, Live)> {
    let show_text = config.show_text()?;
    let show = Show::parse(&show_text, now).with_context(|| config.show_name())?;
    let throttle_text = config.throttle_text()?;
    let throttle = Throttle::parse(&throttle_text).with_context(|| config.throttle_name())?;
    let configured = Configured {
        show: show_text,
        throttle: throttle_text,
        event: show.event,
        now,
        forget_pushed,
    };
    let disk = config.state_directory.as_deref().map(Disk::open).transpose();
    let disk = disk.context("give [state] directory a place that this user may write, or leave it empty")?;
    let mut is_unkept = false;
    let before = match disk.as_ref().map_or(Ok(None), Disk::read) {
        Ok(before) => before,
        Err(fault) => {
            is_unkept = true;
            error!(fault, "what was pushed cannot be read; the configured files hold");
            None
        }
    };
    let (mut kept, why) = Kept::at_start(before, configured.clone());
    if let Some(why) = why {
        warn!(
            why,
            version = kept.version,
            "what was pushed holds no more; the configured files do"
        );
    }
    let parsed = kept
        .parse_show()
        .and_then(|show| Ok((show, Throttle::parse(&kept.throttle)?)));
    let (show, throttle) = match parsed {
        Ok(parsed) => parsed,
        Err(problems) => {
            is_unkept = true;
            error!(%problems, "what was pushed cannot be used; the configured files hold");
            let forget = Configured {
                forget_pushed: true,
                ..configured
            };
            kept = Kept::at_start(Some(kept), forget).0;
            (show, throttle)
        }
    };
    if kept.is_pushed {
        info!(version = kept.version, by = kept.by, "what was pushed holds");
    }
    for phase in show.past_phases(now) {
        warn!(phase = phase.name, "a phase of the show is over already");
    }
    let live = Live {
        version: kept.version,
        stages: kept.number_stages(&show),
        show: Arc::new(show),
        throttle: Arc::new(throttle),
    };
    if let Some(disk) = &disk
        && let Err(fault) = disk.write(&kept)
    {
        is_unkept = true;
        error!(%fault, "what runs cannot be kept; pushed changes will not outlive a restart, and the agent does not see them");
    }
    let audit = Audit::open(config.state_directory.as_deref(), config.audit).or_else(|fault| {
        error!(%fault, file = audit::FILE, "the audit log cannot be opened");
        Audit::open(None, config.audit)
    })?;
    let start = Start {
        kept,
        is_unkept,
        disk,
        audit,
    };
    start.write_down();
    Ok((start, live))
}

impl Start {
    fn write_down(&self) {
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
    pub fn control(
        self,
        config: &Config,
        shared: Arc<Shared>,
        bells: Vec<Bell>,
        shards: Arc<[Arc<Counters>]>,
    ) -> Arc<Control> {
        shared.board.set_config_unkept(self.is_unkept);
        Arc::new(Control {
            shared,
            kept: Mutex::new(self.kept),
            disk: self.disk,
            audit: self.audit,
            bells,
            shards,
            counters: Arc::default(),
            drain_began: Notify::new(),
            config: config.clone(),
            endpoint: OnceLock::new(),
            barred: ArcSwap::default(),
        })
    }
}
