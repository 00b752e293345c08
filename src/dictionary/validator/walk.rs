//! The pass over a message's fields.

use super::checks::is_user_defined;
use super::{GROUP_WORDS_MAX, Members, MessageTable, NONE, PAGE_TAGS, Reason, Section, Slot, Validator, Violation};
use crate::fix::{Field, Message, uint_of};

/// Checks a message whose members have numbers below `64 * WORDS`.
pub(super) fn message<const WORDS: usize>(
    validator: &Validator,
    table: &MessageTable,
    message: &Message<'_>,
) -> Result<(), Violation> {
    let mut seen = [0u64; WORDS];
    let mut section = Section::Header;
    let mut fields = message.fields();
    let mut current = fields.next();
    while let Some(field) = current {
        let Some(number) = number_of(validator, &table.members, field.tag) else {
            tolerate(validator, table, field)?;
            section = section.max(Section::Body);
            current = fields.next();
            continue;
        };
        let slot = &table.members.slots[number];
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
            let scope = Scope { validator, table, outer: &table.members };
            current = group(scope, slot, field.value, current, &mut fields)?;
        }
    }
    check_required(&table.required, &seen, &table.members)
}

/// Checks the instances of the group that the field of `count` announces, from `current` on; answers the field after
/// them.
///
/// Groups are nested as deep as the dictionary says, which is bounded where it is loaded.
fn group<'m, F: Iterator<Item = Field<'m>>>(
    scope: Scope<'_>,
    count: &Slot,
    count_value: &[u8],
    mut current: Option<Field<'m>>,
    fields: &mut F,
) -> Result<Option<Field<'m>>, Violation> {
    let Scope { validator, table, outer } = scope;
    let checks = &validator.checks;
    let group_table = &validator.groups[usize::from(count.group)];
    let members = &group_table.members;
    let expected = uint_of(count_value);
    let mut instances = 0u64;
    // The greatest number of the instance so far.
    let mut last = 0;
    let mut seen = [0u64; GROUP_WORDS_MAX];
    while let Some(field) = current {
        let Some(number) = number_of(validator, members, field.tag) else {
            let is_ours = number_of(validator, outer, field.tag).is_some()
                || number_of(validator, &table.members, field.tag).is_some();
            if !is_ours && tolerate(validator, table, field).is_ok() {
                // A field that nobody defined and everybody lets pass does not end the group.
                current = fields.next();
                continue;
            }
            break;
        };
        let slot = &members.slots[number];
        if number == 0 {
            if instances > 0 {
                check_required(&group_table.required, &seen, members)?;
            }
            instances += 1;
            last = 0;
            seen[..group_table.required.len()].fill(0);
        } else if number <= last || instances == 0 {
            let is_over = expected == Some(instances) && number_of(validator, outer, field.tag).is_some();
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
        check_value(validator, slot, field.value)?;
        current = fields.next();
        if slot.group != NONE {
            let inner = Scope { validator, table, outer: members };
            current = group(inner, slot, field.value, current, fields)?;
        }
    }
    if instances > 0 {
        check_required(&group_table.required, &seen, members)?;
    }
    if expected != Some(instances) && checks.group_counts {
        return violation(Reason::IncorrectNumInGroup, count.tag);
    }
    Ok(current)
}

/// Where a group stands.
#[derive(Clone, Copy)]
struct Scope<'v> {
    validator: &'v Validator,
    table: &'v MessageTable,
    /// The message's members, or those of the group around it.
    outer: &'v Members,
}

/// The number of the tag among the members.
#[inline(always)]
fn number_of(validator: &Validator, members: &Members, tag: u32) -> Option<usize> {
    match members.pages.get(tag as usize / PAGE_TAGS) {
        Some(page) => usize::from(validator.pages[usize::from(*page)][tag as usize % PAGE_TAGS]).checked_sub(1),
        None => far_number_of(members, tag),
    }
}

#[cold]
fn far_number_of(members: &Members, tag: u32) -> Option<usize> {
    let at = members.far.binary_search_by_key(&tag, |far| far.0).ok()?;
    Some(usize::from(members.far[at].1))
}

#[inline(always)]
fn check_value(validator: &Validator, slot: &Slot, value: &[u8]) -> Result<(), Violation> {
    if value.is_empty() {
        return if validator.checks.values_present { violation(Reason::TagWithoutValue, slot.tag) } else { Ok(()) };
    }
    if slot.values != NONE {
        // A value that the dictionary names needs no other look.
        if validator.value_sets[usize::from(slot.values)].contains(value) {
            return Ok(());
        }
        let reason = if slot.format.accepts(value) { Reason::ValueIncorrect } else { Reason::IncorrectDataFormat };
        return violation(reason, slot.tag);
    }
    if slot.format.accepts(value) { Ok(()) } else { violation(Reason::IncorrectDataFormat, slot.tag) }
}

#[inline(always)]
fn check_required(required: &[u64], seen: &[u64], members: &Members) -> Result<(), Violation> {
    for (at, (required, seen)) in required.iter().zip(seen).enumerate() {
        let missing = required & !seen;
        if missing != 0 {
            let number = at * 64 + missing.trailing_zeros() as usize;
            return violation(Reason::RequiredTagMissing, members.slots[number].tag);
        }
    }
    Ok(())
}

/// Whether a field that is no member of the message may be there all the same.
#[cold]
#[inline(never)]
fn tolerate(validator: &Validator, table: &MessageTable, field: Field<'_>) -> Result<(), Violation> {
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

#[cold]
#[inline(never)]
fn violation<T>(reason: Reason, tag: u32) -> Result<T, Violation> {
    Err(Violation { reason, ref_tag_id: Some(tag) })
}
