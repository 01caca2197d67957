//! `gateway run`: makes the sockets, the mapping and the shards, and looks after them until a signal.

use crate::config::Config;
use crate::control::{Control, start, transport};
use crate::counters::Counters;
use crate::huge_pages::{self, Ahead};
use crate::live::Current;
use crate::load::board::Board;
use crate::load::watch;
use crate::metrics::{self, Shown};
use crate::own_id;
use crate::shape;
use crate::shard::lane::Lane;
use crate::shard::serving::{Now, Serving, Shared};
use crate::shard::socket::Socket;
use crate::shard::{Endpoints, Parts, ResetKeys, Shard};
use crate::tls::{self, Secrets};
use crate::users::Users;
use crate::winners::Winners;
use anyhow::{Context, Result, bail};
use host::clock::{Keeper, monotonic_ms};
use shake_proto::handoff::topology::SILENT_MS_MAX;
use shake_rules::UnixMillis;
use shake_rules::keys::Purpose;
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use shm_queue::{Attachment, Mapping, Side};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// How often the agent sees that the gateway lives.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// The wall clock.
///
/// # Errors
/// When it is before 1970, and so unset.
pub fn now() -> Result<UnixMillis> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970; set it")?;
    Ok(UnixMillis(now.as_millis() as u64))
}

/// Reads the show that the configuration names.
///
/// # Errors
/// Every problem of the show file, with its line.
pub fn read_show(config: &Config) -> Result<Show> {
    Show::parse(&config.show_text()?, now()?).with_context(|| config.show_name())
}

/// Reads the throttle that the configuration names.
///
/// # Errors
/// Every problem of the throttle file, with its line.
pub fn read_throttle(config: &Config) -> Result<Throttle> {
    Throttle::parse(&config.throttle_text()?).with_context(|| config.throttle_name())
}

/// Runs the gateway until SIGTERM or SIGINT, or until it has drained.
///
/// # Errors
/// When it cannot start, or a shard ended by itself.
pub fn run(config: &Config, forget_pushed: bool) -> Result<()> {
    now()?;
    let mut config = config.clone();
    let shape = shape::fit(&mut config)?;
    let config = &config;
    // Before anything is made: an agent that runs already leads.
    let keeper = Keeper::start(agent_clock(config));
    let clock = keeper.clock();
    let (start, live) = start::begin(config, forget_pushed, clock.now())?;
    let secrets = Secrets::read(config, None).map_err(all)?;
    let server = Arc::clone(&secrets.servers.usual);
    let reset_ring = tls::key_ring(&config.certs_directory, Purpose::StatelessReset)?;
    let reset_keys = ResetKeys::new(&reset_ring, &own_id::of(config.state_directory.as_deref()));
    let shared = Arc::new(Shared {
        current: Current::new(live, secrets, config.shards),
        board: Board::new(config.shards),
        winners: Winners::new(config.winners_max),
        users: Users::new(config.shards, config.sessions.max),
        claims: config.claims,
        shards: config.shards,
        clock: clock.clone(),
    });
    let attachment = shape::attach(config, shape)?;
    attachment.set_clock(clock.offset_ms());
    let sockets = bind(config)?;
    let address = sockets[0].local_address().context("cannot tell the bound address")?;
    let stop = Arc::new(AtomicBool::new(false));
    let (ahead, asked_ahead) = Ahead::new();
    let mut shards = Vec::new();
    let mut all_counters = Vec::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        let counters = Arc::new(Counters::default());
        all_counters.push(Arc::clone(&counters));
        let lane = Lane::open(&attachment, number as u16, Arc::clone(&counters))
            .with_context(|| format!("shard {number} cannot take its rings"))?;
        let generation = attachment.epoch() as u8;
        let endpoint_config = |endpoint| tls::endpoint_config(&reset_keys, number as u8, generation, endpoint);
        let parts = Parts {
            socket,
            endpoints: Endpoints::new(endpoint_config, &server),
            reset_keys: reset_keys.clone(),
            sessions: config.sessions,
            ahead: ahead.clone(),
            stop: Arc::clone(&stop),
        };
        shards.push(spawn(number, parts, Arc::clone(&shared), counters, lane)?);
    }
    let all_counters: Arc<[_]> = all_counters.into();
    let watch = watch::spawn(
        Arc::clone(&shared),
        Arc::clone(&all_counters),
        attachment.clone(),
        keeper,
        Arc::clone(&stop),
    )
    .context("cannot start the watch's thread")?;
    let huge_pages = huge_pages::spawn(asked_ahead, Arc::clone(&shared), Arc::clone(&stop))
        .context("cannot start the thread for huge pages")?;
    let bells = (0..usize::from(config.shards)).map(|shard| attachment.bell(shard));
    let bells = bells
        .collect::<Result<_, _>>()
        .context("cannot take the shards' bells")?;
    let control = start.control(config, Arc::clone(&shared), bells, Arc::clone(&all_counters));
    let shown = Shown {
        shards: all_counters,
        is_stopping: Arc::clone(&stop),
        admin: Arc::clone(&control.counters),
        shared: Arc::clone(&shared),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control plane")?;
    let result = runtime.block_on(async {
        if let Some(metrics_address) = config.metrics_address {
            let listener = tokio::net::TcpListener::bind(metrics_address)
                .await
                .with_context(|| format!("cannot bind [metrics] address = {metrics_address}"))?;
            info!(address = %listener.local_addr()?, "metrics");
            tokio::spawn(metrics::serve(listener, shown));
        }
        if let Some(admin_address) = config.admin_address {
            let endpoint = control.open(admin_address)?;
            info!(address = %endpoint.local_addr()?, "control port");
            tokio::spawn(transport::serve(endpoint, Arc::clone(&control)));
        }
        tokio::spawn(Arc::clone(&control).watch_certificate());
        let show = Arc::clone(&shared.current.load().show);
        info!(%address, shards = config.shards, sessions_max = config.sessions_in_all, event = %show.event, show = show.name, "ready");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        look_after(&attachment, &shards, &control).await
    });
    stop.store(true, Ordering::Relaxed);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    for shard in shards {
        if shard.join().is_err() {
            error!("a shard panicked");
        }
    }
    if watch.join().is_err() {
        error!("the watch panicked");
    }
    if huge_pages.join().is_err() {
        error!("the thread for huge pages panicked");
    }
    info!("stopped");
    result
}

/// Several faults as one, a line each.
pub fn all(faults: Vec<anyhow::Error>) -> anyhow::Error {
    let lines: Vec<_> = faults.iter().map(|fault| format!("{fault:#}")).collect();
    anyhow::anyhow!("{}", lines.join("\n"))
}

/// The clock of an agent that runs already, if one does.
fn agent_clock(config: &Config) -> Option<i64> {
    let mapping = Mapping::open(&config.queue_path).ok()?;
    mapping.peer(Side::Back).clock(monotonic_ms(), SILENT_MS_MAX)
}

/// Binds one socket for each shard, in order, and has the kernel steer packets to them.
fn bind(config: &Config) -> Result<Vec<Socket>> {
    let mut address = config.address;
    let mut sockets = Vec::new();
    for _ in 0..config.shards {
        let (mut socket, given) = Socket::bind(address, config.socket_buffer_bytes)
            .with_context(|| format!("cannot bind [listen] address = {address}; is another gateway running?"))?;
        // The kernel tells twice what it gives, its own overhead included.
        if sockets.is_empty() && given / 2 < config.socket_buffer_bytes {
            let wanted = config.socket_buffer_bytes;
            warn!(
                wanted,
                given = given / 2,
                "the kernel caps socket buffers; see net.core.rmem_max in deploy/sysctl.conf"
            );
        }
        if let Err(error) = socket.attach_filter()
            && sockets.is_empty()
        {
            info!(%error, "no filter in the kernel: packets are shed here, which costs more; see CAP_BPF in docs/operator.md");
        }
        address = socket.local_address().context("cannot tell the bound address")?;
        sockets.push(socket);
    }
    sockets[0]
        .steer(config.shards as u8)
        .context("cannot attach the steering program to the sockets")?;
    Ok(sockets)
}

fn spawn(
    number: usize,
    parts: Parts,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    lane: Lane,
) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("shard-{number}"))
        .spawn(move || {
            let began = Instant::now();
            let ahead = parts.ahead.clone();
            let now = Now::read(began, &shared.clock);
            let serving = Serving::new(shared, number as u16, counters, lane, ahead, now);
            Shard::new(parts, began, serving).run();
        })
        .context("cannot start a shard's thread")
}

/// Beats the heartbeat until a signal comes, the gateway has drained, or a shard ends.
async fn look_after(attachment: &Attachment, shards: &[JoinHandle<()>], control: &Arc<Control>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut drained = std::pin::pin!(control.drained());
    loop {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: letting claims finish, closing connections"),
            _ = interrupt.recv() => info!("SIGINT: letting claims finish, closing connections"),
            () = &mut drained => info!("drained: letting claims finish, closing what stayed"),
            _ = hangup.recv() => {
                tokio::spawn(Arc::clone(control).reload_by_signal());
                continue;
            }
            _ = heartbeat.tick() => {
                attachment.beat(monotonic_ms());
                if shards.iter().any(JoinHandle::is_finished) {
                    bail!("a shard ended by itself; this is a bug, please report it with the log");
                }
                continue;
            }
        }
        return Ok(());
    }
}
