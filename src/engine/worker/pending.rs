//! The connections that have not logged on, oldest first, and how many of them each address has.
//!
//! Where there are too many, the oldest makes room for the newest: a counterparty's Logon comes within a round trip of its connection,
//! and whoever only holds places is older than that, whether it is silent, sends a byte a second or shares the counterparty's address.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::control::counted_as;
use crate::transport::ConnectionId;

#[derive(Debug)]
pub(super) struct Pending {
    /// Oldest first. As many as `pending_connections_max`, at most.
    waiting: Vec<Waiting>,
    /// No more entries than `waiting` has.
    by_address: HashMap<IpAddr, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: ConnectionId,
    /// See [`counted_as`].
    address: IpAddr,
    /// A counterparty has logged on from there.
    is_known: bool,
}

impl Pending {
    pub fn with_capacity(connections_max: u32) -> Self {
        let capacity = connections_max as usize;
        Self { waiting: Vec::with_capacity(capacity), by_address: HashMap::with_capacity(capacity) }
    }

    pub fn len(&self) -> u32 {
        self.waiting.len() as u32
    }

    /// How many there are of this address.
    pub fn of(&self, address: IpAddr) -> u32 {
        self.by_address.get(&counted_as(address)).copied().unwrap_or(0)
    }

    pub fn insert(&mut self, id: ConnectionId, address: IpAddr, is_known: bool) {
        let address = counted_as(address);
        self.waiting.push(Waiting { id, address, is_known });
        *self.by_address.entry(address).or_insert(0) += 1;
    }

    /// The connection has logged on or is gone. Does nothing where it is not in the table.
    pub fn remove(&mut self, id: ConnectionId) {
        // Who logs on has come lately.
        let Some(at) = self.waiting.iter().rposition(|waiting| waiting.id == id) else { return };
        let Waiting { address, .. } = self.waiting.remove(at);
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// The oldest of this address that `may_go`.
    pub fn oldest_of(&self, address: IpAddr, may_go: impl Fn(ConnectionId) -> bool) -> Option<ConnectionId> {
        let address = counted_as(address);
        self.waiting.iter().find(|waiting| waiting.address == address && may_go(waiting.id)).map(|waiting| waiting.id)
    }

    /// The oldest of all that `may_go`; of those from where a counterparty has logged on, only where there is no other.
    pub fn oldest(&self, may_go: impl Fn(ConnectionId) -> bool) -> Option<ConnectionId> {
        let oldest = |is_known| self.waiting.iter().find(|waiting| waiting.is_known == is_known && may_go(waiting.id));
        oldest(false).or_else(|| oldest(true)).map(|waiting| waiting.id)
    }
}
