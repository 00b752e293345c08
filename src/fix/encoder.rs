//! Writes one message into the caller's buffer, BodyLength(9) and CheckSum(10) patched in at the end.

use super::value::{digit_count, put_digits};
use super::{Decimal, Precision, SOH, UtcTimestamp, checksum, is_data_tag};

/// The buffer was too small for the message. Nothing of it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// Writes fields in the order of the calls. The first must be MsgType(35), which [`Encoder::begin`] takes.
///
/// An overflow is remembered and answered by [`Encoder::finish`], so that calls chain without a check each.
///
/// A field whose value is empty is left out: FIX knows no empty value. A value that contains the delimiter would
/// become two fields, and is our own fault, since a parsed value cannot contain it: debug builds assert. Only data
/// fields may, after their length field; [`Encoder::data`] writes both.
#[derive(Debug)]
pub struct Encoder<'b> {
    buffer: &'b mut [u8],
    at: usize,
    /// Where BodyLength(9)'s digits begin.
    length_offset: usize,
    body_offset: usize,
    overflowed: bool,
}

/// BodyLength(9) is written with as many digits as it needs; most messages need three, others are moved.
const LENGTH_DIGITS_EXPECTED: usize = 3;

impl<'b> Encoder<'b> {
    pub fn begin(buffer: &'b mut [u8], begin_string: &[u8], msg_type: &[u8]) -> Self {
        let mut encoder = Self { buffer, at: 0, length_offset: 0, body_offset: 0, overflowed: false };
        encoder.raw(b"8=").raw(begin_string).raw(b"\x019=");
        encoder.length_offset = encoder.at;
        encoder.raw(b"000\x01");
        encoder.body_offset = encoder.at;
        encoder.field(35, msg_type);
        encoder
    }

    /// Bytes exactly as given: whole fields, each with its delimiter.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(room) = self.room(bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self
    }

    /// A field of any type whose bytes are at hand.
    #[inline]
    pub fn bytes(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        debug_assert!(!value.contains(&SOH) || is_data_tag(tag), "a value of field {tag} contains the delimiter");
        if value.is_empty() { self } else { self.field(tag, value) }
    }

    #[inline]
    pub fn uint(&mut self, tag: u32, number: u64) -> &mut Self {
        let digits = digit_count(number);
        self.put(tag, digits, |value| put_digits(value, number))
    }

    #[inline]
    pub fn int(&mut self, tag: u32, number: i64) -> &mut Self {
        let (sign, magnitude) = (usize::from(number < 0), number.unsigned_abs());
        self.put(tag, sign + digit_count(magnitude), |value| {
            value[0] = b'-';
            put_digits(&mut value[sign..], magnitude);
        })
    }

    #[inline]
    pub fn char(&mut self, tag: u32, value: u8) -> &mut Self {
        debug_assert!(value != SOH, "the value of field {tag} is the delimiter");
        self.put(tag, 1, |room| room[0] = value)
    }

    #[inline]
    pub fn bool(&mut self, tag: u32, value: bool) -> &mut Self {
        self.char(tag, if value { b'Y' } else { b'N' })
    }

    pub fn decimal(&mut self, tag: u32, value: Decimal) -> &mut Self {
        let mut text = [0; 40];
        let length = value.write(&mut text);
        self.field(tag, &text[..length])
    }

    pub fn timestamp(&mut self, tag: u32, value: UtcTimestamp, precision: Precision) -> &mut Self {
        let mut text = [0; 27];
        let length = value.write(&mut text, precision);
        self.field(tag, &text[..length])
    }

    /// A data field with its length field before it. It may contain any bytes; where it has none, both are left out.
    pub fn data(&mut self, length_tag: u32, tag: u32, value: &[u8]) -> &mut Self {
        if value.is_empty() {
            return self;
        }
        self.uint(length_tag, value.len() as u64).field(tag, value)
    }

    /// Patches BodyLength(9), appends CheckSum(10) and answers the message's length, from the buffer's start.
    pub fn finish(mut self) -> Result<usize, Overflow> {
        let mut digits = [0; 20];
        let count = write_uint(&mut digits, (self.at - self.body_offset) as u64);
        if count != LENGTH_DIGITS_EXPECTED && !self.overflowed {
            let body_offset = self.length_offset + count + 1;
            let end = body_offset + (self.at - self.body_offset);
            if end > self.buffer.len() {
                return Err(Overflow);
            }
            self.buffer.copy_within(self.body_offset..self.at, body_offset);
            (self.body_offset, self.at) = (body_offset, end);
            self.buffer[body_offset - 1] = SOH;
        }
        if self.overflowed {
            return Err(Overflow);
        }
        self.buffer[self.length_offset..self.length_offset + count].copy_from_slice(&digits[..count]);
        let sum = checksum(&self.buffer[..self.at]);
        self.raw(&[b'1', b'0', b'=', b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10, SOH]);
        if self.overflowed { Err(Overflow) } else { Ok(self.at) }
    }

    #[test]
    fn what_fits_after_an_overflow_does_not_hide_it() {
        let mut buffer = [0; 60];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", b"0");
        encoder.bytes(58, &[b'x'; 100]).char(54, b'1');
        assert_eq!(encoder.finish(), Err(Overflow));
    }
}
