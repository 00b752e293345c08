//! Whether the process' memory may be kept resident.

use super::machine::Findings;
use crate::config::LockMemory;
use crate::engine::shortage;
use crate::sys::memory::{Locked, may_lock_all};

const KEY: &str = "engine.lock_memory";

impl Findings<'_> {
    /// After the data directory, which says how many journals it has.
    pub(super) fn memory_limit(&mut self) {
        if let Some(what) = shortage(self.config, self.journal_count as u16) {
            self.wrong("persistence.ring_bytes", what, "");
        }
    }

    pub(super) fn memory(&mut self) {
        let wanted = self.config.engine.lock_memory;
        if wanted == LockMemory::Never {
            return self.ok(KEY, "false: of the process' memory the rings alone are locked, where they may be");
        }
        // What is found is said by the limit or the error, with the mend.
        match (may_lock_all(), wanted) {
            (Locked::All, _) => self.ok(KEY, "all memory may be locked"),
            (not_permitted, LockMemory::Always) => {
                self.wrong(KEY, not_permitted.to_string(), "or set it to \"auto\", to run without")
            }
            (not_permitted, _) => {
                let mend = "without it a page that the kernel has dropped or swapped makes a message wait for a disk";
                self.warning(KEY, not_permitted.to_string(), mend)
            }
        }
    }
}
