//! The header of one session's messages, rendered once and patched for each.

use super::encoder::LENGTH_FIELD;
use super::value::{SecondText, digit_count, put_digits};
use super::{Precision, SOH, UtcTimestamp};

/// A header from BeginString(8) on, of which only MsgSeqNum(34) and SendingTime(52) change from message to message.
///
/// [`super::Encoder::begin_from`] copies it in front of a body; BodyLength(9) is patched when the message is finished. Where
/// MsgType(35) differs from the latest message's, or the number is not the next, it is rendered anew. Nothing is
/// allocated after it was made, but for a MsgType(35) longer than any of the standard's.
#[derive(Debug)]
pub struct HeaderTemplate {
    /// The latest header.
    image: Vec<u8>,
    /// `8=…|9=000|`
    front: Box<[u8]>,
    before_sending_time: Box<[u8]>,
    after_sending_time: Box<[u8]>,
    precision: Precision,
    second: SecondText,
    number: u64,
    /// Where in the image the number ends and SendingTime(52)'s value begins. MsgType(35)'s begins behind the front.
    msg_type_bytes: usize,
    number_end: usize,
    time_offset: usize,
}

/// What the image has room for without another allocation. The standard's types have one or two bytes.
const MSG_TYPE_BYTES_MAX: usize = 16;
const NUMBER_DIGITS_MAX: usize = 20;

impl HeaderTemplate {
    /// `before_sending_time` and `after_sending_time` are whole fields, each with its delimiter: those between MsgSeqNum(34)
    /// and SendingTime(52), and those behind it.
    pub fn new(
        begin_string: &[u8],
        before_sending_time: &[u8],
        after_sending_time: &[u8],
        precision: Precision,
    ) -> Self {
        let front = [b"8=", begin_string, &[SOH], LENGTH_FIELD].concat();
        let constant_bytes = front.len() + before_sending_time.len() + after_sending_time.len();
        let names_bytes = "35=|34=|52=|".len();
        let variable_bytes = MSG_TYPE_BYTES_MAX + NUMBER_DIGITS_MAX + precision.length();
        Self {
            image: Vec::with_capacity(constant_bytes + names_bytes + variable_bytes),
            front: front.into(),
            before_sending_time: before_sending_time.into(),
            after_sending_time: after_sending_time.into(),
            precision,
            second: SecondText::new(),
            number: 0,
            msg_type_bytes: 0,
            number_end: 0,
            time_offset: 0,
        }
    }

    /// Makes the image that of this message.
    #[inline]
    pub(super) fn set(&mut self, msg_type: &[u8], msg_seq_num: u64, sending_time: UtcTimestamp) {
        if !self.has_msg_type(msg_type) || !self.count_up(msg_seq_num) {
            self.render(msg_type, msg_seq_num);
        }
        let time_bytes = self.precision.length();
        if let Some(places) = self.image.get_mut(self.time_offset..self.time_offset + time_bytes) {
            places.copy_from_slice(&self.second.text(sending_time, self.precision)[..time_bytes]);
        }
    }

    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.image
    }

    #[inline(always)]
    pub(super) fn body_offset(&self) -> usize {
        self.front.len()
    }

    #[inline(always)]
    pub(super) fn second(&self) -> SecondText {
        self.second
    }

    /// False where none has been rendered yet.
    #[inline(always)]
    fn has_msg_type(&self, msg_type: &[u8]) -> bool {
        let at = self.front.len() + b"35=".len();
        match (msg_type, self.image.get(at..at + self.msg_type_bytes)) {
            ([wanted], Some([latest])) => wanted == latest,
            (wanted, latest) => latest == Some(wanted),
        }
    }

    /// False where the number is not the one after the latest, or has a digit more.
    #[inline(always)]
    fn count_up(&mut self, number: u64) -> bool {
        if Some(number) != self.number.checked_add(1) {
            return false;
        }
        let digits = self.image.get_mut(self.number_end.saturating_sub(NUMBER_DIGITS_MAX)..self.number_end);
        for digit in digits.unwrap_or_default().iter_mut().rev() {
            match *digit {
                b'0'..=b'8' => {
                    *digit += 1;
                    self.number = number;
                    return true;
                }
                b'9' => *digit = b'0',
                // The `=` before them: nines only.
                _ => return false,
            }
        }
        false
    }

    #[cold]
    #[inline(never)]
    fn render(&mut self, msg_type: &[u8], number: u64) {
        let mut digits = [0; NUMBER_DIGITS_MAX];
        let digits = &mut digits[..digit_count(number)];
        put_digits(digits, number);
        self.image.clear();
        let mut put = |bytes: &[u8]| {
            self.image.extend_from_slice(bytes);
            self.image.len()
        };
        put(&self.front);
        put(b"35=");
        put(msg_type);
        put(b"\x0134=");
        self.number_end = put(digits);
        put(&[SOH]);
        put(&self.before_sending_time);
        self.time_offset = put(b"52=");
        put(&[0; 27][..self.precision.length()]);
        put(&[SOH]);
        put(&self.after_sending_time);
        (self.number, self.msg_type_bytes) = (number, msg_type.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Encoder;
    use super::*;

    #[test]
    fn a_patched_header_is_what_the_encoder_would_write() {
        let (sender, target) = (b"49=US\x0150=SUB\x01", b"56=THEM\x01142=HERE\x01");
        let types: [&[u8]; 5] = [b"8", b"8", b"AE", b"D", b"a type longer than any"];
        for precision in [Precision::Seconds, Precision::Millis, Precision::Micros, Precision::Nanos] {
            let mut template = HeaderTemplate::new(b"FIX.4.4", sender, target, precision);
            let mut random = fastrand::Rng::with_seed(3);
            let (mut number, mut time) = (0, UtcTimestamp::from_unix_ns(1_767_614_400_123_456_789));
            for round in 0..3_000 {
                number = match random.u8(..10) {
                    0 => random.u64(..) >> random.u32(..64),
                    1 => number,
                    _ => number.wrapping_add(1),
                };
                time.unix_ns = time.unix_ns.wrapping_add(random.u64(..) >> random.u32(20..60));
                let msg_type = types[random.usize(..types.len())];
                let body = |mut encoder: Encoder<'_>| {
                    encoder.timestamp(60, time, Precision::Nanos).bytes(58, &[b'x'; 200][..round % 150]);
                    encoder.finish().unwrap()
                };
                let (mut patched, mut written) = ([0; 512], [0; 512]);
                let length = body(Encoder::begin_from(&mut patched, &mut template, msg_type, number, time));
                let mut encoder = Encoder::begin(&mut written, b"FIX.4.4", msg_type);
                encoder.uint(34, number).raw(sender).timestamp(52, time, precision).raw(target);
                assert_eq!(body(encoder), length);
                assert_eq!(patched[..length].escape_ascii().to_string(), written[..length].escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn a_header_that_does_not_fit_is_an_overflow() {
        let mut template = HeaderTemplate::new(b"FIX.4.4", b"49=US\x01", b"56=THEM\x01", Precision::Millis);
        for room in 0..80 {
            let mut buffer = vec![0; room];
            let encoder = Encoder::begin_from(&mut buffer, &mut template, b"0", 1, UtcTimestamp::default());
            let length = encoder.finish();
            assert_eq!(length.is_ok(), room >= 71, "{room}: {length:?}");
        }
    }
}
