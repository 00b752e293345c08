use super::*;

#[test]
fn both_forms_find_every_byte_at_every_place() {
    for at in 0..BLOCK_BYTES {
        for wanted in 0..=255 {
            // The neighbours differ in one bit, which is where carries between bytes would show.
            let mut block = [wanted ^ 1; BLOCK_BYTES];
            block[at] = wanted;
            assert_eq!(form::equal_mask(&block, wanted), 1 << at);
            assert_eq!(portable::equal_mask(&block, wanted), 1 << at);
        }
    }
}

#[test]
fn both_forms_know_every_byte_at_every_place() {
    for at in 0..WINDOW_BYTES {
        for byte in 0..=255u8 {
            let mut window = [b'5'; WINDOW_BYTES];
            window[at] = byte;
            let bit = |is_one: bool| u16::from(is_one) << at;
            let others = !(1 << at);
            let expected = (others | bit(byte.is_ascii_digit()), bit(byte == b'.'));
            assert_eq!(form::digits_and_points(&window), expected);
            assert_eq!(portable::digits_and_points(&window), expected);
            for (least, greatest) in [(b'0', b'9'), (0, 0xff), (b'-', b'-'), (0x7f, 0x80), (b'5', b'5')] {
                let mut bounds = [[b'5'; WINDOW_BYTES]; 2];
                (bounds[0][at], bounds[1][at]) = (least, greatest);
                let expected = (least..=greatest).contains(&byte);
                assert_eq!(form::are_within(&window, &bounds[0], &bounds[1]), expected);
                assert_eq!(portable::are_within(&window, &bounds[0], &bounds[1]), expected);
            }
        }
    }
}

#[test]
fn both_forms_agree_on_noise() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..2_000 {
        let bytes: Vec<u8> = (0..64 + round % 64).map(|_| random.u8(..4)).collect();
        let block = bytes.first_chunk().unwrap();
        assert_eq!(form::equal_mask(block, 1), portable::equal_mask(block, 1));
        let short = &bytes[..round % 40];
        assert_eq!(form::byte_sum(short), portable::byte_sum(short));
        let window = std::array::from_fn(|_| random.u8(b'-'..=b';'));
        assert_eq!(form::digits_and_points(&window), portable::digits_and_points(&window));
        let (least, greatest) = ([random.u8(..b'2'); WINDOW_BYTES], [random.u8(b'6'..); WINDOW_BYTES]);
        let is_within = portable::are_within(&window, &least, &greatest);
        assert_eq!(form::are_within(&window, &least, &greatest), is_within);
        let numbers = std::array::from_fn(|_| random.u32(..40) << (round % 26));
        let wanted = random.u32(..40) << (round % 26);
        assert_eq!(form::first_equal(&numbers, wanted), portable::first_equal(&numbers, wanted));
    }
}

#[test]
fn sums_wrap_at_256_however_long_the_bytes() {
    for length in 0..600 {
        let bytes = vec![0xff; length];
        let expected = (length * 255) as u8;
        assert_eq!((form::byte_sum(&bytes), portable::byte_sum(&bytes)), (expected, expected));
    }
}

fn noise(random: &mut fastrand::Rng, length: usize) -> Vec<u8> {
    let often = random.u8(..) / 2;
    (0..length).map(|_| if random.u8(..) < often { 1 } else { random.u8(..) }).collect()
}

#[test]
fn every_position_is_found_at_every_length_from_everywhere() {
    let mut random = fastrand::Rng::with_seed(2);
    for length in (0..300).chain([SCAN_BYTES - 1, SCAN_BYTES, SCAN_BYTES + 1, 2 * SCAN_BYTES + 70]) {
        for bytes in [noise(&mut random, length), vec![1; length], vec![0; length]] {
            let from = random.usize(..=length);
            let until = length.min(from + SCAN_BYTES);
            let expected: Vec<u32> = (from..until).filter(|at| bytes[*at] == 1).map(|at| at as u32).collect();
            let mut by_masks = [7; size_of::<Positions>() / 4];
            let mut chosen = by_masks;
            let count = positions_by_masks(&bytes, from, 1, &mut by_masks, |block| portable::equal_mask(block, 1));
            assert_eq!(by_masks[1..=count], expected, "length {length} from {from}");
            let count = positions(&bytes, from, 1, &mut chosen);
            assert_eq!(chosen[1..=count], expected, "length {length} from {from}");
            assert_eq!((by_masks[0], chosen[0]), (7, 7));
        }
    }
}

#[test]
fn counts_and_sums_are_those_of_a_walk_at_every_length() {
    let mut random = fastrand::Rng::with_seed(3);
    for length in 0..600 {
        let bytes = noise(&mut random, length);
        let sum = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        let count = bytes.iter().filter(|byte| **byte == 1).count() as u32;
        assert_eq!((count_and_sum(&bytes, 1), byte_sum(&bytes)), ((count, sum), sum), "length {length}");
    }
}

/// The key and the value's place, byte by byte; none where it is left to the one who asks.
fn slow_key(bytes: &[u8], start: usize, end: usize, set: &ShortKeySet) -> Option<(u32, Span)> {
    let field = &bytes[start..end];
    let digits = field.iter().take(4).position(|byte| *byte == b'=')?;
    let key: u32 = std::str::from_utf8(&field[..digits]).ok()?.parse().ok()?;
    let is_plain = field[..digits].iter().all(u8::is_ascii_digit) && field[0] != b'0';
    let [first, second, third] = [key / 100, key / 10 % 10, key % 10].map(|digit| digit as usize);
    let is_of_set = set[0][first] & set[1][second] & set[2][third] != 0;
    let span = Span { offset: (start + digits + 1) as u32, end: end as u32 };
    (is_plain && !is_of_set).then_some((key, span))
}

#[test]
fn keys_are_read_as_byte_by_byte_and_what_is_in_doubt_is_asked_for() {
    let mut random = fastrand::Rng::with_seed(4);
    let mut set = [[0; 16]; 3];
    (set[0][0], set[1][9], set[2][5], set[2][0]) = (1, 1, 1, 1);
    let (mut read_at_once, mut asked_for) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(..20) {
            match random.u8(..12) {
                0 => bytes.extend((0..random.usize(..6)).map(|_| random.choice(*b"0123456789=x").unwrap())),
                1 => bytes.extend(b"95=12"),
                2 => bytes.extend(format!("{}=", random.u32(..)).bytes()),
                _ => bytes.extend(format!("{}=value", random.u32(..1_100)).bytes()),
            }
            bytes.push(1);
        }
        let mut places = [0; size_of::<Positions>() / 4];
        places[0] = u32::MAX;
        let count = positions(&bytes, 0, 1, &mut places);
        let fields = |number: usize| (places[number].wrapping_add(1) as usize, places[number + 1] as usize);
        let stop_at = random.usize(..40);
        let room = count + random.usize(..20);
        let (mut keys, mut spans) = (vec![0; room], vec![Span::default(); room]);
        let mut asked = Vec::new();
        let read = short_keys(&bytes, &places, count, &mut keys, &mut spans, &set, &mut |number| {
            asked.push(number);
            let (start, end) = fields(number);
            (number != stop_at).then_some((start as u32 * 7, Span { offset: 9, end: end as u32 }))
        });
        assert!(read == count || asked.last() == Some(&stop_at) && read == stop_at, "round {round}");
        assert!(asked.is_sorted());
        for number in 0..read {
            let (start, end) = fields(number);
            let answered = (start as u32 * 7, Span { offset: 9, end: end as u32 });
            let found = (keys[number], spans[number]);
            match slow_key(&bytes, start, end, &set) {
                Some(expected) if !asked.contains(&number) => assert_eq!(found, expected, "round {round}"),
                _ => assert_eq!(found, answered, "round {round}, field {number}"),
            }
            let was_asked = asked.contains(&number);
            (read_at_once, asked_for) = (read_at_once + u32::from(!was_asked), asked_for + u32::from(was_asked));
        }
    }
    assert!(asked_for > 10_000 && (instructions() != "AVX2" || read_at_once > 50_000), "{read_at_once}, {asked_for}");
}
