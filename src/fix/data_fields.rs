//! Which fields may contain the delimiter, and which field before each says how long it is.
//!
//! The pairs are those of FIX.4.0 to FIX.5.0SP2 and FIXT.1.1. A pair is the same in every version
//! that has it, so one table serves all. What a session's dictionary declares beyond them is
//! [`DataFields`], which only its own messages are read by.

use crate::sys::simd::ShortKeySet;

/// Each length field with the data field that it announces, in ascending order of the length fields.
#[rustfmt::skip]
const PAIRS: &[(u32, u32)] = &[
    (90, 91), (93, 89), (95, 96), (212, 213), (348, 349), (350, 351), (352, 353), (354, 355), (356, 357),
    (358, 359), (360, 361), (362, 363), (364, 365), (445, 446), (618, 619), (621, 622), (1184, 1185), (1277, 1278),
    (1280, 1281), (1282, 1283), (1397, 1398), (1401, 1402), (1403, 1404), (1468, 1469), (1525, 1527), (1578, 1579),
    (1620, 1621), (1664, 1665), (1678, 1697), (1733, 1734), (1871, 1872), (1874, 1875), (2072, 2073), (2074, 2075),
    (2111, 2112), (2179, 2180), (2287, 2288), (2351, 2352), (2372, 2371), (2481, 2482), (2494, 2493), (2522, 2521),
    (2637, 2638), (2651, 2652), (2665, 2666), (2715, 2716), (2718, 2719), (2721, 2722), (2797, 2798), (2802, 2801),
    (2809, 2808), (2815, 2814), (40004, 40005), (40008, 40009), (40978, 40979), (40980, 40981), (40982, 40983),
    (40984, 40985), (40986, 40987), (40988, 40989), (41083, 41084), (41101, 41102), (41107, 41108), (41256, 41257),
    (41320, 41321), (41324, 41325), (41458, 41459), (41476, 41477), (41482, 41483), (41653, 41654), (41710, 41711),
    (41806, 41807), (41811, 41812), (41873, 41874), (41969, 41970), (42025, 42026), (42171, 42172), (42451, 42452),
    (42652, 42653), (42947, 42948), (43109, 42684), (43110, 42486), (43111, 42982),
];

const WORDS: usize = PAIRS[PAIRS.len() - 1].0 as usize / 64 + 1;

/// A bit for each tag that is a length field: nearly every field is asked, nearly none is one.
static LENGTH_TAGS: [u64; WORDS] = {
    let mut words = [0; WORDS];
    let mut at = 0;
    while at < PAIRS.len() {
        assert!(at == 0 || PAIRS[at - 1].0 < PAIRS[at].0, "the binary search needs the order");
        words[PAIRS[at].0 as usize / 64] |= 1 << (PAIRS[at].0 % 64);
        at += 1;
    }
    words
};

/// The length fields below 1000 by their digits, a class a line: of each place's digits, those that its tags have there.
const CLASSES: [[&[u8]; 3]; 8] = [
    [&[0], &[9], &[0, 3, 5]],
    [&[2], &[1], &[2]],
    [&[3], &[4], &[8]],
    [&[3], &[5], &[0, 2, 4, 6, 8]],
    [&[3], &[6], &[0, 2, 4]],
    [&[4], &[4], &[5]],
    [&[6], &[1], &[8]],
    [&[6], &[2], &[1]],
];

/// The same for [`crate::sys::simd::short_keys`].
pub(super) static LENGTH_TAGS_OF_THREE_DIGITS: ShortKeySet = {
    let mut set = [[0; 16]; 3];
    let mut number = 0;
    while number < CLASSES.len() * 3 {
        let (class, place) = (number / 3, number % 3);
        let digits = CLASSES[class][place];
        let mut at = 0;
        while at < digits.len() {
            set[place][digits[at] as usize] |= 1 << class;
            at += 1;
        }
        number += 1;
    }
    set
};

#[inline(always)]
pub(super) fn is_length_tag(tag: u32) -> bool {
    LENGTH_TAGS.get(tag as usize / 64).is_some_and(|word| word >> (tag % 64) & 1 == 1)
}

/// The data field that a length field announces, e.g. RawData(96) for RawDataLength(95).
pub fn data_tag_of_length(tag: u32) -> Option<u32> {
    let at = PAIRS.binary_search_by_key(&tag, |pair| pair.0).ok()?;
    Some(PAIRS[at].1)
}

/// Whether the field may contain the delimiter.
pub fn is_data_tag(tag: u32) -> bool {
    PAIRS.iter().any(|pair| pair.1 == tag)
}

/// The length fields that a session's dictionary declares beyond the standard's, each with a data
/// field that it announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataFields {
    /// In ascending order. A length field may stand with several data fields: the one that follows
    /// it counts.
    pairs: Box<[(u32, u32)]>,
}

/// Every key: where a length field of three digits is not the standard's, each field is read alone.
static ALL_SHORT_KEYS: ShortKeySet = [[u8::MAX; 16]; 3];

impl DataFields {
    /// Pairs of the standard are left out.
    pub fn new(pairs: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let own = pairs.into_iter().filter(|(length, data)| data_tag_of_length(*length) != Some(*data));
        let mut pairs: Vec<_> = own.collect();
        pairs.sort_unstable();
        pairs.dedup();
        Self { pairs: pairs.into() }
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub fn pairs(&self) -> &[(u32, u32)] {
        &self.pairs
    }

    pub(super) fn has_length_tag(&self, tag: u32) -> bool {
        let at = self.pairs.partition_point(|pair| pair.0 < tag);
        self.pairs.get(at).is_some_and(|pair| pair.0 == tag)
    }

    pub(super) fn has(&self, length_tag: u32, data_tag: u32) -> bool {
        self.pairs.binary_search(&(length_tag, data_tag)).is_ok()
    }

    /// Keys of up to three digits that [`crate::sys::simd::short_keys`] has to ask for.
    pub(super) fn short_keys(&self) -> &'static ShortKeySet {
        let has_short = self.pairs.first().is_some_and(|pair| pair.0 < 1_000);
        if has_short { &ALL_SHORT_KEYS } else { &LENGTH_TAGS_OF_THREE_DIGITS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_and_the_table_say_the_same() {
        for tag in (0..50_000).chain([u32::MAX]) {
            assert_eq!(is_length_tag(tag), data_tag_of_length(tag).is_some(), "tag {tag}");
            if tag < 1_000 {
                let [hundreds, tens, ones] = LENGTH_TAGS_OF_THREE_DIGITS;
                let [first, second, third] = [tag / 100, tag / 10 % 10, tag % 10].map(|digit| digit as usize);
                assert_eq!(hundreds[first] & tens[second] & ones[third] != 0, is_length_tag(tag), "tag {tag}");
            }
        }
    }

    #[test]
    fn a_length_field_need_not_stand_just_below_its_data_field() {
        // Signature(89) predates SignatureLength(93); EncodedDocumentationText is 1527.
        assert_eq!(data_tag_of_length(93), Some(89));
        assert_eq!(data_tag_of_length(1525), Some(1527));
        assert_eq!(data_tag_of_length(89), None);
        // MaxMessageSize(383) and BodyLength(9) are of type LENGTH too, and announce nothing.
        assert_eq!(data_tag_of_length(383), None);
        assert_eq!(data_tag_of_length(9), None);
        assert!(is_data_tag(96) && !is_data_tag(58));
    }
}
