//! Sets of FIX versions, as scenarios write them: `all`, `4.2+`, `-4.1`, `4.2-4.4`, `4.0, 5.0+`.

use std::fmt;

use crate::dictionary::Version;

/// The versions that a session may speak, FIX 5.0 and later by way of FIXT.1.1.
pub const VERSIONS: [Version; 8] = [
    Version::Fix40,
    Version::Fix41,
    Version::Fix42,
    Version::Fix43,
    Version::Fix44,
    Version::Fix50,
    Version::Fix50Sp1,
    Version::Fix50Sp2,
];

/// A set of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions(u8);

const _: () = assert!(VERSIONS.len() <= u8::BITS as usize);

impl Versions {
    pub const ALL: Self = Self(u8::MAX);

    pub fn has(self, version: Version) -> bool {
        VERSIONS.iter().position(|known| *known == version).is_some_and(|at| self.0 & (1 << at) != 0)
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is wrong is said with its mend.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self::ALL);
        }
        let mut set = 0;
        for part in text.split(',').map(str::trim) {
            let (first, last) = if let Some(from) = part.strip_suffix('+') {
                (version_at(from)?, VERSIONS.len() - 1)
            } else if let Some(to) = part.strip_prefix('-') {
                (0, version_at(to)?)
            } else if let Some((from, to)) = part.split_once('-') {
                (version_at(from)?, version_at(to)?)
            } else {
                let at = version_at(part)?;
                (at, at)
            };
            if first > last {
                return Err(format!("{part}: the earlier version comes first"));
            }
            set |= (first..=last).fold(0, |set, at| set | 1 << at);
        }
        Ok(Self(set))
    }
}

fn version_at(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let found = VERSIONS.iter().position(|version| {
        let name = version.name();
        text == name || Some(text) == name.strip_prefix("FIX.")
    });
    found.ok_or_else(|| {
        let names: Vec<_> = VERSIONS.iter().map(|version| version.name()).collect();
        format!(
            "{text:?} is no version: write all, or one of {} with or without \"FIX.\", as 4.2, 4.2+, -4.1 or 4.2-4.4",
            names.join(" ")
        )
    })
}

/// BeginString(8) of a session of this version.
pub(super) fn begin_string(version: Version) -> &'static str {
    if version.needs_transport() { Version::Fixt11.name() } else { version.name() }
}

/// EndSeqNo(16) for "all that you have".
pub(super) fn end_seq_no_infinity(version: Version) -> &'static str {
    if version <= Version::Fix41 { "999999" } else { "0" }
}

/// The largest SessionRejectReason(373) that the version knows, but for 99; none before FIX.4.2.
pub(super) fn session_reject_reason_max(version: Version) -> Option<u32> {
    match version {
        Version::Fix40 | Version::Fix41 => None,
        Version::Fix42 => Some(11),
        Version::Fix43 | Version::Fix44 => Some(17),
        _ => Some(18),
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let names: Vec<_> = VERSIONS.into_iter().filter(|version| self.has(*version)).map(Version::name).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_closed_and_joined() {
        let set = |text: &str| {
            let set = Versions::parse(text).unwrap();
            VERSIONS.into_iter().filter(|version| set.has(*version)).map(Version::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(set("5.0+"), "FIX.5.0 FIX.5.0SP1 FIX.5.0SP2");
        assert_eq!(set("-4.1"), "FIX.4.0 FIX.4.1");
        assert_eq!(set("4.2-4.3, FIX.5.0SP1"), "FIX.4.2 FIX.4.3 FIX.5.0SP1");
        assert_eq!(Versions::parse("all"), Ok(Versions::ALL));
        for wrong in ["", "4.5", "4.3-4.2", "FIXT.1.1", "4.2,"] {
            assert!(Versions::parse(wrong).is_err(), "{wrong}");
        }
    }
}
