//! The measuring client: a FIX initiator of a few lines that spins on its socket. The floor gets the same client, with
//! the same bytes, so that the difference between two runs is the server.

mod fleet;
mod orders;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::fix::{Decimal, Encoder, FieldIndex, Framing, Message, Precision, UtcTimestamp, frame, parse, tags};
use crate::sys::arrival;

pub(super) use fleet::{Answered, Fleet, OpenLoop, Window};

const BUFFER_BYTES: usize = 256 * 1024;
/// A server that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often a spinning wait looks at the clock for [`SILENCE_MAX`].
const SPINS_PER_LOOK: u32 = 65_536;
/// Every ClOrdID(11) has so many digits, so that all orders are of one length.
const CL_ORD_ID_DIGITS: usize = 10;

#[derive(Debug)]
pub(super) enum ClientError {
    Io(io::Error),
    /// The server does not behave as an engine, and how.
    Protocol(String),
    /// The client could not keep the rate: its figures would be of another load.
    MissedRate {
        wanted: u32,
        reached: f64,
    },
    /// Of our own making or the machine's, and what.
    Failed(String),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How the peer answers: a FIX engine with an ExecutionReport(8), the floor with so many bytes.
enum Peer {
    Engine { next_out: u64, index: FieldIndex },
    Floor { answer_bytes: usize },
}

pub(super) struct Client {
    stream: TcpStream,
    peer: Peer,
    received: Vec<u8>,
    start: usize,
    end: usize,
    /// When the newest bytes arrived, by the kernel's clock, in ns since 1970; where [`Client::note_arrivals`] asked for it.
    arrival_ns: Option<u64>,
    notes_arrivals: bool,
    next_order: u64,
    /// The prefix of every ClOrdID(11), so that two runs against one engine do not collide.
    run_id: u32,
    pub order_bytes: usize,
    pub answer_bytes: usize,
}

impl Client {
    /// Connects to the floor.
    pub fn to_floor(address: SocketAddr, order_bytes: usize, answer_bytes: usize) -> Result<Self, ClientError> {
        let mut client = Self::connect(address, Peer::Floor { answer_bytes })?;
        (client.order_bytes, client.answer_bytes) = (order_bytes, answer_bytes);
        Ok(client)
    }

    /// Connects to an engine and logs on, with the engine's and our numbers starting at 1 again.
    pub fn to_engine(address: SocketAddr, comp_ids: (&str, &str), heart_bt_int_s: u64) -> Result<Self, ClientError> {
        let index = FieldIndex::with_capacity(1024);
        let mut client = Self::connect(address, Peer::Engine { next_out: 1, index })?;
        let mut logon = [0; 512];
        let length = client.encode(&mut logon, b"A", comp_ids, |body| {
            logon_body(body, heart_bt_int_s);
        });
        client.write(&logon[..length])?;
        let answer = client.receive()?;
        if client.field(answer, tags::MSG_TYPE) != Some(b"A".to_vec()) {
            return Err(ClientError::Protocol(format!("the answer to the Logon was {}", client.text(answer))));
        }
        client.release(answer);
        Ok(client)
    }

    fn connect(address: SocketAddr, peer: Peer) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            peer,
            received: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            arrival_ns: None,
            notes_arrivals: false,
            next_order: 1,
            run_id: fastrand::u32(..),
            order_bytes: 0,
            answer_bytes: 0,
        })
    }

    /// Reads with the kernel's times from now on.
    pub fn note_arrivals(&mut self) -> Result<(), ClientError> {
        arrival::note(&self.stream)?;
        self.notes_arrivals = true;
        Ok(())
    }

    /// One order and its answer, in ns from before the order is written until the kernel has the answer. What keeps this
    /// thread from its core meanwhile is not in it.
    pub fn round_trip_to_arrival(&mut self, comp_ids: (&str, &str)) -> Result<u64, ClientError> {
        let mut order = [0; 512];
        let length = self.encode_order(&mut order, comp_ids);
        let start = utc_now();
        self.write(&order[..length])?;
        let answer = self.receive()?;
        let arrival_ns = self.arrival_ns.ok_or_else(|| ClientError::Protocol("the kernel noted no arrival".into()))?;
        self.check(answer, self.next_order - 1)?;
        Ok(arrival_ns.saturating_sub(start.unix_ns))
    }

    pub fn encode_order(&mut self, buffer: &mut [u8; 512], comp_ids: (&str, &str)) -> usize {
        let number = self.next_order;
        self.next_order += 1;
        if let Peer::Floor { .. } = self.peer {
            return self.order_bytes;
        }
        let cl_ord_id = format!("{:08x}-{number:0width$}", self.run_id, width = CL_ORD_ID_DIGITS);
        let length = self.encode(buffer, b"D", comp_ids, |body| order_body(body, &cl_ord_id));
        self.order_bytes = length;
        length
    }

    pub fn encode(
        &mut self,
        buffer: &mut [u8; 512],
        msg_type: &[u8],
        comp_ids: (&str, &str),
        fill: impl FnOnce(&mut Encoder<'_>),
    ) -> usize {
        let Peer::Engine { next_out, .. } = &mut self.peer else { return 0 };
        let number = *next_out;
        *next_out += 1;
        encode(buffer, msg_type, number, comp_ids, fill)
    }

    #[inline]
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Spins until an answer is whole; its length.
    #[inline]
    fn receive(&mut self) -> Result<usize, ClientError> {
        let mut since: Option<Instant> = None;
        let mut spins = 0;
        loop {
            if let Some(length) = self.try_receive()? {
                return Ok(length);
            }
            spins += 1;
            if spins == SPINS_PER_LOOK {
                spins = 0;
                if since.get_or_insert_with(Instant::now).elapsed() > SILENCE_MAX {
                    return Err(ClientError::Protocol(format!("no answer for {SILENCE_MAX:?}")));
                }
            }
        }
    }

    /// The length of the next answer, if it is whole.
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<usize>, ClientError> {
        if let Some(length) = self.whole()? {
            return Ok(Some(length));
        }
        self.fill(BUFFER_BYTES)?;
        self.whole()
    }

    /// Reads once, so many bytes at most; whether there may be more.
    #[inline]
    fn fill(&mut self, bytes_max: usize) -> Result<bool, ClientError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.received.len() - self.end < BUFFER_BYTES / 4 {
            self.received.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let bytes_max = bytes_max.min(self.received.len() - self.end);
        let space = &mut self.received[self.end..][..bytes_max];
        let read = if self.notes_arrivals {
            arrival::read(&self.stream, space).map(|(count, arrival_ns)| {
                self.arrival_ns = arrival_ns;
                count
            })
        } else {
            self.stream.read(space)
        };
        match read {
            Ok(0) => Err(ClientError::Protocol("the server closed the connection".into())),
            Ok(count) => {
                self.end += count;
                Ok(count == bytes_max)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn whole(&mut self) -> Result<Option<usize>, ClientError> {
        let bytes = &self.received[self.start..self.end];
        match &self.peer {
            Peer::Floor { answer_bytes } => Ok((bytes.len() >= *answer_bytes).then_some(*answer_bytes)),
            Peer::Engine { .. } if bytes.is_empty() => Ok(None),
            Peer::Engine { .. } => match frame(bytes, BUFFER_BYTES as u32 / 4) {
                Framing::Complete(frame) => Ok(Some(frame.length as usize)),
                Framing::Incomplete => Ok(None),
                Framing::Invalid { why, .. } => Err(ClientError::Protocol(format!("the server sent no FIX: {why:?}"))),
            },
        }
    }

    /// The answer is an ExecutionReport(8) for the order. Session messages on the way are no answer.
    fn check(&mut self, mut answer: usize, order: u64) -> Result<(), ClientError> {
        if matches!(self.peer, Peer::Floor { .. }) {
            self.release(answer);
            return Ok(());
        }
        while matches!(self.field(answer, tags::MSG_TYPE).as_deref(), Some(b"0" | b"1")) {
            self.release(answer);
            answer = self.receive()?;
        }
        let suffix = format!("-{order:0width$}", width = CL_ORD_ID_DIGITS);
        let fits = self.field(answer, tags::MSG_TYPE) == Some(b"8".to_vec())
            && self.field(answer, tags::CL_ORD_ID).is_some_and(|id| id.ends_with(suffix.as_bytes()));
        if !fits {
            return Err(ClientError::Protocol(format!("order {order} was answered by {}", self.text(answer))));
        }
        self.answer_bytes = answer;
        self.release(answer);
        Ok(())
    }

    pub fn release(&mut self, length: usize) {
        self.start += length;
    }

    fn field(&mut self, answer: usize, tag: u32) -> Option<Vec<u8>> {
        self.message(answer)?.field(tag).map(<[u8]>::to_vec)
    }

    /// An engine's answer that is whole. `None` where its fields cannot be read.
    pub fn message(&mut self, answer: usize) -> Option<Message<'_>> {
        let Peer::Engine { index, .. } = &mut self.peer else { return None };
        parse(&self.received[self.start..][..answer], index).ok()
    }

    pub fn text(&self, answer: usize) -> String {
        String::from_utf8_lossy(&self.received[self.start..][..answer]).replace('\x01', "|")
    }
}

/// A message with this MsgSeqNum(34) from sender to target. Answers its length.
pub(super) fn encode(
    buffer: &mut [u8; 512],
    msg_type: &[u8],
    number: u64,
    (sender, target): (&str, &str),
    fill: impl FnOnce(&mut Encoder<'_>),
) -> usize {
    let mut encoder = Encoder::begin(buffer, b"FIX.4.4", msg_type);
    encoder
        .uint(tags::MSG_SEQ_NUM, number)
        .bytes(tags::SENDER_COMP_ID, sender.as_bytes())
        .timestamp(tags::SENDING_TIME, utc_now(), Precision::Millis)
        .bytes(tags::TARGET_COMP_ID, target.as_bytes());
    fill(&mut encoder);
    encoder.finish().expect("the buffer holds every message that this client makes")
}

/// Of a Logon(A) with which both numbers begin again.
pub(super) fn logon_body(body: &mut Encoder<'_>, heart_bt_int_s: u64) {
    body.uint(tags::ENCRYPT_METHOD, 0).uint(tags::HEART_BT_INT, heart_bt_int_s).bool(tags::RESET_SEQ_NUM_FLAG, true);
}

/// Of the NewOrderSingle(D) that is measured everywhere.
pub(super) fn order_body(body: &mut Encoder<'_>, cl_ord_id: &str) {
    body.bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes()).char(21, b'1').bytes(tags::SYMBOL, b"ACME");
    body.char(tags::SIDE, b'1').timestamp(tags::TRANSACT_TIME, utc_now(), Precision::Millis);
    body.uint(tags::ORDER_QTY, 100).char(tags::ORD_TYPE, b'2').decimal(tags::PRICE, Decimal::new(12_345, 2));
    body.char(tags::TIME_IN_FORCE, b'0');
}

pub(super) fn utc_now() -> UtcTimestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UtcTimestamp::from_unix_ns(since.as_nanos() as u64)
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Protocol(what) | Self::Failed(what) => f.write_str(what),
            Self::MissedRate { wanted, reached } => {
                write!(f, "{reached:.0} a second were done where {wanted} were to be: lower --rate")
            }
        }
    }
}
