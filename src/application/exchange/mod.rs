//! `application = "exchange"`: a small venue that answers orders.
//!
//! NewOrderSingle(D), OrderCancelRequest(F), OrderCancelReplaceRequest(G) and OrderStatusRequest(H) get an
//! ExecutionReport(8) or OrderCancelReject(9) each; any other application message a BusinessMessageReject(j), and nothing
//! before FIX.4.2, which has no such message. Each answer is valid in the session's version, see [`Dialect`]. A market
//! order, and one that is immediate-or-cancel or fill-or-kill, is filled whole at once; any other rests until it is
//! cancelled. Nothing is ever matched against anything: it is a counterparty for tests, demos and benchmarks.
//!
//! The book remembers the newest orders, open or closed, and forgets older ones (see [`Book`]). It is kept through
//! snapshots and the stored reports; an OrderID(37) or ExecID(17) carries the engine's incarnation and is never reused.

mod book;
mod dialect;
mod order_id;

use book::{Book, Order, Text};
use dialect::Dialect;
use order_id::OrderId;

use super::{Application, BusinessRejectReason, Delivery, Direction, Handle, RestoreError, SessionNumber};
use crate::fix::{Decimal, Message, tags};

/// The price of a market order's fill: there is no market here.
const MARKET_PRICE: Decimal = Decimal::new(100, 0);

const ORD_STATUS_NEW: u8 = b'0';
const ORD_STATUS_FILLED: u8 = b'2';
const ORD_STATUS_CANCELED: u8 = b'4';
const ORD_STATUS_REPLACED: u8 = b'5';
const ORD_STATUS_REJECTED: u8 = b'8';

/// The venue. One instance a journal.
#[derive(Debug)]
pub struct Exchange {
    book: Book,
    /// The last number of this incarnation, of OrderIDs and ExecIDs alike.
    last_id: u64,
}

/// What an order-entry message says, borrowed from it.
struct Request<'a> {
    cl_ord_id: &'a [u8],
    orig_cl_ord_id: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    side: Option<u8>,
    quantity: Option<Decimal>,
    ord_type: Option<u8>,
    price: Option<Decimal>,
    time_in_force: Option<u8>,
}

/// Which event an ExecutionReport(8) tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    New,
    Fill,
    Canceled,
    Replaced,
    Rejected,
    Status,
}

/// Why a request is refused. A version may have no value that says so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    TooLate,
    UnknownOrder,
    DuplicateClOrdId,
    IncorrectQuantity,
    Other,
}

impl Exchange {
    /// A venue whose snapshot takes at most `snapshot_bytes_max`.
    pub fn new(snapshot_bytes_max: u32) -> Self {
        Self { book: Book::new(snapshot_bytes_max), last_id: 0 }
    }

    fn new_order(&mut self, session: &mut Handle<'_>, message: &Message<'_>, delivery: Delivery) {
        let Some(request) = request(session, message) else { return };
        let number = session.session();
        let hash = self.book.hash_of(number, request.cl_ord_id);
        if let Some(order) = self.book.find_hashed(hash, number, request.cl_ord_id) {
            if delivery.poss_resend {
                let order = order.clone();
                self.report(session, &order, Event::Status, None);
            } else {
                self.reject_order(session, &request, Reason::DuplicateClOrdId, b"duplicate ClOrdID(11)");
            }
            return;
        }
        let (Some(symbol), Some(side), Some(quantity), Some(ord_type)) =
            (request.symbol, request.side, request.quantity, request.ord_type)
        else {
            let text = b"Symbol(55), Side(54), OrderQty(38), OrdType(40) needed";
            return self.reject_order(session, &request, Reason::Other, text);
        };
        let (Some(cl_ord_id), Some(symbol)) = (Text::new(request.cl_ord_id), Text::new(symbol)) else {
            return self.reject_order(session, &request, Reason::Other, b"ClOrdID(11) or Symbol(55) too long");
        };
        if quantity.mantissa <= 0 {
            return self.reject_order(session, &request, Reason::IncorrectQuantity, b"OrderQty(38) must be positive");
        }
        let market = ord_type == b'1';
        if !market && request.price.is_none() {
            return self.reject_order(session, &request, Reason::Other, b"Price(44) needed");
        }
        let immediate = market || matches!(request.time_in_force, Some(b'3' | b'4'));
        let order = Order {
            session: number,
            cl_ord_id,
            symbol,
            side,
            ord_type,
            time_in_force: request.time_in_force.unwrap_or(b'0'),
            quantity,
            price: request.price.unwrap_or_default(),
            order_id: self.next_id(session),
            ord_status: if immediate { ORD_STATUS_FILLED } else { ORD_STATUS_NEW },
        };
        if self.report(session, &order, if immediate { Event::Fill } else { Event::New }, None) {
            self.book.insert_hashed(hash, order);
        }
    }

    fn cancel(&mut self, session: &mut Handle<'_>, message: &Message<'_>) {
        let Some(request) = request(session, message) else { return };
        let Some(mut order) = self.open_order(session, &request, b'1') else { return };
        let Some(cl_ord_id) = Text::new(request.cl_ord_id) else {
            return reject_cancel(session, &request, Some(&order), b'1', Reason::Other, b"ClOrdID(11) too long");
        };
        let original = std::mem::replace(&mut order.cl_ord_id, cl_ord_id);
        order.ord_status = ORD_STATUS_CANCELED;
        if self.report(session, &order, Event::Canceled, Some(&original)) {
            self.book.replace(&original, order);
        }
    }

    fn replace(&mut self, session: &mut Handle<'_>, message: &Message<'_>) {
        let Some(request) = request(session, message) else { return };
        let Some(mut order) = self.open_order(session, &request, b'2') else { return };
        let Some(cl_ord_id) = Text::new(request.cl_ord_id) else {
            return reject_cancel(session, &request, Some(&order), b'2', Reason::Other, b"ClOrdID(11) too long");
        };
        if self.book.find(order.session, request.cl_ord_id).is_some() {
            return reject_cancel(
                session,
                &request,
                Some(&order),
                b'2',
                Reason::DuplicateClOrdId,
                b"duplicate ClOrdID(11)",
            );
        }
        if request.quantity.is_some_and(|quantity| quantity.mantissa <= 0) {
            return reject_cancel(
                session,
                &request,
                Some(&order),
                b'2',
                Reason::Other,
                b"OrderQty(38) must be positive",
            );
        }
        let original = std::mem::replace(&mut order.cl_ord_id, cl_ord_id);
        order.quantity = request.quantity.unwrap_or(order.quantity);
        order.price = request.price.unwrap_or(order.price);
        if self.report(session, &order, Event::Replaced, Some(&original)) {
            self.book.replace(&original, order);
        }
    }

    fn status(&mut self, session: &mut Handle<'_>, message: &Message<'_>) {
        let Some(request) = request(session, message) else { return };
        match self.book.find(session.session(), request.cl_ord_id) {
            Some(order) => {
                let order = order.clone();
                self.report(session, &order, Event::Status, None);
            }
            None => self.reject_order(session, &request, Reason::UnknownOrder, b"unknown order"),
        }
    }

    /// The order that OrigClOrdID(41) names, if it is still open; an OrderCancelReject(9) is sent where not.
    fn open_order(&mut self, session: &mut Handle<'_>, request: &Request<'_>, response_to: u8) -> Option<Order> {
        let found = request.orig_cl_ord_id.and_then(|id| self.book.find(session.session(), id)).cloned();
        match found {
            None => reject_cancel(session, request, None, response_to, Reason::UnknownOrder, b"unknown order"),
            Some(order) if order.ord_status != ORD_STATUS_NEW => {
                reject_cancel(
                    session,
                    request,
                    Some(&order),
                    response_to,
                    Reason::TooLate,
                    b"too late: the order is closed",
                );
            }
            Some(order) => return Some(order),
        }
        None
    }

    fn next_id(&mut self, session: &Handle<'_>) -> OrderId {
        self.last_id += 1;
        OrderId { incarnation: session.incarnation(), number: self.last_id }
    }

    /// Sends an ExecutionReport(8) about `order`; false where there was no room, and then nothing has happened.
    fn report(&mut self, session: &mut Handle<'_>, order: &Order, event: Event, original: Option<&Text>) -> bool {
        let dialect = dialect(session);
        let exec_id = dialect.exec_id(self.next_id(session));
        let order_id = order.order_id.text();
        let transact_time = session.now().utc;
        let filled = order.ord_status == ORD_STATUS_FILLED;
        let zero = Decimal::new(0, 0);
        let price = if order.ord_type == b'1' { MARKET_PRICE } else { order.price };
        let sent = session.send(b"8", |body| {
            body.bytes(tags::ORDER_ID, &order_id).bytes(tags::CL_ORD_ID, &order.cl_ord_id);
            if let (Some(original), true) = (original, dialect.has_exec_type()) {
                body.bytes(tags::ORIG_CL_ORD_ID, original);
            }
            body.bytes(tags::EXEC_ID, &exec_id);
            if dialect.has_exec_trans_type() {
                body.char(tags::EXEC_TRANS_TYPE, if event == Event::Status { b'3' } else { b'0' });
            }
            if dialect.has_exec_type() {
                body.char(tags::EXEC_TYPE, dialect.exec_type(event, order.ord_status));
            }
            body.char(tags::ORD_STATUS, dialect.ord_status(event, order.ord_status));
            body.bytes(tags::SYMBOL, &order.symbol).char(tags::SIDE, order.side);
            body.decimal(tags::ORDER_QTY, order.quantity).char(tags::ORD_TYPE, order.ord_type);
            if order.ord_type != b'1' {
                body.decimal(tags::PRICE, order.price);
            }
            body.char(tags::TIME_IN_FORCE, order.time_in_force);
            if event == Event::Fill {
                body.decimal(tags::LAST_QTY, order.quantity).decimal(tags::LAST_PX, price);
            } else if dialect.requires_last_fill() {
                body.decimal(tags::LAST_QTY, zero).decimal(tags::LAST_PX, zero);
            }
            if dialect.has_exec_type() {
                body.decimal(
                    tags::LEAVES_QTY,
                    if ord_status_is_open(order.ord_status) { order.quantity } else { zero },
                );
            }
            body.decimal(tags::CUM_QTY, if filled { order.quantity } else { zero });
            body.decimal(tags::AVG_PX, if filled { price } else { zero });
            body.timestamp(tags::TRANSACT_TIME, transact_time, dialect.precision());
        });
        sent.is_ok()
    }

    /// An ExecutionReport(8) that rejects the request. It touches no order.
    fn reject_order(&mut self, session: &mut Handle<'_>, request: &Request<'_>, reason: Reason, text: &[u8]) {
        let dialect = dialect(session);
        let exec_id = dialect.exec_id(self.next_id(session));
        let transact_time = session.now().utc;
        let zero = Decimal::new(0, 0);
        let event = if reason == Reason::UnknownOrder { Event::Status } else { Event::Rejected };
        // Back-pressure here leaves the request unanswered, as it would an acceptance; the peer asks again.
        let _ = session.send(b"8", |body| {
            body.bytes(tags::ORDER_ID, b"NONE").bytes(tags::CL_ORD_ID, request.cl_ord_id);
            body.bytes(tags::EXEC_ID, &exec_id);
            if dialect.has_exec_trans_type() {
                body.char(tags::EXEC_TRANS_TYPE, if event == Event::Status { b'3' } else { b'0' });
            }
            if dialect.has_exec_type() {
                body.char(tags::EXEC_TYPE, dialect.exec_type(event, ORD_STATUS_REJECTED));
            }
            body.char(tags::ORD_STATUS, ORD_STATUS_REJECTED);
            body.uint(tags::ORD_REJ_REASON, dialect.ord_rej_reason(reason));
            body.bytes(tags::SYMBOL, request.symbol.unwrap_or(b"N/A"));
            body.char(tags::SIDE, request.side.unwrap_or(dialect.side_unknown()));
            if dialect.requires_last_fill() {
                body.decimal(tags::ORDER_QTY, request.quantity.unwrap_or(zero));
                body.decimal(tags::LAST_QTY, zero).decimal(tags::LAST_PX, zero);
            }
            if dialect.has_exec_type() {
                body.decimal(tags::LEAVES_QTY, zero);
            }
            body.decimal(tags::CUM_QTY, zero).decimal(tags::AVG_PX, zero);
            body.timestamp(tags::TRANSACT_TIME, transact_time, dialect.precision()).bytes(tags::TEXT, text);
        });
    }
}

fn ord_status_is_open(ord_status: u8) -> bool {
    ord_status == ORD_STATUS_NEW
}

fn dialect(session: &Handle<'_>) -> Dialect {
    Dialect::of_begin_string(&session.identity().begin_string)
}

/// Reads an order-entry message. Without a ClOrdID(11) there is nothing to answer to: a BusinessMessageReject(j) says so.
fn request<'a>(session: &mut Handle<'_>, message: &Message<'a>) -> Option<Request<'a>> {
    let mut request = Request {
        cl_ord_id: b"",
        orig_cl_ord_id: None,
        symbol: None,
        side: None,
        quantity: None,
        ord_type: None,
        price: None,
        time_in_force: None,
    };
    for field in message.fields() {
        match field.tag {
            tags::CL_ORD_ID => request.cl_ord_id = field.value,
            tags::ORIG_CL_ORD_ID => request.orig_cl_ord_id = Some(field.value),
            tags::SYMBOL => request.symbol = Some(field.value),
            tags::SIDE => request.side = crate::fix::char_of(field.value),
            tags::ORDER_QTY => request.quantity = Decimal::parse(field.value),
            tags::ORD_TYPE => request.ord_type = crate::fix::char_of(field.value),
            tags::PRICE => request.price = Decimal::parse(field.value),
            tags::TIME_IN_FORCE => request.time_in_force = crate::fix::char_of(field.value),
            _ => {}
        }
    }
    if request.cl_ord_id.is_empty() {
        let reason = BusinessRejectReason::ConditionallyRequiredFieldMissing;
        let _ = session.reject(message, reason, "ClOrdID(11) needed");
        return None;
    }
    Some(request)
}

fn reject_cancel(
    session: &mut Handle<'_>,
    request: &Request<'_>,
    order: Option<&Order>,
    response_to: u8,
    reason: Reason,
    text: &[u8],
) {
    let dialect = dialect(session);
    let _ = session.send(b"9", |body| {
        match order {
            Some(order) => body.bytes(tags::ORDER_ID, &order.order_id.text()),
            None => body.bytes(tags::ORDER_ID, b"NONE"),
        };
        body.bytes(tags::CL_ORD_ID, request.cl_ord_id);
        if dialect.has_ord_status_in_cancel_reject() {
            body.bytes(tags::ORIG_CL_ORD_ID, request.orig_cl_ord_id.unwrap_or(b"NONE"));
            body.char(tags::ORD_STATUS, order.map_or(ORD_STATUS_REJECTED, |order| order.ord_status));
        }
        if dialect.has_cxl_rej_response_to() {
            body.char(tags::CXL_REJ_RESPONSE_TO, response_to);
        }
        if let Some(reason) = dialect.cxl_rej_reason(reason) {
            body.uint(tags::CXL_REJ_REASON, reason);
        }
        body.bytes(tags::TEXT, text);
    });
}

impl Application for Exchange {
    fn on_message(&mut self, session: &mut Handle<'_>, message: &Message<'_>, delivery: Delivery) {
        match message.msg_type() {
            b"D" => self.new_order(session, message, delivery),
            b"F" => self.cancel(session, message),
            b"G" => self.replace(session, message),
            b"H" => self.status(session, message),
            // A reject of a reject would never end.
            b"j" => {}
            _ => _ = session.reject(message, BusinessRejectReason::UnsupportedMessageType, ""),
        }
    }

    fn has_turn(&self) -> bool {
        false
    }

    fn rehearse(&mut self, session: &mut Handle<'_>, message: &Message<'_>) {
        if message.msg_type() != b"D" {
            return;
        }
        let Some(request) = request(session, message) else { return };
        if let Some(order) = self.book.find(session.session(), request.cl_ord_id) {
            let (order, last_id) = (order.clone(), self.last_id);
            self.report(session, &order, Event::New, None);
            self.last_id = last_id;
        }
    }

    fn snapshot(&self, state: &mut Vec<u8>) {
        self.book.write(state);
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        self.book.read(state)
    }

    /// The stored reports are the book's history: each says what its order has become.
    fn on_replay(&mut self, session: SessionNumber, _epoch: u32, direction: Direction, message: &Message<'_>) {
        if direction == Direction::Outbound && message.msg_type() == b"8" {
            self.book.apply_report(session, message);
        }
    }
}
