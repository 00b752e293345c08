//! A dictionary, or a pair of transport and application dictionary, compiled so that a message is checked in one pass
//! over its fields, a few ns each, with nothing allocated.
//!
//! For each message the members that the wire may show (header, body and trailer, components unfolded) are numbered.
//! A tag leads to its number, the number to a [`Slot`] that holds all that is asked of the field. A group has numbers of
//! its own, in the dictionary's order, so that within an instance each number must be greater than the last. What a
//! switch of [`Checks`] leaves out is mostly not in the tables at all, so that nothing need ask.
//!
//! There are two passes. [`accept`] says of nearly all messages that they are right, and no more; [`walk`] says what is
//! wrong with the others, or that nothing is. A message with a fault costs both.
//!
//! The answer is the first violation in the order of the wire. A required field of the header, body or trailer that
//! is missing has no place there, and is said after all others; one of a group's instance is said at that instance's end.

mod accept;
mod checks;
mod compile;
mod format;
mod glance;
mod values;
mod walk;

use std::fmt;

pub use checks::{Checks, Reason, Violation};
use format::Format;
use glance::Glance;
use values::ValueSet;

use super::{Dictionary, Version};
use crate::fix::{Message, tags};

/// The tables of one dictionary or pair. It is made at start-up and shared by all sessions that use it.
#[derive(Debug)]
pub struct Validator {
    checks: Checks,
    messages: Box<[MessageTable]>,
    /// Where the messages with a MsgType(35) of one character are; [`NONE`] elsewhere.
    one_character: Box<[u16; 256]>,
    /// The others, in ascending order.
    longer: Box<[(Box<[u8]>, u16)]>,
    /// For a message of unknown type, where those pass: header and trailer alone.
    unknown_message: MessageTable,
    /// In the dictionary's order; number 0 begins each instance.
    groups: Box<[Members]>,
    value_sets: Box<[ValueSet]>,
    /// All tags of the transport, and all of both.
    known_tags: [KnownTags; 2],
}

/// Why a dictionary cannot be compiled. The operator's fault: the dictionary is not one that a validator can serve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompileError {
    /// FIX.5.0 and later have no header of their own: a transport dictionary is needed.
    NoTransport(Version),
    /// The transport dictionary has no session layer.
    NotATransport(Version),
    /// A message or group has more members than there are numbers.
    TooManyMembers { name: String, members_max: u32 },
    /// More groups or value lists than there are numbers.
    TooLarge,
    /// Two application dictionaries for one ApplVerID(1128).
    ApplVerIdTwice(Version),
    /// A FIXT session without any application dictionary.
    NoApplication,
}

impl Validator {
    /// Of a version that has its own session layer: FIX.4.0 to FIX.4.4, or FIXT.1.1 for the session's messages alone.
    pub fn new(dictionary: &Dictionary, checks: Checks) -> Result<Self, CompileError> {
        if dictionary.version().needs_transport() {
            return Err(CompileError::NoTransport(dictionary.version()));
        }
        compile::compile(dictionary, None, checks)
    }

    /// Of a transport and one application dictionary. Header, trailer and the session's messages are the transport's.
    pub fn with_transport(
        transport: &Dictionary,
        application: &Dictionary,
        checks: Checks,
    ) -> Result<Self, CompileError> {
        if transport.version().needs_transport() {
            return Err(CompileError::NotATransport(transport.version()));
        }
        compile::compile(transport, Some(application), checks)
    }

    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The first violation in the order of the wire. Any message that [`crate::fix::parse`] answered can be given.
    pub fn validate(&self, message: &Message<'_>) -> Result<(), Violation> {
        let table = match self.message_table(message.msg_type()) {
            Some(table) => table,
            None if self.checks.msg_type => {
                return Err(Violation { reason: Reason::InvalidMsgType, ref_tag_id: None });
            }
            None => &self.unknown_message,
        };
        // Few messages need more than the second; what is not there need not be cleared.
        let is_accepted = match table.members.slots.len() {
            0..=256 => accept::message::<256>(self, table, message),
            257..=512 => accept::message::<512>(self, table, message),
            513..=768 => accept::message::<768>(self, table, message),
            _ => accept::message::<MESSAGE_MEMBERS_MAX>(self, table, message),
        };
        if is_accepted {
            debug_assert_eq!(walk::message(self, table, message), Ok(()));
            return Ok(());
        }
        walk::message(self, table, message)
    }

    #[inline(always)]
    fn message_table(&self, msg_type: &[u8]) -> Option<&MessageTable> {
        let at = match msg_type {
            [character] => self.one_character[usize::from(*character)],
            _ => {
                let at = self.longer.binary_search_by(|(candidate, _)| (**candidate).cmp(msg_type)).ok()?;
                self.longer[at].1
            }
        };
        self.messages.get(usize::from(at))
    }
}

/// The validators of a FIXT session, one for each version of application messages that it may carry.
#[derive(Debug)]
pub struct FixtValidator {
    by_version: Vec<(Version, Validator)>,
}

impl FixtValidator {
    pub fn new(transport: &Dictionary, applications: &[&Dictionary], checks: Checks) -> Result<Self, CompileError> {
        let mut by_version: Vec<(Version, Validator)> = Vec::new();
        for application in applications {
            let version = application.version();
            if by_version.iter().any(|(other, _)| *other == version) || version.appl_ver_id().is_none() {
                return Err(CompileError::ApplVerIdTwice(version));
            }
            by_version.push((version, Validator::with_transport(transport, application, checks)?));
        }
        if by_version.is_empty() {
            return Err(CompileError::NoApplication);
        }
        Ok(Self { by_version })
    }

    /// ApplVerID(1128) of the message decides, and where it has none, `default_appl_ver_id`: the DefaultApplVerID(1137)
    /// of the peer's Logon. A version without a dictionary is not supported.
    pub fn validate(&self, message: &Message<'_>, default_appl_ver_id: &[u8]) -> Result<(), Violation> {
        let stated = message.field(tags::APPL_VER_ID);
        let appl_ver_id = stated.unwrap_or(default_appl_ver_id);
        let chosen = Version::of_appl_ver_id(appl_ver_id)
            .and_then(|version| self.by_version.iter().find(|(other, _)| *other == version));
        match chosen {
            Some((_, validator)) => validator.validate(message),
            None => {
                let ref_tag_id = if stated.is_some() { tags::APPL_VER_ID } else { tags::DEFAULT_APPL_VER_ID };
                Err(Violation { reason: Reason::InvalidApplicationVersion, ref_tag_id: Some(ref_tag_id) })
            }
        }
    }
}

/// No message, group or list of values.
const NONE: u16 = u16::MAX;
/// Tags below have a direct way to their slot. Few messages of the standard have fields beyond, and those are not in a
/// hurry.
const NEAR_TAGS: usize = 2_048;
/// Known tags from here on are looked up one by one: no standard has any.
const FAR_TAG_MIN: u32 = 1 << 16;
/// Two thousand members: FIX.5.0SP2 has a message with 630.
const MESSAGE_WORDS_MAX: usize = 32;
const MESSAGE_MEMBERS_MAX: usize = MESSAGE_WORDS_MAX * 64;
/// Five hundred: FIX.5.0SP2 has a group with 412.
const GROUP_WORDS_MAX: usize = 8;
const GROUP_MEMBERS_MAX: usize = GROUP_WORDS_MAX * 64;
const _: () = assert!(GROUP_MEMBERS_MAX < MESSAGE_MEMBERS_MAX);
const _: () = assert!(MESSAGE_MEMBERS_MAX < NONE as usize);

/// The members of a message or group, by number.
#[derive(Debug)]
struct Members {
    /// The numbers of the near tags; [`NONE`] where the tag is no member.
    near: [u16; NEAR_TAGS],
    /// Those of the others, in ascending order of the tags.
    far: Box<[(u32, u16)]>,
    slots: Box<[Slot]>,
    /// A bit for each number that must be seen; as many words as the numbers need.
    required: Box<[u64]>,
    required_count: u16,
}

impl Members {
    /// The tag's number and slot.
    #[inline(always)]
    fn find(&self, tag: u32) -> Option<(usize, &Slot)> {
        let number = match self.near.get(tag as usize) {
            Some(number) => *number,
            None => self.far_number_of(tag),
        };
        // NONE is beyond the slots.
        Some((usize::from(number), self.slots.get(usize::from(number))?))
    }

    #[cold]
    #[inline(never)]
    fn far_number_of(&self, tag: u32) -> u16 {
        self.far.binary_search_by_key(&tag, |far| far.0).map_or(NONE, |at| self.far[at].1)
    }
}

#[derive(Debug)]
struct MessageTable {
    members: Members,
    /// Which of the known tags: the application's messages may hold any of both, the session's those of the transport.
    known_tags: usize,
    /// Nothing is known of the body.
    is_unknown: bool,
}

/// All that is asked of a field in its place. What the checks leave out is not asked.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// A bit for each ASCII character that is right as the whole value.
    one_character: [u64; 2],
    tag: u32,
    /// The group that the field counts, or [`NONE`].
    group: u16,
    /// The values that it may have, or [`NONE`].
    values: u16,
    /// The least greater number that is required, or [`NONE`].
    next_required: u16,
    is_required: bool,
    section: Section,
    format: Format,
    glance: Glance,
}

/// Two of them to a cache line.
const _: () = assert!(size_of::<Slot>() == 32);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
enum Section {
    Header,
    Body,
    Trailer,
}

/// A bit for each tag.
#[derive(Debug, Default)]
struct KnownTags {
    words: Box<[u64]>,
    far: Box<[u32]>,
}

impl KnownTags {
    fn contains(&self, tag: u32) -> bool {
        match self.words.get(tag as usize / 64) {
            Some(word) => word >> (tag % 64) & 1 == 1,
            None => self.far.binary_search(&tag).is_ok(),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTransport(version) => {
                write!(f, "{version} has no header and trailer: give a FIXT.1.1 dictionary as its transport")
            }
            Self::NotATransport(version) => write!(f, "{version} has no session layer and cannot be a transport"),
            Self::TooManyMembers { name, members_max } => {
                write!(f, "{name} has more than {members_max} members: no message of the standard has half as many")
            }
            Self::TooLarge => write!(f, "the dictionary has more groups or enumerated fields than {NONE}"),
            Self::ApplVerIdTwice(version) => {
                write!(f, "{version}: an application dictionary is wanted, one for each ApplVerID")
            }
            Self::NoApplication => write!(f, "a FIXT session needs at least one application dictionary"),
        }
    }
}

impl std::error::Error for CompileError {}
