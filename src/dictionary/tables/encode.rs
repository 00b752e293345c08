//! Dictionaries to bytes.

use std::collections::{BTreeSet, HashMap};

use super::super::amendments::amend;
use super::super::model::Name;
use super::super::{Category, Dictionary, Member, MemberKind, Version};
use super::{MAGIC, TableError};

pub(super) fn encode(dictionaries: Vec<Dictionary>) -> Result<Vec<u8>, TableError> {
    let mut dictionaries: Vec<Dictionary> = dictionaries.into_iter().map(amended).collect();
    dictionaries.sort_by_key(Dictionary::version);
    if let Some(twice) = dictionaries.windows(2).find(|pair| pair[0].version() == pair[1].version()) {
        return Err(TableError::Twice(twice[0].version()));
    }
    let strings: BTreeSet<&str> = dictionaries.iter().flat_map(strings_of).collect();
    let mut writer = Writer { bytes: MAGIC.to_vec() };
    writer.strings(&strings);
    let numbers: HashMap<&str, u64> = strings.into_iter().zip(0..).collect();
    writer.uint(dictionaries.len() as u64);
    for dictionary in &dictionaries {
        let mut section = Writer { bytes: Vec::new() };
        section.dictionary(dictionary, &numbers);
        writer.uint(section.bytes.len() as u64);
        writer.bytes.extend(section.bytes);
    }
    Ok(writer.bytes)
}

fn amended(dictionary: Dictionary) -> Dictionary {
    let mut parts = dictionary.to_parts();
    amend(&mut parts);
    Dictionary::new(parts)
}

fn strings_of(dictionary: &Dictionary) -> impl Iterator<Item = &str> {
    let fields = dictionary.fields().iter().flat_map(|field| {
        let values = field.values.iter().flat_map(|value| [&value.value, &value.name]);
        std::iter::once(&field.name).chain(values)
    });
    let messages = dictionary.messages().iter().flat_map(|message| [&message.msg_type, &message.name]);
    let components = dictionary.components().iter().map(|component| &component.name);
    fields.chain(messages).chain(components).map(Name::as_ref)
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn uint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn strings(&mut self, strings: &BTreeSet<&str>) {
        self.uint(strings.len() as u64);
        let mut before = "";
        for string in strings {
            let equal = before.bytes().zip(string.bytes()).take_while(|(one, other)| one == other).count();
            // Both parts are whole characters.
            let shared = string.floor_char_boundary(equal);
            self.uint(shared as u64);
            self.uint((string.len() - shared) as u64);
            self.bytes.extend(&string.as_bytes()[shared..]);
            before = string;
        }
    }

    fn dictionary(&mut self, dictionary: &Dictionary, numbers: &HashMap<&str, u64>) {
        let number = |name: &Name| numbers[name.as_ref()];
        self.uint(code(dictionary.version()));
        self.uint(dictionary.fields().len() as u64);
        let mut before = 0;
        for field in dictionary.fields() {
            self.uint(u64::from(field.tag - before));
            before = field.tag;
            self.uint(number(&field.name));
            self.uint(field.kind as u64);
            self.uint(field.values.len() as u64);
            for value in &field.values {
                self.uint(number(&value.value));
                self.uint(number(&value.name));
            }
        }
        self.uint(dictionary.components().len() as u64);
        for component in dictionary.components() {
            self.uint(number(&component.name));
            self.members(dictionary, &component.members);
        }
        self.members(dictionary, dictionary.header());
        self.members(dictionary, dictionary.trailer());
        self.uint(dictionary.messages().len() as u64);
        for message in dictionary.messages() {
            self.uint(number(&message.msg_type));
            self.uint(number(&message.name));
            self.uint(u64::from(message.category == Category::Application));
            self.members(dictionary, &message.members);
        }
    }

    fn members(&mut self, dictionary: &Dictionary, members: &[Member]) {
        let place_of_field = |tag: u32| {
            let place = dictionary.fields().binary_search_by_key(&tag, |field| field.tag);
            place.expect("a dictionary's members are its own fields") as u64
        };
        self.uint(members.len() as u64);
        for member in members {
            let (place, kind) = match &member.kind {
                MemberKind::Field(tag) => (place_of_field(*tag), FIELD),
                MemberKind::Component(index) => (u64::from(index.0), COMPONENT),
                MemberKind::Group(group) => (place_of_field(group.count_tag), GROUP),
            };
            self.uint(place << 3 | u64::from(member.required) << 2 | kind);
            if let MemberKind::Group(group) = &member.kind {
                self.members(dictionary, &group.members);
            }
        }
    }
}

pub(super) const FIELD: u64 = 0;
pub(super) const COMPONENT: u64 = 1;
pub(super) const GROUP: u64 = 2;

/// A version's number in the tables, which never changes its meaning.
pub(super) fn code(version: Version) -> u64 {
    version as u64
}
