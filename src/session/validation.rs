//! The check of a message against its dictionary, and what of its answer a version may say.
//!
//! The tables are made at start-up, one for each version that the sessions of a configuration speak, and shared by all of
//! them; a session keeps the one of its own version.

use std::sync::Arc;

use super::{RejectReason, Version};
use crate::dictionary::{FixtValidator, Reason, Validator, Violation};
use crate::fix::Message;

/// The dictionaries of one session-layer version, compiled.
#[derive(Debug)]
pub enum MessageValidator {
    /// FIX.4.0 to FIX.4.4, whose dictionaries hold session and application.
    Whole(Box<Validator>),
    /// FIXT.1.1: the transport with one dictionary for each ApplVerID(1128).
    Fixt(FixtValidator),
}

impl MessageValidator {
    /// `default_appl_ver_id` is the DefaultApplVerID(1137) of the peer's Logon, empty where the version has none.
    pub fn validate(&self, message: &Message<'_>, default_appl_ver_id: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Whole(validator) => validator.validate(message),
            Self::Fixt(validator) => validator.validate(message, default_appl_ver_id),
        }
    }
}

/// What a template or session validates by: a validator for each version that it speaks.
#[derive(Clone, Debug, Default)]
pub struct Validators {
    by_version: [Option<Arc<MessageValidator>>; Version::ALL.len()],
}

impl Validators {
    pub fn set(&mut self, version: Version, validator: Arc<MessageValidator>) {
        self.by_version[version as usize] = Some(validator);
    }

    /// `None` where messages of the version are not checked.
    pub fn of(&self, version: Version) -> Option<Arc<MessageValidator>> {
        self.by_version[version as usize].clone()
    }
}

impl From<Reason> for RejectReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::InvalidTagNumber => Self::InvalidTagNumber,
            Reason::RequiredTagMissing => Self::RequiredTagMissing,
            Reason::TagNotDefinedForMessage => Self::TagNotDefinedForMessage,
            Reason::TagWithoutValue => Self::TagWithoutValue,
            Reason::ValueIncorrect => Self::ValueIsIncorrect,
            Reason::IncorrectDataFormat => Self::IncorrectDataFormat,
            Reason::InvalidMsgType => Self::InvalidMsgType,
            Reason::TagRepeated => Self::TagRepeated,
            Reason::TagOutOfOrder => Self::TagOutOfOrder,
            Reason::GroupFieldsOutOfOrder => Self::GroupFieldsOutOfOrder,
            Reason::IncorrectNumInGroup => Self::IncorrectNumInGroup,
            Reason::InvalidApplicationVersion => Self::InvalidApplicationVersion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_keeps_its_number_and_its_words_on_the_way_to_a_reject() {
        for reason in [
            Reason::InvalidTagNumber,
            Reason::RequiredTagMissing,
            Reason::TagNotDefinedForMessage,
            Reason::TagWithoutValue,
            Reason::ValueIncorrect,
            Reason::IncorrectDataFormat,
            Reason::InvalidMsgType,
            Reason::TagRepeated,
            Reason::TagOutOfOrder,
            Reason::GroupFieldsOutOfOrder,
            Reason::IncorrectNumInGroup,
            Reason::InvalidApplicationVersion,
        ] {
            let reject = RejectReason::from(reason);
            assert_eq!((reject.code(), reject.text()), (reason.code(), reason.text()));
        }
    }
}
