//! A QuickFIX settings file as a `fixring.toml`: `fixring config import`.
//!
//! It reads what QuickFIX/C++, QuickFIX/J and QuickFIX/Go read, sections `[DEFAULT]` and `[SESSION]`, and answers
//! either a configuration that loads without a fault, and what has become of each setting of the file, or every fault
//! that it found, with line and mend. It opens no file: the text comes as an argument and goes out as a value.
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
mod write;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

pub use read::FILE_BYTES_MAX;

use super::errors::{ConfigErrors, Faults};
use super::{Config, EngineConfig};
use ledger::Ledger;
use read::File;
use session::{Session, session};
use write::Whole;

/// QuickFIX's default where a session has none; fixring's is the engine's.
const LOGON_TIMEOUT: Duration = Duration::from_secs(10);
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(2);

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
pub fn import(bytes: &[u8], name: &str) -> Result<Imported, ConfigErrors> {
    let text = read::text(bytes, name)?;
    let mut faults = Faults::new(name, text);
    let file = read::read(text, &mut faults);
    if !faults.is_empty() {
        // Which section a setting belongs to is not known then.
        return Err(faults.into_errors());
    }
    let mut ledger = Ledger::new(&file, faults);
    let sessions = sessions(&file, &mut ledger);
    let whole = whole(&mut ledger, &sessions);
    if ledger.faults.is_empty() {
        judge(&file, &mut ledger, &whole, &sessions, name);
    }
    if !ledger.faults.is_empty() {
        return Err(ledger.faults.into_errors());
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
        let session = session(ledger, Some(section));
        if let Some(line) = lines.insert(session.name.clone(), section.line) {
            let by_qualifier = section.settings.contains_key("sessionqualifier");
            let what = match by_qualifier {
                true => format!("this [SESSION] differs from that of line {line} by its SessionQualifier alone"),
                false => format!("this [SESSION] has the identity of that of line {line}"),
            };
            let mend = "remove one of the two, or tell them apart by CompID, SubID or LocationID: fixring has one session \
                        for each identity";
            ledger.faults.add(section.span.clone(), "", what, mend.into());
        }
        sessions.push(session);
    }
    if let Some(&id) = file.default.settings.get("dynamicsessions") {
        match file.settings[id].value {
            "Y" | "y" => {
                sessions.push(session(ledger, None));
                ledger.carried(id, "session.target_comp_id");
            }
            "N" | "n" => ledger.same(id),
            _ => ledger.fault(id, "is neither Y nor N", "write Y or N"),
        }
    }
    sessions
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

/// What the configuration's own reader says of the result, at the section or setting that it comes from: identities
/// that overlap, zones that are not known. The dictionaries, which it would open, are left out.
fn judge(file: &File<'_>, ledger: &mut Ledger<'_, '_>, whole: &Whole, sessions: &[Session], name: &str) {
    let toml = write::toml(name, whole, sessions, true);
    let Err(errors) = Config::parse(&toml, "fixring.toml") else { return };
    for fault in errors.faults() {
        let (section, key) = fault.key.split_once("].").unwrap_or((&fault.key, ""));
        let at = |list: &str| section.strip_prefix(list)?.parse::<usize>().ok();
        let line = match (at("session["), at("acceptor[")) {
            (Some(index), _) => {
                let of_zone = [file.sessions.get(index), Some(&file.default)]
                    .into_iter()
                    .flatten()
                    .find_map(|section| section.settings.get("timezone"))
                    .filter(|_| key == "schedule.zone");
                let key = key.split('.').next().unwrap_or(key);
                let entry = sessions[index].entries.iter().find(|entry| entry.key == key && entry.line != 0);
                let of_key = entry.map_or(sessions[index].line, |entry| entry.line);
                of_zone.map_or(of_key, |&id| file.settings[id].line)
            }
            (_, Some(index)) => whole.acceptors[index].0,
            _ => 0,
        };
        let of_setting = file.settings.iter().find(|setting| setting.line == line).map(|setting| setting.span.clone());
        let of_section = file.sessions.iter().find(|section| section.line == line).map(|section| section.span.clone());
        let span = of_setting.or(of_section).unwrap_or(0..0);
        // Without the number of the session, which is not in the settings file, and so that a setting of [DEFAULT] has its
        // fault once.
        let what = fault.what.strip_prefix(section).and_then(|rest| rest.strip_prefix("].")).unwrap_or(&fault.what);
        ledger.faults.add(span, key, format!("fixring would refuse this: {what}"), fault.mend.clone());
    }
}
