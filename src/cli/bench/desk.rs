//! One of many counterparties, all driven by one thread: a FIX initiator on a socket that never blocks, which keeps what is not sent
//! yet and what is not whole yet, and grows no larger than these.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::client::{ClientError, encode, logon_body, order_body, utc_now};
use crate::fix::{Encoder, Framing, frame, raw_field, tags};
use crate::sys::arrival;

pub(super) const TARGET_COMP_ID: &str = "VENUE";
/// Longer than any of the benchmarks.
pub(super) const HEART_BT_INT_S: u64 = 3_600;
const READ_BYTES: usize = 16 * 1024;
/// A server that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How often a spinning wait looks at the clock for [`SILENCE_MAX`].
const SPINS_PER_LOOK: u32 = 16_384;

pub(super) struct Desk {
    stream: TcpStream,
    comp_id: String,
    next_out: u64,
    next_order: u64,
    run_id: u32,
    unsent: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

/// What a read found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    Bytes(usize),
    Nothing,
    /// The engine has closed the connection.
    End,
}

impl Desk {
    pub fn connect(address: SocketAddr, comp_id: impl Into<String>) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // What the client closes is gone: thousands of connections would use up the ports in TIME_WAIT.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(Self {
            stream,
            comp_id: comp_id.into(),
            next_out: 1,
            next_order: 1,
            run_id: fastrand::u32(..),
            unsent: Vec::new(),
            sent: 0,
            received: Vec::new(),
        })
    }

    /// Logs on and waits for the answer.
    pub fn log_on(address: SocketAddr, comp_id: impl Into<String>) -> Result<Self, ClientError> {
        let mut desk = Self::connect(address, comp_id)?;
        desk.logon(HEART_BT_INT_S);
        desk.flush()?;
        desk.until(b"A")?;
        Ok(desk)
    }

    /// A Logon(A) with which both numbers begin again.
    pub fn logon(&mut self, heart_bt_int_s: u64) {
        self.message(b"A", |body| logon_body(body, heart_bt_int_s));
    }

    pub fn order(&mut self) {
        let cl_ord_id = self.cl_ord_id(self.next_order);
        self.next_order += 1;
        self.message(b"D", |body| order_body(body, &cl_ord_id));
    }

    fn cl_ord_id(&self, order: u64) -> String {
        format!("{:08x}-{order:010}", self.run_id)
    }

    /// Adds a message to what is to be sent.
    pub fn message(&mut self, msg_type: &[u8], fill: impl FnOnce(&mut Encoder<'_>)) {
        let mut buffer = [0; 512];
        let length = encode(&mut buffer, msg_type, self.next_out, (&self.comp_id, TARGET_COMP_ID), fill);
        self.next_out += 1;
        self.bytes(&buffer[..length]);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        }
        self.unsent.extend_from_slice(bytes);
    }

    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    /// Sends what the socket takes. Answers whether that was all.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// One read, and each whole message that it brought.
    pub fn read(&mut self, mut on_message: impl FnMut(&[u8])) -> Result<Came, ClientError> {
        let mut chunk = [0; READ_BYTES];
        let count = match self.stream.read(&mut chunk) {
            Ok(0) => return Ok(Came::End),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Came::Nothing),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Came::End),
            Err(error) => return Err(error.into()),
        };
        self.received.extend_from_slice(&chunk[..count]);
        self.frames(&mut on_message)?;
        Ok(Came::Bytes(count))
    }

    fn frames(&mut self, on_message: &mut impl FnMut(&[u8])) -> Result<(), ClientError> {
        let mut at = 0;
        loop {
            match frame(&self.received[at..], 64 * 1024) {
                Framing::Complete(frame) => {
                    let end = at + frame.length as usize;
                    on_message(&self.received[at..end]);
                    at = end;
                }
                Framing::Incomplete => break,
                Framing::Invalid { why, .. } => {
                    return Err(ClientError::Protocol(format!("the engine sent no FIX to {}: {why:?}", self.comp_id)));
                }
            }
            if at == self.received.len() {
                break;
            }
        }
        self.received.drain(..at);
        Ok(())
    }

    /// Reads until a message of this type has come.
    pub fn until(&mut self, msg_type: &[u8]) -> Result<(), ClientError> {
        let since = Instant::now();
        let mut found = false;
        while !found {
            let came = self.read(|message| found |= is_of(message, msg_type))?;
            if came == Came::End || since.elapsed() > SILENCE_MAX {
                let wanted = String::from_utf8_lossy(msg_type);
                return Err(ClientError::Protocol(format!("{} waited for a {wanted} in vain: {came:?}", self.comp_id)));
            }
            if came == Came::Nothing {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Reads with the kernel's times in [`Desk::round_trip`].
    pub fn note_arrivals(&mut self) -> Result<(), ClientError> {
        Ok(arrival::note(&self.stream)?)
    }

    /// One order, and its report in ns from before the order is written until the kernel has the report: what keeps this thread from
    /// its core meanwhile is not in it. Nothing else may be on the way.
    pub fn round_trip(&mut self) -> Result<u64, ClientError> {
        self.order();
        let wanted = self.cl_ord_id(self.next_order - 1);
        // Whoever waits for this core gets it now, rather than between the clock and the order.
        std::thread::yield_now();
        let start = utc_now();
        while !self.flush()? {
            std::hint::spin_loop();
        }
        let since = Instant::now();
        let mut spins = 0;
        let mut chunk = [0; READ_BYTES];
        loop {
            match arrival::read(&self.stream, &mut chunk) {
                Ok((0, _)) => {
                    return Err(ClientError::Protocol(format!("{}: the connection was closed", self.comp_id)));
                }
                Ok((count, arrival_ns)) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    let mut found = false;
                    self.frames(&mut |message| {
                        found |= is_of(message, b"8") && raw_field(message, tags::CL_ORD_ID) == Some(wanted.as_bytes());
                    })?;
                    if found {
                        let arrival_ns = arrival_ns.unwrap_or_else(|| utc_now().unix_ns);
                        return Ok(arrival_ns.saturating_sub(start.unix_ns));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    spins += 1;
                    if spins % SPINS_PER_LOOK == 0 && since.elapsed() > SILENCE_MAX {
                        return Err(ClientError::Protocol(format!("{}: no report to {wanted}", self.comp_id)));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub(super) fn is_of(message: &[u8], msg_type: &[u8]) -> bool {
    raw_field(message, tags::MSG_TYPE) == Some(msg_type)
}
