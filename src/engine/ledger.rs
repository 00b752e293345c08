//! A journal and what lives in it: its writer, its sessions and their application.
//!
//! A ledger is where a step becomes a commit: it opens room in the journal, lets the session and the application append
//! what they send, and closes the commit under the strongest mode of the sessions that took part. A worker owns one or
//! more ledgers; nothing else touches them.

use std::borrow::Cow;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::link::{Link, LinkOutbox};
use super::retention::Retention;
use super::secrets::{blanked, blanked_head, blanked_unparsable};
use crate::application::{Application, Delivery, SessionNumber};
use crate::control::{SessionCounters, Stage, WorkerTrace};
use crate::fix::{Encoder, FieldIndex, Framing, Message, Overflow, ParseError, frame, parse_by, tags};
use crate::journal::{
    Kind, Mode, NUMBERS_BYTES, NewRecord, Room, SessionState, StoredNumbers, Writer, flags, record_bytes,
};
use crate::session::{
    Action, BusinessRejectReason, DisconnectReason, Disposition, Identity, Now, Numbers, Received, SendError, Session,
    State, msg_seq_num_of_unparsable,
};

/// The longest message that is rehearsed, in time that none may wait for.
const REHEARSED_BYTES_MAX: usize = 1_024;

pub(crate) struct Slot {
    pub session: Session,
    pub link: Link,
    pub counters: Arc<CachePadded<SessionCounters>>,
}

/// The commit that is being made: which sessions sent in it and how strongly it must be kept before it is released.
pub(crate) struct Commit {
    /// The journal has reserved room. Without it a send answers back-pressure.
    pub open: bool,
    pub mode: Mode,
    /// Sessions with something new to send; duplicates are harmless. Bounded by the records of a commit.
    pub touched: Vec<u32>,
    /// Sessions that the application has asked to log out: they took a step that the worker has not
    /// looked at. Each at most once, see `Link::is_asked`, so that there are never more than
    /// sessions, whatever the application does in one call.
    pub asked: Vec<u32>,
    /// Sessions whose lease is to be looked at when the turn ends, each at most once.
    pub leases: Vec<u32>,
    pub appended: bool,
    pub trace: Arc<CachePadded<WorkerTrace>>,
    /// What is sent is encoded, and finds no room.
    pub rehearses: bool,
    pub retention: Retention,
}

impl Commit {
    fn new(trace: Arc<CachePadded<WorkerTrace>>, retention: Retention) -> Self {
        Self {
            trace,
            retention,
            open: false,
            mode: Mode::Buffered,
            touched: Vec::with_capacity(256),
            asked: Vec::new(),
            leases: Vec::new(),
            appended: false,
            rehearses: false,
        }
    }
}

pub(crate) struct Ledger<A> {
    pub writer: Writer,
    pub slots: Vec<Slot>,
    pub application: A,
    pub commit: Commit,
    pub incarnation: u32,
    pub commit_bytes_max: u32,
    /// What the sessions' states take in a segment's head.
    states_bytes: u64,
    /// The clean-stop record is written, and nothing may follow it.
    pub stopped: bool,
    /// Reused for each snapshot.
    snapshot: Vec<u8>,
}

/// The journal has no room: take no input until it has. Nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<A: Application> Ledger<A> {
    pub fn new(
        writer: Writer,
        slots: Vec<Slot>,
        application: A,
        incarnation: u32,
        commit_bytes_max: u32,
        trace: Arc<CachePadded<WorkerTrace>>,
        retention: Retention,
    ) -> Self {
        let mut commit = Commit::new(trace, retention);
        commit.leases.reserve(slots.len());
        commit.asked.reserve(slots.len());
        Self {
            states_bytes: slots.iter().map(Slot::state_bytes).sum(),
            writer,
            slots,
            application,
            commit,
            incarnation,
            commit_bytes_max,
            stopped: false,
            snapshot: Vec::new(),
        }
    }

    /// Opens a commit; at the end of a segment, writes the next one's state record first.
    pub fn open(&mut self) -> Result<(), Full> {
        if self.stopped {
            return Err(Full);
        }
        loop {
            match self.writer.begin(self.commit_bytes_max) {
                Room::Ready => break,
                Room::Full => return Err(Full),
                Room::RollDue => {
                    self.commit.trace.at(Stage::Roll);
                    self.snapshot.clear();
                    self.application.snapshot(&mut self.snapshot);
                    let states = self.slots.iter().map(Slot::state);
                    // Sessions are bounded by `has_room_for`; an application that passes its bound is at fault itself.
                    let rolled = self.writer.roll(states, &self.snapshot);
                    let rolled = rolled.expect("a snapshot is at most Environment::snapshot_bytes_max");
                    if !rolled {
                        return Err(Full);
                    }
                }
            }
        }
        self.commit.open = true;
        self.commit.mode = Mode::Buffered;
        self.commit.appended = false;
        Ok(())
    }

    /// Ends the commit. What it sent is released when its mode's watermark has passed its end.
    pub fn close(&mut self) {
        self.commit.trace.at(Stage::Commit);
        self.commit.open = false;
        if self.commit.appended {
            self.writer.commit(self.commit.mode);
        } else {
            self.writer.abandon();
        }
    }

    /// Ends a commit that was made because of a session.
    #[inline]
    fn close_for(&mut self, session: u32) {
        let before = self.writer.appended();
        self.close();
        let bytes = self.writer.appended() - before;
        self.commit.retention.count(&mut self.slots[session as usize].link.kept, bytes);
    }

    /// Whether the session's messages wait, so that what others have is not recycled.
    #[inline]
    pub fn slows(&self, session: u32) -> bool {
        self.commit.retention.slows(session, &self.slots[session as usize].link.kept)
    }

    /// States the start of this incarnation, before which nothing of its sessions leaves.
    pub fn start(&mut self) -> Result<(), Full> {
        self.open()?;
        self.close();
        let last = self.writer.appended().saturating_sub(1);
        self.slots.iter_mut().for_each(|slot| slot.link.waits_for = Some(last));
        Ok(())
    }

    /// Renews the leases that are due, all in one commit that releases nothing. Answers how many.
    pub fn renew_leases(&mut self, now: Now) -> u32 {
        if self.commit.leases.is_empty() || self.open().is_err() {
            return 0;
        }
        let synced = self.writer.watermark(Mode::Sync);
        let room = u64::from(self.commit_bytes_max) / record_bytes(NUMBERS_BYTES);
        let looked = self.commit.leases.len().min(room as usize);
        let mut renewed = 0;
        for at in 0..looked {
            let slot = &mut self.slots[self.commit.leases[at] as usize];
            slot.counters.lease_waits.set(slot.link.lease.waits);
            if slot.session.state() != State::Established {
                slot.link.lease.put_off();
                continue;
            }
            let Numbers { next_out, next_in, epoch } = slot.session.numbers();
            let Some(lease) = slot.link.lease.renewal(next_out, synced) else { continue };
            let stored = StoredNumbers { next_out, next_in, epoch, lease };
            let appended = self.writer.append_numbers(slot.link.number, now.utc.unix_ns, stored);
            appended.expect("as many as a commit has room for");
            slot.counters.lease.set(lease);
            self.commit.leases[renewed] = slot.link.number;
            renewed += 1;
        }
        self.commit.appended = renewed > 0;
        self.close();
        for at in 0..renewed {
            self.slots[self.commit.leases[at] as usize].link.lease.stated_in(self.writer.appended());
        }
        self.commit.leases.drain(..looked);
        renewed as u32
    }

    /// Has the session's numbers count as begun now, for its schedule. They stay as they are.
    pub fn count_as_begun(&mut self, now: Now, session: u32) -> Result<(), Full> {
        self.open()?;
        let Slot { session: state, link, .. } = &mut self.slots[session as usize];
        let Numbers { next_out, next_in, epoch } = state.numbers();
        let stored = StoredNumbers { next_out, next_in, epoch, lease: link.lease.stated() };
        let from_peer = if link.next_out_from_peer { flags::NEXT_OUT_FROM_PEER } else { 0 };
        let (time_ns, flags) = (now.utc.unix_ns, flags::BEGAN | from_peer);
        let appended = self.writer.append_flagged_numbers(link.number, time_ns, stored, flags);
        appended.expect("an empty commit has room for it");
        link.began_s = now.utc.unix_s();
        self.commit.appended = true;
        self.close();
        Ok(())
    }

    /// The session is established from now on.
    pub fn begin_lease(&mut self, session: u32) {
        let link = &mut self.slots[session as usize].link;
        if link.lease.wants_look(link.next_out) {
            self.commit.leases.push(session);
        }
    }

    /// Lets a session take a step by itself: a timer, a connect, a logout.
    pub fn step<R>(
        &mut self,
        now: Now,
        session: u32,
        step: impl FnOnce(&mut Session, &mut LinkOutbox<'_>) -> R,
    ) -> Result<R, Full> {
        self.open()?;
        let result = self.step_in_commit(now, session, step);
        self.close_for(session);
        Ok(result)
    }

    fn step_in_commit<R>(
        &mut self,
        now: Now,
        session: u32,
        step: impl FnOnce(&mut Session, &mut LinkOutbox<'_>) -> R,
    ) -> R {
        let slot = &mut self.slots[session as usize];
        let mut outbox = LinkOutbox::new(&mut self.writer, &mut slot.link, &mut self.commit, now);
        step(&mut slot.session, &mut outbox)
    }

    /// One inbound message: stored, processed, its answers stored, in one commit.
    pub fn inbound(&mut self, now: Now, session: u32, message: &Message<'_>) -> Result<(), Full> {
        self.commit.trace.at(Stage::JournalIn);
        self.open()?;
        self.inbound_in_commit(now, session, message);
        self.close_for(session);
        Ok(())
    }

    #[inline]
    fn inbound_in_commit(&mut self, now: Now, session: u32, message: &Message<'_>) {
        let msg_seq_num = message.uint(tags::MSG_SEQ_NUM).flatten().unwrap_or(0);
        let secrets = &self.slots[session as usize].session.settings().secrets;
        let position = if secrets.are_in(message) {
            let stored = blanked(message, secrets.of(message.msg_type()));
            self.append_inbound(now, session, msg_seq_num, &stored, true)
        } else {
            self.append_inbound(now, session, msg_seq_num, message.bytes(), false)
        };
        self.commit.trace.at(Stage::Session);
        let mut received = self.step_in_commit(now, session, |session, out| session.receive(now, message, out));
        if received.disposition == Disposition::Logon {
            received = self.logon(now, session, message);
        }
        self.mark_counted(session, position, msg_seq_num, received);
        if let Disposition::Deliver { poss_dup, poss_resend } = received.disposition {
            self.writer.mark_delivered(position);
            self.commit.trace.at(Stage::Application);
            let mut handle =
                handle(&mut self.slots, &mut self.writer, &mut self.commit, now, self.incarnation, session);
            self.application.on_message(&mut handle, message, Delivery { poss_dup, poss_resend });
        }
    }

    /// Says in the journal whether the inbound message at `position` used its number up. Recovery
    /// reads it there and looks at no message. A session counts the number that it expects and none
    /// else, and states whatever else it does to its numbers: so what the records add up to is what
    /// the session has.
    #[inline]
    fn mark_counted(&mut self, session: u32, position: u64, msg_seq_num: u64, received: Received) {
        if received.counted {
            self.writer.mark_counted(position);
            self.slots[session as usize].link.counted(msg_seq_num);
        }
        let Slot { session: state, link, .. } = &self.slots[session as usize];
        debug_assert_eq!(link.next_in, state.numbers().next_in, "by the records, and by session {session}");
    }

    /// Walks the way of the session's last message once more, up to the commit that is not made: see [`Session::rehearse`] and
    /// [`Application::rehearse`].
    pub fn rehearse(&mut self, now: Now, number: u32, index: &mut FieldIndex, scratch: &mut Vec<u8>) {
        let Slot { session, link, .. } = &self.slots[number as usize];
        let is_established = session.state() == State::Established;
        if self.stopped || !is_established || !self.writer.is_in_ring(link.last_in) {
            return;
        }
        let bytes = self.writer.payload(link.last_in);
        if bytes.len() > REHEARSED_BYTES_MAX.min(scratch.capacity()) {
            return;
        }
        scratch.clear();
        scratch.extend_from_slice(bytes);
        if self.writer.begin(self.commit_bytes_max) != Room::Ready {
            return;
        }
        if let Framing::Complete(_) = frame(scratch, u32::MAX)
            && let Ok(message) = parse_by(scratch, index, session.settings().data_fields.as_ref())
        {
            let _ = self.writer.append_bytes(NewRecord::internal(Kind::Inbound, now.utc.unix_ns), message.bytes());
            session.rehearse(&message);
            let counters = *session.counters();
            (self.commit.open, self.commit.rehearses) = (true, true);
            let mut handle = handle(&mut self.slots, &mut self.writer, &mut self.commit, now, self.incarnation, number);
            self.application.rehearse(&mut handle, &message);
            (self.commit.open, self.commit.rehearses) = (false, false);
            self.slots[number as usize].session.end_rehearsal(counters);
        }
        self.writer.abandon();
    }

    /// A framed message whose fields cannot be read.
    pub fn inbound_unparsable(&mut self, now: Now, session: u32, bytes: &[u8], error: ParseError) -> Result<(), Full> {
        self.inbound_unread(now, session, bytes, blanked_unparsable, |session, out| {
            session.receive_unparsable(now, bytes, error, out)
        })
    }

    /// The whole fields at the front of a message that is longer than is ever read. They alone are
    /// stored.
    pub fn inbound_too_long(&mut self, now: Now, session: u32, head: &[u8], length: u64) -> Result<(), Full> {
        self.inbound_unread(now, session, head, blanked_head, |session, out| {
            session.receive_too_long(now, head, length, out)
        })
    }

    fn inbound_unread(
        &mut self,
        now: Now,
        session: u32,
        bytes: &[u8],
        blank: for<'b> fn(&'b [u8], &[u32]) -> Cow<'b, [u8]>,
        receive: impl FnOnce(&mut Session, &mut LinkOutbox<'_>) -> Received,
    ) -> Result<(), Full> {
        self.open()?;
        let secrets = &self.slots[session as usize].session.settings().secrets;
        let msg_type = crate::fix::raw_field(bytes, tags::MSG_TYPE).unwrap_or_default();
        let stored = blank(bytes, secrets.of(msg_type));
        let is_blanked = *stored != *bytes;
        let msg_seq_num = msg_seq_num_of_unparsable(bytes).unwrap_or(0);
        let position = self.append_inbound(now, session, msg_seq_num, &stored, is_blanked);
        let received = self.step_in_commit(now, session, receive);
        self.mark_counted(session, position, msg_seq_num, received);
        self.close_for(session);
        Ok(())
    }

    fn logon(&mut self, now: Now, session: u32, logon: &Message<'_>) -> Received {
        // The application need not see a peer that the schedule keeps out.
        let closed = self.slots[session as usize].link.hours.as_ref().and_then(|hours| hours.closed_text());
        if let Some(text) = closed {
            return self
                .step_in_commit(now, session, |session, out| session.refuse_outside_hours(now, text.as_bytes(), out));
        }
        // Nothing can be sent before the Logon is answered.
        self.commit.open = false;
        self.commit.trace.at(Stage::Application);
        let mut handle = handle(&mut self.slots, &mut self.writer, &mut self.commit, now, self.incarnation, session);
        let verdict = self.application.on_logon(&mut handle, logon);
        self.commit.open = true;
        self.step_in_commit(now, session, |session, out| match verdict {
            Ok(()) => session.accept_logon(now, logon, out),
            Err(refusal) => session.refuse_logon(now, logon, refusal.text.as_bytes(), out),
        })
    }

    fn append_inbound(&mut self, now: Now, session: u32, msg_seq_num: u64, stored: &[u8], is_blanked: bool) -> u64 {
        let link = &mut self.slots[session as usize].link;
        let record = NewRecord {
            kind: Kind::Inbound,
            session,
            msg_seq_num,
            time_ns: now.utc.unix_ns,
            epoch: link.epoch,
            previous: link.last_in,
            origin: None,
            sent_after: None,
            flags: if is_blanked { flags::SECRET_BLANKED } else { 0 },
        };
        let appended = self.writer.append(record, |space| {
            space.get_mut(..stored.len()).ok_or(Overflow)?.copy_from_slice(stored);
            Ok::<_, Overflow>(stored.len())
        });
        let position = appended.expect("a commit's room holds the longest message, see the configuration's relations");
        link.last_in = position;
        link.next_in_is_stated = false;
        let (end, synced) = (self.writer.tail(), self.writer.watermark(Mode::Sync));
        link.at_risk.append(position, end, now.utc.unix_ns, synced);
        self.commit.appended = true;
        self.commit.mode = self.commit.mode.max(link.mode);
        position
    }

    /// Calls the application with a session's handle. Where the journal has no room, its sends answer back-pressure.
    pub fn call(&mut self, now: Now, session: u32, call: impl FnOnce(&mut A, &mut Handle<'_>)) {
        let opened = self.open();
        self.commit.trace.at(Stage::Application);
        let mut handle = handle(&mut self.slots, &mut self.writer, &mut self.commit, now, self.incarnation, session);
        call(&mut self.application, &mut handle);
        if opened.is_ok() {
            self.close();
        }
    }

    /// The application's own turn. Answers whether the journal had room for what it might send.
    pub fn application_turn(&mut self, now: Now) -> bool {
        let opened = self.open();
        self.commit.trace.of_no_session();
        self.commit.trace.at(Stage::Application);
        let mut sessions = Sessions {
            slots: &mut self.slots,
            writer: &mut self.writer,
            commit: &mut self.commit,
            now,
            incarnation: self.incarnation,
        };
        self.application.on_turn(&mut sessions);
        if opened.is_ok() {
            self.close();
        }
        opened.is_ok()
    }

    /// Whether a segment's head has room for another session beside the largest snapshot that an application may make.
    pub fn has_room_for(&self, identity_bytes: usize) -> bool {
        self.states_bytes + SessionState::bytes(identity_bytes) <= self.writer.geometry().sessions_bytes_max()
    }

    /// A new session: its number, for life, is the next one. Recorded in a commit of its own.
    pub fn define(&mut self, now: Now, slot: Slot) -> Result<u32, Full> {
        self.open()?;
        let number = self.append_defined(now, slot);
        self.close();
        Ok(number)
    }

    fn append_defined(&mut self, now: Now, mut slot: Slot) -> u32 {
        let number = self.slots.len() as u32;
        let identity = slot.session.identity().to_bytes();
        let appended = self.writer.append_session_defined(number, now.utc.unix_ns, &identity);
        appended.expect("an identity's length is bounded");
        self.commit.appended = true;
        self.states_bytes += slot.state_bytes();
        slot.link.began_s = now.utc.unix_s();
        self.slots.push(slot);
        self.commit.leases.reserve(self.slots.len() - self.commit.leases.len());
        self.commit.asked.reserve(self.slots.len() - self.commit.asked.len());
        number
    }

    /// The first Logon of a session that does not exist yet. It is defined in the same commit, and exists only if the Logon is accepted.
    pub fn first_logon(&mut self, now: Now, slot: Slot, logon: &Message<'_>) -> Result<FirstLogon, Full> {
        self.open()?;
        let number = self.append_defined(now, slot);
        self.step_in_commit(now, number, |session, out| session.connected(now, out));
        self.inbound_in_commit(now, number, logon);
        if self.slots[number as usize].session.state() == State::Established {
            self.close();
            return Ok(FirstLogon::Accepted);
        }
        // The Logout that is not sent says why.
        let said = self.slots[number as usize].link.unsent_from().map(|position| self.writer.payload(position));
        let text = said.and_then(|logout| crate::fix::raw_field(logout, tags::TEXT)).unwrap_or_default().into();
        self.commit.open = false;
        self.writer.abandon();
        let Commit { touched, asked, leases, .. } = &mut self.commit;
        [touched, asked, leases].into_iter().for_each(|list| list.retain(|listed| *listed != number));
        let mut slot = self.slots.pop().expect("it was pushed above");
        self.states_bytes -= slot.state_bytes();
        let mut why = DisconnectReason::InvalidLogon;
        while let Some(action) = slot.session.poll() {
            if let Action::Disconnect(reason) = action {
                why = reason;
            }
        }
        Ok(FirstLogon::Refused { why, text })
    }
}

/// What came of a session's first Logon.
pub(crate) enum FirstLogon {
    Accepted,
    /// Nothing is stored, and there is no session. `text` is what a Logout(5) would say.
    Refused {
        why: DisconnectReason,
        text: Box<[u8]>,
    },
}

impl Slot {
    /// Holds the place of a session that the operator has removed. Nothing finds it.
    pub fn forgotten(number: u32, epoch: u32) -> Self {
        let numbers = Numbers { epoch, ..Numbers::default() };
        let session = Session::new(Arc::default(), Identity::new(b"FIX.4.4", b"", b""), numbers);
        let mut link = Link::new(number, Mode::Buffered, Box::default());
        link.epoch = epoch;
        Self { session, link, counters: Arc::default() }
    }

    pub fn is_forgotten(&self) -> bool {
        self.link.identity_bytes.is_empty()
    }

    fn state_bytes(&self) -> u64 {
        SessionState::bytes(self.link.identity_bytes.len())
    }

    fn state(&self) -> SessionState<'_> {
        let numbers = self.session.numbers();
        SessionState {
            number: self.link.number,
            next_out: numbers.next_out,
            next_in: numbers.next_in,
            epoch: numbers.epoch,
            lease: self.link.lease.stated(),
            last_out: self.link.last_out,
            last_in: self.link.last_in,
            began_s: self.link.began_s,
            next_out_from_peer: self.link.next_out_from_peer,
            identity: &self.link.identity_bytes,
        }
    }
}

fn handle<'a>(
    slots: &'a mut [Slot],
    writer: &'a mut Writer,
    commit: &'a mut Commit,
    now: Now,
    incarnation: u32,
    number: u32,
) -> Handle<'a> {
    Handle { sessions: Sessions { slots, writer, commit, now, incarnation }, number: SessionNumber(number) }
}

/// All sessions of a journal, as its application sees them.
pub struct Sessions<'a> {
    slots: &'a mut [Slot],
    writer: &'a mut Writer,
    commit: &'a mut Commit,
    now: Now,
    incarnation: u32,
}

impl<'a> Sessions<'a> {
    /// This turn's time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The number of the engine's start, for identifiers that must never come twice.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Every session that the journal knows, whether connected or not.
    pub fn numbers(&self) -> impl Iterator<Item = SessionNumber> + use<> {
        (0..self.slots.len() as u32).map(SessionNumber)
    }

    /// `None` for a number that this journal has not given out, and for a session that the operator has removed.
    pub fn handle(&mut self, number: SessionNumber) -> Option<Handle<'_>> {
        self.slots.get(number.0 as usize).filter(|slot| !slot.is_forgotten())?;
        Some(Handle {
            sessions: Sessions {
                slots: self.slots,
                writer: self.writer,
                commit: self.commit,
                now: self.now,
                incarnation: self.incarnation,
            },
            number,
        })
    }
}

/// One session, in a callback of its application.
pub struct Handle<'a> {
    sessions: Sessions<'a>,
    number: SessionNumber,
}

impl<'a> Handle<'a> {
    pub fn session(&self) -> SessionNumber {
        self.number
    }

    pub fn identity(&self) -> &Identity {
        self.sessions.slots[self.number.0 as usize].session.identity()
    }

    /// DefaultApplVerID(1137) of the peer's Logon: the version of its application messages, over FIXT.1.1.
    pub fn default_appl_ver_id(&self) -> Option<&'static [u8]> {
        self.sessions.slots[self.number.0 as usize].session.default_appl_ver_id()
    }

    /// Raised whenever the session's numbers begin anew: with an epoch a MsgSeqNum(34) is unique for life, among what the journal
    /// holds. What was lost with a node may come twice, see [`Application::on_rollback`].
    pub fn epoch(&self) -> u32 {
        self.sessions.slots[self.number.0 as usize].session.numbers().epoch
    }

    /// Both Logons have been exchanged and no Logout(5) has.
    pub fn is_established(&self) -> bool {
        self.sessions.slots[self.number.0 as usize].session.state() == State::Established
    }

    /// Bytes that wait in the journal for this session's peer to take them.
    pub fn unsent_bytes(&self) -> u64 {
        self.sessions.slots[self.number.0 as usize].link.unsent_bytes(self.sessions.writer)
    }

    /// This turn's time.
    pub fn now(&self) -> Now {
        self.sessions.now
    }

    /// The number of the engine's start, for identifiers that must never come twice.
    pub fn incarnation(&self) -> u32 {
        self.sessions.incarnation
    }

    /// Sends an application message. The session writes the header and the trailer, `body` what is between. Answers the
    /// MsgSeqNum(34) that the message got.
    ///
    /// The bytes leave after the callback, when the commit is as durable as the session's persistence mode says.
    pub fn send(&mut self, msg_type: &[u8], body: impl FnOnce(&mut Encoder<'_>)) -> Result<u64, SendError> {
        self.send_by(|session, now, outbox| session.send(now, msg_type, outbox, body))
    }

    fn send_by(
        &mut self,
        send: impl FnOnce(&mut Session, Now, &mut LinkOutbox<'_>) -> Result<u64, SendError>,
    ) -> Result<u64, SendError> {
        if !self.sessions.commit.open {
            return Err(SendError::BackPressure);
        }
        let now = self.sessions.now;
        let slot = &mut self.sessions.slots[self.number.0 as usize];
        let mut outbox = LinkOutbox::new(self.sessions.writer, &mut slot.link, self.sessions.commit, now);
        send(&mut slot.session, now, &mut outbox)
    }

    /// Refuses a message that the session layer has found in order, such as one of a type that this application does not
    /// take: a BusinessMessageReject(j), before FIX.4.2 a Reject(3). Where `text` is empty, Text(58) is the reason's name.
    pub fn reject(
        &mut self,
        message: &Message<'_>,
        reason: BusinessRejectReason,
        text: &str,
    ) -> Result<u64, SendError> {
        self.send_by(|session, now, outbox| {
            session.business_message_reject(now, message, reason, text.as_bytes(), outbox)
        })
    }

    /// Starts an orderly end of the session.
    pub fn logout(&mut self, text: &str) {
        if !self.sessions.commit.open || self.sessions.commit.rehearses {
            return;
        }
        let now = self.sessions.now;
        let slot = &mut self.sessions.slots[self.number.0 as usize];
        let mut outbox = LinkOutbox::new(self.sessions.writer, &mut slot.link, self.sessions.commit, now);
        slot.session.logout(now, text.as_bytes(), &mut outbox);
        if !std::mem::replace(&mut slot.link.is_asked, true) {
            self.sessions.commit.asked.push(self.number.0);
        }
    }

    /// Another session of the same journal: what is sent to it is part of the same commit.
    pub fn other(&mut self, number: SessionNumber) -> Option<Handle<'_>> {
        self.sessions.handle(number)
    }
}

#[cfg(test)]
mod tests;
