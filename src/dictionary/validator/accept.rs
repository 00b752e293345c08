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
        let is_seen = &mut seen[number];
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

#[cfg(test)]
mod tests {
    use super::super::{Checks, MESSAGE_MEMBERS_MAX};
    use super::*;
    use crate::dictionary::{Version, built_in};
    use crate::fix::{FieldIndex, parse};

    const HEADER: &str = "34=2|49=DESK|56=VENUE|52=20261123-12:00:00.123|";

    /// Whether no walk is needed for a message of FIX.4.4, and for the same one of FIX.5.0SP2.
    fn are_accepted(checks: Checks, msg_type: &str, body: &str) -> [bool; 2] {
        let of_fix44 = Validator::new(built_in(Version::Fix44), checks).unwrap();
        let (transport, application) = (built_in(Version::Fixt11), built_in(Version::Fix50Sp2));
        let of_sp2 = Validator::with_transport(transport, application, checks).unwrap();
        [("FIX.4.4", of_fix44), ("FIXT.1.1", of_sp2)].map(|(begin_string, validator)| {
            let text = format!("8={begin_string}|9=178|35={msg_type}|{HEADER}{body}|10=000|").replace('|', "\x01");
            let mut index = FieldIndex::with_capacity(64);
            let parsed = parse(text.as_bytes(), &mut index).unwrap();
            let table = validator.message_table(msg_type.as_bytes()).unwrap();
            message::<MESSAGE_MEMBERS_MAX>(&validator, table, &parsed)
        })
    }

    #[test]
    fn common_messages_need_no_walk() {
        let order = "11=id|1=ACCOUNT|55=EURUSD|54=1|60=20261123-12:00:00|38=1000000|40=2|44=1.084325|59=0|58=text";
        let unusual = "11=id|55=X|54=1|60=20261130-12:00:60|38=100|40=2|44=-0.5|167=CS|18=1 G|64=20261124|99=1|126=20261130-12:00:00";
        let parties = "453=2|448=P|447=D|452=1|802=2|523=S|803=1|523=T|803=2|448=Q|452=3|386=1|336=1";
        let refresh = "262=R|268=2|279=0|269=0|278=1|55=EURUSD|270=1.08|271=5|279=1|269=1|278=2|270=-1.09|346=7";
        for (msg_type, body) in [
            ("D", order),
            ("D", unusual),
            ("D", &format!("{order}|{parties}")),
            ("D", &format!("{parties}|{order}|386=0").replacen("386=1|336=1|", "", 1)),
            ("X", refresh),
        ] {
            assert_eq!(are_accepted(Checks::ALL, msg_type, body), [true; 2], "{body}");
        }
    }

    #[test]
    fn what_a_switch_lets_pass_beside_and_within_groups_needs_no_walk() {
        let checks = Checks { user_defined_tags: false, ..Checks::ALL };
        let order = "5001=x|11=id|55=X|54=1|60=20261123-12:00:00|38=1|40=1";
        for body in [order.to_owned(), format!("{order}|453=2|448=P|5002=y|452=1|448=Q|7000=z|58=text")] {
            assert_eq!(are_accepted(checks, "D", &body), [true; 2], "{body}");
            assert_eq!(are_accepted(Checks::ALL, "D", &body), [false; 2], "{body}");
        }
    }

    #[test]
    fn a_fault_is_left_to_the_walk() {
        let order = "11=id|55=X|54=1|60=20261123-12:00:00|38=1|40=1";
        for body in [
            "11=id|55=X|54=1|38=1|40=1",
            &format!("{order}|40=1"),
            &format!("{order}|58="),
            &format!("{order}|59=~"),
            &format!("{order}|44=x"),
            &format!("{order}|49=late"),
            &format!("{order}|453=2|448=P"),
            &format!("{order}|453=1|452=1|448=P"),
            &format!("{order}|453=1|448=P|448=Q"),
            &format!("{order}|453=1|448=P|452=1|447=D"),
            &format!("{order}|453=1|448=P|447=D|447=D"),
        ] {
            assert_eq!(are_accepted(Checks::ALL, "D", body), [false; 2], "{body}");
        }
    }
}
