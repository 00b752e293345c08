//! Every counter of the engine, in one table a kind: its name, its type and what it means, in plain words.
//!
//! Each counter has one writer, the thread that owns the thing counted, and any number of readers that may see it a
//! moment late. So adding is a relaxed load and a relaxed store: no locked instruction on the message path. The
//! counters of each worker, journal and session stand on cache lines of their own, so that no writer
//! slows another down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_utils::CachePadded;

/// Lines of the process's log that nobody could be given: standard error belongs to the process, so that this is no engine's.
pub static LOG_LINES_LOST: AtomicU64 = AtomicU64::new(0);

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. For the owner alone: two writers would lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes away, for gauges. For the owner alone.
    pub fn subtract(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
    }

    /// For the owner alone.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Keeps the greatest. For the owner alone.
    pub fn raise(&self, n: u64) {
        if n > self.0.load(Ordering::Relaxed) {
            self.0.store(n, Ordering::Relaxed);
        }
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a number only grows, or goes both ways, and what it is shown in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CounterKind {
    Counter,
    Gauge,
    /// Not shown as it is: another figure is made of it.
    Part,
    /// Kept in nanoseconds, and shown in seconds, the unit of time of all metrics: `_ns` becomes `_seconds`.
    GaugeNs,
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub struct CounterRow<T> {
    /// As in the metrics, without prefix; a counter gets `_total` behind.
    pub name: &'static str,
    pub kind: CounterKind,
    pub help: &'static str,
    pub of: fn(&T) -> &Counter,
}

/// A struct of counters and the table that describes them, from one list, so that none can be left out of the
/// metrics.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ident, $help:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $(#[doc = $help] pub $field: Counter,)+
        }

        impl $name {
            pub const TABLE: &[CounterRow<$name>] = &[
                $(CounterRow {
                    name: stringify!($field),
                    kind: CounterKind::$kind,
                    help: $help,
                    of: |counters| &counters.$field,
                },)+
            ];
        }
    };
}

counters! {
    /// Written by one worker.
    WorkerCounters {
        turns: Counter, "Turns of the worker's loop; stands still when the worker hangs";
        busy_turns: Counter, "Turns that found work";
        longest_turn_ns: GaugeNs, "The longest turn since the start";
        long_turns: Counter, "Busy turns that took longer than engine.long_turn";
        messages_in: Counter, "Whole FIX messages received";
        messages_out: Counter, "FIX messages released to the wire";
        bytes_in: Counter, "Bytes received";
        bytes_out: Counter, "Bytes sent";
        garbled: Counter, "Messages ignored because framing, BodyLength or CheckSum was wrong";
        messages_too_long: Counter, "Messages longer than engine.message_bytes_max, which were read over and rejected";
        connections_accepted: Counter, "Connections accepted";
        connections_refused: Counter, "Connections closed at once because a limit was reached";
        connections_displaced: Counter, "Connections that had not logged on and made room for newer ones";
        connections_open: Gauge, "Connections open now";
        connections_pending: Gauge, "Open connections that have not logged on";
        connects_failed: Counter, "Attempts of initiators to connect that failed";
        logons: Counter, "Logons completed, in both roles";
        logons_refused: Counter, "Logons refused: unknown session, wrong state, or the application said no";
        logon_timeouts: Counter, "Connections closed because no Logon came in time";
        logouts: Counter, "Sessions that ended, with a Logout or without";
        sessions_established: Gauge, "Sessions logged on now";
        rejects_sent: Counter, "Rejects sent to peers";
        sequence_gaps: Counter, "Gaps found in inbound sequence numbers";
        sequence_gaps_asked_again: Counter, "Times that messages were asked for again, since they had not come within a HeartBtInt";
        sequence_gaps_given_up: Counter, "Sessions ended because missing messages did not come, see resend_requests_max";
        messages_filled_over: Counter, "Messages that the peer filled over although it had sent them before; they were processed";
        messages_dropped_by_reset: Counter, "Messages held behind a gap when the numbers began again; they were not processed";
        resends_served: Counter, "ResendRequests answered to the end";
        messages_resent: Counter, "Messages sent again with PossDupFlag";
        resend_numbers_recycled: Counter, "Numbers asked for again whose segment was overwritten, so that a gap fill stood for them";
        resend_messages_aged: Counter, "Messages asked for again that were older than retention_age, so that a gap fill stood for them";
        back_pressure: Counter, "Sends or reads put off because the ring had no room";
        slow_consumer_disconnects: Counter, "Connections closed because the peer read too slowly";
        log_events_counted: Counter, "Events that were not logged each but in a count, since the same came again within a second";
        log_events_dropped: Counter, "Events that were not logged because the log stood still";
        heartbeat_disconnects: Counter, "Connections closed because the peer fell silent";
    }
}

counters! {
    /// Written by the thread that watches the workers.
    StallCounters {
        stalls: Counter, "Times that the worker did not finish a turn within engine.stall_alarm";
        stalled_ns: GaugeNs, "How long the turn that is beyond engine.stall_alarm has taken so far; 0 where none is";
        longest_stall_ns: GaugeNs, "The longest such turn since the start";
    }
}

counters! {
    /// Written by the worker that owns the journal. Positions are byte offsets that never go back.
    JournalCounters {
        appended_bytes: Gauge, "Position up to which the journal is whole in the ring";
        ring_full: Counter, "Times that the ring had no room for a commit";
        sessions_slowed: Counter, "Times that a session was read less, so that what others have not fetched is not recycled";
        sessions_rolled_back: Counter, "Sessions that this start, or an earlier one that they have not logged on since, moved up to their lease after a loss";
        numbers_passed_over: Counter, "Outgoing MsgSeqNums that such sessions passed over: their messages may have left and are not stored";
    }
}

counters! {
    /// Written by the journal's flusher; apart from [`JournalCounters`], whose cache line the worker writes at every
    /// commit.
    FlusherCounters {
        written_bytes: Gauge, "Position up to which the operating system has the journal";
        synced_bytes: Gauge, "Position up to which the journal is on stable media";
        flushes: Counter, "Writes of the flusher that were made durable";
        last_sync_ns: GaugeNs, "How long the last write and its sync took";
        longest_sync_ns: GaugeNs, "The longest write and sync since the start";
        slow_flushes: Counter, "Writes that took longer with their sync than storage_latency_alarm";
    }
}

counters! {
    /// Written by the thread that watches the flushers.
    StorageCounters {
        slow: Gauge, "1 while a write to the volume takes longer with its sync than storage_latency_alarm, and until the next that does not";
        in_flight_ns: GaugeNs, "How long the write that is under way has taken so far";
        unsynced_age_ns: GaugeNs, "Age, at most, of the oldest byte that is appended and not yet on stable media";
        unsynced_age_max_ns: GaugeNs, "The greatest such age since the start";
    }
}

counters! {
    /// Written by the thread that watches over a journal's recycling.
    RecycleCounters {
        held: Gauge, "Why the flusher does not overwrite the oldest segment now: 0 it may, 1 a resend reads it, 2 it is not archived and has to be";
        holds: Counter, "Times that the flusher waited before it overwrote a segment";
        holds_expired: Counter, "Times that it went on although a resend still needed the segment";
    }
}

counters! {
    /// Written by the archiver of a journal.
    ArchiveCounters {
        segments: Counter, "Sealed segments archived";
        failures: Counter, "Attempts to archive a segment that failed";
        missed: Counter, "Segments that were overwritten before they were archived";
        differing: Counter, "Segments whose name the archive had given to other bytes, and that were archived beside them";
        lag_segments: Gauge, "Sealed segments that are not archived";
        failing: Gauge, "1 while the last attempt to archive has failed";
    }
}

counters! {
    /// What the start found in a journal; set once, before the first Logon is answered.
    RecoveryCounters {
        duration_ns: GaugeNs, "How long the recovery of all journals took at the start";
        end_bytes: Gauge, "Position at which the journal went on";
        commits: Gauge, "Whole commits read after the newest state record";
        records: Gauge, "Records in them";
        carried_bytes: Gauge, "What the ring had beyond the segments, carried over to them";
        unreadable_bytes: Gauge, "What neither volume nor ring has, before the newest state record; it is not sent again";
        discarded_bytes: Gauge, "What lay beyond the end and went to quarantine, or was missing in the ring";
        healed_bytes: Gauge, "What the volume had lost of what was synced to it, written again from the ring";
        heads_skipped: Gauge, "Newer segment heads that were not whole";
        ring: Gauge, "The ring found: 0 absent, 1 accepted, 2 finished, 3 quarantined";
        clean_stop: Gauge, "1 where the process before had stopped in order";
        may_have_lost: Gauge, "1 where messages released in a weaker mode than sync may be missing";
    }
}

counters! {
    /// Published by the worker that owns the session.
    SessionCounters {
        state: Gauge, "0 disconnected, 1 logging on, 2 established, 3 logging out";
        next_out: Gauge, "Next outgoing MsgSeqNum";
        next_in: Gauge, "Next expected MsgSeqNum";
        lease: Gauge, "Outgoing MsgSeqNums below this were reserved at the last renewal; 0 before the first and in sync";
        lease_waits: Counter, "Messages sent that waited for stable media because they were beyond the lease";
        journal: Part, "The journal that the session lives in";
        unsynced_bytes: Part, "Bytes appended and not yet on stable media, at most, as of the last append";
        unsynced_messages: Part, "The same in messages";
        unsynced_since_unix_ns: Part, "When the oldest of them was appended, at the earliest";
        unsynced_end: Part, "Where the last of them ends in the journal";
    }
}

/// What a session's `state` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum PublishedState {
    Disconnected = 0,
    LoggingOn = 1,
    Established = 2,
    LoggingOut = 3,
}

impl SessionCounters {
    /// For the worker that owns the session, where one of the three has changed.
    pub fn publish(&self, state: PublishedState, next_out: u64, next_in: u64) {
        self.state.set(state as u64);
        self.next_out.set(next_out);
        self.next_in.set(next_in);
    }
}

/// Sessions by name. It is locked when a session is made and when the metrics are read, by housekeeping alone: a
/// worker holds its session's [`SessionCounters`] and never comes here.
#[derive(Debug, Default)]
pub struct SessionRegistry(Mutex<Vec<RegisteredSession>>);

#[derive(Clone, Debug)]
pub struct RegisteredSession {
    /// The identity as people write it: `FIX.4.4:VENUE->DESK1`.
    pub name: String,
    pub counters: Arc<CachePadded<SessionCounters>>,
}

impl SessionRegistry {
    /// Enters a session, or finds it by its name.
    pub fn register(&self, name: &str) -> Arc<CachePadded<SessionCounters>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.binary_search_by(|session| session.name.as_str().cmp(name)) {
            Ok(index) => Arc::clone(&sessions[index].counters),
            Err(index) => {
                let counters = Arc::<CachePadded<SessionCounters>>::default();
                sessions.insert(index, RegisteredSession { name: name.into(), counters: Arc::clone(&counters) });
                counters
            }
        }
    }

    /// Enters a session that has its counters already.
    pub fn enter(&self, name: &str, counters: Arc<CachePadded<SessionCounters>>) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.binary_search_by(|session| session.name.as_str().cmp(name)) {
            Ok(index) => sessions[index].counters = counters,
            Err(index) => sessions.insert(index, RegisteredSession { name: name.into(), counters }),
        }
    }

    /// Sorted by name.
    pub fn sessions(&self) -> Vec<RegisteredSession> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
