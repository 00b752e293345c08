//! A connection's receive buffer and how far it has come.

use std::io;
use std::net::SocketAddr;

use memmap2::MmapMut;

use crate::transport::ConnectionId;

/// Room beyond the longest message, so that one read can bring several.
const READ_AHEAD_BYTES: usize = 16 * 1024;
/// Of one buffer: all of it, with messages of the usual greatest length.
const FAULTED_IN_BYTES_MAX: usize = 128 * 1024;

pub(crate) struct Connection {
    pub id: ConnectionId,
    /// Tells this connection from others that had its slot before.
    pub serial: u64,
    pub peer: SocketAddr,
    pub stage: Stage,
    /// When the stage has lasted too long, on the monotonic clock. A timer of an earlier stage is told by it.
    pub deadline_ns: u64,
    pub buffer: ReceiveBuffer,
    /// More may be there to read: readiness is told once, so this stays until the transport has nothing.
    pub readable: bool,
    /// In the list of connections that this turn looks at.
    pub listed: bool,
    /// The peer has closed, or the connection has failed: reading goes on to the end, of which readiness does not tell again.
    pub ended: bool,
    /// The transport took less than offered and has not said since that there is room.
    pub socket_full: bool,
    pub last_bytes_turn: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Accepted; its Logon has not come whole. Closed at the deadline.
    LogonAwaited,
    /// Its Logon, still in the buffer, names a live session that is being probed.
    Challenging {
        ledger: u32,
        session: u32,
    },
    /// An initiator's, not connected yet. Given up at the deadline.
    Connecting {
        ledger: u32,
        session: u32,
    },
    Attached {
        ledger: u32,
        session: u32,
    },
    /// What is pending goes out, then it closes. At the deadline it closes anyway.
    Closing {
        ledger: u32,
        session: u32,
    },
}

/// Bytes received and not yet consumed, in one fixed piece of memory.
#[derive(Default)]
pub(crate) struct ReceiveBuffer {
    /// A mapping of its own: the kernel gives a page when bytes come, so that an idle session costs one and not all. A
    /// `Vec` of this size would be cleared, and so touched, by the allocator. `None` has no room.
    bytes: Option<MmapMut>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    pub fn new(message_bytes_max: u32) -> io::Result<Self> {
        let bytes = MmapMut::map_anon(message_bytes_max as usize + READ_AHEAD_BYTES)?;
        Ok(Self { bytes: Some(bytes), start: 0, end: 0 })
    }

    /// Touches what an ordinary burst fills, so that its bytes meet no page fault.
    pub fn fault_in(&self) {
        if let Some(bytes) = &self.bytes {
            // An older kernel refuses, and then it is touched when bytes come.
            let _ = bytes.advise_range(memmap2::Advice::PopulateWrite, 0, bytes.len().min(FAULTED_IN_BYTES_MAX));
        }
    }

    pub fn has_memory(&self) -> bool {
        self.bytes.is_some()
    }

    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub fn filled(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |bytes| &bytes[self.start..self.end])
    }

    /// Room for the next read. Never empty: framing refuses a message before it fills the buffer.
    pub fn space(&mut self) -> &mut [u8] {
        let Some(bytes) = &mut self.bytes else { return &mut [] };
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if bytes.len() - self.end < READ_AHEAD_BYTES / 2 {
            bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut bytes[self.end..]
    }

    pub fn received(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.bytes.as_ref().is_some_and(|bytes| self.end <= bytes.len()));
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
    }

    /// Takes over bytes that another worker received. They fit, since both sizes come from one configuration, unless there
    /// was no memory for the buffer: then the answer is `false`.
    #[must_use]
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        self.clear();
        let Some(space) = self.space().get_mut(..bytes.len()) else { return false };
        space.copy_from_slice(bytes);
        self.received(bytes.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_without_memory_takes_nothing_over() {
        assert!(!ReceiveBuffer::default().fill(b"8=FIX.4.4"));
        let mut buffer = ReceiveBuffer::new(1000).unwrap();
        assert!(buffer.fill(b"8=FIX.4.4") && buffer.filled() == b"8=FIX.4.4");
    }

    #[test]
    fn the_buffer_has_room_for_a_read_behind_the_longest_unfinished_message() {
        let mut buffer = ReceiveBuffer::new(1000).unwrap();
        for _ in 0..100 {
            // An unfinished message of the greatest length that framing leaves waiting.
            while buffer.filled().len() < 1000 {
                let count = buffer.space().len().min(300);
                assert!(count > 0);
                buffer.received(count);
            }
            assert!(!buffer.space().is_empty());
            let filled = buffer.filled().len();
            buffer.consume(filled - 1);
        }
    }
}
