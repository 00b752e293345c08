//! How a hostile peer spoils what it says: bytes, fields, values, framing.

use super::choices::Choices;
use crate::fix::SOH;

/// Values at the edges of what a field may be.
const VALUES: [&[u8]; 18] = [
    b"",
    b"0",
    b"00",
    b"1",
    b"2",
    b"-1",
    b"999999",
    b"2147483648",
    b"9223372036854775807",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999",
    b"Y",
    b"N",
    b"\xff\x00",
    b"=",
    b"19700101-00:00:00",
    b"20991231-23:59:60.999999999999",
];
/// Tags that mean something to a session, and lengths of data.
const TAGS: [&[u8]; 28] = [
    b"7", b"8", b"9", b"10", b"16", b"34", b"35", b"36", b"43", b"45", b"49", b"52", b"56", b"58", b"95", b"96", b"97",
    b"98", b"108", b"112", b"122", b"123", b"141", b"212", b"354", b"554", b"789", b"1137",
];
const MSG_TYPES: [&[u8]; 16] =
    [b"0", b"1", b"2", b"3", b"4", b"5", b"A", b"D", b"F", b"G", b"8", b"9", b"j", b"BE", b"", b"ZZZZ"];
/// The longest piece of rubbish.
const RUBBISH_BYTES_MAX: usize = 64;

/// Spoils a whole message, so that it may be anything from a valid one with odd content to rubbish.
pub fn mutate(choices: &mut Choices, message: &mut Vec<u8>) {
    match choices.below(8) {
        0..5 => {
            let mut fields = fields_of(message);
            for _ in 0..=choices.below(3) {
                mutate_fields(choices, &mut fields);
            }
            *message = framed(&fields);
        }
        5 => {
            // Framing and CheckSum(10) as they were: garbled, or the next message is eaten.
            let at = choices.below(message.len());
            message[at] = choices.below(256) as u8;
        }
        6 => {
            let from = choices.below(message.len());
            let to = (from + choices.below(RUBBISH_BYTES_MAX)).min(message.len());
            if choices.one_in(2) {
                message.drain(from..to);
            } else {
                let piece = message[from..to].to_vec();
                message.splice(from..from, piece);
            }
        }
        _ => *message = rubbish(choices),
    }
}

pub fn rubbish(choices: &mut Choices) -> Vec<u8> {
    const PIECES: [&[u8]; 9] = [
        b"x",
        b"\r\n",
        b"8=FIX.4.4\x01",
        b"8=FIX.4.4\x019=0\x01",
        b"8=FIX.4.4\x019=1999\x01",
        b"8=FIX.4.4\x019=99999999\x01",
        b"10=000\x01",
        b"\x01\x01",
        b"8=",
    ];
    let mut bytes = Vec::new();
    for _ in 0..=choices.below(4) {
        match choices.below(3) {
            0 => bytes.push(choices.below(256) as u8),
            _ => bytes.extend_from_slice(PIECES[choices.below(PIECES.len())]),
        }
    }
    bytes
}

type Field = (Vec<u8>, Vec<u8>);

/// Without BeginString(8), BodyLength(9) and CheckSum(10), which [`framed`] writes anew.
fn fields_of(message: &[u8]) -> Vec<Field> {
    let fields = message.split(|byte| *byte == SOH).filter_map(|field| {
        let equals = field.iter().position(|byte| *byte == b'=')?;
        Some((field[..equals].to_vec(), field[equals + 1..].to_vec()))
    });
    fields.filter(|(tag, _)| !matches!(&tag[..], b"8" | b"9" | b"10")).collect()
}

fn mutate_fields(choices: &mut Choices, fields: &mut Vec<Field>) {
    let at = choices.below(fields.len());
    match choices.below(8) {
        0 | 1 if at < fields.len() => fields[at].1 = choices.of(&VALUES).to_vec(),
        2 if at < fields.len() => drop(fields.remove(at)),
        3 if at < fields.len() => {
            let field = fields[at].clone();
            fields.push(field);
        }
        4 if at < fields.len() => fields[at].0 = choices.of(&TAGS).to_vec(),
        5 => {
            let to = choices.below(fields.len());
            if at < fields.len() {
                fields.swap(at, to);
            }
        }
        6 => {
            let msg_type = choices.of(&MSG_TYPES).to_vec();
            fields.iter_mut().filter(|(tag, _)| tag == b"35").for_each(|field| field.1.clone_from(&msg_type));
        }
        _ => {
            let field = (choices.of(&TAGS).to_vec(), choices.of(&VALUES).to_vec());
            fields.insert(at.min(fields.len()), field);
        }
    }
}

/// With a BodyLength(9) and a CheckSum(10) that are right, so that it is looked at.
fn framed(fields: &[Field]) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, value) in fields {
        body.extend([&tag[..], b"=", value, &[SOH]].concat());
    }
    let mut message = format!("8=FIX.4.4\x019={}\x01", body.len()).into_bytes();
    message.extend(body);
    let sum = message.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    message.extend(format!("10={sum:03}\x01").bytes());
    message
}
