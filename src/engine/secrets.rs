//! Passwords never reach the journal: a Logon's secrets are blanked in the stored record, length and all else kept.

use crate::fix::{FieldIndex, checksum, parse, tags};

/// More fields than any Logon has.
const LOGON_FIELDS_MAX: u32 = 1024;
/// `10=ccc|`
const TRAILER_BYTES: usize = 7;

/// Overwrites each secret value of a framed message with `*` and mends CheckSum(10). Answers whether there was one.
/// A message that cannot be parsed is overwritten whole.
pub(crate) fn blank(message: &mut [u8]) -> bool {
    let mut index = FieldIndex::with_capacity(LOGON_FIELDS_MAX);
    let start = message.as_ptr().addr();
    let ranges: Option<Vec<_>> = parse(message, &mut index).ok().map(|parsed| {
        let secret = parsed.fields().filter(|field| tags::SECRET.contains(&field.tag));
        secret.map(|field| (field.value.as_ptr().addr() - start, field.value.len())).collect()
    });
    let Some(ranges) = ranges else {
        message.fill(b'*');
        return true;
    };
    for (offset, length) in &ranges {
        message[*offset..][..*length].fill(b'*');
    }
    if ranges.is_empty() {
        return false;
    }
    let (summed, trailer) = message.split_at_mut(message.len() - TRAILER_BYTES);
    let sum = checksum(summed);
    trailer[3..6].copy_from_slice(&[b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{Encoder, Framing, frame};

    #[test]
    fn a_blanked_logon_shows_no_secret_and_is_still_a_message() {
        let mut buffer = [0; 512];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", b"A");
        encoder
            .uint(34, 1)
            .bytes(553, b"desk")
            .bytes(554, b"hunter2")
            .data(95, 96, b"key\x01554=x")
            .bytes(925, b"new1");
        let length = encoder.finish().unwrap();
        assert!(blank(&mut buffer[..length]));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        for secret in ["hunter2", "key", "new1", "554=x"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("553=desk"), "{text}");
        assert!(matches!(frame(&buffer[..length], 512), Framing::Complete(frame) if frame.length as usize == length));
    }

    #[test]
    fn a_logon_without_secrets_is_left_as_it_is() {
        let mut buffer = [0; 128];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", b"A");
        encoder.uint(34, 1).uint(108, 30);
        let length = encoder.finish().unwrap();
        let before = buffer;
        assert!(!blank(&mut buffer[..length]));
        assert_eq!(before, buffer);
    }
}
