//! Byte streams behind one narrow, poll-style contract.
//!
//! A worker owns one [`Transport`] and is its only caller; a socket is made, used and closed on the worker's thread
//! (the exception is the hand-over of a fresh connection, before its Logon is answered, to the worker that owns its
//! session). No call blocks but [`Transport::poll`] with a timeout. Kernel TCP is [`tcp::KernelTcp`]; the simulator's
//! network is [`simulated::SimulatedNetwork`]. Transports know nothing of FIX.

pub mod simulated;
mod slots;
pub mod tcp;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

/// A connection of a transport: a slot, which is used again after [`Transport::close`], and which of the slot's connections it is.
///
/// Timers, lists and readiness that is told late keep an identity longer than its connection lives. Every look-up compares the generation,
/// so that a stale identity finds nothing instead of another's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    slot: u32,
    generation: u32,
}

impl ConnectionId {
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The place in a table. Whoever indexes by it compares the identity as well.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// What [`Transport::poll`] saw. Spurious readiness is allowed; missed readiness is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A listener has connections to accept.
    Acceptable,
    /// Bytes, an end of stream or an error may be read, or room to send has come back, or a connect has ended. Where the stream
    /// may have `ended` it has to be read until it says so; otherwise a read that brings less than it has room for has brought all.
    Connection { id: ConnectionId, readable: bool, writable: bool, ended: bool },
}

/// The answer of [`Transport::receive`].
#[derive(Debug)]
pub enum Receive {
    Bytes(usize),
    /// Nothing now; readiness will say when.
    Nothing,
    /// The peer ended the stream.
    End,
    Failed(io::Error),
}

/// The answer of [`Transport::send`].
#[derive(Debug)]
pub enum Send {
    /// Taken; fewer than offered when the peer reads slowly.
    Bytes(usize),
    /// No room now; readiness will say when.
    Full,
    Failed(io::Error),
}

/// The answer of [`Transport::connect_result`].
#[derive(Debug)]
pub enum Connect {
    Pending,
    Established,
    Failed(io::Error),
}

/// A call with the identity of a connection that is closed does nothing and reaches no other.
pub trait Transport {
    /// A connection on its way to another worker's transport of the same kind.
    type Detached: std::marker::Send;

    /// Appends what is ready to `ready`. `None` does not wait at all.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;
    /// The next connection of any listener. `None` when there is none.
    fn accept(&mut self) -> io::Result<Option<(ConnectionId, SocketAddr)>>;
    /// Starts to connect; the end is readiness for writing, its result is [`Transport::connect_result`].
    fn connect(&mut self, address: SocketAddr) -> io::Result<ConnectionId>;
    fn connect_result(&mut self, id: ConnectionId) -> Connect;
    fn receive(&mut self, id: ConnectionId, buffer: &mut [u8]) -> Receive;
    fn send(&mut self, id: ConnectionId, slices: &[IoSlice<'_>]) -> Send;
    /// Ends our direction of the stream: what was sent arrives, then the end. Receiving goes on.
    fn finish(&mut self, id: ConnectionId);
    /// Where bytes have come that were not received, the peer may lose what it has not read of ours.
    fn close(&mut self, id: ConnectionId);
    /// Takes a connection out, to be attached to another worker's transport. `None` where it is not open.
    fn detach(&mut self, id: ConnectionId) -> Option<Self::Detached>;
    fn attach(&mut self, detached: Self::Detached) -> io::Result<ConnectionId>;
    /// Accepts no further connections: the listeners close.
    fn stop_listening(&mut self);
}
