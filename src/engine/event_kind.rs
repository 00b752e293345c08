//! What an event is counted together with: whom it is about and what it says, beside which its figures do not count.
//!
//! Nearly all that a worker tells can be repeated by a peer as fast as it can send, so nearly all is limited, see `super::event_limits`.
//! Who adds an event has to say here whose it is and how important: the match has no wildcard.

use std::net::IpAddr;

use super::event::{Event, RefusedWhy, SessionKey, TextOf};
use crate::session::Notice;

/// The subject of an event: events of the same kind about another subject are not counted with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Session(SessionKey),
    /// A connection without a session.
    Peer(IpAddr),
    /// Such connections of addresses beyond those that are told apart.
    OtherPeers,
    Journal(u16),
    Worker,
}

/// How a line is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Warn,
    Info,
    Debug,
}

/// Events with the same kind and subject are told once a second at most, and then as a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub subject: Subject,
    pub level: Level,
    /// As the log line says it; it tells one kind from another.
    pub what: &'static str,
}

impl Event {
    /// `None` for what no peer can repeat, and is told each time.
    pub fn kind(&self) -> Option<Kind> {
        let of = |subject, level, what| Some(Kind { subject, level, what });
        let session = |session: &SessionKey, level, what| of(Subject::Session(*session), level, what);
        let peer = |peer: &std::net::SocketAddr, level, what| of(Subject::Peer(peer.ip().to_canonical()), level, what);
        match self {
            // Once in the life of a session, whose name the log must not miss.
            Self::SessionKnown { .. } => None,
            // The sink's own: they are counts.
            Self::Repeated { .. } | Self::Dropped { .. } => None,
            Self::Accepted { peer: address } => peer(address, Level::Debug, "connection accepted"),
            Self::Refused { peer: address, why } => {
                let level = if *why == RefusedWhy::Closed { Level::Debug } else { Level::Warn };
                peer(address, level, refused(*why))
            }
            Self::UnknownSession { peer: address, .. } => {
                peer(address, Level::Warn, "a Logon names a session that is not configured")
            }
            Self::FirstLogonRefused { peer: address, .. } => peer(address, Level::Warn, FIRST_LOGON_REFUSED),
            Self::LoggedOn { session: key, .. } => session(key, Level::Info, "logged on"),
            Self::LoggedOut { session: key } => session(key, Level::Info, "no longer logged on"),
            Self::Disconnected { session: key, .. } => session(key, Level::Info, "disconnected"),
            Self::Noticed { session: key, notice } => session(key, notice_level(*notice), noticed(*notice)),
            Self::PeerSaid { session: key, text } => session(key, said_level(text.of), said(text.of)),
            Self::ReconnectIn { session: key, .. } => session(key, Level::Info, "will connect again"),
            Self::HoursBegan { session: key, .. } => session(key, Level::Info, "the session's hours have begun"),
            Self::HoursEnded { session: key, .. } => session(key, Level::Info, "outside the session's hours"),
            Self::Garbled { session: Some(key), .. } => session(key, Level::Warn, GARBLED),
            Self::Garbled { session: None, peer: address, .. } => peer(address, Level::Warn, GARBLED),
            Self::MessageTooLong { session: key, .. } => session(key, Level::Warn, MESSAGE_TOO_LONG),
            Self::ConnectFailed { session: key, .. } => session(key, Level::Warn, "cannot connect"),
            Self::ResendStarted { session: key, .. } => session(key, Level::Info, "resending"),
            Self::ResendIncomplete { session: key, .. } => session(key, Level::Warn, RESEND_INCOMPLETE),
            Self::Slowed { session: key } => session(key, Level::Warn, SLOWED),
            Self::BackPressure { journal } => of(Subject::Journal(*journal), Level::Warn, BACK_PRESSURE),
            Self::PollFailed { .. } => of(Subject::Worker, Level::Warn, "polling the sockets failed"),
            Self::AcceptFailed { .. } => of(Subject::Worker, Level::Warn, ACCEPT_FAILED),
        }
    }
}

pub(super) const FIRST_LOGON_REFUSED: &str = "a Logon was refused without an answer; its session does not exist yet";
pub(super) const GARBLED: &str = "garbled message ignored; no number was used";
pub(super) const MESSAGE_TOO_LONG: &str =
    "a message is longer than engine.message_bytes_max: it is read over and not processed";
pub(super) const RESEND_INCOMPLETE: &str = "a gap fill stood for messages that the peer asked for: the segments \
                                            (persistence.segments) or persistence.retention_age do not reach back so far";
pub(super) const SLOWED: &str = "the session fills the journal and is read less, so that what others have not fetched is not \
                                 recycled (persistence.retention_min, retention_undelivered_max); more segments let it go on";
pub(super) const BACK_PRESSURE: &str = "the ring is full: sockets are not read until the volume has caught up";
pub(super) const ACCEPT_FAILED: &str = "accepting a connection failed; raise the limit of open files?";

pub(super) fn said(of: TextOf) -> &'static str {
    match of {
        TextOf::LogonRefused => "the peer refused our Logon",
        TextOf::Logout => "the peer's Logout",
        TextOf::Reject => "the peer's Reject",
        TextOf::BusinessMessageReject => "the peer's BusinessMessageReject",
    }
}

pub(super) fn said_level(of: TextOf) -> Level {
    match of {
        TextOf::LogonRefused | TextOf::Reject | TextOf::BusinessMessageReject => Level::Warn,
        TextOf::Logout => Level::Info,
    }
}

pub(super) fn notice_level(notice: Notice) -> Level {
    match notice {
        Notice::LogoutReceived
        | Notice::TestRequestAnswered
        | Notice::GapDetected { .. }
        | Notice::GapClosed { .. }
        | Notice::ResendRequested { .. }
        | Notice::NumbersReset { .. }
        | Notice::Resumed { .. } => Level::Info,
        _ => Level::Warn,
    }
}

pub(super) fn noticed(notice: Notice) -> &'static str {
    match notice {
        Notice::GapDetected { .. } => "sequence gap: what is missing was asked for",
        Notice::GapClosed { .. } => "sequence gap: what was missing has come",
        Notice::GapStays { .. } => "sequence gap: what was asked for has not all come; the rest is asked for again",
        Notice::GapGivenUp { .. } => {
            "sequence gap: what is missing did not come however often it was asked for (resend_requests_max); the session ends"
        }
        Notice::HeldFilledOver { .. } => {
            "the peer's gap fill covers messages that it had sent before; they are processed all the same"
        }
        Notice::HeldDropped { .. } => "the numbers begin again: messages that were held behind a gap are lost",
        Notice::HeldOverflow { .. } => "a message beyond a gap did not fit (held_messages_max, held_bytes_max)",
        Notice::TooLow { .. } => "the peer's MsgSeqNum is too low",
        Notice::OursTooLow { .. } => {
            "the peer expects a higher MsgSeqNum than ours: messages of this side are lost, or the peer counts another's; \
             stop and say where to go on by `fixring recover --next-out`, or have both sides reset"
        }
        Notice::BeginsAnewUnsaid { .. } => {
            "the peer's numbers begin again and its Logon does not say so: let it say ResetSeqNumFlag(141) (ResetOnLogon=Y there), \
             or keep its numbers (ResetOnLogon, ResetOnLogout and ResetOnDisconnect=N there), or set reset_on_logon = true here"
        }
        Notice::MsgSeqNumMissing => "a message of the peer has no MsgSeqNum",
        Notice::InvalidReject { .. } => "the peer's Reject is itself not valid; it is not answered",
        Notice::InvalidAccepted { .. } => {
            "a message of the peer is not as the dictionary says, and was taken all the same"
        }
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
        Notice::NextExpectedTooHigh { .. } => {
            "the peer's NextExpectedMsgSeqNum is beyond what was sent: messages of this side are lost, or the peer counts another's; \
             stop and say where to go on by `fixring recover --next-out`, or have both sides reset"
        }
        Notice::DefaultApplVerIdMissing => "the peer's Logon has no DefaultApplVerID(1137)",
        Notice::ResetNotConfirmed => "the peer's Logon does not confirm our ResetSeqNumFlag",
        Notice::ResetNotTaken { .. } => {
            "the peer does not take it that our numbers begin again: let its Logons say ResetSeqNumFlag(141) (ResetOnLogon=Y there), \
             or set reset_on_logon, reset_on_logout and reset_on_disconnect to false here, and where a schedule begins them, \
             give both sides the same one"
        }
        Notice::HeartBtIntDiffers { .. } => "the peer answered with another HeartBtInt; ours is kept",
        Notice::LogonRepeated => "a Logon came in a session that is logged on",
        Notice::LogonsUnanswered => "the peer answers each Logon with a Logon; it gets no further answer",
        Notice::IncorrectBeginString => "a message of the peer has another BeginString",
        Notice::AdminBackPressure { .. } => "the journal has no room for an administrative message",
        Notice::Garbled => "a message of the peer could not be read",
    }
}

pub(super) fn refused(why: RefusedWhy) -> &'static str {
    match why {
        RefusedWhy::NoLogonInTime => "no Logon came in time",
        RefusedWhy::SessionSlowed => {
            "its Logon was not read in time, since its session is slowed for what others have not fetched (persistence.retention_min)"
        }
        RefusedWhy::FirstMessageNotLogon => "the first message was not a Logon",
        RefusedWhy::Garbled => "what came is not FIX",
        RefusedWhy::TooLong => "the first message is longer than engine.message_bytes_max",
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::SocketAddr;

    use super::super::event::{DisconnectedWhy, PeerText, SessionKey};
    use super::*;
    use crate::fix::{FieldIndex, Garbled, SecretTags, parse};
    use crate::session::{DisconnectReason, Identity, RejectReason, State};

    const SESSION: SessionKey = SessionKey { journal: 0, number: 1 };

    /// Who adds an event puts it into the list below too.
    fn place(event: &Event) -> usize {
        match event {
            Event::SessionKnown { .. } => 0,
            Event::Accepted { .. } => 1,
            Event::Refused { .. } => 2,
            Event::UnknownSession { .. } => 3,
            Event::LoggedOn { .. } => 4,
            Event::LoggedOut { .. } => 5,
            Event::Disconnected { .. } => 6,
            Event::Noticed { .. } => 7,
            Event::PeerSaid { .. } => 8,
            Event::ReconnectIn { .. } => 9,
            Event::HoursBegan { .. } => 10,
            Event::HoursEnded { .. } => 11,
            Event::Garbled { .. } => 12,
            Event::ConnectFailed { .. } => 13,
            Event::ResendStarted { .. } => 14,
            Event::ResendIncomplete { .. } => 15,
            Event::BackPressure { .. } => 16,
            Event::PollFailed { .. } => 17,
            Event::AcceptFailed { .. } => 18,
            Event::Repeated { .. } => 19,
            Event::Dropped { .. } => 20,
            Event::FirstLogonRefused { .. } => 21,
            Event::Slowed { .. } => 22,
            Event::MessageTooLong { .. } => 23,
        }
    }

    fn all() -> Vec<Event> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9880));
        let session = SESSION;
        let identity = || Box::new(Identity::new(b"FIX.4.4", b"US", b"THEM"));
        let mut index = FieldIndex::with_capacity(8);
        let message = parse(b"8=FIX.4.4\x019=5\x0135=3\x0158=why\x0110=000\x01", &mut index).unwrap();
        let text = PeerText::of(&message, State::Established, &SecretTags::default()).unwrap();
        let kind = Kind { subject: Subject::Worker, level: Level::Warn, what: "" };
        let (error, retry_in_ns, until_s) = (ErrorKind::Other, 0, None);
        vec![
            Event::SessionKnown { session, identity: identity() },
            Event::Accepted { peer },
            Event::Refused { peer, why: RefusedWhy::Garbled },
            Event::UnknownSession { peer, named: Some(identity()) },
            Event::LoggedOn { session, peer: Some(peer) },
            Event::LoggedOut { session },
            Event::Disconnected { session, why: DisconnectedWhy::PeerClosed },
            Event::Noticed { session, notice: Notice::LogonRepeated },
            Event::PeerSaid { session, text },
            Event::ReconnectIn { session, retry_in_ns },
            Event::HoursBegan { session, until_s },
            Event::HoursEnded { session, until_s },
            Event::Garbled { session: Some(session), peer, why: Garbled::Trailer },
            Event::ConnectFailed { session, address: None, error, retry_in_ns },
            Event::ResendStarted { session, begin: 1, end: 2 },
            Event::ResendIncomplete { session, recycled: 1, aged: 1 },
            Event::BackPressure { journal: 0 },
            Event::PollFailed { error },
            Event::AcceptFailed { error },
            Event::Repeated { kind, more: 1 },
            Event::Dropped { events: 1 },
            Event::FirstLogonRefused {
                peer,
                named: identity(),
                why: DisconnectReason::InvalidLogon,
                text: Box::default(),
            },
            Event::Slowed { session },
            Event::MessageTooLong { session, peer, bytes: 1, message_bytes_max: 1 },
        ]
    }

    #[test]
    fn each_event_but_a_session_s_name_and_the_counts_is_limited_and_is_a_kind_of_its_own() {
        let mut kinds = Vec::new();
        for (at, event) in all().iter().enumerate() {
            assert_eq!(place(event), at, "{event:?}");
            let is_told_each_time =
                matches!(event, Event::SessionKnown { .. } | Event::Repeated { .. } | Event::Dropped { .. });
            assert_eq!(event.kind().is_none(), is_told_each_time, "{event:?}");
            kinds.extend(event.kind());
        }
        for (at, kind) in kinds.iter().enumerate() {
            assert!(!kinds[..at].contains(kind), "{kind:?} stands for two events");
        }
    }

    #[test]
    fn figures_do_not_make_a_kind_and_what_is_noticed_does() {
        let of = |notice| Event::Noticed { session: SESSION, notice }.kind().unwrap();
        let reason = RejectReason::InvalidTagNumber;
        let rejected = |ref_seq_num| Notice::RejectSent { ref_seq_num, ref_tag_id: None, reason };
        assert_eq!(of(rejected(1)), of(rejected(2)));
        assert_ne!(of(rejected(1)), of(Notice::TooLow { expected: 1, received: 1 }));
        assert_eq!(of(Notice::LogoutReceived).level, Level::Info);
    }
}
