//! Dictionaries to tables. Runs once for a dictionary, and may allocate.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::walk::fault_of;
use super::{
    Checks, CompileError, FAR_TAG_MIN, Format, GROUP_MEMBERS_MAX, Glance, KnownTags, MESSAGE_MEMBERS_MAX, Members,
    MessageTable, NEAR_TAGS, NONE, Section, Slot, Validator, ValueSet,
};
use crate::dictionary::members::Unfolded;
use crate::dictionary::{Category, Dictionary, Group, MessageDefinition};
use crate::fix::tags;

/// Which of [`Validator::known_tags`] is the transport's alone, and which is both.
const TRANSPORT_TAGS: usize = 0;
const ALL_TAGS: usize = 1;

pub(super) fn compile(
    transport: &Dictionary,
    application: Option<&Dictionary>,
    checks: Checks,
) -> Result<Validator, CompileError> {
    let mut compiler = Compiler {
        transport,
        application: application.unwrap_or(transport),
        checks,
        groups: Vec::new(),
        group_numbers: HashMap::new(),
        value_sets: Vec::new(),
        values: HashMap::new(),
    };
    let mut messages = Vec::new();
    let mut one_character = Box::new([NONE; 256]);
    let mut longer: Vec<(Box<[u8]>, u16)> = Vec::new();
    let of_transport = transport.messages().iter().map(|message| (message, TRANSPORT_TAGS));
    // A dictionary of FIX.4.x, as an application's, has the messages of its own session too: those are the transport's.
    let of_application = application
        .map_or(&[][..], Dictionary::messages)
        .iter()
        .filter(|message| message.category == Category::Application && transport.message(&message.msg_type).is_none());
    for (message, known_tags) in of_transport.chain(of_application.map(|message| (message, ALL_TAGS))) {
        let at = number(messages.len())?;
        match message.msg_type.as_bytes() {
            [character] => one_character[usize::from(*character)] = at,
            msg_type => longer.push((msg_type.into(), at)),
        }
        messages.push(compiler.message(Some(message), known_tags)?);
    }
    longer.sort();
    let unknown_message = compiler.message(None, ALL_TAGS)?;
    let known_tags = [KnownTags::of(&[transport]), KnownTags::of(&[transport, compiler.application])];
    Ok(Validator {
        checks,
        messages: messages.into(),
        one_character,
        longer: longer.into(),
        unknown_message,
        groups: compiler.groups.into(),
        value_sets: compiler.value_sets.into(),
        known_tags,
    })
}

fn number(count: usize) -> Result<u16, CompileError> {
    u16::try_from(count).ok().filter(|number| *number != NONE).ok_or(CompileError::TooLarge)
}

struct Compiler<'d> {
    transport: &'d Dictionary,
    application: &'d Dictionary,
    checks: Checks,
    groups: Vec<Members>,
    /// By address: a group of a component is compiled once, however many messages use the component.
    group_numbers: HashMap<*const Group, u16>,
    value_sets: Vec<ValueSet>,
    /// What is asked of a field's value wherever it stands, by whether it is the transport's, and tag.
    values: HashMap<(bool, u32), Values>,
}

/// The part of a [`Slot`] that does not depend on the place.
#[derive(Clone, Copy)]
struct Values {
    format: Format,
    set: u16,
    one_character: [u64; 2],
}

/// A member on its way to a slot.
struct Place<'d> {
    member: Unfolded<'d>,
    section: Section,
    /// The dictionary that its field and group are of.
    of_transport: bool,
}

impl<'d> Compiler<'d> {
    /// A message's table; without a message, that of header and trailer.
    fn message(
        &mut self,
        message: Option<&'d MessageDefinition>,
        known_tags: usize,
    ) -> Result<MessageTable, CompileError> {
        let transport = self.transport;
        let of_transport = known_tags == TRANSPORT_TAGS;
        let body_of = if of_transport { transport } else { self.application };
        let mut places: Vec<Place<'d>> = Vec::new();
        let mut tags = HashSet::new();
        let mut add = |members: Vec<Unfolded<'d>>, section, of_transport| {
            let first = merged(members).into_iter().filter(|member| tags.insert(member.tag));
            places.extend(first.map(|member| Place { member, section, of_transport }));
        };
        add(transport.unfold(transport.header()), Section::Header, true);
        add(transport.unfold(transport.trailer()), Section::Trailer, true);
        if let Some(message) = message {
            add(body_of.unfold(&message.members), Section::Body, of_transport);
        }
        // What is missing is said in this order.
        places.sort_by_key(|place| (place.section, place.member.tag));
        let name = message.map_or("the header", |message| message.name.as_ref());
        check_count(name, places.len(), MESSAGE_MEMBERS_MAX)?;
        let members = self.members(&places)?;
        Ok(MessageTable { members, known_tags, is_unknown: message.is_none() })
    }

    fn group(&mut self, group: &'d Group, of_transport: bool) -> Result<u16, CompileError> {
        if let Some(number) = self.group_numbers.get(&std::ptr::from_ref(group)) {
            return Ok(*number);
        }
        let dictionary = if of_transport { self.transport } else { self.application };
        let members = merged(dictionary.unfold(&group.members)).into_iter();
        let places: Vec<Place<'d>> =
            members.map(|member| Place { member, section: Section::Body, of_transport }).collect();
        let name = dictionary.field(group.count_tag).map_or_else(String::new, |field| field.name.to_string());
        check_count(&name, places.len(), GROUP_MEMBERS_MAX)?;
        let members = self.members(&places)?;
        let at = number(self.groups.len())?;
        self.groups.push(members);
        self.group_numbers.insert(std::ptr::from_ref(group), at);
        Ok(at)
    }

    fn members(&mut self, places: &[Place<'d>]) -> Result<Members, CompileError> {
        let mut slots = places.iter().map(|place| self.slot(place)).collect::<Result<Box<[Slot]>, _>>()?;
        let mut required = vec![0u64; slots.len().div_ceil(64)];
        let (mut required_count, mut next_required) = (0, NONE);
        for (number, slot) in slots.iter_mut().enumerate().rev() {
            slot.next_required = next_required;
            if slot.is_required {
                required[number / 64] |= 1 << (number % 64);
                required_count += 1;
                next_required = number as u16;
            }
        }
        let mut near = [NONE; NEAR_TAGS];
        let mut far = Vec::new();
        for (place, number) in places.iter().zip(0u16..) {
            match near.get_mut(place.member.tag as usize) {
                Some(entry) => *entry = number,
                None => far.push((place.member.tag, number)),
            }
        }
        far.sort_unstable();
        Ok(Members { near, far: far.into(), slots, required: required.into(), required_count })
    }

    fn slot(&mut self, place: &Place<'d>) -> Result<Slot, CompileError> {
        let Values { format, set, one_character } = self.values(place)?;
        let group = match place.member.group {
            Some(group) => self.group(group, place.of_transport)?,
            None => NONE,
        };
        Ok(Slot {
            one_character,
            tag: place.member.tag,
            group,
            values: set,
            next_required: NONE,
            is_required: place.member.required && self.checks.required,
            // Where the order is not checked, no section comes before another.
            section: if self.checks.section_order { place.section } else { Section::Trailer },
            format,
            glance: if set == NONE { Glance::of(format) } else { Glance::Inspect },
        })
    }

    /// Made once a field: to try all characters takes longer than all else, and a field stands in hundreds of messages.
    fn values(&mut self, place: &Place<'d>) -> Result<Values, CompileError> {
        let tag = place.member.tag;
        if let Some(values) = self.values.get(&(place.of_transport, tag)) {
            return Ok(*values);
        }
        let dictionary = if place.of_transport { self.transport } else { self.application };
        let field = dictionary.field(tag).expect("a dictionary's members are its own fields");
        let format = if self.checks.formats { Format::of(field.kind, dictionary.version()) } else { Format::Any };
        // MsgType(35) has been looked up already.
        let is_enumerated = self.checks.enumerated_values && !field.values.is_empty() && tag != tags::MSG_TYPE;
        let set = if is_enumerated {
            self.value_sets.push(ValueSet::new(field));
            number(self.value_sets.len() - 1)?
        } else {
            NONE
        };
        let mut one_character = [0; 2];
        for character in 0..128u8 {
            let is_right = fault_of(format, set, &self.value_sets, &[character]).is_none();
            one_character[usize::from(character / 64)] |= u64::from(is_right) << (character % 64);
        }
        let values = Values { format, set, one_character };
        self.values.insert((place.of_transport, tag), values);
        Ok(values)
    }
}

/// Each tag once. One that comes again, as through a component, has its first place, is required
/// where any place says so, and counts a group where any does.
fn merged(members: Vec<Unfolded<'_>>) -> Vec<Unfolded<'_>> {
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut merged: Vec<Unfolded<'_>> = Vec::new();
    for member in members {
        match places.entry(member.tag) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(member);
            }
            Entry::Occupied(place) => {
                let first = &mut merged[*place.get()];
                first.required |= member.required;
                first.group = first.group.or(member.group);
            }
        }
    }
    merged
}

fn check_count(name: &str, count: usize, members_max: usize) -> Result<(), CompileError> {
    if count <= members_max {
        return Ok(());
    }
    Err(CompileError::TooManyMembers { name: name.into(), members_max: members_max as u32 })
}

impl KnownTags {
    fn of(dictionaries: &[&Dictionary]) -> Self {
        let all = dictionaries.iter().flat_map(|dictionary| dictionary.fields()).map(|field| field.tag);
        let (near, mut far): (Vec<u32>, Vec<u32>) = all.partition(|tag| *tag < FAR_TAG_MIN);
        let words = near.iter().map(|tag| *tag as usize / 64 + 1).max().unwrap_or(0);
        let mut words = vec![0; words];
        near.iter().for_each(|tag| words[*tag as usize / 64] |= 1u64 << (tag % 64));
        far.sort_unstable();
        far.dedup();
        Self { words: words.into(), far: far.into() }
    }
}
