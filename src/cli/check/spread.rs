//! How sessions are spread over journals and workers, and whether as many fit.

use super::machine::Findings;
use crate::config::{Pattern, format_bytes};
use crate::engine::{Identified, identified};
use crate::journal::{Geometry, SessionState, ring_for};

/// Journals whose sessions are told one by one.
const SHOWN_MAX: usize = 16;
/// From so many sessions a journal on an uneven spread is no accident.
const SESSIONS_PER_JOURNAL_MIN: usize = 8;
/// What an identity takes, such as FIX.4.4 and two CompIDs of a dozen characters.
const IDENTITY_BYTES_TYPICAL: usize = 36;

impl Findings<'_> {
    /// After the data directory, which says how many journals it has.
    pub(super) fn spread(&mut self) {
        let journals = usize::try_from(self.journal_count).unwrap_or(1).max(1);
        for (index, session) in self.config.sessions.iter().enumerate() {
            let Some(journal) = session.journal.filter(|journal| usize::from(*journal) >= journals) else { continue };
            self.wrong(
                &format!("session[{index}].journal"),
                format!(
                    "is {journal}, and there are journals 0 to {}: one a worker, fixed with the data directory",
                    journals - 1
                ),
                "use one of them, or a new engine.data_dir with more engine.workers",
            );
        }
        let configured = identified(self.config, journals as u16);
        let mut sessions = vec![0; journals];
        let mut bytes = vec![0; journals];
        for Identified { identity_bytes, journal, .. } in &configured {
            if let Some(count) = sessions.get_mut(usize::from(*journal)) {
                *count += 1;
                bytes[usize::from(*journal)] += SessionState::bytes(*identity_bytes);
            }
        }
        self.shares(&sessions);
        self.heads(&sessions, &bytes);
        self.connections(configured.len());
    }

    fn shares(&mut self, sessions: &[usize]) {
        const KEY: &str = "session";
        let total: usize = sessions.iter().sum();
        if total == 0 {
            return;
        }
        let workers = self.config.engine.placement.worker_count() as usize;
        let shown = sessions.iter().take(SHOWN_MAX).enumerate();
        let shown: Vec<_> = shown
            .map(|(journal, count)| format!("{count} in journal {journal} (worker {})", journal % workers))
            .collect();
        let more = if sessions.len() > SHOWN_MAX { ", and so on" } else { "" };
        self.ok(KEY, format!("{total} named sessions: {}{more}", shown.join(", ")));
        let most = sessions.iter().max().copied().unwrap_or_default();
        if sessions.len() > 1 && total >= SESSIONS_PER_JOURNAL_MIN * sessions.len() && most > 2 * total / sessions.len()
        {
            self.warning(
                KEY,
                format!("one journal has {most} of {total} sessions"),
                "set journal in some [[session]]s of a new data directory",
            );
        }
    }

    /// A segment's head states every session of its journal.
    fn heads(&mut self, sessions: &[usize], bytes: &[u64]) {
        const KEY: &str = "persistence.ring_bytes";
        let persistence = &self.config.persistence;
        let geometry = Geometry {
            journals: sessions.len() as u16,
            ring_bytes: persistence.ring_bytes,
            segment_bytes: persistence.segment_bytes,
            segments: persistence.segments,
        };
        let bytes_max = geometry.sessions_bytes_max();
        for (journal, (count, bytes)) in sessions.iter().zip(bytes).enumerate() {
            if *bytes > bytes_max {
                let ring = format_bytes(ring_for(*bytes));
                self.wrong(
                    KEY,
                    format!("{count} sessions of journal {journal} need {bytes} bytes at a segment's head, and {bytes_max} are theirs (an eighth of the ring)"),
                    format!("use \"{ring}\", and a multiple of it for segment_bytes, or spread them over more journals"),
                );
            }
        }
        let is_any = |pattern: &Pattern| *pattern == Pattern::Any;
        let has_template = self.config.sessions.iter().any(|session| {
            let identity = &session.identity;
            is_any(&identity.begin_string) || is_any(&identity.sender_comp_id) || is_any(&identity.target_comp_id)
        });
        let most = bytes.iter().max().copied().unwrap_or_default();
        let templates = u64::from(self.config.engine.template_sessions_max);
        let wanted = most + templates * SessionState::bytes(IDENTITY_BYTES_TYPICAL);
        if has_template && most <= bytes_max && wanted > bytes_max {
            let fit = (bytes_max - most) / SessionState::bytes(IDENTITY_BYTES_TYPICAL);
            let ring = format_bytes(ring_for(wanted));
            self.warning(
                KEY,
                format!("templates may create {templates} sessions (engine.template_sessions_max), and about {fit} more fit a segment's head (an eighth of the ring)"),
                format!("use \"{ring}\", and a multiple of it for segment_bytes, in a new data directory"),
            );
        }
    }

    fn connections(&mut self, sessions: usize) {
        let connections_max = self.config.engine.connections_max;
        if sessions > connections_max as usize {
            self.warning(
                "engine.connections_max",
                format!("{sessions} sessions are named, and {connections_max} may be connected to a worker at a time"),
                format!("use {sessions} or more, unless they never come all at once"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::machine::{check_machine, tests::fitting};

    fn findings(more: &str) -> Vec<(Level, String)> {
        let directory = tempfile::tempdir().unwrap();
        let config = fitting(&directory, more);
        let told = check_machine(&config).into_iter();
        told.map(|finding| (finding.level, format!("{}: {}: {}", finding.place, finding.what, finding.mend))).collect()
    }

    fn session(target_comp_id: &str, more: &str) -> String {
        format!(
            "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"{target_comp_id}\"\n{more}\n"
        )
    }

    #[test]
    fn the_spread_is_told_and_a_journal_that_is_not_there_is_wrong() {
        let found = findings(&[session("DESK1", "journal = 0"), session("DESK2", "")].concat());
        let spread = found.iter().find(|(_, text)| text.contains("named sessions")).expect("the spread");
        assert!(
            spread.0 == Level::Ok && spread.1.contains("2 named sessions: 2 in journal 0 (worker 0)"),
            "{spread:?}"
        );
        let found = findings(&session("DESK1", "journal = 1"));
        let wrong = found.iter().find(|(level, _)| *level == Level::Wrong).expect("a fault");
        assert!(wrong.1.contains("session[0].journal: is 1, and there are journals 0 to 0"), "{wrong:?}");
    }

    #[test]
    fn more_sessions_than_a_ring_can_state_are_wrong_and_the_ring_that_can_is_named() {
        // The fitting machine's ring is small: an eighth of it states about a thousand.
        let sessions: String = (0..3_000).map(|number| session(&format!("DESK{number}"), "")).collect();
        let found = findings(&sessions);
        let wrong = found.iter().find(|(level, _)| *level == Level::Wrong).expect("a fault");
        assert!(wrong.1.contains("3000 sessions of journal 0 need") && wrong.1.contains("use \"2MiB\""), "{wrong:?}");
    }
}
