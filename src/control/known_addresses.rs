//! The addresses from which counterparties have logged on: where connections have to make room, theirs go last.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A power of two. A later address takes the place of an earlier one: that costs it its preference and nothing else.
const PLACES: usize = 1024;

/// Written and read by all workers, without a lock.
#[derive(Debug)]
pub struct KnownAddresses {
    /// The address's hash, at the place that its low bits say; 0 where there is none.
    places: Box<[AtomicU64]>,
    /// Of this process, so that nobody can choose which places his addresses take.
    hasher: RandomState,
}

impl Default for KnownAddresses {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl KnownAddresses {
    /// A counterparty has logged on from there.
    pub fn remember(&self, address: IpAddr) {
        let hash = self.hash(address);
        self.place(hash).store(hash, Ordering::Relaxed);
    }

    pub fn knows(&self, address: IpAddr) -> bool {
        let hash = self.hash(address);
        self.place(hash).load(Ordering::Relaxed) == hash
    }

    fn hash(&self, address: IpAddr) -> u64 {
        self.hasher.hash_one(counted_as(address)) | 1 << 63
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        &self.places[hash as usize % PLACES]
    }
}

/// What counts as one address: an IPv6 host has a /64 of them for itself.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_once_it_is_remembered_and_an_ipv6_network_is_one() {
        let known = KnownAddresses::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(!known.knows(address("10.0.0.1")));
        known.remember(address("::ffff:10.0.0.1"));
        assert!(known.knows(address("10.0.0.1")) && !known.knows(address("10.0.0.2")));
        known.remember(address("2001:db8:1:2::1"));
        assert!(known.knows(address("2001:db8:1:2:ffff::9")) && !known.knows(address("2001:db8:1:3::1")));
    }
}
