//! Kernel TCP through mio (epoll, edge-triggered), with TCP_NODELAY on every connection.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::{Connect, ConnectionId, Ready, Receive, Send, Transport};

/// Tokens of listeners begin here; below are connections' slots.
const LISTENER_TOKEN: usize = usize::MAX / 2;
/// Readiness events taken from the kernel a poll, at most. What is left over comes with the next poll.
const EVENTS_MAX: usize = 256;
/// The kernel's queue of connections that are not accepted yet, as long as net.core.somaxconn allows (listen(2)): after a restart all
/// counterparties come at once, and one that finds no place waits a second for its next try.
const LISTEN_BACKLOG: i32 = 65_535;

pub struct KernelTcp {
    poll: Poll,
    events: Events,
    listeners: Vec<TcpListener>,
    connections: Vec<Option<TcpStream>>,
    free: Vec<u32>,
}

impl KernelTcp {
    /// `connections_max` sizes the table once.
    pub fn new(connections_max: u32) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            listeners: Vec::new(),
            connections: Vec::with_capacity(connections_max as usize),
            free: Vec::with_capacity(connections_max as usize),
        })
    }

    /// Takes a bound listener, see [`bind`].
    pub fn listen(&mut self, listener: std::net::TcpListener) -> io::Result<()> {
        let mut listener = TcpListener::from_std(listener);
        let token = Token(LISTENER_TOKEN + self.listeners.len());
        self.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        self.listeners.push(listener);
        Ok(())
    }

    fn insert(&mut self, mut stream: TcpStream) -> io::Result<ConnectionId> {
        let slot = self.free.pop().unwrap_or(self.connections.len() as u32);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(slot as usize), interest) {
            self.free.push(slot);
            return Err(error);
        }
        match self.connections.get_mut(slot as usize) {
            Some(place) => *place = Some(stream),
            None => self.connections.push(Some(stream)),
        }
        Ok(ConnectionId(slot))
    }

    fn stream(&mut self, id: ConnectionId) -> Option<&mut TcpStream> {
        self.connections.get_mut(id.0 as usize)?.as_mut()
    }

    fn take(&mut self, id: ConnectionId) -> Option<TcpStream> {
        let mut stream = self.connections.get_mut(id.0 as usize)?.take()?;
        self.free.push(id.0);
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
            ready.push(match event.token() {
                Token(slot) if slot < LISTENER_TOKEN => Ready::Connection {
                    id: ConnectionId(slot as u32),
                    readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                    writable: event.is_writable() || event.is_error(),
                    ended: event.is_read_closed() || event.is_error(),
                },
                _ => Ready::Acceptable,
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
        let Some(stream) = self.stream(id) else { return Connect::Pending };
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
        let Some(stream) = self.stream(id) else { return Receive::Nothing };
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
        let Some(stream) = self.stream(id) else { return Send::Full };
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

    fn close(&mut self, id: ConnectionId) {
        drop(self.take(id));
    }

    fn detach(&mut self, id: ConnectionId) -> TcpStream {
        self.take(id).expect("only an open connection is handed over")
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
