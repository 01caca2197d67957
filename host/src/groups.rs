//! The control groups of this process, and those above them: what they allow, and what is used of it. Versions 1 and 2, and
//! both beside each other.

use procfs::process::{MountInfo, MountInfos};
use procfs::{FromBufRead, ProcessCGroups};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Version 1 says "no limit" by a number of bytes near 2^63.
const NO_LIMIT: u64 = 1 << 62;

/// Where the groups of this process lie: of each hierarchy its own group first, then those above it. Empty where there is
/// none.
#[derive(Debug, Default)]
pub struct Groups {
    unified: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
    cpuacct: Vec<PathBuf>,
    memory: Vec<PathBuf>,
}

/// What may be used of something, and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What sets the limit.
    pub by: String,
    /// In bytes.
    pub limit: u64,
    /// In bytes, without what can be taken back at any time.
    pub used: u64,
}

impl Groups {
    /// Those of this process, by what the kernel says of it. What cannot be read is left out.
    #[must_use]
    pub fn of_this_process() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::of(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    }

    fn of(groups: &str, mounts: &str) -> Self {
        let groups = ProcessCGroups::from_buf_read(groups.as_bytes()).map_or(Vec::new(), |groups| groups.0);
        let mounts = MountInfos::from_buf_read(mounts.as_bytes()).map_or(Vec::new(), |mounts| mounts.0);
        let v1 = |controller: &str| {
            let group = groups
                .iter()
                .find(|group| group.controllers.iter().any(|one| one == controller));
            let mount = mounts
                .iter()
                .find(|mount| mount.fs_type == "cgroup" && mount.super_options.contains_key(controller));
            directories(mount, group.map(|group| group.pathname.as_str()))
        };
        let group = groups.iter().find(|group| group.hierarchy == 0);
        let mount = mounts.iter().find(|mount| mount.fs_type == "cgroup2");
        Self {
            unified: directories(mount, group.map(|group| group.pathname.as_str())),
            cpu: v1("cpu"),
            cpuacct: v1("cpuacct"),
            memory: v1("memory"),
        }
    }

    /// The least quota of CPU time, in cores, and the group that has it.
    fn quota(&self) -> Option<(f64, &Path, Version)> {
        let unified = self.unified.iter().filter_map(|group| {
            let quota = quota(&text(&group.join("cpu.max"))?)?;
            Some((quota, group.as_path(), Version::Two))
        });
        let old = self.cpu.iter().filter_map(|group| {
            let cores = quota(&format!(
                "{} {}",
                text(&group.join("cpu.cfs_quota_us"))?.trim(),
                text(&group.join("cpu.cfs_period_us"))?.trim()
            ))?;
            Some((cores, group.as_path(), Version::One))
        });
        unified.chain(old).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Cores that the groups allow; `None` for no limit.
    #[must_use]
    pub fn cores(&self) -> Option<f64> {
        self.quota().map(|(cores, ..)| cores)
    }

    /// CPU time used in the group that has the least quota; in this process's own group where none has one.
    #[must_use]
    pub fn cpu_used(&self) -> Option<Duration> {
        match self.quota() {
            Some((_, group, Version::One)) => {
                // The hierarchies of quotas and of times may be mounted apart.
                let depth = self.cpu.iter().position(|one| one == group)?;
                Some(Duration::from_nanos(number(
                    &self.cpuacct.get(depth)?.join("cpuacct.usage"),
                )?))
            }
            Some((_, group, Version::Two)) => used(group),
            None => used(self.unified.first()?),
        }
    }

    /// Every limit of memory.
    #[must_use]
    pub fn memory(&self) -> Vec<Bound> {
        let unified = self.unified.iter().flat_map(|group| {
            ["memory.max", "memory.high"].map(|name| bound(group, name, "memory.current", "inactive_file "))
        });
        let old = self.memory.iter().map(|group| {
            bound(
                group,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            )
        });
        unified.chain(old).flatten().collect()
    }
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// The directories of a group and those above it, as far as they are mounted. A group that is not below what is mounted, as in
/// a container, is taken for what is.
fn directories(mount: Option<&MountInfo>, group: Option<&str>) -> Vec<PathBuf> {
    let (Some(mount), Some(group)) = (mount, group) else {
        return Vec::new();
    };
    let below = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let own = mount.mount_point.join(below);
    let up = own.ancestors().take_while(|path| path.starts_with(&mount.mount_point));
    // A path with no name at its end is one with a slash too many.
    up.map(|path| path.components().collect()).collect()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.trim().parse().ok()
}

/// What follows a name in a file of names and numbers.
fn entry(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .trim()
        .parse()
        .ok()
}

/// Quota and period as cores; `None` for no limit ("max", or -1).
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// The CPU time of a group of version 2.
fn used(group: &Path) -> Option<Duration> {
    let micros = entry(&text(&group.join("cpu.stat"))?, "usage_usec ")?;
    Some(Duration::from_micros(micros))
}

fn bound(group: &Path, limit: &str, usage: &str, inactive: &str) -> Option<Bound> {
    let path = group.join(limit);
    let limit = number(&path).filter(|&limit| limit < NO_LIMIT)?;
    let back = text(&group.join("memory.stat")).and_then(|stat| entry(&stat, inactive));
    let used = number::<u64>(&group.join(usage))
        .unwrap_or(0)
        .saturating_sub(back.unwrap_or(0));
    Some(Bound {
        by: path.display().to_string(),
        limit,
        used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A tree of files with these contents.
    fn tree(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("a name has one")).expect("a directory");
            fs::write(path, content).expect("a file");
        }
        directory
    }

    #[test]
    fn the_least_of_all_groups_above_counts_in_version_2() {
        let tree = tree(&[
            ("show.slice/cpu.max", "150000 100000\n"),
            ("show.slice/cpu.stat", "usage_usec 9000000\nuser_usec 1\n"),
            ("show.slice/memory.max", "max\n"),
            ("show.slice/memory.high", "1000000\n"),
            ("show.slice/memory.current", "700000\n"),
            ("show.slice/memory.stat", "anon 5\ninactive_file 200000\n"),
            ("show.slice/gateway.service/cpu.max", "max 100000\n"),
            ("show.slice/gateway.service/cpu.stat", "usage_usec 2500000\n"),
            ("show.slice/gateway.service/memory.max", "4000000\n"),
            ("show.slice/gateway.service/memory.high", "max\n"),
            ("show.slice/gateway.service/memory.current", "1\n"),
        ]);
        let root = tree.path().display();
        let mounts = format!("41 31 0:38 / {root} rw - cgroup2 cgroup2 rw\n");
        let groups = Groups::of("9:cpu:/x\n0::/show.slice/gateway.service\n", &mounts);
        assert_eq!(groups.cores(), Some(1.5));
        assert_eq!(
            groups.cpu_used(),
            Some(Duration::from_secs(9)),
            "of the group with the quota"
        );
        let limits: Vec<_> = groups.memory().iter().map(|bound| (bound.limit, bound.used)).collect();
        assert_eq!(limits, [(4_000_000, 1), (1_000_000, 500_000)]);
    }

    #[test]
    fn version_1_is_read_and_its_hierarchies_may_be_mounted_apart() {
        let tree = tree(&[
            ("cpu/a/cpu.cfs_quota_us", "-1\n"),
            ("cpu/a/cpu.cfs_period_us", "100000\n"),
            ("cpu/a/b/cpu.cfs_quota_us", "50000\n"),
            ("cpu/a/b/cpu.cfs_period_us", "100000\n"),
            ("cpuacct/a/b/cpuacct.usage", "3000000000\n"),
            ("memory/a/memory.limit_in_bytes", "2000000\n"),
            ("memory/a/memory.usage_in_bytes", "900000\n"),
            ("memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let root = tree.path().display();
        let mount = |what: &str| format!("32 31 0:29 / {root}/{what} rw - cgroup cgroup rw,{what}\n");
        let mounts = mount("cpu") + &mount("cpuacct") + &mount("memory");
        let groups = Groups::of("4:memory:/a\n2:cpuacct:/a/b\n1:cpu:/a/b\n0::/\n", &mounts);
        assert_eq!(groups.cores(), Some(0.5));
        assert_eq!(groups.cpu_used(), Some(Duration::from_secs(3)));
        let memory = groups.memory();
        assert_eq!(memory.len(), 1, "{memory:?}");
        assert_eq!((memory[0].limit, memory[0].used), (2_000_000, 800_000));
    }

    #[test]
    fn a_container_sees_its_own_group_as_what_is_mounted() {
        let tree = tree(&[("cpu.max", "200000 100000\n")]);
        let root = tree.path().display();
        let mounts = format!("41 31 0:38 /docker/1234 {root} rw - cgroup2 cgroup2 rw\n");
        for group in ["/docker/1234", "/elsewhere", "/"] {
            let groups = Groups::of(&format!("0::{group}\n"), &mounts);
            assert_eq!(groups.cores(), Some(2.0), "{group}");
        }
        let nothing = Groups::of("", "");
        assert_eq!((nothing.cores(), nothing.cpu_used()), (None, None));
        assert!(nothing.memory().is_empty());
    }
}
