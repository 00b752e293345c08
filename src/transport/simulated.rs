//! A network in memory, for tests that drive whole engines in one thread.
//!
//! Bytes arrive in order and in chunks of random size; a slow reader fills its pipe and the sender sees
//! [`Send::Full`]. A stream's directions end one by one; who closes with bytes unread takes from the peer what it has not read
//! (RFC 9293, 3.6.1). A host that crashes takes its connections with it. Everything random comes from the seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::slots::Slots;
use super::{Connect, ConnectionId, Ready, Receive, Send, Transport};

/// Bytes that one direction of a connection holds before the sender sees [`Send::Full`].
const PIPE_BYTES_MAX: usize = 64 * 1024;

/// A host in the simulated network. A restarted engine is a new host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(pub u32);

impl Host {
    /// Where its connections come from.
    fn address(self) -> SocketAddr {
        (Ipv4Addr::from(0x0b00_0000 | self.0), 40_000).into()
    }
}

#[derive(Clone)]
pub struct SimulatedNetwork(Rc<RefCell<State>>);

struct State {
    random: fastrand::Rng,
    /// Bytes come in pieces of random size.
    cuts: bool,
    listeners: BTreeMap<SocketAddr, Host>,
    /// Connections that a host has not accepted yet: the end that is theirs.
    backlog: BTreeMap<Host, VecDeque<(EndId, SocketAddr)>>,
    ends: BTreeMap<EndId, End>,
    next_end: u64,
}

type EndId = u64;

struct End {
    host: Host,
    peer: EndId,
    received: VecDeque<u8>,
    /// The peer has ended its direction: what is in `received` may still be read.
    ended: bool,
    /// We have ended ours.
    is_finished: bool,
    /// Nothing goes through in either direction.
    is_cut: bool,
}

impl SimulatedNetwork {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            random: fastrand::Rng::with_seed(seed),
            cuts: true,
            listeners: BTreeMap::new(),
            backlog: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_end: 0,
        })))
    }

    /// Bytes come as they are sent from now on, as far as there is room: for tests that count turns.
    pub fn cut_nothing(&self) {
        self.0.borrow_mut().cuts = false;
    }

    /// A transport for `host` that listens on `addresses`. A host may have several, one a worker: at most one of them listens.
    pub fn transport(&self, host: Host, addresses: &[SocketAddr]) -> SimulatedTransport {
        for address in addresses {
            self.0.borrow_mut().listeners.insert(*address, host);
        }
        SimulatedTransport {
            network: self.clone(),
            host,
            listens: !addresses.is_empty(),
            slots: Slots::with_capacity(0),
        }
    }

    /// The host is gone: its listeners and connections with it. Peers see the end of the stream.
    pub fn crash(&self, host: Host) {
        let state = &mut *self.0.borrow_mut();
        state.listeners.retain(|_, owner| *owner != host);
        state.backlog.remove(&host);
        let dead: Vec<EndId> = state.ends.iter().filter(|(_, end)| end.host == host).map(|(id, _)| *id).collect();
        for id in dead {
            state.close(id);
        }
    }

    /// Cuts every connection between any two hosts, as a network failure would.
    pub fn cut_all(&self) {
        let state = &mut *self.0.borrow_mut();
        for end in state.ends.values_mut() {
            (end.ended, end.is_cut) = (true, true);
            end.received.clear();
        }
    }
}

impl End {
    fn new(host: Host, peer: EndId) -> Self {
        Self { host, peer, received: VecDeque::new(), ended: false, is_finished: false, is_cut: false }
    }
}

impl State {
    fn open(&mut self, host: Host, peer: EndId) -> EndId {
        let id = self.next_end;
        self.next_end += 1;
        self.ends.insert(id, End::new(host, peer));
        id
    }

    fn close(&mut self, id: EndId) {
        if let Some(end) = self.ends.remove(&id)
            && let Some(peer) = self.ends.get_mut(&end.peer)
        {
            peer.ended = true;
            if !end.received.is_empty() {
                // A reset overtakes what was sent before it.
                peer.received.clear();
                peer.is_cut = true;
            }
        }
    }
}

pub struct SimulatedTransport {
    network: SimulatedNetwork,
    host: Host,
    listens: bool,
    slots: Slots<EndId>,
}

impl SimulatedTransport {
    fn end(&self, id: ConnectionId) -> Option<EndId> {
        self.slots.get(id).copied()
    }
}

impl Transport for SimulatedTransport {
    type Detached = EndId;

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let state = self.network.0.borrow();
        if self.listens && state.backlog.get(&self.host).is_some_and(|backlog| !backlog.is_empty()) {
            ready.push(Ready::Acceptable);
        }
        // It says so of each at each time, so that it need not know whose readiness is new.
        let all = self.slots.ids();
        ready.extend(all.map(|id| Ready::Connection { id, readable: true, writable: true, ended: true }));
        Ok(())
    }

    fn accept(&mut self) -> io::Result<Option<(ConnectionId, SocketAddr)>> {
        let next = self.network.0.borrow_mut().backlog.get_mut(&self.host).and_then(VecDeque::pop_front);
        Ok(next.map(|(end, address)| (self.slots.insert(end), address)))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<ConnectionId> {
        let ours = {
            let state = &mut *self.network.0.borrow_mut();
            let listener = *state.listeners.get(&address).ok_or(io::ErrorKind::ConnectionRefused)?;
            let ours = state.open(self.host, state.next_end + 1);
            let theirs = state.open(listener, ours);
            state.backlog.entry(listener).or_default().push_back((theirs, self.host.address()));
            ours
        };
        Ok(self.slots.insert(ours))
    }

    fn connect_result(&mut self, id: ConnectionId) -> Connect {
        match self.end(id) {
            Some(_) => Connect::Established,
            None => Connect::Failed(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn receive(&mut self, id: ConnectionId, buffer: &mut [u8]) -> Receive {
        let Some(id) = self.end(id) else { return Receive::Nothing };
        let state = &mut *self.network.0.borrow_mut();
        let Some(end) = state.ends.get_mut(&id) else { return Receive::End };
        if end.received.is_empty() {
            return if end.ended { Receive::End } else { Receive::Nothing };
        }
        let count = end.received.len().min(buffer.len());
        let count = if state.cuts && state.random.u8(..) < 64 { state.random.usize(1..=count) } else { count };
        for (target, byte) in buffer.iter_mut().zip(end.received.drain(..count)) {
            *target = byte;
        }
        Receive::Bytes(count)
    }

    fn send(&mut self, id: ConnectionId, slices: &[IoSlice<'_>]) -> Send {
        let Some(id) = self.end(id) else { return Send::Full };
        let state = &mut *self.network.0.borrow_mut();
        let peer = match state.ends.get(&id) {
            Some(end) if !end.is_finished && !end.is_cut => end.peer,
            _ => return Send::Failed(io::ErrorKind::BrokenPipe.into()),
        };
        let cut = state.cuts && state.random.u8(..) < 16;
        let chunk = state.random.usize(1..=64);
        let Some(peer) = state.ends.get_mut(&peer) else { return Send::Failed(io::ErrorKind::BrokenPipe.into()) };
        let room = PIPE_BYTES_MAX - peer.received.len();
        let room = if cut { room.min(chunk) } else { room };
        if room == 0 {
            return Send::Full;
        }
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let before = peer.received.len();
        peer.received.extend(bytes.take(room));
        Send::Bytes(peer.received.len() - before)
    }

    fn finish(&mut self, id: ConnectionId) {
        let Some(id) = self.end(id) else { return };
        let state = &mut *self.network.0.borrow_mut();
        let Some(end) = state.ends.get_mut(&id) else { return };
        end.is_finished = true;
        let peer = end.peer;
        if let Some(peer) = state.ends.get_mut(&peer) {
            peer.ended = true;
        }
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some(end) = self.slots.take(id) {
            self.network.0.borrow_mut().close(end);
        }
    }

    fn detach(&mut self, id: ConnectionId) -> Option<EndId> {
        self.slots.take(id)
    }

    fn attach(&mut self, detached: EndId) -> io::Result<ConnectionId> {
        Ok(self.slots.insert(detached))
    }

    fn stop_listening(&mut self) {
        if self.listens {
            let host = self.host;
            self.network.0.borrow_mut().listeners.retain(|_, owner| *owner != host);
        }
    }
}
