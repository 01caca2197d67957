//! The `[target]` and `[[targets]]` tables: where the gateways are.

use super::check::Check;
use super::file::{At, Gateway, is_placed};
use super::{TARGETS_MAX, Target, WEIGHT_MAX};

impl Check<'_> {
    /// The gateways of `[[targets]]`, or the one that `[target]` tells.
    pub(super) fn targets(&mut self, address: &At<String>, gateways: Vec<Gateway>) -> Vec<Target> {
        if gateways.is_empty() {
            self.address(address.as_ref(), address.span());
            let address = address.as_ref().clone();
            return vec![Target { address, weight: 1 }];
        }
        if is_placed(&address.span()) {
            let message = "address stands beside [[targets]], which tell it for each gateway; take it out of [target]";
            self.wrong(address.span(), message.into());
        }
        if gateways.len() > TARGETS_MAX {
            let count = gateways.len();
            self.problems
                .add_whole(format!("{count} [[targets]]; at most {TARGETS_MAX}"));
        }
        let targets: Vec<Target> = gateways.into_iter().map(|gateway| self.gateway(gateway)).collect();
        if targets.iter().all(|target| target.weight == 0) {
            let message = "all [[targets]] have weight = 0, so no phone would begin anywhere; give one of them more";
            self.problems.add_whole(message);
        }
        targets
    }

    fn gateway(&mut self, gateway: Gateway) -> Target {
        let Gateway { address, weight } = gateway;
        self.address(address.as_ref(), address.span());
        let weight = self.number("weight", &weight, 0..=WEIGHT_MAX);
        let address = address.into_inner();
        Target { address, weight }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, Scenario};
    use shake_rules::document::{Problem, Problems};

    fn parse(text: &str) -> Result<Scenario, Problems> {
        Scenario::parse(text, &Overrides::default())
    }

    #[test]
    fn several_gateways_stand_instead_of_one() {
        let text = "[operator]\naddress = [\"10.0.0.5:9\", \"10.0.0.6:9\"]\n[phones]\nsilences_max = 3\n\
                    [[cues]]\nat_s = 2\nname = \"main\"\n\
                    [[targets]]\naddress = \"10.0.0.5:1\"\nweight = 2\n[[targets]]\naddress = \"10.0.0.6:1\"\n";
        let scenario = parse(text).expect("good");
        let targets: Vec<_> = scenario
            .targets
            .iter()
            .map(|target| (&target.address[..], target.weight))
            .collect();
        assert_eq!(targets, [("10.0.0.5:1", 2), ("10.0.0.6:1", 1)]);
        assert_eq!(
            (scenario.addresses(), scenario.habits.silences_max),
            ("10.0.0.5:1, 10.0.0.6:1".into(), 3)
        );
        let wanted = "gateway cue main --in 0s --target 10.0.0.5:9 --target 10.0.0.6:9 --certs certs";
        assert_eq!(scenario.cues[0].command.join(" "), wanted);
        let list = "targets = [{ address = \"10.0.0.5:1\", weight = 2 }, { address = \"10.0.0.6:1\" }]";
        assert_eq!(parse(list).expect("the same in one line").targets, scenario.targets);
        assert_eq!(
            parse("").expect("good").habits.silences_max,
            0,
            "there is nowhere else to go"
        );
        let many = "[[targets]]\naddress = \"10.0.0.5:1\"\n".repeat(65);
        for (wrong, line, word) in [
            ("[[targets]]\naddress = \"here\"", 2, "host:port"),
            ("[[targets]]\nweight = 1", 1, "address"),
            ("[[targets]]\naddress = \"a:1\"\nweight = 1001", 3, "0 to 1000"),
            ("[[targets]]\naddress = \"a:1\"\nweight = 0", 0, "more"),
            (
                "[target]\naddress = \"b:1\"\n[[targets]]\naddress = \"a:1\"",
                2,
                "take it out",
            ),
            ("[operator]\naddress = []", 2, "empty list"),
            ("[operator]\naddress = [\"a:1\", \"b\"]", 2, "host:port"),
            ("[operator]\naddress = 7", 2, "list"),
            (&many, 0, "at most 64"),
        ] {
            let problems = parse(wrong).expect_err(wrong);
            let found = |p: &Problem| p.line == line && p.message.contains(word);
            assert!(problems.0.iter().any(found), "{wrong}: {problems}");
        }
        let flag = Overrides {
            target: Some("10.0.0.7:1".into()),
            ..Overrides::default()
        };
        let problems = Scenario::parse(text, &flag).expect_err("which of them?");
        assert!(problems.to_string().contains("--target does not go"), "{problems}");
    }
}
