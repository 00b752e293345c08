//! What the FIX versions differ in, as far as this venue's messages do. Nothing else in the venue compares versions.

use super::order_id::{IdText, OrderId};
use super::{Event, ORD_STATUS_REJECTED, ORD_STATUS_REPLACED, Reason};
use crate::fix::Precision;

/// A version, in ascending order. FIX.4.4 stands for the application versions over FIXT.1.1 too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Dialect {
    Fix40,
    Fix41,
    Fix42,
    Fix43,
    Fix44,
}

impl Dialect {
    pub fn of_begin_string(begin_string: &[u8]) -> Self {
        match begin_string {
            [b'F', b'I', b'X', b'.', b'4', b'.', minor] => match minor {
                b'0' => Self::Fix40,
                b'1' => Self::Fix41,
                b'2' => Self::Fix42,
                b'3' => Self::Fix43,
                _ => Self::Fix44,
            },
            _ => Self::Fix44,
        }
    }

    /// ExecTransType(20), required as long as it exists.
    pub fn has_exec_trans_type(self) -> bool {
        self <= Self::Fix42
    }

    /// ExecType(150) and LeavesQty(151), required since they exist, and OrigClOrdID(41) in an ExecutionReport(8).
    pub fn has_exec_type(self) -> bool {
        self >= Self::Fix41
    }

    /// OrderQty(38), LastShares(32) and LastPx(31), required in every report, not only in one about a fill.
    pub fn requires_last_fill(self) -> bool {
        self <= Self::Fix41
    }

    /// OrigClOrdID(41) and OrdStatus(39) in an OrderCancelReject(9).
    pub fn has_ord_status_in_cancel_reject(self) -> bool {
        self >= Self::Fix41
    }

    pub fn has_cxl_rej_response_to(self) -> bool {
        self >= Self::Fix42
    }

    /// F and I came with FIX.4.3, in place of ExecTransType(20) and of what OrdStatus(39) says anyway.
    pub fn exec_type(self, event: Event, ord_status: u8) -> u8 {
        match event {
            Event::New => b'0',
            Event::Fill if self >= Self::Fix43 => b'F',
            Event::Fill => b'2',
            Event::Canceled => b'4',
            Event::Replaced => b'5',
            Event::Rejected => ORD_STATUS_REJECTED,
            Event::Status if self >= Self::Fix43 => b'I',
            Event::Status => ord_status,
        }
    }

    /// OrdStatus(39) of an order in the report of an event: "replaced" was one until FIX.4.2.
    pub fn ord_status(self, event: Event, ord_status: u8) -> u8 {
        if event == Event::Replaced && self <= Self::Fix42 { ORD_STATUS_REPLACED } else { ord_status }
    }

    /// Side(54) of a request that says none. FIX.4.0 has no "undisclosed".
    pub fn side_unknown(self) -> u8 {
        if self == Self::Fix40 { b'1' } else { b'7' }
    }

    /// ExecID(17). In FIX.4.0 it is a number: the incarnation, and after it the other with leading zeros, so that it never
    /// comes again either.
    pub fn exec_id(self, id: OrderId) -> IdText {
        if self > Self::Fix40 { id.text() } else { id.digits() }
    }

    /// Times had whole seconds until FIX.4.2.
    pub fn precision(self) -> Precision {
        if self < Self::Fix42 { Precision::Seconds } else { Precision::Millis }
    }

    /// OrdRejReason(103). What a version has no value for is 0, the broker's or exchange's own choice.
    pub fn ord_rej_reason(self, reason: Reason) -> u64 {
        match reason {
            Reason::UnknownOrder if self >= Self::Fix41 => 5,
            Reason::DuplicateClOrdId if self >= Self::Fix41 => 6,
            Reason::IncorrectQuantity if self >= Self::Fix44 => 13,
            Reason::Other if self >= Self::Fix44 => 99,
            _ => 0,
        }
    }

    /// CxlRejReason(102), where the version has a value that fits: 2 is the broker's or exchange's own choice.
    pub fn cxl_rej_reason(self, reason: Reason) -> Option<u64> {
        match reason {
            Reason::TooLate => Some(0),
            Reason::UnknownOrder => Some(1),
            Reason::DuplicateClOrdId if self >= Self::Fix43 => Some(6),
            _ if self >= Self::Fix44 => Some(99),
            _ if self >= Self::Fix42 => Some(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_id_of_fix_4_0_is_a_number_that_two_incarnations_never_share() {
        let text = |incarnation, number| Dialect::Fix40.exec_id(OrderId { incarnation, number });
        assert_eq!(*text(1, 12), *b"10000000000012");
        assert_eq!(*text(11, 2), *b"110000000000002");
        let longest = text(u32::MAX, u64::MAX);
        assert!(longest.iter().all(u8::is_ascii_digit), "{longest:?}");
        assert_eq!(*Dialect::Fix41.exec_id(OrderId { incarnation: 1, number: 12 }), *b"1-12");
    }

    #[test]
    fn every_begin_string_has_its_dialect() {
        let dialects = ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"]
            .map(|begin_string| Dialect::of_begin_string(begin_string.as_bytes()));
        use Dialect::{Fix40, Fix41, Fix42, Fix43, Fix44};
        assert_eq!(dialects, [Fix40, Fix41, Fix42, Fix43, Fix44, Fix44]);
    }
}
