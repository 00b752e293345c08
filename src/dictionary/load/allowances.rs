//! What a dictionary may be allowed that is otherwise an error: each is ambiguous, and the
//! operator's word settles it.

use std::fmt;
use std::str::FromStr;

/// One kind of error that becomes a warning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Allowance {
    /// A member names a field that the file does not define, or not with a tag: the member is left
    /// out.
    UndefinedFields,
    /// A message or group names a component that the file does not define: it is left out.
    UndefinedComponents,
    /// A tag has two names and types, or a name two tags: the first counts, and a second tag is
    /// known without the name.
    DuplicateFields,
    /// A component is defined twice, and not alike: the first counts.
    DuplicateComponents,
    /// The file is of a version that nobody knows: it is read as the nearest that is known.
    UnknownVersions,
}

impl Allowance {
    pub const ALL: [Self; 5] = [
        Self::UndefinedFields,
        Self::UndefinedComponents,
        Self::DuplicateFields,
        Self::DuplicateComponents,
        Self::UnknownVersions,
    ];

    /// As the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UndefinedFields => "undefined_fields",
            Self::UndefinedComponents => "undefined_components",
            Self::DuplicateFields => "duplicate_fields",
            Self::DuplicateComponents => "duplicate_components",
            Self::UnknownVersions => "unknown_versions",
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What was written is not the name of an allowance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownAllowance(String);

impl fmt::Display for UnknownAllowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Allowance::ALL.map(Allowance::name).join(", ");
        write!(f, "{:?} is no allowance: the allowances are {all}", self.0)
    }
}

impl std::error::Error for UnknownAllowance {}

impl FromStr for Allowance {
    type Err = UnknownAllowance;

    fn from_str(written: &str) -> Result<Self, UnknownAllowance> {
        let found = Self::ALL.into_iter().find(|allowance| allowance.name() == written);
        found.ok_or_else(|| UnknownAllowance(written.into()))
    }
}

/// Some of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Allowances(u8);

impl Allowances {
    pub fn has(self, allowance: Allowance) -> bool {
        self.0 >> allowance as u8 & 1 == 1
    }
}

impl FromIterator<Allowance> for Allowances {
    fn from_iter<I: IntoIterator<Item = Allowance>>(allowances: I) -> Self {
        Self(allowances.into_iter().fold(0, |bits, allowance| bits | 1 << allowance as u8))
    }
}

impl fmt::Debug for Allowances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Allowance::ALL.into_iter().filter(|allowance| self.has(*allowance))).finish()
    }
}
