//! Which fields hold secrets: their values are never stored and never logged.

use super::{Message, tags};

/// Fields whose values are secrets in any message, where nobody says otherwise: Password(554), NewPassword(925),
/// EncryptedPassword(1402), EncryptedNewPassword(1404).
pub const SECRET_TAGS: [u32; 4] =
    [tags::PASSWORD, tags::NEW_PASSWORD, tags::ENCRYPTED_PASSWORD, tags::ENCRYPTED_NEW_PASSWORD];

/// A session's secret fields: those that are secret in any message, and in those that carry credentials the usual ones and RawData(96)
/// whatever the session says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretTags {
    /// Both in ascending order.
    anywhere: Box<[u32]>,
    in_credentials: Box<[u32]>,
}

impl Default for SecretTags {
    fn default() -> Self {
        Self::new(&SECRET_TAGS)
    }
}

impl SecretTags {
    pub fn new(secret_tags: &[u32]) -> Self {
        let sorted = |mut tags: Vec<u32>| {
            tags.sort_unstable();
            tags.dedup();
            tags.into_boxed_slice()
        };
        let with_raw_data = secret_tags.iter().copied().chain(SECRET_TAGS).chain([tags::RAW_DATA]).collect();
        Self { anywhere: sorted(secret_tags.to_vec()), in_credentials: sorted(with_raw_data) }
    }

    /// Those of messages of a type, in ascending order.
    #[inline]
    pub fn of(&self, msg_type: &[u8]) -> &[u32] {
        if carries_credentials(msg_type) { &self.in_credentials } else { &self.anywhere }
    }

    /// Whether a message has a field that is secret.
    #[inline]
    pub fn are_in(&self, message: &Message<'_>) -> bool {
        let secret = self.of(message.msg_type());
        let Some(lowest) = secret.first() else { return false };
        // Most messages have no tag as high as the lowest secret one, which a pass without a branch tells.
        let (tags, _) = message.tags_and_spans();
        let highest = tags.iter().fold(0, |highest, tag| (*tag).max(highest));
        highest >= *lowest && tags.iter().any(|tag| secret.contains(tag))
    }
}

/// Logon(A) and UserRequest(BE), whose RawData(96) is a key or a password.
pub fn carries_credentials(msg_type: &[u8]) -> bool {
    matches!(msg_type, b"A" | b"BE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{FieldIndex, parse};

    #[test]
    fn a_secret_is_found_in_any_message_and_raw_data_in_those_with_credentials() {
        let secrets = SecretTags::default();
        let has = |text: &str| {
            let (bytes, mut index) = (text.replace('|', "\x01").into_bytes(), FieldIndex::with_capacity(16));
            secrets.are_in(&parse(&bytes, &mut index).unwrap())
        };
        assert!(has("8=FIX.4.4|9=5|35=D|554=x|10=000|"));
        assert!(has("8=FIX.4.4|9=5|35=0|58=x|58=y|925=x|10=000|"));
        assert!(has("8=FIX.4.4|9=5|35=D|1401=3|1402=a|b|10=000|"));
        assert!(has("8=FIX.4.4|9=5|35=A|95=1|96=x|10=000|"));
        assert!(has("8=FIX.4.4|9=5|35=BE|96=x|10=000|"));
        assert!(!has("8=FIX.4.4|9=5|35=B|95=1|96=x|10=000|"));
        assert!(!has("8=FIX.4.4|9=5|35=D|553=x|1137=9|10=000|"));
        // What stands inside a data field is data.
        assert!(!has("8=FIX.4.4|9=5|35=B|95=7|96=|554=x||10=000|"));
        assert!(SecretTags::new(&[58]).of(b"A").contains(&554) && !SecretTags::new(&[58]).of(b"D").contains(&554));
        assert!(!SecretTags::new(&[]).are_in(&parse(b"", &mut FieldIndex::with_capacity(1)).unwrap()));
    }
}
