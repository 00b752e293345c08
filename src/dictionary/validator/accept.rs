//! The pass over a message's fields that most messages need: it knows nothing but what is right.
//!
//! It answers whether a message is valid beyond doubt, and leaves the doubtful ones, and the naming of what is wrong,
//! to [`super::walk`]. So it may take for granted what is true of nearly all messages: a value is not empty, members
//! of an instance ascend, and of the members that come before one, all the required ones have been there. What it
//! accepts, the walk accepts; debug builds and tests compare the two for each message.

use super::glance::{Glance, is_number, is_utc_timestamp};
use super::walk::{Scope, tolerate};
use super::{MessageTable, NONE, Section, Slot, Validator};
use crate::fix::{Field, Message, Span, uint_of};

/// Whether a message whose members have numbers below `MEMBERS_MAX` is valid beyond doubt.
pub(super) fn message<const MEMBERS_MAX: usize>(
    validator: &Validator,
    table: &MessageTable,
    message: &Message<'_>,
) -> bool {
    const { assert!(MEMBERS_MAX.is_power_of_two()) };
    let (tags, spans) = message.tags_and_spans();
    let pass = Pass { validator, table, bytes: message.bytes(), tags, spans };
    let scope = Scope { members: &table.members, outer: None };
    // Of one length, so that one check a field is enough for both.
    let spans = &spans[..tags.len()];
    let mut seen = [false; MEMBERS_MAX];
    let mut required = 0;
    let mut section = Section::Header;
    let mut at = 0;
    while at < tags.len() {
        let (tag, span) = (tags[at], spans[at]);
        at += 1;
        let Some((number, slot)) = scope.members.find(tag) else {
            match pass.tolerates_in(section, tag, span) {
                Some(after) => section = after,
                None => return false,
            }
            continue;
        };
        // The remainder is the number, and no other check is needed for it.
        let is_seen = &mut seen[number % MEMBERS_MAX];
        if slot.section < section || *is_seen {
            return false;
        }
        *is_seen = true;
        section = slot.section;
        required += u16::from(slot.is_required);
        if !pass.is_right(slot, span) {
            return false;
        }
        if slot.group != NONE {
            match pass.group(&scope, slot, span, at) {
                Some(after) => at = after,
                None => return false,
            }
        }
    }
    required == table.members.required_count
}

struct Pass<'p> {
    validator: &'p Validator,
    table: &'p MessageTable,
    bytes: &'p [u8],
    tags: &'p [u32],
    spans: &'p [Span],
}

/// What a field that is no member of a group does to it.
enum Stranger {
    Ends,
    Passes,
    IsInDoubt,
}

impl Pass<'_> {
    /// Where the fields go on after the instances of the group that `count` announces, which begin at `at`. None where
    /// they leave doubt.
    fn group(&self, scope: &Scope<'_>, count: &Slot, count_span: Span, mut at: usize) -> Option<usize> {
        let members = &self.validator.groups[usize::from(count.group)];
        let (tags, spans) = (self.tags, &self.spans[..self.tags.len()]);
        // Instances to come.
        let mut remaining = uint_of(self.value(count_span))?;
        // Numbers that may follow in this instance: greater ones, up to the next that is required. As if at the end of
        // an instance, before the first one.
        let (mut least, mut greatest) = (NONE, NONE);
        while at < tags.len() {
            let (tag, span) = (tags[at], spans[at]);
            let Some((number, slot)) = members.find(tag) else {
                match self.stranger(scope, tag, span) {
                    Stranger::Ends => break,
                    Stranger::Passes => at += 1,
                    Stranger::IsInDoubt => return None,
                }
                continue;
            };
            if number == 0 {
                if greatest != NONE {
                    return None;
                }
                remaining = remaining.checked_sub(1)?;
            } else if number < usize::from(least) || number > usize::from(greatest) {
                // Either doubt, or the group is over and this is a member of what is around it.
                if remaining == 0 && greatest == NONE && stands_in(scope, tag) {
                    break;
                }
                return None;
            }
            (least, greatest) = (number as u16 + 1, slot.next_required);
            at += 1;
            if !self.is_right(slot, span) {
                return None;
            }
            if slot.group != NONE {
                at = self.group(&Scope { members, outer: Some(scope) }, slot, span, at)?;
            }
        }
        (remaining == 0 && greatest == NONE).then_some(at)
    }

    #[inline(always)]
    fn is_right(&self, slot: &Slot, span: Span) -> bool {
        let (offset, end) = (span.offset as usize, span.end as usize);
        let length = end.wrapping_sub(offset);
        if length <= 1 {
            let Some(character) = self.bytes.get(offset).filter(|_| length == 1) else {
                return false;
            };
            let word = slot.one_character.get(usize::from(character / 64));
            return word.is_some_and(|word| word >> (character % 64) & 1 == 1);
        }
        // Most are text. This one apart from the others spares it their jump.
        if slot.glance == Glance::Any {
            return true;
        }
        let is_beyond_doubt = match slot.glance {
            Glance::Digits => is_number(self.bytes, end, length, false),
            Glance::Decimal => is_number(self.bytes, end, length, true),
            Glance::UtcTimestamp => self.bytes.get(offset..end).is_some_and(is_utc_timestamp),
            Glance::Any | Glance::Inspect => false,
        };
        is_beyond_doubt || self.is_right_on_inspection(slot, span)
    }

    #[cold]
    #[inline(never)]
    fn is_right_on_inspection(&self, slot: &Slot, span: Span) -> bool {
        let value = self.value(span);
        slot.fault_of(&self.validator.value_sets, value).is_none()
    }

    #[cold]
    #[inline(never)]
    fn stranger(&self, scope: &Scope<'_>, tag: u32, span: Span) -> Stranger {
        if scope.contains(tag) {
            Stranger::Ends
        } else if self.tolerates(tag, span) {
            Stranger::Passes
        } else {
            Stranger::IsInDoubt
        }
    }

    /// The section after a field that is no member of the message; none where that is in doubt.
    #[cold]
    #[inline(never)]
    fn tolerates_in(&self, section: Section, tag: u32, span: Span) -> Option<Section> {
        self.tolerates(tag, span).then(|| section.max(Section::Body))
    }

    fn tolerates(&self, tag: u32, span: Span) -> bool {
        tolerate(self.validator, self.table, Field { tag, value: self.value(span) }).is_ok()
    }

    fn value(&self, span: Span) -> &[u8] {
        &self.bytes[span.offset as usize..span.end as usize]
    }
}

#[cold]
#[inline(never)]
fn stands_in(scope: &Scope<'_>, tag: u32) -> bool {
    scope.members.find(tag).is_some()
}
