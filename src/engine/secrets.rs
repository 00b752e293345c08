//! Secrets never reach the journal: their values are blanked in what is stored, length and all else kept.
//!
//! Outgoing ones never come near it: the encoder writes stars, and the values go beside it until they are sent
//! (`fix::Encoder::hide`, [`clear_form`]).

use std::borrow::Cow;

use crate::fix::{Hidden, Message, SOH, carries_credentials, checksum, raw_field, tags};

/// `10=ccc|`
const TRAILER_BYTES: usize = 7;
/// More characters before a `=` are no tag, whatever is made of them.
const TAG_BYTES_MAX: usize = 64;

/// A message as it is stored: each value of a secret field is stars, and CheckSum(10) is theirs.
pub(crate) fn blanked(message: &Message<'_>, secret: &[u32]) -> Vec<u8> {
    let bytes = message.bytes();
    let mut stored = bytes.to_vec();
    for field in message.fields().filter(|field| secret.contains(&field.tag)) {
        let offset = field.value.as_ptr().addr() - bytes.as_ptr().addr();
        stored[offset..][..field.value.len()].fill(b'*');
    }
    put_checksum(&mut stored);
    stored
}

/// A framed message that cannot be read as fields, as it is stored. Where a secret field of such a message ends cannot be known: from
/// the value of the first one on nothing is kept but the trailer. Of one that carries credentials nothing is.
pub(crate) fn blanked_unparsable<'b>(bytes: &'b [u8], secret: &[u32]) -> Cow<'b, [u8]> {
    blanked_up_to(bytes, bytes.len().saturating_sub(TRAILER_BYTES), secret)
}

/// [`blanked_unparsable`] of a message's front, which has no trailer.
pub(crate) fn blanked_head<'b>(head: &'b [u8], secret: &[u32]) -> Cow<'b, [u8]> {
    blanked_up_to(head, head.len(), secret)
}

fn blanked_up_to<'b>(bytes: &'b [u8], end: usize, secret: &[u32]) -> Cow<'b, [u8]> {
    if raw_field(bytes, tags::MSG_TYPE).is_some_and(carries_credentials) {
        return Cow::Borrowed(&[]);
    }
    let Some(offset) = first_secret(bytes, secret) else { return Cow::Borrowed(bytes) };
    let mut stored = bytes.to_vec();
    if let Some(value) = stored.get_mut(offset..end) {
        value.iter_mut().filter(|byte| **byte != SOH).for_each(|byte| *byte = b'*');
    }
    if end < stored.len() {
        put_checksum(&mut stored);
    }
    Cow::Owned(stored)
}

/// Where the value of the first field begins that may be a secret one: its tag's digits are, whatever stands between them.
fn first_secret(bytes: &[u8], secret: &[u32]) -> Option<usize> {
    let mut start = 0;
    for field in bytes.split(|byte| *byte == SOH) {
        if let Some(length) = field.iter().take(TAG_BYTES_MAX).position(|byte| *byte == b'=') {
            let digits = field[..length].iter().filter(|byte| byte.is_ascii_digit());
            let tag = digits.fold(0_u32, |tag, digit| tag.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
            if secret.contains(&tag) {
                return Some(start + length + 1);
            }
        }
        start += field.len() + 1;
    }
    None
}

/// The message as it leaves, made of the stored form and what was hidden from it.
pub(crate) fn clear_form(stored: &[u8], hidden: &Hidden) -> Box<[u8]> {
    let mut clear = stored.to_vec();
    hidden.put_back(&mut clear);
    put_checksum(&mut clear);
    clear.into_boxed_slice()
}

fn put_checksum(message: &mut [u8]) {
    let Some(summed) = message.len().checked_sub(TRAILER_BYTES) else { return };
    let (summed, trailer) = message.split_at_mut(summed);
    let sum = checksum(summed);
    trailer[3..6].copy_from_slice(&[b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{Encoder, FieldIndex, Framing, SecretTags, frame, parse};

    fn is_a_message(bytes: &[u8]) -> bool {
        matches!(frame(bytes, 512), Framing::Complete(frame) if frame.length as usize == bytes.len())
    }

    #[test]
    fn a_front_without_a_trailer_shows_nothing_of_a_secret() {
        let secrets = SecretTags::default();
        for end in ["554=hunter2\x01", "554=s\x01", "554=hunter2\x01925=hunter3\x0158=x\x01"] {
            let head = format!("8=FIX.4.4\x019=99999\x0135=D\x0134=7\x01{end}");
            let stored = blanked_head(head.as_bytes(), secrets.of(b"D"));
            let (front, value) = stored.split_at(head.find("554=").unwrap() + 4);
            assert_eq!(front, &head.as_bytes()[..front.len()]);
            assert!(value.iter().all(|byte| *byte == b'*' || *byte == SOH), "{}", String::from_utf8_lossy(&stored));
        }
        let plain = b"8=FIX.4.4\x019=99999\x0135=D\x0134=7\x0158=text\x01";
        assert_eq!(&*blanked_head(plain, secrets.of(b"D")), plain);
    }

    #[test]
    fn a_blanked_message_shows_no_secret_and_is_still_a_message() {
        for msg_type in ["A", "BE"] {
            let mut buffer = [0; 512];
            let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type.as_bytes());
            encoder
                .uint(34, 1)
                .bytes(553, b"desk")
                .bytes(554, b"hunter2")
                .data(95, 96, b"key\x01554=x")
                .bytes(925, b"new1")
                .data(1401, 1402, b"cipher\x01text")
                .bytes(554, b"hunter3");
            let length = encoder.finish().unwrap();
            let mut index = FieldIndex::with_capacity(32);
            let message = parse(&buffer[..length], &mut index).unwrap();
            let secrets = SecretTags::default();
            assert!(secrets.are_in(&message));
            let stored = blanked(&message, secrets.of(message.msg_type()));
            let text = String::from_utf8_lossy(&stored).into_owned();
            for secret in ["hunter", "key", "new1", "554=x", "cipher", "text"] {
                assert!(!text.contains(secret), "{text}");
            }
            assert!(text.contains("553=desk") && is_a_message(&stored), "{text}");
        }
    }

    #[test]
    fn whatever_cannot_be_read_shows_no_secret_either() {
        let secrets = SecretTags::default();
        let stored = |text: &str| {
            let bytes = text.replace('|', "\x01").into_bytes();
            let of = raw_field(&bytes, 35).unwrap_or_default().to_vec();
            String::from_utf8(blanked_unparsable(&bytes, secrets.of(&of)).into_owned()).unwrap().replace('\x01', "|")
        };
        let broken = "8=FIX.4.4|9=5|35=D|34=2|x|55=X|10=123|";
        assert_eq!(stored(broken), broken);
        assert_eq!(stored("8=FIX.4.4|9=5|35=A|34=2|x|554=hunter2|10=123|"), "");
        assert_eq!(stored("8=FIX.4.4|9=5|35=BE|34=2|x|554=hunter2|10=123|"), "");
        for field in [
            "554=hunter2",
            "0554=hunter2",
            " 554=hunter2",
            "+554=hunter2",
            "5x54=hunter2",
            "925=hunter2",
            "x|554=hunter2",
            "1401=99|1402=hunter2|hunter3",
            "1402=hunter2|hunter3",
            "554=|hunter2",
            "554=hunter2|554=hunter3",
        ] {
            let text = stored(&format!("8=FIX.4.4|9=5|35=D|34=2|x|{field}|55=X|10=123|"));
            assert!(!text.contains("hunter") && text.contains("|34=2|"), "{field}: {text}");
            assert!(text.starts_with("8=FIX.4.4|9=5|35=D|") && text.contains("|10="), "{field}: {text}");
        }
        assert_eq!(stored("554=x"), "554=x", "shorter than a trailer: framing lets none through");
    }

    #[test]
    fn what_was_hidden_leaves_as_it_was_given() {
        let write = |secret: &[u32]| {
            let mut buffer = [0; 512];
            let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", b"BE");
            encoder.hide(secret);
            encoder.uint(34, 1).bytes(554, b"hunter2").bytes(58, b"text").uint(925, 4711);
            encoder.data(95, 96, b"key\x01554=x").raw(b"554=raw1\x01100=N\x01").char(554, b'c').bool(554, true);
            let mut hidden = Hidden::default();
            let length = encoder.finish_hiding(&mut hidden).unwrap();
            (buffer[..length].to_vec(), hidden)
        };
        let (clear, nothing) = write(&[]);
        assert!(nothing.is_empty());
        let (stored, hidden) = write(SecretTags::default().of(b"BE"));
        let text = String::from_utf8_lossy(&stored).into_owned();
        for secret in ["hunter2", "4711", "key", "raw1", "554=c", "554=Y"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert!(text.contains("58=text") && text.contains("100=N") && is_a_message(&stored), "{text}");
        assert_eq!(&*clear_form(&stored, &hidden), clear);
    }
}
