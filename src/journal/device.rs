//! What names the block device below a directory, as far as the kernel says: a cloud volume's own name stands there (the serial number of
//! an NVMe or virtio disk, the world-wide id of a SCSI one), and a volume restored from a snapshot has another.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a disk's directory below `/sys/dev/block` has a name of it, and what that is called in a manifest.
const NAMES: [(&str, &str); 4] =
    [("serial", "device/serial"), ("serial", "serial"), ("wwid", "wwid"), ("wwid", "device/wwid")];
/// A volume manager's device stands on another, and that perhaps on a third.
const DEPTH_MAX: u32 = 4;
const NAME_BYTES_MAX: usize = 256;

/// Each as `what=value`; empty where nothing is known, as on a filesystem without a device.
pub(super) fn identities_below(path: &Path) -> Vec<String> {
    let Ok(metadata) = fs::metadata(path) else { return Vec::new() };
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    identities(Path::new("/sys/dev/block"), &format!("{major}:{minor}"))
}

/// Whether two lists name different devices. A name that one of them lacks says nothing, since kernels differ in what they show.
pub(super) fn differ(before: &[String], now: &[String]) -> bool {
    let what = |name: &String| name.split_once('=').map_or(String::new(), |(what, _)| what.to_owned());
    let is_shared = before.iter().any(|name| now.contains(name));
    !is_shared && before.iter().any(|name| now.iter().any(|other| what(other) == what(name)))
}

fn identities(block: &Path, device: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut directory = fs::canonicalize(block.join(device)).ok();
    for _ in 0..DEPTH_MAX {
        let Some(found) = directory else { break };
        let disk = if found.join("partition").exists() { found.parent().map(Path::to_owned) } else { Some(found) };
        let Some(disk) = disk else { break };
        for (what, file) in NAMES {
            let value = fs::read(disk.join(file)).unwrap_or_default();
            let value = String::from_utf8_lossy(&value[..value.len().min(NAME_BYTES_MAX)]).trim().to_owned();
            let name = format!("{what}={value}");
            if !value.is_empty() && !value.contains(char::is_control) && !names.contains(&name) {
                names.push(name);
            }
        }
        directory = only_entry(&disk.join("slaves")).and_then(|below| fs::canonicalize(below).ok());
    }
    names
}

/// A device over several is none of them.
fn only_entry(directory: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory).ok()?.flatten();
    let entry = entries.next()?;
    entries.next().is_none().then(|| entry.path())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The shape of sysfs: an NVMe disk with a partition, and a volume manager's device over that.
    #[test]
    fn a_partition_and_a_device_over_it_have_the_disks_names() {
        let sys = tempfile::tempdir().unwrap();
        let disk = sys.path().join("devices/nvme0n1");
        let partition = disk.join("nvme0n1p2");
        let over = sys.path().join("devices/dm-0");
        let block = sys.path().join("dev/block");
        for directory in [&disk.join("device"), &partition, &over.join("slaves"), &block] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(disk.join("device/serial"), "vol0123456789abcdef0 \n").unwrap();
        fs::write(disk.join("wwid"), "nvme.1d0f-766f6c\n").unwrap();
        fs::write(partition.join("partition"), "2\n").unwrap();
        symlink(&partition, block.join("259:2")).unwrap();
        symlink(&over, block.join("252:0")).unwrap();
        symlink(&partition, over.join("slaves/nvme0n1p2")).unwrap();
        let expected = names(&["serial=vol0123456789abcdef0", "wwid=nvme.1d0f-766f6c"]);
        assert_eq!(identities(&block, "259:2"), expected);
        assert_eq!(identities(&block, "252:0"), expected);
        assert_eq!(identities(&block, "8:0"), names(&[]));
        // One that lies over two is neither.
        symlink(&disk, over.join("slaves/nvme1n1")).unwrap();
        assert_eq!(identities(&block, "252:0"), names(&[]));
    }

    #[test]
    fn devices_differ_only_by_what_both_are_known_by() {
        let differ = |before: &[&str], now: &[&str]| super::differ(&names(before), &names(now));
        assert!(differ(&["serial=a"], &["serial=b"]));
        assert!(differ(&["serial=a", "wwid=x"], &["serial=b"]));
        assert!(!differ(&["serial=a"], &["serial=a", "wwid=x"]));
        assert!(!differ(&["serial=a", "wwid=x"], &["serial=b", "wwid=x"]));
        assert!(!differ(&["serial=a"], &["wwid=x"]));
        assert!(!differ(&["serial=a"], &[]) && !differ(&[], &["serial=a"]));
    }

    #[test]
    fn whatever_lies_below_this_machines_directories_is_named_without_fault() {
        for path in ["/", "/dev/shm", "/not-there"] {
            assert!(identities_below(Path::new(path)).iter().all(|name| name.contains('=')), "{path}");
        }
    }
}
