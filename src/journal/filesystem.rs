//! What a data directory lies on, and whether that can keep what the journal promises.

use std::fmt;
use std::io;
use std::path::Path;

use crate::sys::file::filesystem_magic;

use super::OpenError;

/// The kind of a filesystem, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filesystem {
    /// Of a block device, as far as is known.
    Disk,
    /// A container's own layer: it goes when the container is made anew.
    Layer(&'static str),
    /// Memory: it goes with the node.
    Memory(&'static str),
    /// Another machine, or another process, answers for what a lock and a sync mean.
    Network(&'static str),
}

/// What the operator has allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    pub network: bool,
    pub memory: bool,
}

/// `f_type` of statfs(2), from linux/magic.h and the filesystems' own sources.
const KNOWN: &[(u32, Filesystem)] = &[
    (0x6969, Filesystem::Network("NFS")),
    (0x517b, Filesystem::Network("SMB")),
    (0xff53_4d42, Filesystem::Network("CIFS")),
    (0xfe53_4d42, Filesystem::Network("SMB2")),
    (0x6573_5546, Filesystem::Network("FUSE")),
    (0x0102_1997, Filesystem::Network("9p")),
    (0x00c3_6400, Filesystem::Network("Ceph")),
    (0x0bd0_0bd0, Filesystem::Network("Lustre")),
    (0x5346_414f, Filesystem::Network("AFS")),
    (0x6b41_4653, Filesystem::Network("AFS")),
    (0x7375_7245, Filesystem::Network("Coda")),
    (0x564c, Filesystem::Network("NCP")),
    (0x4750_4653, Filesystem::Network("GPFS")),
    (0x1983_0326, Filesystem::Network("BeeGFS")),
    (0x2003_0528, Filesystem::Network("OrangeFS")),
    (0xaad7_aaea, Filesystem::Network("PanFS")),
    (0x0116_1970, Filesystem::Network("GFS2")),
    (0x7461_636f, Filesystem::Network("OCFS2")),
    (0x786f_4256, Filesystem::Network("a shared folder of VirtualBox")),
    (0x7c7c_6673, Filesystem::Network("a shared folder of Parallels")),
    (0x0102_1994, Filesystem::Memory("tmpfs")),
    (0x8584_58f6, Filesystem::Memory("ramfs")),
    (0x9584_58f6, Filesystem::Memory("hugetlbfs")),
    (0x794c_7630, Filesystem::Layer("overlay")),
    (0x6175_6673, Filesystem::Layer("aufs")),
];

impl Filesystem {
    /// Of a path, or of the nearest directory above it that exists.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut nearest = path;
        loop {
            let named = if nearest.as_os_str().is_empty() { Path::new(".") } else { nearest };
            match (filesystem_magic(named), nearest.parent()) {
                (Ok(magic), _) => return Ok(Self::of_magic(magic)),
                (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => nearest = parent,
                (Err(error), _) => return Err(error),
            }
        }
    }

    fn of_magic(magic: u32) -> Self {
        KNOWN.iter().find(|(known, _)| *known == magic).map_or(Self::Disk, |(_, kind)| *kind)
    }

    /// What is wrong with a data directory here, and the mend; `None` where it may be used.
    pub fn fault(self, allowed: Allowed) -> Option<(String, &'static str)> {
        match self {
            Self::Network(_) if !allowed.network => Some((
                format!(
                    "is on {self}, where what a lock and a sync are worth is not this machine's to say, and two nodes may write at once"
                ),
                "name a directory on a block volume in engine.data_dir, or set persistence.allow_network_filesystem = true where yours keeps both",
            )),
            Self::Memory(_) if !allowed.memory => Some((
                format!("is on {self}, which goes with the node, whatever the persistence mode says"),
                "name a directory on a block volume in engine.data_dir, or set persistence.allow_tmpfs = true where nothing is to be kept",
            )),
            _ => None,
        }
    }

    /// What may be used, and is worth a word all the same.
    pub fn warning(self) -> Option<(String, &'static str)> {
        match self {
            Self::Layer(_) => Some((
                format!("is on the container's own layer ({self}), which goes when the container is made anew"),
                "mount a volume there (in a pod: a volumeMount of a PersistentVolumeClaim)",
            )),
            Self::Network(_) => Some((
                format!("is on {self}, as persistence.allow_network_filesystem allows: two nodes may write at once"),
                "see that one node alone can mount it",
            )),
            Self::Memory(_) => Some((
                format!("is on {self}, as persistence.allow_tmpfs allows: nothing survives the node"),
                "use it for tests and demonstrations alone",
            )),
            Self::Disk => None,
        }
    }

    /// Refuses what may not be used; a warning otherwise, where there is something to say.
    pub fn check(data_dir: &Path, allowed: Allowed) -> Result<Option<String>, OpenError> {
        // What cannot be looked at is said when the directory is made.
        let Ok(filesystem) = Self::of(data_dir) else { return Ok(None) };
        if let Some((what, mend)) = filesystem.fault(allowed) {
            return Err(OpenError::Directory(format!("data_dir {data_dir:?} {what}: {mend}")));
        }
        // Memory that is allowed is no news.
        let warning = if let Self::Memory(_) = filesystem { None } else { filesystem.warning() };
        Ok(warning.map(|(what, mend)| format!("data_dir {data_dir:?} {what}: {mend}")))
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("a disk"),
            Self::Layer(name) | Self::Memory(name) | Self::Network(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Allowed = Allowed { network: false, memory: false };

    #[test]
    fn network_filesystems_and_memory_are_refused_unless_they_are_allowed() {
        for magic in [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x0bd0_0bd0] {
            let filesystem = Filesystem::of_magic(magic);
            let (what, mend) = filesystem.fault(NONE).unwrap();
            assert!(what.contains(&filesystem.to_string()) && mend.contains("allow_network_filesystem"), "{what}");
            assert!(filesystem.fault(Allowed { network: true, memory: false }).is_none());
            assert!(filesystem.warning().is_some());
        }
        let tmpfs = Filesystem::of_magic(0x0102_1994);
        assert!(tmpfs.fault(NONE).unwrap().1.contains("allow_tmpfs"));
        assert!(tmpfs.fault(Allowed { network: false, memory: true }).is_none());
        // ext2 to ext4, XFS, Btrfs.
        for magic in [0xef53, 0x5846_5342, 0x9123_683e] {
            assert_eq!(Filesystem::of_magic(magic), Filesystem::Disk);
            assert_eq!((Filesystem::Disk.fault(NONE), Filesystem::Disk.warning()), (None, None));
        }
        let overlay = Filesystem::of_magic(0x794c_7630);
        assert!(overlay.fault(NONE).is_none() && overlay.warning().unwrap().0.contains("container's own layer"));
    }

    #[test]
    fn a_directory_that_is_not_made_yet_is_judged_by_the_one_above_it() {
        let shared_memory = Path::new("/dev/shm");
        if let Ok(memory @ Filesystem::Memory(_)) = Filesystem::of(shared_memory) {
            let missing = shared_memory.join("fixring-that-is-not-there/data");
            assert_eq!(Filesystem::of(&missing).unwrap(), memory);
            let refused = Filesystem::check(&missing, NONE).unwrap_err().to_string();
            assert!(refused.contains("tmpfs") && refused.contains("persistence.allow_tmpfs"), "{refused}");
        }
        assert_eq!(Filesystem::of(Path::new("not-there-either")).unwrap(), Filesystem::of(Path::new(".")).unwrap());
        assert!(Filesystem::of(Path::new("/proc/self/status/below-a-file")).is_err());
    }
}
