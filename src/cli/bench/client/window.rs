//! Many orders in flight: what the server answers when it is never waited for.

use std::time::{Duration, Instant};

use super::{CL_ORD_ID_DIGITS, Client, ClientError, Peer, SILENCE_MAX, utc_now};
use crate::fix::{Decimal, Encoder, Precision, checksum, raw_field, tags, uint_of};

/// How the load is kept up.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Window {
    /// Sent and not yet answered, at most.
    pub orders: u32,
    pub duration: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Answered {
    pub orders: u64,
    pub elapsed: Duration,
}

impl Answered {
    pub fn per_second(&self) -> f64 {
        self.orders as f64 / self.elapsed.as_secs_f64()
    }
}

/// New orders go out when so many fit, in one write: one at a time would measure the client's system calls.
fn batch_of(window: u32) -> u32 {
    (window / 4).max(1)
}

/// A MsgSeqNum(34) of so many digits, so that all orders are of one length.
const NUMBER_DIGITS: usize = 9;
/// 2026-11-25T12:00:00.000 and its like.
const TIME_BYTES: usize = 21;

impl Client {
    /// Keeps so many orders in flight for so long, then waits for the last answers. Each answer's type and number are
    /// looked at; the last must be for the last order.
    pub fn saturate(&mut self, window: Window, comp_ids: (&str, &str)) -> Result<Answered, ClientError> {
        let mut orders = Orders::new(self, comp_ids);
        let mut awaited = None;
        let (mut sent, mut answered) = (0_u64, 0_u64);
        let batch = batch_of(window.orders);
        let start = Instant::now();
        let mut last_answer = start;
        loop {
            let now = Instant::now();
            let is_over = now.duration_since(start) >= window.duration;
            let room = u64::from(window.orders) - (sent - answered);
            if !is_over && room >= u64::from(batch) {
                let bytes = orders.next(room);
                self.write(bytes)?;
                sent += room;
            }
            if is_over && sent == answered {
                break;
            }
            let before = answered;
            while let Some(answer) = self.try_receive()? {
                answered += u64::from(self.is_report(answer, &mut awaited)?);
                if answered == sent && is_over {
                    orders.check_last(self, answer)?;
                }
                self.release(answer);
            }
            if answered > before {
                last_answer = now;
            } else if now.duration_since(last_answer) > SILENCE_MAX {
                return Err(ClientError::Protocol(format!("no answer to order {answered} for {SILENCE_MAX:?}")));
            }
        }
        Ok(Answered { orders: answered, elapsed: start.elapsed() })
    }

    /// Whether the answer is one to an order. Its MsgSeqNum(34) must follow the one before it.
    fn is_report(&self, answer: usize, awaited: &mut Option<u64>) -> Result<bool, ClientError> {
        if matches!(self.peer, Peer::Floor { .. }) {
            return Ok(true);
        }
        let bytes = &self.received[self.start..][..answer];
        let number = raw_field(bytes, tags::MSG_SEQ_NUM).and_then(uint_of);
        let fits = number.is_some_and(|number| awaited.is_none_or(|awaited| number == awaited));
        *awaited = number.map(|number| number + 1);
        match raw_field(bytes, tags::MSG_TYPE) {
            Some(b"8") if fits => Ok(true),
            Some(b"0") if fits => Ok(false),
            _ => Err(ClientError::Protocol(format!("an order was answered by {}", self.text(answer)))),
        }
    }
}

/// One order after the other in one buffer, each made of the one before by its few bytes that differ.
struct Orders {
    order: Vec<u8>,
    is_fix: bool,
    number_at: usize,
    cl_ord_id_at: usize,
    times_at: [usize; 2],
    trailer_at: usize,
    next_number: u64,
    next_order: u64,
    batch: Vec<u8>,
}

impl Orders {
    fn new(client: &mut Client, (sender, target): (&str, &str)) -> Self {
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
            order,
        }
    }

    fn next(&mut self, orders: u64) -> &[u8] {
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

    /// The last answer is for the last order.
    fn check_last(&self, client: &Client, answer: usize) -> Result<(), ClientError> {
        let bytes = &client.received[client.start..][..answer];
        let wanted = &self.order[self.cl_ord_id_at..][..CL_ORD_ID_DIGITS];
        let found = raw_field(bytes, tags::CL_ORD_ID);
        if self.is_fix && !found.is_some_and(|found| found.ends_with(wanted)) {
            return Err(ClientError::Protocol(format!("the last order was answered by {}", client.text(answer))));
        }
        Ok(())
    }
}

fn put_digits(target: &mut [u8], mut number: u64) {
    for digit in target.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
