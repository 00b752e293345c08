//! The components of a file. QuickFIX looks at one only where something has it as a member, so that
//! what is wrong with the others is a warning here.

use std::collections::{HashMap, HashSet};

use roxmltree::Node;

use super::super::model::Parts;
use super::super::{Component, ComponentIndex, Dictionary};
use super::{Allowance, Reader, elements, owned};

/// The names of the components that these lists have, by themselves or through another.
pub(super) fn used<'d>(lists: [Option<Node<'d, 'd>>; 3], section: Option<Node<'d, 'd>>) -> HashSet<&'d str> {
    let mut by_name: HashMap<&str, Node<'d, 'd>> = HashMap::new();
    for node in section.into_iter().flat_map(elements) {
        by_name.entry(node.attribute("name").unwrap_or_default()).or_insert(node);
    }
    let mut used = HashSet::new();
    let mut open: Vec<Node<'d, 'd>> = lists.into_iter().flatten().collect();
    while let Some(list) = open.pop() {
        for node in list.descendants().skip(1).filter(|node| node.has_tag_name("component")) {
            let name = node.attribute("name").unwrap_or_default();
            if used.insert(name) {
                open.extend(by_name.get(name));
            }
        }
    }
    used
}

impl<'d> Reader<'d, '_> {
    /// Gives every component its index before any member refers to one; returns their nodes in that
    /// order.
    pub(super) fn component_names(&mut self, section: Node<'d, 'd>) -> Vec<Node<'d, 'd>> {
        let mut nodes = Vec::new();
        for node in self.children(section, "component") {
            let Some(name) = node.attribute("name").filter(|name| !name.is_empty()) else {
                self.warning(node, "<component>: without a name nothing can use it, and it is left out".into());
                continue;
            };
            if !self.check_length(node, name) {
                continue;
            }
            let Ok(index) = u16::try_from(nodes.len()) else {
                self.error(node, format!("more than {} components", u16::MAX));
                break;
            };
            if let Some(ComponentIndex(first)) = self.components.get(name) {
                let is_alike = self.written(nodes[usize::from(*first)]) == self.written(node);
                let what = format!("component {name} is defined already");
                match (is_alike, self.used.contains(name)) {
                    (true, _) => self.warning(node, format!("{what}, alike")),
                    (false, false) => self.warning(node, format!("{what}, and nothing uses it")),
                    (false, true) => self.error_unless(Allowance::DuplicateComponents, node, what),
                }
                continue;
            }
            self.components.insert(name, ComponentIndex(index));
            nodes.push(node);
        }
        nodes
    }

    /// The components with their members.
    pub(super) fn components(&mut self, nodes: &[Node<'d, 'd>]) -> Vec<Component> {
        let mut components = Vec::new();
        for node in nodes {
            let name = node.attribute("name").unwrap_or_default();
            self.unused = (!self.used.contains(name)).then_some(false);
            let mut members = self.members(*node, 0);
            if self.unused.take() == Some(true) {
                members.clear();
            }
            components.push(Component { name: owned(name), members });
        }
        components
    }

    /// The dictionary with all components empty that nothing uses.
    pub(super) fn without_unused_components(&self, dictionary: &Dictionary) -> Dictionary {
        let mut parts: Parts = dictionary.to_parts();
        let unused = parts.components.iter_mut().filter(|component| !self.used.contains(component.name.as_ref()));
        unused.for_each(|component| component.members.clear());
        Dictionary::new(parts)
    }
}
