//! A framed message, indexed in place: where each field's value lies, in the order of the wire.

use super::{SOH, UtcTimestamp, bool_of, tags, uint_of};

/// One field. The value borrows from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub tag: u32,
    pub value: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    tag: u32,
    offset: u32,
    length: u32,
}

/// The reusable memory of [`parse`]: one a worker, made at start.
#[derive(Debug)]
pub struct FieldIndex {
    entries: Vec<Entry>,
    fields_max: usize,
}

impl FieldIndex {
    pub fn with_capacity(fields_max: u32) -> Self {
        Self { entries: Vec::with_capacity(fields_max as usize), fields_max: fields_max as usize }
    }
}

/// Why a framed message cannot be read as fields. The peer's fault; the session answers with a Reject(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A tag is not a positive number without leading zeros, or its `=` is missing.
    InvalidTag { offset: u32 },
    /// A data field is shorter than its length field says, or not ended by a delimiter there.
    DataLength { tag: u32 },
    /// More fields than the index holds.
    TooManyFields { fields_max: u32 },
}

/// A framed message and the index of its fields.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    entries: &'a [Entry],
}

/// Indexes the fields of one whole message, as [`super::frame`] found it.
///
/// Empty values are kept (a session-level Reject names them); data fields may contain the delimiter.
pub fn parse<'a>(bytes: &'a [u8], index: &'a mut FieldIndex) -> Result<Message<'a>, ParseError> {
    index.entries.clear();
    let mut at = 0;
    let mut data_length: Option<(u32, usize)> = None;
    while at < bytes.len() {
        let (tag, value_offset) = tag_at(bytes, at)?;
        let length = match data_length.take() {
            Some((data_tag, length)) if data_tag == tag => {
                if bytes.get(value_offset + length) != Some(&SOH) {
                    return Err(ParseError::DataLength { tag });
                }
                length
            }
            _ => bytes[value_offset..]
                .iter()
                .position(|byte| *byte == SOH)
                .ok_or(ParseError::InvalidTag { offset: at as u32 })?,
        };
        if index.entries.len() == index.fields_max {
            return Err(ParseError::TooManyFields { fields_max: index.fields_max as u32 });
        }
        index.entries.push(Entry { tag, offset: value_offset as u32, length: length as u32 });
        if let Some(data_tag) = data_tag_of_length(tag) {
            let value = &bytes[value_offset..value_offset + length];
            let length = uint_of(value).filter(|length| *length < bytes.len() as u64);
            data_length = Some((data_tag, length.ok_or(ParseError::DataLength { tag })? as usize));
        }
        at = value_offset + length + 1;
    }
    Ok(Message { bytes, entries: &index.entries })
}

/// The tag at `at` and where its value begins.
fn tag_at(bytes: &[u8], at: usize) -> Result<(u32, usize), ParseError> {
    const TAG_DIGITS_MAX: usize = 9;
    let mut tag = 0u32;
    for (digits, byte) in bytes[at..].iter().enumerate().take(TAG_DIGITS_MAX + 1) {
        match byte {
            b'0' if digits == 0 => break,
            b'0'..=b'9' if digits < TAG_DIGITS_MAX => tag = tag * 10 + u32::from(byte - b'0'),
            b'=' if digits > 0 => return Ok((tag, at + digits + 1)),
            _ => break,
        }
    }
    Err(ParseError::InvalidTag { offset: at as u32 })
}

/// The data field that a length field announces, e.g. RawData(96) for RawDataLength(95).
pub fn data_tag_of_length(tag: u32) -> Option<u32> {
    Some(match tag {
        90 => 91,
        93 => 89,
        95 => 96,
        212 => 213,
        348 => 349,
        350 => 351,
        352 => 353,
        354 => 355,
        356 => 357,
        358 => 359,
        360 => 361,
        362 => 363,
        364 => 365,
        445 => 446,
        618 => 619,
        621 => 622,
        1184 => 1185,
        1277 => 1278,
        1280 => 1281,
        1282 => 1283,
        1397 => 1398,
        1401 => 1402,
        1403 => 1404,
        1468 => 1469,
        _ => return None,
    })
}

impl<'a> Message<'a> {
    /// The message as it came, `8=` to the last delimiter.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + Clone + use<'a> {
        let bytes = self.bytes;
        self.entries.iter().map(move |entry| field_of(bytes, entry))
    }

    /// The first field with `tag`.
    pub fn field(&self, tag: u32) -> Option<&'a [u8]> {
        self.entries.iter().find(|entry| entry.tag == tag).map(|entry| field_of(self.bytes, entry).value)
    }

    /// MsgType(35). Framing has made sure that it is there.
    pub fn msg_type(&self) -> &'a [u8] {
        self.field(tags::MSG_TYPE).unwrap_or_default()
    }

    /// A non-negative number, such as MsgSeqNum(34): `None` where absent, `Some(None)` where not a number.
    pub fn uint(&self, tag: u32) -> Option<Option<u64>> {
        self.field(tag).map(uint_of)
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
        let at = self.entries.iter().position(|entry| entry.tag == count_tag)?;
        let count = uint_of(field_of(self.bytes, &self.entries[at]).value)?;
        Some(Groups { bytes: self.bytes, entries: &self.entries[at + 1..], delimiter, remaining: count })
    }
}

fn field_of<'a>(bytes: &'a [u8], entry: &Entry) -> Field<'a> {
    Field { tag: entry.tag, value: &bytes[entry.offset as usize..][..entry.length as usize] }
}

/// Iterates over a repeating group. Yields fewer instances than the count field says if the message holds fewer.
#[derive(Clone, Debug)]
pub struct Groups<'a> {
    bytes: &'a [u8],
    entries: &'a [Entry],
    delimiter: u32,
    remaining: u64,
}

/// One instance of a repeating group.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    bytes: &'a [u8],
    entries: &'a [Entry],
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        if self.remaining == 0 || self.entries.first()?.tag != self.delimiter {
            return None;
        }
        self.remaining -= 1;
        let end = self.entries[1..].iter().position(|entry| entry.tag == self.delimiter);
        let (instance, rest) = self.entries.split_at(end.map_or(self.entries.len(), |at| at + 1));
        self.entries = rest;
        Some(Group { bytes: self.bytes, entries: instance })
    }
}

impl<'a> Group<'a> {
    pub fn field(&self, tag: u32) -> Option<&'a [u8]> {
        self.entries.iter().find(|entry| entry.tag == tag).map(|entry| field_of(self.bytes, entry).value)
    }

    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + Clone + use<'a> {
        let bytes = self.bytes;
        self.entries.iter().map(move |entry| field_of(bytes, entry))
    }
}
