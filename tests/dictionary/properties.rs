//! Whatever a peer sends is answered, and never with a panic.

use std::sync::LazyLock;

use fixring::dictionary::{Checks, Dictionary, Validator, Version, built_in, load, to_xml};
use fixring::fix::{FieldIndex, SOH, parse};
use proptest::prelude::*;

/// FIX.4.4 with the messages that are tried alone, since a validator is made for each case.
fn small() -> &'static Dictionary {
    static SMALL: LazyLock<Dictionary> = LazyLock::new(|| {
        let xml = to_xml(built_in(Version::Fix44));
        let mut kept = String::new();
        let mut is_left_out = false;
        for line in xml.lines() {
            if line.starts_with("  <message ") {
                is_left_out =
                    !["D", "8", "X", "E", "A", "0"].iter().any(|kept| line.contains(&format!("msgtype='{kept}'")));
            }
            if !is_left_out {
                kept.push_str(line);
                kept.push('\n');
            }
            is_left_out &= line != "  </message>" && !line.ends_with("/>") || line.starts_with("   ");
        }
        load(kept.as_bytes()).unwrap().dictionary
    });
    &SMALL
}

static STRICT: LazyLock<Validator> = LazyLock::new(|| Validator::new(small(), Checks::ALL).unwrap());
static NONE: LazyLock<Validator> = LazyLock::new(|| Validator::new(small(), Checks::NONE).unwrap());

/// Tags that lead somewhere in a NewOrderSingle of FIX.4.4, and some that do not.
const TAGS: &[u32] = &[
    8,
    9,
    10,
    11,
    34,
    35,
    38,
    40,
    49,
    52,
    54,
    55,
    56,
    58,
    60,
    78,
    79,
    80,
    89,
    93,
    95,
    96,
    354,
    355,
    386,
    336,
    625,
    453,
    448,
    447,
    452,
    802,
    523,
    803,
    539,
    524,
    627,
    628,
    999,
    5_000,
    45_000,
    70_000,
    999_999_999,
];

fn field() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let value = prop_oneof![
        Just(Vec::new()),
        "[0-9]{1,3}".prop_map(String::into_bytes),
        Just(b"20261123-12:00:00.000".to_vec()),
        "[ -~]{1,20}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    (prop::sample::select(TAGS), value)
}

/// One of each switch off, all, and none.
fn checks() -> impl Strategy<Value = Checks> {
    prop::array::uniform11(prop::bool::weighted(0.8)).prop_map(|on| {
        let [msg_type, tags, user_defined_tags, required, values_present, enumerated_values, formats, ..] = on;
        let [.., repeated_tags, group_counts, group_order, section_order] = on;
        Checks {
            msg_type,
            tags,
            user_defined_tags,
            required,
            values_present,
            enumerated_values,
            formats,
            repeated_tags,
            group_counts,
            group_order,
            section_order,
        }
    })
}

proptest! {
    #[test]
    fn any_fields_are_answered_and_what_strict_checks_pass_every_weaker_one_passes(
        fields in prop::collection::vec(field(), 0..60),
        msg_type in prop::sample::select(&["D", "8", "X", "E", "A", "0", "zz", ""][..]),
        checks in checks(),
    ) {
        let mut bytes = format!("8=FIX.4.4\x019=1\x0135={msg_type}\x01").into_bytes();
        for (tag, value) in fields {
            bytes.extend(format!("{tag}=").bytes());
            bytes.extend(value);
            bytes.push(SOH);
        }
        let mut index = FieldIndex::with_capacity(1_024);
        if let Ok(message) = parse(&bytes, &mut index) {
            let dictionary = small();
            let strict = STRICT.validate(&message);
            let weaker = Validator::new(dictionary, checks).unwrap().validate(&message);
            prop_assert!(strict.is_err() || weaker.is_ok(), "{weaker:?}");
            prop_assert_eq!(NONE.validate(&message), Ok(()));
            if let Err(violation) = strict && let Some(tag) = violation.ref_tag_id {
                let is_there = message.fields().any(|field| field.tag == tag);
                prop_assert!(is_there != (violation.reason == fixring::dictionary::Reason::RequiredTagMissing));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_dictionary_or_have_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(faults) = load(&bytes) {
            prop_assert!(faults.has_errors());
        }
    }
}

#[test]
fn a_dictionary_file_that_was_damaged_is_read_to_an_answer() {
    let whole = to_xml(built_in(Version::Fix42));
    let lines: Vec<&str> = whole.lines().collect();
    let mut random = fastrand::Rng::with_seed(3);
    let mut refused = 0;
    for _ in 0..30 {
        let mut damaged = lines.clone();
        for _ in 0..random.usize(1..4) {
            let (at, other) = (random.usize(1..damaged.len() - 1), random.usize(1..damaged.len() - 1));
            match random.u8(..3) {
                0 => damaged.swap(at, other),
                1 => damaged[at] = damaged[other],
                _ => drop(damaged.remove(at)),
            }
        }
        match load(damaged.join("\n").as_bytes()) {
            Err(faults) => {
                refused += 1;
                assert!(faults.iter().all(|fault| fault.line > 0));
            }
            // What can be loaded can be compiled, and exported again.
            Ok(loaded) => {
                Validator::new(&loaded.dictionary, Checks::ALL).unwrap();
                assert!(load(to_xml(&loaded.dictionary).as_bytes()).unwrap().dictionary == loaded.dictionary);
            }
        }
    }
    assert!(refused > 5, "{refused}");
}
