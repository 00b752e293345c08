//! The engine: workers, the threads around them, and the hand-over of connections to the workers that own their sessions.
//!
//! Only this layer joins [`crate::session`], [`crate::journal`] and [`crate::transport`]. [`Engine::start`] recovers the data directory, starts the
//! threads and comes back; what decides anything is in step functions ([`Worker::turn`], the journal's flusher and
//! stager), so that a test can drive whole engines in one thread without this module's shells.

pub(crate) mod archive;
mod at_risk;
mod budget;
mod clock;
mod connection;
mod directory;
mod errors;
mod event;
mod event_kind;
mod event_limits;
mod fence;
pub(crate) mod flushing;
mod hot;
mod hours;
mod initiate;
mod lease;
mod ledger;
mod link;
mod log;
mod memory;
mod notice_fields;
mod patience;
mod placement;
mod presence;
mod recovered;
mod replay;
mod resend;
mod retention;
mod secrets;
mod stall_watch;
mod start;
mod storage_watch;
pub(crate) mod threads;
mod timers;
mod validators;
mod worker;

pub(crate) use budget::shortage;
pub use clock::{Clock, SystemClock};
pub(crate) use directory::data_fields_of;
pub use directory::{Directory, SessionSpec};
pub(crate) use directory::{Identified, identified};
pub use errors::{EngineError, StartError};
pub use event::{Event, EventSink, SessionKey, Told, events};
pub(crate) use flushing::monotonic_ns;
pub use initiate::{ResolveRequest, Resolved};
pub use ledger::{Handle, Sessions};
#[cfg(test)]
pub(crate) use log::EventLog;
pub use log::event_time;
pub(crate) use placement::why_to_park;
pub use replay::restore;
pub use start::{Engine, Environment};
pub(crate) use start::{check_found, flush_choice, journal_settings};
pub use worker::{Adopted, HandOver, Limits, Mailbox, Worker};
