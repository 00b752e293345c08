//! What is to be reached, what was found, and what a line about it ends with.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Goal {
    pub what: String,
    /// `None`: not measured.
    pub holds: Option<bool>,
    pub found: String,
}

impl Goal {
    pub fn new(what: impl Into<String>, found: impl Into<String>, holds: bool) -> Self {
        Self { what: what.into(), holds: Some(holds), found: found.into() }
    }

    pub fn unknown(what: impl Into<String>) -> Self {
        Self { what: what.into(), holds: None, found: "not measured".into() }
    }

    pub fn verdict(&self) -> &'static str {
        self.holds.map_or("not measured", verdict)
    }

    pub fn line(&self) -> String {
        format!("{}: {}: {}", self.what, self.found, self.verdict())
    }
}

/// What a line about a goal ends with.
pub(super) fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "does not hold" }
}
