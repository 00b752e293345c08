//! Orders made of one another, so that making them costs the client little, and what may answer them.

use super::{CL_ORD_ID_DIGITS, Client, ClientError, Peer, utc_now};
use crate::fix::{Decimal, Encoder, Precision, checksum, raw_field, tags, uint_of};

/// A MsgSeqNum(34) of so many digits, so that all orders are of one length.
const NUMBER_DIGITS: usize = 9;
/// 2026-11-25T12:00:00.000 and its like.
const TIME_BYTES: usize = 21;

/// One order after the other in one buffer, each made of the one before by its few bytes that differ.
pub(super) struct Orders {
    order: Vec<u8>,
    is_fix: bool,
    number_at: usize,
    cl_ord_id_at: usize,
    times_at: [usize; 2],
    trailer_at: usize,
    next_number: u64,
    next_order: u64,
    batch: Vec<u8>,
    /// The MsgSeqNum(34) of the server's next message, once one has come.
    awaited: Option<u64>,
    /// The number in the ClOrdID(11) of the order that is answered next.
    answered: u64,
}

impl Orders {
    pub fn new(client: &mut Client, (sender, target): (&str, &str)) -> Self {
        let Peer::Engine { next_out, .. } = &client.peer else {
            return Self {
                order: vec![b'x'; client.order_bytes],
                is_fix: false,
                number_at: 0,
                cl_ord_id_at: 0,
                times_at: [0; 2],
                trailer_at: 0,
                next_number: 0,
                next_order: 0,
                batch: Vec::new(),
                awaited: None,
                answered: 1,
            };
        };
        let next_number = *next_out;
        let mut order = vec![0; 512];
        let mut encoder = Encoder::begin(&mut order, b"FIX.4.4", b"D");
        let now = utc_now();
        let cl_ord_id = format!("{:08x}-{:0width$}", client.run_id, 0, width = CL_ORD_ID_DIGITS);
        encoder
            .bytes(tags::MSG_SEQ_NUM, &[b'0'; NUMBER_DIGITS])
            .bytes(tags::SENDER_COMP_ID, sender.as_bytes())
            .timestamp(tags::SENDING_TIME, now, Precision::Millis)
            .bytes(tags::TARGET_COMP_ID, target.as_bytes())
            .bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes())
            .char(21, b'1')
            .bytes(tags::SYMBOL, b"ACME")
            .char(tags::SIDE, b'1')
            .timestamp(tags::TRANSACT_TIME, now, Precision::Millis)
            .uint(tags::ORDER_QTY, 100)
            .char(tags::ORD_TYPE, b'2')
            .decimal(tags::PRICE, Decimal::new(12_345, 2))
            .char(tags::TIME_IN_FORCE, b'0');
        let length = encoder.finish().expect("the buffer holds every message that this client makes");
        order.truncate(length);
        client.order_bytes = length;
        let value_of = |name: &[u8]| {
            let at = order.windows(name.len()).position(|window| window == name);
            at.expect("the order has the field") + name.len()
        };
        Self {
            number_at: value_of(b"\x0134="),
            cl_ord_id_at: value_of(b"\x0111=") + cl_ord_id.len() - CL_ORD_ID_DIGITS,
            times_at: [value_of(b"\x0152="), value_of(b"\x0160=")],
            trailer_at: length - b"10=000\x01".len(),
            is_fix: true,
            next_number,
            next_order: client.next_order,
            batch: Vec::new(),
            awaited: None,
            answered: client.next_order,
            order,
        }
    }

    /// So many, one behind the other.
    pub fn next(&mut self, orders: u64) -> &[u8] {
        self.batch.clear();
        let mut time = [0; 27];
        utc_now().write(&mut time, Precision::Millis);
        for _ in 0..orders {
            if self.is_fix {
                put_digits(&mut self.order[self.number_at..][..NUMBER_DIGITS], self.next_number);
                put_digits(&mut self.order[self.cl_ord_id_at..][..CL_ORD_ID_DIGITS], self.next_order);
                for at in self.times_at {
                    self.order[at..][..TIME_BYTES].copy_from_slice(&time[..TIME_BYTES]);
                }
                let sum = checksum(&self.order[..self.trailer_at]);
                put_digits(&mut self.order[self.trailer_at + b"10=".len()..][..3], u64::from(sum));
                self.next_number += 1;
                self.next_order += 1;
            }
            self.batch.extend_from_slice(&self.order);
        }
        &self.batch
    }

    /// Whether a message of the server is the answer to the oldest open order. It must follow the message before it, and what
    /// is no answer must be a Heartbeat(0) or a TestRequest(1).
    pub fn is_answer(&mut self, bytes: &[u8]) -> Result<bool, ClientError> {
        if !self.is_fix {
            return Ok(true);
        }
        let number = raw_field(bytes, tags::MSG_SEQ_NUM).and_then(uint_of);
        let fits = number.is_some_and(|number| self.awaited.is_none_or(|awaited| number == awaited));
        self.awaited = number.map(|number| number + 1);
        match raw_field(bytes, tags::MSG_TYPE) {
            Some(b"8") if fits && self.is_for(bytes, self.answered) => {
                self.answered += 1;
                Ok(true)
            }
            Some(b"0" | b"1") if fits => Ok(false),
            _ => Err(ClientError::Protocol(format!(
                "order {} was answered by {}",
                self.answered,
                String::from_utf8_lossy(bytes).replace('\x01', "|")
            ))),
        }
    }

    fn is_for(&self, bytes: &[u8], order: u64) -> bool {
        let mut digits = [0; CL_ORD_ID_DIGITS];
        put_digits(&mut digits, order);
        raw_field(bytes, tags::CL_ORD_ID).is_some_and(|id| id.ends_with(&digits))
    }
}

fn put_digits(target: &mut [u8], mut number: u64) {
    for digit in target.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
