//! What the other peers do to the engine, in small steps between the measured orders.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::super::client::ClientError;
use super::super::desk::{Came, Desk, HEART_BT_INT_S, is_of};
use crate::fix::{raw_field, tags, uint_of};

/// Orders of the peer that does not read, in a step.
const STUCK_ORDERS: usize = 8;
const DEAD_PEERS: usize = 32;
const DEAD_HEART_BT_INT_S: u64 = 1;
const RESENDS: usize = 4;
/// Half-open connections at a time; the oldest is closed for a new one.
const HALF_OPEN_MAX: usize = 8;
const FLOOD_ORDERS: usize = 32;
/// What a peer that reads takes in a step, in reads.
const READS_MAX: usize = 4;

/// A disturbance: what it is called, how often it steps, and what it did.
pub(super) trait Disturbance {
    fn name(&self) -> &'static str;
    /// In plain words what it does, for the report.
    fn what(&self) -> &'static str;
    /// Steps between two measured orders, at most: one that goes as fast as it can steps until the next order is due.
    fn steps_max(&self) -> u32;
    /// A little of it: some tens of µs of this thread, which never waits.
    fn step(&mut self) -> Result<(), ClientError>;
    /// Comes to its end: reads what is there and asks for no more.
    fn drain(&mut self) -> Result<(), ClientError> {
        Ok(())
    }
    /// Something it has asked for is not there yet.
    fn is_owed(&self) -> bool {
        false
    }
    /// What it has done so far, in the unit that `unit` names. A run in which this stays 0 has measured nothing.
    fn done(&self) -> u64;
    fn unit(&self) -> &'static str;
}

pub(super) fn all(address: SocketAddr, stored: u32) -> Result<Vec<Box<dyn Disturbance>>, ClientError> {
    Ok(vec![
        Box::new(Stuck { address, desk: None, orders: 0 }),
        Box::new(Dead { address, peers: VecDeque::new(), at: 0, logons: 0 }),
        Box::new(ResendStorm::new(address, stored)?),
        Box::new(LogonStorm { address, at: 0, open: VecDeque::new(), half_open: VecDeque::new(), connections: 0 }),
        Box::new(Flood { desk: Desk::log_on(address, "FLOOD")?, reports: 0 }),
    ])
}

/// A peer that sends orders and reads none of the reports, until it is disconnected; then it comes again.
struct Stuck {
    address: SocketAddr,
    desk: Option<Desk>,
    orders: u64,
}

impl Disturbance for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn what(&self) -> &'static str {
        "a peer that sends orders and reads no report"
    }

    fn steps_max(&self) -> u32 {
        1
    }

    /// Resends take less of the ring while a peer is behind: this one is gone before they are measured.
    fn drain(&mut self) -> Result<(), ClientError> {
        self.desk = None;
        Ok(())
    }

    fn step(&mut self) -> Result<(), ClientError> {
        let Some(desk) = &mut self.desk else {
            let mut desk = Desk::connect(self.address, "STUCK")?;
            // The kernel then holds little of what is not read.
            desk.socket().set_recv_buffer_size(4 * 1024)?;
            desk.logon(HEART_BT_INT_S);
            desk.flush()?;
            self.desk = Some(desk);
            return Ok(());
        };
        // Behind what is not sent yet nothing is added, so that this is bounded.
        match desk.flush() {
            Ok(true) => {
                (0..STUCK_ORDERS).for_each(|_| desk.order());
                self.orders += STUCK_ORDERS as u64;
                if desk.flush().is_err() {
                    self.desk = None;
                }
            }
            Ok(false) => {}
            Err(_) => self.desk = None,
        }
        Ok(())
    }

    fn done(&self) -> u64 {
        self.orders
    }

    fn unit(&self) -> &'static str {
        "orders"
    }
}

/// Peers that have logged on and are gone: their sockets stay, and nothing comes from them, not even an end.
struct Dead {
    address: SocketAddr,
    peers: VecDeque<Desk>,
    at: usize,
    logons: u64,
}

impl Disturbance for Dead {
    fn name(&self) -> &'static str {
        "dead"
    }

    fn what(&self) -> &'static str {
        "32 peers that log on with a heartbeat of 1 s and fall silent, each again when it is disconnected"
    }

    fn steps_max(&self) -> u32 {
        1
    }

    fn step(&mut self) -> Result<(), ClientError> {
        if self.peers.len() < DEAD_PEERS {
            let mut peer = Desk::connect(self.address, format!("DEAD{}", self.peers.len()))?;
            peer.logon(DEAD_HEART_BT_INT_S);
            peer.flush()?;
            self.peers.push_back(peer);
            self.logons += 1;
            return Ok(());
        }
        self.at = (self.at + 1) % DEAD_PEERS;
        // A dead peer reads nothing; its bench does, to know when it has been given up.
        if self.peers[self.at].read(|_| {})? == Came::End {
            let mut peer = Desk::connect(self.address, format!("DEAD{}", self.at))?;
            peer.logon(DEAD_HEART_BT_INT_S);
            peer.flush()?;
            self.peers[self.at] = peer;
            self.logons += 1;
        }
        Ok(())
    }

    fn done(&self) -> u64 {
        self.logons
    }

    fn unit(&self) -> &'static str {
        "logons"
    }
}

/// Sessions that ask for everything again and again, and read it.
struct ResendStorm {
    desks: Vec<(Desk, bool)>,
    at: usize,
    last_number: u64,
    resent: u64,
}

impl ResendStorm {
    fn new(address: SocketAddr, stored: u32) -> Result<Self, ClientError> {
        let mut desks = Vec::new();
        for number in 0..RESENDS {
            let mut desk = Desk::log_on(address, format!("RESEND{number}"))?;
            let (mut sent, mut reports) = (0, 0);
            while reports < stored {
                if sent < stored && sent - reports < 512 && desk.flush()? {
                    (0..FLOOD_ORDERS).for_each(|_| desk.order());
                    sent += FLOOD_ORDERS as u32;
                }
                desk.flush()?;
                let came = desk.read(|message| reports += u32::from(is_of(message, b"8")))?;
                if came == Came::End {
                    return Err(ClientError::Protocol("the engine closed a connection that was to store".into()));
                }
            }
            desks.push((desk, false));
        }
        Ok(Self { desks, at: 0, last_number: u64::from(stored), resent: 0 })
    }
}

impl Disturbance for ResendStorm {
    fn name(&self) -> &'static str {
        "resends"
    }

    fn what(&self) -> &'static str {
        "4 peers that ask for all their messages again and again, and read them"
    }

    fn steps_max(&self) -> u32 {
        u32::MAX
    }

    fn is_owed(&self) -> bool {
        self.desks.iter().any(|(_, is_asked)| *is_asked)
    }

    fn step(&mut self) -> Result<(), ClientError> {
        let next = (self.at + 1) % self.desks.len();
        let (desk, is_asked) = &mut self.desks[next];
        if !*is_asked {
            desk.message(b"2", |body| {
                body.uint(tags::BEGIN_SEQ_NO, 1).uint(tags::END_SEQ_NO, 0);
            });
            *is_asked = true;
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<(), ClientError> {
        self.at = (self.at + 1) % self.desks.len();
        let (desk, is_asked) = &mut self.desks[self.at];
        desk.flush()?;
        let (resent, last_number) = (&mut self.resent, self.last_number);
        for _ in 0..READS_MAX {
            let came = desk.read(|message| {
                *resent += 1;
                // A gap fill stands for the numbers before its NewSeqNo(36).
                let of = |tag: u32| raw_field(message, tag).and_then(uint_of);
                let reached = of(tags::NEW_SEQ_NO).map(|new| new.saturating_sub(1)).or_else(|| of(tags::MSG_SEQ_NUM));
                *is_asked &= reached.is_none_or(|number| number < last_number);
            })?;
            match came {
                Came::Bytes(_) => {}
                Came::Nothing => break,
                Came::End => return Err(ClientError::Protocol("a resend ended with the connection".into())),
            }
        }
        Ok(())
    }

    fn done(&self) -> u64 {
        self.resent
    }

    fn unit(&self) -> &'static str {
        "messages"
    }
}

/// Connections by thousands: sessions that log on and out, strangers, wrong numbers, garbage, and some that say nothing.
struct LogonStorm {
    address: SocketAddr,
    at: u64,
    /// Which the engine has to answer or to close.
    open: VecDeque<Desk>,
    half_open: VecDeque<Desk>,
    connections: u64,
}

impl Disturbance for LogonStorm {
    fn name(&self) -> &'static str {
        "logons"
    }

    fn what(&self) -> &'static str {
        "connections that log on and out, are refused, say garbage or nothing; two for each measured order"
    }

    fn steps_max(&self) -> u32 {
        2
    }

    fn step(&mut self) -> Result<(), ClientError> {
        self.at += 1;
        // The table of the engine stays small: a hundred sessions come again and again.
        let comp_id = format!("STORM{}", self.at % 100);
        let mut desk = match Desk::connect(self.address, comp_id) {
            Ok(desk) => desk,
            Err(_) if self.connections > 0 => return Ok(()),
            Err(error) => return Err(error),
        };
        self.connections += 1;
        match self.at % 5 {
            0 => {
                desk.logon(HEART_BT_INT_S);
                desk.message(b"5", |_| {});
            }
            1 => desk.message(b"D", |_| {}),
            // A number that is too low, unless the session is new.
            2 => desk.message(b"A", |body| {
                body.uint(tags::ENCRYPT_METHOD, 0).uint(tags::HEART_BT_INT, HEART_BT_INT_S);
            }),
            3 => desk.bytes(b"GET / HTTP/1.1\r\nHost: venue\r\n\r\n"),
            _ => {
                self.half_open.push_back(desk);
                if self.half_open.len() > HALF_OPEN_MAX {
                    self.half_open.pop_front();
                }
                return Ok(());
            }
        }
        // The engine may have closed it already.
        let _ = desk.flush();
        self.open.push_back(desk);
        if self.open.len() > 2 * HALF_OPEN_MAX {
            self.open.pop_front();
        }
        Ok(())
    }

    fn done(&self) -> u64 {
        self.connections
    }

    fn unit(&self) -> &'static str {
        "connections"
    }
}

/// A session that sends orders as fast as the engine takes them.
struct Flood {
    desk: Desk,
    reports: u64,
}

impl Disturbance for Flood {
    fn name(&self) -> &'static str {
        "flood"
    }

    fn what(&self) -> &'static str {
        "a session that sends orders as fast as they are taken"
    }

    fn steps_max(&self) -> u32 {
        u32::MAX
    }

    fn step(&mut self) -> Result<(), ClientError> {
        if self.desk.flush()? {
            (0..FLOOD_ORDERS).for_each(|_| self.desk.order());
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<(), ClientError> {
        self.desk.flush()?;
        let reports = &mut self.reports;
        for _ in 0..READS_MAX {
            match self.desk.read(|message| *reports += u64::from(is_of(message, b"8")))? {
                Came::Bytes(_) => {}
                Came::Nothing => break,
                Came::End => return Err(ClientError::Protocol("the flood's connection was closed".into())),
            }
        }
        Ok(())
    }

    fn done(&self) -> u64 {
        self.reports
    }

    fn unit(&self) -> &'static str {
        "reports"
    }
}
