//! The ring's file on shared memory, and what its header page says of its owner.
//!
//! ```text
//!  0        8         12        14       16              32          40       48          64        80      84
//! ┌────────┬─────────┬─────────┬────────┬───────────────┬───────────┬────────┬───────────┬─────────┬───────┬───────────┐
//! │ magic  │ format_ │ journal │ spare  │ uuid          │ ring_     │ home   │ timeline  │ boot_id │crc32c │ zeros …128│
//! │        │ version │         │        │               │ bytes     │        │           │         │       │           │
//! └────────┴─────────┴─────────┴────────┴───────────────┴───────────┴────────┴───────────┴─────────┴───────┴───────────┘
//! ```
//!
//! Behind it, in cache lines of their own, lie the marks and the owner's incarnation: `sys/ring.rs`.
//!
//! A ring serves one data directory, whose journal's `home` stands in its header (`home.rs`), and one process, which holds the lock of its file
//! for as long as it maps it. It is believed within one boot of one machine: a file that outlived that is on a volume, where no page of a
//! mapping is ever synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::sys::file;
use crate::sys::open_files::is_exhausted;
use crate::sys::ring::{IDENTITY_BYTES, PAGE_BYTES, RingMemory};

use super::lock::{LIVE_HOLDER_WAIT, STEP};
use super::{Manifest, OpenError, StorageError, home};

const MAGIC: [u8; 8] = *b"FIXRRING";
/// Of the header page. The records have the journal's.
const RING_VERSION: u32 = 2;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawIdentity {
    magic: [u8; 8],
    format_version: U32,
    journal: U16,
    spare: U16,
    uuid: [u8; 16],
    ring_bytes: U64,
    /// Of the data directory that it serves; 0 where that is none.
    home: U64,
    timeline: [u8; 16],
    /// Zeros where the system does not say it.
    boot_id: [u8; 16],
    crc32c: U32,
    zeros: [u8; 44],
}

const CRC_OFFSET: usize = std::mem::offset_of!(RawIdentity, crc32c);
const _: () = assert!(size_of::<RawIdentity>() == IDENTITY_BYTES);

/// Whose ring a header page says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingIdentity {
    /// Never used.
    Blank,
    Ours,
    /// Ours, as an earlier boot left it, or another machine.
    EarlierBoot,
    /// Of a directory of which ours is a copy, or that is a copy of ours.
    OtherHome,
    Foreign(&'static str),
}

impl RingIdentity {
    /// Whether the ring was used for this very directory.
    pub fn is_of_this_directory(self) -> bool {
        matches!(self, Self::Ours | Self::EarlierBoot)
    }
}

pub(super) fn identity_of(manifest: &Manifest, journal: u16) -> [u8; IDENTITY_BYTES] {
    identity_in(manifest, journal, boot_id())
}

fn identity_in(manifest: &Manifest, journal: u16, boot_id: Option<[u8; 16]>) -> [u8; IDENTITY_BYTES] {
    let mut raw = RawIdentity {
        magic: MAGIC,
        format_version: RING_VERSION.into(),
        journal: journal.into(),
        spare: U16::ZERO,
        uuid: *manifest.uuid.as_bytes(),
        ring_bytes: manifest.geometry.ring_bytes.into(),
        home: home_of(manifest, journal).into(),
        timeline: *manifest.timeline.as_bytes(),
        boot_id: boot_id.unwrap_or_default(),
        crc32c: U32::ZERO,
        zeros: [0; 44],
    };
    raw.crc32c = crc_fast::crc32_iscsi(&raw.as_bytes()[..CRC_OFFSET]).into();
    zerocopy::transmute!(raw)
}

/// Makes it the header of a ring that an earlier boot has left, for who simulates that. One that
/// was never used stays so.
pub(crate) fn as_of_earlier_boot(identity: &mut [u8; IDENTITY_BYTES]) {
    let mut raw: RawIdentity = zerocopy::transmute!(*identity);
    if raw.magic == MAGIC {
        raw.boot_id = [0xff; 16];
        raw.crc32c = crc_fast::crc32_iscsi(&raw.as_bytes()[..CRC_OFFSET]).into();
        *identity = zerocopy::transmute!(raw);
    }
}

/// As the manifest's last use says it.
fn home_of(manifest: &Manifest, journal: u16) -> u64 {
    home::number_of(&manifest.last_use.home, &manifest.last_use.device, journal)
}

pub(super) fn read_identity(bytes: &[u8], manifest: &Manifest, journal: u16) -> RingIdentity {
    identity_at(bytes, manifest, journal, boot_id())
}

fn identity_at(bytes: &[u8], manifest: &Manifest, journal: u16, boot_id: Option<[u8; 16]>) -> RingIdentity {
    if bytes.iter().all(|byte| *byte == 0) {
        return RingIdentity::Blank;
    }
    let Ok((raw, _)) = RawIdentity::ref_from_prefix(bytes) else {
        return RingIdentity::Foreign("its header is damaged");
    };
    if raw.magic == MAGIC && raw.format_version.get() != RING_VERSION {
        return RingIdentity::Foreign("it has another format");
    }
    if raw.magic != MAGIC || raw.crc32c.get() != crc_fast::crc32_iscsi(&bytes[..CRC_OFFSET]) {
        return RingIdentity::Foreign("its header is damaged");
    }
    if raw.uuid != *manifest.uuid.as_bytes() || raw.journal.get() != journal {
        return RingIdentity::Foreign("it belongs to another data directory or journal");
    }
    if raw.timeline != *manifest.timeline.as_bytes() {
        return RingIdentity::Foreign("it belongs to another timeline of this data directory");
    }
    if raw.ring_bytes.get() != manifest.geometry.ring_bytes {
        return RingIdentity::Foreign("it has another format");
    }
    let (then, now) = (raw.home.get(), home_of(manifest, journal));
    if then != 0 && now != 0 && then != now {
        return RingIdentity::OtherHome;
    }
    // Where the system says nothing of its boots, nothing shows that this is still the same.
    if boot_id == Some(raw.boot_id) { RingIdentity::Ours } else { RingIdentity::EarlierBoot }
}

pub(super) fn is_of_this_directory(bytes: &[u8], manifest: &Manifest, journal: u16) -> bool {
    read_identity(bytes, manifest, journal).is_of_this_directory()
}

/// What the kernel calls this boot of this machine.
fn boot_id() -> Option<[u8; 16]> {
    static BOOT_ID: OnceLock<Option<[u8; 16]>> = OnceLock::new();
    *BOOT_ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Uuid::parse_str(text.trim()).ok()?.into_bytes())
    })
}

/// Of a directory's first timeline, which has the directory's own name, this is what it has always been.
pub fn ring_path(ring_dir: &Path, timeline: Uuid, journal: u16) -> PathBuf {
    ring_dir.join(format!("fixring-{timeline}-{journal}.ring"))
}

/// What a ring's file shows to who only looks.
pub(super) struct RingLook {
    pub identity: RingIdentity,
    /// A process works with it.
    pub is_locked: bool,
}

/// `None` where there is no file that can be read.
pub(super) fn look(path: &Path, manifest: &Manifest, journal: u16) -> Option<RingLook> {
    let file = file::open_to_read(path).ok()?;
    let is_locked = file::is_locked(&file).ok()?;
    let mut header = [0; IDENTITY_BYTES];
    let identity = match file.read_exact_at(&mut header, 0) {
        Ok(()) => read_identity(&header, manifest, journal),
        Err(_) => RingIdentity::Blank,
    };
    Some(RingLook { identity, is_locked })
}

/// Takes the lock of a ring's file, which is held for as long as the file is open or mapped. A process that is just ending is waited for.
pub(super) fn lock(path: &Path, file: &File) -> Result<(), OpenError> {
    let start = Instant::now();
    loop {
        let is_taken = file::try_lock(file).map_err(|error| {
            OpenError::Ring(format!(
                "ring {path:?}: its lock cannot be taken: {error}; see that persistence.ring_dir is shared memory"
            ))
        })?;
        if is_taken {
            return Ok(());
        }
        if start.elapsed() >= LIVE_HOLDER_WAIT {
            return Err(OpenError::RingInUse { ring: path.to_owned() });
        }
        std::thread::sleep(STEP);
    }
}

/// Creates or opens the ring of one journal, takes its lock and all its memory, and faults it in. The second value says why it could not be
/// locked in memory.
pub(super) fn open_ring(
    path: &Path,
    manifest: &Manifest,
    journal: u16,
) -> Result<(RingMemory, Option<io::Error>), OpenError> {
    let ring_dir = path.parent().unwrap_or(Path::new("."));
    let failed = |what: &str, error: io::Error| failed(path, journal, what, error);
    file::create_private_directory(ring_dir).map_err(|error| failed("its directory cannot be made", error))?;
    let file = file::open_private(path, true).map_err(|error| failed("it cannot be opened", error))?;
    // Before anything of it is read or changed. The mapping keeps what was opened, and the lock with it.
    lock(path, &file)?;
    let bytes = PAGE_BYTES + manifest.geometry.ring_bytes;
    let metadata = file.metadata().map_err(|error| failed("it cannot be looked at", error))?;
    if metadata.len() > bytes {
        // Longer than ours can only be another format's; recovery keeps what it holds of our length.
        file.set_len(bytes).map_err(|error| failed("it cannot be cut", error))?;
    }
    if let Err(error) = file::allocate(&file, bytes) {
        let held_bytes = metadata.blocks() * 512;
        if held_bytes == 0 {
            // Nothing of it was there before: what could not be allocated in full is not left behind.
            let _ = std::fs::remove_file(path);
        }
        if error.kind() != io::ErrorKind::StorageFull {
            return Err(failed("its memory cannot be taken", error));
        }
        return Err(no_room(ring_dir, journal, bytes - held_bytes.min(bytes), error));
    }
    let memory =
        RingMemory::map(&file, manifest.geometry.ring_bytes).map_err(|error| failed("it cannot be mapped", error))?;
    memory.populate().map_err(|error| failed("its memory cannot be had (a memory limit?)", error))?;
    let lock_error = memory.lock().err();
    Ok((memory, lock_error))
}

/// A limit of descriptors has nothing to do with shared memory; of everything else the ring's
/// directory is at fault.
pub(super) fn failed(path: &Path, journal: u16, what: &str, error: io::Error) -> OpenError {
    if is_exhausted(&error) {
        return StorageError::new("open the ring", path.display().to_string(), error).into();
    }
    let mend = match error.kind() {
        io::ErrorKind::StorageFull => "make room in persistence.ring_dir, or lower persistence.ring_bytes",
        io::ErrorKind::QuotaExceeded => {
            "raise this user's quota in persistence.ring_dir, make room, or lower persistence.ring_bytes"
        }
        io::ErrorKind::FileTooLarge => "raise the limit of a file's size (ulimit -f), or lower persistence.ring_bytes",
        io::ErrorKind::ReadOnlyFilesystem => {
            "persistence.ring_dir is read-only: mount it for writing, or name shared memory of this user's"
        }
        io::ErrorKind::OutOfMemory => "give the process more memory, or lower persistence.ring_bytes",
        _ => "see that persistence.ring_dir is shared memory that this user can write to",
    };
    OpenError::Ring(format!("ring {path:?} of journal {journal}: {what}: {error}; {mend}"))
}

fn no_room(ring_dir: &Path, journal: u16, needed_bytes: u64, error: io::Error) -> OpenError {
    let needed = in_words(needed_bytes);
    let text = match file::space(ring_dir) {
        Ok(space) => format!(
            "ring_dir {ring_dir:?} has {} free of {}, {needed} are needed for journal {journal} ({error}): enlarge it or lower persistence.ring_bytes",
            in_words(space.free_bytes),
            in_words(space.total_bytes),
        ),
        Err(_) => {
            format!("ring_dir {ring_dir:?}: {needed} are needed for journal {journal}: {error}")
        }
    };
    OpenError::Ring(text)
}

/// Bytes as people write them: whole units, the smaller ones where they matter.
pub(crate) fn in_words(bytes: u64) -> String {
    let (mib, kib) = (bytes >> 20, (bytes >> 10) & 1023);
    match (mib, kib) {
        (0, 0) => format!("{bytes} bytes"),
        (0, kib) => format!("{kib} KiB"),
        (mib, 0) => format!("{mib} MiB"),
        (mib @ 0..=63, kib) => format!("{mib} MiB + {kib} KiB"),
        (mib, _) => format!("{mib} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Geometry;

    fn manifest() -> Manifest {
        Manifest {
            uuid: Uuid::from_bytes([7; 16]),
            geometry: Geometry::default(),
            incarnation: 1,
            ring_dir: String::new(),
            numbers_moved: None,
            timeline: Uuid::from_bytes([7; 16]),
            timeline_from: 0,
            last_use: crate::journal::LastUse::default(),
        }
    }

    #[test]
    fn a_ring_knows_its_owner_and_any_changed_byte_is_damage() {
        let identity = identity_of(&manifest(), 3);
        assert_eq!(read_identity(&identity, &manifest(), 3), RingIdentity::Ours);
        assert_eq!(read_identity(&[0; IDENTITY_BYTES], &manifest(), 3), RingIdentity::Blank);
        assert!(matches!(read_identity(&identity, &manifest(), 2), RingIdentity::Foreign(_)));
        for at in 0..CRC_OFFSET + 4 {
            let mut changed = identity;
            changed[at] ^= 1;
            assert!(matches!(read_identity(&changed, &manifest(), 3), RingIdentity::Foreign(_)), "byte {at}");
        }
    }

    fn with_home(home: &str, device: &str) -> Manifest {
        let last_use = crate::journal::LastUse {
            home: vec![home.to_owned()],
            device: vec![device.to_owned()],
            ..crate::journal::LastUse::default()
        };
        Manifest { last_use, ..manifest() }
    }

    #[test]
    fn a_ring_serves_one_directory_on_one_volume_in_one_timeline() {
        let original = with_home("born=1.0", "serial=a");
        let identity = identity_of(&original, 0);
        assert_eq!(read_identity(&identity, &original, 0), RingIdentity::Ours);
        for other in [with_home("born=2.0", "serial=a"), with_home("born=1.0", "serial=b")] {
            assert_eq!(read_identity(&identity, &other, 0), RingIdentity::OtherHome);
        }
        // A directory of which nothing is known is compared with none.
        assert_eq!(read_identity(&identity, &manifest(), 0), RingIdentity::Ours);
        let restored = Manifest { timeline: Uuid::from_bytes([8; 16]), ..original };
        assert!(
            matches!(read_identity(&identity, &restored, 0), RingIdentity::Foreign(why) if why.contains("timeline"))
        );
    }

    #[test]
    fn a_ring_is_believed_within_one_boot_only() {
        let (one, other) = (Some([1; 16]), Some([2; 16]));
        let left = identity_in(&manifest(), 0, one);
        assert_eq!(identity_at(&left, &manifest(), 0, one), RingIdentity::Ours);
        assert_eq!(identity_at(&left, &manifest(), 0, other), RingIdentity::EarlierBoot);
        assert_eq!(identity_at(&left, &manifest(), 0, None), RingIdentity::EarlierBoot);
        let unknown = identity_in(&manifest(), 0, None);
        assert_eq!(identity_at(&unknown, &manifest(), 0, None), RingIdentity::EarlierBoot);
        assert!(boot_id().is_some_and(|id| id != [0; 16]), "Linux says it");
    }

    #[test]
    fn a_ring_of_the_format_before_is_told_from_a_damaged_one() {
        let mut identity = identity_of(&manifest(), 0);
        identity[8] = 1;
        assert_eq!(read_identity(&identity, &manifest(), 0), RingIdentity::Foreign("it has another format"));
    }

    #[test]
    fn a_ring_is_locked_for_as_long_as_it_is_mapped() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = Manifest {
            geometry: Geometry { ring_bytes: 64 << 10, segment_bytes: 64 << 10, ..Geometry::default() },
            ..manifest()
        };
        let path = ring_path(directory.path(), manifest.timeline, 0);
        let (memory, _) = open_ring(&path, &manifest, 0).unwrap();
        assert!(look(&path, &manifest, 0).unwrap().is_locked);
        assert!(matches!(open_ring(&path, &manifest, 0), Err(OpenError::RingInUse { ring }) if ring == path));
        drop(memory);
        assert!(!look(&path, &manifest, 0).unwrap().is_locked);
        open_ring(&path, &manifest, 0).unwrap();
    }

    #[test]
    fn too_little_shared_memory_is_named_with_what_is_needed_and_what_there_is() {
        let error =
            no_room(Path::new("/"), 0, (16 << 20) + 4096, io::Error::from_raw_os_error(libc::ENOSPC)).to_string();
        for part in [
            "ring_dir \"/\" has ",
            " free of ",
            "16 MiB + 4 KiB are needed for journal 0",
            "lower persistence.ring_bytes",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
