//! Header and trailer. QuickFIX knows their fields by itself, so that files leave some of them out,
//! and components that they name.

use std::collections::HashSet;

use roxmltree::Node;

use super::super::{FieldDefinition, Group, Member, MemberKind, Version, built_in};
use super::{Reader, elements};

/// NoHops(627) and the members of its instances.
const HOPS: (u32, [u32; 3]) = (627, [628, 629, 630]);

/// BeginString(8), BodyLength(9), MsgType(35), MsgSeqNum(34) and CheckSum(10).
const FRAMING_TAGS: [u32; 5] = [8, 9, 35, 34, 10];

/// PossDupFlag(43), PossResend(97) and OrigSendingTime(122).
const RESENT_TAGS: [u32; 3] = [43, 97, 122];

impl<'d> Reader<'d, '_> {
    /// What header or trailer consist of. A component that the file does not define is left out;
    /// that of the hops is the standard's, where the file has their fields.
    pub(super) fn frame_members(&mut self, section: Node<'d, 'd>, version: Version) -> Vec<Member> {
        if version.needs_transport() {
            let name = section.tag_name().name();
            if elements(section).next().is_some() {
                self.warning(section, format!("<{name}> is left out: that of {version} is its transport's"));
            }
            return Vec::new();
        }
        let is_undefined = |reader: &Self, node: &Node<'d, 'd>| {
            let name = node.attribute("name").unwrap_or_default();
            node.has_tag_name("component") && !reader.components.contains_key(name)
        };
        let mut members = Vec::new();
        for node in elements(section) {
            if !is_undefined(self, &node) {
                members.extend(self.member(node, 0));
                continue;
            }
            let name = node.attribute("name").unwrap_or_default();
            let (count_tag, tags) = HOPS;
            let has_fields = [count_tag].iter().chain(&tags).all(|tag| self.names.is_known(*tag));
            if name.starts_with("Hop") && has_fields {
                self.warning(
                    node,
                    format!("component {name} is not defined: NoHops(627) is read as the standard has it"),
                );
                let optional = |tag: &u32| Member { kind: MemberKind::Field(*tag), required: false };
                let group = Group { count_tag, members: tags.iter().map(optional).collect() };
                members.push(Member { kind: MemberKind::Group(group), required: false });
            } else {
                self.warning(node, format!("component {name} is not defined, and left out"));
            }
        }
        members
    }

    /// Adds what every message of the version has in its header or trailer, of which `standard` is
    /// the standard's: all where a field that frames a message is missing, and otherwise what a
    /// message needs that is sent again, and the fields that the file defines. QuickFIX knows all
    /// of them by itself.
    pub(super) fn complete(
        &mut self,
        node: Node<'d, 'd>,
        version: Version,
        fields: &mut Vec<FieldDefinition>,
        members: &mut Vec<Member>,
        standard: &[Member],
    ) {
        let is_missing = |members: &[Member], kind: &MemberKind| !members.iter().any(|own| own.kind == *kind);
        let frames = |member: &&Member| FRAMING_TAGS.iter().any(|tag| member.kind == MemberKind::Field(*tag));
        let lacks_frame = standard.iter().filter(frames).any(|member| is_missing(members, &member.kind));
        let mut own_tags: HashSet<u32> = fields.iter().map(|field| field.tag).collect();
        let mut added = Vec::new();
        for member in standard {
            let MemberKind::Field(tag) = member.kind else { continue };
            let is_wanted = lacks_frame && member.required || RESENT_TAGS.contains(&tag) || own_tags.contains(&tag);
            if !is_wanted || !is_missing(members, &member.kind) {
                continue;
            }
            let Some(field) = built_in(version).field(tag) else { continue };
            added.push(format!("{}({tag})", field.name));
            if own_tags.insert(tag) {
                fields.push(field.clone());
            }
            members.push(Member { required: lacks_frame && member.required, ..member.clone() });
        }
        if !added.is_empty() {
            let name = node.tag_name().name();
            self.warning(node, format!("missing in <{name}>, and added: {}", added.join(", ")));
        }
    }
}
