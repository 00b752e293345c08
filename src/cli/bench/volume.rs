//! Which volume a figure is of: as far as the kernel tells, "unknown" where it does not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::file;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Volume {
    pub directory: String,
    pub filesystem: String,
    pub mount_options: String,
    pub source: String,
    pub device: String,
    pub model: String,
    /// "yes" of a disk that turns.
    pub rotational: String,
    pub scheduler: String,
    /// "write back": the device keeps what is not flushed in memory that it loses; "write through": it does not.
    pub write_cache: String,
    pub logical_block_bytes: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

const UNKNOWN: &str = "unknown";

impl Volume {
    pub fn of(directory: &Path) -> Self {
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = Mount::of(&directory, &mounts);
        let number = fs::metadata(&directory).map(|metadata| metadata.dev()).ok();
        // What stat(2) says is the filesystem's own number where it spans several devices; then the mount's may do.
        let numbers = number.map(|number| format!("{}:{}", libc::major(number), libc::minor(number)));
        let block = numbers.into_iter().chain(mount.as_ref().map(|mount| mount.device_numbers.clone()));
        let block = block.map(|numbers| Path::new("/sys/dev/block").join(numbers)).find_map(|path| disk(&path));
        let queue = |name: &str| block.as_ref().map_or_else(unknown, |block| read(&block.join("queue").join(name)));
        let space = file::space(&directory).ok();
        let of_mount = |of: fn(&Mount) -> &String| mount.as_ref().map_or_else(unknown, |mount| of(mount).clone());
        Self {
            directory: directory.display().to_string(),
            filesystem: of_mount(|mount| &mount.filesystem),
            mount_options: of_mount(|mount| &mount.options),
            source: of_mount(|mount| &mount.source),
            device: block
                .as_ref()
                .and_then(|block| block.file_name())
                .map_or_else(unknown, |name| name.to_string_lossy().into_owned()),
            model: block.as_ref().map_or_else(unknown, |block| model(block)),
            rotational: match queue("rotational").as_str() {
                "0" => "no".into(),
                "1" => "yes".into(),
                other => other.into(),
            },
            scheduler: chosen(&queue("scheduler")).into(),
            write_cache: queue("write_cache"),
            logical_block_bytes: queue("logical_block_size"),
            free_bytes: space.map_or(0, |space| space.free_bytes),
            total_bytes: space.map_or(0, |space| space.total_bytes),
        }
    }

    /// Memory is no volume, and a figure of it is one of memory.
    pub fn is_memory(&self) -> bool {
        ["tmpfs", "ramfs", "devtmpfs"].contains(&self.filesystem.as_str())
    }

    pub fn line(&self) -> String {
        let Self { filesystem, mount_options, device, model, rotational, scheduler, write_cache, .. } = self;
        format!(
            "{filesystem} ({mount_options}) on {device}, model {model}, rotational {rotational}, scheduler {scheduler}, write cache {write_cache}"
        )
    }
}

/// A directory with those above it, as far as they were made for the measurement. Gone with the
/// value, unless somebody else has put something there.
pub(super) struct Made(Vec<PathBuf>);

impl Made {
    pub fn directory(path: &Path) -> io::Result<Self> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        // The deepest first.
        let made = Self(path.ancestors().take_while(is_missing).map(Path::to_path_buf).collect());
        // What stands in its place is for who uses it to refuse.
        if !made.0.is_empty() {
            fs::create_dir_all(path)?;
        }
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(fs::remove_dir(path)));
    }
}

fn unknown() -> String {
    UNKNOWN.into()
}

/// A line of /proc/self/mountinfo, proc(5).
#[derive(Debug, PartialEq)]
struct Mount {
    device_numbers: String,
    filesystem: String,
    source: String,
    options: String,
}

impl Mount {
    /// The mount with the longest mount point that the directory lies below; of several at one place the last, which hides the others.
    fn of(directory: &Path, mounts: &str) -> Option<Self> {
        let mut found: Option<(usize, Self)> = None;
        for line in mounts.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let before: Vec<_> = before.split(' ').collect();
            let after: Vec<_> = after.split(' ').collect();
            let ([_, _, numbers, _, point, options, ..], [filesystem, source, rest @ ..]) = (&before[..], &after[..])
            else {
                continue;
            };
            let point = PathBuf::from(unescaped(point));
            let depth = point.components().count();
            if !directory.starts_with(&point) || found.as_ref().is_some_and(|(deepest, _)| depth < *deepest) {
                continue;
            }
            let mut all: Vec<&str> = options.split(',').collect();
            for option in rest.iter().flat_map(|options| options.split(',')) {
                if !all.contains(&option) {
                    all.push(option);
                }
            }
            let mount = Self {
                device_numbers: (*numbers).into(),
                filesystem: (*filesystem).into(),
                source: unescaped(source),
                options: all.join(","),
            };
            found = Some((depth, mount));
        }
        found.map(|(_, mount)| mount)
    }
}

/// Blanks, tabs, line ends and backslashes are octal in mountinfo.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

/// The directory in /sys of the whole disk that a block device is, or is a partition of.
fn disk(path: &Path) -> Option<PathBuf> {
    let device = fs::canonicalize(path).ok()?;
    if device.join("partition").exists() { device.parent().map(Path::to_owned) } else { Some(device) }
}

/// What made it, as far as it says: a device mapper's name, a disk's model, a virtual disk's serial.
fn model(block: &Path) -> String {
    ["device/model", "dm/name", "serial", "device/serial"]
        .iter()
        .map(|name| read(&block.join(name)))
        .find(|text| text != UNKNOWN)
        .unwrap_or_else(unknown)
}

fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() { unknown() } else { text.chars().take(200).collect() }
}

/// `none [mq-deadline] kyber` chooses the one in brackets.
fn chosen(schedulers: &str) -> &str {
    let inner = schedulers.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or(schedulers, |(chosen, _)| chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:25 / /data rw,noatime - tmpfs hidden rw,size=4k
29 27 259:2 / /data rw,noatime master:7 propagate_from:2 - xfs /dev/nvme0n1p2 rw,attr2
30 27 0:30 / /with\\040blank rw - tmpfs shm rw
a line of another form
";

    #[test]
    fn a_directory_s_mount_is_the_deepest_and_the_newest() {
        let of = |path: &str| Mount::of(Path::new(path), MOUNTS).map(|mount| (mount.filesystem, mount.options));
        assert_eq!(of("/data/fix"), Some(("xfs".into(), "rw,noatime,attr2".into())));
        assert_eq!(of("/database"), Some(("ext4".into(), "rw,relatime,discard".into())));
        assert_eq!(of("/with blank/x"), Some(("tmpfs".into(), "rw".into())));
        assert_eq!(Mount::of(Path::new("/data"), "29 27 259:2"), None);
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_unknown() {
        let volume = Volume::of(Path::new("no such directory"));
        assert_eq!((volume.scheduler.as_str(), volume.model.as_str(), volume.total_bytes), (UNKNOWN, UNKNOWN, 0));
        assert_eq!((chosen("none [mq-deadline] kyber"), chosen("none")), ("mq-deadline", "none"));
        assert!(Volume::of(Path::new("/")).line().contains(" on "));
    }
}
