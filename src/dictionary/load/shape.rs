//! What only shows once all members are known: cycles, depths, sizes, fields that come twice, groups without a first
//! field.

use std::collections::HashSet;

use roxmltree::Node;

use super::super::{DEPTH_MAX, Dictionary, Member, MemberKind};
use super::Reader;

/// How many fields one message may unfold to, those of its groups included. FIX.5.0SP2 has one with some 9,000.
const MESSAGE_FIELDS_MAX: u64 = 65_535;
/// How many fields are looked at in all: components make a small file unfold to a large one.
const FIELDS_LOOKED_AT_MAX: u64 = 16_000_000;

/// What a list unfolds to.
#[derive(Clone, Copy, Default)]
struct Extent {
    fields: u64,
    depth: u32,
}

/// Whether a component that nothing uses contains itself, which is said of the first.
pub(super) fn has_endless_unused_component<'d>(
    reader: &mut Reader<'d, '_>,
    dictionary: &Dictionary,
    component_nodes: &[Node<'d, 'd>],
) -> bool {
    let mut measure = Measure::of(dictionary);
    for (at, (node, component)) in component_nodes.iter().zip(dictionary.components()).enumerate() {
        if reader.used.contains(component.name.as_ref()) {
            continue;
        }
        // One that is used is an error, whatever uses it.
        measure.path.clear();
        if measure.component(at).is_err() {
            let what = format!("component {} contains itself, or too many others one in another", component.name);
            reader.warning(*node, format!("{what}: all components that nothing uses are left empty"));
            return true;
        }
    }
    false
}

/// The dictionary with each group whose instances have no first field as the field that counts
/// them, which is how QuickFIX reads it.
pub(super) fn without_empty_groups(dictionary: &Dictionary) -> Dictionary {
    let mut parts = dictionary.to_parts();
    let messages = parts.messages.iter_mut().map(|message| &mut message.members);
    let components = parts.components.iter_mut().map(|component| &mut component.members);
    for members in messages.chain(components).chain([&mut parts.header, &mut parts.trailer]) {
        empty_groups_to_fields(dictionary, members);
    }
    Dictionary::new(parts)
}

fn empty_groups_to_fields(dictionary: &Dictionary, members: &mut [Member]) {
    for member in members {
        let MemberKind::Group(group) = &mut member.kind else { continue };
        match dictionary.delimiter(group) {
            Some(_) => empty_groups_to_fields(dictionary, &mut group.members),
            None => member.kind = MemberKind::Field(group.count_tag),
        }
    }
}

pub(super) fn check<'d>(
    reader: &mut Reader<'d, '_>,
    dictionary: &Dictionary,
    component_nodes: &[Node<'d, 'd>],
    lists: &[(Node<'d, 'd>, &[Member])],
) {
    let components = dictionary.components();
    let mut measure = Measure::of(dictionary);
    for (at, (node, component)) in component_nodes.iter().zip(components).enumerate() {
        match measure.component(at) {
            Ok(_) => {}
            Err(Endless::Cycle(names)) => {
                reader.error(*node, format!("component {} contains itself: {names}", component.name));
                return;
            }
            Err(Endless::Deep) => {
                let what = format!("component {}: nested more than {DEPTH_MAX} deep", component.name);
                reader.error(*node, what);
                return;
            }
        }
    }
    let mut budget = FIELDS_LOOKED_AT_MAX;
    let component_lists =
        component_nodes.iter().zip(components).map(|(node, component)| (*node, &component.members[..]));
    for (node, members) in lists.iter().copied().chain(component_lists) {
        let extent = match measure.list(members) {
            Ok(extent) if extent.depth <= DEPTH_MAX => extent,
            _ => {
                reader.error(node, format!("nested more than {DEPTH_MAX} deep"));
                continue;
            }
        };
        if extent.fields > MESSAGE_FIELDS_MAX {
            reader
                .error(node, format!("unfolds to {} fields: at most {MESSAGE_FIELDS_MAX} are allowed", extent.fields));
            continue;
        }
        // A list is looked through once for itself and once for each group around it.
        let cost = extent.fields.saturating_mul(u64::from(extent.depth) + 1);
        let Some(rest) = budget.checked_sub(cost) else {
            let root = reader.document.root_element();
            reader.error(root, format!("all messages together unfold to more than {FIELDS_LOOKED_AT_MAX} fields"));
            return;
        };
        budget = rest;
        check_list(reader, dictionary, node, members);
    }
}

/// Fields that come twice in one list, in it and in the groups that are written in it.
fn check_list<'d>(reader: &mut Reader<'d, '_>, dictionary: &Dictionary, node: Node<'d, 'd>, members: &[Member]) {
    let (mut seen, mut said) = (HashSet::new(), HashSet::new());
    for member in dictionary.unfold(members) {
        if !seen.insert(member.tag) && said.insert(member.tag) {
            let name = dictionary.field(member.tag).map_or_else(String::new, |field| field.name.to_string());
            reader.warning(
                node,
                format!("{name}({}) comes twice: it has its first place, and is required where either is", member.tag),
            );
        }
    }
    let has_members = |node: &Node<'d, 'd>| super::elements(*node).next().is_some();
    let group_nodes = super::elements(node).filter(|node| node.has_tag_name("group") && has_members(node));
    let groups = members.iter().filter_map(|member| match &member.kind {
        MemberKind::Group(group) => Some(group),
        _ => None,
    });
    // Where a group was refused the two differ in number, and the file is refused anyway.
    for (group_node, group) in group_nodes.zip(groups) {
        if dictionary.delimiter(group).is_none() {
            let what = "the group has nothing but empty components: it is read as a field";
            reader.warning(group_node, what.into());
            reader.has_empty_groups = true;
        }
        check_list(reader, dictionary, group_node, &group.members);
    }
}

/// Why a component has no extent.
enum Endless {
    Cycle(String),
    Deep,
}

struct Measure<'a> {
    dictionary: &'a Dictionary,
    /// By component, where it is known.
    extents: Vec<Option<Extent>>,
    /// The components that are being measured, one inside the other.
    path: Vec<usize>,
}

impl<'a> Measure<'a> {
    fn of(dictionary: &'a Dictionary) -> Self {
        Self { dictionary, extents: vec![None; dictionary.components().len()], path: Vec::new() }
    }

    fn component(&mut self, at: usize) -> Result<Extent, Endless> {
        if let Some(extent) = self.extents[at] {
            return Ok(extent);
        }
        let dictionary = self.dictionary;
        let components = dictionary.components();
        if let Some(begin) = self.path.iter().position(|around| *around == at) {
            let names = self.path[begin..].iter().chain([&at]).map(|at| components[*at].name.as_ref());
            return Err(Endless::Cycle(names.collect::<Vec<_>>().join(" > ")));
        }
        if self.path.len() >= DEPTH_MAX as usize {
            return Err(Endless::Deep);
        }
        self.path.push(at);
        let extent = self.list(&components[at].members)?;
        self.path.pop();
        self.extents[at] = Some(extent);
        Ok(extent)
    }

    fn list(&mut self, members: &[Member]) -> Result<Extent, Endless> {
        let mut sum = Extent::default();
        for member in members {
            let (own, inner) = match &member.kind {
                MemberKind::Field(_) => (1, Extent::default()),
                MemberKind::Component(index) => (0, self.component(usize::from(index.0))?),
                MemberKind::Group(group) => (1, self.list(&group.members)?),
            };
            let is_field = matches!(member.kind, MemberKind::Field(_));
            sum.fields = sum.fields.saturating_add(own).saturating_add(inner.fields);
            sum.depth = sum.depth.max(inner.depth + u32::from(!is_field));
            if sum.depth > DEPTH_MAX {
                return Err(Endless::Deep);
            }
        }
        Ok(sum)
    }
}
