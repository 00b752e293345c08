//! FIX tag=value on the wire: framing, in-place parsing, typed values and encoding.
//!
//! Everything here works on the caller's bytes. It does no I/O, reads no clock, starts no thread and allocates
//! nothing once a [`FieldIndex`] exists. It knows the *syntax* of FIX (FIX tag=value encoding, "FIX Tagvalue
//! Encoding Technical Specification") and nothing of sessions; what a message means is [`crate::session`]'s affair.
//!
//! Three answers are kept apart throughout: bytes are [`Framing::Complete`], [`Framing::Incomplete`] (read more)
//! or [`Framing::Invalid`] (garbled: skip, and use no sequence number).

mod data_fields;
mod delimiters;
mod encoder;
mod framing;
mod message;
#[doc(hidden)]
pub mod oracle;
#[doc(hidden)]
pub mod samples;
mod secret_tags;
pub mod tags;
mod template;
mod value;

pub use data_fields::{DataFields, data_tag_of_length, is_data_tag};
pub use delimiters::checksum;
pub use encoder::{Encoder, Hidden, Overflow};
pub use framing::{Frame, Framing, Garbled, MESSAGE_END_BYTES, frame, stated_checksum, stated_length};
pub(crate) use message::Span;
pub use message::{Field, FieldIndex, Group, Groups, Message, ParseError, parse, parse_by, raw_field};
pub use secret_tags::{SECRET_TAGS, SecretTags, carries_credentials};
pub use template::HeaderTemplate;
pub use value::{Decimal, Precision, UtcTimestamp, bool_of, char_of, int_of, uint_of, write_uint};

/// The field delimiter, ASCII "start of heading".
pub const SOH: u8 = 0x01;
