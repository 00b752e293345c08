//! A record as text, in each form.

use std::io::{self, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use super::dialects::{Dialect, Dialects};
use super::filter::{Way, way_of};
use super::name_of;
use super::pretty::Pretty;
use crate::fix::{FieldIndex, parse_by, raw_field, tags};
use crate::journal::inspect::CatRecord;
use crate::journal::{IncarnationStart, Kind, StoredNumbers, flags};

/// How records are written.
pub(super) enum Form {
    Line,
    Pretty(Box<Pretty>, &'static Dialects),
    Export(Format, FieldIndex, &'static Dialects),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// The messages themselves
    Fix,
    /// An object a line
    Json,
    /// A table
    Csv,
}

const COLUMNS: &str = "time,session,direction,msg_seq_num,msg_type,flags,message";

impl Form {
    pub fn of(pretty: bool, dialects: &'static Dialects) -> Self {
        if pretty { Self::Pretty(Box::default(), dialects) } else { Self::Line }
    }

    pub fn export(format: Format, fields_max: u32, dialects: &'static Dialects) -> Self {
        Self::Export(format, FieldIndex::with_capacity(fields_max), dialects)
    }

    /// What stands before the first record.
    pub fn begin(&self, output: &mut impl Write) -> io::Result<()> {
        if matches!(self, Self::Export(Format::Csv, ..)) { write!(output, "{COLUMNS}\r\n") } else { Ok(()) }
    }

    pub fn write(&mut self, record: &CatRecord, output: &mut impl Write) -> io::Result<()> {
        let session = name_of(&record.identity);
        match self {
            Self::Line => writeln!(output, "{}", line(record, &session)),
            Self::Pretty(pretty, dialects) => {
                writeln!(output, "{}", head(record, &session))?;
                if way_of(record.header.kind).is_some() {
                    output
                        .write_all(pretty.message(&record.payload, dialects.of_session(&record.identity)).as_bytes())?;
                }
                Ok(())
            }
            Self::Export(Format::Fix, ..) => output.write_all(&record.payload),
            Self::Export(Format::Json, index, dialects) => {
                writeln!(output, "{}", object(record, &session, index, dialects.of_session(&record.identity))?)
            }
            Self::Export(Format::Csv, ..) => row(record, &session, output),
        }
    }
}

/// The record in one line.
fn line(record: &CatRecord, session: &str) -> String {
    match way_of(record.header.kind) {
        None => head(record, session),
        Some(_) => format!("{} {}", head(record, session), readable(&record.payload)),
    }
}

/// All of the line but the message.
fn head(record: &CatRecord, session: &str) -> String {
    let header = &record.header;
    let time = time(header.time_ns).unwrap_or_else(|| "-".into());
    let Some(way) = way_of(header.kind) else {
        let session = if session.is_empty() { String::new() } else { format!(" {session}") };
        return format!("{time} --{session} journal {} at {}: {}", record.journal, record.position, describe(record));
    };
    let direction = match way {
        Way::In => "< ",
        Way::Out => "> ",
        Way::Resent => ">>",
    };
    format!("{time} {direction} {session} {} {} {}", header.msg_seq_num, msg_type(record), flag_letters(record))
}

/// What is written before the first turn of a worker has no time.
fn time(time_ns: u64) -> Option<String> {
    if time_ns == 0 {
        return None;
    }
    Some(match Timestamp::from_nanosecond(i128::from(time_ns)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => time_ns.to_string(),
    })
}

fn msg_type(record: &CatRecord) -> String {
    raw_field(&record.payload, tags::MSG_TYPE).unwrap_or(b"?").escape_ascii().to_string()
}

fn flag_letters(record: &CatRecord) -> String {
    let letters = [(flags::COUNTED, 'C'), (flags::DELIVERED, 'D'), (flags::SECRET_BLANKED, 'B')];
    letters.map(|(bit, letter)| if record.header.has(bit) { letter } else { '-' }).iter().collect()
}

fn describe(record: &CatRecord) -> String {
    let header = &record.header;
    match header.kind {
        Kind::IncarnationStart => match IncarnationStart::of(&record.payload) {
            Some(start) => format!(
                "incarnation {} starts, after {} stop",
                header.incarnation,
                if start.after_clean_stop { "a clean" } else { "no clean" }
            ),
            None => format!("incarnation {} starts", header.incarnation),
        },
        Kind::SessionDefined => format!("session {} is defined", header.session),
        Kind::Numbers => match StoredNumbers::of(&record.payload) {
            Some(numbers) => {
                format!("numbers: next out {}, next in {}, epoch {}", numbers.next_out, numbers.next_in, numbers.epoch)
            }
            None => "numbers".into(),
        },
        Kind::State => format!("state of all sessions and the application, {} bytes", record.payload.len()),
        Kind::CleanStop => "clean stop".into(),
        Kind::Pad | Kind::Inbound | Kind::Outbound | Kind::Replay => String::new(),
    }
}

/// The delimiters as `|`, UTF-8 as it is; what would break the line or the terminal, or cannot be
/// seen, as escapes of its bytes.
pub(super) fn readable(message: &[u8]) -> String {
    let mut text = String::with_capacity(message.len());
    for chunk in message.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\x01' => text.push('|'),
                ' '..='~' => text.push(character),
                _ if is_visible(character) => text.push(character),
                _ => escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut text),
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    text.extend(bytes.escape_ascii().map(char::from));
}

/// Not a control character of either kind, nor one that changes the direction or the place of what
/// follows, nor one without a form of its own.
fn is_visible(character: char) -> bool {
    // Behind another character the standard library escapes exactly those, and lets pass what
    // combines with it.
    let mut pair = [b'a', 0, 0, 0, 0];
    let length = 1 + character.encode_utf8(&mut pair[1..]).len();
    let pair = std::str::from_utf8(&pair[..length]).unwrap_or_default();
    pair.escape_debug().nth(1) == Some(character)
}

fn direction(record: &CatRecord) -> &'static str {
    match way_of(record.header.kind) {
        Some(Way::In) => "in",
        Some(Way::Out) => "out",
        Some(Way::Resent) => "resent",
        None => "",
    }
}

/// A message as an object; the order of its members is kept.
#[derive(Serialize)]
struct Exported<'a> {
    time: Option<String>,
    time_ns: u64,
    session: &'a str,
    direction: &'static str,
    msg_seq_num: u64,
    msg_type: String,
    counted: bool,
    delivered: bool,
    blanked: bool,
    epoch: u32,
    incarnation: u32,
    journal: u16,
    position: u64,
    fields: Option<Vec<ExportedField<'a>>>,
    /// Of a message that is no tag=value.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

#[derive(Serialize)]
struct ExportedField<'a> {
    tag: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

fn object<'a>(
    record: &'a CatRecord,
    session: &str,
    index: &'a mut FieldIndex,
    dialect: &Dialect,
) -> serde_json::Result<String> {
    let header = &record.header;
    let field = |field: crate::fix::Field<'a>| {
        let value = std::str::from_utf8(field.value).ok();
        ExportedField { tag: field.tag, value, hex: value.is_none().then(|| hex(field.value)) }
    };
    let read = parse_by(&record.payload, index, dialect.data_fields.as_ref());
    let fields = read.ok().map(|message| message.fields().map(field).collect::<Vec<_>>());
    let hex_of_all = fields.is_none().then(|| hex(&record.payload));
    let exported = Exported {
        time: time(header.time_ns),
        time_ns: header.time_ns,
        session,
        direction: direction(record),
        msg_seq_num: header.msg_seq_num,
        msg_type: msg_type(record),
        counted: header.has(flags::COUNTED),
        delivered: header.has(flags::DELIVERED),
        blanked: header.has(flags::SECRET_BLANKED),
        epoch: header.epoch,
        incarnation: header.incarnation,
        journal: record.journal,
        position: record.position,
        fields,
        hex: hex_of_all,
    };
    serde_json::to_string(&exported)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn row(record: &CatRecord, session: &str, output: &mut impl Write) -> io::Result<()> {
    let header = &record.header;
    let cells = [
        time(header.time_ns).unwrap_or_default(),
        session.to_owned(),
        direction(record).to_owned(),
        header.msg_seq_num.to_string(),
        msg_type(record),
        flag_letters(record),
        readable(&record.payload),
    ];
    write!(output, "{}\r\n", cells.map(|cell| quoted(&cell)).join(","))
}

/// RFC 4180, section 2.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_its_data_fields_hold() {
        assert_eq!(readable(b"35=B\x0195=3\x0196=a\nb\x0158=50 % \\ off\x01"), r"35=B|95=3|96=a\nb|58=50 % \ off|");
    }

    #[test]
    fn utf_8_is_printed_and_nothing_reaches_the_terminal_that_is_not_seen() {
        let name = "Zürich 東京 हिन्दी 🦀 ½";
        assert_eq!(readable(name.as_bytes()), name);
        // A byte order mark, an override of the direction, a line separator, C1's CSI, DEL, ESC and
        // an unfinished sequence.
        let hidden = "\u{feff}|\u{202e}|\u{2028}|\u{9b}2J|\u{7f}|\u{1b}[2J|\r".as_bytes();
        assert_eq!(readable(hidden), r"\xef\xbb\xbf|\xe2\x80\xae|\xe2\x80\xa8|\xc2\x9b2J|\x7f|\x1b[2J|\r");
        assert_eq!(readable(b"58=\xe6\x9d\x01Z\xfcrich\x01"), r"58=\xe6\x9d|Z\xfcrich|");
    }

    #[test]
    fn a_cell_with_commas_or_quotes_is_quoted() {
        assert_eq!(["a", "a,b", "say \"x\""].map(quoted), ["a", "\"a,b\"", "\"say \"\"x\"\"\""]);
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
