//! Who a session is.

use std::fmt;

use super::version::Version;
use crate::fix::{Message, SOH, tags};

/// A session's name, seen from our side: the sender is us. Sub and location ids are empty where not configured.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Identity {
    pub begin_string: Box<[u8]>,
    pub sender_comp_id: Box<[u8]>,
    pub sender_sub_id: Box<[u8]>,
    pub sender_location_id: Box<[u8]>,
    pub target_comp_id: Box<[u8]>,
    pub target_sub_id: Box<[u8]>,
    pub target_location_id: Box<[u8]>,
}

/// Each value's length, at most. It bounds what an unknown peer can make us keep.
pub const IDENTITY_VALUE_BYTES_MAX: usize = 64;
const VALUES: usize = 7;

impl Identity {
    /// An identity without sub and location ids.
    pub fn new(begin_string: &[u8], sender_comp_id: &[u8], target_comp_id: &[u8]) -> Self {
        Self::of_values([begin_string, sender_comp_id, b"", b"", target_comp_id, b"", b""])
    }

    /// The session that an inbound message belongs to: the peer's sender is our target. `None` where a CompID is
    /// missing or empty, a value is too long, or BeginString(8) names no version that we speak.
    pub fn of_peer(message: &Message<'_>) -> Option<Self> {
        let value = |tag| message.field(tag).unwrap_or_default();
        Self::checked([
            value(tags::BEGIN_STRING),
            value(tags::TARGET_COMP_ID),
            value(tags::TARGET_SUB_ID),
            value(tags::TARGET_LOCATION_ID),
            value(tags::SENDER_COMP_ID),
            value(tags::SENDER_SUB_ID),
            value(tags::SENDER_LOCATION_ID),
        ])
    }

    /// The same parties without sub and location ids: how a session is found whose configuration names none, whatever
    /// the peer sends.
    pub fn without_sub_and_location_ids(&self) -> Self {
        Self::new(&self.begin_string, &self.sender_comp_id, &self.target_comp_id)
    }

    /// The seven values, each but the last followed by the delimiter.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.values().join(&SOH)
    }

    /// Reads what [`Identity::to_bytes`] wrote. `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut values = [&b""[..]; VALUES];
        let mut parts = bytes.split(|byte| *byte == SOH);
        for value in &mut values {
            *value = parts.next()?;
        }
        if parts.next().is_some() { None } else { Self::checked(values) }
    }

    fn values(&self) -> [&[u8]; VALUES] {
        [
            &self.begin_string,
            &self.sender_comp_id,
            &self.sender_sub_id,
            &self.sender_location_id,
            &self.target_comp_id,
            &self.target_sub_id,
            &self.target_location_id,
        ]
    }

    fn checked(values: [&[u8]; VALUES]) -> Option<Self> {
        let bounded = values.iter().all(|value| value.len() <= IDENTITY_VALUE_BYTES_MAX && !value.contains(&SOH));
        let named = !values[1].is_empty() && !values[4].is_empty();
        Version::of_begin_string(values[0])?;
        (bounded && named).then(|| Self::of_values(values))
    }

    fn of_values(values: [&[u8]; VALUES]) -> Self {
        let [
            begin_string,
            sender_comp_id,
            sender_sub_id,
            sender_location_id,
            target_comp_id,
            target_sub_id,
            target_location_id,
        ] = values.map(Box::from);
        Self {
            begin_string,
            sender_comp_id,
            sender_sub_id,
            sender_location_id,
            target_comp_id,
            target_sub_id,
            target_location_id,
        }
    }
}

/// `FIX.4.4:VENUE->DESK1`, with `/sub/location` after a CompID where set. Two identities never have
/// the same name.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [begin_string, sender, sender_sub, sender_location, target, target_sub, target_location] = self.values();
        write!(f, "{}:", begin_string.escape_ascii())?;
        write_party(f, sender, sender_sub, sender_location)?;
        write!(f, "->")?;
        write_party(f, target, target_sub, target_location)
    }
}

/// One side of a session's name. What separates the parts of a name, `/` and the `>` of `->`,
/// stands behind a backslash where it is part of a value; so do the backslash and the quotes, and
/// bytes that are not printable are `\xNN`.
pub(crate) fn write_party(
    f: &mut fmt::Formatter<'_>,
    comp_id: &[u8],
    sub_id: &[u8],
    location_id: &[u8],
) -> fmt::Result {
    write_value(f, comp_id)?;
    if !sub_id.is_empty() || !location_id.is_empty() {
        f.write_str("/")?;
        write_value(f, sub_id)?;
    }
    if !location_id.is_empty() {
        f.write_str("/")?;
        write_value(f, location_id)?;
    }
    Ok(())
}

fn write_value(f: &mut fmt::Formatter<'_>, value: &[u8]) -> fmt::Result {
    for byte in value {
        match byte {
            b'/' | b'>' => write!(f, "\\{}", char::from(*byte))?,
            _ => write!(f, "{}", byte.escape_ascii())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{FieldIndex, parse};

    #[test]
    fn an_identity_survives_its_bytes() {
        let mut identity = Identity::new(b"FIX.4.4", b"VENUE", b"DESK1");
        identity.target_location_id = Box::from(&b"LDN"[..]);
        assert_eq!(Identity::from_bytes(&identity.to_bytes()), Some(identity));
    }

    /// A name's seven values, by the rules of [`write_party`] alone.
    fn values_of(name: &str) -> Vec<Vec<u8>> {
        let (begin_string, mut rest) = name.split_once(':').unwrap();
        let mut values = vec![begin_string.as_bytes().to_vec(), Vec::new()];
        let pad = |values: &mut Vec<Vec<u8>>, to| values.resize(to, Vec::new());
        while let Some(byte) = rest.bytes().next() {
            let (taken, value) = match byte {
                b'\\' if rest.as_bytes()[1] == b'x' => (4, u8::from_str_radix(&rest[2..4], 16).unwrap()),
                b'\\' => match rest.as_bytes()[1] {
                    b't' => (2, b'\t'),
                    b'n' => (2, b'\n'),
                    b'r' => (2, b'\r'),
                    other => (2, other),
                },
                b'-' if rest.as_bytes().get(1) == Some(&b'>') => {
                    pad(&mut values, 4);
                    values.push(Vec::new());
                    rest = &rest[2..];
                    continue;
                }
                b'/' => {
                    values.push(Vec::new());
                    rest = &rest[1..];
                    continue;
                }
                other => (1, other),
            };
            values.last_mut().unwrap().push(value);
            rest = &rest[taken..];
        }
        pad(&mut values, 7);
        values
    }

    /// Found in review: a CompID "DESK/NY" and a SubID "NY" beside "DESK" were one name, so one
    /// metric and one target of `fixring recover`.
    #[test]
    fn a_name_is_of_one_identity_and_says_which() {
        let parts: [&[u8]; 12] =
            [b"", b"A", b"/", b"B/A", b"-", b"->", b">", b"\\", b"A\\", b"\\x2f", b"\"':", b"\x80\n\t-"];
        let mut names = std::collections::HashSet::new();
        let mut count = 0;
        for sender in parts.iter().filter(|part| !part.is_empty()) {
            for (sender_location, target) in parts.iter().zip(parts.iter().rev()).filter(|(_, t)| !t.is_empty()) {
                for sender_sub in parts {
                    for target_sub in parts {
                        let values = [b"FIX.4.4", *sender, sender_sub, sender_location, target, target_sub, sender_sub];
                        let identity = Identity::of_values(values);
                        let name = identity.to_string();
                        assert_eq!(values_of(&name), values, "{name}");
                        assert!(name.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}");
                        names.insert(name);
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(names.len(), count);
        let desk_ny = Identity::new(b"FIX.4.4", b"VENUE", b"DESK/NY");
        assert_eq!(desk_ny.to_string(), r"FIX.4.4:VENUE->DESK\/NY");
    }

    #[test]
    fn bytes_that_are_no_identity_are_refused() {
        let whole = Identity::new(b"FIX.4.4", b"VENUE", b"DESK1").to_bytes();
        for bytes in
            [&whole[..whole.len() - 1], &[&whole[..], b"\x01"].concat(), b"", b"FIX.9.9\x01A\x01\x01\x01B\x01\x01"]
        {
            assert_eq!(Identity::from_bytes(bytes), None);
        }
    }

    #[test]
    fn the_peer_s_sender_is_our_target() {
        let bytes = b"8=FIX.4.4\x019=1\x0135=A\x0149=DESK1\x0150=S\x0156=VENUE\x0110=000\x01";
        let mut index = FieldIndex::with_capacity(16);
        let identity = Identity::of_peer(&parse(bytes, &mut index).unwrap()).unwrap();
        assert_eq!(identity.to_string(), "FIX.4.4:VENUE->DESK1/S");
        assert_eq!(identity.without_sub_and_location_ids(), Identity::new(b"FIX.4.4", b"VENUE", b"DESK1"));
    }

    #[test]
    fn a_peer_without_a_comp_id_or_with_an_endless_one_has_no_identity() {
        let endless = [b'A'; IDENTITY_VALUE_BYTES_MAX + 1];
        for sender in [&b""[..], &endless] {
            let bytes = [&b"8=FIX.4.4\x0135=A\x0149="[..], sender, b"\x0156=VENUE\x01"].concat();
            let mut index = FieldIndex::with_capacity(16);
            assert_eq!(Identity::of_peer(&parse(&bytes, &mut index).unwrap()), None);
        }
    }
}
