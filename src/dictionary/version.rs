//! The names of the versions that have a dictionary of their own.

use std::fmt;
use std::str::FromStr;

/// A version that a dictionary describes. FIX 5.0 and its service packs describe application messages alone, which
/// travel in the session of FIXT 1.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    Fix40,
    Fix41,
    Fix42,
    Fix43,
    Fix44,
    Fixt11,
    Fix50,
    Fix50Sp1,
    Fix50Sp2,
}

impl Version {
    pub const ALL: [Self; 9] = [
        Self::Fix40,
        Self::Fix41,
        Self::Fix42,
        Self::Fix43,
        Self::Fix44,
        Self::Fixt11,
        Self::Fix50,
        Self::Fix50Sp1,
        Self::Fix50Sp2,
    ];

    /// As people write it: `FIX.4.4`, `FIXT.1.1`, `FIX.5.0SP2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fix40 => "FIX.4.0",
            Self::Fix41 => "FIX.4.1",
            Self::Fix42 => "FIX.4.2",
            Self::Fix43 => "FIX.4.3",
            Self::Fix44 => "FIX.4.4",
            Self::Fixt11 => "FIXT.1.1",
            Self::Fix50 => "FIX.5.0",
            Self::Fix50Sp1 => "FIX.5.0SP1",
            Self::Fix50Sp2 => "FIX.5.0SP2",
        }
    }

    /// The attributes of an XML dictionary's root: type, major, minor, servicepack.
    pub const fn parts(self) -> (&'static str, u8, u8, u8) {
        match self {
            Self::Fix40 => ("FIX", 4, 0, 0),
            Self::Fix41 => ("FIX", 4, 1, 0),
            Self::Fix42 => ("FIX", 4, 2, 0),
            Self::Fix43 => ("FIX", 4, 3, 0),
            Self::Fix44 => ("FIX", 4, 4, 0),
            Self::Fixt11 => ("FIXT", 1, 1, 0),
            Self::Fix50 => ("FIX", 5, 0, 0),
            Self::Fix50Sp1 => ("FIX", 5, 0, 1),
            Self::Fix50Sp2 => ("FIX", 5, 0, 2),
        }
    }

    pub fn of_parts(kind: &str, major: u8, minor: u8, service_pack: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.parts() == (kind, major, minor, service_pack))
    }

    /// ApplVerID(1128) of the version's application messages.
    pub const fn appl_ver_id(self) -> Option<&'static [u8]> {
        match self {
            Self::Fix40 => Some(b"2"),
            Self::Fix41 => Some(b"3"),
            Self::Fix42 => Some(b"4"),
            Self::Fix43 => Some(b"5"),
            Self::Fix44 => Some(b"6"),
            Self::Fix50 => Some(b"7"),
            Self::Fix50Sp1 => Some(b"8"),
            Self::Fix50Sp2 => Some(b"9"),
            Self::Fixt11 => None,
        }
    }

    /// The version of application messages that ApplVerID(1128) or DefaultApplVerID(1137) names.
    pub fn of_appl_ver_id(appl_ver_id: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.appl_ver_id() == Some(appl_ver_id))
    }

    /// The same, of a name too: `9`, `FIX.5.0SP2`, `FIX50SP2`.
    pub fn of_appl_ver_name(written: &str) -> Option<Self> {
        let named = || written.parse().ok().filter(|version: &Self| version.appl_ver_id().is_some());
        Self::of_appl_ver_id(written.as_bytes()).or_else(named)
    }

    /// Whether the version has no session layer of its own, but FIXT.1.1's.
    pub fn needs_transport(self) -> bool {
        self > Self::Fixt11
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What was written is not the name of a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownVersion {
    written: String,
}

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no FIX version: use one of", self.written)?;
        Version::ALL.iter().try_for_each(|version| write!(f, " {version}"))
    }
}

impl std::error::Error for UnknownVersion {}

/// Capitals and dots do not matter: `fix44` and `FIX.4.4` are one, as are `FIX50SP2` and `FIX.5.0SP2`.
impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(written: &str) -> Result<Self, UnknownVersion> {
        let plain = |text: &str| {
            let kept = text.chars().filter(|c| !matches!(c, '.' | '_' | '-' | ' '));
            kept.map(|c| c.to_ascii_uppercase()).collect::<String>()
        };
        let wanted = plain(written);
        let found = Self::ALL.into_iter().find(|version| plain(version.name()) == wanted);
        found.ok_or_else(|| UnknownVersion { written: written.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_under_each_of_its_names() {
        for version in Version::ALL {
            assert_eq!(version.name().parse(), Ok(version));
            assert_eq!(version.name().replace('.', "").to_lowercase().parse(), Ok(version));
            let (kind, major, minor, service_pack) = version.parts();
            assert_eq!(Version::of_parts(kind, major, minor, service_pack), Some(version));
            if let Some(id) = version.appl_ver_id() {
                assert_eq!(Version::of_appl_ver_id(id), Some(version));
            }
        }
        for written in ["9", "FIX.5.0SP2", "FIX50SP2", "fix.5.0sp2"] {
            assert_eq!(Version::of_appl_ver_name(written), Some(Version::Fix50Sp2));
        }
        assert_eq!((Version::of_appl_ver_name("FIXT.1.1"), Version::of_appl_ver_name("10")), (None, None));
        assert!("FIX.4.5".parse::<Version>().unwrap_err().to_string().contains("FIX.5.0SP2"));
    }
}
