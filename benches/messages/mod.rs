//! The messages that the benchmarks read and write: fixed, so that figures of different benchmarks speak of the same bytes.
#![allow(dead_code, reason = "no benchmark needs all of them")]

use fixring::fix::{Decimal, Encoder, Precision, UtcTimestamp, tags};

pub const SENDING_TIME: UtcTimestamp = UtcTimestamp::from_unix_ns(1_790_000_000_123_000_000);
/// Of a MarketDataIncrementalRefresh(X).
pub const ENTRIES: u64 = 200;

fn header<'b>(buffer: &'b mut [u8], begin_string: &[u8], msg_type: &[u8]) -> Encoder<'b> {
    let mut message = Encoder::begin(buffer, begin_string, msg_type);
    message
        .bytes(tags::SENDER_COMP_ID, b"DESK1")
        .bytes(tags::TARGET_COMP_ID, b"VENUE")
        .uint(tags::MSG_SEQ_NUM, 123_456)
        .timestamp(tags::SENDING_TIME, SENDING_TIME, Precision::Millis);
    message
}

/// 19 fields, 200 bytes in FIX.4.4.
pub fn new_order_single(buffer: &mut [u8], begin_string: &[u8]) -> usize {
    let mut order = header(buffer, begin_string, b"D");
    order
        .bytes(tags::CL_ORD_ID, b"ORD-20260921-0001")
        .bytes(1, b"ACCOUNT-7")
        .char(21, b'1')
        .bytes(tags::SYMBOL, b"EURUSD")
        .char(tags::SIDE, b'1')
        .timestamp(tags::TRANSACT_TIME, SENDING_TIME, Precision::Millis)
        .decimal(tags::ORDER_QTY, Decimal::new(1_000_000, 0))
        .char(tags::ORD_TYPE, b'2')
        .decimal(tags::PRICE, Decimal::new(1_084_325, 6))
        .char(tags::TIME_IN_FORCE, b'0')
        .bytes(tags::TEXT, b"rush");
    order.finish().expect("the buffer is large enough")
}

/// 25 fields.
pub fn execution_report(buffer: &mut [u8], begin_string: &[u8]) -> usize {
    let mut report = header(buffer, begin_string, b"8");
    report
        .bytes(tags::ORDER_ID, b"O-17-000000123456")
        .bytes(tags::CL_ORD_ID, b"ORD-20260921-0001")
        .bytes(tags::EXEC_ID, b"E-17-000000654321")
        .char(tags::EXEC_TYPE, b'F')
        .char(tags::ORD_STATUS, b'1')
        .bytes(1, b"ACCOUNT-7")
        .bytes(tags::SYMBOL, b"EURUSD")
        .char(tags::SIDE, b'1')
        .decimal(tags::ORDER_QTY, Decimal::new(1_000_000, 0))
        .char(tags::ORD_TYPE, b'2')
        .decimal(tags::PRICE, Decimal::new(1_084_325, 6))
        .char(tags::TIME_IN_FORCE, b'0')
        .decimal(tags::LAST_QTY, Decimal::new(250_000, 0))
        .decimal(tags::LAST_PX, Decimal::new(1_084_300, 6))
        .decimal(tags::LEAVES_QTY, Decimal::new(750_000, 0))
        .decimal(tags::CUM_QTY, Decimal::new(250_000, 0))
        .decimal(tags::AVG_PX, Decimal::new(1_084_300, 6));
    report.finish().expect("the buffer is large enough")
}

/// [`ENTRIES`] of seven fields each.
pub fn market_data(buffer: &mut [u8], begin_string: &[u8]) -> usize {
    let mut refresh = header(buffer, begin_string, b"X");
    refresh.bytes(262, b"REQ-1").uint(268, ENTRIES);
    for entry in 0..ENTRIES {
        refresh
            .uint(279, entry % 2)
            .char(269, b'0' + (entry % 2) as u8)
            .uint(278, 1_000_000 + entry)
            .bytes(tags::SYMBOL, b"EURUSD")
            .decimal(270, Decimal::new(1_084_325 + entry as i64, 6))
            .decimal(271, Decimal::new(250_000, 0))
            .uint(346, entry % 9 + 1);
    }
    refresh.finish().expect("the buffer is large enough")
}
