//! `gateway run`: makes the sockets, the mapping and the shards, and looks after them until a signal.

use crate::agent_link::AgentLink;
use crate::config::Config;
use crate::config_store::ConfigStore;
use crate::control::barred::Barred;
use crate::control::pairs::{self, Served};
use crate::control::{Control, start, transport};
use crate::counters::Counters;
use crate::gateway::{Gateway, GatewayParts};
use crate::key_use::KeyUses;
use crate::load::monitor;
use crate::load::state::LoadState;
use crate::metrics::{self, Shown};
use crate::own_id;
use crate::presence::Presence;
use crate::secrets::{self, Secrets};
use crate::shape;
use crate::state::Shared;
use crate::taken::{self, Port};
use crate::winners::Winners;
use anyhow::{Context, Result, bail};
use host::clock::{Keeper, monotonic_ms, wall};
use quic_shard::io::{Io, Now};
use quic_shard::memory::huge_pages::{self, Prefaulter};
use quic_shard::udp::Socket;
use quic_shard::{Endpoints, Identity, Parts, ResetKeys, Shard, StreamRules};
use shake_proto::code::Code;
use shake_proto::frame::{LENGTH_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use shake_proto::handoff::topology::SILENT_MS_MAX;
use shake_rules::keys::Purpose;
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use shm_queue::{Attachment, Mapping, Side};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// What requests and replies may take, and what their streams are ended with.
pub const STREAMS: StreamRules = StreamRules {
    request_bytes_max: REQUEST_BYTES_MAX + LENGTH_BYTES_MAX,
    // The longest reply and some short ones.
    waiting_bytes_max: REPLY_BYTES_MAX + 16 * 1024,
    done: Code::Done.number(),
    abuse: Code::Abuse.number(),
};
/// How often the agent sees that the gateway lives.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Reads the show that the configuration names.
///
/// # Errors
/// Every problem of the show file, with its line.
pub fn read_show(config: &Config) -> Result<Show> {
    let text = config.show_text()?;
    let show = Show::parse(&text, wall()?).with_context(|| config.show_name())?;
    pairs::check(&text, &show, Served::of(config)).with_context(|| config.show_name())?;
    Ok(show)
}

/// Reads the throttle that the configuration names.
///
/// # Errors
/// Every problem of the throttle file, with its line.
pub fn read_throttle(config: &Config) -> Result<Throttle> {
    Throttle::parse(&config.throttle_text()?).with_context(|| config.throttle_name())
}

/// What is bound before the mapping is touched: a start that cannot have all of it leaves nothing behind.
struct Ports {
    metrics: Option<TcpListener>,
    admin: Option<(quinn::Endpoint, Barred)>,
    sockets: Vec<Socket>,
}

impl Ports {
    /// Binds everything; in a runtime, which the control port needs.
    fn bind(config: &Config) -> Result<Self> {
        let metrics = config.metrics_address.map(|address| {
            TcpListener::bind(address).map_err(|error| taken::cannot_bind("[metrics]", address, Port::Tcp, error))
        });
        let metrics = metrics.transpose()?;
        let admin = config.admin_address.map(|address| {
            let certs = &config.certs_directory;
            let (server, barred) = (transport::server_config(certs)?, barred(certs)?);
            let endpoint = transport::open(transport::bind(address)?, server)?;
            anyhow::Ok((endpoint, barred))
        });
        Ok(Self {
            metrics,
            admin: admin.transpose()?,
            sockets: bind(config)?,
        })
    }
}

/// Runs the gateway until SIGTERM or SIGINT, or until it has drained.
///
/// The order of a start: everything is checked; the state directory is taken; the ports are bound; the mapping is
/// attached, and its rings are opened; and only then it is written down what runs, and the shards begin.
///
/// # Errors
/// When it cannot start, or a shard ended by itself.
pub fn run(config: &Config, forget_pushed: bool) -> Result<()> {
    wall()?;
    let mut config = config.clone();
    let shape = shape::fit(&mut config)?;
    let config = &config;
    // Before anything is made: an agent that runs already leads.
    let keeper = Keeper::start(agent_clock(config));
    let clock = keeper.clock();
    let (mut start, live) = start::begin(config, forget_pushed, clock.now())?;
    let secrets = Secrets::read(config, None).map_err(all)?;
    let server = Arc::clone(&secrets.servers.default);
    let reset_ring = secrets::key_ring(&config.certs_directory, Purpose::StatelessReset)?;
    let shared = Arc::new(Shared {
        current: ConfigStore::new(live, secrets, config.shards),
        board: LoadState::new(config.shards),
        winners: Winners::new(config.winners_max),
        presence: Presence::new(config.shards, config.sessions.max),
        key_uses: KeyUses::new(config.shards),
        claims: config.claims,
        shards: config.shards,
        clock: clock.clone(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control plane")?;
    let ports = {
        let _within = runtime.enter();
        Ports::bind(config)?
    };
    let address = ports.sockets[0]
        .local_address()
        .context("cannot tell the bound address")?;
    let attachment = shape::attach(config, shape)?;
    attachment.set_clock(clock.offset_ms());
    let links = links(config, &attachment)?;
    start.keep(config, &attachment);
    let waiting = reset_ring.waiting().map(|key| key.id);
    let made = reset_ring.iter().filter(|made| Some(made.id) != waiting);
    let own_id = own_id::of(config.state_directory.as_deref());
    let reset_keys = ResetKeys::new(made.map(|made| made.secret()), &own_id);
    let stop = Arc::new(AtomicBool::new(false));
    let (prefaulter, faults_asked) = Prefaulter::new();
    let mut shards = Vec::new();
    let mut all_counters = Vec::new();
    for (number, (socket, (counters, link))) in ports.sockets.into_iter().zip(links).enumerate() {
        all_counters.push(Arc::clone(&counters));
        let identity = Identity {
            shard: number as u8,
            generation: attachment.epoch() as u8,
            reset_keys: reset_keys.clone(),
            seed: None,
        };
        let parts = Parts {
            io: socket,
            endpoints: Endpoints::new(&identity, &server),
            identity,
            rules: STREAMS,
            prefaulter: prefaulter.clone(),
            sessions_max: config.sessions.max,
            counters: Arc::clone(&counters.quic),
            stop: Arc::clone(&stop),
        };
        let app = GatewayParts {
            shared: Arc::clone(&shared),
            shard: number as u16,
            counters,
            link,
            sessions: config.sessions,
            rng: rand::make_rng(),
        };
        shards.push(spawn(parts, app)?);
    }
    let all_counters: Arc<[_]> = all_counters.into();
    let load_monitor = monitor::spawn(
        Arc::clone(&shared),
        Arc::clone(&all_counters),
        attachment.clone(),
        keeper,
        config.leave.clone(),
        Arc::clone(&stop),
    )
    .context("cannot start the load monitor's thread")?;
    let load = Arc::clone(&shared);
    let is_quiet = move || load.board.shakers.load(Ordering::Relaxed) == 0;
    let count = Arc::clone(&shared.board.huge_pages);
    let huge_pages = huge_pages::spawn(faults_asked, is_quiet, count, Arc::clone(&stop))
        .context("cannot start the thread for huge pages")?;
    let bells = (0..usize::from(config.shards)).map(|shard| attachment.bell(shard));
    let parts = start::Parts {
        shared: Arc::clone(&shared),
        bells: bells
            .collect::<Result<_, _>>()
            .context("cannot take the shards' bells")?,
        shards: Arc::clone(&all_counters),
        port: ports.admin,
    };
    let control = start.control(config, parts);
    let shown = Shown {
        shards: all_counters,
        is_stopping: Arc::clone(&stop),
        admin: Arc::clone(&control.counters),
        shared: Arc::clone(&shared),
    };
    let result = runtime.block_on(async {
        serve_operators(ports.metrics, shown, &control)?;
        let show = Arc::clone(&shared.current.load().show);
        info!(%address, shards = config.shards, sessions_max = config.sessions_in_all, event = %show.event, show = show.name, "ready");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        look_after(&attachment, &shards, &control).await
    });
    stop.store(true, Ordering::Relaxed);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    join(shards, "a shard panicked");
    join([load_monitor], "the load monitor panicked");
    join([huge_pages], "the thread for huge pages panicked");
    info!("stopped");
    result
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>, panicked: &str) {
    for thread in threads {
        if thread.join().is_err() {
            error!("{panicked}");
        }
    }
}

/// The list of operators who are refused. One that cannot be read keeps no phone from being served.
fn barred(certs: &Path) -> Result<Barred> {
    let (barred, fault) = Barred::read_at_start(certs)?;
    if let Some(fault) = fault {
        let fault = format!("{fault:#}");
        error!(
            fault,
            "no operator is let in until the list of refused ones is mended, and SIGHUP given"
        );
    }
    Ok(barred)
}

/// Begins to answer on the metrics port and on the control port.
fn serve_operators(metrics: Option<TcpListener>, shown: Shown, control: &Arc<Control>) -> Result<()> {
    if let Some(listener) = metrics {
        listener.set_nonblocking(true).context("cannot listen for metrics")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen for metrics")?;
        info!(address = %listener.local_addr()?, "metrics");
        tokio::spawn(metrics::serve(listener, shown));
    }
    if let Some(endpoint) = &control.endpoint {
        info!(address = %endpoint.local_addr()?, "control port");
        tokio::spawn(transport::serve(endpoint.clone(), Arc::clone(control)));
    }
    tokio::spawn(Arc::clone(control).watch_certificate());
    Ok(())
}

/// Opens each shard's rings.
fn links(config: &Config, attachment: &Attachment) -> Result<Vec<(Arc<Counters>, AgentLink)>> {
    let open = |number| {
        let counters = Arc::new(Counters::default());
        let link = AgentLink::open(attachment, number, Arc::clone(&counters))
            .with_context(|| format!("shard {number} cannot take its rings"))?;
        Ok((counters, link))
    };
    (0..config.shards).map(open).collect()
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
    // The shards' sockets share their port, and would join another gateway's in silence. One that does not share cannot be
    // bound while anybody else has the port.
    drop(UdpSocket::bind(address).map_err(|error| taken::cannot_bind("[listen]", address, Port::Udp, error))?);
    let mut sockets = Vec::new();
    for _ in 0..config.shards {
        let (mut socket, given) = Socket::bind(address, config.socket_buffer_bytes)
            .with_context(|| format!("cannot bind [listen] address = {address}"))?;
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

fn spawn(parts: Parts<Socket>, app: GatewayParts) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("shard-{}", app.shard))
        .spawn(move || serve(parts, app))
        .context("cannot start a shard's thread")
}

/// Serves a shard's sessions until it is told to stop.
pub fn serve(parts: Parts<impl Io>, app: GatewayParts) {
    let began = parts.io.instant();
    let now = Now::read(&parts.io, began);
    let app = Gateway::new(app, parts.prefaulter.clone(), now);
    Shard::new(parts, began, app).run();
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
