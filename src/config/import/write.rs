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
/// How many settings and lines a note of many names.
const SHOWN_MAX: usize = 8;

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
         distribution has every key. What could not be carried over is listed at the end. The application is none of \
         QuickFIX's settings: engine.application has those that are built in, and a program of your own uses fixring \
         as a library.",
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
        for Entry { key, value, line, is_comment, .. } in &session.entries {
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
    for (title, is_needed) in [("to be looked at", true), ("not needed", false)] {
        let mut groups = groups.iter().filter(|group| (group.kind != Kind::Unneeded) == is_needed).peekable();
        if groups.peek().is_some() {
            let _ = write!(toml, "\n# Of {}, {title}:\n", printable(name));
        }
        for group in groups {
            let kind = if is_needed { group.kind() } else { "" };
            comment(toml, "  ", &format!("{} ({}): {kind}{}", group.shown_settings(), group.shown_lines(), group.text));
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

/// What an operator reads on the terminal: a line for each thing to be looked at, one for each that is not needed.
pub(super) fn report(name: &str, notes: &[Note]) -> String {
    let name = printable(name);
    let mut report = String::new();
    let mut groups = grouped(notes);
    groups.sort_by_key(|group| group.kind == Kind::Unneeded);
    for group in groups {
        let _ =
            writeln!(report, "{name}:{}: {}: {}{}", group.lines[0], group.shown_settings(), group.kind(), group.text);
    }
    let count = |is_one: fn(&Fate) -> bool| notes.iter().filter(|note| is_one(&note.fate)).count();
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

/// Settings of which the same is to be said.
struct Group<'n> {
    kind: Kind,
    text: &'n str,
    settings: Vec<&'n str>,
    lines: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Changed,
    Lost,
    Unset,
    Unneeded,
}

impl Group<'_> {
    /// Before the text.
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Changed => "carried over, but: ",
            Kind::Lost => "lost: ",
            Kind::Unset => "not set: ",
            Kind::Unneeded => "not needed: ",
        }
    }

    fn shown_settings(&self) -> String {
        shown(self.settings.iter().map(|name| name.to_string()))
    }

    fn shown_lines(&self) -> String {
        let lines = shown(self.lines.iter().map(u32::to_string));
        if self.lines.len() == 1 { format!("line {lines}") } else { format!("lines {lines}") }
    }
}

/// The first of them, and how many more there are.
fn shown(items: impl ExactSizeIterator<Item = String>) -> String {
    let count = items.len();
    let shown = items.take(SHOWN_MAX).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(SHOWN_MAX) {
        0 => shown,
        others => format!("{shown} and {others} more"),
    }
}

/// In the order of the first line of each.
fn grouped(notes: &[Note]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
    for note in notes {
        let kind = match note.fate {
            Fate::Carried(_) if !note.text.is_empty() => Kind::Changed,
            Fate::Carried(_) | Fate::Same => continue,
            Fate::Lost => Kind::Lost,
            Fate::Unset => Kind::Unset,
            Fate::Unneeded => Kind::Unneeded,
        };
        let place = *places.entry((kind, &note.text)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { kind, text: &note.text, settings: Vec::new(), lines: Vec::new() });
        }
        let group = &mut groups[place];
        if !group.settings.contains(&note.setting.as_str()) {
            group.settings.push(&note.setting);
        }
        group.lines.push(note.line);
    }
    groups
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
