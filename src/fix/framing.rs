//! Finds one message at the front of a receive buffer. Called by the worker for every chunk that a connection brings.
//!
//! A frame is `8=…|9=<n>|` + n bytes of body + `10=ccc|`. "Not yet there" and "never will be" are different answers:
//! a garbled message is skipped without using a sequence number (FIX session layer, "garbled messages").

use super::message::short_number_at;
use super::{SOH, checksum};

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
    /// No message begins here, whatever bytes follow. `skip` (at least 1) bytes lead to the next place where one may.
    Invalid {
        skip: u32,
        why: Garbled,
    },
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbled {
    /// The message does not begin with `8=FIX` and a version.
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
/// The same with the delimiter before it.
pub const MESSAGE_END_BYTES: usize = TRAILER_BYTES + 1;
/// `35=x|`, the shortest body.
const BODY_BYTES_MIN: usize = 5;
/// What every message begins with.
const START: &[u8] = b"8=FIX";
/// BeginString(8)'s value, at most: "FIXT.1.1" is 8 and nobody's is longer than this.
const BEGIN_STRING_BYTES_MAX: usize = 16;
/// BodyLength(9)'s digits, at most. Leading zeros are legal, so a few more than any size needs.
const BODY_LENGTH_DIGITS_MAX: usize = 9;
/// Those that [`stated_length`] reads: as many as fit an integer.
const STATED_DIGITS_MAX: usize = 18;

/// Looks for one message at the front of `bytes`.
///
/// The answer for a prefix is `Invalid` as soon as no further byte can make a message of it, and the answer for any
/// bytes is the same however they arrived. Where to go on after garbage:
///
/// - A wrong CheckSum(10), standing where BodyLength(9) says, leaves no doubt about the message's end: the message is
///   skipped, and whatever its data fields hold cannot be taken for a message. So no byte is added up twice either,
///   however many starts a peer packs into one another.
/// - Where nothing like a trailer stands at the length's end, the next `8=FIX` from there on may begin a message, or a
///   beginning of it that the bytes end with. What lies before is the garbled message by its own word: to take a part of
///   it for a message would let a peer hide one in another. The open-source engines go on there too.
/// - Otherwise there is no length, and the next `8=FIX` counts at once. It need not follow a delimiter, for garbage need
///   not end with one; a value that only looks like it (`58=FIXED`) is refused in its turn after a few bytes,
///   BodyLength(9) not being next.
pub fn frame(bytes: &[u8], message_bytes_max: u32) -> Framing {
    match frame_at_front(bytes, message_bytes_max as usize) {
        Ok(Some(frame)) => Framing::Complete(frame),
        Ok(None) => Framing::Incomplete,
        Err((why, skip)) => Framing::Invalid { skip: u32::try_from(skip).unwrap_or(u32::MAX), why },
    }
}

fn frame_at_front(bytes: &[u8], message_bytes_max: usize) -> Result<Option<Frame>, (Garbled, usize)> {
    if let Some(Extent { body_offset, length, stated }) = usual_extent(bytes, message_bytes_max)
        && stated == checksum(&bytes[..length - TRAILER_BYTES])
    {
        return Ok(Some(Frame { length: length as u32, body_offset: body_offset as u32 }));
    }
    unusual_frame(bytes, message_bytes_max)
}

/// Byte by byte, for what is not as nearly all messages are.
#[cold]
#[inline(never)]
fn unusual_frame(bytes: &[u8], message_bytes_max: usize) -> Result<Option<Frame>, (Garbled, usize)> {
    let extent =
        extent(bytes, message_bytes_max).map_err(|Fault { why, end }| (why, bytes_to_next_start(bytes, end)))?;
    let Some(Extent { body_offset, length, stated }) = extent else {
        return Ok(None);
    };
    let computed = checksum(&bytes[..length - TRAILER_BYTES]);
    if stated != computed {
        return Err((Garbled::CheckSum { stated, computed }, length));
    }
    Ok(Some(Frame { length: length as u32, body_offset: body_offset as u32 }))
}

/// The extent of a whole message of FIX.4.x or FIXT.1.x whose length is as nearly all peers write it: by words instead of bytes. What
/// is not one is for [`extent`] to judge, which says the same of those that are.
#[inline(always)]
fn usual_extent(bytes: &[u8], message_bytes_max: usize) -> Option<Extent> {
    // No message is shorter.
    let head: &[u8; 24] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    const FIX: u64 = u64::from_le_bytes(*b"8=FIX.4.");
    const FIXT: u64 = u64::from_le_bytes(*b"8=FIXT.1");
    let front = u64::from_le_bytes(*head.first_chunk()?);
    let (digit, field, at) = match front {
        FIX => (head[8], word(9), 12),
        FIXT => (head[9], if head[8] == b'.' { word(10) } else { 0 }, 13),
        _ => return None,
    };
    // `|9=` and the length's first digit.
    let is_in_place = digit.is_ascii_digit() && field & 0x00ff_ffff == u32::from_le_bytes(*b"\x019=\0");
    let (body_length, body_offset) = short_number_at(bytes, at, SOH).filter(|_| is_in_place)?;
    let length = body_offset + body_length as usize + TRAILER_BYTES;
    if length > message_bytes_max || (body_length as usize) < BODY_BYTES_MIN {
        return None;
    }
    let end = u64::from_le_bytes(*bytes.get(..length)?.last_chunk()?);
    let msg_type = u32::from_le_bytes(*bytes[body_offset..].first_chunk()?);
    // The delimiter before the trailer, its name, three digits and the last delimiter.
    const DIGITS: u64 = 0x000f_0f0f_0000_0000;
    const TRAILER: u64 = u64::from_le_bytes(*b"\x0110=000\x01");
    let digits = (end ^ TRAILER) & DIGITS;
    let is_trailer = (end ^ TRAILER) == digits && msg_type & 0x00ff_ffff == u32::from_le_bytes(*b"35=\0");
    let [_, _, _, _, hundreds, tens, ones, _] = digits.to_le_bytes();
    let stated = u32::from(hundreds) * 100 + u32::from(tens) * 10 + u32::from(ones);
    // What stands above 9 in a digit's place is no digit.
    let is_number = hundreds <= 2 && tens <= 9 && ones <= 9;
    let stated = u8::try_from(stated).ok().filter(|_| is_trailer && is_number)?;
    Some(Extent { body_offset, length, stated })
}

/// A message whose first three fields and trailer are in their places.
struct Extent {
    body_offset: usize,
    length: usize,
    /// CheckSum(10) as the message states it.
    stated: u8,
}

/// Why there is no message here, and where it ends by its own word; 1 where it has said nothing.
struct Fault {
    why: Garbled,
    end: usize,
}

impl From<Garbled> for Fault {
    fn from(why: Garbled) -> Self {
        Self { why, end: 1 }
    }
}

fn extent(bytes: &[u8], message_bytes_max: usize) -> Result<Option<Extent>, Fault> {
    let Some(body_length_offset) = body_length_offset(bytes)? else {
        return Ok(None);
    };
    let Some((body_offset, body_length)) = body_length(bytes, body_length_offset, message_bytes_max)? else {
        return Ok(None);
    };
    let length = body_offset + body_length + TRAILER_BYTES;
    if length > message_bytes_max {
        return Err(Garbled::TooLong.into());
    }
    if body_length < BODY_BYTES_MIN || !begins_like(&bytes[body_offset..], b"35=") {
        return Err(Garbled::MsgType.into());
    }
    let no_trailer = || Fault { why: Garbled::Trailer, end: length - TRAILER_BYTES };
    // The body's last delimiter and the trailer, or as much of them as there is.
    let end = bytes.get(length - TRAILER_BYTES - 1..).unwrap_or_default();
    let Some(end) = end.first_chunk() else {
        return if may_become_trailer(end) { Ok(None) } else { Err(no_trailer()) };
    };
    let stated = stated_checksum(end).ok_or_else(no_trailer)?;
    Ok(Some(Extent { body_offset, length, stated }))
}

/// Whether `bytes` agree with `expected` as far as both go.
#[inline(always)]
fn begins_like(bytes: &[u8], expected: &[u8]) -> bool {
    bytes.iter().zip(expected).all(|(byte, expected)| byte == expected)
}

/// Whether an incomplete trailer, with the delimiter before it, is right as far as it goes.
#[cold]
fn may_become_trailer(end: &[u8]) -> bool {
    begins_like(end, b"\x0110=") && {
        let digits = end.get(4..).unwrap_or_default();
        // 255 is the greatest sum, and texts of one length compare like their numbers.
        digits.iter().all(u8::is_ascii_digit) && digits <= &b"255"[..]
    }
}

/// The offset after BeginString(8)'s delimiter.
#[inline(always)]
fn body_length_offset(bytes: &[u8]) -> Result<Option<usize>, Garbled> {
    // Nearly all messages: `FIX.4.2` and its like, or `FIXT.1.1`.
    match bytes {
        [b'8', b'=', b'F', b'I', b'X', b'.', b'0'..=b'9', b'.', b'0'..=b'9', SOH, ..] => return Ok(Some(10)),
        [b'8', b'=', b'F', b'I', b'X', b'T', b'.', b'0'..=b'9', b'.', b'0'..=b'9', SOH, ..] => return Ok(Some(11)),
        _ => {}
    }
    if !begins_like(bytes, START) {
        return Err(Garbled::BeginString);
    }
    for (at, byte) in bytes.iter().enumerate().skip(START.len()) {
        match byte {
            &SOH if at > START.len() => return Ok(Some(at + 1)),
            b'A'..=b'Z' | b'0'..=b'9' | b'.' if at < 2 + BEGIN_STRING_BYTES_MAX => {}
            _ => return Err(Garbled::BeginString),
        }
    }
    Ok(None)
}

/// The body's offset and length.
#[inline(always)]
fn body_length(bytes: &[u8], at: usize, message_bytes_max: usize) -> Result<Option<(usize, usize)>, Garbled> {
    let field = &bytes[at..];
    if !begins_like(field, b"9=") {
        return Err(Garbled::BodyLength);
    }
    let mut value = 0usize;
    for (digits, byte) in field.iter().skip(2).enumerate() {
        match byte {
            b'0'..=b'9' if digits < BODY_LENGTH_DIGITS_MAX => {
                value = value * 10 + usize::from(byte - b'0');
                // Said before the delimiter is there: more digits do not make it less.
                if value > message_bytes_max {
                    return Err(Garbled::TooLong);
                }
            }
            &SOH if digits > 0 => return Ok(Some((at + 2 + digits + 1, value))),
            _ => return Err(Garbled::BodyLength),
        }
    }
    Ok(None)
}

/// How long the message at the front of `bytes`, which [`frame`] has found too long, is by its own
/// word: from `8=` to the delimiter after CheckSum(10). `None` where not enough of it is there to
/// say; an error where it is no message of any length.
#[cold]
pub fn stated_length(bytes: &[u8]) -> Result<Option<u64>, Garbled> {
    let Some(at) = body_length_offset(bytes)? else { return Ok(None) };
    let field = &bytes[at..];
    if !begins_like(field, b"9=") {
        return Err(Garbled::BodyLength);
    }
    let mut value = 0u64;
    for (digits, byte) in field.iter().skip(2).enumerate() {
        match byte {
            b'0'..=b'9' if digits < STATED_DIGITS_MAX => value = value * 10 + u64::from(byte - b'0'),
            &SOH if digits > 0 => {
                let body_offset = at + 2 + digits + 1;
                let body = &bytes[body_offset..];
                if !begins_like(body, b"35=") {
                    return Err(Garbled::MsgType);
                }
                let length = (body_offset + TRAILER_BYTES) as u64 + value;
                return Ok((body.len() >= b"35=".len()).then_some(length));
            }
            _ => return Err(Garbled::BodyLength),
        }
    }
    Ok(None)
}

/// CheckSum(10) of a trailer with the delimiter before it, and how long both are. `None` for
/// anything else.
pub fn stated_checksum(end: &[u8; MESSAGE_END_BYTES]) -> Option<u8> {
    let &[SOH, b'1', b'0', b'=', hundreds @ b'0'..=b'2', tens @ b'0'..=b'9', ones @ b'0'..=b'9', SOH] = end else {
        return None;
    };
    let stated = u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0');
    u8::try_from(stated).ok()
}

/// Where the next message may begin, from `end` on.
#[cold]
fn bytes_to_next_start(bytes: &[u8], end: usize) -> usize {
    (end..bytes.len())
        .find(|at| bytes[*at] == START[0] && begins_like(&bytes[*at..], START))
        .unwrap_or(bytes.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 1_000;

    fn bytes(text: &str) -> Vec<u8> {
        text.replace('|', "\x01").into_bytes()
    }

    /// Completes a body to a message.
    fn message(body: &str) -> Vec<u8> {
        let mut message = bytes(&format!("8=FIX.4.4|9={}|{body}", body.len()));
        let sum = checksum(&message);
        message.extend(bytes(&format!("10={sum:03}|")));
        message
    }

    fn invalid(skip: usize, why: Garbled) -> Framing {
        Framing::Invalid { skip: skip as u32, why }
    }

    #[track_caller]
    fn assert_garbled(text: &str, why: Garbled) {
        let bytes = bytes(text);
        assert_eq!(frame(&bytes, MAX), invalid(bytes.len(), why), "{text}");
        // And not a byte earlier: what comes before may still become a message.
        assert_eq!(frame(&bytes[..bytes.len() - 1], MAX), Framing::Incomplete, "{text} less its last byte");
    }

    #[test]
    fn a_message_is_complete_with_its_last_byte_and_incomplete_before() {
        let mut stream = message("35=0|34=7|");
        let length = stream.len() as u32;
        for end in 0..stream.len() {
            assert_eq!(frame(&stream[..end], MAX), Framing::Incomplete, "{end} bytes");
        }
        stream.extend(message("35=1|"));
        let complete = Framing::Complete(Frame { length, body_offset: 15 });
        assert_eq!(frame(&stream, MAX), complete);
    }

    #[test]
    fn every_version_frames() {
        for version in ["FIX.4.0", "FIX.4.4", "FIXT.1.1", "FIX.5.0SP2", "FIX.4.10", "FIX4"] {
            let mut text = bytes(&format!("8={version}|9=005|35=0|"));
            let sum = checksum(&text);
            text.extend(bytes(&format!("10={sum:03}|")));
            assert!(matches!(frame(&text, MAX), Framing::Complete(_)), "{version}");
        }
    }

    #[test]
    fn a_hopeless_prefix_is_invalid_with_its_first_wrong_byte() {
        for text in ["x", "8x", "8=x", "8=FIY", "8=FIX|", "8=FIX ", "8=FIXED ", "8=FIX.4.4|8"] {
            let why = if text.len() < 10 { Garbled::BeginString } else { Garbled::BodyLength };
            let wrong_byte = &bytes(text);
            assert!(matches!(frame(wrong_byte, MAX), Framing::Invalid { why: found, .. } if found == why), "{text}");
            assert_eq!(frame(&wrong_byte[..wrong_byte.len() - 1], MAX), Framing::Incomplete, "{text}");
        }
        assert_garbled("8=FIX.4.4.4.4.4.4.X", Garbled::BeginString);
        assert_garbled("8=FIX.4.4|3", Garbled::BodyLength);
    }

    #[test]
    fn a_body_length_must_be_a_number_of_a_few_digits() {
        assert_garbled("8=FIX.4.4|9=|", Garbled::BodyLength);
        assert_garbled("8=FIX.4.4|9=-", Garbled::BodyLength);
        assert_garbled("8=FIX.4.4|9=1x", Garbled::BodyLength);
        assert_garbled("8=FIX.4.4|9=0000000000", Garbled::BodyLength);
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_before_it_has_arrived() {
        assert_garbled("8=FIX.4.4|9=1001", Garbled::TooLong);
        // 16 bytes of head and 7 of trailer.
        assert_garbled("8=FIX.4.4|9=978|", Garbled::TooLong);
        assert_eq!(frame(&bytes("8=FIX.4.4|9=977|"), MAX), Framing::Incomplete);
        let all_nines = bytes("8=FIX.4.4|9=999999999|35=0|");
        assert_eq!(frame(&all_nines, u32::MAX), Framing::Incomplete);
    }

    #[test]
    fn a_message_beyond_the_limit_says_how_long_it_is() {
        let length = |text: &str| stated_length(&bytes(text));
        for (text, head_bytes) in [("8=FIX.4.4|9=70000|35=", 18), ("8=FIXT.1.1|9=0070000|35=B|", 21)] {
            assert_eq!(length(text), Ok(Some(head_bytes + 70_000 + 7)));
        }
        assert_eq!(length("8=FIX.4.4|9=999999999999999999|35="), Ok(Some(31 + 999_999_999_999_999_999 + 7)));
        for unfinished in ["8=FIX", "8=FIX.4.4|9=70000", "8=FIX.4.4|9=70000|35"] {
            assert_eq!(length(unfinished), Ok(None), "{unfinished}");
        }
        assert_eq!(length("8=FIX.4.4|9=70000x"), Err(Garbled::BodyLength));
        assert_eq!(length("8=FIX.4.4|9=9999999999999999999"), Err(Garbled::BodyLength));
        assert_eq!(length("8=FIX.4.4|9=70000|34"), Err(Garbled::MsgType));
    }

    #[test]
    fn msg_type_must_be_the_third_field() {
        assert_garbled("8=FIX.4.4|9=20|34", Garbled::MsgType);
        assert_garbled("8=FIX.4.4|9=20|35|", Garbled::MsgType);
        assert_garbled("8=FIX.4.4|9=4|", Garbled::MsgType);
        assert_garbled("8=FIX.4.4|9=0|", Garbled::MsgType);
    }

    #[test]
    fn a_trailer_that_is_not_in_its_place_is_noticed_with_its_first_wrong_byte() {
        assert_garbled("8=FIX.4.4|9=5|35=00", Garbled::Trailer);
        assert_garbled("8=FIX.4.4|9=5|35=0|2", Garbled::Trailer);
        assert_garbled("8=FIX.4.4|9=5|35=0|10|", Garbled::Trailer);
        assert_garbled("8=FIX.4.4|9=5|35=0|10=3", Garbled::Trailer);
        assert_garbled("8=FIX.4.4|9=5|35=0|10=26", Garbled::Trailer);
        assert_garbled("8=FIX.4.4|9=5|35=0|10=256", Garbled::Trailer);
        assert_garbled("8=FIX.4.4|9=5|35=0|10=1x", Garbled::Trailer);
        assert_garbled("8=FIX.4.4|9=5|35=0|10=1234", Garbled::Trailer);
    }

    #[test]
    fn a_wrong_check_sum_skips_the_whole_message_and_the_next_one_is_found() {
        let good = message("35=0|34=8|");
        let inner = message("35=5|34=9|");
        let mut stream = message(&format!("35=n|212={}|213={}|", inner.len(), String::from_utf8_lossy(&inner)));
        let length = stream.len();
        stream[length - 2] ^= 1;
        stream.extend(&good);
        let Framing::Invalid { skip, why: Garbled::CheckSum { stated, computed } } = frame(&stream, MAX) else {
            panic!("the sum is wrong")
        };
        assert_eq!((skip as usize, stated ^ computed), (length, 1));
        assert!(matches!(frame(&stream[length..], MAX), Framing::Complete(_)));
    }

    #[test]
    fn a_wrong_body_length_costs_its_own_message_and_what_it_claims_for_itself() {
        let good = message("35=0|34=8|58=hello|");
        for stated in (5..20).chain(21..60) {
            let head = format!("8=FIX.4.4|9={stated}|");
            let mut stream = bytes(&format!("{head}35=1|34=7|112=hello|10=123|"));
            let (garbled_bytes, stated_end) = (stream.len(), head.len() + stated);
            stream.extend(&good);
            stream.extend(&good);
            let skipped = if stated_end <= garbled_bytes { garbled_bytes } else { garbled_bytes + good.len() };
            let answer = frame(&stream, MAX);
            assert_eq!(answer, invalid(skipped, Garbled::Trailer), "BodyLength {stated}");
        }
    }

    #[test]
    fn garbage_is_skipped_up_to_the_next_start_or_a_beginning_of_one() {
        let skip = |text: &str| match frame(&bytes(text), MAX) {
            Framing::Invalid { skip, .. } => skip,
            answer => panic!("{text}: {answer:?}"),
        };
        assert_eq!(skip("GET / HTTP/1.1|8=FIX.4.4|"), 15);
        assert_eq!(skip("SSH-2.08=FIX.4.4|"), 7);
        assert_eq!(skip("garbage8=FI"), 7);
        assert_eq!(skip("garbage8"), 7);
        assert_eq!(skip("garbage88=FIX"), 8);
        assert_eq!(skip("garbage8=FIY"), 12);
        assert_eq!(skip("x"), 1);
        assert_eq!(skip("8=FIX.4.4|8=FIX.4.4|9="), 10);
    }

    #[test]
    fn a_start_inside_a_value_does_not_disturb_its_message() {
        let text = message("35=B|58=FIX.4.4|148=see 8=FIX.4.4|");
        assert!(matches!(frame(&text, MAX), Framing::Complete(frame) if frame.length as usize == text.len()));
    }

    #[test]
    fn a_check_sum_inside_the_body_does_not_end_the_message() {
        let text = message("35=B|10=123|58=x|");
        assert!(matches!(frame(&text, MAX), Framing::Complete(frame) if frame.length as usize == text.len()));
    }

    #[test]
    fn limits_of_nothing_and_of_everything_are_safe() {
        for limit in [0, 1, 22, u32::MAX] {
            for text in ["", "8", "8=FIX.4.4|9=5|35=0|10=161|", "8=FIX.4.4|9=999999999|35="] {
                frame(&bytes(text), limit);
            }
        }
    }
}
