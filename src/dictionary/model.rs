//! A dictionary as it is read, shown and exported. What the hot path asks is in [`super::Validator`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use super::{FieldType, Version};

/// How deep groups and components may be nested in one another. FIX.5.0SP2 needs twelve.
pub const DEPTH_MAX: u32 = 32;

/// Borrowed from the built-in tables, or read from a file.
pub(super) type Name = Cow<'static, str>;

/// What one FIX version says of its messages.
#[derive(Clone, Debug)]
pub struct Dictionary {
    version: Version,
    /// In ascending order of their tags.
    fields: Vec<FieldDefinition>,
    header: Vec<Member>,
    trailer: Vec<Member>,
    messages: Vec<MessageDefinition>,
    components: Vec<Component>,
    /// Where each name is in `fields`.
    field_names: HashMap<Name, u32>,
    /// See [`Dictionary::data_pairs`]: found once, since every session that uses the dictionary
    /// asks.
    pub(super) data_pairs: OnceLock<Vec<(u32, u32)>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldDefinition {
    pub tag: u32,
    pub name: Name,
    pub kind: FieldType,
    /// The only values that the field may have, in the order of the source; empty where any will do.
    pub values: Vec<EnumeratedValue>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnumeratedValue {
    pub value: Name,
    /// `BUY`; empty where the source gives none.
    pub name: Name,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageDefinition {
    pub msg_type: Name,
    pub name: Name,
    pub category: Category,
    pub members: Vec<Member>,
}

/// Whose message it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Category {
    /// The session layer's.
    Admin,
    Application,
}

/// A named list of members that messages, groups and other components share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Component {
    pub name: Name,
    pub members: Vec<Member>,
}

/// One place in a message, group or component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub kind: MemberKind,
    pub required: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberKind {
    /// The field with this tag.
    Field(u32),
    Component(ComponentIndex),
    Group(Group),
}

/// Which component of the same dictionary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ComponentIndex(pub(super) u16);

/// A repeating group. Its delimiter is the first field among its members, a component's first one included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The tag of the field that says how many instances follow.
    pub count_tag: u32,
    pub members: Vec<Member>,
}

/// The parts of a [`Dictionary`] before they are put in order.
pub(super) struct Parts {
    pub version: Version,
    pub fields: Vec<FieldDefinition>,
    pub header: Vec<Member>,
    pub trailer: Vec<Member>,
    pub messages: Vec<MessageDefinition>,
    pub components: Vec<Component>,
}

impl Dictionary {
    /// Every tag and component index of a member must be of this dictionary: whoever reads a source makes sure.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { version, mut fields, header, trailer, messages, components } = parts;
        fields.sort_by_key(|field| field.tag);
        let field_names = fields.iter().zip(0..).map(|(field, at)| (field.name.clone(), at)).collect();
        Self { version, fields, header, trailer, messages, components, field_names, data_pairs: OnceLock::new() }
    }

    pub(super) fn to_parts(&self) -> Parts {
        Parts {
            version: self.version,
            fields: self.fields.clone(),
            header: self.header.clone(),
            trailer: self.trailer.clone(),
            messages: self.messages.clone(),
            components: self.components.clone(),
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// In ascending order of their tags.
    pub fn fields(&self) -> &[FieldDefinition] {
        &self.fields
    }

    pub fn field(&self, tag: u32) -> Option<&FieldDefinition> {
        let at = self.fields.binary_search_by_key(&tag, |field| field.tag).ok()?;
        Some(&self.fields[at])
    }

    pub fn field_named(&self, name: &str) -> Option<&FieldDefinition> {
        self.field_names.get(name).map(|at| &self.fields[*at as usize])
    }

    /// The members of the header; empty in FIX.5.0 and its service packs.
    pub fn header(&self) -> &[Member] {
        &self.header
    }

    /// The members of the trailer; empty in FIX.5.0 and its service packs.
    pub fn trailer(&self) -> &[Member] {
        &self.trailer
    }

    pub fn messages(&self) -> &[MessageDefinition] {
        &self.messages
    }

    pub fn message(&self, msg_type: &str) -> Option<&MessageDefinition> {
        self.messages.iter().find(|message| message.msg_type == msg_type)
    }

    pub fn message_named(&self, name: &str) -> Option<&MessageDefinition> {
        self.messages.iter().find(|message| message.name == name)
    }

    pub fn components(&self) -> &[Component] {
        &self.components
    }

    pub fn component(&self, index: ComponentIndex) -> &Component {
        &self.components[usize::from(index.0)]
    }

    pub fn component_named(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        // The names' places and the pairs follow from the rest.
        self.version == other.version
            && self.fields == other.fields
            && self.header == other.header
            && self.trailer == other.trailer
            && self.messages == other.messages
            && self.components == other.components
    }
}

impl Eq for Dictionary {}
