//! The validator against one that is slow and obvious: it searches the dictionary itself for every field.

use fixring::dictionary::{
    Checks, Dictionary, FieldDefinition, FieldType, Group, Reason, Validator, Version, Violation, built_in,
};
use fixring::fix::{FieldIndex, SOH, data_tag_of_length, parse};

type Field = (u32, Vec<u8>);
type Verdict = Result<(), Violation>;

fn no(reason: Reason, tag: u32) -> Verdict {
    Err(Violation { reason, ref_tag_id: Some(tag) })
}

/// A member with its section: 0 header, 1 body, 2 trailer.
#[derive(Clone, Copy)]
struct Place<'d> {
    tag: u32,
    group: Option<&'d Group>,
    required: bool,
    section: u8,
}

fn places<'d>(dictionary: &'d Dictionary, members: &'d [fixring::dictionary::Member], section: u8) -> Vec<Place<'d>> {
    let unfolded = dictionary.unfold(members).into_iter();
    unfolded.map(|m| Place { tag: m.tag, group: m.group, required: m.required, section }).collect()
}

fn first_of_each_tag(places: Vec<Place<'_>>) -> Vec<Place<'_>> {
    let mut kept: Vec<Place<'_>> = Vec::new();
    for place in places {
        if kept.iter().all(|other| other.tag != place.tag) {
            kept.push(place);
        }
    }
    kept
}

fn message_places<'d>(dictionary: &'d Dictionary, msg_type: &str) -> Option<Vec<Place<'d>>> {
    let message = dictionary.message(msg_type)?;
    let mut all = places(dictionary, dictionary.header(), 0);
    all.extend(places(dictionary, dictionary.trailer(), 2));
    all.extend(places(dictionary, &message.members, 1));
    Some(first_of_each_tag(all))
}

struct Oracle<'o> {
    dictionary: &'o Dictionary,
    checks: Checks,
    message: Vec<Place<'o>>,
    fields: &'o [Field],
}

fn find<'p, 'd>(places: &'p [Place<'d>], tag: u32) -> Option<&'p Place<'d>> {
    places.iter().find(|place| place.tag == tag)
}

impl Oracle<'_> {
    fn verdict(dictionary: &Dictionary, checks: Checks, fields: &[Field]) -> Verdict {
        let msg_type = fields.iter().find(|(tag, _)| *tag == 35).map(|(_, value)| value.as_slice()).unwrap_or_default();
        let Some(message) = std::str::from_utf8(msg_type).ok().and_then(|text| message_places(dictionary, text)) else {
            return Err(Violation { reason: Reason::InvalidMsgType, ref_tag_id: None });
        };
        let oracle = Oracle { dictionary, checks, message, fields };
        oracle.in_order_of_the_wire().or_else(|first| oracle.whole().and(Err(first)))
    }

    /// Header, body and trailer follow one another, and what must be there is there.
    fn whole(&self) -> Verdict {
        let (mut section, mut seen, mut within) = (0, Vec::new(), Vec::new());
        for (tag, _) in self.fields {
            if within.contains(tag) {
                continue;
            }
            within.clear();
            let place = find(&self.message, *tag);
            let now = place.map_or(section.max(1), |place| place.section);
            if self.checks.section_order && now < section {
                return no(Reason::TagOutOfOrder, *tag);
            }
            section = now;
            seen.extend(place.map(|place| place.tag));
            let mut groups: Vec<&Group> = place.and_then(|place| place.group).into_iter().collect();
            while let Some(group) = groups.pop() {
                for member in places(self.dictionary, &group.members, 1) {
                    within.push(member.tag);
                    groups.extend(member.group);
                }
            }
        }
        self.required(&seen)
    }

    fn in_order_of_the_wire(&self) -> Verdict {
        let Self { checks, fields, .. } = *self;
        let oracle = self;
        let (mut section, mut seen, mut at) = (0, Vec::new(), 0);
        while let Some((tag, value)) = fields.get(at) {
            at += 1;
            let Some(place) = find(&oracle.message, *tag) else {
                oracle.stranger(*tag, value)?;
                section = section.max(1);
                continue;
            };
            if checks.section_order && place.section < section {
                return no(Reason::TagOutOfOrder, *tag);
            }
            section = place.section;
            if checks.repeated_tags && seen.contains(tag) {
                return no(Reason::TagRepeated, *tag);
            }
            seen.push(*tag);
            oracle.value(*tag, value)?;
            if let Some(group) = place.group {
                at = oracle.group(&[&oracle.message], group, value, at)?;
            }
        }
        self.required(&seen)
    }

    fn required(&self, seen: &[u32]) -> Verdict {
        let mut missing: Vec<_> = self.message.iter().filter(|place| place.required).collect();
        missing.retain(|place| !seen.contains(&place.tag));
        missing.sort_by_key(|place| (place.section, place.tag));
        match missing.first() {
            Some(place) if self.checks.required => no(Reason::RequiredTagMissing, place.tag),
            _ => Ok(()),
        }
    }

    fn group(&self, around: &[&[Place<'_>]], group: &Group, count: &[u8], mut at: usize) -> Result<usize, Violation> {
        let members = first_of_each_tag(places(self.dictionary, &group.members, 1));
        let expected = std::str::from_utf8(count).ok().and_then(|text| text.parse::<u64>().ok());
        let mut instances: Vec<Vec<u32>> = Vec::new();
        let mut values = Ok(());
        let is_whole = |instance: Option<&Vec<u32>>| {
            let missing =
                members.iter().find(|member| member.required && instance.is_some_and(|i| !i.contains(&member.tag)));
            missing.filter(|_| self.checks.required).map_or(Ok(()), |member| no(Reason::RequiredTagMissing, member.tag))
        };
        while let Some((tag, value)) = self.fields.get(at) {
            let Some(number) = members.iter().position(|member| member.tag == *tag) else {
                let is_known_around = around.iter().any(|places| find(places, *tag).is_some());
                if is_known_around || self.stranger(*tag, value).is_err() {
                    break;
                }
                at += 1;
                continue;
            };
            let counted = instances.len() as u64;
            if number == 0 {
                is_whole(instances.last())?;
                instances.push(vec![]);
            } else {
                let instance = instances.last().cloned().unwrap_or_default();
                let is_before = |other: &u32| members.iter().position(|member| member.tag == *other) >= Some(number);
                if instances.is_empty() || instance.iter().any(is_before) {
                    if expected == Some(counted) && find(around[around.len() - 1], *tag).is_some() {
                        break;
                    }
                    let is_repeated = instance.contains(tag);
                    if is_repeated && self.checks.repeated_tags {
                        return no(Reason::TagRepeated, *tag).map(|()| 0);
                    }
                    if !is_repeated && self.checks.group_order {
                        return no(Reason::GroupFieldsOutOfOrder, *tag).map(|()| 0);
                    }
                    if instances.is_empty() {
                        break;
                    }
                }
            }
            instances.last_mut().unwrap().push(*tag);
            values = values.and_then(|()| self.value(*tag, value));
            at += 1;
            if let Some(inner) = members[number].group {
                at = self.group(&[around, &[&members]].concat(), inner, value, at)?;
            }
        }
        is_whole(instances.last())?;
        if self.checks.group_counts && expected != Some(instances.len() as u64) {
            no(Reason::IncorrectNumInGroup, group.count_tag)?;
        }
        values?;
        Ok(at)
    }

    fn stranger(&self, tag: u32, value: &[u8]) -> Verdict {
        if value.is_empty() && self.checks.values_present {
            return no(Reason::TagWithoutValue, tag);
        }
        let is_checked = if (5_000..40_000).contains(&tag) { self.checks.user_defined_tags } else { self.checks.tags };
        match self.dictionary.field(tag) {
            _ if !is_checked => Ok(()),
            Some(_) => no(Reason::TagNotDefinedForMessage, tag),
            None => no(Reason::InvalidTagNumber, tag),
        }
    }

    fn value(&self, tag: u32, value: &[u8]) -> Verdict {
        let field = self.dictionary.field(tag).unwrap();
        if value.is_empty() {
            return if self.checks.values_present { no(Reason::TagWithoutValue, tag) } else { Ok(()) };
        }
        let is_named = |one: &[u8]| field.values.iter().any(|named| named.value.as_bytes() == one);
        let is_enumerated = self.checks.enumerated_values && !field.values.is_empty() && tag != 35;
        let is_list = field.kind.is_list() && value.split(|byte| *byte == b' ').all(is_named);
        if is_enumerated && (is_named(value) || is_list) {
            return Ok(());
        }
        if self.checks.formats && !has_format(field.kind, value) {
            return no(Reason::IncorrectDataFormat, tag);
        }
        if is_enumerated { no(Reason::ValueIncorrect, tag) } else { Ok(()) }
    }
}

/// By FIX.4.4's data types.
fn has_format(kind: FieldType, value: &[u8]) -> bool {
    // What is not UTF-8 is text in the peer's own encoding, and nothing else.
    let Ok(text) = std::str::from_utf8(value) else {
        return has_format(kind, b"any text");
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match kind {
        FieldType::Char => value.len() == 1 && (b' '..=b'~').contains(&value[0]),
        FieldType::Boolean => text == "Y" || text == "N",
        FieldType::Int => is_digits(unsigned),
        FieldType::Length | FieldType::NumInGroup | FieldType::SeqNum => is_digits(text),
        FieldType::Amt
        | FieldType::Float
        | FieldType::Percentage
        | FieldType::Price
        | FieldType::PriceOffset
        | FieldType::Qty => is_digits(&unsigned.replacen('.', "", 1)),
        FieldType::UtcTimestamp => match text.split_once('-') {
            Some((date, time)) => is_date(date) && is_time(time),
            None => false,
        },
        FieldType::UtcDateOnly | FieldType::LocalMktDate => is_date(text),
        FieldType::UtcTimeOnly => is_time(text),
        FieldType::MonthYear => match text.split_at_checked(6) {
            Some((month, "")) => is_date(&format!("{month}01")),
            Some((month, "w1" | "w2" | "w3" | "w4" | "w5")) => is_date(&format!("{month}01")),
            _ => is_date(text),
        },
        _ => true,
    }
}

fn is_date(text: &str) -> bool {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap();
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let leap = u32::from(year % 4 == 0 && year % 100 != 0 || year % 400 == 0);
    let days = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    (1..=12).contains(&month) && (1..=days[month as usize - 1]).contains(&day)
}

fn is_time(text: &str) -> bool {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let is_pair = |at: usize, max: u32| {
        parts[at].len() == 2
            && parts[at].bytes().all(|byte| byte.is_ascii_digit())
            && parts[at].parse::<u32>().unwrap() <= max
    };
    parts.len() == 3
        && is_pair(0, 23)
        && is_pair(1, 59)
        && is_pair(2, 60)
        && (1..=12).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// Messages that are valid, and what makes them less so.
struct Generator<'g> {
    dictionary: &'g Dictionary,
    random: fastrand::Rng,
}

impl Generator<'_> {
    fn message(&mut self) -> Vec<Field> {
        let message = &self.dictionary.messages()[self.random.usize(..self.dictionary.messages().len())];
        let msg_type = message.msg_type.as_bytes().to_vec();
        let mut fields = vec![(8, b"FIX.4.4".to_vec()), (9, b"178".to_vec()), (35, msg_type)];
        let dictionary = self.dictionary;
        let all = message_places(dictionary, &message.msg_type).unwrap();
        for section in 0..3 {
            let mut places: Vec<_> = all.iter().filter(|place| place.section == section).copied().collect();
            places.retain(|place| ![8, 9, 35, 10].contains(&place.tag));
            self.members(&places, 6, &mut fields);
        }
        fields.push((10, b"000".to_vec()));
        fields
    }

    fn members(&mut self, places: &[Place<'_>], one_in: u32, fields: &mut Vec<Field>) {
        for place in places {
            if !place.required && self.random.u32(..one_in) != 0 {
                continue;
            }
            let field = self.dictionary.field(place.tag).unwrap();
            // NoSides(552) may be 1 or 2 only.
            let count = self.random.usize(usize::from(!field.values.is_empty())..3);
            let value = match place.group {
                Some(_) => count.to_string().into_bytes(),
                None => self.value(field, fields.last().unwrap().0),
            };
            fields.push((place.tag, value));
            for _ in 0..count {
                let Some(group) = place.group else { break };
                let mut members = first_of_each_tag(places_of(self.dictionary, group));
                members[0].required = true;
                self.members(&members, 9, fields);
            }
        }
    }

    fn value(&mut self, field: &FieldDefinition, before: u32) -> Vec<u8> {
        if let Some(first) = self.random.choice(&field.values) {
            let second = self.random.choice(&field.values).unwrap();
            let is_pair = field.kind.is_list() && self.random.bool();
            let text = if is_pair { format!("{} {}", first.value, second.value) } else { first.value.to_string() };
            return text.into_bytes();
        }
        let values: &[&str] = match field.kind {
            FieldType::Char => &["1", "~", " "],
            FieldType::Boolean => &["Y", "N"],
            FieldType::Int => &["0", "-1", "007", "12345678901234567890"],
            FieldType::Length => &["3"],
            FieldType::SeqNum => &["1", "99", "1234567"],
            FieldType::UtcTimestamp => {
                &["20241126-12:00:00", "20240229-23:59:60", "20261031-00:00:00.123", "20261001-01:02:03.123456789"]
            }
            FieldType::UtcDateOnly | FieldType::LocalMktDate => &["20241126", "20240229", "19991231"],
            FieldType::UtcTimeOnly => &["12:00:00", "23:59:59.999"],
            FieldType::MonthYear => &["202411", "20241130", "202411w5"],
            FieldType::Data if data_tag_of_length(before) == Some(field.tag) => &["a\x01b", "1=2", "\x01\x01\x01"],
            FieldType::Data => &["abc"],
            FieldType::Amt
            | FieldType::Float
            | FieldType::Percentage
            | FieldType::Price
            | FieldType::PriceOffset
            | FieldType::Qty => &["1", "100", "1.084325", "-0.5", ".5", "5.", "12345678901234567.12"],
            _ => &["x", "EURUSD", "some text that is longer than sixteen bytes"],
        };
        self.random.choice(values).unwrap().as_bytes().to_vec()
    }

    fn mutate(&mut self, fields: &mut Vec<Field>) {
        let any = |random: &mut fastrand::Rng, fields: &[Field]| random.usize(3..fields.len());
        let at = any(&mut self.random, fields);
        let other = any(&mut self.random, fields);
        match self.random.u8(..9) {
            0 if fields.len() > 4 => drop(fields.remove(at)),
            1 => fields.insert(at, fields[other].clone()),
            2 => fields.swap(at, other),
            3 => fields[at..].rotate_left(1),
            4 => fields[at].1.clear(),
            5 => fields[at].1 = self.random.choice(NASTY).unwrap().as_bytes().to_vec(),
            6 => {
                let all = self.dictionary.fields();
                let field = &all[self.random.usize(..all.len())];
                let value = self.value(field, 0);
                fields.insert(at, (field.tag, value));
            }
            7 => {
                let tag = self.random.choice([999, 5_001, 45_000, 70_000, 999_999_999]).unwrap();
                fields.insert(at, (tag, b"x".to_vec()));
            }
            _ => {
                if let Some(byte) = fields[at].1.first_mut() {
                    *byte = self.random.choice(*b"0123456789-+. x\x80").unwrap();
                }
            }
        }
    }
}

fn places_of<'d>(dictionary: &'d Dictionary, group: &'d Group) -> Vec<Place<'d>> {
    places(dictionary, &group.members, 1)
}

const NASTY: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "+1",
    "1.2.3",
    "1e5",
    "-",
    ".",
    "-.",
    "00",
    "Y",
    "y",
    "11",
    " ",
    "1 ",
    "1  2",
    "é",
    "\u{7f}",
    "20240230",
    "20241301-00:00:00",
    "20240101-24:00:00",
    "20240101-00:00:00.",
    "20240131-00:00:00.1234567890123",
    "00:00:61",
    "202413",
    "202412w6",
];

/// All checks, none, and each left out alone.
fn all_checks() -> Vec<Checks> {
    let mut all = vec![Checks::ALL, Checks { msg_type: true, ..Checks::NONE }];
    let leave_out: [fn(&mut Checks); 10] = [
        |checks| checks.tags = false,
        |checks| checks.user_defined_tags = false,
        |checks| checks.required = false,
        |checks| checks.values_present = false,
        |checks| checks.enumerated_values = false,
        |checks| checks.formats = false,
        |checks| checks.repeated_tags = false,
        |checks| checks.group_counts = false,
        |checks| checks.group_order = false,
        |checks| checks.section_order = false,
    ];
    for leave_out in leave_out {
        let mut checks = Checks::ALL;
        leave_out(&mut checks);
        all.push(checks);
    }
    all
}

#[test]
fn the_validator_finds_what_a_slow_and_obvious_one_finds() {
    let dictionary = built_in(Version::Fix44);
    let validators: Vec<Validator> =
        all_checks().into_iter().map(|checks| Validator::new(dictionary, checks).unwrap()).collect();
    let mut index = FieldIndex::with_capacity(16_384);
    let mut reasons = std::collections::BTreeMap::new();
    for seed in 0..4_000 {
        let mut generator = Generator { dictionary, random: fastrand::Rng::with_seed(seed) };
        let mut fields = generator.message();
        let mutations = seed % 4;
        for _ in 0..mutations {
            generator.mutate(&mut fields);
        }
        let mut bytes = Vec::new();
        for (tag, value) in &fields {
            bytes.extend([tag.to_string().as_bytes(), b"=", value, &[SOH]].concat());
        }
        let Ok(message) = parse(&bytes, &mut index) else {
            assert!(mutations > 0, "seed {seed}");
            continue;
        };
        // A mutation may have made a length lead into its data: what was parsed counts.
        let parsed: Vec<Field> = message.fields().map(|field| (field.tag, field.value.to_vec())).collect();
        for validator in &validators {
            let checks = *validator.checks();
            let expected = Oracle::verdict(dictionary, checks, &parsed);
            assert_eq!(validator.validate(&message), expected, "seed {seed}, {checks:?}: {}", bytes.escape_ascii());
            if checks == Checks::ALL {
                assert!(mutations > 0 || expected.is_ok(), "seed {seed}: {expected:?}: {}", bytes.escape_ascii());
                *reasons.entry(expected.err().map(|violation| violation.reason)).or_insert(0) += 1;
            }
        }
    }
    let found: Vec<_> = reasons.into_iter().filter(|(_, count)| *count >= 5).collect();
    // Valid, and every reason but InvalidMsgType, which no mutation makes.
    assert_eq!(found.len(), 11, "{found:?}");
    assert!(found[0].0.is_none() && found[0].1 > 1_000, "{found:?}");
}
