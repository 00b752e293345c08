//! Walks over members with their components unfolded, as a message on the wire shows them.

use super::{Dictionary, Group, Member, MemberKind};

/// A member that the wire knows: a field, or a group with its count field.
#[derive(Clone, Copy, Debug)]
pub struct Unfolded<'d> {
    pub tag: u32,
    pub group: Option<&'d Group>,
    /// Required wherever the list that it stands in is there: by itself and, where it comes from a component, by that
    /// component too.
    pub required: bool,
}

impl Dictionary {
    /// The members with each component replaced by its own members, in order. Groups stay whole.
    ///
    /// A source that was loaded has no cyclic components and bounded lists, so this ends.
    pub fn unfold<'d>(&'d self, members: &'d [Member]) -> Vec<Unfolded<'d>> {
        let mut unfolded = Vec::new();
        self.unfold_into(members, true, &mut unfolded);
        unfolded
    }

    fn unfold_into<'d>(&'d self, members: &'d [Member], required: bool, unfolded: &mut Vec<Unfolded<'d>>) {
        for member in members {
            let required = required && member.required;
            match &member.kind {
                MemberKind::Field(tag) => unfolded.push(Unfolded { tag: *tag, group: None, required }),
                MemberKind::Group(group) => {
                    unfolded.push(Unfolded { tag: group.count_tag, group: Some(group), required });
                }
                MemberKind::Component(index) => self.unfold_into(&self.component(*index).members, required, unfolded),
            }
        }
    }

    /// The field that begins each instance of the group; `None` only where all that it has are empty components.
    pub fn delimiter(&self, group: &Group) -> Option<u32> {
        self.first_tag(&group.members)
    }

    fn first_tag(&self, members: &[Member]) -> Option<u32> {
        members.iter().find_map(|member| match &member.kind {
            MemberKind::Field(tag) => Some(*tag),
            MemberKind::Group(group) => Some(group.count_tag),
            MemberKind::Component(index) => self.first_tag(&self.component(*index).members),
        })
    }
}
