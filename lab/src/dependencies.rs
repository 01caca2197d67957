//! Whether the dependencies are such as `deny.toml` allows: licences, banned crates, sources. It needs neither a network nor
//! another tool, so that it is asserted everywhere. Known vulnerabilities are for `cargo deny check`, which is run where it
//! is installed and its database can be had; where not, a line says that they were not checked.

use anyhow::{Context, bail, ensure};
use cargo_metadata::{MetadataCommand, Package, semver::VersionReq};
use host::console;
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};
use std::collections::BTreeMap;
use std::process::Stdio;
use xtask::workspace::{cargo, root};

/// What `deny.toml` says, as far as it is checked here. Lists that are missing are an error: they would allow anything.
#[derive(Deserialize)]
struct Policy {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// A package, as far as the policy is about it.
struct Seen<'a> {
    name: &'a str,
    version: String,
    license: Option<&'a str>,
    /// `registry+URL` or the like; none for a package of this workspace.
    source: Option<&'a str>,
    /// Dependencies on any version, of a package of this workspace.
    wildcards: Vec<&'a str>,
}

impl<'a> From<&'a Package> for Seen<'a> {
    fn from(package: &'a Package) -> Self {
        let wildcard = |dependency: &&cargo_metadata::Dependency| {
            dependency.req == VersionReq::STAR && dependency.path.is_none() && package.source.is_none()
        };
        Self {
            name: &package.name,
            version: package.version.to_string(),
            license: package.license.as_deref(),
            source: package.source.as_ref().map(|source| source.repr.as_str()),
            wildcards: package
                .dependencies
                .iter()
                .filter(wildcard)
                .map(|one| one.name.as_str())
                .collect(),
        }
    }
}

/// Checks all dependencies of the workspace, on all targets of the policy, with all features.
///
/// # Errors
/// Everything that the policy forbids.
pub fn check() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("cannot read deny.toml")?;
    let policy: Policy = toml::from_str(&text).context("deny.toml")?;
    let mut options = vec!["--locked".to_owned(), "--all-features".to_owned()];
    for target in &policy.graph.targets {
        options.extend(["--filter-platform".to_owned(), target.clone()]);
    }
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).other_options(options);
    let metadata = command.exec().context("cargo metadata failed")?;
    let packages: Vec<Seen<'_>> = metadata.packages.iter().map(Seen::from).collect();
    let faults = judge(&policy, &packages)?;
    for line in twice(&packages) {
        console::line(&format!("twice: {line}"))?;
    }
    ensure!(faults.is_empty(), "{} fault(s)\n{}", faults.len(), faults.join("\n"));
    console::line(&format!(
        "licences, banned crates and sources of {} packages: as deny.toml allows",
        packages.len()
    ))?;
    advisories()
}

fn judge(policy: &Policy, packages: &[Seen<'_>]) -> anyhow::Result<Vec<String>> {
    let allowed = policy.licenses.allow.iter();
    let allowed: Vec<Licensee> = allowed
        .map(|name| Licensee::parse(name).with_context(|| format!("deny.toml: licence {name:?}")))
        .collect::<Result<_, _>>()?;
    let mut faults = Vec::new();
    for package in packages {
        let mut fault = |why: String| faults.push(format!("{} {}: {why}", package.name, package.version));
        match package
            .license
            .map(|text| (text, Expression::parse_mode(text, ParseMode::LAX)))
        {
            None => fault("names no licence".to_owned()),
            Some((text, Err(_))) => fault(format!("licence {text:?} is no SPDX expression")),
            Some((text, Ok(expression))) => {
                if !expression.evaluate(|required| allowed.iter().any(|one| one.satisfies(required))) {
                    fault(format!("licence {text:?} is not allowed"));
                }
            }
        }
        if let Some(banned) = policy.bans.deny.iter().find(|banned| banned.name == package.name) {
            fault(format!("is banned: {}", banned.reason));
        }
        let is_allowed = |source: &str| {
            let registry = source.strip_prefix("registry+");
            registry.is_some_and(|registry| policy.sources.allow_registry.iter().any(|one| one == registry))
        };
        if let Some(source) = package.source.filter(|source| !is_allowed(source)) {
            fault(format!("comes from {source}"));
        }
        for name in &package.wildcards {
            fault(format!("takes any version of {name}"));
        }
    }
    Ok(faults)
}

/// Crates that are there in several versions: they cost build time and size, and are no fault.
fn twice(packages: &[Seen<'_>]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(package.name).or_default().push(&package.version);
    }
    let several = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    several
        .map(|(name, versions)| format!("{name} {}", versions.join(", ")))
        .collect()
}

/// Known vulnerabilities, where the tool and its database can be had.
fn advisories() -> anyhow::Result<()> {
    let quiet = |arguments: &[&str]| {
        let mut command = cargo(arguments.iter().copied());
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !quiet(&["deny", "--version"]) {
        console::line("advisories: NOT CHECKED: cargo-deny is not installed (`cargo install --locked cargo-deny`)")?;
        return Ok(());
    }
    if !quiet(&["deny", "fetch", "db"]) {
        console::line(
            "advisories: NOT CHECKED: cargo-deny cannot fetch its database (`cargo deny fetch db` tells why)",
        )?;
        return Ok(());
    }
    let status = cargo(["deny", "check"]).status().context("cannot run cargo deny")?;
    if !status.success() {
        bail!("cargo deny check: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "[graph]\ntargets = []\n[licenses]\nallow = [\"MIT\", \"Apache-2.0\"]\n\
                          [bans]\ndeny = [{ crate = \"bad\", reason = \"why\" }]\n\
                          [sources]\nallow-registry = [\"https://example.org/index\"]\n";

    #[test]
    fn each_fault_is_found() {
        let policy: Policy = toml::from_str(POLICY).expect("a policy");
        let registry = Some("registry+https://example.org/index");
        let good = || Seen {
            name: "good",
            version: "1.0.0".to_owned(),
            license: Some("MIT OR GPL-3.0-only"),
            source: registry,
            wildcards: Vec::new(),
        };
        let git = Some("git+https://example.org/good");
        for (package, fault) in [
            (good(), None),
            (
                Seen {
                    license: Some("MIT/Apache-2.0"),
                    source: None,
                    ..good()
                },
                None,
            ),
            (
                Seen {
                    license: Some("MIT AND GPL-3.0-only"),
                    ..good()
                },
                Some("not allowed"),
            ),
            (
                Seen {
                    license: Some("as you like"),
                    ..good()
                },
                Some("no SPDX"),
            ),
            (
                Seen {
                    license: None,
                    ..good()
                },
                Some("no licence"),
            ),
            (Seen { name: "bad", ..good() }, Some("banned: why")),
            (Seen { source: git, ..good() }, Some("comes from git+")),
            (
                Seen {
                    source: Some("registry+https://other.example/index"),
                    ..good()
                },
                Some("comes from registry+"),
            ),
            (
                Seen {
                    wildcards: vec!["any"],
                    ..good()
                },
                Some("any version of any"),
            ),
        ] {
            let found = judge(&policy, &[package])
                .expect("a policy of known licences")
                .join("\n");
            assert!(
                fault.map_or(found.is_empty(), |fault| found.contains(fault)),
                "{fault:?} in {found:?}"
            );
        }
        assert!(
            toml::from_str::<Policy>("[graph]\ntargets = []\n").is_err(),
            "no list allows nothing"
        );
    }
}
