//! Messages that came beyond a gap, kept until it closes. Bounded in number and bytes, its memory made once.

use std::collections::VecDeque;

/// Sorted by number. Beside whole messages it keeps *marks*: numbers of messages that were processed on arrival
/// though they came beyond the gap (Logon, ResendRequest), which only remain to be counted.
#[derive(Debug)]
pub(super) struct Held {
    entries: VecDeque<Entry>,
    entries_max: usize,
    /// Messages in the order of arrival. It is emptied when no entry is left, not compacted before: a gap closes as
    /// a whole as a rule, and what does not fit is brought by the resend.
    bytes: Vec<u8>,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    msg_seq_num: u64,
    offset: usize,
    /// 0 is a mark.
    length: usize,
}

/// What stands first in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum First {
    Nothing,
    Mark(u64),
    Message(u64),
}

/// Room that messages leave to marks, so that a Logon beyond a gap is remembered even where no message may be held.
const MARKS_RESERVED: usize = 4;

impl Held {
    pub fn with_capacity(messages_max: u32, bytes_max: u32) -> Self {
        let entries_max = messages_max as usize + MARKS_RESERVED;
        Self {
            entries: VecDeque::with_capacity(entries_max),
            entries_max,
            bytes: Vec::with_capacity(bytes_max as usize),
            bytes_max: bytes_max as usize,
        }
    }

    /// False where there is no room. A number that is held already stays as it is.
    pub fn hold(&mut self, msg_seq_num: u64, message: &[u8]) -> bool {
        let fits = self.entries.len() + MARKS_RESERVED < self.entries_max
            && self.bytes.len() + message.len() <= self.bytes_max;
        match self.entries.binary_search_by_key(&msg_seq_num, |entry| entry.msg_seq_num) {
            Ok(_) => true,
            Err(at) if fits => {
                self.entries.insert(at, Entry { msg_seq_num, offset: self.bytes.len(), length: message.len() });
                self.bytes.extend_from_slice(message);
                true
            }
            Err(_) => false,
        }
    }

    /// Remembers a number that only remains to be counted. Forgotten where there is no room: then a resend covers it.
    pub fn mark(&mut self, msg_seq_num: u64) {
        match self.entries.binary_search_by_key(&msg_seq_num, |entry| entry.msg_seq_num) {
            Ok(at) => self.entries[at].length = 0,
            Err(at) if self.entries.len() < self.entries_max => {
                self.entries.insert(at, Entry { msg_seq_num, offset: self.bytes.len(), length: 0 });
            }
            Err(_) => {}
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What comes first of `next_in` and beyond. Anything below is dropped.
    pub fn first(&mut self, next_in: u64) -> First {
        while self.entries.front().is_some_and(|entry| entry.msg_seq_num < next_in) {
            self.drop_first();
        }
        match self.entries.front() {
            None => First::Nothing,
            Some(entry) if entry.length == 0 => First::Mark(entry.msg_seq_num),
            Some(entry) => First::Message(entry.msg_seq_num),
        }
    }

    /// How many whole messages have lower numbers than this.
    pub fn messages_below(&self, msg_seq_num: u64) -> u64 {
        let below = self.entries.iter().take_while(|entry| entry.msg_seq_num < msg_seq_num);
        below.filter(|entry| entry.length > 0).count() as u64
    }

    /// Appends the first message to `buffer`. It stays the first.
    pub fn copy_first(&self, buffer: &mut Vec<u8>) {
        if let Some(entry) = self.entries.front() {
            buffer.extend_from_slice(&self.bytes[entry.offset..entry.offset + entry.length]);
        }
    }

    pub fn drop_first(&mut self) {
        self.entries.pop_front();
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_in_the_order_of_their_numbers() {
        let mut held = Held::with_capacity(8, 64);
        for number in [9, 7, 8] {
            assert!(held.hold(number, format!("m{number}").as_bytes()));
        }
        let mut buffer = Vec::new();
        for number in 7..10 {
            assert_eq!(held.first(number), First::Message(number));
            buffer.clear();
            held.copy_first(&mut buffer);
            held.drop_first();
            assert_eq!(buffer, format!("m{number}").as_bytes());
        }
        assert!(held.is_empty() && held.bytes.is_empty());
    }

    #[test]
    fn neither_bound_is_passed_and_no_memory_is_made_anew() {
        let mut held = Held::with_capacity(3, 10);
        let (entries, bytes) = (held.entries.capacity(), held.bytes.capacity());
        assert!(held.hold(2, b"12345"));
        assert!(!held.hold(3, b"123456"), "too many bytes");
        assert!(held.hold(4, b"1") && held.hold(5, b"1"));
        assert!(!held.hold(6, b"1"), "too many messages");
        for number in 7..20 {
            held.mark(number);
        }
        assert_eq!((held.entries.capacity(), held.bytes.capacity()), (entries, bytes));
    }

    #[test]
    fn the_first_copy_of_a_number_is_kept() {
        let mut held = Held::with_capacity(4, 64);
        assert!(held.hold(5, b"first") && held.hold(5, b"second"));
        let mut buffer = Vec::new();
        held.copy_first(&mut buffer);
        held.drop_first();
        assert_eq!(buffer, b"first");
        assert!(held.is_empty());
    }

    #[test]
    fn what_lies_below_the_expected_number_is_dropped() {
        let mut held = Held::with_capacity(4, 64);
        held.hold(5, b"a");
        held.mark(6);
        assert_eq!(held.first(6), First::Mark(6));
        assert_eq!(held.first(7), First::Nothing);
    }
}
