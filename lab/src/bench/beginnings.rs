//! `cargo xtask bench beginnings`: what a single lost or late datagram costs at the beginning of a session, on a network with a
//! round trip of 50 ms: phones on two QUIC stacks, before the gateway and before a plain server on the `quinn` crate.

mod table;

use super::example::{self, Examples};
use crate::chaos::link::{Badness, Direction, Fate, Single};
use crate::chaos::proxy::Proxy;
use crate::demo::plan;
use crate::report::{self, Report};
use crate::testbed::{self, Build, Patience, Place, Programs, START, Service, deployed, files, run_to_file};
use anyhow::{Context, ensure};
use clap::Args;
use host::console;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use strum::VariantArray as _;
use table::{Cell, Server, Stack};
use xtask::interrupt::Interrupt;
use xtask::workspace;

/// Half a round trip.
const DELAY: Duration = Duration::from_millis(25);
const LATE: Duration = Duration::from_millis(20);
/// A phone of this stack takes so long at the most for a try, and the bench for starting it.
const TRY: Duration = Duration::from_secs(15);
/// A pace at which the gateway asks phones to let acknowledgements ride, and one at which it does not, in milliseconds.
const PACES_MS: [(Server, u32); 2] = [(Server::Riding, 1_000), (Server::NotRiding, 5_000)];

#[derive(Args)]
#[command(after_long_help = "\
The datagrams of each phone are counted each way; one of them is lost, or 20 ms
late. Takes some four minutes; run nothing beside it. Needs Python 3.10 or newer
with pip and, at its first run, a package index, for aioquic.

Exits with 0 only if
- every phone got its HelloReply;
- each datagram of the phone's that is lost or late costs at most 1.5 times what it
  costs before the plain server (medians), and of the server's the dearest one.

Examples:
  cargo xtask bench beginnings
  cargo xtask bench beginnings --tries 9
  cargo xtask bench beginnings --dev --tries 1        tries the bench itself; its figures say little")]
pub struct Options {
    /// Tries of each; the table has their median
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60))]
    tries: u32,
    /// With the programs as the tests build them
    #[arg(long)]
    dev: bool,
}

/// What happens to a phone's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    name: &'static str,
    single: Option<Single>,
}

const fn row(name: &'static str, direction: Direction, number: u32, fate: Fate) -> Row {
    Row {
        name,
        single: Some(Single {
            direction,
            number,
            fate,
        }),
    }
}

/// The first of either way is left out: it is the client's own timer that finds it lost, a second later. The plain server
/// probes the path's MTU before it answers, so its HelloReply may be in the eighth or ninth.
const ROWS: [Row; 14] = {
    use Direction::{ToGateway, ToPhone};
    [
        Row {
            name: "nothing lost",
            single: None,
        },
        row("phone's 2nd lost", ToGateway, 2, Fate::Lost),
        row("phone's 3rd lost", ToGateway, 3, Fate::Lost),
        row("phone's 4th lost", ToGateway, 4, Fate::Lost),
        row("phone's 5th lost", ToGateway, 5, Fate::Lost),
        row("phone's 2nd 20 ms late", ToGateway, 2, Fate::Late(LATE)),
        row("server's 2nd lost", ToPhone, 2, Fate::Lost),
        row("server's 3rd lost", ToPhone, 3, Fate::Lost),
        row("server's 4th lost", ToPhone, 4, Fate::Lost),
        row("server's 5th lost", ToPhone, 5, Fate::Lost),
        row("server's 6th lost", ToPhone, 6, Fate::Lost),
        row("server's 7th lost", ToPhone, 7, Fate::Lost),
        row("server's 8th lost", ToPhone, 8, Fate::Lost),
        row("server's 9th lost", ToPhone, 9, Fate::Lost),
    ]
};

pub const BENCH: report::Bench = report::Bench {
    name: "beginnings",
    title: "Beginnings of sessions",
    about: "\
One datagram at the beginning of a session is lost, or 20 ms late, on a network with a round trip of 50 ms: of phones on two QUIC stacks,
before a plain server on the `quinn` crate and before the gateway, which asks phones to let acknowledgements ride in one show and not in
another. The table has the time from the first packet to the HelloReply.",
};

/// Measures all.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let build = if options.dev { Build::Dev } else { Build::Release };
    say("building the programs");
    let bench = Bench {
        programs: Programs::build(build, interrupt)?,
        examples: Examples::build(build)?,
        tries: options.tries,
        interrupt,
    };
    let mut cells = Vec::new();
    for &server in Server::VARIANTS {
        say(&format!("before {}", server.name()));
        cells.extend(bench.before(server)?);
    }
    Ok(Report {
        tables: vec![table::table(options.tries, &cells)],
        lines: table::lines(&cells),
    })
}

fn say(line: &str) {
    console::tell(&format!("beginnings: {line}"));
}

struct Bench<'a> {
    programs: Programs,
    examples: Examples,
    tries: u32,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    /// All rows of all stacks before one server.
    fn before(&self, server: Server) -> anyhow::Result<Vec<Cell>> {
        let place = Place::fresh("bench-beginnings")?;
        testbed::make_certs(&place, &self.programs, self.interrupt)?;
        let pace = PACES_MS.iter().find(|(of, _)| *of == server);
        let Some(&(_, pace_ms)) = pace else {
            let mut command = self.examples.command("plain_quinn");
            command.arg("--certs").arg(place.file(files::CERTS));
            let (_plain, address) = example::start("plain_quinn", command, &place, self.interrupt)?;
            return self.all(&place, server, address);
        };
        let gateway = self.gateway(&place, pace_ms)?;
        let cells = self.all(&place, server, place.gateway)?;
        gateway.end(testbed::END)?;
        Ok(cells)
    }

    /// A gateway without an agent: Hello needs none.
    fn gateway(&self, place: &Place, pace_ms: u32) -> anyhow::Result<Service> {
        let show = deployed("shows", "engines")?;
        let before = "pace_ms = 1000\nreleases";
        ensure!(show.contains(before), "deploy/shows/engines.toml has another pace");
        place.write(
            files::SHOW,
            &show.replace(before, &format!("pace_ms = {pace_ms}\nreleases")),
        )?;
        place.write(files::THROTTLE, &deployed("throttles", "rehearsal")?)?;
        let config = format!("{}\n[throttle]\nfile = \"{}\"\n", plan::gateway(place), files::THROTTLE);
        place.write(files::GATEWAY, &config)?;
        let mut command = self.programs.command("gateway");
        command.args(["run", "--config"]).arg(place.file(files::GATEWAY));
        let mut gateway = Service::start("gateway", command, place.file("gateway.log"))?;
        gateway.wait_ready(&self.patience(START))?;
        Ok(gateway)
    }

    fn all(&self, place: &Place, server: Server, address: SocketAddr) -> anyhow::Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for &stack in Stack::VARIANTS {
            // New links: each counts the datagrams of sockets, whose ports come again.
            let links = ROWS.map(|row| {
                let link = Proxy::start(address, 1)?;
                link.set(Badness {
                    delay: DELAY,
                    single: row.single,
                    ..Badness::default()
                });
                anyhow::Ok(link)
            });
            let links = links.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
            let addresses: Vec<_> = links.iter().map(|link| link.address.to_string()).collect();
            let output = place.file(&format!("{}.txt", stack.name()));
            let command = self.phones(place, stack, &addresses)?;
            let at_most = START + TRY * self.tries * ROWS.len() as u32;
            run_to_file(stack.name(), command, &output, &self.patience(at_most), || Ok(()))?.success()?;
            let text = fs::read_to_string(&output).with_context(|| output.display().to_string())?;
            cells.extend(table::cells(server, stack, self.tries, &text)?);
        }
        Ok(cells)
    }

    /// Phones that say Hello to each address.
    fn phones(&self, place: &Place, stack: Stack, addresses: &[String]) -> anyhow::Result<Command> {
        let token = self.token(place)?;
        let ca = place.file(files::CERTS).join("ca.pem");
        let tries = self.tries;
        if stack == Stack::Quinn {
            let mut command = self.examples.command("plain_phone");
            command.arg("--ca").arg(ca).args(["--token", &token]);
            command.args(["--tries", &tries.to_string()]).args(addresses);
            return Ok(command);
        }
        let setting = serde_json::json!({
            "targets": addresses, "tries": tries, "ca": ca, "tokens": { "1": token },
        });
        place.write("setting.json", &setting.to_string())?;
        let mut command = Command::new("python3");
        command
            .arg("-B")
            .arg(workspace::root().join("gateway/tests/independent/run.py"));
        command.arg(workspace::target().join("independent"));
        command.arg(place.file("setting.json")).arg("beginning.py");
        Ok(command)
    }

    /// A user's token, as hex.
    fn token(&self, place: &Place) -> anyhow::Result<String> {
        let mut command = self.programs.command("certs");
        command
            .args(["token", "--user", "1", "--dir"])
            .arg(place.file(files::CERTS));
        let output = place.file("token.txt");
        run_to_file("certs token", command, &output, &self.patience(START), || Ok(()))?.success()?;
        Ok(fs::read_to_string(output)?.trim().to_owned())
    }

    fn patience(&self, at_most: Duration) -> Patience<'_> {
        Patience {
            at_most,
            interrupt: self.interrupt,
        }
    }
}
