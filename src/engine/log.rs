//! Turns workers' events into log lines, on housekeeping.

use std::collections::HashMap;

use rtrb::Consumer;
use tracing::{debug, info, warn};

use super::event::{DisconnectedWhy, Event, RefusedWhy, SessionKey, TextOf};
use crate::session::{DisconnectReason, Notice};

/// Events of one worker that are logged before the next worker's are, at most.
const EVENTS_PER_TURN_MAX: usize = 256;

/// The log's memory: how sessions are called.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    names: HashMap<SessionKey, String>,
}

impl EventLog {
    /// Names a session that recovery found: there may be more of them than events find room at once.
    pub fn know(&mut self, session: SessionKey, name: String) {
        self.names.insert(session, name);
    }

    /// Logs what has come. Answers how much that was.
    pub fn turn(&mut self, workers: &mut [Consumer<Event>]) -> u32 {
        let mut work = 0;
        for events in workers {
            for _ in 0..EVENTS_PER_TURN_MAX {
                let Ok(event) = events.pop() else { break };
                self.log(event);
                work += 1;
            }
        }
        work
    }

    fn log(&mut self, event: Event) {
        match event {
            Event::SessionKnown { session, identity } => {
                let name = identity.to_string();
                debug!(session = name, number = session.number, journal = session.journal, "session known");
                self.names.insert(session, name);
            }
            Event::Accepted { peer } => debug!(%peer, "connection accepted"),
            Event::Refused { peer, why: RefusedWhy::Closed } => {
                debug!(%peer, "connection closed by its peer before a logon")
            }
            Event::Refused { peer, why } => warn!(%peer, why = refused(why), "connection refused"),
            Event::UnknownSession { peer, named } => {
                let session = named.map_or_else(|| "none".into(), |named| named.to_string());
                warn!(session, %peer, "a Logon names a session that is not configured");
            }
            Event::FirstLogonRefused { peer, named, why, text } => {
                let (session, text) = (named.to_string(), &*String::from_utf8_lossy(&text));
                let why = session_ended(why);
                warn!(session, %peer, why, text, "a Logon was refused without an answer; its session does not exist yet");
            }
            Event::LoggedOn { session } => info!(session = self.name(session), "logged on"),
            Event::LoggedOut { session } => info!(session = self.name(session), "no longer logged on"),
            Event::Disconnected { session, why } => {
                info!(session = self.name(session), why = disconnected(why), "disconnected");
            }
            Event::Noticed { session, notice } => self.notice(session, notice),
            Event::PeerSaid { session, text: said } => {
                let session = self.name(session);
                // The formatters escape control characters.
                let text = &*String::from_utf8_lossy(said.bytes());
                match said.of {
                    TextOf::LogonRefused => warn!(session, text, "the peer refused our Logon"),
                    TextOf::Logout => info!(session, text, "the peer's Logout"),
                    TextOf::Reject => warn!(session, text, "the peer's Reject"),
                    TextOf::BusinessMessageReject => warn!(session, text, "the peer's BusinessMessageReject"),
                }
            }
            Event::ReconnectIn { session, retry_in_ns } => {
                let retry_in_ms = retry_in_ns / 1_000_000;
                info!(session = self.name(session), retry_in_ms, "will connect again");
            }
            Event::HoursBegan { session, until_s } => {
                info!(session = self.name(session), until = moment(until_s), "the session's hours have begun");
            }
            Event::HoursEnded { session, until_s } => {
                info!(session = self.name(session), until = moment(until_s), "outside the session's hours");
            }
            Event::Garbled { session, peer, why } => {
                let session = session.map_or("none", |session| self.name(session));
                warn!(session, %peer, why = ?why, "garbled message ignored; no number was used");
            }
            Event::ConnectFailed { session, address, error, retry_in_ns } => {
                let address = address.map_or_else(|| "name not resolved".into(), |address| address.to_string());
                let retry_in_ms = retry_in_ns / 1_000_000;
                warn!(session = self.name(session), address, %error, retry_in_ms, "cannot connect");
            }
            Event::ResendStarted { session, begin, end } => {
                info!(session = self.name(session), begin, end, "resending");
            }
            Event::ResendIncomplete { session, recycled, aged } => {
                let session = self.name(session);
                warn!(
                    session,
                    numbers_overwritten = recycled,
                    messages_too_old = aged,
                    "a gap fill stood for messages that the peer asked for: the segments (persistence.segments) or \
                     persistence.retention_age do not reach back so far"
                );
            }
            Event::Slowed { session } => warn!(
                session = self.name(session),
                "the session fills the journal and is read less, so that what others have not fetched is not recycled \
                 (persistence.retention_min, retention_undelivered_max); more segments let it go on"
            ),
            Event::BackPressure { journal } => {
                warn!(journal, "the ring is full: sockets are not read until the volume has caught up");
            }
            Event::PollFailed { error } => warn!(%error, "polling the sockets failed"),
            Event::AcceptFailed { error } => {
                warn!(%error, "accepting a connection failed; raise the limit of open files?")
            }
            Event::Dropped { events } => {
                warn!(events, "log events were dropped: they came faster than they were written")
            }
        }
    }

    fn notice(&self, session: SessionKey, notice: Notice) {
        let session = self.name(session);
        let what = noticed(notice);
        match notice {
            Notice::LogoutReceived | Notice::TestRequestAnswered => info!(session, "{what}"),
            Notice::GapDetected { .. }
            | Notice::GapClosed { .. }
            | Notice::ResendRequested { .. }
            | Notice::NumbersReset { .. }
            | Notice::Resumed { .. } => info!(session, notice = ?notice, "{what}"),
            _ => warn!(session, notice = ?notice, "{what}"),
        }
    }

    pub fn name(&self, session: SessionKey) -> &str {
        self.names.get(&session).map_or("unknown", String::as_str)
    }
}

fn moment(at_s: Option<u64>) -> String {
    at_s.map_or_else(|| "no end in sight".into(), super::hours::utc_text)
}

fn noticed(notice: Notice) -> &'static str {
    match notice {
        Notice::GapDetected { .. } => "sequence gap: what is missing was asked for",
        Notice::GapClosed { .. } => "sequence gap: what was missing has come",
        Notice::HeldOverflow { .. } => "a message beyond a gap did not fit (held_messages_max, held_bytes_max)",
        Notice::TooLow { .. } => "the peer's MsgSeqNum is too low",
        Notice::MsgSeqNumMissing => "a message of the peer has no MsgSeqNum",
        Notice::InvalidReject { .. } => "the peer's Reject is itself not valid; it is not answered",
        Notice::RejectSent { .. } => "a message of the peer was rejected",
        Notice::RejectReceived { .. } => "the peer rejected a message of ours",
        Notice::LogoutReceived => "the peer logs out",
        Notice::ResendRequested { .. } => "the peer asks for messages again",
        Notice::ResendRequestIgnored { .. } => "the same ResendRequest came too often, and was ignored",
        Notice::SequenceReset { .. } => "the peer moved its number up by SequenceReset",
        Notice::Resumed { .. } => "messages were lost, and the session goes on where the peer expects it",
        Notice::NextOutFromPeer { .. } => "the restored session goes on with the number that the peer expects",
        Notice::NumbersReset { .. } => "both numbers are 1 again",
        Notice::HeartbeatMissed => "the peer is silent; a TestRequest is on its way",
        Notice::TestRequestAnswered => "the peer has answered the TestRequest",
        Notice::NextExpectedTooHigh { .. } => "the peer's NextExpectedMsgSeqNum is beyond what was sent",
        Notice::DefaultApplVerIdMissing => "the peer's Logon has no DefaultApplVerID(1137)",
        Notice::ResetNotConfirmed => "the peer's Logon does not confirm our ResetSeqNumFlag",
        Notice::HeartBtIntDiffers { .. } => "the peer answered with another HeartBtInt; ours is kept",
        Notice::LogonRepeated => "a Logon came in a session that is logged on",
        Notice::IncorrectBeginString => "a message of the peer has another BeginString",
        Notice::AdminBackPressure { .. } => "the journal has no room for an administrative message",
        Notice::Garbled => "a message of the peer could not be read",
    }
}

fn refused(why: RefusedWhy) -> &'static str {
    match why {
        RefusedWhy::NoLogonInTime => "no Logon came in time",
        RefusedWhy::FirstMessageNotLogon => "the first message was not a Logon",
        RefusedWhy::Garbled => "what came is not FIX",
        RefusedWhy::UnknownSession => "no session is configured for its BeginString and CompIDs",
        RefusedWhy::SessionLive => "the session is already logged on over a connection that is alive",
        RefusedWhy::TooManySessions => {
            "no more sessions may be created (engine.template_sessions_max, or an eighth of persistence.ring_bytes)"
        }
        RefusedWhy::TooManyConnections => "too many connections (engine.connections_max, pending_connections_max)",
        RefusedWhy::MadeRoom => {
            "it had not logged on, and made room for a newer one (engine.pending_connections_max, pending_connections_per_address_max)"
        }
        RefusedWhy::Stopping => "the engine is stopping",
        RefusedWhy::Closed => "the peer closed it",
    }
}

fn disconnected(why: DisconnectedWhy) -> String {
    match why {
        DisconnectedWhy::PeerClosed => "the peer closed the connection".into(),
        DisconnectedWhy::Failed(error) => format!("the connection failed: {error}"),
        DisconnectedWhy::Session(reason) => session_ended(reason).into(),
        DisconnectedWhy::MessageTooLong => "a message was longer than message_bytes_max".into(),
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
        DisconnectReason::BackPressure => "the journal had no room for a message without which it cannot go on",
    }
}
