//! A message a field a line, with the names that the session's dictionaries give to fields and
//! values, groups indented.

use std::collections::HashMap;
use std::fmt::Write;

use super::dialects::Dialect;
use super::render::readable;
use crate::dictionary::{Dictionary, FieldDefinition, Group, Version};
use crate::fix::{FieldIndex, Message, parse_by, raw_field, tags};

/// Keeps what it looked up of a dictionary.
pub(super) struct Pretty {
    index: FieldIndex,
    /// The message types of each dictionary, by its address, with the groups that their messages,
    /// the header and the trailer have.
    groups: HashMap<(*const Dictionary, Box<[u8]>), Groups>,
}

/// By the tags of their count fields.
type Groups = HashMap<u32, &'static Group>;

/// A group that the walk over the fields is in.
struct Open {
    dictionary: &'static Dictionary,
    /// What its instances may have, and which of them are groups.
    members: HashMap<u32, Option<&'static Group>>,
    delimiter: Option<u32>,
    instances: u32,
}

const FIELDS_MAX: u32 = 1 << 16;
/// Deeper nesting is shown flat.
const DEPTH_MAX: usize = 16;

impl Default for Pretty {
    fn default() -> Self {
        Self { index: FieldIndex::with_capacity(FIELDS_MAX), groups: HashMap::new() }
    }
}

impl Pretty {
    pub fn message(&mut self, bytes: &[u8], dialect: &'static Dialect) -> String {
        let dictionaries = dictionaries(bytes, dialect);
        let msg_type = raw_field(bytes, tags::MSG_TYPE).unwrap_or_default();
        let Some(own) = dictionaries.first() else {
            return format!("    {}\n", readable(bytes));
        };
        let key = (std::ptr::from_ref(*own), Box::from(msg_type));
        let groups = self.groups.entry(key).or_insert_with(|| groups_of(&dictionaries, msg_type));
        match parse_by(bytes, &mut self.index, dialect.data_fields.as_ref()) {
            Ok(message) => fields(&message, &dictionaries, groups),
            Err(_) => format!("    {}\n", readable(bytes)),
        }
    }
}

/// The dictionary of the message's version, then that of its transport where they are two.
fn dictionaries(message: &[u8], dialect: &'static Dialect) -> Vec<&'static Dictionary> {
    let begin_string = raw_field(message, tags::BEGIN_STRING).unwrap_or_default();
    let version = Version::ALL.into_iter().find(|version| version.name().as_bytes() == begin_string);
    match version {
        Some(Version::Fixt11) => {
            // DefaultApplVerID(1137) was agreed on in the Logon, which is not at hand.
            let told = raw_field(message, 1128).or_else(|| raw_field(message, 1137)).unwrap_or_default();
            let application = Version::of_appl_ver_id(told).filter(|version| dialect.carries(*version));
            let application = application.unwrap_or(dialect.application_version());
            vec![dialect.dictionary(application), dialect.dictionary(Version::Fixt11)]
        }
        Some(version) => vec![dialect.dictionary(version)],
        None => Vec::new(),
    }
}

fn groups_of(dictionaries: &[&'static Dictionary], msg_type: &[u8]) -> Groups {
    let msg_type = std::str::from_utf8(msg_type).unwrap_or_default();
    let mut groups = HashMap::new();
    for dictionary in dictionaries {
        let body = dictionary.message(msg_type).map_or(&[][..], |message| &message.members);
        for members in [dictionary.header(), dictionary.trailer(), body] {
            groups
                .extend(dictionary.unfold(members).into_iter().filter_map(|member| Some((member.tag, member.group?))));
        }
    }
    groups
}

fn fields(message: &Message<'_>, dictionaries: &[&'static Dictionary], groups: &Groups) -> String {
    let mut text = String::new();
    let mut open: Vec<Open> = Vec::new();
    for field in message.fields() {
        while open.last().is_some_and(|group| !group.members.contains_key(&field.tag)) {
            open.pop();
        }
        if let Some(group) = open.last_mut()
            && group.delimiter == Some(field.tag)
        {
            group.instances += 1;
            let _ = writeln!(text, "    {}[{}]", "    ".repeat(open.len() - 1), open[open.len() - 1].instances);
        }
        let begins = match open.last() {
            Some(group) => group.members.get(&field.tag).copied().flatten(),
            None => groups.get(&field.tag).copied(),
        };
        let indentation = "    ".repeat(open.len() + 1);
        let definition = dictionaries.iter().find_map(|dictionary| dictionary.field(field.tag));
        // Writing to a String cannot fail.
        let _ = match definition {
            Some(definition) => writeln!(
                text,
                "{indentation}{}({}) = {}{}",
                definition.name,
                field.tag,
                readable(field.value),
                meaning(definition, field.value)
            ),
            None => writeln!(text, "{indentation}{} = {}", field.tag, readable(field.value)),
        };
        if let Some(group) = begins
            && open.len() < DEPTH_MAX
        {
            let owner = open.last().map(|group| group.dictionary);
            let owner = owner.or_else(|| {
                let has = |dictionary: &&&'static Dictionary| dictionary.field(group.count_tag).is_some();
                dictionaries.iter().find(has).copied()
            });
            if let Some(dictionary) = owner {
                let members = dictionary.unfold(&group.members);
                open.push(Open {
                    dictionary,
                    members: members.into_iter().map(|member| (member.tag, member.group)).collect(),
                    delimiter: dictionary.delimiter(group),
                    instances: 0,
                });
            }
        }
    }
    text
}

/// The name of an enumerated value; of several in one field, all of them.
fn meaning(definition: &FieldDefinition, value: &[u8]) -> String {
    let name =
        |value: &str| definition.values.iter().find(|known| known.value == value).map(|known| known.name.as_ref());
    let Ok(value) = std::str::from_utf8(value) else { return String::new() };
    let names: Vec<_> = match name(value) {
        Some(name) => vec![name],
        None => value.split(' ').filter_map(name).collect(),
    };
    if names.iter().all(|name| name.is_empty()) { String::new() } else { format!("  {}", names.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pretty(text: &str) -> String {
        Pretty::default().message(text.replace('|', "\x01").as_bytes(), Box::leak(Box::default()))
    }

    #[test]
    fn fields_and_values_have_their_names_and_groups_are_indented() {
        let text =
            pretty("8=FIX.4.4|9=5|35=D|49=A|453=2|448=X|447=D|452=1|802=1|523=S|803=2|448=Y|54=1|9999=z|10=000|");
        let expected = "    BeginString(8) = FIX.4.4
    BodyLength(9) = 5
    MsgType(35) = D  NEW_ORDER_SINGLE
    SenderCompID(49) = A
    NoPartyIDs(453) = 2
    [1]
        PartyID(448) = X
        PartyIDSource(447) = D  PROPRIETARY
        PartyRole(452) = 1  EXECUTING_FIRM
        NoPartySubIDs(802) = 1
        [1]
            PartySubID(523) = S
            PartySubIDType(803) = 2  PERSON
    [2]
        PartyID(448) = Y
    Side(54) = 1  BUY
    9999 = z
    CheckSum(10) = 000
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_no_message_is_shown_as_it_is() {
        assert_eq!(pretty("8=FIX.4.4|garbage"), "    8=FIX.4.4|garbage\n");
        assert_eq!(pretty("hello"), "    hello\n");
        assert!(pretty("8=FIXT.1.1|35=D|54=1|").contains("Side(54) = 1  BUY"));
    }
}
