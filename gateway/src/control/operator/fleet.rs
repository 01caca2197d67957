//! All targets of a command at once. None waits for another: one that is dead or hangs stops nobody, and one that is late is
//! asked for the same as soon as it is there.

use super::Targets;
use super::client::{Answer, Client, Operator, refusal_name};
use anyhow::{Context, Result};
use host::console;
use shake_proto::admin::Refusal;
use shake_proto::admin_v1::{self as v1, reply};
use std::process::ExitCode;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long those that are here wait for others, before a change gets the number that all are to have.
pub const STRAGGLERS: Duration = Duration::from_millis(500);
/// Of the problems of a file so many are told; a program gets all.
const PROBLEMS_TOLD: usize = 10;

/// What became of one target: a text for people, an object for programs, and whether it went well.
#[derive(Clone)]
pub struct Line {
    pub target: String,
    pub text: String,
    pub json: serde_json::Value,
    pub is_good: bool,
    /// The version that holds there now, where that is known.
    pub version: Option<u64>,
    /// It was refused because what was asked for runs there already.
    pub runs_already: bool,
}

impl Line {
    pub fn failed(target: &str, error: &anyhow::Error) -> Self {
        Self {
            target: target.to_owned(),
            text: format!("FAILED  {error:#}"),
            json: serde_json::json!({ "target": target, "result": "failed", "message": format!("{error:#}") }),
            is_good: false,
            version: None,
            runs_already: false,
        }
    }

    /// The gateway answered something that makes no sense here.
    pub fn senseless(target: &str) -> Self {
        let error = anyhow::anyhow!("the gateway answered something else than was asked");
        Self::failed(target, &error)
    }

    fn refused(target: &str, refused: &v1::Refused) -> Self {
        let name = refusal_name(refused);
        let mut told: Vec<_> = refused
            .problems
            .iter()
            .take(PROBLEMS_TOLD)
            .map(|problem| match problem.line {
                0 => format!("\n    {}", problem.message),
                line => format!("\n    line {line}: {}", problem.message),
            })
            .collect();
        if let Some(more @ 1..) = refused.problems.len().checked_sub(PROBLEMS_TOLD) {
            told.push(format!("\n    and {more} more; --json tells all"));
        }
        let list: Vec<_> = refused
            .problems
            .iter()
            .map(|problem| serde_json::json!({ "line": problem.line, "message": problem.message }))
            .collect();
        Self {
            target: target.to_owned(),
            text: format!("REFUSED  {name}: {}{}", refused.message, told.concat()),
            json: serde_json::json!({
                "target": target, "result": "refused", "refusal": name, "message": refused.message, "problems": list,
            }),
            is_good: false,
            version: None,
            runs_already: Refusal::from_wire(refused.refusal) == Some(Refusal::PhaseRuns),
        }
    }

    /// What an answer says, refusals by the one way in which all are told.
    fn of(client: &Client, answer: Result<Answer>, line: fn(&Client, &Answer) -> Self) -> Self {
        match answer {
            Err(error) => Self::failed(&client.target, &error),
            Ok(answer) => match &answer.result {
                reply::Result::Refused(refused) => Self::refused(&client.target, refused),
                _ => line(client, &answer),
            },
        }
    }
}

/// The targets of a command.
pub struct Fleet {
    is_json: bool,
    /// In the order in which they were given, each once.
    targets: Vec<String>,
    connecting: JoinSet<(String, Result<Client>)>,
    connected: Vec<Client>,
    failed: Vec<Line>,
}

impl Fleet {
    /// Begins to connect to all.
    pub fn begin(targets: &Targets) -> Result<Self> {
        let operator = Operator::read(&targets.certs)?;
        let mut fleet = Self {
            is_json: targets.json,
            targets: Vec::new(),
            connecting: JoinSet::new(),
            connected: Vec::new(),
            failed: Vec::new(),
        };
        for target in &targets.targets {
            if fleet.targets.contains(target) {
                continue;
            }
            fleet.targets.push(target.clone());
            let (operator, target) = (operator.clone(), target.clone());
            fleet.connecting.spawn(async move {
                let client = Client::connect(&operator, &target).await;
                (target, client)
            });
        }
        Ok(fleet)
    }

    /// Those that answered until now, in the order in which they were given.
    pub fn clients(&self) -> &[Client] {
        &self.connected
    }

    /// Those that could not be reached, until now.
    pub fn failed(&self) -> &[Line] {
        &self.failed
    }

    /// Waits until all have answered or failed; for `stragglers` at the most, from the first that answered on.
    pub async fn gather(&mut self, stragglers: Duration) -> Result<()> {
        let mut until = None;
        loop {
            let next = match until {
                Some(until) => timeout_at(until, self.connecting.join_next()).await,
                None => Ok(self.connecting.join_next().await),
            };
            let Ok(Some(next)) = next else {
                break;
            };
            self.take(next.context(PANICKED)?);
            if !self.connected.is_empty() {
                until = until.or_else(|| Instant::now().checked_add(stragglers));
            }
        }
        let place = |client: &Client| self.targets.iter().position(|target| *target == client.target);
        self.connected.sort_by_key(place);
        Ok(())
    }

    /// Gives those up that have not answered yet.
    pub fn give_up(&mut self, waited: Duration) {
        self.connecting.abort_all();
        let error = anyhow::anyhow!("no answer {:.0} s after others gave theirs", waited.as_secs_f64());
        let silent: Vec<_> = self.silent().map(|target| Line::failed(target, &error)).collect();
        self.failed.extend(silent);
    }

    /// Those that have neither answered nor failed until now. They may yet.
    pub fn silent(&self) -> impl Iterator<Item = &str> {
        let is_heard = |target: &str| {
            self.connected.iter().any(|client| client.target == target)
                || self.failed.iter().any(|line| line.target == target)
        };
        let targets = self.targets.iter().map(String::as_str);
        targets.filter(move |target| !is_heard(target))
    }

    fn take(&mut self, (target, client): (String, Result<Client>)) {
        match client {
            Ok(client) => self.connected.push(client),
            Err(error) => self.failed.push(Line::failed(&target, &error)),
        }
    }

    /// Asks all that are connected, and waits for every answer. For what must be known before anything is done.
    pub async fn try_all(
        &mut self,
        request: impl Fn(&Client) -> v1::Request,
        line: fn(&Client, &Answer) -> Line,
    ) -> Result<Vec<Line>> {
        let mut asking = JoinSet::new();
        for client in self.connected.drain(..) {
            let request = request(&client);
            asking.spawn(async move {
                let answer = client.ask(request).await;
                (client, answer)
            });
        }
        let mut lines = self.failed.clone();
        while let Some(asked) = asking.join_next().await {
            let (client, answer) = asked.context(PANICKED)?;
            lines.push(Line::of(&client, answer, line));
            self.connected.push(client);
        }
        Ok(lines)
    }

    /// Asks every target for one thing, those that are here at once and the others when they are, and tells what became of
    /// each: what went well as soon as it is known, the rest at the end, equal ones together.
    pub async fn ask(
        mut self,
        request: impl Fn(&Client) -> v1::Request,
        line: fn(&Client, &Answer) -> Line,
    ) -> Result<Vec<Line>> {
        let (mut asking, mut closing) = (JoinSet::new(), JoinSet::new());
        let mut lines = Vec::new();
        loop {
            for client in self.connected.drain(..) {
                let request = request(&client);
                asking.spawn(async move {
                    let answer = client.ask(request).await;
                    (client, answer)
                });
            }
            let told = tokio::select! {
                Some(connected) = self.connecting.join_next() => {
                    self.take(connected.context(PANICKED)?);
                    continue;
                }
                Some(asked) = asking.join_next() => {
                    let (client, answer) = asked.context(PANICKED)?;
                    let told = Line::of(&client, answer, line);
                    closing.spawn(client.close());
                    told
                }
                else => break,
            };
            if told.is_good {
                tell(&told, self.is_json)?;
            }
            lines.push(told);
        }
        closing.join_all().await;
        lines.append(&mut self.failed);
        let bad: Vec<_> = lines.iter().filter(|line| !line.is_good).collect();
        tell_together(&bad, self.is_json)?;
        Ok(lines)
    }

    /// Ends all connections in good order.
    pub async fn close(mut self) {
        self.connecting.abort_all();
        let mut closing = JoinSet::new();
        self.connected.into_iter().for_each(|client| {
            closing.spawn(client.close());
        });
        closing.join_all().await;
    }
}

const PANICKED: &str = "a task of this program panicked; this is a bug";

/// Whether all went well.
pub fn code(lines: &[Line]) -> ExitCode {
    match lines.iter().all(|line| line.is_good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn tell(line: &Line, is_json: bool) -> Result<()> {
    console::line(&if is_json {
        line.json.to_string()
    } else {
        format!("{}  {}", line.target, line.text)
    })?;
    Ok(())
}

/// Tells what went wrong, the same of several targets once.
pub fn tell_together(lines: &[&Line], is_json: bool) -> Result<()> {
    if is_json {
        return lines.iter().try_for_each(|line| tell(line, true));
    }
    for (at, line) in lines.iter().enumerate() {
        if lines[..at].iter().any(|earlier| earlier.text == line.text) {
            continue;
        }
        let same = lines.iter().filter(|other| other.text == line.text);
        let targets: Vec<_> = same.map(|other| other.target.as_str()).collect();
        console::line(&format!("{}  {}", targets.join(", "), line.text))?;
    }
    Ok(())
}
