//! Whether a value has the format of its field's type. A few ns each: these run for every field of every message.

use super::super::{FieldType, Version};

/// What is asked of a value's bytes. Several types share one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Format {
    /// Any bytes.
    Any,
    Char,
    /// Characters with a space between each two.
    Chars,
    Boolean,
    /// Digits, and a minus sign before them.
    Int,
    /// Digits.
    Uint,
    Decimal,
    UtcTimestamp,
    /// `YYYYMMDD`
    Date,
    /// `HH:MM:SS` and a fraction
    Time,
    MonthYear,
    DayOfMonth,
    TzTime,
    TzTimestamp,
}

impl Format {
    pub fn of(kind: FieldType, version: Version) -> Self {
        match kind {
            // Until FIX.4.2 a CHAR could be of any length, and there was no STRING.
            FieldType::Char if version < Version::Fix42 => Self::Any,
            FieldType::Char => Self::Char,
            FieldType::Boolean => Self::Boolean,
            FieldType::Int => Self::Int,
            FieldType::Length | FieldType::NumInGroup | FieldType::SeqNum | FieldType::TagNum => Self::Uint,
            FieldType::Amt
            | FieldType::Float
            | FieldType::Percentage
            | FieldType::Price
            | FieldType::PriceOffset
            | FieldType::Qty
            | FieldType::Quantity => Self::Decimal,
            // FIX.4.0 and FIX.4.1 called a timestamp TIME and had no fractions; peers send them all the same.
            FieldType::UtcTimestamp | FieldType::Time => Self::UtcTimestamp,
            FieldType::Date | FieldType::UtcDate | FieldType::UtcDateOnly | FieldType::LocalMktDate => Self::Date,
            FieldType::UtcTimeOnly | FieldType::LocalMktTime => Self::Time,
            FieldType::MonthYear => Self::MonthYear,
            FieldType::DayOfMonth => Self::DayOfMonth,
            FieldType::TzTimeOnly => Self::TzTime,
            FieldType::TzTimestamp => Self::TzTimestamp,
            FieldType::MultipleCharValue => Self::Chars,
            // Codes of currencies, countries and exchanges are lists that others keep and peers extend.
            FieldType::Country
            | FieldType::Currency
            | FieldType::Data
            | FieldType::Exchange
            | FieldType::Language
            | FieldType::MultipleStringValue
            | FieldType::MultipleValueString
            | FieldType::Pattern
            | FieldType::Reserved100Plus
            | FieldType::Reserved1000Plus
            | FieldType::Reserved4000Plus
            | FieldType::String
            | FieldType::Tenor
            | FieldType::Xid
            | FieldType::XidRef
            | FieldType::XmlData => Self::Any,
        }
    }

    /// An empty value has none of the formats but [`Format::Any`].
    #[inline(always)]
    pub fn accepts(self, value: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Char => matches!(value, [0x20..=0x7e]),
            Self::Chars => value.split(|byte| *byte == b' ').all(|one| matches!(one, [0x21..=0x7e])),
            Self::Boolean => matches!(value, [b'Y' | b'N']),
            Self::Int => is_digits(value.strip_prefix(b"-").unwrap_or(value)),
            Self::Uint => is_digits(value),
            Self::Decimal => is_decimal(value),
            Self::UtcTimestamp => is_utc_timestamp(value),
            Self::Date => is_date(value),
            Self::Time => is_time(value),
            Self::MonthYear => is_month_year(value),
            Self::DayOfMonth => number(value).is_some_and(|day| value.len() <= 2 && (1..=31).contains(&day)),
            Self::TzTime => is_tz_time(value),
            Self::TzTimestamp => value
                .split_at_checked(8)
                .is_some_and(|(date, rest)| is_date(date) && rest.strip_prefix(b"-").is_some_and(is_tz_time)),
        }
    }
}

/// At least one digit and nothing else.
#[inline(always)]
fn is_digits(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

/// `[-]digits[.digits]` of any length, with at least one digit.
#[inline(always)]
fn is_decimal(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if let Some(word) = word_of(digits) {
        const POINTS: u64 = 0x2e2e_2e2e_2e2e_2e2e;
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        // A byte's top bit for each that is a point: exact, since no carry leaves its byte.
        let difference = word ^ POINTS;
        let points = !(((difference & LOW) + LOW) | difference | LOW);
        // Turns a point into the digit 0.
        let zeroed = word ^ ((points >> 7) * u64::from(b'.' ^ b'0'));
        return points & points.wrapping_sub(1) == 0 && eight_digits(&zeroed.to_le_bytes()).is_some();
    }
    let (mut points, mut is_clean) = (0usize, true);
    for byte in digits {
        let is_point = *byte == b'.';
        points += usize::from(is_point);
        is_clean &= is_point | byte.is_ascii_digit();
    }
    is_clean & (points <= 1) & (digits.len() > points)
}

/// Four to eight bytes as one word, the first in the lowest byte, with the digit 0 in the places beyond them.
#[inline(always)]
fn word_of(value: &[u8]) -> Option<u64> {
    let (front, back) = (value.first_chunk::<4>()?, value.last_chunk::<4>()?);
    if value.len() > 8 {
        return None;
    }
    // Where the two overlap they are equal.
    let shift = (value.len() as u32 - 4) * 8;
    let word = u64::from(u32::from_le_bytes(*front)) | u64::from(u32::from_le_bytes(*back)) << shift;
    let beyond = u64::MAX.checked_shl(shift + 32).unwrap_or(0);
    Some(word | (beyond & 0x3030_3030_3030_3030))
}

/// `YYYYMMDD-HH:MM:SS[.s…]`, as `fix::UtcTimestamp` reads it, of any year.
#[inline(always)]
fn is_utc_timestamp(value: &[u8]) -> bool {
    let Some((date, rest)) = value.split_first_chunk::<9>() else {
        return false;
    };
    date[8] == b'-' && is_date(&date[..8]) && is_time(rest)
}

/// Eight digits as numbers, the first one in the lowest byte. None where one is no digit.
#[inline(always)]
fn eight_digits(value: &[u8; 8]) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(*value) ^ (ONES * 0x30);
    // A byte's top bit for each that is more than 9. A carry out of a byte comes only from one that has it anyway.
    let is_clean = (digits.wrapping_add(ONES * 0x76) | digits) & (ONES * 0x80) == 0;
    is_clean.then_some(digits)
}

/// `YYYYMMDD`, a day of the calendar.
#[inline(always)]
fn is_date(value: &[u8]) -> bool {
    let Some(digits) = <&[u8; 8]>::try_from(value).ok().and_then(eight_digits) else {
        return false;
    };
    // Each pair of digits as a number, in the even bytes.
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let [century, _, year, _, month, _, day, _] = pairs.to_le_bytes();
    match day {
        1..=28 => (1..=12).contains(&month),
        29..=31 => is_late_day(u32::from(century) * 100 + u32::from(year), month, day),
        _ => false,
    }
}

/// Whether the month has a day after its 28th.
fn is_late_day(year: u32, month: u8, day: u8) -> bool {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u8::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => 0,
    };
    day <= days
}

/// `HH:MM:SS[.s…]` with up to 12 digits of fraction. Second 60 is a leap second.
#[inline(always)]
fn is_time(value: &[u8]) -> bool {
    let Some((time, fraction)) = value.split_first_chunk::<8>() else {
        return false;
    };
    is_clock(time) && is_fraction(fraction)
}

#[inline(always)]
fn is_clock(time: &[u8; 8]) -> bool {
    const COLONS: u64 = 0x0000_ff00_00ff_0000;
    let text = u64::from_le_bytes(*time);
    let colons = u64::from_le_bytes(*b"\0\0:\0\0:\0\0");
    if text & COLONS != colons {
        return false;
    }
    // Zeros in the places of the colons, so that all eight are digits.
    let zeroed = (text & !COLONS) | (0x3030_3030_3030_3030 & COLONS);
    let Some(digits) = eight_digits(&zeroed.to_le_bytes()) else {
        return false;
    };
    let pair = |shift: u32| (digits >> shift & 0xf) * 10 + (digits >> (shift + 8) & 0xf);
    (pair(0) <= 23) & (pair(24) <= 59) & (pair(48) <= 60)
}

#[inline(always)]
fn is_fraction(value: &[u8]) -> bool {
    match value {
        [] => true,
        [b'.', digits @ ..] => digits.len() <= 12 && is_digits(digits),
        _ => false,
    }
}

/// `YYYYMM`, `YYYYMMDD`, or `YYYYMM` with a week, `w1` to `w5`.
fn is_month_year(value: &[u8]) -> bool {
    let Some((month, rest)) = value.split_first_chunk::<6>() else {
        return false;
    };
    let is_month = is_digits(month) && number(&month[4..]).is_some_and(|month| (1..=12).contains(&month));
    match rest {
        [] | [b'w', b'1'..=b'5'] => is_month,
        _ => is_date(value),
    }
}

/// `HH:MM[:SS[.s…]]` and a zone: nothing, `Z`, or an offset `+hh[:mm]`.
fn is_tz_time(value: &[u8]) -> bool {
    let zone_at = value.iter().position(|byte| matches!(byte, b'Z' | b'+' | b'-')).unwrap_or(value.len());
    let (time, zone) = value.split_at(zone_at);
    let is_zone = match zone {
        [] | [b'Z'] => true,
        [b'+' | b'-', hours @ ..] if hours.len() == 2 => number(hours).is_some_and(|hours| hours <= 14),
        [b'+' | b'-', offset @ ..] => is_hours_and_minutes(offset) && *offset <= b"14:00"[..],
        _ => false,
    };
    is_zone && (is_time(time) || is_hours_and_minutes(time))
}

fn is_hours_and_minutes(value: &[u8]) -> bool {
    matches!(value, [h1, h2, b':', m1, m2]
        if number(&[*h1, *h2]).is_some_and(|hours| hours <= 23) && number(&[*m1, *m2]).is_some_and(|minutes| minutes <= 59))
}

fn number(value: &[u8]) -> Option<u64> {
    crate::fix::uint_of(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, right: &[&str], wrong: &[&str]) {
        for value in right {
            assert!(format.accepts(value.as_bytes()), "{format:?} {value:?}");
        }
        for value in wrong {
            assert!(!format.accepts(value.as_bytes()), "{format:?} {value:?}");
        }
    }

    #[test]
    fn numbers() {
        check(Format::Int, &["0", "-1", "007", "99999999999999999999999"], &["", "-", "+1", "1.0", " 1", "1 ", "x"]);
        check(Format::Uint, &["0", "12"], &["", "-1", "+1", "1x"]);
        check(
            Format::Decimal,
            &["0", "-1.5", ".5", "5.", "002000.00", "00000000000000000000.12345678901234567890"],
            &["", ".", "-", "-.", "+200.00", "1.2.3", "1e5", "1,5", "--1", "1-"],
        );
    }

    #[test]
    fn a_decimal_is_one_by_words_exactly_where_it_is_one_by_bytes() {
        let mut random = fastrand::Rng::with_seed(9);
        let mut right = 0;
        for _ in 0..100_000 {
            let length = random.usize(..12);
            let text: Vec<u8> =
                (0..length).map(|_| random.choice(*b"01234567890123456789.-/:\xb0\xae").unwrap()).collect();
            let digits = text.strip_prefix(b"-").unwrap_or(&text);
            let points = digits.iter().filter(|byte| **byte == b'.').count();
            let is_clean = digits.iter().all(|byte| *byte == b'.' || byte.is_ascii_digit());
            let expected = is_clean && points <= 1 && digits.len() > points;
            assert_eq!(Format::Decimal.accepts(&text), expected, "{text:?}");
            right += u32::from(expected);
        }
        assert!(right > 10_000, "{right}");
    }

    #[test]
    fn characters_and_flags() {
        check(Format::Char, &["1", "z", " "], &["", "11", "\u{7f}", "é"]);
        check(Format::Chars, &["1", "1 G z"], &["", " ", "1  2", "1 ", " 1", "12", "1 é"]);
        check(Format::Boolean, &["Y", "N"], &["", "y", "1", "YN"]);
        assert_eq!(Format::of(FieldType::Char, Version::Fix41), Format::Any);
        assert_eq!(Format::of(FieldType::Char, Version::Fix42), Format::Char);
    }

    #[test]
    fn dates_and_times() {
        check(
            Format::UtcTimestamp,
            &["20240229-00:00:00", "20240101-23:59:60.123", "20240101-12:30:00.123456789", "19691231-00:00:00"],
            &[
                "",
                "20230229-00:00:00",
                "20241301-00:00:00",
                "20240001-00:00:00",
                "20240100-00:00:00",
                "20240132-00:00:00",
                "20240101-24:00:00",
                "20240101-00:60:00",
                "20240101-00:00:61",
                "20240101 00:00:00",
                "20240101-00.00:00",
                "20240101-00:00:00.",
                "20240101-00:00:00.1234567890123",
                "20240101-00:00:0x",
                "2024010a-00:00:00",
                "20240101-00:00",
            ],
        );
        check(
            Format::Date,
            &["20240430", "20000229"],
            &["", "20240431", "2024043", "202404300", "19000229", "20249930"],
        );
        check(Format::Time, &["00:00:00", "23:59:59.999"], &["", "0:00:00", "23-59-59", "23:59:59,9"]);
        check(Format::MonthYear, &["202412", "20241231", "202412w1"], &["", "202413", "202412w6", "20241232", "2024"]);
        check(Format::DayOfMonth, &["1", "31", "09"], &["", "0", "32", "001"]);
        check(
            Format::TzTime,
            &["07:39Z", "02:39-05", "15:39+08:30", "07:39:01.5Z", "07:39"],
            &["", "7:39Z", "07:39+8", "Z", "07:39+15", "07:39+14:01"],
        );
        check(Format::TzTimestamp, &["20060901-07:39Z", "20060901-13:09+05:30"], &["", "20060901", "20060901T07:39Z"]);
    }

    #[test]
    fn a_timestamp_is_one_exactly_where_the_reader_of_timestamps_says_so() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut right = 0;
        for _ in 0..200_000 {
            let mut text = *b"20240229-23:59:60.123";
            for _ in 0..random.usize(..3) {
                text[random.usize(..text.len())] = random.choice(*b"0123456789-:.x").unwrap();
            }
            let text = &text[..random.usize(15..=21)];
            // Years before 1970 are no business of the reader.
            if text[..4] >= b"1970"[..] && text[..4] < b"2500"[..] {
                let read = crate::fix::UtcTimestamp::parse(text).is_some();
                assert_eq!(Format::UtcTimestamp.accepts(text), read, "{}", String::from_utf8_lossy(text));
                right += u32::from(read);
            }
        }
        assert!(right > 10_000, "{right}");
    }
}
