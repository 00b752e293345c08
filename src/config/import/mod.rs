//! A QuickFIX settings file as a `fixring.toml`: `fixring config import`.
//!
//! It reads what QuickFIX/C++, QuickFIX/J, QuickFIX/n and QuickFIX/Go read, sections `[DEFAULT]`
//! and `[SESSION]`, and returns either a configuration that loads without a fault, and what has
//! become of each setting of the file, or every fault that it found, with line and remedy. It opens
//! no file: the text comes as an argument and goes out as a value.
//!
//! A setting that cannot be carried over, and a session that cannot be without it, are left out and
//! listed; with [`Options::strict`] they are faults. What would make a session of TLS one of plain
//! TCP is a fault in any case (`tls.rs`).
//!
//! `read.rs` has the form of the file, `known.rs` the settings and their fates, `session.rs` and `schedule.rs` the
//! meaning of those that go together, `ledger.rs` collects, `write.rs` lays out. Keys that this version's
//! configuration does not have are not written: `Scope::put` is the one place that asks.
//!
//! Values of settings that are not carried over are repeated nowhere: among them are passwords.

mod known;
mod ledger;
mod read;
mod schedule;
mod session;
mod tls;
mod write;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

pub use read::FILE_BYTES_MAX;

use super::errors::{ConfigErrors, Fault, Faults};
use super::{Config, EngineConfig};
use ledger::{Ledger, is_no, is_yes};
use read::{File, Section};
use session::{Session, session};
use write::Whole;

/// QuickFIX's default where a session has none; fixring's is the engine's.
const LOGON_TIMEOUT: Duration = Duration::from_secs(10);
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Keys without which a session is another one.
const IDENTITY: [&str; 9] = [
    "role",
    "connect",
    "begin_string",
    "sender_comp_id",
    "sender_sub_id",
    "sender_location_id",
    "target_comp_id",
    "target_sub_id",
    "target_location_id",
];

/// How often the result is judged anew after what fixring would refuse of it has been left out.
const JUDGEMENTS_MAX: u32 = 4;

/// What is done with what cannot be carried over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// A setting that cannot be carried over is a fault of the whole file.
    pub strict: bool,
    /// Sessions of TLS are imported as sessions of plain TCP.
    pub plain_tcp: bool,
}

/// A configuration, and what it holds of the settings file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Loads without a fault, where the dictionaries that it names can be read. Ends with the notes, as comments.
    pub toml: String,
    /// One for each setting of the file, in its order, and one for what it leaves unsaid where that matters.
    pub notes: Vec<Note>,
}

/// What has become of one setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// In the settings file.
    pub line: u32,
    /// Its name, as the file writes it.
    pub setting: String,
    pub fate: Fate,
    /// Why, or what differs. Empty where there is nothing to say.
    pub text: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// To this key of the configuration. With a text, there is a difference.
    Carried(String),
    /// What fixring does anyway.
    Same,
    /// Not carried over, and nothing is lost by it.
    Unneeded,
    /// Not carried over: it has to be looked at.
    Lost,
    /// No setting of the file, and what it leaves unsaid has to be looked at.
    Unset,
}

impl Imported {
    /// A line for each setting that is not as it was, then how many of each there are. `name` is the settings file's.
    pub fn report(&self, name: &str) -> String {
        write::report(name, &self.notes)
    }
}

/// Turns a settings file into a configuration. `name` is what faults and comments call the file.
pub fn import(bytes: &[u8], name: &str, options: Options) -> Result<Imported, ConfigErrors> {
    let text = read::text(bytes, name, options.strict)?;
    let mut faults = Faults::new(name, &text);
    let file = read::read(&text, options.strict, &mut faults);
    if !faults.is_empty() {
        // Which section a setting belongs to is not known then.
        return Err(faults.into_errors());
    }
    let mut ledger = Ledger::new(&file, faults, options);
    let mut sessions = sessions(&file, &mut ledger);
    let mut whole = whole(&mut ledger, &sessions);
    for judgement in 1..=JUDGEMENTS_MAX {
        if !ledger.faults.is_empty() {
            break;
        }
        let Err(errors) = Config::parse(&write::toml(name, &whole, &sessions, true), "fixring.toml") else { break };
        if options.strict || judgement == JUDGEMENTS_MAX {
            refuse(&mut ledger, &whole, &sessions, &errors);
        } else {
            leave_out(&mut ledger, &mut whole, &mut sessions, &errors);
        }
    }
    if !ledger.faults.is_empty() {
        return Err(ledger.faults.into_errors());
    }
    if sessions.is_empty() {
        // Nothing is left to import: what is wrong with each is better told as faults.
        return import(bytes, name, Options { strict: true, ..options });
    }
    let notes = ledger.into_notes();
    let mut toml = write::toml(name, &whole, &sessions, false);
    write::comments(&mut toml, name, &notes);
    Ok(Imported { toml, notes })
}

fn sessions<'f>(file: &'f File<'_>, ledger: &mut Ledger<'f, '_>) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::with_capacity(file.sessions.len() + 1);
    let mut lines: BTreeMap<String, u32> = BTreeMap::new();
    for section in &file.sessions {
        let counting = section.settings.values().chain(file.default.settings.values()).copied();
        let fates = ledger.fates(counting);
        let mut session = session(ledger, Some(section));
        let twin = lines.get(&session.name).copied().filter(|_| session.unusable.is_empty());
        if let Some(line) = twin {
            let by_qualifier = section.settings.contains_key("sessionqualifier");
            let what = match by_qualifier {
                true => format!("this [SESSION] differs from that of line {line} by its SessionQualifier alone"),
                false => format!("this [SESSION] has the identity of that of line {line}"),
            };
            let mend = "remove one of the two, or tell them apart by CompID, SubID or LocationID: fixring has one session \
                        for each identity";
            match ledger.options.strict {
                true => ledger.faults.add(section.span.clone(), "", what, mend.into()),
                false => session.unusable.push(format!("{what}: {mend}")),
            }
        }
        if !session.unusable.is_empty() && !ledger.options.strict {
            ledger.restore(fates);
            left_out(ledger, section, &session.unusable.join("; "));
            continue;
        }
        lines.entry(session.name.clone()).or_insert(section.line);
        sessions.push(session);
    }
    if let Some(&id) = file.default.settings.get("dynamicsessions") {
        match file.settings[id].value {
            value if is_yes(value) => {
                let template = session(ledger, None);
                if template.unusable.is_empty() || ledger.options.strict {
                    sessions.push(template);
                    ledger.carried(id, "session.target_comp_id");
                } else {
                    ledger.fault(id, file.default.line, &template.unusable.join("; "), "add what is missing");
                }
            }
            value if is_no(value) => ledger.same(id),
            _ => ledger.fault(id, file.default.line, "is neither Y nor N", "write Y or N"),
        }
    }
    sessions
}

/// A [SESSION] that is not imported, with all its settings.
fn left_out(ledger: &mut Ledger<'_, '_>, section: &Section, why: &str) {
    let text = format!("this session is left out: {why}");
    ledger.remarks.push(Note { line: section.line, setting: "[SESSION]".into(), fate: Fate::Lost, text });
    for &id in section.settings.values() {
        ledger.revoke(id, section.line, "its [SESSION] is left out".into(), false);
    }
}

/// What fixring has once for all sessions.
fn whole(ledger: &mut Ledger<'_, '_>, sessions: &[Session]) -> Whole {
    let default = EngineConfig::default();
    let logon: Vec<_> = sessions.iter().map(|session| session.logon_timeout).collect();
    let logout: Vec<_> = sessions.iter().map(|session| session.logout_timeout).collect();
    let mut acceptors: Vec<(u32, SocketAddr)> = Vec::new();
    for session in sessions {
        let Some((id, listen)) = session.listen else { continue };
        if !acceptors.iter().any(|(_, other)| *other == listen) {
            acceptors.push((ledger.file.settings[id].line, listen));
        }
    }
    if acceptors.len() > 1 {
        for (id, _) in sessions.iter().filter_map(|session| session.listen) {
            ledger.carried_but(id, "acceptor.listen", "every session is taken at every [[acceptor]]");
        }
    }
    Whole {
        logon_timeout: longest(ledger, &logon, LOGON_TIMEOUT, ("engine.logon_timeout", default.logon_timeout)),
        logout_timeout: longest(ledger, &logout, LOGOUT_TIMEOUT, ("engine.logout_timeout", default.logout_timeout)),
        acceptors,
    }
}

/// The longest of the sessions' timeouts, if any has one.
fn longest(
    ledger: &mut Ledger<'_, '_>,
    timeouts: &[Option<(usize, Duration)>],
    of_quickfix: Duration,
    (key, of_fixring): (&str, Duration),
) -> Option<Duration> {
    let set = || timeouts.iter().flatten();
    let longest = timeouts.iter().map(|set| set.map_or(of_quickfix, |(_, timeout)| timeout)).max();
    let longest = longest.filter(|_| set().next().is_some())?;
    for &(id, timeout) in set() {
        if timeout != longest {
            let shown = super::format_duration(longest);
            ledger.carried_but(id, key, format!("fixring has one for all sessions, and the longest is {shown}"));
        } else if longest == of_fixring {
            ledger.same(id);
        } else {
            ledger.carried(id, key);
        }
    }
    Some(longest)
}

/// What a fault that the configuration's own reader finds in the result goes back to: identities
/// that overlap, zones that are not known. The dictionaries, which it would open, are left out.
struct Origin {
    session: Option<usize>,
    /// The entry of that session, where it is one.
    entry: Option<usize>,
    /// Of the setting that is to blame, or of the section.
    line: u32,
    /// The key below the section.
    key: String,
    /// What is wrong, without the number of the session, which is not in the settings file, so that
    /// a setting of [DEFAULT] has its fault once.
    what: String,
}

fn origin(file: &File<'_>, whole: &Whole, sessions: &[Session], fault: &Fault) -> Origin {
    let (section, key) = fault.key.split_once("].").unwrap_or((&fault.key, ""));
    let at = |list: &str| section.strip_prefix(list)?.parse::<usize>().ok();
    let session = at("session[").filter(|at| *at < sessions.len());
    let entry = session.and_then(|at| {
        let key = key.split('.').next().unwrap_or(key);
        sessions[at].entries.iter().position(|entry| entry.key == key && entry.line != 0)
    });
    let line = match (session, at("acceptor[")) {
        (Some(at), _) => {
            let of_key = entry.map_or(sessions[at].line, |entry| sessions[at].entries[entry].line);
            let own = file.sessions.iter().find(|section| section.line == sessions[at].line);
            let of_zone = own.into_iter().chain([&file.default]).find_map(|section| section.settings.get("timezone"));
            of_zone.filter(|_| key == "schedule.zone").map_or(of_key, |&id| file.settings[id].line)
        }
        (_, Some(at)) => whole.acceptors.get(at).map_or(0, |(line, _)| *line),
        _ => 0,
    };
    let what = fault.what.strip_prefix(section).and_then(|rest| rest.strip_prefix("].")).unwrap_or(&fault.what);
    Origin { session, entry, line, key: key.into(), what: format!("fixring would refuse this: {what}") }
}

/// Each as a fault, at the section or setting that it comes from.
fn refuse(ledger: &mut Ledger<'_, '_>, whole: &Whole, sessions: &[Session], errors: &ConfigErrors) {
    let file = ledger.file;
    for fault in errors.faults() {
        let Origin { line, key, what, .. } = origin(file, whole, sessions, fault);
        let of_setting = file.settings.iter().find(|setting| setting.line == line).map(|setting| setting.span.clone());
        let of_section = file.sessions.iter().find(|section| section.line == line).map(|section| section.span.clone());
        ledger.faults.add(of_setting.or(of_section).unwrap_or(0..0), &key, what, fault.mend.clone());
    }
}

/// Leaves out the settings, or the sessions, that fixring would refuse. What is neither becomes a
/// fault.
fn leave_out(ledger: &mut Ledger<'_, '_>, whole: &mut Whole, sessions: &mut Vec<Session>, errors: &ConfigErrors) {
    let file = ledger.file;
    let mut revoked: Vec<(usize, &'static str, String)> = Vec::new();
    let mut unusable: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for fault in errors.faults() {
        let origin = origin(file, whole, sessions, fault);
        let why = format!("{}: {}", origin.what, fault.mend);
        match (origin.session, origin.entry) {
            (Some(at), Some(entry)) if !IDENTITY.contains(&sessions[at].entries[entry].key) => {
                revoked.push((at, sessions[at].entries[entry].key, why));
            }
            (Some(at), _) => unusable.entry(at).or_default().push(why),
            (None, _) => refuse(ledger, whole, sessions, errors),
        }
    }
    for (at, key, why) in revoked {
        let Some(entry) = sessions[at].entries.iter().position(|entry| entry.key == key) else { continue };
        let ids = sessions[at].entries.remove(entry).ids;
        for id in ids {
            let is_elsewhere =
                sessions.iter().flat_map(|session| &session.entries).any(|entry| entry.ids.contains(&id));
            ledger.revoke(id, sessions[at].line, why.clone(), is_elsewhere);
        }
    }
    for (at, why) in unusable.into_iter().rev() {
        let session = sessions.remove(at);
        if let Some(section) = file.sessions.iter().find(|section| section.line == session.line) {
            left_out(ledger, section, &why.join("; "));
        }
    }
    let is_listened_to =
        |listen: &SocketAddr| sessions.iter().any(|session| session.listen.is_some_and(|(_, other)| other == *listen));
    whole.acceptors.retain(|(_, listen)| is_listened_to(listen));
}
