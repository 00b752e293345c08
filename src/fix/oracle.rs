//! A slow reading of the same bytes, plain enough to be believed, with which the fast one must agree.
//!
//! Property tests and the fuzz target call [`check`], so that both know the same law; nothing else does. Where
//! `frame` and `parse` walk masks and words, this walks bytes and strings, and shares no code with them but the table
//! of data fields. It allocates, and panics on the first disagreement.

use super::{
    Decimal, Encoder, Field, FieldIndex, Framing, Group, Message, ParseError, UtcTimestamp, bool_of, char_of,
    data_tag_of_length, frame, int_of, parse, raw_field, uint_of,
};

/// Small, so that every limit is met by short inputs.
pub const MESSAGE_BYTES_MAX: u32 = 512;
pub const FIELDS_MAX: u32 = 40;

/// Holds everything that `fix` promises against any bytes.
pub fn check(bytes: &[u8]) {
    check_stream(bytes);
    check_fields(bytes);
    check_values(bytes);
}

/// A prefix of a stream, however it was cut into chunks, is framed as the slow reading says.
fn check_stream(stream: &[u8]) {
    let mut frames = Vec::new();
    let mut rest = stream;
    loop {
        let answer = frame(rest, MESSAGE_BYTES_MAX);
        assert_eq!(verdict(answer), slow_verdict(rest), "{}", rest.escape_ascii());
        match answer {
            Framing::Complete(frame) => {
                let (message, after) = rest.split_at(frame.length as usize);
                assert!(message[frame.body_offset as usize..].starts_with(b"35="));
                check_fields(message);
                frames.push(message.to_vec());
                rest = after;
            }
            Framing::Invalid { skip, .. } => {
                let skip = skip as usize;
                assert!(skip >= 1 && skip <= rest.len());
                let after = &rest[skip..];
                let front = &after[..after.len().min(5)];
                let is_start = b"8=FIX".starts_with(front);
                assert!(is_start || verdict(answer) == Verdict::CheckSum(skip), "a skip leads to a start");
                rest = after;
            }
            Framing::Incomplete => break,
        }
    }
    let chunk_bytes = stream.first().map_or(1, |byte| usize::from(*byte % 23) + 1);
    assert_eq!(frames_in_chunks(stream, chunk_bytes), frames, "chunks of {chunk_bytes}");
    assert_eq!(frames_in_chunks(stream, 1), frames, "byte by byte");
}

/// Frames a stream that arrives in chunks, as a worker does.
fn frames_in_chunks(stream: &[u8], chunk_bytes: usize) -> Vec<Vec<u8>> {
    let (mut buffer, mut frames) = (Vec::new(), Vec::new());
    for chunk in stream.chunks(chunk_bytes) {
        buffer.extend_from_slice(chunk);
        loop {
            match frame(&buffer, MESSAGE_BYTES_MAX) {
                Framing::Complete(frame) => frames.push(buffer.drain(..frame.length as usize).collect()),
                Framing::Invalid { skip, .. } => drop(buffer.drain(..skip as usize)),
                Framing::Incomplete => break,
            }
        }
    }
    frames
}

/// What framing may say; of the reasons only the one that decides how much is skipped.
#[derive(Debug, PartialEq)]
enum Verdict {
    Complete(usize),
    Incomplete,
    CheckSum(usize),
    Invalid,
}

fn verdict(answer: Framing) -> Verdict {
    match answer {
        Framing::Complete(frame) => Verdict::Complete(frame.length as usize),
        Framing::Incomplete => Verdict::Incomplete,
        Framing::Invalid { skip, why: super::Garbled::CheckSum { .. } } => Verdict::CheckSum(skip as usize),
        Framing::Invalid { .. } => Verdict::Invalid,
    }
}

/// Reads a message as a grammar, one byte after the other. Running out of bytes is `Incomplete`, at any place; any
/// other disagreement with the grammar is `Invalid`.
fn slow_verdict(bytes: &[u8]) -> Verdict {
    let mut at = 0;
    macro_rules! next {
        () => {{
            let Some(byte) = bytes.get(at) else {
                return Verdict::Incomplete;
            };
            at += 1;
            *byte
        }};
    }
    macro_rules! expect {
        ($text:expr) => {
            for expected in $text {
                if next!() != *expected {
                    return Verdict::Invalid;
                }
            }
        };
    }
    expect!(b"8=FIX");
    let mut version_bytes = 3;
    loop {
        let byte = next!();
        if byte == 1 && version_bytes > 3 {
            break;
        }
        version_bytes += 1;
        let is_version = byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'.';
        if !is_version || version_bytes > 16 {
            return Verdict::Invalid;
        }
    }
    expect!(b"9=");
    let mut digits = String::new();
    loop {
        let byte = next!();
        if byte == 1 && !digits.is_empty() {
            break;
        }
        digits.push(char::from(byte));
        let number = if byte.is_ascii_digit() { digits.parse::<u64>().ok() } else { None };
        if digits.len() > 9 || number.is_none_or(|number| number > u64::from(MESSAGE_BYTES_MAX)) {
            return Verdict::Invalid;
        }
    }
    let body_offset = at;
    let end = body_offset + digits.parse::<usize>().expect("digits only");
    if end + 7 > MESSAGE_BYTES_MAX as usize || end < body_offset + 5 {
        return Verdict::Invalid;
    }
    expect!(b"35=");
    at = end - 1;
    expect!(b"\x0110=");
    let mut stated = 0;
    for place in [100, 10, 1] {
        let byte = next!();
        stated += place * (u64::from(byte) - 48 * u64::from(byte.is_ascii_digit()));
        if !byte.is_ascii_digit() || stated > 255 {
            return Verdict::Invalid;
        }
    }
    expect!(b"\x01");
    let sum: u64 = bytes[..end].iter().map(|byte| u64::from(*byte)).sum();
    if sum % 256 == stated { Verdict::Complete(at) } else { Verdict::CheckSum(at) }
}

/// Any bytes are indexed as the slow reading says, and every look-up in them agrees with a walk.
fn check_fields(bytes: &[u8]) {
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    let expected = slow_fields(bytes);
    let message = match (parse(bytes, &mut index), &expected) {
        (Ok(message), Ok(_)) => message,
        (parsed, _) => {
            return assert_eq!(parsed.map(|_| ()), expected.map(|_| ()), "{}", bytes.escape_ascii());
        }
    };
    let fields: Vec<Field<'_>> = message.fields().collect();
    assert_eq!(Ok(&fields), expected.as_ref(), "{}", bytes.escape_ascii());
    for tag in fields.iter().flat_map(|field| [field.tag, field.tag + 1]).chain([0, 35, u32::MAX]) {
        let first = fields.iter().find(|field| field.tag == tag).map(|field| field.value);
        assert_eq!(message.field(tag), first, "field {tag}");
        let has_data = fields.iter().any(|field| field.value.contains(&1));
        if !has_data {
            assert_eq!(raw_field(bytes, tag), first, "raw field {tag}");
        }
    }
    check_groups(&message, &fields);
    check_copy(&fields);
}

fn slow_fields(bytes: &[u8]) -> Result<Vec<Field<'_>>, ParseError> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let invalid = ParseError::InvalidTag { offset: start as u32 };
        let rest = &bytes[start..];
        let stop = rest.iter().position(|byte| *byte == 1);
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = std::str::from_utf8(&rest[..digits]).expect("digits only");
        let is_tag = (1..=9).contains(&digits) && !text.starts_with('0') && rest.get(digits) == Some(&b'=');
        let announced = fields.last().filter(|_| is_tag).and_then(|length| {
            let data_tag = data_tag_of_length(length.tag)?;
            (data_tag.to_string() == text).then_some((data_tag, length.value))
        });
        let (tag, value_length) = match (announced, stop) {
            (Some((tag, length)), _) => {
                let length = std::str::from_utf8(length).ok().filter(|text| !text.starts_with('+'));
                let length = length.filter(|text| text.len() <= 20).and_then(|text| text.parse::<usize>().ok());
                let fits = |length: &usize| *length < rest.len() && rest.get(digits + 1 + length) == Some(&1);
                (tag, length.filter(fits).ok_or(ParseError::DataLength { tag })?)
            }
            (None, Some(stop)) if is_tag => (text.parse().expect("nine digits at most"), stop - digits - 1),
            _ => return Err(invalid),
        };
        if fields.len() == FIELDS_MAX as usize {
            return Err(ParseError::TooManyFields { fields_max: FIELDS_MAX });
        }
        fields.push(Field { tag, value: &rest[digits + 1..][..value_length] });
        start += digits + 1 + value_length + 1;
    }
    Ok(fields)
}

/// Each field taken for a group's count, the one after it for the group's first field.
fn check_groups(message: &Message<'_>, fields: &[Field<'_>]) {
    for (at, pair) in fields.windows(2).enumerate() {
        let (count_tag, delimiter) = (pair[0].tag, pair[1].tag);
        if fields[..at].iter().any(|field| field.tag == count_tag) {
            continue;
        }
        let Some(groups) = message.groups(count_tag, delimiter) else {
            assert_eq!(uint_of(pair[0].value), None);
            continue;
        };
        let groups: Vec<Group<'_>> = groups.collect();
        let starts = fields[at + 1..].iter().filter(|field| field.tag == delimiter).count() as u64;
        assert_eq!(groups.len() as u64, uint_of(pair[0].value).expect("a count").min(starts));
        let mut rest = &fields[at + 1..];
        for group in groups {
            let (instance, after) = rest.split_at(group.fields().len());
            assert!(group.fields().eq(instance.iter().copied()) && instance[0].tag == delimiter);
            assert_eq!(group.field(delimiter), Some(instance[0].value));
            for field in instance {
                group.groups(field.tag, delimiter).into_iter().flatten().for_each(drop);
            }
            rest = after;
        }
    }
}

/// Fields that were read are written as one message, framed, and read again.
fn check_copy(fields: &[Field<'_>]) {
    let is_body = |field: &&Field<'_>| ![8, 9, 10, 35].contains(&field.tag) && !field.value.is_empty();
    let body: Vec<&Field<'_>> = fields.iter().filter(is_body).collect();
    let length_of = |at: usize| body.get(at).copied().filter(|field| data_tag_of_length(field.tag).is_some());
    let mut buffer = [0; MESSAGE_BYTES_MAX as usize];
    let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", b"D");
    let mut expected = Vec::new();
    for (at, field) in body.iter().enumerate() {
        // A length is written with its data, and data needs its length.
        if length_of(at).is_some() {
            continue;
        }
        match at.checked_sub(1).and_then(length_of).filter(|length| data_tag_of_length(length.tag) == Some(field.tag)) {
            Some(length) => drop(encoder.data(length.tag, field.tag, field.value)),
            None if field.value.contains(&1) => continue,
            None => drop(encoder.bytes(field.tag, field.value)),
        }
        expected.push((field.tag, field.value));
    }
    let Ok(length) = encoder.finish() else { return };
    let written = &buffer[..length];
    assert!(matches!(frame(written, MESSAGE_BYTES_MAX), Framing::Complete(frame) if frame.length as usize == length));
    let mut index = FieldIndex::with_capacity(FIELDS_MAX + 4);
    let message = parse(written, &mut index).expect("our own message is well-formed");
    let read: Vec<(u32, &[u8])> = message
        .fields()
        .filter(|field| ![8, 9, 10, 35].contains(&field.tag) && data_tag_of_length(field.tag).is_none())
        .map(|field| (field.tag, field.value))
        .collect();
    assert_eq!(read, expected);
}

/// Any bytes may be asked for any type, and what is read is written back to the same value.
fn check_values(bytes: &[u8]) {
    for value in bytes.split(|byte| matches!(byte, 1 | b'=')) {
        let text = std::str::from_utf8(value).unwrap_or("x");
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = !digits.starts_with('+') && digits.len() <= 20;
        assert_eq!(uint_of(value), text.parse().ok().filter(|_| is_number && value.len() <= 20), "{text}");
        assert_eq!(int_of(value), text.parse().ok().filter(|_| is_number), "{text}");
        assert_eq!(bool_of(value), [("Y", true), ("N", false)].iter().find(|pair| pair.0 == text).map(|pair| pair.1));
        assert_eq!(char_of(value).is_some(), value.len() == 1 && value[0].is_ascii_graphic());
        if let Some(decimal) = Decimal::parse(value) {
            let mut buffer = [0; 40];
            let length = decimal.write(&mut buffer);
            assert_eq!(
                Decimal::parse(&buffer[..length]).map(|copy| copy.compare(decimal)),
                Some(std::cmp::Ordering::Equal)
            );
        }
        if let Some(time) = UtcTimestamp::parse(value) {
            let mut buffer = [0; 27];
            let length = time.write(&mut buffer, super::Precision::Nanos);
            assert_eq!(UtcTimestamp::parse(&buffer[..length]), Some(time), "{text}");
        }
    }
}
