//! What recovery found, for those who ask later: in the data directory and in the metrics. The log has it from the start itself.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::control::Shared;
use crate::journal::report::{REPORT_NAME, RecoveryFile};
use crate::journal::{Opened, RingFound, Storage};
use crate::session::Identity;

/// Before the first Logon is answered. That the report cannot be written stops nobody.
pub(super) fn publish<S: Storage>(opened: &Opened<S>, took: Duration, data_dir: &Path, shared: &Shared) {
    let duration_ns = took.as_nanos() as u64;
    for (journal, counters) in opened.journals.iter().zip(shared.recoveries()) {
        let report = &journal.recovered.report;
        counters.duration_ns.set(duration_ns);
        counters.end_bytes.set(report.end);
        counters.commits.set(report.commits);
        counters.records.set(report.records);
        counters.carried_bytes.set(report.carried_bytes);
        counters.unreadable_bytes.set(report.unreadable.map_or(0, |place| place.bytes));
        counters.discarded_bytes.set(report.discarded_bytes);
        counters.healed_bytes.set(report.healed_bytes);
        counters.heads_skipped.set(report.heads_skipped.into());
        counters.ring.set(match report.ring {
            RingFound::Absent => 0,
            RingFound::Accepted => 1,
            RingFound::Finished => 2,
            RingFound::Quarantined(_) => 3,
        });
        counters.clean_stop.set(report.clean_stop.into());
        counters.may_have_lost.set(report.may_have_lost().into());
    }
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let name = |identity: &[u8]| {
        Identity::from_bytes(identity).map_or_else(|| identity.escape_ascii().to_string(), |found| found.to_string())
    };
    if let Err(error) = RecoveryFile::of(opened, now_ns, duration_ns, name).write(data_dir) {
        let data_dir = data_dir.display();
        tracing::warn!(%data_dir, %error, "the recovery report {REPORT_NAME} cannot be written");
    }
}
