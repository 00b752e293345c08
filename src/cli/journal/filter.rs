//! Which messages are shown.

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use regex::bytes::Regex;

use super::super::Exit;
use super::dialects::{Dialect, Dialects};
use super::{check_journal, name_of};
use crate::fix::{FieldIndex, SOH, parse_by, raw_field, tags};
use crate::journal::inspect::{CatRecord, Directory, Start, status};
use crate::journal::{Kind, StorageError};

#[derive(Args, Debug)]
pub(super) struct FilterOptions {
    /// Only this session, as it is shown: FIX.4.4:VENUE->DESK1
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only this journal
    #[arg(long, value_name = "N")]
    journal: Option<u16>,
    /// Only what came in, went out, or was sent again
    #[arg(long, value_enum)]
    direction: Option<Way>,
    /// Only from this time on: 2026-03-06T14:30:00Z, or so long ago: 5min, 2h30m
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    from: Option<u64>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    to: Option<u64>,
    /// Only these MsgType(35), with commas: D,8
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    msg_type: Vec<String>,
    /// Only messages that have this field with this value: 11=ABC. May be given more than once: all must fit
    #[arg(long, value_name = "TAG=VALUE", value_parser = field)]
    field: Vec<(u32, String)>,
    /// Only messages in which this regular expression is found; it sees | for the delimiters
    #[arg(long, value_name = "REGEX", value_parser = Regex::new)]
    grep: Option<Regex>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Way {
    In,
    Out,
    Resent,
}

/// What was asked for, ready to be asked of each record.
pub(super) struct Filter<'o> {
    options: &'o FilterOptions,
    /// The session's identity as it is stored.
    identity: Option<Box<[u8]>>,
    index: FieldIndex,
    dialects: &'static Dialects,
    text: Vec<u8>,
    /// Also what is no message.
    pub all: bool,
}

/// More fields than a message of any length here has: the smallest takes four bytes.
const FIELDS_MAX: u32 = 1 << 18;

impl FilterOptions {
    /// The filter over a directory, or the exit status after what is wrong has been told.
    pub fn over(&self, directory: &Directory, dialects: &'static Dialects, all: bool) -> Result<Filter<'_>, Exit> {
        check_journal(directory, self.journal)?;
        let identity = match &self.session {
            None => None,
            Some(asked) => Some(session(directory, asked)?),
        };
        let index = FieldIndex::with_capacity(FIELDS_MAX);
        Ok(Filter { options: self, identity, index, dialects, text: Vec::new(), all })
    }

    /// Where reading must begin.
    pub fn start(&self) -> Start {
        self.from.map_or(Start::Oldest, Start::Time)
    }

    /// The journals that can hold what is asked for.
    pub fn journals(&self, directory: &Directory) -> impl Iterator<Item = u16> + use<> {
        let asked = self.journal;
        (0..directory.manifest().geometry.journals).filter(move |journal| asked.is_none_or(|asked| asked == *journal))
    }
}

/// A session's identity by its name; says which there are if it is none of them.
pub(super) fn session(directory: &Directory, asked: &str) -> Result<Box<[u8]>, Exit> {
    let shown = directory.data_dir().display();
    let identities = status::identities(directory).map_err(|error: StorageError| {
        error_line!("{shown}: {error}");
        Exit::Storage
    })?;
    if let Some(found) = identities.iter().find(|identity| name_of(identity) == asked) {
        return Ok(found.clone());
    }
    let mut known: Vec<_> = identities.iter().map(|identity| name_of(identity)).collect();
    known.sort();
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    error_line!("{shown} has no session {asked}: it has {known}");
    Err(Exit::Configuration)
}

impl Filter<'_> {
    pub fn matches(&mut self, record: &CatRecord) -> bool {
        let options = self.options;
        let header = &record.header;
        let way = way_of(header.kind);
        let is_asked = self.identity.as_ref().is_none_or(|asked| *asked == record.identity)
            && options.direction.is_none_or(|asked| way == Some(asked))
            && options.from.is_none_or(|from_ns| header.time_ns >= from_ns)
            && options.to.is_none_or(|to_ns| header.time_ns < to_ns);
        if !is_asked {
            return false;
        }
        if way.is_none() {
            return self.all && options.msg_type.is_empty() && options.field.is_empty() && options.grep.is_none();
        }
        self.matches_message(&record.payload, self.dialects.of_session(&record.identity))
    }

    fn matches_message(&mut self, message: &[u8], dialect: &Dialect) -> bool {
        let options = self.options;
        if !options.msg_type.is_empty() {
            let msg_type = raw_field(message, tags::MSG_TYPE).unwrap_or_default();
            if !options.msg_type.iter().any(|asked| asked.as_bytes() == msg_type) {
                return false;
            }
        }
        if !options.field.is_empty() {
            let parsed = parse_by(message, &mut self.index, dialect.data_fields.as_ref()).ok();
            let has = |(tag, value): &(u32, String)| match &parsed {
                Some(parsed) => parsed.fields().any(|field| field.tag == *tag && field.value == value.as_bytes()),
                None => raw_field(message, *tag) == Some(value.as_bytes()),
            };
            if !options.field.iter().all(has) {
                return false;
            }
        }
        options.grep.as_ref().is_none_or(|regex| {
            self.text.clear();
            self.text.extend(message.iter().map(|byte| if *byte == SOH { b'|' } else { *byte }));
            regex.is_match(&self.text)
        })
    }

    /// Whether nothing more can fit, since each record is at least about as young as the one before: clocks may be set, so a margin is left.
    pub fn is_over(&self, record: &CatRecord) -> bool {
        const MARGIN_NS: u64 = 3_600_000_000_000;
        self.options.to.is_some_and(|to_ns| record.header.time_ns > to_ns.saturating_add(MARGIN_NS))
    }
}

/// `None` for records that are no messages.
pub(super) fn way_of(kind: Kind) -> Option<Way> {
    match kind {
        Kind::Inbound => Some(Way::In),
        Kind::Outbound => Some(Way::Out),
        Kind::Replay => Some(Way::Resent),
        Kind::Pad | Kind::SessionDefined | Kind::Numbers | Kind::IncarnationStart | Kind::State | Kind::CleanStop => {
            None
        }
    }
}

/// A moment in ns of Unix time, from RFC 3339 or a duration ago.
fn time(text: &str) -> Result<u64, String> {
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let ago: SignedDuration = text.trim_start_matches('-').parse().map_err(|_| {
                "a time like 2026-03-06T14:30:00Z, or a duration ago like 5min, 2h30m, 48h, is needed".to_owned()
            })?;
            Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())?
        }
    };
    u64::try_from(timestamp.as_nanosecond()).map_err(|_| "nothing was stored before 1970".to_owned())
}

fn field(text: &str) -> Result<(u32, String), String> {
    let parts = text.split_once('=').and_then(|(tag, value)| Some((tag.parse().ok()?, value.to_owned())));
    parts.ok_or_else(|| "a field like 11=ABC is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_a_duration_ago() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        let now_ns = super::super::now_ns();
        for text in ["5min", "-5min", "300s"] {
            let ago_ns = now_ns - time(text).unwrap();
            assert!((200..=300).contains(&(ago_ns / 1_000_000_000)), "{text}: {ago_ns}");
        }
        for text in ["", "yesterday", "5", "1900-01-01T00:00:00Z"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
