//! The header fields of a received message that the session layer reads, found in one pass.

use super::{Identity, MSG_SEQ_NUM_MAX};
use crate::fix::{Message, Span, UtcTimestamp, bool_of, tags, uint_of};

/// A number that a field should hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    Missing,
    /// Not a number, or beyond [`MSG_SEQ_NUM_MAX`].
    Malformed,
    Value(u64),
}

impl Number {
    pub fn of(value: Option<&[u8]>) -> Self {
        match value.map(uint_of) {
            None => Self::Missing,
            Some(Some(number)) if number <= MSG_SEQ_NUM_MAX => Self::Value(number),
            Some(_) => Self::Malformed,
        }
    }

    pub fn value(self) -> Option<u64> {
        match self {
            Self::Value(number) => Some(number),
            Self::Missing | Self::Malformed => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub begin_string: &'a [u8],
    pub msg_type: &'a [u8],
    pub msg_seq_num: Number,
    pub poss_dup: bool,
    pub poss_resend: bool,
    pub sender_comp_id: &'a [u8],
    pub target_comp_id: &'a [u8],
    pub sending_time: Option<&'a [u8]>,
    pub orig_sending_time: Option<&'a [u8]>,
    /// The whole message, for what is asked seldom.
    pub bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// Of fields that occur twice the first counts. The pass ends at the first field of the body, unless a required
    /// field of the header has not come yet: then it must be somewhere, out of order.
    pub fn of(message: &Message<'a>) -> Self {
        Self::of_fields(message.bytes(), message.fields().map(|field| (field.tag, field.value)))
    }

    pub fn of_fields(bytes: &'a [u8], fields: impl Iterator<Item = (u32, &'a [u8])>) -> Self {
        let (mut begin_string, mut msg_type, mut msg_seq_num) = (None, None, None);
        let (mut poss_dup, mut poss_resend) = (None, None);
        let (mut sender_comp_id, mut target_comp_id) = (None, None);
        let (mut sending_time, mut orig_sending_time) = (None, None);
        for (tag, value) in fields {
            let slot = match tag {
                tags::BEGIN_STRING => &mut begin_string,
                tags::MSG_TYPE => &mut msg_type,
                tags::MSG_SEQ_NUM => &mut msg_seq_num,
                tags::POSS_DUP_FLAG => &mut poss_dup,
                tags::POSS_RESEND => &mut poss_resend,
                tags::SENDER_COMP_ID => &mut sender_comp_id,
                tags::TARGET_COMP_ID => &mut target_comp_id,
                tags::SENDING_TIME => &mut sending_time,
                tags::ORIG_SENDING_TIME => &mut orig_sending_time,
                tag if is_header(tag) => continue,
                _ => {
                    let required = [msg_seq_num, sender_comp_id, target_comp_id, sending_time];
                    if required.iter().all(Option::is_some) {
                        break;
                    }
                    continue;
                }
            };
            slot.get_or_insert(value);
        }
        let flag = |value: Option<&[u8]>| value.and_then(bool_of).unwrap_or(false);
        Self {
            begin_string: begin_string.unwrap_or_default(),
            msg_type: msg_type.unwrap_or_default(),
            msg_seq_num: Number::of(msg_seq_num),
            poss_dup: flag(poss_dup),
            poss_resend: flag(poss_resend),
            sender_comp_id: sender_comp_id.unwrap_or_default(),
            target_comp_id: target_comp_id.unwrap_or_default(),
            sending_time,
            orig_sending_time,
            bytes,
        }
    }

    /// Whether the peer's CompIDs are this session's. SubIDs and LocationIDs may differ from message to message.
    pub fn has_comp_ids_of(&self, identity: &Identity) -> bool {
        *self.sender_comp_id == *identity.target_comp_id && *self.target_comp_id == *identity.sender_comp_id
    }
}

/// Where the fields of the latest header stood that was read one by one: the messages of a peer mostly have them in the same places.
#[derive(Debug)]
pub(super) struct HeaderLayout {
    /// Its tags, and all ones where one counts.
    tags: [u32; HEADER_FIELDS_MAX],
    counts: [u32; HEADER_FIELDS_MAX],
    /// Of the first field of the body.
    body: usize,
    /// Of the fields that are looked at, in the order of [`LOOKED_AT`]; [`NOWHERE`] of those that are not there.
    places: [u8; LOOKED_AT.len()],
}

/// Longer headers, of which there are few, are read field by field.
const HEADER_FIELDS_MAX: usize = 12;
const NOWHERE: u8 = u8::MAX;
const LOOKED_AT: [u32; 9] = [
    tags::BEGIN_STRING,
    tags::MSG_TYPE,
    tags::MSG_SEQ_NUM,
    tags::POSS_DUP_FLAG,
    tags::POSS_RESEND,
    tags::SENDER_COMP_ID,
    tags::TARGET_COMP_ID,
    tags::SENDING_TIME,
    tags::ORIG_SENDING_TIME,
];

impl Default for HeaderLayout {
    /// That of no message.
    fn default() -> Self {
        Self {
            tags: [u32::MAX; HEADER_FIELDS_MAX],
            counts: [u32::MAX; HEADER_FIELDS_MAX],
            body: 0,
            places: [NOWHERE; LOOKED_AT.len()],
        }
    }
}

impl HeaderLayout {
    /// What [`Header::of`] reads.
    #[inline]
    pub fn read<'a>(&mut self, message: &Message<'a>) -> Header<'a> {
        let (tags, spans) = message.tags_and_spans();
        if let (Some(first_tags), Some(first_spans)) = (tags.first_chunk(), spans.first_chunk())
            && self.is_of(first_tags)
        {
            return self.header(message.bytes(), first_spans);
        }
        self.learn(tags);
        Header::of(message)
    }

    #[inline(always)]
    fn is_of(&self, tags: &[u32; HEADER_FIELDS_MAX]) -> bool {
        let differences = (0..HEADER_FIELDS_MAX).map(|at| (tags[at] ^ self.tags[at]) & self.counts[at]);
        differences.fold(0, |all, difference| all | difference) == 0
            && !is_of_header(tags[self.body % HEADER_FIELDS_MAX])
    }

    #[inline(always)]
    fn header<'a>(&self, bytes: &'a [u8], spans: &[Span; HEADER_FIELDS_MAX]) -> Header<'a> {
        let value = |place: u8| {
            let span = spans.get(usize::from(place))?;
            bytes.get(span.offset as usize..span.end as usize)
        };
        let flag = |place: u8| value(place).and_then(bool_of).unwrap_or(false);
        let [begin_string, msg_type, number, poss_dup, poss_resend, sender, target, sending_time, original] =
            self.places;
        Header {
            begin_string: value(begin_string).unwrap_or_default(),
            msg_type: value(msg_type).unwrap_or_default(),
            msg_seq_num: Number::of(value(number)),
            poss_dup: flag(poss_dup),
            poss_resend: flag(poss_resend),
            sender_comp_id: value(sender).unwrap_or_default(),
            target_comp_id: value(target).unwrap_or_default(),
            sending_time: value(sending_time),
            orig_sending_time: value(original),
            bytes,
        }
    }

    /// Of a header that has all that is required, so that what it does not have is nowhere.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, message_tags: &[u32]) {
        *self = Self::default();
        let Some(body) = message_tags.iter().position(|tag| !is_of_header(*tag)) else { return };
        let header = &message_tags[..body];
        let place_of = |wanted: u32| header.iter().position(|tag| *tag == wanted);
        let required = [tags::MSG_SEQ_NUM, tags::SENDER_COMP_ID, tags::TARGET_COMP_ID, tags::SENDING_TIME];
        if body >= HEADER_FIELDS_MAX || required.iter().any(|tag| place_of(*tag).is_none()) {
            return;
        }
        self.counts = std::array::from_fn(|at| if at < body { u32::MAX } else { 0 });
        self.tags[..body].copy_from_slice(header);
        self.body = body;
        self.places = LOOKED_AT.map(|tag| place_of(tag).map_or(NOWHERE, |place| place as u8));
    }
}

#[inline(always)]
fn is_of_header(tag: u32) -> bool {
    matches!(tag, 34 | 35 | 43 | 49 | 52 | 56 | 97 | 122) || is_header(tag)
}

/// Header fields of any version that the session layer does not look at.
fn is_header(tag: u32) -> bool {
    matches!(
        tag,
        8 | 9 | 50 | 57 | 90 | 91 | 115 | 116 | 128 | 129 | 142 | 143 | 144 | 145 | 212 | 213 | 347 | 369 | 370 | 627
            ..=630 | 1128 | 1129 | 1156
    )
}

/// Parses SendingTime(52), remembering the last date and second: consecutive messages mostly share them.
#[derive(Debug)]
pub(super) struct SendingTimeParser {
    whole: [u8; WHOLE_BYTES],
    whole_ns: u64,
}

/// `YYYYMMDD-HH:MM:SS`
const WHOLE_BYTES: usize = 17;

impl SendingTimeParser {
    pub fn new() -> Self {
        Self { whole: [0; WHOLE_BYTES], whole_ns: 0 }
    }

    pub fn parse(&mut self, text: &[u8]) -> Option<UtcTimestamp> {
        let (whole, fraction) = text.split_first_chunk()?;
        if *whole != self.whole {
            self.whole_ns = UtcTimestamp::parse(whole)?.unix_ns;
            self.whole = *whole;
        }
        let fraction_ns = match fraction {
            [] => 0,
            [b'.', first @ b'0'..=b'9', second @ b'0'..=b'9', third @ b'0'..=b'9'] => {
                let digits = [first, second, third].map(|digit| u64::from(digit - b'0'));
                (digits[0] * 100 + digits[1] * 10 + digits[2]) * 1_000_000
            }
            [b'.', digits @ ..] if digits.len() == 6 => uint_of(digits)? * 1_000,
            // Whatever else is a fraction is the type's own affair.
            _ => return UtcTimestamp::parse(text),
        };
        self.whole_ns.checked_add(fraction_ns).map(UtcTimestamp::from_unix_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{FieldIndex, parse};

    fn with_header<T>(text: &str, look: impl FnOnce(Header<'_>) -> T) -> T {
        let bytes = text.replace('|', "\x01").into_bytes();
        let mut index = FieldIndex::with_capacity(32);
        look(Header::of(&parse(&bytes, &mut index).unwrap()))
    }

    #[test]
    fn a_header_in_any_order_is_read_and_the_body_is_not() {
        with_header("8=FIX.4.4|9=1|35=D|52=t|56=US|49=THEM|97=Y|34=7|43=Y|122=o|11=x|43=N|10=000|", |header| {
            assert_eq!(header.msg_seq_num, Number::Value(7));
            assert_eq!((header.sender_comp_id, header.target_comp_id), (&b"THEM"[..], &b"US"[..]));
            assert_eq!((header.sending_time, header.orig_sending_time), (Some(&b"t"[..]), Some(&b"o"[..])));
            assert!(header.poss_dup && header.poss_resend);
        });
    }

    #[test]
    fn a_header_is_read_by_the_latest_ones_places_as_it_would_be_field_by_field() {
        let mut layout = HeaderLayout::default();
        let headers = [
            "34=7|49=A|52=t|56=B",
            "34=7|49=A|52=t|56=B",
            "49=A|56=B|34=8|52=t",
            "34=7|43=Y|49=A|52=t|56=B|122=o",
            "34=7|49=A|50=SUB|52=t|56=B|57=SUB|97=Y",
            "34=7|49=A|52=t|56=B|34=9",
            "34=7|49=A|52=t|56=B|97=Y",
            "34=7|49=A|52=t",
            "34=x|49=A|50=1|52=t|56=B|57=2|115=3|116=4|128=5|129=6|142=7|143=8",
        ];
        let bodies = ["", "11=x|55=y|54=1|38=1|40=1", "55=y|11=x|54=1|38=1|40=1|56=Z|43=Y|34=1"];
        let mut random = fastrand::Rng::with_seed(17);
        for _ in 0..5_000 {
            let (header, body) = (headers[random.usize(..headers.len())], bodies[random.usize(..bodies.len())]);
            let text = format!("8=FIX.4.4|9=1|35=D|{header}|{body}|10=000|").replace("||", "|").replace('|', "\x01");
            let mut index = FieldIndex::with_capacity(64);
            let message = parse(text.as_bytes(), &mut index).unwrap();
            assert_eq!(format!("{:?}", layout.read(&message)), format!("{:?}", Header::of(&message)), "{text}");
        }
    }

    #[test]
    fn a_required_field_is_found_even_behind_the_body() {
        with_header("8=FIX.4.4|9=1|35=D|49=A|56=B|52=t|11=x|34=7|10=000|", |header| {
            assert_eq!(header.msg_seq_num, Number::Value(7));
        });
    }

    #[test]
    fn a_number_is_missing_malformed_or_bounded() {
        assert_eq!(Number::of(None), Number::Missing);
        for malformed in [&b""[..], b"x", b"-1", b"9999999999999999999", b"18446744073709551615"] {
            assert_eq!(Number::of(Some(malformed)), Number::Malformed);
        }
        assert_eq!(Number::of(Some(b"0042")), Number::Value(42));
        assert_eq!(Number::of(Some(MSG_SEQ_NUM_MAX.to_string().as_bytes())), Number::Value(MSG_SEQ_NUM_MAX));
    }

    #[test]
    fn a_remembered_second_parses_as_a_fresh_one_would() {
        let mut parser = SendingTimeParser::new();
        for text in [
            "20240229-23:59:59",
            "20240229-23:59:59.5",
            "20240229-23:59:59.123",
            "20240229-23:59:59.12x",
            "20240229-23:59:59.123456",
            "20240229-23:59:59.123456789",
            "20240229-23:59:59.",
            "20240229-23:59:59.1234567890",
            "20240229-23:59:59x",
            "20240230-23:59:59",
            "2024",
            "",
            "20240301-00:00:00.001",
        ] {
            assert_eq!(parser.parse(text.as_bytes()), UtcTimestamp::parse(text.as_bytes()), "{text}");
        }
    }
}
