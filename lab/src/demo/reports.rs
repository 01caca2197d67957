//! What the agent's side says about the run, and from each side the list of credits. The audit is read as far as the demo
//! looks at it: field names are the agent's, and fields that it adds are passed over.

use anyhow::{Context, ensure};
use serde::Deserialize;
use shake_agent::abuse::KeptFile;
use std::collections::BTreeMap;

/// What an agent's side says.
#[derive(Debug)]
pub struct Books {
    pub audit: Audit,
    /// Whom the agent took for abusers.
    pub blocks: KeptFile,
    /// What the ledger credited to users.
    pub credits: Credits,
    /// User by user, where the lines for payment do not sum to the balance.
    pub unpaid: Vec<String>,
}

impl Books {
    /// Of two agents of a fleet together.
    pub fn join(mut self, other: Self) -> Self {
        let Audit {
            balanced,
            difference_count,
            differences,
            total,
            sent,
        } = other.audit;
        self.audit.balanced &= balanced;
        self.audit.difference_count += difference_count;
        self.audit.differences.extend(differences);
        self.audit.total.add(&total);
        self.audit.sent.add(&sent);
        join_blocks(&mut self.blocks, other.blocks);
        self.credits.extend(other.credits);
        self.unpaid.extend(other.unpaid);
        self
    }
}

/// Adds whom another agent took for abusers.
pub fn join_blocks(blocks: &mut KeptFile, other: KeptFile) {
    for (rule, count) in other.made {
        *blocks.made.entry(rule).or_default() += count;
    }
    blocks.held_back += other.held_back;
    blocks.blocks.extend(other.blocks);
}

/// The agent's audit.
#[derive(Debug, Deserialize)]
pub struct Audit {
    /// Not one difference.
    pub balanced: bool,
    /// How many differences.
    pub difference_count: u64,
    /// The differences, or the first of them.
    pub differences: Vec<Difference>,
    /// All sponsors together.
    pub total: Totals,
    /// Packets that users sent to each other.
    pub sent: Sent,
}

#[derive(Debug, Deserialize)]
pub struct Difference {
    pub kind: String,
    pub subject: String,
    pub expected: String,
    pub found: String,
}

/// What became of sent packets.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Sent {
    pub sent: Tally,
    pub open: Tally,
    pub grabbed: Tally,
    pub refunded: Tally,
}

impl Sent {
    fn add(&mut self, other: &Self) {
        self.sent.add(other.sent);
        self.open.add(other.open);
        self.grabbed.add(other.grabbed);
        self.refunded.add(other.refunded);
    }
}

/// Where packets are.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Totals {
    pub seed: Tally,
    pub unreleased: Tally,
    pub held: Tally,
    pub opened: Tally,
    pub refunded: Tally,
    pub void: Tally,
    pub lost: Tally,
    /// The event's budget for gifts.
    pub gifts: Tally,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.seed.add(other.seed);
        self.unreleased.add(other.unreleased);
        self.held.add(other.held);
        self.opened.add(other.opened);
        self.refunded.add(other.refunded);
        self.void.add(other.void);
        self.lost.add(other.lost);
        self.gifts.add(other.gifts);
    }
}

/// A number of packets and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Tally {
    pub packets: u64,
    pub cents: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.cents += other.cents;
    }
}

/// What came from one machine of a fleet, and was paid by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossed {
    /// Packets, by those who had won them.
    pub opened: u64,
    /// Shares, by friends.
    pub grabbed: u64,
}

impl Crossed {
    /// Compares the part that booked each gain with the part of its packet: `ledger export` of outbox and packets.
    ///
    /// # Errors
    /// When they are none.
    pub fn read(outbox: &str, packets: &str) -> anyhow::Result<Self> {
        let packets = rows(packets, ["packet", "part"])?.into_iter();
        let parts: BTreeMap<String, String> = packets.map(|[packet, part]| (packet, part)).collect();
        let mut crossed = Self::default();
        for [kind, packet, part] in rows(outbox, ["kind", "packet", "part"])? {
            let count = match kind.as_str() {
                "open" => &mut crossed.opened,
                "grab" => &mut crossed.grabbed,
                _ => continue,
            };
            let from = parts
                .get(&packet)
                .with_context(|| format!("there is no packet {packet}"))?;
            *count += u64::from(*from != part);
        }
        Ok(crossed)
    }
}

/// What users gained of packets: cents by packet and user.
pub type Credits = BTreeMap<(u64, u64), u64>;

/// An id as the agent writes it, with a letter before it (so that spreadsheets leave it alone), or as a bare number.
pub fn id(text: &str) -> anyhow::Result<u64> {
    let digits = text.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
    digits.parse().with_context(|| format!("{text:?} is no id"))
}

/// User by user, what does not agree of the lines that payment gets and the balances in the ledger: the settlement file, and
/// `ledger export` of the users. Both programs have ended, and nothing waits.
///
/// # Errors
/// When they are none.
pub fn unpaid(settlement: &str, users: &str) -> anyhow::Result<Vec<String>> {
    let mut sums = Sums::new();
    // Its header has other fields than its lines.
    let mut lines = csv::ReaderBuilder::new();
    for line in lines.flexible(true).from_reader(settlement.as_bytes()).records() {
        let line = line?;
        let fields: Vec<_> = line.iter().collect();
        let [_, _, user, number, cents, balance, ..] = fields[..] else {
            anyhow::bail!("{line:?} is no line of a settlement file");
        };
        take_line(&mut sums, [user, number, cents, balance])?;
    }
    unequal(sums, users)
}

/// The same of a ledger whose outbox is what payment reads: its export, which is in no user's order.
///
/// # Errors
/// When they are none.
pub fn unpaid_by_outbox(outbox: &str, users: &str) -> anyhow::Result<Vec<String>> {
    let mut sums = Sums::new();
    for line in rows(outbox, ["user", "number", "cents", "balance_cents"])? {
        take_line(&mut sums, line.each_ref().map(String::as_str))?;
    }
    unequal(sums, users)
}

/// By user: the sum of all lines, and of the last one the number and the balance.
type Sums = BTreeMap<u64, (i64, (u64, i64))>;

fn take_line(sums: &mut Sums, [user, number, cents, balance]: [&str; 4]) -> anyhow::Result<()> {
    let (sum, last) = sums.entry(id(user)?).or_default();
    *sum += cents.parse::<i64>()?;
    *last = (*last).max((number.parse()?, balance.parse()?));
    Ok(())
}

fn unequal(mut sums: Sums, users: &str) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for [user, balance] in rows(users, ["user", "balance_cents"])? {
        let (user, balance) = (id(&user)?, balance.parse::<i64>()?);
        let (sum, (_, last)) = sums.remove(&user).unwrap_or_default();
        if (sum, last) != (balance, balance) {
            wrong.push(format!(
                "user {user} has {balance} cents, the lines for payment sum to {sum}, and the last of them says {last}"
            ));
        }
    }
    wrong.extend(
        sums.keys()
            .map(|user| format!("user {user} has lines for payment and no account")),
    );
    Ok(wrong)
}

/// The columns of these names of each line of a list with a header line, in this order.
///
/// # Errors
/// When one is missing, or a line is longer or shorter than the header.
pub fn rows<const N: usize>(list: &str, names: [&str; N]) -> anyhow::Result<Vec<[String; N]>> {
    let mut reader = csv::Reader::from_reader(list.as_bytes());
    let header = reader.headers()?;
    ensure!(!header.is_empty(), "the list is empty");
    let mut places = [0; N];
    for (place, name) in places.iter_mut().zip(names) {
        let at = header.iter().position(|found| found == name);
        *place = at.with_context(|| format!("there is no column {name:?}"))?;
    }
    reader
        .records()
        .map(|record| Ok(record.map(|record| places.map(|at| record[at].to_owned()))?))
        .collect()
}

/// The gains in a CSV file with a header line. What is no gain from a packet (a debit of a sender, money that came
/// back to one) is passed over.
///
/// # Errors
/// When a column is missing, a field is no number, or a user has two gains of one packet.
pub fn credits(list: &str) -> anyhow::Result<Credits> {
    const GAINS: [&str; 3] = ["open", "grab", "gift"];
    let mut credits = BTreeMap::new();
    for (at, row) in rows(list, ["kind", "packet", "user", "cents"])?.into_iter().enumerate() {
        let [kind, packet, user, cents] = row;
        if !GAINS.contains(&kind.as_str()) {
            continue;
        }
        let line = at + 2;
        let number = |name, field: &str| id(field).with_context(|| format!("line {line}: {field:?} is no {name}"));
        let gain = (number("packet", &packet)?, number("user", &user)?);
        ensure!(
            credits.insert(gain, number("cents", &cents)?).is_none(),
            "line {line}: a user has two gains of one packet"
        );
    }
    Ok(credits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_lists_read_alike() {
        let phones = "kind,packet,user,sponsor,cents\nopen,p7,u1,2,300\ngrab,p9,u4,0,1\nsend,p5,u1,0,50\n";
        let ledger = "seq,at_ms,user,cents,kind,packet,transfer\n1,5,u1,300,open,p7,4\n2,5,u4,1,gift,p9,5\n3,6,u1,50,refund,p5,9\n";
        assert_eq!(credits(phones).unwrap(), credits(ledger).unwrap());
        assert_eq!(credits(phones).unwrap()[&(7, 1)], 300);
    }

    #[test]
    fn what_another_machine_paid_is_counted() {
        let packets = "packet,origin,part\np7,seed,0\np8,seed,1\n";
        let outbox = "kind,packet,part\nopen,p7,1\ngrab,p7,0\ngrab,p7,1\nopen,p8,1\nrefund,p8,0\n";
        let crossed = Crossed { opened: 1, grabbed: 1 };
        assert_eq!(Crossed::read(outbox, packets).unwrap(), crossed);
        let error = Crossed::read(outbox, "packet,part\n").unwrap_err().to_string();
        assert!(error.contains("no packet p7"), "{error}");
    }

    #[test]
    fn users_are_paid_what_they_have_in_whatever_order_the_lines_stand() {
        let outbox =
            "user,number,cents,balance_cents,kind,packet,part\nu1,2,-50,250,send,p9,1\nu1,1,300,300,open,p7,0\n";
        let users = "user,balance_cents,lines,packets_opened\nu1,250,2,1\n";
        assert_eq!(unpaid_by_outbox(outbox, users).unwrap(), Vec::<String>::new());
        let wrong = unpaid_by_outbox(outbox, &users.replace("u1,250", "u1,300")).unwrap();
        assert!(wrong.len() == 1 && wrong[0].contains("sum to 250"), "{wrong:?}");
        let nobody = unpaid_by_outbox(outbox, "user,balance_cents\n").unwrap();
        assert!(nobody[0].contains("no account"), "{nobody:?}");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let check = |csv: &str, expected: &str| {
            let error = format!("{:#}", credits(csv).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check("", "empty");
        check("kind,packet,user\n", "\"cents\"");
        check("kind,packet,user,cents\nopen,2,3,x\n", "line 2: \"x\" is no cents");
        check("kind,packet,user,cents\nopen,2,3\n", "line: 2");
        check(
            "kind,packet,user,cents\nopen,2,3,4\ngrab,2,3,4\n",
            "line 3: a user has two gains",
        );
    }
}
