//! The kinds of files that people take for each other, told apart by their tables.

use strum::VariantArray;

/// What a text file of this project is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum Kind {
    /// The phases of an event.
    Show,
    /// Limits and grades.
    Throttle,
    /// How a gateway runs.
    Gateway,
    /// How an agent runs.
    Agent,
    /// What a simulator plays.
    Scenario,
    /// Secret keys of one purpose.
    Keys,
}

impl Kind {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Show => "a show",
            Self::Throttle => "a throttle",
            Self::Gateway => "a gateway's configuration",
            Self::Agent => "an agent's configuration",
            Self::Scenario => "a scenario of client-sim",
            Self::Keys => "a key file",
        }
    }

    /// Tables and keys at the top of such a file that no other kind has.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::Show => &["event", "gifts", "sponsors", "phases"],
            Self::Throttle => &["signals", "pace", "prefixes", "modes", "grades"],
            Self::Gateway => &["listen", "sessions", "claims", "throttle", "metrics", "admin"],
            Self::Agent => &["ledger", "seed", "settlement", "commit", "feed", "abuse"],
            Self::Scenario => &[
                "target",
                "load",
                "steps",
                "behaviour",
                "phones",
                "operator",
                "packets",
                "network",
                "engine",
            ],
            Self::Keys => &["purpose", "key"],
        }
    }

    /// The kind of a text that was taken for one of this kind: it has nothing of this kind's own, and most of that one's.
    pub(super) fn taken_for(self, text: &str) -> Option<Self> {
        let table: toml::Table = text.parse().ok()?;
        let count = |kind: Self| kind.own().iter().filter(|key| table.contains_key(**key)).count();
        let likeliest = *Self::VARIANTS.iter().max_by_key(|&&kind| count(kind))?;
        (count(self) == 0 && count(likeliest) > 0).then_some(likeliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_the_project_is_known_for_what_it_is() {
        let files = [
            (Kind::Show, include_str!("../../../deploy/show.toml")),
            (Kind::Throttle, include_str!("../../../deploy/throttle.toml")),
            (Kind::Gateway, include_str!("../../../deploy/gateway.toml")),
            (Kind::Agent, include_str!("../../../deploy/agent.toml")),
            (Kind::Agent, include_str!("../../../deploy/systemd/agent.toml")),
            (Kind::Scenario, include_str!("../../../deploy/scenarios/default.toml")),
            (Kind::Scenario, include_str!("../../../deploy/scenarios/mobile.toml")),
            (Kind::Keys, "purpose = \"ticket\"\n[[key]]\nid = 1\n"),
        ];
        for (kind, text) in files {
            for &wanted in Kind::VARIANTS {
                let found = wanted.taken_for(text);
                assert_eq!(found, (wanted != kind).then_some(kind), "{kind:?} for {wanted:?}");
            }
        }
    }

    #[test]
    fn what_may_be_of_the_kind_is_taken_for_no_other() {
        for text in ["[[phases]]\n[[grades]]", "[other]", "[[grades]", ""] {
            assert_eq!(Kind::Show.taken_for(text), None, "{text}");
        }
        assert_eq!(Kind::Show.taken_for("[admin]\n[show]"), Some(Kind::Gateway));
    }
}
