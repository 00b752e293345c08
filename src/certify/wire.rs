//! Bytes to messages, for a reader that trusts nothing: a message that is not framed as FIX demands is the other side's
//! fault, and said as such.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const SOH: u8 = 1;
/// No message of a scenario comes near it.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// `10=ccc|`
const TRAILER_BYTES: usize = 7;
/// What of bytes that are no message is shown.
const SHOWN_BYTES_MAX: usize = 200;
const SECRETS: [&str; 5] = ["96", "554", "925", "1402", "1404"];

/// A message as it came, BodyLength(9) and CheckSum(10) verified.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub fields: Vec<(String, String)>,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Event {
    Message(Received),
    Closed,
    /// The time is over.
    Nothing,
    /// What is wrong with the bytes that came.
    Malformed(String),
}

pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Received {
    /// The first of that tag.
    pub fn field(&self, tag: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == tag).map(|(_, value)| value.as_str())
    }

    pub fn msg_type(&self) -> &str {
        self.field("35").unwrap_or_default()
    }

    pub fn shown(&self) -> String {
        shown(&self.fields)
    }
}

impl Wire {
    pub fn connect(address: &str, timeout: Duration) -> Result<Self, String> {
        let failed = |error| format!("no connection to {address}: {error}");
        let mut last = None;
        for address in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    stream.set_write_timeout(Some(timeout)).map_err(failed)?;
                    return Ok(Self { stream, buffer: Vec::new() });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| format!("{address} names no address"), failed))
    }

    /// Whether the other side is gone is found by reading.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("the connection does not take the message: {error}"))
    }

    pub fn read(&mut self, deadline: Instant) -> Event {
        loop {
            match self.take() {
                Ok(Some(message)) => return Event::Message(message),
                Ok(None) => {}
                Err(what) => return Event::Malformed(what),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return Event::Nothing;
            }
            let mut chunk = [0; 8 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Event::Closed,
                Ok(0) => return Event::Malformed(format!("closed within a message: {}", self.pending())),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if !self.buffer.is_empty() => {
                        return Event::Malformed(format!("a message does not end: {}", self.pending()));
                    }
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Event::Nothing,
                    ErrorKind::Interrupted => {}
                    // A reset closes as well.
                    _ => return Event::Closed,
                },
            }
        }
    }

    fn pending(&self) -> String {
        self.buffer[..self.buffer.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string().replace("\\x01", "|")
    }

    /// The next whole message of the buffer.
    fn take(&mut self) -> Result<Option<Received>, String> {
        let wrong = |what: &str| Err(format!("{what}: {}", self.pending()));
        if self.buffer.len() > MESSAGE_BYTES_MAX {
            return wrong("a message is longer than any should be");
        }
        let Some(head) = (match head(&self.buffer) {
            Ok(head) => head,
            Err(what) => return wrong(what),
        }) else {
            return Ok(None);
        };
        let (body_begin, body_length) = head;
        let Some(end) = body_begin.checked_add(body_length).filter(|end| *end <= MESSAGE_BYTES_MAX) else {
            return wrong("BodyLength(9) is longer than any should be");
        };
        let Some(trailer) = self.buffer.get(end..end + TRAILER_BYTES) else { return Ok(None) };
        if !trailer.starts_with(b"10=") || trailer[TRAILER_BYTES - 1] != SOH || self.buffer[end - 1] != SOH {
            return wrong("BodyLength(9) is wrong: no CheckSum(10) where it says");
        }
        let sum = self.buffer[..end].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if trailer[3..6] != *format!("{sum:03}").as_bytes() {
            return wrong(&format!("CheckSum(10) is wrong, it should be {sum:03}"));
        }
        let mut fields = Vec::new();
        for field in self.buffer[..end + TRAILER_BYTES - 1].split(|byte| *byte == SOH) {
            let field = String::from_utf8_lossy(field);
            match field.split_once('=') {
                Some((tag, value)) => fields.push((tag.to_string(), value.to_string())),
                None => return wrong(&format!("{field:?} is no field")),
            }
        }
        self.buffer.drain(..end + TRAILER_BYTES);
        Ok(Some(Received { fields }))
    }
}

/// Where the body begins and how long it is, once that much has come.
fn head(buffer: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let starts = |bytes: &[u8], with: &[u8]| {
        let common = bytes.len().min(with.len());
        bytes[..common] == with[..common]
    };
    if !starts(buffer, b"8=") {
        return Err("a message does not begin with BeginString(8)");
    }
    let Some(first) = buffer.iter().position(|byte| *byte == SOH) else { return Ok(None) };
    let rest = &buffer[first + 1..];
    if !starts(rest, b"9=") {
        return Err("the second field is not BodyLength(9)");
    }
    let Some(second) = rest.iter().position(|byte| *byte == SOH) else { return Ok(None) };
    let length = std::str::from_utf8(&rest[2..second]).ok().and_then(|digits| digits.parse().ok());
    let length = length.ok_or("BodyLength(9) is no number")?;
    Ok(Some((first + 1 + second + 1, length)))
}

/// Fields as people read them, without secrets.
pub(super) fn shown(fields: &[(String, String)]) -> String {
    let mut text = String::new();
    for (tag, value) in fields {
        let value = if SECRETS.contains(&tag.as_str()) { "***" } else { value };
        text.extend([tag, "=", value, "|"]);
    }
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn read(bytes: &[u8]) -> Event {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut wire = Wire::connect(&listener.local_addr().unwrap().to_string(), Duration::from_secs(5)).unwrap();
        listener.accept().unwrap().0.write_all(bytes).unwrap();
        wire.read(Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn a_message_is_whole_and_its_secrets_are_not_shown() {
        let Event::Message(message) = read(b"8=FIX.4.4\x019=12\x0135=A\x01554=pw\x0110=165\x01") else { panic!() };
        assert_eq!(message.msg_type(), "A");
        assert_eq!(message.shown(), "8=FIX.4.4|9=12|35=A|554=***|10=165|");
    }

    #[test]
    fn what_is_not_framed_as_fix_is_named() {
        for (bytes, what) in [
            (&b"HTTP/1.1 400"[..], "does not begin with BeginString(8)"),
            (b"8=FIX.4.4\x0135=0\x01", "second field"),
            (b"8=FIX.4.4\x019=x\x01", "no number"),
            (b"8=FIX.4.4\x019=99999999\x01", "longer than"),
            (b"8=FIX.4.4\x019=4\x0135=0\x0110=161\x01", "BodyLength(9) is wrong"),
            (b"8=FIX.4.4\x019=5\x0135=0\x0110=000\x01", "it should be"),
            (b"8=FIX.4.4\x019=5\x0135=0\x01", "closed within"),
        ] {
            let Event::Malformed(said) = read(bytes) else { panic!("{}", bytes.escape_ascii()) };
            assert!(said.contains(what), "{said}");
        }
        assert!(matches!(read(b""), Event::Closed));
    }
}
