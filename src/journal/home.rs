//! What tells a data directory from a copy of it: when the directories of its journals, and its
//! manifest, were made.
//!
//! A copy (`cp -a`, rsync, a backup that is put back) makes its directories anew, and no tool can give them an earlier time of birth. A
//! directory that is moved within its filesystem, or whose volume goes to another node or gets another device number, keeps them. The
//! path tells nothing, since containers mount one directory at several. A volume made of a snapshot keeps them too; `device.rs` tells that.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

/// Of each journal's directory, as `what=value`; what cannot be known is empty.
pub(super) fn of(data_dir: &Path, journals: u16) -> Vec<String> {
    let name = |journal| fs::metadata(data_dir.join(format!("journal-{journal}"))).map(|found| name(&found));
    (0..journals).map(|journal| name(journal).unwrap_or_default()).collect()
}

/// The first journal whose directory is another than it was, with both names. A name that is known once only tells nothing.
pub(super) fn differ<'n>(before: &'n [String], now: &'n [String]) -> Option<(usize, &'n str, &'n str)> {
    let what = |name: &str| name.split_once('=').map_or(String::new(), |(what, _)| what.to_owned());
    let pairs = before.iter().zip(now).enumerate();
    let mut others =
        pairs.filter(|(_, (before, now))| !before.is_empty() && what(before) == what(now) && before != now);
    others.next().map(|(journal, (before, now))| (journal, before.as_str(), now.as_str()))
}

/// The journal's directory and the device below it in a number, for the header of its ring; 0 where the directory is not known.
pub(super) fn number_of(home: &[String], device: &[String], journal: u16) -> u64 {
    let Some(name) = home.get(usize::from(journal)).filter(|name| !name.is_empty()) else { return 0 };
    let digest = Sha256::digest(format!("{name}\n{}", device.join("\n")));
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// What names a file or directory, and no copy of it.
pub(super) fn name(metadata: &Metadata) -> String {
    // A filesystem that keeps no time of birth says that there is none, or says 1970.
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    match born.filter(|born| !born.is_zero()) {
        Some(born) => format!("born={}.{:09}", born.as_secs(), born.subsec_nanos()),
        None => format!("inode={}", metadata.ino()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_moved_is_the_same_and_one_that_was_copied_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (data, moved, copy) = (root.path().join("data"), root.path().join("moved"), root.path().join("copy"));
        fs::create_dir_all(data.join("journal-0")).unwrap();
        let before = of(&data, 1);
        fs::rename(&data, &moved).unwrap();
        assert_eq!(of(&moved, 1), before);
        // Births are told in ticks of the kernel's clock: the copy is to be of a later one, as any is of a directory in use.
        let later = root.path().join("later");
        while fs::create_dir_all(later.join("journal-0")).is_ok() && differ(&before, &of(&later, 1)).is_none() {
            fs::remove_dir_all(&later).unwrap();
        }
        assert!(std::process::Command::new("cp").arg("-a").arg(&moved).arg(&copy).status().unwrap().success());
        assert!(differ(&before, &of(&copy, 1)).is_some());
        assert_ne!(number_of(&before, &[], 0), number_of(&of(&copy, 1), &[], 0));
        // In the place of the original, whose number of a file may be given out again.
        fs::remove_dir_all(&moved).unwrap();
        fs::rename(&copy, &moved).unwrap();
        assert_eq!(differ(&before, &of(&moved, 1)).map(|(journal, ..)| journal), Some(0));
    }

    #[test]
    fn what_is_not_known_tells_nothing() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(differ(&[], &names(&["born=1.0"])), None);
        assert_eq!(differ(&names(&["born=1.0"]), &names(&["inode=4"])), None);
        assert_eq!(differ(&names(&["", "born=1.0"]), &names(&["born=2.0", "born=1.0"])), None);
        assert_eq!(differ(&names(&["born=1.0", "born=1.0"]), &names(&["born=1.0", "born=2.0"])).unwrap().0, 1);
        assert_eq!((number_of(&[], &[], 0), number_of(&names(&[""]), &[], 0)), (0, 0));
        assert_eq!(of(Path::new("/not-there"), 2), ["", ""]);
    }
}
