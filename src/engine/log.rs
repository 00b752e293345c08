//! Turns workers' events into log lines, on housekeeping.
//!
//! Whatever takes the lines may be slow, stand still or panic: that is the log thread's alone. Who watches the engine from a thread of
//! its own leaves lines at a [`LogPort`] and does not log.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rtrb::Consumer;
use tracing::{debug, info, warn};

use super::event::{DisconnectedWhy, Event, RefusedWhy, SessionKey, Told};
use super::event_kind::{
    ACCEPT_FAILED, BACK_PRESSURE, FIRST_LOGON_REFUSED, GARBLED, Kind, Level, MESSAGE_TOO_LONG, RESEND_INCOMPLETE,
    SLOWED, Subject, notice_level, noticed, refused, said, said_level,
};
use super::notice_fields::{GarbledFields, NoticeFields};
use crate::session::{DisconnectReason, Notice};

/// Events of one worker that are logged before the next worker's are, at most.
const EVENTS_PER_TURN_MAX: usize = 256;

/// Lines of those who watch that wait for the log, at most.
const LINES_MAX: usize = 256;

/// What is logged of a name that no configuration has.
const NAME_BYTES_MAX: usize = 200;

type Line = Box<dyn FnOnce() + Send>;

thread_local! {
    static EVENT_TIME: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// When that happened whose line this thread logs just now, for a subscriber's timer: the log's
/// thread writes later than things happen. `None` where the line is of the present.
pub fn event_time() -> Option<SystemTime> {
    EVENT_TIME.get()
}

/// The log's memory: how sessions are called.
pub(crate) struct EventLog {
    names: Names,
    lines: Receiver<(SystemTime, Line)>,
    port: LogPort,
}

/// How sessions are called. The lock is never held while a line is logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<RwLock<HashMap<SessionKey, Arc<str>>>>);

/// Where a thread that must wait for nobody leaves what is to be logged.
#[derive(Clone)]
pub(crate) struct LogPort {
    lines: SyncSender<(SystemTime, Line)>,
    dropped: Arc<AtomicU64>,
}

impl LogPort {
    /// Has the line logged by the thread that logs. Where too many wait there it is dropped and counted.
    pub fn say(&self, line: impl FnOnce() + Send + 'static) {
        if self.lines.try_send((SystemTime::now(), Box::new(line))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Names {
    pub fn insert(&self, session: SessionKey, name: String) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(session, name.into());
    }

    pub fn get(&self, session: SessionKey) -> Arc<str> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&session).cloned().unwrap_or_else(|| "unknown".into())
    }
}

impl Default for EventLog {
    fn default() -> Self {
        let (sender, lines) = sync_channel(LINES_MAX);
        let port = LogPort { lines: sender, dropped: Arc::default() };
        Self { names: Names::default(), lines, port }
    }
}

impl EventLog {
    /// Names a session that recovery found: there may be more of them than events find room at once.
    pub fn know(&mut self, session: SessionKey, name: String) {
        self.names.insert(session, name);
    }

    pub fn names(&self) -> Names {
        self.names.clone()
    }

    pub fn port(&self) -> LogPort {
        self.port.clone()
    }

    /// Logs what has come. Answers how much that was.
    pub fn turn(&mut self, workers: &mut [Consumer<Told>]) -> u32 {
        let mut work = 0;
        for _ in 0..LINES_MAX {
            let Ok((at, line)) = self.lines.try_recv() else { break };
            unharmed(Some(at), line);
            work += 1;
        }
        let dropped = self.port.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            unharmed(None, || {
                warn!(lines = dropped, "warnings of the watching threads were dropped: the log stood still")
            });
        }
        for events in workers {
            for _ in 0..EVENTS_PER_TURN_MAX {
                let Ok(Told { at, event }) = events.pop() else { break };
                let at = UNIX_EPOCH + Duration::from_nanos(at.unix_ns);
                unharmed(Some(at), || self.log(event));
                work += 1;
            }
        }
        work
    }

    fn log(&mut self, event: Event) {
        match event {
            Event::SessionKnown { session, identity } => {
                let name = identity.to_string();
                debug!(session = &*name, number = session.number, journal = session.journal, "session known");
                self.names.insert(session, name);
            }
            Event::Accepted { peer } => debug!(%peer, "connection accepted"),
            Event::Refused { peer, why: RefusedWhy::Closed } => {
                debug!(%peer, "connection closed by its peer before a logon")
            }
            Event::Refused { peer, why } => warn!(%peer, why = refused(why), "connection refused"),
            Event::UnknownSession { peer, named } => {
                let session = named.map_or_else(|| "none".into(), |named| cut(named.to_string()));
                warn!(session, %peer, "a Logon names a session that is not configured");
            }
            Event::FirstLogonRefused { peer, named, why, text } => {
                let (session, text) = (cut(named.to_string()), &*String::from_utf8_lossy(&text));
                let why = session_ended(why);
                warn!(session, %peer, why, text, "{FIRST_LOGON_REFUSED}");
            }
            Event::LoggedOn { session, peer } => {
                info!(session = &*self.name(session), peer = peer.map(tracing::field::display), "logged on");
            }
            Event::LoggedOut { session } => info!(session = &*self.name(session), "no longer logged on"),
            Event::Disconnected { session, why } => {
                info!(session = &*self.name(session), why = disconnected(why), "disconnected");
            }
            Event::Noticed { session, notice } => self.notice(session, notice),
            Event::PeerSaid { session, text: said } => {
                let session = &*self.name(session);
                // The formatters escape control characters.
                let text = &*String::from_utf8_lossy(said.bytes());
                match (self::said(said.of), said_level(said.of)) {
                    (what, Level::Warn) => warn!(session, text, "{what}"),
                    (what, Level::Info | Level::Debug) => info!(session, text, "{what}"),
                }
            }
            Event::ReconnectIn { session, retry_in_ns } => {
                let retry_in_ms = retry_in_ns / 1_000_000;
                info!(session = &*self.name(session), retry_in_ms, "will connect again");
            }
            Event::HoursBegan { session, until_s } => {
                info!(session = &*self.name(session), until = moment(until_s), "the session's hours have begun");
            }
            Event::HoursEnded { session, until_s } => {
                info!(session = &*self.name(session), until = moment(until_s), "outside the session's hours");
            }
            Event::Garbled { session, peer, why } => {
                let session = session.map_or_else(|| "none".into(), |session| self.name(session));
                let session = &*session;
                let fields = GarbledFields::of(why);
                let (stated, computed) = (fields.stated, fields.computed);
                warn!(session, %peer, why = fields.why, stated, computed, "{GARBLED}");
            }
            Event::MessageTooLong { session, peer, bytes, message_bytes_max } => {
                warn!(session = &*self.name(session), %peer, bytes, message_bytes_max, "{MESSAGE_TOO_LONG}");
            }
            Event::ConnectFailed { session, address, error, retry_in_ns } => {
                let address = address.map_or_else(|| "name not resolved".into(), |address| address.to_string());
                let retry_in_ms = retry_in_ns / 1_000_000;
                warn!(session = &*self.name(session), address, %error, retry_in_ms, "cannot connect");
            }
            Event::ResendStarted { session, begin, end } => {
                info!(session = &*self.name(session), begin, end, "resending");
            }
            Event::ResendIncomplete { session, recycled, aged } => {
                let session = &*self.name(session);
                warn!(session, numbers_overwritten = recycled, messages_too_old = aged, "{RESEND_INCOMPLETE}");
            }
            Event::Slowed { session } => warn!(session = &*self.name(session), "{SLOWED}"),
            Event::BackPressure { journal } => {
                warn!(journal, "{BACK_PRESSURE}");
            }
            Event::PollFailed { error } => warn!(%error, "polling the sockets failed"),
            Event::AcceptFailed { error } => {
                warn!(%error, "{ACCEPT_FAILED}")
            }
            Event::Repeated { kind, more } => self.repeated(kind, more),
            Event::Dropped { events } => {
                warn!(events, "log events were dropped: they came faster than they were written")
            }
        }
    }

    fn notice(&self, session: SessionKey, notice: Notice) {
        let (session, what) = (&*self.name(session), noticed(notice));
        // A field that is none does not appear in the line.
        let fields = NoticeFields::of(notice);
        macro_rules! log {
            ($level:ident, $($field:ident),*) => {
                $level!(session, $($field = fields.$field),*, "{what}")
            };
            ($level:ident) => {
                log!(
                    $level, expected, received, begin, end, msg_seq_num, ref_seq_num, ref_tag_id, reason, from, to, epoch,
                    next_out, next_expected, ours_s, msg_type, requests, messages,
                    times
                )
            };
        }
        match notice_level(notice) {
            Level::Warn => log!(warn),
            Level::Info => log!(info),
            Level::Debug => log!(debug),
        }
    }

    fn repeated(&self, Kind { subject, level, what }: Kind, more: u64) {
        macro_rules! log {
            ($($of:tt)*) => {
                match level {
                    Level::Warn => warn!($($of)*, more, "… and {more} more in the last second: {what}"),
                    Level::Info => info!($($of)*, more, "… and {more} more in the last second: {what}"),
                    Level::Debug => debug!($($of)*, more, "… and {more} more in the last second: {what}"),
                }
            };
        }
        match subject {
            Subject::Session(session) => log!(session = &*self.name(session)),
            Subject::Peer(peer) => log!(%peer),
            Subject::OtherPeers => log!(peer = "other addresses"),
            Subject::Journal(journal) => log!(journal),
            Subject::Worker => log!(worker = "a worker"),
        }
    }

    fn name(&self, session: SessionKey) -> Arc<str> {
        self.names.get(session)
    }
}

/// Logs what happened at a time, and survives it: what takes the lines may be the embedding
/// program's, and a panic of it costs one line.
fn unharmed(at: Option<SystemTime>, log: impl FnOnce()) {
    EVENT_TIME.set(at);
    let _ = catch_unwind(AssertUnwindSafe(log));
    EVENT_TIME.set(None);
}

/// A name that a stranger gives, as much of it as a log line should have.
fn cut(mut name: String) -> String {
    // It is ASCII: everything else is escaped.
    if name.len() > NAME_BYTES_MAX {
        name.truncate(NAME_BYTES_MAX);
        name.push('…');
    }
    name
}

fn moment(at_s: Option<u64>) -> String {
    at_s.map_or_else(|| "no end in sight".into(), super::hours::utc_text)
}

fn disconnected(why: DisconnectedWhy) -> String {
    match why {
        DisconnectedWhy::PeerClosed => "the peer closed the connection".into(),
        DisconnectedWhy::Failed(error) => format!("the connection failed: {error}"),
        DisconnectedWhy::Session(reason) => session_ended(reason).into(),
        DisconnectedWhy::SlowConsumer => "the peer read so slowly that the ring overtook it".into(),
        DisconnectedWhy::Replaced => "another connection logged on, and this one did not answer".into(),
        DisconnectedWhy::Stopping => "the engine is stopping".into(),
    }
}

fn session_ended(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::LoggedOut => "Logouts were exchanged",
        DisconnectReason::LogonTimeout => "the peer's Logon did not come in time (engine.logon_timeout)",
        DisconnectReason::LogoutTimeout => "the peer did not answer our Logout in time (engine.logout_timeout)",
        DisconnectReason::NotALogon => "the peer's first message was not a Logon",
        DisconnectReason::InvalidLogon => "the Logon broke a rule of the session layer",
        DisconnectReason::LogonRefused => "the application refused the Logon",
        DisconnectReason::LogonRefusedByPeer => "the peer answered our Logon with a Logout",
        DisconnectReason::OutsideHours => "it is outside the session's hours",
        DisconnectReason::HeartbeatTimeout => "the peer was silent and did not answer a TestRequest",
        DisconnectReason::MsgSeqNumTooLow => "the peer's MsgSeqNum was too low",
        DisconnectReason::MsgSeqNumMissing => "a message of the peer had no MsgSeqNum",
        DisconnectReason::NextExpectedTooHigh => "the peer expects messages that we have not sent",
        DisconnectReason::MessageTooLong => "a message was longer than what is read over, see engine.message_bytes_max",
        DisconnectReason::ResetNotTaken => {
            "the peer does not begin its numbers again, as this session's reset_on_… or schedule prescribe"
        }
        DisconnectReason::MessagesMissing => "missing messages did not come however often they were asked for",
        DisconnectReason::BackPressure => "the journal had no room for a message without which it cannot go on",
    }
}
