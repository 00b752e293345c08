//! OrderIDs and ExecIDs: the engine's incarnation and a number, as text.

use std::ops::Deref;

use crate::fix::uint_of;

/// Digits of an ExecID(17) that is a number, after the incarnation: at a million reports a second they last for 115 days.
const EXEC_ID_DIGITS: usize = 13;
/// A u32, a dash and a u64.
const TEXT_BYTES_MAX: usize = 10 + 1 + 20;

/// Unique over all starts of the engine, because the incarnation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct OrderId {
    pub incarnation: u32,
    pub number: u64,
}

impl OrderId {
    /// `<incarnation>-<number>`.
    pub fn text(self) -> IdText {
        let mut text = IdText::new();
        text.put_before(self.number);
        text.put_byte_before(b'-');
        text.put_before(self.incarnation.into());
        text
    }

    /// The two as one number, the second with leading zeros.
    pub fn digits(self) -> IdText {
        let mut text = IdText::new();
        text.put_before(self.number);
        while text.len() < EXEC_ID_DIGITS {
            text.put_byte_before(b'0');
        }
        text.put_before(self.incarnation.into());
        text
    }

    pub fn parse(value: &[u8]) -> Option<Self> {
        let dash = value.iter().position(|byte| *byte == b'-')?;
        let incarnation = u32::try_from(uint_of(&value[..dash])?).ok()?;
        Some(Self { incarnation, number: uint_of(&value[dash + 1..])? })
    }
}

/// Written from its end on, digit by digit, as a division brings them: two of these stand in each report.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdText {
    bytes: [u8; TEXT_BYTES_MAX],
    start: usize,
}

impl IdText {
    fn new() -> Self {
        Self { bytes: [0; TEXT_BYTES_MAX], start: TEXT_BYTES_MAX }
    }

    #[inline]
    fn put_byte_before(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    #[inline]
    fn put_before(&mut self, mut number: u64) {
        loop {
            self.put_byte_before(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }
}

impl Deref for IdText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_read_back_is_the_same_id() {
        for incarnation in [0, 1, 9, 10, 4_294_967_295] {
            for number in [0, 7, 10, 99, 100, 123_456, u64::MAX] {
                let id = OrderId { incarnation, number };
                assert_eq!(*id.text(), *format!("{incarnation}-{number}").as_bytes());
                assert_eq!(OrderId::parse(&id.text()), Some(id));
                assert_eq!(*id.digits(), *format!("{incarnation}{number:013}").as_bytes());
            }
        }
        for malformed in [&b""[..], b"-", b"1", b"1-", b"-1", b"x-1", b"4294967296-1"] {
            assert_eq!(OrderId::parse(malformed), None);
        }
    }
}
