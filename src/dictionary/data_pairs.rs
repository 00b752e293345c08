//! Which fields of a dictionary may hold the delimiter, and which field announces the length of
//! each.
//!
//! The QuickFIX XML format has the types DATA and LENGTH and no word on which of the one belongs to
//! which of the other. QuickFIX takes the tag before; dictionaries name and place the two alike.
//! All three are looked at here, in the order of what they prove.

use std::collections::BTreeSet;

use super::{Dictionary, FieldDefinition, FieldType, Member, MemberKind};
use crate::fix::{data_tag_of_length, is_data_tag};

impl Dictionary {
    /// Each length field with the data field that it announces, beyond those of the standard.
    pub fn data_pairs(&self) -> &[(u32, u32)] {
        self.data_pairs.get_or_init(|| {
            let neighbours = self.neighbours();
            let pairs = |data: &FieldDefinition| {
                let data_tag = data.tag;
                self.length_tags(data, &neighbours).into_iter().map(move |length_tag| (length_tag, data_tag))
            };
            self.own_data_fields().flat_map(pairs).collect()
        })
    }

    /// Data fields that no length field announces: they end at the first delimiter.
    pub(super) fn data_fields_without_length(&self) -> Vec<&FieldDefinition> {
        let is_announced = |data: &FieldDefinition| self.data_pairs().iter().any(|(_, data_tag)| *data_tag == data.tag);
        self.own_data_fields().filter(|data| !is_announced(data)).collect()
    }

    /// Those that are not the standard's.
    fn own_data_fields(&self) -> impl Iterator<Item = &FieldDefinition> {
        self.fields().iter().filter(|field| field.kind.is_data() && !is_data_tag(field.tag))
    }

    fn length_tags(&self, data: &FieldDefinition, neighbours: &BTreeSet<(u32, u32)>) -> Vec<u32> {
        let named = |suffix: &str| {
            let wanted = format!("{}{suffix}", data.name);
            self.fields().iter().find(|field| field.name.eq_ignore_ascii_case(&wanted))
        };
        let tag_before = || data.tag.checked_sub(1).and_then(|tag| self.field(tag));
        let by_name = ["Len", "Length", "Size"].iter().find_map(|suffix| named(suffix));
        let found = by_name.or_else(tag_before).filter(|length| may_announce(length));
        if let Some(length) = found {
            return vec![length.tag];
        }
        neighbours.iter().filter(|(_, after)| *after == data.tag).map(|(before, _)| *before).collect()
    }

    /// LENGTH fields with a data field right behind them, anywhere.
    fn neighbours(&self) -> BTreeSet<(u32, u32)> {
        let mut found = BTreeSet::new();
        let messages = self.messages().iter().map(|message| &message.members[..]);
        let components = self.components().iter().map(|component| &component.members[..]);
        for members in messages.chain(components).chain([self.header(), self.trailer()]) {
            self.neighbours_in(members, &mut found);
        }
        found
    }

    fn neighbours_in(&self, members: &[Member], found: &mut BTreeSet<(u32, u32)>) {
        for pair in members.windows(2) {
            let [MemberKind::Field(before), MemberKind::Field(after)] = [&pair[0].kind, &pair[1].kind] else {
                continue;
            };
            let is_of =
                |tag: u32, is_one: fn(FieldType) -> bool| self.field(tag).is_some_and(|field| is_one(field.kind));
            if is_of(*before, |kind| kind == FieldType::Length) && is_of(*after, FieldType::is_data) {
                found.insert((*before, *after));
            }
        }
        for member in members {
            if let MemberKind::Group(group) = &member.kind {
                self.neighbours_in(&group.members, found);
            }
        }
    }
}

/// A number that is not the length of a standard's data field already. Before FIX.4.3 lengths were
/// of type INT.
fn may_announce(field: &FieldDefinition) -> bool {
    matches!(field.kind, FieldType::Length | FieldType::Int) && data_tag_of_length(field.tag).is_none()
}
