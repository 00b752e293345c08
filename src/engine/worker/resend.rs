//! Resends: from a session's wish to the stager, and from staged batches through the session, a few messages a turn.
//!
//! A session that owes a resend waits in a queue, has one of the stager's places, or neither any more. Places are few; a peer
//! that does not read keeps its own no longer than [`RESEND_SLICE_NS`] when others wait, and goes back to the queue.
//!
//! The messages that one turn sends again for a session are one commit, as if they were answers to one message.
//!
//! Each message sent again is journaled once more, many times faster than live ones come. So resends leave most of the ring
//! to these (while the volume is the limit they append no more than everybody else together), and slow down while it holds bytes for a connection that takes none: it would be closed as a slow consumer in
//! the time of one lap, which a resend at its full speed takes a tenth of a second for.

use super::Worker;
use crate::application::Application;
use crate::engine::event::Event;
use crate::engine::ledger::Full;
use crate::engine::link::LinkOutbox;
use crate::engine::resend::{
    Budget, GAP_FILL_BYTES, LIVE_NS, RESEND_COMMIT_SHARE, RESEND_SLICE_NS, RESEND_UNSENT_BYTES_MAX,
    RESENT_GROWTH_BYTES, ResendJob, Resending, WAITING_LOOKS_PER_TURN_MAX,
};
use crate::journal::{Gone, JOBS_MAX, Mode, Outcome, StageRequest, record_bytes};
use crate::session::{Now, Session};
use crate::transport::Transport;

/// Why a resend does not go on in this turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    AwaitsStager,
    BudgetSpent,
    /// Its peer does not read.
    Lags,
    /// All is sent, or nobody wants it any more.
    Over,
}

impl<T: Transport, A: Application> Worker<T, A> {
    /// The session wants stored messages sent again; which ones it will say when the stager can be asked.
    pub(super) fn start_resend(&mut self, ledger: u32, session: u32, begin: u64, end: u64) {
        let session_key = self.key(ledger, session);
        self.mailbox.events.push(Event::ResendStarted { session: session_key, begin, end });
        // An earlier one of the session is given up: its token is no longer the link's.
        self.await_stager(ledger, session);
    }

    fn await_stager(&mut self, ledger: u32, session: u32) {
        let link = &mut self.slot(ledger, session).link;
        link.resend = Some(ResendJob::Waiting);
        if !std::mem::replace(&mut link.resend_waits, true) {
            self.desks[ledger as usize].resends.waiting.push_back(session);
        }
    }

    /// Asks the stager for what is wanted and sends on what it has brought. Comes after the turn's live messages are sent.
    pub(super) fn resend(&mut self, now: Now) -> u32 {
        let mut work = 0;
        for ledger in 0..self.desks.len() as u32 {
            work += self.take_staged(ledger);
            let sent = self.send_staged(now, ledger);
            if sent > 0 {
                self.send_queued(now, ledger);
            }
            work += sent + self.ask_stager(now, ledger);
        }
        work
    }

    fn take_staged(&mut self, ledger: u32) -> u32 {
        let desk = &mut self.desks[ledger as usize];
        let mut work = 0;
        while let Some(batch) = desk.staging.take() {
            match desk.resends.jobs.iter_mut().find(|job| job.token == batch.token) {
                Some(job) => job.push(batch),
                None => desk.staging.give_up(batch),
            }
            work += 1;
        }
        work
    }

    fn send_staged(&mut self, now: Now, ledger: u32) -> u32 {
        let desk = &mut self.desks[ledger as usize];
        if desk.resends.jobs.is_empty() {
            return 0;
        }
        let writer = &desk.ledger.writer;
        let (appended, ring_bytes) = (writer.appended(), writer.geometry().ring_bytes);
        // Live messages would wait for the volume, with a full ring.
        let waits_for_volume = appended.saturating_sub(writer.watermark(Mode::Sync)) > ring_bytes / 4;
        if !desk.resends.share.is_due(appended) && waits_for_volume {
            return 0;
        }
        let slots = &desk.ledger.slots;
        let is_behind =
            desk.resends.look_for_behind(slots.len(), |at| slots[at].link.unsent_bytes(writer) > ring_bytes / 4);
        if is_behind && now.monotonic_ns < desk.resends.next_ns {
            return 0;
        }
        let is_crowded = std::mem::take(&mut desk.resends.is_crowded);
        let others_are_live = now.monotonic_ns.saturating_sub(self.live_ns) < LIVE_NS;
        let mut budget = Budget::of_a_turn(others_are_live);
        let mut work = 0;
        for _ in 0..desk.resends.jobs.len() {
            let resends = &mut self.desks[ledger as usize].resends;
            let Some(mut job) = resends.jobs.pop_front() else { break };
            let messages_before = budget.messages;
            let paused = self.send_job(now, ledger, &mut job, &mut budget);
            work += messages_before - budget.messages;
            let is_over = match paused {
                Ok(Pause::Over) => {
                    work += 1;
                    true
                }
                Ok(Pause::Lags) => {
                    let makes_room = is_crowded && now.monotonic_ns.saturating_sub(job.since_ns) >= RESEND_SLICE_NS;
                    if makes_room {
                        self.await_stager(ledger, job.session);
                    }
                    makes_room
                }
                Ok(Pause::AwaitsStager | Pause::BudgetSpent) | Err(Full) => false,
            };
            if is_over {
                // A connection that is closing has waited for it.
                self.queue_send(ledger, job.session);
            }
            let desk = &mut self.desks[ledger as usize];
            if is_over {
                while let Some(batch) = job.pop() {
                    desk.staging.give_up(batch);
                }
            } else {
                desk.resends.jobs.push_back(job);
            }
            if budget.is_spent() || paused == Err(Full) {
                break;
            }
        }
        // Half a lap a second, where somebody is behind.
        let desk = &mut self.desks[ledger as usize];
        let end = desk.ledger.writer.appended();
        desk.resends.share.spend(end);
        let bytes = end - appended;
        desk.resends.next_ns = now.monotonic_ns + bytes * 2_000_000_000 / ring_bytes;
        work
    }

    fn send_job(&mut self, now: Now, ledger: u32, job: &mut Resending, budget: &mut Budget) -> Result<Pause, Full> {
        let session = job.session;
        loop {
            let desk = &mut self.desks[ledger as usize];
            let slows = desk.ledger.slows(session);
            let slot = &mut desk.ledger.slots[session as usize];
            if slot.link.resend != Some(ResendJob::Asked { token: job.token }) {
                return Ok(Pause::Over);
            }
            if slot.session.resending().is_none() {
                // A reset has ended it.
                slot.link.resend = None;
                return Ok(Pause::Over);
            }
            if slows {
                return Ok(Pause::Lags);
            }
            let Some(batch) = job.batch() else { return Ok(Pause::AwaitsStager) };
            if job.next_entry == batch.entries.len() {
                if batch.outcome == Outcome::Done {
                    let gone = batch.gone;
                    return self.end_resend(now, ledger, session, gone);
                }
                if let Some(batch) = job.pop() {
                    desk.staging.recycle(batch);
                }
                continue;
            }
            if budget.is_spent() {
                return Ok(Pause::BudgetSpent);
            }
            if self.lags(ledger, session) {
                return Ok(Pause::Lags);
            }
            let ledger_ref = &self.desks[ledger as usize].ledger;
            let share = ledger_ref.writer.geometry().ring_bytes / RESEND_COMMIT_SHARE;
            let mut room_bytes = u64::from(ledger_ref.commit_bytes_max).min(share);
            let entries = &batch.entries[job.next_entry..];
            let step = |session: &mut Session, out: &mut LinkOutbox<'_>| {
                let mut sent = 0;
                for entry in entries {
                    let bytes =
                        record_bytes(u64::from(entry.length) + RESENT_GROWTH_BYTES) + record_bytes(GAP_FILL_BYTES);
                    if budget.is_spent() || (sent > 0 && bytes > room_bytes) {
                        break;
                    }
                    room_bytes = room_bytes.saturating_sub(bytes);
                    budget.spend(entry.length as usize);
                    if session.resend(now, batch.message(entry), out).is_err() {
                        return (sent, true);
                    }
                    sent += 1;
                }
                (sent, false)
            };
            let (sent, is_full) = self.step_session(now, ledger, session, step)?;
            self.counters.messages_resent.add(sent as u64);
            job.next_entry += sent;
            if is_full {
                return Err(Full);
            }
        }
    }

    fn end_resend(&mut self, now: Now, ledger: u32, session: u32, gone: Gone) -> Result<Pause, Full> {
        let done = self.step_session(now, ledger, session, |session, out| session.resend_done(now, out))?;
        if done.is_err() {
            return Err(Full);
        }
        self.slot(ledger, session).link.resend = None;
        self.counters.resends_served.add(1);
        if gone != Gone::default() {
            self.counters.resend_numbers_recycled.add(gone.recycled);
            self.counters.resend_messages_aged.add(gone.aged);
            let session = self.key(ledger, session);
            self.mailbox.events.push(Event::ResendIncomplete { session, recycled: gone.recycled, aged: gone.aged });
        }
        Ok(Pause::Over)
    }

    /// A peer that does not read its resend must not push itself out of the ring.
    fn lags(&self, ledger: u32, session: u32) -> bool {
        let ledger = &self.desks[ledger as usize].ledger;
        let unsent_bytes_max = RESEND_UNSENT_BYTES_MAX.min(ledger.writer.geometry().ring_bytes / 8);
        ledger.slots[session as usize].link.unsent_bytes(&ledger.writer) > unsent_bytes_max
    }

    fn ask_stager(&mut self, now: Now, ledger: u32) -> u32 {
        let mut work = 0;
        let looks = self.desks[ledger as usize].resends.waiting.len().min(WAITING_LOOKS_PER_TURN_MAX);
        for _ in 0..looks {
            let lags = |session: u32| self.lags(ledger, session);
            let desk = &self.desks[ledger as usize];
            let Some(session) = desk.resends.waiting.front().copied() else { break };
            let slot = &desk.ledger.slots[session as usize];
            let owed = slot.session.resending().filter(|_| slot.link.resend == Some(ResendJob::Waiting));
            let lags = owed.is_some() && lags(session);
            let desk = &mut self.desks[ledger as usize];
            let link = &mut desk.ledger.slots[session as usize].link;
            let Some((begin, end)) = owed else {
                // A reset or the end of its connection has ended it.
                link.resend = link.resend.filter(|job| *job != ResendJob::Waiting);
                link.resend_waits = false;
                desk.resends.waiting.pop_front();
                continue;
            };
            if lags {
                desk.resends.waiting.rotate_left(1);
                continue;
            }
            let token = self.next_token + 1;
            let age_ns = self.limits.retention_age_ns;
            let not_before_ns = if age_ns == 0 { 0 } else { now.utc.unix_ns.saturating_sub(age_ns) };
            let (last_out, epoch) = (link.last_out, link.epoch);
            let request = StageRequest { token, session, begin, end, last_out, epoch, not_before_ns };
            // Resends that were given up may still be before the stager when there are few jobs.
            if desk.resends.jobs.len() >= JOBS_MAX || desk.staging.request(request).is_err() {
                desk.resends.is_crowded = true;
                break;
            }
            self.next_token = token;
            link.resend = Some(ResendJob::Asked { token });
            link.resend_waits = false;
            desk.resends.waiting.pop_front();
            desk.resends.jobs.push_back(Resending::new(token, session, now.monotonic_ns));
            work += 1;
        }
        work
    }
}
