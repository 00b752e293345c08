//! The messages that the benchmarks read and write: fixed, so that figures of different benchmarks speak of the same bytes.
//!
//! `fixring bench codec` times them and `benches/instructions.rs` counts them; nothing else calls this.

use std::hint::black_box;

use super::{Decimal, Encoder, HeaderTemplate, Precision, UtcTimestamp, tags};

pub const SENDING_TIME: UtcTimestamp = UtcTimestamp::from_unix_ns(1_790_000_000_123_000_000);
/// Of a MarketDataIncrementalRefresh(X).
pub const ENTRIES: u64 = 200;
pub const MSG_SEQ_NUM: u64 = 123_456;

/// What an application would have at hand. Its bodies must not be compiled into texts.
struct Values {
    md_req_id: &'static [u8],
    cl_ord_id: &'static [u8],
    order_id: &'static [u8],
    exec_id: &'static [u8],
    account: &'static [u8],
    symbol: &'static [u8],
    text: &'static [u8],
    zero: u8,
    one: u8,
    ord_type: u8,
    exec_type: u8,
    order_qty: Decimal,
    last_qty: Decimal,
    leaves_qty: Decimal,
    price: Decimal,
    last_px: Decimal,
    transact_time: UtcTimestamp,
}

const VALUES: Values = Values {
    md_req_id: b"REQ-1",
    cl_ord_id: b"ORD-20260921-0001",
    order_id: b"O-17-000000123456",
    exec_id: b"E-17-000000654321",
    account: b"ACCOUNT-7",
    symbol: b"EURUSD",
    text: b"rush",
    zero: b'0',
    one: b'1',
    ord_type: b'2',
    exec_type: b'F',
    order_qty: Decimal::new(1_000_000, 0),
    last_qty: Decimal::new(250_000, 0),
    leaves_qty: Decimal::new(750_000, 0),
    price: Decimal::new(1_084_325, 6),
    last_px: Decimal::new(1_084_300, 6),
    transact_time: SENDING_TIME,
};

/// A message in the forms that are measured.
pub struct Sample {
    pub name: &'static str,
    /// The whole message into the buffer, of the BeginString(8); answers its length.
    pub encode: fn(&mut [u8], &[u8]) -> usize,
    /// The same behind a header of [`template`], with a MsgSeqNum(34).
    pub encode_from_template: fn(&mut [u8], &mut HeaderTemplate, u64) -> usize,
}

pub const ALL: [Sample; 3] = [
    Sample {
        name: "NewOrderSingle",
        encode: new_order_single,
        encode_from_template: |buffer, template, number| {
            from_template(buffer, template, b"D", number, new_order_single_body)
        },
    },
    Sample {
        name: "ExecutionReport",
        encode: execution_report,
        encode_from_template: |buffer, template, number| {
            from_template(buffer, template, b"8", number, execution_report_body)
        },
    },
    Sample {
        name: "MarketDataIncrementalRefresh",
        encode: market_data,
        encode_from_template: |buffer, template, number| {
            from_template(buffer, template, b"X", number, market_data_body)
        },
    },
];

/// Of the session that the messages are of.
pub fn template(begin_string: &[u8]) -> HeaderTemplate {
    HeaderTemplate::new(begin_string, b"49=DESK1\x01", b"56=VENUE\x01", Precision::Millis)
}

fn from_template(
    buffer: &mut [u8],
    template: &mut HeaderTemplate,
    msg_type: &[u8],
    number: u64,
    body: fn(&mut Encoder<'_>),
) -> usize {
    let time = black_box(SENDING_TIME);
    let mut message = Encoder::begin_from(buffer, template, msg_type, number, time);
    body(&mut message);
    message.finish().expect("the buffer is large enough")
}

fn whole(buffer: &mut [u8], begin_string: &[u8], msg_type: &[u8], body: fn(&mut Encoder<'_>)) -> usize {
    let mut message = Encoder::begin(buffer, begin_string, msg_type);
    message
        .bytes(tags::SENDER_COMP_ID, b"DESK1")
        .bytes(tags::TARGET_COMP_ID, b"VENUE")
        .uint(tags::MSG_SEQ_NUM, black_box(MSG_SEQ_NUM))
        .timestamp(tags::SENDING_TIME, black_box(SENDING_TIME), Precision::Millis);
    body(&mut message);
    message.finish().expect("the buffer is large enough")
}

/// 19 fields, 200 bytes in FIX.4.4.
pub fn new_order_single(buffer: &mut [u8], begin_string: &[u8]) -> usize {
    whole(buffer, begin_string, b"D", new_order_single_body)
}

fn new_order_single_body(order: &mut Encoder<'_>) {
    let values = black_box(&VALUES);
    order
        .bytes(tags::CL_ORD_ID, values.cl_ord_id)
        .bytes(1, values.account)
        .char(tags::HANDL_INST, values.one)
        .bytes(tags::SYMBOL, values.symbol)
        .char(tags::SIDE, values.one)
        .timestamp(tags::TRANSACT_TIME, values.transact_time, Precision::Millis)
        .decimal(tags::ORDER_QTY, values.order_qty)
        .char(tags::ORD_TYPE, values.ord_type)
        .decimal(tags::PRICE, values.price)
        .char(tags::TIME_IN_FORCE, values.zero)
        .bytes(tags::TEXT, values.text);
}

/// 25 fields.
pub fn execution_report(buffer: &mut [u8], begin_string: &[u8]) -> usize {
    whole(buffer, begin_string, b"8", execution_report_body)
}

fn execution_report_body(report: &mut Encoder<'_>) {
    let values = black_box(&VALUES);
    report
        .bytes(tags::ORDER_ID, values.order_id)
        .bytes(tags::CL_ORD_ID, values.cl_ord_id)
        .bytes(tags::EXEC_ID, values.exec_id)
        .char(tags::EXEC_TYPE, values.exec_type)
        .char(tags::ORD_STATUS, values.one)
        .bytes(1, values.account)
        .bytes(tags::SYMBOL, values.symbol)
        .char(tags::SIDE, values.one)
        .decimal(tags::ORDER_QTY, values.order_qty)
        .char(tags::ORD_TYPE, values.ord_type)
        .decimal(tags::PRICE, values.price)
        .char(tags::TIME_IN_FORCE, values.zero)
        .decimal(tags::LAST_QTY, values.last_qty)
        .decimal(tags::LAST_PX, values.last_px)
        .decimal(tags::LEAVES_QTY, values.leaves_qty)
        .decimal(tags::CUM_QTY, values.last_qty)
        .decimal(tags::AVG_PX, values.last_px);
}

/// [`ENTRIES`] of seven fields each.
pub fn market_data(buffer: &mut [u8], begin_string: &[u8]) -> usize {
    whole(buffer, begin_string, b"X", market_data_body)
}

fn market_data_body(refresh: &mut Encoder<'_>) {
    let values = black_box(&VALUES);
    refresh.bytes(262, values.md_req_id).uint(268, ENTRIES);
    for entry in 0..ENTRIES {
        let price = Decimal::new(values.price.mantissa + entry as i64, values.price.scale);
        refresh
            .uint(279, entry % 2)
            .char(269, b'0' + (entry % 2) as u8)
            .uint(278, 1_000_000 + entry)
            .bytes(tags::SYMBOL, values.symbol)
            .decimal(270, price)
            .decimal(271, values.last_qty)
            .uint(346, entry % 9 + 1);
    }
}
