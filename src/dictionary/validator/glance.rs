//! Values that are right beyond doubt, told from sixteen of their bytes at once.
//!
//! What is not accepted here may be right all the same; [`super::Format`] decides. So the rare forms have no place
//! here: negative numbers, numbers of more than sixteen digits, the last days of a month, leap seconds.

use super::Format;
use crate::sys::simd::{WINDOW_BYTES, are_within, digits_and_points};

/// How a field's values of two bytes and more are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Glance {
    /// Any value is right.
    Any,
    /// [`is_number`] says what is beyond doubt, with or without a point.
    Digits,
    Decimal,
    /// [`is_utc_timestamp`].
    UtcTimestamp,
    Inspect,
}

impl Glance {
    /// That of a field whose values are not enumerated.
    pub fn of(format: Format) -> Self {
        match format {
            Format::Any => Self::Any,
            Format::Int | Format::Uint => Self::Digits,
            Format::Decimal => Self::Decimal,
            Format::UtcTimestamp => Self::UtcTimestamp,
            Format::Char
            | Format::Chars
            | Format::Boolean
            | Format::Date
            | Format::Time
            | Format::MonthYear
            | Format::DayOfMonth
            | Format::TzTime
            | Format::TzTimestamp => Self::Inspect,
        }
    }
}

/// Whether the bytes before `end`, as many as `length`, which is at least two, are digits with at most one point among
/// them.
#[inline(always)]
pub(super) fn is_number(bytes: &[u8], end: usize, length: usize, may_have_point: bool) -> bool {
    // What stands before a short value is of other fields. A message's first fields have too little before them.
    let Some(window) = last_bytes(bytes, end) else {
        return false;
    };
    if !(2..=WINDOW_BYTES).contains(&length) {
        return false;
    }
    let (digits, points) = digits_and_points(window);
    let before = WINDOW_BYTES - length;
    let others = u32::from(!digits) >> before;
    let points = if may_have_point { u32::from(points) >> before } else { 0 };
    // None, or one that is a point.
    (others ^ points) | (others & others.wrapping_sub(1)) == 0
}

/// With all twelve digits that a fraction may have.
const TIMESTAMP_BYTES_MAX: usize = 30;
const LEAST: &[u8; TIMESTAMP_BYTES_MAX] = b"00000000-00:00:00.000000000000";
const GREATEST: &[u8; TIMESTAMP_BYTES_MAX] = b"99991939-29:59:59.999999999999";

/// `YYYYMMDD-HH:MM:SS[.s…]` on one of the first 28 days of a month, without a leap second.
#[inline(always)]
pub(super) fn is_utc_timestamp(value: &[u8]) -> bool {
    let length = value.len();
    let (Some(least), Some(greatest)) = (last_bytes(LEAST, length), last_bytes(GREATEST, length)) else {
        return false;
    };
    let (Some(front), Some(back)) = (value.first_chunk(), value.last_chunk()) else {
        return false;
    };
    // 16 bytes lack a digit of the seconds, 18 have a point without a fraction.
    if length == 16 || length == 18 {
        return false;
    }
    let is_between = |at: usize, least: &[u8; 2], greatest: &[u8; 2]| {
        let pair = u16::from_be_bytes([front[at], front[at + 1]]);
        (u16::from_be_bytes(*least)..=u16::from_be_bytes(*greatest)).contains(&pair)
    };
    are_within(front, FRONT_LEAST, FRONT_GREATEST)
        && are_within(back, least, greatest)
        && is_between(4, b"01", b"12")
        && is_between(6, b"01", b"28")
        && is_between(9, b"00", b"23")
}

const FRONT_LEAST: &[u8; WINDOW_BYTES] = LEAST.first_chunk().unwrap();
const FRONT_GREATEST: &[u8; WINDOW_BYTES] = GREATEST.first_chunk().unwrap();

/// The last of the bytes before `end`.
#[inline(always)]
fn last_bytes(bytes: &[u8], end: usize) -> Option<&[u8; WINDOW_BYTES]> {
    bytes.get(..end)?.last_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a value in a message's midst.
    fn is_accepted(format: Format, value: &[u8]) -> bool {
        let before = b"8=FIX.4.4\x019=178\x0135=";
        let bytes = [before, value, b"\x0110=000\x01"].concat();
        let end = before.len() + value.len();
        match Glance::of(format) {
            Glance::Digits => is_number(&bytes, end, value.len(), false),
            Glance::Decimal => is_number(&bytes, end, value.len(), true),
            Glance::Any | Glance::UtcTimestamp | Glance::Inspect => is_utc_timestamp(value),
        }
    }

    #[test]
    fn what_a_glance_accepts_is_right_and_what_it_leaves_is_rare() {
        let mut random = fastrand::Rng::with_seed(12);
        let samples: [(Format, &[&[u8]]); 4] = [
            (Format::Uint, &[b"12", b"1790000000", b"1234567890123456"]),
            (Format::Int, &[b"42", b"-7"]),
            (Format::Decimal, &[b"1.084325", b"250000", b".5", b"7.", b"12345678.1234567", b"-1.5"]),
            (
                Format::UtcTimestamp,
                &[
                    b"20240228-23:59:59",
                    b"20241105-00:07:10.1",
                    b"19991231-12:00:00.123",
                    b"20240930-09:30:00.123456789",
                    b"20240101-00:00:00.123456789012",
                ],
            ),
        ];
        for (format, right) in samples {
            let (mut accepted, mut doubted) = (0, 0);
            for round in 0..200_000 {
                let mut value = random.choice(right).unwrap().to_vec();
                for _ in 0..random.usize(..3) {
                    let at = random.usize(..value.len());
                    match random.u8(..8) {
                        0 => drop(value.remove(at)),
                        1 => value.insert(at, random.choice(*b"0123456789.").unwrap()),
                        _ => value[at] = random.choice(*b"0123456789-:./;x\x01\xb0").unwrap(),
                    }
                    if value.len() < 2 {
                        value = b"00".to_vec();
                    }
                }
                let (is_accepted, is_right) = (is_accepted(format, &value), format.accepts(&value));
                assert!(is_right || !is_accepted, "{round}: {format:?} {}", value.escape_ascii());
                accepted += u32::from(is_accepted);
                doubted += u32::from(is_right && !is_accepted);
            }
            assert!(accepted > 20_000, "{format:?}: {accepted} accepted, {doubted} doubted");
        }
    }

    #[test]
    fn common_values_need_no_second_look() {
        for value in ["12", "1790000000", "1234567890123456"] {
            assert!(is_accepted(Format::Uint, value.as_bytes()), "{value}");
            assert!(is_accepted(Format::Decimal, value.as_bytes()), "{value}");
        }
        for value in ["1.084325", ".5", "7.", "123456789.123456"] {
            assert!(is_accepted(Format::Decimal, value.as_bytes()), "{value}");
            assert!(!is_accepted(Format::Uint, value.as_bytes()), "{value}");
        }
        for fraction in ["", ".1", ".123", ".123456", ".123456789", ".123456789012"] {
            let value = format!("20241228-23:59:59{fraction}");
            assert!(is_accepted(Format::UtcTimestamp, value.as_bytes()), "{value}");
        }
    }
}
