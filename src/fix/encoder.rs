//! Writes one message into the caller's buffer, BodyLength(9) and CheckSum(10) patched in at the end.

use std::fmt;

use super::data_fields::data_tag_of_length;
use super::value::{SecondText, ShortNumber, TIMESTAMP_BYTES_MAX, digit_count, put_digits, write_uint};
use super::{Decimal, Field, HeaderTemplate, Precision, SOH, UtcTimestamp, checksum, is_data_tag, tags, uint_of};

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
///
/// What of the buffer lies behind the message may have been written over.
#[derive(Debug)]
pub struct Encoder<'b> {
    buffer: &'b mut [u8],
    at: usize,
    /// Where BodyLength(9)'s digits begin.
    length_offset: usize,
    body_offset: usize,
    overflowed: bool,
    second: SecondText,
    /// Fields whose values are hidden, and the lowest tag of them.
    secret: &'b [u32],
    secret_from: u32,
    hidden: Hidden,
}

/// Values that an encoder wrote as stars.
#[derive(Default)]
pub struct Hidden {
    /// With the place of each: in the body while it is written, then in the message.
    values: Vec<(usize, Box<[u8]>)>,
}

impl Hidden {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Puts the values into the message where their stars are. CheckSum(10) is then another.
    pub fn put_back(&self, message: &mut [u8]) {
        for (offset, value) in &self.values {
            if let Some(stars) = message.get_mut(*offset..offset + value.len()) {
                stars.copy_from_slice(value);
            }
        }
    }
}

/// How many they are: they are not for the log.
impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hidden values", self.values.len())
    }
}

/// BodyLength(9) is written with as many digits as it needs; most messages need three, others are moved.
const LENGTH_DIGITS_EXPECTED: usize = 3;
/// What stands in their place until then, and what comes before and after it.
pub(super) const LENGTH_FIELD: &[u8; 6] = b"9=000\x01";
const LENGTH_DIGITS_OFFSET: usize = 2;

impl<'b> Encoder<'b> {
    pub fn begin(buffer: &'b mut [u8], begin_string: &[u8], msg_type: &[u8]) -> Self {
        let mut encoder = Self::at(buffer, 0, 0, SecondText::new());
        encoder.long(Name::of(tags::BEGIN_STRING), begin_string);
        encoder.length_offset = encoder.at + LENGTH_DIGITS_OFFSET;
        encoder.put(LENGTH_FIELD);
        encoder.body_offset = encoder.at;
        encoder.long(Name::of(tags::MSG_TYPE), msg_type);
        encoder
    }

    /// Begins a message with the whole header of a session: MsgType(35), MsgSeqNum(34), SendingTime(52), and what the template has.
    #[inline]
    pub fn begin_from(
        buffer: &'b mut [u8],
        template: &mut HeaderTemplate,
        msg_type: &[u8],
        msg_seq_num: u64,
        sending_time: UtcTimestamp,
    ) -> Self {
        template.set(msg_type, msg_seq_num, sending_time);
        let body_offset = template.body_offset();
        let length_offset = body_offset - LENGTH_FIELD.len() + LENGTH_DIGITS_OFFSET;
        let mut encoder = Self::at(buffer, length_offset, body_offset, template.second());
        encoder.put(template.bytes());
        encoder
    }

    #[inline(always)]
    fn at(buffer: &'b mut [u8], length_offset: usize, body_offset: usize, second: SecondText) -> Self {
        Self {
            buffer,
            at: 0,
            length_offset,
            body_offset,
            overflowed: false,
            second,
            secret: &[],
            secret_from: u32::MAX,
            hidden: Hidden::default(),
        }
    }

    /// From here on values of these fields are written as stars and kept beside the message, see [`Encoder::finish_hiding`]. The tags are
    /// in ascending order.
    #[inline]
    pub fn hide(&mut self, secret: &'b [u32]) {
        (self.secret, self.secret_from) = (secret, secret.first().copied().unwrap_or(u32::MAX));
    }

    /// Bytes exactly as given: whole fields, each with its delimiter.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if self.secret_from == u32::MAX { self.put(bytes) } else { self.raw_or_hidden(bytes) }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(room) = self.room(bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self
    }

    /// A field of any type whose bytes are at hand.
    #[inline(always)]
    pub fn bytes(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        debug_assert!(!value.contains(&SOH) || is_data_tag(tag), "a value of field {tag} contains the delimiter");
        if tag >= self.secret_from {
            return self.bytes_or_hidden(tag, value);
        }
        self.named_bytes(Name::of(tag), value)
    }

    /// A field of a message that was read, as it was: an empty value is kept, and so are delimiters
    /// in the data of a dictionary's own.
    pub fn received(&mut self, field: Field<'_>) -> &mut Self {
        if field.tag >= self.secret_from && !field.value.is_empty() {
            return self.bytes_or_hidden(field.tag, field.value);
        }
        self.long(Name::of(field.tag), field.value)
    }

    // Apart from the tag, which the caller mostly knows when it is compiled, as of all fields below.
    fn named_bytes(&mut self, name: Name, value: &[u8]) -> &mut Self {
        match value.len() {
            0 => self,
            1..=COPIED_BYTES_MAX => self.quick(name, value, |room, value| {
                copy(room, value);
                value.len()
            }),
            _ => self.long(name, value),
        }
    }

    #[inline(always)]
    pub fn uint(&mut self, tag: u32, number: u64) -> &mut Self {
        if tag >= self.secret_from {
            return self.uint_or_hidden(tag, number);
        }
        self.named_uint(Name::of(tag), number)
    }

    fn named_uint(&mut self, name: Name, number: u64) -> &mut Self {
        match ShortNumber::of(number) {
            Some(number) => self.quick(name, number, |room, number| {
                room[..ShortNumber::DIGITS_MAX].copy_from_slice(&number.last(number.count()));
                number.count()
            }),
            None => self.long_uint(name, number),
        }
    }

    #[cold]
    #[inline(never)]
    fn long_uint(&mut self, name: Name, number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let count = write_uint(&mut digits, number);
        self.long(name, &digits[..count])
    }

    #[inline]
    pub fn int(&mut self, tag: u32, number: i64) -> &mut Self {
        let (sign, magnitude) = (usize::from(number < 0), number.unsigned_abs());
        let mut text = [b'-'; 21];
        let count = digit_count(magnitude);
        put_digits(&mut text[sign..sign + count], magnitude);
        self.bytes(tag, &text[..sign + count])
    }

    #[inline(always)]
    pub fn char(&mut self, tag: u32, value: u8) -> &mut Self {
        debug_assert!(value != SOH, "the value of field {tag} is the delimiter");
        if tag >= self.secret_from {
            return self.bytes_or_hidden(tag, &[value]);
        }
        self.named_char(Name::of(tag), value)
    }

    fn named_char(&mut self, name: Name, value: u8) -> &mut Self {
        self.quick(name, value, |room, value| {
            room[0] = value;
            1
        })
    }

    #[inline(always)]
    pub fn bool(&mut self, tag: u32, value: bool) -> &mut Self {
        self.char(tag, if value { b'Y' } else { b'N' })
    }

    #[inline(always)]
    pub fn decimal(&mut self, tag: u32, value: Decimal) -> &mut Self {
        if tag >= self.secret_from {
            return self.decimal_or_hidden(tag, value);
        }
        self.named_decimal(Name::of(tag), value)
    }

    fn named_decimal(&mut self, name: Name, value: Decimal) -> &mut Self {
        self.quick(name, value, |room, value| value.write(room))
    }

    #[inline(always)]
    pub fn timestamp(&mut self, tag: u32, value: UtcTimestamp, precision: Precision) -> &mut Self {
        if tag >= self.secret_from {
            let text = *self.second.text(value, precision);
            return self.bytes_or_hidden(tag, &text[..precision.length()]);
        }
        self.named_timestamp(Name::of(tag), value, precision)
    }

    fn named_timestamp(&mut self, name: Name, value: UtcTimestamp, precision: Precision) -> &mut Self {
        let text = *self.second.text(value, precision);
        self.quick(name, text, |room, text| {
            room[..TIMESTAMP_BYTES_MAX].copy_from_slice(&text);
            precision.length()
        })
    }

    /// A data field with its length field before it. It may contain any bytes; where it has none, both are left out.
    pub fn data(&mut self, length_tag: u32, tag: u32, value: &[u8]) -> &mut Self {
        if value.is_empty() {
            return self;
        }
        self.uint(length_tag, value.len() as u64).bytes_or_hidden(tag, value)
    }

    /// Patches BodyLength(9), appends CheckSum(10) and answers the message's length, from the buffer's start.
    pub fn finish(mut self) -> Result<usize, Overflow> {
        self.end()
    }

    /// [`Encoder::finish`], with what was hidden.
    #[inline]
    pub fn finish_hiding(mut self, hidden: &mut Hidden) -> Result<usize, Overflow> {
        let length = self.end();
        if !self.hidden.is_empty() {
            *hidden = self.take_hidden();
        }
        length
    }

    #[cold]
    fn take_hidden(&mut self) -> Hidden {
        self.hidden.values.iter_mut().for_each(|(offset, _)| *offset += self.body_offset);
        std::mem::take(&mut self.hidden)
    }

    /// A field whose tag may be a secret one's.
    #[cold]
    #[inline(never)]
    fn bytes_or_hidden(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        if value.is_empty() {
            return self;
        }
        if !self.secret.contains(&tag) {
            return self.long(Name::of(tag), value);
        }
        self.long(Name::of(tag), &vec![b'*'; value.len()]);
        if !self.overflowed {
            let offset = self.at - 1 - value.len() - self.body_offset;
            self.hidden.values.push((offset, value.into()));
        }
        self
    }

    #[cold]
    #[inline(never)]
    fn uint_or_hidden(&mut self, tag: u32, number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let count = write_uint(&mut digits, number);
        self.bytes_or_hidden(tag, &digits[..count])
    }

    #[cold]
    #[inline(never)]
    fn decimal_or_hidden(&mut self, tag: u32, value: Decimal) -> &mut Self {
        let mut room = [0; VALUE_BYTES_MAX];
        let length = value.write(&mut room);
        self.bytes_or_hidden(tag, &room[..length])
    }

    #[cold]
    #[inline(never)]
    fn raw_or_hidden(&mut self, bytes: &[u8]) -> &mut Self {
        let (mut rest, mut data) = (bytes, None);
        while let Some(equals) = rest.iter().position(|byte| *byte == b'=') {
            let tag = uint_of(&rest[..equals]).and_then(|tag| u32::try_from(tag).ok()).unwrap_or_default();
            let value = &rest[equals + 1..];
            let stop = match data.take() {
                Some((data_tag, length)) if data_tag == tag && value.get(length) == Some(&SOH) => Some(length),
                _ => value.iter().position(|byte| *byte == SOH),
            };
            let Some(stop) = stop else { break };
            if self.secret.contains(&tag) {
                self.bytes_or_hidden(tag, &value[..stop]);
            } else {
                self.put(&rest[..equals + 1 + stop + 1]);
            }
            let length = uint_of(&value[..stop]).and_then(|length| usize::try_from(length).ok());
            data = data_tag_of_length(tag).zip(length);
            rest = &value[stop + 1..];
        }
        self.put(rest)
    }

    fn end(&mut self) -> Result<usize, Overflow> {
        if self.overflowed {
            return Err(Overflow);
        }
        let body_length = self.at - self.body_offset;
        if let 100..1_000 = body_length
            && let Some(places) = self.buffer.get_mut(self.length_offset..self.length_offset + LENGTH_DIGITS_EXPECTED)
        {
            put_digits(places, body_length as u64);
        } else {
            self.move_body(body_length)?;
        }
        let sum = checksum(&self.buffer[..self.at]);
        self.put(&[b'1', b'0', b'=', b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10, SOH]);
        if self.overflowed { Err(Overflow) } else { Ok(self.at) }
    }

    /// Makes as much room for BodyLength(9) as it needs, and fills it.
    #[cold]
    fn move_body(&mut self, body_length: usize) -> Result<(), Overflow> {
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
        Ok(())
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

    /// One field whose value `write` puts at the front of more room than it needs, so that it need not count before it writes; it
    /// answers the value's length. One look at the buffer's end a field; near it the value is written elsewhere and copied.
    #[inline(always)]
    fn quick<T>(&mut self, name: Name, value: T, write: impl Fn(&mut [u8; VALUE_BYTES_MAX], T) -> usize) -> &mut Self {
        if let Some(room) = self.buffer[self.at..].first_chunk_mut::<FIELD_BYTES_MAX>()
            && let front @ 1..=SHORT_NAME_BYTES_MAX = name.length
        {
            // What is behind the name in its word is written over by the value.
            room[..SHORT_NAME_BYTES_MAX].copy_from_slice(&name.text.to_le_bytes());
            let Some(value_room) = room[front..].first_chunk_mut() else { return self };
            let end = front + write(value_room, value).min(VALUE_BYTES_MAX);
            room[end] = SOH;
            self.at += end + 1;
            return self;
        }
        let mut room = [0; VALUE_BYTES_MAX];
        let length = write(&mut room, value);
        self.long(name, &room[..length])
    }

    /// One field of any length, with no byte behind it touched.
    #[inline(never)]
    fn long(&mut self, name: Name, value: &[u8]) -> &mut Self {
        let mut digits = [0; 20];
        let short = name.text.to_le_bytes();
        let name = match name.length {
            length @ 1..=SHORT_NAME_BYTES_MAX => &short[..length],
            _ => {
                let count = write_uint(&mut digits, name.text);
                digits[count] = b'=';
                &digits[..=count]
            }
        };
        if let Some(room) = self.room(name.len() + value.len() + 1)
            && let Some((head, rest)) = room.split_at_mut_checked(name.len())
            && let [value_room @ .., end] = rest
        {
            head.copy_from_slice(name);
            value_room.copy_from_slice(value);
            *end = SOH;
        }
        self
    }
}

/// The longest value that [`Encoder::quick`] writes, a decimal.
const VALUE_BYTES_MAX: usize = 40;
const SHORT_NAME_BYTES_MAX: usize = 8;
const FIELD_BYTES_MAX: usize = SHORT_NAME_BYTES_MAX + VALUE_BYTES_MAX + 16;
/// Of a value that is copied without a call of the C library.
const COPIED_BYTES_MAX: usize = 32;
const _: () = assert!(COPIED_BYTES_MAX <= VALUE_BYTES_MAX);

/// A tag and its `=` as one word, which is a constant where the tag is. A tag of more than seven digits, which nobody has, is its
/// number, with a length of 0.
#[derive(Clone, Copy)]
struct Name {
    text: u64,
    length: usize,
}

impl Name {
    #[inline(always)]
    fn of(tag: u32) -> Self {
        if tag >= 10_000_000 {
            return Self { text: u64::from(tag), length: 0 };
        }
        let (mut text, mut length, mut rest) = (u64::from(b'='), 1, tag);
        loop {
            text = text << 8 | u64::from(b'0' + (rest % 10) as u8);
            length += 1;
            rest /= 10;
            if rest == 0 {
                return Self { text, length };
            }
        }
    }
}

/// Most values are shorter than what a call of the C library is worth: two words that may overlap are enough for them.
#[inline(always)]
fn copy(room: &mut [u8; VALUE_BYTES_MAX], value: &[u8]) {
    match value.len() {
        4..8 => copy_two::<4>(room, value),
        8..=16 => copy_two::<8>(room, value),
        17..=32 => copy_two::<16>(room, value),
        _ => {
            for (place, byte) in room.iter_mut().zip(value).take(3) {
                *place = *byte;
            }
        }
    }
}

#[inline(always)]
fn copy_two<const BYTES: usize>(room: &mut [u8; VALUE_BYTES_MAX], value: &[u8]) {
    if let (Some(front), Some(back)) = (value.first_chunk::<BYTES>(), value.last_chunk::<BYTES>()) {
        let back_offset = (value.len() - BYTES).min(VALUE_BYTES_MAX - BYTES);
        room[..BYTES].copy_from_slice(front);
        room[back_offset..][..BYTES].copy_from_slice(back);
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
