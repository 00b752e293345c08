//! From a file's bytes to well-formed XML with nothing in it but elements and their attributes.
//!
//! The reader of QuickFIX is lenient: it takes `R&D` in a description, `--` in a comment, a blank
//! line before the XML declaration, a document type, which it ignores, and prefixes that nobody
//! declares. What it reads is read here too, with a warning. Comments, text and document types are
//! replaced by spaces, so that a fault's line stays what it is, and no entity is ever expanded.

use std::borrow::Cow;

/// The format knows five. The parser compares each attribute of an element with all before it.
const ATTRIBUTES_MAX: usize = 64;

/// What is said of a place in the text, by its offset.
pub(super) type Say<'s> = &'s mut dyn FnMut(usize, String);

/// The text of a file, and where it is not UTF-8 although nothing says so.
pub(super) fn decoded(bytes: &[u8]) -> (Cow<'_, str>, Option<usize>) {
    let utf_16 = |unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        (Cow::Owned(text.trim_start_matches('\u{feff}').to_owned()), None)
    };
    match bytes {
        [0xff, 0xfe, ..] | [b'<', 0, ..] => return utf_16(u16::from_le_bytes),
        [0xfe, 0xff, ..] | [0, b'<', ..] => return utf_16(u16::from_be_bytes),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(error) => {
            let text = bytes.iter().copied().map(char::from).collect();
            (Cow::Owned(text), (!is_latin_1(bytes)).then_some(error.valid_up_to()))
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

/// The elements and attributes of `text`. From the first place on that makes no sense it is left as
/// it is, for the parser to say what is wrong there. `None` where an element has too many
/// attributes, which has been said.
pub(super) fn tidy(text: &str, say: Say<'_>) -> Option<String> {
    let mut tidy = Tidy { text, at: 0, tidied: String::with_capacity(text.len()), say };
    while tidy.at < text.len() {
        match tidy.piece() {
            Ok(()) => {}
            Err(Stop::Senseless) => {
                tidy.tidied.push_str(&text[tidy.at..]);
                break;
            }
            Err(Stop::TooMany) => return None,
        }
    }
    Some(tidy.tidied)
}

enum Stop {
    Senseless,
    TooMany,
}

struct Tidy<'t, 's> {
    text: &'t str,
    /// Everything before is done.
    at: usize,
    tidied: String,
    say: Say<'s>,
}

impl<'t> Tidy<'t, '_> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn piece(&mut self) -> Result<(), Stop> {
        let rest = self.rest();
        if !rest.starts_with('<') {
            self.blank(rest.find('<').unwrap_or(rest.len()));
            return Ok(());
        }
        if let Some(comment) = rest.strip_prefix("<!--") {
            let length = comment.find("-->").ok_or(Stop::Senseless)?;
            if comment[..length].contains("--") || comment[..length].ends_with('-') {
                (self.say)(self.at, "a comment contains \"--\", which other readers refuse".into());
            }
            self.blank("<!--".len() + length + "-->".len());
        } else if rest.starts_with("<![CDATA[") {
            self.blank(rest.find("]]>").ok_or(Stop::Senseless)? + "]]>".len());
        } else if rest.starts_with("<?") {
            self.blank(rest.find("?>").ok_or(Stop::Senseless)? + "?>".len());
        } else if rest.starts_with("<!") {
            let length = declaration_length(rest).ok_or(Stop::Senseless)?;
            (self.say)(self.at, "the document type is not looked at".into());
            self.blank(length);
        } else {
            self.tag()?;
        }
        Ok(())
    }

    /// Replaces so many bytes by as many spaces, and leaves the lines.
    fn blank(&mut self, length: usize) {
        let blanks = self.rest()[..length].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' });
        self.tidied.extend(blanks);
        self.at += length;
    }

    /// Everything up to the first byte for which `ends` holds.
    fn take_until(&mut self, ends: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn tag(&mut self) -> Result<(), Stop> {
        let begin = (self.at, self.tidied.len());
        let result = self.tag_from_here();
        if matches!(result, Err(Stop::Senseless)) {
            self.at = begin.0;
            self.tidied.truncate(begin.1);
        }
        result
    }

    fn tag_from_here(&mut self) -> Result<(), Stop> {
        let ends_name = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'=');
        let opening = if self.rest().starts_with("</") { "</" } else { "<" };
        self.at += opening.len();
        self.tidied.push_str(opening);
        // A prefix is a part of the name.
        let name = self.take_until(ends_name).replace(':', "_");
        self.tidied.push_str(&name);
        let mut seen: Vec<&str> = Vec::new();
        loop {
            let space = self.take_until(|byte| !byte.is_ascii_whitespace());
            self.tidied.push_str(space);
            if let Some(end) = ["/>", ">"].into_iter().find(|end| self.rest().starts_with(end)) {
                self.at += end.len();
                self.tidied.push_str(end);
                return Ok(());
            }
            let begin = self.at;
            let name = self.take_until(ends_name);
            self.take_until(|byte| !byte.is_ascii_whitespace());
            if name.is_empty() || !self.rest().starts_with('=') {
                return Err(Stop::Senseless);
            }
            self.at += 1;
            self.take_until(|byte| !byte.is_ascii_whitespace());
            let quote =
                self.rest().chars().next().filter(|quote| ['"', '\''].contains(quote)).ok_or(Stop::Senseless)?;
            self.at += 1;
            let value = self.take_until(|byte| byte == quote as u8);
            // Without a quote at its end, or with one that closes another value.
            if self.at == self.text.len() || value.contains('<') && value.contains('\n') {
                return Err(Stop::Senseless);
            }
            self.at += 1;
            if seen.len() == ATTRIBUTES_MAX {
                (self.say)(begin, format!("an element has more than {ATTRIBUTES_MAX} attributes"));
                return Err(Stop::TooMany);
            }
            let is_twice = seen.contains(&name);
            if is_twice {
                (self.say)(begin, format!("the attribute {name} is given twice: the first counts"));
            }
            seen.push(name);
            if is_twice || name == "xmlns" || name.contains(':') {
                let end = std::mem::replace(&mut self.at, begin);
                self.blank(end - begin);
            } else {
                self.attribute(name, quote, value, begin);
            }
        }
    }

    fn attribute(&mut self, name: &str, quote: char, value: &str, at: usize) {
        self.tidied.extend([name, "="]);
        self.tidied.push(quote);
        let mut is_said = false;
        for (offset, character) in value.char_indices() {
            let shown = match character {
                '&' if is_reference(&value[offset + 1..]) => "&",
                '&' => "&amp;",
                '<' => "&lt;",
                '\t' | '\n' | '\r' => {
                    self.tidied.push(character);
                    continue;
                }
                '\0'..' ' | '\u{fffe}' | '\u{ffff}' => "\u{fffd}",
                _ => {
                    self.tidied.push(character);
                    continue;
                }
            };
            self.tidied.push_str(shown);
            if shown != "&" && !std::mem::replace(&mut is_said, true) {
                let written = character.escape_default();
                (self.say)(at, format!("{name}: {written} in a value, which other readers refuse"));
            }
        }
        self.tidied.push(quote);
    }
}

/// Whether what follows an ampersand makes it a character that XML allows.
fn is_reference(after: &str) -> bool {
    let near = &after.as_bytes()[..after.len().min(10)];
    let Some(name) = near.iter().position(|byte| *byte == b';').map(|end| &after[..end]) else { return false };
    if ["amp", "lt", "gt", "quot", "apos"].contains(&name) {
        return true;
    }
    let number = match (name.strip_prefix("#x"), name.strip_prefix('#')) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) => digits.parse().ok(),
        (None, None) => None,
    };
    let character = number.and_then(char::from_u32);
    character.is_some_and(|character| {
        !matches!(character, '\0'..' ' | '\u{fffe}' | '\u{ffff}') || "\t\n\r".contains(character)
    })
}

/// How long a declaration (`<!DOCTYPE …>`) is, with those inside it.
fn declaration_length(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    let mut quote = None;
    let mut comment_end = 0;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, quote) {
            _ if at < comment_end => {}
            (b'<', None) if text[at..].starts_with("<!--") => {
                let begin = at + "<!--".len();
                comment_end = begin + text[begin..].find("-->")? + "-->".len();
            }
            (_, Some(open)) if byte != open => {}
            (_, Some(_)) => quote = None,
            (b'"' | b'\'', None) => quote = Some(byte),
            (b'<', None) => depth += 1,
            (b'>', None) => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tidied(text: &str) -> (String, Vec<String>) {
        let mut said = Vec::new();
        let tidied = tidy(text, &mut |_, what| said.push(what)).unwrap();
        (tidied, said)
    }

    #[test]
    fn a_reference_before_characters_of_several_bytes_stays_what_it_is() {
        for text in ["<a b=\"R&amp;D \u{20ac}\u{20ac}\u{20ac}\"/>", "<a b=\"&lt;\u{e4}\u{20ac}\u{1f600}\u{1f600}\"/>"] {
            assert_eq!(tidied(text), (text.to_owned(), Vec::new()));
        }
        assert_eq!(tidied("<a b=\"&\u{20ac}\u{20ac}\u{20ac};\"/>").0, "<a b=\"&amp;\u{20ac}\u{20ac}\u{20ac};\"/>");
    }

    #[test]
    fn a_document_type_ends_where_it_does_whatever_its_comments_say() {
        let (text, said) = tidied("<!DOCTYPE fix [<!-- don't > \" --><!ELEMENT fix (a)>]><fix/>");
        assert_eq!((text.trim(), said.len()), ("<fix/>", 1));
        assert!(tidied("<!DOCTYPE fix [<!-- ]><fix/>").0.ends_with("<fix/>"));
    }
}
