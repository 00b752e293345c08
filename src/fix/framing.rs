//! Finds one message at the front of a receive buffer. Called by the worker for every chunk that a connection brings.
//!
//! A frame is `8=…|9=<n>|` + n bytes of body + `10=ccc|`. "Not yet there" and "never will be" are different answers:
//! a garbled message is skipped without using a sequence number (FIX session layer, "garbled messages").

use super::SOH;

/// One complete message at the front of the buffer, its length and check sum verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The whole message, from `8=` to the delimiter after CheckSum(10).
    pub length: u32,
    /// Where the body begins: the first byte after BodyLength(9)'s delimiter.
    pub body_offset: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Complete(Frame),
    /// A prefix of something that may become a message.
    Incomplete,
    /// No message can begin here. `skip` (at least 1) bytes lead to the next place where one may.
    Invalid {
        skip: u32,
        why: Garbled,
    },
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbled {
    /// The message does not begin with BeginString(8).
    BeginString,
    /// BodyLength(9) is not the second field, or not a number.
    BodyLength,
    /// The message would be longer than `message_bytes_max`.
    TooLong,
    /// CheckSum(10) is not where BodyLength(9) says.
    Trailer,
    /// CheckSum(10) differs from the bytes' sum.
    CheckSum { stated: u8, computed: u8 },
    /// MsgType(35) is not the third field.
    MsgType,
}

/// `10=ccc|`
const TRAILER_BYTES: usize = 7;
/// BeginString(8)'s value, at most: "FIXT.1.1" is 8 and nobody's is longer than this.
const BEGIN_STRING_BYTES_MAX: usize = 16;
/// BodyLength(9)'s digits, at most. Leading zeros are legal, so a few more than any size needs.
const BODY_LENGTH_DIGITS_MAX: usize = 9;

/// The sum of all bytes modulo 256, as CheckSum(10) wants it.
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
}

/// Looks for one message at the front of `bytes`.
pub fn frame(bytes: &[u8], message_bytes_max: u32) -> Framing {
    match frame_at_front(bytes, message_bytes_max as usize) {
        Ok(Some(frame)) => Framing::Complete(frame),
        Ok(None) => Framing::Incomplete,
        Err(why) => Framing::Invalid { skip: bytes_to_next_candidate(bytes) as u32, why },
    }
}

fn frame_at_front(bytes: &[u8], message_bytes_max: usize) -> Result<Option<Frame>, Garbled> {
    let Some(begin_string_end) = begin_string_end(bytes)? else {
        return Ok(None);
    };
    let Some((body_offset, body_length)) = body_length(bytes, begin_string_end)? else {
        return Ok(None);
    };
    let length = body_offset + body_length + TRAILER_BYTES;
    if length > message_bytes_max {
        return Err(Garbled::TooLong);
    }
    let body = &bytes[body_offset..];
    if !body.starts_with(&b"35="[..body.len().min(3)]) || body_length < 5 {
        return Err(Garbled::MsgType);
    }
    if bytes.len() < length {
        return Ok(None);
    }
    let (summed, trailer) = bytes[..length].split_at(length - TRAILER_BYTES);
    let &[b'1', b'0', b'=', hundreds @ b'0'..=b'2', tens @ b'0'..=b'9', ones @ b'0'..=b'9', SOH] = trailer else {
        return Err(Garbled::Trailer);
    };
    if summed[summed.len() - 1] != SOH {
        return Err(Garbled::Trailer);
    }
    let stated = u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0');
    let stated = u8::try_from(stated).map_err(|_| Garbled::Trailer)?;
    let computed = checksum(summed);
    if stated != computed {
        return Err(Garbled::CheckSum { stated, computed });
    }
    Ok(Some(Frame { length: length as u32, body_offset: body_offset as u32 }))
}

/// The offset after BeginString(8)'s delimiter.
fn begin_string_end(bytes: &[u8]) -> Result<Option<usize>, Garbled> {
    let prefix = &b"8="[..bytes.len().min(2)];
    if !bytes.starts_with(prefix) {
        return Err(Garbled::BeginString);
    }
    let window = &bytes[..bytes.len().min(2 + BEGIN_STRING_BYTES_MAX + 1)];
    match window.iter().position(|byte| *byte == SOH) {
        Some(2) => Err(Garbled::BeginString),
        Some(at) => Ok(Some(at + 1)),
        None if window.len() == 2 + BEGIN_STRING_BYTES_MAX + 1 => Err(Garbled::BeginString),
        None => Ok(None),
    }
}

/// The body's offset and length.
fn body_length(bytes: &[u8], at: usize) -> Result<Option<(usize, usize)>, Garbled> {
    let field = &bytes[at..];
    if !field.starts_with(&b"9="[..field.len().min(2)]) {
        return Err(Garbled::BodyLength);
    }
    let mut value = 0usize;
    for (digits, byte) in field.iter().skip(2).enumerate() {
        match byte {
            b'0'..=b'9' if digits < BODY_LENGTH_DIGITS_MAX => value = value * 10 + usize::from(byte - b'0'),
            &SOH if digits > 0 => return Ok(Some((at + 2 + digits + 1, value))),
            _ => return Err(Garbled::BodyLength),
        }
    }
    Ok(None)
}

/// Where the next message may begin: at a `8=FIX` that follows a delimiter, or where a prefix of it ends the buffer.
fn bytes_to_next_candidate(bytes: &[u8]) -> usize {
    const START: &[u8] = b"8=FIX";
    (1..bytes.len())
        .find(|at| {
            let rest = &bytes[*at..];
            rest.starts_with(&START[..rest.len().min(START.len())])
        })
        .unwrap_or(bytes.len().max(1))
}
