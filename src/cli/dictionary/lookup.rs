//! What `fixring dictionary show` prints.

use std::fmt::Write;

use crate::dictionary::{
    Category, Dictionary, FieldDefinition, Member, MemberKind, MessageDefinition, Version, built_in,
};

/// Below this, the nearest name is a coincidence. 1 is equality.
const SIMILARITY_MIN: f64 = 0.75;

/// `93 messages, 912 fields, …`
pub(super) fn counts(dictionary: &Dictionary) -> String {
    let values: usize = dictionary.fields().iter().map(|field| field.values.len()).sum();
    format!(
        "{}: {} messages, {} fields, {values} enumerated values, {} components",
        dictionary.version(),
        dictionary.messages().len(),
        dictionary.fields().len(),
        dictionary.components().len()
    )
}

pub(super) fn summary(dictionary: &Dictionary) -> String {
    let version = dictionary.version();
    let mut text = counts(dictionary) + "\n";
    if version.needs_transport() {
        text.push_str("The header, the trailer and the session's messages are those of FIXT.1.1.\n");
    }
    if std::ptr::eq(dictionary, built_in(Version::Fix50Sp2)) {
        text.push_str(
            "The base version: what extension packs add is here, and what only they require is not required (extension_packs).\n",
        );
    }
    for (category, title) in [(Category::Admin, "session"), (Category::Application, "application")] {
        let messages: Vec<_> = dictionary.messages().iter().filter(|message| message.category == category).collect();
        if messages.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title} messages");
        for message in messages {
            let _ = writeln!(text, "  {:<4}{}", message.msg_type, message.name);
        }
    }
    text
}

/// All that the word names: a number may be both a tag and a MsgType. Otherwise says what it may have been.
pub(super) fn find(own: &Dictionary, what: &str) -> Result<String, String> {
    let version = own.version();
    let dictionaries = dictionaries(own);
    let mut parts: Vec<String> = Vec::new();
    for dictionary in &dictionaries {
        let message = dictionary.message(what).or_else(|| named(dictionary.messages(), |m| m.name.as_ref(), what));
        parts.extend(message.map(|message| message_text(dictionary, message)));
    }
    // A field of the standard's transport and application dictionaries is one field; the application's says more.
    let field = dictionaries.iter().find_map(|dictionary| {
        let by_tag = what.parse().ok().and_then(|tag| dictionary.field(tag));
        by_tag.or_else(|| named(dictionary.fields(), |field| field.name.as_ref(), what))
    });
    parts.extend(field.map(|field| field_text(version, &dictionaries, field)));
    for dictionary in &dictionaries {
        let component = named(dictionary.components(), |component| component.name.as_ref(), what);
        parts.extend(component.map(|component| {
            let mut text = format!("{}  component of {}\n", component.name, dictionary.version());
            members_text(dictionary, &component.members, 1, &mut text);
            text
        }));
    }
    if parts.is_empty() { Err(unknown(version, &dictionaries, what)) } else { Ok(parts.join("\n")) }
}

/// The dictionary itself, and the standard's of the transport where it has none in it.
fn dictionaries(own: &Dictionary) -> Vec<&Dictionary> {
    if own.version().needs_transport() { vec![own, built_in(Version::Fixt11)] } else { vec![own] }
}

/// Capitals do not matter in a name.
fn named<'d, T>(all: &'d [T], name: impl Fn(&'d T) -> &'d str, wanted: &str) -> Option<&'d T> {
    all.iter().find(|item| name(item).eq_ignore_ascii_case(wanted))
}

fn unknown(version: Version, dictionaries: &[&Dictionary], what: &str) -> String {
    let wanted = what.to_ascii_lowercase();
    let names = dictionaries.iter().flat_map(|dictionary| {
        let messages = dictionary.messages().iter().map(|message| message.name.as_ref());
        let fields = dictionary.fields().iter().map(|field| field.name.as_ref());
        let components = dictionary.components().iter().map(|component| component.name.as_ref());
        messages.chain(fields).chain(components)
    });
    let near = names.map(|name| (strsim::jaro_winkler(&name.to_ascii_lowercase(), &wanted), name));
    let nearest =
        near.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN).max_by(|one, other| one.0.total_cmp(&other.0));
    let suggestion = nearest.map_or_else(String::new, |(_, name)| format!(": did you mean {name}?"));
    let elsewhere: Vec<&str> = Version::ALL
        .into_iter()
        .filter(|other| {
            let dictionary = built_in(*other);
            what.parse().ok().and_then(|tag| dictionary.field(tag)).is_some()
                || named(dictionary.fields(), |field| field.name.as_ref(), what).is_some()
                || dictionary.message(what).is_some()
                || named(dictionary.messages(), |message| message.name.as_ref(), what).is_some()
        })
        .map(Version::name)
        .collect();
    let elsewhere = if elsewhere.is_empty() { String::new() } else { format!(" (it is in {})", elsewhere.join(", ")) };
    format!("{version} has no message, field or component {what:?}{elsewhere}{suggestion}")
}

fn message_text(dictionary: &Dictionary, message: &MessageDefinition) -> String {
    let category = match message.category {
        Category::Admin => "session",
        Category::Application => "application",
    };
    let version = dictionary.version();
    let mut text = format!("{}  MsgType(35)={}  {category} message of {version}\n", message.name, message.msg_type);
    text.push_str("  * is required; the standard header and trailer are left out\n");
    members_text(dictionary, &message.members, 1, &mut text);
    text
}

/// Each member on a line, those of components and groups beneath it. A component is shown each time it is used.
fn members_text(dictionary: &Dictionary, members: &[Member], depth: usize, text: &mut String) {
    for member in members {
        let mark = if member.required { '*' } else { ' ' };
        let indentation = "  ".repeat(depth);
        // Writing to a String cannot fail.
        let _ = match &member.kind {
            MemberKind::Field(tag) => {
                let field = dictionary.field(*tag).expect("a dictionary's members are its own fields");
                writeln!(text, "{indentation}{mark} {}({tag})  {}", field.name, field.kind.name())
            }
            MemberKind::Component(index) => {
                let component = dictionary.component(*index);
                let written = writeln!(text, "{indentation}{mark} <{}>", component.name);
                members_text(dictionary, &component.members, depth + 1, text);
                written
            }
            MemberKind::Group(group) => {
                let field = dictionary.field(group.count_tag).expect("a dictionary's members are its own fields");
                let written = writeln!(text, "{indentation}{mark} {}({})  group", field.name, field.tag);
                members_text(dictionary, &group.members, depth + 1, text);
                written
            }
        };
    }
}

fn field_text(version: Version, dictionaries: &[&Dictionary], field: &FieldDefinition) -> String {
    let mut text = format!("{}({})  {}  field of {version}\n", field.name, field.tag, field.kind.name());
    let width = field.values.iter().map(|value| value.value.len()).max().unwrap_or(0);
    for value in &field.values {
        let _ = writeln!(text, "  {:<width$}  {}", value.value, value.name);
    }
    let mut places: Vec<String> = Vec::new();
    for dictionary in dictionaries {
        for (name, members) in [("the header", dictionary.header()), ("the trailer", dictionary.trailer())] {
            places.extend(place(dictionary, members, field.tag).map(|how| format!("{name}{how}")));
        }
        for message in dictionary.messages() {
            let found = place(dictionary, &message.members, field.tag);
            places.extend(found.map(|how| format!("{} ({}){how}", message.name, message.msg_type)));
        }
    }
    if !places.is_empty() {
        let _ = writeln!(text, "in");
        places.iter().for_each(|place| {
            let _ = writeln!(text, "  {place}");
        });
    }
    text
}

/// How a message has the field: ` *` where required, and within which group.
fn place(dictionary: &Dictionary, members: &[Member], tag: u32) -> Option<String> {
    dictionary.unfold(members).into_iter().find_map(|member| {
        if member.tag == tag {
            return Some(if member.required { " *".to_owned() } else { String::new() });
        }
        let group = member.group?;
        let inner = place(dictionary, &group.members, tag)?;
        let count = dictionary.field(group.count_tag).map_or_else(String::new, |field| field.name.to_string());
        // The innermost group says enough.
        Some(if inner.contains(" in ") { inner } else { format!("{inner} in {count}({})", group.count_tag) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_tag_and_by_name_and_says_its_values_and_messages() {
        let by_tag = find(built_in(Version::Fix44), "54").unwrap();
        assert_eq!(by_tag, find(built_in(Version::Fix44), "side").unwrap());
        for part in ["Side(54)  CHAR", "  1  BUY\n", "NewOrderSingle (D) *\n", " in NoSides(552)\n"] {
            assert!(by_tag.contains(part), "{part:?} in {by_tag}");
        }
    }

    #[test]
    fn a_number_names_the_field_and_the_message() {
        let text = find(built_in(Version::Fix44), "8").unwrap();
        assert!(text.contains("ExecutionReport  MsgType(35)=8") && text.contains("BeginString(8)"), "{text}");
    }

    #[test]
    fn a_message_of_fix_5_0_may_be_the_transports() {
        let text = find(built_in(Version::Fix50Sp2), "Logon").unwrap();
        assert!(text.contains("session message of FIXT.1.1") && text.contains("* DefaultApplVerID(1137)"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is_near_and_where_else_it_is() {
        let error = find(built_in(Version::Fix44), "NewOrderSingel").unwrap_err();
        assert!(error.ends_with("did you mean NewOrderSingle?"), "{error}");
        let error = find(built_in(Version::Fix40), "1137").unwrap_err();
        assert!(error.contains("it is in FIXT.1.1"), "{error}");
    }
}
