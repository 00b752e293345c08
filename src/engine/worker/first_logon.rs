//! The first Logon(A) of a session that a template makes. The session exists once that is accepted, and not before.
//!
//! Session, Logon and answer are one commit. A Logon that is refused leaves nothing: the commit is dropped, and with it the Logout(5), which
//! would have used a number of a session that does not exist. Its connection is closed without an answer, and the log says why.
//! So whoever is refused, however often, uses up neither `template_sessions_max` nor the journal.

use std::sync::Arc;

use super::Worker;
use super::receive::Next;
use super::send::Waiting;
use crate::application::Application;
use crate::engine::connection::Stage;
use crate::engine::directory::SessionSpec;
use crate::engine::event::{Event, RefusedWhy};
use crate::engine::ledger::{FirstLogon, Full};
use crate::fix::parse_by;
use crate::session::{Identity, Now, Numbers};
use crate::transport::{ConnectionId, Transport};

impl<T: Transport, A: Application> Worker<T, A> {
    /// A Logon that names a session which does not exist yet, and which `spec` allows.
    pub(super) fn first_logon(
        &mut self,
        now: Now,
        id: ConnectionId,
        ledger: u32,
        (identity, spec): (Identity, &SessionSpec),
        bytes: &[u8],
    ) -> Next {
        let desk = &self.desks[ledger as usize];
        let is_one_too_many = desk.template_sessions >= self.limits.template_sessions_max;
        if is_one_too_many || !desk.ledger.has_room_for(identity.to_bytes().len()) {
            self.counters.logons_refused.add(1);
            self.refuse(id, RefusedWhy::TooManySessions);
            return Next::Gone;
        }
        let number = desk.ledger.slots.len() as u32;
        let mut slot = self.make_slot(number, identity.clone(), Some(spec), Numbers::default(), 0, Arc::default());
        slot.link.attach(id);
        if let Some(hours) = &mut slot.link.hours {
            hours.look(now);
        }
        let Ok(logon) = parse_by(bytes, &mut self.index, spec.settings.data_fields.as_ref()) else {
            self.refuse(id, RefusedWhy::FirstMessageNotLogon);
            return Next::Gone;
        };
        match self.desks[ledger as usize].ledger.first_logon(now, slot, &logon) {
            Ok(FirstLogon::Accepted) => {
                self.counters.messages_in.add(1);
                self.joined(now, id, ledger, number, (identity, spec));
                Next::Message
            }
            Ok(FirstLogon::Refused { why, text }) => {
                self.counters.logons_refused.add(1);
                if let Some(connection) = self.remove(id) {
                    let (peer, named) = (connection.peer, Box::new(identity));
                    self.mailbox.events.push(Event::FirstLogonRefused { peer, named, why, text });
                }
                Next::Gone
            }
            Err(Full) => {
                self.back_pressure(ledger);
                Next::Later
            }
        }
    }

    /// The session exists from now on, over this connection.
    fn joined(
        &mut self,
        now: Now,
        id: ConnectionId,
        ledger: u32,
        number: u32,
        (identity, spec): (Identity, &SessionSpec),
    ) {
        let counters = Arc::clone(&self.slot(ledger, number).counters);
        counters.journal.set(self.desks[ledger as usize].journal.into());
        self.shared.sessions.enter(&identity.to_string(), counters);
        self.entered(ledger, number, identity, spec);
        self.watch_hours(now, ledger, number);
        self.desks[ledger as usize].waiting = Waiting::default();
        self.set_stage(id, Stage::Attached { ledger, session: number });
        self.after_step(now, ledger, number);
    }
}
