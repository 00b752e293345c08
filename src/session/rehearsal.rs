//! A message's way through the session, walked to no effect.
//!
//! Between two messages the kernel's network stack has been through the processor's caches, and the first instructions of the next
//! message wait for code and data from further away. Whoever has nothing else to do walks the way once more beforehand.

use std::hint::black_box;

use super::header::Header;
use super::resend::is_admin;
use super::{BackPressure, Now, Numbers, Outbox, Outgoing, Session, State};
use crate::fix::{Message, Overflow, tags};

impl Session {
    /// Looks at an application message as [`Session::receive`] does, and writes one into `space` as [`Session::send`] does. Nothing comes
    /// of either.
    pub fn rehearse(&mut self, now: Now, message: &Message<'_>, space: &mut [u8]) {
        if self.state != State::Established || is_admin(message.msg_type()) {
            return;
        }
        black_box(Header::of(message).has_comp_ids_of(&self.identity));
        black_box(self.validate(message).is_ok());
        let counters = self.counters;
        // It finds no room, and then nothing has happened.
        let sent = self.send(now, message.msg_type(), &mut Nowhere(space), |body| {
            body.bytes(tags::TEXT, b"-").timestamp(tags::TRANSACT_TIME, now.utc, Default::default());
        });
        debug_assert!(sent.is_err());
        self.counters = counters;
    }
}

/// Encodes what is sent, and has no room for it.
struct Nowhere<'a>(&'a mut [u8]);

impl Outbox for Nowhere<'_> {
    fn append(
        &mut self,
        _outgoing: Outgoing,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, Overflow>,
    ) -> Result<(), BackPressure> {
        let _ = black_box(encode(self.0));
        Err(BackPressure)
    }

    fn numbers(&mut self, _numbers: Numbers) {}
}
