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
        encoder.field(8, begin_string).raw(b"9=");
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
        if self.overflowed {
            return Err(Overflow);
        }
        let body_length = self.at - self.body_offset;
        let count = digit_count(body_length as u64);
        if count != LENGTH_DIGITS_EXPECTED {
            let body_offset = self.length_offset + count + 1;
            let end = body_offset + body_length;
            if end > self.buffer.len() {
                return Err(Overflow);
            }
            self.buffer.copy_within(self.body_offset..self.at, body_offset);
            (self.body_offset, self.at) = (body_offset, end);
            self.buffer[body_offset - 1] = SOH;
        }
        put_digits(&mut self.buffer[self.length_offset..self.body_offset - 1], body_length as u64);
        let sum = checksum(&self.buffer[..self.at]);
        self.raw(&[b'1', b'0', b'=', b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10, SOH]);
        if self.overflowed { Err(Overflow) } else { Ok(self.at) }
    }

    /// The next `length` bytes of the buffer, now used.
    #[inline(always)]
    fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        let room = self.buffer[self.at..].get_mut(..length);
        match room.is_some() {
            true => self.at += length,
            false => self.overflowed = true,
        }
        room
    }

    #[inline(always)]
    fn field(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        self.put(tag, value.len(), |room| room.copy_from_slice(value))
    }

    /// One field whose value, of `length` bytes, `write` puts in its place. One look at the buffer's end a field.
    #[inline(always)]
    fn put(&mut self, tag: u32, length: usize, write: impl FnOnce(&mut [u8])) -> &mut Self {
        let digits = digit_count(u64::from(tag));
        if let Some(room) = self.room(digits + length + 2)
            && let Some((head, rest)) = room.split_at_mut_checked(digits)
            && let [equals, value @ .., end] = rest
        {
            put_digits(head, u64::from(tag));
            (*equals, *end) = (b'=', SOH);
            write(value);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FieldIndex, Framing, frame, parse};
    use super::*;

    fn text(encode: impl Fn(&mut Encoder<'_>)) -> String {
        let mut buffer = [0; 256];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.2", b"0");
        encode(&mut encoder);
        let length = encoder.finish().unwrap();
        String::from_utf8_lossy(&buffer[..length]).replace('\x01', "|")
    }

    #[test]
    fn a_message_has_its_length_and_sum_patched_in() {
        assert_eq!(text(|_| ()), "8=FIX.4.2|9=5|35=0|10=161|");
    }

    #[test]
    fn every_type_is_written_as_fix_wants_it() {
        let written = text(|encoder| {
            encoder
                .uint(34, u64::MAX)
                .uint(1128, 0)
                .int(108, i64::MIN)
                .int(5, 30)
                .char(54, b'1')
                .bool(43, true)
                .bool(141, false)
                .decimal(44, Decimal::new(-105, 2))
                .timestamp(52, UtcTimestamp::from_unix_ns(0), Precision::Millis)
                .data(95, 96, b"a\x01b")
                .raw(b"58=x\x01");
        });
        assert_eq!(
            written.split_once("35=0|").unwrap().1.rsplit_once("10=").unwrap().0,
            "34=18446744073709551615|1128=0|108=-9223372036854775808|5=30|54=1|43=Y|141=N|44=-1.05|\
             52=19700101-00:00:00.000|95=3|96=a|b|58=x|"
        );
    }

    #[test]
    fn a_field_without_a_value_is_left_out() {
        assert_eq!(text(|encoder| _ = encoder.bytes(58, b"").data(95, 96, b"")), text(|_| ()));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a value of field 58 contains the delimiter")]
    fn a_value_with_a_delimiter_is_our_fault() {
        text(|encoder| _ = encoder.bytes(58, b"x\x0159=1"));
    }

    #[test]
    fn a_buffer_of_exactly_the_length_suffices_and_any_smaller_one_overflows() {
        for body in [0, 80, 85, 90, 95, 900, 980, 985, 990, 995, 9_980, 9_995] {
            let value = vec![b'x'; body];
            let encode = |buffer: &mut [u8]| {
                let mut encoder = Encoder::begin(buffer, b"FIXT.1.1", b"AE");
                encoder.uint(34, 7).bytes(58, &value).timestamp(52, UtcTimestamp::default(), Precision::Nanos);
                encoder.finish()
            };
            let mut buffer = vec![0xff; 11_000];
            let length = encode(&mut buffer).unwrap();
            let Framing::Complete(frame) = frame(&buffer[..length], 11_000) else { panic!("body of {body}") };
            assert_eq!(frame.length as usize, length);
            let mut index = FieldIndex::with_capacity(9);
            let message = parse(&buffer[..length], &mut index).unwrap();
            assert_eq!(message.field(58).unwrap_or_default(), value);
            let whole = buffer[..length].to_vec();
            // A body of two digits needs room for three until it is finished: the length is known only then.
            let moved = usize::from(length - 7 - frame.body_offset as usize <= 99);
            assert_eq!(encode(&mut buffer[..length + moved]), Ok(length));
            assert_eq!(buffer[..length], whole);
            for shorter in (0..length.min(200)).chain(length - 20..length) {
                assert_eq!(encode(&mut buffer[..shorter]), Err(Overflow), "{shorter} of {length}");
            }
        }
    }

    #[test]
    fn what_fits_after_an_overflow_does_not_hide_it() {
        let mut buffer = [0; 60];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", b"0");
        encoder.bytes(58, &[b'x'; 100]).char(54, b'1');
        assert_eq!(encoder.finish(), Err(Overflow));
    }
}
