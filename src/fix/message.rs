//! A framed message, indexed in place: where each field's value lies, in the order of the wire.

use crate::sys::simd::ShortKeySet;
pub(crate) use crate::sys::simd::Span;

use super::data_fields::{DataFields, LENGTH_TAGS_OF_THREE_DIGITS, data_tag_of_length, is_length_tag};
use super::delimiters::{TAGS_A_STEP, position_of_tag};
use super::{Decimal, SOH, UtcTimestamp, bool_of, char_of, int_of, tags, uint_of};
use crate::sys::simd::{KEYS_A_STEP, Positions, SCAN_BYTES, positions, short_keys};

/// One field. The value borrows from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub tag: u32,
    pub value: &'a [u8],
}

/// The reusable memory of [`parse`]: one a worker, made at start.
///
/// Tags lie apart from the places of the values, because a look-up compares many tags and reads one place.
#[derive(Debug)]
pub struct FieldIndex {
    /// What lies beyond the fields of the latest message is of earlier ones.
    tags: Box<[u32]>,
    spans: Box<[Span]>,
    fields_max: usize,
    /// Of the delimiters of a part of the message.
    ends: Box<Positions>,
}

impl FieldIndex {
    pub fn with_capacity(fields_max: u32) -> Self {
        let fields_max = fields_max as usize;
        // A step of either kind may begin with the last field.
        let places = fields_max.next_multiple_of(TAGS_A_STEP) + KEYS_A_STEP;
        Self {
            tags: vec![0; places].into(),
            spans: vec![Span::default(); places].into(),
            fields_max,
            ends: Box::new([0; size_of::<Positions>() / size_of::<u32>()]),
        }
    }
}

/// Why a framed message cannot be read as fields. The peer's fault; the session answers with a Reject(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A tag is not a positive number of up to nine digits without leading zeros, or its `=` or the delimiter at the
    /// field's end is missing.
    InvalidTag { offset: u32 },
    /// The data field's length field is not a number, or no delimiter stands where it says that the data ends.
    DataLength { tag: u32 },
    /// More fields than the index holds.
    TooManyFields { fields_max: u32 },
}

/// A framed message and the index of its fields.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// At least as many as spans; what lies beyond them is rounding, for [`position_of_tag`].
    tags: &'a [u32],
    spans: &'a [Span],
}

/// Indexes the fields of one whole message, as [`super::frame`] found it.
///
/// Any other bytes are safe too: they are an error, or a message that lacks what framing makes sure of. Empty values
/// are kept (a session-level Reject names them); a data field that follows its length field may contain the delimiter.
pub fn parse<'a>(bytes: &'a [u8], index: &'a mut FieldIndex) -> Result<Message<'a>, ParseError> {
    let count = index.fill(bytes, &Standard)?;
    Ok(index.message(bytes, count))
}

/// [`parse`], by a dictionary's own data fields too.
#[inline]
pub fn parse_by<'a>(
    bytes: &'a [u8],
    index: &'a mut FieldIndex,
    own: Option<&DataFields>,
) -> Result<Message<'a>, ParseError> {
    match own {
        None => parse(bytes, index),
        Some(own) => parse_by_own(bytes, index, own),
    }
}

#[cold]
#[inline(never)]
fn parse_by_own<'a>(bytes: &'a [u8], index: &'a mut FieldIndex, own: &DataFields) -> Result<Message<'a>, ParseError> {
    let count = index.fill(bytes, own)?;
    Ok(index.message(bytes, count))
}

/// Which fields announce data. The reader is compiled for each, so that the standard's pays nothing
/// for the other.
trait Announcers {
    fn short_keys(&self) -> &'static ShortKeySet;
    fn is_length_tag(&self, tag: u32) -> bool;
    fn announces(&self, length_tag: u32, data_tag: u32) -> bool;
}

struct Standard;

impl Announcers for Standard {
    #[inline(always)]
    fn short_keys(&self) -> &'static ShortKeySet {
        &LENGTH_TAGS_OF_THREE_DIGITS
    }

    #[inline(always)]
    fn is_length_tag(&self, tag: u32) -> bool {
        is_length_tag(tag)
    }

    #[inline(always)]
    fn announces(&self, length_tag: u32, data_tag: u32) -> bool {
        data_tag_of_length(length_tag) == Some(data_tag)
    }
}

/// The standard's and its own.
impl Announcers for DataFields {
    fn short_keys(&self) -> &'static ShortKeySet {
        DataFields::short_keys(self)
    }

    fn is_length_tag(&self, tag: u32) -> bool {
        is_length_tag(tag) || self.has_length_tag(tag)
    }

    fn announces(&self, length_tag: u32, data_tag: u32) -> bool {
        data_tag_of_length(length_tag) == Some(data_tag) || self.has(length_tag, data_tag)
    }
}

/// The value of the first field with `tag` in bytes that [`parse`] refused, so that a Reject(3) can name MsgSeqNum(34)
/// and MsgType(35). It reads from delimiter to delimiter and knows nothing of data fields.
pub fn raw_field(bytes: &[u8], tag: u32) -> Option<&[u8]> {
    bytes.split(|byte| *byte == SOH).find_map(|field| {
        let (found, value_offset) = tag_at(field, 0).ok()?;
        (found == tag).then(|| &field[value_offset..])
    })
}

impl FieldIndex {
    fn message<'a>(&'a self, bytes: &'a [u8], count: usize) -> Message<'a> {
        Message { bytes, tags: &self.tags[..count.next_multiple_of(TAGS_A_STEP)], spans: &self.spans[..count] }
    }

    /// Indexes all fields; answers how many they are.
    ///
    /// Delimiters are looked for in one part of the message after the other, and then the tags before them are read. So
    /// what follows a data field, whose delimiters are none, is looked at twice, but no more of it than a part.
    fn fill(&mut self, bytes: &[u8], announcers: &impl Announcers) -> Result<usize, ParseError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(ParseError::InvalidTag { offset: u32::MAX });
        }
        let Self { tags, spans, fields_max, ends } = self;
        // Of the next field, and of what has not been looked at.
        let (mut count, mut start, mut scanned) = (0, 0, 0);
        while scanned < bytes.len() {
            ends[0] = (start as u32).wrapping_sub(1);
            let found = positions(bytes, scanned, SOH, ends);
            scanned = bytes.len().min(scanned + SCAN_BYTES);
            let taken = found.min(*fields_max - count);
            let mut stop = Ok(None);
            let (free_tags, free_spans) = (&mut tags[count..], &mut spans[count..]);
            let read = short_keys(bytes, ends, taken, free_tags, free_spans, announcers.short_keys(), &mut |number| {
                let (start, end) = (ends[number].wrapping_add(1), ends[number + 1]);
                let (start, end) = (start as usize, end as usize);
                match field_at(bytes, start, end, announcers) {
                    Ok((tag, offset, data_end)) => {
                        let field = (tag, Span { offset: offset as u32, end: end as u32 });
                        let Some(data_end) = data_end else { return Some(field) };
                        stop = Ok(Some((field, data_end)));
                    }
                    Err(error) => stop = Err(error),
                }
                None
            });
            count += read;
            if let Some(((tag, span), data_end)) = stop? {
                // The delimiters in the data are none.
                (tags[count], spans[count]) = (tag, span);
                count += 1;
                (start, scanned) = (span.end as usize + 1, data_end);
            } else if taken < found {
                field_at(bytes, ends[taken].wrapping_add(1) as usize, ends[taken + 1] as usize, announcers)?;
                return Err(ParseError::TooManyFields { fields_max: *fields_max as u32 });
            } else {
                start = ends[found].wrapping_add(1) as usize;
            }
        }
        if start == bytes.len() { Ok(count) } else { Err(ParseError::InvalidTag { offset: start as u32 }) }
    }
}

/// The tag of the field from `start` to `end`, where its value begins, and where the data field behind it ends if it announces
/// one.
#[inline]
fn field_at(
    bytes: &[u8],
    start: usize,
    end: usize,
    announcers: &impl Announcers,
) -> Result<(u32, usize, Option<usize>), ParseError> {
    let (tag, offset) = match short_number_at(bytes, start, b'=') {
        Some(found) => found,
        None => tag_at(bytes, start)?,
    };
    let data_end = match announcers.is_length_tag(tag) {
        true => data_end(bytes, tag, &bytes[offset..end], end + 1, announcers)?,
        false => None,
    };
    Ok((tag, offset, data_end))
}

/// Where the field at `start` ends, if it is the data field that `length_tag` announces.
#[cold]
#[inline(never)]
fn data_end(
    bytes: &[u8],
    length_tag: u32,
    length: &[u8],
    start: usize,
    announcers: &impl Announcers,
) -> Result<Option<usize>, ParseError> {
    let Ok((tag, offset)) = tag_at(bytes, start) else {
        return Ok(None);
    };
    if !announcers.announces(length_tag, tag) {
        // A length without its data is a fault of the message, not of its syntax.
        return Ok(None);
    }
    let end = uint_of(length)
        .and_then(|length| usize::try_from(length).ok())
        .and_then(|length| offset.checked_add(length))
        .filter(|end| bytes.get(*end) == Some(&SOH))
        .ok_or(ParseError::DataLength { tag })?;
    Ok(Some(end))
}

const TAG_DIGITS_MAX: usize = 9;

/// The number at `start` and what comes behind `terminator`, where the number has at most four digits, no zero before them, and
/// eight bytes can be read at once. `None` is for a slower reader to decide.
#[inline(always)]
pub(super) fn short_number_at(bytes: &[u8], start: usize, terminator: u8) -> Option<(u32, usize)> {
    const ONES: u32 = 0x0101_0101;
    let text = u64::from_le_bytes(*bytes.get(start..)?.first_chunk()?);
    // The digits after the first as numbers, and a bit at the first terminator among the bytes that follow.
    let tail = (text >> 8) as u32;
    let difference = tail ^ (u32::from(terminator) * ONES);
    let terminators = difference.wrapping_sub(ONES) & !difference & (0x80 * ONES);
    if terminators == 0 {
        return None;
    }
    // Eight times the number of digits after the first.
    let tail_bits = terminators.trailing_zeros() & 24;
    // Digits as numbers 0 to 9, the last one in the top byte, zeros below the first.
    let digits = (text as u32 ^ (u32::from(b'0') * ONES)) << (24 - tail_bits);
    // A byte's top bit for each that is more than 9. A carry out of a byte comes only from one that has it anyway.
    let not_digits = (digits.wrapping_add(0x76 * ONES) | digits) & (0x80 * ONES);
    if not_digits != 0 || text as u8 == b'0' {
        return None;
    }
    // Pairs, then all four, each in the top part of its lane.
    let pairs = (digits.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff;
    let number = pairs.wrapping_mul(100 << 16 | 1) >> 16;
    Some((number, start + tail_bits as usize / 8 + 2))
}

/// The tag at `start` and where its value begins, byte by byte.
#[cold]
fn tag_at(bytes: &[u8], start: usize) -> Result<(u32, usize), ParseError> {
    let mut tag = 0u32;
    for (digits, byte) in bytes.iter().skip(start).take(TAG_DIGITS_MAX + 1).enumerate() {
        match byte {
            b'0' if digits == 0 => break,
            b'0'..=b'9' if digits < TAG_DIGITS_MAX => tag = tag * 10 + u32::from(byte - b'0'),
            b'=' if digits > 0 => return Ok((tag, start + digits + 1)),
            _ => break,
        }
    }
    Err(ParseError::InvalidTag { offset: start as u32 })
}

impl<'a> Message<'a> {
    /// The message as it came, `8=` to the last delimiter.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + ExactSizeIterator + Clone + use<'a> {
        fields_of(self.bytes, self.tags, self.spans)
    }

    /// Tags and places of the values, in the order of the wire and of one length, for a pass that need not look at each
    /// value.
    #[inline]
    pub(crate) fn tags_and_spans(&self) -> (&'a [u32], &'a [Span]) {
        (&self.tags[..self.spans.len()], self.spans)
    }

    /// The first field with `tag`.
    #[inline]
    pub fn field(&self, tag: u32) -> Option<&'a [u8]> {
        // A place beyond the spans is of an earlier message.
        let span = self.spans.get(position_of_tag(self.tags, tag)?)?;
        Some(value_of(self.bytes, *span))
    }

    /// MsgType(35). Framing has made sure that it is there.
    pub fn msg_type(&self) -> &'a [u8] {
        match (self.tags, self.spans) {
            // It is always the third field of a message that was framed.
            ([tags::BEGIN_STRING, tags::BODY_LENGTH, tags::MSG_TYPE, ..], [_, _, span, ..]) => {
                value_of(self.bytes, *span)
            }
            _ => self.field(tags::MSG_TYPE).unwrap_or_default(),
        }
    }

    /// A non-negative number, such as MsgSeqNum(34): `None` where absent, `Some(None)` where not a number.
    pub fn uint(&self, tag: u32) -> Option<Option<u64>> {
        self.field(tag).map(uint_of)
    }

    /// A number that may be negative: `None` where absent, `Some(None)` where not a number.
    pub fn int(&self, tag: u32) -> Option<Option<i64>> {
        self.field(tag).map(int_of)
    }

    /// One character: `None` where absent, `Some(None)` where not exactly one.
    pub fn char(&self, tag: u32) -> Option<Option<u8>> {
        self.field(tag).map(char_of)
    }

    /// A price, quantity or amount: `None` where absent, `Some(None)` where malformed.
    pub fn decimal(&self, tag: u32) -> Option<Option<Decimal>> {
        self.field(tag).map(Decimal::parse)
    }

    /// True where the field is there and `Y`.
    pub fn flag(&self, tag: u32) -> bool {
        self.field(tag).and_then(bool_of).unwrap_or(false)
    }

    /// A UTCTimestamp: `None` where absent, `Some(None)` where malformed.
    pub fn timestamp(&self, tag: u32) -> Option<Option<UtcTimestamp>> {
        self.field(tag).map(UtcTimestamp::parse)
    }

    /// The instances of a repeating group, split at each occurrence of `delimiter`, its first field. The last
    /// instance reaches to the message's end: what follows the group is for the reader to leave alone.
    /// `None` where `count_tag` is absent or not a number.
    pub fn groups(&self, count_tag: u32, delimiter: u32) -> Option<Groups<'a>> {
        Groups::within(self.bytes, &self.tags[..self.spans.len()], self.spans, count_tag, delimiter)
    }
}

fn fields_of<'a>(
    bytes: &'a [u8],
    tags: &'a [u32],
    spans: &'a [Span],
) -> impl DoubleEndedIterator<Item = Field<'a>> + ExactSizeIterator + Clone + use<'a> {
    let tags = &tags[..spans.len()];
    tags.iter().zip(spans).map(move |(tag, span)| Field { tag: *tag, value: value_of(bytes, *span) })
}

#[inline(always)]
fn value_of(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.offset as usize..span.end as usize]
}

/// Iterates over a repeating group. Yields fewer instances than the count field says if the message holds fewer.
#[derive(Clone, Debug)]
pub struct Groups<'a> {
    bytes: &'a [u8],
    tags: &'a [u32],
    spans: &'a [Span],
    delimiter: u32,
    remaining: u64,
}

/// One instance of a repeating group.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    bytes: &'a [u8],
    tags: &'a [u32],
    spans: &'a [Span],
}

impl<'a> Groups<'a> {
    fn within(bytes: &'a [u8], tags: &'a [u32], spans: &'a [Span], count_tag: u32, delimiter: u32) -> Option<Self> {
        let at = position_of_tag(tags, count_tag)?;
        let remaining = uint_of(value_of(bytes, spans[at]))?;
        Some(Self { bytes, tags: &tags[at + 1..], spans: &spans[at + 1..], delimiter, remaining })
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        // The count is the peer's word: the fields that are there bound the loop as well.
        if self.remaining == 0 || *self.tags.first()? != self.delimiter {
            return None;
        }
        self.remaining -= 1;
        let end = position_of_tag(&self.tags[1..], self.delimiter).map_or(self.tags.len(), |at| at + 1);
        let (tags, tags_left) = self.tags.split_at(end);
        let (spans, spans_left) = self.spans.split_at(end);
        (self.tags, self.spans) = (tags_left, spans_left);
        Some(Group { bytes: self.bytes, tags, spans })
    }
}

impl<'a> Group<'a> {
    pub fn field(&self, tag: u32) -> Option<&'a [u8]> {
        position_of_tag(self.tags, tag).map(|at| value_of(self.bytes, self.spans[at]))
    }

    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + ExactSizeIterator + Clone + use<'a> {
        fields_of(self.bytes, self.tags, self.spans)
    }

    /// The instances of a group nested in this one, as [`Message::groups`] gives those of an outermost group.
    pub fn groups(&self, count_tag: u32, delimiter: u32) -> Option<Groups<'a>> {
        Groups::within(self.bytes, self.tags, self.spans, count_tag, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> FieldIndex {
        FieldIndex::with_capacity(32)
    }

    fn bytes(text: &str) -> Vec<u8> {
        text.replace('|', "\x01").into_bytes()
    }

    fn fields_by(text: &str, own: &[(u32, u32)]) -> Result<Vec<(u32, String)>, ParseError> {
        let (bytes, mut index) = (bytes(text), index());
        let own = DataFields::new(own.iter().copied());
        let message = parse_by(&bytes, &mut index, Some(&own))?;
        Ok(message
            .fields()
            .map(|field| (field.tag, String::from_utf8_lossy(field.value).replace('\x01', "|")))
            .collect())
    }

    #[test]
    fn a_dictionarys_own_data_field_may_hold_the_delimiter_wherever_it_stands() {
        let before = "8=FIX.4.4|9=1|35=D|34=2|49=A|56=B|52=t|11=i|55=X|54=1|38=1|40=1|";
        for (length_tag, data_tag) in [(5001, 5002), (20_001, 20_000), (100_000_001, 7), (77, 78), (501, 502), (9, 35)]
        {
            let own = [(length_tag, data_tag)];
            for data in ["", "a", "|", "a|b=c|10=000|d", "|||||||||||||||||||||||||||||||||||||||||"] {
                let field = format!("{length_tag}={}|{data_tag}={data}|", data.len());
                let text = format!("8=FIX.4.4|{field}{before}{field}58=x|95=3|96=|=||10=000|");
                let found = fields_by(&text, &own).unwrap_or_else(|error| panic!("{error:?}: {text}"));
                let of_tag = found.iter().filter(|(tag, value)| *tag == data_tag && value == data).count();
                assert!(of_tag >= 2, "{text}: {found:?}");
                assert!(found.contains(&(96, "|=|".into())), "the standard's pairs count too: {found:?}");
                assert_eq!(found.last(), Some(&(10, "000".into())));
            }
        }
        // Without the pair the delimiter ends the field, and behind another field a length
        // announces nothing.
        assert_eq!(fields("5001=3|5002=a|b|"), Err(ParseError::InvalidTag { offset: 14 }));
        assert_eq!(fields_by("5001=3|58=x|5002=a|7=b|", &[(5001, 5002)]).unwrap().len(), 4);
    }

    #[test]
    fn a_hostile_length_is_an_error_of_its_data_field_and_reads_nothing_beyond_the_message() {
        for length in
            ["4", "2", "-1", "+3", "3.0", "", "x", "4294967295", "18446744073709551615", "99999999999999999999999"]
        {
            let text = format!("5001={length}|5002=a|b|10=000|");
            assert_eq!(fields_by(&text, &[(5001, 5002)]), Err(ParseError::DataLength { tag: 5002 }), "{text}");
        }
        // It may hide what follows, but only up to the message's end.
        let hidden = fields_by("5001=10|5002=a|b|10=000|", &[(5001, 5002)]).unwrap();
        assert_eq!(hidden, [(5001, "10".into()), (5002, "a|b|10=000".into())]);
    }

    #[test]
    fn a_length_field_may_announce_one_of_several_data_fields() {
        let own = [(5001, 5002), (5001, 5003)];
        for data_tag in [5002, 5003] {
            let found = fields_by(&format!("5001=3|{data_tag}=a|b|10=000|"), &own).unwrap();
            assert_eq!(found[1], (data_tag, "a|b".into()));
        }
    }

    fn fields(text: &str) -> Result<Vec<(u32, String)>, ParseError> {
        let (bytes, mut index) = (bytes(text), index());
        let message = parse(&bytes, &mut index)?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).replace('\x01', "|");
        Ok(message.fields().map(|field| (field.tag, text(field.value))).collect())
    }

    fn pair(tag: u32, value: &str) -> (u32, String) {
        (tag, value.to_owned())
    }

    #[test]
    fn fields_keep_the_order_of_the_wire_and_empty_values_are_kept() {
        assert_eq!(
            fields("8=FIX.4.4|58=|1128=9|123456789=x|10=000|"),
            Ok(vec![pair(8, "FIX.4.4"), pair(58, ""), pair(1128, "9"), pair(123_456_789, "x"), pair(10, "000")])
        );
        assert_eq!(fields(""), Ok(vec![]));
    }

    #[test]
    fn a_tag_is_a_positive_number_without_leading_zeros() {
        for field in
            ["=x", "0=x", "01=x", "x=1", "1x=1", "-1=x", "+1=x", " 1=x", "1 =x", "1234567890=x", "5", ":=1", "/=1"]
        {
            for tail in ["|10=000|", "|"] {
                let text = format!("8=F|{field}{tail}");
                assert_eq!(fields(&text), Err(ParseError::InvalidTag { offset: 4 }), "{text}");
            }
        }
        let mut text = bytes("8=F|1\u{b1}=x|10=000|");
        text[5] = 0xb1;
        assert!(parse(&text, &mut index()).is_err());
    }

    #[test]
    fn a_last_field_without_its_delimiter_is_refused() {
        assert_eq!(fields("8=F|35=0|10=1"), Err(ParseError::InvalidTag { offset: 9 }));
        assert_eq!(fields("8=F"), Err(ParseError::InvalidTag { offset: 0 }));
    }

    #[test]
    fn every_tag_is_read_alike_at_the_end_and_before_it() {
        for tag in (1..100_000).chain([999_999, 9_999_999, 10_000_000, 999_999_999]) {
            let text = format!("{tag}=\x01{tag}=some value\x01{tag}=\x01");
            let mut index = index();
            let message = parse(text.as_bytes(), &mut index).unwrap();
            assert!(message.fields().all(|field| field.tag == tag) && message.fields().len() == 3);
        }
    }

    #[test]
    fn a_data_field_may_contain_delimiters_and_whole_fields() {
        assert_eq!(
            fields("8=F|95=9|96=a|10=999||58=x|10=000|"),
            Ok(vec![pair(8, "F"), pair(95, "9"), pair(96, "a|10=999|"), pair(58, "x"), pair(10, "000")])
        );
        let long = "|".repeat(150);
        assert_eq!(
            fields(&format!("8=F|95=150|96={long}|58=x|10=000|")).unwrap()[2..],
            [pair(96, &long), pair(58, "x"), pair(10, "000")]
        );
        assert_eq!(fields("8=F|95=0|96=|").unwrap()[2], pair(96, ""));
        assert_eq!(fields("8=F|95=2|96=|||").unwrap()[2], pair(96, "||"));
    }

    #[test]
    fn a_data_field_that_does_not_end_where_its_length_says_is_refused() {
        for length in ["0", "2", "4", "5", "99", "", "x", "-3", "18446744073709551615", "99999999999999999999"] {
            let text = format!("8=F|95={length}|96=abc|58=x|");
            assert_eq!(fields(&text), Err(ParseError::DataLength { tag: 96 }), "{text}");
        }
    }

    #[test]
    fn a_length_without_its_data_is_an_ordinary_field() {
        assert_eq!(fields("8=F|95=99|58=x|").unwrap()[1..], [pair(95, "99"), pair(58, "x")]);
        assert_eq!(fields("8=F|95=99|").unwrap()[1..], [pair(95, "99")]);
        assert_eq!(fields("8=F|95=99|junk|"), Err(ParseError::InvalidTag { offset: 10 }));
    }

    #[test]
    fn an_index_holds_as_many_fields_as_it_was_made_for() {
        for fields_max in [0, 1, 15, 16, 17] {
            let mut index = FieldIndex::with_capacity(fields_max);
            let fields = |count: u32| "1=x\x01".repeat(count as usize).into_bytes();
            assert_eq!(parse(&fields(fields_max), &mut index).unwrap().fields().len(), fields_max as usize);
            let error = parse(&fields(fields_max + 1), &mut index).unwrap_err();
            assert_eq!(error, ParseError::TooManyFields { fields_max });
        }
        let mut index = FieldIndex::with_capacity(2);
        let data = bytes("8=F|95=1|96=x|");
        assert_eq!(parse(&data, &mut index).unwrap_err(), ParseError::TooManyFields { fields_max: 2 });
    }

    #[test]
    fn a_look_up_never_sees_an_earlier_message() {
        let mut index = index();
        let (long, short) = (bytes("8=F|9=5|35=D|58=old|55=X|"), bytes("8=F|9=5|35=0|"));
        assert_eq!(parse(&long, &mut index).unwrap().field(58), Some(&b"old"[..]));
        let message = parse(&short, &mut index).unwrap();
        assert_eq!((message.field(58), message.field(0), message.msg_type()), (None, None, &b"0"[..]));
        assert_eq!(message.groups(58, 55).map(Iterator::count), None);
    }

    #[test]
    fn the_first_of_two_fields_with_one_tag_is_answered() {
        let (text, mut index) = (bytes("8=F|58=a|58=b|"), index());
        assert_eq!(parse(&text, &mut index).unwrap().field(58), Some(&b"a"[..]));
    }

    #[test]
    fn typed_look_ups_tell_absent_from_malformed() {
        let (text, mut index) = (bytes("34=7|108=-3|54=1|44=1.50|43=Y|97=N|52=20260101-00:00:00|45=x|"), index());
        let message = parse(&text, &mut index).unwrap();
        assert_eq!((message.uint(34), message.uint(45), message.uint(46)), (Some(Some(7)), Some(None), None));
        assert_eq!((message.int(108), message.int(45), message.int(46)), (Some(Some(-3)), Some(None), None));
        assert_eq!((message.char(54), message.char(44), message.char(46)), (Some(Some(b'1')), Some(None), None));
        assert_eq!(message.decimal(44), Some(Some(Decimal::new(150, 2))));
        assert_eq!((message.decimal(45), message.decimal(46)), (Some(None), None));
        assert_eq!(
            (message.flag(43), message.flag(97), message.flag(45), message.flag(46)),
            (true, false, false, false)
        );
        assert!(message.timestamp(52).unwrap().is_some());
        assert_eq!((message.timestamp(45), message.timestamp(46)), (Some(None), None));
    }

    #[test]
    fn groups_are_split_at_their_first_field_and_may_be_nested() {
        let text = bytes("35=D|453=2|448=A|452=1|802=2|523=a|803=1|523=b|448=B|802=1|523=c|55=X|10=000|");
        let mut index = index();
        let message = parse(&text, &mut index).unwrap();
        let parties: Vec<Group<'_>> = message.groups(453, 448).unwrap().collect();
        assert_eq!(parties.len(), 2);
        assert_eq!(parties[0].field(448), Some(&b"A"[..]));
        assert_eq!(parties[0].fields().len(), 6);
        let subs = |party: &Group<'_>| -> Vec<Vec<u8>> {
            let subs = party.groups(802, 523).unwrap();
            subs.map(|sub| sub.field(523).unwrap().to_vec()).collect()
        };
        assert_eq!(subs(&parties[0]), [b"a", b"b"]);
        assert_eq!(subs(&parties[1]), [b"c"]);
        assert!(parties[1].field(452).is_none());
        assert!(message.groups(999, 448).is_none());
        assert!(message.groups(55, 448).is_none(), "X is not a count");
    }

    #[test]
    fn a_hostile_count_yields_what_is_there_and_no_more() {
        let mut index = index();
        let text = bytes("453=9999999999999999999|448=A|448=B|");
        assert_eq!(parse(&text, &mut index).unwrap().groups(453, 448).unwrap().count(), 2);
        let text = bytes("453=5|55=X|448=A|");
        assert_eq!(parse(&text, &mut index).unwrap().groups(453, 448).unwrap().count(), 0);
        let text = bytes("448=A|453=5|");
        assert_eq!(parse(&text, &mut index).unwrap().groups(453, 448).unwrap().count(), 0);
        let text = bytes("453=1|448=A|448=B|");
        let message = parse(&text, &mut index).unwrap();
        assert_eq!(message.groups(453, 448).unwrap().map(|party| party.fields().len()).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_raw_look_up_works_where_parsing_does_not() {
        let text = bytes("8=FIX.4.4|9=5|35=D|x=|34=12|=|58=|34=13|10=0");
        assert!(parse(&text, &mut index()).is_err());
        assert_eq!(raw_field(&text, 35), Some(&b"D"[..]));
        assert_eq!(raw_field(&text, 34), Some(&b"12"[..]));
        assert_eq!(raw_field(&text, 58), Some(&b""[..]));
        assert_eq!(raw_field(&text, 10), Some(&b"0"[..]));
        assert_eq!(raw_field(&text, 11), None);
        assert_eq!(raw_field(b"", 35), None);
    }
}
