//! Walks the parsed TOML: asks for keys by name, type and range, and notes each fault with its place and goes on
//! with the default, so that one run finds every fault.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::Faults;
use super::keys::{ALIASES, keys_of, nearest};
use super::values::{Wrong, format_bytes, format_duration, parse_bytes, parse_duration};
use super::{KEYS, Location, Locations};
use crate::fix::data_tag_of_length;

/// How much of a value a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

pub(super) struct Reader<'t> {
    text: &'t str,
    pub faults: Faults<'t>,
    pub locations: Locations,
    /// Keys that already have a fault; relations with them are not judged.
    faulty: Vec<String>,
}

/// One table of the file, or one that is left out.
pub(super) struct Section<'a, 'i> {
    name: &'static str,
    path: String,
    table: Option<&'a DeTable<'i>>,
    span: Range<usize>,
}

impl<'t> Reader<'t> {
    pub fn new(text: &'t str, name: &'t str) -> Reader<'t> {
        Reader {
            text,
            faults: Faults::new(name, text),
            locations: Locations { name: name.into(), ..Locations::default() },
            faulty: Vec::new(),
        }
    }

    /// Whether none of these keys has a fault of its own.
    pub fn is_sound(&self, keys: &[String]) -> bool {
        keys.iter().all(|key| !self.faulty.contains(key))
    }

    fn fault(&mut self, span: Range<usize>, key: &str, what: String, mend: String) {
        // A table's span covers its lines; its first line is enough to point at.
        let first_line_end = self.text[span.start..span.end].find('\n').map_or(span.end, |at| span.start + at);
        self.faulty.push(key.into());
        self.faults.add(span.start..first_line_end, key, what, mend);
    }

    /// The `[name]` table of the file.
    pub fn section<'a, 'i>(&mut self, root: &'a DeTable<'i>, name: &'static str) -> Section<'a, 'i> {
        let mut section = Section { name, path: name.into(), table: None, span: 0..0 };
        if let Some(value) = root.get(name) {
            section.span = value.span();
            match value.get_ref() {
                DeValue::Table(table) => section.table = Some(table),
                DeValue::Array(_) => self.fault(
                    value.span(),
                    name,
                    format!("[[{name}]] is written as a list, and there is only one"),
                    format!("write [{name}]"),
                ),
                _ => self.fault(
                    value.span(),
                    name,
                    format!("{name} is not a table"),
                    format!("write [{name}] and its keys below"),
                ),
            }
        }
        self.note_keys(&section);
        section
    }

    /// The `[[name]]` tables of the file, in order.
    pub fn sections<'a, 'i>(&mut self, root: &'a DeTable<'i>, name: &'static str) -> Vec<Section<'a, 'i>> {
        let Some(value) = root.get(name) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        match value.get_ref() {
            DeValue::Array(array) => {
                for (index, item) in array.iter().enumerate() {
                    match item.get_ref() {
                        DeValue::Table(table) => {
                            let path = format!("{name}[{index}]");
                            found.push(Section { name, path, table: Some(table), span: item.span() });
                        }
                        _ => self.fault(
                            item.span(),
                            name,
                            format!("{name}[{index}] is not a table"),
                            format!("write [[{name}]] and its keys below"),
                        ),
                    }
                }
            }
            _ => self.fault(
                value.span(),
                name,
                format!("[{name}] is written as a single table, and there may be several"),
                format!("write [[{name}]]"),
            ),
        }
        for section in &found {
            self.note_keys(section);
        }
        found
    }

    /// Names at the top of the file that are no section.
    pub fn unknown_sections(&mut self, root: &DeTable<'_>) {
        for (key, _) in root.iter() {
            let name: &str = key.get_ref();
            if KEYS.iter().any(|(section, _)| *section == name) {
                continue;
            }
            let mend = match KEYS.iter().find(|(_, keys)| keys.contains(&name)) {
                Some((section, _)) => format!("move it below {}", header_of(section)),
                None => match nearest(name, KEYS.iter().map(|(section, _)| *section)) {
                    Some(section) => format!("did you mean {}?", header_of(section)),
                    None => format!("the sections are {}", joined(KEYS.iter().map(|(section, _)| header_of(section)))),
                },
            };
            self.fault(key.span(), name, format!("{name} is not a section"), mend);
        }
    }

    /// Notes where each key stands, and faults the unknown ones.
    fn note_keys(&mut self, section: &Section<'_, '_>) {
        let Some(table) = section.table else { return };
        let known = keys_of(section.name);
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            let path = format!("{}.{name}", section.path);
            if known.contains(&name) || ALIASES.iter().any(|alias| (alias.section, alias.name) == (section.name, name))
            {
                let (line, column) = self.faults.line_and_column(key.span().start);
                self.locations.by_key.insert(path, Location { line, column });
                continue;
            }
            let elsewhere = KEYS.iter().find(|(_, keys)| keys.contains(&name));
            let mend = match (nearest(name, known.iter().copied()), elsewhere) {
                (_, Some((other, _))) => format!("it belongs below {}", header_of(other)),
                (Some(near), None) => format!("did you mean {near}?"),
                (None, None) => {
                    format!(
                        "the keys of {} are {}",
                        header_of(section.name),
                        joined(known.iter().map(|key| key.to_string()))
                    )
                }
            };
            self.fault(key.span(), &path, format!("{path} is not a key"), mend);
        }
    }
}

impl<'a, 'i> Section<'a, 'i> {
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The table that a key holds: `key = { … }`, or `[section.key]` below the section. `name` is that of its keys.
    pub fn table(&self, reader: &mut Reader<'_>, key: &str, name: &'static str) -> Option<Self> {
        let value = self.find(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let section = Section { name, path: self.key(key), table: Some(table), span: value.span() };
                reader.note_keys(&section);
                Some(section)
            }
            _ => {
                self.blame(reader, key, "is not a table", format!("write {key} = {{ … }}, or [{name}] below"));
                None
            }
        }
    }

    /// Whether the file gives the key a list.
    pub fn is_list(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_)))
    }

    /// A fault of a key; the place is the section's header where the file does not set it. `what` follows the key
    /// and its value.
    pub fn blame(&self, reader: &mut Reader<'_>, key: &str, what: impl Display, mend: impl Into<String>) {
        let path = self.key(key);
        let (span, text) = match self.find(key) {
            Some(value) => (value.span(), format!("{path}{} {what}", self.shown(reader, key))),
            None => (self.span.clone(), format!("{path} {what}")),
        };
        reader.fault(span, &path, text, mend.into());
    }

    /// A fault between keys, at the first of them that the file sets. `what` is the whole sentence.
    pub fn blame_relation(
        reader: &mut Reader<'_>,
        keys: &[(&Section<'_, 'i>, &str)],
        what: String,
        mend: impl Into<String>,
    ) {
        let names: Vec<String> = keys.iter().map(|(section, key)| section.key(key)).collect();
        if !reader.is_sound(&names) {
            return;
        }
        let set = keys.iter().find_map(|(section, key)| Some((section.find(key)?.span(), section.key(key))));
        let (span, key) = set.unwrap_or((0..0, names[0].clone()));
        reader.fault(span, &key, what, mend.into());
    }

    /// A whole number.
    pub fn number(&self, reader: &mut Reader<'_>, key: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let Some(value) = self.find(key) else {
            return default;
        };
        let (min, max) = (range.start(), range.end());
        match integer_of(value.get_ref()).and_then(|number| u32::try_from(number).ok()) {
            Some(number) if range.contains(&number) => return number,
            _ if matches!(value.get_ref(), DeValue::Integer(_)) => {
                self.blame(reader, key, "is out of range", format!("use {min} to {max}"));
            }
            _ => self.blame(reader, key, "is not a whole number", format!("use {min} to {max}, without quotes")),
        }
        default
    }

    /// Bytes, with a unit or without.
    pub fn size(&self, reader: &mut Reader<'_>, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.find(key) else {
            return default;
        };
        let bytes = match value.get_ref() {
            DeValue::String(text) => parse_bytes(text),
            other => match integer_of(other).and_then(|number| u64::try_from(number).ok()) {
                Some(bytes) => Ok(bytes),
                None => Err(Wrong { what: "is not a size".into(), mend: "use a text such as \"16MiB\"".into() }),
            },
        };
        match bytes {
            Ok(bytes) if range.contains(&bytes) => return bytes,
            Ok(_) => {
                let mend = format!("use \"{}\" to \"{}\"", format_bytes(*range.start()), format_bytes(*range.end()));
                self.blame(reader, key, "is out of range", mend);
            }
            Err(wrong) => self.blame(reader, key, wrong.what, wrong.mend),
        }
        default
    }

    pub fn size_u32(&self, reader: &mut Reader<'_>, key: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let wide = u64::from(*range.start())..=u64::from(*range.end());
        // The range is one of u32, and so is the default.
        self.size(reader, key, wide, default.into()) as u32
    }

    pub fn duration(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(value) = self.find(key) else {
            return default;
        };
        let duration = match value.get_ref() {
            DeValue::String(text) => parse_duration(text),
            DeValue::Integer(number) => Err(Wrong {
                what: "has no unit".into(),
                mend: format!("use a text with its unit: \"{0}s\" or \"{0}ms\"", number.as_str()),
            }),
            _ => Err(Wrong { what: "is not a duration".into(), mend: "use a text such as \"30s\" or \"1ms\"".into() }),
        };
        match duration {
            Ok(duration) if range.contains(&duration) => return duration,
            Ok(_) => {
                let (min, max) = (format_duration(*range.start()), format_duration(*range.end()));
                self.blame(reader, key, "is out of range", format!("use \"{min}\" to \"{max}\""));
            }
            Err(wrong) => self.blame(reader, key, wrong.what, wrong.mend),
        }
        default
    }

    pub fn flag(&self, reader: &mut Reader<'_>, key: &str, default: bool) -> bool {
        let Some(value) = self.find(key) else {
            return default;
        };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        self.blame(reader, key, "is not a truth value", "use true or false, without quotes");
        default
    }

    /// A truth value, or `"auto"` (`None`).
    pub fn flag_or_auto(&self, reader: &mut Reader<'_>, key: &str) -> Option<bool> {
        match self.find(key)?.get_ref() {
            DeValue::Boolean(flag) => return Some(*flag),
            DeValue::String(text) if text == "auto" => {}
            _ => self.blame(reader, key, "is not known", "use \"auto\", or true or false without quotes"),
        }
        None
    }

    /// A truth value that other engines know by another name too.
    pub fn flag_or_alias(&self, reader: &mut Reader<'_>, key: &str, default: bool) -> bool {
        let set = ALIASES
            .iter()
            .filter(|alias| alias.section == self.name && alias.key == key)
            .find_map(|alias| Some((alias, self.table?.get(alias.name)?)));
        let Some((alias, value)) = set else {
            return self.flag(reader, key, default);
        };
        let path = self.key(alias.name);
        if self.has(key) {
            let what = format!("{path} is set, and so is {key}, which is the same");
            reader.fault(value.span(), &path, what, "keep one of them".into());
        }
        match value.get_ref() {
            DeValue::Boolean(flag) => *flag != alias.is_inverse,
            // As it stands in their files.
            DeValue::String(text) if matches!(&**text, "Y" | "N") => (text == "Y") != alias.is_inverse,
            _ => {
                let what = format!("{path} = {} is not a truth value", shown_text(reader.text, value.span()));
                reader.fault(value.span(), &path, what, "use true or false, without quotes".into());
                default
            }
        }
    }

    /// One of a few names.
    pub fn choice<T: Copy>(&self, reader: &mut Reader<'_>, key: &str, names: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(reader, key) else {
            return default;
        };
        if let Some((_, choice)) = names.iter().find(|(name, _)| *name == text) {
            return *choice;
        }
        let all = joined(names.iter().map(|(name, _)| format!("\"{name}\"")));
        let mend = match nearest(text, names.iter().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean \"{near}\"? It is one of {all}"),
            None => format!("use one of {all}"),
        };
        self.blame(reader, key, "is not known", mend);
        default
    }

    pub fn text(&self, reader: &mut Reader<'_>, key: &str) -> Option<&str> {
        match self.find(key)?.get_ref() {
            DeValue::String(text) => Some(text),
            _ => {
                self.blame(reader, key, "is not a text", "put it in quotes");
                None
            }
        }
    }

    /// A text with a form of its own.
    pub fn parsed<T>(&self, reader: &mut Reader<'_>, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        match parse(self.text(reader, key)?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.blame(reader, key, wrong.what, wrong.mend);
                None
            }
        }
    }

    /// A list of texts, each with a form of its own.
    pub fn parsed_list<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let items = self.list(reader, key, "[\"…\", \"…\"]")?;
        Some(self.parsed_items(reader, key, &items, parse))
    }

    /// The same, where a list of one may be written without brackets.
    pub fn parsed_one_or_more<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        match self.find(key)?.get_ref() {
            DeValue::String(_) => self.parsed(reader, key, parse).map(|value| vec![value]),
            _ => self.parsed_list(reader, key, parse),
        }
    }

    fn parsed_items<T>(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        items: &[&Spanned<DeValue<'i>>],
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let parsed = match item.get_ref() {
                DeValue::String(text) => parse(text),
                _ => Err(Wrong { what: "is not a text".into(), mend: "put it in quotes".into() }),
            };
            match parsed {
                Ok(value) => values.push(value),
                Err(wrong) => self.blame_item(reader, key, item, wrong),
            }
        }
        values
    }

    /// A list of core numbers without repetition.
    pub fn cores(&self, reader: &mut Reader<'_>, key: &str) -> Option<Vec<usize>> {
        const CORE_MAX: usize = 4095;
        const CORES_MAX: usize = 64;
        let items = self.list(reader, key, "[2, 3]")?;
        if items.len() > CORES_MAX {
            self.blame(reader, key, "names too many cores", format!("name at most {CORES_MAX}"));
            return None;
        }
        let mut cores = Vec::with_capacity(items.len());
        for item in items {
            match integer_of(item.get_ref()).and_then(|number| usize::try_from(number).ok()) {
                Some(core) if core > CORE_MAX => {
                    let wrong = Wrong { what: "is out of range".into(), mend: format!("use 0 to {CORE_MAX}") };
                    self.blame_item(reader, key, item, wrong);
                }
                Some(core) if cores.contains(&core) => {
                    let wrong = Wrong { what: "stands in the list twice".into(), mend: "name each core once".into() };
                    self.blame_item(reader, key, item, wrong);
                }
                Some(core) => cores.push(core),
                None => {
                    let wrong = Wrong {
                        what: "is not the number of a core".into(),
                        mend: "use whole numbers from 0, as lscpu shows them".into(),
                    };
                    self.blame_item(reader, key, item, wrong);
                }
            }
        }
        Some(cores)
    }

    /// A list of tags whose values may be stars in what is stored.
    pub fn secret_tags(&self, reader: &mut Reader<'_>, key: &str) -> Option<Vec<u32>> {
        const TAG_MAX: u32 = 999_999_999;
        const TAGS_MAX: usize = 64;
        let items = self.list(reader, key, "[554, 925]")?;
        if items.len() > TAGS_MAX {
            self.blame(reader, key, "names too many tags", format!("name at most {TAGS_MAX}"));
            return None;
        }
        let mut tags = Vec::with_capacity(items.len());
        for item in items {
            let tag = integer_of(item.get_ref()).and_then(|number| u32::try_from(number).ok());
            let wrong = match tag {
                Some(tag) if is_needed(tag) => Wrong {
                    what: format!("names {tag}, a field by which messages are read and sent again"),
                    mend: "leave it out".into(),
                },
                Some(tag @ 1..=TAG_MAX) => {
                    tags.push(tag);
                    continue;
                }
                _ => Wrong { what: "is not a tag".into(), mend: format!("use whole numbers from 1 to {TAG_MAX}") },
            };
            self.blame_item(reader, key, item, wrong);
        }
        Some(tags)
    }

    fn list<'s>(&'s self, reader: &mut Reader<'_>, key: &str, form: &str) -> Option<Vec<&'s Spanned<DeValue<'i>>>> {
        match self.find(key)?.get_ref() {
            DeValue::Array(items) => Some(items.iter().collect()),
            _ => {
                self.blame(reader, key, "is not a list", format!("write {form}"));
                None
            }
        }
    }

    fn blame_item(&self, reader: &mut Reader<'_>, key: &str, item: &Spanned<DeValue<'i>>, wrong: Wrong) {
        let path = self.key(key);
        let what = format!("{path}: {} {}", shown_text(reader.text, item.span()), wrong.what);
        reader.fault(item.span(), &path, what, wrong.mend);
    }

    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        assert!(keys_of(self.name).contains(&key), "{}.{key} is missing in the table of keys", self.name);
        self.table?.get(key)
    }

    /// ` = "60MiB"`, as the file has it. Nothing of a password, and nothing of the keys beside it: a password that was
    /// put into `password_env` by mistake is one too.
    fn shown(&self, reader: &Reader<'_>, key: &str) -> String {
        match self.find(key) {
            Some(value) if !key.starts_with("password") => {
                format!(" = {}", shown_text(reader.text, value.span()))
            }
            _ => String::new(),
        }
    }
}

fn shown_text(text: &str, span: Range<usize>) -> String {
    let source = &text[span];
    match source.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &source[..end]),
        None => source.into(),
    }
}

/// Fields of the session layer: without their values a stored message is not that message, and its number is not known. Lengths of data
/// fields are among them.
fn is_needed(tag: u32) -> bool {
    const NEEDED: [u32; 27] = [
        7, 8, 9, 10, 16, 34, 35, 36, 43, 45, 49, 50, 52, 56, 57, 97, 98, 108, 112, 122, 123, 141, 142, 143, 369, 789,
        1137,
    ];
    NEEDED.contains(&tag) || data_tag_of_length(tag).is_some()
}

fn integer_of(value: &DeValue<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn header_of(section: &str) -> String {
    match section {
        "acceptor" | "session" => format!("[[{section}]]"),
        _ => format!("[{section}]"),
    }
}

fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
