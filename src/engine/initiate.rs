//! When and where an initiator connects: endpoints in order, names resolved anew for each attempt, a pause that grows.

use std::net::SocketAddr;

/// Addresses that one name may yield; more are left out.
pub const ADDRESSES_MAX: usize = 8;

/// Asks housekeeping to resolve a name; a worker never blocks on it.
#[derive(Debug)]
pub struct ResolveRequest {
    pub ledger: u32,
    pub session: u32,
    pub endpoint: Box<str>,
}

#[derive(Debug)]
pub struct Resolved {
    pub ledger: u32,
    pub session: u32,
    pub addresses: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// A timer will start the next attempt.
    Waiting,
    Resolving,
    Connecting,
    /// Connected; the session's own state says how far its logon is.
    Connected,
}

/// One initiator session's way to its counterparty.
#[derive(Debug)]
pub(crate) struct Initiator {
    pub attempt: Attempt,
    endpoints: Vec<Box<str>>,
    next_endpoint: usize,
    addresses: Vec<SocketAddr>,
    reconnect_min_ns: u64,
    reconnect_max_ns: u64,
    /// The pause before the next attempt, before jitter.
    pause_ns: u64,
    /// What it was at the last logon.
    grown_ns: u64,
    random: fastrand::Rng,
}

/// What an attempt begins with.
pub(crate) enum Begin {
    Connect(SocketAddr),
    Resolve(Box<str>),
}

impl Initiator {
    pub fn new(endpoints: &[String], reconnect_min_ns: u64, reconnect_max_ns: u64, seed: u64) -> Self {
        Self {
            attempt: Attempt::Waiting,
            endpoints: endpoints.iter().map(|endpoint| endpoint.as_str().into()).collect(),
            next_endpoint: 0,
            addresses: Vec::new(),
            reconnect_min_ns,
            reconnect_max_ns: reconnect_max_ns.max(reconnect_min_ns),
            pause_ns: reconnect_min_ns,
            grown_ns: reconnect_min_ns,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The next address of the name at hand, or else the next endpoint.
    pub fn begin(&mut self) -> Begin {
        if let Some(address) = self.addresses.pop() {
            self.attempt = Attempt::Connecting;
            return Begin::Connect(address);
        }
        let endpoint = self.endpoints[self.next_endpoint % self.endpoints.len()].clone();
        self.next_endpoint = (self.next_endpoint + 1) % self.endpoints.len();
        match endpoint.parse() {
            Ok(address) => {
                self.attempt = Attempt::Connecting;
                Begin::Connect(address)
            }
            Err(_) => {
                self.attempt = Attempt::Resolving;
                Begin::Resolve(endpoint)
            }
        }
    }

    /// The addresses of a name, tried in order. `false` where there are none.
    pub fn resolved(&mut self, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.truncate(ADDRESSES_MAX);
        addresses.reverse();
        self.addresses = addresses;
        !self.addresses.is_empty()
    }

    /// A logon succeeded: the next failure starts over, at the first endpoint.
    pub fn logged_on(&mut self) {
        self.grown_ns = std::mem::replace(&mut self.pause_ns, self.reconnect_min_ns);
        self.next_endpoint = 0;
        self.addresses.clear();
    }

    /// The session that was logged on ends by what the next connection is likely to meet again: the
    /// pause goes on growing.
    pub fn failed_again(&mut self) {
        self.pause_ns = self.pause_ns.max(self.grown_ns);
    }

    /// An attempt failed or a connection ended: how long to wait. Other addresses and endpoints of the list come without
    /// a pause; after the last one it doubles up to the configured bound, with a quarter of jitter, so that a thousand
    /// sessions do not come back in one instant.
    pub fn failed(&mut self, before_logon: bool) -> u64 {
        self.attempt = Attempt::Waiting;
        if before_logon && (!self.addresses.is_empty() || self.next_endpoint != 0) {
            return 0;
        }
        let pause_ns = self.pause_ns;
        self.pause_ns = (pause_ns * 2).min(self.reconnect_max_ns);
        pause_ns - self.random.u64(0..=pause_ns / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initiator(endpoints: &[&str]) -> Initiator {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| endpoint.to_string()).collect();
        Initiator::new(&endpoints, 1_000, 8_000, 7)
    }

    #[test]
    fn endpoints_are_tried_in_order_and_the_pause_comes_after_the_last() {
        let mut initiator = initiator(&["127.0.0.1:1", "127.0.0.1:2"]);
        let mut tried = Vec::new();
        for _ in 0..4 {
            let Begin::Connect(address) = initiator.begin() else { panic!("an address needs no resolving") };
            tried.push((address.port(), initiator.failed(true) > 0));
        }
        assert_eq!(tried, [(1, false), (2, true), (1, false), (2, true)]);
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_starts_over_after_a_logon() {
        let mut initiator = initiator(&["127.0.0.1:1"]);
        let mut pauses = (0..6).map(|_| {
            initiator.begin();
            initiator.failed(true)
        });
        for bound in [1_000, 2_000, 4_000, 8_000, 8_000, 8_000] {
            let pause_ns = pauses.next().unwrap();
            assert!(pause_ns <= bound && pause_ns >= bound * 3 / 4, "{pause_ns} for {bound}");
        }
        drop(pauses);
        initiator.logged_on();
        assert!(initiator.failed(false) <= 1_000);
    }

    #[test]
    fn the_pause_goes_on_growing_while_each_session_ends_by_the_same_fault() {
        let mut initiator = initiator(&["127.0.0.1:1"]);
        for bound in [1_000, 2_000, 4_000, 8_000] {
            initiator.logged_on();
            initiator.failed_again();
            let pause_ns = initiator.failed(false);
            assert!(pause_ns <= bound && pause_ns >= bound * 3 / 4, "{pause_ns} for {bound}");
        }
        initiator.logged_on();
        assert!(initiator.failed(false) <= 1_000);
    }

    #[test]
    fn a_name_is_resolved_for_each_attempt_and_all_its_addresses_are_tried() {
        let mut initiator = initiator(&["venue.example:9880"]);
        for _ in 0..2 {
            assert!(matches!(initiator.begin(), Begin::Resolve(name) if &*name == "venue.example:9880"));
            assert!(initiator.resolved(vec!["10.0.0.1:9880".parse().unwrap(), "10.0.0.2:9880".parse().unwrap()]));
            for host in ["10.0.0.1", "10.0.0.2"] {
                assert!(matches!(initiator.begin(), Begin::Connect(address) if address.ip().to_string() == host));
                initiator.failed(true);
            }
        }
        initiator.begin();
        assert!(!initiator.resolved(Vec::new()));
    }
}
