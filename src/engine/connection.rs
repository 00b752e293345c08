//! A worker's connections: how far each has come, and its receive buffer.

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
    pub peer: SocketAddr,
    pub stage: Stage,
    /// When the stage has lasted too long, on the monotonic clock. A timer of an earlier stage is told by it.
    pub deadline_ns: u64,
    pub buffer: ReceiveBuffer,
    /// A message that is too long is being read over.
    pub over: Option<Box<ReadOver>>,
    /// More may be there to read: readiness is told once, so this stays until the transport has nothing.
    pub readable: bool,
    /// In the list of connections that this turn looks at.
    pub listed: bool,
    /// The peer has closed, or the connection has failed: reading goes on to the end, of which readiness does not tell again.
    pub ended: bool,
    /// The end of the peer's stream has been read.
    pub input_ended: bool,
    /// Its Logon has come and waits, since its session is slowed.
    pub logon_waits: bool,
    /// Something has been sent.
    pub has_sent: bool,
    /// The transport took less than offered and has not said since that there is room.
    pub socket_full: bool,
    pub last_bytes_turn: u64,
}

/// A message that is longer than `message_bytes_max`, of which only the head is kept.
pub(crate) struct ReadOver {
    /// By its own word.
    pub length: u64,
    /// Bytes before the delimiter of its trailer that are still to come.
    pub left: u64,
    /// Of the bytes so far.
    pub sum: u8,
    pub head: Box<[u8]>,
}

/// What becomes of input is the stage's to say. Before `Attached` the first message decides: a Logon(A) that names a session, or the
/// connection is refused. `Attached` gives each message to the session and skips what is garbled. From `Closing` on input is
/// discarded unread: the session has said its last word, or the peer its own.
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
    /// What is committed is released and goes out. At the deadline the connection closes anyway.
    Closing {
        ledger: u32,
        session: u32,
    },
    /// Everything is sent, our direction has ended, and the session has left. It closes when the peer's direction ends too, or
    /// at the deadline: closed with input unread, a connection takes from the peer what it has not read of ours.
    Draining,
}

impl Stage {
    /// It has no session yet.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::LogonAwaited | Self::Challenging { .. })
    }
}

/// Connections by slot. A look-up compares the whole identity, so that a stale one finds nothing.
pub(crate) struct Connections(Vec<Option<Connection>>);

impl Connections {
    pub fn with_capacity(connections_max: u32) -> Self {
        Self(Vec::with_capacity(connections_max as usize))
    }

    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.0.get(id.slot())?.as_ref().filter(|connection| connection.id == id)
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.0.get_mut(id.slot())?.as_mut().filter(|connection| connection.id == id)
    }

    pub fn insert(&mut self, connection: Connection) {
        let slot = connection.id.slot();
        if slot >= self.0.len() {
            self.0.resize_with(slot + 1, || None);
        }
        let before = self.0[slot].replace(connection);
        debug_assert!(before.is_none(), "a transport gives a slot out again after it is closed");
    }

    pub fn take(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        self.0[id.slot()].take()
    }

    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.0.iter().flatten().map(|connection| connection.id)
    }
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
