//! FIX data types as Rust values, read from and written to bytes. Never floating point.

use std::cmp::Ordering;

/// An unsigned integer of up to 20 digits, leading zeros allowed.
pub fn uint_of(value: &[u8]) -> Option<u64> {
    // Nineteen digits cannot overflow a u64.
    let (sure, rest) = value.split_at(value.len().min(19));
    if sure.is_empty() || rest.len() > 1 {
        return None;
    }
    let mut number = 0u64;
    for byte in sure {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    let Some(byte) = rest.first() else {
        return Some(number);
    };
    let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
    number.checked_mul(10)?.checked_add(u64::from(digit))
}

/// A signed integer, without a plus sign.
pub fn int_of(value: &[u8]) -> Option<i64> {
    match value.strip_prefix(b"-") {
        Some(digits) => uint_of(digits).and_then(|number| 0i64.checked_sub_unsigned(number)),
        None => uint_of(value).and_then(|number| i64::try_from(number).ok()),
    }
}

pub fn bool_of(value: &[u8]) -> Option<bool> {
    match value {
        b"Y" => Some(true),
        b"N" => Some(false),
        _ => None,
    }
}

/// One printable character other than the space.
pub fn char_of(value: &[u8]) -> Option<u8> {
    match value {
        [byte @ 0x21..=0x7e] => Some(*byte),
        _ => None,
    }
}

/// Writes `number` in decimal at the front of `buffer`; answers how many digits. At most 20 are needed.
pub fn write_uint(buffer: &mut [u8; 20], number: u64) -> usize {
    let count = digit_count(number);
    put_digits(&mut buffer[..count], number);
    count
}

/// How many decimal digits `number` has; 0 has one.
#[inline(always)]
pub(super) fn digit_count(number: u64) -> usize {
    // Tags and most numbers of a message are small.
    match number {
        0..10 => 1,
        10..100 => 2,
        100..1_000 => 3,
        1_000..10_000 => 4,
        _ => number.ilog10() as usize + 1,
    }
}

/// `00` to `99`.
static DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// Fills `places` with the last digits of `number`, zeros before the first.
#[inline(always)]
pub(super) fn put_digits(places: &mut [u8], mut number: u64) {
    let (odd, pairs) = places.as_rchunks_mut::<2>();
    for pair in pairs.iter_mut().rev() {
        *pair = DIGIT_PAIRS[(number % 100) as usize];
        number /= 100;
    }
    if let [first] = odd {
        *first = b'0' + (number % 10) as u8;
    }
}

/// Up to eight digits in a register, as most numbers of a message have.
#[derive(Clone, Copy)]
pub(super) struct ShortNumber {
    /// Eight digits as text, the first in the lowest byte, zeros before the first that counts.
    text: u64,
    /// Eight times how many do not count.
    unused_bits: u32,
}

impl ShortNumber {
    pub const DIGITS_MAX: usize = 8;

    /// None where more digits are needed.
    #[inline(always)]
    pub fn of(number: u64) -> Option<Self> {
        if number >= 100_000_000 {
            return None;
        }
        // Halves of four digits, then pairs, then digits: the quotient of each lane, and its remainder in the lane above it.
        let high = number / 10_000;
        let halves = (number << 32) - high * ((10_000 << 32) - 1);
        let hundreds = ((halves * 5_243) >> 19) & 0x7f_0000_007f;
        let pairs = (halves << 16) - hundreds * ((100 << 16) - 1);
        let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
        let digits = (pairs << 8) - tens * ((10 << 8) - 1);
        // The last digit counts in any case.
        let unused_bits = (digits | 1 << 56).trailing_zeros() & !7;
        Some(Self { text: digits | 0x3030_3030_3030_3030, unused_bits })
    }

    /// How many digits count; 0 has one.
    #[inline(always)]
    pub fn count(self) -> usize {
        Self::DIGITS_MAX - (self.unused_bits / 8) as usize
    }

    /// The last one to eight digits, whatever follows them.
    #[inline(always)]
    pub fn last(self, count: usize) -> [u8; Self::DIGITS_MAX] {
        self.text.wrapping_shr(64 - 8 * count as u32).to_le_bytes()
    }
}

/// What an i64 surely holds.
const DIGITS_MAX: u32 = 18;

/// A sign, 38 digits and a point are 40 bytes.
const SCALE_WRITTEN_MAX: u8 = 37;

/// A price, quantity or amount: `mantissa × 10^-scale`, exact.
///
/// Equality is of the written form; [`Decimal::compare`] goes by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Decimal {
    pub mantissa: i64,
    /// Digits after the decimal point, as written: 1.50 keeps scale 2.
    pub scale: u8,
}

impl Decimal {
    pub const fn new(mantissa: i64, scale: u8) -> Self {
        Self { mantissa, scale }
    }

    /// `[-]digits[.digits]`: at most 18 digits without leading zeros, and at most 18 of them after the point.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (negative, digits) = match value.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, value),
        };
        let (mut mantissa, mut scale, mut has_point, mut has_digit) = (0i64, 0u8, false, false);
        for byte in digits {
            match byte {
                b'0'..=b'9' => {
                    if mantissa >= 10i64.pow(DIGITS_MAX - 1) || u32::from(scale) == DIGITS_MAX {
                        return None;
                    }
                    mantissa = mantissa * 10 + i64::from(byte - b'0');
                    scale += u8::from(has_point);
                    has_digit = true;
                }
                b'.' if !has_point => has_point = true,
                _ => return None,
            }
        }
        has_digit.then_some(Self { mantissa: if negative { -mantissa } else { mantissa }, scale })
    }

    /// Writes the number at the front of `buffer`; answers its length. Places beyond the 37th after the point, which
    /// no market has and the buffer could not hold, are cut off.
    #[inline(always)]
    pub fn write(self, buffer: &mut [u8; 40]) -> usize {
        match ShortNumber::of(self.mantissa.unsigned_abs()) {
            Some(number) if usize::from(self.scale) < ShortNumber::DIGITS_MAX => self.write_short(number, buffer),
            _ => self.write_long(buffer),
        }
    }

    /// Whole words are written over what comes next, which is written after them.
    #[inline(always)]
    fn write_short(self, number: ShortNumber, buffer: &mut [u8; 40]) -> usize {
        let scale = usize::from(self.scale);
        let sign = usize::from(self.mantissa < 0);
        // At least one digit before the point.
        let digits = number.count().max(scale + 1);
        buffer[0] = b'-';
        buffer[sign..][..8].copy_from_slice(&number.last(digits));
        if scale == 0 {
            return sign + digits;
        }
        // At most eight digits.
        let point = sign + ((digits - scale) & 0xf);
        buffer[point] = b'.';
        buffer[point + 1..][..8].copy_from_slice(&number.last(scale));
        sign + digits + 1
    }

    #[cold]
    #[inline(never)]
    fn write_long(self, buffer: &mut [u8; 40]) -> usize {
        let excess = u32::from(self.scale.saturating_sub(SCALE_WRITTEN_MAX));
        let magnitude = self.mantissa.unsigned_abs();
        // Nineteen digits and more leave nothing.
        let magnitude = 10u64.checked_pow(excess).map_or(0, |cut| magnitude / cut);
        let scale = usize::from(self.scale.min(SCALE_WRITTEN_MAX));
        let sign = usize::from(self.mantissa < 0);
        buffer[0] = b'-';
        // At least one digit before the point.
        let whole = digit_count(magnitude).saturating_sub(scale).max(1);
        let digits = whole + scale;
        put_digits(&mut buffer[sign..sign + digits], magnitude);
        if scale == 0 {
            return sign + digits;
        }
        let point = sign + whole;
        buffer.copy_within(point..point + scale, point + 1);
        buffer[point] = b'.';
        sign + digits + 1
    }

    /// Less than, equal to or greater than `other` in value, whatever their scales: 1.5 equals 1.50.
    pub fn compare(self, other: Self) -> Ordering {
        if self.scale > other.scale {
            return other.compare(self).reverse();
        }
        // `self` has as many places or fewer. Its mantissa, if it is not 0, outgrows any i64 by 10^19.
        let places = u32::from(other.scale - self.scale).min(19);
        (i128::from(self.mantissa) * 10i128.pow(places)).cmp(&i128::from(other.mantissa))
    }
}

/// How many digits of a second a UTCTimestamp is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Precision {
    Seconds,
    /// `YYYYMMDD-HH:MM:SS.sss`, what every version from 4.2 on accepts.
    #[default]
    Millis,
    Micros,
    Nanos,
}

/// UTCTimestamp: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UtcTimestamp {
    pub unix_ns: u64,
}

const NS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

impl UtcTimestamp {
    pub const fn from_unix_ns(unix_ns: u64) -> Self {
        Self { unix_ns }
    }

    /// Whole seconds of Unix time.
    pub const fn unix_s(self) -> u64 {
        self.unix_ns / NS_PER_SECOND
    }

    /// `YYYYMMDD-HH:MM:SS[.s…]` with up to 12 digits of fraction, of which those beyond the ninth are cut off. Second
    /// 60 (a leap second) counts as 59. `None` for a time before 1970 or after July 2554, where the nanoseconds end.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (whole, fraction) = value.split_at_checked(17)?;
        let number = |from: usize, to: usize| uint_of(&whole[from..to]);
        if whole[8] != b'-' || whole[11] != b':' || whole[14] != b':' {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let (hour, minute, second) = (number(9, 11)?, number(12, 14)?, number(15, 17)?);
        if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let fraction_ns = match fraction {
            [] => 0,
            [b'.', digits @ ..] if (1..=12).contains(&digits.len()) => {
                let picoseconds = uint_of(digits)? * 10u64.pow(12 - digits.len() as u32);
                picoseconds / 1_000
            }
            _ => return None,
        };
        let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second.min(59);
        seconds.checked_mul(NS_PER_SECOND)?.checked_add(fraction_ns).map(Self::from_unix_ns)
    }

    /// Writes the timestamp at the front of `buffer`; answers its length: 17, 21, 24 or 27.
    pub fn write(self, buffer: &mut [u8; 27], precision: Precision) -> usize {
        let length = precision.length();
        buffer[..length].copy_from_slice(&SecondText::new().text(self, precision)[..length]);
        length
    }
}

/// `YYYYMMDD-HH:MM:SS`
const SECOND_BYTES: usize = 17;
pub(super) const TIMESTAMP_BYTES_MAX: usize = 27;

/// The latest UTCTimestamp that was written: consecutive ones mostly share date and second, and those of one message are
/// mostly the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecondText {
    /// Of the latest precision.
    text: [u8; TIMESTAMP_BYTES_MAX],
    precision: Precision,
    unix_s: u64,
    unix_ns: u64,
}

impl SecondText {
    pub const fn new() -> Self {
        Self { text: *b"19700101-00:00:00.000000000", precision: Precision::Seconds, unix_s: 0, unix_ns: 0 }
    }

    /// The timestamp, in as many of the bytes as the precision has.
    #[inline(always)]
    pub fn text(&mut self, time: UtcTimestamp, precision: Precision) -> &[u8; TIMESTAMP_BYTES_MAX] {
        if time.unix_ns != self.unix_ns || precision != self.precision {
            self.set(time, precision);
        }
        &self.text
    }

    #[inline(always)]
    fn set(&mut self, time: UtcTimestamp, precision: Precision) {
        let unix_s = time.unix_ns / NS_PER_SECOND;
        let fraction_ns = time.unix_ns - unix_s * NS_PER_SECOND;
        if unix_s != self.unix_s {
            self.render(unix_s);
        }
        (self.unix_ns, self.precision) = (time.unix_ns, precision);
        let digits = &mut self.text[SECOND_BYTES + 1..];
        match precision {
            Precision::Seconds => {}
            Precision::Millis => {
                let millis = fraction_ns / 1_000_000;
                digits[0] = b'0' + (millis / 100) as u8;
                digits[1..3].copy_from_slice(&DIGIT_PAIRS[(millis % 100) as usize]);
            }
            Precision::Micros => put_digits(&mut digits[..6], fraction_ns / 1_000),
            Precision::Nanos => put_digits(&mut digits[..9], fraction_ns),
        }
    }

    #[cold]
    #[inline(never)]
    fn render(&mut self, unix_s: u64) {
        self.unix_s = unix_s;
        let (year, month, day) = civil_from_days(unix_s / SECONDS_PER_DAY);
        let of_day = unix_s % SECONDS_PER_DAY;
        let mut whole = [0; SECOND_BYTES];
        let [c1, c2, y1, y2, m1, m2, d1, d2, dash, hours @ .., colon, i1, i2, other_colon, s1, s2] = &mut whole;
        let pair = |number: u64| DIGIT_PAIRS[(number % 100) as usize];
        ([*c1, *c2], [*y1, *y2]) = (pair(year / 100), pair(year));
        ([*m1, *m2], [*d1, *d2]) = (pair(month), pair(day));
        (*dash, *colon, *other_colon) = (b'-', b':', b':');
        *hours = pair(of_day / 3_600);
        ([*i1, *i2], [*s1, *s2]) = (pair(of_day / 60 % 60), pair(of_day % 60));
        self.text[..SECOND_BYTES].copy_from_slice(&whole);
    }
}

impl Precision {
    /// How many bytes a UTCTimestamp of this precision has.
    pub const fn length(self) -> usize {
        match self {
            Self::Seconds => 17,
            Self::Millis => 21,
            Self::Micros => 24,
            Self::Nanos => 27,
        }
    }

    /// What is left of a time that is written with this precision.
    pub const fn cut(self, time: UtcTimestamp) -> UtcTimestamp {
        let unit_ns = match self {
            Self::Seconds => NS_PER_SECOND,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        };
        UtcTimestamp::from_unix_ns(time.unix_ns / unit_ns * unit_ns)
    }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, years counted from March.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_numbers_are_digits_alone_and_fit_in_64_bits() {
        assert_eq!(uint_of(b"0"), Some(0));
        assert_eq!(uint_of(b"007"), Some(7));
        assert_eq!(uint_of(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        assert_eq!(uint_of(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "-1", "+1", " 1", "1 ", "1.0", "x", "1x", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(uint_of(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(uint_of(b"000000000000000000001"), None, "21 digits");
        assert_eq!(uint_of(b"1234567890123456789\xff"), None);
    }

    #[test]
    fn signed_numbers_reach_both_ends() {
        assert_eq!(int_of(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(int_of(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(int_of(b"-0"), Some(0));
        for wrong in ["", "-", "--1", "+1", "9223372036854775808", "-9223372036854775809", "1-"] {
            assert_eq!(int_of(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn characters_and_flags_are_exact() {
        assert_eq!((char_of(b"1"), char_of(b"12"), char_of(b""), char_of(b" ")), (Some(b'1'), None, None, None));
        assert_eq!((bool_of(b"Y"), bool_of(b"N"), bool_of(b"y"), bool_of(b"")), (Some(true), Some(false), None, None));
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        for number in powers.flat_map(|power| [power - 1, power, power + 1, power + power / 5 * 4]).chain([0, u64::MAX])
        {
            let mut buffer = [0; 20];
            let count = write_uint(&mut buffer, number);
            assert_eq!(std::str::from_utf8(&buffer[..count]).unwrap(), number.to_string());
        }
    }

    fn written(decimal: Decimal) -> String {
        let mut buffer = [0xff; 40];
        let length = decimal.write(&mut buffer);
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn decimals_keep_their_places() {
        for (text, mantissa, scale) in
            [("1.50", 150, 2), ("-0.05", -5, 2), ("100", 100, 0), ("0.000000000000000001", 1, 18), ("-7.0", -70, 1)]
        {
            assert_eq!(Decimal::parse(text.as_bytes()), Some(Decimal::new(mantissa, scale)));
            assert_eq!(written(Decimal::new(mantissa, scale)), text);
        }
        assert_eq!(Decimal::parse(b".5"), Some(Decimal::new(5, 1)));
        assert_eq!(Decimal::parse(b"5."), Some(Decimal::new(5, 0)));
        assert_eq!(Decimal::parse(b"-999999999999999999"), Some(Decimal::new(-999_999_999_999_999_999, 0)));
        for wrong in [
            "",
            ".",
            "-",
            "-.",
            "1.2.3",
            "1e5",
            "+1",
            "1,5",
            " 1",
            "1-",
            "1234567890123456789",
            "0.1234567890123456789",
        ] {
            assert_eq!(Decimal::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    /// The fuzz target found `.777777777777777778`, which was read, written with a zero before the point, and then had
    /// a digit too many to be read again.
    #[test]
    fn leading_zeros_are_not_among_the_digits_that_a_decimal_may_have() {
        let full = Decimal::new(777_777_777_777_777_778, 18);
        assert_eq!(Decimal::parse(b".777777777777777778"), Some(full));
        assert_eq!(Decimal::parse(b"-0000.777777777777777778"), Some(Decimal::new(-full.mantissa, 18)));
        assert_eq!(Decimal::parse(written(full).as_bytes()), Some(full));
        assert_eq!(Decimal::parse(b"0.0000000000000000000"), None, "19 places");
        let zeros = [b'0'; 300];
        assert_eq!(Decimal::parse(&zeros), Some(Decimal::new(0, 0)));
        assert_eq!(Decimal::parse(&[&b"0."[..], &zeros].concat()), None);
    }

    #[test]
    fn decimals_of_any_scale_are_written_into_40_bytes() {
        assert_eq!(written(Decimal::new(i64::MIN, 0)), "-9223372036854775808");
        assert_eq!(written(Decimal::new(i64::MIN, 19)), "-0.9223372036854775808");
        assert_eq!(written(Decimal::new(i64::MIN, 18)), "-9.223372036854775808");
        assert_eq!(written(Decimal::new(-1, 37)), format!("-0.{}1", "0".repeat(36)));
        assert_eq!(written(Decimal::new(-19, 38)), format!("-0.{}1", "0".repeat(36)));
        assert_eq!(written(Decimal::new(i64::MAX, 255)), format!("0.{}", "0".repeat(37)));
    }

    #[test]
    fn decimals_compare_by_value_at_any_scale() {
        let ascending = [
            Decimal::new(i64::MIN, 0),
            Decimal::new(-1, 0),
            Decimal::new(i64::MIN, 19),
            Decimal::new(-1, 255),
            Decimal::new(0, 255),
            Decimal::new(i64::MAX, 255),
            Decimal::new(i64::MAX, 20),
            Decimal::new(1, 1),
            Decimal::new(i64::MAX, 19),
            Decimal::new(1, 0),
            Decimal::new(11, 1),
        ];
        for (left, first) in ascending.iter().enumerate() {
            for (right, second) in ascending.iter().enumerate() {
                assert_eq!(first.compare(*second), left.cmp(&right), "{first:?} and {second:?}");
            }
        }
        assert_eq!(Decimal::new(150, 2).compare(Decimal::new(15, 1)), Ordering::Equal);
        assert_eq!(Decimal::new(0, 200).compare(Decimal::new(0, 0)), Ordering::Equal);
    }

    fn unix_ns(text: &str) -> Option<u64> {
        UtcTimestamp::parse(text.as_bytes()).map(|time| time.unix_ns)
    }

    #[test]
    fn timestamps_are_read_at_every_precision() {
        const BASE: u64 = 1_790_000_000_000_000_000;
        for (fraction, ns) in [
            ("", 0),
            (".1", 100_000_000),
            (".123", 123_000_000),
            (".123456", 123_456_000),
            (".123456789", 123_456_789),
            (".123456789999", 123_456_789),
        ] {
            assert_eq!(unix_ns(&format!("20260921-14:13:20{fraction}")), Some(BASE + ns), "{fraction}");
        }
    }

    #[test]
    fn timestamps_that_no_clock_shows_are_refused() {
        assert_eq!(unix_ns("19700101-00:00:00"), Some(0));
        assert_eq!(unix_ns("20240229-23:59:60.5"), unix_ns("20240229-23:59:59.5"));
        assert!(unix_ns("20000229-00:00:00").is_some());
        for wrong in [
            "",
            "20260921",
            "20260921-14:13",
            "20260921 14:13:20",
            "20260921-14:13:20.",
            "20260921-14:13:20,123",
            "20260921-14:13:20.1234567890123",
            "20260921-14:13:20Z",
            "20260921-24:00:00",
            "20260921-14:60:20",
            "20260921-14:13:61",
            "20261301-00:00:00",
            "20260001-00:00:00",
            "20260931-00:00:00",
            "20260900-00:00:00",
            "20250229-00:00:00",
            "21000229-00:00:00",
            "19691231-23:59:59",
            "00000101-00:00:00",
            "-0260921-14:13:20",
            "20260921-14:13:2\u{e9}",
            "20260921-14:13:20.12x",
        ] {
            assert_eq!(unix_ns(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn timestamps_end_with_the_64_bits_of_nanoseconds() {
        assert_eq!(unix_ns("25540721-23:34:33.709551615"), Some(u64::MAX));
        assert_eq!(unix_ns("25540721-23:34:33.709551616"), None);
        assert_eq!(unix_ns("99991231-23:59:59.999"), None);
    }

    #[test]
    fn every_day_until_the_end_is_written_and_read_back() {
        let last_day = u64::MAX / NS_PER_SECOND / SECONDS_PER_DAY;
        let mut previous = String::new();
        for day in 0..=last_day {
            let time = UtcTimestamp::from_unix_ns((day * SECONDS_PER_DAY + day % 80_000) * NS_PER_SECOND + day);
            let mut buffer = [0; 27];
            let length = time.write(&mut buffer, Precision::Nanos);
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            assert_eq!(UtcTimestamp::parse(text.as_bytes()), Some(time), "{text}");
            assert!(text[..8] > *previous, "days follow each other");
            previous = text[..8].to_owned();
        }
    }

    #[test]
    fn a_coarser_precision_cuts_off() {
        let time = UtcTimestamp::from_unix_ns(1_790_000_000_999_999_999);
        for (precision, text) in [
            (Precision::Seconds, "20260921-14:13:20"),
            (Precision::Millis, "20260921-14:13:20.999"),
            (Precision::Micros, "20260921-14:13:20.999999"),
            (Precision::Nanos, "20260921-14:13:20.999999999"),
        ] {
            let mut buffer = [0; 27];
            assert_eq!(time.write(&mut buffer, precision), text.len());
            assert_eq!(&buffer[..text.len()], text.as_bytes());
        }
    }
}
