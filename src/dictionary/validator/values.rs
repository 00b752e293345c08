//! The values that an enumerated field may have.

use super::super::FieldDefinition;

#[derive(Debug, Default)]
pub(super) struct ValueSet {
    /// A bit for each value of one ASCII character, which most are.
    one_character: [u64; 2],
    /// Those of two to eight bytes, as numbers, in ascending order.
    short: Box<[u64]>,
    /// The rest, in ascending order.
    long: Box<[Box<[u8]>]>,
    /// A value is several of these with spaces between them.
    is_list: bool,
}

impl ValueSet {
    pub fn new(field: &FieldDefinition) -> Self {
        let mut set = Self { is_list: field.kind.is_list(), ..Self::default() };
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for value in &field.values {
            match (value.value.as_bytes(), packed(value.value.as_bytes())) {
                ([byte @ ..0x80], _) => set.one_character[usize::from(byte / 64)] |= 1 << (byte % 64),
                (_, Some(number)) => short.push(number),
                (bytes, None) => long.push(Box::from(bytes)),
            }
        }
        short.sort_unstable();
        long.sort_unstable();
        (set.short, set.long) = (short.into(), long.into());
        set
    }

    #[inline(always)]
    pub fn contains(&self, value: &[u8]) -> bool {
        match value {
            [byte @ ..0x80] => self.one_character[usize::from(byte / 64)] >> (byte % 64) & 1 == 1,
            _ => self.contains_longer(value),
        }
    }

    fn contains_longer(&self, value: &[u8]) -> bool {
        let whole = match packed(value) {
            Some(number) => self.short.binary_search(&number).is_ok(),
            None => self.long.binary_search_by(|candidate| (**candidate).cmp(value)).is_ok(),
        };
        // Two spaces in a row have an empty value between them, which none is.
        whole
            || self.is_list && value.contains(&b' ') && value.split(|byte| *byte == b' ').all(|one| self.contains(one))
    }
}

/// Two to eight bytes as a number. One that begins with zero would be the same number as without it.
#[inline(always)]
fn packed(value: &[u8]) -> Option<u64> {
    match value {
        [] | [0, ..] => None,
        _ if value.len() > 8 => None,
        _ => Some(value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::super::{EnumeratedValue, FieldType};
    use super::*;

    fn set(kind: FieldType, values: &[&'static str]) -> ValueSet {
        let values = values.iter().map(|value| EnumeratedValue { value: Cow::Borrowed(value), name: "".into() });
        ValueSet::new(&FieldDefinition { tag: 1, name: "Any".into(), kind, values: values.collect() })
    }

    #[test]
    fn values_of_every_length_are_found_and_no_others() {
        let all = ["1", "A", "é", "CS", "FUT", "12345678", "123456789", "ISO Country Code"];
        let set = set(FieldType::String, &all);
        for value in all {
            assert!(set.contains(value.as_bytes()), "{value}");
        }
        for wrong in ["", "2", "CS ", "\0CS", "\0", "C", "FU", "123456780", "1234567", "CS FUT"] {
            assert!(!set.contains(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!set.contains(b"\xff"));
    }

    #[test]
    fn a_list_is_right_where_each_of_its_values_is() {
        let set = set(FieldType::MultipleValueString, &["1", "2", "AA"]);
        for right in ["1", "1 2", "AA 2 AA"] {
            assert!(set.contains(right.as_bytes()), "{right:?}");
        }
        for wrong in ["", " ", "1  2", "1 3", "1 ", " 1", "12"] {
            assert!(!set.contains(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
