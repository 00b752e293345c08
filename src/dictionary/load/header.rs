//! Header and trailer. QuickFIX knows their fields by itself, so that files leave some of them out,
//! and components that they name.

use roxmltree::Node;

use super::super::{FieldDefinition, Group, Member, MemberKind, Version, built_in};
use super::{Reader, elements};

/// NoHops(627) and the members of its instances.
const HOPS: (u32, [u32; 3]) = (627, [628, 629, 630]);

/// BeginString(8), BodyLength(9), MsgType(35), MsgSeqNum(34) and CheckSum(10).
const FRAMING_TAGS: [u32; 5] = [8, 9, 35, 34, 10];

impl<'d> Reader<'d, '_> {
    /// What header or trailer consist of. A component that the file does not define is left out;
    /// that of the hops is the standard's, where the file has their fields.
    pub(super) fn frame_members(&mut self, section: Node<'d, 'd>) -> Vec<Member> {
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

    /// Where a field that frames a message is missing, adds all that every message of the version
    /// has in its header or trailer, of which `standard` is the standard's.
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
        if !standard.iter().filter(frames).any(|member| is_missing(members, &member.kind)) {
            return;
        }
        for member in standard.iter().filter(|member| member.required) {
            let MemberKind::Field(tag) = member.kind else { continue };
            if !is_missing(members, &member.kind) {
                continue;
            }
            let Some(field) = built_in(version).field(tag) else { continue };
            self.warning(node, format!("{}({tag}) is missing in <{}>, and added", field.name, node.tag_name().name()));
            if !fields.iter().any(|own| own.tag == tag) {
                fields.push(field.clone());
            }
            members.push(member.clone());
        }
    }
}
