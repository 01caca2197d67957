//! The table of bad beginnings, and what must hold of it. Pure.

use super::{ROWS, Row};
use crate::chaos::link::Direction;
use crate::report::{Line, Table};
use anyhow::{Context, ensure};
use strum::{IntoStaticStr, VariantArray};

/// The most that a loss may cost, in multiples of what it costs before the plain server.
const RATIO_MAX: f64 = 1.5;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Server {
    /// On the `quinn` crate as it comes.
    #[strum(serialize = "plain quinn")]
    Plain,
    /// The gateway, which asks phones to let acknowledgements ride, if they can.
    #[strum(serialize = "gateway, riding")]
    Riding,
    /// The gateway in a show whose pace is too slow for that.
    #[strum(serialize = "gateway, not riding")]
    NotRiding,
}

impl Server {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The phone's QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Stack {
    Quinn,
    Aioquic,
}

impl Stack {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// All tries of one row with one stack before one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    server: Server,
    stack: Stack,
    row: Row,
    /// First packet to HelloReply, in milliseconds: the median of those who got it.
    median_ms: f64,
    failures: Vec<String>,
}

/// What phones of one stack printed: `PLACE MICROSECONDS` or `PLACE failed: WHY` for each try.
pub fn cells(server: Server, stack: Stack, tries: u32, text: &str) -> anyhow::Result<Vec<Cell>> {
    let mut found = ROWS.map(|_| (Vec::new(), Vec::new()));
    for line in text.lines() {
        let strange = || format!("a phone printed {line:?}");
        let (place, what) = line.split_once(' ').with_context(strange)?;
        let place: usize = place.parse().with_context(strange)?;
        let (times, failures) = found.get_mut(place).with_context(strange)?;
        match what.strip_prefix("failed: ") {
            Some(why) => failures.push(why.to_owned()),
            None => times.push(what.parse::<u64>().with_context(strange)?),
        }
    }
    let cell = |(row, (mut times, failures)): (Row, (Vec<u64>, Vec<String>))| {
        let told = times.len() + failures.len();
        ensure!(told == tries as usize, "{} of {tries} tries told, {}", told, row.name);
        times.sort_unstable();
        let median_us = times.get(times.len() / 2).copied();
        Ok(Cell {
            server,
            stack,
            row,
            median_ms: median_us.map_or(f64::INFINITY, |us| us as f64 / 1e3),
            failures,
        })
    };
    ROWS.into_iter().zip(found).map(cell).collect()
}

fn of(cells: &[Cell], server: Server, stack: Stack) -> impl Iterator<Item = &Cell> {
    let is_meant = move |cell: &&Cell| (cell.server, cell.stack) == (server, stack);
    cells.iter().filter(is_meant)
}

/// A line for each row, a column for each stack and server.
pub fn table(tries: u32, cells: &[Cell]) -> Table {
    let of_stack = |&stack| Server::VARIANTS.iter().map(move |&server| (stack, server));
    let columns: Vec<(Stack, Server)> = Stack::VARIANTS.iter().flat_map(of_stack).collect();
    let heads = columns
        .iter()
        .map(|(stack, server)| format!("{}: {}", stack.name(), server.name().replace("gateway, ", "")));
    let title = format!("First packet to HelloReply in ms, the median of {tries}");
    let mut table = Table::new(title, ["datagram".to_owned()].into_iter().chain(heads));
    for (at, row) in ROWS.iter().enumerate() {
        let ms = columns
            .iter()
            .map(|&(stack, server)| of(cells, server, stack).nth(at).map_or(f64::NAN, |cell| cell.median_ms));
        table.row([row.name.to_owned()].into_iter().chain(ms.map(|ms| format!("{ms:.0}"))));
    }
    table
}

/// The verdict: of each stack before each gateway.
pub fn lines(cells: &[Cell]) -> Vec<Line> {
    let mut lines = Vec::new();
    for &stack in Stack::VARIANTS {
        for server in [Server::Riding, Server::NotRiding] {
            let who = format!("{}, {}", stack.name(), server.name());
            let failures: Vec<_> = of(cells, server, stack).flat_map(|cell| &cell.failures).collect();
            lines.push(Line {
                what: format!("{who}: phones that are not let in"),
                figure: match failures.first() {
                    None => "0".to_owned(),
                    Some(first) => format!("{}, the first: {first}", failures.len()),
                },
                bound: "0".to_owned(),
                holds: failures.is_empty(),
            });
            let pairs: Vec<_> = of(cells, server, stack).zip(of(cells, Server::Plain, stack)).collect();
            let worst = pairs.iter().filter(|(cell, _)| !is_of_server(cell.row));
            let worst = worst.max_by(|a, b| ratio(a).total_cmp(&ratio(b)));
            lines.extend(worst.map(|pair| line(&who, pair.0.row.name, pair.0.median_ms, pair.1.median_ms)));
            // Which datagram of the server's has the HelloReply is its own business.
            let dearest = |side: fn(&(&Cell, &Cell)) -> f64| {
                let servers = pairs.iter().filter(|(cell, _)| is_of_server(cell.row));
                servers.map(side).fold(0.0, f64::max)
            };
            let dearest = (dearest(|pair| pair.0.median_ms), dearest(|pair| pair.1.median_ms));
            lines.push(line(&who, "the dearest of the server's", dearest.0, dearest.1));
        }
    }
    lines
}

fn is_of_server(row: Row) -> bool {
    row.single.is_some_and(|single| single.direction == Direction::ToPhone)
}

fn ratio((ours, plain): &(&Cell, &Cell)) -> f64 {
    ours.median_ms / plain.median_ms
}

fn line(who: &str, what: &str, ours_ms: f64, plain_ms: f64) -> Line {
    Line {
        what: format!("{who}: {what}"),
        figure: format!("{ours_ms:.0} ms"),
        bound: format!("{RATIO_MAX} times the plain server's {plain_ms:.0} ms"),
        holds: ours_ms <= RATIO_MAX * plain_ms,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What a stack prints that takes so many milliseconds for each row.
    fn printed(ms: impl Fn(usize) -> u64) -> String {
        (0..ROWS.len()).fold(String::new(), |text, row| {
            text + &format!("{row} {}\n", ms(row) * 1_000)
        })
    }

    /// All cells, with these times of the gateway that rides for stock quinn, and 100 ms for everything else.
    fn table(ms: impl Fn(usize) -> u64) -> Vec<Cell> {
        let mut all = Vec::new();
        for &server in Server::VARIANTS {
            for &stack in Stack::VARIANTS {
                let is_meant = (server, stack) == (Server::Riding, Stack::Quinn);
                let text = printed(|row| if is_meant { ms(row) } else { 100 });
                all.extend(cells(server, stack, 1, &text).unwrap());
            }
        }
        all
    }

    fn broken(cells: &[Cell]) -> Vec<String> {
        let broken = lines(cells).into_iter().filter(|line| !line.holds);
        broken.map(|line| format!("{}: {}", line.what, line.figure)).collect()
    }

    #[test]
    fn half_as_much_again_holds_and_more_does_not() {
        assert!(broken(&table(|_| 150)).is_empty());
        let lost = broken(&table(|row| if row == 2 { 151 } else { 50 }));
        assert_eq!(lost, ["quinn, gateway, riding: phone's 3rd lost: 151 ms"]);
        let of_server = broken(&table(|row| if row == 9 { 1_500 } else { 50 }));
        assert_eq!(of_server.len(), 1, "{of_server:?}");
        let text = super::table(1, &table(|_| 150)).to_string();
        assert!(text.contains("phone's 2nd 20 ms late"), "{text}");
    }

    #[test]
    fn who_is_not_let_in_is_told() {
        let mut all = table(|_| 100);
        all.retain(|cell| (cell.server, cell.stack) != (Server::NotRiding, Stack::Aioquic));
        let text = printed(|_| 100).replace("\n3 100000", "\n3 failed: nothing in 12 s");
        all.extend(cells(Server::NotRiding, Stack::Aioquic, 1, &text).unwrap());
        let broken = broken(&all);
        assert!(
            broken
                .iter()
                .any(|line| line.ends_with("not let in: 1, the first: nothing in 12 s")),
            "{broken:?}"
        );
    }

    #[test]
    fn what_phones_print_is_read_whole() {
        let all = cells(Server::Plain, Stack::Quinn, 3, &printed(|_| 9).repeat(3)).unwrap();
        assert_eq!(all.len(), ROWS.len());
        for text in ["", "0 1\n", "99 1\n", "0\n", "x 1\n"] {
            assert!(cells(Server::Plain, Stack::Quinn, 1, text).is_err(), "{text:?}");
        }
    }
}
