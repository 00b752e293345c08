//! The pass over a message's fields that finds out what is wrong with it, and decides what [`super::accept`] leaves.

use super::checks::is_user_defined;
use super::{
    Format, GROUP_WORDS_MAX, MESSAGE_WORDS_MAX, Members, MessageTable, NONE, Reason, Section, Slot, Validator,
    ValueSet, Violation,
};
use crate::fix::{Field, Message, uint_of};

/// What is wrong with the message as a whole comes first, then the first fault in the order of the wire: the order in which
/// the open-source engines name them.
pub(super) fn message(validator: &Validator, table: &MessageTable, message: &Message<'_>) -> Result<(), Violation> {
    in_order_of_the_wire(validator, table, message).or_else(|first| whole(validator, table, message).and(Err(first)))
}

/// Header, body and trailer follow one another, and no required field of theirs is missing; nothing else is looked at.
fn whole(validator: &Validator, table: &MessageTable, message: &Message<'_>) -> Result<(), Violation> {
    let mut seen = [0u64; MESSAGE_WORDS_MAX];
    let mut section = Section::Header;
    let mut fields = message.fields().peekable();
    while let Some(field) = fields.next() {
        let Some((number, slot)) = table.members.find(field.tag) else {
            section = section.max(Section::Body);
            continue;
        };
        if slot.section < section && validator.checks.section_order {
            return violation(Reason::TagOutOfOrder, field.tag);
        }
        section = slot.section;
        seen[number / 64] |= 1 << (number % 64);
        if let Some(group) = validator.groups.get(usize::from(slot.group)) {
            while fields.next_if(|field| is_within(validator, group, field.tag)).is_some() {}
        }
    }
    check_required(&table.members, &seen)
}

/// Whether the tag is a member of the group or of one within it, which are nested as deep as the loader lets them be.
fn is_within(validator: &Validator, group: &Members, tag: u32) -> bool {
    let inner = |slot: &Slot| validator.groups.get(usize::from(slot.group));
    group.find(tag).is_some() || group.slots.iter().filter_map(inner).any(|group| is_within(validator, group, tag))
}

fn in_order_of_the_wire(validator: &Validator, table: &MessageTable, message: &Message<'_>) -> Result<(), Violation> {
    let scope = Scope { members: &table.members, outer: None };
    let mut seen = [0u64; MESSAGE_WORDS_MAX];
    let mut section = Section::Header;
    let mut fields = message.fields();
    let mut current = fields.next();
    while let Some(field) = current {
        let Some((number, slot)) = scope.members.find(field.tag) else {
            tolerate(validator, table, field)?;
            section = section.max(Section::Body);
            current = fields.next();
            continue;
        };
        if slot.section < section && validator.checks.section_order {
            return violation(Reason::TagOutOfOrder, field.tag);
        }
        section = slot.section;
        let bit = 1 << (number % 64);
        let word = &mut seen[number / 64];
        if *word & bit != 0 && validator.checks.repeated_tags {
            return violation(Reason::TagRepeated, field.tag);
        }
        *word |= bit;
        check_value(validator, slot, field.value)?;
        current = fields.next();
        if slot.group != NONE {
            let walk = Walk { validator, table };
            current = walk.group(&scope, slot, field.value, current, &mut fields)?;
        }
    }
    check_required(scope.members, &seen)
}

#[derive(Clone, Copy)]
struct Walk<'w> {
    validator: &'w Validator,
    table: &'w MessageTable,
}

impl Walk<'_> {
    /// Checks the instances of the group that the field of `count` announces, from `current` on; answers the field
    /// after them.
    ///
    /// A wrong number of instances is named before a wrong value in one of them: the values may be wrong because of it.
    ///
    /// Groups are nested as deep as the dictionary says, which is bounded where it is loaded.
    fn group<'m, F: Iterator<Item = Field<'m>>>(
        self,
        scope: &Scope<'_>,
        count: &Slot,
        count_value: &[u8],
        mut current: Option<Field<'m>>,
        fields: &mut F,
    ) -> Result<Option<Field<'m>>, Violation> {
        let Self { validator, table } = self;
        let checks = &validator.checks;
        let members = &validator.groups[usize::from(count.group)];
        let expected = uint_of(count_value);
        let mut instances = 0u64;
        let mut values = Ok(());
        // The greatest number of the instance so far.
        let mut last = 0;
        let mut seen = [0u64; GROUP_WORDS_MAX];
        while let Some(field) = current {
            let Some((number, slot)) = members.find(field.tag) else {
                if !scope.contains(field.tag) && tolerate(validator, table, field).is_ok() {
                    // A field that nobody defined and everybody lets pass does not end the group.
                    current = fields.next();
                    continue;
                }
                break;
            };
            if number == 0 {
                if instances > 0 {
                    check_required(members, &seen)?;
                }
                instances += 1;
                last = 0;
                seen[..members.required.len()].fill(0);
            } else if number <= last || instances == 0 {
                let is_over = expected == Some(instances) && scope.members.find(field.tag).is_some();
                if is_over {
                    // A field that stands both in the group and beside it, after the group's last instance.
                    break;
                }
                let is_repeated = instances > 0 && seen[number / 64] >> (number % 64) & 1 == 1;
                if is_repeated && checks.repeated_tags {
                    return violation(Reason::TagRepeated, field.tag);
                }
                if !is_repeated && checks.group_order {
                    return violation(Reason::GroupFieldsOutOfOrder, field.tag);
                }
                if instances == 0 {
                    // Without its first field an instance cannot be told.
                    break;
                }
            }
            seen[number / 64] |= 1 << (number % 64);
            last = last.max(number);
            values = values.and_then(|()| check_value(validator, slot, field.value));
            current = fields.next();
            if slot.group != NONE {
                let inner = Scope { members, outer: Some(scope) };
                current = self.group(&inner, slot, field.value, current, fields)?;
            }
        }
        if instances > 0 {
            check_required(members, &seen)?;
        }
        if expected != Some(instances) && checks.group_counts {
            return violation(Reason::IncorrectNumInGroup, count.tag);
        }
        values?;
        Ok(current)
    }
}

/// The members that a group stands among, those around these, and so on to the message's.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub members: &'s Members,
    pub outer: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    pub fn contains(&self, tag: u32) -> bool {
        let mut scopes = std::iter::successors(Some(self), |scope| scope.outer);
        scopes.any(|scope| scope.members.find(tag).is_some())
    }
}

fn check_value(validator: &Validator, slot: &Slot, value: &[u8]) -> Result<(), Violation> {
    if value.is_empty() {
        return if validator.checks.values_present { violation(Reason::TagWithoutValue, slot.tag) } else { Ok(()) };
    }
    match slot.fault_of(&validator.value_sets, value) {
        Some(reason) => violation(reason, slot.tag),
        None => Ok(()),
    }
}

impl Slot {
    /// What is wrong with a value that is not empty.
    pub(super) fn fault_of(&self, value_sets: &[ValueSet], value: &[u8]) -> Option<Reason> {
        fault_of(self.format, self.values, value_sets, value)
    }
}

pub(super) fn fault_of(format: Format, values: u16, value_sets: &[ValueSet], value: &[u8]) -> Option<Reason> {
    if values == NONE {
        return (!format.accepts(value)).then_some(Reason::IncorrectDataFormat);
    }
    // A value that the dictionary names needs no other look.
    if value_sets[usize::from(values)].contains(value) {
        return None;
    }
    Some(if format.accepts(value) { Reason::ValueIncorrect } else { Reason::IncorrectDataFormat })
}

fn check_required(members: &Members, seen: &[u64]) -> Result<(), Violation> {
    for (at, (required, seen)) in members.required.iter().zip(seen).enumerate() {
        let missing = required & !seen;
        if missing != 0 {
            let number = at * 64 + missing.trailing_zeros() as usize;
            return violation(Reason::RequiredTagMissing, members.slots[number].tag);
        }
    }
    Ok(())
}

/// Whether a field that is no member of the message may be there all the same.
pub(super) fn tolerate(validator: &Validator, table: &MessageTable, field: Field<'_>) -> Result<(), Violation> {
    let checks = &validator.checks;
    if field.value.is_empty() && checks.values_present {
        return violation(Reason::TagWithoutValue, field.tag);
    }
    let is_checked = if is_user_defined(field.tag) { checks.user_defined_tags } else { checks.tags };
    if !is_checked || table.is_unknown {
        return Ok(());
    }
    let is_known = validator.known_tags[table.known_tags].contains(field.tag);
    violation(if is_known { Reason::TagNotDefinedForMessage } else { Reason::InvalidTagNumber }, field.tag)
}

fn violation<T>(reason: Reason, tag: u32) -> Result<T, Violation> {
    Err(Violation { reason, ref_tag_id: Some(tag) })
}
