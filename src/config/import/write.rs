//! The two things that come out: the TOML, laid out to be read and kept, and the report of what it does not hold.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::ledger::{Entry, printable, quoted};
use super::session::Session;
use super::{Fate, Note};
use crate::config::{ControlConfig, EngineConfig, format_duration};

/// Of comments; fixring.toml itself is as wide.
const COLUMNS: usize = 120;
/// How many line numbers a note of many sessions names.
const LINES_SHOWN_MAX: usize = 5;

/// What is not a session's.
pub(super) struct Whole {
    pub logon_timeout: Option<Duration>,
    pub logout_timeout: Option<Duration>,
    /// With the line that it comes from.
    pub acceptors: Vec<(u32, SocketAddr)>,
}

/// The configuration. `is_readable` asks for it without what makes its reader open other files.
pub(super) fn toml(name: &str, whole: &Whole, sessions: &[Session], is_readable: bool) -> String {
    let mut toml = String::new();
    let intro = format!(
        "From {} by fixring config import. Only what differs from the defaults is here: the fixring.toml of the \
         distribution has every key. What could not be carried over is listed at the end.",
        printable(name)
    );
    comment(&mut toml, "", &intro);
    engine(&mut toml, whole);
    control(&mut toml, whole);
    for (_, listen) in &whole.acceptors {
        let _ = write!(toml, "\n[[acceptor]]\nlisten = {}\n", quoted(&listen.to_string()));
    }
    for session in sessions {
        let _ = match session.line {
            0 => write!(toml, "\n# DynamicSessions=Y: whoever is not named in another [[session]].\n[[session]]\n"),
            line => write!(toml, "\n# [SESSION] of line {line}\n[[session]]\n"),
        };
        for Entry { key, value, line, is_comment } in &session.entries {
            let _ = match is_comment {
                true => writeln!(toml, "# {key} = {value}    # the secret of line {line} is not copied"),
                false if is_readable && *key == "dictionary" => Ok(()),
                false => writeln!(toml, "{key} = {value}"),
            };
        }
    }
    toml
}

fn engine(toml: &mut String, whole: &Whole) {
    let default = EngineConfig::default();
    let mut keys = Vec::new();
    if let Some(timeout) = whole.logon_timeout.filter(|timeout| *timeout != default.logon_timeout) {
        keys.push(("logon_timeout", timeout));
        if default.probe_timeout > timeout {
            keys.push(("probe_timeout", timeout));
        }
    }
    if let Some(timeout) = whole.logout_timeout.filter(|timeout| *timeout != default.logout_timeout) {
        keys.push(("logout_timeout", timeout));
    }
    if !keys.is_empty() {
        toml.push_str("\n[engine]\n");
    }
    for (key, timeout) in keys {
        let _ = writeln!(toml, "{key} = {}", quoted(&format_duration(timeout)));
    }
}

/// Health and metrics give way where an acceptor has their port.
fn control(toml: &mut String, whole: &Whole) {
    let Some(default) = ControlConfig::default().listen else { return };
    let is_taken = |port: u16| whole.acceptors.iter().any(|(_, listen)| listen.port() == port);
    if !is_taken(default.port()) {
        return;
    }
    // There are at most as many acceptors as sessions, which is fewer than ports.
    if let Some(port) = (default.port()..=u16::MAX).find(|&port| !is_taken(port)) {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let _ = write!(toml, "\n# Health and metrics: an acceptor has the default port.\n[control]\n");
        let _ = writeln!(toml, "listen = {}", quoted(&listen.to_string()));
    }
}

/// The end of the configuration: what the settings file says and the configuration does not.
pub(super) fn comments(toml: &mut String, name: &str, notes: &[Note]) {
    let groups = grouped(notes);
    let of = |fates: fn(&Note) -> bool| groups.iter().filter(move |(note, _)| fates(note)).collect::<Vec<_>>();
    for (title, groups) in [
        ("to be looked at", of(is_to_be_looked_at)),
        ("that fixring does not need", of(|note| note.fate == Fate::Unneeded)),
    ] {
        if groups.is_empty() {
            continue;
        }
        let _ = write!(toml, "\n# Of {}, {title}:\n", printable(name));
        for (note, lines) in groups {
            comment(toml, "  ", &format!("line {}: {} {}", shown_lines(lines), note.setting, note.sentence()));
        }
    }
    let mut same: Vec<&str> =
        notes.iter().filter(|note| note.fate == Fate::Same).map(|note| note.setting.as_str()).collect();
    same.sort_unstable();
    same.dedup();
    if !same.is_empty() {
        let _ = write!(toml, "\n# As fixring does it anyway:\n");
        comment(toml, "  ", &same.join(", "));
    }
}

/// What an operator reads on the terminal: one line for each thing to be looked at, one for each that is not needed.
pub(super) fn report(name: &str, notes: &[Note]) -> String {
    let name = printable(name);
    let mut report = String::new();
    let groups = grouped(notes);
    let (first, second): (Vec<_>, Vec<_>) = groups.iter().partition(|(note, _)| is_to_be_looked_at(note));
    for (note, lines) in first.into_iter().chain(second) {
        if !is_to_be_looked_at(note) && note.fate != Fate::Unneeded {
            continue;
        }
        let others = match lines.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let _ = writeln!(report, "{name}:{}: {}{others} {}", note.line, note.setting, note.sentence());
    }
    let count = |fate: fn(&Fate) -> bool| notes.iter().filter(|note| fate(&note.fate)).count();
    let _ = writeln!(
        report,
        "{name}: carried over: {}, as fixring does it anyway: {}, not needed: {}, lost: {}",
        count(|fate| matches!(fate, Fate::Carried(_))),
        count(|fate| *fate == Fate::Same),
        count(|fate| *fate == Fate::Unneeded),
        count(|fate| *fate == Fate::Lost),
    );
    report
}

fn is_to_be_looked_at(note: &Note) -> bool {
    match note.fate {
        Fate::Carried(_) => !note.text.is_empty(),
        Fate::Lost => true,
        Fate::Same | Fate::Unneeded => false,
    }
}

impl Note {
    /// Follows the setting.
    fn sentence(&self) -> String {
        match &self.fate {
            Fate::Carried(key) if self.text.is_empty() => format!("is {key}"),
            Fate::Carried(key) => format!("is {key}, but: {}", self.text),
            Fate::Same => "is what fixring does anyway".into(),
            Fate::Lost if self.text.starts_with("is not ") => self.text.clone(),
            Fate::Lost => format!("is lost: {}", self.text),
            Fate::Unneeded => format!("is not needed: {}", self.text),
        }
    }
}

/// Notes that say the same of the same setting, as one with all its lines, in the order of the first.
fn grouped(notes: &[Note]) -> Vec<(&Note, Vec<u32>)> {
    let mut groups: Vec<(&Note, Vec<u32>)> = Vec::new();
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for note in notes {
        let place = *places.entry((&note.setting, &note.text)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((first, lines)) if first.fate == note.fate => lines.push(note.line),
            Some(_) => groups.push((note, vec![note.line])),
            None => groups.push((note, vec![note.line])),
        }
    }
    groups
}

fn shown_lines(lines: &[u32]) -> String {
    let shown: Vec<String> = lines.iter().take(LINES_SHOWN_MAX).map(u32::to_string).collect();
    match lines.len() - shown.len() {
        0 => shown.join(", "),
        others => format!("{} and {others} more", shown.join(", ")),
    }
}

/// Wraps at words; what follows the first line is indented further.
fn comment(toml: &mut String, indent: &str, text: &str) {
    let mut line = format!("#{indent}");
    let mut is_first_word = true;
    for word in text.split(' ') {
        if !is_first_word && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            toml.push_str(&line);
            toml.push('\n');
            line = format!("#{indent}{indent}");
        }
        line.push(' ');
        line.push_str(word);
        is_first_word = false;
    }
    toml.push_str(&line);
    toml.push('\n');
}
