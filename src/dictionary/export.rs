//! A dictionary in the QuickFIX XML format, for other engines to load.

use std::fmt::{self, Write};

use super::{Category, Dictionary, Member, MemberKind};

/// The whole dictionary as an XML document in UTF-8.
pub fn to_xml(dictionary: &Dictionary) -> String {
    let mut xml = String::new();
    // Writing to a String cannot fail.
    let _ = write_dictionary(&mut xml, dictionary);
    xml
}

fn write_dictionary(xml: &mut String, dictionary: &Dictionary) -> fmt::Result {
    let (kind, major, minor, service_pack) = dictionary.version().parts();
    writeln!(xml, "<?xml version='1.0' encoding='UTF-8'?>")?;
    writeln!(xml, "<fix type='{kind}' major='{major}' minor='{minor}' servicepack='{service_pack}'>")?;
    write_list(xml, dictionary, "header", "", dictionary.header())?;
    writeln!(xml, " <messages>")?;
    for message in dictionary.messages() {
        let category = match message.category {
            Category::Admin => "admin",
            Category::Application => "app",
        };
        let (name, msg_type) = (Escaped(&message.name), Escaped(&message.msg_type));
        let attributes = format!(" name='{name}' msgtype='{msg_type}' msgcat='{category}'");
        write_list(xml, dictionary, " message", &attributes, &message.members)?;
    }
    writeln!(xml, " </messages>")?;
    write_list(xml, dictionary, "trailer", "", dictionary.trailer())?;
    writeln!(xml, " <components>")?;
    for component in dictionary.components() {
        let attributes = format!(" name='{}'", Escaped(&component.name));
        write_list(xml, dictionary, " component", &attributes, &component.members)?;
    }
    writeln!(xml, " </components>\n <fields>")?;
    for field in dictionary.fields() {
        let (tag, name, kind) = (field.tag, Escaped(&field.name), field.kind.name());
        write!(xml, "  <field number='{tag}' name='{name}' type='{kind}'")?;
        if field.values.is_empty() {
            writeln!(xml, "/>")?;
            continue;
        }
        writeln!(xml, ">")?;
        for value in &field.values {
            write!(xml, "   <value enum='{}'", Escaped(&value.value))?;
            if !value.name.is_empty() {
                write!(xml, " description='{}'", Escaped(&value.name))?;
            }
            writeln!(xml, "/>")?;
        }
        writeln!(xml, "  </field>")?;
    }
    writeln!(xml, " </fields>\n</fix>")
}

/// An element that holds members. The spaces before its name are its indentation.
fn write_list(
    xml: &mut String,
    dictionary: &Dictionary,
    element: &str,
    attributes: &str,
    members: &[Member],
) -> fmt::Result {
    let name = element.trim_start();
    let depth = element.len() - name.len() + 1;
    let indentation = " ".repeat(depth);
    if members.is_empty() {
        return writeln!(xml, "{indentation}<{name}{attributes}/>");
    }
    writeln!(xml, "{indentation}<{name}{attributes}>")?;
    write_members(xml, dictionary, members, depth + 1)?;
    writeln!(xml, "{indentation}</{name}>")
}

fn write_members(xml: &mut String, dictionary: &Dictionary, members: &[Member], depth: usize) -> fmt::Result {
    let field_name = |tag: u32| {
        let field = dictionary.field(tag).expect("a dictionary's members are its own fields");
        Escaped(&field.name)
    };
    for member in members {
        let required = if member.required { 'Y' } else { 'N' };
        match &member.kind {
            MemberKind::Field(tag) => {
                writeln!(xml, "{:depth$}<field name='{}' required='{required}'/>", "", field_name(*tag))?;
            }
            MemberKind::Component(index) => {
                let name = Escaped(&dictionary.component(*index).name);
                writeln!(xml, "{:depth$}<component name='{name}' required='{required}'/>", "")?;
            }
            MemberKind::Group(group) => {
                let name = field_name(group.count_tag);
                writeln!(xml, "{:depth$}<group name='{name}' required='{required}'>", "")?;
                write_members(xml, dictionary, &group.members, depth + 1)?;
                writeln!(xml, "{:depth$}</group>", "")?;
            }
        }
    }
    Ok(())
}

/// Text as the value of an attribute between single quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '\'' => f.write_str("&apos;")?,
                '"' => f.write_str("&quot;")?,
                // A reader would make spaces of them.
                '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(character))?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
