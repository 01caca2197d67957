//! `status --watch`: a line for each gateway every second. Each is looked at by a task of its own, so one that hangs holds
//! nobody up; one that is lost is told once, and looked for until it is found again.

use super::client::{Client, Operator};
use super::differs::{self, Seen};
use super::endings::{Endings, OWN};
use super::status::{heading, json, row};
use super::{StatusArgs, fleet::Line};
use anyhow::{Result, bail};
use host::clock::wall_ms;
use host::console::{self, Reader};
use shake_proto::admin_v1 as v1;
use shake_rules::UnixMillis;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const EVERY: Duration = Duration::from_secs(1);
/// A gateway that has not answered for so long is lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rows between headings.
const HEADING_EVERY: usize = 20;

/// What is seen of a gateway.
enum Look {
    Here {
        row: String,
        status: Box<v1::Status>,
        ahead_ms: i64,
    },
    Lost(anyhow::Error),
}

/// Until Ctrl-C, or until nobody reads it.
pub async fn watch(args: &StatusArgs) -> Result<ExitCode> {
    let operator = Operator::read(&args.targets.certs)?;
    let own_expires_at = operator.expires_at;
    let (tell, mut looks) = mpsc::channel(args.targets.targets.len() * 2);
    let mut follows = JoinSet::new();
    for target in &args.targets.targets {
        follows.spawn(follow(
            operator.clone(),
            target.clone(),
            args.targets.json,
            tell.clone(),
        ));
    }
    let picture = Picture {
        is_json: args.targets.json,
        own_expires_at,
        ..Picture::default()
    };
    let seen = show(&mut looks, picture).await;
    // The connections end in good order.
    drop(looks);
    follows.join_all().await;
    seen.map(|()| ExitCode::SUCCESS)
}

/// Tells what is seen.
async fn show(looks: &mut mpsc::Receiver<(String, Look)>, mut picture: Picture) -> Result<()> {
    loop {
        let (target, look) = tokio::select! {
            Some(look) = looks.recv() => look,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        if picture.take(target, look)? == Reader::Gone {
            return Ok(());
        }
    }
}

/// Looks at one gateway every second, and for it while it is lost. Ends when nobody listens.
async fn follow(operator: Operator, target: String, is_json: bool, tell: mpsc::Sender<(String, Look)>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !tell.is_closed() {
        let error = match timeout(PATIENCE, Client::connect(&operator, &target)).await {
            Ok(Ok(mut client)) => {
                ticks.reset();
                let Err(error) = look_on(&mut client, is_json, &mut ticks, &tell).await;
                client.close().await;
                error
            }
            Ok(Err(error)) => error,
            Err(_) => silent(),
        };
        // Fails when nobody listens any more, which ends the loop.
        let _ = tell.send((target.clone(), Look::Lost(error))).await;
        ticks.tick().await;
    }
}

/// Looks at a gateway until it is lost; gives why.
async fn look_on(
    client: &mut Client,
    is_json: bool,
    ticks: &mut tokio::time::Interval,
    tell: &mpsc::Sender<(String, Look)>,
) -> Result<std::convert::Infallible> {
    let mut since = Instant::now();
    let mut before = client.status.clone();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = tell.closed() => bail!("nobody listens"),
        }
        timeout(PATIENCE, client.refresh()).await.map_err(|_| silent())??;
        let now = Instant::now();
        let row = match is_json {
            true => json(client, None).to_string(),
            false => row(client, &before, now - since),
        };
        (since, before) = (now, client.status.clone());
        let look = Look::Here {
            row,
            status: Box::new(client.status.clone()),
            ahead_ms: client.offset.us / 1_000,
        };
        tell.send((client.target.clone(), look)).await?;
    }
}

fn silent() -> anyhow::Error {
    anyhow::anyhow!("no answer in {} s", PATIENCE.as_secs())
}

/// All gateways, as they were seen last.
#[derive(Default)]
struct Picture {
    is_json: bool,
    rows: usize,
    here: BTreeMap<String, (Box<v1::Status>, i64)>,
    lost: Vec<String>,
    said: Option<String>,
    /// When the certificate ends by which we connect.
    own_expires_at: UnixMillis,
    endings: Endings,
}

impl Picture {
    fn take(&mut self, target: String, look: Look) -> Result<Reader> {
        match look {
            Look::Here { row, status, ahead_ms } => {
                let expires_at = UnixMillis(status.certificate_expires_at_ms);
                self.here.insert(target.clone(), (status, ahead_ms));
                if let Some(at) = self.lost.iter().position(|lost| *lost == target) {
                    self.lost.remove(at);
                    if !self.is_json {
                        console::line(&format!("{target}  FOUND again"))?;
                    }
                }
                if !self.is_json && self.rows.is_multiple_of(HEADING_EVERY) {
                    console::line(&heading())?;
                }
                self.rows += 1;
                if console::line(&row)? == Reader::Gone {
                    return Ok(Reader::Gone);
                }
                self.tell_endings(&target, expires_at, ahead_ms)?;
            }
            Look::Lost(_) if self.lost.contains(&target) => return Ok(Reader::Stays),
            Look::Lost(error) => {
                let line = Line::failed(&target, &error);
                self.here.remove(&target);
                self.lost.push(target);
                let told = match self.is_json {
                    true => line.json.to_string(),
                    false => format!("{}  LOST  {error:#}; it is looked for", line.target),
                };
                if console::line(&told)? == Reader::Gone {
                    return Ok(Reader::Gone);
                }
            }
        }
        self.tell_differences()
    }

    /// Tells of a certificate that ends while we look on, this gateway's or our own.
    fn tell_endings(&mut self, target: &str, expires_at: UnixMillis, ahead_ms: i64) -> Result<()> {
        if self.is_json {
            // Each object has the moment.
            return Ok(());
        }
        let ours = UnixMillis(wall_ms());
        let its = UnixMillis(ours.0.saturating_add_signed(ahead_ms));
        let own = (OWN, self.own_expires_at, ours);
        for (whose, expires_at, now) in [(target, expires_at, its), own] {
            if let Some(line) = self.endings.look(whose, expires_at, now) {
                console::line(&line)?;
            }
        }
        Ok(())
    }

    /// Tells who differs whenever that changes.
    fn tell_differences(&mut self) -> Result<Reader> {
        let seen: Vec<_> = self
            .here
            .iter()
            .map(|(target, (status, ahead_ms))| Seen {
                target,
                status,
                ahead_ms: *ahead_ms,
            })
            .collect();
        let line = differs::line(&seen, &self.lost);
        if line == self.said || self.is_json {
            return Ok(Reader::Stays);
        }
        self.said.clone_from(&line);
        Ok(match line {
            Some(line) => console::line(&line)?,
            None => Reader::Stays,
        })
    }
}
