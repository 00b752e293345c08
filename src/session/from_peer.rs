//! A restored session takes its next outgoing number from its peer, where the operator has said so.
//!
//! Its journal is older than what the peer has seen. What the peer expects next stands in NextExpectedMsgSeqNum(789) of its Logon, where it
//! sends that, and otherwise in the text of the Logout by which it refuses ours: "MsgSeqNum too low, expecting 123 but received 5" in the
//! words of the open-source engines. It is believed once, forward only, and only while the operator's word stands; it opens an epoch.

use super::{MSG_SEQ_NUM_MAX, Notice, Numbers, Outbox, Session};
use crate::fix::{Message, tags, uint_of};

/// A peer is not believed to be further ahead than this: no session sends as much between a snapshot and its loss.
const AHEAD_MAX: u64 = 1_000_000_000;
/// Of the text, so much is read.
const TEXT_BYTES_MAX: usize = 256;
/// Between "expecting" and the number.
const BETWEEN_BYTES_MAX: usize = 24;

impl Session {
    /// The operator leaves the next outgoing number to the peer.
    pub fn take_next_out_from_peer(&mut self) {
        self.next_out_from_peer = true;
    }

    /// Whether the peer is still to say it.
    pub fn takes_next_out_from_peer(&self) -> bool {
        self.next_out_from_peer
    }

    pub(super) fn would_learn(&self, expected: u64) -> bool {
        let next_out = self.numbers.next_out;
        let max = MSG_SEQ_NUM_MAX.min(next_out.saturating_add(AHEAD_MAX));
        self.next_out_from_peer && (next_out + 1..=max).contains(&expected)
    }

    /// The peer expects this number next.
    pub(super) fn learn_next_out(&mut self, expected: u64, out: &mut impl Outbox) {
        if self.would_learn(expected) {
            self.next_out_from_peer = false;
            self.notice(Notice::NextOutFromPeer { from: self.numbers.next_out, to: expected });
            let epoch = self.numbers.epoch.saturating_add(1);
            self.numbers = Numbers { next_out: expected, epoch, ..self.numbers };
            out.next_out_is_known();
            out.numbers(self.numbers);
        }
    }

    pub(super) fn learn_from_logout(&mut self, logout: &Message<'_>, out: &mut impl Outbox) {
        let Some(expected) = logout.field(tags::TEXT).and_then(expected_in) else { return };
        let next_out = self.numbers.next_out;
        if self.next_out_from_peer {
            self.learn_next_out(expected, out);
        } else if expected > next_out && self.resets_refused == 0 {
            self.notice(Notice::OursTooLow { expected, next_out });
        }
    }

    /// The peer has shown that it takes our numbers as they are.
    pub(super) fn agree_on_next_out(&mut self, out: &mut impl Outbox) {
        if std::mem::take(&mut self.next_out_from_peer) {
            out.next_out_is_known();
            out.numbers(self.numbers);
        }
    }
}

/// The number that a text says is expected, where it says that another one was too low.
pub(super) fn expected_in(text: &[u8]) -> Option<u64> {
    let text = text[..text.len().min(TEXT_BYTES_MAX)].to_ascii_lowercase();
    let place_of = |word: &[u8]| text.windows(word.len()).position(|window| window == word);
    place_of(b"low")?;
    let rest = &text[place_of(b"expect")?..];
    let start = rest.iter().position(u8::is_ascii_digit)?;
    if start > b"expecting".len() + BETWEEN_BYTES_MAX {
        return None;
    }
    let digits = &rest[start..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    uint_of(&digits[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_number_is_found_in_the_words_of_other_engines_and_in_nothing_else() {
        let found: [(&[u8], u64); 5] = [
            (b"MsgSeqNum too low, expecting 123 but received 5", 123),
            (b"MSGSEQNUM TOO LOW, EXPECTING 7 BUT RECEIVED 1", 7),
            (b"Sequence number too low: expected=42, got 9", 42),
            (b"MsgSeqNum(34) 5 is too low, expected MsgSeqNum is 6", 6),
            (b"too low, expecting 18446744073709551615", u64::MAX),
        ];
        for (text, expected) in found {
            assert_eq!(expected_in(text), Some(expected), "{}", text.escape_ascii());
        }
        let none: [&[u8]; 7] = [
            b"",
            b"Bye",
            b"MsgSeqNum too high, expecting 123 but received 500",
            b"MsgSeqNum too low, expecting more",
            b"too low, expecting 99999999999999999999999999",
            b"too low, expecting a number that stands much too far away from it: 5",
            &[b'9'; 4096],
        ];
        for text in none {
            assert_eq!(expected_in(text), None, "{}", text.escape_ascii());
        }
        let far = [&[b' '; TEXT_BYTES_MAX][..], b"too low, expecting 5"].concat();
        assert_eq!(expected_in(&far), None);
    }
}
