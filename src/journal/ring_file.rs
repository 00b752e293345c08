//! The ring's file on shared memory, and what its header page says of its owner.
//!
//! ```text
//!  0        8         12        14       16              32          40       48      52
//! ┌────────┬─────────┬─────────┬────────┬───────────────┬───────────┬────────┬───────┬───────────┐
//! │ magic  │ format_ │ journal │ spare  │ uuid          │ ring_     │ spare  │crc32c │ zeros …128│
//! │        │ version │         │        │               │ bytes     │        │       │           │
//! └────────┴─────────┴─────────┴────────┴───────────────┴───────────┴────────┴───────┴───────────┘
//! ```
//!
//! Behind it, in cache lines of their own, lie the marks and the owner's incarnation: `sys/ring.rs`.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::sys::file;
use crate::sys::ring::{IDENTITY_BYTES, PAGE_BYTES, RingMemory};

use super::{FORMAT_VERSION, Manifest, OpenError};

const MAGIC: [u8; 8] = *b"FIXRRING";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawIdentity {
    magic: [u8; 8],
    format_version: U32,
    journal: U16,
    spare: U16,
    uuid: [u8; 16],
    ring_bytes: U64,
    spare_too: U64,
    crc32c: U32,
    zeros: [u8; 76],
}

const CRC_OFFSET: usize = std::mem::offset_of!(RawIdentity, crc32c);
const _: () = assert!(size_of::<RawIdentity>() == IDENTITY_BYTES);

/// Whose ring a header page says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingIdentity {
    /// Never used.
    Blank,
    Ours,
    Foreign(&'static str),
}

pub(super) fn identity_of(manifest: &Manifest, journal: u16) -> [u8; IDENTITY_BYTES] {
    let mut raw = RawIdentity {
        magic: MAGIC,
        format_version: FORMAT_VERSION.into(),
        journal: journal.into(),
        spare: U16::ZERO,
        uuid: *manifest.uuid.as_bytes(),
        ring_bytes: manifest.geometry.ring_bytes.into(),
        spare_too: U64::ZERO,
        crc32c: U32::ZERO,
        zeros: [0; 76],
    };
    raw.crc32c = crc_fast::crc32_iscsi(&raw.as_bytes()[..CRC_OFFSET]).into();
    zerocopy::transmute!(raw)
}

pub(super) fn read_identity(bytes: &[u8], manifest: &Manifest, journal: u16) -> RingIdentity {
    if bytes.iter().all(|byte| *byte == 0) {
        return RingIdentity::Blank;
    }
    let Ok((raw, _)) = RawIdentity::ref_from_prefix(bytes) else {
        return RingIdentity::Foreign("its header is damaged");
    };
    if raw.magic != MAGIC || raw.crc32c.get() != crc_fast::crc32_iscsi(&bytes[..CRC_OFFSET]) {
        return RingIdentity::Foreign("its header is damaged");
    }
    if raw.uuid != *manifest.uuid.as_bytes() || raw.journal.get() != journal {
        return RingIdentity::Foreign("it belongs to another data directory or journal");
    }
    if raw.format_version.get() != FORMAT_VERSION || raw.ring_bytes.get() != manifest.geometry.ring_bytes {
        return RingIdentity::Foreign("it has another format");
    }
    RingIdentity::Ours
}

pub(super) fn is_ours(bytes: &[u8], manifest: &Manifest, journal: u16) -> bool {
    read_identity(bytes, manifest, journal) == RingIdentity::Ours
}

pub fn ring_path(ring_dir: &Path, uuid: Uuid, journal: u16) -> PathBuf {
    ring_dir.join(format!("fixring-{uuid}-{journal}.ring"))
}

/// Creates or opens the ring of one journal, takes all its memory and faults it in. The second value says why it could not be locked.
pub(super) fn open_ring(
    ring_dir: &Path,
    manifest: &Manifest,
    journal: u16,
) -> Result<(RingMemory, Option<io::Error>), OpenError> {
    let path = ring_path(ring_dir, manifest.uuid, journal);
    let failed = |what: &str, error: io::Error| {
        OpenError::Ring(format!(
            "ring {path:?} of journal {journal}: {what}: {error}; see that persistence.ring_dir is shared memory that this user can write to"
        ))
    };
    file::create_private_directory(ring_dir)
        .map_err(|error| OpenError::Ring(format!("ring_dir {ring_dir:?} cannot be made: {error}; name one that this user can write to in persistence.ring_dir")))?;
    let file = file::open_private(&path, true).map_err(|error| failed("it cannot be opened", error))?;
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
            let _ = std::fs::remove_file(&path);
        }
        return Err(no_room(ring_dir, journal, bytes - held_bytes.min(bytes), error));
    }
    let memory =
        RingMemory::map(&file, manifest.geometry.ring_bytes).map_err(|error| failed("it cannot be mapped", error))?;
    memory.populate().map_err(|error| failed("its memory cannot be had (a memory limit?)", error))?;
    let lock_error = memory.lock().err();
    Ok((memory, lock_error))
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
