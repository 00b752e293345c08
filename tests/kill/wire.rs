//! FIX on the wire as the tests' own counterparty speaks it: written apart from the engine's code, so that the two do not
//! agree on a mistake.

#![allow(dead_code, reason = "two tests use it, each its part")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SOH: u8 = 1;
/// Nothing that the engine is asked for takes longer on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A message's fields in order, from BeginString(8) to CheckSum(10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(pub Vec<(u32, String)>);

/// What reading came to.
#[derive(Debug)]
pub enum Read1 {
    Message(Fields),
    /// Nothing more for now.
    Nothing,
    /// The peer has closed, orderly or by dying.
    End,
}

/// A connection to the engine. It reads what is there and never blocks longer than it is told to.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Fields {
    pub fn get(&self, tag: u32) -> Option<&str> {
        self.0.iter().find(|(found, _)| *found == tag).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, tag: u32) -> u64 {
        let value = self.get(tag).unwrap_or_else(|| panic!("no field {tag} in {self:?}"));
        value.parse().unwrap_or_else(|_| panic!("field {tag} is no number in {self:?}"))
    }

    pub fn msg_type(&self) -> &str {
        self.get(35).expect("MsgType(35)")
    }

    pub fn is_set(&self, tag: u32) -> bool {
        self.get(tag) == Some("Y")
    }

    /// What must be the same whenever a message is sent again: all but the lengths, sums, times and marks of sending.
    pub fn content(&self) -> Vec<(u32, String)> {
        self.0.iter().filter(|(tag, _)| ![9, 10, 43, 52, 97, 122].contains(tag)).cloned().collect()
    }
}

impl Wire {
    /// `None` where nothing listens.
    pub fn connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Some(Self { stream, buffer: Vec::new() })
    }

    /// `false` when the peer is gone: what was lost with it is the session's affair.
    pub fn send(&mut self, message: &[u8]) -> bool {
        self.stream.set_nonblocking(false).expect("a blocking socket");
        self.stream.write_all(message).is_ok()
    }

    /// Waits at most so long for a message.
    pub fn read(&mut self, timeout: Duration) -> Read1 {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(fields) = self.take() {
                return Read1::Message(fields);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut chunk = [0; 16 * 1024];
            self.stream.set_nonblocking(left.is_zero()).expect("a socket option");
            if !left.is_zero() {
                self.stream.set_read_timeout(Some(left)).expect("a socket option");
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Read1::End,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if left.is_zero() => return Read1::Nothing,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Read1::End,
                },
            }
        }
    }

    /// The next whole message as it comes, by its BodyLength(9) alone: a data field may hold anything.
    pub fn read_raw(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(end) = raw_end(&self.buffer) {
                return Some(self.buffer.drain(..end).collect());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut chunk = [0; 16 * 1024];
            self.stream.set_nonblocking(false).expect("a socket option");
            self.stream.set_read_timeout(Some(left)).expect("a socket option");
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(_) => {}
            }
        }
    }

    /// The next whole message of the buffer, its BodyLength(9) and CheckSum(10) verified.
    fn take(&mut self) -> Option<Fields> {
        let mut at = 0;
        let mut fields = Vec::new();
        while let Some(length) = self.buffer[at..].iter().position(|byte| *byte == SOH) {
            let field = std::str::from_utf8(&self.buffer[at..at + length]).expect("ASCII");
            let (tag, value) = field.split_once('=').unwrap_or_else(|| panic!("not a field: {field:?}"));
            let start = at;
            at += length + 1;
            fields.push((tag.parse().expect("a tag"), value.to_string()));
            if tag == "10" {
                let fields = Fields(fields);
                let sum = self.buffer[..start].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                assert_eq!(fields.get(10), Some(format!("{sum:03}").as_str()), "CheckSum(10) of {fields:?}");
                let head = format!("8={}\x019={}\x01", fields.get(8).unwrap(), fields.get(9).unwrap()).len();
                assert_eq!(fields.number(9), (start - head) as u64, "BodyLength(9) of {fields:?}");
                assert_eq!(fields.0[2].0, 35, "MsgType(35) is the third field of {fields:?}");
                self.buffer.drain(..at);
                return Some(fields);
            }
        }
        None
    }
}

/// Where the first message ends.
fn raw_end(buffer: &[u8]) -> Option<usize> {
    const TRAILER_BYTES: usize = 7;
    let mut ends = buffer.iter().enumerate().filter(|(_, byte)| **byte == SOH).map(|(at, _)| at + 1);
    let (start, body) = (ends.next()?, ends.next()?);
    let length: usize = std::str::from_utf8(&buffer[start..body - 1]).ok()?.strip_prefix("9=")?.parse().ok()?;
    let end = body + length + TRAILER_BYTES;
    (buffer.len() >= end).then_some(end)
}

/// Who we are on the wire.
#[derive(Clone, Copy)]
pub struct Party {
    pub begin_string: &'static str,
    pub sender: &'static str,
    pub target: &'static str,
}

impl Party {
    /// A whole message. `body` is what follows the header, `tag=value` with `|` for the delimiter.
    pub fn message(&self, msg_type: &str, msg_seq_num: u64, header: &str, body: &str) -> Vec<u8> {
        let Self { begin_string, sender, target } = self;
        let time = utc_now();
        let text = format!("35={msg_type}|49={sender}|56={target}|34={msg_seq_num}|52={time}|{header}{body}");
        let text = text.replace('|', "\x01");
        let mut message = format!("8={begin_string}\x019={}\x01{text}", text.len()).into_bytes();
        let sum = message.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        message.extend_from_slice(format!("10={sum:03}\x01").as_bytes());
        message
    }
}

/// The form of SendingTime(52).
pub fn utc_now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seconds = since.as_secs();
    // Days to a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let days = seconds / 86_400 + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + days / 146_097 * 400 + u64::from(month <= 2);
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{year:04}{month:02}{day:02}-{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, since.subsec_millis())
}
