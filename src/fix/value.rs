//! FIX data types as Rust values, read from and written to bytes. Never floating point.

/// An unsigned integer of up to 19 digits, leading zeros allowed.
pub fn uint_of(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number * 10 + u64::from(digit))
    })
}

/// A signed integer.
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

pub fn char_of(value: &[u8]) -> Option<u8> {
    match value {
        [byte @ 0x21..=0x7e] => Some(*byte),
        _ => None,
    }
}

/// Writes `number` in decimal at the front of `buffer`; answers how many digits. At most 20 are needed.
pub fn write_uint(buffer: &mut [u8; 20], mut number: u64) -> usize {
    let mut reversed = [0u8; 20];
    let mut at = 20;
    loop {
        at -= 1;
        reversed[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer[..20 - at].copy_from_slice(&reversed[at..]);
    20 - at
}

/// A price, quantity or amount: `mantissa × 10^-scale`, exact.
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

    /// `[-]digits[.digits]`, at most 18 digits in all.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (negative, digits) = match value.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, value),
        };
        let (mut mantissa, mut scale, mut point, mut count) = (0i64, 0u8, false, 0u32);
        for byte in digits {
            match byte {
                b'0'..=b'9' => {
                    count += 1;
                    if count > 18 {
                        return None;
                    }
                    mantissa = mantissa * 10 + i64::from(byte - b'0');
                    scale += u8::from(point);
                }
                b'.' if !point => point = true,
                _ => return None,
            }
        }
        (count > 0).then_some(Self { mantissa: if negative { -mantissa } else { mantissa }, scale })
    }

    /// Writes the number at the front of `buffer`; answers its length.
    pub fn write(self, buffer: &mut [u8; 40]) -> usize {
        let mut digits = [0u8; 20];
        let count = write_uint(&mut digits, self.mantissa.unsigned_abs());
        let scale = usize::from(self.scale.min(18));
        let mut at = 0;
        let mut put = |byte: u8| {
            buffer[at] = byte;
            at += 1;
        };
        if self.mantissa < 0 {
            put(b'-');
        }
        // At least one digit before the point.
        let width = count.max(scale + 1);
        for place in 0..width {
            if scale > 0 && place == width - scale {
                put(b'.');
            }
            let skipped = width - count;
            put(if place < skipped { b'0' } else { digits[place - skipped] });
        }
        at
    }

    /// −1, 0 or 1 as `self` is less than, equal to or greater than `other`, whatever their scales.
    pub fn compare(self, other: Self) -> std::cmp::Ordering {
        let scaled =
            |number: Self, scale: u8| i128::from(number.mantissa) * 10i128.pow(u32::from(scale - number.scale));
        let scale = self.scale.max(other.scale);
        scaled(self, scale).cmp(&scaled(other, scale))
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

    /// `YYYYMMDD-HH:MM:SS[.s…]` with 0 to 9 digits of fraction. Second 60 (a leap second) counts as 59.
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
            [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
                uint_of(digits)? * 10u64.pow(9 - digits.len() as u32)
            }
            _ => return None,
        };
        let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second.min(59);
        seconds.checked_mul(NS_PER_SECOND)?.checked_add(fraction_ns).map(Self::from_unix_ns)
    }

    /// Writes the timestamp at the front of `buffer`; answers its length: 17, 21, 24 or 27.
    pub fn write(self, buffer: &mut [u8; 27], precision: Precision) -> usize {
        let seconds = self.unix_ns / NS_PER_SECOND;
        let (year, month, day) = civil_from_days(seconds / SECONDS_PER_DAY);
        let of_day = seconds % SECONDS_PER_DAY;
        let mut digits = |from: usize, count: usize, mut number: u64| {
            for at in (from..from + count).rev() {
                buffer[at] = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        digits(0, 4, year);
        digits(4, 2, month);
        digits(6, 2, day);
        digits(9, 2, of_day / 3600);
        digits(12, 2, of_day / 60 % 60);
        digits(15, 2, of_day % 60);
        let fraction_ns = self.unix_ns % NS_PER_SECOND;
        let fraction_digits = match precision {
            Precision::Seconds => 0,
            Precision::Millis => 3,
            Precision::Micros => 6,
            Precision::Nanos => 9,
        };
        digits(18, fraction_digits, fraction_ns / 10u64.pow(9 - fraction_digits as u32));
        buffer[8] = b'-';
        buffer[11] = b':';
        buffer[14] = b':';
        buffer[17] = b'.';
        if fraction_digits == 0 { 17 } else { 18 + fraction_digits }
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
