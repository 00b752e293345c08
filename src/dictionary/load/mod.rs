//! Reads a dictionary in the QuickFIX XML format, and says everything that is wrong with it, each fault at its line.
//!
//! What QuickFIX reads and can mean only one thing is read here too, with a warning. What can mean
//! several things is an error that an [`Allowance`] settles.
//!
//! A file comes from outside, so everything about it is bounded: its size, its nodes, how deep its groups and
//! components are nested, and how many members they unfold to. Document types are refused, and with them entities.

mod allowances;
mod header;
mod names;
mod shape;

pub use allowances::{Allowance, Allowances, UnknownAllowance};

use std::borrow::Cow;
use std::collections::HashMap;

use roxmltree::{Document, Node, ParsingOptions};

use super::model::{Name, Parts};
use super::{
    Category, Component, ComponentIndex, DEPTH_MAX, Dictionary, EnumeratedValue, Faults, FieldDefinition, FieldType,
    Group, Member, MemberKind, MessageDefinition, Severity, Version, built_in,
};
use names::Names;

/// Ten times the largest dictionary of the standard.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// The largest dictionary of the standard has some 60,000 nodes, text between elements included.
const NODES_MAX: u32 = 1_000_000;
/// A tag has at most nine digits (see `fix::parse`).
const TAG_MAX: u32 = 999_999_999;
/// A name or value is one field of a message, and nothing that is enumerated comes near this. A
/// longer description is shortened.
const TEXT_BYTES_MAX: usize = 256;

/// A file that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub dictionary: Dictionary,
    /// What its author may want to know; none of it is an error.
    pub warnings: Faults,
}

/// Reads a whole file. On an error, the faults contain the warnings too.
pub fn load(bytes: &[u8]) -> Result<Loaded, Faults> {
    load_allowing(bytes, Allowances::default())
}

/// [`load`], with what is allowed as warnings.
pub fn load_allowing(bytes: &[u8], allowed: Allowances) -> Result<Loaded, Faults> {
    let mut faults = Faults::default();
    let dictionary = text_of(bytes, &mut faults).and_then(|text| read(&text, allowed, &mut faults));
    faults.sort();
    match dictionary {
        Some(dictionary) if !faults.has_errors() => Ok(Loaded { dictionary, warnings: faults }),
        _ => {
            assert!(faults.has_errors(), "a file that cannot be used has an error");
            Err(faults)
        }
    }
}

fn text_of<'b>(bytes: &'b [u8], faults: &mut Faults) -> Option<Cow<'b, str>> {
    if bytes.len() > FILE_BYTES_MAX {
        let what = format!("the file has {} bytes: at most {FILE_BYTES_MAX} are read", bytes.len());
        faults.add(Severity::Error, (0, 0), what);
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(Cow::Borrowed(text)),
        Err(_) if is_latin_1(bytes) => Some(Cow::Owned(bytes.iter().copied().map(char::from).collect())),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u32;
            let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count() as u32;
            faults.add(Severity::Error, (line, column), "the file is not UTF-8: save it in that encoding".into());
            None
        }
    }
}

/// Whether the file's first line says that it is in the encoding whose bytes are the first
/// characters of Unicode.
fn is_latin_1(bytes: &[u8]) -> bool {
    let declaration = bytes.split(|byte| *byte == b'>').next().unwrap_or_default().to_ascii_lowercase();
    let names = [&b"iso-8859-1\""[..], b"iso-8859-1'", b"windows-1252", b"latin1"];
    names.iter().any(|name| declaration.windows(name.len()).any(|window| window == *name))
}

fn read(text: &str, allowed: Allowances, faults: &mut Faults) -> Option<Dictionary> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(error) => {
            let position = error.pos();
            faults.add(Severity::Error, (position.row, position.col), format!("not well-formed XML: {error}"));
            return None;
        }
    };
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    let line_offsets = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
    let names = Names::default();
    let components = HashMap::new();
    let mut reader = Reader { document: &document, line_offsets, allowed, faults, names, components };
    reader.dictionary()
}

struct Reader<'d, 'f> {
    document: &'d Document<'d>,
    /// Where each line begins: the document would count them anew at each question.
    line_offsets: Vec<usize>,
    allowed: Allowances,
    faults: &'f mut Faults,
    names: Names,
    components: HashMap<&'d str, ComponentIndex>,
}

impl<'d> Reader<'d, '_> {
    fn dictionary(&mut self) -> Option<Dictionary> {
        let root = self.document.root_element();
        if !root.has_tag_name("fix") {
            self.error(root, format!("the root is <{}>: a dictionary's is <fix>", root.tag_name().name()));
            return None;
        }
        let version = self.version(root);
        let [header, messages, trailer, components, fields] =
            self.sections(root, ["header", "messages", "trailer", "components", "fields"]);
        for (section, name) in [(fields, "fields"), (messages, "messages")] {
            if section.is_none() {
                self.error(root, format!("there is no <{name}>"));
            }
        }
        let fields_section = fields;
        let mut fields = fields.map(|section| self.fields(section)).unwrap_or_default();
        let component_nodes = components.map(|section| self.component_names(section)).unwrap_or_default();
        let components: Vec<Component> = component_nodes
            .iter()
            .map(|node| Component {
                name: owned(node.attribute("name").unwrap_or_default()),
                members: self.members(*node, 0),
            })
            .collect();
        let mut header_members = header.map(|section| self.frame_members(section)).unwrap_or_default();
        let mut trailer_members = trailer.map(|section| self.frame_members(section)).unwrap_or_default();
        let (messages, message_nodes) = messages.map(|section| self.messages(section)).unwrap_or_default();
        let version = version?;
        if !version.needs_transport() {
            self.complete(
                header.unwrap_or(root),
                version,
                &mut fields,
                &mut header_members,
                built_in(version).header(),
            );
            self.complete(
                trailer.unwrap_or(root),
                version,
                &mut fields,
                &mut trailer_members,
                built_in(version).trailer(),
            );
        }
        let parts = Parts { version, fields, header: header_members, trailer: trailer_members, messages, components };
        let dictionary = Dictionary::new(parts);
        let mut lists: Vec<(Node<'d, 'd>, &[Member])> = Vec::new();
        lists.extend(header.map(|node| (node, dictionary.header())));
        lists.extend(trailer.map(|node| (node, dictionary.trailer())));
        lists.extend(
            message_nodes.iter().zip(dictionary.messages()).map(|(node, message)| (*node, &message.members[..])),
        );
        shape::check(self, &dictionary, &component_nodes, &lists);
        for field in dictionary.data_fields_without_length() {
            let what = format!(
                "{}({}) is of type {}, and no LENGTH field announces it",
                field.name,
                field.tag,
                field.kind.name()
            );
            self.warning(fields_section.unwrap_or(root), format!("{what}: its value ends at the first delimiter"));
        }
        Some(dictionary)
    }

    fn version(&mut self, root: Node<'d, 'd>) -> Option<Version> {
        let kind = root.attribute("type").unwrap_or("FIX");
        let mut number = |name: &str, default: Option<u8>| {
            let written = root.attribute(name);
            let number = written.map_or(default, |written| written.parse().ok());
            if number.is_none() {
                let what = written.map_or_else(|| "is missing".into(), |written| format!("{written:?} is no number"));
                self.error(root, format!("<fix>: {name} {what}"));
            }
            number
        };
        let parts = (number("major", None), number("minor", None), number("servicepack", Some(0)));
        let (Some(major), Some(minor), Some(service_pack)) = parts else {
            return None;
        };
        let version = Version::of_parts(kind, major, minor, service_pack);
        if version.is_none() {
            let known = Version::ALL.map(Version::name).join(", ");
            let written = format!("{kind}.{major}.{minor} service pack {service_pack}");
            self.error(root, format!("<fix>: {written} is no known version: the known ones are {known}"));
        }
        version
    }

    /// The children of the root, each at most once.
    fn sections<const N: usize>(&mut self, root: Node<'d, 'd>, names: [&str; N]) -> [Option<Node<'d, 'd>>; N] {
        let mut sections = [None; N];
        for node in elements(root) {
            let name = node.tag_name().name();
            match names.iter().position(|known| *known == name) {
                Some(at) if sections[at].is_none() => sections[at] = Some(node),
                Some(_) => self.error(node, format!("a second <{name}>")),
                None => self.warning(node, format!("<{name}> is unknown here and left out")),
            }
        }
        sections
    }

    fn fields(&mut self, section: Node<'d, 'd>) -> Vec<FieldDefinition> {
        let mut fields: Vec<FieldDefinition> = Vec::new();
        // Line and place of each tag.
        let mut defined: HashMap<u32, (u32, usize)> = HashMap::new();
        for node in self.children(section, "field") {
            let number = self.attribute(node, "number");
            let name = self.attribute(node, "name");
            let kind = self.attribute(node, "type");
            let values = self.values(node);
            let Some(tag) = number.and_then(|number| self.tag(node, number)) else {
                continue;
            };
            let Some(name) = name else {
                continue;
            };
            let kind = kind.and_then(|kind| self.field_type(node, name, kind));
            if let Some(&(line, at)) = defined.get(&tag) {
                let what = format!("tag {tag} is defined on line {line} already");
                let first = &fields[at];
                if kind.is_none_or(|kind| kind == first.kind) {
                    self.warning(node, format!("{what}: the first definition counts"));
                } else {
                    let what = format!("{what}, as {} of type {}", first.name, first.kind.name());
                    self.error_unless(Allowance::DuplicateFields, node, what);
                }
                // A second name of the same field.
                let _ = self.names.add(name, tag);
                continue;
            }
            let mut own_name = owned(name);
            if let Some(other) = self.names.add(name, tag) {
                let what = format!("{name} is the name of tag {other} already");
                self.error_unless(Allowance::DuplicateFields, node, what);
                own_name = Cow::Owned(format!("{name}_{tag}"));
                if self.names.add(&own_name, tag).is_some() {
                    continue;
                }
            }
            defined.insert(tag, (self.position(node).0, fields.len()));
            if let Some(kind) = kind {
                self.names.set_kind(tag, kind);
            }
            fields.push(FieldDefinition { tag, name: own_name, kind: kind.unwrap_or(FieldType::String), values });
        }
        fields
    }

    fn tag(&mut self, node: Node<'d, 'd>, number: &str) -> Option<u32> {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let tag = number.parse().ok().filter(|tag| digits && (1..=TAG_MAX).contains(tag));
        if tag.is_none() {
            self.error(node, format!("number {number:?} is no tag: a tag is a number from 1 to {TAG_MAX}"));
        }
        tag
    }

    fn field_type(&mut self, node: Node<'d, 'd>, name: &str, written: &str) -> Option<FieldType> {
        let kind = FieldType::of_name(written);
        if kind.is_none() {
            let near = self.suggestion(written, &mut FieldType::ALL.iter().map(|kind| kind.name()));
            self.warning(node, format!("{name}: {written} is no type{near}: the form of its values is not checked"));
        }
        kind
    }

    fn values(&mut self, field: Node<'d, 'd>) -> Vec<EnumeratedValue> {
        let mut values: Vec<EnumeratedValue> = Vec::new();
        let mut seen: HashMap<&str, u32> = HashMap::new();
        for node in self.children(field, "value") {
            if node.attribute("enum") == Some("") {
                self.warning(node, "<value>: enum is empty and left out".into());
                continue;
            }
            let Some(value) = self.attribute(node, "enum") else {
                continue;
            };
            if value.contains('\u{1}') {
                self.error(node, "a value cannot contain the delimiter (SOH)".into());
            } else if let Some(line) = seen.insert(value, self.position(node).0) {
                self.warning(node, format!("value {value:?} is given on line {line} already: the first counts"));
            } else {
                let name = node.attribute("description").unwrap_or_default();
                let shown = &name[..name.floor_char_boundary(TEXT_BYTES_MAX)];
                if shown.len() < name.len() {
                    self.warning(
                        node,
                        format!("a description of {} bytes is shortened to {TEXT_BYTES_MAX}", name.len()),
                    );
                }
                values.push(EnumeratedValue { value: owned(value), name: owned(shown) });
            }
        }
        values
    }

    /// Gives every component its index before any member refers to one; answers their nodes in that order.
    fn component_names(&mut self, section: Node<'d, 'd>) -> Vec<Node<'d, 'd>> {
        let mut nodes = Vec::new();
        for node in self.children(section, "component") {
            let Some(name) = self.attribute(node, "name") else {
                continue;
            };
            let Ok(index) = u16::try_from(nodes.len()) else {
                self.error(node, format!("more than {} components", u16::MAX));
                break;
            };
            if let Some(ComponentIndex(first)) = self.components.get(name) {
                let is_alike = self.written(nodes[usize::from(*first)]) == self.written(node);
                let what = format!("component {name} is defined already");
                match is_alike {
                    true => self.warning(node, format!("{what}, alike")),
                    false => self.error_unless(Allowance::DuplicateComponents, node, what),
                }
                continue;
            }
            self.components.insert(name, ComponentIndex(index));
            nodes.push(node);
        }
        nodes
    }

    fn messages(&mut self, section: Node<'d, 'd>) -> (Vec<MessageDefinition>, Vec<Node<'d, 'd>>) {
        let (mut messages, mut nodes): (Vec<MessageDefinition>, _) = (Vec::new(), Vec::new());
        let (mut msg_types, mut names) = (HashMap::new(), HashMap::new());
        for node in self.children(section, "message") {
            let name = self.attribute(node, "name");
            let msg_type = self.attribute(node, "msgtype");
            let category = match node.attribute("msgcat") {
                Some("admin") => Category::Admin,
                None | Some("app") => Category::Application,
                Some(other) => {
                    self.warning(
                        node,
                        format!("msgcat {other:?} is neither \"admin\" nor \"app\": it is read as \"app\""),
                    );
                    Category::Application
                }
            };
            let members = self.members(node, 0);
            let (Some(name), Some(msg_type)) = (name, msg_type) else {
                continue;
            };
            let line = self.position(node).0;
            if let Some((before, at)) = msg_types.get(msg_type).copied() {
                // As QuickFIX reads it: the message has the members of both.
                self.warning(
                    node,
                    format!("MsgType {msg_type} is defined on line {before} already: its members are added"),
                );
                let first: &mut MessageDefinition = &mut messages[at];
                first.members.extend(members);
                continue;
            }
            if let Some(before) = names.insert(name, line) {
                self.warning(node, format!("message {name} is defined on line {before} already, as another MsgType"));
            }
            msg_types.insert(msg_type, (line, messages.len()));
            messages.push(MessageDefinition { msg_type: owned(msg_type), name: owned(name), category, members });
            nodes.push(node);
        }
        (messages, nodes)
    }

    /// What a message, component, group, header or trailer consists of. `depth` counts the groups around it.
    fn members(&mut self, list: Node<'d, 'd>, depth: u32) -> Vec<Member> {
        elements(list).filter_map(|node| self.member(node, depth)).collect()
    }

    fn member(&mut self, node: Node<'d, 'd>, depth: u32) -> Option<Member> {
        let element = node.tag_name().name();
        let kind = match element {
            "field" => self.reference(node).map(MemberKind::Field),
            "component" => self.component_reference(node).map(MemberKind::Component),
            "group" if elements(node).next().is_none() => {
                let name = node.attribute("name").unwrap_or_default();
                self.warning(node, format!("group {name} has no members: it is read as a field"));
                self.reference(node).map(MemberKind::Field)
            }
            "group" => self.group(node, depth).map(MemberKind::Group),
            _ => {
                self.warning(node, format!("<{element}> is unknown here and left out"));
                None
            }
        };
        let required = self.required(node);
        kind.map(|kind| Member { kind, required })
    }

    fn reference(&mut self, node: Node<'d, 'd>) -> Option<u32> {
        let name = self.attribute(node, "name")?;
        let tag = self.names.tag(name);
        if tag.is_none() {
            let near = self.names.nearest(name, self.faults);
            self.error_unless(Allowance::UndefinedFields, node, format!("{name} is no field of this dictionary{near}"));
        }
        tag
    }

    fn component_reference(&mut self, node: Node<'d, 'd>) -> Option<ComponentIndex> {
        let name = self.attribute(node, "name")?;
        let index = self.components.get(name).copied();
        if index.is_none() {
            let known: Vec<&str> = self.components.keys().copied().collect();
            let near = self.suggestion(name, &mut known.into_iter());
            let what = format!("{name} is no component of this dictionary{near}");
            self.error_unless(Allowance::UndefinedComponents, node, what);
        }
        index
    }

    fn group(&mut self, node: Node<'d, 'd>, depth: u32) -> Option<Group> {
        let count_tag = self.reference(node);
        if depth >= DEPTH_MAX {
            self.error(node, format!("groups nested more than {DEPTH_MAX} deep"));
            return None;
        }
        let members = self.members(node, depth + 1);
        let name = node.attribute("name").unwrap_or_default();
        let count_tag = count_tag?;
        if let Some(kind) = self.names.kind(count_tag)
            && !kind.is_count()
        {
            let what = format!("{name} counts a group and is of type {}: NUMINGROUP is meant for that", kind.name());
            self.warning(node, what);
        }
        Some(Group { count_tag, members })
    }

    fn required(&mut self, node: Node<'d, 'd>) -> bool {
        match node.attribute("required") {
            Some("Y" | "y") => true,
            None | Some("N" | "n") => false,
            Some(other) => {
                self.warning(node, format!("required {other:?} is neither \"Y\" nor \"N\": it is read as \"N\""));
                false
            }
        }
    }

    // ---- what all of the above needs

    /// An element as it is written, without the spaces: two that are alike mean the same.
    fn written(&self, node: Node<'d, 'd>) -> String {
        self.document.input_text()[node.range()].split_whitespace().collect()
    }

    fn error_unless(&mut self, allowance: Allowance, node: Node<'d, 'd>, what: String) {
        match self.allowed.has(allowance) {
            true => self.warning(node, what),
            false => self.error(node, format!("{what} (an error unless {allowance} is allowed)")),
        }
    }

    /// The children of this name; others are said.
    fn children(&mut self, parent: Node<'d, 'd>, name: &str) -> Vec<Node<'d, 'd>> {
        let mut children = Vec::new();
        for node in elements(parent) {
            if node.has_tag_name(name) {
                children.push(node);
            } else {
                self.warning(node, format!("<{}> is unknown here and left out", node.tag_name().name()));
            }
        }
        children
    }

    /// An attribute that must be there and say something.
    fn attribute(&mut self, node: Node<'d, 'd>, name: &str) -> Option<&'d str> {
        match node.attribute(name) {
            Some("") => self.error(node, format!("<{}>: {name} is empty", node.tag_name().name())),
            Some(value) if self.check_length(node, value) => return Some(value),
            Some(_) => {}
            None => self.error(node, format!("<{}>: {name} is missing", node.tag_name().name())),
        }
        None
    }

    fn check_length(&mut self, node: Node<'d, 'd>, text: &str) -> bool {
        let fits = text.len() <= TEXT_BYTES_MAX;
        if !fits {
            self.error(node, format!("a name or value of {} bytes: at most {TEXT_BYTES_MAX} are allowed", text.len()));
        }
        fits
    }

    fn suggestion(&self, written: &str, known: &mut dyn Iterator<Item = &str>) -> String {
        names::suggestion(written, known, self.faults)
    }

    /// Line and column, the column in bytes.
    fn position(&self, node: Node<'d, 'd>) -> (u32, u32) {
        let offset = node.range().start;
        // The first line begins at 0, so there is one before any offset.
        let line = self.line_offsets.partition_point(|begin| *begin <= offset);
        (line as u32, (offset - self.line_offsets[line - 1]) as u32 + 1)
    }

    fn error(&mut self, node: Node<'d, 'd>, what: String) {
        self.faults.add(Severity::Error, self.position(node), what);
    }

    fn warning(&mut self, node: Node<'d, 'd>, what: String) {
        self.faults.add(Severity::Warning, self.position(node), what);
    }
}

fn elements<'d>(node: Node<'d, 'd>) -> impl Iterator<Item = Node<'d, 'd>> {
    node.children().filter(Node::is_element)
}

fn owned(text: &str) -> Name {
    Cow::Owned(text.to_owned())
}
