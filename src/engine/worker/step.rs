//! Steps of sessions: a message, a timer, a connection that comes or goes; and what a session wants done after one.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::send::Waiting;
use super::{Adopted, Desk, Limits, TIMERS_PER_TURN_MAX, Worker};
use crate::application::Application;
use crate::control::{self, PublishedState, SessionCounters};
use crate::engine::at_risk::AtRisk;
use crate::engine::clock::Clock;
use crate::engine::connection::Stage;
use crate::engine::directory::SessionSpec;
use crate::engine::event::{DisconnectedWhy, Event, PeerText};
use crate::engine::hours::Hours;
use crate::engine::initiate::Initiator;
use crate::engine::lease::Lease;
use crate::engine::ledger::{Full, Ledger, Slot};
use crate::engine::link::{Link, LinkOutbox};
use crate::engine::resend::{Budget, Resends};
use crate::engine::retention::Retention;
use crate::engine::timers::Timer;
use crate::fix::{Framing, Garbled, frame, parse_by};
use crate::journal::Mode;
use crate::session::{Action, DisconnectReason, Identity, Notice, Now, Numbers, Role, Session, Settings, State};
use crate::transport::{ConnectionId, Transport};

/// A timer that found no room in the journal tries again after this.
const RETRY_NS: u64 = 1_000_000;

impl<T: Transport, A: Application> Worker<T, A> {
    /// Takes a recovered journal: its sessions as the journal knows them, those of the configuration that are new, and
    /// the initiators' first attempts.
    pub(super) fn adopt(&mut self, now: Now, adopted: Adopted<A>) {
        let Adopted { number: journal, writer, incarnation, application, sessions, staging, counters } = adopted;
        let ledger = self.desks.len() as u32;
        let mut slots = Vec::with_capacity(sessions.len());
        let mut template_sessions = 0;
        let directory = Arc::clone(&self.directory);
        for recovered in sessions {
            if recovered.is_forgotten() {
                slots.push(Slot::forgotten(recovered.number, recovered.epoch));
                continue;
            }
            let identity =
                Identity::from_bytes(&recovered.identity).expect("the journal holds identities that we wrote");
            let numbers = Numbers { next_out: recovered.next_out, next_in: recovered.next_in, epoch: recovered.epoch };
            let spec = directory.spec_of(&identity);
            template_sessions += u32::from(spec.is_none_or(|spec| spec.is_template));
            let registered = self.shared.sessions.register(&identity.to_string());
            let mut slot = self.make_slot(recovered.number, identity, spec, numbers, recovered.lease, registered);
            slot.counters.journal.set(journal.into());
            slot.link.epoch = recovered.epoch;
            if let Some(rollback) = recovered.rollback.filter(|rollback| rollback.lost_from < rollback.lost_to) {
                slot.session.rolled_back(rollback.lost_from);
                counters.sessions_rolled_back.add(1);
                counters.numbers_passed_over.add(rollback.lost_to - rollback.lost_from);
            }
            (slot.link.last_out, slot.link.last_in) = (recovered.last_out, recovered.last_in);
            slot.link.began_s = recovered.began_s;
            slot.link.next_out_from_peer = recovered.next_out_from_peer;
            if recovered.next_out_from_peer {
                slot.session.take_next_out_from_peer();
            }
            slots.push(slot);
        }
        let Limits { commit_bytes_max, retention_min_ns, retention_undelivered_max_ns, .. } = self.limits;
        let retention =
            Retention::new(writer.geometry(), writer.appended(), retention_min_ns, retention_undelivered_max_ns);
        let queued = vec![false; slots.len()];
        let known = slots.iter().filter(|slot| !slot.is_forgotten());
        let known: Vec<(u32, Identity)> =
            known.map(|slot| (slot.link.number, slot.session.identity().clone())).collect();
        self.desks.push(Desk {
            ledger: Ledger::new(
                writer,
                slots,
                application,
                incarnation,
                commit_bytes_max,
                Arc::clone(&self.trace),
                retention,
            ),
            journal,
            staging,
            resends: Resends::with_capacity(queued.len() + 64),
            counters,
            template_sessions,
            to_send: Vec::with_capacity(queued.len() + 64),
            queued,
            waiting: Waiting::default(),
            full: false,
            by_identity: known.iter().map(|(number, identity)| (identity.clone(), *number)).collect(),
        });
        for (number, identity) in known {
            let session = self.key(ledger, number);
            self.mailbox.events.push(Event::SessionKnown { session, identity: Box::new(identity) });
        }
        self.desks[ledger as usize].ledger.start().expect("a recovered journal has room");
        let journals = self.worker_of_journal.len() as u16;
        for (identity, spec) in directory.configured() {
            if spec.journal_of(identity, journals) != journal {
                continue;
            }
            // The start has checked that all states fit half a commit. Their definitions, at most twice as long, with a
            // segment's end, a head and an open commit fit the ring, of which nothing waits for the volume yet.
            let session = self.find_or_define(now, ledger, identity, spec).expect("a recovered journal has room");
            if spec.settings.role == Role::Initiator && spec.schedule.is_none() {
                self.timers.push(now.monotonic_ns, Timer::Connect { ledger, session });
            }
        }
        for session in 0..self.desks[ledger as usize].ledger.slots.len() as u32 {
            self.watch_hours(now, ledger, session);
        }
    }

    pub(super) fn make_slot(
        &self,
        number: u32,
        identity: Identity,
        spec: Option<&SessionSpec>,
        numbers: Numbers,
        lease: u64,
        counters: Arc<CachePadded<SessionCounters>>,
    ) -> Slot {
        let settings = spec.map_or_else(|| Arc::new(Settings::default()), |spec| Arc::clone(&spec.settings));
        let mode = spec.map_or(Mode::Buffered, |spec| spec.mode);
        let mut link = Link::new(number, mode, identity.to_bytes().into());
        (link.next_out, link.next_in) = (numbers.next_out, numbers.next_in);
        link.lease = Lease::new(mode, lease, spec.map_or(0, |spec| spec.sequence_gap_max));
        if let Some(spec) = spec.filter(|spec| spec.settings.role == Role::Initiator) {
            let seed = fastrand::u64(..);
            let initiator = Initiator::new(&spec.connect, spec.reconnect_min_ns, spec.reconnect_max_ns, seed);
            link.initiator = Some(initiator);
        }
        if let Some(spec) = spec {
            let hours = |schedule| Box::new(Hours::new(Arc::clone(schedule), spec.settings.role));
            link.hours = spec.schedule.as_ref().map(hours);
        }
        link.at_risk = AtRisk::new(Arc::clone(&counters));
        Slot { session: Session::new(settings, identity, numbers), link, counters }
    }

    /// A configured session's number in the ledger.
    fn find_or_define(&mut self, now: Now, ledger: u32, identity: &Identity, spec: &SessionSpec) -> Result<u32, Full> {
        let desk = &self.desks[ledger as usize];
        if let Some(number) = desk.by_identity.get(identity) {
            return Ok(*number);
        }
        let registered = self.shared.sessions.register(&identity.to_string());
        let number = desk.ledger.slots.len() as u32;
        let slot = self.make_slot(number, identity.clone(), Some(spec), Numbers::default(), 0, registered);
        slot.counters.journal.set(desk.journal.into());
        let number = self.desks[ledger as usize].ledger.define(now, slot)?;
        self.entered(ledger, number, identity.clone(), spec);
        Ok(number)
    }

    /// The ledger has a new session.
    pub(super) fn entered(&mut self, ledger: u32, number: u32, identity: Identity, spec: &SessionSpec) {
        let desk = &mut self.desks[ledger as usize];
        desk.by_identity.insert(identity.clone(), number);
        desk.template_sessions += u32::from(spec.is_template);
        desk.queued.push(false);
        desk.to_send.reserve(desk.ledger.slots.len());
        desk.resends.waiting.reserve(desk.ledger.slots.len() - desk.resends.waiting.len());
        let session = self.key(ledger, number);
        self.mailbox.events.push(Event::SessionKnown { session, identity: Box::new(identity) });
    }

    /// Joins a connection to its session.
    pub(super) fn attach(&mut self, now: Now, id: ConnectionId, ledger: u32, session: u32) -> Result<(), Full> {
        self.tell_disconnected(now, ledger, session)?;
        self.begin_period_if_due(now, ledger, session)?;
        self.slot(ledger, session).link.attach(id);
        // What it waited for was its last connection's.
        self.desks[ledger as usize].waiting = Waiting::default();
        if let Err(full) = self.step_session(now, ledger, session, |session, out| session.connected(now, out)) {
            self.slot(ledger, session).link.detach();
            return Err(full);
        }
        // The step may have ended in a disconnect already.
        if let Some(Stage::LogonAwaited | Stage::Connecting { .. }) = self.stage(id) {
            self.set_stage(id, Stage::Attached { ledger, session });
        }
        Ok(())
    }

    /// A framed message for an attached session, and what it sets off.
    pub(super) fn step_inbound(&mut self, now: Now, ledger: u32, session: u32, bytes: &[u8]) -> Result<(), Full> {
        self.counters.messages_in.add(1);
        self.last_message = Some((ledger, session));
        if self.slot(ledger, session).link.resend.is_none() {
            self.live_ns = now.monotonic_ns;
        }
        self.trace.at(control::Stage::Decode);
        let desk = &mut self.desks[ledger as usize];
        self.trace.of(desk.journal, session);
        let mut said = None;
        let own = desk.ledger.slots[session as usize].session.settings().data_fields.as_ref();
        match parse_by(bytes, &mut self.index, own) {
            Ok(message) => {
                let state = desk.ledger.slots[session as usize].session.state();
                desk.ledger.inbound(now, session, &message)?;
                said = PeerText::of(&message, state, &desk.ledger.slots[session as usize].session.settings().secrets);
            }
            Err(error) => desk.ledger.inbound_unparsable(now, session, bytes, error)?,
        }
        if let Some(text) = said {
            let session = self.key(ledger, session);
            self.mailbox.events.push(Event::PeerSaid { session, text });
        }
        self.after_step(now, ledger, session);
        self.step_held(now, ledger, session);
        Ok(())
    }

    /// A message that was too long and has been read over.
    pub(super) fn step_too_long(
        &mut self,
        now: Now,
        ledger: u32,
        session: u32,
        head: &[u8],
        length: u64,
    ) -> Result<(), Full> {
        self.desks[ledger as usize].ledger.inbound_too_long(now, session, head, length)?;
        self.counters.messages_in.add(1);
        self.after_step(now, ledger, session);
        self.step_held(now, ledger, session);
        Ok(())
    }

    /// Messages that came too early and are now in order.
    fn step_held(&mut self, now: Now, ledger: u32, session: u32) {
        let mut held = std::mem::take(&mut self.held);
        let mut result = Ok(());
        while result.is_ok() && self.slot(ledger, session).session.take_held(&mut held) {
            let desk = &mut self.desks[ledger as usize];
            let own = desk.ledger.slots[session as usize].session.settings().data_fields.as_ref();
            let message = parse_by(&held, &mut self.index, own).expect("it was parsed once, when it was held");
            result = desk.ledger.inbound(now, session, &message);
            if result.is_err() {
                desk.ledger.slots[session as usize].session.put_back(now);
            }
            self.after_step(now, ledger, session);
        }
        self.held = held;
    }

    pub(super) fn step_session<R>(
        &mut self,
        now: Now,
        ledger: u32,
        session: u32,
        step: impl FnOnce(&mut Session, &mut LinkOutbox<'_>) -> R,
    ) -> Result<R, Full> {
        let result = self.desks[ledger as usize].ledger.step(now, session, step)?;
        self.after_step(now, ledger, session);
        Ok(result)
    }

    /// Does what the session wants done, and brings its timer and its published numbers up to date.
    pub(super) fn after_step(&mut self, now: Now, ledger: u32, session: u32) {
        while let Some(action) = self.slot(ledger, session).session.poll() {
            self.act(now, ledger, session, action);
        }
        self.collect_touched(ledger as usize);
        self.arm(ledger, session);
        let slot = self.slot(ledger, session);
        let numbers = slot.session.numbers();
        let state = match slot.session.state() {
            State::Disconnected => PublishedState::Disconnected,
            State::LogonSent | State::LogonAwaited => PublishedState::LoggingOn,
            State::Established => PublishedState::Established,
            State::LogoutSent => PublishedState::LoggingOut,
        };
        slot.counters.publish(state, numbers.next_out, numbers.next_in);
        self.after_application(now, ledger);
    }

    /// Looks after the sessions that the application logged out in its last call.
    pub(super) fn after_application(&mut self, now: Now, ledger: u32) {
        while let Some(session) = self.desks[ledger as usize].ledger.commit.asked.pop() {
            self.slot(ledger, session).link.is_asked = false;
            self.after_step(now, ledger, session);
        }
    }

    fn act(&mut self, now: Now, ledger: u32, session: u32, action: Action) {
        let key = self.key(ledger, session);
        match action {
            Action::LoggedOn => {
                self.counters.logons.add(1);
                self.counters.sessions_established.add(1);
                let connection = self.slot(ledger, session).link.connection;
                let peer = connection.and_then(|id| self.connections.get(id)).map(|connection| connection.peer);
                self.mailbox.events.push(Event::LoggedOn { session: key, peer });
                let link = &mut self.slot(ledger, session).link;
                link.kept.logged_on_ns = now.monotonic_ns;
                match &mut link.initiator {
                    Some(initiator) => initiator.logged_on(),
                    None => connection.into_iter().for_each(|id| self.remember_address(id)),
                }
                let desk = &mut self.desks[ledger as usize];
                desk.ledger.begin_lease(session);
                desk.ledger.call(now, session, |application, handle| application.on_established(handle));
            }
            Action::LoggedOut => {
                self.counters.logouts.add(1);
                self.counters.sessions_established.subtract(1);
                self.mailbox.events.push(Event::LoggedOut { session: key });
                let desk = &mut self.desks[ledger as usize];
                desk.ledger.call(now, session, |application, handle| application.on_logout(handle));
            }
            Action::Disconnect(reason) => {
                match reason {
                    DisconnectReason::LogonTimeout => self.counters.logon_timeouts.add(1),
                    DisconnectReason::HeartbeatTimeout => self.counters.heartbeat_disconnects.add(1),
                    _ => {}
                }
                if reason.comes_again()
                    && let Some(initiator) = &mut self.slot(ledger, session).link.initiator
                {
                    initiator.failed_again();
                }
                self.start_closing(now, ledger, session, DisconnectedWhy::Session(reason));
            }
            Action::Resend { begin, end } => self.start_resend(ledger, session, begin, end),
            Action::Notice(notice) => {
                match notice {
                    Notice::GapDetected { .. } => self.counters.sequence_gaps.add(1),
                    Notice::GapStays { .. } => self.counters.sequence_gaps_asked_again.add(1),
                    Notice::GapGivenUp { .. } => self.counters.sequence_gaps_given_up.add(1),
                    Notice::HeldFilledOver { messages, .. } => self.counters.messages_filled_over.add(messages),
                    Notice::HeldDropped { messages } => self.counters.messages_dropped_by_reset.add(messages),
                    Notice::RejectSent { .. } => self.counters.rejects_sent.add(1),
                    _ => {}
                }
                self.mailbox.events.push(Event::Noticed { session: key, notice });
            }
        }
    }

    /// Puts the session's deadline into the heap, unless an earlier entry will find it.
    fn arm(&mut self, ledger: u32, session: u32) {
        let slot = self.slot(ledger, session);
        let Some(deadline_ns) = slot.session.deadline_ns() else { return };
        if deadline_ns < slot.link.timer_ns {
            slot.link.timer_ns = deadline_ns;
            self.timers.push(deadline_ns, Timer::Session { ledger, session });
        }
    }

    pub(super) fn fire_timers(&mut self, clock: &mut impl Clock) -> u32 {
        for count in 0..TIMERS_PER_TURN_MAX {
            // A timer may read what has come, and with it the clock.
            let now = self.now;
            let Some((due_ns, timer)) = self.timers.pop_due(now.monotonic_ns) else { return count };
            match timer {
                Timer::Session { ledger, session } => self.session_timer(clock, due_ns, ledger, session),
                Timer::Connect { ledger, session } => self.connect(now, ledger, session),
                Timer::Hours { ledger, session } => self.hours_timer(now, ledger, session),
                Timer::Accept => {
                    self.accept_is_due = false;
                    self.acceptable = !self.stop.is_requested();
                }
                Timer::Connection { id } => self.connection_timer(clock, due_ns, id),
            }
        }
        TIMERS_PER_TURN_MAX
    }

    fn session_timer(&mut self, clock: &mut impl Clock, due_ns: u64, ledger: u32, session: u32) {
        let now = self.now;
        self.trace.of(self.desks[ledger as usize].journal, session);
        let slot = self.slot(ledger, session);
        if slot.link.timer_ns != due_ns {
            // An earlier deadline took this entry's place; its own entry looks after the session.
            return;
        }
        slot.link.timer_ns = u64::MAX;
        if slot.link.disconnect_owed {
            if self.tell_disconnected(now, ledger, session).is_err() {
                self.retry_timer(now, ledger, session);
            }
            return;
        }
        if slot.session.is_gap_due(now) {
            // One of the held messages may have waited for room.
            self.step_held(now, ledger, session);
        }
        let Slot { session: state, link, .. } = self.slot(ledger, session);
        if link.resend_request_is_unsent() {
            state.request_is_unsent(now);
        }
        if (state.is_silence_due(now) || state.is_gap_due(now))
            && let Some(id) = link.connection
            && self.input_waits(clock, id)
        {
            let now = self.now;
            self.slot(ledger, session).session.input_waits(now);
        }
        let now = self.now;
        let Some(deadline_ns) = self.slot(ledger, session).session.deadline_ns() else { return };
        if deadline_ns > now.monotonic_ns {
            self.arm(ledger, session);
        } else if self.step_session(now, ledger, session, |session, out| session.timer(now, out)) == Err(Full) {
            self.retry_timer(now, ledger, session);
        }
    }

    /// Whether the peer has sent something that waits: for another session's retention, for room in
    /// the journal, or for its turn. Reads first, since nothing may have been read for as long as
    /// the process did not run.
    pub(super) fn input_waits(&mut self, clock: &mut impl Clock, id: ConnectionId) -> bool {
        self.read_within(clock, id, Budget::among_others());
        self.trace.at(control::Stage::Timers);
        let waits = self.connections.get(id).is_some_and(|connection| {
            let next = || frame(connection.buffer.filled(), self.limits.message_bytes_max);
            // The rest of what is too long is still to come.
            let is_whole = || !matches!(next(), Framing::Incomplete | Framing::Invalid { why: Garbled::TooLong, .. });
            connection.readable || (connection.over.is_none() && is_whole())
        });
        if waits {
            // Readiness was told once, and may have been used up here.
            self.list(id);
        }
        waits
    }

    pub(super) fn retry_timer(&mut self, now: Now, ledger: u32, session: u32) {
        let retry_ns = now.monotonic_ns + RETRY_NS;
        self.slot(ledger, session).link.timer_ns = retry_ns;
        self.timers.push(retry_ns, Timer::Session { ledger, session });
    }

    /// What a session does at its disconnect has to be stored. Until there is room for it the session takes no other
    /// connection.
    pub(super) fn tell_disconnected(&mut self, now: Now, ledger: u32, session: u32) -> Result<(), Full> {
        if self.slot(ledger, session).link.disconnect_owed {
            self.step_session(now, ledger, session, |session, out| session.disconnected(now, out))?;
            self.slot(ledger, session).link.disconnect_owed = false;
        }
        Ok(())
    }
}
