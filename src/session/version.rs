//! What the FIX versions differ in, as far as the session layer cares. The only place that compares versions.

/// A session-layer version, in ascending order. FIX 5.0 and later run over [`Version::Fixt11`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    Fix40,
    Fix41,
    Fix42,
    Fix43,
    Fix44,
    Fixt11,
}

impl Version {
    pub const ALL: [Self; 6] = [Self::Fix40, Self::Fix41, Self::Fix42, Self::Fix43, Self::Fix44, Self::Fixt11];

    pub fn of_begin_string(begin_string: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.begin_string() == begin_string)
    }

    pub const fn begin_string(self) -> &'static [u8] {
        match self {
            Self::Fix40 => b"FIX.4.0",
            Self::Fix41 => b"FIX.4.1",
            Self::Fix42 => b"FIX.4.2",
            Self::Fix43 => b"FIX.4.3",
            Self::Fix44 => b"FIX.4.4",
            Self::Fixt11 => b"FIXT.1.1",
        }
    }

    /// ResetSeqNumFlag(141). FIX.4.0 resets by agreement only.
    pub fn has_reset_seq_num_flag(self) -> bool {
        self >= Self::Fix41
    }

    /// RefTagID(371), RefMsgType(372) and SessionRejectReason(373) in a Reject(3).
    pub fn has_session_reject_reason(self) -> bool {
        self >= Self::Fix42
    }

    /// Whether the version's SessionRejectReason(373) has this value: up to 11 in FIX.4.2, 99 ("other") from FIX.4.4 on.
    pub fn has_session_reject_reason_of(self, code: u32) -> bool {
        match self {
            Self::Fix40 | Self::Fix41 => false,
            Self::Fix42 => code <= 11,
            Self::Fix43 => code < 99,
            Self::Fix44 | Self::Fixt11 => true,
        }
    }

    /// BusinessMessageReject(j). Before it a Reject(3) says the same.
    pub fn has_business_message_reject(self) -> bool {
        self >= Self::Fix42
    }

    /// LastMsgSeqNumProcessed(369) in each header.
    pub fn has_last_msg_seq_num_processed(self) -> bool {
        self >= Self::Fix42
    }

    /// SessionStatus(1409) in Logon and Logout.
    pub fn has_session_status(self) -> bool {
        self == Self::Fixt11
    }

    /// OnBehalfOfLocationID(144) and DeliverToLocationID(145).
    pub fn has_location_ids(self) -> bool {
        self >= Self::Fix41
    }

    /// Username(553) and Password(554) in a Logon.
    pub fn has_username(self) -> bool {
        self >= Self::Fix43
    }

    /// NextExpectedMsgSeqNum(789) in a Logon.
    pub fn has_next_expected_msg_seq_num(self) -> bool {
        self >= Self::Fix44
    }

    /// DefaultApplVerID(1137), required in a Logon.
    pub fn has_default_appl_ver_id(self) -> bool {
        self == Self::Fixt11
    }

    /// EndSeqNo(16) that means "all that you have": 999999 up to FIX.4.1, 0 afterwards.
    pub fn end_seq_no_infinity(self) -> u64 {
        if self <= Self::Fix41 { 999_999 } else { 0 }
    }

    /// Whether a UTCTimestamp may have a fraction of a second.
    pub fn has_fractions_of_seconds(self) -> bool {
        self >= Self::Fix42
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_begin_string_names_its_own_version_and_nothing_else_names_one() {
        for version in Version::ALL {
            assert_eq!(Version::of_begin_string(version.begin_string()), Some(version));
        }
        for unknown in [&b""[..], b"FIX.4", b"FIX.4.5", b"FIX.5.0", b"FIXT.1.1 "] {
            assert_eq!(Version::of_begin_string(unknown), None);
        }
    }

    #[test]
    fn infinity_is_999999_until_fix_4_1_and_0_after() {
        assert_eq!(Version::Fix41.end_seq_no_infinity(), 999_999);
        assert_eq!(Version::Fix42.end_seq_no_infinity(), 0);
    }
}
