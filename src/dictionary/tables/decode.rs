//! Bytes to dictionaries. Answers `None` where the bytes are not what `encode` writes.

use std::borrow::Cow;

use super::super::model::{Name, Parts};
use super::super::{
    Category, Component, ComponentIndex, DEPTH_MAX, Dictionary, EnumeratedValue, FieldDefinition, FieldType, Group,
    Member, MemberKind, MessageDefinition, Version,
};
use super::MAGIC;
use super::encode::{COMPONENT, FIELD, GROUP, code};

/// All strings of the tables, in one piece.
pub(super) struct Strings {
    text: String,
    /// Where each one ends; it begins where the one before ends.
    ends: Vec<u32>,
    /// Where the versions begin in the tables.
    versions_offset: usize,
}

impl Strings {
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes: bytes.strip_prefix(MAGIC)? };
        let count = reader.count()?;
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(count);
        let mut begin = 0usize;
        for _ in 0..count {
            let shared = reader.uint()? as usize;
            let own = reader.uint()? as usize;
            let end = text.len();
            text.extend_from_within(begin..begin.checked_add(shared).filter(|shared_end| *shared_end <= end)?);
            text.extend_from_slice(reader.take(own)?);
            begin = end;
            ends.push(u32::try_from(text.len()).ok()?);
        }
        let text = String::from_utf8(text).ok()?;
        // Names are cut out of the text, so each must end where a character does.
        let whole = ends.iter().all(|end| text.is_char_boundary(*end as usize));
        whole.then(|| Self { versions_offset: bytes.len() - reader.bytes.len(), text, ends })
    }

    fn get(&'static self, number: u64) -> Option<Name> {
        let number = usize::try_from(number).ok()?;
        let end = *self.ends.get(number)? as usize;
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(Cow::Borrowed(&self.text[begin..end]))
    }
}

pub(super) fn dictionary(bytes: &[u8], strings: &'static Strings, version: Version) -> Option<Dictionary> {
    let mut reader = Reader { bytes: bytes.get(strings.versions_offset..)? };
    for _ in 0..reader.count()? {
        let length = reader.uint()?;
        let mut section = Reader { bytes: reader.take(usize::try_from(length).ok()?)? };
        if section.uint()? == code(version) {
            return section.dictionary(strings, version);
        }
    }
    None
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn uint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..63).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// How many things follow, each of at least one byte: so no count makes us reserve more than there is.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.uint()?).ok()?;
        (count <= self.bytes.len()).then_some(count)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn dictionary(&mut self, strings: &'static Strings, version: Version) -> Option<Dictionary> {
        let count = self.count()?;
        let mut fields = Vec::with_capacity(count);
        let mut tag = 0u32;
        for _ in 0..count {
            tag = tag.checked_add(u32::try_from(self.uint()?).ok()?)?;
            fields.push(self.field(strings, tag)?);
        }
        let count = self.count()?;
        // Members may name components that come later.
        let scope = Scope { fields: &fields, components: count };
        let mut components = Vec::with_capacity(count);
        for _ in 0..count {
            components.push(Component { name: strings.get(self.uint()?)?, members: self.members(&scope, 0)? });
        }
        let header = self.members(&scope, 0)?;
        let trailer = self.members(&scope, 0)?;
        let count = self.count()?;
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            messages.push(MessageDefinition {
                msg_type: strings.get(self.uint()?)?,
                name: strings.get(self.uint()?)?,
                category: if self.uint()? == 0 { Category::Admin } else { Category::Application },
                members: self.members(&scope, 0)?,
            });
        }
        let whole = self.bytes.is_empty();
        whole.then(|| Dictionary::new(Parts { version, fields, header, trailer, messages, components }))
    }

    fn field(&mut self, strings: &'static Strings, tag: u32) -> Option<FieldDefinition> {
        let name = strings.get(self.uint()?)?;
        let kind = FieldType::of_code(u8::try_from(self.uint()?).ok()?)?;
        let count = self.count()?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(EnumeratedValue { value: strings.get(self.uint()?)?, name: strings.get(self.uint()?)? });
        }
        Some(FieldDefinition { tag, name, kind, values })
    }

    fn members(&mut self, scope: &Scope<'_>, depth: u32) -> Option<Vec<Member>> {
        let count = self.count()?;
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let word = self.uint()?;
            let place = usize::try_from(word >> 3).ok()?;
            let kind = match word & 3 {
                FIELD => MemberKind::Field(scope.fields.get(place)?.tag),
                COMPONENT if place < scope.components => {
                    MemberKind::Component(ComponentIndex(u16::try_from(place).ok()?))
                }
                GROUP if depth < DEPTH_MAX => {
                    let count_tag = scope.fields.get(place)?.tag;
                    MemberKind::Group(Group { count_tag, members: self.members(scope, depth + 1)? })
                }
                _ => return None,
            };
            members.push(Member { kind, required: word & 4 != 0 });
        }
        Some(members)
    }
}

/// What the members of a version may refer to.
struct Scope<'a> {
    fields: &'a [FieldDefinition],
    components: usize,
}
