//! Which checks are made of a message, and what they find.

/// One switch a check. The default makes them all: what the standard says, and what most engines do.
///
/// Each says the setting of QuickFIX that it corresponds to, with that setting's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checks {
    /// MsgType(35) is one of the dictionary's. Otherwise a message of an unknown type passes, and only its header and
    /// trailer are looked at. QuickFIX has no setting; it always checks.
    pub msg_type: bool,
    /// Tags below 5000 and from 40000 are known to the dictionary and defined for the message (373=0 and 373=2).
    /// QuickFIX: AllowUnknownMsgFields=N, which is the other way round.
    pub tags: bool,
    /// The same for user-defined tags, 5000 to 39999. QuickFIX: ValidateUserDefinedFields=Y.
    pub user_defined_tags: bool,
    /// Required fields are there, in the header, body and trailer, and in each instance of a group. QuickFIX/J and
    /// QuickFIX/Go: RejectInvalidMessage has no part of its own for it; QuickFIX/C++ always checks.
    pub required: bool,
    /// No field is empty. QuickFIX: ValidateFieldsHaveValues=Y.
    pub values_present: bool,
    /// A value is one of those that the dictionary enumerates for the field. QuickFIX always checks.
    pub enumerated_values: bool,
    /// A value has the format of the field's type. QuickFIX always checks.
    pub formats: bool,
    /// A tag stands only once outside groups, and once in an instance. QuickFIX always checks.
    pub repeated_tags: bool,
    /// A group has as many instances as its count field says. QuickFIX always checks.
    pub group_counts: bool,
    /// An instance begins with the group's first field, and the others follow in the dictionary's order.
    /// QuickFIX/J: ValidateUnorderedGroupFields=Y; QuickFIX/C++ has no such check.
    pub group_order: bool,
    /// Header, body and trailer follow one another. QuickFIX: ValidateFieldsOutOfOrder=Y.
    pub section_order: bool,
}

impl Checks {
    pub const ALL: Self = Self {
        msg_type: true,
        tags: true,
        user_defined_tags: true,
        required: true,
        values_present: true,
        enumerated_values: true,
        formats: true,
        repeated_tags: true,
        group_counts: true,
        group_order: true,
        section_order: true,
    };

    pub const NONE: Self = Self {
        msg_type: false,
        tags: false,
        user_defined_tags: false,
        required: false,
        values_present: false,
        enumerated_values: false,
        formats: false,
        repeated_tags: false,
        group_counts: false,
        group_order: false,
        section_order: false,
    };
}

impl Default for Checks {
    fn default() -> Self {
        Self::ALL
    }
}

/// What is wrong with a message: the peer's fault, which the session answers with a Reject(3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    pub reason: Reason,
    /// RefTagID(371): the field that is to blame. None where it is MsgType(35).
    pub ref_tag_id: Option<u32>,
}

/// SessionRejectReason(373), as far as a dictionary can tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    InvalidTagNumber,
    RequiredTagMissing,
    TagNotDefinedForMessage,
    TagWithoutValue,
    ValueIncorrect,
    IncorrectDataFormat,
    InvalidMsgType,
    TagRepeated,
    TagOutOfOrder,
    GroupFieldsOutOfOrder,
    IncorrectNumInGroup,
    /// Of an application version for which there is no dictionary.
    InvalidApplicationVersion,
}

impl Reason {
    /// Its number in SessionRejectReason(373). FIX.4.2 knows 0 to 11, FIX.4.3 all of them, older versions none.
    pub const fn code(self) -> u32 {
        match self {
            Self::InvalidTagNumber => 0,
            Self::RequiredTagMissing => 1,
            Self::TagNotDefinedForMessage => 2,
            Self::TagWithoutValue => 4,
            Self::ValueIncorrect => 5,
            Self::IncorrectDataFormat => 6,
            Self::InvalidMsgType => 11,
            Self::TagRepeated => 13,
            Self::TagOutOfOrder => 14,
            Self::GroupFieldsOutOfOrder => 15,
            Self::IncorrectNumInGroup => 16,
            Self::InvalidApplicationVersion => 18,
        }
    }

    /// Text(58), in the words that the open-source engines share.
    pub const fn text(self) -> &'static [u8] {
        match self {
            Self::InvalidTagNumber => b"Invalid tag number",
            Self::RequiredTagMissing => b"Required tag missing",
            Self::TagNotDefinedForMessage => b"Tag not defined for this message type",
            Self::TagWithoutValue => b"Tag specified without a value",
            Self::ValueIncorrect => b"Value is incorrect (out of range) for this tag",
            Self::IncorrectDataFormat => b"Incorrect data format for value",
            Self::InvalidMsgType => b"Invalid MsgType",
            Self::TagRepeated => b"Tag appears more than once",
            Self::TagOutOfOrder => b"Tag specified out of required order",
            Self::GroupFieldsOutOfOrder => b"Out of order repeating group members",
            Self::IncorrectNumInGroup => b"Incorrect NumInGroup count for repeating group",
            Self::InvalidApplicationVersion => b"Invalid/Unsupported Application Version",
        }
    }
}

/// From here on, up to [`STANDARD_TAG_AGAIN`], a tag's meaning is for two parties to agree on.
const USER_DEFINED_TAG_MIN: u32 = 5_000;
/// The standard's own tags go on here (FIX.5.0SP2 extension packs).
const STANDARD_TAG_AGAIN: u32 = 40_000;

pub(super) fn is_user_defined(tag: u32) -> bool {
    (USER_DEFINED_TAG_MIN..STANDARD_TAG_AGAIN).contains(&tag)
}
