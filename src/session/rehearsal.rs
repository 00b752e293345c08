//! A message's way through the session, walked to no effect.
//!
//! Between two messages the kernel's network stack has been through the processor's caches, and the first instructions of the next
//! message wait for code and data from further away. Whoever has nothing else to do walks the way once more beforehand.

use std::hint::black_box;

use super::header::Header;
use super::{Counters, Session};
use crate::fix::Message;

impl Session {
    /// Looks at a message as [`Session::receive`] does. Nothing comes of it.
    pub fn rehearse(&self, message: &Message<'_>) {
        black_box(Header::of(message).has_comp_ids_of(&self.identity));
        black_box(self.validate(message).is_ok());
    }

    /// Forgets the back-pressure that rehearsed sends have met.
    pub fn end_rehearsal(&mut self, counters: Counters) {
        self.counters = counters;
    }
}
