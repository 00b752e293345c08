//! What the process's cgroups allow it of memory and processors, and its limits of address space.
//! No call here needs a permission.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// A limit of memory, and what the kernel calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryLimit {
    pub bytes: u64,
    pub name: String,
}

/// The least memory that a cgroup of this process allows; `None` where none does.
pub fn memory_limit() -> Option<MemoryLimit> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    memory_limit_in(Path::new(ROOT), &cgroups)
}

fn memory_limit_in(root: &Path, cgroups: &str) -> Option<MemoryLimit> {
    let read = |path: PathBuf| {
        // "max" of version 2 is no number; version 1 says no limit by one beyond all memory.
        let bytes: u64 = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
        (bytes < i64::MAX as u64 / 2).then(|| MemoryLimit { bytes, name: path.display().to_string() })
    };
    let of = |controller: &str, file: &str| files(root, cgroups, controller, file).into_iter().filter_map(read);
    let limits = of("", "memory.max").chain(of("memory", "memory.limit_in_bytes"));
    limits.min_by_key(|limit| limit.bytes)
}

/// How many processors' time the process's cgroups allow, as a whole number and rounded down;
/// `None` where they allow all.
pub fn cpu_limit() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    cpu_limit_in(Path::new(ROOT), &cgroups)
}

fn cpu_limit_in(root: &Path, cgroups: &str) -> Option<u64> {
    let of_max = |path: PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
    };
    let of_quota = |path: PathBuf| {
        // -1 is none.
        let quota = fs::read_to_string(&path).ok()?.trim().parse::<u64>().ok()?;
        let period = fs::read_to_string(path.with_file_name("cpu.cfs_period_us")).ok()?.trim().parse::<u64>().ok()?;
        Some((quota, period))
    };
    let of_two = files(root, cgroups, "", "cpu.max").into_iter().filter_map(of_max);
    let of_one = files(root, cgroups, "cpu", "cpu.cfs_quota_us").into_iter().filter_map(of_quota);
    of_two.chain(of_one).filter(|(_, period)| *period > 0).map(|(quota, period)| quota / period).min()
}

/// A controller's file in the process's cgroup and in each above it; version 2 has one hierarchy,
/// whose controllers have no name. In a container the path is often one of the host's, of which the
/// mount shows the end alone: then the root is what there is.
fn files(root: &Path, cgroups: &str, controller: &str, file: &str) -> Vec<PathBuf> {
    let of_controller = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
    };
    let Some(path) = cgroups.lines().find_map(of_controller) else { return Vec::new() };
    let mount = root.join(controller);
    Path::new(&path).ancestors().map(|ancestor| mount.join(ancestor).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_of_a_cgroup_and_those_above_it_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let (one, two) = ("3:cpu,cpuacct:/\n2:memory:/pod/a\n1:cpu:/pod", "0::/pod/a\n");
        assert_eq!((memory_limit_in(root, two), cpu_limit_in(root, two)), (None, None));
        put(root, "pod/a/memory.max", "max\n");
        put(root, "pod/memory.max", "1048576\n");
        put(root, "pod/a/cpu.max", "250000 100000\n");
        put(root, "pod/cpu.max", "max 100000\n");
        let limit = memory_limit_in(root, two).unwrap();
        assert!(limit.bytes == 1 << 20 && limit.name.ends_with("pod/memory.max"), "{limit:?}");
        assert_eq!(cpu_limit_in(root, two), Some(2));
        put(root, "memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(memory_limit_in(root, one), None);
        // A container's mount does not have the host's path.
        put(root, "memory/memory.limit_in_bytes", "4096\n");
        put(root, "cpu/pod/cpu.cfs_quota_us", "-1\n");
        put(root, "cpu/cpu.cfs_quota_us", "50000\n");
        put(root, "cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(memory_limit_in(root, one).map(|limit| limit.bytes), Some(4096));
        assert_eq!(cpu_limit_in(root, "1:cpu:/pod"), Some(0));
        assert_eq!(memory_limit_in(root, "garbage"), None);
    }
}
