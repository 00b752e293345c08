//! Kernel TCP through mio (epoll, edge-triggered), with TCP_NODELAY on every connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::slots::Slots;
use super::{Connect, ConnectionId, Ready, Receive, Send, Transport};

/// A listener's token has this slot or one above it, which no connection has: there are not so many descriptors.
const LISTENER_SLOT: u32 = u32::MAX - u16::MAX as u32;
/// Readiness events taken from the kernel a poll, at most. What is left over comes with the next poll.
const EVENTS_MAX: usize = 256;
/// The kernel's queue of connections that are not accepted yet, as long as net.core.somaxconn allows (listen(2)): after a restart all
/// counterparties come at once, and one that finds no place waits a second for its next try.
const LISTEN_BACKLOG: i32 = 65_535;

pub struct KernelTcp {
    poll: Poll,
    events: Events,
    listeners: Vec<TcpListener>,
    connections: Slots<TcpStream>,
}

/// A token is a whole identity, so that readiness which the kernel tells late is not taken for that of the slot's next connection.
const fn token_of(id: ConnectionId) -> Token {
    const { assert!(usize::BITS == 64) };
    Token((id.generation() as usize) << 32 | id.slot())
}

/// `None` for a listener's.
const fn id_of(token: Token) -> Option<ConnectionId> {
    let (slot, generation) = (token.0 as u32, (token.0 >> 32) as u32);
    if slot < LISTENER_SLOT { Some(ConnectionId::new(slot, generation)) } else { None }
}

impl KernelTcp {
    /// `connections_max` sizes the table once.
    pub fn new(connections_max: u32) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            listeners: Vec::new(),
            connections: Slots::with_capacity(connections_max),
        })
    }

    /// Takes a bound listener, see [`bind`].
    pub fn listen(&mut self, listener: std::net::TcpListener) -> io::Result<()> {
        let mut listener = TcpListener::from_std(listener);
        let token = token_of(ConnectionId::new(LISTENER_SLOT + self.listeners.len() as u32, 0));
        self.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        self.listeners.push(listener);
        Ok(())
    }

    fn insert(&mut self, mut stream: TcpStream) -> io::Result<ConnectionId> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token_of(self.connections.next_id()), interest)?;
        Ok(self.connections.insert(stream))
    }

    fn take(&mut self, id: ConnectionId) -> Option<TcpStream> {
        let mut stream = self.connections.take(id)?;
        // Deregistering can only fail for a descriptor that epoll does not know; closing it follows in any case.
        let _ = self.poll.registry().deregister(&mut stream);
        Some(stream)
    }
}

/// Binds a listener on the thread that starts the engine, so that a taken port stops the start-up.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted engine must get its port back while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Transport for KernelTcp {
    type Detached = TcpStream;

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout.unwrap_or(Duration::ZERO))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            ready.push(match id_of(event.token()) {
                Some(id) => Ready::Connection {
                    id,
                    readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                    writable: event.is_writable() || event.is_error(),
                    ended: event.is_read_closed() || event.is_error(),
                },
                None => Ready::Acceptable,
            });
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<Option<(ConnectionId, SocketAddr)>> {
        for at in 0..self.listeners.len() {
            match self.listeners[at].accept() {
                Ok((stream, address)) => {
                    stream.set_nodelay(true)?;
                    return Ok(Some((self.insert(stream)?, address)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<ConnectionId> {
        let stream = TcpStream::connect(address)?;
        self.insert(stream)
    }

    fn connect_result(&mut self, id: ConnectionId) -> Connect {
        let Some(stream) = self.connections.get_mut(id) else { return Connect::Pending };
        match (stream.take_error(), stream.peer_addr()) {
            (Ok(Some(error)) | Err(error), _) => Connect::Failed(error),
            (_, Ok(_)) => match stream.set_nodelay(true) {
                Ok(()) => Connect::Established,
                Err(error) => Connect::Failed(error),
            },
            (_, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Connect::Pending,
            (_, Err(error)) => Connect::Failed(error),
        }
    }

    #[inline]
    fn receive(&mut self, id: ConnectionId, buffer: &mut [u8]) -> Receive {
        let Some(stream) = self.connections.get_mut(id) else { return Receive::Nothing };
        loop {
            return match stream.read(buffer) {
                Ok(0) => Receive::End,
                Ok(count) => Receive::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Receive::Nothing,
                // Not an answer: with edge-triggered readiness, "nothing now" would lose what is there.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Receive::Failed(error),
            };
        }
    }

    #[inline]
    fn send(&mut self, id: ConnectionId, slices: &[IoSlice<'_>]) -> Send {
        let Some(stream) = self.connections.get_mut(id) else { return Send::Full };
        loop {
            let result = match slices {
                [one] => stream.write(one),
                _ => stream.write_vectored(slices),
            };
            return match result {
                Ok(count) => Send::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Send::Full,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Send::Failed(error),
            };
        }
    }

    fn finish(&mut self, id: ConnectionId) {
        if let Some(stream) = self.connections.get_mut(id) {
            // It fails where the connection has failed, which the next receive tells.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, id: ConnectionId) {
        drop(self.take(id));
    }

    fn detach(&mut self, id: ConnectionId) -> Option<TcpStream> {
        self.take(id)
    }

    fn attach(&mut self, detached: TcpStream) -> io::Result<ConnectionId> {
        self.insert(detached)
    }

    fn stop_listening(&mut self) {
        for mut listener in self.listeners.drain(..) {
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_whole_identity_and_no_listener_s() {
        for id in [ConnectionId::new(0, 0), ConnectionId::new(7, u32::MAX), ConnectionId::new(LISTENER_SLOT - 1, 3)] {
            assert_eq!(id_of(token_of(id)), Some(id));
        }
        assert_eq!(id_of(token_of(ConnectionId::new(LISTENER_SLOT, 0))), None);
    }

    #[test]
    fn readiness_told_late_names_a_connection_that_is_gone() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut transport = KernelTcp::new(4).unwrap();
        transport.listen(listener).unwrap();
        let accept = |transport: &mut KernelTcp| loop {
            if let Some((id, _)) = transport.accept().unwrap() {
                return id;
            }
        };
        let _first = std::net::TcpStream::connect(address).unwrap();
        let stale = accept(&mut transport);
        transport.close(stale);
        let mut second = std::net::TcpStream::connect(address).unwrap();
        let id = accept(&mut transport);
        assert_eq!(id.slot(), stale.slot(), "the slot is used again");
        second.write_all(b"theirs").unwrap();
        assert!(matches!(transport.receive(stale, &mut [0; 16]), Receive::Nothing));
        assert!(matches!(transport.send(stale, &[IoSlice::new(b"not theirs")]), Send::Full));
        transport.finish(stale);
        transport.close(stale);
        assert!(transport.detach(stale).is_none());
        let count = loop {
            match transport.receive(id, &mut [0; 16]) {
                Receive::Nothing => {}
                Receive::Bytes(count) => break count,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(count, 6);
        assert!(matches!(transport.send(id, &[IoSlice::new(b"yours")]), Send::Bytes(5)));
        transport.finish(id);
        let mut received = String::new();
        second.read_to_string(&mut received).unwrap();
        assert_eq!(received, "yours");
    }
}
