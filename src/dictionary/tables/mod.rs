//! The built-in tables: the facts of the standard in a compact form of our own, inside the binary.
//!
//! ```text
//! magic       23 bytes
//! strings     count, then each in ascending order: bytes shared with the one before, bytes of its own, those bytes
//! versions    count, then each: length in bytes, code, fields, components, header, trailer, messages
//!   field     tag (difference to the one before), name, type, number of values, each: value, name
//!   component name, members
//!   message   MsgType, name, category, members
//!   members   count, each: place << 3 | required << 2 | kind; a group is followed by its own members
//! ```
//!
//! Every number is unsigned LEB128. A name is its number among the strings; a member's place is the number of its
//! field (the count field of a group) or component in the same version. Strings are restored once, at the first use
//! of any version; a version is decoded when it is first asked for, in well under a millisecond.
//!
//! `fixring dictionary compile` makes the file, and a test holds it to what that makes of the sources today.

mod decode;
mod encode;

use std::fmt;
use std::sync::OnceLock;

use super::amendments::to_base;
use super::{Dictionary, Version};

static STANDARD: &[u8] = include_bytes!("standard.bin");

const MAGIC: &[u8; 23] = b"fixring dictionaries 1\n";

/// The standard's dictionary of a version, decoded at its first use and kept. That of FIX.5.0SP2
/// requires nothing that only an extension pack asks for.
pub fn built_in(version: Version) -> &'static Dictionary {
    static BASE: OnceLock<Dictionary> = OnceLock::new();
    let latest = built_in_latest(version);
    if version != Version::Fix50Sp2 {
        return latest;
    }
    BASE.get_or_init(|| {
        let mut parts = latest.to_parts();
        to_base(&mut parts);
        Dictionary::new(parts)
    })
}

/// The same with all extension packs.
pub fn built_in_latest(version: Version) -> &'static Dictionary {
    static DICTIONARIES: [OnceLock<Dictionary>; Version::ALL.len()] = [const { OnceLock::new() }; Version::ALL.len()];
    DICTIONARIES[version as usize].get_or_init(|| {
        // Both are ours: a test decodes every version.
        let strings = strings().as_ref().expect("the built-in strings are whole");
        decode::dictionary(STANDARD, strings, version).expect("the built-in tables are whole")
    })
}

fn strings() -> &'static Option<decode::Strings> {
    static STRINGS: OnceLock<Option<decode::Strings>> = OnceLock::new();
    STRINGS.get_or_init(|| decode::Strings::read(STANDARD))
}

/// Makes the compact form of these dictionaries. What the sources are known to leave out is added.
pub fn compile(dictionaries: Vec<Dictionary>) -> Result<Vec<u8>, TableError> {
    encode::encode(dictionaries)
}

/// Why dictionaries cannot become tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    /// Two of them are of this version.
    Twice(Version),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(version) => write!(f, "two of the files describe {version}: give one for each version"),
        }
    }
}

impl std::error::Error for TableError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_built_in_and_made_of_its_own_facts() {
        for version in Version::ALL {
            let dictionary = built_in(version);
            assert_eq!(dictionary.version(), version);
            assert!(dictionary.messages().len() >= 8, "{version}");
        }
        assert_eq!(built_in(Version::Fix44).field(54).unwrap().name, "Side");
        assert_eq!(built_in(Version::Fixt11).message("A").unwrap().name, "Logon");
    }

    #[test]
    fn tables_made_of_the_built_in_dictionaries_are_the_built_in_tables() {
        let all = Version::ALL.map(|version| built_in_latest(version).clone()).to_vec();
        assert!(compile(all).unwrap() == STANDARD);
    }

    #[test]
    fn tables_that_are_cut_off_or_altered_are_none_and_never_a_panic() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let mut bytes = STANDARD.to_vec();
            if random.bool() {
                bytes.truncate(random.usize(..bytes.len()));
            } else {
                (0..8).for_each(|_| bytes[random.usize(..STANDARD.len())] = random.u8(..));
            }
            // What the bytes say may even be readable; what matters is that reading them ends.
            if decode::Strings::read(&bytes).is_some() {
                let _ = decode::dictionary(&bytes, strings().as_ref().unwrap(), Version::Fix42);
            }
        }
    }
}
