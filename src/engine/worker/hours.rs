//! Sessions' hours: a look at each schedule when something is due, and what it asks for carried out.
//!
//! A look may ask the calendar and allocate: it comes at starts, ends, resets, logons and once a minute, and never because of a
//! message.

use super::Worker;
use crate::application::Application;
use crate::engine::connection::Stage;
use crate::engine::event::Event;
use crate::engine::hours::Duty;
use crate::engine::ledger::Full;
use crate::engine::timers::Timer;
use crate::session::{Now, State};
use crate::transport::Transport;

impl<T: Transport, A: Application> Worker<T, A> {
    /// Has a session's schedule looked at from now on.
    pub(super) fn watch_hours(&mut self, now: Now, ledger: u32, session: u32) {
        if self.slot(ledger, session).link.hours.is_some() {
            self.timers.push(now.monotonic_ns, Timer::Hours { ledger, session });
        }
    }

    pub(super) fn hours_timer(&mut self, now: Now, ledger: u32, session: u32) {
        self.look_at_hours(now, ledger, session);
        let is_waiting = !self.stop.is_requested() && self.heed_hours(now, ledger, session);
        let Some(hours) = &self.slot(ledger, session).link.hours else { return };
        let look_ns = now.monotonic_ns + hours.next_look_ns(now, is_waiting);
        self.timers.push(look_ns, Timer::Hours { ledger, session });
    }

    /// Whether its hours keep a session from being connected.
    pub(super) fn is_closed(&mut self, now: Now, ledger: u32, session: u32) -> bool {
        self.look_at_hours(now, ledger, session);
        self.slot(ledger, session).link.hours.as_ref().is_some_and(|hours| !hours.is_open())
    }

    /// Between connections: lets the numbers begin again where that is due.
    pub(super) fn begin_period_if_due(&mut self, now: Now, ledger: u32, session: u32) -> Result<(), Full> {
        if self.stop.is_requested() {
            return Ok(());
        }
        self.look_at_hours(now, ledger, session);
        if let Duty::Begin { is_told } = self.duty(ledger, session) {
            self.step_session(now, ledger, session, |session, out| session.begin_period(is_told, out))?;
        }
        Ok(())
    }

    fn look_at_hours(&mut self, now: Now, ledger: u32, session: u32) {
        let key = self.key(ledger, session);
        let Some(hours) = &mut self.slot(ledger, session).link.hours else { return };
        if hours.look(now) {
            let (is_open, until_s) = (hours.is_open(), hours.until_s());
            self.mailbox.events.push(match is_open {
                true => Event::HoursBegan { session: key, until_s },
                false => Event::HoursEnded { session: key, until_s },
            });
        }
        let link = &self.slot(ledger, session).link;
        if link.hours.as_ref().is_some_and(|hours| hours.were_begun_ahead(link.began_s, now)) {
            // Where the journal has no room, the next look tries again.
            let _ = self.desks[ledger as usize].ledger.count_as_begun(now, session);
        }
    }

    fn duty(&mut self, ledger: u32, session: u32) -> Duty {
        let link = &self.slot(ledger, session).link;
        let is_connected = link.connection.is_some() || link.disconnect_owed;
        link.hours.as_ref().map_or(Duty::Nothing, |hours| hours.duty(link.began_s, is_connected))
    }

    /// Does what is due, as far as it can be done now. Answers whether something is left.
    fn heed_hours(&mut self, now: Now, ledger: u32, session: u32) -> bool {
        let duty = self.duty(ledger, session);
        if self.slot(ledger, session).session.is_resetting() && duty != Duty::LogOut {
            self.limit_reset(now, ledger, session);
            return true;
        }
        match duty {
            Duty::Nothing => {}
            Duty::LogOut => {
                if self.is_attached(ledger, session) {
                    // Where the journal has no room, the next look tries again.
                    let _ = self.step_session(now, ledger, session, |session, out| session.end_of_period(now, out));
                }
                return true;
            }
            Duty::Begin { .. } => {
                if self.begin_period_if_due(now, ledger, session).is_err() {
                    return true;
                }
            }
            Duty::ResetInSession => {
                let is_established = self.slot(ledger, session).session.state() == State::Established;
                if is_established && self.is_attached(ledger, session) {
                    let deadline_ns = now.monotonic_ns + self.limits.logon_timeout_ns;
                    if let Some(hours) = &mut self.slot(ledger, session).link.hours {
                        hours.reset_deadline_ns = deadline_ns;
                    }
                    let _ = self.step_session(now, ledger, session, |session, out| session.reset_in_session(now, out));
                }
                return true;
            }
        }
        let link = &mut self.slot(ledger, session).link;
        let is_to_dial =
            link.hours.as_mut().is_some_and(|hours| hours.is_open() && std::mem::take(&mut hours.dial_owed));
        if is_to_dial && link.initiator.is_some() && link.connection.is_none() {
            self.connect(now, ledger, session);
        }
        false
    }

    /// An in-session reset that takes too long ends the connection. What of it is still due is then done without one.
    fn limit_reset(&mut self, now: Now, ledger: u32, session: u32) {
        let deadline_ns = self.slot(ledger, session).link.hours.as_ref().map_or(0, |hours| hours.reset_deadline_ns);
        if now.monotonic_ns >= deadline_ns && self.is_attached(ledger, session) {
            let text = &b"the reset was not answered in time"[..];
            let _ = self.step_session(now, ledger, session, |session, out| session.logout(now, text, out));
        }
    }

    fn is_attached(&mut self, ledger: u32, session: u32) -> bool {
        let connection = self.slot(ledger, session).link.connection;
        connection.is_some_and(|id| matches!(self.stage(id), Some(Stage::Attached { .. })))
    }
}
