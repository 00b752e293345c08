//! Reads a dictionary in the QuickFIX XML format, and says everything that is wrong with it, each fault at its line.
//!
//! What QuickFIX reads and can mean only one thing is read here too, with a warning. What can mean
//! several things is an error that an [`Allowance`] settles.
//!
//! A file comes from outside, so everything about it is bounded: its size, its nodes, how deep its
//! groups and components are nested, and how many members they unfold to. Document types are left
//! out, and with them entities.

mod allowances;
mod components;
mod header;
mod names;
mod root;
mod shape;
mod text;

pub use allowances::{Allowance, Allowances, UnknownAllowance};

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use roxmltree::{Document, Node, ParsingOptions};

use super::model::{Name, Parts};
use super::{
    Category, ComponentIndex, DEPTH_MAX, Dictionary, EnumeratedValue, Faults, FieldDefinition, FieldType, Group,
    Member, MemberKind, MessageDefinition, Severity, built_in,
};
use names::Names;

/// Ten times the largest dictionary of the standard.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// The largest dictionary of the standard has some 60,000 nodes, text between elements included.
const NODES_MAX: u32 = 1_000_000;
/// A tag has at most nine digits (see `fix::parse`).
const TAG_MAX: u32 = 999_999_999;
/// A thousand faults may show as many names.
const NAME_BYTES_MAX: usize = 4_096;
/// A longer description is shortened.
const DESCRIPTION_BYTES_MAX: usize = 256;

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

/// The file's elements as well-formed XML.
fn text_of(bytes: &[u8], faults: &mut Faults) -> Option<String> {
    if bytes.len() > FILE_BYTES_MAX {
        let what = format!("the file has {} bytes: at most {FILE_BYTES_MAX} are read", bytes.len());
        faults.add(Severity::Error, (0, 0), what);
        return None;
    }
    let (text, odd_byte) = text::decoded(bytes);
    if let Some(at) = odd_byte {
        let what = "the file is not UTF-8 and does not say what it is: it is read as ISO-8859-1";
        faults.add(Severity::Warning, position_in(bytes, &line_offsets(bytes), at), what.into());
    }
    let bytes = text.as_bytes();
    let offsets = line_offsets(bytes);
    let mut said = Vec::new();
    let tidied = text::tidy(&text, &mut |at, what| said.push((at, what)));
    let severity = if tidied.is_some() { Severity::Warning } else { Severity::Error };
    for (at, what) in said {
        faults.add(severity, position_in(bytes, &offsets, at), what);
    }
    tidied
}

/// Where each line begins: the document would count them anew at each question.
fn line_offsets(text: &[u8]) -> Vec<usize> {
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
}

/// Line and column, the column in bytes.
fn position_in(text: &[u8], line_offsets: &[usize], offset: usize) -> (u32, u32) {
    assert!(offset <= text.len());
    // The first line begins at 0, so there is one before any offset.
    let line = line_offsets.partition_point(|begin| *begin <= offset);
    (line as u32, (offset - line_offsets[line - 1]) as u32 + 1)
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
    let mut reader = Reader {
        document: &document,
        line_offsets: line_offsets(text.as_bytes()),
        allowed,
        faults,
        names: Names::default(),
        components: HashMap::new(),
        used: HashSet::new(),
        unused: None,
        has_empty_groups: false,
    };
    reader.dictionary()
}

struct Reader<'d, 'f> {
    document: &'d Document<'d>,
    line_offsets: Vec<usize>,
    allowed: Allowances,
    faults: &'f mut Faults,
    names: Names,
    components: HashMap<&'d str, ComponentIndex>,
    /// The components that some message, header or trailer has, by itself or through another.
    used: HashSet<&'d str>,
    /// Whether something was wrong in the component that is being read, where nothing uses it: its
    /// faults are warnings.
    unused: Option<bool>,
    /// Groups were found whose instances have no first field.
    has_empty_groups: bool,
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
        self.used = components::used([header, messages, trailer], components);
        let component_nodes = components.map(|section| self.component_names(section)).unwrap_or_default();
        let components = self.components(&component_nodes);
        let version = version?;
        let mut header_members = header.map(|section| self.frame_members(section, version)).unwrap_or_default();
        let mut trailer_members = trailer.map(|section| self.frame_members(section, version)).unwrap_or_default();
        let (messages, message_nodes) = messages.map(|section| self.messages(section)).unwrap_or_default();
        if !version.needs_transport() {
            let standard = built_in(version);
            self.complete(header.unwrap_or(root), version, &mut fields, &mut header_members, standard.header());
            self.complete(trailer.unwrap_or(root), version, &mut fields, &mut trailer_members, standard.trailer());
        }
        let parts = Parts { version, fields, header: header_members, trailer: trailer_members, messages, components };
        let mut dictionary = Dictionary::new(parts);
        if shape::has_endless_unused_component(self, &dictionary, &component_nodes) {
            dictionary = self.without_unused_components(&dictionary);
        }
        let mut lists: Vec<(Node<'d, 'd>, &[Member])> = Vec::new();
        lists.extend(header.map(|node| (node, dictionary.header())));
        lists.extend(trailer.map(|node| (node, dictionary.trailer())));
        lists.extend(
            message_nodes.iter().zip(dictionary.messages()).map(|(node, message)| (*node, &message.members[..])),
        );
        shape::check(self, &dictionary, &component_nodes, &lists);
        if self.has_empty_groups {
            dictionary = shape::without_empty_groups(&dictionary);
        }
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

    fn fields(&mut self, section: Node<'d, 'd>) -> Vec<FieldDefinition> {
        let mut fields: Vec<FieldDefinition> = Vec::new();
        // Line and place of each tag.
        let mut defined: HashMap<u32, (u32, usize)> = HashMap::new();
        for node in self.children(section, "field") {
            let number = self.present(node, "number");
            let name = self.present(node, "name");
            let kind = self.present(node, "type");
            let values = self.values(node);
            let Some(tag) = number.and_then(|number| self.tag(node, number)) else {
                continue;
            };
            let Some(name) = name.map(|name| self.or_of_tag(node, name, tag)) else {
                continue;
            };
            let name = name.as_ref();
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

    fn tag(&mut self, node: Node<'d, 'd>, written: &str) -> Option<u32> {
        let number = written.trim_ascii();
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let tag = number.parse().ok().filter(|tag| digits && (1..=TAG_MAX).contains(tag));
        if tag.is_none() {
            let what = format!("number {written:?} is no tag: a tag is a number from 1 to {TAG_MAX}");
            self.error_unless(Allowance::UndefinedFields, node, what);
        }
        tag
    }

    /// A field may be without a name, which nothing can refer to then.
    fn or_of_tag(&mut self, node: Node<'d, 'd>, name: &'d str, tag: u32) -> Cow<'d, str> {
        if !name.is_empty() {
            return Cow::Borrowed(name);
        }
        self.warning(node, format!("<field>: name is empty: it is called Tag{tag}"));
        Cow::Owned(format!("Tag{tag}"))
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
                let shown = &name[..name.floor_char_boundary(DESCRIPTION_BYTES_MAX)];
                if shown.len() < name.len() {
                    let what = format!("a description of {} bytes is shortened to {DESCRIPTION_BYTES_MAX}", name.len());
                    self.warning(node, what);
                }
                values.push(EnumeratedValue { value: owned(value), name: owned(shown) });
            }
        }
        values
    }

    fn messages(&mut self, section: Node<'d, 'd>) -> (Vec<MessageDefinition>, Vec<Node<'d, 'd>>) {
        let (mut messages, mut nodes): (Vec<MessageDefinition>, _) = (Vec::new(), Vec::new());
        let (mut msg_types, mut names) = (HashMap::new(), HashMap::new());
        for node in self.children(section, "message") {
            let msg_type = self.present(node, "msgtype");
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
            let Some(msg_type) = msg_type else { continue };
            if msg_type.is_empty() {
                self.warning(node, "<message>: msgtype is empty, and the message left out".into());
                continue;
            }
            let name = node.attribute("name").filter(|name| !name.is_empty() && self.check_length(node, name));
            if name.is_none() {
                self.warning(node, format!("<message>: it has no name, and is called {msg_type}"));
            }
            let name = name.unwrap_or(msg_type);
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
        let value = self.present(node, name)?;
        if value.is_empty() {
            self.error(node, format!("<{}>: {name} is empty", node.tag_name().name()));
        }
        Some(value).filter(|value| !value.is_empty())
    }

    /// An attribute that must be there.
    fn present(&mut self, node: Node<'d, 'd>, name: &str) -> Option<&'d str> {
        let value = node.attribute(name);
        if value.is_none() {
            self.error(node, format!("<{}>: {name} is missing", node.tag_name().name()));
        }
        value.filter(|value| self.check_length(node, value))
    }

    fn check_length(&mut self, node: Node<'d, 'd>, text: &str) -> bool {
        let fits = text.len() <= NAME_BYTES_MAX;
        if !fits {
            self.error(node, format!("a name or value of {} bytes: at most {NAME_BYTES_MAX} are allowed", text.len()));
        }
        fits
    }

    fn suggestion(&self, written: &str, known: &mut dyn Iterator<Item = &str>) -> String {
        names::suggestion(written, known, self.faults)
    }

    fn position(&self, node: Node<'d, 'd>) -> (u32, u32) {
        position_in(self.document.input_text().as_bytes(), &self.line_offsets, node.range().start)
    }

    fn error(&mut self, node: Node<'d, 'd>, what: String) {
        if let Some(is_faulty) = &mut self.unused {
            *is_faulty = true;
            self.warning(node, format!("{what}: nothing uses the component, which is left empty"));
            return;
        }
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
